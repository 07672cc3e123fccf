/* streams.h: connecting, and RFC 8305. */
#include "io/io.h"

#include "io_test.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/resource.h>

struct connect_to {
    const char *host;
    int port;
};
static int connect_to(struct connect_to *self)
{
    async_stream *stream = async_open_connection(self->host, self->port);
    if (!stream) return async_error_code();
    return async_stream_close(stream);
}

static int connected(void *unused)
{
    (void)unused;
    struct sockaddr_in address;
    int listener = listen_here(4, &address), nodelay = 0, before = open_fds();
    socklen_t size = sizeof nodelay;
    async_stream *stream = async_open_connection("127.0.0.1", ntohs(address.sin_port));
    assert_non_null(stream);
    assert_int_equal(async_error_code(), 0);
    getsockopt(async_stream_fd(stream), IPPROTO_TCP, TCP_NODELAY, &nodelay, &size);
    assert_true(nodelay);
    assert_true(fcntl(async_stream_fd(stream), F_GETFD) & FD_CLOEXEC);
    async_stream_close(stream);
    stream = async_open_connection("localhost", ntohs(address.sin_port));
    assert_non_null(stream);
    async_stream_close(stream);
    assert_int_equal(open_fds(), before);
    close(listener);
    return 0;
}
TEST(connected)

static int wrong_arguments(void *unused)
{
    (void)unused;
    static const int ports[] = {0, -1, 65536, 1 << 30};
    for (size_t i = 0; i < COUNT(ports); i++) {
        char text[64];
        assert_null(async_open_connection("localhost", ports[i]));
        assert_int_equal(async_error_code(), -EINVAL);
        snprintf(text, sizeof text, "connect to localhost: port %d is not", ports[i]);
        assert_message(text);
    }
    assert_null(async_open_connection(NULL, 80));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_null(async_open_connection("", 80));
    assert_int_equal(async_error_code(), ASYNC_ENONAME);
    char name[300];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_null(async_open_connection(name, 80));
    assert_int_equal(async_error_code(), -ENAMETOOLONG);
    name[70] = 0;
    assert_null(async_open_connection(name, 80));
    int code = async_error_code();
    assert_true(code == ASYNC_ENONAME || code == ASYNC_ETRYNAME || code == ASYNC_ENAME);
    assert_null(async_open_unix_connection(NULL));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_null(async_open_unix_connection(""));
    assert_int_equal(async_error_code(), -EINVAL);
    memset(name, '/', 200);
    name[200] = 0;
    assert_null(async_open_unix_connection(name));
    assert_int_equal(async_error_code(), -ENAMETOOLONG);
    assert_message("200 bytes long");
    assert_null(async_open_unix_connection("/nonexistent/socket"));
    assert_int_equal(async_error_code(), -ENOENT);
    assert_message("connect to /nonexistent/socket: No such file or directory");
    return 0;
}
TEST(wrong_arguments)

static int refused(void *unused)
{
    (void)unused;
    int fd, port = refused_port(&fd), before = open_fds();
    char text[64];
    assert_null(async_open_connection("127.0.0.1", port));
    assert_int_equal(async_error_code(), -ECONNREFUSED);
    snprintf(text, sizeof text, "connect to 127.0.0.1 port %d: Connection refused", port);
    assert_string_equal(async_error_message(), text);
    assert_null(async_open_connection("localhost", port));
    assert_int_equal(async_error_code(), -ECONNREFUSED);
    assert_int_equal(open_fds(), before);
    close(fd);
    return 0;
}
TEST(refused)

static int no_descriptor(void *unused)
{
    (void)unused;
    struct rlimit before, none;
    getrlimit(RLIMIT_NOFILE, &before);
    none = (struct rlimit){0, before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    assert_null(async_open_connection("127.0.0.1", 80));
    assert_int_equal(async_error_code(), -EMFILE);
    assert_null(async_open_unix_connection("@x"));
    assert_int_equal(async_error_code(), -EMFILE);
    setrlimit(RLIMIT_NOFILE, &before);
    return 0;
}
TEST(no_descriptor)

/* ---- happy eyeballs, on lists of addresses made here ---- */

enum { MOST = 8 };

struct fake {
    struct addrinfo info[MOST];
    struct sockaddr_storage address[MOST];
    int fds[MOST * 5], fd_count;
    int ports[MOST];
    int count;
};

static void add(struct fake *fake, int family, const char *text, int port)
{
    int i = fake->count++;
    struct sockaddr_in *ipv4 = (void *)&fake->address[i];
    struct sockaddr_in6 *ipv6 = (void *)&fake->address[i];
    fake->info[i] = (struct addrinfo){.ai_family = family,
                                      .ai_socktype = SOCK_STREAM,
                                      .ai_addr = (struct sockaddr *)&fake->address[i]};
    fake->address[i].ss_family = (sa_family_t)family;
    fake->ports[i] = port;
    if (family == AF_INET) {
        inet_pton(AF_INET, text, &ipv4->sin_addr);
        ipv4->sin_port = htons((uint16_t)port);
        fake->info[i].ai_addrlen = sizeof *ipv4;
    } else {
        inet_pton(AF_INET6, text, &ipv6->sin6_addr);
        ipv6->sin6_port = htons((uint16_t)port);
        fake->info[i].ai_addrlen = sizeof *ipv6;
    }
    if (i > 0) fake->info[i - 1].ai_next = &fake->info[i];
}

static void add_good(struct fake *fake)
{
    struct sockaddr_in address;
    fake->fds[fake->fd_count++] = listen_here(4, &address);
    add(fake, AF_INET, "127.0.0.1", ntohs(address.sin_port));
}

static void add_refused(struct fake *fake)
{
    add(fake, AF_INET, "127.0.0.1", refused_port(&fake->fds[fake->fd_count++]));
}

/* A listener whose queue is full answers nothing. */
static void add_silent(struct fake *fake)
{
    struct sockaddr_in address;
    fake->fds[fake->fd_count++] = listen_here(0, &address);
    for (int i = 0; i < 4; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fd, (struct sockaddr *)&address, sizeof address);
        fake->fds[fake->fd_count++] = fd;
    }
    add(fake, AF_INET, "127.0.0.1", ntohs(address.sin_port));
}

static void done(struct fake *fake)
{
    for (int i = 0; i < fake->fd_count; i++)
        close(fake->fds[i]);
    memset(fake, 0, sizeof *fake);
}

static int port_of_peer(int fd)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    getpeername(fd, (struct sockaddr *)&address, &length);
    return ntohs(address.sin_port);
}

static int staggered(void *unused)
{
    (void)unused;
    static struct fake fake;
    double start = async_now();
    int before = open_fds();

    /* At once, for one that works. */
    add_good(&fake);
    add_good(&fake);
    int fd = async__connect_any(fake.info, "fake", 1);
    assert_int_equal(port_of_peer(fd), fake.ports[0]);
    assert_true(async_now() - start < 0.001);
    async_close(fd);
    done(&fake);

    /* At once after one that fails, also if it fails before it has begun. */
    add(&fake, AF_INET, "255.255.255.255", 1);
    add_refused(&fake);
    add_refused(&fake);
    add_good(&fake);
    fd = async__connect_any(fake.info, "fake", 1);
    assert_int_equal(port_of_peer(fd), fake.ports[3]);
    assert_true(async_now() - start < 0.001);
    async_close(fd);
    done(&fake);

    /* 250 ms after each that does not answer. */
    add_silent(&fake);
    add_silent(&fake);
    add_good(&fake);
    fd = async__connect_any(fake.info, "fake", 1);
    assert_int_equal(port_of_peer(fd), fake.ports[2]);
    assert_true(async_now() - start > 0.499 && async_now() - start < 0.501);
    async_close(fd);
    done(&fake);
    assert_int_equal(open_fds(), before);
    return 0;
}
TEST(staggered)

static int errors_of_many(void *unused)
{
    (void)unused;
    static struct fake fake;

    /* A refusal tells more than that there is no way, whatever comes first. */
    add(&fake, AF_INET, "255.255.255.255", 1);
    add_refused(&fake);
    assert_int_equal(async__connect_any(fake.info, "fake", 7), -ECONNREFUSED);
    assert_string_equal(async_error_message(), "connect to fake port 7: Connection refused");
    done(&fake);
    add_refused(&fake);
    add(&fake, AF_INET, "255.255.255.255", 1);
    assert_int_equal(async__connect_any(fake.info, "fake", 7), -ECONNREFUSED);
    done(&fake);
    assert_int_equal(async__connect_any(NULL, "fake", 7), ASYNC_ENONAME);
    assert_message("fake has no address");
    return 0;
}
TEST(errors_of_many)

struct any {
    const struct addrinfo *list;
};
static int any(struct any *self) { return async__connect_any(self->list, "fake", 1); }

static int cancelled_race(void *unused)
{
    (void)unused;
    static struct fake fake;
    int before = open_fds(), code = 0;

    add_silent(&fake);
    add_silent(&fake);
    add_silent(&fake);
    async_task *task = async_spawn(any, .list = fake.info);
    async_sleep(0.3);
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    double start = async_now();
    async_timeout (100)
        code = any(&(struct any){fake.info});
    assert_int_equal(code, -ETIMEDOUT);
    assert_true(async_now() - start > 99 && async_now() - start < 101);
    done(&fake);
    assert_int_equal(open_fds(), before);

    async_timeout (0)
        code = connect_to(&(struct connect_to){"127.0.0.1", 1});
    assert_int_equal(code, -ETIMEDOUT);
    return 0;
}
TEST(cancelled_race)

/* The families take turns, beginning with that of the first. */
static bool have_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool have = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0) close(fd);
    return have;
}

static int families(void *unused)
{
    (void)unused;
    static struct fake fake;
    double start = async_now();

    /* silent4, silent4, then ipv6: it is second in turn, so it wins after 250 ms, not 500. */
    add_silent(&fake);
    add_silent(&fake);
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    socklen_t length = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    getsockname(fd, (struct sockaddr *)&address, &length);
    assert_int_equal(listen(fd, 4), 0);
    fake.fds[fake.fd_count++] = fd;
    add(&fake, AF_INET6, "::1", ntohs(address.sin6_port));
    fd = async__connect_any(fake.info, "fake", 1);
    assert_true(fd >= 0);
    assert_true(async_now() - start > 0.249 && async_now() - start < 0.251);
    async_close(fd);
    done(&fake);
    return 0;
}

static void test_families(void **state)
{
    (void)state;
    if (!have_ipv6()) skip();
    assert_int_equal(run(families, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connected),      cmocka_unit_test(test_wrong_arguments),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_no_descriptor),
        cmocka_unit_test(test_staggered),      cmocka_unit_test(test_errors_of_many),
        cmocka_unit_test(test_cancelled_race), cmocka_unit_test(test_families),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
