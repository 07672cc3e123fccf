/* Conditions: what a notification, a cancellation and the lock do to each other. */
#include "run.h"

static async_lock lock;
static async_condition changed = {.lock = &lock}, own;
static int stock;

static bool in_stock(void *unused)
{
    (void)unused;
    return stock > 0;
}

static int waiter(void *number)
{
    async_with_condition (&changed) {
        int code = async_condition_wait(&changed);
        note("%d:%s%s@%d", *(int *)number, async_error_name(code),
             async_lock_locked(&lock) ? "" : "!", tenths());
        return code;
    }
    return async_block_error();
}

static int buyer(void *number)
{
    async_with_condition (&changed) {
        int code = async_condition_wait_for(&changed, in_stock, NULL);
        if (code == 0) stock--;
        note("%d:%s", *(int *)number, async_error_name(code));
        return code;
    }
    return async_block_error();
}

static int numbers[] = {0, 1, 2, 3, 4};

static void make(async_coroutine coroutine, async_task **tasks, int count)
{
    for (int i = 0; i < count; i++)
        tasks[i] = async_create_task(coroutine, &numbers[i]);
    async_sleep(0);
}

static int notify(size_t count)
{
    int code = async_condition_acquire(&changed);
    if (code == 0) code = async_condition_notify(&changed, count);
    async_condition_release(&changed);
    return code;
}

/* In the order in which they came, one after another, and as many as were asked for. */
static int notifies(void *unused)
{
    (void)unused;
    async_task *tasks[5];
    make(waiter, tasks, 5);
    assert_false(async_condition_locked(&changed));
    assert_int_equal(notify(0), 0);
    async_sleep(1);
    assert_notes("");
    assert_int_equal(notify(2), 0);
    assert_int_equal(notify(1), 0);
    async_sleep(1);
    assert_notes("0:0@10 1:0@10 2:0@10 ");
    assert_int_equal(async_condition_acquire(&changed), 0);
    assert_int_equal(async_condition_notify_all(&changed), 0);
    async_sleep(1);
    assert_notes(""); /* the lock is held */
    assert_int_equal(async_condition_release(&changed), 0);
    assert_int_equal(async_gather_array(tasks, 5), 0);
    assert_notes("3:0@30 4:0@30 ");
    assert_int_equal(notify(3), 0); /* nothing is kept for those that come later */
    async_timeout (1)
        assert_int_equal(waiter(&numbers[0]), -ETIMEDOUT);
    assert_notes("0:ETIMEDOUT@40 ");
    assert_false(async_lock_locked(&lock));
    return 0;
}

static int waits_for(void *unused)
{
    (void)unused;
    async_task *tasks[3];
    make(buyer, tasks, 3);
    assert_int_equal(notify(3), 0); /* in vain */
    async_sleep(1);
    stock = 1;
    assert_int_equal(notify(3), 0);
    async_sleep(1);
    assert_notes("0:0 ");
    stock = 2;
    assert_int_equal(notify(3), 0);
    assert_int_equal(async_gather_array(tasks, 3), 0);
    assert_notes("1:0 2:0 ");
    stock = 1;
    assert_int_equal(buyer(&numbers[4]), 0); /* true at once */
    assert_notes("4:0 ");
    return 0;
}

/* The wait that is cancelled comes back with the lock, when that is free. */
static int cancelled_with_the_lock(void *unused)
{
    (void)unused;
    async_task *tasks[2];
    make(waiter, tasks, 2);
    assert_int_equal(async_lock_acquire(&lock), 0);
    async_cancel(tasks[0], NULL);
    async_sleep(1);
    assert_notes("");
    assert_int_equal(async_lock_release(&lock), 0);
    assert_int_equal(async_await(tasks[0]), -ECANCELED);
    assert_notes("0:ECANCELED@10 ");
    assert_false(async_lock_locked(&lock));
    async_cancel(tasks[1], NULL); /* the lock is free */
    assert_int_equal(async_await(tasks[1]), -ECANCELED);
    assert_notes("1:ECANCELED@10 ");
    assert_false(async_lock_locked(&lock));
    return 0;
}

/* A notification goes to a task that can use it: one that was cancelled before is out of the list,
 * and one that is cancelled after it has been notified gives a success. (cpython issues 111693, 112202) */
static int loses_no_notification(void *unused)
{
    (void)unused;
    async_task *tasks[3];
    make(waiter, tasks, 3);
    async_cancel(tasks[0], NULL);
    assert_int_equal(notify(1), 0);
    async_cancel(tasks[1], NULL); /* notified, and waits for the lock */
    async_sleep(1);
    assert_notes("0:ECANCELED@0 1:0@0 ");
    assert_int_equal(notify(1), 0);
    assert_int_equal(async_await(tasks[0]), -ECANCELED);
    assert_int_equal(async_await(tasks[1]), 0);
    assert_int_equal(async_await(tasks[2]), 0);
    assert_notes("2:0@10 ");
    return 0;
}

/* Notified, cancelled while it waits for the lock, and cancelled once more. */
static int cancelled_while_it_wants_the_lock(void *unused)
{
    (void)unused;
    async_task *tasks[1];
    make(waiter, tasks, 1);
    assert_int_equal(async_lock_acquire(&lock), 0);
    assert_int_equal(async_condition_notify(&changed, 1), 0);
    async_cancel(tasks[0], NULL);
    async_sleep(1);
    async_uncancel(tasks[0]);
    async_cancel(tasks[0], NULL);
    async_sleep(1);
    assert_notes("");
    assert_int_equal(async_lock_release(&lock), 0);
    assert_int_equal(async_await(tasks[0]), 0);
    assert_notes("0:0@20 ");
    return 0;
}

/* A task that asks for the lock when a waiter has been notified comes behind it. */
static int keeps_the_order(void *unused)
{
    (void)unused;
    async_task *tasks[1];
    make(waiter, tasks, 1);
    assert_int_equal(async_lock_acquire(&lock), 0);
    assert_int_equal(async_condition_notify(&changed, 1), 0);
    async_task *later = async_create_task(waiter, &numbers[1]);
    async_sleep(0);
    assert_int_equal(async_lock_release(&lock), 0);
    assert_int_equal(async_await(tasks[0]), 0);
    assert_notes("0:0@0 ");
    async_sleep(0);
    assert_int_equal(notify(1), 0);
    assert_int_equal(async_await(later), 0);
    assert_notes("1:0@0 ");
    return 0;
}

static int locker(void *unused)
{
    (void)unused;
    async_with_lock (&lock)
        note("locker");
    return async_block_error();
}

/* A cancellation does not cost a notified task its place in the line for the lock. */
static int keeps_its_place(void *unused)
{
    (void)unused;
    async_task *tasks[1];
    make(waiter, tasks, 1);
    assert_int_equal(async_lock_acquire(&lock), 0);
    assert_int_equal(async_condition_notify(&changed, 1), 0);
    async_task *later = async_create_task(locker);
    async_sleep(0);
    async_cancel(tasks[0], NULL);
    assert_int_equal(async_lock_release(&lock), 0);
    assert_int_equal(async_gather(tasks[0], later), 0);
    assert_notes("0:0@0 locker ");
    return 0;
}

/* Its lock may be held by one condition's user while the other's waits. */
static int shares_its_lock(void *unused)
{
    (void)unused;
    async_condition other = ASYNC_CONDITION_INIT_WITH(&lock);
    async_task *tasks[1];
    make(waiter, tasks, 1);
    assert_int_equal(async_condition_acquire(&other), 0);
    assert_true(async_condition_locked(&changed));
    assert_int_equal(async_condition_try(&changed), -EBUSY);
    assert_int_equal(async_condition_notify_all(&other), 0);
    assert_int_equal(async_condition_release(&changed), 0);
    async_sleep(1);
    assert_notes("");
    assert_int_equal(notify(1), 0);
    assert_int_equal(async_await(tasks[0]), 0);
    assert_notes("0:0@10 ");
    return 0;
}

static int holds_own(void *unused)
{
    (void)unused;
    int code = async_condition_acquire(&own);
    return code < 0 ? code : async_sleep(1);
}

static int misuse(void *unused)
{
    (void)unused;
    async_condition fresh = ASYNC_CONDITION_INIT;
    assert_int_equal(async_condition_wait(&fresh), -EPERM);
    assert_string_equal(async_error_message(),
                        "async_condition_wait: this task does not hold the condition's lock");
    assert_int_equal(async_condition_wait_for(&fresh, in_stock, NULL), -EPERM);
    assert_int_equal(async_condition_notify(&fresh, 1), -EPERM);
    assert_int_equal(async_condition_notify_all(&fresh), -EPERM);
    assert_int_equal(async_condition_release(&fresh), -EPERM);
    async_task *task = async_create_task(holds_own);
    async_sleep(0);
    assert_int_equal(async_condition_wait(&own), -EPERM); /* another task holds it */
    assert_int_equal(async_condition_notify(&own, 1), -EPERM);
    assert_int_equal(async_await(task), 0);
    assert_int_equal(async_condition_release(&own), 0);
    assert_int_equal(async_condition_try(&own), 0);
    assert_int_equal(async_condition_acquire(&own), -EDEADLK);
    assert_int_equal(async_condition_wait_for(&own, NULL, NULL), -EINVAL);
    assert_int_equal(async_condition_release(&own), 0);

    assert_int_equal(async_condition_acquire(NULL), -EBADF);
    assert_string_equal(async_error_message(), "async_condition_acquire: the condition is NULL");
    assert_int_equal(async_condition_try(NULL), -EBADF);
    assert_int_equal(async_condition_release(NULL), -EBADF);
    assert_int_equal(async_condition_wait(NULL), -EBADF);
    assert_int_equal(async_condition_wait_for(NULL, in_stock, NULL), -EBADF);
    assert_int_equal(async_condition_notify(NULL, 1), -EBADF);
    assert_int_equal(async_condition_notify_all(NULL), -EBADF);
    assert_false(async_condition_locked(NULL));
    async_with_condition (NULL)
        fail();
    assert_int_equal(async_block_error(), -EBADF);
    return 0;
}

static void test_outside(void **state)
{
    async_condition fresh = ASYNC_CONDITION_INIT;
    (void)state;
    assert_int_equal(async_condition_acquire(&fresh), -EPERM);
    assert_int_equal(async_condition_try(&fresh), -EPERM);
    assert_int_equal(async_condition_wait(&fresh), -EPERM);
    assert_int_equal(async_condition_notify(&fresh, 1), -EPERM);
}

/* A holder that never releases: the wait is given up at the loop's end, without the lock. */
static int leaves_it_locked(void *unused)
{
    (void)unused;
    async_task *tasks[1];
    make(waiter, tasks, 1);
    return async_lock_acquire(&lock);
}

static void test_forced(void **state)
{
    (void)state;
    notes[0] = 0;
    assert_int_equal(run(leaves_it_locked, NULL), -EDEADLK);
    assert_notes("0:ECANCELED@0 ");
    assert_true(async_lock_locked(&lock));
    lock = (async_lock){0};
}

TEST(notifies)
TEST(waits_for)
TEST(cancelled_with_the_lock)
TEST(loses_no_notification)
TEST(cancelled_while_it_wants_the_lock)
TEST(keeps_the_order)
TEST(keeps_its_place)
TEST(shares_its_lock)
TEST(misuse)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_notifies),
        cmocka_unit_test(test_waits_for),
        cmocka_unit_test(test_cancelled_with_the_lock),
        cmocka_unit_test(test_loses_no_notification),
        cmocka_unit_test(test_cancelled_while_it_wants_the_lock),
        cmocka_unit_test(test_keeps_the_order),
        cmocka_unit_test(test_keeps_its_place),
        cmocka_unit_test(test_shares_its_lock),
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_outside),
        cmocka_unit_test(test_forced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
