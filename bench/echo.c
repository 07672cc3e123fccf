/* echo [CONNECTIONS SIZE]: TCP echo by tasks and streams beside a plain epoll loop, the limit: the
 * server's CPU time for a message, in ns.
 *
 * Each server is a process of its own on one processor. This one, on another, is the load: on every
 * connection one message is under way, and when it has come back whole the next one is sent. Both
 * servers keep their connections through all rounds, and are asked by turns. */
#include "bench.h"

#include <casyncio.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/child.h"

enum { BUFFER = 16 * 1024, EVENTS = 256, BACKLOG = 1024, TURNS = 25 };

/* ---- the server by tasks and streams ---- */

struct serve {
    async_stream *client;
};

static int serve(struct serve *self)
{
    char buffer[BUFFER];
    ssize_t n;

    while ((n = async_stream_read(self->client, buffer, sizeof buffer)) > 0)
        if (async_stream_write(self->client, buffer, (size_t)n) < 0) break;
    return async_stream_close(self->client);
}

static int serve_all(void *unused)
{
    (void)unused;
    async_server *server =
        async_start_server("127.0.0.1", 0, &(async_server_options){.backlog = BACKLOG});
    if (!server) return async_error_code();
    bench_tell(async_server_port(server));
    async_with_group (group)
        async_for (async_stream *, client, async_server_clients(server))
            async_group_spawn(group, serve, .client = client);
    return 0;
}

static void run_tasks(void *unused)
{
    (void)unused;
    async_run(serve_all, NULL);
}

/* ---- the limit: a plain epoll loop ---- */

/* A message is smaller than a socket's buffer, and never more than one is under way: to wait here is the
 * exception. */
static void send_all(int fd, const char *data, size_t size)
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

static void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) bench_fail("epoll_ctl");
}

static void run_epoll(void *unused)
{
    static char buffer[BUFFER];
    struct epoll_event events[EVENTS];
    int port, listener = bench_listen(&port), epoll = epoll_create1(EPOLL_CLOEXEC);
    (void)unused;

    watch(epoll, listener);
    bench_tell(port);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (fd < 0) continue;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
                watch(epoll, fd);
                continue;
            }
            ssize_t n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
            if (n > 0)
                send_all(fd, buffer, (size_t)n);
            else if (n == 0 || errno != EAGAIN)
                close(fd);
        }
    }
}

/* ---- the load ---- */

struct load {
    pid_t server;
    int epoll, connections;
    int *fds;
    size_t *missing; /* of the message that is on its way back; by descriptor */
    size_t size;
};

static char message[BUFFER];

static struct load connect_all(void (*server)(void *), int connections, size_t size)
{
    struct load load = {.connections = connections, .size = size};

    load.server = bench_child(1, server, NULL);
    int port = bench_hear();
    if (port < 0) bench_fail("the server");
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.fds = calloc((size_t)connections, sizeof *load.fds);
    load.missing = calloc((size_t)connections + 4096, sizeof *load.missing);
    for (int i = 0; i < connections; i++) {
        load.fds[i] = bench_connect(port);
        watch(load.epoll, load.fds[i]);
    }
    return load;
}

static void disconnect_all(struct load *load)
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
    load->missing[fd] = load->size;
    send_all(fd, message, load->size);
}

/* One echo more on each connection until there have been `count`; the server's CPU time for each. */
static double echo(struct load *load, int count)
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

static void compare(const char *name, int connections, size_t size, int count)
{
    struct bench_pair pairs[TURNS];
    struct load tasks = connect_all(run_tasks, connections, size);
    struct load plain = connect_all(run_epoll, connections, size);

    echo(&tasks, 4 * connections); /* the first ones accept, allocate, fault in */
    echo(&plain, 4 * connections);
    for (int turn = 0; turn < TURNS; turn++) {
        pairs[turn].limit = echo(&plain, count);
        pairs[turn].ours = echo(&tasks, count);
    }
    struct bench_pair median = bench_median(pairs, TURNS);
    bench_row(name, "ns", median.ours, median.limit, "1.05 x");
    disconnect_all(&tasks);
    disconnect_all(&plain);
}

int main(int argc, char **argv)
{
    bench_files();
    bench_pin(0);
    bench_heading();
    if (argc == 3) {
        size_t size = strtoul(argv[2], NULL, 10);
        compare("echo", atoi(argv[1]), size < BUFFER ? size : BUFFER, 15000);
        return 0;
    }
    compare("echo, 64 connections x 64 B", 64, 64, 15000);
    compare("echo, 1,000 connections x 1 KiB", 1000, 1024, 15000);
    compare("echo, 64 connections x 16 KiB", 64, 16 * 1024, 10000);
    return 0;
}
