/* datagrams.h: broadcast, multicast, shared ports, addresses; and what is refused, with which code and
 * message. */
#include "datagram_test.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>

/* ---- broadcast ---- */

static int broadcast(void *unused)
{
    (void)unused;
    async_datagram_endpoint *receiver = async_create_datagram_endpoint(
        &(async_datagram_options){.local_addr = {"", 0}, .family = AF_INET});
    async_datagram_endpoint *shy = bound();
    async_datagram_endpoint *loud = async_create_datagram_endpoint(
        &(async_datagram_options){.local_addr = {"127.0.0.1", 0}, .allow_broadcast = true});
    async_address all, from, own = address_of(loud);
    assert_int_equal(
        async_datagram_lookup(loud, "127.255.255.255", async_datagram_port(receiver), &all), 0);
    assert_int_equal(async_datagram_sendto(shy, "x", 1, &all), -EACCES);
    assert_message("127.255.255.255");
    assert_message("allow_broadcast");
    send_text(loud, "to all", &all);
    assert_string_equal(received(receiver, &from), "to all");
    assert_true(async_address_equal(&from, &own));
    async_datagram_close(loud);
    async_datagram_close(shy);
    async_datagram_close(receiver);
    return 0;
}
TEST(broadcast)

/* ---- multicast ---- */

static async_datagram_endpoint *member(int family, int port)
{
    async_datagram_endpoint *endpoint = async_create_datagram_endpoint(
        &(async_datagram_options){.local_addr = {"", port}, .family = family, .reuse_port = true});
    assert_non_null(endpoint);
    return endpoint;
}

/* Multicasts are delivered a moment later. (On a slow machine this may see too little, never too
 * much.) */
static bool is_silent(async_datagram_endpoint *endpoint)
{
    return poll(&(struct pollfd){.fd = async_datagram_fd(endpoint), .events = POLLIN}, 1, 20) == 0;
}

static int option_of(async_datagram_endpoint *endpoint, int level, int option)
{
    int value = -1;
    socklen_t size = sizeof value;
    assert_int_equal(getsockopt(async_datagram_fd(endpoint), level, option, &value, &size), 0);
    return value;
}

static void by_multicast(int family, const char *group, const char *interface, int level,
                         int hops_option, int loop_option)
{
    bool loopback = strcmp(interface, "lo") == 0;
    async_datagram_endpoint *one = member(family, 0),
                            *two = member(family, async_datagram_port(one));
    async_datagram_endpoint *sender = async_create_datagram_endpoint(&(async_datagram_options){
        .local_addr = {loopback ? "127.0.0.1" : "", 0}, .family = family});
    async_address to;
    assert_int_equal(async_datagram_lookup(sender, group, async_datagram_port(one), &to), 0);
    assert_int_equal(async_datagram_set_multicast_interface(sender, interface), 0);
    assert_int_equal(async_datagram_set_multicast_ttl(sender, 0), 0);
    assert_int_equal(async_datagram_set_multicast_ttl(sender, 255), 0);
    assert_int_equal(async_datagram_set_multicast_ttl(sender, 3), 0);
    assert_int_equal(option_of(sender, level, hops_option), 3);

    assert_int_equal(async_datagram_join(one, group, interface), 0);
    assert_int_equal(async_datagram_join(two, group, interface), 0);
    assert_int_equal(async_datagram_join(two, group, interface), -EADDRINUSE);
    assert_message("join the multicast group ");
    assert_message(" on ");
    send_text(sender, "to the group", &to);
    assert_string_equal(received(one, NULL), "to the group");
    assert_string_equal(received(two, NULL), "to the group");

    assert_int_equal(async_datagram_leave(two, group, interface), 0);
    assert_int_equal(async_datagram_leave(two, group, interface), -EADDRNOTAVAIL);
    assert_message("leave the multicast group ");
    setsockopt(async_datagram_fd(two), IPPROTO_IP, IP_MULTICAST_ALL, &(int){0}, sizeof(int));
    send_text(sender, "to one", &to);
    assert_string_equal(received(one, NULL), "to one");
    if (family == AF_INET) assert_true(is_silent(two)); /* IPv6 has no such rule for this socket */

    assert_int_equal(async_datagram_set_multicast_loop(sender, false), 0);
    assert_int_equal(option_of(sender, level, loop_option), 0);
    send_text(sender, "to others' machines", &to);
    if (loopback) received(one, NULL); /* that interface returns all that goes out by it */
    assert_true(is_silent(one));
    assert_int_equal(async_datagram_set_multicast_loop(sender, true), 0);
    assert_int_equal(option_of(sender, level, loop_option), 1);
    assert_int_equal(async_datagram_set_multicast_interface(sender, NULL), 0);
    async_datagram_close(sender);
    async_datagram_close(two);
    async_datagram_close(one);
}

static int multicast(void *unused)
{
    (void)unused;
    by_multicast(AF_INET, "239.77.1.9", "lo", IPPROTO_IP, IP_MULTICAST_TTL, IP_MULTICAST_LOOP);
    return 0;
}
TEST(multicast)

/* An interface that takes IPv6's multicasts, as the loopback one does not; NULL: there is none. */
static const char *ipv6_interface(void)
{
    static char name[IF_NAMESIZE];
    struct ifaddrs *list, *at;
    assert_int_equal(getifaddrs(&list), 0);
    for (at = list; at; at = at->ifa_next)
        if (at->ifa_addr && at->ifa_addr->sa_family == AF_INET6 &&
            (at->ifa_flags & (IFF_UP | IFF_RUNNING | IFF_MULTICAST)) ==
                (IFF_UP | IFF_RUNNING | IFF_MULTICAST))
            break;
    if (at) snprintf(name, sizeof name, "%s", at->ifa_name);
    freeifaddrs(list);
    return at ? name : NULL;
}

/* ff01: does not leave this machine. */
static int multicast_ipv6(void *interface)
{
    by_multicast(AF_INET6, "ff01::7719", interface, IPPROTO_IPV6, IPV6_MULTICAST_HOPS,
                 IPV6_MULTICAST_LOOP);
    return 0;
}

static void test_multicast_ipv6(void **state)
{
    (void)state;
    const char *interface = ipv6_interface();
    if (!interface) {
        print_message("skipped: there is no interface with IPv6's multicast\n");
        skip();
    }
    assert_int_equal(run(multicast_ipv6, (void *)interface), 0);
}

static int no_multicast(void *unused)
{
    (void)unused;
    static const struct {
        const char *group, *interface;
        int code;
        const char *message;
    } rows[] = {
        {"10.0.0.1", NULL, -EINVAL, "10.0.0.1 is no multicast group"},
        {"example.org", NULL, -EINVAL, "the multicast group example.org is no address"},
        {"", NULL, -EINVAL, "is no address"},
        {NULL, NULL, -EINVAL, "there is no multicast group: it is NULL"},
        {"ff02::1", NULL, -EAFNOSUPPORT, "ff02::1 is of another family"},
        {"239.1.1.1", "nosuchinterface", -ENODEV, "there is no interface nosuchinterface"},
        {"239.1.1.1", "", -ENODEV, "there is no interface "},
    };
    async_datagram_endpoint *endpoint = bound(), *pair[2];
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(async_datagram_join(endpoint, rows[i].group, rows[i].interface),
                         rows[i].code);
        assert_message(rows[i].message);
        assert_int_equal(async_datagram_leave(endpoint, rows[i].group, rows[i].interface),
                         rows[i].code);
        assert_message(rows[i].message);
    }
    assert_int_equal(async_datagram_set_multicast_ttl(endpoint, 256), -EINVAL);
    assert_message("a multicast's TTL of 256 is not one of 0 to 255");
    assert_int_equal(async_datagram_set_multicast_ttl(endpoint, -1), -EINVAL);
    assert_int_equal(async_datagram_set_multicast_interface(endpoint, "nosuchinterface"), -ENODEV);
    make_datagram_pair(pair);
    assert_int_equal(async_datagram_join(pair[0], "239.1.1.1", NULL), -EAFNOSUPPORT);
    assert_int_equal(async_datagram_set_multicast_ttl(pair[0], 1), -EAFNOSUPPORT);
    assert_int_equal(async_datagram_set_multicast_loop(pair[0], true), -EAFNOSUPPORT);
    assert_int_equal(async_datagram_set_multicast_interface(pair[0], "lo"), -EAFNOSUPPORT);
    async_datagram_close(pair[0]);
    async_datagram_close(pair[1]);
    async_datagram_close(endpoint);
    return 0;
}
TEST(no_multicast)

/* ---- one port, several sockets ---- */

static int reuse_port(void *unused)
{
    (void)unused;
    enum { SENDERS = 64 };
    async_datagram_options options = {.local_addr = {"127.0.0.1", 0}, .reuse_port = true};
    async_datagram_endpoint *one = async_create_datagram_endpoint(&options);
    options.local_addr.port = async_datagram_port(one);
    async_datagram_endpoint *two = async_create_datagram_endpoint(&options);
    assert_non_null(two);
    options.reuse_port = false;
    assert_null(async_create_datagram_endpoint(&options));
    assert_int_equal(async_error_code(), -EADDRINUSE);
    assert_message("bind a datagram endpoint to 127.0.0.1:");
    for (int i = 0; i < SENDERS; i++) {
        async_datagram_endpoint *sender = connected(options.local_addr.port);
        send_text(sender, "x", NULL);
        async_datagram_close(sender);
    }
    int got[2] = {0};
    char buffer[4];
    for (int i = 0; i < 2; i++)
        while (recv(async_datagram_fd(i ? two : one), buffer, 4, MSG_DONTWAIT) == 1)
            got[i]++;
    assert_int_equal(got[0] + got[1], SENDERS);
    assert_true(got[0] > 0 && got[1] > 0); /* all to one: once in 2^63 */
    async_datagram_close(two);
    async_datagram_close(one);
    return 0;
}
TEST(reuse_port)

/* ---- what cannot be made ---- */

enum { NAME = 1 };

/* What a name without an address gives depends on the C library and on the network. */
static bool is_of_names(int code)
{
    return code == ASYNC_ENONAME || code == ASYNC_ETRYNAME || code == ASYNC_ENAME ||
           code == -EAFNOSUPPORT;
}

static int refused_options(void *unused)
{
    (void)unused;
    static char long_path[200], long_name[300];
    memset(long_path, 'x', sizeof long_path - 1);
    memset(long_name, 'x', sizeof long_name - 1);
    const struct {
        async_datagram_options options;
        int code;
        const char *message;
    } rows[] = {
        {{.family = 0}, -EINVAL, "needs an address or a family"},
        {{.family = 99}, -EAFNOSUPPORT, "family 99"},
        {{.local_addr = {"127.0.0.1", 65536}}, -EINVAL, "local port 65536 is not one of 0 to"},
        {{.local_addr = {"127.0.0.1", -1}}, -EINVAL, "local port -1"},
        {{.remote_addr = {"127.0.0.1", 0}}, -EINVAL, "remote port 0 is not one of 1 to 65535"},
        {{.remote_addr = {"127.0.0.1", 70000}}, -EINVAL, "remote port 70000"},
        {{.remote_addr = {NULL, 53}}, -EINVAL, "has a port and no host"},
        {{.remote_addr = {"", 53}}, ASYNC_ENONAME, "the host name is empty"},
        {{.remote_addr = {"no such.name", 53}}, NAME, "no such.name"},
        {{.remote_addr = {long_name, 53}}, -ENAMETOOLONG, "characters long"},
        {{.local_addr = {"127.0.0.1", 0}, .remote_addr = {"::1", 53}},
         -EAFNOSUPPORT,
         "no family is common"},
        {{.local_addr = {"192.0.2.1", 0}}, -EADDRNOTAVAIL, "192.0.2.1:0"},
        {{.local_addr = {"127.0.0.1", 0}, .family = AF_INET6}, NAME, "127.0.0.1"},
        {{.remote_addr = {"255.255.255.255", 9}}, -EACCES, "255.255.255.255:9"},
        {{.family = AF_UNIX, .local_addr = {"", 0}}, -EINVAL, "path is empty"},
        {{.family = AF_UNIX, .local_addr = {"/tmp/x", 1}}, -EINVAL, "has no port"},
        {{.family = AF_UNIX, .remote_addr = {long_path, 0}}, -ENAMETOOLONG, "199 bytes long"},
        {{.family = AF_UNIX, .local_addr = {"/nowhere/x", 0}}, -ENOENT, "/nowhere/x"},
        {{.family = AF_UNIX, .reuse_port = true}, -EINVAL, "none of IP's options"},
    };
    int before = open_fds();
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_null(async_create_datagram_endpoint(&rows[i].options));
        if (rows[i].code == NAME)
            assert_true(is_of_names(async_error_code()));
        else
            assert_int_equal(async_error_code(), rows[i].code);
        assert_message(rows[i].message);
    }
    assert_null(async_create_datagram_endpoint(NULL));
    assert_int_equal(async_error_code(), -EINVAL);
    struct {
        async_datagram_options options;
        int later;
    } newer = {.options = {.local_addr = {"127.0.0.1", 0}}};
    async_datagram_endpoint *endpoint =
        async__create_datagram_endpoint(&newer.options, sizeof newer);
    assert_non_null(endpoint);
    async_datagram_close(endpoint);
    newer.later = 1;
    assert_null(async__create_datagram_endpoint(&newer.options, sizeof newer));
    assert_message("a member of a newer version");
    assert_int_equal(open_fds(), before);
    return 0;
}
TEST(refused_options)

static int from_fd(void *unused)
{
    (void)unused;
    int fds[2], ends[2], before = open_fds();
    make_pair(fds);
    assert_null(async_datagram_from_fd(fds[0]));
    assert_int_equal(async_error_code(), -EPROTOTYPE);
    assert_message("is a socket, but not a datagram socket");
    async_close(fds[0]);
    async_close(fds[1]);
    assert_int_equal(pipe(ends), 0);
    assert_null(async_datagram_from_fd(ends[0]));
    assert_int_equal(async_error_code(), -ENOTSOCK);
    close(ends[0]);
    close(ends[1]);
    assert_null(async_datagram_from_fd(-1));
    assert_int_equal(async_error_code(), -EBADF);
    assert_message("a datagram endpoint of descriptor -1");

    /* A blocking socket works too, and stays one. */
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    async_datagram_endpoint *endpoint = async_datagram_from_fd(fd);
    async_address peer;
    assert_int_equal(async_datagram_peername(endpoint, &peer), -ENOTCONN);
    assert_int_equal(peer.length, 0);
    char buffer[16];
    async_timeout (1)
        assert_int_equal(async_datagram_recvfrom(endpoint, buffer, 16, NULL), -ETIMEDOUT);
    async_datagram_endpoint *client = connected(async_datagram_port(endpoint));
    send_text(client, "hello", NULL);
    assert_string_equal(received(endpoint, NULL), "hello");
    assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
    async_datagram_close(client);
    assert_int_equal(async_datagram_close(endpoint), 0);
    assert_int_equal(open_fds(), before);
    return 0;
}
TEST(from_fd)

/* ---- addresses ---- */

static int wrong_addresses(void *unused)
{
    (void)unused;
    async_datagram_endpoint *endpoint = bound(), *client = connected(9), *pair[2];
    async_address to = {.length = 0}, ipv6 = {.length = sizeof(struct sockaddr_in6)};
    ipv6.storage.ss_family = AF_INET6;
    make_datagram_pair(pair);

    assert_int_equal(async_datagram_sendto(endpoint, "x", 1, NULL), -EDESTADDRREQ);
    assert_message("no address to be sent to");
    assert_int_equal(async_datagram_sendto(endpoint, "x", 1, &to), -EDESTADDRREQ);
    assert_int_equal(async_datagram_sendto(endpoint, "x", 1, &ipv6), -EAFNOSUPPORT);
    assert_message("send to [::]:0: the datagram endpoint is of another family");
    to = address_of(endpoint);
    assert_int_equal(async_datagram_sendto(client, "x", 1, &to), -EISCONN);
    assert_message("the datagram endpoint is connected to 127.0.0.1:9");
    assert_int_equal(async_datagram_sendto(pair[0], "x", 1, &to), -EAFNOSUPPORT);
    ((struct sockaddr_in *)&to.storage)->sin_port = 0;
    assert_int_equal(async_datagram_sendto(endpoint, "x", 1, &to), -EINVAL);
    assert_message("send to 127.0.0.1:0: ");
    to.length = sizeof to.storage + 1;
    assert_int_equal(async_datagram_sendto(endpoint, "x", 1, &to), -EINVAL);
    assert_message("a length of 129 bytes");
    to.length = 3;
    assert_int_equal(async_datagram_sendto(endpoint, "x", 1, &to), -EINVAL);

    assert_int_equal(async_datagram_lookup(endpoint, "127.0.0.1", 0, &to), -EINVAL);
    assert_message("port 0 is not one of 1 to 65535");
    assert_int_equal(async_datagram_lookup(endpoint, "127.0.0.1", 65536, &to), -EINVAL);
    assert_int_equal(async_datagram_lookup(endpoint, NULL, 1, &to), -EINVAL);
    assert_int_equal(async_datagram_lookup(endpoint, "", 1, &to), ASYNC_ENONAME);
    assert_true(is_of_names(async_datagram_lookup(endpoint, "no such.name", 1, &to)));
    assert_int_equal(async_datagram_lookup(pair[0], "/tmp/x", 1, &to), -EINVAL);
    assert_int_equal(async_datagram_lookup(pair[0], "", 0, &to), -EINVAL);
    assert_int_equal(to.length, 0);
    async_datagram_close(pair[0]);
    async_datagram_close(pair[1]);
    async_datagram_close(client);
    async_datagram_close(endpoint);
    return 0;
}
TEST(wrong_addresses)

static int comparing(void *unused)
{
    (void)unused;
    async_datagram_endpoint *one = bound(), *two = bound();
    async_address a = address_of(one), b = address_of(two), c = a, none = {.length = 0};
    char text[64] = "before", little[5];
    memset(((struct sockaddr_in *)&c.storage)->sin_zero, 7, 8); /* padding */
    assert_true(async_address_equal(&a, &c));
    assert_false(async_address_equal(&a, &b));
    assert_false(async_address_equal(&a, &none));
    assert_true(async_address_equal(&none, &none));
    async_address_text(&none, text, sizeof text);
    assert_string_equal(text, "");
    async_address_text(&a, little, sizeof little);
    assert_string_equal(little, "127.");
    async_address_text(NULL, text, sizeof text);
    assert_string_equal(text, "");
    async_address_text(&a, text, 0);
    async_datagram_close(one);
    async_datagram_close(two);
    return 0;
}
TEST(comparing)

/* ---- no endpoint ---- */

static void refuse_null(void)
{
    async_address address = {.length = 7};
    async_datagram datagram = {0};
    char byte;
    assert_int_equal(async_datagram_recvfrom(NULL, &byte, 1, &address), -EBADF);
    assert_string_equal(async_error_message(),
                        "async_datagram_recvfrom: the datagram endpoint is NULL");
    assert_int_equal(address.length, 0);
    assert_int_equal(async_datagram_sendto(NULL, &byte, 1, &address), -EBADF);
    assert_int_equal(async_datagram_recv_many(NULL, &datagram, 1), -EBADF);
    assert_int_equal(async_datagram_send_many(NULL, &datagram, 1), -EBADF);
    assert_int_equal(async_datagram_join(NULL, "239.1.1.1", NULL), -EBADF);
    assert_int_equal(async_datagram_leave(NULL, "239.1.1.1", NULL), -EBADF);
    assert_int_equal(async_datagram_set_multicast_interface(NULL, "lo"), -EBADF);
    assert_int_equal(async_datagram_set_multicast_ttl(NULL, 1), -EBADF);
    assert_int_equal(async_datagram_set_multicast_loop(NULL, true), -EBADF);
    assert_int_equal(async_datagram_lookup(NULL, "127.0.0.1", 1, &address), -EBADF);
    assert_int_equal(async_datagram_port(NULL), -EBADF);
    assert_int_equal(async_datagram_fd(NULL), -EBADF);
    assert_int_equal(async_datagram_sockname(NULL, &address), -EBADF);
    assert_int_equal(async_datagram_peername(NULL, &address), -EBADF);
    assert_int_equal(async_datagram_close(NULL), 0);
    assert_null(async_datagrams(NULL));
    assert_int_equal(async_error_code(), -EBADF);
}

static int null_endpoint(void *unused)
{
    (void)unused;
    refuse_null();
    async_for (async_datagram *, datagram,
               async_datagrams(async_create_datagram_endpoint(&(async_datagram_options){0})))
        fail();
    assert_int_equal(async_block_error(), -EINVAL); /* why it could not be made */
    return 0;
}
TEST(null_endpoint)

/* What needs no task works without one; what blocks says so. */
static void test_outside(void **state)
{
    (void)state;
    char byte;
    refuse_null();
    assert_null(
        async_create_datagram_endpoint(&(async_datagram_options){.local_addr = {"127.0.0.1", 0}}));
    assert_int_equal(async_error_code(), -EPERM);
    async_datagram_endpoint *endpoint =
        async_create_datagram_endpoint(&(async_datagram_options){.family = AF_UNIX});
    assert_non_null(endpoint);
    assert_int_equal(async_datagram_recvfrom(endpoint, &byte, 1, NULL), -EPERM);
    assert_int_equal(async_datagram_sendto(endpoint, &byte, 1, NULL), -EPERM);
    assert_int_equal(async_datagram_close(endpoint), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broadcast),      cmocka_unit_test(test_multicast),
        cmocka_unit_test(test_multicast_ipv6), cmocka_unit_test(test_no_multicast),
        cmocka_unit_test(test_reuse_port),     cmocka_unit_test(test_refused_options),
        cmocka_unit_test(test_from_fd),        cmocka_unit_test(test_wrong_addresses),
        cmocka_unit_test(test_comparing),      cmocka_unit_test(test_null_endpoint),
        cmocka_unit_test(test_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
