/* What happens at the beginning and the end of a task: eager starts, done callbacks, results. */
#include "run.h"

/* ---- eager ---- */

struct worker {
    const char *name;
    double seconds;
    int result;
};

static int worker(struct worker *self)
{
    note("+%s", self->name);
    int code = self->seconds > 0 ? async_sleep(self->seconds) : 0;
    note("-%s", self->name);
    return code < 0 ? code : self->result;
}

static int other(void *name)
{
    note("%s", (const char *)name);
    return 0;
}

static int starts_at_once(void *unused)
{
    (void)unused;
    async_task *ready = async_create_task(other, "other");
    async_task *task = async_spawn_eager(worker, .name = "a", .result = 4);
    note("made");
    assert_true(async_task_done(task));
    assert_int_equal(async_task_result(task), 4);
    async_task *slow = async_spawn_eager(worker, .name = "b", .seconds = 1, .result = 5);
    note("made");
    assert_int_equal(async_task_result(slow), -EINPROGRESS);
    assert_notes("+a -a made +b made "); /* and nothing else has run */
    assert_int_equal(async_await(task), 4);
    assert_int_equal(async_await(slow), 5);
    assert_int_equal(async_await(ready), 0);
    assert_notes("other -b ");
    assert_int_equal(async_await(async_create_task_eager(other, "x")), 0);
    assert_notes("x ");
    return 0;
}

static int nests(void *depth)
{
    intptr_t n = (intptr_t)depth;
    note("+%d", (int)n);
    async_task *inner = n < 4 ? async_create_task_eager(nests, (void *)(n + 1)) : NULL;
    note("=%d", (int)n);
    async_sleep(0);
    note("-%d", (int)n);
    return inner ? async_await(inner) : 0;
}

static int nests_eagerly(void *unused)
{
    (void)unused;
    async_task *task = async_create_task_eager(nests, (void *)1);
    assert_notes("+1 +2 +3 +4 =4 =3 =2 =1 ");
    async_await(task);
    notes[0] = 0;
    return 0;
}

struct from_callback {
    async_callback callback;
    async_event made;
    async_task *task;
};

static void make_in_callback(async_callback *callback)
{
    struct from_callback *self = (struct from_callback *)callback;
    note("callback");
    self->task = async_create_task_eager(nests, (void *)3);
    note("back");
    async_event_set(&self->made);
}

static int in_callbacks(void *unused)
{
    (void)unused;
    struct from_callback self = {.callback = {.run = make_in_callback}};
    async_task *ready = async_create_task(other, "other");
    async_call_soon(async_get_running_loop(), &self.callback);
    async_task *later = async_create_task(other, "later");
    async_event_wait(&self.made);
    assert_notes("other callback +3 +4 =4 =3 back later -4 -3 ");
    return async_gather(self.task, ready, later);
}

static int fails(void *unused)
{
    (void)unused;
    return async_raise(-EIO, "at once");
}

static int in_groups(void *unused)
{
    (void)unused;
    int result = 0;
    async_group *group = async_group_enter();
    async_task_options options = {.eager_start = true, .result = &result};
    assert_non_null(async_group_create_task_with(group, other, "eager", &options));
    assert_notes("eager ");
    assert_int_equal(async_group_count(group), 0);
    assert_non_null(async_group_create_task_with(group, fails, NULL, &options));
    assert_int_equal(result, -EIO);
    assert_null(async_group_create_task_with(group, other, "late", &options));
    assert_int_equal(result, -ECANCELED);
    assert_int_equal(async_sleep(1), -ECANCELED);
    assert_int_equal(async_group_leave(group), -EIO);
    assert_string_equal(async_error_message(), "at once");
    return 0;
}

static int cancels_creator(void *task)
{
    async_cancel(task, "by its child");
    return 0;
}

static int is_cancelled_by_child(void *unused)
{
    (void)unused;
    async_task *self = async_current_task();
    async_task *task = async_create_task_eager(cancels_creator, self);
    assert_true(async_task_cancelling(self));
    assert_int_equal(async_sleep(1), -ECANCELED);
    assert_string_equal(async_error_message(), "by its child");
    async_uncancel(self);
    return async_await(task);
}

/* Whatever the seed draws, nothing runs between the start and the return. */
static int order(void *unused)
{
    (void)unused;
    async_task *tasks[8];
    for (int i = 0; i < 8; i++) {
        tasks[i] = i % 2 ? async_create_task(other, "*")
                         : async_spawn_eager(worker, .name = "a", .seconds = i % 4);
        if (i % 2) continue;
        assert_notes(i % 4 ? "+a " : "+a -a ");
    }
    int code = async_gather_array(tasks, 8);
    notes[0] = 0;
    return code;
}

static void test_order(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++)
        assert_int_equal(run_seeded(order, NULL, seed), 0);
}

/* ---- done callbacks ---- */

struct told {
    async_done_callback done;
    const char *name;
};

static void on_done(async_callback *callback)
{
    struct told *told = (struct told *)callback;
    note("%s=%d", told->name, told->done.code);
}

#define TOLD(text)                                                                                 \
    {                                                                                              \
        .done = {.callback = {.run = on_done}}, .name = text                                       \
    }

static int tells(void *unused)
{
    (void)unused;
    struct told a = TOLD("a"), b = TOLD("b"), c = TOLD("c"), empty = {0};
    async_task *task = async_spawn(worker, .name = "w", .seconds = 1, .result = 3);
    assert_int_equal(async_task_add_done_callback(task, &a.done), 0);
    assert_int_equal(async_task_add_done_callback(task, &a.done), -EBUSY);
    assert_int_equal(async_task_add_done_callback(task, &b.done), 0);
    assert_int_equal(async_task_add_done_callback(task, &c.done), 0);
    assert_int_equal(async_task_add_done_callback(task, &empty.done), -EINVAL);
    assert_int_equal(async_task_add_done_callback(task, NULL), -EBADF);
    assert_int_equal(async_task_add_done_callback(NULL, &empty.done), -EBADF);
    assert_true(async_task_remove_done_callback(task, &b.done));
    assert_false(async_task_remove_done_callback(task, &b.done));
    assert_false(async_task_remove_done_callback(task, NULL));
    assert_int_equal(async_await(task), 3);
    assert_notes("+w -w a=3 c=3 "); /* before what awaits it */

    task = async_spawn(worker, .name = "w", .result = -EIO);
    async_sleep(1);
    assert_int_equal(async_task_add_done_callback(task, &a.done), 0); /* it has ended */
    assert_notes("+w -w ");
    async_sleep(0);
    char expected[32];
    snprintf(expected, sizeof expected, "a=%d ", -EIO);
    assert_notes(expected);
    assert_int_equal(async_task_add_done_callback(task, &a.done), 0);
    assert_true(async_task_remove_done_callback(task, &a.done)); /* out of the queue */
    async_sleep(0);
    assert_notes("");
    assert_int_equal(async_await(task), -EIO);
    return 0;
}

/* Of tasks whose handles are gone when they end. */
static int tells_of_the_detached(void *unused)
{
    (void)unused;
    struct told a = TOLD("a"), b = TOLD("b");
    async_task *task = async_spawn(worker, .name = "w", .seconds = 1, .result = 1);
    async_task_add_done_callback(task, &a.done);
    async_detach(task);
    async_with_group (group)
        async_task_add_done_callback(
            async_group_spawn(group, worker, .name = "g", .seconds = 2, .result = 2), &b.done);
    assert_notes("+w +g -w a=1 -g b=2 ");
    assert_ptr_equal(async_task_get_loop(async_current_task()), async_get_running_loop());
    assert_null(async_task_get_loop(NULL));
    assert_int_equal(async_task_result(NULL), -EBADF);
    return 0;
}

/* Those of a task that the end of async_run cancels run too. */
static struct told last = TOLD("last");

static int is_left(void *unused)
{
    (void)unused;
    async_task *task = async_spawn(worker, .name = "w", .seconds = 100);
    async_task_add_done_callback(task, &last.done);
    return async_sleep(1);
}

static void test_at_the_end(void **state)
{
    (void)state;
    notes[0] = 0;
    assert_int_equal(run(is_left, NULL), 0);
    char expected[64];
    snprintf(expected, sizeof expected, "+w -w last=%d ", -ECANCELED);
    assert_notes(expected);
}

/* ---- futures ---- */

static int waits_for(void *future)
{
    int code = async_future_wait(future, NULL);
    note("waited=%d", code);
    return code;
}

static int futures_tell(void *unused)
{
    (void)unused;
    struct told a = TOLD("a"), b = TOLD("b");
    int seven = 7;
    void *value = NULL;
    async_future future = ASYNC_FUTURE_INIT;
    assert_int_equal(async_future_result(&future, &value), -EINPROGRESS);
    assert_int_equal(async_future_add_done_callback(&future, &a.done), 0);
    assert_int_equal(async_future_add_done_callback(&future, &b.done), 0);
    assert_int_equal(async_future_add_done_callback(&future, &b.done), -EBUSY);
    assert_int_equal(async_future_add_done_callback(NULL, &b.done), -EBADF);
    assert_true(async_future_remove_done_callback(&future, &b.done));
    assert_false(async_future_remove_done_callback(&future, &b.done));
    async_task *task = async_create_task(waits_for, &future);
    async_sleep(0);
    assert_int_equal(async_future_set(&future, 2, &seven), 0);
    assert_int_equal(async_future_result(&future, &value), 2);
    assert_ptr_equal(value, &seven);
    assert_int_equal(async_await(task), 2);
    assert_notes("a=2 waited=2 ");
    assert_int_equal(async_future_add_done_callback(&future, &b.done), 0);
    async_sleep(0);
    assert_notes("b=2 ");
    assert_false(async_future_cancel(&future));
    assert_false(async_future_cancelled(&future));

    future = (async_future)ASYNC_FUTURE_INIT;
    task = async_create_task(waits_for, &future);
    async_sleep(0);
    assert_true(async_future_cancel(&future));
    assert_true(async_future_cancelled(&future));
    assert_int_equal(async_future_result(&future, NULL), -ECANCELED);
    assert_int_equal(async_await(task), -ECANCELED);
    assert_int_equal(async_future_result(NULL, NULL), -EBADF);
    assert_false(async_future_cancel(NULL));
    notes[0] = 0;
    return 0;
}

static void test_future_without_a_loop(void **state)
{
    (void)state;
    struct told a = TOLD("a");
    async_future future = ASYNC_FUTURE_INIT;
    assert_int_equal(async_future_add_done_callback(&future, &a.done), -EPERM);
}

/* ---- results of a group ---- */

static int collects(void *unused)
{
    (void)unused;
    int results[5] = {-1, -1, -1, -1, -1};
    async_with_group (group)
        for (int i = 0; i < 5; i++)
            async_group_spawn_result(group, &results[i], worker, .name = "w", .seconds = 5 - i,
                                     .result = i * i);
    assert_int_equal(async_block_error(), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(results[i], i * i);
    async_with_group (group) {
        async_group_spawn_result(group, &results[0], worker, .name = "w", .seconds = 1,
                                 .result = -EIO);
        async_group_spawn_result(group, &results[1], worker, .name = "w", .seconds = 2);
    }
    assert_int_equal(async_block_error(), -EIO);
    assert_int_equal(results[0], -EIO);
    assert_int_equal(results[1], -ECANCELED);
    notes[0] = 0;
    return 0;
}

/* ---- TaskGroup.cancel() ---- */

static int cancels_group(void *group)
{
    async_sleep(1);
    async_group_cancel(group);
    return 0;
}

static int stops_group(void *unused)
{
    (void)unused;
    int result = 0;
    async_group *group = async_group_enter();
    async_group_spawn_result(group, &result, worker, .name = "w", .seconds = 9);
    async_group_create_task(group, cancels_group, group);
    assert_int_equal(async_sleep(5), -ECANCELED);  /* the block is ended, too */
    assert_int_equal(async_group_leave(group), 0); /* and that is no failure */
    assert_int_equal(tenths(), 10);
    assert_int_equal(result, -ECANCELED);
    assert_int_equal(async_sleep(1), 0);

    async_with_group (again) { /* twice, and before it has tasks */
        async_group_cancel(again);
        async_group_cancel(again);
        assert_null(async_group_spawn(again, worker, .name = "w"));
        assert_int_equal(async_error_code(), -ECANCELED);
        assert_int_equal(async_sleep(1), -ECANCELED);
    }
    assert_int_equal(async_block_error(), 0);

    async_with_group (failed) { /* a failure stays one */
        async_group_create_task(failed, fails);
        async_sleep(1);
        async_group_cancel(failed);
    }
    assert_int_equal(async_block_error(), -EIO);

    async_with_group (outer) { /* the owner's own cancellation goes on */
        async_group_cancel(outer);
        async_cancel(async_current_task(), "me");
    }
    assert_int_equal(async_block_error(), -ECANCELED);
    async_uncancel(async_current_task());
    notes[0] = 0;
    return 0;
}

TEST(starts_at_once)
TEST(nests_eagerly)
TEST(in_callbacks)
TEST(in_groups)
TEST(is_cancelled_by_child)
TEST(tells)
TEST(tells_of_the_detached)
TEST(futures_tell)
TEST(collects)
TEST(stops_group)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts_at_once),
        cmocka_unit_test(test_nests_eagerly),
        cmocka_unit_test(test_in_callbacks),
        cmocka_unit_test(test_in_groups),
        cmocka_unit_test(test_is_cancelled_by_child),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_tells),
        cmocka_unit_test(test_tells_of_the_detached),
        cmocka_unit_test(test_at_the_end),
        cmocka_unit_test(test_futures_tell),
        cmocka_unit_test(test_future_without_a_loop),
        cmocka_unit_test(test_collects),
        cmocka_unit_test(test_stops_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
