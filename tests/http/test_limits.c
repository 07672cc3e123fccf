/* What is longer than it may be: of an answer it is ASYNC_EHTTP, of a request -EINVAL, with the
 * limit in the message; and nothing that a server sends without end is kept without end.
 * ctest: timeout=300 */
#include "http_test.h"
#include "unclosed.h"
#include "raw_server.h"

static struct raw_server server;
static atomic_size_t sent; /* of an answer without end */

static bool fill(int fd, size_t size)
{
    char text[4096];
    memset(text, 'x', sizeof text);
    for (; size > 0; size -= size < sizeof text ? size : sizeof text)
        if (!raw_send(fd, text, size < sizeof text ? size : sizeof text)) return false;
    return true;
}

/* One line that is too long. */
static bool long_line(int fd, const char *kind)
{
    const char *begin = strcmp(kind, "status") == 0   ? "HTTP/1.1 200 "
                        : strcmp(kind, "header") == 0 ? "HTTP/1.1 200 OK\r\nX: "
                        : strcmp(kind, "fold") == 0   ? "HTTP/1.1 200 OK\r\nX: a\r\n "
                        : strcmp(kind, "name") == 0   ? "HTTP/1.1 200 OK\r\n"
                                                      : "HTTP/1.1 103 Early\r\nX: ";
    return raw_printf(fd, "%s", begin) && fill(fd, 150000) &&
           raw_printf(fd, "\r\nContent-Length: 0\r\n\r\n");
}

static const struct endless {
    const char *kind, *begin, *repeated;
} endless[] = {
    {"status", "HTTP/1.1 200 ", "xxxxxxxxxxxxxxxx"},
    {"header", "HTTP/1.1 200 OK\r\nX: ", "xxxxxxxxxxxxxxxx"},
    {"headers", "HTTP/1.1 200 OK\r\n", "X: yyyyyyyyyyyy\r\n"},
    {"empty-headers", "HTTP/1.1 200 OK\r\n", "X:\r\nX:\r\nX:\r\nX:\r\n"},
    {"folds", "HTTP/1.1 200 OK\r\nX: a\r\n", " x\r\n x\r\n x\r\n x\r\n"},
    {"cookies", "HTTP/1.1 200 OK\r\n", "Set-Cookie: a=b\r\n"},
    {"1xx", "", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"},
    {"100", "", "HTTP/1.1 100 Go\r\n\r\n"},
    {"redirect", "HTTP/1.1 302 Go\r\nLocation: /\r\n", "X: yyyyyyyyyyyy\r\n"},
    {"trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
     "X: yyyyyyyyyyyy\r\n"},
    {"trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: ",
     "xxxxxxxxxxxxxxxx"},
    {"digits", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
     "1111111111111111"},
    {"extension", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5;",
     "xxxxxxxxxxxxxxxx"},
};

/* Until the client closes. */
static bool repeat(int fd, const struct endless *what)
{
    char text[4096];
    size_t length = strlen(what->repeated), size = 0;

    while (size + length <= sizeof text) {
        memcpy(text + size, what->repeated, length);
        size += length;
    }
    atomic_store(&sent, size);
    bool more = raw_printf(fd, "%s", what->begin);
    for (; more; atomic_fetch_add(&sent, size))
        more = raw_send(fd, text, size);
    return false;
}

static bool answer(int fd, const char *head, const char *body, size_t size)
{
    char kind[32] = "";
    (void)body, (void)size;

    if (sscanf(head, "GET /endless/%31s", kind) == 1)
        for (size_t i = 0; i < sizeof endless / sizeof *endless; i++)
            if (strcmp(kind, endless[i].kind) == 0) return repeat(fd, &endless[i]);
    if (sscanf(head, "GET /long/%31s", kind) == 1) return long_line(fd, kind);
    if (strstr(head, "/far"))
        return raw_printf(fd, "HTTP/1.1 302 Go\r\nContent-Length: 0\r\nLocation: /") &&
               fill(fd, 80000) && raw_printf(fd, "\r\n\r\n");
    return raw_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

static const char *url(const char *group, const char *kind)
{
    static char path[64];
    snprintf(path, sizeof path, "/%s/%s", group, kind);
    return raw_url(&server, path);
}

static int lines_of_an_answer(void *unused)
{
    (void)unused;
    static const char *const kinds[] = {"status", "header", "fold", "name", "1xx"};
    async_with_http_session (session, NULL) {
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
            assert_fails(session, url("long", kinds[i]), ASYNC_EHTTP, "longer than 102400 bytes");
        assert_fails(session, raw_url(&server, "/far"), ASYNC_EHTTP, "more than 65536 bytes");
        async_with_http_request (response, session, .url = raw_url(&server, "/far"),
                                 .no_redirects = true)
            assert_int_equal(strlen(async_http_header(response, "Location")), 80001);
        async_with_http_get (response, session, raw_url(&server, "/"))
            assert_string_equal(async_http_text(response), "ok");
    }
    return 0;
}
HTTP_TEST(lines_of_an_answer)

/* Of a chunk's extension nothing is kept, and the request's time is its limit. */
static int without_end(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL)
        for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) {
            async_http_request_options options = {.url = url("endless", endless[i].kind)};
            bool extension = strcmp(endless[i].kind, "extension") == 0;
            bool has_body = strstr(endless[i].begin, "chunked") != NULL;
            if (extension) options.timeout = 0.3;
            async_http_response *response = async_http_request(session, &options);
            assert_true(has_body || !response); /* in one packet with the headers or not */
            if (response) assert_null(async_http_read(response, NULL));
            assert_string_equal(async_error_name(async_error_code()),
                                async_error_name(extension ? -ETIMEDOUT : ASYNC_EHTTP));
            if (!extension) assert_non_null(strpbrk(async_error_message(), "0123456789"));
            async_http_response_free(response);
            /* It was broken off; what was sent by then is in the sockets' buffers. */
            if (!extension) assert_in_range(atomic_load(&sent), 1, 16 << 20);
        }
    assert_true(raw_idle(&server));
    return 0;
}
HTTP_TEST(without_end)

static char *text_of(size_t size, const char *begin)
{
    char *text = malloc(size + 1);
    memset(text, 'x', size);
    memcpy(text, begin, strlen(begin));
    text[size] = 0;
    return text;
}

static int a_request(void *unused)
{
    (void)unused;
    char *header = text_of(300000, "X: "), *method = text_of(65, ""), *type = text_of(300000, "a/");
    char *half = text_of(150000, "X: "), *fits = text_of(60000, "X: ");
    char *address = text_of(65537, raw_url(&server, "/")),
         *most = text_of(65536, raw_url(&server, "/"));
    char *huge = text_of(9000000, raw_url(&server, "/"));
    struct {
        async_http_request_options options;
        const char *words;
    } bad[] = {
        {{.headers = LIST(header)}, "larger than 262144 bytes"},
        {{.headers = LIST(half, half)}, "larger than 262144 bytes"},
        {{.content_type = type}, "larger than 262144 bytes"},
        {{.method = method}, "longer than 64 bytes"},
        {{.url = address}, "longer than 65536 bytes"},
        {{.url = huge}, "longer than 65536 bytes"},
    };
    async_with_http_session (session, NULL) {
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            if (!bad[i].options.url) bad[i].options.url = raw_url(&server, "/");
            assert_request_fails(session, &bad[i].options, -EINVAL, bad[i].words);
        }
        async_with_http_request (response, session, .url = raw_url(&server, "/"),
                                 .headers = LIST(fits), .method = method + 1)
            assert_string_equal(async_http_text(response), "ok");
        async_http_response *response = async_http_get(session, most); /* too much for the server */
        assert_true(response || async_error_code() != -EINVAL);
        async_http_response_free(response);
    }
    async_with_http_session (session, &(async_http_session_options){.headers = LIST(half)})
        assert_request_fails(
            session,
            &(async_http_request_options){.url = raw_url(&server, "/"), .headers = LIST(half)},
            -EINVAL, "larger than 262144 bytes");
    async_http_session_options sessions[] = {
        {.headers = LIST(header)},
        {.user_agent = huge},
        {.ca_file = huge},
        {.proxy = huge},
        {.key = huge},
        {.secret_headers = LIST("no colon:")},
        {.proxy = "ftp://127.0.0.1"},
    };
    for (size_t i = 0; i < sizeof sessions / sizeof *sessions; i++) {
        assert_null(async_http_session_new(&sessions[i]));
        assert_int_equal(async_error_code(), -EINVAL);
        assert_contains(async_error_message(), "HTTP session: ");
    }
    free(header);
    free(method);
    free(type);
    free(half);
    free(fits);
    free(address);
    free(most);
    free(huge);
    return 0;
}
HTTP_TEST(a_request)

/* ---- debug mode ---- */

static async_http_session *volatile left; /* for good: it belongs to a loop that is gone */

__attribute__((noinline)) static int leaves_it_open(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL)
        assert_non_null(session);
    left = async_http_session_new(NULL);
    assert_non_null(left);
    return 0;
}

static void test_never_closed(void **state)
{
    (void)state;
    assert_int_equal(run_unclosed(leaves_it_open), 0);
    assert_unclosed("HTTP session", leaves_it_open);
}

static int open_server(void **state)
{
    (void)state;
    assert_true(raw_start(&server, answer));
    return 0;
}

static int close_server(void **state)
{
    (void)state;
    raw_stop(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_of_an_answer),
        cmocka_unit_test(test_without_end),
        cmocka_unit_test(test_a_request),
        cmocka_unit_test(test_never_closed),
    };
    return cmocka_run_group_tests(tests, open_server, close_server);
}
