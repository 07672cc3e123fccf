/* Cancellation: level-triggered, in scopes; timeouts and shields. */
#include "run.h"

#include <math.h>

static int stubborn(void *argument)
{
    int *calls = argument;
    while (async_sleep(10) == -ECANCELED && ++*calls < 5)
        ; /* a program that ignores the code does not hang */
    return 9;
}

static int cancels(void *argument)
{
    (void)argument;
    int calls = 0;
    async_task *task = async_create_task(stubborn, &calls);
    async_sleep(1);
    assert_false(async_task_cancelling(task));
    assert_true(async_cancel(task, "why not"));
    assert_false(async_cancel(task, "twice"));
    assert_true(async_task_cancelling(task));
    assert_int_equal(async_await(task), 9);
    assert_int_equal(calls, 5);
    assert_int_equal(tenths(), 10);
    assert_false(async_cancel(NULL, NULL));
    return 0;
}

static int told_why(void *argument)
{
    (void)argument;
    int code = async_sleep(10);
    assert_string_equal(async_error_message(), "too slow");
    return code;
}

static int says_why(void *argument)
{
    (void)argument;
    async_task *task = async_create_task(told_why, NULL);
    async_sleep(0);
    async_cancel(task, "too slow");
    assert_int_equal(async_await(task), -ECANCELED);
    assert_string_equal(async_error_message(), "too slow");
    return 0;
}

static int comes_round(void *argument)
{
    (void)argument;
    assert_int_equal(async_sleep(10), -ECANCELED);
    assert_true(async_uncancel(async_current_task()));
    assert_false(async_uncancel(async_current_task()));
    assert_int_equal(async_sleep(1), 0);
    return 5;
}

static int uncancels(void *argument)
{
    (void)argument;
    async_task *task = async_create_task(comes_round, NULL);
    async_sleep(0);
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), 5);
    assert_int_equal(tenths(), 10);
    return 0;
}

static int never_started(void *argument)
{
    *(int *)argument = async_sleep(1);
    return 0;
}

/* Unlike asyncio, the coroutine runs, so that it can let go of what its argument brought. */
static int cancels_before_the_start(void *argument)
{
    (void)argument;
    int code = 0;
    async_task *task = async_create_task(never_started, &code);
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), 0);
    assert_int_equal(code, -ECANCELED);
    return 0;
}

static int awaits_child(void *argument) { return async_await(argument); }

static int passes_on(void *argument)
{
    (void)argument;
    async_task *child = async_create_task(told_why, NULL);
    async_task *parent = async_create_task(awaits_child, child);
    async_sleep(1);
    async_cancel(child, "too slow");
    assert_int_equal(async_await(parent), -ECANCELED);

    int calls = 0;
    child = async_create_task(stubborn, &calls);
    parent = async_create_task(awaits_child, child);
    async_sleep(1);
    async_cancel(parent, NULL);
    assert_int_equal(async_await(parent), 9);
    assert_int_equal(calls, 5);
    return 0;
}

static int times_out(void *argument)
{
    (void)argument;
    int code = 0;
    async_timeout (2.5) {
        code = async_sleep(1);
        assert_int_equal(code, 0);
        code = async_sleep(10);
        assert_int_equal(async_sleep(0), -ETIMEDOUT);
    }
    assert_int_equal(code, -ETIMEDOUT);
    assert_int_equal(tenths(), 25);
    assert_int_equal(async_sleep(1), 0);

    async_timeout (0)
        assert_int_equal(async_sleep(1), -ETIMEDOUT);
    async_timeout (-1)
        assert_int_equal(async_sleep(1), -ETIMEDOUT);
    async_timeout (INFINITY)
        assert_int_equal(async_sleep(1), 0);
    async_timeout (NAN)
        fail();
    assert_int_equal(async_block_error(), -EINVAL);
    return 0;
}

static int returns_from_inside(void)
{
    async_timeout (1)
        return async_sleep(5);
    return 1;
}

static int nests(void *argument)
{
    (void)argument;
    assert_int_equal(returns_from_inside(), -ETIMEDOUT);
    assert_int_equal(async_sleep(0), 0);
    async_timeout_scope (outer, 1) {
        async_timeout_scope (inner, 5) {
            assert_int_equal(async_sleep(9), -ETIMEDOUT);
            assert_false(async_scope_expired(&inner));
            assert_true(async_scope_expired(&outer));
        }
        assert_int_equal(async_sleep(9), -ETIMEDOUT);
    }
    double start = async_now();
    async_timeout_scope (scope, 1) {
        assert_int_equal(async_scope_reschedule(&scope, start + 3), 0);
        assert_true(async_scope_when(&scope) == start + 3);
        assert_int_equal(async_sleep(2), 0);
        assert_int_equal(async_scope_reschedule(&scope, NAN), -EINVAL);
        assert_int_equal(async_sleep(2), -ETIMEDOUT);
        assert_int_equal(async_scope_reschedule(&scope, start + 9), -EINVAL);
    }
    async_timeout_scope (scope, INFINITY) {
        async_scope_cancel(&scope);
        assert_int_equal(async_sleep(1), -ECANCELED);
    }
    assert_int_equal(async_sleep(0), 0);
    return 0;
}

static int cleans_up(void *argument)
{
    (void)argument;
    int code = async_sleep(10);
    async_shield () {
        note("shielded:%s", async_error_name(async_sleep(1)));
        async_timeout (0.5)
            note("inside:%s", async_error_name(async_sleep(1)));
    }
    note("after:%s", async_error_name(async_sleep(1)));
    return code;
}

static int shields(void *argument)
{
    (void)argument;
    async_task *task = async_create_task(cleans_up, NULL);
    async_sleep(1);
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    assert_notes("shielded:0 inside:ETIMEDOUT after:ECANCELED ");
    assert_int_equal(tenths(), 25);

    async_shield ()
        async_timeout (0.5)
            assert_int_equal(async_sleep(1), -ETIMEDOUT);
    async_timeout (0.5)
        async_shield ()
            assert_int_equal(async_sleep(1), 0);
    return 0;
}

static int both_at_once(void *argument)
{
    async_event *event = argument;
    int code = async_event_wait(event);
    note("got:%s", async_error_name(code));
    note("then:%s", async_error_name(async_sleep(1)));
    return code;
}

/* What came about before the cancellation is given; the cancellation is not lost. */
static int races(void *argument)
{
    (void)argument;
    async_event event = ASYNC_EVENT_INIT;
    async_task *task = async_create_task(both_at_once, &event);
    async_sleep(0);
    async_event_set(&event);
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), 0);
    assert_notes("got:0 then:ECANCELED ");

    async_event_clear(&event);
    task = async_create_task(both_at_once, &event);
    async_sleep(0);
    async_cancel(task, NULL);
    async_event_set(&event);
    assert_int_equal(async_await(task), -ECANCELED);
    assert_notes("got:ECANCELED then:ECANCELED ");
    return 0;
}

static int forgets_a_scope(void *argument)
{
    static async_scope in_static_memory;
    async_scope scope;
    (void)argument;
    async_timeout_enter(&in_static_memory, 1);
    async_timeout_enter(&scope, 0.5);
    return 0;
}

static int survives_forgotten_scopes(void *argument)
{
    (void)argument;
    async_task *task = async_create_task(forgets_a_scope, NULL);
    assert_int_equal(async_await(task), -EINVAL);
    assert_non_null(strstr(async_error_message(), "forgets_a_scope"));
    return async_sleep(2);
}

TEST(cancels)
TEST(says_why)
TEST(uncancels)
TEST(cancels_before_the_start)
TEST(passes_on)
TEST(times_out)
TEST(nests)
TEST(shields)
TEST(races)
TEST(survives_forgotten_scopes)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancels),   cmocka_unit_test(test_says_why),
        cmocka_unit_test(test_uncancels), cmocka_unit_test(test_cancels_before_the_start),
        cmocka_unit_test(test_passes_on), cmocka_unit_test(test_times_out),
        cmocka_unit_test(test_nests),     cmocka_unit_test(test_shields),
        cmocka_unit_test(test_races),     cmocka_unit_test(test_survives_forgotten_scopes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
