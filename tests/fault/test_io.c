/* Sweeps of what the twelve programs do not reach in src/io: files of every kind, servers and
 * clients over TCP and Unix sockets, raw sockets, pipes, names, threads.
 *
 * ctest: timeout=600 */
#include "sweep.h"

#include <casyncio/files.h>
#include <casyncio/protocols.h>
#include <casyncio/sockets.h>
#include <casyncio/streams.h>
#include <casyncio/threads.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/stat.h>

#include "io/file.h"

/* The error of a constructor that gave NULL. */
static int failed(void)
{
    int code = async_error_code();
    assert_true(code < 0);
    return code;
}

/* ---- files ---- */

static char scratch[64];

static int fill(async_file *file)
{
    static char much[300 * 1024]; /* more than one job takes */
    memset(much, 'x', sizeof much);
    int code = async_file_write(file, much, sizeof much);
    if (code == 0) code = async_file_printf(file, "\nline %d\nlast", 1);
    if (code == 0) code = async_file_sync(file);
    return code;
}

static int check_contents(async_file *file)
{
    char buffer[64];
    struct stat status;
    int code = async_file_stat(file, &status);
    if (code < 0) return code;
    assert_int_equal(status.st_size, 300 * 1024 + 12);
    int64_t place = async_file_seek(file, -12, SEEK_END);
    if (place < 0) return (int)place;
    assert_int_equal(place, 300 * 1024);
    ssize_t n = async_file_readline(file, buffer, sizeof buffer);
    if (n < 0) return (int)n;
    assert_string_equal(buffer, "\n");
    n = async_file_readline(file, buffer, sizeof buffer);
    if (n < 0) return (int)n;
    assert_string_equal(buffer, "line 1\n");
    memset(buffer, 0, sizeof buffer);
    for (size_t got = 0; got < 4; got += (size_t)n) {
        n = async_file_read(file, buffer + got, sizeof buffer - got);
        if (n < 0) return (int)n;
        assert_true(n > 0);
    }
    assert_string_equal(buffer, "last");
    n = async_file_read(file, buffer, sizeof buffer);
    return n < 0 ? (int)n : (assert_int_equal(n, 0), 0);
}

static int cut_and_append(void)
{
    int lines = 0, code;
    async_with (async_file *, file, async_file_open(scratch, "r+"), async_file_close)
        if (async_file_truncate(file, 0) < 0) return failed();
    if ((code = async_block_error()) < 0) return code;
    for (int i = 0; i < 2; i++) {
        async_with (async_file *, file, async_file_open(scratch, "a"), async_file_close)
            if (async_file_printf(file, "more %d\n", i) < 0) return failed();
        if ((code = async_block_error()) < 0) return code;
    }
    async_with (async_file *, file, async_file_open(scratch, "r"), async_file_close)
        async_for (char *, line, async_file_lines(file)) {
            char expected[16];
            snprintf(expected, sizeof expected, "more %d", lines++);
            assert_string_equal(line, expected);
        }
    if ((code = async_block_error()) < 0) return code;
    assert_int_equal(lines, 2);
    return 0;
}

static int files(void *unused)
{
    (void)unused;
    async_file *file = async_file_open(scratch, "w+");
    if (!file) return failed();
    int code = fill(file);
    if (code == 0) code = check_contents(file);
    int closed = async_file_close(file);
    if (code == 0) code = closed;
    if (code == 0) code = cut_and_append();
    if (code < 0) return code;
    file = async_file_open("/nowhere/at/all", "r");
    assert_null(file);
    code = async_error_code();
    return code == -ENOENT ? 0 : code;
}

/* A thread whose read would block leaves the file to be polled, which reads at the same place. */
static int polled_at_its_offset(void *unused)
{
    (void)unused;
    char line[16];
    int code = 0;
    async_with (async_file *, file, async_file_open(scratch, "w+"), async_file_close) {
        assert_int_equal(async_file_write(file, "one\ntwo\nthree\n", 14), 0);
        assert_int_equal(async_file_seek(file, 4, SEEK_SET), 4);
        file->uncached = true;
        async__fault_errno = EAGAIN;
        async__worker_faults[ASYNC__FAULT_SYSTEM_CALL] = (struct async__fault_counter){.at = 1};
        code = (int)async_file_readline(file, line, sizeof line);
        async__worker_faults[ASYNC__FAULT_SYSTEM_CALL] = (struct async__fault_counter){.at = 0};
        assert_int_equal(code, 4);
        assert_string_equal(line, "two\n");
        assert_int_equal(async_file_readline(file, line, sizeof line), 6);
        assert_string_equal(line, "three\n");
    }
    return async_block_error();
}

static void test_polled_at_its_offset(void **state)
{
    (void)state;
    assert_int_equal(async_run(polled_at_its_offset, NULL), 0);
}

/* ---- streams: a server, and clients, by TCP and by a Unix socket ---- */

enum { MUCH = 400 * 1000 };

struct serve {
    async_stream *stream;
};

/* Gives back each line, and at the end what follows "much". */
static int talk(async_stream *stream)
{
    char line[64];
    ssize_t n;

    while ((n = async_stream_readline(stream, line, sizeof line)) > 0) {
        if (strcmp(line, "much\n") == 0) break;
        int code = async_stream_write(stream, line, (size_t)n);
        if (code < 0) return code;
    }
    if (n <= 0) return (int)n;
    char *much = malloc(MUCH);
    assert_non_null(much);
    n = async_stream_readexactly(stream, much, MUCH);
    int code = n < 0 ? (int)n : async_stream_write(stream, much, MUCH);
    free(much);
    return code < 0 ? code : async_stream_write_eof(stream);
}

static int serve(struct serve *self)
{
    if (talk(self->stream) < 0)
        async_stream_abort(self->stream);
    else
        async_stream_close(self->stream);
    return 0;
}

static int serve_all(void *server)
{
    bool serving = false;
    async_with_group (group) {
        serving = true;
        async_for (async_stream *, stream, async_server_clients(server))
            if (!async_group_spawn(group, serve, .stream = stream)) async_stream_abort(stream);
    }
    if (!serving) async_server_close(server);
    return 0;
}

static int converse(async_stream *stream)
{
    char text[128];
    int code = async_stream_printf(stream, "hello\nand %s\n", "so on");
    if (code == 0 && async_stream_fd(stream) >= 0)
        code = async_stream_peername(stream, text, sizeof text);
    if (code < 0) return code;
    ssize_t n = async_stream_readuntil(stream, text, sizeof text, "on\n", 3);
    if (n < 0) return (int)n;
    assert_string_equal(text, "hello\nand so on\n");

    char *much = malloc(MUCH), *back = malloc(MUCH);
    assert_true(much && back);
    for (int i = 0; i < MUCH; i++)
        much[i] = (char)(i * 7);
    code = async_stream_writev(stream, (struct iovec[]){{"much\n", 5}, {much, MUCH}}, 2);
    if (code == 0) code = async_stream_drain(stream);
    if (code == 0) code = async_stream_write_eof(stream);
    if (code == 0) n = async_stream_readexactly(stream, back, MUCH);
    if (code == 0 && n < 0) code = (int)n;
    if (code == 0) assert_memory_equal(much, back, MUCH);
    free(much);
    free(back);
    if (code == 0) n = async_stream_read(stream, text, sizeof text);
    if (code == 0) code = (int)n; /* the end: 0 */
    assert_true(code <= 0);
    return code;
}

static int run_client(async_stream *stream)
{
    if (!stream) return failed();
    int code = 0;
    async_timeout (100.0)
        code = converse(stream);
    if (code == 0) code = async_block_error();
    int closed = async_stream_close(stream);
    return code < 0 ? code : closed;
}

static int with_server(async_server *server, const char *host, int port, const char *path)
{
    if (!server) return failed();
    if (host) port = async_server_port(server);
    async_stream *stream;
    async_task *task = async_create_task(serve_all, server);
    if (!task) {
        async_server_close(server);
        return failed();
    }
    int code = async_sleep(0); /* it accepts now, or has failed */
    if (code == 0) {
        stream = host ? async_open_connection(host, port) : async_open_unix_connection(path);
        code = run_client(stream);
    }
    async_cancel(task, NULL);
    int ended = 0;
    async_shield ()
        ended = async_await(task);
    if (code == 0 && ended != -ECANCELED) code = ended;
    return code < 0 ? code : 0;
}

static int tcp(void *unused)
{
    (void)unused;
    return with_server(async_start_server("127.0.0.1", 0, NULL), "127.0.0.1", 0, NULL);
}

static int unix_socket(void *unused)
{
    (void)unused;
    static char path[80];
    snprintf(path, sizeof path, "%s.socket", scratch);
    unlink(path);
    int code = with_server(async_start_unix_server(path, NULL), NULL, 0, path);
    unlink(path); /* a fault may have kept the server from removing it */
    return code;
}

/* ---- names and happy eyeballs ---- */

static int names(void *unused)
{
    (void)unused;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    int code = async_getaddrinfo("localhost", "80", &hints, &list);
    if (code < 0) return code;
    assert_non_null(list);
    char host[NI_MAXHOST];
    code = async_getnameinfo(list->ai_addr, list->ai_addrlen, host, sizeof host, NULL, 0, 0);
    freeaddrinfo(list);
    if (code < 0) return code;
    return with_server(async_start_server("localhost", 0, NULL), "localhost", 0, NULL);
}

/* ---- raw sockets ---- */

static int accept_one(void *argument)
{
    char buffer[16];
    int fd = async_accept(*(int *)argument, NULL, NULL);
    if (fd < 0) return fd;
    ssize_t n = async_recv(fd, buffer, sizeof buffer, 0);
    int code = n > 0 ? async_sendall(fd, buffer, (size_t)n, NULL) : (int)n;
    async_close(fd);
    return code;
}

static int connect_to(int listener)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    char buffer[16];
    ssize_t n = 0;

    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    int fd = async_socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return fd;
    int code = async_connect(fd, (struct sockaddr *)&address, length);
    if (code == 0) code = async_sendall(fd, "ping", 4, NULL);
    for (size_t got = 0; code == 0 && got < 4; got += (size_t)n) {
        n = async_recv(fd, buffer + got, sizeof buffer - got, 0);
        if (n <= 0) code = n < 0 ? (int)n : ASYNC_EINCOMPLETE;
        if (n == 1) break; /* the server may have read a single byte, and sends that back */
    }
    if (code == 0) assert_int_equal(buffer[0], 'p');
    async_close(fd);
    return code;
}

static int datagrams(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    char buffer[16];
    int fd = async_socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0) return fd;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    ssize_t n = async_sendto(fd, "datagram", 8, 0, (struct sockaddr *)&address, length);
    if (n >= 0) n = async_recvfrom(fd, buffer, sizeof buffer, 0, NULL, NULL);
    if (n >= 0) assert_int_equal(n, 8);
    async_close(fd);
    return n < 0 ? (int)n : 0;
}

static int sockets(void *unused)
{
    (void)unused;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = async_socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0) return listener;
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 5), 0);
    async_task *task = async_create_task(accept_one, &listener);
    int code = task ? 0 : failed();
    if (task)
        async_timeout (10.0) /* a connection that is not accepted gets no answer */
            code = connect_to(listener);
    if (code == 0) code = async_block_error();
    if (code < 0) async_cancel(task, NULL);
    int accepted = 0;
    if (task)
        async_shield ()
            accepted = async_await(task);
    async_close(listener);
    if (code == 0) code = accepted;
    return code < 0 ? code : datagrams();
}

/* ---- a pair in memory, with a latency, which needs timers ---- */

static int pair(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    int code = async_stream_pair_with(ends, &(async_pair_options){.latency = 0.001});
    if (code < 0) return code;
    async_task *task = async_spawn(serve, .stream = ends[1]);
    if (!task) {
        code = failed();
        async_stream_abort(ends[0]);
        async_stream_abort(ends[1]);
        return code;
    }
    code = run_client(ends[0]);
    int ended = 0;
    async_shield ()
        ended = async_await(task);
    return code < 0 ? code : ended;
}

/* ---- pipes, blocking ones too ---- */

static int write_pipe(void *stream)
{
    char block[3000];
    int code = 0;
    memset(block, 'y', sizeof block);
    block[sizeof block - 1] = '\n';
    for (int i = 0; i < 40 && code == 0; i++)
        code = async_stream_write(stream, block, sizeof block);
    if (code == 0) code = async_stream_write_eof(stream);
    int closed = code < 0 ? (async_stream_abort(stream), 0) : async_stream_close(stream);
    return code < 0 ? code : closed;
}

static int read_pipe(async_stream *stream)
{
    int count = 0;
    async_for (char *, line, async_stream_lines(stream)) {
        assert_int_equal(strspn(line, "y"), strlen(line));
        count += strlen(line) == 2999; /* the last may have been cut */
    }
    int code = async_block_error();
    async_stream_abort(stream);
    if (code == 0 && count < 40) return ASYNC_EINCOMPLETE; /* the writer's error says why */
    return code;
}

static int by_pipe(int flags)
{
    int fds[2];
    assert_int_equal(pipe2(fds, flags | O_CLOEXEC), 0);
    async_stream *in = async_stream_from_fd(fds[0]);
    int failure = in ? 0 : failed();
    async_stream *out = async_stream_from_fd(fds[1]);
    if (!out && !failure) failure = failed();
    if (!in) close(fds[0]);
    if (!out) close(fds[1]);
    async_task *task = in && out ? async_create_task(write_pipe, out) : NULL;
    if (in && out && !task) failure = failed();
    if (!task) {
        async_stream_abort(in);
        async_stream_abort(out);
        return failure;
    }
    int code = read_pipe(in);
    int written = 0;
    if (code < 0 && code != ASYNC_EINCOMPLETE) async_cancel(task, NULL);
    async_shield ()
        written = async_await(task);
    return written < 0 && (code == 0 || code == ASYNC_EINCOMPLETE) ? written : code;
}

static int pipes(void *unused)
{
    (void)unused;
    int code = by_pipe(O_NONBLOCK);
    return code < 0 ? code : by_pipe(0);
}

/* ---- threads ---- */

static int compute(void *number) { return *(int *)number * 2; }

static int in_loop(void *number)
{
    int code = async_sleep(0); /* no more: virtual time stands still while a thread works */
    return code < 0 ? code : *(int *)number + 1;
}

struct caller {
    async_loop *loop;
    int number;
};

static int call_in(void *argument)
{
    struct caller *caller = argument;
    return async_run_coroutine_threadsafe(caller->loop, in_loop, &caller->number);
}

static int threads(void *unused)
{
    (void)unused;
    int number = 21;
    int code = async_to_thread(compute, &number);
    if (code < 0) return code;
    assert_int_equal(code, 42);
    struct caller caller = {async_get_running_loop(), 41};
    code = async_to_thread(call_in, &caller);
    if (code >= 0) assert_int_equal(code, 42);
    return code < 0 ? code : 0;
}

/* ---- transports ---- */

struct talk {
    async_transport *transport;
    async_event lost;
    int code;
    bool called;
};

static void talk_made(void *self, async_transport *transport)
{
    static char much[MUCH];
    struct talk *talk = self;
    talk->transport = transport;
    (void)async_transport_write(transport, "hello\nmuch\n", 11);
    (void)async_transport_write(transport, much, sizeof much);
}

/* Closes when all has come back. */
static void talk_data(void *self, const void *data, size_t size)
{
    static size_t got;
    struct talk *talk = self;
    (void)data;
    if (!talk->called) got = 0;
    talk->called = true;
    if ((got += size) >= 11 + MUCH) async_transport_close(talk->transport);
}

static void talk_lost(void *self, int code)
{
    struct talk *talk = self;
    talk->code = code;
    async_event_set(&talk->lost);
}

static void echo_data(void *self, const void *data, size_t size)
{
    (void)async_transport_write(((struct talk *)self)->transport, data, size);
}

static void echo_made(void *self, async_transport *transport)
{
    ((struct talk *)self)->transport = transport;
}

/* Also if the wait itself is what fails: until then the transport has the struct. */
static void wait_until_lost(struct talk *talk)
{
    while (!async_event_is_set(&talk->lost))
        (void)async_event_wait(&talk->lost);
}

static int transports(void *unused)
{
    (void)unused;
    static const async_protocol talking = {
        .connection_made = talk_made, .data_received = talk_data, .connection_lost = talk_lost};
    static const async_protocol echoing = {
        .connection_made = echo_made, .data_received = echo_data, .connection_lost = talk_lost};
    async_stream *ends[2];
    struct talk talk = {0}, echo = {0};
    int code = async_stream_pair(ends);
    if (code < 0) return code;
    bool talks = async_transport_new(ends[0], &talking, &talk);
    if (!talks) code = failed();
    bool echoes = async_transport_new(ends[1], &echoing, &echo);
    if (!echoes && code == 0) code = failed();
    async_shield () {
        if (talks) wait_until_lost(&talk);
        if (echoes) wait_until_lost(&echo);
    }
    if (code == 0) code = talk.code;
    return code == 0 ? echo.code : code;
}

SWEEP(transports, PEERS | MUCH_DATA)
SWEEP(files, MUCH_DATA)
SWEEP(tcp, PEERS | MUCH_DATA)
SWEEP(unix_socket, PEERS | MUCH_DATA)
SWEEP(pair, PEERS | MUCH_DATA)
SWEEP(names, PEERS | MUCH_DATA)
SWEEP(sockets, PEERS)
SWEEP(pipes, PEERS | MUCH_DATA)
SWEEP(threads, 0)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transports), cmocka_unit_test(test_files),
        cmocka_unit_test(test_tcp),        cmocka_unit_test(test_unix_socket),
        cmocka_unit_test(test_pair),       cmocka_unit_test(test_names),
        cmocka_unit_test(test_sockets),    cmocka_unit_test(test_pipes),
        cmocka_unit_test(test_threads),    cmocka_unit_test(test_polled_at_its_offset),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(scratch, sizeof scratch, "/tmp/casyncio-fault-%d", (int)getpid());
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(scratch);
    return bad;
}
