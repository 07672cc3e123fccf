/* datagrams.h: errors by ICMP, of connected endpoints and by the error queue; what the loop makes of
 * a queue that is not empty is in test_idle.c. */
#include "datagram_test.h"

static async_datagram_endpoint *reporting(void)
{
    async_datagram_endpoint *endpoint = async_create_datagram_endpoint(
        &(async_datagram_options){.local_addr = {"127.0.0.1", 0}, .report_errors = true});
    assert_non_null(endpoint);
    return endpoint;
}

static async_address dead_address(async_datagram_endpoint *endpoint)
{
    async_address address;
    assert_int_equal(async_datagram_lookup(endpoint, "127.0.0.1", dead_port(), &address), 0);
    return address;
}

/* ---- connected ---- */

static int refused(void *unused)
{
    (void)unused;
    int port = dead_port();
    char expected[64], buffer[16];
    async_datagram_endpoint *client = connected(port);
    snprintf(expected, sizeof expected, "receive from 127.0.0.1:%d: Connection refused", port);

    send_text(client, "into the void", NULL);
    assert_int_equal(async_datagram_recvfrom(client, buffer, sizeof buffer, NULL), -ECONNREFUSED);
    assert_string_equal(async_error_message(), expected);

    send_text(client, "into the void", NULL);
    assert_int_equal(async_datagram_sendto(client, "again", 5, NULL), -ECONNREFUSED);
    snprintf(expected, sizeof expected, "send to 127.0.0.1:%d: Connection refused", port);
    assert_string_equal(async_error_message(), expected);

    /* A receiver that waits already. */
    async_task *task =
        async_spawn(receive_call, .endpoint = client, .buffer = buffer, .size = sizeof buffer);
    settle();
    assert_false(async_task_done(task));
    send_text(client, "into the void", NULL);
    assert_int_equal(async_await(task), -ECONNREFUSED);

    send_text(client, "into the void", NULL);
    async_for (async_datagram *, datagram, async_datagrams(client))
        fail();
    assert_int_equal(async_block_error(), -ECONNREFUSED);
    async_datagram_close(client);
    return 0;
}
TEST(refused)

/* Those of all but the last datagram of a batch can be lost, but never the last one's. */
static int refused_batches(void *unused)
{
    (void)unused;
    char buffer[16] = "";
    async_datagram_endpoint *client = connected(dead_port());
    for (int count = 1; count < 70; count += 3) {
        async_datagram datagrams[70] = {0};
        for (int i = 0; i < count; i++)
            datagrams[i] = (async_datagram){.data = buffer, .size = 1};
        ssize_t n = async_datagram_send_many(client, datagrams, (size_t)count);
        assert_in_range(n, 1, count);
        assert_int_equal(async_datagram_recvfrom(client, buffer, sizeof buffer, NULL),
                         -ECONNREFUSED);
    }
    async_datagram_close(client);
    return 0;
}
TEST(refused_batches)

/* An endpoint with many peers is not told, unless it asks. */
static int not_told(void *unused)
{
    (void)unused;
    async_datagram_endpoint *endpoint = bound(), *peer = bound();
    async_address dead = dead_address(endpoint), alive = address_of(peer),
                  own = address_of(endpoint);
    send_text(endpoint, "into the void", &dead);
    send_text(endpoint, "to one that lives", &alive);
    assert_string_equal(received(peer, NULL), "to one that lives");
    send_text(peer, "answer", &own);
    assert_string_equal(received(endpoint, NULL), "answer");
    async_datagram_close(peer);
    async_datagram_close(endpoint);
    return 0;
}
TEST(not_told)

/* ---- with report_errors ---- */

static void assert_refusal(async_datagram_endpoint *endpoint, const async_address *dead)
{
    char buffer[16], text[64], expected[128];
    async_address about;
    assert_int_equal(async_datagram_recvfrom(endpoint, buffer, sizeof buffer, &about),
                     -ECONNREFUSED);
    assert_true(async_address_equal(&about, dead));
    async_address_text(dead, text, sizeof text);
    snprintf(expected, sizeof expected, "a datagram to %s did not arrive: Connection refused",
             text);
    assert_string_equal(async_error_message(), expected);
}

/* Errors about several peers, each told once and by name; sends to one that lives do not suffer, and
 * what it sends is received. */
static int reported(void *unused)
{
    (void)unused;
    async_datagram_endpoint *endpoint = reporting(), *peer = bound();
    async_address first = dead_address(endpoint), second = dead_address(endpoint),
                  alive = address_of(peer), own = address_of(endpoint);
    send_text(endpoint, "into the void", &first);
    send_text(endpoint, "to one that lives", &alive);
    send_text(endpoint, "into the void", &second);
    send_text(endpoint, "to one that lives", &alive);
    assert_string_equal(received(peer, NULL), "to one that lives");
    assert_string_equal(received(peer, NULL), "to one that lives");
    assert_refusal(endpoint, &first);
    assert_refusal(endpoint, &second);

    send_text(peer, "answer", &own);
    assert_string_equal(received(endpoint, NULL), "answer");
    char buffer[16];
    async_timeout (1)
        assert_int_equal(async_datagram_recvfrom(endpoint, buffer, 16, NULL), -ETIMEDOUT);

    /* Without a place for the address the message has it all the same. */
    send_text(endpoint, "into the void", &first);
    assert_int_equal(async_datagram_recvfrom(endpoint, buffer, 16, NULL), -ECONNREFUSED);
    assert_message("a datagram to 127.0.0.1:");

    /* A receiver that waits; the send that follows takes the socket's error. */
    async_address about;
    async_task *task = async_spawn(receive_call, .endpoint = endpoint, .buffer = buffer,
                                   .size = sizeof buffer, .from = &about);
    settle();
    send_text(endpoint, "into the void", &second);
    send_text(endpoint, "to one that lives", &alive);
    assert_int_equal(async_await(task), -ECONNREFUSED);
    assert_true(async_address_equal(&about, &second));
    async_datagram_close(peer);
    async_datagram_close(endpoint);
    return 0;
}
TEST(reported)

/* The iteration and the batch go on: an error is a value there. */
static int among_others(void *unused)
{
    (void)unused;
    async_datagram_endpoint *endpoint = reporting(), *peer = bound();
    async_address dead = dead_address(endpoint), own = address_of(endpoint);
    char rooms[4][64];
    async_datagram datagrams[4];
    int values = 0;

    send_text(endpoint, "into the void", &dead);
    send_text(peer, "first", &own);
    async_for (async_datagram *, datagram, async_datagrams(endpoint)) {
        if (datagram->error < 0) {
            assert_int_equal(datagram->error, -ECONNREFUSED);
            assert_true(async_address_equal(&datagram->peer, &dead));
            assert_int_equal(datagram->size, 0);
            assert_string_equal(datagram->data, "");
        } else {
            assert_string_equal(datagram->data, "first");
        }
        if (++values == 2) break;
    }
    assert_int_equal(async_block_error(), 0);
    assert_int_equal(async_error_code(), 0); /* no call has failed */

    for (int i = 0; i < 4; i++)
        datagrams[i] = (async_datagram){.data = rooms[i], .capacity = sizeof rooms[i]};
    send_text(endpoint, "into the void", &dead);
    send_text(peer, "second", &own);
    send_text(peer, "third", &own);
    assert_int_equal(async_datagram_recv_many(endpoint, datagrams, 4), 1);
    assert_int_equal(datagrams[0].error, -ECONNREFUSED);
    assert_true(async_address_equal(&datagrams[0].peer, &dead));
    assert_int_equal(async_datagram_recv_many(endpoint, datagrams, 4), 2);
    assert_int_equal(datagrams[0].error, 0);
    assert_int_equal(datagrams[1].size, 5);
    async_datagram_close(peer);
    async_datagram_close(endpoint);
    return 0;
}
TEST(among_others)

/* A batch goes on past the error that an earlier part of it has brought. */
static int in_a_batch(void *unused)
{
    (void)unused;
    enum { MANY = 100 };
    async_datagram_endpoint *endpoint = reporting(), *peer = bound();
    async_address dead = dead_address(endpoint), alive = address_of(peer), about;
    static async_datagram datagrams[MANY];
    char buffer[16];
    for (int i = 0; i < MANY; i++)
        datagrams[i] = (async_datagram){.data = "x", .size = 1, .peer = i % 10 == 5 ? dead : alive};
    assert_int_equal(async_datagram_send_many(endpoint, datagrams, MANY), MANY);
    assert_int_equal(async_error_code(), 0);
    for (int i = 0; i < MANY * 9 / 10; i++)
        assert_int_equal(async_datagram_recvfrom(peer, buffer, 16, NULL), 1);
    int told = 0;
    async_timeout (1)
        while (async_datagram_recvfrom(endpoint, buffer, 16, &about) == -ECONNREFUSED)
            told++;
    assert_true(told >= 1 && told <= MANY / 10); /* the kernel limits how many it tells of */
    async_datagram_close(peer);
    async_datagram_close(endpoint);
    return 0;
}
TEST(in_a_batch)

/* A failure that is the datagram's own is the send's, however often it is tried. */
static int own_failure(void *unused)
{
    (void)unused;
    static char data[70000];
    async_datagram_endpoint *endpoint = reporting();
    async_address to = dead_address(endpoint);
    char buffer[16];
    assert_int_equal(async_datagram_sendto(endpoint, data, sizeof data, &to), -EMSGSIZE);
    async_timeout (1)
        assert_int_equal(async_datagram_recvfrom(endpoint, buffer, 16, NULL), -ETIMEDOUT);
    async_datagram_close(endpoint);
    return 0;
}
TEST(own_failure)

static int ipv6(void *unused)
{
    (void)unused;
    async_datagram_endpoint *endpoint = async_create_datagram_endpoint(&(async_datagram_options){
        .local_addr = {"", 0}, .family = AF_INET6, .report_errors = true});
    static const char *const hosts[] = {"::1", "127.0.0.1"};
    char buffer[16];
    assert_non_null(endpoint);
    for (size_t i = 0; i < COUNT(hosts); i++) {
        async_address dead, about;
        assert_int_equal(async_datagram_lookup(endpoint, hosts[i], dead_port(), &dead), 0);
        send_text(endpoint, "into the void", &dead);
        assert_int_equal(async_datagram_recvfrom(endpoint, buffer, 16, &about), -ECONNREFUSED);
        assert_true(async_address_equal(&about, &dead));
    }
    async_datagram_close(endpoint);
    return 0;
}

static void test_ipv6(void **state)
{
    (void)state;
    if (!have_ipv6()) skip();
    assert_int_equal(run(ipv6, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),         cmocka_unit_test(test_not_told),
        cmocka_unit_test(test_refused_batches), cmocka_unit_test(test_reported),
        cmocka_unit_test(test_among_others),    cmocka_unit_test(test_in_a_batch),
        cmocka_unit_test(test_own_failure),     cmocka_unit_test(test_ipv6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
