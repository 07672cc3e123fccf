/* What a loop has done, in numbers. Times are of the real clock and are compared with each other alone, or
 * with what they cannot be less than: no test fails on a slow day. */
#include "run.h"

#include <pthread.h>
#include <unistd.h>

static async_metrics now(void)
{
    async_metrics metrics;
    assert_int_equal(async_loop_metrics(async_get_running_loop(), &metrics), 0);
    return metrics;
}

static int naps(void *unused)
{
    (void)unused;
    return async_sleep(1);
}

/* ---- counters ---- */

static int counts_tasks(void *unused)
{
    (void)unused;
    async_metrics before = now();
    assert_int_equal(before.tasks, 1);
    assert_int_equal(before.tasks_made, 1);
    assert_int_equal(before.stacks_used, 1);

    async_task *tasks[10];
    for (int i = 0; i < 10; i++)
        tasks[i] = async_create_task(naps);
    async_metrics made = now();
    assert_int_equal(made.tasks, 11);
    assert_int_equal(made.tasks_made, 11);
    assert_int_equal(made.ready, 10);
    assert_int_equal(made.timers, 0);
    assert_int_equal(async_sleep(0.5), 0);
    assert_int_equal(now().timers, 10);
    assert_int_equal(now().ready, 0);
    assert_int_equal(async_gather_array(tasks, 10), 0);

    async_metrics after = now();
    assert_int_equal(after.tasks, 1);
    assert_int_equal(after.tasks_made, 11);
    assert_int_equal(after.stacks_used, 1);
    assert_true(after.stacks_pooled >= 10);
    assert_true(after.looks > before.looks);
    assert_int_equal(after.timers, 0);
    return 0;
}

/* Each step of a task is a callback, whether or not it went by way of the loop. */
static int steps(void *count)
{
    for (int i = 0; i < *(int *)count; i++)
        async_sleep(0);
    return 0;
}

static int counts_steps(void *unused)
{
    (void)unused;
    int count = 1000;
    uint64_t before = now().callbacks;
    assert_int_equal(
        async_gather(async_create_task(steps, &count), async_create_task(steps, &count)), 0);
    uint64_t ran = now().callbacks - before;
    assert_true(ran >= 2002); /* each begins, too; this task's own step, and the loop's marks */
    assert_true(ran < 2002 + 200);
    return 0;
}

static void test_steps_are_counted(void **state)
{
    (void)state;
    async_run_options options = {.loop = {.virtual_clock = true}};
    assert_int_equal(async_run_with(counts_steps, NULL, &options), 0);
    options.loop.measure = ASYNC_MEASURE_STEPS; /* where all steps go by way of the loop */
    assert_int_equal(async_run_with(counts_steps, NULL, &options), 0);
    options.loop.seed = 7;
    assert_int_equal(async_run_with(counts_steps, NULL, &options), 0);
}

static void ignore(async_callback *callback) { (void)callback; }

static int counts_descriptors(void *unused)
{
    (void)unused;
    int ends[2];
    async_loop *loop = async_get_running_loop();
    async_watch watch = {.callback = {.run = ignore}};
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(now().descriptors, 0);
    assert_int_equal(async_add_reader(loop, ends[0], &watch), 0);
    assert_int_equal(now().descriptors, 1);
    assert_int_equal(now().watches, 1);
    assert_true(async_remove_watch(loop, &watch));
    assert_int_equal(now().watches, 0);
    async_close(ends[0]);
    assert_int_equal(now().descriptors, 0);
    async_close(ends[1]);
    return 0;
}

/* ---- threads ---- */

static int waits_for(void *barrier)
{
    pthread_barrier_wait(barrier);
    return 0;
}

static int uses_thread(void *barrier) { return async_to_thread(waits_for, barrier); }

static int counts_jobs(void *barrier)
{
    async_task *first = async_create_task(uses_thread, barrier);
    async_task *second = async_create_task(uses_thread, barrier);
    async_sleep(0);
    async_sleep(0);
    async_metrics busy =
        now(); /* there is one thread, and it is in the first, or on its way there */
    assert_int_equal(busy.jobs_queued + busy.jobs_running, 2);
    assert_int_equal(busy.threads, 1);
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    assert_int_equal(async_gather(first, second), 0);

    async_metrics done = now();
    assert_int_equal(done.jobs_begun, 2);
    assert_int_equal(done.jobs_queued, 0);
    assert_true(done.jobs_waited_most > 0);
    assert_true(done.jobs_waited >= done.jobs_waited_most);
    return 0;
}

static void test_jobs_are_counted(void **state)
{
    (void)state;
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 2);
    assert_int_equal(async_run_with(counts_jobs, &barrier,
                                    &(async_run_options){.loop = {.executor_threads = 1}}),
                     0);
    pthread_barrier_destroy(&barrier);
}

/* ---- times ---- */

static int sleeps_for_real(void *unused)
{
    (void)unused;
    double start = async_now();
    assert_int_equal(async_sleep(0.02), 0);
    usleep(10000); /* blocks the loop: busy, and one step */
    assert_int_equal(async_sleep(0), 0);
    double gone = async_now() - start;
    async_metrics metrics = now();
    assert_true(metrics.asleep >= 0.019);
    assert_true(metrics.busy >= 0.01);
    assert_true(metrics.longest_step >= 0.01);
    assert_true(metrics.asleep + metrics.busy >= gone);
    assert_true(metrics.sleeps >= 1);
    return 0;
}

static int asks_for_nothing(void *unused)
{
    (void)unused;
    assert_int_equal(async_sleep(0.001), 0);
    async_metrics metrics = now();
    assert_true(metrics.asleep == 0 && metrics.busy == 0 && metrics.longest_step == 0);
    return 0;
}

static void test_times(void **state)
{
    (void)state;
    async_run_options options = {.loop = {.measure = ASYNC_MEASURE_SLEEPS | ASYNC_MEASURE_STEPS}};
    assert_int_equal(async_run_with(sleeps_for_real, NULL, &options), 0);
    assert_int_equal(async_run(asks_for_nothing), 0);
}

/* A timer that comes due while the loop is blocked is late by at least the rest of that. */
static int is_late(void *unused)
{
    (void)unused;
    async_loop *loop = async_get_running_loop();
    async_timer timer = {.callback = {.run = ignore}};
    assert_int_equal(async_call_at_ns(loop, &timer, INT64_MIN), 0); /* long ago is no lag */
    assert_int_equal(async_sleep(0), 0);
    assert_int_equal(async_call_later(loop, &timer, 0.005), 0);
    usleep(25000);
    assert_int_equal(async_sleep(0.001), 0);
    double lag = now().timer_lag;
    assert_true(lag >= 0.019);
    assert_true(lag < async_now()); /* and not since the clock's beginning */
    return 0;
}

static void test_lag(void **state)
{
    (void)state;
    assert_int_equal(async_run(is_late), 0);
}

/* ---- stacks ---- */

__attribute__((noinline)) static int uses(size_t size)
{
    char room[size];
    memset(room, 1, size);
    __asm__ volatile("" ::"r"(room) : "memory");
    return async_sleep(0);
}

struct digs {
    size_t size;
};
static int digs(struct digs *self) { return uses(self->size); }

static int shallow(void *unused)
{
    (void)unused;
    return async_sleep(0);
}

enum { DEEP = 60000 };

static int measures_stacks(void *unused)
{
    (void)unused;
    async_loop *loop = async_get_running_loop();
    async_stack_depth depths[8];
    assert_int_equal(async_loop_stack_depths(loop, depths, 8), 0);
    for (int i = 0; i < 3; i++) {
        for (size_t size = 10000; size <= DEEP; size += 50000)
            assert_int_equal(async_await(async_spawn(digs, .size = size)), 0);
        assert_int_equal(async_await(async_create_task(shallow)), 0); /* on a stack that was deep */
    }
    assert_int_equal(async_loop_stack_depths(loop, NULL, 0),
                     3 - 1); /* two of them stand in one line */
    assert_int_equal(async_loop_stack_depths(loop, depths, 8), 2);
    assert_string_equal(depths[0].coroutine, "digs");
    assert_non_null(strstr(depths[0].where, "test_metrics.c:"));
    assert_int_equal(depths[0].tasks, 6);
    assert_true(depths[0].deepest >= DEEP && depths[0].deepest < depths[0].size);
    assert_string_equal(depths[1].coroutine, "shallow");
    assert_int_equal(depths[1].tasks, 3);
    assert_true(depths[1].deepest > 0 && depths[1].deepest < DEEP);
    return 0;
}

static int knows_no_stacks(void *unused)
{
    (void)unused;
    async_stack_depth depths[8];
    assert_int_equal(async_await(async_spawn(digs, .size = 10000)), 0);
    assert_int_equal(async_loop_stack_depths(async_get_running_loop(), depths, 8), 0);
    return 0;
}

static void test_stacks(void **state)
{
    (void)state;
    async_run_options options = {.loop = {.virtual_clock = true, .measure = ASYNC_MEASURE_STACKS}};
    assert_int_equal(async_run_with(measures_stacks, NULL, &options), 0);
    options.loop.debug = true; /* where stacks come back later */
    assert_int_equal(async_run_with(measures_stacks, NULL, &options), 0);
    assert_int_equal(run(knows_no_stacks, NULL), 0);
}

/* ---- arguments ---- */

static void test_arguments(void **state)
{
    (void)state;
    async_metrics metrics;
    async_loop *loop = async_loop_new(&(async_loop_options){.measure = ASYNC_MEASURE_SLEEPS});
    assert_non_null(loop);
    assert_int_equal(async_loop_metrics(NULL, &metrics), -EBADF);
    assert_int_equal(async_loop_metrics(loop, NULL), -EBADF);
    assert_int_equal(async_loop_metrics(loop, &metrics),
                     0); /* that runs no tasks, and does not run */
    assert_int_equal(metrics.tasks_made, 0);
    assert_int_equal(metrics.callbacks, 0);
    assert_int_equal(async_loop_stack_depths(NULL, NULL, 0), 0);
    assert_int_equal(async_loop_stack_depths(loop, NULL, 0), 0);

    struct {
        async_metrics known;
        uint64_t later;
    } larger; /* of a program that was compiled with a later header */
    memset(&larger, 0xff, sizeof larger);
    assert_int_equal(async__loop_metrics(loop, &larger.known, sizeof larger), 0);
    assert_true(larger.later == 0);
    metrics.looks = 77;
    assert_int_equal(async__loop_metrics(loop, &metrics, 0), 0); /* and an earlier one */
    assert_int_equal(metrics.looks, 77);
    assert_int_equal(async_loop_close(loop), 0);
}

TEST(counts_tasks)
TEST(counts_descriptors)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_tasks),
        cmocka_unit_test(test_steps_are_counted),
        cmocka_unit_test(test_counts_descriptors),
        cmocka_unit_test(test_jobs_are_counted),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_lag),
        cmocka_unit_test(test_stacks),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
