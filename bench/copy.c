/* copy [MIB]: bytes that pass through: a TCP proxy by async_stream_relay beside a plain loop of splice and
 * epoll, the limit, and beside socat if it is there; and a large file by async_sendfile beside
 * sendfile(2) and poll(2). CPU time of the process, user and system, for a GiB.
 *
 * This process is the client and the server behind the proxy; the proxy is a process of its own on one
 * processor, this one on another. */
#include "bench.h"

#include <casyncio.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/child.h"

enum { CHUNK = 256 * 1024, PIPE = 64 * 1024 };

static int target; /* the port behind the proxy */

/* ---- the proxy by tasks ---- */

static int relay(async_stream *client)
{
    async_with_stream(upstream, async_open_connection(
                                    "127.0.0.1", target)) return async_stream_relay(client,
                                                                                    upstream, NULL);
    return async_block_error();
}

static int relay_main(void *unused)
{
    (void)unused;
    async_server *server = async_start_server("127.0.0.1", 0, NULL);
    if (!server) return async_error_code();
    bench_tell(async_server_port(server));
    return async_server_serve(server, relay);
}

static void run_tasks(void *unused)
{
    (void)unused;
    async_run(relay_main, NULL);
}

/* ---- the limit: one connection, one way, splice through a pipe ---- */

static void run_splice(void *unused)
{
    int port, listener = bench_listen(&port), pipes[2], epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    (void)unused;

    bench_tell(port);
    fcntl(listener, F_SETFL, 0);
    int in = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int out = bench_connect(target);
    fcntl(out, F_SETFL, O_NONBLOCK);
    if (pipe2(pipes, O_NONBLOCK) < 0) bench_fail("pipe2");
    epoll_ctl(epoll, EPOLL_CTL_ADD, in, &event);
    event.events = EPOLLOUT;
    for (bool writing = false;;) {
        ssize_t n = splice(in, NULL, pipes[1], NULL, PIPE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n < 0) {
            epoll_wait(epoll, &event, 1, -1);
            continue;
        }
        if (n == 0) break;
        while (n > 0) {
            ssize_t m =
                splice(pipes[0], NULL, out, NULL, (size_t)n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
            if (m > 0) {
                n -= m;
                continue;
            }
            struct epoll_event room = {.events = EPOLLOUT};
            static int rooms = -1;
            if (!writing) {
                rooms = epoll_create1(EPOLL_CLOEXEC);
                epoll_ctl(rooms, EPOLL_CTL_ADD, out, &room);
                writing = true;
            }
            epoll_wait(rooms, &room, 1, -1);
        }
    }
    shutdown(out, SHUT_WR);
    char byte;
    (void)!read(out, &byte, 1);
    close(in);
    for (;;)
        pause();
}

/* ---- the load ---- */

static size_t total;

static void *read_all(void *argument)
{
    int listener = *(int *)argument, fd = -1;
    char *buffer = malloc(CHUNK);
    size_t done = 0;
    ssize_t n;

    while (fd < 0)
        fd = accept(listener, NULL, NULL);
    while ((n = read(fd, buffer, CHUNK)) > 0)
        done += (size_t)n;
    if (done != total) bench_fail("the proxy has lost something");
    close(fd);
    free(buffer);
    return NULL;
}

/* CPU of the proxy, in ms a GiB. */
static double push(pid_t pid, int port, int listener)
{
    char *data = calloc(1, CHUNK), byte;
    pthread_t reader;
    double before = bench_cpu_of(pid);

    pthread_create(&reader, NULL, read_all, &listener);
    int fd = bench_connect(port);
    for (size_t done = 0; done < total; done += CHUNK)
        for (size_t part = 0; part < CHUNK;) {
            ssize_t n = write(fd, data + part, CHUNK - part);
            if (n <= 0) bench_fail("write");
            part += (size_t)n;
        }
    shutdown(fd, SHUT_WR);
    (void)!read(fd, &byte, 1);
    pthread_join(reader, NULL);
    double after = bench_cpu_of(pid);
    close(fd);
    free(data);
    return (after - before) / 1e6 * (double)(1 << 30) / (double)total;
}

static double measure(void (*run)(void *), int listener)
{
    pid_t pid = bench_child(1, run, NULL);
    int port = bench_hear();
    if (port < 0) bench_fail("the proxy");
    double result = push(pid, port, listener);
    bench_end(pid);
    return result;
}

static double measure_socat(int listener)
{
    char here[64], there[64];
    int port, probe = bench_listen(&port);
    close(probe); /* it is free, and socat takes it a moment later */
    snprintf(here, sizeof here, "TCP-LISTEN:%d,bind=127.0.0.1,reuseaddr", port);
    snprintf(there, sizeof there, "TCP:127.0.0.1:%d", target);
    pid_t pid = fork();
    if (pid == 0) {
        execlp("socat", "socat", "-b65536", here, there, (char *)NULL);
        _exit(127);
    }
    usleep(300000);
    if (waitpid(pid, NULL, WNOHANG) == pid) return 0;
    double result = push(pid, port, listener);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return result;
}

/* ---- sendfile: this process sends, another one reads ---- */

static int reader_port;

static void run_reader(void *unused)
{
    int port, listener = bench_listen(&port);
    char *buffer = malloc(CHUNK);
    (void)unused;

    fcntl(listener, F_SETFL, 0);
    bench_tell(port);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        while (fd >= 0 && read(fd, buffer, CHUNK) > 0)
            ;
        if (fd >= 0) close(fd);
    }
}

static int send_by_task(void *file)
{
    async_stream *stream = async_open_connection("127.0.0.1", reader_port);
    if (!stream) return async_error_code();
    int64_t n = async_sendfile_fd(stream, *(int *)file, 0, -1, NULL);
    async_stream_close(stream);
    return n < 0 ? (int)n : 0;
}

static double by_task(int file)
{
    double before = bench_cpu();
    if (async_run(send_by_task, &file) < 0) bench_fail("async_sendfile");
    return (bench_cpu() - before) / 1e6 * (double)(1 << 30) / (double)total;
}

static double by_hand(int file)
{
    double before = bench_cpu();
    int fd = bench_connect(reader_port);
    off_t offset = 0;
    ssize_t n;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while ((n = sendfile(fd, file, &offset, total)) != 0)
        if (n < 0) poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
    close(fd);
    return (bench_cpu() - before) / 1e6 * (double)(1 << 30) / (double)total;
}

int main(int argc, char **argv)
{
    struct bench_pair pairs[ROUNDS];
    int listener = bench_listen(&target);
    fcntl(listener, F_SETFL, 0);
    size_t mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 256;

    total = mib << 20;
    bench_pin(0);
    bench_heading();
    for (int i = 0; i < ROUNDS; i++) {
        pairs[i].limit = measure(run_splice, listener);
        pairs[i].ours = measure(run_tasks, listener);
    }
    struct bench_pair middle = bench_median(pairs, ROUNDS);
    bench_row("proxy beside a loop of splice", "ms a GiB", middle.ours, middle.limit, "<= 1.15");
    int count = 0;
    for (int i = 0; i < 3; i++) {
        pairs[count].limit = measure_socat(listener);
        pairs[count].ours = measure(run_tasks, listener);
        if (pairs[count].limit > 0) count++;
    }
    middle = count > 0 ? bench_median(pairs, (size_t)count) : (struct bench_pair){middle.ours, 0};
    bench_row("proxy beside socat", "ms a GiB", middle.ours, middle.limit, "< 1");

    int file = memfd_create("file", MFD_CLOEXEC);
    if (ftruncate(file, (off_t)total) < 0) bench_fail("ftruncate");
    for (size_t i = 0; i < total; i += 4096)
        if (pwrite(file, "x", 1, (off_t)i) != 1) bench_fail("pwrite");
    pid_t reader = bench_child(1, run_reader, NULL);
    reader_port = bench_hear();
    for (int i = 0; i < ROUNDS; i++) {
        pairs[i].limit = by_hand(file);
        pairs[i].ours = by_task(file);
    }
    middle = bench_median(pairs, ROUNDS);
    bench_row("a large file, beside sendfile(2)", "ms a GiB", middle.ours, middle.limit, "<= 1.1");
    bench_end(reader);
    return 0;
}
