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
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/child.h"
#include "support/load.h"

enum { BUFFER = 16 * 1024, BACKLOG = 1024, TURNS = 25 };

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

static void run_epoll(void *unused)
{
    (void)unused;
    load_serve(load_send_all);
}

static void compare(const char *name, int connections, size_t size, int count)
{
    struct bench_pair pairs[TURNS];
    static char message[BUFFER];
    struct load tasks = load_open(run_tasks, connections, message, size, size);
    struct load plain = load_open(run_epoll, connections, message, size, size);

    load_run(&tasks, 4 * connections); /* the first ones accept, allocate, fault in */
    load_run(&plain, 4 * connections);
    for (int turn = 0; turn < TURNS; turn++) {
        pairs[turn].limit = load_run(&plain, count);
        pairs[turn].ours = load_run(&tasks, count);
    }
    struct bench_pair median = bench_median(pairs, TURNS);
    bench_row(name, "ns", median.ours, median.limit, "1.05 x");
    load_close(&tasks);
    load_close(&plain);
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
