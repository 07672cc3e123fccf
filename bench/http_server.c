/* http_server: HTTP/1.1 "hello" by a route and its handler beside a plain epoll loop, the limit: the
 * server's CPU time for a request, in ns. Static files beside nginx, HTTP/2 beside nghttpd, if they are there;
 * and what a connection costs that is idle between two requests, in bytes.
 *
 * The plain loop looks for the end of each request's head and sends an answer that was made before: what
 * a server costs that neither parses, routes nor formats. The load is that of echo, and with HTTP/2 h2load. */
#include "bench.h"

#include <casyncio.h>
#include <casyncio/http_server.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../tests/http/nginx.h"
#include "support/child.h"
#include "support/load.h"

enum { TURNS = 25, DEPTH = 16, IDLE = 10000 };

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

static struct nginx files; /* its directory has what is served: www/file, www/hello/world */

static int serve(void *unused)
{
    async_http_server_options options = {.max_connections = 2 * IDLE};
    char directory[80];
    (void)unused;

    async_with_http_server (server, "127.0.0.1", 0, &options) {
        async_http_route(server, "GET", "/hello/{name}", hello);
        if (*files.dir) {
            snprintf(directory, sizeof directory, "%s/www", files.dir);
            async_http_static(server, "/", directory);
        }
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

/* ---- idle connections ---- */

static void idle_connections(void)
{
    int count = bench_files() - 64 < IDLE ? bench_files() - 64 : IDLE;
    struct load load = load_open(run_server, 64, request, sizeof request - 1, sizeof answer - 1),
                crowd;

    load_run(&load, 640); /* what the first ones allocate is the server's */
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    getpeername(load.fds[0], (struct sockaddr *)&address, &length);
    size_t resident = bench_status_of(load.server, "VmRSS");
    size_t tables = bench_status_of(load.server, "VmPTE");
    crowd = load_open_on(load.server, ntohs(address.sin_port), count, request, sizeof request - 1,
                         sizeof answer - 1);
    load_run(&crowd, count);
    resident = bench_status_of(load.server, "VmRSS") - resident;
    tables = bench_status_of(load.server, "VmPTE") - tables;
    bench_row("idle HTTP connection, resident", "bytes", (double)resident / count, 0, "6144");
    bench_row("idle HTTP connection, page tables", "bytes", (double)tables / count, 0, "");
    load_close(&crowd);
    load_close(&load);
}

/* ---- peers ---- */

static bool has(const char *name, const char *program)
{
    char command[100];

    snprintf(command, sizeof command, "PATH=$PATH:/usr/sbin:/sbin command -v %s >/dev/null",
             program);
    if (system(command) == 0) return true;
    printf("%-46s skipped: there is no %s\n", name, program);
    return false;
}

static void write_file(const char *name, const char *text, int size)
{
    char path[96];

    snprintf(path, sizeof path, "%s/www/%s", files.dir, name);
    FILE *file = fopen(path, "w");
    if (!file) bench_fail(path);
    fprintf(file, "%-*s", size, text);
    fclose(file);
}

/* All of an answer, by asking for it once: its head and the bytes of its body. */
static size_t size_of_answer(int port, const char *message, size_t body)
{
    char head[2048];
    size_t size = 0;
    int fd = bench_connect(port);

    load_send_all(fd, message, strlen(message));
    while (size < 4 || memcmp(head + size - 4, "\r\n\r\n", 4) != 0)
        if (size == sizeof head || recv(fd, head + size++, 1, 0) != 1) bench_fail("the head");
    close(fd);
    return size + body;
}

/* nginx's process, of which there is one. */
static pid_t pid_of_nginx(void)
{
    char path[80];
    int pid = 0;

    snprintf(path, sizeof path, "%s/pid", files.dir);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%d", &pid) != 1) bench_fail(path);
    fclose(file);
    return pid;
}

static void compare_file(const char *name, int size, int connections, int count, int turns)
{
    static const char get[] = "GET /file HTTP/1.1\r\nHost: a\r\n\r\n";
    struct bench_pair pairs[TURNS];
    const size_t length = sizeof get - 1;

    write_file("file", "x", size);
    pid_t child = bench_child(1, run_server, NULL);
    int port = bench_hear();
    struct load ours = load_open_on(child, port, connections, get, length,
                                    size_of_answer(port, get, (size_t)size));
    struct load nginx = load_open_on(pid_of_nginx(), files.port[0], connections, get, length,
                                     size_of_answer(files.port[0], get, (size_t)size));
    for (int turn = 0; turn < turns; turn++) {
        pairs[turn].limit = load_run(&nginx, count) / 1000;
        pairs[turn].ours = load_run(&ours, count) / 1000;
    }
    struct bench_pair median = bench_median(pairs, (size_t)turns);
    bench_row(name, "us", median.ours, median.limit, "");
    nginx.server = 0; /* goes on */
    load_close(&nginx);
    load_close(&ours);
}

static void compare_files(void)
{
    if (!has("a static file beside nginx", "nginx")) return;
    bench_pin(1); /* the server inherits it */
    bool runs = nginx_start(&files, "server { listen 127.0.0.1:@0@; root @dir@/www; sendfile on; "
                                    "tcp_nopush on; keepalive_requests 1000000; }\n");
    bench_pin(0);
    if (!runs) return;
    compare_file("a static file of 64 KiB beside nginx", 65536, 16, 1000, 15);
    compare_file("a static file of 10 MiB beside nginx", 10485760, 4, 20, 9);
    nginx_stop(&files);
}

static void run_nghttpd(void *unused)
{
    char text[20], directory[80];
    int port, fd = bench_listen(&port);
    (void)unused;

    close(fd);
    snprintf(text, sizeof text, "%d", port);
    snprintf(directory, sizeof directory, "%s/www", files.dir);
    bench_tell(port);
    execlp("nghttpd", "nghttpd", "--no-tls", "-d", directory, text, (char *)NULL);
}

/* The server's CPU time for a request, in ns. */
static double h2load(pid_t server, int port, int count)
{
    char command[200];
    double start = bench_cpu_of(server);

    snprintf(command, sizeof command,
             "h2load -n %d -c 8 -m 16 http://127.0.0.1:%d/hello/world | grep -q ' %d succeeded'",
             count, port, count);
    if (system(command) != 0) bench_fail("h2load");
    return (bench_cpu_of(server) - start) / count;
}

static void compare_http2(void)
{
    static const char name[] = "HTTP/2 hello beside nghttpd";
    struct bench_pair pairs[ROUNDS];
    int fd, ports[2];

    if (!has(name, "nghttpd") || !has(name, "h2load")) return;
    write_file("hello/world", "Hello, world!", 13);
    pid_t ours = bench_child(1, run_server, NULL);
    ports[0] = bench_hear();
    pid_t nghttpd = bench_child(1, run_nghttpd, NULL);
    ports[1] = bench_hear();
    while ((fd = nginx_connect(ports[1])) < 0)
        usleep(10000);
    close(fd);
    for (int turn = 0; turn < ROUNDS; turn++) {
        pairs[turn].limit = h2load(nghttpd, ports[1], 10000);
        pairs[turn].ours = h2load(ours, ports[0], 10000);
    }
    struct bench_pair median = bench_median(pairs, ROUNDS);
    bench_row(name, "ns", median.ours, median.limit, "");
    bench_end(ours);
    bench_end(nghttpd);
}

int main(void)
{
    char directory[96];

    bench_files();
    bench_pin(0);
    bench_heading();
    compare("HTTP hello, 64 connections", "1.12 x", 64, 1, 15000);
    compare("HTTP hello, 64 connections, 16 pipelined", "", 64, DEPTH, 2000);
    idle_connections();
    if (!nginx_prepare(&files)) bench_fail("a directory");
    snprintf(directory, sizeof directory, "%s/www/hello", files.dir);
    if (mkdir(directory, 0755) < 0) bench_fail(directory);
    compare_http2();
    compare_files();
    snprintf(directory, sizeof directory, "rm -rf '%s'", files.dir);
    return system(directory) != 0;
}
