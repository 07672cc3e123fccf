/* The HTTP server over TCP, in real time, with curl and this library's own client. */
#include "server_programs.h"

#include <casyncio/http.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <sys/resource.h>

#define HOST "Host: a\r\n"

static char large[300000];

static int hello(struct async_http_request *request)
{
    return async_http_respond_text(request, 200, "Hello, %s!", async_http_param(request, "name"));
}

static int count(struct async_http_request *request)
{
    static char piece[65536];
    size_t total = 0;
    ssize_t got;

    async_http_set_max_body(request, UINT64_MAX);
    while ((got = async_http_request_recv(request, piece, sizeof piece)) > 0)
        total += (size_t)got;
    if (got < 0) return (int)got;
    return async_http_respond_text(request, 200, "%zu", total);
}

static async_http_server *start(const async_http_server_options *options)
{
    async_http_server *server = async_http_server_start("127.0.0.1", 0, options);
    assert_non_null(server);
    port = async_http_server_port(server);
    assert_true(port > 0);
    async_http_route(server, "GET", "/hello/{name}", hello);
    async_http_route(server, "POST", "/echo", echo);
    async_http_route(server, "PUT", "/count", count);
    async_http_route(server, "GET", "/slow", slow);
    assert_int_equal(async_http_static(server, "/files/", "/usr/bin"), 0);
    return server;
}

static void wait_until(const async_http_server *server, int (*value)(const async_http_server *),
                       int wanted)
{
    for (int i = 0; i < 3000 && value(server) != wanted; i++)
        async_sleep(0.01);
    assert_int_equal(value(server), wanted);
}

/* ---- curl ---- */

static int curl_is_served(void *unused)
{
    async_http_server *server = start(&(async_http_server_options){.on_error = tell});
    async_task *task = async_create_task(serve, server);
    const char *base = "curl -sS --max-time 20";

    shell("%s http://127.0.0.1:%d/hello/Ann http://127.0.0.1:%d/hello/Bob", base, port, port);
    assert_string_equal(output, "Hello, Ann!Hello, Bob!");
    shell("%s -0 http://127.0.0.1:%d/hello/Ann", base, port);
    assert_string_equal(output, "Hello, Ann!");
    shell("%s -I http://127.0.0.1:%d/hello/Ann", base, port);
    assert_contains(output, "Content-Length: 11\r\n");
    shell("%s -d a=b http://127.0.0.1:%d/echo", base, port);
    assert_string_equal(output, "a=b");
    shell("%s -d '' http://127.0.0.1:%d/echo", base, port);
    assert_string_equal(output, "");
    /* An upload in chunks, and one with 100-continue. */
    shell("head -c 5000000 /dev/zero | %s -T - http://127.0.0.1:%d/count", base, port);
    assert_string_equal(output, "5000000");
    shell("head -c 5000000 /dev/zero | %s -T - -H 'Transfer-Encoding:' -H 'Content-Length: 5000000'"
          " -H 'Expect: 100-continue' http://127.0.0.1:%d/count",
          base, port);
    assert_string_equal(output, "5000000");
    shell("%s -o /dev/null -w '%%{http_code}' -d a=b http://127.0.0.1:%d/hello/x", base, port);
    assert_string_equal(output, "405");
    shell("%s http://127.0.0.1:%d/files/env | cmp - /usr/bin/env && echo same", base, port);
    assert_string_equal(output, "same\n");
    shell("%s -r 100-199 http://127.0.0.1:%d/files/env | wc -c", base, port);
    assert_int_equal(atoi(output), 100);
    shell("%s --path-as-is -o /dev/null -w '%%{http_code}' "
          "http://127.0.0.1:%d/files/../../etc/passwd",
          base, port);
    assert_string_equal(output, "404");
    assert_int_equal(told_count, 0);
    async_http_shutdown(server);
    assert_int_equal(async_await(task), 0);
    async_http_server_free(server);
    return 0;
}

/* ---- many at once ---- */

struct getter {
    async_http_session *session;
};

static int getter(struct getter *self)
{
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/hello/x", port);
    for (int i = 0; i < 20; i++)
        async_with_http_get (response, self->session, url)
            assert_string_equal(async_http_text(response), "Hello, x!");
    return async_block_error();
}

static int our_client_is_served(void *unused)
{
    async_http_server *server = start(&(async_http_server_options){.on_error = tell});
    async_task *task = async_create_task(serve, server);
    char url[64];

    async_with_http_session (session, NULL) {
        async_with_group (group)
            for (int i = 0; i < 50; i++)
                async_group_spawn(group, getter, .session = session);
        assert_int_equal(async_block_error(), 0);
        for (size_t i = 0; i < sizeof large; i++)
            large[i] = (char)(i * 7);
        snprintf(url, sizeof url, "http://127.0.0.1:%d/echo", port);
        async_with_http_post (response, session, url, large, sizeof large, NULL) {
            size_t size;
            const void *body = async_http_read(response, &size);
            assert_int_equal(size, sizeof large);
            assert_memory_equal(body, large, size);
        }
    }
    assert_int_equal(async_block_error(), 0);
    assert_int_equal(async_http_serve(server), -EBUSY);
    async_http_shutdown(server);
    assert_int_equal(async_await(task), 0);
    async_http_server_free(server);
    return 0;
}

/* ---- the end ---- */

static int get_slow_with(char *answer, const char *headers)
{
    char text[4096];
    size_t size = 0;
    ssize_t got;
    async_stream *stream = async_open_connection("127.0.0.1", port);

    if (!stream) return async_error_code();
    async_stream_printf(stream, "GET /slow HTTP/1.1\r\n" HOST "%s\r\n", headers);
    while ((got = async_stream_read(stream, text + size, sizeof text - 1 - size)) > 0)
        size += (size_t)got;
    text[size] = '\0';
    strcpy(answer, text);
    return async_stream_close(stream);
}

/* The connection is kept open: its end is the server's. */
static int get_slow(void *answer) { return get_slow_with(answer, ""); }

static int shuts_down(void *unused)
{
    async_http_server *server = start(NULL);
    async_task *task = async_create_task(serve, server);
    static char answer[4096];
    async_task *client = async_create_task(get_slow, answer);

    wait_until(server, async_http_server_requests, 1);
    async_http_shutdown(server);
    assert_int_equal(async_await(task), 0);
    assert_int_equal(async_http_server_connections(server), 0);
    assert_int_equal(async_await(client), 0);
    assert_contains(answer, "slow");
    assert_contains(answer, "Connection: close\r\n");
    assert_null(async_open_connection("127.0.0.1", port));
    assert_int_equal(async_error_code(), -ECONNREFUSED);
    async_http_server_free(server);
    return 0;
}

static int is_cancelled(void *unused)
{
    async_http_server *server = start(&(async_http_server_options){.on_error = tell});
    async_task *task = async_create_task(serve, server);
    static char answer[4096];
    async_task *client = async_create_task(get_slow, answer);

    wait_until(server, async_http_server_requests, 1);
    async_cancel(task, "enough");
    assert_int_equal(async_await(task), -ECANCELED);
    async_await(client);
    assert_string_equal(answer, "");
    assert_int_equal(told_count, 0);
    async_http_server_free(server);

    /* The block's exit, without any client. */
    async_with_http_server (other, "127.0.0.1", 0, NULL) {
        async_timeout (0.05)
            assert_int_equal(async_http_serve(other), -ETIMEDOUT);
    }
    return async_block_error();
}

/* A client that goes while its handler runs is no failure, and the server goes on. */
static int clients_leave(void *unused)
{
    async_http_server *server = start(&(async_http_server_options){.on_error = tell});
    async_task *task = async_create_task(serve, server);

    for (int i = 0; i < 20; i++) {
        async_stream *stream = async_open_connection("127.0.0.1", port);
        assert_non_null(stream);
        async_stream_printf(stream, "GET /slow HTTP/1.1\r\n" HOST "\r\n");
        struct linger reset = {.l_onoff = 1};
        if (i % 2) setsockopt(async_stream_fd(stream), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        async_sleep(0.01);
        async_stream_abort(stream);
    }
    wait_until(server, async_http_server_connections, 0);
    assert_int_equal(told_count, 0);
    async_http_shutdown(server);
    assert_int_equal(async_await(task), 0);
    async_http_server_free(server);
    return 0;
}

/* Without descriptors new clients wait; those that are there are served, a file is an error of 500. */
static int descriptors_run_out(void *unused)
{
    async_http_server *server = start(&(async_http_server_options){.on_error = tell});
    async_task *task = async_create_task(serve, server);
    static char answer[4096];
    struct rlimit before, none;
    int taken[4096], count = 0;

    async_stream *stream = async_open_connection("127.0.0.1", port);
    async_stream_printf(stream, "GET /hello/a HTTP/1.1\r\n" HOST "\r\n");
    wait_until(server, async_http_server_connections, 1);
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = 64;
    setrlimit(RLIMIT_NOFILE, &none);
    while (count < 4096 && (taken[count] = open("/dev/null", O_RDONLY)) >= 0)
        count++;
    async_stream_printf(stream, "GET /files/env HTTP/1.1\r\n" HOST "\r\n"
                                "GET /hello/b HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    size_t size = 0;
    ssize_t got;
    while ((got = async_stream_read(stream, answer + size, sizeof answer - 1 - size)) > 0)
        size += (size_t)got;
    assert_contains(answer, "Hello, a!");
    assert_contains(answer, "HTTP/1.1 500 ");
    assert_contains(answer, "Hello, b!");
    assert_contains(told, "EMFILE");
    async_stream_close(stream);
    while (count > 0)
        close(taken[--count]);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(get_slow_with(answer, "Connection: close\r\n"), 0);
    assert_contains(answer, "slow");
    async_http_shutdown(server);
    assert_int_equal(async_await(task), 0);
    async_http_server_free(server);
    return 0;
}

/* ---- pipelined requests ---- */

#define HELLO "GET /hello/%02d HTTP/1.1\r\n" HOST "\r\n"

/* The answers to requests that have come together go out together; a handler that waits holds up none of
 * those before its own. */
static int answers_are_gathered(void *unused)
{
    (void)unused;
    async_http_server *server = start(NULL);
    async_task *task = async_create_task(serve, server);
    async_with_stream(stream, async_open_connection("127.0.0.1", port))
    {
        static char bytes[65536];
        size_t size = 0;
        for (int i = 0; i < 32; i++)
            size += (size_t)snprintf(bytes + size, sizeof bytes - size, HELLO, i);
        size += (size_t)snprintf(bytes + size, sizeof bytes - size,
                                 "GET /slow HTTP/1.1\r\n" HOST "\r\n" HELLO, 99);
        assert_int_equal(async_stream_write(stream, bytes, size), 0);
        size = 0;
        bool early = false;
        while (size < sizeof bytes - 1) {
            ssize_t got = async_stream_read(stream, bytes + size, sizeof bytes - 1 - size);
            assert_true(got > 0);
            size += (size_t)got;
            bytes[size] = '\0';
            early |= strstr(bytes, "Hello, 31!") && !strstr(bytes, "slow");
            if (strstr(bytes, "Hello, 99!")) break;
        }
        assert_true(early);
        const char *at = bytes;
        for (int i = 0; i < 32; i++) {
            char text[32];
            snprintf(text, sizeof text, "Hello, %02d!", i);
            at = strstr(at, text);
            assert_non_null(at);
        }
        struct tcp_info info = {0};
        socklen_t length = sizeof info;
        assert_int_equal(getsockopt(async_stream_fd(stream), IPPROTO_TCP, TCP_INFO, &info, &length),
                         0);
        assert_in_range(info.tcpi_data_segs_in, 1, 8);
    }
    async_http_shutdown(server);
    assert_int_equal(async_await(task), 0);
    async_http_server_free(server);
    return 0;
}

#define REAL(coroutine)                                                                            \
    static void test_##coroutine(void **state)                                                     \
    {                                                                                              \
        (void)state;                                                                               \
        told_count = 0;                                                                            \
        int code = async_run(coroutine, NULL);                                                     \
        if (code < 0) print_error("%s\n", async_run_error_message());                              \
        assert_int_equal(code, 0);                                                                 \
    }

REAL(curl_is_served)
REAL(our_client_is_served)
REAL(shuts_down)
REAL(is_cancelled)
REAL(clients_leave)
REAL(descriptors_run_out)
REAL(answers_are_gathered)

/* ---- a server that outlives its loop ---- */

static async_http_server *left;

static int leaves_it_listening(void *unused)
{
    left = start(NULL);
    return 0;
}

static int leaves_it_after_a_request(void *unused)
{
    leaves_it_listening(unused);
    async_task *task = async_create_task(serve, left);
    assert_string_equal(shell("curl -sS --max-time 20 http://127.0.0.1:%d/hello/you", port),
                        "Hello, you!");
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    return 0;
}

/* The main task returns while it serves, and is shutting down. */
static int leaves_it_shutting_down(void *unused)
{
    leaves_it_listening(unused);
    async_create_task(serve, left);
    async_stream *client = async_open_connection("127.0.0.1", port);
    assert_non_null(client);
    assert_int_equal(async_stream_write(client, "GET /slow HTTP/1.1\r\n" HOST "\r\n", 32), 0);
    wait_until(left, async_http_server_requests, 1);
    assert_int_equal(async_http_shutdown(left), 0);
    async_stream_abort(client);
    return 0;
}

static void test_freed_after_its_loop(void **state)
{
    static const async_coroutine cases[] = {leaves_it_listening, leaves_it_after_a_request,
                                            leaves_it_shutting_down};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(async_run(cases[i], NULL), 0);
        assert_int_equal(async_http_server_connections(left), 0);
        async_http_server_free(left);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_curl_is_served),       cmocka_unit_test(test_our_client_is_served),
        cmocka_unit_test(test_shuts_down),           cmocka_unit_test(test_is_cancelled),
        cmocka_unit_test(test_clients_leave),        cmocka_unit_test(test_descriptors_run_out),
        cmocka_unit_test(test_answers_are_gathered), cmocka_unit_test(test_freed_after_its_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
