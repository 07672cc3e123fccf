/* Traces: what is in them, that they change nothing, their limits, and what goes wrong with their files. */
#include "run.h"

#include <base/faults.h>
#include <casyncio/trace.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[] = "/tmp/casyncio-trace-XXXXXX";
static char file[128];
static char *text; /* of the file */

static void read_file(const char *name)
{
    FILE *in = fopen(name, "r");
    size_t size = 0, got;

    assert_non_null(in);
    free(text);
    text = malloc(1 << 24);
    assert_non_null(text);
    while ((got = fread(text + size, 1, (1 << 24) - 1 - size, in)) > 0)
        size += got;
    text[size] = 0;
    fclose(in);
    unlink(name);
    assert_non_null(strstr(text, "{\"displayTimeUnit\":\"ns\",\"traceEvents\":["));
    assert_true(size > 4 && strcmp(text + size - 3, "}}\n") == 0);
}

static unsigned times(const char *what)
{
    unsigned count = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
        count++;
    return count;
}

static int start_trace(size_t events)
{
    return async_trace_start(async_get_running_loop(),
                             &(async_trace_options){.file = file, .events = events});
}

static void stop_trace(void)
{
    assert_int_equal(async_trace_stop(async_get_running_loop()), 0);
    read_file(file);
}

/* ---- what is in it ---- */

static async_lock lock;

static int worker(void *argument)
{
    if (async_lock_acquire(&lock) < 0) return -1;
    async_sleep(1);
    async_lock_release(&lock);
    return 40 + *(int *)argument;
}

static int yielder(void *unused)
{
    (void)unused;
    return async_sleep(0);
}

static int work(void *unused)
{
    (void)unused;
    return 5;
}

static int contents(void *unused)
{
    int numbers[] = {0, 1, 2};
    async_task *tasks[4];

    (void)unused;
    assert_int_equal(start_trace(0), 0);
    assert_int_equal(start_trace(0), -EALREADY);
    for (int i = 0; i < 3; i++)
        tasks[i] = async_create_task_with(
            worker, &numbers[i],
            &(async_task_options){.coroutine = "worker",
                                  .name = i == 1 ? "the \"second\"\xff and a name that is "
                                                   "longer than what there is room for in a trace"
                                                 : NULL});
    tasks[3] = async_create_task_with(
        yielder, NULL, &(async_task_options){.coroutine = "yielder", .eager_start = true});
    async_metrics metrics;
    assert_int_equal(async_loop_metrics(async_get_running_loop(), &metrics), 0);
    assert_int_equal(metrics.ready, 4);
    assert_int_equal(async_to_thread(work, NULL), 5);
    assert_int_equal(async_gather_array(tasks, 4), 0);
    stop_trace();
    assert_int_equal(async_trace_stop(async_get_running_loop()), -EINVAL);
    return 0;
}

static void test_contents(void **unused)
{
    (void)unused;
    assert_int_equal(run(contents, NULL), 0);
    assert_int_equal(times("\"name\":\"Task-2 (worker)\""), 1);
    assert_int_equal(
        times("the \\\"second\\\"? and a name that is longer than what there is  (worker)"), 1);
    assert_int_equal(times("\"name\":\"lock\",\"cat\":\"wait\""), 2);
    assert_int_equal(times("\"name\":\"sleep\",\"cat\":\"wait\""), 3);
    assert_int_equal(times("\"name\":\"gather\",\"cat\":\"wait\""), 1);
    assert_int_equal(times("\"name\":\"thread\",\"cat\":\"wait\""), 1);
    assert_int_equal(times("\"result\":40}"), 1);
    assert_int_equal(times("\"result\":41}"), 1);
    assert_int_equal(times("\"result\":42}"), 1);
    assert_int_equal(times("\"cat\":\"job\""), 1);
    assert_int_equal(times("\"name\":\"create\",\"cat\":\"wake\",\"id\":"),
                     8); /* s and f of each */
    assert_int_equal(times("\"ph\":\"s\""), times("\"ph\":\"f\""));
    assert_true(times("\"cat\":\"look\"") > 2);
    assert_int_equal(times("\"lost\":0}"), 1);
}

/* ---- the ring ---- */

static int overflow(void *unused)
{
    (void)unused;
    assert_int_equal(start_trace(100), 0); /* 128 */
    for (int i = 0; i < 1000; i++)
        async_sleep(0);
    stop_trace();
    return 0;
}

static void test_overflow(void **unused)
{
    (void)unused;
    assert_int_equal(run(overflow, NULL), 0);
    const char *lost = strstr(text, "\"lost\":");
    assert_non_null(lost);
    assert_true(atoi(lost + 7) >= 1000);
    assert_in_range(times("\"ph\":\"X\""), 20, 140);
    assert_int_equal(times("Task-1"), 1);
}

enum { MANY = SANITIZED ? 1000 : 10000 };

static int many(void *unused)
{
    async_task **tasks = malloc(MANY * sizeof *tasks);

    (void)unused;
    assert_non_null(tasks);
    assert_int_equal(start_trace(1 << 20), 0);
    for (int i = 0; i < MANY; i++)
        tasks[i] = async_create_task(yielder);
    assert_int_equal(async_gather_array(tasks, MANY), 0);
    free(tasks);
    stop_trace();
    return 0;
}

static void test_many(void **unused)
{
    (void)unused;
    assert_int_equal(run(many, NULL), 0);
    assert_int_equal(times(" (yielder)\"}"), MANY);
    assert_int_equal(times("\"result\":0}"), MANY);
    assert_int_equal(times("\"lost\":0}"), 1);
}

/* ---- it changes nothing ---- */

enum { STEPS = 400 };
static struct {
    int order[STEPS], count;
} orders[2], *noted;
static bool traced;

static int noting(void *argument)
{
    for (int i = 0; i < 20; i++) {
        if (noted->count < STEPS) noted->order[noted->count++] = *(int *)argument;
        if (i % 3)
            async_sleep(0);
        else
            async_sleep(0.001 * *(int *)argument);
    }
    return 0;
}

static int ordered(void *unused)
{
    int numbers[10];
    async_task *tasks[10];

    (void)unused;
    if (traced) assert_int_equal(start_trace(0), 0);
    for (int i = 0; i < 10; i++) {
        numbers[i] = i;
        tasks[i] = async_create_task(noting, &numbers[i]);
    }
    assert_int_equal(async_gather_array(tasks, 10), 0);
    return 0; /* the end of the loop ends the trace */
}

static void test_order(void **unused)
{
    unsigned different = 0;

    (void)unused;
    for (uint64_t seed = 0; seed < 20; seed++) {
        for (int i = 0; i < 2; i++) {
            noted = &orders[i];
            noted->count = 0;
            traced = i;
            assert_int_equal(run_seeded(ordered, NULL, seed), 0);
        }
        different += memcmp(orders[0].order, orders[1].order, sizeof orders[0].order) != 0;
        read_file(file);
    }
    assert_int_equal(different, 0);
}

/* ---- without a loop that runs, and in the middle ---- */

static void test_refused(void **unused)
{
    async_loop *loop = async_loop_new(NULL);

    (void)unused;
    assert_int_equal(async_trace_start(NULL, NULL), -EBADF);
    assert_int_equal(async_trace_stop(NULL), -EBADF);
    assert_int_equal(async_trace_start(loop, NULL), -EINVAL);
    assert_int_equal(async_trace_stop(loop), -EINVAL);
    assert_int_equal(
        async_trace_start(loop, &(async_trace_options){.file = file, .events = (1 << 24) + 1}),
        -EINVAL);
    assert_int_equal(async_trace_start(loop, &(async_trace_options){.file = "/nowhere/at/all"}),
                     -ENOENT);
    assert_int_equal(async_trace_start(loop, &(async_trace_options){.file = "/"}), -EISDIR);
    assert_int_equal(async_trace_start(loop, &(async_trace_options){.file = file}), 0);
    assert_int_equal(async_trace_start(loop, &(async_trace_options){.file = file}), -EALREADY);
    assert_int_equal(async_trace_stop(loop), 0);
    read_file(file);
    assert_int_equal(times("\"ph\":\"X\""), 0);
    if (access("/dev/full", W_OK) == 0) {
        assert_int_equal(async_trace_start(loop, &(async_trace_options){.file = "/dev/full"}), 0);
        assert_int_equal(async_trace_stop(loop), -ENOSPC);
    }
    assert_int_equal(async_trace_start(loop, &(async_trace_options){.file = file}), 0);
    async_loop_close(loop);
    read_file(file);
}

#ifdef ASYNC_FAULTS
static void test_faults(void **unused)
{
    (void)unused;
    for (long at = 1; at < 20; at++) {
        async_loop *loop = async_loop_new(NULL);
        async__faults[ASYNC__FAULT_ALLOCATION].count = 0;
        async__faults[ASYNC__FAULT_ALLOCATION].at = at;
        int started = async_trace_start(loop, &(async_trace_options){.file = file});
        int code = started < 0 ? started : async_trace_stop(loop);
        bool reached = async__faults[ASYNC__FAULT_ALLOCATION].count >= at;
        async__faults[ASYNC__FAULT_ALLOCATION].at = 0;
        assert_int_equal(code, reached ? -ENOMEM : 0);
        assert_int_equal(async_trace_stop(loop), -EINVAL);
        async_loop_close(loop);
        if (!reached) return;
    }
    fail();
}
#endif

/* ---- several loops, children, the environment ---- */

static void *run_thread(void *unused)
{
    (void)unused;
    static char failed;
    for (int i = 0; i < 3; i++)
        if (async_run(yielder, NULL) != 0) return &failed;
    return NULL;
}

static void test_environment(void **unused)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    char name[160];
    void *result;

    (void)unused;
    snprintf(name, sizeof name, "%s/%%p", directory);
    setenv("CASYNCIO_TRACE", name, 1);
    setenv("CASYNCIO_TRACE_EVENTS", "1000", 1);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_thread, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_null(result);
    }
    unsetenv("CASYNCIO_TRACE_EVENTS");
    for (int i = 1; i <= 3 * THREADS; i++) {
        snprintf(name, sizeof name, i == 1 ? "%s/%d" : "%s/%d.%d", directory, (int)getpid(), i);
        read_file(name);
        assert_int_equal(times("\"result\":0}"), 1);
    }
    /* One that cannot be written is told of, and no reason not to run. */
    int said[2], before = dup(STDERR_FILENO);
    assert_int_equal(pipe(said), 0);
    dup2(said[1], STDERR_FILENO);
    setenv("CASYNCIO_TRACE", "/nowhere/at/all", 1);
    int code = async_run(yielder, NULL);
    dup2(before, STDERR_FILENO);
    unsetenv("CASYNCIO_TRACE");
    char line[512] = "";
    assert_true(read(said[0], line, sizeof line - 1) > 0);
    close(said[0]), close(said[1]), close(before);
    assert_int_equal(code, 0);
    assert_non_null(strstr(line, "casyncio: there is no trace: CASYNCIO_TRACE=/nowhere/at/all"));
    assert_non_null(strstr(line, ": No such file or directory\n"));
}

static int forking(void *unused)
{
    struct stat status;
    int ended;

    (void)unused;
    assert_int_equal(start_trace(0), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        async_loop *loop = async_get_running_loop();
        _exit(loop ? 1 : async_run(yielder, NULL)); /* one of its own, without a trace */
    }
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_int_equal(ended, 0);
    assert_int_equal(stat(file, &status), 0);
    assert_int_equal(status.st_size, 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) return 0; /* the loop of the parent is closed */
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_int_equal(stat(file, &status), 0);
    assert_int_equal(status.st_size, 0);
    stop_trace();
    return 1;
}

static void test_fork(void **unused)
{
    (void)unused;
    int code = async_run(forking, NULL);
    if (code != 1) _exit(code == -ECHILD ? 0 : 1);
    assert_int_equal(times("forking"), 1);
}

static int make_directory(void **unused)
{
    (void)unused;
    if (!mkdtemp(directory)) return -1;
    snprintf(file, sizeof file, "%s/trace.json", directory);
    return 0;
}

static int remove_directory(void **unused)
{
    (void)unused;
    free(text);
    unlink(file);
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contents), cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_many),     cmocka_unit_test(test_order),
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_environment),
        cmocka_unit_test(test_fork),
#ifdef ASYNC_FAULTS
        cmocka_unit_test(test_faults),
#endif
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
