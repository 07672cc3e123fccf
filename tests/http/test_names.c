/* Names: looked up beside the loop, given up promptly, tried address by address. curl's look-ups
 * go to a getaddrinfo of the test's. */
#include "http_test.h"
#include "raw_server.h"

#include <dlfcn.h>
#include <netdb.h>

static struct raw_server server;
static atomic_int looking; /* look-ups of slow.test */
static atomic_bool found;  /* they may end */
static atomic_int first_port;

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

/* two.test is 127.0.0.1 twice, at first_port and at the port that was asked for; slow.test is found
 * when the test says so. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **list)
{
    static lookup *_Atomic next;
    char port[16];
    if (!next) next = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");

    if (host && strcmp(host, "two.test") == 0) {
        snprintf(port, sizeof port, "%d", atomic_load(&first_port));
        int code = next("127.0.0.1", port, hints, list);
        if (code) return code;
        struct addrinfo *last = *list;
        while (last->ai_next)
            last = last->ai_next;
        return next("127.0.0.1", service, hints, &last->ai_next);
    }
    if (host && strcmp(host, "slow.test") == 0) {
        atomic_fetch_add(&looking, 1);
        while (!atomic_load(&found))
            raw_sleep(1);
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

/* A free port of 127.0.0.1, and a socket that has it. */
static int bind_port(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    getsockname(fd, (struct sockaddr *)&address, &length);
    *port = ntohs(address.sin_port);
    return fd;
}

/* libcurl gives an address half of the time that is left. That it goes on at once when one refuses
 * is seen from limits that are far apart. */
static int second_address(void *unused)
{
    (void)unused;
    int port;
    int fd = bind_port(&port);
    atomic_store(&first_port, port);
    async_timeout (100)
        async_with_http_session (session, &(async_http_session_options){.connect_timeout = 600})
            async_with_http_get (response, session, url("two.test")) /* the first one refuses */
                assert_string_equal(async_http_text(response), "ok");
    int code = async_block_error();
    assert_int_equal(code, 0);

    /* The first one never answers; curl closes its socket without a word, and the next has the
     * same number. */
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fill[4];
    listen(fd, 0);
    for (int i = 0; i < 4; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(fill[i], (struct sockaddr *)&address, sizeof address);
    }
    async_with_http_session (session, &(async_http_session_options){.connect_timeout = 4})
        async_with_http_get (response, session, url("two.test"))
            assert_string_equal(async_http_text(response), "ok");
    code = async_block_error();
    assert_int_equal(code, 0);
    for (int i = 0; i < 4; i++)
        close(fill[i]);
    close(fd);
    return 0;
}
HTTP_TEST(second_address)

static int asks(void *session)
{
    async_http_response *response = async_http_get(session, url("slow.test"));
    if (!response) return async_error_code();
    assert_string_equal(async_http_text(response), "ok");
    async_http_response_free(response);
    return 0;
}

static async_task *ask(async_http_session *session)
{
    int before = atomic_load(&looking);
    async_task *task = async_create_task(asks, session);
    while (atomic_load(&looking) == before)
        async_sleep(0.001);
    return task;
}

/* In each case the look-up still goes on when the request has been given up. */
static int given_up_promptly(void *unused)
{
    (void)unused;
    async_http_session *session = async_http_session_new(NULL);
    async_task *task = ask(session);
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);

    assert_request_fails(session,
                         &(async_http_request_options){.url = url("slow.test"), .timeout = 0.05},
                         -ETIMEDOUT, "slow.test");
    task = ask(session);
    async_http_session_free(session);
    assert_int_equal(async_await(task), -ECONNABORTED);

    async_with_http_session (hasty, &(async_http_session_options){.connect_timeout = 0.05})
        assert_fails(hasty, url("slow.test"), -ETIMEDOUT, "slow.test");
    assert_true(atomic_load(&looking) > 0);
    return 0;
}
HTTP_TEST(given_up_promptly)

/* And while one goes on, other requests do too. */
static int slow_name(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL) {
        async_task *task = ask(session);
        async_with_http_get (response, session, url("127.0.0.1"))
            assert_string_equal(async_http_text(response), "ok");
        atomic_store(&found, true);
        assert_int_equal(async_await(task), 0);
    }
    return 0;
}
HTTP_TEST(slow_name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_second_address),
        cmocka_unit_test(test_given_up_promptly),
        cmocka_unit_test(test_slow_name),
    };
    assert_true(raw_start(&server, answer));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    raw_stop(&server);
    while (atomic_load(&looking))
        raw_sleep(10);
    raw_sleep(100); /* for those threads to clean up after themselves */
    return failed;
}
