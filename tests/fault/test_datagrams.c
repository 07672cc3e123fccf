/* Sweeps of datagram endpoints: IPv4 and Unix, one at a time and by batches, errors by ICMP, groups.
 * A datagram may be lost by a fault: whatever waits for one gives up.
 *
 * ctest: timeout=600 */
#include "sweep.h"

#include <casyncio/datagrams.h>
#include <fcntl.h>
#include <netinet/in.h>

static int failed(void)
{
    int code = async_error_code();
    assert_true(code < 0);
    return code;
}

static char path[64];

/* ---- one at a time ---- */

static int exchange(async_datagram_endpoint *server, async_datagram_endpoint *client)
{
    char buffer[16];
    async_address from;
    int code = async_datagram_sendto(client, "ping", 4, NULL);
    if (code < 0) return code;
    ssize_t n = async_datagram_recvfrom(server, buffer, sizeof buffer, &from);
    if (n < 0) return (int)n;
    assert_int_equal(n, 4);
    code = async_datagram_sendto(server, "answer", 6, &from);
    if (code < 0) return code;
    async_for (async_datagram *, datagram, async_datagrams(client)) {
        assert_int_equal(datagram->size, 6);
        break;
    }
    return async_block_error();
}

static int with_both(const async_datagram_options *here, async_datagram_options *there,
                     int (*use)(async_datagram_endpoint *, async_datagram_endpoint *))
{
    async_datagram_endpoint *server = async_create_datagram_endpoint(here), *client;
    if (!server) return failed();
    int code = async_datagram_port(server);
    there->remote_addr.port = code > 0 ? code : 0;
    client = code < 0 ? NULL : async_create_datagram_endpoint(there);
    if (code >= 0) code = client ? 0 : failed();
    if (client)
        async_timeout (10)
            code = use(server, client);
    int closed = async_datagram_close(client);
    if (code == 0) code = closed;
    closed = async_datagram_close(server);
    return code == 0 ? closed : code;
}

static int ip(void *unused)
{
    (void)unused;
    return with_both(&(async_datagram_options){.local_addr = {"127.0.0.1", 0}, .reuse_port = true},
                     &(async_datagram_options){.remote_addr = {"127.0.0.1", 0}}, exchange);
}

static int unix_socket(void *unused)
{
    (void)unused;
    async_datagram_options here = {.family = AF_UNIX, .local_addr = {path, 0}, .mode = 0600},
                           there = {.family = AF_UNIX, .remote_addr = {path, 0}};
    int code = with_both(&here, &there, exchange);
    /* The file goes with the endpoint, unless it was its removal that failed. */
    unlink(path);
    return code;
}

/* ---- several ---- */

static int batches(async_datagram_endpoint *server, async_datagram_endpoint *client)
{
    enum { MANY = 40 };
    static char data[20000], rooms[MANY][1000];
    async_datagram out[3] = {
        {.data = data, .size = 10},
        {.data = data, .size = sizeof data, .segment = 500},
        {.data = data, .size = 20},
    };
    async_datagram in[MANY];
    ssize_t n;
    for (size_t sent = 0; sent < 3; sent += (size_t)n)
        if ((n = async_datagram_send_many(client, out + sent, 3 - sent)) < 0) return (int)n;
    for (size_t got = 0; got < 42; got += (size_t)n) {
        for (int i = 0; i < MANY; i++)
            in[i] = (async_datagram){.data = rooms[i], .capacity = sizeof rooms[i]};
        if ((n = async_datagram_recv_many(server, in, MANY)) < 0) return (int)n;
    }
    return 0;
}

static int many(void *unused)
{
    (void)unused;
    return with_both(&(async_datagram_options){.local_addr = {"127.0.0.1", 0}},
                     &(async_datagram_options){.remote_addr = {"127.0.0.1", 0}}, batches);
}

/* ---- a sender that waits ---- */

struct sending {
    async_datagram_endpoint *endpoint;
};

static int sending(struct sending *self)
{
    char data[5000] = "";
    for (int i = 0; i < 100; i++) {
        int code = async_datagram_sendto(self->endpoint, data, sizeof data, NULL);
        if (code < 0) return code;
    }
    return 0;
}

static int take_all(async_datagram_endpoint *endpoint)
{
    char data[5000];
    for (int i = 0; i < 200; i++) {
        ssize_t n = async_datagram_recvfrom(endpoint, data, sizeof data, NULL);
        if (n < 0) return (int)n;
    }
    return 0;
}

static int full_queues(void *unused)
{
    (void)unused;
    int fds[2], code = 0;
    async_datagram_endpoint *ends[2] = {NULL, NULL};
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    for (int i = 0; i < 2; i++) {
        ends[i] = async_datagram_from_fd(fds[i]);
        if (ends[i]) continue;
        code = failed();
        async_close(fds[i]);
    }
    if (code == 0)
        async_timeout (10)
            async_with_group (group) {
                async_group_spawn(group, sending, .endpoint = ends[0]);
                async_group_spawn(group, sending, .endpoint = ends[0]);
                code = take_all(ends[1]);
                if (code < 0) async_group_cancel(group);
            }
    int failed_block = async_block_error();
    if (code == 0) code = failed_block;
    async_datagram_close(ends[0]);
    async_datagram_close(ends[1]);
    return code;
}

/* ---- errors, groups, names ---- */

static int rest(void *unused)
{
    (void)unused;
    char buffer[16];
    async_address dead, about;
    async_datagram_endpoint *endpoint =
        async_create_datagram_endpoint(&(async_datagram_options){.local_addr = {"localhost", 0},
                                                                 .family = AF_INET,
                                                                 .report_errors = true,
                                                                 .allow_broadcast = true});
    if (!endpoint) return failed();
    int code = async_datagram_lookup(endpoint, "localhost", 1, &dead);
    if (code == 0) code = async_datagram_join(endpoint, "239.77.1.8", "lo");
    if (code == 0) code = async_datagram_set_multicast_interface(endpoint, "lo");
    if (code == 0) code = async_datagram_set_multicast_ttl(endpoint, 2);
    if (code == 0) code = async_datagram_set_multicast_loop(endpoint, true);
    if (code == 0) code = async_datagram_leave(endpoint, "239.77.1.8", "lo");
    if (code == 0) code = async_datagram_sendto(endpoint, "x", 1, &dead);
    if (code == 0) {
        async_timeout (10)
            code = (int)async_datagram_recvfrom(endpoint, buffer, sizeof buffer, &about);
        if (code == -ECONNREFUSED) code = 0;
    }
    int closed = async_datagram_close(endpoint);
    return code == 0 ? closed : code;
}

SWEEP(ip, PEERS)
SWEEP(unix_socket, PEERS)
SWEEP(many, PEERS)
SWEEP(full_queues, PEERS | MUCH_DATA)
SWEEP(rest, PEERS)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ip),   cmocka_unit_test(test_unix_socket),
        cmocka_unit_test(test_many), cmocka_unit_test(test_full_queues),
        cmocka_unit_test(test_rest),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(path, sizeof path, "/tmp/casyncio-fault-datagrams-%d", (int)getpid());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
