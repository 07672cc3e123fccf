/* http_server: HTTP/1.1 "hello" by a route and its handler beside a plain epoll loop, the limit: the
 * server's CPU time for a request, in ns.
 *
 * The plain loop looks for the end of each request's head and sends an answer that was made before: what
 * a server costs that neither parses, routes nor formats. The load is that of echo. */
#include "bench.h"

#include <casyncio.h>
#include <casyncio/http_server.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/child.h"
#include "support/load.h"

enum { TURNS = 25, DEPTH = 16 };

static const char request[] = "GET /hello/world HTTP/1.1\r\n"
                              "Host: 127.0.0.1:8080\r\n"
                              "User-Agent: bench/1.0\r\n"
                              "Accept: */*\r\n"
                              "Accept-Encoding: gzip, deflate\r\n\r\n";
static const char answer[] = "HTTP/1.1 200 OK\r\n"
                             "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                             "Content-Type: text/plain; charset=utf-8\r\n"
                             "Content-Length: 13\r\n\r\n"
                             "Hello, world!";

/* ---- the server ---- */

static int hello(struct async_http_request *self)
{
    return async_http_respond_text(self, 200, "Hello, %s!", async_http_param(self, "name"));
}

static int serve(void *unused)
{
    (void)unused;
    async_with_http_server (server, "127.0.0.1", 0, NULL) {
        async_http_route(server, "GET", "/hello/{name}", hello);
        bench_tell(async_http_server_port(server));
        async_http_serve(server);
    }
    return async_block_error();
}

static void run_server(void *unused)
{
    (void)unused;
    async_run(serve, NULL);
}

/* ---- the limit ---- */

/* Answers each head in the bytes; none of the load's is ever cut. */
static void answer_all(int fd, const char *bytes, size_t size)
{
    static char answers[DEPTH * (sizeof answer - 1)];
    size_t out = 0;

    for (const char *at = bytes, *end = bytes + size; at < end && out < sizeof answers;) {
        const char *head = memmem(at, (size_t)(end - at), "\r\n\r\n", 4);
        if (!head) break;
        memcpy(answers + out, answer, sizeof answer - 1);
        out += sizeof answer - 1;
        at = head + 4;
    }
    load_send_all(fd, answers, out);
}

static void run_epoll(void *unused)
{
    (void)unused;
    load_serve(answer_all);
}

/* ---- the table ---- */

static void compare(const char *name, const char *limit, int connections, int depth, int count)
{
    static char message[DEPTH * (sizeof request - 1)];
    struct bench_pair pairs[TURNS];

    for (int i = 0; i < depth; i++)
        memcpy(message + (size_t)i * (sizeof request - 1), request, sizeof request - 1);
    size_t size = (size_t)depth * (sizeof request - 1), back = (size_t)depth * (sizeof answer - 1);
    struct load ours = load_open(run_server, connections, message, size, back);
    struct load plain = load_open(run_epoll, connections, message, size, back);
    load_run(&ours, 4 * connections); /* the first ones accept, allocate, fault in */
    load_run(&plain, 4 * connections);
    for (int turn = 0; turn < TURNS; turn++) {
        pairs[turn].limit = load_run(&plain, count) / depth;
        pairs[turn].ours = load_run(&ours, count) / depth;
    }
    struct bench_pair median = bench_median(pairs, TURNS);
    bench_row(name, "ns", median.ours, median.limit, limit);
    load_close(&ours);
    load_close(&plain);
}

int main(void)
{
    bench_files();
    bench_pin(0);
    bench_heading();
    compare("HTTP hello, 64 connections", "1.12 x", 64, 1, 15000);
    compare("HTTP hello, 64 connections, 16 pipelined", "", 64, DEPTH, 2000);
    return 0;
}
