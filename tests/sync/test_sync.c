/* Locks, events, futures and queues. */
#include "run.h"

static async_lock lock;

struct holder {
    int number;
    double seconds;
};

static int holder(struct holder *self)
{
    async_with_lock (&lock) {
        note("%d@%d", self->number, tenths());
        return async_sleep(self->seconds);
    }
    note("%d:%s", self->number, async_error_name(async_block_error()));
    return 0;
}

static int locks(void *argument)
{
    (void)argument;
    assert_int_equal(async_gather(async_spawn(holder, 1, 1), async_spawn(holder, 2, 1),
                                  async_spawn(holder, 3, 1)),
                     0);
    assert_notes("1@0 2@10 3@20 ");
    assert_false(async_lock_locked(&lock));

    assert_int_equal(async_lock_acquire(&lock), 0);
    assert_int_equal(async_lock_acquire(&lock), -EDEADLK);
    assert_int_equal(async_lock_try(&lock), -EBUSY);
    async_task *second = async_spawn(holder, 2, 1), *third = async_spawn(holder, 3, 1);
    async_sleep(0);
    async_cancel(second, NULL);
    async_sleep(0);
    assert_int_equal(async_lock_release(&lock), 0);
    assert_int_equal(async_await(second), 0);
    assert_int_equal(async_await(third), 0);
    assert_notes("2:ECANCELED 3@30 ");
    assert_int_equal(async_lock_release(&lock), -EPERM);
    return 0;
}

/* Handed over and cancelled at once: the task holds the lock, and releases it. */
static int hands_over_to_the_cancelled(void *argument)
{
    (void)argument;
    async_lock_acquire(&lock);
    async_task *second = async_spawn(holder, 2, 1);
    async_sleep(0);
    async_lock_release(&lock);
    async_cancel(second, NULL);
    assert_int_equal(async_await(second), -ECANCELED);
    assert_notes("2@0 ");
    assert_false(async_lock_locked(&lock));
    return 0;
}

static int waits(void *argument)
{
    int code = async_event_wait(argument);
    note("%s@%d", async_error_name(code), tenths());
    return code;
}

static int events(void *argument)
{
    async_event event = ASYNC_EVENT_INIT;
    (void)argument;
    async_task *a = async_create_task(waits, &event), *b = async_create_task(waits, &event);
    async_sleep(1);
    async_event_set(&event);
    assert_true(async_event_is_set(&event));
    assert_int_equal(async_gather(a, b), 0);
    assert_int_equal(async_event_wait(&event), 0);
    async_event_clear(&event);
    async_timeout (1)
        assert_int_equal(async_event_wait(&event), -ETIMEDOUT);
    assert_notes("0@10 0@10 ");
    return 0;
}

static int waits_for_future(void *argument)
{
    void *value = NULL;
    int code = async_future_wait(argument, &value);
    note("%s:%s", async_error_name(code), (char *)value);
    return code;
}

static int futures(void *argument)
{
    async_future future = ASYNC_FUTURE_INIT;
    (void)argument;
    async_task *a = async_create_task(waits_for_future, &future);
    async_task *b = async_create_task(waits_for_future, &future);
    async_sleep(0);
    assert_false(async_future_done(&future));
    assert_int_equal(async_future_set(&future, 0, "x"), 0);
    assert_int_equal(async_future_set(&future, 0, "y"), -EALREADY);
    assert_int_equal(async_gather(a, b), 0);
    assert_notes("0:x 0:x ");
    return 0;
}

static int puts_five(void *argument)
{
    for (int i = 0; i < 5; i++) {
        int code = async_queue_put(argument, &i);
        if (code < 0) return code;
        note("+%d@%d", i, tenths());
    }
    return 0;
}

static int queues(void *argument)
{
    (void)argument;
    assert_null(async_queue_new(0, 1));
    async_queue *queue = async_queue_new(sizeof(int), 2);
    async_task *putter = async_create_task(puts_five, queue);
    int item;
    async_sleep(1);
    assert_true(async_queue_full(queue));
    assert_int_equal(async_queue_put_nowait(queue, &item), -EAGAIN);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(async_queue_get(queue, &item), 0);
        assert_int_equal(item, i);
        async_sleep(1);
    }
    assert_int_equal(async_await(putter), 0);
    assert_notes("+0@0 +1@0 +2@10 +3@20 +4@30 ");
    assert_true(async_queue_empty(queue));
    assert_int_equal(async_queue_get_nowait(queue, &item), -EAGAIN);
    for (int i = 0; i < 5; i++)
        assert_int_equal(async_queue_task_done(queue), 0);
    assert_int_equal(async_queue_task_done(queue), -EINVAL);
    assert_int_equal(async_queue_join(queue), 0);
    async_queue_free(queue);
    return 0;
}

static int gets(void *argument)
{
    int item = 0, code = async_queue_get(argument, &item);
    note("%s:%d", async_error_name(code), item);
    return code;
}

static int loses_nothing(void *argument)
{
    (void)argument;
    async_queue *queue = async_queue_new(sizeof(int), 0);
    async_task *first = async_create_task(gets, queue), *second = async_create_task(gets, queue);
    async_sleep(0);
    async_cancel(first, NULL);
    int item = 7;
    assert_int_equal(async_queue_put(queue, &item), 0);
    async_cancel(second, NULL); /* woken already: it owns the item */
    assert_int_equal(async_await(first), -ECANCELED);
    assert_int_equal(async_await(second), 0);
    assert_notes("ECANCELED:0 0:7 ");
    for (item = 0; item < 100; item++)
        async_queue_put(queue, &item);
    assert_int_equal(async_queue_size(queue), 100);
    async_queue_shutdown(queue, false);
    assert_int_equal(async_queue_put(queue, &item), ASYNC_ESHUTDOWN);
    int next = 0;
    async_for (int, got, async_queue_items(queue))
        assert_int_equal(got, next++);
    assert_int_equal(next, 100);
    assert_int_equal(async_queue_get(queue, &item), ASYNC_ESHUTDOWN);
    async_queue_free(queue);
    return 0;
}

static int shuts_down(void *argument)
{
    (void)argument;
    async_queue *queue = async_queue_new(sizeof(int), 1);
    async_task *getter = async_create_task(gets, queue);
    async_sleep(0);
    async_queue_shutdown(queue, true);
    assert_int_equal(async_await(getter), ASYNC_ESHUTDOWN);
    async_queue_free(queue);
    queue = async_queue_new(sizeof(int), 1);
    async_task *putter = async_create_task(puts_five, queue);
    async_sleep(0);
    async_queue_shutdown(queue, true);
    assert_int_equal(async_await(putter), ASYNC_ESHUTDOWN);
    assert_int_equal(async_queue_join(queue), 0);
    async_queue_free(queue);
    return 0;
}

TEST(locks)
TEST(hands_over_to_the_cancelled)
TEST(events)
TEST(futures)
TEST(queues)
TEST(loses_nothing)
TEST(shuts_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_locks),      cmocka_unit_test(test_hands_over_to_the_cancelled),
        cmocka_unit_test(test_events),     cmocka_unit_test(test_futures),
        cmocka_unit_test(test_queues),     cmocka_unit_test(test_loses_nothing),
        cmocka_unit_test(test_shuts_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
