/* tls [CONNECTIONS SIZE]: TLS echo by tasks and streams beside a plain epoll loop over OpenSSL, the limit:
 * the server's CPU time for a message, in ns; and the bytes of an idle connection, beside OpenSSL's own.
 *
 * As bench/echo.c: each server is a process of its own, this one is the load. Both servers have the same
 * certificate (P-256), cipher and modes: buffers that are released, a record read by one system
 * call. */
#include "bench.h"

#include <casyncio.h>
#include <casyncio/tls.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../tests/tls/pki.h"
#include "support/child.h"

enum { BUFFER = 16 * 1024, EVENTS = 256, TURNS = 25, IDLE = 1000 };

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
    async_stream_abort(self->client);
    return 0;
}

static async_server *start(void)
{
    async_tls_context *context = async_tls_server_context(
        &(async_tls_options){.certificate = pki("server.crt"), .key = pki("server.key")});
    if (!context) bench_fail(async_error_message());
    async_server *server =
        async_tls_start_server("127.0.0.1", 0, context, &(async_server_options){.backlog = 1024});
    async_tls_context_free(context);
    return server;
}

static int serve_all(void *unused)
{
    (void)unused;
    async_server *server = start();
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

/* ---- the limit: a plain epoll loop and OpenSSL ---- */

static SSL_CTX *plain_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_file(context, pki("server.crt"), SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, pki("server.key"), SSL_FILETYPE_PEM) != 1)
        bench_fail("the certificate");
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return context;
}

static void watch(int epoll, int fd, void *data)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = data};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) bench_fail("epoll_ctl");
}

static void write_all(SSL *ssl, const char *data, int size)
{
    while (SSL_write(ssl, data, size) <= 0)
        poll(&(struct pollfd){.fd = SSL_get_fd(ssl), .events = POLLOUT}, 1, -1);
}

static void on_ready(SSL *ssl)
{
    static char buffer[BUFFER];
    int n;

    do {
        ERR_clear_error();
        n = SSL_read(ssl, buffer, sizeof buffer);
        if (n > 0) write_all(ssl, buffer, n);
    } while (n > 0 && SSL_has_pending(ssl));
    if (n > 0 || SSL_get_error(ssl, n) == SSL_ERROR_WANT_READ) return;
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
}

static SSL *accept_plain(SSL_CTX *context, int listener, int flags)
{
    int fd = accept4(listener, NULL, NULL, flags | SOCK_CLOEXEC);
    if (fd < 0) return NULL;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    SSL_set_accept_state(ssl);
    return ssl;
}

static void run_epoll(void *unused)
{
    struct epoll_event events[EVENTS];
    int port, listener = bench_listen(&port), epoll = epoll_create1(EPOLL_CLOEXEC);
    SSL_CTX *context = plain_context();
    (void)unused;

    watch(epoll, listener, NULL);
    bench_tell(port);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            SSL *ssl = events[i].data.ptr;
            if (ssl)
                on_ready(ssl);
            else if ((ssl = accept_plain(context, listener, SOCK_NONBLOCK)))
                watch(epoll, SSL_get_fd(ssl), ssl);
        }
    }
}

/* ---- the load ---- */

struct connection {
    SSL *ssl;
    size_t missing; /* of the message that is on its way back */
};

struct load {
    pid_t server;
    SSL_CTX *context;
    int epoll, count;
    struct connection *connections;
    size_t size;
};

static char message[BUFFER];

static SSL *connect_to(SSL_CTX *context, int port)
{
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, bench_connect(port));
    if (SSL_connect(ssl) != 1) bench_fail("handshake");
    return ssl;
}

static void begin_message(const struct load *load, struct connection *connection)
{
    connection->missing = load->size;
    if (SSL_write(connection->ssl, message, (int)load->size) <= 0) bench_fail("write");
}

static void take(struct load *load, struct connection *connection)
{
    static char buffer[BUFFER];

    do {
        int n = SSL_read(connection->ssl, buffer, sizeof buffer);
        if (n <= 0 || (size_t)n > connection->missing) bench_fail("a connection was lost");
        connection->missing -= (size_t)n;
    } while (SSL_pending(connection->ssl) > 0);
    (void)load;
}

/* One echo more on each connection until there have been `count`; the server's CPU time for each. */
static double echo(struct load *load, int count)
{
    struct epoll_event events[EVENTS];
    int begun = load->count, ended = 0;
    double from = bench_cpu_of(load->server);

    for (int i = 0; i < load->count; i++)
        begin_message(load, &load->connections[i]);
    while (ended < begun) {
        int ready = epoll_wait(load->epoll, events, EVENTS, 10000);
        if (ready <= 0) bench_fail("the server does not answer");
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            take(load, connection);
            if (connection->missing > 0) continue;
            ended++;
            if (begun < count) {
                begun++;
                begin_message(load, connection);
            }
        }
    }
    return (bench_cpu_of(load->server) - from) / ended;
}

static struct load connect_all(void (*server)(void *), int count, size_t size)
{
    struct load load = {.count = count, .size = size};

    load.server = bench_child(1, server, NULL);
    int port = bench_hear();
    if (port < 0) bench_fail("the server");
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.context = SSL_CTX_new(TLS_client_method());
    load.connections = calloc((size_t)count, sizeof *load.connections);
    for (int i = 0; i < count; i++) {
        load.connections[i].ssl = connect_to(load.context, port);
        watch(load.epoll, SSL_get_fd(load.connections[i].ssl), &load.connections[i]);
    }
    echo(&load, 4 * count); /* the first ones bring sessions, allocate, fault in */
    return load;
}

static void disconnect_all(struct load *load)
{
    bench_end(load->server);
    for (int i = 0; i < load->count; i++) {
        close(SSL_get_fd(load->connections[i].ssl));
        SSL_free(load->connections[i].ssl);
    }
    SSL_CTX_free(load->context);
    close(load->epoll);
    free(load->connections);
}

static void compare(const char *name, int connections, size_t size, int count)
{
    struct bench_pair pairs[TURNS];
    struct load tasks = connect_all(run_tasks, connections, size);
    struct load plain = connect_all(run_epoll, connections, size);

    for (int turn = 0; turn < TURNS; turn++) {
        pairs[turn].limit = echo(&plain, count);
        pairs[turn].ours = echo(&tasks, count);
    }
    struct bench_pair median = bench_median(pairs, TURNS);
    bench_row(name, "ns", median.ours, median.limit, "1.05 x");
    disconnect_all(&tasks);
    disconnect_all(&plain);
}

/* ---- idle connections ---- */

static int idle_port;

/* The clients: they say one word, and wait. */
static void stay(void *unused)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    (void)unused;
    bench_tell(0);
    for (int i = 0; i < IDLE; i++)
        SSL_write(connect_to(context, idle_port), "idle", 4);
    for (;;)
        pause();
}

static double allocated(void) { return (double)mallinfo2().uordblks; }

static double idle_plain(void)
{
    static SSL *ssl[IDLE];
    char buffer[16];
    SSL_CTX *context = plain_context();
    int listener = bench_listen(&idle_port);
    int flags = fcntl(listener, F_GETFL);

    fcntl(listener, F_SETFL, flags & ~O_NONBLOCK);
    pid_t child = bench_child(1, stay, NULL);
    bench_hear();
    double before = allocated();
    for (int i = 0; i < IDLE; i++) {
        ssl[i] = accept_plain(context, listener, 0);
        if (SSL_accept(ssl[i]) != 1 || SSL_read(ssl[i], buffer, sizeof buffer) != 4)
            bench_fail("accept");
        if (i == 0) before = allocated();
    }
    double after = allocated();
    bench_end(child);
    for (int i = 0; i < IDLE; i++) {
        close(SSL_get_fd(ssl[i]));
        SSL_free(ssl[i]);
    }
    SSL_CTX_free(context);
    close(listener);
    return (after - before) / (IDLE - 1);
}

static double idle_result;

static int idle_tasks(void *unused)
{
    static async_stream *streams[IDLE];
    char buffer[16];
    double before = 0;
    (void)unused;

    async_server *server = start();
    if (!server) return async_error_code();
    idle_port = async_server_port(server);
    pid_t child = bench_child(1, stay, NULL);
    bench_hear();
    for (int i = 0; i < IDLE; i++) {
        streams[i] = async_server_accept(server);
        if (async_stream_read(streams[i], buffer, sizeof buffer) != 4) bench_fail("accept");
        if (i == 0) before = allocated();
    }
    idle_result = (allocated() - before) / (IDLE - 1);
    bench_end(child);
    for (int i = 0; i < IDLE; i++)
        async_stream_abort(streams[i]);
    return async_server_close(server);
}

int main(int argc, char **argv)
{
    bench_files();
    bench_pin(0);
    bench_heading();
    pki_make();
    if (argc == 3) {
        size_t size = strtoul(argv[2], NULL, 10);
        compare("TLS echo", atoi(argv[1]), size < BUFFER ? size : BUFFER, 15000);
        return 0;
    }
    compare("TLS echo, 64 connections x 64 B", 64, 64, 3000);
    compare("TLS echo, 64 connections x 1 KiB", 64, 1024, 3000);
    compare("TLS echo, 64 connections x 16 KiB", 64, 16 * 1024, 2000);
    double limit = idle_plain();
    if (async_run(idle_tasks, NULL) < 0) bench_fail("the idle connections");
    bench_row("an idle TLS connection", "bytes", idle_result, limit, "");
    return 0;
}
