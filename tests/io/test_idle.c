/* The loop sleeps while a descriptor is in a condition that lasts and that gives its waiters nothing:
 * an error queue that is not empty, a hang-up, a socket that is readable and yet says EAGAIN. What
 * does come, data or another error, is heard all the same.
 *
 * In virtual time the clock jumps only when nothing is ready: a loop that does not sleep never comes
 * to the end of async_sleep. How often it has looked is counted, so that it ends here and not by the
 * test's time-out. */
#include <loop/loop_internal.h>

#include "io_test.h"

#include <linux/errqueue.h>
#include <sys/ioctl.h>

#ifndef SO_TIMESTAMPING
#define SO_TIMESTAMPING 37
#endif

enum { MANY = 60, TX_SOFTWARE = 2, SOFTWARE = 16 };

static async__poller counting;
static const async__poller *counted;
static int looks, most_looks;

static int counted_wait(async_loop *loop, int64_t timeout)
{
    assert_true(++looks < most_looks);
    return counted->wait(loop, timeout);
}

static void count_looks(void)
{
    looks = 0;
    most_looks = MANY;
    counted = async_get_running_loop()->poller;
    counting = *counted;
    counting.wait = counted_wait;
    async_get_running_loop()->poller = &counting;
}

/* Nothing happens for an hour, in a few looks. */
static void be_idle(void)
{
    looks = 0;
    assert_int_equal(async_sleep(3600), 0);
    looks = 0;
}

/* ---- sockets with something in their error queue ---- */

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int udp_socket(struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *address = loopback(0);
    assert_int_equal(bind(fd, (struct sockaddr *)address, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, &length), 0);
    return fd;
}

/* A datagram to a port where nothing listens: the refusal goes to the error queue, and is the error
 * of the next call as well. */
static void provoke_refusal(int fd)
{
    struct sockaddr_in nowhere;
    int probe = udp_socket(&nowhere);
    close(probe);
    sendto(fd, "x", 1, 0, (struct sockaddr *)&nowhere, sizeof nowhere);
}

static int refused_socket(struct sockaddr_in *address)
{
    int fd = udp_socket(address);
    setsockopt(fd, IPPROTO_IP, IP_RECVERR, &(int){1}, sizeof(int));
    provoke_refusal(fd);
    return fd;
}

/* What is sent leaves a time stamp in the error queue, and no error. */
static int stamped_socket(struct sockaddr_in *address)
{
    int fd = udp_socket(address), flags = TX_SOFTWARE | SOFTWARE;
    struct sockaddr_in sink_address;
    int sink = udp_socket(&sink_address);
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags);
    assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&sink_address, sizeof sink_address),
                     1);
    close(sink);
    return fd;
}

static void send_to(const struct sockaddr_in *address)
{
    struct sockaddr_in own;
    int fd = udp_socket(&own);
    assert_int_equal(sendto(fd, "data", 4, 0, (const struct sockaddr *)address, sizeof *address),
                     4);
    close(fd);
}

struct receiver {
    int fd, count, errors;
    bool by_readiness;
};

static int receive(void *argument)
{
    struct receiver *self = argument;
    char buffer[64];
    for (;;) {
        ssize_t n = self->by_readiness ? async_wait_readable(self->fd) : 0;
        if (n == 0 && self->by_readiness) {
            n = recv(self->fd, buffer, sizeof buffer, 0);
            if (n < 0) n = -errno;
            if (n == -EAGAIN) continue;
        } else if (n == 0) {
            n = async_recv(self->fd, buffer, sizeof buffer, 0);
        }
        if (n == -ECANCELED) return 0;
        self->count += n > 0;
        self->errors += n < 0;
    }
}

static int error_queues(void *unused)
{
    (void)unused;
    count_looks();
    for (int i = 0; i < 4; i++) {
        struct sockaddr_in address;
        bool refused = i % 2;
        int fd = refused ? refused_socket(&address) : stamped_socket(&address);
        struct receiver receiver = {.fd = fd, .by_readiness = i >= 2};
        async_task *task = async_create_task(receive, &receiver);
        be_idle();
        assert_int_equal(receiver.errors, refused);
        for (int j = 1; j <= 3; j++) {
            send_to(&address);
            be_idle();
            assert_int_equal(receiver.count, j);
            if (!refused) continue;
            provoke_refusal(fd);
            be_idle();
            assert_int_equal(receiver.errors, 1 + j);
        }
        async_cancel(task, NULL);
        assert_int_equal(async_await(task), 0);
        async_close(fd);
    }
    return 0;
}
TEST(error_queues)

/* The same for an endpoint that reads its error queue: it is told of each refusal, also if a send has
 * taken the socket's error, and then there is nothing to wake for; nor is there before, while nothing
 * receives. */
static int endpoint_queue(void *unused)
{
    (void)unused;
    async_datagram_endpoint *endpoint = async_create_datagram_endpoint(
        &(async_datagram_options){.local_addr = {"127.0.0.1", 0}, .report_errors = true});
    struct sockaddr_in address;
    async_address own;
    count_looks();
    assert_int_equal(async_datagram_sockname(endpoint, &own), 0);
    int fd = async_datagram_fd(endpoint), errors = 0, count = 0;
    memcpy(&address, &own.storage, sizeof address);
    be_idle();
    provoke_refusal(fd);
    provoke_refusal(fd); /* not sent: this call gets the error */
    provoke_refusal(fd);
    be_idle();
    async_for (async_datagram *, datagram, async_datagrams(endpoint)) {
        looks = 0;
        if (datagram->error < 0 && ++errors == 2) send_to(&address);
        if (datagram->error == 0 && ++count == 3) break;
        if (datagram->error == 0) send_to(&address);
    }
    assert_int_equal(async_block_error(), 0);
    assert_int_equal(errors, 2);
    be_idle();
    provoke_refusal(fd);
    async_timeout (3600) /* a receiver that waits for an hour beside what it has read */
        async_for (async_datagram *, datagram, async_datagrams(endpoint)) {
            assert_int_equal(datagram->error, -ECONNREFUSED);
            looks = 0;
        }
    assert_int_equal(async_block_error(), -ETIMEDOUT);
    async_datagram_close(endpoint);
    return 0;
}
TEST(endpoint_queue)

/* Once the queue has been emptied all is as before. */
static int emptied_queue(void *unused)
{
    (void)unused;
    char buffer[512], control[512];
    struct sockaddr_in address;
    count_looks();
    int fd = stamped_socket(&address);
    struct receiver receiver = {.fd = fd};
    async_task *task = async_create_task(receive, &receiver);
    be_idle();
    struct iovec piece = {buffer, sizeof buffer};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    assert_true(recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0);
    for (int i = 1; i <= 3; i++) {
        send_to(&address);
        be_idle();
        assert_int_equal(receiver.count, i);
    }
    assert_int_equal(async_get_running_loop()->fds[fd].interest, 1);
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), 0);
    async_close(fd);
    return 0;
}
TEST(emptied_queue)

/* A task may wait for the error queue itself, while there is data that it does not want. */
static int waits_for_the_queue(void *fd)
{
    char buffer[512];
    return (int)async_recv(*(int *)fd, buffer, sizeof buffer, MSG_ERRQUEUE);
}

static int queue_wanted(void *unused)
{
    (void)unused;
    struct sockaddr_in address;
    int fd = udp_socket(&address), flags = TX_SOFTWARE | SOFTWARE;
    count_looks();
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags);
    send_to(&address);
    async_task *task = async_create_task(waits_for_the_queue, &fd);
    be_idle();
    assert_false(async_task_done(task));
    assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&address, sizeof address), 1);
    assert_true(async_await(task) >= 0);
    async_close(fd);
    return 0;
}
TEST(queue_wanted)

/* TCP, by a stream: reading, and writing what has to wait for room. */
static int stamped_stream(void *unused)
{
    (void)unused;
    int fds[2], flags = TX_SOFTWARE | SOFTWARE;
    static char much[200000], buffer[200000];
    count_looks();
    /* io_uring tries a read of such a stream 128 times, and then waits in a thread of the kernel's. */
    if (strcmp(counted->name, "io_uring") == 0) most_looks += 200;
    make_tcp_pair(fds);
    small_buffers(fds[0]);
    small_buffers(fds[1]);
    setsockopt(fds[0], SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags);
    async_stream *stream = async_stream_from_fd(fds[0]);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(async_stream_write(stream, "ping", 4), 0);
        int code = 0;
        async_timeout (3600)
            code = (int)async_stream_read(stream, buffer, sizeof buffer);
        assert_int_equal(code, -ETIMEDOUT);
        looks = 0;
        put_text(fds[1], "pong");
        assert_int_equal(async_stream_read(stream, buffer, sizeof buffer), 4);
    }
    int code = 0;
    async_timeout (3600)
        code = async_stream_write(stream, much, sizeof much);
    assert_int_equal(code, -ETIMEDOUT);
    looks = 0;
    be_idle();
    async_stream_abort(stream);
    async_close(fds[1]);
    return 0;
}
TEST(stamped_stream)

/* ---- watches of the user's ---- */

struct watcher {
    async_watch watch;
    int count, data, errors;
    bool looks_only; /* reads nothing */
};

static void on_event(async_callback *callback)
{
    struct watcher *self = async__container(callback, struct watcher, watch.callback);
    char buffer[1]; /* a byte of a stream at a time: it relies on being called again */
    self->count++;
    if (self->looks_only) return;
    ssize_t n = read(self->watch.fd, buffer, sizeof buffer);
    self->data += n > 0;
    self->errors += n < 0 && errno != EAGAIN;
}

static int watches(void *unused)
{
    (void)unused;
    async_loop *loop = async_get_running_loop();
    struct sockaddr_in address;
    count_looks();
    for (int i = 0; i < 8; i++) {
        bool refused = i % 2, foreign = i / 2 % 2, writer = i >= 4;
        int fd = refused ? refused_socket(&address) : stamped_socket(&address);
        struct watcher watcher = {.watch = {.callback = {.run = on_event}, .foreign = foreign}};
        struct watcher other = {.watch = {.callback = {.run = on_event}, .once = true},
                                .looks_only = true};
        assert_int_equal(async_add_reader(loop, fd, &watcher.watch), 0);
        if (writer) assert_int_equal(async_add_writer(loop, fd, &other.watch), 0);
        be_idle();
        assert_int_equal(watcher.errors, refused);
        assert_int_equal(other.count, writer);
        for (int j = 1; j <= 3; j++) {
            send_to(&address);
            send_to(&address);
            be_idle();
            assert_int_equal(watcher.data, 2 * j); /* level-triggered: one a call */
            if (!refused) continue;
            provoke_refusal(fd);
            be_idle();
            assert_int_equal(watcher.errors, 1 + j);
        }
        assert_true(watcher.count < 40);
        async_remove_watch(loop, &watcher.watch);
        async_close(fd);
    }
    return 0;
}
TEST(watches)

/* Conditions that are there to stay, and watches whose callbacks do nothing about them. */
static int hang_ups(void *unused)
{
    (void)unused;
    async_loop *loop = async_get_running_loop();
    int fds[4][2];
    count_looks();
    fds[0][0] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0); /* never connected */
    assert_int_equal(pipe2(fds[1], O_NONBLOCK), 0);
    close(fds[1][1]); /* nobody can write */
    assert_int_equal(pipe2(fds[2], O_NONBLOCK), 0);
    static const char page[4096];
    while (write(fds[2][1], page, sizeof page) > 0)
        ;
    close(fds[2][0]); /* full, and nobody can read */
    fds[2][0] = fds[2][1];
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds[3]), 0);
    shutdown(fds[3][0], SHUT_WR); /* half of it */

    for (int i = 0; i < 4; i++) {
        int fd = fds[i][0];
        struct watcher watcher = {.watch = {.callback = {.run = on_event}}, .looks_only = true};
        for (int j = 0; j < 2;
             j++) { /* each that is added is told, if there is something to tell */
            assert_int_equal(async_add_reader(loop, fd, &watcher.watch), 0);
            be_idle();
            assert_int_equal(watcher.count > 0, i < 3);
            assert_true(watcher.count <= 3);
            watcher.count = 0;
            async_remove_watch(loop, &watcher.watch);
        }
        if (i < 3)
            for (int j = 0; j < 3; j++)
                assert_int_equal(async_wait_readable(fd), 0);
        if (i == 2)
            for (int j = 0; j < 3; j++)
                assert_int_equal(async_wait_writable(fd), 0);
        async_close(fd);
    }
    close(fds[3][1]);
    return 0;
}
TEST(hang_ups)

/* poll says readable, and recv EAGAIN. */
static int shut_for_reading(void *unused)
{
    (void)unused;
    struct sockaddr_in address;
    count_looks();
    int fd = udp_socket(&address);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    shutdown(fd, SHUT_RD);
    struct receiver receiver = {.fd = fd};
    async_task *task = async_create_task(receive, &receiver);
    async_sleep(3600);
    assert_int_equal(async_wait_writable(fd), 0); /* the other direction is not concerned */
    assert_int_equal(async_send(fd, "x", 1, 0), 1);
    async_cancel(task, NULL);
    async_await(task);
    async_close(fd);
    return 0;
}

/* ---- a receiver that does not keep up, over a Unix socket: nothing tells when it has room ---- */

static int send_until_full(int fd, const struct sockaddr_un *to, socklen_t length)
{
    int count = 0;
    while (sendto(fd, "x", 1, MSG_DONTWAIT, (const struct sockaddr *)to, length) == 1)
        count++;
    return count;
}

struct drain_later {
    int fd;
    int count;
};
static int drain_later(struct drain_later *self)
{
    async_sleep(10);
    self->count = (int)drain_fd(self->fd);
    return self->count;
}

static int unix_datagrams(void *unused)
{
    (void)unused;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int receiver = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    int sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    int name = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "casyncio-idle-%d",
                        (int)getpid());
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)name);
    assert_int_equal(bind(receiver, (struct sockaddr *)&address, length), 0);
    int sent = send_until_full(sender, &address, length), code = 0;
    assert_true(sent > 0);

    count_looks();
    async_timeout (1)
        code = (int)async_sendto(sender, "y", 1, 0, (struct sockaddr *)&address, length);
    assert_int_equal(code, -ETIMEDOUT);
    looks = -1000; /* it asks again every 50 ms at the most */
    async_task *task = async_spawn(drain_later, .fd = receiver);
    assert_int_equal(async_sendto(sender, "y", 1, 0, (struct sockaddr *)&address, length), 1);
    assert_true(tenths() >= 110 && tenths() <= 111);
    assert_int_equal(async_await(task), sent);
    async_close(receiver);
    assert_int_equal(async_sendto(sender, "y", 1, 0, (struct sockaddr *)&address, length),
                     -ECONNREFUSED);
    assert_message("sendto on descriptor ");
    async_close(sender);
    return 0;
}
TEST(unix_datagrams)

static void test_shut_for_reading(void **state)
{
    (void)state;
    assert_int_equal(run(shut_for_reading, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_queues),   cmocka_unit_test(test_endpoint_queue),
        cmocka_unit_test(test_emptied_queue),  cmocka_unit_test(test_queue_wanted),
        cmocka_unit_test(test_stamped_stream), cmocka_unit_test(test_watches),
        cmocka_unit_test(test_hang_ups),       cmocka_unit_test(test_shut_for_reading),
        cmocka_unit_test(test_unix_datagrams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
