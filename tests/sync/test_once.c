/* What is done once: one run for all, failures told to all, a cancelled run taken over. */
#include "run.h"

static async_once once;
static int runs, outcome;

static int work(void *unused)
{
    (void)unused;
    runs++;
    int code = async_sleep(1);
    if (code < 0) return code;
    return outcome < 0 ? async_raise(outcome, "attempt %d", runs) : outcome;
}

static int calls(void *unused)
{
    (void)unused;
    int code = async_once_run(&once, work, NULL);
    note("%s%s@%d", async_error_name(code), code < 0 ? async_error_message() : "", tenths());
    return code;
}

static void make(async_task **tasks, int count)
{
    for (int i = 0; i < count; i++)
        tasks[i] = async_create_task(calls);
    async_sleep(0.5);
}

static int succeeds(void *unused)
{
    (void)unused;
    async_task *tasks[3];
    once = (async_once){0};
    runs = 0;
    outcome = 7;
    make(tasks, 3);
    assert_false(async_once_done(&once));
    int codes[3];
    assert_int_equal(async_gather_results(tasks, 3, codes), 0);
    assert_true(codes[0] == 7 && codes[1] == 7 && codes[2] == 7);
    notes[0] = 0;
    assert_true(async_once_done(&once));
    assert_int_equal(async_once_run(&once, work, NULL), 7);
    assert_int_equal(runs, 1);
    return 0;
}

/* All that waited for it fail with it; the next call tries again. */
static int fails(void *unused)
{
    (void)unused;
    async_task *tasks[3];
    once = (async_once){0};
    runs = 0;
    outcome = -EIO;
    make(tasks, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(async_await(tasks[i]), -EIO);
    assert_notes("EIOattempt 1@10 EIOattempt 1@10 EIOattempt 1@10 ");
    assert_string_equal(async_error_chain(), "Task-4 (calls) <- Task-1");
    outcome = 0;
    assert_int_equal(calls(NULL), 0);
    assert_int_equal(runs, 2);
    notes[0] = 0;
    return 0;
}

static int taken_over(void *unused)
{
    (void)unused;
    async_task *tasks[4];
    once = (async_once){0};
    runs = 0;
    outcome = 0;
    make(tasks, 3);
    async_cancel(tasks[1], NULL); /* waits */
    async_cancel(tasks[0], NULL); /* runs it */
    async_sleep(0);               /* the third has been named, and not run yet */
    tasks[3] = async_create_task(calls);
    assert_int_equal(async_await(tasks[0]), -ECANCELED);
    assert_int_equal(async_await(tasks[1]), -ECANCELED);
    assert_int_equal(async_gather(tasks[2], tasks[3]), 0);
    assert_int_equal(runs, 2);
    assert_int_equal(tenths(), 15);
    notes[0] = 0;

    once = (async_once){0}; /* by a timeout, with none that waits */
    async_timeout (0.5)
        assert_int_equal(calls(NULL), -ETIMEDOUT);
    assert_int_equal(calls(NULL), 0);
    notes[0] = 0;
    return 0;
}

/* The one that takes over is cancelled as it does. */
static int taken_over_twice(void *unused)
{
    (void)unused;
    async_task *tasks[3];
    once = (async_once){0};
    runs = 0;
    outcome = 0;
    make(tasks, 3);
    async_cancel(tasks[0], NULL);
    assert_int_equal(async_await(tasks[0]), -ECANCELED);
    async_cancel(tasks[1], NULL);
    assert_int_equal(async_await(tasks[1]), -ECANCELED);
    assert_int_equal(async_await(tasks[2]), 0);
    assert_int_equal(runs, 3);
    notes[0] = 0;
    return 0;
}

static int again(void *unused)
{
    (void)unused;
    return async_once_run(&once, again, NULL);
}

static int misuse(void *unused)
{
    (void)unused;
    once = (async_once)ASYNC_ONCE_INIT;
    assert_int_equal(async_once_run(&once, again, NULL), -EDEADLK);
    assert_int_equal(async_once_run(&once, NULL, NULL), -EINVAL);
    assert_int_equal(async_once_run(NULL, work, NULL), -EBADF);
    assert_string_equal(async_error_message(), "async_once_run: the once is NULL");
    assert_false(async_once_done(NULL));
    return 0;
}

static void test_outside(void **state)
{
    (void)state;
    once = (async_once){0};
    assert_int_equal(async_once_run(&once, work, NULL), -EPERM);
}

TEST(succeeds)
TEST(fails)
TEST(taken_over)
TEST(taken_over_twice)
TEST(misuse)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_succeeds),   cmocka_unit_test(test_fails),
        cmocka_unit_test(test_taken_over), cmocka_unit_test(test_taken_over_twice),
        cmocka_unit_test(test_misuse),     cmocka_unit_test(test_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
