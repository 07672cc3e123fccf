/* Names: looked up beside the loop, given up promptly, tried address by address. curl's look-ups
 * go to a getaddrinfo of the test's. */
#include "http_test.h"
#include "raw_server.h"

#include <dlfcn.h>
#include <netdb.h>

static struct raw_server server;
static atomic_int looking;

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

/* two.test is 127.0.0.2 and then 127.0.0.1; slow.test is found after a second. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **list)
{
    static lookup *_Atomic next;
    if (!next) next = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");

    if (host && strcmp(host, "two.test") == 0) {
        int code = next("127.0.0.2", service, hints, list);
        if (code) return code;
        struct addrinfo *last = *list;
        while (last->ai_next)
            last = last->ai_next;
        return next("127.0.0.1", service, hints, &last->ai_next);
    }
    if (host && strcmp(host, "slow.test") == 0) {
        atomic_fetch_add(&looking, 1);
        raw_sleep(1000);
        int code = next("127.0.0.1", service, hints, list);
        atomic_fetch_sub(&looking, 1);
        return code;
    }
    return next(host, service, hints, list);
}

static bool answer(int fd, const char *head, const char *body, size_t size)
{
    (void)head, (void)body, (void)size;
    return raw_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

static const char *url(const char *host)
{
    static char text[64];
    snprintf(text, sizeof text, "http://%s:%d/", host, server.port);
    return text;
}

static int second_address(void *unused)
{
    (void)unused;
    double before = 0;
    async_with_http_session (session, NULL) {
        async_with_http_get (response, session, url("127.0.0.1")) /* all is loaded after that */
            assert_string_equal(async_http_text(response), "ok");
        before = async_now();
        async_with_http_get (response, session, url("two.test")) /* the first one refuses */
            assert_string_equal(async_http_text(response), "ok");
        assert_true(async_now() - before < 0.15);
        before = async_now();
    }

    /* The first one never answers; curl closes its socket without a word, and the next has the
     * same number. */
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)server.port),
                                  .sin_addr.s_addr = inet_addr("127.0.0.2")};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fill[4];
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    listen(fd, 0);
    for (int i = 0; i < 4; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(fill[i], (struct sockaddr *)&address, sizeof address);
    }
    async_with_http_session (session, &(async_http_session_options){.connect_timeout = 1})
        async_with_http_get (response, session, url("two.test"))
            assert_string_equal(async_http_text(response), "ok");
    assert_int_equal(async_error_code(), 0);
    assert_true(async_now() - before < 0.9); /* half of the time is the first one's */
    for (int i = 0; i < 4; i++)
        close(fill[i]);
    close(fd);
    return 0;
}
HTTP_TEST(second_address)

static int slow_name(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL)
        async_with_http_get (response, session, url("slow.test"))
            assert_string_equal(async_http_text(response), "ok");
    return 0;
}
HTTP_TEST(slow_name)

static int asks(void *session)
{
    return async_http_get(session, url("slow.test")) ? 0 : async_error_code();
}

static int given_up_promptly(void *unused)
{
    (void)unused;
    double before = async_now();
    async_http_session *session = async_http_session_new(NULL);
    async_task *task = async_create_task(asks, session);
    async_sleep(0.05);
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    async_error_code();

    assert_request_fails(session,
                         &(async_http_request_options){.url = url("slow.test"), .timeout = 0.05},
                         -ETIMEDOUT, "slow.test");
    task = async_create_task(asks, session);
    async_sleep(0.05);
    async_http_session_close(session);
    assert_int_equal(async_await(task), -ECONNABORTED);
    async_error_code();

    async_with_http_session (hasty, &(async_http_session_options){.connect_timeout = 0.05})
        assert_fails(hasty, url("slow.test"), -ETIMEDOUT, "slow.test");
    assert_true(async_now() - before < 0.7);
    return 0;
}
HTTP_TEST(given_up_promptly)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_second_address),
        cmocka_unit_test(test_slow_name),
        cmocka_unit_test(test_given_up_promptly),
    };
    assert_true(raw_start(&server, answer));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    raw_stop(&server);
    while (atomic_load(&looking))
        raw_sleep(10);
    raw_sleep(100); /* for those threads to clean up after themselves */
    return failed;
}
