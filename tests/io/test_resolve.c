/* async_getaddrinfo. No test asks a name server: names are numbers, in the hosts file, or wrong. */
#include "io_test.h"

#include <netdb.h>

static int first_port(const struct addrinfo *list)
{
    return ntohs(((struct sockaddr_in *)list->ai_addr)->sin_port);
}

static int numeric(void *unused)
{
    (void)unused;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    int before = open_fds();
    assert_int_equal(async_getaddrinfo("127.0.0.1", "80", &hints, &list), 0);
    assert_int_equal(list->ai_family, AF_INET);
    assert_int_equal(first_port(list), 80);
    freeaddrinfo(list);
    assert_int_equal(async_getaddrinfo("::1", NULL, NULL, &list), 0);
    assert_int_equal(list->ai_family, AF_INET6);
    freeaddrinfo(list);
    assert_int_equal(async_getaddrinfo(NULL, "8080", &hints, &list), 0);
    assert_int_equal(first_port(list), 8080);
    freeaddrinfo(list);
    assert_int_equal(open_fds(), before);
    return 0;
}
TEST(numeric)

static int in_a_thread(void *unused)
{
    (void)unused;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_INET}, *list;
    assert_int_equal(async_getaddrinfo("localhost", "80", &hints, &list), 0);
    assert_int_equal(list->ai_family, AF_INET);
    assert_int_equal(first_port(list), 80);
    freeaddrinfo(list);
    return 0;
}
TEST(in_a_thread)

static int bad_names(void *unused)
{
    (void)unused;
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *list;
    char name[400];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_int_equal(async_getaddrinfo("", "80", NULL, &list), ASYNC_ENONAME);
    assert_message("empty");
    assert_null(list);
    assert_int_equal(async_getaddrinfo(NULL, NULL, NULL, &list), ASYNC_ENONAME);
    assert_message("a host or a service");
    assert_int_equal(async_getaddrinfo(name, "80", NULL, &list), -ENAMETOOLONG);
    assert_message("399 characters");
    assert_int_equal(async_getaddrinfo("not.a.number", "80", &hints, &list), ASYNC_ENONAME);
    assert_message("not.a.number does not resolve");
    name[70] = 0; /* a label of more than 63: no resolver asks for it */
    hints.ai_flags = 0;
    int code = async_getaddrinfo(name, "80", &hints, &list);
    assert_true(code == ASYNC_ENONAME || code == ASYNC_ETRYNAME || code == ASYNC_ENAME);
    assert_message("aaaaaaa");
    hints.ai_flags = 0x40000000;
    assert_int_equal(async_getaddrinfo("127.0.0.1", "80", &hints, &list), -EINVAL);
    hints.ai_flags = 0;
    assert_int_equal(async_getaddrinfo("127.0.0.1", "no-such-service", &hints, &list), -EINVAL);
    assert_message("no-such-service");
    hints.ai_family = AF_INET6;
    assert_true(async_getaddrinfo("127.0.0.1", "80", &hints, &list) < 0);
    assert_null(list);
    return 0;
}
TEST(bad_names)

struct resolve {
    const char *host;
};
static int resolve(struct resolve *self)
{
    struct addrinfo *list;
    int code = async_getaddrinfo(self->host, "80", NULL, &list);
    if (list) freeaddrinfo(list);
    return code;
}

static int cancelled(void *unused)
{
    (void)unused;
    async_task *task = async_spawn(resolve, .host = "localhost");
    async_sleep(0);
    async_cancel(task, NULL);
    int code = async_await(task);
    assert_true(code == -ECANCELED || code == 0); /* it may have been quicker */
    async_timeout (0)
        code = resolve(&(struct resolve){"127.0.0.1"});
    assert_int_equal(code, -ETIMEDOUT);
    return 0;
}
TEST(cancelled)

static int many(void *unused)
{
    (void)unused;
    async_task *tasks[20];
    for (int i = 0; i < 20; i++)
        tasks[i] = async_spawn(resolve, .host = "localhost");
    for (int i = 0; i < 20; i += 3)
        async_cancel(tasks[i], NULL);
    for (int i = 0; i < 20; i++) {
        int code = async_await(tasks[i]);
        assert_int_equal(code, i % 3 == 0 ? -ECANCELED : 0);
    }
    return 0;
}
TEST(many)

/* ---- addresses to names ---- */

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int name_numbers(void *unused)
{
    (void)unused;
    struct sockaddr_in address = loopback(8080);
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const int numbers = NI_NUMERICHOST | NI_NUMERICSERV;
    char host[64], service[8];
    assert_int_equal(async_getnameinfo((struct sockaddr *)&address, sizeof address, host,
                                       sizeof host, service, sizeof service, numbers),
                     0);
    assert_string_equal(host, "127.0.0.1");
    assert_string_equal(service, "8080");
    assert_int_equal(
        async_getnameinfo((struct sockaddr *)&six, sizeof six, host, sizeof host, NULL, 0, numbers),
        0);
    assert_string_equal(host, "::1");
    assert_int_equal(async_getnameinfo((struct sockaddr *)&address, sizeof address, NULL, 9,
                                       service, sizeof service, numbers),
                     0);
    return 0;
}
TEST(name_numbers)

static int name_in_a_thread(void *unused)
{
    (void)unused;
    struct sockaddr_in address = loopback(80);
    char host[NI_MAXHOST], service[NI_MAXSERV];
    assert_int_equal(async_getnameinfo((struct sockaddr *)&address, sizeof address, host,
                                       sizeof host, service, sizeof service, 0),
                     0);
    assert_string_equal(host, "localhost");
    assert_true(!strcmp(service, "http") || !strcmp(service, "80")); /* without /etc/services */
    return 0;
}
TEST(name_in_a_thread)

static int bad_addresses(void *unused)
{
    (void)unused;
    struct sockaddr_in address = loopback(80);
    const struct sockaddr *any = (struct sockaddr *)&address;
    const int numbers = NI_NUMERICHOST | NI_NUMERICSERV;
    char host[64] = "as before";
    assert_int_equal(async_getnameinfo(NULL, 0, host, sizeof host, NULL, 0, 0), -EBADF);
    assert_int_equal(async_getnameinfo(any, 4000, host, sizeof host, NULL, 0, 0), -EINVAL);
    assert_message("4000 bytes");
    assert_int_equal(async_getnameinfo(any, 3, host, sizeof host, NULL, 0, numbers), -EAFNOSUPPORT);
    assert_int_equal(async_getnameinfo(any, sizeof address, host, 5, NULL, 0, numbers), -ENOSPC);
    assert_message("needs 10 bytes, not 5");
#ifdef __GLIBC__ /* musl takes any flags */
    assert_int_equal(async_getnameinfo(any, sizeof address, host, sizeof host, NULL, 0, 0x40000000),
                     -EINVAL);
#endif
    address.sin_family = 250;
    assert_int_equal(async_getnameinfo(any, sizeof address, host, sizeof host, NULL, 0, 0),
                     -EAFNOSUPPORT);
    assert_string_equal(host, "as before");
    return 0;
}
TEST(bad_addresses)

static int name_of_loopback(void *unused)
{
    (void)unused;
    struct sockaddr_in address = loopback(80);
    char host[NI_MAXHOST];
    return async_getnameinfo((struct sockaddr *)&address, sizeof address, host, sizeof host, NULL,
                             0, 0);
}

static int name_cancelled(void *unused)
{
    (void)unused;
    for (int i = 0; i < 8; i++) {
        async_task *task = async_create_task(name_of_loopback);
        async_sleep(0);
        async_cancel(task, NULL);
        int code = async_await(task);
        assert_true(code == -ECANCELED || code == 0); /* it may have been quicker */
    }
    int code = 0;
    async_timeout (0)
        code = name_of_loopback(NULL);
    assert_int_equal(code, -ETIMEDOUT);
    return 0;
}
TEST(name_cancelled)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numeric),        cmocka_unit_test(test_in_a_thread),
        cmocka_unit_test(test_bad_names),      cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_many),           cmocka_unit_test(test_name_numbers),
        cmocka_unit_test(test_bad_addresses),  cmocka_unit_test(test_name_in_a_thread),
        cmocka_unit_test(test_name_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
