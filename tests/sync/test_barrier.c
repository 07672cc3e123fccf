/* Barriers: rounds, numbers, cancellation, reset and abort. */
#include "run.h"

static async_barrier barrier;

static int arrives(void *unused)
{
    (void)unused;
    int result = async_barrier_wait(&barrier);
    if (result >= 0)
        note("%d@%d", result, tenths());
    else
        note("%s@%d", async_error_name(result), tenths());
    return result < 0 ? result : 0;
}

static void make(async_task **tasks, int count)
{
    for (int i = 0; i < count; i++)
        tasks[i] = async_create_task(arrives);
    async_sleep(0);
}

static int meets(void *unused)
{
    (void)unused;
    async_task *tasks[3];
    barrier = (async_barrier)ASYNC_BARRIER_INIT(3);
    assert_int_equal(async_barrier_parties(&barrier), 3);
    for (int round = 0; round < 2; round++) {
        make(tasks, 2);
        assert_int_equal(async_barrier_n_waiting(&barrier), 2);
        async_sleep(1);
        assert_notes("");
        assert_int_equal(async_barrier_wait(&barrier), 2);
        assert_int_equal(async_barrier_n_waiting(&barrier), 0);
        assert_int_equal(async_gather_array(tasks, 2), 0);
        assert_notes(round == 0 ? "0@10 1@10 " : "0@20 1@20 ");
    }
    barrier = (async_barrier)ASYNC_BARRIER_INIT(1);
    assert_int_equal(async_barrier_wait(&barrier), 0);
    assert_int_equal(async_barrier_wait(&barrier), 0);
    return 0;
}

/* The next round may begin before those of the last one have run. */
static int rounds_overlap(void *unused)
{
    (void)unused;
    async_task *tasks[6];
    barrier = (async_barrier)ASYNC_BARRIER_INIT(2);
    make(tasks, 6);
    assert_int_equal(async_gather_array(tasks, 6), 0);
    assert_notes("1@0 1@0 1@0 0@0 0@0 0@0 ");
    return 0;
}

/* A task that is cancelled is not counted any more, from the moment of the cancellation. */
static int cancelled(void *unused)
{
    (void)unused;
    async_task *tasks[3];
    barrier = (async_barrier)ASYNC_BARRIER_INIT(3);
    make(tasks, 2);
    async_cancel(tasks[0], NULL);
    assert_int_equal(async_barrier_n_waiting(&barrier), 1);
    tasks[2] = async_create_task(arrives);
    async_sleep(1);
    assert_int_equal(async_barrier_n_waiting(&barrier), 2);
    assert_notes("ECANCELED@0 ");
    assert_int_equal(async_barrier_wait(&barrier), 2);
    async_cancel(tasks[1], NULL); /* it has passed */
    assert_int_equal(async_await(tasks[0]), -ECANCELED);
    assert_int_equal(async_gather(tasks[1], tasks[2]), 0);
    assert_notes("0@10 1@10 ");
    async_timeout (1)
        assert_int_equal(async_barrier_wait(&barrier), -ETIMEDOUT);
    assert_int_equal(async_barrier_n_waiting(&barrier), 0);
    assert_false(async_barrier_broken(&barrier));
    return 0;
}

static int breaks(void *unused)
{
    (void)unused;
    async_task *tasks[2];
    barrier = (async_barrier)ASYNC_BARRIER_INIT(3);
    make(tasks, 2);
    assert_int_equal(async_barrier_reset(&barrier), 0);
    assert_false(async_barrier_broken(&barrier));
    assert_int_equal(async_barrier_n_waiting(&barrier), 0);
    assert_int_equal(async_await(tasks[0]), ASYNC_EBROKENBARRIER);
    assert_int_equal(async_await(tasks[1]), ASYNC_EBROKENBARRIER);
    assert_notes("ASYNC_EBROKENBARRIER@0 ASYNC_EBROKENBARRIER@0 ");

    make(tasks, 2);
    assert_int_equal(async_barrier_abort(&barrier), 0);
    assert_true(async_barrier_broken(&barrier));
    async_cancel(tasks[0], NULL); /* it has its answer */
    assert_int_equal(async_await(tasks[0]), ASYNC_EBROKENBARRIER);
    assert_string_equal(async_error_message(), "async_barrier_wait: the barrier is broken");
    assert_int_equal(async_await(tasks[1]), ASYNC_EBROKENBARRIER);
    assert_notes("ASYNC_EBROKENBARRIER@0 ASYNC_EBROKENBARRIER@0 ");
    assert_int_equal(async_barrier_wait(&barrier), ASYNC_EBROKENBARRIER);
    assert_int_equal(async_barrier_abort(&barrier), 0);

    assert_int_equal(async_barrier_reset(&barrier), 0);
    make(tasks, 2);
    assert_int_equal(async_barrier_wait(&barrier), 2);
    assert_int_equal(async_gather_array(tasks, 2), 0);
    assert_notes("0@0 1@0 ");
    return 0;
}

static int misuse(void *unused)
{
    (void)unused;
    async_barrier none = ASYNC_BARRIER_INIT(0), below = ASYNC_BARRIER_INIT(-3);
    assert_int_equal(async_barrier_wait(&none), -EINVAL);
    assert_string_equal(async_error_message(), "async_barrier_wait: a barrier of 0 parties");
    assert_int_equal(async_barrier_wait(&below), -EINVAL);
    assert_int_equal(async_barrier_wait(NULL), -EBADF);
    assert_int_equal(async_barrier_reset(NULL), -EBADF);
    assert_string_equal(async_error_message(), "async_barrier_reset: the barrier is NULL");
    assert_int_equal(async_barrier_abort(NULL), -EBADF);
    assert_int_equal(async_barrier_parties(NULL), 0);
    assert_int_equal(async_barrier_n_waiting(NULL), 0);
    assert_false(async_barrier_broken(NULL));
    return 0;
}

static void test_outside(void **state)
{
    async_barrier one = ASYNC_BARRIER_INIT(1);
    (void)state;
    assert_int_equal(async_barrier_wait(&one), -EPERM);
}

TEST(meets)
TEST(rounds_overlap)
TEST(cancelled)
TEST(breaks)
TEST(misuse)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meets),     cmocka_unit_test(test_rounds_overlap),
        cmocka_unit_test(test_cancelled), cmocka_unit_test(test_breaks),
        cmocka_unit_test(test_misuse),    cmocka_unit_test(test_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
