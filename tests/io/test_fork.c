/* What a forked child does with a server, a stream, a file and a loop that it has inherited: nothing
 * of it reaches the parent's. */
#include <loop/loop_internal.h>

#include "io_test.h"

#include <sys/wait.h>

enum { MUCH = 60000 }; /* less than a stream's high-water mark */

static char directory[64], path[96], file_path[96];

struct inherited {
    async_loop *loop;
    async_server *server;
    async_stream *stream, *clogged;
    async_file *file;
    int peer, clogged_peer;
};

static int nothing(void *unused)
{
    (void)unused;
    return 7;
}

static void ignore(async_callback *callback) { (void)callback; }
static void ignore_job(async_job *job) { (void)job; }

/* Closes all of it, as a child that is about to become something else does. */
static void close_all(struct inherited *all)
{
    static async_callback callback = {.run = ignore};
    static async_job job = {.work = ignore_job, .done = ignore_job};
    async_server_close(all->server);
    async_stream_close(all->stream);
    async_stream_close(all->clogged);
    async_file_close(all->file);
    async_call_soon_threadsafe(all->loop, &callback);
    if (async_run_in_executor(all->loop, &job) != -ECHILD) _exit(2);
    if (async_run_coroutine_threadsafe(all->loop, nothing, NULL) != -ECHILD) _exit(3);
    if (async_loop_run(all->loop) != -ECHILD) _exit(4);
}

static void close_in_child(struct inherited *all)
{
    if (async_sleep(0) != -EPERM) _exit(5); /* no task runs here */
    close_all(all);
    if (async_loop_close(all->loop) < 0) _exit(6);
    if (async_run(nothing, NULL) != 7) _exit(7);
}

static int close_in_own_loop(void *all)
{
    if (async_sleep(0) < 0) _exit(8);
    close_all(all);
    return async_sleep(0);
}

static void close_in_a_loop_of_the_child(struct inherited *all)
{
    if (async_run(close_in_own_loop, all) != 0) _exit(9);
}

/* The loop's eventfd has been written to since this was asked last. */
static bool is_woken(async_loop *loop)
{
    uint64_t count;
    return read(loop->wake_fd, &count, sizeof count) > 0;
}

static void set_up_all(struct inherited *all)
{
    static char much[MUCH];
    int fds[2];
    all->loop = async_get_running_loop();
    all->server = async_start_unix_server(path, NULL);
    assert_non_null(all->server);
    all->stream = stream_and_fd(&all->peer);
    make_tcp_pair(fds);
    small_buffers(fds[0]);
    small_buffers(fds[1]);
    all->clogged = async_stream_from_fd(fds[0]);
    all->clogged_peer = fds[1];
    assert_int_equal(async_stream_write(all->clogged, much, sizeof much),
                     0); /* is kept, much of it */
    all->file = async_file_open(file_path, "w+");
    assert_int_equal(async_file_write(all->file, "before", 6), 0);
}

/* All of it works in the parent as before. */
static void use_all(struct inherited *all)
{
    char buffer[16];
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    async_stream *client = async_open_unix_connection(path), *accepted = NULL;
    assert_non_null(client);
    async_timeout (1)
        accepted = async_server_accept(all->server);
    assert_non_null(accepted);
    async_stream_close(client);
    async_stream_close(accepted);

    assert_int_equal(recv(all->peer, buffer, 1, MSG_DONTWAIT), -1); /* not the end */
    assert_int_equal(async_stream_write(all->stream, "x", 1), 0);
    assert_int_equal(recv(all->peer, buffer, sizeof buffer, MSG_DONTWAIT), 1);
    size_t got = drain_fd(all->clogged_peer);
    while (got < MUCH) {
        assert_int_equal(async_wait_readable(all->clogged_peer), 0);
        got += drain_fd(all->clogged_peer);
    }
    assert_int_equal(got, MUCH); /* the child has sent none of it again */
    assert_int_equal(async_file_write(all->file, " and after", 10), 0);
    assert_int_equal(async_to_thread(nothing, NULL), 7);
}

static int parent(void *in_child)
{
    struct inherited all;
    set_up_all(&all);
    settle();
    void (*function)(struct inherited *);
    memcpy(&function, in_child, sizeof function);

    is_woken(all.loop); /* by the threads that have opened the file */
    pid_t child = fork();
    if (child == 0) {
        function(&all);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_false(is_woken(all.loop));
    use_all(&all);

    async_server_close(all.server);
    assert_int_equal(access(path, F_OK), -1);
    async_stream_close(all.stream);
    async_stream_close(all.clogged);
    async_close(all.peer);
    async_close(all.clogged_peer);
    assert_int_equal(async_file_close(all.file), 0);
    return 0;
}

static void test_closed_in_the_child(void **state)
{
    (void)state;
    void (*function)(struct inherited *) = close_in_child;
    assert_int_equal(run(parent, &function), 0);
}

static void test_closed_in_a_loop_of_the_child(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    print_message("ThreadSanitizer lets no child make a thread\n");
    skip();
#endif
    void (*function)(struct inherited *) = close_in_a_loop_of_the_child;
    assert_int_equal(run(parent, &function), 0);
}

/* ---- a child that returns from its coroutine ---- */

static pid_t original;

static int sleeps_in_parent(void *unused)
{
    (void)unused;
    while (async_sleep(1) == 0)
        ;
    if (getpid() != original) _exit(10); /* the parent's other tasks do not go on in the child */
    return 0;
}

static int forks_and_returns(void *child)
{
    async_create_task(sleeps_in_parent, NULL);
    async_sleep(1);
    *(pid_t *)child = fork();
    return 0;
}

static void test_a_child_that_returns(void **state)
{
    (void)state;
    pid_t child = -1;
    original = getpid();
    int code = run(forks_and_returns, &child);
    if (child == 0) _exit(code == -ECHILD ? 0 : 11);
    assert_int_equal(code, 0);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/casyncio-XXXXXX");
    if (!mkdtemp(directory)) return -1;
    snprintf(path, sizeof path, "%s/socket", directory);
    snprintf(file_path, sizeof file_path, "%s/file", directory);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(file_path);
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closed_in_the_child),
        cmocka_unit_test(test_closed_in_a_loop_of_the_child),
        cmocka_unit_test(test_a_child_that_returns),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
