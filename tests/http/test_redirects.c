/* Redirects: which ones are followed, what becomes of the method, the body and the headers on the
 * way, and what does not go to another origin. */
#include "http_test.h"
#include "raw_server.h"

static struct raw_server server, other;
static char where_to[256]; /* what the redirects lead to */

/* A redirect with a body that has no end but the client's. */
static bool flood(int fd)
{
    static const char zeros[4096];
    bool more = raw_printf(fd, "HTTP/1.1 302 Elsewhere\r\nLocation: /here\r\n\r\n");
    while (more)
        more = raw_send(fd, zeros, sizeof zeros);
    return false;
}

/* /to/STATUS redirects; anything else gives its own head back, and the body's size. */
static bool answer(int fd, const char *head, const char *body, size_t size)
{
    char status[4] = "";
    (void)body;

    if (!raw_skip_body(fd, head, size)) return false;
    if (sscanf(head, "%*s /to/%3[0-9]", status) == 1)
        return raw_printf(fd,
                          "HTTP/1.1 %s Elsewhere\r\nLocation: %s\r\nSet-Cookie: hop=1; Path=/\r\n"
                          "Content-Length: 4\r\n\r\n",
                          status, where_to) &&
               (strncmp(head, "HEAD", 4) == 0 || strcmp(status, "304") == 0 ||
                raw_printf(fd, "body"));
    if (strstr(head, " /flood ")) return flood(fd);
    if (strstr(head, " /cut ")) {
        raw_printf(fd, "HTTP/1.1 302 Elsewhere\r\nLocation: /here\r\nContent-Length: 99\r\n\r\n.");
        return false;
    }
    if (strstr(head, " /bare "))
        return raw_printf(fd, "HTTP/1.1 302 Elsewhere\r\nContent-Length: 0\r\n\r\n");
    if (strstr(head, " /twice "))
        return raw_printf(fd, "HTTP/1.1 302 Elsewhere\r\nLocation: /here\r\nLocation: /there\r\n"
                              "Content-Length: 0\r\n\r\n");
    if (strncmp(head, "HEAD", 4) == 0)
        return raw_printf(fd, "HTTP/1.1 200 OK\r\nX-Method: HEAD\r\nContent-Length: 5\r\n\r\n");
    return raw_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(head), head);
}

#define URL(path) raw_url(&server, path)

static void lead_to(const char *url) { strcpy(where_to, url); }

static int statuses(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL)
        for (int status = 300; status <= 309; status++) {
            char path[16];
            bool follow =
                status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
            snprintf(path, sizeof path, "/to/%d", status);
            lead_to("/here");
            async_with_http_get (response, session, URL(path)) {
                assert_int_equal(async_http_status(response), follow ? 200 : status);
                assert_string_equal(async_http_url(response), URL(follow ? "/here" : path));
                assert_memory_equal(async_http_text(response),
                                    follow          ? "GET /here"
                                    : status == 304 ? ""
                                                    : "body",
                                    status == 304 ? 1 : 4);
            }
            async_with_http_request (response, session, .url = URL(path), .no_redirects = true) {
                assert_int_equal(async_http_status(response), status);
                assert_string_equal(async_http_header(response, "Location"), "/here");
            }
        }
    return 0;
}
HTTP_TEST(statuses)

/* The Fetch standard, 4.4: POST becomes GET with 301 and 302, all but GET and HEAD with 303. */
static int methods(void *unused)
{
    (void)unused;
    static const char *const all[] = {"GET",    "HEAD",    "POST",  "PUT",
                                      "DELETE", "OPTIONS", "QUERY", "post"};
    static const int followed[] = {301, 302, 303, 307, 308};
    async_with_http_session (session, NULL)
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            for (size_t k = 0; k < sizeof followed / sizeof *followed; k++) {
                const char *method = all[i], *then = method;
                bool post = strcmp(method, "POST") == 0, head = strcmp(method, "HEAD") == 0;
                bool with_body = post || strcmp(method, "PUT") == 0 || strcmp(method, "QUERY") == 0;
                char path[16], begin[32];
                if ((post && followed[k] < 303) || (followed[k] == 303 && !head)) then = "GET";
                snprintf(path, sizeof path, "/to/%d", followed[k]);
                snprintf(begin, sizeof begin, "%s /here ", then);
                lead_to("/here");
                async_with_http_request (response, session, .url = URL(path), .method = method,
                                         .body = "body!", .body_size = with_body ? 5 : 0,
                                         .headers = LIST("Content-Language: x", "X-Own: x")) {
                    if (head) {
                        assert_string_equal(async_http_header(response, "X-Method"), "HEAD");
                        continue;
                    }
                    const char *text = async_http_text(response);
                    bool still = with_body && strcmp(then, method) == 0;
                    assert_memory_equal(text, begin, strlen(begin));
                    assert_contains(text, "X-Own: x");
                    assert_int_equal(strstr(text, "Content-Length: 5") != NULL, still);
                    assert_int_equal(strstr(text, "Content-Type: application/octet") != NULL,
                                     still);
                    assert_int_equal(strstr(text, "Content-Language: x") != NULL,
                                     strcmp(then, method) == 0);
                }
            }
    return 0;
}
HTTP_TEST(methods)

/* A large body, which is drawn from the caller's memory, is sent again from its beginning. */
static int large_body(void *unused)
{
    (void)unused;
    char *body = calloc(1, 3000000);
    async_with_http_session (session, NULL)
        for (int i = 0; i < 3; i++) {
            lead_to("/here");
            async_with_http_request (response, session, .method = "POST", .url = URL("/to/307"),
                                     .body = body, .body_size = 3000000)
                assert_contains(async_http_text(response), "Content-Length: 3000000");
        }
    free(body);
    return 0;
}
HTTP_TEST(large_body)

static void assert_secrets(async_http_session *session, const char *target, bool kept)
{
    lead_to(target);
    async_with_http_request (response, session, .url = URL("/to/307"),
                             .headers = LIST("authorization: Bearer s3cret", "Cookie: own=s3cret",
                                             "PROXY-Authorization: s3cret", "X-API-Key: s3cret",
                                             "Host: named.test", "X-Open: seen")) {
        const char *text = async_http_text(response);
        int count = 0;
        for (const char *at = text; (at = strstr(at, "s3cret")); at++)
            count++;
        if (count != (kept ? 5 : 0)) print_error("%s\n%s\n", target, text);
        assert_int_equal(count, kept ? 5 : 0);
        assert_int_equal(strstr(text, "Host: named.test") != NULL, kept);
        assert_contains(text, "X-Open: seen");
    }
}

static int secret_headers(void *unused)
{
    (void)unused;
    async_http_session_options options = {.secret_headers = LIST("x-api-key", "X-Session"),
                                          .headers = LIST("X-SESSION: s3cret")};
    char far[128], near[128], named[128];
    snprintf(far, sizeof far, "http://127.0.0.1:%d/here", other.port);      /* another port */
    snprintf(near, sizeof near, "http://127.0.0.1:%d/here", server.port);   /* the same origin */
    snprintf(named, sizeof named, "http://localhost:%d/here", server.port); /* another host */
    async_with_http_session (session, &options) {
        assert_secrets(session, "/here", true);
        assert_secrets(session, near, true);
        assert_secrets(session, far, false);
        assert_secrets(session, named, false);
        /* The request itself is given them all. */
        async_with_http_request (response, session, .url = URL("/here"),
                                 .headers = LIST("X-API-Key: s3cret"))
            assert_contains(async_http_text(response), "X-SESSION: s3cret");
    }
    async_with_http_session (session, NULL) {
        lead_to(named);
        async_with_http_request (response, session, .url = URL("/to/302"),
                                 .headers = LIST("X-API-Key: open"))
            assert_contains(async_http_text(response), "X-API-Key: open"); /* nothing names it */
    }
    return 0;
}
HTTP_TEST(secret_headers)

/* user:password@ is for its origin, whichever way a redirect names that. */
static int passwords(void *unused)
{
    (void)unused;
    char url[128], target[128];
    async_with_http_session (session, NULL) {
        snprintf(url, sizeof url, "http://me:s%%20t@127.0.0.1:%d/to/302", server.port);
        lead_to("/here");
        async_with_http_get (response, session, url) {
            assert_contains(async_http_text(response), "Authorization: Basic bWU6cyB0");
            assert_string_equal(async_http_url(response), URL("/here"));
        }
        lead_to(URL("/here"));
        async_with_http_get (response, session, url)
            assert_contains(async_http_text(response), "Authorization: Basic bWU6cyB0");
        snprintf(target, sizeof target, "http://127.0.0.1:%d/here", other.port);
        lead_to(target);
        async_with_http_get (response, session, url)
            assert_null(strstr(async_http_text(response), "Authorization"));
        snprintf(target, sizeof target, "http://you:x@127.0.0.1:%d/here", other.port);
        lead_to(target);
        async_with_http_get (response, session, url)
            assert_contains(async_http_text(response), "Authorization: Basic eW91Ong=");
        async_with_http_get (response, session, URL("/here")) /* and nothing stays on the handle */
            assert_null(strstr(async_http_text(response), "Authorization"));
    }
    return 0;
}
HTTP_TEST(passwords)

static int targets(void *unused)
{
    (void)unused;
    static const struct {
        const char *location, *words;
    } bad[] = {
        {"ftp://127.0.0.1/x", "ftp://127.0.0.1/x: it is not http"},
        {"file:///etc/passwd", "file:///etc/passwd: it is not http"},
        {"mailto:a@b", "mailto:a@b: it is not http"},
        {"javascript:1", "it is not http"},
        {"http://", "redirect to http://: "},
        {"http://[::1/", "redirect to"},
        {"http://h:99999/", "redirect to"},
    };
    static const struct {
        const char *location, *line;
    } good[] = {
        {"next", "GET /to/next HTTP"}, {"../up", "GET /up HTTP"},
        {"/x?q=1", "GET /x?q=1 HTTP"}, {"/a b", "GET /a%20b HTTP"},
        {"/x#part", "GET /x HTTP"},    {"/\xc3\xa4", "GET /%C3%A4 HTTP"},
    };
    async_with_http_session (session, NULL) {
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            lead_to(bad[i].location);
            assert_fails(session, URL("/to/302"), ASYNC_EHTTP, bad[i].words);
        }
        for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
            lead_to(good[i].location);
            async_with_http_get (response, session, URL("/to/302")) {
                const char *text = async_http_text(response);
                if (strncasecmp(text, good[i].line, strlen(good[i].line)) != 0)
                    fail_msg("%s: %s", good[i].location, text);
            }
        }
        async_with_http_get (response, session, URL("/bare"))
            assert_int_equal(async_http_status(response), 302);
        async_with_http_get (response, session, URL("/twice"))
            assert_contains(async_http_text(response), "GET /here");
    }
    return 0;
}
HTTP_TEST(targets)

/* A short body is read, so that the connection is used again; a long or broken one is not waited
 * for. */
static int bodies_of_redirects(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL) {
        int before = atomic_load(&server.accepted);
        lead_to("/here");
        for (int i = 0; i < 5; i++)
            async_with_http_get (response, session, URL("/to/302"))
                assert_contains(async_http_text(response), "Cookie: hop=1");
        assert_int_equal(atomic_load(&server.accepted), before + 1);
        async_with_http_get (response, session, URL("/flood"))
            assert_contains(async_http_text(response), "GET /here");
        async_with_http_get (response, session, URL("/cut"))
            assert_contains(async_http_text(response), "GET /here");
    }
    return 0;
}
HTTP_TEST(bodies_of_redirects)

static int open_servers(void **state)
{
    (void)state;
    assert_true(raw_start(&server, answer));
    assert_true(raw_start(&other, answer));
    return 0;
}

static int close_servers(void **state)
{
    (void)state;
    raw_stop(&server);
    raw_stop(&other);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_large_body),
        cmocka_unit_test(test_secret_headers),
        cmocka_unit_test(test_passwords),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_bodies_of_redirects),
    };
    return cmocka_run_group_tests(tests, open_servers, close_servers);
}
