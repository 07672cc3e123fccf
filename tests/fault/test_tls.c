/* Sweeps of TLS: contexts, handshakes over memory and Unix sockets, STARTTLS, sessions, closes.
 *
 * ctest: timeout=600 */
#include "sweep.h"

#include <casyncio/tls.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "tls/pki.h"

static int failed(void)
{
    int code = async_error_code();
    assert_true(code < 0);
    return code;
}

/* Nothing may be left in OpenSSL's queue, which is the thread's. */
static int clean(int code)
{
    assert_int_equal(ERR_peek_error(), 0);
    return code;
}

static async_tls_context *client, *server;

static async_tls_options client_options(void)
{
    static const char *const alpn[] = {"a", "b", NULL};
    return (async_tls_options){.ca_file = pki("ca.crt"), .alpn = alpn};
}

/* ---- contexts ---- */

static int contexts(void *unused)
{
    (void)unused;
    async_tls_options options = client_options();
    options.certificate = pki("server.crt");
    options.key = pki("server.key");
    options.key_log_file = pki("keys");
    async_tls_context *context = async_tls_client_context(&options);
    if (!context) return clean(failed());
    async_tls_context_free(context);
    options.client_certificate = ASYNC_TLS_CLIENT_CERTIFICATE_REQUIRED;
    context = async_tls_server_context(&options);
    if (!context) return clean(failed());
    int code =
        async_tls_context_add_certificate(context, pki("server.crt"), pki("server.key"), NULL);
    async_tls_context_free(context);
    return clean(code);
}

/* ---- conversations ---- */

struct serve_one {
    async_stream *stream;
    bool start;
};

static int serve_one(struct serve_one *self)
{
    char line[64];
    ssize_t n = 0;
    int code = self->start ? async_stream_start_tls(self->stream, server, NULL) : 0;
    while (code == 0) {
        n = async_stream_readline(self->stream, line, sizeof line);
        if (n <= 0) break;
        code = async_stream_write(self->stream, line, (size_t)n);
    }
    if (code == 0 && n < 0) code = (int)n;
    int closed = async_stream_close(self->stream);
    return code ? code : closed;
}

static int talk(async_stream *stream)
{
    char line[64];
    int code = 0;
    for (int i = 0; i < 2 && code == 0; i++) {
        code = async_stream_printf(stream, "line %d\n", i);
        ssize_t n = code < 0 ? code : async_stream_readline(stream, line, sizeof line);
        if (n < 0) return (int)n;
        if (n == 0) return ASYNC_EINCOMPLETE;
        assert_int_equal(n, 7);
    }
    async_tls_certificate *certificate = code < 0 ? NULL : async_tls_peer_certificate(stream);
    if (code == 0 && !certificate) return failed();
    if (certificate) assert_string_equal(certificate->subject, "CN=localhost");
    async_tls_certificate_free(certificate);
    (void)async_tls_alpn(stream);
    return code;
}

static int end_with(async_stream *stream, int code)
{
    if (code < 0) {
        async_stream_abort(stream);
        return code;
    }
    return async_stream_close(stream);
}

static int abort_both(async_stream *ends[2], int code)
{
    async_stream_abort(ends[0]);
    async_stream_abort(ends[1]);
    return code;
}

static int talk_over_pair(async_stream *ends[2])
{
    async_task *task = async_spawn(serve_one, .stream = ends[1], .start = true);
    if (!task) return abort_both(ends, failed());
    int code = async_stream_start_tls(ends[0], client, "localhost");
    if (code == 0) code = talk(ends[0]);
    code = end_with(ends[0], code);
    int other = 0;
    async_shield ()
        other = async_await(task);
    return clean(code ? code : other);
}

static int memory(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    int code = async_stream_pair(ends);
    return code < 0 ? code : talk_over_pair(ends);
}

struct accept_one {
    async_server *server;
};
static int accept_one(struct accept_one *self)
{
    async_stream *stream = async_server_accept(self->server);
    return stream ? serve_one(&(struct serve_one){.stream = stream}) : failed();
}

static int over_unix(void *unused)
{
    (void)unused;
    int code, other = 0;
    async_server *listening = async_tls_start_unix_server(pki("socket"), server, NULL);
    if (!listening) return clean(failed());
    async_task *task = async_spawn(accept_one, .server = listening);
    if (!task) {
        code = failed();
        async_server_close(listening);
        return code;
    }
    async_stream *stream = async_tls_open_unix_connection(pki("socket"), "localhost", client);
    code = stream ? talk(stream) : failed();
    if (stream) code = end_with(stream, code);
    async_cancel(task, NULL);
    async_shield ()
        other = async_await(task);
    if (code == 0 && other != -ECANCELED) code = other;
    other = async_server_close(listening);
    return clean(code ? code : other);
}

/* What has been written before, and bytes that the reader holds. */
static int start_tls(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    char line[64];
    int code = async_stream_pair_with(ends, &(async_pair_options){.capacity = 50});
    if (code < 0) return code;
    ssize_t n = async_stream_write_nowait(ends[1], "hello\nmore\n", 11);
    if (n == 0) n = async_stream_readline(ends[0], line, sizeof line);
    if (n == 6) n = async_stream_readline(ends[0], line, sizeof line);
    return n == 5 ? talk_over_pair(ends) : abort_both(ends, n < 0 ? (int)n : failed());
}

SWEEP(contexts, 0)
SWEEP(memory, PEERS | MUCH_DATA)
SWEEP(over_unix, PEERS | MUCH_DATA)
SWEEP(start_tls, PEERS | MUCH_DATA)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contexts),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_over_unix),
        cmocka_unit_test(test_start_tls),
    };
    pki_make();
    async_tls_options options = client_options();
    client = async_tls_client_context(&options);
    server = async_tls_server_context(&(async_tls_options){
        .certificate = pki("server.crt"), .key = pki("server.key"), .alpn = options.alpn});
    assert_non_null(client);
    assert_non_null(server);
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    async_tls_context_free(client);
    async_tls_context_free(server);
    return bad;
}
