/* The HTTP client against nginx over TLS: which servers are trusted, and which are not. */
#include "http_test.h"
#include "nginx.h"

static struct nginx server;

static const char configuration[] =
    "ssl_session_cache shared:s:1m; add_header X-Connection $connection;\n"
    "add_header X-Client \"$ssl_client_s_dn\"; add_header X-Reused $ssl_session_reused;\n"
    "default_type text/plain;\n"
    "server { listen 127.0.0.1:@0@; location / { return 302 https://localhost:@1@/; } }\n"
    "server { listen 127.0.0.1:@1@ ssl http2; ssl_certificate @dir@/good.crt;\n"
    " ssl_certificate_key @dir@/good.key; location / { return 200 \"good $server_protocol\"; } }\n"
    "server { listen 127.0.0.1:@2@ ssl; ssl_certificate @dir@/stranger.crt;\n"
    " ssl_certificate_key @dir@/stranger.key; location / { return 200 stranger; } }\n"
    "server { listen 127.0.0.1:@3@ ssl; ssl_certificate @dir@/expired.crt;\n"
    " ssl_certificate_key @dir@/expired.key; location / { return 200 expired; } }\n"
    "server { listen 127.0.0.1:@4@ ssl; ssl_certificate @dir@/good.crt;\n"
    " ssl_certificate_key @dir@/good.key; ssl_client_certificate @dir@/ca.crt;\n"
    " ssl_verify_client on; location / { return 200 known; } }\n"
    "server { listen 127.0.0.1:@5@ ssl; ssl_certificate @dir@/good.crt; ssl_protocols TLSv1.1;\n"
    " ssl_certificate_key @dir@/good.key; location / { return 200 old; } }\n";

static const char *file(const char *name)
{
    static char paths[8][96];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", server.dir, name);
    return path;
}

static const char *url(const char *host, int port)
{
    static char text[64];
    snprintf(text, sizeof text, "https://%s:%d/", host, server.port[port]);
    return text;
}

static int trusted(void *unused)
{
    (void)unused;
    async_with_http_session (session, &(async_http_session_options){.ca_file = file("ca.crt")}) {
        char first[32] = "";
        for (int i = 0; i < 5; i++)
            async_with_http_get (response, session, url("127.0.0.1", 1)) {
                assert_string_equal(async_http_text(response), "good HTTP/1.1");
                if (i == 0) strcpy(first, async_http_header(response, "X-Connection"));
                assert_string_equal(async_http_header(response, "X-Connection"), first);
            }
        async_with_http_get (response, session, url("localhost", 1))
            assert_string_equal(async_http_text(response), "good HTTP/1.1");
        async_with_http_get (response, session, nginx_url(&server, "/")) {
            assert_string_equal(async_http_url(response), url("localhost", 1));
            assert_string_equal(async_http_text(response), "good HTTP/1.1");
        }
        /* Another handle, another connection, the same TLS session. */
        async_with_http_get (response, session, url("127.0.0.1", 1))
            async_with_http_request (other, session, .url = url("127.0.0.1", 1),
                                     .headers = LIST("Connection: close"))
                async_with_http_get (third, session, url("127.0.0.1", 1)) {
                    assert_string_equal(async_http_text(response), "good HTTP/1.1");
                    assert_string_equal(async_http_text(other), "good HTTP/1.1");
                    assert_string_equal(async_http_text(third), "good HTTP/1.1");
                }
    }
    return 0;
}
HTTP_TEST(trusted)

static int not_trusted(void *unused)
{
    (void)unused;
    /* The system's CAs do not know the test's. */
    async_with_http_session (session, NULL)
        assert_fails(session, url("127.0.0.1", 1), ASYNC_ECERT, "certificate");
    async_with_http_session (session,
                             &(async_http_session_options){.ca_file = file("other-ca.crt")})
        for (int i = 0; i < 2; i++)
            assert_fails(session, url("127.0.0.1", 1), ASYNC_ECERT,
                         "could not be verified (SSL certificate problem: unable to get");
    async_with_http_session (session, &(async_http_session_options){.ca_file = file("ca.crt")}) {
        assert_fails(session, url("127.0.0.1", 2), ASYNC_ECERT, "127.0.0.1");
        assert_fails(session, url("localhost", 2), ASYNC_ECERT, "'localhost'");
        assert_fails(session, url("127.0.0.1", 3), ASYNC_ECERT, "certificate has expired");
        assert_fails(session, url("127.0.0.1", 5), ASYNC_ETLS, "TLS failed (");
        assert_fails(session, url("127.0.0.1", 0), ASYNC_ETLS, "TLS failed (");
    }
    async_with_http_session (session, &(async_http_session_options){.ca_file = file("none.crt")})
        assert_fails(session, url("127.0.0.1", 1), ASYNC_ETLS, "none.crt");
    return 0;
}
HTTP_TEST(not_trusted)

static int trusts_anybody(void *unused)
{
    (void)unused;
    async_with_http_session (session, &(async_http_session_options){.insecure_skip_verify = true}) {
        async_with_http_get (response, session, url("localhost", 2))
            assert_string_equal(async_http_text(response), "stranger");
        async_with_http_get (response, session, url("localhost", 3))
            assert_string_equal(async_http_text(response), "expired");
    }
    return 0;
}
HTTP_TEST(trusts_anybody)

static int shows_its_own(void *unused)
{
    (void)unused;
    async_http_session_options options = {
        .ca_file = file("ca.crt"), .certificate = file("client.crt"), .key = file("client.key")};
    async_with_http_session (session, &options)
        async_with_http_get (response, session, url("127.0.0.1", 4)) {
            assert_string_equal(async_http_text(response), "known");
            assert_string_equal(async_http_header(response, "X-Client"), "CN=client");
        }
    async_with_http_session (session, &(async_http_session_options){.ca_file = file("ca.crt")})
        async_with_http_get (response, session, url("127.0.0.1", 4))
            assert_int_equal(async_http_status(response), 400);
    options.key = file("good.key");
    async_with_http_session (session, &options)
        assert_fails(session, url("127.0.0.1", 4), ASYNC_ETLS, "good.key");
    return 0;
}
HTTP_TEST(shows_its_own)

static int speaks_http2_if_asked(void *unused)
{
    (void)unused;
    async_http_session_options options = {.ca_file = file("ca.crt"), .http2 = true};
    async_with_http_session (session, &options) {
        async_http_response *responses[10];
        for (int i = 0; i < 10; i++)
            responses[i] = async_http_get(session, url("127.0.0.1", 1));
        for (int i = 0; i < 10; i++) {
            assert_non_null(responses[i]);
            assert_string_equal(async_http_version(responses[i]), "2");
            assert_string_equal(async_http_reason(responses[i]), "");
            assert_string_equal(async_http_header(responses[i], "X-Connection"),
                                async_http_header(responses[0], "X-Connection"));
            assert_string_equal(async_http_text(responses[i]), "good HTTP/2.0");
            if (i > 0) async_http_response_free(responses[i]);
        }
        async_http_response_free(responses[0]);
    }
    return 0;
}
HTTP_TEST(speaks_http2_if_asked)

static int open_server(void **state)
{
    (void)state;
    assert_true(nginx_prepare(&server));
    assert_true(nginx_certificates(&server));
    assert_true(nginx_start(&server, configuration));
    return 0;
}

static int close_server(void **state)
{
    (void)state;
    nginx_stop(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trusted),
        cmocka_unit_test(test_not_trusted),
        cmocka_unit_test(test_trusts_anybody),
        cmocka_unit_test(test_shows_its_own),
        cmocka_unit_test(test_speaks_http2_if_asked),
    };
    return cmocka_run_group_tests(tests, open_server, close_server);
}
