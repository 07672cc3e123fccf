/* Error records: the last error, which is like errno, and a block's error, which is kept until
 * async_block_error() asks for it or the task ends; outside of tasks they are the thread's. */
#include "run.h"

#include <pthread.h>

static async_queue *empty;
static async_lock lock;

static int fails(void *unused)
{
    (void)unused;
    return async_raise(-EIO, "first error");
}

static int good(void *unused)
{
    (void)unused;
    return 0;
}

static void *gives_null(int code)
{
    if (code < 0) async_raise(code, "the entry failed");
    return NULL;
}

static void quiet_exit(void *context) { (void)context; }

static void failing_exit(async_queue *queue)
{
    int item;
    while (async_queue_get_nowait(queue, &item) == 0)
        continue;
}

/* ---- errors that a block has dealt with are not the block's ---- */

static int handles_in_with(void)
{
    int item;
    async_with (async_queue *, queue, empty, quiet_exit)
        assert_int_equal(async_queue_get_nowait(queue, &item), -EAGAIN);
    return async_block_error();
}

static int handles_in_exit(void)
{
    async_with (async_queue *, queue, empty, failing_exit)
        assert_non_null(queue);
    assert_int_equal(async_error_code(), 0); /* the exit's own errors do not show */
    return async_block_error();
}

static int handles_a_timeout(void)
{
    async_timeout (0.01)
        assert_int_equal(async_sleep(1), -ETIMEDOUT);
    return async_block_error();
}

static int handles_in_a_loop(void)
{
    int one = 1, item, code = 0;
    async_queue *queue = async_queue_new(sizeof(int), 0);
    async_queue_put_nowait(queue, &one);
    async_queue_put_nowait(queue, &one);
    async_queue_shutdown(queue, false);
    async_for (int, value, async_queue_items(queue)) {
        code = async_queue_get_nowait(empty, &item);
        if (value == 2) break;
    }
    assert_int_equal(code, -EAGAIN);
    async_queue_free(queue);
    return async_block_error();
}

static int handles_in_a_group(void)
{
    int item;
    async_with_group (group) {
        async_group_create_task(group, good, NULL);
        async_queue_get_nowait(empty, &item);
    }
    return async_block_error();
}

static int handles_under_a_lock(void)
{
    int item;
    async_with_lock (&lock)
        async_queue_get_nowait(empty, &item);
    return async_block_error();
}

static int invents_nothing(void *unused)
{
    int (*const functions[])(void) = {handles_in_with,   handles_in_exit,    handles_a_timeout,
                                      handles_in_a_loop, handles_in_a_group, handles_under_a_lock};
    (void)unused;
    for (size_t i = 0; i < COUNT(functions); i++)
        assert_int_equal(async_await(async_create_task(functions[i])), 0);
    return 0;
}

/* ---- errors of blocks are not lost ---- */

static int two_blocks(void)
{
    async_with (void *, missing, gives_null(-ENOENT), quiet_exit)
        fail_msg("%p", missing);
    async_with_lock (&lock)
        ;
    async_for (int, value, async_queue_items(NULL))
        fail_msg("%d", value);
    return 0;
}

static int asks(void)
{
    assert_int_equal(two_blocks(), 0);
    assert_int_equal(async_error_code(), -ENOENT); /* the last one: the queue's NULL came of it */
    assert_int_equal(async_block_error(), -ENOENT);
    assert_string_equal(async_error_message(), "the entry failed");
    assert_int_equal(async_block_error(), 0);
    return 0;
}

static int does_not_ask(void) { return two_blocks(); }

static int other_calls_come_between(void)
{
    int item;
    async_with (void *, missing, gives_null(-ENOENT), quiet_exit)
        fail_msg("%p", missing);
    async_queue_get_nowait(empty, &item);
    async_error_code();
    async_error_message();
    async_with (async_queue *, queue, empty, failing_exit)
        async_sleep(0);
    return 42;
}

static int returns_another(void)
{
    async_with (void *, missing, gives_null(-ENOENT), quiet_exit)
        fail_msg("%p", missing);
    return async_raise(-EPROTO, "more than that");
}

static int real_one_in_a_block(void)
{
    async_with (async_queue *, queue, empty, failing_exit)
        return async_raise(-EIO, "the real one, of %p", (void *)queue);
    return 0;
}

static int cannot_close(void)
{
    async_with_file(file, async_file_open("/dev/full", "w"))
        async_file_printf(file, "x"); /* its code is ignored */
    async_with_stream(stream, (async_stream *)gives_null(-ENOTCONN)) fail_msg("%p", (void *)stream);
    return 0;
}

static int loses_nothing(void *unused)
{
    (void)unused;
    assert_int_equal(async_await(async_create_task(asks)), 0);
    assert_int_equal(async_await(async_create_task(does_not_ask)), -ENOENT);
    assert_string_equal(async_error_message(), "the entry failed");
    assert_int_equal(async_await(async_create_task(other_calls_come_between)), -ENOENT);
    assert_string_equal(async_error_message(), "the entry failed");
    assert_int_equal(async_await(async_create_task(returns_another)), -EPROTO);
    assert_string_equal(async_error_message(), "more than that");
    assert_int_equal(async_await(async_create_task(real_one_in_a_block)), -EIO);
    assert_non_null(strstr(async_error_message(), "the real one"));
    assert_int_equal(async_await(async_create_task(cannot_close)), -ENOTCONN);
    return 0;
}

/* ---- what an exit does with blocks of its own is not the block's around it ---- */

static int uses_a_good_file(void)
{
    async_with_file(file, async_file_open("/dev/null", "r")) assert_non_null(file);
    return async_block_error();
}

static void exit_with_a_block(void *context)
{
    (void)context;
    assert_int_equal(uses_a_good_file(), 0);
}

static void exit_with_a_failure(void *context)
{
    (void)context;
    async_with (void *, missing, gives_null(-ENOSPC), quiet_exit)
        fail_msg("%p", missing);
}

static int fails_within(void)
{
    async_with (async_queue *, queue, empty, exit_with_a_block)
        async_with (void *, missing, gives_null(-ENOENT), quiet_exit)
            fail_msg("%p %p", missing, (void *)queue);
    async_with (async_queue *, queue, empty, exit_with_a_failure)
        assert_non_null(queue);
    return async_block_error(); /* the first */
}

static int fails_in_its_exit(void)
{
    async_with (async_queue *, queue, empty, exit_with_a_failure)
        assert_non_null(queue);
    return 0;
}

static int next_fails(async_iterator *iterator, void *value)
{
    (void)iterator;
    (void)value;
    return -EIO;
}

static void close_with_a_block(async_iterator *iterator)
{
    (void)iterator;
    assert_int_equal(uses_a_good_file(), 0);
}

static int iterates(void)
{
    async_iterator iterator = {
        .next = next_fails, .close = close_with_a_block, .size = sizeof(int)};
    async_for (int, value, &iterator)
        fail_msg("%d", value);
    return async_block_error();
}

static void *entry_with_a_block(void)
{
    assert_int_equal(uses_a_good_file(), 0);
    return NULL;
}

static int enters_nothing(void)
{
    int item;
    async_queue_get_nowait(empty, &item);
    async_with (void *, nothing, entry_with_a_block(), quiet_exit)
        fail_msg("%p", nothing);
    return async_block_error();
}

static int blocks_in_exits(void *unused)
{
    (void)unused;
    assert_int_equal(async_await(async_create_task(fails_within)), -ENOENT);
    assert_int_equal(async_await(async_create_task(fails_in_its_exit)), -ENOSPC);
    assert_int_equal(async_await(async_create_task(iterates)), -EIO);
    assert_int_equal(async_await(async_create_task(enters_nothing)), -EINVAL);
    return 0;
}

TEST(blocks_in_exits)

/* ---- an entry that gives NULL and no error is not blamed on an earlier one ---- */

static int no_error_of_its_own(void *unused)
{
    int item;
    (void)unused;
    async_queue_get_nowait(empty, &item);
    async_with (void *, nothing, gives_null(0), quiet_exit)
        fail_msg("%p", nothing);
    assert_int_equal(async_block_error(), -EINVAL);
    async_queue_get_nowait(empty, &item);
    async_for (int, value, (async_iterator *)gives_null(0))
        fail_msg("%d", value);
    assert_int_equal(async_block_error(), -EINVAL);
    return 0;
}

/* ---- the last error: a success does not wipe it ---- */

static int held(void *unused)
{
    (void)unused;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(async_await(async_create_task(fails, NULL)), -EIO);
        if (i == 0)
            async_shield ()
                async_sleep(0);
        if (i == 1)
            async_with_lock (&lock)
                async_sleep(0);
        if (i == 2) async_await(async_create_task(good, NULL));
        if (i == 3) async_queue_free(async_queue_new(sizeof(int), 0));
        if (i == 4)
            async_with_group (group)
                async_group_create_task(group, good, NULL);
        if (i == 5)
            async_with (async_queue *, queue, empty, failing_exit)
                async_sleep(0);
        assert_int_equal(async_error_code(), -EIO);
        assert_string_equal(async_error_message(), "first error");
    }
    return async_block_error();
}

/* ---- groups ---- */

static int sleeps(void *seconds)
{
    int code = async_sleep(*(double *)seconds);
    note("%s@%d", async_error_name(code), tenths());
    return code;
}

static int fails_in_its_block(void)
{
    double long_time = 100;
    async_with_group (group) {
        async_group_create_task(group, sleeps, &long_time);
        async_sleep(1);
        return async_group_fail(group, async_raise(-EIO, "disk on fire"));
    }
    return 0;
}

static int group_fails(void *unused)
{
    (void)unused;
    assert_int_equal(async_await(async_create_task(fails_in_its_block)), -EIO);
    assert_notes("ECANCELED@10 ");
    assert_string_equal(async_error_message(), "disk on fire");

    async_group *group = async_group_enter();
    assert_int_equal(async_group_fail(group, 0), -EINVAL);
    assert_int_equal(async_group_leave(group), -EINVAL);

    /* A task that cannot be made is missed, also where its handle is not looked at. */
    static const char text[ASYNC_ARGUMENT_MAX + 1];
    async_with_group (other) {
        async_group_create_task(other, good, NULL);
        async_group_create_task_with(other, good, NULL,
                                     &(async_task_options){.copy = text, .size = sizeof text});
        assert_int_equal(async_sleep(0), -ECANCELED);
    }
    assert_int_equal(async_block_error(), -EINVAL);
    assert_non_null(strstr(async_error_message(), "2049"));

    async_with_group (third)
        async_group_create_task(third, NULL);
    assert_int_equal(async_block_error(), -EINVAL);
    return 0;
}

/* A loop that ends because its group is cancelled has not failed; an error of before it has. */
static int before_a_group(void)
{
    async_with (void *, missing, gives_null(-ECANCELED), quiet_exit)
        fail_msg("%p", missing);
    async_with_group (group) {
        async_group_cancel(group);
        async_for (int, value, async_queue_items(empty))
            fail_msg("%d", value);
    }
    return 0;
}

static int in_a_group(void)
{
    async_with_group (group) {
        async_group_cancel(group);
        async_for (int, value, async_queue_items(empty))
            fail_msg("%d", value);
    }
    return 0;
}

static int groups_and_loops(void *unused)
{
    (void)unused;
    assert_int_equal(async_await(async_create_task(in_a_group)), 0);
    assert_int_equal(async_await(async_create_task(before_a_group)), -ECANCELED);
    return 0;
}

/* ---- outside of tasks ---- */

static void in_a_callback(async_callback *callback)
{
    (void)callback;
    assert_int_equal(async_sleep(1), -EPERM);
    assert_non_null(strstr(async_error_message(), "outside of a task"));
    assert_null(async_stream_from_fd(-1));
    assert_int_equal(async_error_code(), -EBADF);
    assert_non_null(strstr(async_error_message(), "descriptor -1"));
    async_with_group (group)
        fail_msg("%p", (void *)group);
    assert_int_equal(async_block_error(), -EPERM);
    async_timeout (1)
        fail();
    assert_int_equal(async_block_error(), -EPERM);
    note("called");
}

static int calls_back(void *unused)
{
    async_callback callback = {.run = in_a_callback};
    (void)unused;
    async_call_soon(async_get_running_loop(), &callback);
    assert_int_equal(async_sleep(0), 0);
    assert_int_equal(async_error_code(), 0); /* the task's record is another */
    assert_notes("called ");
    return 0;
}

static void *in_a_thread(void *unused)
{
    assert_null(async_open_connection("127.0.0.1", 80));
    assert_int_equal(async_error_code(), -EPERM);
    assert_non_null(strstr(async_error_message(), "async_run"));
    async_for (int, value, async_generate(NULL, NULL, 0))
        fail_msg("%d", value);
    assert_int_equal(async_block_error(), -EPERM);
    return unused;
}

static void test_forgotten_run(void **state)
{
    pthread_t thread;
    (void)state;
    in_a_thread(NULL);
    assert_int_equal(pthread_create(&thread, NULL, in_a_thread, NULL), 0);
    pthread_join(thread, NULL);
}

/* ---- NULL ---- */

static int nulls(void *unused)
{
    int item = 0;
    (void)unused;
    assert_int_equal(async_queue_put(NULL, &item), -EBADF);
    assert_int_equal(async_queue_get(NULL, &item), -EBADF);
    assert_int_equal(async_queue_put_nowait(NULL, &item), -EBADF);
    assert_int_equal(async_queue_get_nowait(NULL, &item), -EBADF);
    assert_string_equal(async_error_message(), "async_queue_get_nowait: the queue is NULL");
    assert_int_equal(async_queue_task_done(NULL), -EBADF);
    assert_int_equal(async_queue_join(NULL), -EBADF);
    assert_int_equal(async_queue_size(NULL), 0);
    assert_true(async_queue_empty(NULL));
    assert_false(async_queue_full(NULL));
    async_queue_shutdown(NULL, true);
    async_queue_free(NULL);
    assert_int_equal(async_lock_acquire(NULL), -EBADF);
    assert_int_equal(async_lock_try(NULL), -EBADF);
    assert_int_equal(async_lock_release(NULL), -EBADF);
    assert_false(async_lock_locked(NULL));
    async_with_lock (NULL)
        fail();
    assert_int_equal(async_block_error(), -EBADF);
    assert_int_equal(async_event_wait(NULL), -EBADF);
    async_event_set(NULL);
    async_event_clear(NULL);
    assert_false(async_event_is_set(NULL));
    assert_int_equal(async_future_set(NULL, 0, NULL), -EBADF);
    assert_int_equal(async_future_wait(NULL, NULL), -EBADF);
    assert_false(async_future_done(NULL));
    assert_int_equal(async_timeout_enter(NULL, 1), -EBADF);
    assert_int_equal(async_timeout_enter_at(NULL, 1), -EBADF);
    assert_int_equal(async_shield_enter(NULL), -EBADF);
    assert_int_equal(async_scope_reschedule(NULL, 1), -EBADF);
    assert_false(async_scope_expired(NULL));
    assert_true(async_scope_when(NULL) == 0);
    async_scope_cancel(NULL);
    async_scope_leave(NULL);
    assert_null(async_group_create_task(NULL, good, NULL));
    assert_int_equal(async_error_code(), -EBADF);
    assert_int_equal(async_group_fail(NULL, -EIO), -EBADF);
    assert_int_equal(async_group_wait(NULL), -EBADF);
    assert_int_equal(async_group_leave(NULL), -EBADF);
    assert_int_equal(async_group_count(NULL), 0);
    async_group_cancel(NULL);
    assert_false(async_cancel(NULL, NULL));
    assert_false(async_uncancel(NULL));
    assert_true(async_task_done(NULL));
    assert_false(async_task_cancelled(NULL));
    assert_false(async_task_cancelling(NULL));
    assert_string_equal(async_task_name(NULL), "");
    assert_string_equal(async_task_coroutine(NULL), "");
    assert_int_equal(async_task_set_name(NULL, "x"), -EBADF);
    assert_int_equal(async_task_set_name(async_current_task(), NULL), -EINVAL);
    async_detach(NULL);
    async_generator_close(NULL);
    async_loop_share(NULL);
    return 0;
}

TEST(invents_nothing)
TEST(loses_nothing)
TEST(no_error_of_its_own)
TEST(held)
TEST(group_fails)
TEST(groups_and_loops)
TEST(calls_back)
TEST(nulls)

static int make_queue(void **state)
{
    (void)state;
    empty = async_queue_new(sizeof(int), 0);
    return empty ? 0 : -1;
}

static int free_queue(void **state)
{
    (void)state;
    async_queue_free(empty);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_invents_nothing),
        cmocka_unit_test(test_loses_nothing),
        cmocka_unit_test(test_blocks_in_exits),
        cmocka_unit_test(test_no_error_of_its_own),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_group_fails),
        cmocka_unit_test(test_groups_and_loops),
        cmocka_unit_test(test_calls_back),
        cmocka_unit_test(test_forgotten_run),
        cmocka_unit_test(test_nulls),
    };
    return cmocka_run_group_tests(tests, make_queue, free_queue);
}
