/* Connections: idle ones that the server closes or talks on, ones that meet themselves, and TLS ones
 * that are reset or cut off at any byte. */
#include "http_test.h"
#include "relay.h"

#include <dlfcn.h>

static struct raw_server server;
static struct nginx nginx;
static atomic_int ended; /* connections whose client has closed after the server had */
static atomic_int own_port;

/* curl's: a connection to own_port is made to begin there. */
int connect(int fd, const struct sockaddr *to, socklen_t length)
{
    static int (*_Atomic next)(int, const struct sockaddr *, socklen_t);
    const struct sockaddr_in *in = (const void *)to;

    if (!next) next = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
    if (to->sa_family == AF_INET && own_port && ntohs(in->sin_port) == own_port) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
        if (bind(fd, to, length) < 0) return -1;
    }
    return next(fd, to, length);
}

static bool answer(int fd, const char *head, const char *body, size_t size)
{
    (void)body, (void)size;
    const char *text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    if (!raw_printf(fd, "%s", text)) return false;
    if (strstr(head, " /more "))
        return raw_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong");
    if (strstr(head, " /late ")) {
        raw_printf(fd, "HTTP/1.1 408 Too Late\r\nContent-Length: 0\r\n\r\n");
        shutdown(fd, SHUT_WR);
    } else if (strstr(head, " /end ")) {
        shutdown(fd, SHUT_WR);
    } else {
        return true;
    }
    if (raw_closed(fd, 30)) atomic_fetch_add(&ended, 1);
    return false;
}

static const char configuration[] =
    "server { listen 127.0.0.1:@0@; location / { return 200 plain; } }\n"
    "server { listen 127.0.0.1:@1@ ssl http2; ssl_certificate @dir@/good.crt;\n"
    " ssl_certificate_key @dir@/good.key; keepalive_timeout 1s; root @dir@/www; \n"
    " location /get { return 200 hello; } location /none { return 204; }\n"
    " location /stream { alias @dir@/www/file; chunked_transfer_encoding off; ssi on;\n"
    "  ssi_types *; }\n"
    " location /chunked { alias @dir@/www/file; ssi on; ssi_types *; } }\n";

/* ---- idle connections ---- */

/* The connections of this process to that port that are not closed on both sides. */
static int count_open(int port)
{
    int count = 0;

    for (int fd = 0; fd < 256; fd++) {
        struct sockaddr_in peer = {0};
        struct tcp_info info = {0};
        socklen_t length = sizeof peer, size = sizeof info;
        if (getpeername(fd, (struct sockaddr *)&peer, &length) < 0) continue;
        if (peer.sin_family != AF_INET || ntohs(peer.sin_port) != port) continue;
        if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) continue;
        count += info.tcpi_state == TCP_ESTABLISHED || info.tcpi_state == TCP_CLOSE_WAIT;
    }
    return count;
}

static int closed_by_the_server(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL) {
        for (int i = 0; i < 10; i++) {
            async_with_http_get (response, session, raw_url(&server, i % 2 ? "/end" : "/late"))
                assert_string_equal(async_http_text(response), "ok");
            async_timeout (30)
                while (atomic_load(&ended) <= i)
                    async_sleep(0.001);
            assert_int_equal(atomic_load(&ended), i + 1);
        }
        async_with_http_get (response, session, raw_url(&server, "/"))
            assert_string_equal(async_http_text(response), "ok");
    }
    return 0;
}
HTTP_TEST(closed_by_the_server)

static const char *tls_url(int port, const char *path)
{
    static char text[128];
    snprintf(text, sizeof text, "https://127.0.0.1:%d%s", port, path);
    return text;
}

static const char *ca_file(void)
{
    static char path[96];
    snprintf(path, sizeof path, "%s/ca.crt", nginx.dir);
    return path;
}

static int closed_by_a_tls_server(void *unused)
{
    (void)unused;
    for (int http2 = 0; http2 < 2; http2++) {
        async_http_session_options options = {.ca_file = ca_file(), .http2 = http2};
        async_with_http_session (session, &options) {
            async_with_http_get (response, session, tls_url(nginx.port[1], "/get")) {
                assert_string_equal(async_http_version(response), http2 ? "2" : "1.1");
                assert_string_equal(async_http_text(response), "hello");
            }
            async_timeout (30)
                while (count_open(nginx.port[1]) > 0)
                    async_sleep(0.05);
            assert_int_equal(count_open(nginx.port[1]), 0);
            async_with_http_get (response, session, tls_url(nginx.port[1], "/get"))
                assert_string_equal(async_http_text(response), "hello");
        }
    }
    return 0;
}
HTTP_TEST(closed_by_a_tls_server)

/* An answer to nothing is not the answer to the next request. */
static int talked_on(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL)
        for (int i = 0; i < 20; i++) {
            async_with_http_get (response, session, raw_url(&server, "/more"))
                assert_string_equal(async_http_text(response), "ok");
            while (count_open(server.port) > 0)
                async_sleep(0.001);
            async_with_http_get (response, session, raw_url(&server, "/"))
                assert_string_equal(async_http_text(response), "ok");
        }
    return 0;
}
HTTP_TEST(talked_on)

/* ---- connections that meet themselves ---- */

static int meets_itself(void *unused)
{
    (void)unused;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char url[64], proxy[64];

    bind(fd, (struct sockaddr *)&address, sizeof address);
    getsockname(fd, (struct sockaddr *)&address, &length);
    close(fd);
    int port = ntohs(address.sin_port);
    atomic_store(&own_port, port);
    async_with_http_session (session, NULL) {
        snprintf(url, sizeof url, "http://127.0.0.1:%d/x", port);
        assert_fails(session, url, -ECONNREFUSED, "met itself");
        assert_request_fails(session,
                             &(async_http_request_options){
                                 .url = url, .method = "POST", .body = "x", .body_size = 1},
                             -ECONNREFUSED, "met itself");
        snprintf(url, sizeof url, "https://127.0.0.1:%d/x", port);
        assert_fails(session, url, -ECONNREFUSED, "met itself");
    }
    snprintf(proxy, sizeof proxy, "http://127.0.0.1:%d", port);
    async_with_http_session (session, &(async_http_session_options){.proxy = proxy}) {
        assert_fails(session, "http://host.test/", -ECONNREFUSED, "met itself");
        assert_fails(session, "https://host.test/", -ECONNREFUSED, "met itself");
    }
    atomic_store(&own_port, 0);
    return 0;
}
HTTP_TEST(meets_itself)

/* ---- TLS that ends in the wrong way ---- */

/* What looks the same, and is right: a body that ends with its connection, and none at all. */
static int whole_tls(void *unused)
{
    (void)unused;
    static const struct {
        const char *method, *path;
        size_t size;
    } cases[] = {{"GET", "/stream", 100000}, {"GET", "/chunked", 100000}, {"GET", "/none", 0},
                 {"HEAD", "/stream", 0},     {"HEAD", "/chunked", 0},     {"GET", "/get", 5}};
    async_with_http_session (session, &(async_http_session_options){.ca_file = ca_file()})
        for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
            size_t which = i % (sizeof cases / sizeof *cases), size;
            async_with_http_request (response, session, .method = cases[which].method,
                                     .url = tls_url(nginx.port[1], cases[which].path)) {
                if (!async_http_read(response, &size)) fail_msg("%s", async_error_message());
                assert_int_equal(size, cases[which].size);
            }
        }
    return 0;
}
HTTP_TEST(whole_tls)

static int broken_tls(void *unused)
{
    (void)unused;
    static const char *const paths[] = {"/file", "/stream", "/chunked"};
    struct relay relay;
    assert_true(relay_start(&relay, nginx.port[1]));
    for (int reset = 0; reset < 2; reset++)
        for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
            for (int http2 = 0; http2 < 2; http2++) {
                async_http_session_options options = {.ca_file = ca_file(), .http2 = http2};
                relay.limit = 60000; /* the handshake takes some 2000, the body is of 100000 */
                relay.reset = reset;
                async_with_http_session (session, &options)
                    async_with_http_get (response, session, tls_url(relay.port, paths[i])) {
                        assert_int_equal(async_http_status(response), 200);
                        if (async_http_read(response, NULL))
                            fail_msg("%s, reset %d, http2 %d: whole", paths[i], reset, http2);
                        if (async_error_code() != (reset ? -ECONNRESET : ASYNC_EINCOMPLETE))
                            fail_msg("reset %d, http2 %d: %s", reset, http2, async_error_message());
                    }
                async_block_error();
            }
    /* In the handshake, and within the headers. */
    for (int reset = 0; reset < 2; reset++)
        for (size_t limit = 1; limit < 3000; limit += 150)
            async_with_http_session (session, &(async_http_session_options){.ca_file = ca_file()}) {
                relay.limit = limit;
                relay.reset = reset;
                async_http_response *response =
                    async_http_get(session, tls_url(relay.port, "/file"));
                if (response) assert_null(async_http_read(response, NULL));
                int code = async_error_code();
                if (reset)
                    assert_int_equal(code, -ECONNRESET);
                else
                    assert_true(code == ASYNC_EINCOMPLETE || code == ASYNC_ETLS);
                async_http_response_free(response);
            }
    relay_stop(&relay);
    return 0;
}
HTTP_TEST(broken_tls)

static int open_servers(void **state)
{
    (void)state;
    char path[96];
    assert_true(nginx_prepare(&nginx));
    assert_true(nginx_certificates(&nginx));
    snprintf(path, sizeof path, "%s/www/file", nginx.dir);
    FILE *file = fopen(path, "we");
    for (int i = 0; i < 10000; i++)
        fputs("ten bytes\n", file);
    fclose(file);
    assert_true(nginx_start(&nginx, configuration));
    assert_true(raw_start(&server, answer));
    return 0;
}

static int close_servers(void **state)
{
    (void)state;
    raw_stop(&server);
    nginx_stop(&nginx);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closed_by_the_server),
        cmocka_unit_test(test_closed_by_a_tls_server),
        cmocka_unit_test(test_talked_on),
        cmocka_unit_test(test_meets_itself),
        cmocka_unit_test(test_whole_tls),
        cmocka_unit_test(test_broken_tls),
    };
    return cmocka_run_group_tests(tests, open_servers, close_servers);
}
