/* ctest: timeout=300
 * TLS with programs of others on the other end: openssl s_server and s_client, nginx, curl, Python. Those
 * that are not installed are left out. */
#include "tls_test.h"

#include "http/nginx.h"

#include <signal.h>

static async_tls_context *client, *server;

/* ---- programs ---- */

struct program {
    pid_t pid;
    async_stream *in, *out; /* its standard input and output */
};

static bool is_there(const char *name)
{
    char command[128];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", name);
    bool there = system(command) == 0;
    if (!there) printf("    %s is not installed: left out\n", name);
    return there;
}

/* Runs a command of the shell. */
static struct program start_program(const char *command)
{
    struct program program;
    char *arguments[] = {"sh", "-c", (char *)command, NULL};
    posix_spawn_file_actions_t actions;
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    assert_int_equal(posix_spawn(&program.pid, "/bin/sh", &actions, NULL, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    fcntl(in[1], F_SETFL, O_NONBLOCK);
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    assert_non_null(program.in = async_stream_from_fd(in[1]));
    assert_non_null(program.out = async_stream_from_fd(out[0]));
    return program;
}

static int end_program(struct program *program, bool stop)
{
    int status;
    async_stream_abort(program->in);
    async_stream_abort(program->out);
    if (stop) kill(program->pid, SIGTERM);
    assert_int_equal(waitpid(program->pid, &status, 0), program->pid);
    return status;
}

/* Its lines, until one has the text; the line is in `line`. */
static void wait_for_line(struct program *program, const char *text, char *line, size_t size)
{
    ssize_t n;
    while ((n = async_stream_readline(program->out, line, size)) > 0)
        if (strstr(line, text)) return;
    fail_msg("no line with \"%s\": %s", text, n < 0 ? async_error_message() : "the end");
}

/* ---- servers of ours ---- */

/* One line is answered, reversed. */
struct answer {
    async_stream *stream;
};
static int answer(struct answer *self)
{
    char line[256];
    ssize_t n = async_stream_readline(self->stream, line, sizeof line);
    if (n > 0)
        async_stream_printf(self->stream, "%s: %.*s!\n", async_tls_version(self->stream),
                            (int)n - 1, line);
    async_stream_close(self->stream);
    return n < 0 ? (int)n : 0;
}

static int answer_http(struct answer *self)
{
    char line[1024];
    ssize_t n;
    while ((n = async_stream_readline(self->stream, line, sizeof line)) > 2)
        ;
    if (n > 0)
        async_stream_printf(self->stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nby %s, %s\n",
                            async_tls_version(self->stream), async_tls_alpn(self->stream));
    return async_stream_close(self->stream);
}

/* SMTP, as far as STARTTLS goes. */
static int answer_smtp(struct answer *self)
{
    char line[256];
    async_stream_printf(self->stream, "220 mail.test ESMTP\r\n");
    while (async_stream_readline(self->stream, line, sizeof line) > 0) {
        if (strncmp(line, "EHLO", 4) == 0) {
            async_stream_printf(self->stream, "250-mail.test\r\n250 STARTTLS\r\n");
        } else if (strncmp(line, "STARTTLS", 8) == 0) {
            async_stream_printf(self->stream, "220 go on\r\n");
            int code = async_stream_start_tls(self->stream, server, NULL);
            if (code < 0) break;
        } else if (strncmp(line, "QUIT", 4) == 0) {
            async_stream_printf(self->stream, "221 %s bye\r\n", async_tls_version(self->stream));
            break;
        } else {
            async_stream_printf(self->stream, "500 what?\r\n");
        }
    }
    return async_stream_close(self->stream);
}

struct serve {
    async_server *server;
    int (*answer)(struct answer *);
};
static int serve(struct serve *self)
{
    async_for (async_stream *, stream, async_server_clients(self->server)) {
        struct answer *argument = malloc(sizeof *argument);
        argument->stream = stream;
        self->answer(argument);
        free(argument);
    }
    return 0;
}

/* What a program prints that connects to such a server; "%d" is the port. */
static const char *talk_to(int (*how)(struct answer *), bool plain, const char *command,
                           const char *input)
{
    static char output[8192];
    char whole[1024];
    async_server *listening = plain ? async_start_server("127.0.0.1", 0, NULL)
                                    : async_tls_start_server("127.0.0.1", 0, server, NULL);
    assert_non_null(listening);
    async_task *task = async_spawn(serve, .server = listening, .answer = how);
    snprintf(whole, sizeof whole, command, async_server_port(listening));
    struct program program = start_program(whole);
    async_stream_write(program.in, input, strlen(input));
    size_t got = 0;
    ssize_t n;
    while ((n = async_stream_read(program.out, output + got, sizeof output - 1 - got)) > 0)
        got += (size_t)n;
    output[got] = 0;
    end_program(&program, false);
    async_cancel(task, NULL);
    async_await(task);
    return output;
}

/* ---- openssl ---- */

static int with_s_server(void *unused)
{
    (void)unused;
    static const struct {
        const char *options, *version;
        int code;
    } cases[] = {
        {"", "TLSv1.3", 0},
        {"-tls1_2", "TLSv1.2", 0},
        {"-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305", "TLSv1.2", 0},
        {"-ciphersuites TLS_AES_128_GCM_SHA256", "TLSv1.3", 0},
        {"-num_tickets 0", "TLSv1.3", 0},
        {"-alpn one,two", "TLSv1.3", 0},
        {"-Verify 1 -verify_return_error", "", ASYNC_ETLS},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char command[512], line[512];
        snprintf(command, sizeof command,
                 "exec openssl s_server -accept 127.0.0.1:0 -cert %s -key %s -rev %s 2>&1",
                 pki("server.crt"), pki("server.key"), cases[i].options);
        struct program program = start_program(command);
        wait_for_line(&program, "ACCEPT", line, sizeof line);
        int port = atoi(strrchr(line, ':') + 1);
        async_stream *stream = async_tls_open_connection("127.0.0.1", port, client);
        ssize_t n = stream ? 0 : async_error_code();
        if (n == 0) n = async_stream_printf(stream, "hello\n");
        if (n == 0) n = async_stream_readline(stream, line, sizeof line);
        if (cases[i].code) {
            assert_int_equal(n, cases[i].code);
            assert_message("the peer asks for a certificate of ours");
        } else {
            if (n < 0) fail_msg("%s: %s", cases[i].options, async_error_message());
            assert_string_equal(line, "olleh\n");
            assert_string_equal(async_tls_version(stream), cases[i].version);
            assert_string_equal(async_tls_alpn(stream),
                                strstr(cases[i].options, "alpn") ? "two" : "");
            assert_int_equal(async_stream_printf(stream, "CLOSE\n"), 0);
            assert_int_equal(async_stream_close(stream), 0);
            stream = NULL;
        }
        async_stream_abort(stream);
        end_program(&program, true);
    }
    return 0;
}

static int with_s_client(void *unused)
{
    (void)unused;
    char command[512];
    static const char *const versions[] = {"TLSv1.2", "TLSv1.3"};
    for (int i = 0; i < 2; i++) {
        snprintf(
            command, sizeof command,
            "exec openssl s_client -quiet -verify_return_error -CAfile %s -servername localhost "
            "-verify_hostname localhost -connect 127.0.0.1:%%d %s 2>/dev/null",
            pki("ca.crt"), i ? "-tls1_3" : "-tls1_2");
        const char *got = talk_to(answer, false, command, "hello\n");
        char expected[64];
        snprintf(expected, sizeof expected, "%s: hello!\n", versions[i]);
        assert_string_equal(got, expected);
    }
    snprintf(command, sizeof command,
             "exec openssl s_client -quiet -crlf -verify_return_error -CAfile %s -starttls smtp "
             "-connect 127.0.0.1:%%d 2>/dev/null",
             pki("ca.crt"));
    assert_non_null(strstr(talk_to(answer_smtp, true, command, "QUIT\n"), "221 TLSv1.3 bye"));
    return 0;
}

/* ---- curl, Python ---- */

static int with_curl(void *unused)
{
    (void)unused;
    char command[512];
    if (!is_there("curl")) return 0;
    snprintf(command, sizeof command,
             "exec curl -sS --noproxy '*' --cacert %s https://localhost:%%d/ 2>&1", pki("ca.crt"));
    assert_string_equal(talk_to(answer_http, false, command, ""), "by TLSv1.3, http/1.1\n");
    return 0;
}

static int with_python(void *unused)
{
    (void)unused;
    char command[1024], line[256];
    if (!is_there("python3")) return 0;
    snprintf(command, sizeof command,
             "exec python3 -c \"import socket, ssl\n"
             "c = ssl.create_default_context(cafile='%s')\n"
             "c.verify_flags |= ssl.VERIFY_X509_STRICT\n" /* Python's default since 3.13 */
             "with c.wrap_socket(socket.create_connection(('127.0.0.1', %%d)), "
             "server_hostname='localhost') as s:\n"
             "    s.sendall(b'snake\\n')\n"
             "    print(s.recv(100).decode(), s.recv(100), s.unwrap() is not None)\n\" 2>&1",
             pki("ca.crt"));
    assert_string_equal(talk_to(answer, false, command, ""), "TLSv1.3: snake!\n b'' True\n");

    snprintf(command, sizeof command,
             "exec python3 -c \"import asyncio, ssl\n"
             "c = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)\n"
             "c.load_cert_chain('%s', '%s')\n"
             "async def serve(r, w):\n"
             "    w.write((await r.readline()).upper())\n"
             "    w.close()\n"
             "async def main():\n"
             "    s = await asyncio.start_server(serve, '127.0.0.1', 0, ssl=c)\n"
             "    print(':%%d' %% s.sockets[0].getsockname()[1], flush=True)\n"
             "    await s.serve_forever()\n"
             "asyncio.run(main())\n\" 2>&1",
             pki("server.crt"), pki("server.key"));
    struct program program = start_program(command);
    wait_for_line(&program, ":", line, sizeof line);
    for (int i = 0; i < 3; i++) {
        async_stream *stream =
            async_tls_open_connection("127.0.0.1", atoi(strrchr(line, ':') + 1), client);
        if (!stream) fail_msg("%s", async_error_message());
        char got[64];
        assert_int_equal(async_stream_printf(stream, "to python\n"), 0);
        assert_int_equal(async_stream_readline(stream, got, sizeof got), 10);
        assert_string_equal(got, "TO PYTHON\n");
        assert_int_equal(async_stream_read(stream, got, 1), 0);
        assert_int_equal(async_stream_close(stream), 0);
    }
    end_program(&program, true);
    return 0;
}

/* ---- nginx ---- */

static int with_nginx(void *unused)
{
    (void)unused;
    struct nginx nginx;
    char text[1024], line[4096], path[2][128];
    if (!is_there("nginx")) return 0;
    assert_true(nginx_prepare(&nginx));
    snprintf(path[0], sizeof path[0], "%s", pki("server.crt"));
    snprintf(path[1], sizeof path[1], "%s", pki("server.key"));
    snprintf(text, sizeof text,
             "server { listen 127.0.0.1:@0@; listen 127.0.0.1:@1@ ssl; ssl_certificate %s;\n"
             "ssl_certificate_key %s; add_header X-Reused $ssl_session_reused;\n"
             "add_header X-Name $ssl_server_name; location / { return 200 \"%%s\"; } }\n",
             path[0], path[1]);
    char *percent = strstr(text, "%s");
    static char configuration[8192], body[3001];
    memset(body, 'b', sizeof body - 1);
    snprintf(configuration, sizeof configuration, "%.*s%.3000s%s", (int)(percent - text), text,
             body, percent + 2);
    assert_true(nginx_start(&nginx, configuration));
    for (int i = 0; i < 3; i++) {
        async_stream *stream = async_tls_open_connection("localhost", nginx.port[1], client);
        if (!stream) fail_msg("%s", async_error_message());
        bool reused = false, named = false;
        for (int k = 0; k < 2; k++) {
            assert_int_equal(async_stream_printf(stream, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n",
                                                 k ? "Connection: close\r\n" : ""),
                             0);
            ssize_t n;
            while ((n = async_stream_readline(stream, line, sizeof line)) > 2) {
                if (strcmp(line, "X-Reused: r\r\n") == 0) reused = true;
                if (strcmp(line, "X-Name: localhost\r\n") == 0) named = true;
            }
            assert_int_equal(n, 2);
            assert_int_equal(async_stream_readexactly(stream, line, 3000), 3000);
        }
        assert_int_equal(async_stream_read(stream, line, 1), 0); /* with close_notify */
        assert_int_equal(reused, i > 0);
        assert_true(named);
        assert_int_equal(async_stream_close(stream), 0);
    }
    nginx_stop(&nginx);
    return 0;
}

#define REAL(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        assert_int_equal(async_run(name, NULL), 0);                                                \
    }
REAL(with_s_server)
REAL(with_s_client)
REAL(with_curl)
REAL(with_python)
REAL(with_nginx)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_with_s_server), cmocka_unit_test(test_with_s_client),
        cmocka_unit_test(test_with_curl),     cmocka_unit_test(test_with_python),
        cmocka_unit_test(test_with_nginx),
    };
    char path[4096];
    snprintf(path, sizeof path, "%s:/usr/sbin:/sbin", getenv("PATH"));
    setenv("PATH", path, 1);
    if (!is_there("openssl")) return 77;
    const char *const ours[] = {"two", "http/1.1", NULL};
    pki_make();
    client = client_context(.alpn = ours, .handshake_timeout = INFINITY);
    server = server_context(.alpn = ours, .handshake_timeout = INFINITY);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    async_tls_context_free(client);
    async_tls_context_free(server);
    return failed;
}
