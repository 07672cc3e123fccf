/* child.c - see child.h. */
#include "child.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIFETIME = 300 }; /* s */

static int said[2];

void bench_fail(const char *what)
{
    perror(what);
    exit(1);
}

void bench_pin(int n)
{
    static cpu_set_t allowed; /* before the first pinning */
    cpu_set_t one;
    int found = 0;

    if (CPU_COUNT(&allowed) == 0 && sched_getaffinity(0, sizeof allowed, &allowed) < 0) return;
    n %= CPU_COUNT(&allowed);
    while (!CPU_ISSET(found, &allowed) || n-- > 0)
        found++;
    CPU_ZERO(&one);
    CPU_SET(found, &one);
    sched_setaffinity(0, sizeof one, &one);
}

pid_t bench_child(int processor, void (*run)(void *), void *argument)
{
    if (pipe(said) < 0) bench_fail("pipe");
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) bench_fail("fork");
    if (child > 0) {
        close(said[1]);
        return child;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(LIFETIME);
    bench_pin(processor);
    run(argument);
    _exit(0);
}

void bench_end(pid_t child)
{
    if (child <= 0) return;
    kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
}

void bench_tell(int number)
{
    if (write(said[1], &number, sizeof number) != sizeof number) bench_fail("write");
    close(said[1]);
}

int bench_hear(void)
{
    int number = -1;
    if (read(said[0], &number, sizeof number) != sizeof number) number = -1;
    close(said[0]);
    return number;
}

double bench_cpu_of(pid_t child)
{
    struct timespec time;
    clockid_t clock;

    if (clock_getcpuclockid(child, &clock) != 0 || clock_gettime(clock, &time) < 0)
        bench_fail("the CPU time of a child");
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

int bench_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return 0;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return (int)limit.rlim_cur;
}

int bench_listen(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 1024) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        bench_fail("listen");
    *port = ntohs(address.sin_port);
    return fd;
}

int bench_connect(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        bench_fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return fd;
}
