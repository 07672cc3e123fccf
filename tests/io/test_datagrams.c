/* datagrams.h: endpoints of every family, one datagram at a time, the iteration; what a cancellation
 * and a close leave behind. */
#include "datagram_test.h"

/* ---- there and back ---- */

static int exchange(void *unused)
{
    (void)unused;
    async_datagram_endpoint *server = bound(), *client = connected(async_datagram_port(server));
    async_address from, own = address_of(client), peer;
    char text[64], expected[64];

    send_text(client, "ping", NULL);
    assert_string_equal(received(server, &from), "ping");
    assert_true(async_address_equal(&from, &own));
    async_address_text(&from, text, sizeof text);
    snprintf(expected, sizeof expected, "127.0.0.1:%d", async_datagram_port(client));
    assert_string_equal(text, expected);

    send_text(server, "pong", &from);
    assert_string_equal(received(client, NULL), "pong");
    assert_int_equal(async_datagram_peername(client, &peer), 0);
    own = address_of(server);
    assert_true(async_address_equal(&peer, &own));
    send_text(client, "to the peer by name", &peer);
    assert_string_equal(received(server, NULL), "to the peer by name");

    send_text(client, "", NULL); /* a datagram of 0 bytes is one */
    assert_int_equal(async_datagram_recvfrom(server, text, sizeof text, &from), 0);
    assert_int_equal(from.length, sizeof(struct sockaddr_in));
    send_text(client, "nothing of it", NULL);
    assert_int_equal(async_datagram_recvfrom(server, NULL, 0, &from), -EMSGSIZE);
    assert_int_equal(async_datagram_close(client), 0);
    assert_int_equal(async_datagram_close(server), 0);
    assert_int_equal(async_datagram_close(NULL), 0);
    return 0;
}
TEST(exchange)

/* A connected endpoint hears its peer alone. */
static int stranger(void *unused)
{
    (void)unused;
    async_datagram_endpoint *server = bound(), *client = connected(async_datagram_port(server)),
                            *other = bound();
    async_address to = address_of(client);
    send_text(other, "from a stranger", &to);
    send_text(server, "from the peer", &to);
    assert_string_equal(received(client, NULL), "from the peer");
    async_datagram_close(other);
    async_datagram_close(client);
    async_datagram_close(server);
    return 0;
}
TEST(stranger)

static int ipv6(void *unused)
{
    (void)unused;
    async_address from, to;
    char text[64], expected[64];
    async_datagram_endpoint *server =
        async_create_datagram_endpoint(&(async_datagram_options){.local_addr = {"::1", 0}});
    async_datagram_endpoint *both = async_create_datagram_endpoint(
        &(async_datagram_options){.local_addr = {"", 0}, .family = AF_INET6});
    async_datagram_endpoint *ipv4 = bound();
    assert_non_null(server);
    assert_non_null(both);

    assert_int_equal(async_datagram_lookup(both, "::1", async_datagram_port(server), &to), 0);
    send_text(both, "six", &to);
    assert_string_equal(received(server, &from), "six");
    snprintf(expected, sizeof expected, "[::1]:%d", async_datagram_port(both));
    async_address_text(&from, text, sizeof text);
    assert_string_equal(text, expected);

    /* IPv4, as an IPv6 socket has it */
    assert_int_equal(async_datagram_lookup(both, "127.0.0.1", async_datagram_port(ipv4), &to), 0);
    send_text(both, "four", &to);
    assert_string_equal(received(ipv4, &from), "four");
    send_text(ipv4, "back", &from);
    assert_string_equal(received(both, &from), "back");
    assert_true(async_address_equal(&from, &to));

    async_datagram_endpoint *only = async_create_datagram_endpoint(
        &(async_datagram_options){.local_addr = {"", 0}, .family = AF_INET6, .ipv6_only = true});
    assert_non_null(only);
    int code = async_datagram_lookup(only, "127.0.0.1", 9, &to);
    assert_true(code == -EAFNOSUPPORT || code == ASYNC_ENONAME); /* glibc's answer, musl's */
    assert_int_equal(to.length, 0);
    /* One port for both families, since the IPv6 socket leaves IPv4's alone. */
    async_datagram_endpoint *beside = async_create_datagram_endpoint(
        &(async_datagram_options){.local_addr = {"0.0.0.0", async_datagram_port(only)}});
    assert_non_null(beside);
    async_datagram_close(beside);
    async_datagram_close(only);
    async_datagram_close(both);
    async_datagram_close(ipv4);
    async_datagram_close(server);
    return 0;
}

static void test_ipv6(void **state)
{
    (void)state;
    if (!have_ipv6()) skip();
    assert_int_equal(run(ipv6, NULL), 0);
}

/* ---- Unix sockets ---- */

static char path[64];

static async_datagram_endpoint *unix_at(const char *local, const char *remote)
{
    return async_create_datagram_endpoint(&(async_datagram_options){
        .family = AF_UNIX, .local_addr = {local, 0}, .remote_addr = {remote, 0}});
}

static int unix_exchange(void *unused)
{
    (void)unused;
    const char *names[] = {path, "@casyncio-datagrams-test"};
    for (size_t i = 0; i < COUNT(names); i++) {
        async_address from;
        char text[128];
        async_datagram_endpoint *server = unix_at(names[i], NULL);
        assert_non_null(server);
        assert_null(unix_at(names[i], NULL)); /* somebody is there */
        assert_int_equal(async_error_code(), -EADDRINUSE);
        assert_message(names[i]);
        async_datagram_endpoint *client = unix_at(NULL, names[i]);
        assert_non_null(client);
        send_text(client, "ping", NULL);
        assert_string_equal(received(server, &from), "ping");
        send_text(server, "pong", &from); /* the client has got a name from the kernel */
        assert_string_equal(received(client, &from), "pong");
        async_address_text(&from, text, sizeof text);
        assert_string_equal(text, names[i]);
        assert_int_equal(async_datagram_port(server), 0);

        async_datagram_endpoint *free_one = unix_at(NULL, NULL);
        async_address to;
        assert_int_equal(async_datagram_lookup(free_one, names[i], 0, &to), 0);
        send_text(free_one, "unconnected", &to);
        assert_string_equal(received(server, &from), "unconnected");
        send_text(server, "answered", &from);
        assert_string_equal(received(free_one, NULL), "answered");
        async_datagram_close(free_one);
        async_datagram_close(client);
        assert_int_equal(async_datagram_close(server), 0);
        assert_int_not_equal(access(path, F_OK), 0); /* its file has gone with it */
    }
    return 0;
}
TEST(unix_exchange)

/* What a dead endpoint has left is replaced, and nothing else is. */
static int unix_files(void *unused)
{
    (void)unused;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    static const int types[] = {SOCK_DGRAM, SOCK_STREAM};
    strcpy(address.sun_path, path);
    for (size_t i = 0; i < COUNT(types); i++) {
        int fd = socket(AF_UNIX, types[i], 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
        if (types[i] == SOCK_STREAM) assert_int_equal(listen(fd, 1), 0);
        assert_null(unix_at(path, NULL));
        assert_int_equal(async_error_code(), -EADDRINUSE);
        close(fd);
        async_datagram_endpoint *endpoint = async_create_datagram_endpoint(
            &(async_datagram_options){.family = AF_UNIX, .local_addr = {path, 0}, .mode = 0600});
        assert_non_null(endpoint);
        struct stat status;
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 0777, 0600);
        /* A server for streams does not take the path from it either. */
        assert_null(async_start_unix_server(path, NULL));
        assert_int_equal(async_error_code(), -EADDRINUSE);
        async_datagram_close(endpoint);
    }
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    assert_null(unix_at(path, NULL));
    assert_int_equal(async_error_code(), -EADDRINUSE);
    unlink(path);
    assert_null(unix_at(NULL, path));
    assert_int_equal(async_error_code(), -ENOENT);
    assert_message(path);
    return 0;
}
TEST(unix_files)

/* A sender without a name cannot be answered. */
static int nameless(void *unused)
{
    (void)unused;
    async_datagram_endpoint *server = unix_at(path, NULL);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    async_address from = {.length = 99};
    char text[8] = "x";
    strcpy(address.sun_path, path);
    assert_int_equal(sendto(fd, "anon", 4, 0, (struct sockaddr *)&address, sizeof address), 4);
    assert_string_equal(received(server, &from), "anon");
    assert_int_equal(from.length, 0);
    async_address_text(&from, text, sizeof text);
    assert_string_equal(text, "");
    assert_int_equal(async_datagram_sendto(server, "x", 1, &from), -EDESTADDRREQ);
    close(fd);
    async_datagram_close(server);
    return 0;
}
TEST(nameless)

/* ---- what is too large ---- */

static int cut_off(void *unused)
{
    (void)unused;
    async_datagram_endpoint *server = bound(), *client = connected(async_datagram_port(server));
    async_address from;
    char small[5] = "....";
    send_text(client, "larger than that", NULL);
    assert_int_equal(async_datagram_recvfrom(server, small, 4, &from), -EMSGSIZE);
    assert_string_equal(small, "larg");
    assert_message("a datagram of 16 bytes from 127.0.0.1:");
    assert_message("there is room for 4");
    assert_int_equal(from.length, sizeof(struct sockaddr_in));
    send_text(client, "four", NULL);
    assert_int_equal(async_datagram_recvfrom(server, small, 4, NULL), 4);

    async_datagram_endpoint *pair[2];
    make_datagram_pair(pair);
    send_text(pair[0], "larger than that", NULL);
    assert_int_equal(async_datagram_recvfrom(pair[1], small, 4, NULL), -EMSGSIZE);
    assert_message("a datagram of 16 bytes was cut off");
    async_datagram_close(pair[0]);
    async_datagram_close(pair[1]);
    async_datagram_close(client);
    async_datagram_close(server);
    return 0;
}
TEST(cut_off)

static int too_large(void *unused)
{
    (void)unused;
    static char data[4 << 20];
    async_datagram_endpoint *server = bound(), *client = connected(async_datagram_port(server));
    setsockopt(async_datagram_fd(server), SOL_SOCKET, SO_RCVBUF, &(int){1 << 20}, sizeof(int));
    assert_int_equal(async_datagram_sendto(client, data, 65508, NULL), -EMSGSIZE);
    assert_string_equal(async_error_message(),
                        "a datagram of 65508 bytes is too large: at most 65507");
    assert_int_equal(async_datagram_sendto(client, data, sizeof data, NULL), -EMSGSIZE);
    assert_message("4194304 bytes");
    size_t huge;
    char *space = much_space(&huge);
    assert_int_equal(async_datagram_sendto(client, space, huge, NULL), -EMSGSIZE);
    munmap(space, huge);
    assert_int_equal(async_datagram_sendto(client, data, 65507, NULL), 0);
    assert_int_equal(async_datagram_recvfrom(server, data, sizeof data, NULL), 65507);

    async_datagram_endpoint *pair[2];
    make_datagram_pair(pair);
    assert_int_equal(async_datagram_sendto(pair[0], data, sizeof data, NULL), -EMSGSIZE);
    assert_message("4194304 bytes is too large: at most ");
    async_datagram_close(pair[0]);
    async_datagram_close(pair[1]);
    async_datagram_close(client);
    async_datagram_close(server);
    return 0;
}
TEST(too_large)

/* ---- waiting ---- */

static int receiving_waits(void *unused)
{
    (void)unused;
    async_datagram_endpoint *server = bound(), *client = connected(async_datagram_port(server));
    char buffer[16] = "";
    async_task *task = async_spawn(receive_call, .endpoint = server, .buffer = buffer, .size = 16);
    settle();
    assert_false(async_task_done(task));
    assert_int_equal(async_datagram_recvfrom(server, buffer, 16, NULL), -EBUSY);
    assert_message("another task is receiving");
    send_text(client, "late", NULL);
    assert_int_equal(async_await(task), 4);
    assert_string_equal(buffer, "late");

    /* Cancelled: what comes later is the next one's. */
    task = async_spawn(receive_call, .endpoint = server, .buffer = buffer, .size = 16);
    settle();
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    send_text(client, "next", NULL);
    assert_string_equal(received(server, NULL), "next");

    /* Cancelled after it has been woken: the datagram is given, or is still there. */
    task = async_spawn(receive_call, .endpoint = server, .buffer = buffer, .size = 16);
    settle();
    send_text(client, "race", NULL);
    async_cancel(task, NULL);
    int n = async_await(task);
    if (n < 0) {
        assert_int_equal(n, -ECANCELED);
        assert_string_equal(received(server, NULL), "race");
    } else {
        assert_int_equal(n, 4);
        assert_memory_equal(buffer, "race", 4);
    }
    async_timeout (0.1)
        assert_int_equal(async_datagram_recvfrom(server, buffer, 16, NULL), -ETIMEDOUT);
    async_datagram_close(client);
    async_datagram_close(server);
    return 0;
}
TEST(receiving_waits)

static int closed_under_receiver(void *unused)
{
    (void)unused;
    async_datagram_endpoint *server = bound();
    char buffer[16];
    async_address from;
    async_task *task =
        async_spawn(receive_call, .endpoint = server, .buffer = buffer, .size = 16, .from = &from);
    settle();
    assert_int_equal(async_datagram_close(server), 0);
    assert_int_equal(async_datagram_close(server), -EBADF); /* the call still has it */
    assert_message("closed already");
    assert_int_equal(async_await(task), -EBADF);
    assert_message("the datagram endpoint has been closed");
    assert_int_equal(from.length, 0);
    return 0;
}
TEST(closed_under_receiver)

struct sender {
    async_datagram_endpoint *endpoint;
    const async_address *to;
    char letter;
    int result;
};

static int sender(void *argument)
{
    struct sender *self = argument;
    char data[1000];
    memset(data, self->letter, sizeof data);
    self->result = async_datagram_sendto(self->endpoint, data, sizeof data, self->to);
    if (self->result == 0) note("%c", self->letter);
    return self->result;
}

/* Sends until there is no room; how many. */
static int fill_up(async_datagram_endpoint *endpoint, const async_address *to)
{
    int fd = async_datagram_fd(endpoint), count = 0;
    char data[1000] = "";
    while (sendto(fd, data, sizeof data, MSG_DONTWAIT, to ? (struct sockaddr *)&to->storage : NULL,
                  to ? to->length : 0) == (ssize_t)sizeof data)
        count++;
    assert_int_equal(errno, EAGAIN);
    return count;
}

static char first_letter(async_datagram_endpoint *endpoint)
{
    char data[1000];
    assert_int_equal(async_datagram_recvfrom(endpoint, data, sizeof data, NULL), 1000);
    return data[0];
}

/* Senders queue up, in order; one that is cancelled has sent nothing. */
static int sending_waits(void *unused)
{
    (void)unused;
    async_datagram_endpoint *pair[2];
    make_datagram_pair(pair);
    int there = fill_up(pair[0], NULL);
    struct sender senders[4];
    async_task *tasks[4];
    for (int i = 0; i < 4; i++) {
        senders[i] = (struct sender){.endpoint = pair[0], .letter = (char)('a' + i)};
        tasks[i] = async_create_task(sender, &senders[i]);
    }
    settle();
    assert_notes("");
    async_cancel(tasks[2], NULL); /* it waits for its turn */
    async_cancel(tasks[0], NULL); /* it has it, and waits for room */
    assert_int_equal(async_await(tasks[2]), -ECANCELED);
    assert_int_equal(async_await(tasks[0]), -ECANCELED);
    settle();
    for (int i = 0; i < there; i++)
        assert_int_equal(first_letter(pair[1]), 0);
    assert_int_equal(first_letter(pair[1]), 'b');
    assert_int_equal(first_letter(pair[1]), 'd');
    assert_int_equal(async_await(tasks[1]), 0);
    assert_int_equal(async_await(tasks[3]), 0);
    assert_notes("b d ");
    send_text(pair[0], "the turn is free", NULL);
    assert_string_equal(received(pair[1], NULL), "the turn is free");
    async_datagram_close(pair[0]);
    async_datagram_close(pair[1]);
    return 0;
}
TEST(sending_waits)

static int closed_under_senders(void *unused)
{
    (void)unused;
    async_datagram_endpoint *pair[2];
    make_datagram_pair(pair);
    fill_up(pair[0], NULL);
    struct sender senders[3];
    async_task *tasks[3];
    for (int i = 0; i < 3; i++) {
        senders[i] = (struct sender){.endpoint = pair[0], .letter = 'x'};
        tasks[i] = async_create_task(sender, &senders[i]);
    }
    settle();
    assert_int_equal(async_datagram_close(pair[0]), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(async_await(tasks[i]), -EBADF);
        assert_message("the datagram endpoint has been closed");
    }
    async_datagram_close(pair[1]);
    return 0;
}
TEST(closed_under_senders)

/* A Unix receiver whose queue is full: no event tells that it has room again. A sender to another one
 * does not wait behind that. */
static int full_receiver(void *unused)
{
    (void)unused;
    async_datagram_endpoint *full = unix_at(path, NULL), *other = unix_at("@casyncio-other", NULL),
                            *from = unix_at(NULL, NULL), *peer = unix_at(NULL, path);
    async_address to = address_of(full), to_other = address_of(other);
    int there = fill_up(from, &to);
    struct sender waiting = {.endpoint = from, .to = &to, .letter = 'u'},
                  waiting_peer = {.endpoint = peer, .letter = 'c'},
                  at_once = {.endpoint = from, .to = &to_other, .letter = 'o'};
    async_task *unconnected = async_create_task(sender, &waiting),
               *connected_one = async_create_task(sender, &waiting_peer);
    async_sleep(1);
    assert_int_equal(async_await(async_create_task(sender, &at_once)), 0);
    assert_notes("o ");
    for (int i = 0; i < there; i++)
        first_letter(full);
    double start = async_now();
    assert_int_equal(async_await(unconnected), 0);
    assert_int_equal(async_await(connected_one), 0);
    assert_true(async_now() - start < 0.1);
    first_letter(full);
    first_letter(full);

    fill_up(from, &to);
    unconnected = async_create_task(sender, &waiting);
    async_sleep(1);
    async_cancel(unconnected, NULL);
    assert_int_equal(async_await(unconnected), -ECANCELED);
    unconnected = async_create_task(sender, &waiting);
    async_sleep(1);
    async_datagram_close(from);
    assert_int_equal(async_await(unconnected), -EBADF);
    assert_message("the datagram endpoint has been closed");
    async_datagram_close(peer);
    async_datagram_close(other);
    async_datagram_close(full);
    return 0;
}
TEST(full_receiver)

/* ---- the iteration ---- */

struct serving {
    async_datagram_endpoint *endpoint;
};

static int serving(struct serving *self)
{
    async_for (async_datagram *, datagram, async_datagrams(self->endpoint)) {
        note("%s", (char *)datagram->data);
        assert_int_equal(datagram->full_size, datagram->size);
        int code =
            async_datagram_sendto(self->endpoint, datagram->data, datagram->size, &datagram->peer);
        assert_int_equal(code, 0);
    }
    return async_block_error();
}

static int iteration(void *unused)
{
    (void)unused;
    async_datagram_endpoint *server = bound(), *client = connected(async_datagram_port(server));
    async_task *task = async_spawn(serving, .endpoint = server);
    for (int i = 0; i < 300; i++) { /* more than a task's budget */
        send_text(client, "a", NULL);
        assert_string_equal(received(client, NULL), "a");
    }
    notes[0] = 0;
    send_text(client, "one", NULL);
    send_text(client, "two", NULL);
    assert_string_equal(received(client, NULL), "one");
    assert_string_equal(received(client, NULL), "two");
    assert_notes("one two ");
    char buffer[4];
    assert_int_equal(async_datagram_recvfrom(server, buffer, 4, NULL), -EBUSY);
    async_datagram_close(server); /* which ends the loop, and well */
    assert_int_equal(async_await(task), 0);
    async_datagram_close(client);
    return 0;
}
TEST(iteration)

static int left_early(void *unused)
{
    (void)unused;
    async_datagram_endpoint *server = bound(), *client = connected(async_datagram_port(server));
    static const char *const texts[] = {"one", "two", "three"};
    for (size_t i = 0; i < COUNT(texts); i++)
        send_text(client, texts[i], NULL);
    async_for (async_datagram *, datagram, async_datagrams(server)) {
        assert_string_equal(datagram->data, "one");
        break;
    }
    assert_string_equal(received(server, NULL), "two"); /* not taken by the loop */
    async_for (async_datagram *, datagram, async_datagrams(server)) {
        assert_string_equal(datagram->data, "three");
        async_datagram_close(server); /* in its own loop */
    }
    assert_int_equal(async_block_error(), 0);

    async_datagram_endpoint *again = bound();
    async_timeout (1)
        async_for (async_datagram *, datagram, async_datagrams(again))
            fail();
    assert_int_equal(async_block_error(), -ETIMEDOUT);
    async_datagram_close(again);
    async_datagram_close(client);
    return 0;
}
TEST(left_early)

/* A Unix datagram may be larger than what the loop has room for. */
static int iteration_cut_off(void *unused)
{
    (void)unused;
    async_datagram_endpoint *pair[2];
    static char data[100 * 1000];
    make_datagram_pair(pair);
    memset(data, 'x', sizeof data);
    assert_int_equal(async_datagram_sendto(pair[0], data, sizeof data, NULL), 0);
    async_for (async_datagram *, datagram, async_datagrams(pair[1])) {
        assert_true(datagram->truncated);
        assert_int_equal(datagram->size, 65536);
        assert_int_equal(datagram->full_size, sizeof data);
        assert_int_equal(strlen(datagram->data), 65536);
        break;
    }
    async_datagram_close(pair[0]);
    async_datagram_close(pair[1]);
    return 0;
}
TEST(iteration_cut_off)

static int nothing_leaks(void *unused)
{
    (void)unused;
    int before = open_fds();
    for (int i = 0; i < 3; i++) {
        async_datagram_endpoint *server = bound(), *client = connected(async_datagram_port(server));
        async_with (async_datagram_endpoint *, third, bound(), async_datagram_close)
            assert_true(async_datagram_fd(third) > 0);
        async_datagram_close(client);
        async_datagram_close(server);
    }
    assert_int_equal(open_fds(), before);
    return async_block_error();
}
TEST(nothing_leaks)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchange),
        cmocka_unit_test(test_stranger),
        cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_unix_exchange),
        cmocka_unit_test(test_unix_files),
        cmocka_unit_test(test_nameless),
        cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_receiving_waits),
        cmocka_unit_test(test_closed_under_receiver),
        cmocka_unit_test(test_sending_waits),
        cmocka_unit_test(test_closed_under_senders),
        cmocka_unit_test(test_full_receiver),
        cmocka_unit_test(test_iteration),
        cmocka_unit_test(test_left_early),
        cmocka_unit_test(test_iteration_cut_off),
        cmocka_unit_test(test_nothing_leaks),
    };
    snprintf(path, sizeof path, "/tmp/casyncio-datagrams-%d", (int)getpid());
    unlink(path);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
