/* A file that is closed, by whatever task and at whatever moment, while calls and jobs use it: its
 * descriptor stays open until the last has ended, so that nothing reaches another file that would
 * have been given its number.
 *
 * The system calls of jobs are replaced here by ones that can be held up at a gate. */
#include <io/file.h>

#include "io_test.h"

#include <semaphore.h>
#include <signal.h>
#include <sys/syscall.h>

/* ---- the gate ---- */

static struct {
    atomic_bool shut;
    sem_t arrived, go;
} gate;

static void pass(void)
{
    if (!atomic_load(&gate.shut)) return;
    sem_post(&gate.arrived);
    sem_wait(&gate.go);
}

static void open_gate(void)
{
    atomic_store(&gate.shut, false);
    sem_post(&gate.go);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    pass();
    return syscall(SYS_pwrite64, fd, data, size, offset);
}

ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    pass();
    return syscall(SYS_pread64, fd, data, size, offset);
}

int fsync(int fd)
{
    pass();
    return (int)syscall(SYS_fsync, fd);
}

int ftruncate(int fd, off_t size)
{
    pass();
    return (int)syscall(SYS_ftruncate, fd, size);
}

static int failing_fd = -1; /* a close of it says EIO */
static int held_fd = -1;    /* a close of it passes the gate */

int close(int fd)
{
    if (fd == held_fd) pass();
    int result = (int)syscall(SYS_close, fd);
    if (fd != failing_fd) return result;
    failing_fd = -1;
    errno = EIO;
    return -1;
}

/* ---- scenarios ---- */

static char directory[64];

static const char *path_of(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static int call_write(void *file) { return async_file_write(file, "data of this file", 17); }
static int call_sync(void *file) { return async_file_sync(file); }
static int call_truncate(void *file) { return async_file_truncate(file, 2); }

static int call_read(void *file)
{
    char buffer[16];
    return (int)async_file_read(file, buffer, sizeof buffer);
}

static int call_line(void *file)
{
    char buffer[16];
    int n = (int)async_file_readline(file, buffer, sizeof buffer);
    return n < 0 ? n : 0;
}

static int call_lines(void *file)
{
    async_for (char *, line, async_file_lines(file))
        (void)line;
    return async_error_code();
}

static const async_coroutine calls[] = {call_write, call_sync, call_truncate,
                                        call_read,  call_line, call_lines};

static async_file *open_file(const char *name)
{
    async_file *file = async_file_open(path_of(name), "w+");
    assert_non_null(file);
    assert_int_equal(async_file_write(file, "some text", 9), 0);
    assert_int_equal(async_file_seek(file, 0, SEEK_SET), 0);
    file->uncached = true; /* reads go through a thread */
    return file;
}

static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

static void await_close(int fd)
{
    while (is_open(fd))
        async_sleep(0);
}

static const char *const orders[] = {"x", "xc", "cx"}; /* x: close, c: cancel */

static void close_and_cancel(async_file *file, async_task *task, const char *order)
{
    for (; *order; order++)
        if (*order == 'x')
            assert_int_equal(async_file_close(file), 0);
        else
            assert_true(async_cancel(task, NULL));
}

/* Whatever the call, closed and cancelled in either order while its job is in the thread. */
static int while_a_job_runs(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < COUNT(calls) * COUNT(orders); i++) {
        async_coroutine call = calls[i / COUNT(orders)];
        const char *order = orders[i % COUNT(orders)];
        async_file *file = open_file("a");
        int fd = async_file_fd(file), before = open_fds();
        atomic_store(&gate.shut, true);
        async_task *task = async_create_task(call, file);
        async_sleep(0);
        sem_wait(&gate.arrived);
        async_task *second = async_create_task(call_write, file);
        async_sleep(0);
        close_and_cancel(file, task, order);
        assert_int_equal(async_await(second), -EBADF);
        bool cancelled = strchr(order, 'c') != NULL;
        if (cancelled) assert_int_equal(async_await(task), -ECANCELED);

        /* The number is not given away while the thread is at it. */
        assert_true(is_open(fd));
        int other = open(path_of("b"), O_RDWR | O_CREAT | O_TRUNC, 0600);
        assert_int_not_equal(other, fd);
        put_text(other, "precious");
        open_gate();
        if (!cancelled) async_await(task);
        await_close(fd);
        assert_int_equal(lseek(other, 0, SEEK_END), 8);
        close(other);
        assert_int_equal(open_fds(), before - 1);
    }
    return 0;
}
TEST(while_a_job_runs)

static int hold_thread(void *unused)
{
    (void)unused;
    pass();
    return 0;
}

static int occupy(void *unused) { return async_to_thread(hold_thread, unused); }

/* The same while the job is still in the pool's queue; a FIFO too. */
static int while_a_job_is_queued(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < 2 * COUNT(calls) * COUNT(orders); i++) {
        async_coroutine call = calls[i / 2 / COUNT(orders)];
        const char *order = orders[i / 2 % COUNT(orders)];
        bool fifo = i % 2;
        if (fifo && call != call_sync && call != call_truncate) continue;
        async_file *file = fifo ? async_file_open(path_of("fifo"), "r+") : open_file("a");
        int fd = async_file_fd(file);
        atomic_store(&gate.shut, true);
        async_task *holder = async_create_task(occupy, NULL);
        async_sleep(0);
        sem_wait(&gate.arrived);
        async_task *task = async_create_task(call, file);
        async_sleep(0);
        close_and_cancel(file, task, order);
        int other = open(path_of("b"), O_RDWR | O_CREAT | O_TRUNC, 0600);
        put_text(other, "precious");
        open_gate();
        async_await(task);
        async_await(holder);
        await_close(fd == other ? -1 : fd);
        assert_int_equal(lseek(other, 0, SEEK_END), 8);
        close(other);
    }
    return 0;
}

static void test_while_a_job_is_queued(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    async_run_options options = {.loop = {.virtual_clock = true, .executor_threads = 1}};
    assert_int_equal(async_run_with(while_a_job_is_queued, NULL, &options), 0);
    unlink(path_of("fifo"));
}

/* ---- close itself ---- */

static int call_close(void *file) { return async_file_close(file); }

/* A cancelled close closes, also if no thread had come to it. */
static int cancelled_close(void *unused)
{
    (void)unused;
    for (int turns = 0; turns < 6; turns++) {
        async_file *file = open_file("a");
        int fd = async_file_fd(file);
        atomic_store(&gate.shut, true);
        async_task *holder = async_create_task(occupy, NULL);
        async_sleep(0);
        sem_wait(&gate.arrived);
        async_task *task = async_create_task(call_close, file);
        for (int i = 0; i < turns; i++)
            async_sleep(0);
        async_cancel(task, NULL);
        assert_int_equal(async_await(task), -ECANCELED);
        assert_true(is_open(fd)); /* the only thread is held up */
        open_gate();
        await_close(fd);
        assert_int_equal(async_await(holder), 0);
    }
    return 0;
}

static void test_cancelled_close(void **state)
{
    (void)state;
    async_run_options options = {.loop = {.virtual_clock = true, .executor_threads = 1}};
    assert_int_equal(async_run_with(cancelled_close, NULL, &options), 0);
}

/* A second close, a read, a seek while the first close is under way. */
static int closed_twice(void *unused)
{
    (void)unused;
    async_file *file = open_file("a");
    atomic_store(&gate.shut, true);
    async_task *writer = async_create_task(call_write, file);
    async_sleep(0);
    sem_wait(&gate.arrived);
    assert_int_equal(async_file_close(file), 0);
    assert_int_equal(async_file_close(file), -EBADF);
    assert_int_equal(call_read(file), -EBADF);
    assert_int_equal(async_file_seek(file, 0, SEEK_SET), -EBADF);
    assert_int_equal(async_file_fd(file), -EBADF);
    open_gate();
    assert_int_equal(async_await(writer), 0);

    file = open_file("a");
    async_task *first = async_create_task(call_close, file);
    async_sleep(0); /* its job is in the pool, or done; its task has not run again */
    assert_int_equal(async_file_close(file), -EBADF);
    assert_int_equal(async_await(first), 0);
    return 0;
}
TEST(closed_twice)

/* The turn comes to a call at the moment at which another task closes the file. */
static int close_and_turn(void *unused)
{
    (void)unused;
    for (int turns = 0; turns < 12; turns++) {
        async_file *file = open_file("a");
        int fd = async_file_fd(file);
        async_task *tasks[4];
        file->references++; /* a task may begin after the close */
        for (int i = 0; i < 4; i++)
            tasks[i] = async_create_task(calls[i], file);
        for (int i = 0; i < turns; i++)
            async_sleep(0);
        if (turns % 3 == 1) async_cancel(tasks[1], NULL);
        async_file_close(file);
        for (int i = 0; i < 4; i++)
            async_await(tasks[i]);
        await_close(fd);
        async__file_unref(file);
    }
    return 0;
}

static void test_close_and_turn(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++)
        assert_int_equal(run_seeded(close_and_turn, NULL, seed), 0);
}

static void keep_code(async_loop *loop, int code, const char *message, void *data)
{
    (void)loop;
    assert_non_null(strstr(message, "/a"));
    *(int *)data = code;
}

/* A close that is left to a call's end has no caller to give its error to. */
static int error_of_a_late_close(void *unused)
{
    (void)unused;
    async_file *file = open_file("a");
    int fd = async_file_fd(file), told = 0;
    async_set_exception_handler(async_get_running_loop(), keep_code, &told);
    atomic_store(&gate.shut, true);
    async_task *writer = async_create_task(call_write, file);
    async_sleep(0);
    sem_wait(&gate.arrived);
    assert_int_equal(async_file_close(file), 0);
    failing_fd = fd;
    open_gate();
    assert_int_equal(async_await(writer), 0);
    while (told == 0)
        async_sleep(0);
    assert_int_equal(told, -EIO);
    async_set_exception_handler(async_get_running_loop(), NULL, NULL);
    return 0;
}
TEST(error_of_a_late_close)

/* ---- the end of the loop ---- */

static async_file *left;

static int leaves_a_job(void *order)
{
    left = open_file("a");
    atomic_store(&gate.shut, true);
    async_task *writer = async_create_task(call_write, left);
    async_sleep(0);
    sem_wait(&gate.arrived);
    async_cancel(writer, NULL);
    assert_int_equal(async_await(writer), -ECANCELED);
    if (order) assert_int_equal(async_file_close(left), 0);
    open_gate(); /* async_run waits for the thread */
    return 0;
}

static void test_end_of_the_loop(void **state)
{
    (void)state;
    int before = open_fds();
    assert_int_equal(run(leaves_a_job, "closed"), 0);
    assert_int_equal(open_fds(), before);
    assert_int_equal(run(leaves_a_job, NULL), 0);
    assert_int_equal(open_fds(), before + 1);
    assert_int_equal(async_file_close(left), 0);
    assert_int_equal(open_fds(), before);
}

static int set_up(void **state)
{
    (void)state;
    sem_init(&gate.arrived, 0, 0);
    sem_init(&gate.go, 0, 0);
    strcpy(directory, "/tmp/casyncio-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path_of("a"));
    unlink(path_of("b"));
    return rmdir(directory);
}

/* ---- Ctrl-C in the exit of async_with_file ---- */

static int interrupts(void *unused)
{
    (void)unused;
    sem_wait(&gate.arrived);
    kill(getpid(), SIGINT);
    return 0;
}

/* It does not wait for the disk: the thread closes the file. */
static int interrupted_in_the_exit(void *unused)
{
    (void)unused;
    async_task *task = NULL;
    async_with_file(file, async_file_open(path_of("interrupted"), "w"))
    {
        assert_int_equal(async_file_write(file, "x", 1), 0);
        held_fd = async_file_fd(file);
        atomic_store(&gate.shut, true);
        task = async_create_task(interrupts, NULL);
    }
    int code = async_block_error();
    note("%s", async_error_name(code));
    assert_true(is_open(held_fd));
    open_gate();
    while (is_open(held_fd)) /* the task is cancelled, and cannot sleep */
        usleep(100);
    held_fd = -1;
    unlink(path_of("interrupted"));
    assert_int_equal(async_await(task), 0);
    return code;
}

static void test_interrupted_in_the_exit(void **state)
{
    (void)state;
    notes[0] = 0;
    signal(SIGINT, SIG_DFL);
    assert_int_equal(run(interrupted_in_the_exit, NULL), -EINTR);
    assert_notes("ECANCELED ");
}

int main(void)
{
    /* What this holds up are the calls of threads. */
    const char *back_end = getenv("CASYNCIO_BACKEND");
    if (back_end && strcmp(back_end, "io_uring") == 0) setenv("CASYNCIO_BACKEND", "epoll", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_while_a_job_runs), cmocka_unit_test(test_while_a_job_is_queued),
        cmocka_unit_test(test_cancelled_close),  cmocka_unit_test(test_closed_twice),
        cmocka_unit_test(test_close_and_turn),   cmocka_unit_test(test_error_of_a_late_close),
        cmocka_unit_test(test_end_of_the_loop),  cmocka_unit_test(test_interrupted_in_the_exit),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
