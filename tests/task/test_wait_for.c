/* wait_for: the cases of CPython's test_waitfor.py, as far as they make sense where a task that is waited
 * for is always waited out. */
#include "run.h"

#include <math.h>

static int five(void *unused)
{
    (void)unused;
    return 5;
}

static int five_at(void *when)
{
    int code = async_sleep(*(double *)when);
    return code < 0 ? code : 5;
}

/* What a task does with its cancellation. */
static int ignores(void *unused)
{
    (void)unused;
    note("%s", async_error_name(async_sleep(100)));
    return 7;
}

static int fails_instead(void *unused)
{
    (void)unused;
    return async_sleep(100) < 0 ? async_raise(-EIO, "the clean-up failed") : 0;
}

static int cleans_up(void *unused)
{
    (void)unused;
    int code = async_sleep(100);
    async_shield ()
        async_sleep(2);
    note("clean");
    return code;
}

static int in_time(void *unused)
{
    double when = 1;

    (void)unused;
    assert_int_equal(async_wait_for(async_create_task(five_at, &when), 2), 5);
    assert_int_equal(tenths(), 10);
    assert_int_equal(async_wait_for(async_create_task(five_at, &when), INFINITY), 5);
    assert_int_equal(async_wait_for(async_create_task(five), 2), 5);
    return 0;
}
TEST(in_time)

/* Without time: a task that has ended gives its result all the same; one that could still run is run, so
 * that it can release what it owns, and refused. */
static int without_time(void *unused)
{
    static const double none[] = {0, -1, -INFINITY};
    double when = 1;

    (void)unused;
    for (size_t i = 0; i < COUNT(none); i++) {
        async_task *task = async_create_task(five);
        async_sleep(0);
        assert_int_equal(async_wait_for(task, none[i]), 5);
        assert_int_equal(async_wait_for(async_create_task(five_at, &when), none[i]), -ETIMEDOUT);
        task = async_create_task(five_at, &when);
        async_sleep(0.5);
        assert_int_equal(async_wait_for(task, none[i]), -ETIMEDOUT);
    }
    assert_int_equal(tenths(), 15);
    return 0;
}
TEST(without_time)

static int what_the_task_makes_of_it(void *unused)
{
    (void)unused;
    assert_int_equal(async_wait_for(async_create_task(ignores), 1), 7);
    assert_int_equal(async_wait_for(async_create_task(fails_instead), 1), -EIO);
    assert_string_equal(async_error_message(), "the clean-up failed");
    assert_int_equal(async_wait_for(async_create_task(cleans_up), 1), -ETIMEDOUT);
    assert_int_equal(tenths(), 50); /* 1, 1, and 1 with 2 of the clean-up */
    assert_notes("ECANCELED clean ");
    return 0;
}
TEST(what_the_task_makes_of_it)

/* ---- the one that waits is cancelled ---- */

static int waits_for(void *coroutine)
{
    int code = async_wait_for(async_create_task(*(async_coroutine *)coroutine, NULL), 10);
    note("%s", code < 0 ? async_error_name(code) : "result");
    return async_sleep(0) < 0 ? code : -EIO; /* the next call tells in any case */
}

static int is_cancelled(void *unused)
{
    static async_coroutine ways[] = {ignores, fails_instead, cleans_up};
    static const int codes[] = {7, -EIO, -ECANCELED};

    (void)unused;
    for (size_t i = 0; i < COUNT(ways); i++) {
        async_task *task = async_create_task(waits_for, &ways[i]);
        async_sleep(1);
        async_cancel(task, "enough");
        assert_int_equal(async_await(task), codes[i]);
        if (codes[i] == -ECANCELED) assert_string_equal(async_error_message(), "enough");
    }
    assert_notes("ECANCELED result EIO clean ECANCELED ");
    return 0;
}
TEST(is_cancelled)

/* ---- in the same turn ---- */

static int races(void *unused)
{
    double when = 1;

    (void)unused;
    for (int order = 0; order < 2; order++) {
        async_task *task = order ? NULL : async_create_task(five_at, &when);
        if (!order) async_sleep(0); /* its timer is the older one */
        double start = async_now();
        int code = async_wait_for(order ? async_create_task(five_at, &when) : task, 1);
        assert_true(code == 5 || code == -ETIMEDOUT);
        assert_int_equal((int)((async_now() - start) * 10 + 0.5), 10);
        assert_int_equal(async_sleep(0), 0); /* nothing is left of it */
    }
    return 0;
}

static int result_and_cancel(void *unused)
{
    double when = 1;

    (void)unused;
    async_task *inner = async_create_task(five_at, &when);
    async_sleep(1);
    async_cancel(async_current_task(), NULL);
    assert_int_equal(async_wait_for(inner, 5), 5); /* it is there: the next call tells */
    assert_int_equal(async_sleep(0), -ECANCELED);
    async_uncancel(async_current_task());
    return 0;
}
TEST(result_and_cancel)

static void test_races(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < fewer_seeds(200); seed++)
        assert_int_equal(run_seeded(races, NULL, seed), 0);
}

/* ---- one in another ---- */

static int outlasts(void *seconds)
{
    return async_wait_for(async_create_task(ignores), *(double *)seconds);
}

static int nests(void *unused)
{
    double seconds = 1;

    (void)unused;
    assert_int_equal(async_wait_for(async_create_task(outlasts, &seconds), 5), 7);
    seconds =
        50; /* the outer one's time runs out: its task is cancelled, and with it the inner one's */
    assert_int_equal(async_wait_for(async_create_task(outlasts, &seconds), 1), 7);
    async_timeout (1)
        assert_int_equal(async_wait_for(async_create_task(cleans_up), 50), -ETIMEDOUT);
    assert_string_equal(async_error_message(), "timed out after 1 s (task)");
    assert_notes("ECANCELED ECANCELED clean ");
    return 0;
}
TEST(nests)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_time),      cmocka_unit_test(test_without_time),
        cmocka_unit_test(test_is_cancelled), cmocka_unit_test(test_what_the_task_makes_of_it),
        cmocka_unit_test(test_races),        cmocka_unit_test(test_result_and_cancel),
        cmocka_unit_test(test_nests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
