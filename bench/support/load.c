/* load.c - see load.h. */
#include "load.h"

#include "../bench.h"
#include "child.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256 };

void load_send_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) return;
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
            continue;
        }
        data += n;
        size -= (size_t)n;
    }
}

void load_watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) bench_fail("epoll_ctl");
}

struct load load_open(void (*server)(void *), int connections, const char *message, size_t size,
                      size_t answer)
{
    pid_t child = bench_child(1, server, NULL);
    int port = bench_hear();

    if (port < 0) bench_fail("the server");
    return load_open_on(child, port, connections, message, size, answer);
}

struct load load_open_on(pid_t server, int port, int connections, const char *message, size_t size,
                         size_t answer)
{
    struct load load = {.server = server,
                        .connections = connections,
                        .message = message,
                        .size = size,
                        .answer = answer};

    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.fds = calloc((size_t)connections, sizeof *load.fds);
    load.missing = calloc((size_t)connections + 4096, sizeof *load.missing);
    for (int i = 0; i < connections; i++) {
        load.fds[i] = bench_connect(port);
        load_watch(load.epoll, load.fds[i]);
    }
    return load;
}

void load_close(struct load *load)
{
    bench_end(load->server);
    for (int i = 0; i < load->connections; i++)
        close(load->fds[i]);
    close(load->epoll);
    free(load->fds);
    free(load->missing);
}

static void begin_message(struct load *load, int fd)
{
    load->missing[fd] = load->answer;
    load_send_all(fd, load->message, load->size);
}

double load_run(struct load *load, int count)
{
    static char buffer[64 * 1024];
    struct epoll_event events[EVENTS];
    int begun = load->connections, ended = 0;
    double start = bench_cpu_of(load->server);

    for (int i = 0; i < load->connections; i++)
        begin_message(load, load->fds[i]);
    while (ended < begun) {
        int ready = epoll_wait(load->epoll, events, EVENTS, 10000);
        if (ready <= 0) bench_fail("the server does not answer");
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            ssize_t n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
            if (n <= 0 || (size_t)n > load->missing[fd]) bench_fail("a connection was lost");
            load->missing[fd] -= (size_t)n;
            if (load->missing[fd] > 0) continue;
            ended++;
            if (begun < count) {
                begun++;
                begin_message(load, fd);
            }
        }
    }
    return (bench_cpu_of(load->server) - start) / ended;
}

void load_serve(void (*answer)(int fd, const char *data, size_t size))
{
    static char buffer[16 * 1024];
    struct epoll_event events[256];
    int port, listener = bench_listen(&port), epoll = epoll_create1(EPOLL_CLOEXEC);

    load_watch(epoll, listener);
    bench_tell(port);
    for (;;) {
        int count = epoll_wait(epoll, events, sizeof events / sizeof *events, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (fd < 0) continue;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
                load_watch(epoll, fd);
                continue;
            }
            ssize_t n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
            if (n > 0)
                answer(fd, buffer, (size_t)n);
            else if (n == 0 || errno != EAGAIN)
                close(fd);
        }
    }
}
