/* sockets.h: the calls on raw descriptors. */
#include <io/io.h>

#include "io_test.h"

#include <limits.h>

#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

/* ---- receiving and sending ---- */

struct receive {
    int fd;
    char *buffer;
    size_t size;
};
static int receive(struct receive *self)
{
    ssize_t n = async_recv(self->fd, self->buffer, self->size, 0);
    return (int)n;
}

static int recv_waits(void *unused)
{
    (void)unused;
    int fds[2];
    char buffer[16] = "";
    make_pair(fds);
    async_task *task = async_spawn(receive, .fd = fds[0], .buffer = buffer, .size = sizeof buffer);
    settle();
    assert_false(async_task_done(task));
    assert_int_equal(async_send(fds[1], "hello", 5, 0), 5);
    assert_int_equal(async_await(task), 5);
    assert_string_equal(buffer, "hello");
    async_close(fds[1]);
    assert_int_equal(async_recv(fds[0], buffer, sizeof buffer, 0), 0);
    async_close(fds[0]);
    return 0;
}
TEST(recv_waits)

/* A ring's receives are the kernel's, which asks for readiness first. */
static void assert_drained(int fd, bool drained)
{
    async_loop *loop = async__loop();
    if (strcmp(async_loop_backend(loop), "io_uring") != 0)
        assert_int_equal(loop->fds[fd].drained, drained);
}

/* A receive that got less than it had room for has emptied a stream's buffer: the next one waits first,
 * and finds whatever has come meanwhile. A datagram says nothing of the next one. */
static int drained(void *unused)
{
    (void)unused;
    int fds[2], again[2], datagrams[2];
    char buffer[16], byte;
    make_pair(fds);
    async_task *task = async_spawn(receive, .fd = fds[0], .buffer = buffer, .size = sizeof buffer);
    settle();
    put_text(fds[1], "first");
    assert_int_equal(async_await(task), 5);
    assert_drained(fds[0], true);
    put_text(fds[1], "second");
    assert_int_equal(async_recv(fds[0], buffer, 3, 0), 3);
    assert_drained(fds[0], false); /* there may be more */
    assert_int_equal(async_recv(fds[0], buffer, sizeof buffer, MSG_PEEK), 3);
    assert_drained(fds[0], false); /* flags of the caller's own */
    assert_int_equal(async_recv(fds[0], buffer, sizeof buffer, 0), 3);
    assert_drained(fds[0], true);

    /* The end, after which the number is another socket's. */
    async_close(fds[1]);
    assert_int_equal(async_recv(fds[0], buffer, sizeof buffer, 0), 0);
    async_close(fds[0]);
    make_pair(again);
    assert_true(again[0] == fds[0] || again[1] == fds[0]);
    assert_drained(fds[0], false);
    put_text(again[0] == fds[0] ? again[1] : again[0], "x");
    assert_int_equal(async_recv(fds[0], &byte, 1, 0), 1);
    async_close(again[0]);
    async_close(again[1]);

    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, datagrams), 0);
    task = async_spawn(receive, .fd = datagrams[0], .buffer = buffer, .size = sizeof buffer);
    settle();
    put_text(datagrams[1], "one");
    assert_int_equal(async_await(task), 3);
    assert_drained(datagrams[0], false);
    async_close(datagrams[0]);
    async_close(datagrams[1]);
    return 0;
}
TEST(drained)

static int sizes(void *unused)
{
    (void)unused;
    int fds[2];
    char buffer[8];
    make_pair(fds);
    assert_int_equal(async_recv(fds[0], buffer, 0, 0), 0);
    assert_int_equal(async_read(fds[0], buffer, 0), 0);
    assert_int_equal(async_sendall(fds[0], buffer, 0, NULL), 0);

    size_t size;
    char *large = much_space(&size);
    put_text(fds[1], "few");
    assert_int_equal(async_recv(fds[0], large, size, 0), 3);
    put_text(fds[1], "few");
    assert_int_equal(async_read(fds[0], large, size), 3);
    put_text(fds[1], "few");
    assert_int_equal(async_recvfrom(fds[0], large, size, 0, NULL, NULL), 3);
    ssize_t n = async_send(fds[0], large, size, 0);
    assert_true(n > 0);
    assert_int_equal(drain_fd(fds[1]), n);
    munmap(large, size);
    async_close(fds[0]);
    async_close(fds[1]);
    return 0;
}
TEST(sizes)

/* Every call that takes a descriptor. */
static void refuse(int fd)
{
    char byte = 0;
    struct sockaddr_in address = {.sin_family = AF_INET};
    async_loop *loop = async_get_running_loop();
    async_watch watch = {0};
    assert_int_equal(async_recv(fd, &byte, 1, 0), -EBADF);
    assert_int_equal(async_recv(fd, &byte, 0, 0), -EBADF);
    assert_int_equal(async_send(fd, &byte, 1, 0), -EBADF);
    assert_int_equal(async_sendall(fd, &byte, 1, NULL), -EBADF);
    assert_int_equal(async_read(fd, &byte, 1), -EBADF);
    assert_message("read on descriptor ");
    assert_int_equal(async_write(fd, &byte, 1), -EBADF);
    assert_int_equal(async_accept(fd, NULL, NULL), -EBADF);
    assert_int_equal(async_connect(fd, (struct sockaddr *)&address, sizeof address), -EBADF);
    assert_message("connect to 0.0.0.0:0");
    assert_int_equal(async_recvfrom(fd, &byte, 1, 0, NULL, NULL), -EBADF);
    assert_int_equal(async_sendto(fd, &byte, 1, 0, NULL, 0), -EBADF);
    assert_int_equal(async_wait_readable(fd), -EBADF);
    assert_int_equal(async_wait_writable(fd), -EBADF);
    assert_int_equal(async_add_reader(loop, fd, &watch), -EBADF);
    assert_int_equal(async_add_writer(loop, fd, &watch), -EBADF);
    watch.foreign = watch.once = true;
    assert_int_equal(async_add_reader(loop, fd, &watch), -EBADF);
    assert_false(async_remove_watch(loop, &watch));
    assert_null(async_stream_from_fd(fd));
    assert_int_equal(async_error_code(), -EBADF);
    async_forget_fd(loop, fd);
    assert_int_equal(async_close(fd), -EBADF);
}

static int bad_descriptors(void *unused)
{
    (void)unused;
    static const int numbers[] = {-1, INT_MIN, 1000, 10000000, 1500000000, INT_MAX};
    char byte;
    for (size_t i = 0; i < COUNT(numbers); i++)
        refuse(numbers[i]);
    assert_int_equal(async_recv(-1, &byte, 1, 0), -EBADF);
    assert_string_equal(async_error_message(), "recv on descriptor -1: Bad file descriptor");
    assert_int_equal(async_socket(9999, SOCK_STREAM, 0), -EAFNOSUPPORT);
    assert_message("socket of family 9999");
    return 0;
}
TEST(bad_descriptors)

static int not_a_socket(void *unused)
{
    (void)unused;
    int pipes[2];
    char byte;
    assert_int_equal(pipe2(pipes, O_NONBLOCK), 0);
    assert_int_equal(async_recv(pipes[0], &byte, 1, 0), -ENOTSOCK);
    assert_int_equal(async_accept(pipes[0], NULL, NULL), -ENOTSOCK);
    close(pipes[0]);
    close(pipes[1]);
    return 0;
}
TEST(not_a_socket)

static int second_waiter(void *unused)
{
    (void)unused;
    int fds[2];
    char a[4], b[4];
    make_pair(fds);
    async_task *task = async_spawn(receive, .fd = fds[0], .buffer = a, .size = sizeof a);
    settle();
    assert_int_equal(async_recv(fds[0], b, sizeof b, 0), -EBUSY);
    assert_message("another task");
    put_text(fds[1], "abc");
    assert_int_equal(async_await(task), 3);
    async_close(fds[0]);
    async_close(fds[1]);
    return 0;
}
TEST(second_waiter)

static int closed_under_waiter(void *unused)
{
    (void)unused;
    int fds[2], again[2];
    char buffer[4] = "";
    make_pair(fds);
    async_task *task = async_spawn(receive, .fd = fds[0], .buffer = buffer, .size = sizeof buffer);
    settle();
    /* The data is there, but the number is another descriptor's by the time the task could read. */
    put_text(fds[1], "old");
    assert_int_equal(async_close(fds[0]), 0);
    make_pair(again);
    assert_int_equal(again[0], fds[0]);
    put_text(again[1], "new");
    assert_int_equal(async_await(task), -EBADF);
    assert_int_equal(async_recv(again[0], buffer, sizeof buffer, 0), 3);
    assert_memory_equal(buffer, "new", 3);
    async_close(fds[1]);
    async_close(again[0]);
    async_close(again[1]);
    return 0;
}
TEST(closed_under_waiter)

/* The event has been taken from the kernel, the waiter's callback is queued, and before it runs
 * another callback closes the descriptor and gets the number anew. */
struct swap {
    async_watch watch;
    int fd, again[2];
};
static void swap_descriptors(async_callback *callback)
{
    struct swap *swap = (struct swap *)callback;
    async_remove_watch(async_get_running_loop(), &swap->watch);
    async_close(swap->fd);
    make_pair(swap->again);
    put_text(swap->again[1], "new");
}

static bool completes(void)
{
    return strcmp(async_loop_backend(async_get_running_loop()), "io_uring") == 0;
}

static int closed_between_event_and_call(void *unused)
{
    (void)unused;
    int fds[2], first[2];
    char buffer[4] = "";
    make_pair(first);
    make_pair(fds);
    struct swap swap = {.watch.callback.run = swap_descriptors, .fd = fds[0]};
    assert_int_equal(async_add_reader(async_get_running_loop(), first[0], &swap.watch), 0);
    async_task *task = async_spawn(receive, .fd = fds[0], .buffer = buffer, .size = sizeof buffer);
    settle();
    put_text(first[1], "x");
    put_text(fds[1], "old");
    if (completes()) /* there is nothing between the two */
        assert_int_equal(async_await(task), 3);
    else
        assert_int_equal(async_await(task), -EBADF);
    assert_int_equal(swap.again[0], fds[0]);
    assert_int_equal(async_recv(swap.again[0], buffer, sizeof buffer, 0), 3);
    assert_memory_equal(buffer, "new", 3);
    async_close(first[0]);
    async_close(first[1]);
    async_close(fds[1]);
    async_close(swap.again[0]);
    async_close(swap.again[1]);
    return 0;
}
TEST(closed_between_event_and_call)

/* ---- cancellation and timeouts ---- */

static int cancelled_recv(void *unused)
{
    (void)unused;
    int fds[2];
    char buffer[8] = "";
    make_pair(fds);
    async_task *task = async_spawn(receive, .fd = fds[0], .buffer = buffer, .size = sizeof buffer);
    settle();
    async_cancel(task, "enough");
    assert_int_equal(async_await(task), -ECANCELED);
    assert_string_equal(async_error_message(), "enough");
    put_text(fds[1], "later");
    assert_int_equal(async_recv(fds[0], buffer, sizeof buffer, 0), 5);

    int code = 0;
    async_timeout (2.5)
        code = (int)async_recv(fds[0], buffer, sizeof buffer, 0);
    assert_int_equal(code, -ETIMEDOUT);
    assert_int_equal(tenths(), 25);
    async_timeout (0)
        code = (int)async_send(fds[0], buffer, 1, 0);
    assert_int_equal(code, -ETIMEDOUT);
    assert_string_equal(got_text(fds[1]), "");
    async_close(fds[0]);
    async_close(fds[1]);
    return 0;
}
TEST(cancelled_recv)

/* A cancellation that is taken back at once ends the call all the same. */
static int cancelled_and_uncancelled(void *unused)
{
    (void)unused;
    int fds[2];
    char buffer[8];
    make_pair(fds);
    async_task *task = async_spawn(receive, .fd = fds[0], .buffer = buffer, .size = sizeof buffer);
    settle();
    async_cancel(task, NULL);
    async_uncancel(task);
    assert_int_equal(async_await(task), -ECANCELED);
    async_close(fds[0]);
    async_close(fds[1]);
    return 0;
}
TEST(cancelled_and_uncancelled)

struct send_much {
    int fd;
    char *data;
    size_t size, sent;
};
static int send_much(struct send_much *self)
{
    struct send_much *shared = *(struct send_much **)self->data;
    return async_sendall(self->fd, shared->data, shared->size, &shared->sent);
}

static int cancelled_sendall(void *unused)
{
    (void)unused;
    int fds[2];
    make_pair(fds);
    small_buffers(fds[0]);
    struct send_much shared = {.size = 1 << 20, .sent = 77}, *pointer = &shared;
    shared.data = malloc(shared.size);
    fill((unsigned char *)shared.data, shared.size, 0);
    async_task *task = async_spawn(send_much, .fd = fds[0], .data = (char *)&pointer);
    settle();
    size_t got = drain_fd(fds[1]);
    settle();
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    got += drain_fd(fds[1]);
    assert_int_equal(got, shared.sent);
    assert_true(got > 0 && got < shared.size);

    /* And to the end, with the other side reading slowly. */
    task = async_spawn(send_much, .fd = fds[0], .data = (char *)&pointer);
    unsigned char piece[10000];
    for (got = 0; got < shared.size;) {
        ssize_t n = async_recv(fds[1], piece, sizeof piece, 0);
        assert_true(n > 0);
        assert_true(is_pattern(piece, (size_t)n, got));
        got += (size_t)n;
    }
    assert_int_equal(async_await(task), 0);
    assert_int_equal(shared.sent, shared.size);
    free(shared.data);
    async_close(fds[0]);
    async_close(fds[1]);
    return 0;
}
TEST(cancelled_sendall)

/* ---- pipes, blocking descriptors ---- */

static int no_sigpipe(void *unused)
{
    (void)unused;
    int fds[2], pipes[2];
    make_pair(fds);
    close(fds[1]);
    assert_int_equal(async_send(fds[0], "x", 1, 0), -EPIPE);
    assert_int_equal(async_sendall(fds[0], "x", 1, NULL), -EPIPE);
    assert_int_equal(async_write(fds[0], "x", 1), -EPIPE);
    async_close(fds[0]);
    for (int flags = 0; flags <= O_NONBLOCK; flags += O_NONBLOCK) {
        assert_int_equal(pipe2(pipes, flags), 0);
        close(pipes[0]);
        assert_int_equal(async_write(pipes[1], "x", 1), -EPIPE);
        assert_int_equal(async_write(pipes[1], "x", 1), -EPIPE);
        async_close(pipes[1]);
    }
    int event = eventfd(0, EFD_NONBLOCK);
    uint64_t one = 1, back = 0;
    assert_int_equal(async_write(event, &one, sizeof one), 8);
    assert_int_equal(async_read(event, &back, sizeof back), 8);
    assert_int_equal(back, 1);
    async_close(event);
    return 0;
}

static void test_no_sigpipe(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_DFL);
    assert_int_equal(run(no_sigpipe, NULL), 0);
}

struct read_pipe {
    int fd;
    char *buffer;
    size_t size;
};
static int read_pipe(struct read_pipe *self)
{
    return (int)async_read(self->fd, self->buffer, self->size);
}

struct write_pipe {
    int fd;
    const char *data;
    size_t size;
};
static int write_pipe(struct write_pipe *self)
{
    for (size_t sent = 0; sent < self->size;) {
        ssize_t n = async_write(self->fd, self->data + sent, self->size - sent);
        if (n < 0) return (int)n;
        sent += (size_t)n;
    }
    return 0;
}

static int blocking_pipe(void *unused)
{
    (void)unused;
    int pipes[2];
    static unsigned char data[300000], back[300000];
    fill(data, sizeof data, 0);
    assert_int_equal(pipe(pipes), 0);
    async_task *reader = async_spawn(read_pipe, .fd = pipes[0], .buffer = (char *)back, .size = 3);
    settle();
    assert_false(async_task_done(reader));
    assert_int_equal(async_write(pipes[1], "abc", 3), 3);
    assert_int_equal(async_await(reader), 3);

    async_task *writer =
        async_spawn(write_pipe, .fd = pipes[1], .data = (char *)data, .size = sizeof data);
    settle();
    assert_false(async_task_done(writer));
    size_t got = 0;
    while (got < sizeof back) {
        ssize_t n = async_read(pipes[0], back + got, sizeof back - got);
        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_int_equal(async_await(writer), 0);
    assert_true(is_pattern(back, sizeof back, 0));
    assert_false(fcntl(pipes[0], F_GETFL) & O_NONBLOCK);
    async_close(pipes[0]);
    async_close(pipes[1]);
    return 0;
}
TEST(blocking_pipe)

static int blocking_sockets(void *unused)
{
    (void)unused;
    int fds[2];
    char buffer[4] = "";
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    async_task *task = async_spawn(receive, .fd = fds[0], .buffer = buffer, .size = sizeof buffer);
    settle();
    assert_false(async_task_done(task));
    static char much[1 << 20];
    assert_true(async_send(fds[0], much, sizeof much, 0) > 0);
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    async_close(fds[0]);
    async_close(fds[1]);

    struct sockaddr_in address;
    int listener = listen_here(4, &address), client = socket(AF_INET, SOCK_STREAM, 0), server;
    fcntl(listener, F_SETFL, 0);
    int code = 0;
    async_timeout (1)
        code = async_accept(listener, NULL, NULL);
    assert_int_equal(code, -ETIMEDOUT);
    assert_int_equal(async_connect(client, (struct sockaddr *)&address, sizeof address), 0);
    server = async_accept(listener, NULL, NULL);
    assert_true(server >= 0);
    assert_true(fcntl(server, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(server, F_GETFD) & FD_CLOEXEC);
    assert_false(fcntl(listener, F_GETFL) & O_NONBLOCK);
    assert_false(fcntl(client, F_GETFL) & O_NONBLOCK);
    async_close(server);
    async_close(client);
    async_close(listener);
    return 0;
}
TEST(blocking_sockets)

static int regular_file(void *unused)
{
    (void)unused;
    static char data[100000], back[100000];
    FILE *file = tmpfile();
    int fd = fileno(file);
    assert_int_equal(async_write(fd, data, sizeof data), sizeof data);
    lseek(fd, 0, SEEK_SET);
    assert_int_equal(async_read(fd, back, sizeof back), sizeof back);
    assert_int_equal(async_wait_readable(fd), 0);
    assert_int_equal(async_wait_writable(fd), 0);
    async_forget_fd(async_get_running_loop(), fd);
    fclose(file);
    return 0;
}
TEST(regular_file)

/* ---- readiness, datagrams ---- */

static int readiness(void *unused)
{
    (void)unused;
    int fds[2], code = 0;
    make_pair(fds);
    assert_int_equal(async_wait_writable(fds[0]), 0);
    async_timeout (1)
        code = async_wait_readable(fds[0]);
    assert_int_equal(code, -ETIMEDOUT);
    put_text(fds[1], "x");
    assert_int_equal(async_wait_readable(fds[0]), 0);
    assert_int_equal(async_wait_readable(fds[0]), 0);
    drain_fd(fds[0]);
    while (send(fds[0], "0123456789", 10, MSG_DONTWAIT) > 0)
        ;
    async_timeout (1)
        code = async_wait_writable(fds[0]);
    assert_int_equal(code, -ETIMEDOUT);
    async_close(fds[1]);
    assert_int_equal(async_wait_readable(fds[0]), 0);
    assert_int_equal(async_wait_writable(fds[0]), 0);
    async_close(fds[0]);
    return 0;
}
TEST(readiness)

static int datagrams(void *unused)
{
    (void)unused;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in from = {0};
    socklen_t length = sizeof address;
    char buffer[16] = "";
    int a = async_socket(AF_INET, SOCK_DGRAM, 0), b = async_socket(AF_INET, SOCK_DGRAM, 0);
    assert_true(a >= 0 && b >= 0);
    assert_true(fcntl(a, F_GETFL) & O_NONBLOCK);
    bind(a, (struct sockaddr *)&address, sizeof address);
    getsockname(a, (struct sockaddr *)&address, &length);
    assert_int_equal(async_sendto(b, "hello", 5, 0, (struct sockaddr *)&address, length), 5);
    length = sizeof from;
    assert_int_equal(async_recvfrom(a, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &length),
                     5);
    assert_int_equal(length, sizeof from);
    assert_int_equal(async_sendto(a, "", 0, 0, (struct sockaddr *)&from, length), 0);
    assert_int_equal(async_recv(b, buffer, 0, 0), 0);
    int code = 0;
    async_timeout (1)
        code = (int)async_recv(b, buffer, 0, 0);
    assert_int_equal(code, -ETIMEDOUT);
    async_close(a);
    async_close(b);
    return 0;
}
TEST(datagrams)

/* ---- accept and connect ---- */

struct accept_one {
    int fd;
};
static int accept_one(struct accept_one *self)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    return async_accept(self->fd, (struct sockaddr *)&address, &length);
}

static int accept_and_connect(void *unused)
{
    (void)unused;
    struct sockaddr_in address;
    int listener = listen_here(4, &address);
    async_task *task = async_spawn(accept_one, .fd = listener);
    settle();
    int client = async_socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(async_connect(client, (struct sockaddr *)&address, sizeof address), 0);
    int server = async_await(task);
    assert_true(server >= 0);
    async_close(client);
    async_close(server);

    /* Cancelled, and no connection lost. */
    task = async_spawn(accept_one, .fd = listener);
    settle();
    async_cancel(task, NULL);
    client = async_socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(async_connect(client, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(async_await(task), -ECANCELED);
    server = async_accept(listener, NULL, NULL);
    assert_true(server >= 0);
    async_close(client);
    async_close(server);
    async_close(listener);

    client = async_socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(async_connect(client, (struct sockaddr *)&address, sizeof address),
                     -ECONNREFUSED);
    char text[64];
    snprintf(text, sizeof text, "connect to 127.0.0.1:%d: Connection refused",
             ntohs(address.sin_port));
    assert_string_equal(async_error_message(), text);
    async_close(client);
    return 0;
}
TEST(accept_and_connect)

/* A listener whose queue is full does not answer. */
static int connect_without_answer(void *unused)
{
    (void)unused;
    struct sockaddr_in address;
    int listener = listen_here(0, &address), code = 0, fds[4];
    for (int i = 0; i < 4; i++) {
        fds[i] = async_socket(AF_INET, SOCK_STREAM, 0);
        connect(fds[i], (struct sockaddr *)&address, sizeof address);
    }
    int fd = async_socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(async__connected(fd), -ENOTCONN);
    async_timeout (5)
        code = async_connect(fd, (struct sockaddr *)&address, sizeof address);
    assert_int_equal(code, -ETIMEDOUT);
    assert_int_equal(tenths(), 50);
    /* A socket that is woken for another reason than the end of its connect is asked so. */
    assert_int_equal(async__connected(fd), -EAGAIN);
    assert_int_equal(async__connected(fds[0]), 0);
    assert_int_equal(async__connected(-1), -EBADF);
    async_close(fd);
    for (int i = 0; i < 4; i++)
        async_close(fds[i]);
    async_close(listener);
    return 0;
}
TEST(connect_without_answer)

struct accept_later {
    int fd;
};
static int accept_later(struct accept_later *self)
{
    async_sleep(3);
    close(async_accept(self->fd, NULL, NULL));
    close(async_accept(self->fd, NULL, NULL));
    return 0;
}

static int unix_queue_full(void *unused)
{
    (void)unused;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "casyncio-test-%d", getpid());
    socklen_t length =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(address.sun_path + 1));
    int listener = async_socket(AF_UNIX, SOCK_STREAM, 0), fds[2];
    assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listener, 0), 0);
    fds[0] = async_socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(async_connect(fds[0], (struct sockaddr *)&address, length), 0);
    fds[1] = async_socket(AF_UNIX, SOCK_STREAM, 0);
    async_task *task = async_spawn(accept_later, .fd = listener);
    assert_int_equal(async_connect(fds[1], (struct sockaddr *)&address, length), 0);
    assert_int_equal(tenths(), 30);
    assert_int_equal(async_await(task), 0);
    async_close(fds[0]);
    async_close(fds[1]);
    async_close(listener);
    return 0;
}
TEST(unix_queue_full)

static void test_outside(void **state)
{
    (void)state;
    char byte;
    int fds[2];
    make_pair(fds);
    assert_int_equal(async_recv(fds[0], &byte, 1, 0), -EPERM);
    assert_int_equal(async_close(fds[0]), 0);
    assert_int_equal(async_close(fds[1]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recv_waits),
        cmocka_unit_test(test_drained),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_bad_descriptors),
        cmocka_unit_test(test_not_a_socket),
        cmocka_unit_test(test_second_waiter),
        cmocka_unit_test(test_closed_under_waiter),
        cmocka_unit_test(test_closed_between_event_and_call),
        cmocka_unit_test(test_cancelled_recv),
        cmocka_unit_test(test_cancelled_and_uncancelled),
        cmocka_unit_test(test_cancelled_sendall),
        cmocka_unit_test(test_no_sigpipe),
        cmocka_unit_test(test_blocking_pipe),
        cmocka_unit_test(test_blocking_sockets),
        cmocka_unit_test(test_regular_file),
        cmocka_unit_test(test_readiness),
        cmocka_unit_test(test_datagrams),
        cmocka_unit_test(test_accept_and_connect),
        cmocka_unit_test(test_connect_without_answer),
        cmocka_unit_test(test_unix_queue_full),
        cmocka_unit_test(test_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
