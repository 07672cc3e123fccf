/* ctest: timeout=300
 * Peers that do what they must not: speak something else, stop, renegotiate, send what is no record, end
 * without a word, are reset in each state. The other end is a plain stream, or OpenSSL by hand. */
#include "tls_test.h"

static async_tls_context *client, *server;

/* ---- a peer that is an SSL between two pieces of memory ---- */

struct peer {
    async_stream *stream;
    SSL_CTX *context;
    SSL *ssl;
};

static struct peer make_peer(async_stream *stream, bool serving, int version)
{
    struct peer peer = {.stream = stream};
    peer.context = SSL_CTX_new(serving ? TLS_server_method() : TLS_client_method());
    SSL_CTX_set_max_proto_version(peer.context, version);
    if (serving) {
        SSL_CTX_use_certificate_file(peer.context, pki("server.crt"), SSL_FILETYPE_PEM);
        SSL_CTX_use_PrivateKey_file(peer.context, pki("server.key"), SSL_FILETYPE_PEM);
    }
    peer.ssl = SSL_new(peer.context);
    SSL_set_bio(peer.ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    if (serving)
        SSL_set_accept_state(peer.ssl);
    else
        SSL_set_connect_state(peer.ssl);
    return peer;
}

static void free_peer(struct peer *peer)
{
    SSL_free(peer->ssl);
    SSL_CTX_free(peer->context);
}

/* Sends what the SSL has to say. */
static void flush_peer(struct peer *peer)
{
    char data[4096];
    int n;
    while ((n = BIO_read(SSL_get_wbio(peer->ssl), data, sizeof data)) > 0)
        assert_int_equal(async_stream_write(peer->stream, data, (size_t)n), 0);
}

/* Waits for more, and gives it to the SSL; false at the end. */
static bool feed_peer(struct peer *peer)
{
    char data[4096];
    ssize_t n = async_stream_read(peer->stream, data, sizeof data);
    if (n > 0) BIO_write(SSL_get_rbio(peer->ssl), data, (int)n);
    return n > 0;
}

struct shake {
    struct peer *peer;
};
static int shake(struct shake *self)
{
    struct peer *peer = self->peer;
    while (!SSL_is_init_finished(peer->ssl)) {
        ERR_clear_error();
        SSL_do_handshake(peer->ssl);
        flush_peer(peer);
        if (SSL_is_init_finished(peer->ssl)) break;
        if (!feed_peer(peer)) return -EPIPE;
    }
    return 0;
}

/* Reads that many bytes of data. */
static void expect_data(struct peer *peer, const char *text)
{
    char data[64];
    size_t size = strlen(text), got = 0;
    while (got < size) {
        int n = SSL_read(peer->ssl, data + got, (int)(size - got));
        flush_peer(peer);
        if (n > 0)
            got += (size_t)n;
        else
            assert_true(feed_peer(peer));
    }
    assert_memory_equal(data, text, size);
}

static void send_data(struct peer *peer, const char *text)
{
    assert_int_equal(SSL_write(peer->ssl, text, (int)strlen(text)), strlen(text));
    flush_peer(peer);
}

/* A stream of ours and such a peer, after their handshake. */
static async_stream *with_peer(struct peer *peer, bool serving, int version)
{
    async_stream *ends[2];
    assert_int_equal(async_stream_pair(ends), 0);
    *peer = make_peer(ends[1], serving, version);
    async_task *task = async_spawn(shake, .peer = peer);
    assert_int_equal(
        async_stream_start_tls(ends[0], serving ? client : server, serving ? "localhost" : NULL),
        0);
    assert_int_equal(async_await(task), 0);
    return ends[0];
}

/* ---- what is no TLS ---- */

static int no_tls(void *unused)
{
    (void)unused;
    static const struct {
        const char *says;
        bool serve;
        const char *message;
    } cases[] = {
        {"220 mail.test ESMTP ready\r\n", false, "does not speak TLS"},
        {"HTTP/1.1 400 Bad Request\r\n\r\n", false, "does not speak TLS"},
        {"GET / HTTP/1.1\r\n\r\n", true, "HTTP"},
        {"CONNECT a:1 HTTP/1.1\r\n\r\n", true, "HTTP"},
        {"EHLO there\r\n0123456789", true, ""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        async_stream *ends[2];
        char data[512];
        assert_int_equal(async_stream_pair(ends), 0);
        assert_int_equal(async_stream_write(ends[1], cases[i].says, strlen(cases[i].says)), 0);
        int code = async_stream_start_tls(ends[0], cases[i].serve ? server : client,
                                          cases[i].serve ? NULL : "localhost");
        assert_int_equal(code, ASYNC_ETLS);
        assert_message(cases[i].message);
        /* It lasts, and nothing goes out unencrypted. */
        assert_int_equal(async_stream_write(ends[0], "secret", 6), ASYNC_ETLS);
        assert_int_equal(async_stream_write_nowait(ends[0], "secret", 6), ASYNC_ETLS);
        assert_int_equal(async_stream_read(ends[0], data, 1), ASYNC_ETLS);
        assert_message(cases[i].message);
        assert_int_equal(async_tls_handshake(ends[0]), ASYNC_ETLS);
        assert_int_equal(async_stream_close(ends[0]), 0);
        ssize_t n;
        while ((n = async_stream_read(ends[1], data, sizeof data)) > 0)
            assert_null(memmem(data, (size_t)n, "secret", 6));
        assert_int_equal(async_stream_close(ends[1]), 0);
    }
    return 0;
}

/* ---- ends ---- */

static int ends_in_handshake(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    for (int serve = 0; serve < 2; serve++) {
        assert_int_equal(async_stream_pair(ends), 0);
        if (serve) async_stream_write(ends[1], "\x16\x03\x01\x02", 4);
        async_stream_write_eof(ends[1]);
        assert_int_equal(
            async_stream_start_tls(ends[0], serve ? server : client, serve ? NULL : "localhost"),
            ASYNC_ETLS);
        assert_message("in the middle of the handshake");
        async_stream_close(ends[0]);
        async_stream_close(ends[1]);

        /* It says nothing at all. */
        assert_int_equal(async_stream_pair(ends), 0);
        double begin = async_now();
        assert_int_equal(
            async_stream_start_tls(ends[0], serve ? server : client, serve ? NULL : "localhost"),
            -ETIMEDOUT);
        assert_message("60 s");
        assert_true(async_now() - begin > 59.9 && async_now() - begin < 60.1);
        assert_int_equal(async_stream_write(ends[0], "x", 1), -ETIMEDOUT);
        async_stream_close(ends[0]);
        async_stream_close(ends[1]);
    }
    return 0;
}

static int cut_off(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    char data[64];
    assert_int_equal(async_stream_pair(ends), 0);
    assert_int_equal(secure_pair(ends, client, server), 0);
    assert_int_equal(async_stream_write(ends[1], "part", 4), 0);
    async_stream_abort(ends[1]);
    assert_int_equal(async_stream_readexactly(ends[0], data, 10), ASYNC_EINCOMPLETE);
    assert_message("close_notify");
    assert_int_equal(async_stream_readexactly(ends[0], data, 4), 4); /* nothing is lost */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(async_stream_read(ends[0], data, 1), ASYNC_EINCOMPLETE);
        assert_message("close_notify");
    }
    assert_false(async_stream_at_eof(ends[0]));
    async_stream_close(ends[0]);

    /* With close_notify it is an end. */
    assert_int_equal(async_stream_pair(ends), 0);
    assert_int_equal(secure_pair(ends, client, server), 0);
    assert_int_equal(async_stream_write(ends[1], "part", 4), 0);
    assert_int_equal(async_stream_write_eof(ends[1]), 0);
    async_stream_abort(ends[1]);
    assert_int_equal(async_stream_read(ends[0], data, sizeof data), 4);
    assert_int_equal(async_stream_read(ends[0], data, sizeof data), 0);
    assert_true(async_stream_at_eof(ends[0]));
    async_stream_close(ends[0]);

    /* A message that was cancelled half-way is no end either. */
    static char large[1 << 20];
    assert_int_equal(async_stream_pair(ends), 0);
    assert_int_equal(secure_pair(ends, client, server), 0);
    async_timeout (0.1)
        assert_int_equal(async_stream_write(ends[1], large, sizeof large), -ETIMEDOUT);
    assert_int_equal(async_stream_close(ends[1]), -EPIPE);
    ssize_t n;
    while ((n = async_stream_read(ends[0], large, sizeof large)) > 0)
        ;
    assert_int_equal(n, ASYNC_EINCOMPLETE);
    async_stream_close(ends[0]);
    return 0;
}

/* A close waits for the answer, for as long as it may, and is none the worse without it. */
static int close_without_answer(void *unused)
{
    (void)unused;
    struct peer peer;
    async_stream *stream = with_peer(&peer, true, 0);
    double begin = async_now();
    assert_int_equal(async_stream_write(stream, "last", 4), 0);
    assert_int_equal(async_stream_close(stream), 0);
    assert_true(async_now() - begin > 29.9 && async_now() - begin < 30.1);
    expect_data(&peer, "last");
    char byte;
    while (SSL_read(peer.ssl, &byte, 1) <= 0 && feed_peer(&peer))
        ;
    assert_int_equal(SSL_get_shutdown(peer.ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
    async_stream_close(peer.stream);
    free_peer(&peer);

    /* The peer answers, and goes on sending before that: it is thrown away. */
    stream = with_peer(&peer, true, 0);
    begin = async_now();
    for (int i = 0; i < 100; i++)
        send_data(&peer, "what nobody wants to have");
    SSL_shutdown(peer.ssl);
    flush_peer(&peer);
    assert_int_equal(async_stream_close(stream), 0);
    assert_true(async_now() - begin < 1);
    async_stream_close(peer.stream);
    free_peer(&peer);

    /* Cancelled while it waits: all has been sent. */
    stream = with_peer(&peer, true, 0);
    int code = -1;
    async_timeout (1)
        code = async_stream_close(stream);
    assert_int_equal(code, 0);
    while (SSL_read(peer.ssl, &byte, 1) <= 0 && feed_peer(&peer))
        ;
    assert_int_equal(SSL_get_shutdown(peer.ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
    async_stream_close(peer.stream);
    free_peer(&peer);

    /* The peer takes nothing more: not even the end can be sent. */
    async_stream *ends[2];
    static char much[64 * 1024];
    assert_int_equal(async_stream_pair(ends), 0);
    assert_int_equal(secure_pair(ends, client, server), 0);
    assert_int_equal(async_stream_write_nowait(ends[0], much, sizeof much), 0);
    begin = async_now();
    code = 0;
    async_timeout (100)
        code = async_stream_close(ends[0]);
    assert_int_equal(code, -ETIMEDOUT);
    async_stream_abort(ends[1]);
    return 0;
}

/* ---- records ---- */

static int bad_records(void *unused)
{
    (void)unused;
    static const struct {
        const char *bytes;
        size_t size;
        const char *message;
    } cases[] = {
        {"\x17\x03\x03\xff\xff", 5, "too long"},
        {"\x17\x03\x03\x00\x20"
         "0123456789abcdef0123456789abcdef",
         37, "a record is damaged"},
        {"\x99\x03\x03\x00\x01x", 6, ""},
        {"GET / HTTP/1.0\r\n\r\n", 18, ""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct peer peer;
        char data[64];
        async_stream *stream = with_peer(&peer, false, 0);
        send_data(&peer, "good");
        assert_int_equal(async_stream_write(peer.stream, cases[i].bytes, cases[i].size), 0);
        assert_int_equal(async_stream_read(stream, data, 4), 4);
        assert_int_equal(async_stream_read(stream, data, 4), ASYNC_ETLS);
        assert_message(cases[i].message);
        assert_true(async_stream_write(stream, "x", 1) < 0);
        async_stream_close(stream);
        async_stream_close(peer.stream);
        free_peer(&peer);
    }
    return 0;
}

/* ---- renegotiation and KeyUpdate ---- */

struct read_some {
    async_stream *stream;
};
static int read_some(struct read_some *self)
{
    char data[64];
    return (int)async_stream_read(self->stream, data, sizeof data);
}

static int renegotiation(void *unused)
{
    (void)unused;
    for (int serving = 0; serving < 2; serving++) {
        struct peer peer;
        async_stream *stream = with_peer(&peer, serving, TLS1_2_VERSION);
        send_data(&peer, "before");
        SSL_renegotiate(peer.ssl);
        SSL_do_handshake(peer.ssl);
        flush_peer(&peer);
        char data[64];
        assert_int_equal(async_stream_read(stream, data, 6), 6);
        /* It is declined by a warning; the peer decides whether it goes on. */
        async_task *task = async_spawn(read_some, .stream = stream);
        settle();
        assert_true(feed_peer(&peer));
        ERR_clear_error();
        assert_true(SSL_read(peer.ssl, data, sizeof data) <= 0);
        assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
        async_stream_abort(peer.stream);
        assert_true(async_await(task) < 0);
        async_stream_close(stream);
        free_peer(&peer);
    }
    ERR_clear_error();
    return 0;
}

/* The answer to a KeyUpdate goes out with the next write; so also while a task reads. */
static int key_update(void *unused)
{
    (void)unused;
    for (int serving = 0; serving < 2; serving++) {
        struct peer peer;
        char data[64];
        async_stream *stream = with_peer(&peer, serving, 0);
        for (int i = 0; i < 20; i++) {
            async_task *task = i % 2 ? async_spawn(read_some, .stream = stream) : NULL;
            if (task) settle();
            assert_int_equal(SSL_key_update(peer.ssl, i % 3 ? SSL_KEY_UPDATE_REQUESTED
                                                            : SSL_KEY_UPDATE_NOT_REQUESTED),
                             1);
            send_data(&peer, "new keys");
            if (task)
                assert_int_equal(async_await(task), 8);
            else
                assert_int_equal(async_stream_readexactly(stream, data, 8), 8);
            assert_int_equal(async_stream_write(stream, "answer", 6), 0);
            expect_data(&peer, "answer");
        }
        SSL_shutdown(peer.ssl);
        flush_peer(&peer);
        assert_int_equal(async_stream_close(stream), 0);
        async_stream_close(peer.stream);
        free_peer(&peer);
    }
    return 0;
}

static int turns;

static int count_turns(void *unused)
{
    (void)unused;
    while (async_sleep(0) == 0)
        turns++;
    return 0;
}

/* A connection whose pieces of memory have room for all that the test sends. */
static async_stream *with_room(struct peer *peer, bool serving, int version)
{
    async_stream *ends[2];
    assert_int_equal(async_stream_pair_with(ends, &(async_pair_options){.capacity = 2 << 20}), 0);
    *peer = make_peer(ends[1], serving, version);
    async_task *task = async_spawn(shake, .peer = peer);
    assert_int_equal(
        async_stream_start_tls(ends[0], serving ? client : server, serving ? "localhost" : NULL),
        0);
    assert_int_equal(async_await(task), 0);
    return ends[0];
}

/* What is no data holds up no other task, however much of it comes. */
static int key_update_flood(void *unused)
{
    (void)unused;
    enum { UPDATES = 20000, BYTES_EACH = 27, AT_ONCE = 64 * 1024 };
    struct peer peer;
    char data[8];
    async_stream *stream = with_room(&peer, true, 0);
    for (int i = 0; i < UPDATES; i++) {
        assert_int_equal(SSL_key_update(peer.ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(peer.ssl), 1);
        if (i % 100 == 0) flush_peer(&peer);
    }
    send_data(&peer, "new keys");
    turns = 0;
    async_task *task = async_create_task(count_turns, NULL);
    assert_int_equal(async_stream_readexactly(stream, data, 8), 8);
    assert_memory_equal(data, "new keys", 8);
    assert_in_range(turns, UPDATES * BYTES_EACH / (2 * AT_ONCE) - 1, 100);
    async_cancel(task, NULL);
    async_await(task);
    SSL_shutdown(peer.ssl);
    flush_peer(&peer);
    assert_int_equal(async_stream_close(stream), 0);
    async_stream_close(peer.stream);
    free_peer(&peer);
    return 0;
}

/* Each attempt to renegotiate is declined by an alert. For a peer that reads none of them a MiB is kept, and
 * then the connection cannot send any more; it goes on receiving. */
static int answers_that_are_not_read(void *unused)
{
    (void)unused;
    enum { KEPT = 1 << 20, PAIR = 64 * 1024, ALERT = 31, ENOUGH = (KEPT + PAIR) / ALERT };
    struct peer peer;
    char data[64];
    async_stream *stream = with_peer(&peer, true, TLS1_2_VERSION);
    async_task *task = async_spawn(read_some, .stream = stream);
    for (int i = 1; i <= ENOUGH + 100; i++) {
        assert_int_equal(SSL_renegotiate(peer.ssl), 1);
        assert_int_equal(SSL_do_handshake(peer.ssl), 1);
        flush_peer(&peer);
        if (i % 100 == 0) settle();
        if (i == ENOUGH - 100) assert_int_equal(async_stream_write_nowait(stream, "x", 1), 0);
    }
    assert_int_equal(async_stream_write(stream, "x", 1), -ENOBUFS);
    assert_message("buffer");
    assert_false(async_task_done(task));
    SSL_write(peer.ssl, "data", 4);
    flush_peer(&peer);
    assert_int_equal(async_await(task), 4);
    async_stream_abort(stream);
    int answers = 0;
    for (ssize_t n; (n = async_stream_read(peer.stream, data, sizeof data)) > 0;)
        answers += (int)n;
    assert_int_equal(answers, PAIR);
    async_stream_abort(peer.stream);
    free_peer(&peer);
    return 0;
}

/* ---- resets in each state ---- */

struct other_end {
    async_stream *stream;
    bool serve;
};

/* A whole conversation; any code may come. */
static int converse(async_stream *stream, bool serve)
{
    static char much[100000];
    char data[4096];
    ssize_t n = 0;
    int code = async_stream_start_tls(stream, serve ? server : client, serve ? NULL : "localhost");
    if (code == 0) code = async_stream_write(stream, much, sizeof much);
    for (size_t got = 0; code == 0 && got < sizeof much; got += (size_t)n) {
        n = async_stream_read(stream, data, sizeof data);
        if (n <= 0) code = n < 0 ? (int)n : ASYNC_EINCOMPLETE;
    }
    if (code == 0) return async_stream_close(stream);
    assert_true(*async_error_message() != 0);
    async_stream_abort(stream);
    return code;
}

static int other_end(struct other_end *self) { return converse(self->stream, self->serve); }

static async_pair_options fault;
static bool faulty_serves;

static int with_fault(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    assert_int_equal(async_stream_pair_with(ends, &fault), 0);
    async_task *task = async_spawn(other_end, .stream = ends[1], .serve = !faulty_serves);
    int code = converse(ends[0], faulty_serves);
    int other = async_await(task);
    assert_true(code != -EDEADLK && other != -EDEADLK);
    return code ? code : other;
}

static void test_resets(void **state)
{
    (void)state;
    for (int serves = 0; serves < 2; serves++) {
        faulty_serves = serves;
        int good = 0, bad = 0;
        for (unsigned n = 1; n < 2000 && good < 3; n++) {
            fault = (async_pair_options){.fail_at = n};
            int code = run(with_fault, NULL);
            good = code == 0 ? good + 1 : 0;
            bad += code == -ECONNRESET;
            if (code != 0 && code != -ECONNRESET && code != -EPIPE && code != ASYNC_EINCOMPLETE)
                fail_msg("reset at call %u: %s", n, async_error_name(code));
        }
        assert_int_equal(good, 3);
        assert_true(bad > 5);
        /* Cut off after n bytes, as an end and as an error. */
        good = 0;
        for (size_t n = 1; n < 200000 && good < 3; n += n < 4000 ? 41 : 9973) {
            fault = (async_pair_options){.cut_after = n, .cut_error = n % 2 ? -ETIMEDOUT : 0};
            int code = run(with_fault, NULL);
            good = code == 0 ? good + 1 : 0;
            if (code > 0) fail_msg("cut after %zu bytes: %d", n, code);
        }
        assert_int_equal(good, 3);
    }
}

TEST(no_tls)
TEST(ends_in_handshake)
TEST(cut_off)
TEST(close_without_answer)
TEST(bad_records)
TEST(renegotiation)
TEST(key_update)
TEST(key_update_flood)
TEST(answers_that_are_not_read)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_tls),           cmocka_unit_test(test_ends_in_handshake),
        cmocka_unit_test(test_cut_off),          cmocka_unit_test(test_close_without_answer),
        cmocka_unit_test(test_bad_records),      cmocka_unit_test(test_renegotiation),
        cmocka_unit_test(test_key_update),       cmocka_unit_test(test_resets),
        cmocka_unit_test(test_key_update_flood), cmocka_unit_test(test_answers_that_are_not_read),
    };
    pki_make();
    client = client_context(0);
    server = server_context(0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    async_tls_context_free(client);
    async_tls_context_free(server);
    return failed;
}
