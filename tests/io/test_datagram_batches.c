/* datagrams.h: several datagrams a call, and segments. */
#include <io/datagram.h>

#include "datagram_test.h"

enum { MANY = 200, ROOM = 256 };

static char rooms[MANY][ROOM];
static async_datagram in[MANY], out[MANY];

static void make_room(size_t capacity)
{
    for (int i = 0; i < MANY; i++) {
        memset(rooms[i], 0, ROOM);
        in[i] = (async_datagram){.data = rooms[i], .capacity = capacity};
    }
}

/* out[i] is "i", to that address (NULL: the peer). */
static void make_texts(const async_address *to)
{
    static char texts[MANY][16];
    for (int i = 0; i < MANY; i++) {
        int size = snprintf(texts[i], sizeof texts[i], "%d", i);
        out[i] = (async_datagram){.data = texts[i], .size = (size_t)size};
        if (to) out[i].peer = *to;
    }
}

static void large_queue(async_datagram_endpoint *endpoint)
{
    setsockopt(async_datagram_fd(endpoint), SOL_SOCKET, SO_RCVBUF, &(int){1 << 20}, sizeof(int));
}

/* ---- several at once ---- */

static int there_and_back(void *unused)
{
    (void)unused;
    async_datagram_endpoint *server = bound(), *client = connected(async_datagram_port(server));
    large_queue(server);
    large_queue(client);
    make_texts(NULL);
    make_room(ROOM);
    assert_int_equal(async_datagram_send_many(client, out, MANY), MANY);
    int got = 0;
    while (got < MANY) {
        ssize_t n = async_datagram_recv_many(server, in + got, MANY - (size_t)got);
        assert_true(n > 0 && n <= MANY - got);
        got += (int)n;
    }
    async_address from = address_of(client);
    for (int i = 0; i < MANY; i++) {
        assert_string_equal(rooms[i], out[i].data);
        assert_int_equal(in[i].size, out[i].size);
        assert_int_equal(in[i].full_size, in[i].size);
        assert_false(in[i].truncated);
        assert_int_equal(in[i].segment, 0);
        assert_true(async_address_equal(&in[i].peer, &from));
    }
    /* What has come can go as it is. */
    assert_int_equal(async_datagram_send_many(server, in, MANY), MANY);
    for (int i = 0; i < MANY; i++)
        assert_string_equal(received(client, NULL), out[i].data);
    async_datagram_close(client);
    async_datagram_close(server);
    return 0;
}
TEST(there_and_back)

static int cut_off(void *unused)
{
    (void)unused;
    async_datagram_endpoint *server = bound(), *client = connected(async_datagram_port(server));
    send_text(client, "larger than that", NULL);
    send_text(client, "", NULL);
    send_text(client, "four", NULL);
    make_room(4);
    assert_int_equal(async_datagram_recv_many(server, in, MANY), 3);
    assert_true(in[0].truncated);
    assert_int_equal(in[0].size, 4);
    assert_int_equal(in[0].full_size, 16);
    assert_string_equal(rooms[0], "larg");
    assert_int_equal(in[1].size, 0);
    assert_false(in[1].truncated);
    assert_false(in[2].truncated);
    assert_string_equal(rooms[2], "four");
    async_datagram_close(client);
    async_datagram_close(server);
    return 0;
}
TEST(cut_off)

struct recv_many {
    async_datagram_endpoint *endpoint;
};

static int recv_many(struct recv_many *self)
{
    return (int)async_datagram_recv_many(self->endpoint, in, MANY);
}

static int waiting(void *unused)
{
    (void)unused;
    async_datagram_endpoint *server = bound(), *client = connected(async_datagram_port(server));
    make_room(ROOM);
    async_task *task = async_spawn(recv_many, .endpoint = server);
    settle();
    assert_int_equal(async_datagram_recv_many(server, in, MANY), -EBUSY);
    send_text(client, "late", NULL);
    assert_int_equal(async_await(task), 1);
    assert_string_equal(rooms[0], "late");
    task = async_spawn(recv_many, .endpoint = server);
    settle();
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    send_text(client, "kept", NULL);
    task = async_spawn(recv_many, .endpoint = server);
    assert_int_equal(async_await(task), 1);
    task = async_spawn(recv_many, .endpoint = server);
    settle();
    async_datagram_close(server);
    assert_int_equal(async_await(task), -EBADF);
    async_datagram_close(client);
    return 0;
}
TEST(waiting)

/* ---- a batch that stops half-way ---- */

struct send_many {
    async_datagram_endpoint *endpoint;
};

static int send_many(struct send_many *self)
{
    return (int)async_datagram_send_many(self->endpoint, out, MANY);
}

/* Datagrams that the other end of a full pair has, each "i" of the batch: how many. */
static int count_received(async_datagram_endpoint *endpoint, int from)
{
    char text[16], expected[16];
    ssize_t n;
    while ((n = recv(async_datagram_fd(endpoint), text, sizeof text - 1, MSG_DONTWAIT)) >= 0) {
        text[n] = 0;
        snprintf(expected, sizeof expected, "%d", from++);
        assert_string_equal(text, expected);
    }
    return from;
}

static int half_way(void *unused)
{
    (void)unused;
    async_datagram_endpoint *pair[2];
    make_datagram_pair(pair);
    make_texts(NULL);

    /* A batch larger than the buffer: it goes on as room comes. */
    async_task *task;
    int got = 0;
    setsockopt(async_datagram_fd(pair[0]), SOL_SOCKET, SO_SNDBUF, &(int){8192}, sizeof(int));
    task = async_spawn(send_many, .endpoint = pair[0]);
    settle();
    assert_false(async_task_done(task));
    while (!async_task_done(task)) {
        got = count_received(pair[1], got);
        settle();
    }
    assert_int_equal(async_await(task), MANY);
    assert_int_equal(count_received(pair[1], got), MANY);

    /* Cancelled: it tells how many have gone, and the code is the next call's. */
    task = async_spawn(send_many, .endpoint = pair[0]);
    settle();
    async_cancel(task, NULL);
    int sent = async_await(task);
    assert_true(sent > 0 && sent < MANY);
    assert_int_equal(count_received(pair[1], 0), sent);

    /* Closed: the same. */
    task = async_spawn(send_many, .endpoint = pair[0]);
    settle();
    async_datagram_close(pair[0]);
    sent = async_await(task);
    assert_true(sent > 0 && sent < MANY);
    async_datagram_close(pair[1]);
    return 0;
}
TEST(half_way)

/* One that cannot be sent stops the batch in front of it. */
static int wrong_one(void *unused)
{
    (void)unused;
    static char large[70000];
    async_datagram_endpoint *server = bound(), *client = bound();
    async_address to = address_of(server);
    make_texts(&to);
    out[50].data = large;
    out[50].size = sizeof large;
    assert_int_equal(async_datagram_send_many(client, out, MANY), 50);
    assert_int_equal(async_error_code(), 0); /* that was a success */
    assert_int_equal(async_datagram_send_many(client, out + 50, MANY - 50), -EMSGSIZE);
    assert_message("a datagram of 70000 bytes is too large: at most 65507");

    make_texts(&to);
    out[3].peer.length = 0;
    assert_int_equal(async_datagram_send_many(client, out, MANY), 3);
    assert_int_equal(async_datagram_send_many(client, out + 3, 1), -EDESTADDRREQ);
    assert_int_equal(async_datagram_send_many(client, out, 0), -EINVAL);
    assert_int_equal(async_datagram_send_many(client, NULL, 3), -EINVAL);
    assert_int_equal(async_datagram_recv_many(client, in, 0), -EINVAL);
    assert_int_equal(async_datagram_recv_many(client, NULL, 3), -EINVAL);
    async_datagram_close(client);
    async_datagram_close(server);
    return 0;
}
TEST(wrong_one)

/* ---- segments ---- */

static unsigned char sent[200 * 1000], got[200 * 1000];

/* Sends `size` bytes in segments, among others, and takes them one by one. */
static void send_segments(size_t size, size_t segment, bool by_kernel)
{
    async_datagram_endpoint *server = bound(), *client = connected(async_datagram_port(server));
    large_queue(server);
    fill(sent, size, 0);
    if (!by_kernel) client->gso_asked = client->no_gso = true;
    async_datagram batch[3] = {
        {.data = "before", .size = 6},
        {.data = sent, .size = size, .segment = segment},
        {.data = "behind", .size = 6},
    };
    assert_int_equal(async_datagram_send_many(client, batch, 3), 3);
    assert_string_equal(received(server, NULL), "before");
    for (size_t at = 0; at < size; at += segment) {
        size_t expected = size - at < segment ? size - at : segment;
        ssize_t n = async_datagram_recvfrom(server, got, sizeof got, NULL);
        assert_int_equal(n, expected);
        assert_true(is_pattern(got, expected, at));
    }
    assert_string_equal(received(server, NULL), "behind");
    async_datagram_close(client);
    async_datagram_close(server);
}

static int segments(void *unused)
{
    (void)unused;
    for (int by_kernel = 0; by_kernel < 2; by_kernel++) {
        send_segments(3000, 1000, by_kernel);
        send_segments(2999, 1000, by_kernel);
        send_segments(1000, 1000, by_kernel);
        send_segments(999, 1000, by_kernel);
        send_segments(1, 1, by_kernel);
        send_segments(200, 1, by_kernel);           /* more segments than a message takes */
        send_segments(130 * 1000, 1400, by_kernel); /* more bytes */
        send_segments(100 * 1000, 40000, by_kernel);
    }
    return 0;
}
TEST(segments)

static int wrong_segments(void *unused)
{
    (void)unused;
    async_datagram_endpoint *server = bound(), *client = connected(async_datagram_port(server));
    async_datagram datagram = {.data = sent, .size = 140000, .segment = 70000};
    assert_int_equal(async_datagram_send_many(client, &datagram, 1), -EMSGSIZE);
    assert_message("a datagram of 70000 bytes is too large");
    datagram = (async_datagram){.size = 0, .segment = 1000};
    assert_int_equal(async_datagram_send_many(client, &datagram, 1), 1);
    assert_int_equal(async_datagram_recvfrom(server, got, sizeof got, NULL), 0);

    async_datagram_endpoint *pair[2];
    make_datagram_pair(pair); /* a Unix socket cuts nothing: it is done here */
    fill(sent, 250, 0);
    datagram = (async_datagram){.data = sent, .size = 250, .segment = 100};
    assert_int_equal(async_datagram_send_many(pair[0], &datagram, 1), 1);
    assert_int_equal(async_datagram_recvfrom(pair[1], got, sizeof got, NULL), 100);
    assert_int_equal(async_datagram_recvfrom(pair[1], got, sizeof got, NULL), 100);
    assert_int_equal(async_datagram_recvfrom(pair[1], got, sizeof got, NULL), 50);
    async_datagram_close(pair[0]);
    async_datagram_close(pair[1]);
    async_datagram_close(client);
    async_datagram_close(server);
    return 0;
}
TEST(wrong_segments)

/* A sender's segments may come as one; all bytes are there, and where they are cut is told. */
static int gro(void *unused)
{
    (void)unused;
    enum { SIZE = 50 * 1000, SEGMENT = 1200 };
    async_datagram_endpoint *server = async_create_datagram_endpoint(
        &(async_datagram_options){.local_addr = {"127.0.0.1", 0}, .gro = true});
    assert_non_null(server);
    async_datagram_endpoint *client = connected(async_datagram_port(server));
    large_queue(server);
    fill(sent, SIZE, 0);
    async_datagram datagram = {.data = sent, .size = SIZE, .segment = SEGMENT};
    assert_int_equal(async_datagram_recvfrom(server, got, sizeof got, NULL), -EOPNOTSUPP);
    for (int by_iteration = 0; by_iteration < 2; by_iteration++) {
        size_t there = 0;
        assert_int_equal(async_datagram_send_many(client, &datagram, 1), 1);
        while (!by_iteration && there < SIZE) {
            async_datagram one = {.data = got, .capacity = sizeof got};
            assert_int_equal(async_datagram_recv_many(server, &one, 1), 1);
            assert_true(is_pattern(got, one.size, there));
            assert_true(one.segment ? one.segment == SEGMENT : one.size <= SEGMENT);
            there += one.size;
        }
        if (by_iteration)
            async_for (async_datagram *, one, async_datagrams(server)) {
                assert_true(is_pattern(one->data, one->size, there));
                assert_true(one->segment ? one->segment == SEGMENT : one->size <= SEGMENT);
                there += one->size;
                if (there == SIZE) break;
            }
        assert_int_equal(there, SIZE);
    }
    async_datagram_close(client);
    async_datagram_close(server);
    return async_block_error();
}
TEST(gro)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_waiting),        cmocka_unit_test(test_half_way),
        cmocka_unit_test(test_wrong_one),      cmocka_unit_test(test_segments),
        cmocka_unit_test(test_wrong_segments), cmocka_unit_test(test_gro),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
