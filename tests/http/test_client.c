/* The HTTP client against nginx: what goes right. */
#include "http_test.h"
#include "nginx.h"

static struct nginx server;

static const char configuration[] =
    "gzip on; gzip_min_length 1; gzip_types *;\n"
    "server { listen 127.0.0.1:@0@; keepalive_requests 100000; root @dir@/www;\n"
    " client_max_body_size 100m; dav_methods PUT DELETE;\n"
    " add_header X-Connection $connection; add_header X-Requests $connection_requests;\n"
    " location /get { default_type text/plain; return 200 \"hello\"; }\n"
    " location /method { return 200 \"$request_method $content_length $content_type\"; }\n"
    " location /head { add_header X-Twice one; add_header X-Twice two; add_header X-Empty \"\";\n"
    "  return 200 \"$http_x_one|$http_x_two|$http_user_agent|$http_accept_encoding|$host\"; }\n"
    " location /cookie { add_header Set-Cookie \"taste=sweet; Path=/\"; return 200 "
    "\"$http_cookie\"; }\n"
    " location /basic { return 200 \"$http_authorization\"; }\n"
    " location /204 { return 204; }\n"
    " location /404 { return 404 \"nothing here\"; }\n"
    " location /500 { return 500; }\n"
    " location /301 { return 301 /method; }\n"
    " location /303 { return 303 /method; }\n"
    " location /307 { return 307 /method; }\n"
    " location /far { return 302 http://localhost:@1@/basic; }\n"
    " location /loop { return 302 /loop; }\n"
    " location /ftp { return 302 ftp://127.0.0.1/x; }\n"
    " location /hops/ { rewrite ^/hops/x(.*)$ /hops/$1 redirect; rewrite ^ /get; }\n"
    "}\n"
    "server { listen 127.0.0.1:@1@; location /basic { return 200 "
    "\"<$http_authorization$http_cookie>\"; } }\n";

static int gets(void *unused)
{
    (void)unused;
    int entered = 0;
    async_with_http_session (session, NULL)
        async_with_http_get (response, session, nginx_url(&server, "/get")) {
            entered = 1;
            assert_int_equal(async_http_status(response), 200);
            assert_string_equal(async_http_reason(response), "OK");
            assert_string_equal(async_http_version(response), "1.1");
            assert_string_equal(async_http_url(response), nginx_url(&server, "/get"));
            assert_string_equal(async_http_header(response, "content-TYPE"), "text/plain");
            assert_null(async_http_header(response, "X-None"));
            assert_int_equal(async_http_raise_for_status(response), 0);
            assert_string_equal(async_http_text(response), "hello");
            size_t size;
            assert_string_equal(async_http_read(response, &size), "hello");
            assert_int_equal(size, 5);
            async_for (async_http_chunk, chunk, async_http_chunks(response))
                fail_msg("%.*s is left", (int)chunk.size, chunk.data);
        }
    assert_true(entered);
    return 0;
}
HTTP_TEST(gets)

static int methods(void *unused)
{
    (void)unused;
    async_http_session *session = async_http_session_new(NULL);
    const char *url = nginx_url(&server, "/method");
    struct {
        async_http_response *response;
        const char *text;
    } cases[] = {
        {async_http_get(session, url), "GET  "},
        {async_http_head(session, url), ""},
        {async_http_delete(session, url), "DELETE  "},
        {async_http_post(session, url, "abc", 3, NULL), "POST 3 application/octet-stream"},
        {async_http_post(session, url, NULL, 0, NULL), "POST 0 "},
        {async_http_put(session, url, "abcd", 4, "text/x"), "PUT 4 text/x"},
        {async_http_patch(session, url, "{}", 2, "application/json"), "PATCH 2 application/json"},
        {async_http_get(session, url), "GET  "},
        {async_http_request(session,
                            &(async_http_request_options){
                                .url = url, .method = "GET", .body = "q", .body_size = 1}),
         "GET 1 application/octet-stream"},
        {async_http_request(session, &(async_http_request_options){.url = url, .method = "BREW"}),
         "BREW  "},
        {async_http_request(session,
                            &(async_http_request_options){.url = url,
                                                          .method = "POST",
                                                          .headers = LIST("Content-Type: text/own"),
                                                          .body = "q",
                                                          .body_size = 1}),
         "POST 1 text/own"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_non_null(cases[i].response);
        assert_string_equal(async_http_text(cases[i].response), cases[i].text);
        async_http_response_free(cases[i].response);
    }
    async_http_session_free(session);
    return 0;
}
HTTP_TEST(methods)

static int headers_both_ways(void *unused)
{
    (void)unused;
    async_http_session_options options = {.headers = LIST("X-One: 1", "x-two: base"),
                                          .user_agent = "tester/2"};
    async_with_http_session (session, &options) {
        async_with_http_request (response, session, .url = nginx_url(&server, "/head"),
                                 .headers = LIST("X-Two: own", "Host: there")) {
            assert_contains(async_http_text(response), "1|own|tester/2|");
            assert_contains(async_http_text(response), "gzip");
            assert_contains(async_http_text(response), "|there");
            assert_string_equal(async_http_header(response, "x-twice"), "one");
            assert_string_equal(async_http_header(response, "Content-Encoding"), "gzip");
            const char *name, *value, *seen[2] = {"", ""};
            int twice = 0;
            for (size_t i = 0; async_http_header_at(response, i, &name, &value); i++)
                if (strcmp(name, "X-Twice") == 0) seen[twice++] = value;
            assert_int_equal(twice, 2);
            assert_string_equal(seen[0], "one");
            assert_string_equal(seen[1], "two");
            assert_false(
                async_http_header_at(response, async_http_header_count(response), NULL, NULL));
        }
        async_with_http_request (response, session, .url = nginx_url(&server, "/head"),
                                 .headers = LIST("X-One:", "X-Two;", "User-Agent:"))
            assert_memory_equal(async_http_text(response), "|||", 3);
    }
    async_with_http_session (session, &(async_http_session_options){.no_decompress = true})
        async_with_http_get (response, session, nginx_url(&server, "/head")) {
            assert_null(async_http_header(response, "Content-Encoding"));
            assert_contains(async_http_text(response), "||casyncio/" ASYNC_VERSION "||127.0.0.1");
        }
    return 0;
}
HTTP_TEST(headers_both_ways)

static int statuses(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL) {
        async_with_http_get (response, session, nginx_url(&server, "/404")) {
            assert_int_equal(async_http_status(response), 404);
            assert_string_equal(async_http_text(response), "nothing here");
            assert_int_equal(async_http_raise_for_status(response), ASYNC_EHTTPSTATUS);
            assert_contains(async_error_message(), "/404: 404 Not Found");
        }
        async_with_http_get (response, session, nginx_url(&server, "/500"))
            assert_int_equal(async_http_status(response), 500);
        async_with_http_get (response, session, nginx_url(&server, "/204")) {
            assert_int_equal(async_http_status(response), 204);
            assert_string_equal(async_http_text(response), "");
        }
    }
    return 0;
}
HTTP_TEST(statuses)

static int connections_are_used_again(void *unused)
{
    (void)unused;
    char first[32] = "";
    async_with_http_session (session, NULL)
        for (int i = 1; i <= 20; i++)
            async_with_http_get (response, session, nginx_url(&server, "/get")) {
                if (i == 1) strcpy(first, async_http_header(response, "X-Connection"));
                assert_string_equal(async_http_header(response, "X-Connection"), first);
                assert_int_equal(atoi(async_http_header(response, "X-Requests")), i);
                if (i % 2) async_http_text(response); /* read or not */
            }
    async_with_http_session (session, NULL)
        async_with_http_get (response, session, nginx_url(&server, "/get"))
            assert_string_not_equal(async_http_header(response, "X-Connection"), first);
    return 0;
}
HTTP_TEST(connections_are_used_again)

struct one {
    async_http_session *session;
    int *connections; /* by the number that a connection got in this test */
    int *done;
};

static int one(struct one *self)
{
    for (int i = 0; i < 3; i++) {
        async_http_response *response = async_http_get(self->session, nginx_url(&server, "/get"));
        if (!response) return async_error_code();
        assert_string_equal(async_http_text(response), "hello");
        if (atoi(async_http_header(response, "X-Requests")) == 1) ++*self->connections;
        async_http_response_free(response);
    }
    ++*self->done;
    return 0;
}

static int hundreds_at_once(void *unused)
{
    (void)unused;
    static const int limits[] = {0, 7};
    for (int i = 0; i < 2; i++) {
        int connections = 0, done = 0;
        async_http_session_options options = {.connections = limits[i]};
        async_with_http_session (session, &options) {
            async_with_group (group)
                for (int k = 0; k < 150; k++)
                    async_group_spawn(group, one, .session = session, .connections = &connections,
                                      .done = &done);
            assert_int_equal(async_block_error(), 0);
        }
        assert_int_equal(done, 150);
        assert_in_range(connections, 1, limits[i] ? limits[i] : 100);
    }
    return 0;
}
HTTP_TEST(hundreds_at_once)

static int redirects(void *unused)
{
    (void)unused;
    static const struct {
        const char *method, *path, *text;
    } cases[] = {
        {"GET", "/301", "GET  "},       {"POST", "/301", "GET  "},
        {"PUT", "/301", "PUT 3 t/t"},   {"POST", "/303", "GET  "},
        {"PUT", "/303", "GET  "},       {"DELETE", "/303", "GET  "},
        {"POST", "/307", "POST 3 t/t"}, {"PATCH", "/307", "PATCH 3 t/t"},
    };
    async_with_http_session (session, NULL) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            bool body = cases[i].method[0] == 'P';
            async_with_http_request (response, session, .method = cases[i].method,
                                     .url = nginx_url(&server, cases[i].path), .body = "abc",
                                     .body_size = body ? 3 : 0,
                                     .content_type = body ? "t/t" : NULL) {
                assert_string_equal(async_http_url(response), nginx_url(&server, "/method"));
                assert_memory_equal(async_http_text(response), cases[i].text,
                                    strcspn(cases[i].text, " ") + 2);
                if (strchr(cases[i].text, '/'))
                    assert_string_equal(async_http_text(response), cases[i].text);
            }
        }
        async_with_http_request (response, session, .url = nginx_url(&server, "/301"),
                                 .no_redirects = true) {
            assert_int_equal(async_http_status(response), 301);
            assert_contains(async_http_header(response, "Location"), "/method");
            assert_contains(async_http_text(response), "301");
        }
        async_with_http_get (response, session, nginx_url(&server, "/hops/xxxxxxxxxx"))
            assert_string_equal(async_http_text(response), "hello");
        assert_fails(session, nginx_url(&server, "/hops/xxxxxxxxxxx"), ASYNC_ETOOMANYREDIRECTS,
                     "/hops/");
        assert_fails(session, nginx_url(&server, "/loop"), ASYNC_ETOOMANYREDIRECTS, "/loop");
        assert_fails(session, nginx_url(&server, "/ftp"), ASYNC_EHTTP, "ftp");
        /* What the request says of itself goes to no other host. */
        async_with_http_request (response, session, .url = nginx_url(&server, "/far"),
                                 .headers = LIST("Authorization: secret", "Cookie: a=b"))
            assert_string_equal(async_http_text(response), "<>");
    }
    async_with_http_session (session, &(async_http_session_options){.max_redirects = 2})
        assert_fails(session, nginx_url(&server, "/hops/xxx"), ASYNC_ETOOMANYREDIRECTS,
                     "Maximum (2)");
    return 0;
}
HTTP_TEST(redirects)

static int cookies_and_passwords(void *unused)
{
    (void)unused;
    for (int without = 0; without < 2; without++)
        async_with_http_session (session,
                                 &(async_http_session_options){.no_cookies = without == 1}) {
            async_with_http_get (response, session, nginx_url(&server, "/cookie"))
                assert_string_equal(async_http_text(response), "");
            /* Two at once: two handles, one jar. */
            async_with_http_get (response, session, nginx_url(&server, "/cookie"))
                async_with_http_get (other, session, nginx_url(&server, "/cookie")) {
                    assert_string_equal(async_http_text(response), without ? "" : "taste=sweet");
                    assert_string_equal(async_http_text(other), without ? "" : "taste=sweet");
                }
        }
    async_with_http_session (session, NULL) {
        char url[128];
        snprintf(url, sizeof url, "http://me:secret@127.0.0.1:%d/basic", server.port[0]);
        async_with_http_get (response, session, url)
            assert_string_equal(async_http_text(response), "Basic bWU6c2VjcmV0");
        snprintf(url, sizeof url, "http://me:secret@127.0.0.1:%d/loop", server.port[0]);
        assert_fails(session, url, ASYNC_ETOOMANYREDIRECTS, "http://127.0.0.1:");
    }
    return 0;
}
HTTP_TEST(cookies_and_passwords)

/* Up and down again, large and small, some of it through the buffers for large ones. */
static int files_up_and_down(void *unused)
{
    (void)unused;
    static const size_t sizes[] = {1, 65536, 65537, 300000, 5000000};
    async_with_http_session (session, NULL)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t size = sizes[i], got, at = 0;
            char *data = malloc(size);
            for (size_t k = 0; k < size; k++)
                data[k] = (char)(k * 7 + k / 255);
            async_with_http_request (response, session, .method = "PUT",
                                     .url = nginx_url(&server, "/file"), .body = data,
                                     .body_size = size)
                assert_in_range(async_http_status(response), 201, 204);
            async_with_http_get (response, session, nginx_url(&server, "/file")) {
                const void *body = async_http_read(response, &got);
                assert_int_equal(got, size);
                assert_memory_equal(body, data, size);
            }
            async_with_http_get (response, session, nginx_url(&server, "/file"))
                async_for (async_http_chunk, chunk, async_http_chunks(response)) {
                    assert_true(chunk.size > 0 && at + chunk.size <= size);
                    assert_memory_equal(chunk.data, data + at, chunk.size);
                    at += chunk.size;
                }
            assert_int_equal(at, size);
            free(data);
        }
    return 0;
}
HTTP_TEST(files_up_and_down)

static int broken_off_and_whole(void *unused)
{
    (void)unused;
    async_with_http_session (session, &(async_http_session_options){.max_body = 1000000}) {
        size_t at = 0, rest;
        async_with_http_get (response, session, nginx_url(&server, "/file")) {
            async_for (async_http_chunk, chunk, async_http_chunks(response)) {
                at += chunk.size;
                if (at > 100000) break;
            }
            async_for (async_http_chunk, chunk, async_http_chunks(response)) {
                at += chunk.size;
                if (at > 4500000) break;
            }
            assert_non_null(async_http_read(response, &rest));
            assert_int_equal(at + rest, 5000000);
        }
        async_with_http_get (response, session, nginx_url(&server, "/file")) {
            assert_null(async_http_read(response, &rest));
            assert_int_equal(async_error_code(), -EMSGSIZE);
            assert_contains(async_error_message(), "/file: Message too long (the body is larger");
            assert_string_equal(async_http_text(response), "");
            assert_int_equal(async_block_error(), -EMSGSIZE);
        }
        async_with_http_get (response, session, nginx_url(&server, "/get"))
            assert_string_equal(async_http_text(response), "hello");
    }
    return 0;
}
HTTP_TEST(broken_off_and_whole)

static int open_server(void **state)
{
    (void)state;
    assert_true(nginx_prepare(&server));
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
        cmocka_unit_test(test_gets),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_headers_both_ways),
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_connections_are_used_again),
        cmocka_unit_test(test_hundreds_at_once),
        cmocka_unit_test(test_redirects),
        cmocka_unit_test(test_cookies_and_passwords),
        cmocka_unit_test(test_files_up_and_down),
        cmocka_unit_test(test_broken_off_and_whole),
    };
    return cmocka_run_group_tests(tests, open_server, close_server);
}
