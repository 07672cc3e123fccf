/* The back end io_uring, as far as it is more than what every test sees that runs on it: that it is
 * chosen, refused and left as it should be, and what happens when its queues are too short. Exit status
 * 77 where there is none. */
#include <loop/loop_internal.h>

#include "io_test.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static const async_loop_options ring = {.backend = "io_uring"};

static const char *chosen(const char *name)
{
    async_loop *loop = async_loop_new(&(async_loop_options){.backend = name});
    if (!loop) return strerror(errno);
    const char *found = async_loop_backend(loop);
    async_loop_close(loop);
    return found;
}

static void test_choice(void **state)
{
    (void)state;
    assert_string_equal(chosen("io_uring"), "io_uring");
    assert_string_equal(chosen("epoll"), "epoll");
    assert_string_equal(chosen("auto"), "epoll");
    assert_string_equal(chosen("uring"), strerror(EINVAL));
    setenv("CASYNCIO_BACKEND", "io_uring", 1);
    assert_string_equal(chosen(NULL), "io_uring");
    assert_string_equal(chosen("epoll"), "epoll"); /* the option goes first */
    unsetenv("CASYNCIO_BACKEND");
    assert_string_equal(chosen(NULL), "epoll");
}

/* ---- a kernel that refuses ---- */

/* From now on a system call ends in this process with `action`. */
static bool answer(int call, uint32_t action)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = COUNT(filter), .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) == 0 &&
           prctl(PR_SET_SECCOMP, (long)SECCOMP_MODE_FILTER, &program, 0L, 0L) == 0;
}

static int exchange(void *unused)
{
    (void)unused;
    char text[8] = "";
    int fds[2];
    make_pair(fds);
    async_timeout (0.001)
        assert_int_equal(async_recv(fds[0], text, sizeof text, 0), -ETIMEDOUT);
    assert_int_equal(async_send(fds[1], "hello", 5, 0), 5);
    assert_int_equal(async_recv(fds[0], text, sizeof text, 0), 5);
    async_close(fds[0]);
    async_close(fds[1]);
    return strcmp(text, "hello");
}

static int exchange_on(const char *backend)
{
    return async_run_with(exchange, NULL, &(async_run_options){.loop = {.backend = backend}});
}

/* 0: with the filter, io_uring gives what it should, and operations work. */
static int in_child(int call, uint32_t action, const char *named, const char *expected)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (!answer(call, action)) _exit(77);
        _exit(strcmp(chosen(named), expected) == 0 ? exchange_on(named) : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void test_refused(void **state)
{
    static const int errors[] = {EPERM, ENOSYS, ENOMEM, EINVAL, EMFILE};
    (void)state;
    if (in_child(SYS_io_uring_setup, SECCOMP_RET_ALLOW, "io_uring", "io_uring") == 77) skip();
    for (size_t i = 0; i < COUNT(errors); i++) {
        uint32_t refusal = SECCOMP_RET_ERRNO | (uint32_t)errors[i];
        assert_int_equal(in_child(SYS_io_uring_setup, refusal, "io_uring", "epoll"), 0);
        /* An older kernel has rings, but none of buffers. */
        assert_int_equal(in_child(SYS_io_uring_register, refusal, "io_uring", "epoll"), 0);
    }
}

/* Some sandboxes kill who probes: nothing is asked unless it was chosen. */
static void test_not_probed(void **state)
{
    (void)state;
    assert_int_equal(in_child(SYS_io_uring_setup, SECCOMP_RET_KILL_PROCESS, "epoll", "epoll"), 0);
    assert_int_equal(in_child(SYS_io_uring_setup, SECCOMP_RET_KILL_PROCESS, "auto", "epoll"), 0);
}

/* ---- threads and processes ---- */

struct ping {
    async_watch watch;
    async_loop *loop;
    int fds[2], count;
};

static void on_ping(async_callback *callback)
{
    struct ping *self = (struct ping *)callback;
    assert_string_equal(got_text(self->fds[0]), "x");
    self->count++;
    async_loop_stop(self->loop);
}

static void *run_once(void *argument)
{
    struct ping *self = argument;
    put_text(self->fds[1], "x");
    assert_int_equal(async_loop_run(self->loop), 0);
    return NULL;
}

static void *close_loop(void *loop)
{
    assert_int_equal(async_loop_close(loop), 0);
    return NULL;
}

static void in_thread(void *(*call)(void *), void *argument)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, call, argument), 0);
    pthread_join(thread, NULL);
}

/* Made here, run in several threads one after another, closed in another one. Meanwhile this thread has
 * a ring of its own, whose registration is not touched. */
static void test_threads(void **state)
{
    struct ping self = {.watch.callback.run = on_ping}, own = self;
    (void)state;
    make_pair(self.fds);
    make_pair(own.fds);
    self.loop = async_loop_new(&ring);
    own.loop = async_loop_new(&ring);
    assert_int_equal(async_add_reader(self.loop, self.fds[0], &self.watch), 0);
    assert_int_equal(async_add_reader(own.loop, own.fds[0], &own.watch), 0);
    run_once(&own);
    for (int i = 0; i < 3; i++)
        in_thread(run_once, &self);
    run_once(&self);
    run_once(&own);
    in_thread(run_once, &self);
    in_thread(close_loop, self.loop);
    run_once(&own);
    assert_int_equal(self.count, 5);
    assert_int_equal(own.count, 3);
    close_loop(own.loop);
    for (int i = 0; i < 2; i++) {
        close(self.fds[i]);
        close(own.fds[i]);
    }
}

static int receives(void *fd)
{
    char byte = 0;
    ssize_t n = async_recv(*(int *)fd, &byte, 1, 0);
    return n == 1 ? byte : (int)n;
}

/* A child with a loop of its own changes nothing of what its parent's ring does. */
static int forks(void *unused)
{
    (void)unused;
    int fds[2], status;
    make_pair(fds);
    async_task *task = async_create_task(receives, &fds[0]);
    async_sleep(0.001);
    async_loop *loop = async_get_running_loop();
    pid_t child = fork();
    if (child == 0) {
        bool refused = async_loop_run_once(loop, 0) == -ECHILD;
        bool closed = close(fds[0]) == 0;
        _exit(refused && closed && exchange_on("io_uring") == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    put_text(fds[1], "y");
    assert_int_equal(async_await(task), 'y');
    async_close(fds[0]);
    async_close(fds[1]);
    return 0;
}

static void test_fork(void **state)
{
    (void)state;
    assert_int_equal(
        async_run_with(forks, NULL, &(async_run_options){.loop = {.backend = "io_uring"}}), 0);
}

/* ---- many at a time ---- */

enum { MANY = 450 };

static int reads_line(void *argument)
{
    async_stream *stream = argument;
    char line[32];
    int sum = 0;

    for (int i = 0; i < 3; i++) {
        ssize_t n = async_stream_readline(stream, line, sizeof line);
        if (n < 0) return (int)n;
        sum += atoi(line);
    }
    return sum;
}

/* More reads in a turn than the ring has room for, and more that are ready in one look than it has
 * buffers at first. */
static int many(void *unused)
{
    (void)unused;
    static async_stream *streams[MANY];
    static async_task *tasks[MANY];
    static int ends[MANY];

    for (int i = 0; i < MANY; i++) {
        streams[i] = stream_and_fd(&ends[i]);
        tasks[i] = async_create_task(reads_line, streams[i]);
    }
    for (int round = 0; round < 3; round++) {
        async_sleep(0.01);
        for (int i = 0; i < MANY; i++)
            dprintf(ends[i], "%d\n", i * round);
    }
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(async_await(tasks[i]), 3 * i);
        async_stream_close(streams[i]);
        close(ends[i]);
    }
    return 0;
}

/* All of them are cancelled in one turn: more than fit the ring, too. */
static int many_cancelled(void *unused)
{
    (void)unused;
    static async_task *tasks[MANY];
    static int fds[MANY][2];

    for (int i = 0; i < MANY; i++) {
        make_pair(fds[i]);
        tasks[i] = async_create_task(receives, &fds[i][0]);
    }
    async_sleep(0.01);
    for (int i = 0; i < MANY; i++)
        async_cancel(tasks[i], NULL);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(async_await(tasks[i]), -ECANCELED);
        async_close(fds[i][0]);
        async_close(fds[i][1]);
    }
    return 0;
}

static void test_many(void **state)
{
    async_run_options options = {.loop = {.backend = "io_uring"}};
    struct rlimit limit;
    (void)state;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < 2 * MANY + 50) skip();
    assert_int_equal(async_run_with(many, NULL, &options), 0);
    assert_int_equal(async_run_with(many_cancelled, NULL, &options), 0);
}

static int accepts(void *listener) { return async_accept(*(int *)listener, NULL, NULL); }

/* A socket that is closed while the kernel has an operation on it is gone at once: the peer sees its end,
 * and the port is free, although the loop has not looked outside in between. */
static int closed_at_once(void *unused)
{
    (void)unused;
    struct sockaddr_in address;
    char byte;
    int fds[2], listener = listen_here(5, &address);
    make_pair(fds);
    async_task *task = async_create_task(receives, &fds[0]);
    async_task *accepter = async_create_task(accepts, &listener);
    async_sleep(0.001);
    async_close(listener);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(async_await(accepter), -EBADF);
    async_close(fds[0]);
    assert_int_equal(recv(fds[1], &byte, 1, MSG_DONTWAIT), 0);
    assert_int_equal(async_await(task), -EBADF);
    close(fds[1]);
    close(listener);
    return 0;
}

static void test_closed_at_once(void **state)
{
    (void)state;
    assert_int_equal(
        async_run_with(closed_at_once, NULL, &(async_run_options){.loop = {.backend = "io_uring"}}),
        0);
}

int main(void)
{
    unsetenv("CASYNCIO_BACKEND");
    if (strcmp(chosen("io_uring"), "io_uring") != 0) {
        fprintf(stderr, "skipped: this build, or this kernel, has no io_uring\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),         cmocka_unit_test(test_refused),
        cmocka_unit_test(test_not_probed),     cmocka_unit_test(test_threads),
        cmocka_unit_test(test_fork),           cmocka_unit_test(test_many),
        cmocka_unit_test(test_closed_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
