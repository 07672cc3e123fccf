/* Watches whose descriptor is ready without having anything: a datagram socket that was shut down for
 * reading. The loop sleeps once it has been told, and misses nothing that comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <casyncio/loop.h>
#include <casyncio/sockets.h>
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 10 }; /* attempts of a loop that sleeps: without end there are thousands */

static async_loop *loop;
static int ends[2]; /* the first is shut down */

struct reader {
    async_watch watch;
    int at_once; /* the most that one callback takes */
    int attempts, taken, written;
};

static void run_reader(async_callback *callback)
{
    struct reader *self = (struct reader *)callback;
    char byte;
    int n = 0;

    self->attempts++;
    while (n < self->at_once && recv(ends[0], &byte, 1, MSG_DONTWAIT) == 1)
        n++;
    self->taken += n;
    if (n == 0)
        async_watch_not_ready(loop, &self->watch);
    else if (self->watch.edge)
        async_call_soon(loop, callback);
}

static void run_writer(async_callback *callback) { ((struct reader *)callback)->written++; }

static void run_stop(async_callback *callback)
{
    (void)callback;
    async_loop_stop(loop);
}

static void run_for_a_while(void)
{
    async_timer end = {.callback = {.run = run_stop}};

    assert_int_equal(async_call_later(loop, &end, 0.02), 0);
    assert_int_equal(async_loop_run(loop), 0);
}

static int udp_pair(void)
{
    struct sockaddr_in address[2];

    for (int i = 0; i < 2; i++) {
        socklen_t length = sizeof address[i];
        address[i] =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        ends[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (bind(ends[i], (struct sockaddr *)&address[i], length) < 0 ||
            getsockname(ends[i], (struct sockaddr *)&address[i], &length) < 0)
            return -1;
    }
    for (int i = 0; i < 2; i++)
        if (connect(ends[i], (struct sockaddr *)&address[1 - i], sizeof address[0]) < 0) return -1;
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    char byte;
    loop = async_loop_new(NULL);
    if (!loop || udp_pair() < 0) return -1;
    struct pollfd ask = {.fd = ends[0], .events = POLLIN};
    shutdown(ends[0], SHUT_RD);
    assert_int_equal(poll(&ask, 1, 0), 1);
    assert_int_equal(recv(ends[0], &byte, 1, MSG_DONTWAIT), -1);
    return errno == EAGAIN ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    async_forget_fd(loop, ends[0]);
    for (int i = 0; i < 2; i++)
        close(ends[i]);
    return async_loop_close(loop);
}

static void send_some(int count)
{
    for (int i = 0; i < count; i++)
        assert_int_equal(send(ends[1], "x", 1, 0), 1);
}

/* Foreign and not, alone and beside a writer. */
static void test_sleeps(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct reader reader = {.watch = {.callback = {.run = run_reader}, .foreign = i % 2},
                                .at_once = 3};
        struct reader writer = {.watch = {.callback = {.run = run_writer}, .once = true}};
        assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
        int sent = 0;
        for (int j = 0; j < 3; j++) {
            run_for_a_while();
            assert_in_range(reader.attempts, 1, MOST);
            if (i >= 2) {
                writer.written = 0;
                assert_int_equal(async_add_writer(loop, ends[0], &writer.watch), 0);
                run_for_a_while();
                assert_int_equal(writer.written, 1);
            }
            reader.attempts = 0;
            send_some(10);
            sent += 10;
            run_for_a_while();
            assert_int_equal(reader.taken, sent);
        }
        async_remove_watch(loop, &reader.watch);
        async_forget_fd(loop, ends[0]);
    }
}

/* A watch that is added anew begins anew: its callback runs for as long as there is data. */
static void test_ends_with_the_watch(void **state)
{
    (void)state;
    struct reader reader = {.watch = {.callback = {.run = run_reader}}, .at_once = 1};
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    run_for_a_while();
    assert_true(reader.watch.edge);
    send_some(3);
    async_remove_watch(loop, &reader.watch);
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    assert_false(reader.watch.edge);
    run_for_a_while();
    assert_int_equal(reader.taken, 3);
    async_remove_watch(loop, &reader.watch);
    reader.watch.edge = false;
    async_watch_not_ready(loop, &reader.watch); /* it is not there any more */
    assert_false(reader.watch.edge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sleeps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ends_with_the_watch, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
