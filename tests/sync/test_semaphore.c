/* Semaphores, bounded or not, and latches. */
#include "run.h"

#include <limits.h>

static async_semaphore places;

struct guest {
    int number;
    double seconds;
};

static int guest(struct guest *self)
{
    async_with_semaphore (&places) {
        note("%d@%d", self->number, tenths());
        return async_sleep(self->seconds);
    }
    note("%d:%s", self->number, async_error_name(async_block_error()));
    return 0;
}

static int admits(void *unused)
{
    (void)unused;
    places = (async_semaphore)ASYNC_SEMAPHORE_INIT(2);
    async_task *tasks[] = {async_spawn(guest, 1, 2), async_spawn(guest, 2, 1),
                           async_spawn(guest, 3, 1), async_spawn(guest, 4, 1)};
    async_sleep(0);
    assert_true(async_semaphore_locked(&places));
    assert_int_equal(async_semaphore_try(&places), -EBUSY);
    assert_int_equal(async_gather_array(tasks, 4), 0);
    assert_notes("1@0 2@0 3@10 4@20 ");
    assert_int_equal(async_semaphore_value(&places), 2);
    assert_int_equal(async_semaphore_release(&places), 0);
    assert_int_equal(async_semaphore_value(&places), 3); /* not bounded */
    return 0;
}

/* cpython issue 90155: what a cancelled task was given is passed on, none that
 * waits is overlooked, and none comes first that came later. */
static int hands_over(void *unused)
{
    (void)unused;
    places = (async_semaphore)ASYNC_SEMAPHORE_INIT(0);
    async_task *first = async_spawn(guest, 1, 1), *second = async_spawn(guest, 2, 1),
               *third = async_spawn(guest, 3, 1);
    async_sleep(0);
    assert_int_equal(async_semaphore_release(&places), 0);
    assert_int_equal(async_semaphore_try(&places), -EBUSY); /* it is the first one's already */
    async_cancel(first, NULL);
    async_cancel(second, NULL); /* still waits */
    assert_int_equal(async_await(first), -ECANCELED);
    assert_int_equal(async_await(second), 0);
    assert_int_equal(async_await(third), 0);
    assert_notes("1@0 2:ECANCELED 3@0 ");
    assert_int_equal(async_semaphore_value(&places), 1);
    async_timeout (0)
        assert_int_equal(async_semaphore_acquire(&places), -ETIMEDOUT);
    assert_int_equal(async_semaphore_value(&places), 1);
    return 0;
}

static int bounded(void *unused)
{
    (void)unused;
    async_semaphore two = ASYNC_BOUNDED_SEMAPHORE_INIT(2), none = ASYNC_BOUNDED_SEMAPHORE_INIT(0);
    assert_int_equal(async_semaphore_release(&two), -EINVAL);
    assert_string_equal(async_error_message(),
                        "async_semaphore_release: all 2 places are free already");
    assert_int_equal(async_semaphore_acquire(&two), 0);
    assert_int_equal(async_semaphore_release(&two), 0);
    assert_int_equal(async_semaphore_release(&two), -EINVAL);
    assert_int_equal(async_semaphore_value(&two), 2);
    assert_int_equal(async_semaphore_release(&none), -EINVAL);
    return 0;
}

static int misuse(void *unused)
{
    (void)unused;
    async_semaphore below = ASYNC_SEMAPHORE_INIT(-1), full = ASYNC_SEMAPHORE_INIT(INT_MAX);
    assert_int_equal(async_semaphore_acquire(&below), -EINVAL);
    assert_string_equal(async_error_message(), "async_semaphore_acquire: a semaphore of -1 places");
    assert_int_equal(async_semaphore_try(&below), -EINVAL);
    assert_int_equal(async_semaphore_release(&below), -EINVAL);
    assert_int_equal(async_semaphore_release(&full), -EOVERFLOW);
    assert_int_equal(async_semaphore_acquire(NULL), -EBADF);
    assert_int_equal(async_semaphore_try(NULL), -EBADF);
    assert_int_equal(async_semaphore_release(NULL), -EBADF);
    assert_false(async_semaphore_locked(NULL));
    assert_int_equal(async_semaphore_value(NULL), 0);
    async_with_semaphore (&below)
        fail();
    assert_int_equal(async_block_error(), -EINVAL);
    return 0;
}

/* ---- latches ---- */

static async_latch latch;

static int passes(void *unused)
{
    (void)unused;
    int code = async_latch_wait(&latch);
    note("%s@%d", async_error_name(code), tenths());
    return code;
}

static int latches(void *unused)
{
    (void)unused;
    latch = (async_latch)ASYNC_LATCH_INIT(2);
    async_task *a = async_create_task(passes), *b = async_create_task(passes),
               *c = async_create_task(passes);
    async_sleep(1);
    assert_int_equal(async_latch_count_down(&latch), 0);
    assert_int_equal(async_latch_count(&latch), 1);
    async_cancel(b, NULL);
    async_sleep(1);
    assert_int_equal(async_latch_count_down(&latch), 0);
    async_cancel(c, NULL); /* it has passed */
    assert_int_equal(async_await(a), 0);
    assert_int_equal(async_await(b), -ECANCELED);
    assert_int_equal(async_await(c), 0);
    assert_notes("ECANCELED@10 0@20 0@20 ");
    assert_int_equal(async_latch_wait(&latch), 0);
    assert_int_equal(async_latch_count_down(&latch), -EINVAL);
    assert_string_equal(async_error_message(), "async_latch_count_down: the latch is open already");
    assert_int_equal(async_latch_count(&latch), 0);
    assert_int_equal(async_latch_count_down(NULL), -EBADF);
    assert_int_equal(async_latch_wait(NULL), -EBADF);
    assert_int_equal(async_latch_count(NULL), 0);
    return 0;
}

static void test_outside(void **state)
{
    async_semaphore one = ASYNC_SEMAPHORE_INIT(1);
    async_latch shut = ASYNC_LATCH_INIT(1);
    (void)state;
    assert_int_equal(async_semaphore_acquire(&one), -EPERM);
    assert_int_equal(async_semaphore_try(&one), 0);
    assert_int_equal(async_semaphore_release(&one), 0);
    assert_int_equal(async_latch_wait(&shut), -EPERM);
    assert_int_equal(async_latch_count_down(&shut), 0);
}

TEST(admits)
TEST(hands_over)
TEST(bounded)
TEST(misuse)
TEST(latches)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_admits),  cmocka_unit_test(test_hands_over),
        cmocka_unit_test(test_bounded), cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_latches), cmocka_unit_test(test_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
