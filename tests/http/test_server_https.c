/* The HTTP server with TLS and over HTTP/2, in real time, with others' clients: curl, nghttp, h2load,
 * python3-h2; and with this library's own.
 *
 * ctest: timeout=200 */
#include <casyncio/http.h>
#include <casyncio/http_server.h>
#include <casyncio/tls.h>
#include <nghttp2/nghttp2.h>

#include "../tls/pki.h"
#include "server_programs.h" /* behind headers with a parameter called port */

static async_tls_context *context;

static int hello(struct async_http_request *request)
{
    return async_http_respond_text(request, 200, "Hello, %s! %s", async_http_param(request, "name"),
                                   async_http_request_version(request));
}

static int events(struct async_http_request *request)
{
    for (int i = 0; i < 3; i++) {
        int code = async_http_send_event(request, NULL, NULL, "x");
        if (code < 0) return code;
    }
    return 0;
}

static int sum(struct async_http_request *request)
{
    async_http_respond_begin(request, 200, NULL, -1);
    async_http_respond_write(request, "body", 4);
    return async_http_set_trailer(request, "X-Sum", "7");
}

/* "name[filename type]=size|" of each part. */
static int form(struct async_http_request *request)
{
    char text[1000];
    size_t used = 0, size;
    async_http_part part;
    int code;

    while ((code = async_http_next_part(request, &part)) > 0) {
        const char *value = async_http_part_read(request, &size);
        if (!value) return async_error_code();
        used += (size_t)snprintf(text + used, sizeof text - used, "%s[%s %s]=%zu|", part.name,
                                 part.filename ? part.filename : "-",
                                 part.content_type ? part.content_type : "-", size);
    }
    return code < 0 ? code : async_http_respond(request, 200, "text/plain", text, used);
}

/* ---- other programs ---- */

static bool has_program(const char *command)
{
    bool is = system(command) == 0;
    if (!is) print_message("skipped: %s\n", command);
    return is;
}

#define WITH(tls_context)                                                                          \
    async_with_http_server (server, "127.0.0.1", 0,                                                \
                            (&(async_http_server_options){.on_error = tell, .tls = tls_context}))  \
        for (async_task *task = begin(server); task; task = end(server, task))

static async_task *begin(async_http_server *server)
{
    port = async_http_server_port(server);
    told_count = 0;
    async_http_route(server, "GET", "/hello/{name}", hello);
    async_http_route(server, "POST", "/echo", echo);
    async_http_route(server, "GET", "/slow", slow);
    async_http_route(server, "GET", "/events", events);
    async_http_route(server, "POST", "/form", form);
    async_http_route(server, "GET", "/sum", sum);
    assert_int_equal(async_http_static(server, "/files/", "/usr/bin"), 0);
    return async_create_task(serve, server);
}

static async_task *end(async_http_server *server, async_task *task)
{
    async_http_shutdown(server);
    assert_int_equal(async_await(task), 0);
    assert_int_equal(told_count, 0);
    return NULL;
}

/* The same over all three. */
static int curl(void *unused)
{
    static const struct {
        const char *scheme, *flag, *version;
        bool tls;
    } ways[] = {{"https", "--http2", "2", true},
                {"https", "--http1.1", "1.1", true},
                {"http", "--http2-prior-knowledge", "2", false},
                {"http", "--http2", "1.1", false}}; /* the upgrade of RFC 7540 is not done */

    (void)unused;
    if (!has_program("command -v curl >/dev/null && curl -V | grep -qw HTTP2")) return 0;
    for (size_t i = 0; i < COUNT(ways); i++)
        WITH(ways[i].tls ? context : NULL)
        {
            char base[300], expected[100];
            snprintf(base, sizeof base, "curl -sS --max-time 30 --cacert %s %s", pki("ca.crt"),
                     ways[i].flag);
            const char *scheme = ways[i].scheme;
            snprintf(expected, sizeof expected, "Hello, Ann! %s", ways[i].version);
            shell("%s %s://localhost:%d/hello/Ann", base, scheme, port);
            assert_string_equal(output, expected);
            shell("%s -I %s://localhost:%d/hello/Ann", base, scheme, port);
            assert_contains(output, ways[i].version[0] == '2' ? "content-length: 13\r\n"
                                                              : "Content-Length: 15\r\n");
            shell("%s %s://localhost:%d/events", base, scheme, port);
            assert_string_equal(output, "data: x\n\ndata: x\n\ndata: x\n\n");
            shell("%s %s://localhost:%d/files/env | cmp - /usr/bin/env && echo same", base, scheme,
                  port);
            assert_string_equal(output, "same\n");
            shell("%s -r 100-199 %s://localhost:%d/files/env | wc -c", base, scheme, port);
            assert_int_equal(atoi(output), 100);
            shell("head -c 3000000 /dev/zero | %s --data-binary @- %s://localhost:%d/echo | wc -c",
                  base, scheme, port);
            assert_int_equal(atoi(output), 3000000);
            shell("head -c 300000 /dev/zero | %s -T - -X POST -H 'Expect: 100-continue' "
                  "%s://localhost:%d/echo | wc -c",
                  base, scheme, port);
            assert_int_equal(atoi(output), 300000);
        }
    return async_block_error();
}

static int nghttp(void *unused)
{
    (void)unused;
    if (!has_program("command -v nghttp >/dev/null && command -v h2load >/dev/null")) return 0;
    for (int i = 0; i < 2; i++)
        WITH(i == 0 ? context : NULL)
        {
            const char *scheme = i == 0 ? "https" : "http";
            shell("nghttp %s://127.0.0.1:%d/hello/Ann", scheme, port);
            assert_string_equal(output, "Hello, Ann! 2");
            shell("h2load -n 2000 -c 4 -m 50 %s://127.0.0.1:%d/hello/x", scheme, port);
            assert_contains(output, "2000 succeeded, 0 failed");
            shell("h2load -n 100 -c 2 -m 20 %s://127.0.0.1:%d/files/env", scheme, port);
            assert_contains(output, "100 succeeded, 0 failed");
        }
    return async_block_error();
}

/* Each MUST of RFC 9113, with python3-h2 as the peer. */
static int rfc9113(void *unused)
{
    (void)unused;
    if (!has_program("/usr/bin/python3 -c 'import h2' 2>/dev/null")) return 0;
    WITH(NULL)
    {
        shell("/usr/bin/python3 \"$SOURCE_DIR/tests/http/h2_rfc9113.py\" %d 2>&1 || true", port);
        if (!strstr(output, " 0 wrong")) print_error("%s", output);
        assert_contains(output, " 0 wrong");
    }
    return async_block_error();
}

static int our_client(void *unused)
{
    (void)unused;
    for (int i = 0; i < 2; i++)
        WITH(context)
        {
            async_http_session_options options = {.ca_file = pki("ca.crt"), .http2 = i == 1};
            char url[64];
            snprintf(url, sizeof url, "https://localhost:%d/hello/Ann", port);
            async_with_http_session (session, &options) {
                async_with_http_get (response, session, url)
                    assert_contains(async_http_text(response), "Hello, Ann! ");
                snprintf(url, sizeof url, "https://localhost:%d/sum", port);
                async_with_http_get (response, session, url) {
                    assert_string_equal(async_http_text(response), "body");
                    assert_string_equal(async_http_version(response), i == 1 ? "2" : "1.1");
                    assert_string_equal(async_http_trailer(response, "x-sum"), "7");
                }
                static char file[200000];
                size_t size;
                async_http_form_data *fields = async_http_form_new();
                assert_int_equal(async_http_form_add(fields, "a\"b\r\n", "1"), 0);
                assert_int_equal(async_http_form_add(fields, "empty", ""), 0);
                assert_int_equal(
                    async_http_form_add_file(fields, "f", "x.png", "image/png", file, sizeof file),
                    0);
                const void *body = async_http_form_body(fields, &size);
                assert_int_equal(async_http_form_add(fields, "late", "1"), -EINVAL);
                snprintf(url, sizeof url, "https://localhost:%d/form", port);
                async_with_http_request (response, session, .url = url, .method = "POST",
                                         .body = body, .body_size = size,
                                         .content_type = async_http_form_type(fields))
                    assert_string_equal(
                        async_http_text(response),
                        "a%22b%0D%0A[- -]=1|empty[- -]=0|f[x.png image/png]=200000|");
                async_http_form_free(fields);
            }
        }
    return async_block_error();
}

/* What has been agreed on by ALPN is spoken, and nothing else. */
static int alpn_counts(void *unused)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    static const char *const alpns[][2] = {{"http/1.1", NULL}, {"h2", NULL}};
    char bytes[4096];

    (void)unused;
    WITH(context)
    for (size_t i = 0; i < COUNT(alpns); i++) {
        async_tls_context *of_client = async_tls_client_context(
            &(async_tls_options){.ca_file = pki("ca.crt"), .alpn = alpns[i]});
        async_with_stream(stream, async_tls_open_connection("localhost", port, of_client))
        {
            assert_string_equal(async_tls_alpn(stream), alpns[i][0]);
            if (i == 0) /* the preface on HTTP/1.1 is none */
                async_stream_write(stream, preface, sizeof preface);
            else /* and HTTP/1.1 is no preface */
                async_stream_printf(stream, "GET /hello/x HTTP/1.1\r\nHost: a\r\n\r\n");
            ssize_t got = async_stream_read(stream, bytes, sizeof bytes - 1);
            assert_true(got > 0);
            bytes[got] = '\0';
            if (i == 0) assert_contains(bytes, "HTTP/1.1 505 ");
            while (i == 1 && got > 0) { /* SETTINGS, GOAWAY */
                assert_null(memmem(bytes, (size_t)got, "Hello", 5));
                got = async_stream_read(stream, bytes, sizeof bytes - 1);
            }
        }
        async_tls_context_free(of_client);
    }
    return async_block_error();
}

static int refuses_contexts(void *unused)
{
    async_tls_context *of_client = async_tls_client_context(NULL);

    (void)unused;
    assert_null(async_http_server_new(&(async_http_server_options){.tls = context}));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_null(
        async_http_server_start("127.0.0.1", 0, &(async_http_server_options){.tls = of_client}));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_contains(async_error_message(), "context");
    async_tls_context_free(of_client);
    return 0;
}

#define REAL(coroutine)                                                                            \
    static void test_##coroutine(void **state)                                                     \
    {                                                                                              \
        (void)state;                                                                               \
        int code = async_run(coroutine, NULL);                                                     \
        if (code < 0) print_error("%s\n", async_run_error_message());                              \
        assert_int_equal(code, 0);                                                                 \
    }

REAL(curl)
REAL(nghttp)
REAL(rfc9113)
REAL(our_client)
REAL(alpn_counts)
REAL(refuses_contexts)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_curl),        cmocka_unit_test(test_nghttp),
        cmocka_unit_test(test_rfc9113),     cmocka_unit_test(test_our_client),
        cmocka_unit_test(test_alpn_counts), cmocka_unit_test(test_refuses_contexts),
    };

    pki_make();
    context = async_tls_server_context(
        &(async_tls_options){.certificate = pki("server.crt"),
                             .key = pki("server.key"),
                             .alpn = (const char *const[]){"h2", "http/1.1", NULL}});
    if (!context) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    async_tls_context_free(context);
    return failed;
}
