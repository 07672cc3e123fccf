/* The HTTP client against a server that is slow, cuts short, breaks rules, or is not there. */
#include "http_test.h"
#include "raw_server.h"

#include <sys/resource.h>

static struct raw_server server;
static atomic_size_t flooded;

#define FLOOD (64u << 20)

static bool flood(int fd)
{
    static const char zeros[65536];
    int small = 65536;

    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    raw_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", FLOOD);
    for (atomic_store(&flooded, 0); atomic_load(&flooded) < FLOOD;
         atomic_fetch_add(&flooded, sizeof zeros))
        if (!raw_send(fd, zeros, sizeof zeros)) return false;
    return true;
}

/* Answers before it has read the body, and tells its sum in the end. */
static bool answer_early(int fd, const char *head, const char *body, size_t size)
{
    unsigned long long sum = 0;
    char buffer[65536], *field = strcasestr(head, "content-length:");
    size_t left = field ? strtoull(field + 15, NULL, 10) : 0;

    raw_printf(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    raw_sleep(100);
    for (;;) {
        left -= size;
        for (size_t i = 0; i < size; i++)
            sum += (unsigned char)body[i];
        if (!left) break;
        ssize_t n = recv(fd, buffer, sizeof buffer, 0);
        if (n <= 0) return false;
        body = buffer;
        size = (size_t)n;
    }
    return raw_printf(fd, "14\r\n%020llu\r\n0\r\n\r\n", sum);
}

static sem_t permits; /* for the pieces of /slow, and the reset of /reset */

static bool slow(int fd)
{
    raw_printf(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 5; i++)
        if (!raw_permitted(fd, &permits) || !raw_printf(fd, "6\r\npiece%d\r\n", i)) return false;
    return raw_printf(fd, "0\r\nX-Trailer: t\r\n\r\n");
}

static void permit(int count)
{
    while (count-- > 0)
        sem_post(&permits);
}

static bool huge_headers(int fd)
{
    raw_printf(fd, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 1000; i++)
        if (!raw_printf(fd, "X-%d: %01000d\r\n", i, i)) return false;
    return raw_printf(fd, "Content-Length: 0\r\n\r\n");
}

static const struct {
    const char *path, *answer; /* and then the connection is closed */
} canned[] = {
    {"/cut", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes."},
    {"/cut-chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nten bytes.\r\n"},
    {"/cut-headers", "HTTP/1.1 200 OK\r\nContent-Le"},
    {"/until-close", "HTTP/1.0 200 Fine\r\n\r\nall there is"},
    {"/nothing", ""},
    {"/garbage", "Hello, this is not HTTP\r\n\r\nat all"},
    {"/version", "HTTP/9.9 200 OK\r\n\r\n"},
    {"/bad-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nten bytes.\r\n"},
    {"/bad-length", "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"},
    {"/bad-gzip", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 8\r\n\r\nnot gzip"},
    {"/bad-header", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nno colon here\r\n\r\n"},
    {"/fold", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Fold: a\r\n  b \r\n\tc\r\nX-E:\r\n\r\nok"},
    {"/100", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
    {"/trailers",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Sum: head\r\n\r\n2\r\nok\r\n0\r\n"
     "X-Sum:  7 \r\nLocation: /x\r\nContent-Length: 9\r\nX-Fold: a\r\n b\r\nX-E:\r\n\r\n"},
    {"/bad-trailer",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nno colon\r\n\r\n"},
    {"/nowhere", "HTTP/1.1 302 Found\r\nContent-Length: 2\r\n\r\nok"},
};

static bool answer(int fd, const char *head, const char *body, size_t size)
{
    char path[128] = "";
    sscanf(head, "%*s %127s", path);

    for (size_t i = 0; i < sizeof canned / sizeof *canned; i++) {
        if (strcmp(path, canned[i].path) != 0) continue;
        raw_send(fd, canned[i].answer, strlen(canned[i].answer));
        return false;
    }
    if (strcmp(path, "/flood") == 0) return flood(fd);
    if (strcmp(path, "/slow") == 0) return slow(fd);
    if (strcmp(path, "/early") == 0) return answer_early(fd, head, body, size);
    if (strcmp(path, "/huge-headers") == 0) return huge_headers(fd);
    if (strcmp(path, "/never") == 0) return raw_closed(fd, 30), false;
    if (strcmp(path, "/stall") == 0) {
        raw_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nten bytes.");
        return raw_closed(fd, 30), false;
    }
    if (strcmp(path, "/reset") == 0) {
        raw_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nten bytes.");
        if (!raw_permitted(fd, &permits)) return false;
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        return false;
    }
    raw_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    if (strcmp(path, "/once") == 0) {
        raw_sleep(20);
        return false;
    }
    return true;
}

#define URL(path) raw_url(&server, path)

static int chunks_as_they_arrive(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL)
        async_with_http_get (response, session, URL("/slow")) {
            char text[32] = "";
            int count = 0;
            permit(1);
            async_for (async_http_chunk, chunk, async_http_chunks(response)) {
                strncat(text, chunk.data, chunk.size);
                count++;
                if (count < 5) permit(1); /* the next one is sent only then */
            }
            assert_int_equal(async_block_error(), 0);
            assert_int_equal(count, 5);
            assert_string_equal(text, "piece0piece1piece2piece3piece4");
            assert_null(async_http_header(response, "X-Trailer"));
        }
    return 0;
}
HTTP_TEST(chunks_as_they_arrive)

static int back_pressure(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL) {
        async_with_http_get (response, session, URL("/flood")) {
            size_t before = 0, total = 0;
            for (int same = 0; same < 20; same++) { /* until it sends no more */
                if (atomic_load(&flooded) != before) same = 0;
                before = atomic_load(&flooded);
                async_sleep(0.01);
            }
            assert_true(before < FLOOD / 2);
            async_for (async_http_chunk, chunk, async_http_chunks(response)) {
                assert_in_range(chunk.size, 1, 300000);
                total += chunk.size;
            }
            assert_int_equal(async_block_error(), 0);
            assert_int_equal(total, FLOOD);
        }
        async_with_http_get (response, session, URL("/flood")) {
            size_t size;
            async_sleep(0.1);
            if (!async_http_read(response, &size)) fail_msg("%s", async_error_message());
            assert_int_equal(size, FLOOD);
        }
        /* A body that is not read holds up no other request, and can be dropped. */
        async_with_http_get (response, session, URL("/flood")) {
            async_with_http_get (other, session, URL("/"))
                assert_string_equal(async_http_text(other), "ok");
            async_sleep(0.1);
        }
    }
    return 0;
}
HTTP_TEST(back_pressure)

/* What has not been sent when the call returns is not read from the caller's memory. */
static int early_answer(void *unused)
{
    (void)unused;
    size_t size = 16u << 20;
    unsigned char *body = malloc(size);
    unsigned long long sum = 0, told;
    for (size_t i = 0; i < size; i++)
        sum += body[i] = (unsigned char)(i * 31 + (i >> 9));
    async_with_http_session (session, NULL) {
        async_http_response *response = async_http_post(session, URL("/early"), body, size, NULL);
        assert_non_null(response);
        memset(body, 0, size);
        free(body);
        told = strtoull(async_http_text(response), NULL, 10);
        assert_int_equal(told, sum);
        async_http_response_free(response);
    }
    return 0;
}
HTTP_TEST(early_answer)

static int cut_short(void *unused)
{
    (void)unused;
    static const struct {
        const char *path;
        int code;
        size_t got; /* before */
    } cases[] = {
        {"/cut", ASYNC_EINCOMPLETE, 10}, {"/cut-chunked", ASYNC_EINCOMPLETE, 10},
        {"/reset", -ECONNRESET, 10},     {"/bad-chunk", ASYNC_EHTTP, 0},
        {"/bad-gzip", ASYNC_EHTTP, 0},   {"/bad-trailer", ASYNC_EHTTP, 2},
    };
    async_with_http_session (session, NULL)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            /* The headers are good, so the request is; or what is wrong came in the same packet. */
            bool reset = cases[i].code == -ECONNRESET;
            async_with_http_get (response, session, URL(cases[i].path)) {
                size_t got = 0;
                if (reset) permit(1);
                async_for (async_http_chunk, chunk, async_http_chunks(response))
                    got += chunk.size;
                assert_int_equal(async_block_error(), cases[i].code);
                assert_contains(async_error_message(), cases[i].path);
                assert_int_equal(got, cases[i].got);
            }
            async_with_http_get (response, session, URL(cases[i].path)) {
                if (reset) permit(1);
                assert_null(async_http_read(response, NULL));
                assert_int_equal(async_error_code(), cases[i].code);
                assert_contains(async_error_message(), async_strerror(cases[i].code));
            }
        }
    return 0;
}
HTTP_TEST(cut_short)

/* An error that the task does not ask for becomes its result. */
static int prints_what_is_cut_short(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL)
        async_with_http_get (response, session, URL("/cut"))
            assert_string_equal(async_http_text(response), "");
    return 0;
}

static int is_refused(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL)
        async_with_http_get (response, session, "http://127.0.0.1:1/")
            fail();
    return 0;
}

static void test_late_but_not_lost(void **state)
{
    (void)state;
    assert_int_equal(async_run(prints_what_is_cut_short, NULL), ASYNC_EINCOMPLETE);
    assert_contains(async_run_error_message(), "/cut: The stream ended");
    assert_int_equal(async_run(is_refused, NULL), -ECONNREFUSED);
    assert_contains(async_run_error_message(), "GET http://127.0.0.1:1/: Connection refused (");
}

static int broken_rules(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL) {
        assert_fails(session, URL("/nothing"), ASYNC_EINCOMPLETE, "Empty reply");
        assert_fails(session, URL("/cut-headers"), ASYNC_EINCOMPLETE, "/cut-headers");
        assert_fails(session, URL("/garbage"), ASYNC_EHTTP, "HTTP/0.9");
        assert_fails(session, URL("/version"), ASYNC_EHTTP, "/version");
        assert_fails(session, URL("/bad-length"), ASYNC_EHTTP, "Content-Length");
        assert_fails(session, URL("/huge-headers"), ASYNC_EHTTP, "262144 bytes");
        assert_fails(session, URL("/bad-header"), ASYNC_EHTTP, "Header without colon");
        async_with_http_get (response, session, URL("/fold")) {
            assert_string_equal(async_http_header(response, "X-Fold"), "a b c");
            assert_string_equal(async_http_header(response, "X-E"), "");
            assert_string_equal(async_http_text(response), "ok");
        }
        async_with_http_get (response, session, URL("/trailers")) {
            assert_string_equal(async_http_text(response), "ok");
            assert_string_equal(async_http_header(response, "x-sum"), "head");
            assert_int_equal(async_http_header_count(response), 2);
            assert_string_equal(async_http_trailer(response, "x-sum"), "7");
            assert_string_equal(async_http_trailer(response, "X-Fold"), "a b");
            assert_string_equal(async_http_trailer(response, "X-E"), "");
            assert_null(async_http_trailer(response, "Transfer-Encoding"));
        }
        /* The next response's are its own. */
        async_with_http_get (response, session, URL("/")) {
            assert_string_equal(async_http_text(response), "ok");
            assert_null(async_http_trailer(response, "x-sum"));
        }
        async_with_http_get (response, session, URL("/100")) {
            assert_int_equal(async_http_status(response), 200);
            assert_null(async_http_header(response, "Link"));
            assert_string_equal(async_http_text(response), "ok");
        }
        async_with_http_get (response, session, URL("/until-close")) {
            assert_string_equal(async_http_version(response), "1.0");
            assert_string_equal(async_http_reason(response), "Fine");
            assert_string_equal(async_http_text(response), "all there is");
        }
        async_with_http_get (response, session, URL("/nowhere"))
            assert_int_equal(async_http_status(response), 302);
    }
    return 0;
}
HTTP_TEST(broken_rules)

static int nobody_there(void *unused)
{
    (void)unused;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    char url[64];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bind(fd, (struct sockaddr *)&address, sizeof address);
    getsockname(fd, (struct sockaddr *)&address, &length);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/x", ntohs(address.sin_port));
    async_with_http_session (session, NULL) {
        assert_fails(session, url, -ECONNREFUSED, "/x: Connection refused (Failed to connect");
        assert_fails(session, "http://no-such-host.invalid/", ASYNC_ENONAME,
                     "no-such-host.invalid");
        /* A queue that is full: connections are neither taken nor refused. */
        int fill[4];
        listen(fd, 0);
        for (int i = 0; i < 4; i++) {
            fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
            (void)!connect(fill[i], (struct sockaddr *)&address, length);
        }
        async_with_http_session (hasty, &(async_http_session_options){.connect_timeout = 0.1})
            assert_fails(hasty, url, -ETIMEDOUT, "/x: Connection timed out");
        async_timeout (0.1)
            assert_fails(session, url, -ETIMEDOUT, "");
        for (int i = 0; i < 4; i++)
            close(fill[i]);
    }
    close(fd);
    return 0;
}
HTTP_TEST(nobody_there)

static int timeouts(void *unused)
{
    (void)unused;
    async_http_session_options options = {.timeout = 0.1, .connections = 1};
    async_with_http_session (session, &options) {
        assert_fails(session, URL("/never"), -ETIMEDOUT,
                     "/never: Connection timed out (not complete");
        async_with_http_request (response, session, .url = URL("/stall"), .timeout = 60)
            /* There is one connection and this has it. */
            assert_fails(session, URL("/"), -ETIMEDOUT, "not complete in time");
        async_http_response *late = async_http_get(session, URL("/stall"));
        if (late)
            assert_null(async_http_read(late, NULL)); /* its headers may come in time or not */
        assert_int_equal(async_error_code(), -ETIMEDOUT);
        async_http_response_free(late);
        async_with_http_request (response, session, .url = URL("/"), .timeout = 60)
            assert_string_equal(async_http_text(response), "ok");
        permit(5);
        async_with_http_request (response, session, .url = URL("/slow"), .timeout = 60)
            assert_int_equal(strlen(async_http_text(response)), 30);
        async_with_http_request (response, session, .url = URL("/slow"), .timeout = INFINITY) {
            int code = 0;
            async_timeout (0.1) {
                assert_null(async_http_read(response, NULL));
                code = async_error_code();
            }
            assert_int_equal(code, -ETIMEDOUT);
            permit(5);
            assert_string_equal(async_http_text(response), "piece0piece1piece2piece3piece4");
        }
    }
    async_with_http_session (session, &(async_http_session_options){.connect_timeout = 0.1}) {
        char url[64];
        snprintf(url, sizeof url, "https://127.0.0.1:%d/", server.port);
        assert_fails(session, url, -ETIMEDOUT, url); /* a TLS handshake without an answer */
    }
    return 0;
}
HTTP_TEST(timeouts)

static int nonsense(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL) {
        static const char *const urls[] = {"",
                                           "x",
                                           "127.0.0.1/",
                                           "ftp://h/",
                                           "http://",
                                           "http://a b/",
                                           "http:///",
                                           "http://h:99999/",
                                           "http://[::1/",
                                           NULL};
        for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
            assert_fails(session, urls[i], -EINVAL, "GET ");
        async_http_request_options bad[] = {
            {.method = ""},
            {.method = "GET /x"},
            {.method = "G\r\n"},
            {.headers = LIST("A: b", "X: a\r\nEvil: b")},
            {.headers = LIST("no colon")},
            {.headers = LIST(": x")},
            {.headers = LIST("a b: x")},
            {.content_type = "a\nb: c"},
            {.body_size = 3},
            {.method = "HEAD", .body = "x", .body_size = 1},
            {.timeout = -1},
            {.timeout = NAN},
        };
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            bad[i].url = URL("/");
            assert_request_fails(session, &bad[i], -EINVAL, "/: Invalid argument (");
        }
        assert_request_fails(session, NULL, -EINVAL, "no URL");
    }
    async_http_session_options bad[] = {
        {.timeout = -1},
        {.connect_timeout = NAN},
        {.connections = -2},
        {.max_redirects = -1},
        {.user_agent = "a\r\nb"},
        {.headers = LIST("nothing")},
        {.connections_per_host = -1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(async_http_session_new(&bad[i]));
        assert_int_equal(async_error_code(), -EINVAL);
        assert_contains(async_error_message(), "HTTP session");
    }
    assert_null(async_http_get(NULL, "http://127.0.0.1/"));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_string_equal(async_http_text(NULL), "");
    assert_null(async_http_chunks(NULL));
    async_block_error();
    async_http_session_free(NULL);
    async_http_response_free(NULL);
    return 0;
}
HTTP_TEST(nonsense)

static int no_descriptors(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL) {
        struct rlimit old, low;
        assert_true(raw_idle(&server)); /* no descriptor comes free meanwhile */
        int next = dup(0);
        close(next);
        getrlimit(RLIMIT_NOFILE, &old);
        low = old;
        low.rlim_cur = (rlim_t)next;
        setrlimit(RLIMIT_NOFILE, &low);
        assert_fails(session, URL("/"), -EMFILE, "/: Too many open files");
        setrlimit(RLIMIT_NOFILE, &old);
        async_with_http_get (response, session, URL("/"))
            assert_string_equal(async_http_text(response), "ok");
    }
    return 0;
}
HTTP_TEST(no_descriptors)

/* The server closes an idle connection: nothing spins, and the next request does not notice. */
static int idle_connection_dies(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL)
        for (int i = 0; i < 3; i++) {
            async_with_http_get (response, session, URL("/once"))
                assert_string_equal(async_http_text(response), "ok");
            clock_t before = clock();
            double then = async_now();
            async_sleep(0.15);
            double spent = (double)(clock() - before) / CLOCKS_PER_SEC;
            assert_true(spent < (async_now() - then) / 2);
        }
    return 0;
}
HTTP_TEST(idle_connection_dies)

static void test_outside_a_task(void **state)
{
    (void)state;
    assert_null(async_http_session_new(NULL));
}

static int open_server(void **state)
{
    (void)state;
    sem_init(&permits, 0, 0);
    assert_true(raw_start(&server, answer));
    return 0;
}

static int close_server(void **state)
{
    (void)state;
    assert_true(raw_idle(&server));
    raw_stop(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_as_they_arrive),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_early_answer),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_late_but_not_lost),
        cmocka_unit_test(test_broken_rules),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_no_descriptors),
        cmocka_unit_test(test_idle_connection_dies),
        cmocka_unit_test(test_outside_a_task),
    };
    return cmocka_run_group_tests(tests, open_server, close_server);
}
