/* TLS on a live stream: what has been received and written before, other tasks on the stream,
 * cancellations and closes in the middle of the handshake. */
#include "tls_test.h"

static async_tls_context *client, *server;

struct secure_end {
    async_stream *stream;
    async_tls_context *context;
    const char *name;
};
static int secure_end(struct secure_end *self)
{
    return async_stream_start_tls(self->stream, self->context, self->name);
}

struct read_word {
    async_stream *stream;
    const char *word;
};
static int read_word(struct read_word *self)
{
    char text[64];
    size_t size = strlen(self->word);
    ssize_t n = async_stream_readexactly(self->stream, text, size);
    if (n < 0) return (int)n;
    assert_memory_equal(text, self->word, size);
    return 0;
}

struct write_word {
    async_stream *stream;
    const char *word;
};
static int write_word(struct write_word *self)
{
    return async_stream_write(self->stream, self->word, strlen(self->word));
}

/* The client's TLS comes in one piece with its last plain line. */
static int with_buffered(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    char line[64];
    for (int wait = 0; wait < 2; wait++) {
        assert_int_equal(async_stream_pair(ends), 0);
        assert_int_equal(async_stream_printf(ends[0], "STARTTLS\n"), 0);
        async_task *task =
            async_spawn(secure_end, .stream = ends[0], .context = client, .name = "localhost");
        if (wait) settle();
        assert_int_equal(async_stream_readline(ends[1], line, sizeof line), 9);
        assert_int_equal(async_stream_start_tls(ends[1], server, NULL), 0);
        assert_int_equal(async_await(task), 0);
        assert_int_equal(async_stream_printf(ends[0], "in TLS\n"), 0);
        assert_int_equal(async_stream_readline(ends[1], line, sizeof line), 7);
        close_both(ends);
    }
    /* Commands that were slipped in before TLS are no part of what comes in TLS. */
    assert_int_equal(async_stream_pair(ends), 0);
    assert_int_equal(async_stream_printf(ends[0], "STARTTLS\nRSET\nMAIL FROM:<me>\n"), 0);
    assert_int_equal(async_stream_readline(ends[1], line, sizeof line), 9);
    assert_int_equal(async_stream_start_tls(ends[1], server, NULL), ASYNC_ETLS);
    assert_int_equal(async_stream_readline(ends[1], line, sizeof line), ASYNC_ETLS);
    async_stream_abort(ends[0]);
    async_stream_close(ends[1]);
    return 0;
}

/* What has been written and not sent goes out before, plain; what is written meanwhile, after. */
static int with_unsent(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    static char much[100000];
    assert_int_equal(async_stream_pair_with(ends, &(async_pair_options){.capacity = 5000}), 0);
    assert_int_equal(async_stream_write_nowait(ends[0], much, sizeof much), 0);
    async_task *secured =
        async_spawn(secure_end, .stream = ends[0], .context = client, .name = "localhost");
    settle();
    assert_true(async_stream_unsent(ends[0]) > 0);
    async_task *writer = async_spawn(write_word, .stream = ends[0], .word = "after");
    char byte;
    settle();
    assert_int_equal(async_stream_read(ends[0], &byte, 1), -EBUSY);
    assert_int_equal(async_stream_start_tls(ends[0], client, "localhost"), -EBUSY);
    assert_int_equal(async_stream_write_nowait(ends[0], "x", 1), -EAGAIN);
    for (size_t i = 0; i < sizeof much; i += 1000)
        assert_int_equal(async_stream_readexactly(ends[1], much, 1000), 1000);
    assert_int_equal(async_stream_start_tls(ends[1], server, NULL), 0);
    assert_int_equal(async_await(secured), 0);
    assert_int_equal(read_word(&(struct read_word){ends[1], "after"}), 0);
    assert_int_equal(async_await(writer), 0);
    close_both(ends);
    return 0;
}

/* The stream is busy: nothing has changed. */
static int busy(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    assert_int_equal(async_stream_pair(ends), 0);
    async_task *reader = async_spawn(read_word, .stream = ends[0], .word = "plain");
    settle();
    assert_int_equal(async_stream_start_tls(ends[0], client, "localhost"), -EBUSY);
    assert_int_equal(async_stream_write(ends[1], "plain", 5), 0);
    assert_int_equal(async_await(reader), 0);
    assert_int_equal(async_stream_start_tls(ends[0], client, NULL), -EINVAL);
    assert_message("name");
    assert_int_equal(async_stream_start_tls(ends[0], client, ""), -EINVAL);
    assert_int_equal(async_stream_start_tls(ends[1], server, "localhost"), -EINVAL);
    assert_int_equal(async_stream_start_tls(ends[0], NULL, NULL), -EBADF);
    assert_int_equal(secure_pair(ends, client, server), 0);
    assert_int_equal(async_stream_write(ends[1], "TLS", 3), 0);
    assert_int_equal(read_word(&(struct read_word){ends[0], "TLS"}), 0);
    close_both(ends);

    assert_int_equal(async_stream_pair(ends), 0);
    assert_int_equal(async_stream_write_eof(ends[0]), 0);
    assert_int_equal(async_stream_start_tls(ends[0], client, "localhost"), -EPIPE);
    async_stream_close(ends[0]);
    async_stream_close(ends[1]);
    return 0;
}

/* A handshake that was cancelled goes on with the next call, whichever that is. */
static int cancelled(void *unused)
{
    (void)unused;
    async_pair_options late = {.latency = 0.01};
    for (int step = 0; step < 8; step++) {
        async_stream *ends[2];
        assert_int_equal(async_stream_pair_with(ends, &late), 0);
        async_task *other = async_spawn(secure_end, .stream = ends[1], .context = server);
        int code = 0;
        bool taken = false;
        async_timeout (0.005 * step)
            code = async_stream_start_tls(ends[0], client, "localhost");
        if (code == 0) {
            assert_true(step > 2);
        } else {
            assert_int_equal(code, -ETIMEDOUT);
            assert_int_equal(async_stream_write_nowait(ends[0], "x", 1), -EAGAIN);
            async_timeout (0.001)
                code = async_stream_write(ends[0], "x", 1);
            assert_true(code == 0 || code == -ETIMEDOUT);
            taken = code == 0;
        }
        async_task *reader = async_spawn(read_word, .stream = ends[0], .word = "hello");
        async_task *writer = async_spawn(write_word, .stream = ends[0], .word = "there");
        async_task *writer2 = async_spawn(write_word, .stream = ends[0], .word = "there");
        assert_int_equal(async_await(other), 0);
        assert_int_equal(async_stream_write(ends[1], "hello", 5), 0);
        const char *words = taken ? "xtherethere" : "therethere";
        assert_int_equal(read_word(&(struct read_word){ends[1], words}), 0);
        assert_int_equal(async_await(reader), 0);
        assert_int_equal(async_await(writer), 0);
        assert_int_equal(async_await(writer2), 0);
        close_both(ends);
    }
    return 0;
}

/* One of several tasks that wait for the handshake does it; if it is cancelled another goes on. */
static int handed_on(void *unused)
{
    (void)unused;
    for (int cancel = 0; cancel < 3; cancel++) {
        async_stream *ends[2];
        async_task *tasks[3];
        assert_int_equal(async_stream_pair(ends), 0);
        int code = 0;
        async_timeout (0.01)
            code = async_stream_start_tls(ends[1], server, NULL);
        assert_int_equal(code, -ETIMEDOUT);
        for (int i = 0; i < 3; i++)
            tasks[i] = async_spawn(write_word, .stream = ends[1], .word = "word");
        settle();
        async_cancel(tasks[cancel], NULL);
        settle();
        assert_int_equal(async_stream_start_tls(ends[0], client, "localhost"), 0);
        assert_int_equal(read_word(&(struct read_word){ends[0], "wordword"}), 0);
        for (int i = 0; i < 3; i++)
            assert_int_equal(async_await(tasks[i]), i == cancel ? -ECANCELED : 0);
        close_both(ends);
    }
    return 0;
}

/* Closed and aborted under a handshake, and those that wait for it. */
static int closed_under(void *unused)
{
    (void)unused;
    for (int how = 0; how < 4; how++) {
        async_stream *ends[2];
        assert_int_equal(async_stream_pair(ends), 0);
        bool serve = how & 1;
        async_task *task =
            async_spawn(secure_end, .stream = ends[0], .context = serve ? server : client,
                        .name = serve ? NULL : "localhost");
        settle();
        async_task *reader = async_spawn(read_word, .stream = ends[0], .word = "never");
        async_task *writer = async_spawn(write_word, .stream = ends[0], .word = "never");
        settle();
        if (how & 2)
            async_stream_abort(ends[0]);
        else
            assert_int_equal(async_stream_close(ends[0]), 0);
        assert_int_equal(async_await(task), -EBADF);
        assert_int_equal(async_await(reader), -EBADF);
        assert_int_equal(async_await(writer), -EBADF);
        async_stream_close(ends[1]);
    }
    return 0;
}

/* A server's stream that is closed before its handshake, and one whose end is sent before it. */
static int closed_before(void *unused)
{
    (void)unused;
    async_server *listening = async_tls_start_server("127.0.0.1", 0, server, NULL);
    assert_non_null(listening);
    for (int i = 0; i < 2; i++) {
        async_stream *stream = async_open_connection("127.0.0.1", async_server_port(listening));
        async_task *task =
            async_spawn(secure_end, .stream = stream, .context = client, .name = "localhost");
        async_stream *accepted = async_server_accept(listening);
        char name[64];
        assert_int_equal(async_stream_peername(accepted, name, sizeof name), 0);
        assert_string_equal(async_tls_version(accepted), "");
        if (i == 0) {
            assert_int_equal(async_stream_close(accepted), 0);
            assert_true(async_await(task) < 0);
        } else {
            assert_int_equal(async_stream_write_eof(accepted), 0);
            assert_int_equal(async_stream_write(accepted, "x", 1), -EPIPE);
            assert_int_equal(async_tls_handshake(accepted), 0);
            assert_int_equal(async_await(task), 0);
            async_stream_abort(accepted);
        }
        async_stream_abort(stream);
    }
    assert_int_equal(async_server_close(listening), 0);
    return 0;
}

/* A transport's protocol starts TLS in data_received. */
struct smtp {
    async_transport *transport;
    bool secure;
};

static void smtp_made(void *self, async_transport *transport)
{
    ((struct smtp *)self)->transport = transport;
}

static void smtp_data(void *self, const void *data, size_t size)
{
    struct smtp *smtp = self;
    async_transport_write(smtp->transport, data, size);
    if (smtp->secure) return;
    smtp->secure = true;
    assert_int_equal(async_stream_start_tls(async_transport_stream(smtp->transport), server, NULL),
                     0);
}

static void smtp_lost(void *self, int code)
{
    (void)self;
    note("lost %d", code);
}

static int in_a_protocol(void *unused)
{
    (void)unused;
    static const async_protocol protocol = {
        .connection_made = smtp_made, .data_received = smtp_data, .connection_lost = smtp_lost};
    async_stream *ends[2];
    struct smtp smtp = {0};
    assert_int_equal(async_stream_pair(ends), 0);
    assert_non_null(async_transport_new(ends[1], &protocol, &smtp));
    assert_int_equal(async_stream_printf(ends[0], "STARTTLS"), 0);
    assert_int_equal(read_word(&(struct read_word){ends[0], "STARTTLS"}), 0);
    assert_int_equal(async_stream_start_tls(ends[0], client, "localhost"), 0);
    assert_int_equal(async_stream_printf(ends[0], "in TLS"), 0);
    assert_int_equal(read_word(&(struct read_word){ends[0], "in TLS"}), 0);
    assert_int_equal(async_stream_close(ends[0]), 0);
    settle();
    assert_notes("lost 0 ");
    return 0;
}
TEST(in_a_protocol)

TEST(with_buffered)
TEST(with_unsent)
TEST(busy)
TEST(cancelled)
TEST(handed_on)
TEST(closed_under)

static void test_closed_before(void **state)
{
    (void)state;
    assert_int_equal(async_run(closed_before, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_with_buffered), cmocka_unit_test(test_with_unsent),
        cmocka_unit_test(test_busy),          cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_handed_on),     cmocka_unit_test(test_closed_under),
        cmocka_unit_test(test_closed_before), cmocka_unit_test(test_in_a_protocol),
    };
    pki_make();
    client = client_context(0);
    server = server_context(0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    async_tls_context_free(client);
    async_tls_context_free(server);
    return failed;
}
