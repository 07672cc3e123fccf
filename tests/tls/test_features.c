/* What a connection agrees on, servers over TCP and Unix sockets, several certificates, sessions. */
#include "tls_test.h"

#include <pthread.h>

static async_tls_context *client, *server;

/* ---- what has been agreed on ---- */

static int agreed(void *unused)
{
    (void)unused;
    async_stream *ends[2], *plain[2];
    const char *const offered[] = {"h2", "http/1.1", NULL}, *const known[] = {"http/1.1", NULL};
    async_tls_context *from =
        client_context(.alpn = offered, .certificate = pki("client.crt"), .key = pki("client.key"));
    async_tls_context *to =
        server_context(.alpn = known, .ca_file = pki("ca.crt"), .client_certificate = 2);
    assert_int_equal(async_stream_pair(ends), 0);
    assert_string_equal(async_tls_alpn(ends[0]), "");
    assert_null(async_tls_peer_certificate(ends[0]));
    assert_int_equal(async_error_code(), -ENOTCONN);
    assert_int_equal(async_tls_handshake(ends[0]), -ENOTCONN);
    assert_int_equal(secure_pair(ends, from, to), 0);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(async_tls_alpn(ends[i]), "http/1.1");
        assert_string_equal(async_tls_alpn(ends[i]), "http/1.1");
        assert_string_equal(async_tls_version(ends[i]), "TLSv1.3");
        assert_non_null(strstr(async_tls_cipher(ends[i]), "TLS_"));
        assert_string_equal(async_tls_server_name(ends[i]), "localhost");
        assert_false(async_tls_resumed(ends[i]));
        assert_int_equal(async_tls_handshake(ends[i]), 0);
    }
    async_tls_certificate *certificate = async_tls_peer_certificate(ends[0]);
    assert_non_null(certificate);
    assert_string_equal(certificate->subject, "CN=localhost");
    assert_string_equal(certificate->issuer, "CN=Test CA");
    assert_string_equal(certificate->names[0], "DNS:localhost");
    assert_string_equal(certificate->names[1], "IP:127.0.0.1");
    assert_string_equal(certificate->names[2], "IP:::1");
    assert_null(certificate->names[3]);
    int64_t now = (int64_t)time(NULL);
    assert_true(certificate->not_before < now && certificate->not_before > now - 2 * DAY);
    assert_true(certificate->not_after > now && certificate->not_after < now + 2 * DAY);
    assert_true(strtol(certificate->serial, NULL, 16) >= 1000);
    assert_non_null(strstr(certificate->pem, "-----BEGIN CERTIFICATE-----\n"));
    async_tls_certificate_free(certificate);
    certificate = async_tls_peer_certificate(ends[1]);
    assert_string_equal(certificate->subject, "CN=client");
    assert_null(certificate->names[0]);
    async_tls_certificate_free(certificate);
    async_tls_certificate_free(NULL);

    /* A client that was not asked has none; names in another alphabet. */
    assert_int_equal(async_stream_pair(plain), 0);
    assert_int_equal(secure_pair(plain, client, server), 0);
    assert_string_equal(async_tls_alpn(plain[0]), "");
    assert_null(async_tls_peer_certificate(plain[1]));
    assert_int_equal(async_error_code(), -ENODATA);
    close_both(plain);
    close_both(ends);
    async_tls_context_free(from);
    async_tls_context_free(to);

    assert_string_equal(async_tls_alpn(NULL), "");
    assert_string_equal(async_tls_version(NULL), "");
    assert_string_equal(async_tls_cipher(NULL), "");
    assert_string_equal(async_tls_server_name(NULL), "");
    assert_false(async_tls_resumed(NULL));
    assert_null(async_tls_peer_certificate(NULL));
    assert_int_equal(async_tls_handshake(NULL), -EBADF);
    assert_int_equal(async_stream_start_tls(NULL, client, "localhost"), -EBADF);
    assert_null(async_tls_start_server("127.0.0.1", 0, NULL, NULL));
    assert_int_equal(async_error_code(), -EBADF);
    assert_null(async_tls_start_server("127.0.0.1", 0, client, NULL));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_null(async_tls_open_connection("localhost", 1, server));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_null(async_tls_open_connection(NULL, 1, client));
    assert_int_equal(async_error_code(), -EINVAL);
    return 0;
}

/* ---- servers ---- */

struct echo {
    async_stream *stream;
};
static int echo(struct echo *self)
{
    char buffer[4096];
    ssize_t n;
    int code = 0;
    while (code == 0 && (n = async_stream_read(self->stream, buffer, sizeof buffer)) != 0) {
        if (n < 0) {
            note("%s", async_error_name((int)n));
            break;
        }
        code = async_stream_write(self->stream, buffer, (size_t)n);
    }
    assert_int_equal(async_stream_close(self->stream), 0);
    return 0;
}

struct serve {
    async_server *server;
};
static int serve(struct serve *self)
{
    async_with_group (group)
        async_for (async_stream *, stream, async_server_clients(self->server))
            async_group_spawn(group, echo, .stream = stream);
    return async_block_error();
}

static void talk(async_stream *stream, const char *text)
{
    char line[64];
    if (!stream) fail_msg("%s", async_error_message());
    assert_int_equal(async_stream_write(stream, text, strlen(text)), 0);
    assert_int_equal(async_stream_readexactly(stream, line, strlen(text)), strlen(text));
    assert_memory_equal(line, text, strlen(text));
}

/* Slow clients delay no other; one that never speaks is dropped by the handshake's time-out. */
static int slow_clients(void *unused)
{
    (void)unused;
    async_tls_context *hasty = server_context(.handshake_timeout = 0.2);
    async_server *listening = async_tls_start_unix_server(pki("slow"), hasty, NULL);
    assert_non_null(listening);
    async_tls_context_free(hasty);
    async_task *task = async_spawn(serve, .server = listening);
    async_stream *silent = async_open_unix_connection(pki("slow"));
    async_stream *half = async_open_unix_connection(pki("slow"));
    assert_int_equal(async_stream_write(half, "\x16\x03\x01\x02", 4), 0);
    async_stream *stream = async_tls_open_unix_connection(pki("slow"), "localhost", client);
    talk(stream, "hello");
    assert_int_equal(async_stream_close(stream), 0);
    char byte;
    assert_int_equal(async_stream_read(silent, &byte, 1), 0);
    assert_int_equal(async_stream_read(half, &byte, 1), 0);
    async_stream_close(silent);
    async_stream_close(half);
    assert_notes("ETIMEDOUT ETIMEDOUT ");
    async_cancel(task, NULL);
    async_await(task);
    return 0;
}

static int unix_server(void *unused)
{
    (void)unused;
    async_server *listening = async_tls_start_unix_server(pki("socket"), server, NULL);
    assert_non_null(listening);
    async_task *task = async_spawn(serve, .server = listening);
    async_stream *stream = async_tls_open_unix_connection(pki("socket"), "localhost", client);
    talk(stream, "by Unix");
    assert_int_equal(async_stream_close(stream), 0);
    assert_null(async_tls_open_unix_connection(pki("socket"), "other.test", client));
    assert_int_equal(async_error_code(), ASYNC_ECERT);
    assert_message("TLS handshake with ");
    assert_null(async_tls_open_unix_connection(pki("socket"), NULL, client));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_null(async_tls_open_unix_connection(pki("missing"), "localhost", client));
    assert_int_equal(async_error_code(), -ENOENT);
    settle();
    notes[0] = 0;
    async_cancel(task, NULL);
    async_await(task);
    return 0;
}

/* Many at once. */
struct one_of_many {
    int port;
};
static int one_of_many(struct one_of_many *self)
{
    async_stream *stream = async_tls_open_connection("127.0.0.1", self->port, client);
    if (!stream) return async_error_code();
    talk(stream, "one of many");
    return async_stream_close(stream);
}

static int many(void *unused)
{
    (void)unused;
    enum { CLIENTS = 50 };
    async_task *tasks[CLIENTS];
    async_server *listening = async_tls_start_server("127.0.0.1", 0, server, NULL);
    async_task *task = async_spawn(serve, .server = listening);
    for (int i = 0; i < CLIENTS; i++)
        tasks[i] = async_spawn(one_of_many, .port = async_server_port(listening));
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(async_await(tasks[i]), 0);
    async_cancel(task, NULL);
    async_await(task);
    return 0;
}

/* ---- several certificates ---- */

static int several(void *unused)
{
    (void)unused;
    static const char *const asked[] = {"localhost", "one.test", "two.test", "a.two.test"};
    static const char *const given[] = {"localhost", "one", "two", "two"};
    pki_issue(.file = "one", .issuer = "ca", .names = "DNS:one.test");
    pki_issue(.file = "two", .issuer = "ca", .names = "DNS:two.test,DNS:*.two.test");
    async_tls_context *context = async_tls_server_context(NULL);
    assert_int_equal(
        async_tls_context_add_certificate(context, pki("server.crt"), pki("server.key"), NULL), 0);
    assert_int_equal(
        async_tls_context_add_certificate(context, pki("one.crt"), pki("one.key"), NULL), 0);
    assert_int_equal(
        async_tls_context_add_certificate(context, pki("two.crt"), pki("two.key"), NULL), 0);
    for (int i = 0; i < 8; i++) { /* the second round is resumed */
        async_stream *ends[2];
        int code;
        char byte;
        char expected[32];
        assert_int_equal(async_stream_pair(ends), 0);
        assert_int_equal(secure_pair_as(ends, client, context, asked[i % 4], &code), 0);
        assert_int_equal(code, 0);
        assert_int_equal(async_tls_resumed(ends[0]), i >= 4);
        async_tls_certificate *certificate = async_tls_peer_certificate(ends[0]);
        snprintf(expected, sizeof expected, "CN=%s", given[i % 4]);
        assert_string_equal(certificate->subject, expected);
        async_tls_certificate_free(certificate);
        assert_string_equal(async_tls_server_name(ends[1]), asked[i % 4]);
        async_stream_write(ends[1], "x", 1); /* with it comes the session */
        async_stream_read(ends[0], &byte, 1);
        close_both(ends);
    }
    async_tls_context_free(context);
    return 0;
}

/* ---- sessions ---- */

static int resumed(async_tls_context *from, async_tls_context *to, const char *name)
{
    async_stream *ends[2];
    int code;
    char byte;
    assert_int_equal(async_stream_pair(ends), 0);
    assert_int_equal(secure_pair_as(ends, from, to, name, &code), 0);
    assert_int_equal(code, 0);
    bool is = async_tls_resumed(ends[0]);
    assert_int_equal(is, async_tls_resumed(ends[1]));
    async_tls_certificate *certificate = async_tls_peer_certificate(ends[0]);
    assert_string_equal(certificate->subject, "CN=localhost");
    async_tls_certificate_free(certificate);
    assert_int_equal(async_stream_write(ends[1], "x", 1), 0);
    assert_int_equal(async_stream_read(ends[0], &byte, 1), 1);
    close_both(ends);
    return is;
}

static int sessions(void *unused)
{
    (void)unused;
    for (int version = ASYNC_TLS_1_2; version <= ASYNC_TLS_1_3; version++) {
        async_tls_options options = {.greatest_version = (enum async_tls_version)version};
        async_tls_context *from = make_client(options), *to = make_server(options);
        async_tls_context *other = make_server(options), *stranger = make_client(options);
        options.no_resumption = true;
        async_tls_context *never = make_client(options), *nothing = make_server(options);
        assert_int_equal(resumed(from, to, "localhost"), false);
        for (int i = 0; i < 3; i++)
            assert_int_equal(resumed(from, to, "localhost"), true);
        assert_int_equal(resumed(from, to, "127.0.0.1"), false); /* another name */
        assert_int_equal(resumed(stranger, to, "localhost"), false);
        assert_int_equal(resumed(from, other, "localhost"), false); /* it cannot decrypt it */
        for (int i = 0; i < 2; i++) {
            assert_int_equal(resumed(never, to, "localhost"), false);
            assert_int_equal(resumed(stranger, nothing, "::1"), false);
        }
        async_tls_context *all[] = {from, to, other, stranger, never, nothing};
        for (size_t i = 0; i < COUNT(all); i++)
            async_tls_context_free(all[i]);
    }
    return 0;
}

/* With client certificates: who the client is comes back with the session. */
static int sessions_of_clients(void *unused)
{
    (void)unused;
    async_tls_context *from =
        client_context(.certificate = pki("client.crt"), .key = pki("client.key"));
    async_tls_context *to = server_context(.ca_file = pki("ca.crt"), .client_certificate = 2);
    for (int i = 0; i < 3; i++) {
        async_stream *ends[2];
        char byte;
        assert_int_equal(async_stream_pair(ends), 0);
        assert_int_equal(secure_pair(ends, from, to), 0);
        assert_int_equal(async_tls_resumed(ends[1]), i > 0);
        async_tls_certificate *certificate = async_tls_peer_certificate(ends[1]);
        assert_non_null(certificate);
        assert_string_equal(certificate->subject, "CN=client");
        async_tls_certificate_free(certificate);
        assert_int_equal(async_stream_write(ends[1], "x", 1), 0);
        assert_int_equal(async_stream_read(ends[0], &byte, 1), 1);
        close_both(ends);
    }
    async_tls_context_free(from);
    async_tls_context_free(to);
    return 0;
}

/* ---- the rest ---- */

static int key_log(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    char text[4096];
    struct stat status;
    async_tls_context *logging = client_context(.key_log_file = pki("keys"));
    assert_int_equal(async_stream_pair(ends), 0);
    assert_int_equal(secure_pair(ends, logging, server), 0);
    close_both(ends);
    async_tls_context_free(logging);
    assert_int_equal(stat(pki("keys"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    FILE *file = fopen(pki("keys"), "r");
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    assert_non_null(strstr(text, "CLIENT_TRAFFIC_SECRET_0 "));
    return 0;
}

/* A head and a body leave in one segment: one write below, if there is room. */
static int gathered(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    static __thread char body[30000];
    char text[16];
    assert_int_equal(async_stream_pair_with(ends, &(async_pair_options){.capacity = 1 << 20}), 0);
    assert_int_equal(secure_pair(ends, client, server), 0);
    struct iovec pieces[] = {{"head", 4}, {"", 0}, {body, sizeof body}, {"tail", 4}};
    assert_int_equal(async_stream_writev(ends[0], pieces, 4), 0);
    assert_int_equal(async_stream_readexactly(ends[1], text, 4), 4);
    assert_memory_equal(text, "head", 4);
    assert_int_equal(async_stream_readexactly(ends[1], body, sizeof body), sizeof body);
    assert_int_equal(async_stream_readexactly(ends[1], text, 4), 4);
    assert_memory_equal(text, "tail", 4);
    close_both(ends);
    return 0;
}

TEST(agreed)
TEST(slow_clients)
TEST(unix_server)
TEST(several)
TEST(sessions)
TEST(sessions_of_clients)
TEST(key_log)
TEST(gathered)

/* Contexts that several threads use at once, each with a loop of its own. */
static void *one_thread(void *unused)
{
    for (int i = 0; i < 5; i++)
        assert_int_equal(run(gathered, unused), 0);
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t threads[4];
    (void)state;
    for (size_t i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, one_thread, NULL), 0);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
}

static void in_real_time(async_coroutine coroutine)
{
    notes[0] = 0;
    assert_int_equal(async_run(coroutine, NULL), 0);
}
static void test_many(void **state) { (void)state, in_real_time(many); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agreed),
        cmocka_unit_test(test_slow_clients),
        cmocka_unit_test(test_unix_server),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_several),
        cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_sessions_of_clients),
        cmocka_unit_test(test_key_log),
        cmocka_unit_test(test_gathered),
        cmocka_unit_test(test_threads),
    };
    pki_make();
    pki_issue(.file = "client", .issuer = "ca");
    client = client_context(.handshake_timeout = INFINITY);
    server = server_context(.handshake_timeout = INFINITY);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    async_tls_context_free(client);
    async_tls_context_free(server);
    return failed;
}
