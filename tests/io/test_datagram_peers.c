/* datagrams.h against what nobody here wrote: Python's asyncio and socat, as servers and as clients.
 * Real processes, so the clock is the real one; each wait ends with what the peer does.
 *
 * ctest: timeout=300 */
#include "datagram_test.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { LIMIT = 200 }; /* s; only a test that fails comes to it */

static char directory[64];

/* ---- other programs ---- */

static bool have_program(const char *name)
{
    char command[128];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", name);
    return system(command) == 0;
}

/* Starts it; *out is the read end of its standard output (blocking). */
static pid_t start(char *const arguments[], int *out)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], 1);
        execvp(arguments[0], arguments);
        _exit(127);
    }
    close(ends[1]);
    *out = ends[0];
    return child;
}

static void stop(pid_t child, int out)
{
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    async_close(out);
}

static void put_in_path(char *text, size_t size, const char *name)
{
    snprintf(text, size, "%s/%s", directory, name);
}

/* ---- Python's asyncio ---- */

static const char python_server[] =
    "import asyncio\n"
    "class Echo(asyncio.DatagramProtocol):\n"
    "    def connection_made(self, transport): self.transport = transport\n"
    "    def datagram_received(self, data, address): self.transport.sendto(b'py:' + data, "
    "address)\n"
    "async def main():\n"
    "    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(\n"
    "        Echo, local_addr=('127.0.0.1', 0))\n"
    "    print(transport.get_extra_info('sockname')[1], flush=True)\n"
    "    await asyncio.Event().wait()\n"
    "asyncio.run(main())\n";

/* Sends datagrams of growing size, each after the last one's echo; says "good" or "bad". (It cannot send
 * an empty one before Python 3.12.) */
static const char python_client[] =
    "import asyncio, sys\n"
    "class Client(asyncio.DatagramProtocol):\n"
    "    def __init__(self, done): self.done, self.n = done, 1\n"
    "    def connection_made(self, transport): self.transport = transport; self.next()\n"
    "    def next(self):\n"
    "        self.sent = bytes([self.n]) * (self.n * 100)\n"
    "        self.transport.sendto(self.sent)\n"
    "    def datagram_received(self, data, address):\n"
    "        if data != self.sent: self.done.set_result('bad'); return\n"
    "        self.n += 1\n"
    "        self.next() if self.n < 20 else self.done.set_result('good')\n"
    "    def error_received(self, error): self.done.set_result(str(error))\n"
    "async def main():\n"
    "    loop = asyncio.get_running_loop()\n"
    "    done = loop.create_future()\n"
    "    await loop.create_datagram_endpoint(lambda: Client(done),\n"
    "                                        remote_addr=('127.0.0.1', int(sys.argv[1])))\n"
    "    print(await done)\n"
    "asyncio.run(main())\n";

static ssize_t read_line_of(int out, char *line, size_t size)
{
    size_t there = 0;
    while (there < size - 1) {
        ssize_t n = async_read(out, line + there, 1);
        if (n <= 0) break;
        if (line[there] == '\n') break;
        there++;
    }
    line[there] = 0;
    return (ssize_t)there;
}

static int to_python(void *unused)
{
    (void)unused;
    char *const arguments[] = {"python3", "-c", (char *)python_server, NULL};
    char line[64], text[32], expected[64];
    int out;
    pid_t child = start(arguments, &out);
    async_timeout (LIMIT) {
        assert_true(read_line_of(out, line, sizeof line) > 0);
        async_datagram_endpoint *client = connected(atoi(line));
        for (int i = 0; i < 20; i++) {
            snprintf(text, sizeof text, "number %d", i);
            snprintf(expected, sizeof expected, "py:%s", text);
            send_text(client, text, NULL);
            assert_string_equal(received(client, NULL), expected);
        }
        send_text(client, "", NULL);
        assert_string_equal(received(client, NULL), "py:");
        async_datagram_close(client);
    }
    stop(child, out);
    return 0;
}

struct echo {
    async_datagram_endpoint *endpoint;
};

static int echo(struct echo *self)
{
    async_for (async_datagram *, datagram, async_datagrams(self->endpoint))
        async_datagram_sendto(self->endpoint, datagram->data, datagram->size, &datagram->peer);
    return async_block_error();
}

static int from_python(void *unused)
{
    (void)unused;
    async_datagram_endpoint *server = bound();
    char port[16], line[64];
    int out;
    snprintf(port, sizeof port, "%d", async_datagram_port(server));
    char *const arguments[] = {"python3", "-c", (char *)python_client, port, NULL};
    async_task *task = async_spawn(echo, .endpoint = server);
    pid_t child = start(arguments, &out);
    async_timeout (LIMIT) {
        assert_true(read_line_of(out, line, sizeof line) > 0);
        assert_string_equal(line, "good");
    }
    stop(child, out);
    async_datagram_close(server);
    assert_int_equal(async_await(task), 0);
    return 0;
}

/* ---- socat ---- */

/* A server that echoes (PIPE), at an address where it can be found: ours speaks first, again and
 * again, until it answers. */
static void talk_to_socat(char *address, const async_datagram_options *options)
{
    char *const arguments[] = {"socat", address, "PIPE", NULL};
    char buffer[64];
    int out;
    pid_t child = start(arguments, &out);
    async_datagram_endpoint *client = NULL;
    async_timeout (LIMIT) {
        ssize_t n = -1;
        while (n < 0) {
            if (!client) client = async_create_datagram_endpoint(options);
            if (client && async_datagram_sendto(client, "first", 5, NULL) == 0)
                async_timeout (0.2)
                    n = async_datagram_recvfrom(client, buffer, sizeof buffer, NULL);
            if (n < 0) assert_int_equal(async_sleep(0.05), 0);
        }
        assert_int_equal(n, 5);
        send_text(client, "second", NULL);
        const char *text;
        while (strcmp(text = received(client, NULL), "first") == 0) /* of more than one try */
            ;
        assert_string_equal(text, "second");
    }
    async_datagram_close(client);
    stop(child, out);
}

static int to_socat(void *unused)
{
    (void)unused;
    char address[128], path[96];
    int port = dead_port();
    snprintf(address, sizeof address, "UDP4-LISTEN:%d,bind=127.0.0.1", port);
    talk_to_socat(address, &(async_datagram_options){.remote_addr = {"127.0.0.1", port}});

    put_in_path(path, sizeof path, "socat");
    snprintf(address, sizeof address, "UNIX-RECVFROM:%s,fork", path);
    talk_to_socat(address, &(async_datagram_options){.family = AF_UNIX, .remote_addr = {path, 0}});
    return 0;
}

/* socat sends what the shell gives it, one datagram, and prints the answer. */
static void hear_socat(const char *to, async_datagram_endpoint *server)
{
    char command[256], line[64];
    int out;
    snprintf(command, sizeof command, "printf 'from socat\\n' | socat -t %d - %s", LIMIT, to);
    char *const arguments[] = {"sh", "-c", command, NULL};
    pid_t child = start(arguments, &out);
    async_timeout (LIMIT) {
        async_address from;
        assert_string_equal(received(server, &from), "from socat\n");
        send_text(server, "an answer\n", &from);
        assert_true(read_line_of(out, line, sizeof line) > 0);
        assert_string_equal(line, "an answer");
    }
    stop(child, out);
    async_datagram_close(server);
}

static int from_socat(void *unused)
{
    (void)unused;
    char address[256], path[96];
    async_datagram_endpoint *server = bound();
    snprintf(address, sizeof address, "UDP4:127.0.0.1:%d", async_datagram_port(server));
    hear_socat(address, server);

    put_in_path(path, sizeof path, "ours");
    server = async_create_datagram_endpoint(
        &(async_datagram_options){.family = AF_UNIX, .local_addr = {path, 0}});
    assert_non_null(server);
    snprintf(address, sizeof address, "UNIX-SENDTO:%s,bind=%s/client", path, directory);
    hear_socat(address, server);
    return 0;
}

/* ---- all ---- */

static void run_with(const char *program, async_coroutine test)
{
    if (!have_program(program)) {
        print_message("skipped: there is no %s\n", program);
        skip();
    }
    assert_int_equal(async_run(test, NULL), 0);
}

#define PEER_TEST(program, coroutine)                                                              \
    static void test_##coroutine(void **state)                                                     \
    {                                                                                              \
        (void)state;                                                                               \
        run_with(program, coroutine);                                                              \
    }

PEER_TEST("python3", to_python)
PEER_TEST("python3", from_python)
PEER_TEST("socat", to_socat)
PEER_TEST("socat", from_socat)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_to_python),
        cmocka_unit_test(test_from_python),
        cmocka_unit_test(test_to_socat),
        cmocka_unit_test(test_from_socat),
    };
    snprintf(directory, sizeof directory, "/tmp/casyncio-peers-XXXXXX");
    if (!mkdtemp(directory)) return 1;
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command) == 0 ? bad : 1;
}
