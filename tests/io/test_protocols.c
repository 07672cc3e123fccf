/* Transports and protocols: the order of the calls, pausing in both directions, and every way in which a
 * connection can end. */
#include "io_test.h"

#include <casyncio/protocols.h>

/* ---- a protocol that notes what it is called with, and does what it is told ---- */

struct tape {
    async_transport *transport;
    void (*on_made)(struct tape *);
    void (*on_data)(struct tape *, const char *data, size_t size);
    bool keeps_open;
    bool lost;
    int code;
    size_t received;
};

static void made(void *self, async_transport *transport)
{
    struct tape *tape = self;
    tape->transport = transport;
    assert_ptr_equal(async_transport_get_protocol(transport), tape);
    note("made");
    if (tape->on_made) tape->on_made(tape);
}

static void data_received(void *self, const void *data, size_t size)
{
    struct tape *tape = self;
    tape->received += size;
    if (tape->on_data)
        tape->on_data(tape, data, size);
    else
        note("%.*s", (int)size, (const char *)data);
}

static bool eof_received(void *self)
{
    note("eof");
    return ((struct tape *)self)->keeps_open;
}

static void pause_writing(void *self) { (void)self, note("pause"); }
static void resume_writing(void *self) { (void)self, note("resume"); }

static void lost(void *self, int code)
{
    struct tape *tape = self;
    assert_false(tape->lost);
    tape->lost = true;
    tape->code = code;
    if (tape->transport) assert_true(async_transport_is_closing(tape->transport));
    note("lost");
}

static const async_protocol all = {
    .connection_made = made,
    .data_received = data_received,
    .eof_received = eof_received,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
    .connection_lost = lost,
};

/* A transport over one end of a pair; the other one is given back. */
static async_stream *start(struct tape *tape, const async_pair_options *options)
{
    async_stream *ends[2];
    assert_int_equal(async_stream_pair_with(ends, options), 0);
    assert_non_null(async_transport_new(ends[0], &all, tape));
    assert_false(tape->transport);
    settle();
    return ends[1];
}

static void say(async_stream *peer, const char *text)
{
    assert_int_equal(async_stream_write(peer, text, strlen(text)), 0);
    settle();
}

static void expect_text(async_stream *peer, const char *text)
{
    char buffer[64];
    assert_int_equal(async_stream_readexactly(peer, buffer, strlen(text)), strlen(text));
    assert_memory_equal(buffer, text, strlen(text));
}

/* ---- the life of a connection ---- */

static int life(void *unused)
{
    (void)unused;
    struct tape tape = {0};
    async_stream *peer = start(&tape, NULL);
    assert_true(async_transport_is_reading(tape.transport));
    assert_non_null(async_transport_stream(tape.transport));
    say(peer, "one");
    say(peer, "two");
    assert_int_equal(async_transport_write(tape.transport, "back", 4), 0);
    expect_text(peer, "back");
    assert_int_equal(async_stream_write_eof(peer), 0);
    settle();
    assert_int_equal(tape.code, 0);
    assert_notes("made one two eof lost ");
    return async_stream_close(peer);
}
TEST(life)

static int half_closed(void *unused)
{
    (void)unused;
    struct tape tape = {.keeps_open = true};
    async_stream *peer = start(&tape, NULL);
    assert_int_equal(async_stream_write_eof(peer), 0);
    settle();
    assert_notes("made eof ");
    assert_int_equal(async_transport_write(tape.transport, "still", 5), 0);
    expect_text(peer, "still");
    assert_int_equal(async_transport_write_eof(tape.transport), 0);
    assert_int_equal(async_transport_write(tape.transport, "more", 4), -EPIPE);
    assert_false(async_transport_is_closing(tape.transport));
    async_transport_close(tape.transport);
    settle();
    assert_notes("lost ");
    assert_int_equal(tape.code, 0);
    return async_stream_close(peer);
}
TEST(half_closed)

static int half_closed_and_closed(void *unused)
{
    (void)unused;
    struct tape tape = {.keeps_open = true};
    async_stream *peer = start(&tape, NULL);
    assert_int_equal(async_stream_write_eof(peer), 0);
    settle();
    async_transport_close(tape.transport);
    settle();
    assert_notes("made eof lost ");
    assert_int_equal(tape.code, 0);
    return async_stream_close(peer);
}
TEST(half_closed_and_closed)

static int empty_protocol(void *unused)
{
    (void)unused;
    static const async_protocol nothing;
    async_stream *ends[2];
    assert_int_equal(async_stream_pair(ends), 0);
    assert_non_null(async_transport_new(ends[0], &nothing, NULL));
    say(ends[1], "into the void");
    assert_int_equal(async_stream_write_eof(ends[1]), 0);
    char byte;
    assert_int_equal(async_stream_read(ends[1], &byte, 1), 0); /* it closes at the end */
    return async_stream_close(ends[1]);
}
TEST(empty_protocol)

/* ---- pausing ---- */

static int pause_reading(void *unused)
{
    (void)unused;
    struct tape tape = {0};
    async_stream *peer = start(&tape, NULL);
    assert_int_equal(async_transport_pause_reading(tape.transport), 0);
    assert_int_equal(async_transport_pause_reading(tape.transport), 0);
    assert_false(async_transport_is_reading(tape.transport));
    say(peer, "late");
    assert_notes("made ");
    assert_int_equal(async_transport_resume_reading(tape.transport), 0);
    settle();
    assert_notes("late ");
    assert_int_equal(async_transport_pause_reading(tape.transport), 0);
    say(peer, "dropped");
    async_transport_close(tape.transport);
    assert_true(async_transport_is_closing(tape.transport));
    settle();
    assert_notes("lost ");
    async_stream_abort(peer);
    return 0;
}
TEST(pause_reading)

static int pause_writing_and_resume(void *unused)
{
    (void)unused;
    static char text[1000], got[4000];
    struct tape tape = {0};
    async_stream *peer = start(&tape, &(async_pair_options){.capacity = 100});
    async_transport_set_write_buffer_limits(tape.transport, 2000);
    assert_int_equal(async_transport_write(tape.transport, text, 1000), 0);
    assert_int_equal(async_transport_write(tape.transport, text, 1000), 0);
    assert_int_equal(async_transport_get_write_buffer_size(tape.transport), 1900);
    assert_notes("made ");
    assert_int_equal(async_transport_write(tape.transport, text, 1000), 0);
    assert_int_equal(async_transport_write(tape.transport, text, 1000), 0); /* it is taken */
    assert_notes("pause ");
    assert_int_equal(async_stream_readexactly(peer, got, 3300), 3300);
    settle();
    assert_notes("");
    assert_int_equal(async_stream_readexactly(peer, got, 300), 300);
    settle();
    assert_notes("resume ");
    async_transport_close(tape.transport); /* which sends what is kept */
    assert_true(async_transport_get_write_buffer_size(tape.transport) > 0);
    settle();
    assert_notes("");
    assert_int_equal(async_stream_readexactly(peer, got, 400), 400);
    assert_int_equal(async_stream_read(peer, got, 1), 0);
    settle();
    assert_notes("lost ");
    assert_int_equal(tape.code, 0);
    return async_stream_close(peer);
}
TEST(pause_writing_and_resume)

static int limits_change(void *unused)
{
    (void)unused;
    static char text[1000];
    struct tape tape = {0};
    async_stream *peer = start(&tape, &(async_pair_options){.capacity = 100});
    assert_int_equal(async_transport_write(tape.transport, text, 1000), 0);
    assert_notes("made ");
    async_transport_set_write_buffer_limits(tape.transport, 100);
    assert_notes("pause ");
    async_transport_set_write_buffer_limits(tape.transport, 10000);
    settle();
    assert_notes("resume ");
    async_transport_abort(tape.transport);
    settle();
    assert_notes("lost ");
    async_stream_abort(peer);
    return 0;
}
TEST(limits_change)

/* ---- ends ---- */

/* The peer does not read: only an abort ends it. */
static int abort_while_closing(void *unused)
{
    (void)unused;
    static char text[1000];
    struct tape tape = {0};
    async_stream *peer = start(&tape, &(async_pair_options){.capacity = 100});
    assert_int_equal(async_transport_write(tape.transport, text, sizeof text), 0);
    async_transport_close(tape.transport);
    async_transport_close(tape.transport);
    async_sleep(1000);
    assert_notes("made ");
    assert_int_equal(async_transport_write(tape.transport, text, 1), -EBADF);
    async_transport_abort(tape.transport);
    async_transport_abort(tape.transport);
    settle();
    assert_notes("lost ");
    assert_int_equal(tape.code, 0);
    async_stream_abort(peer);
    return 0;
}
TEST(abort_while_closing)

static int connection_reset(void *unused)
{
    (void)unused;
    int fd;
    int fds[2];
    struct tape tape = {0};
    make_tcp_pair(fds);
    fd = fds[1];
    assert_non_null(async_transport_new(async_stream_from_fd(fds[0]), &all, &tape));
    settle();
    reset(fd);
    while (!tape.lost)
        async_sleep(0.01);
    assert_int_equal(tape.code, -ECONNRESET);
    assert_notes("made lost ");
    return 0;
}
TEST(connection_reset)

/* A failure of each call below, receiving or sending, at the time of a write or of a flush. */
static int every_failure(void *unused)
{
    (void)unused;
    static char text[3000], got[3000];
    unsigned failures = 0;
    for (unsigned n = 1; n <= 12; n++) {
        struct tape tape = {0};
        async_stream *peer = start(
            &tape, &(async_pair_options){.capacity = 500, .fail_at = n, .fail_error = -ETIMEDOUT});
        for (int i = 0; i < 3 && !tape.lost; i++) {
            (void)async_transport_write(tape.transport, text, 1000);
            async_stream_write(peer, "x", 1);
            for (int j = 0; j < 4 && !tape.lost; j++) {
                async_timeout (0.01)
                    async_stream_read(peer, got, sizeof got);
                settle();
            }
        }
        failures += tape.code == -ETIMEDOUT;
        if (!tape.lost) async_transport_abort(tape.transport);
        settle();
        assert_true(tape.lost);
        async_stream_abort(peer);
    }
    assert_true(failures >= 8);
    notes[0] = 0;
    return 0;
}
TEST(every_failure)

static int write_to_lost(void *unused)
{
    (void)unused;
    struct tape tape = {0};
    async_stream *peer = start(&tape, NULL);
    async_transport_pause_reading(tape.transport);
    async_stream_abort(peer);
    settle();
    assert_notes("made ");
    assert_true(async_transport_write(tape.transport, "x", 1) < 0);
    assert_true(async_transport_is_closing(tape.transport));
    assert_notes(""); /* never in the call */
    settle();
    assert_notes("lost ");
    assert_int_equal(tape.code, -EPIPE);
    return 0;
}
TEST(write_to_lost)

static struct tape left;

static int leave_open(void *unused)
{
    (void)unused;
    async_stream *peer = start(&left, NULL);
    async_transport_pause_reading(left.transport);
    say(peer, "x");
    async_stream_abort(peer);
    return 0;
}

/* What is open at the end of async_run. */
static void test_end_of_run(void **state)
{
    (void)state;
    notes[0] = 0;
    assert_int_equal(run(leave_open, NULL), 0);
    assert_notes("made lost ");
    assert_int_equal(left.code, -ECANCELED);
}

/* ---- from within the calls ---- */

static void close_it(struct tape *tape) { async_transport_close(tape->transport); }
static void abort_it(struct tape *tape) { async_transport_abort(tape->transport); }
static void pause_it(struct tape *tape) { async_transport_pause_reading(tape->transport); }

static void close_at_data(struct tape *tape, const char *data, size_t size)
{
    (void)data;
    note("%zu", size);
    async_transport_write(tape->transport, "bye", 3);
    async_transport_close(tape->transport);
}

static int closed_from_within(void *unused)
{
    (void)unused;
    struct tape tape = {.on_made = close_it};
    async_stream *peer = start(&tape, NULL);
    assert_notes("made lost ");
    async_stream_abort(peer);

    tape = (struct tape){.on_made = abort_it};
    peer = start(&tape, NULL);
    assert_notes("made lost ");
    async_stream_abort(peer);

    tape = (struct tape){.on_data = close_at_data};
    peer = start(&tape, NULL);
    say(peer, "first");
    expect_text(peer, "bye");
    assert_notes("made 5 lost ");
    async_stream_abort(peer);

    tape = (struct tape){.on_made = pause_it};
    peer = start(&tape, NULL);
    say(peer, "first");
    assert_notes("made ");
    async_transport_close(tape.transport);
    settle();
    assert_notes("lost ");
    async_stream_abort(peer);
    return 0;
}
TEST(closed_from_within)

static void sleep_at_data(struct tape *tape, const char *data, size_t size)
{
    (void)tape;
    char copy[16] = "";
    memcpy(copy, data, size);
    async_sleep(1);
    assert_memory_equal(copy, data, size);
    note("%s@%d", copy, tenths());
}

/* data_received blocks: the next one comes when it has returned, and an abort meanwhile is seen. */
static int blocks(void *unused)
{
    (void)unused;
    struct tape tape = {.on_data = sleep_at_data};
    async_stream *peer = start(&tape, NULL);
    say(peer, "a");
    say(peer, "b");
    async_sleep(2.5);
    assert_notes("made a@10 b@20 ");
    say(peer, "c");
    async_transport_abort(tape.transport);
    async_sleep(2);
    assert_notes("c@35 lost ");
    async_stream_abort(peer);
    return 0;
}
TEST(blocks)

static void change(struct tape *tape, const char *data, size_t size)
{
    (void)data, (void)size;
    static struct tape other;
    other = (struct tape){.transport = tape->transport};
    note("change");
    assert_int_equal(async_transport_set_protocol(tape->transport, &all, &other), 0);
    assert_int_equal(async_transport_set_protocol(tape->transport, NULL, &other), -EINVAL);
}

static int another_protocol(void *unused)
{
    (void)unused;
    struct tape tape = {.on_data = change};
    async_stream *peer = start(&tape, NULL);
    say(peer, "x");
    say(peer, "text");
    async_stream_write_eof(peer);
    settle();
    assert_notes("made change text eof lost ");
    assert_false(tape.lost);
    return async_stream_close(peer);
}
TEST(another_protocol)

/* ---- servers ---- */

static void echo(struct tape *tape, const char *data, size_t size)
{
    assert_int_equal(async_transport_write(tape->transport, data, size), 0);
}

static int tapes, refused;

static void *new_tape(void *data)
{
    if (refused-- > 0) return NULL;
    struct tape *tape = calloc(1, sizeof *tape);
    tape->on_data = data;
    tapes++;
    return tape;
}

static void free_tape(void *self, int code)
{
    lost(self, code);
    free(self);
    tapes--;
}

struct serve {
    async_server *server;
};

static int serve(struct serve *self)
{
    async_protocol protocol = {
        .connection_made = made, .data_received = data_received, .connection_lost = free_tape};
    return async_server_serve_protocol(self->server, &protocol, new_tape, (void *)echo);
}

static int server(void *unused)
{
    (void)unused;
    async_server *server = async_start_server("127.0.0.1", 0, NULL);
    struct tape client[3] = {{0}, {0}, {0}};
    async_task *task = async_spawn(serve, server);
    refused = 0;
    for (int i = 0; i < 3; i++) {
        char text[2] = {(char)('a' + i), 0};
        assert_non_null(
            async_create_connection(&all, &client[i], "127.0.0.1", async_server_port(server)));
        while (!client[i].transport)
            async_sleep(0.01);
        assert_int_equal(async_transport_write(client[i].transport, text, 1), 0);
        while (client[i].received < 1)
            async_sleep(0.01);
    }
    assert_int_equal(tapes, 3);
    async_transport_close(client[0].transport);
    while (tapes > 2)
        async_sleep(0.01);
    assert_int_equal(async_server_close(server), 0);
    assert_int_equal(async_server_close_clients(server), 0);
    assert_int_equal(async_await(task), 0);
    assert_int_equal(tapes, 0);
    while (!client[1].lost || !client[2].lost)
        async_sleep(0.01);
    assert_int_equal(client[1].code, 0);
    notes[0] = 0;
    return 0;
}
TEST(server)

static int server_cancelled(void *unused)
{
    (void)unused;
    async_server *server = async_start_server("127.0.0.1", 0, NULL);
    int port = async_server_port(server);
    async_task *task = async_spawn(serve, server);
    struct tape client = {0}, turned_away = {0};
    refused = 1;
    assert_non_null(async_create_connection(&all, &turned_away, "127.0.0.1", port));
    while (!turned_away.lost)
        async_sleep(0.01);
    assert_non_null(async_create_connection(&all, &client, "127.0.0.1", port));
    while (tapes == 0)
        async_sleep(0.01);
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    assert_int_equal(tapes, 0);
    while (!client.lost)
        async_sleep(0.01);
    notes[0] = 0;
    return 0;
}
TEST(server_cancelled)

/* ---- many bytes, at random ---- */

struct pump {
    async_stream *peer;
    unsigned seed;
    size_t sent, total;
};

static int pump(struct pump *self)
{
    unsigned char piece[300];
    while (self->sent < self->total) {
        size_t size = 1 + (size_t)rand_r(&self->seed) % sizeof piece;
        if (size > self->total - self->sent) size = self->total - self->sent;
        fill(piece, size, self->sent);
        int code = async_stream_write(self->peer, piece, size);
        if (code < 0) return code;
        self->sent += size;
        if (rand_r(&self->seed) % 4 == 0) async_sleep(rand_r(&self->seed) % 3 * 0.001);
    }
    return async_stream_write_eof(self->peer);
}

static unsigned dice;

static void check_and_echo(struct tape *tape, const char *data, size_t size)
{
    assert_true(is_pattern((const unsigned char *)data, size, tape->received - size));
    assert_int_equal(async_transport_write(tape->transport, data, size), 0);
    if (rand_r(&dice) % 5 == 0) async_transport_pause_reading(tape->transport);
}

static int random_traffic(void *argument)
{
    unsigned seed = dice = *(unsigned *)argument;
    struct tape tape = {.on_data = check_and_echo};
    async_stream *peer =
        start(&tape, &(async_pair_options){.capacity = 1 + seed % 500, .max_read = seed % 7 * 20});
    struct pump pumping = {.peer = peer, .seed = seed, .total = 5000};
    async_task *task = async_spawn_copy(pump, pumping);
    unsigned char got[200];
    size_t place = 0;
    ssize_t n;
    while ((n = async_stream_read(peer, got, 1 + (size_t)rand_r(&seed) % sizeof got)) > 0) {
        assert_true(is_pattern(got, (size_t)n, place));
        place += (size_t)n;
        if (rand_r(&seed) % 3 == 0) async_sleep(rand_r(&seed) % 3 * 0.001);
        if (!tape.lost && rand_r(&seed) % 2) async_transport_resume_reading(tape.transport);
        while (!tape.lost && async_transport_get_write_buffer_size(tape.transport) == 0 &&
               !async_transport_is_reading(tape.transport) &&
               async_transport_resume_reading(tape.transport) == 0) {
        }
    }
    assert_int_equal(n, 0);
    assert_int_equal(place, 5000);
    assert_int_equal(async_await(task), 0);
    settle();
    assert_true(tape.lost);
    assert_int_equal(tape.code, 0);
    async_stream_close(peer);
    return 0;
}

static void test_random_traffic(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= fewer_seeds(400); seed++) {
        assert_int_equal(run_seeded(random_traffic, &seed, seed), 0);
        notes[0] = 0;
    }
}

/* ---- bad use ---- */

static int bad_use(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    struct tape tape = {0};
    assert_int_equal(async_transport_write(NULL, "x", 1), -EBADF);
    assert_int_equal(async_transport_write_eof(NULL), -EBADF);
    assert_int_equal(async_transport_pause_reading(NULL), -EBADF);
    assert_int_equal(async_transport_resume_reading(NULL), -EBADF);
    assert_int_equal(async_transport_set_protocol(NULL, &all, NULL), -EBADF);
    assert_int_equal(async_transport_get_write_buffer_size(NULL), 0);
    assert_null(async_transport_get_protocol(NULL));
    assert_null(async_transport_stream(NULL));
    assert_false(async_transport_is_reading(NULL));
    assert_true(async_transport_is_closing(NULL));
    async_transport_set_write_buffer_limits(NULL, 1);
    async_transport_close(NULL);
    async_transport_abort(NULL);
    assert_null(async_transport_new(NULL, &all, &tape));
    assert_int_equal(async_error_code(), -EBADF);

    assert_int_equal(async_stream_pair(ends), 0);
    assert_null(async_transport_new(ends[0], NULL, &tape));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_message("protocol is NULL");
    async_stream_abort(ends[1]);

    assert_null(async_create_connection(&all, &tape, "", 80));
    assert_int_equal(async_error_code(), ASYNC_ENONAME);
    assert_null(async_create_unix_connection(&all, &tape, "/nowhere/at/all"));
    assert_int_equal(async_error_code(), -ENOENT);
    assert_int_equal(async_server_serve_protocol(async_start_unix_server("/nowhere/at/all", NULL),
                                                 &all, NULL, 0),
                     -ENOENT);
    assert_int_equal(
        async_server_serve_protocol(async_start_server("127.0.0.1", 0, NULL), NULL, NULL, NULL),
        -EINVAL);

    async_stream *peer = start(&tape, NULL);
    async_transport *transport = tape.transport;
    async_transport_close(transport);
    assert_int_equal(async_transport_write(transport, "x", 1), -EBADF);
    assert_message("closing");
    assert_int_equal(async_transport_write_eof(transport), -EBADF);
    assert_int_equal(async_transport_pause_reading(transport), -EBADF);
    assert_int_equal(async_transport_resume_reading(transport), -EBADF);
    assert_int_equal(async_transport_set_protocol(transport, &all, &tape), -EBADF);
    settle();
    assert_notes("made lost ");
    return async_stream_close(peer);
}
TEST(bad_use)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_half_closed),
        cmocka_unit_test(test_half_closed_and_closed),
        cmocka_unit_test(test_empty_protocol),
        cmocka_unit_test(test_pause_reading),
        cmocka_unit_test(test_pause_writing_and_resume),
        cmocka_unit_test(test_limits_change),
        cmocka_unit_test(test_abort_while_closing),
        cmocka_unit_test(test_connection_reset),
        cmocka_unit_test(test_every_failure),
        cmocka_unit_test(test_write_to_lost),
        cmocka_unit_test(test_end_of_run),
        cmocka_unit_test(test_closed_from_within),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_another_protocol),
        cmocka_unit_test(test_server),
        cmocka_unit_test(test_server_cancelled),
        cmocka_unit_test(test_random_traffic),
        cmocka_unit_test(test_bad_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
