/* Task groups; among the cases, those of asyncio's repairs: cpython issues 95289, 116720, 128588,
 * 133747, 155418 and 155433. */
#include "run.h"

struct child {
    double seconds;
    int result;
};

static int child(struct child *self)
{
    int code = async_sleep(self->seconds);
    note("%s@%d", async_error_name(code), tenths());
    if (code < 0) return code;
    return self->result < 0 ? async_raise(self->result, "child after %g", self->seconds) : 0;
}

static int waits_for_all(void *argument)
{
    (void)argument;
    async_with_group (group) {
        async_group_spawn(group, child, .seconds = 1);
        async_group_spawn(group, child, .seconds = 2);
        assert_int_equal(async_group_count(group), 2);
    }
    assert_int_equal(async_block_error(), 0);
    assert_notes("0@10 0@20 ");
    return 0;
}

static int fails(void *argument)
{
    (void)argument;
    int in_block = 0;
    async_with_group (group) {
        async_group_spawn(group, child, .seconds = 1, .result = -EIO);
        async_group_spawn(group, child, .seconds = 5);
        in_block = async_sleep(3);
        assert_null(async_group_spawn(group, child, .seconds = 1));
    }
    assert_int_equal(in_block, -ECANCELED);
    assert_int_equal(async_block_error(), -EIO);
    assert_string_equal(async_error_message(), "child after 1");
    assert_int_equal(async_error_causes(), 1);
    assert_notes("0@10 ECANCELED@10 ");
    assert_int_equal(async_sleep(1), 0);
    return 0;
}

static int two_fail(void *argument)
{
    (void)argument;
    async_group *group = async_group_enter();
    async_group_spawn(group, child, .seconds = 1, .result = -EIO);
    async_group_spawn(group, child, .seconds = 1, .result = -EPROTO);
    assert_int_equal(async_group_leave(group), -EIO);
    assert_int_equal(async_error_causes(), 2);
    int code;
    assert_string_equal(async_error_cause(1, &code), "child after 1");
    assert_int_equal(code, -EPROTO);
    assert_null(async_error_cause(2, &code));
    return 0;
}

/* The group's error is not asked for: it becomes the task's result. */
static int forgets_to_ask(void *argument)
{
    (void)argument;
    async_with_group (group)
        async_group_spawn(group, child, .seconds = 1, .result = -EIO);
    return 0;
}

static void test_an_error_nobody_asks_for(void **state)
{
    (void)state;
    notes[0] = 0;
    assert_int_equal(run(forgets_to_ask, NULL), -EIO);
    assert_string_equal(async_run_error_message(), "child after 1");
}

static int owns(void *argument)
{
    (void)argument;
    int code = 0;
    async_with_group (group) {
        async_group_spawn(group, child, .seconds = 5);
        code = async_group_wait(group);
    }
    return code;
}

static int is_cancelled_from_outside(void *argument)
{
    (void)argument;
    async_task *owner = async_create_task(owns, NULL);
    async_sleep(1);
    async_cancel(owner, NULL);
    assert_int_equal(async_await(owner), -ECANCELED);
    assert_notes("ECANCELED@10 ");
    return 0;
}

static int leaves_early(void)
{
    async_with_group (group) {
        async_group_spawn(group, child, .seconds = 1);
        return 4;
    }
    return 0;
}

static int returns_from_inside(void *argument)
{
    (void)argument;
    assert_int_equal(leaves_early(), 4);
    assert_notes("0@10 ");
    async_with_group (group) {
        async_group_spawn(group, child, .seconds = 1);
        async_group_cancel(group);
        break;
    }
    assert_int_equal(async_block_error(), 0);
    assert_notes("ECANCELED@10 ");
    return 0;
}

static int leaves_open(void *argument)
{
    async_group *group = async_group_enter();
    async_group_spawn(group, child, .seconds = 50);
    if (argument) async_timeout_enter(argument, 1);
    return 0;
}

static int is_left_open(void *argument)
{
    (void)argument;
    static async_scope scope;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(async_await(async_create_task(leaves_open, i ? &scope : NULL)), -EINVAL);
        assert_non_null(strstr(async_error_message(), "leaves_open returned"));
    }
    assert_notes("ECANCELED@0 ECANCELED@0 ");
    return async_sleep(3);
}

static int cancels_group(void *argument)
{
    async_sleep(1);
    async_group_cancel(argument);
    return 0;
}

static int ticks(async_generator *self, void *argument)
{
    int code = 0;
    (void)argument;
    for (int i = 0; code == 0; i++) {
        code = async_sleep(0.3);
        if (code == 0) code = async_yield(self, &i);
    }
    return code;
}

static int loops_in_a_group(void *argument)
{
    (void)argument;
    async_with_group (group) {
        async_group_create_task(group, cancels_group, group);
        async_for (int, tick, async_generate(ticks, NULL, sizeof(int)))
            note("%d", tick);
    }
    return 0;
}

/* That the group's own cancellation ended a loop in its block is no error of the task's. */
static int is_cancelled_by_itself(void *argument)
{
    (void)argument;
    assert_int_equal(async_await(async_create_task(loops_in_a_group, NULL)), 0);
    assert_notes("0 1 2 ");
    return 0;
}

/* 95289: a block that swallows the cancellation of its group does not leave the task cancelled. */
static int issue_95289(void *argument)
{
    (void)argument;
    async_group *group = async_group_enter();
    async_group_spawn(group, child, .seconds = 0, .result = -EIO);
    async_sleep(1);
    assert_int_equal(async_group_leave(group), -EIO);
    assert_false(async_task_cancelling(async_current_task()));
    assert_int_equal(async_sleep(1), 0);
    return 0;
}

/* 116720: the inner group's error, handled, does not hide that the outer one is being cancelled. */
static int issue_116720(void *argument)
{
    (void)argument;
    async_group *outer = async_group_enter();
    async_group *inner = async_group_enter();
    async_group_spawn(inner, child, .seconds = 1, .result = -EPROTO);
    async_group_spawn(outer, child, .seconds = 1, .result = -EIO);
    assert_int_equal(async_group_leave(inner), -EPROTO);
    assert_int_equal(async_sleep(1), -ECANCELED);
    assert_int_equal(async_group_leave(outer), -EIO);
    assert_int_equal(async_sleep(1), 0);
    return 0;
}

static int fails_at_once(void *argument)
{
    (void)argument;
    return async_raise(-EIO, "at once");
}

/* 128588: a child that ends without ever having suspended. */
static int issue_128588(void *argument)
{
    (void)argument;
    async_group *group = async_group_enter();
    async_group_create_task(group, fails_at_once, NULL);
    assert_int_equal(async_group_leave(group), -EIO);
    assert_int_equal(async_sleep(1), 0);
    return 0;
}

static int delays_the_error(void *argument)
{
    (void)argument;
    async_group *group = async_group_enter();
    async_group_create_task(group, fails_at_once, NULL);
    int code = async_group_leave(group);
    int late = async_sleep(1);
    return late < 0 ? late : code;
}

/* 133747: the time runs out while a group's error is on its way: a timeout, and nothing else. */
static int issue_133747(void *argument)
{
    (void)argument;
    assert_int_equal(async_wait_for(async_create_task(delays_the_error, NULL), 0.1), -ETIMEDOUT);
    assert_int_equal(tenths(), 1);
    assert_false(async_task_cancelling(async_current_task()));
    return 0;
}

struct canceller {
    async_group *group;
    async_event *never;
};

static int canceller(struct canceller *self)
{
    async_group_cancel(self->group);
    return async_event_wait(self->never);
}

/* 155418: a child that cancels its group before it first suspends. */
static int issue_155418(void *argument)
{
    (void)argument;
    async_event never = ASYNC_EVENT_INIT;
    async_group *group = async_group_enter();
    async_group_spawn(group, canceller, .group = group, .never = &never);
    assert_int_equal(async_group_leave(group), 0);
    return async_sleep(1);
}

static int slow_to_end(void *argument)
{
    (void)argument;
    async_sleep(3600);
    async_shield ()
        async_sleep(1);
    return 0;
}

/* 155433: a timeout from outside, while a group that was cancelled winds up. */
static int issue_155433(void *argument)
{
    (void)argument;
    int code = 0;
    async_timeout (0.5) {
        async_group *group = async_group_enter();
        async_group_create_task(group, slow_to_end, NULL);
        async_sleep(0.1);
        async_group_cancel(group);
        code = async_group_leave(group);
    }
    assert_int_equal(code, -ETIMEDOUT);
    assert_int_equal(async_sleep(1), 0);
    return 0;
}

TEST(waits_for_all)
TEST(fails)
TEST(two_fail)
TEST(is_cancelled_from_outside)
TEST(returns_from_inside)
TEST(is_left_open)
TEST(is_cancelled_by_itself)
TEST(issue_95289)
TEST(issue_116720)
TEST(issue_128588)
TEST(issue_133747)
TEST(issue_155418)
TEST(issue_155433)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_for_all),
        cmocka_unit_test(test_fails),
        cmocka_unit_test(test_two_fail),
        cmocka_unit_test(test_an_error_nobody_asks_for),
        cmocka_unit_test(test_is_cancelled_from_outside),
        cmocka_unit_test(test_returns_from_inside),
        cmocka_unit_test(test_is_left_open),
        cmocka_unit_test(test_is_cancelled_by_itself),
        cmocka_unit_test(test_issue_95289),
        cmocka_unit_test(test_issue_116720),
        cmocka_unit_test(test_issue_128588),
        cmocka_unit_test(test_issue_133747),
        cmocka_unit_test(test_issue_155418),
        cmocka_unit_test(test_issue_155433),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
