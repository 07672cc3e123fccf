/* server_test.h - what the tests of the HTTP server have in common: a client that is bytes, over a
 * pair in memory and in virtual time. */
#ifndef TESTS_HTTP_SERVER_TEST_H
#define TESTS_HTTP_SERVER_TEST_H

#include "run.h"

#include <casyncio/http_server.h>
#include <math.h>
#include <unistd.h>

__attribute__((unused)) static void assert_part(const char *text, const char *part, bool there)
{
    if (!strstr(text, part) == !there) return;
    print_error("\"%s\" is %s: %s\n", part, there ? "not in" : "in", text);
    assert_int_equal(strstr(text, part) != NULL, there);
}

#define assert_contains(text, part) assert_part(text, part, true)
#define assert_lacks(text, part) assert_part(text, part, false)

/* One end of a pair is served by a task. */
struct client {
    async_http_server *server;
    async_stream *ends[2];
    async_task *task;
    char answer[65536]; /* what has come, with a 0 behind it */
    size_t size;
};

__attribute__((unused)) static int serve_end(void *argument)
{
    struct client *client = argument;
    return async_http_serve_stream(client->server, client->ends[0]);
}

__attribute__((unused)) static void client_open_with(struct client *client,
                                                     async_http_server *server,
                                                     const async_pair_options *options)
{
    client->server = server;
    client->size = 0;
    client->answer[0] = '\0';
    assert_int_equal(async_stream_pair_with(client->ends, options), 0);
    client->task = async_create_task(serve_end, client);
    assert_non_null(client->task);
}

__attribute__((unused)) static void client_open(struct client *client, async_http_server *server)
{
    client_open_with(client, server, NULL);
}

__attribute__((unused)) static void client_send(struct client *client, const char *bytes,
                                                size_t size)
{
    /* The server may have had enough. */
    async_stream_write(client->ends[1], bytes, size);
}

/* Reads until the server's end, or until there is nothing more for `seconds`. */
__attribute__((unused)) static const char *client_read_for(struct client *client, double seconds)
{
    ssize_t got = 1;

    client->size = 0;
    while (got > 0) {
        got = -ETIMEDOUT;
        async_timeout (seconds)
            got = async_stream_read(client->ends[1], client->answer + client->size,
                                    sizeof client->answer - 1 - client->size);
        if (got > 0) client->size += (size_t)got;
    }
    client->answer[client->size] = '\0';
    return client->answer;
}

__attribute__((unused)) static const char *client_read(struct client *client)
{
    return client_read_for(client, INFINITY);
}

__attribute__((unused)) static int client_close(struct client *client)
{
    async_stream_abort(client->ends[1]);
    return async_await(client->task);
}

/* All that a client is answered that sends these bytes and then its end. */
__attribute__((unused)) static const char *ask_bytes(struct client *client,
                                                     async_http_server *server, const char *bytes,
                                                     size_t size)
{
    client_open(client, server);
    client_send(client, bytes, size);
    async_stream_write_eof(client->ends[1]);
    client_read(client);
    assert_int_equal(client_close(client), 0);
    return client->answer;
}

#define ask(client, server, text) ask_bytes(client, server, text, sizeof(text) - 1)

/* A server with these options, in virtual time, and its end. */
#define WITH_SERVER(server, ...)                                                                   \
    async_with (async_http_server *, server,                                                       \
                async_http_server_new(&(async_http_server_options){__VA_ARGS__}),                  \
                async_http_server_free)

/* What on_error was told. */
static char told[1024];
static int told_count;

__attribute__((unused)) static void tell(struct async_http_request *request, int code,
                                         const char *message, void *data)
{
    (void)data;
    told_count++;
    snprintf(told, sizeof told, "%s %s %s: %s", async_http_request_method(request),
             async_http_request_target(request), async_error_name(code), message);
}

#endif
