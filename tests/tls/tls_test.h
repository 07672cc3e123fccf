/* tls_test.h - what the tests of TLS have in common: contexts, and connected pairs. */
#ifndef TESTS_TLS_TLS_TEST_H
#define TESTS_TLS_TLS_TEST_H

#include "io/io_test.h"

#include <casyncio/tls.h>
#include <math.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "pki.h"

/* A client's context that trusts the test's CA, unless it says otherwise. */
UNUSED async_tls_context *make_client(async_tls_options options)
{
    char ca[128];
    snprintf(ca, sizeof ca, "%s", pki("ca.crt"));
    if (!options.ca_file && !options.ca_path) options.ca_file = ca;
    async_tls_context *context = async_tls_client_context(&options);
    if (!context) fail_msg("client: %s", async_error_message());
    return context;
}
#define client_context(...) make_client((async_tls_options){__VA_ARGS__})

/* A server's, with the certificate "server", unless it says otherwise. */
UNUSED async_tls_context *make_server(async_tls_options options)
{
    char certificate[128], key[128];
    snprintf(certificate, sizeof certificate, "%s", pki("server.crt"));
    snprintf(key, sizeof key, "%s", pki("server.key"));
    if (!options.certificate) {
        options.certificate = certificate;
        options.key = key;
    }
    async_tls_context *context = async_tls_server_context(&options);
    if (!context) fail_msg("server: %s", async_error_message());
    return context;
}
#define server_context(...) make_server((async_tls_options){__VA_ARGS__})

struct start_server {
    async_stream *stream;
    async_tls_context *context;
};
UNUSED int start_server(struct start_server *self)
{
    return async_stream_start_tls(self->stream, self->context, NULL);
}

/* Has both ends speak TLS, the second as the server: the client's code. *code: the server's. */
UNUSED int secure_pair_as(async_stream *ends[2], async_tls_context *client,
                          async_tls_context *server, const char *name, int *code)
{
    async_task *task = async_spawn(start_server, .stream = ends[1], .context = server);
    int result = async_stream_start_tls(ends[0], client, name);
    if (result < 0) async_stream_abort(ends[0]);
    *code = async_await(task);
    return result;
}

UNUSED int secure_pair(async_stream *ends[2], async_tls_context *client, async_tls_context *server)
{
    int code, result = secure_pair_as(ends, client, server, "localhost", &code);
    return result < 0 ? result : code;
}

/* Both ends of a connection, closed at once. */
struct close_end {
    async_stream *stream;
};
UNUSED int close_end(struct close_end *self) { return async_stream_close(self->stream); }

UNUSED void close_both(async_stream *ends[2])
{
    async_task *task = async_spawn(close_end, .stream = ends[0]);
    assert_int_equal(async_stream_close(ends[1]), 0);
    assert_int_equal(async_await(task), 0);
}

#endif
