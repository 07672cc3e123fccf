/* Read-write locks: readers together, writers alone, neither starves. */
#include "run.h"

static async_rwlock rwlock;

struct user {
    const char *name;
    double seconds;
    bool writes;
};

static int user(struct user *self)
{
    if (self->writes) {
        async_with_write_lock (&rwlock) {
            note("%s@%d", self->name, tenths());
            return async_sleep(self->seconds);
        }
    } else {
        async_with_read_lock (&rwlock) {
            note("%s@%d", self->name, tenths());
            return async_sleep(self->seconds);
        }
    }
    note("%s:%s", self->name, async_error_name(async_block_error()));
    return 0;
}

#define READER(name, seconds) async_spawn(user, name, seconds, false)
#define WRITER(name, seconds) async_spawn(user, name, seconds, true)

static int in_turn(void *unused)
{
    (void)unused;
    async_task *tasks[] = {READER("r1", 1), READER("r2", 2), WRITER("w1", 1), READER("r3", 1),
                           READER("r4", 1), WRITER("w2", 1), WRITER("w3", 1), READER("r5", 1)};
    assert_int_equal(async_gather_array(tasks, COUNT(tasks)), 0);
    assert_notes("r1@0 r2@0 w1@20 r3@30 r4@30 w2@40 w3@50 r5@60 ");
    assert_int_equal(async_rwlock_release(&rwlock), -EPERM);
    return 0;
}

/* A writer that gives up lets in the readers that it has held up. */
static int writer_gives_up(void *unused)
{
    (void)unused;
    async_task *first = READER("r1", 9), *writer = WRITER("w1", 1), *second = READER("r2", 1),
               *third = READER("r3", 1);
    async_sleep(1);
    assert_notes("r1@0 ");
    async_cancel(writer, NULL);
    async_sleep(0);
    assert_notes("w1:ECANCELED r2@10 r3@10 ");
    assert_int_equal(async_gather(first, writer, second, third), 0);
    return 0;
}

static int cancelled_as_it_gets_it(void *unused)
{
    (void)unused;
    assert_int_equal(async_rwlock_acquire_write(&rwlock), 0);
    async_task *reader = READER("r", 1), *writer = WRITER("w", 1);
    async_sleep(0);
    assert_int_equal(async_rwlock_release(&rwlock), 0);
    assert_int_equal(async_rwlock_try_write(&rwlock), -EBUSY);
    assert_int_equal(async_rwlock_try_read(&rwlock), -EBUSY); /* the writer comes first */
    async_cancel(reader, NULL);
    assert_int_equal(async_await(reader), -ECANCELED);
    assert_int_equal(async_await(writer), 0);
    assert_notes("r@0 w@0 ");
    return 0;
}

static int misuse(void *unused)
{
    (void)unused;
    assert_int_equal(async_rwlock_release(&rwlock), -EPERM);
    assert_string_equal(async_error_message(), "async_rwlock_release: the lock is not held");
    assert_int_equal(async_rwlock_try_write(&rwlock), 0);
    assert_int_equal(async_rwlock_acquire_write(&rwlock), -EDEADLK);
    assert_int_equal(async_rwlock_acquire_read(&rwlock), -EDEADLK);
    assert_int_equal(async_rwlock_try_read(&rwlock), -EBUSY);
    assert_int_equal(async_rwlock_release(&rwlock), 0);
    assert_int_equal(async_rwlock_try_read(&rwlock), 0);
    assert_int_equal(async_rwlock_try_read(&rwlock), 0);
    assert_int_equal(async_rwlock_try_write(&rwlock), -EBUSY);
    assert_int_equal(async_rwlock_release(&rwlock), 0);
    async_timeout (1)
        assert_int_equal(async_rwlock_acquire_write(&rwlock), -ETIMEDOUT);
    assert_int_equal(async_rwlock_release(&rwlock), 0);
    assert_int_equal(async_rwlock_release(&rwlock), -EPERM);

    assert_int_equal(async_rwlock_acquire_read(NULL), -EBADF);
    assert_string_equal(async_error_message(),
                        "async_rwlock_acquire_read: the read-write lock is NULL");
    assert_int_equal(async_rwlock_acquire_write(NULL), -EBADF);
    assert_int_equal(async_rwlock_try_read(NULL), -EBADF);
    assert_int_equal(async_rwlock_try_write(NULL), -EBADF);
    assert_int_equal(async_rwlock_release(NULL), -EBADF);
    async_with_read_lock (NULL)
        fail();
    assert_int_equal(async_block_error(), -EBADF);
    return 0;
}

static void test_outside(void **state)
{
    async_rwlock fresh = ASYNC_RWLOCK_INIT;
    (void)state;
    assert_int_equal(async_rwlock_acquire_read(&fresh), -EPERM);
    assert_int_equal(async_rwlock_try_read(&fresh), -EPERM);
    assert_int_equal(async_rwlock_try_write(&fresh), -EPERM);
}

TEST(in_turn)
TEST(writer_gives_up)
TEST(cancelled_as_it_gets_it)
TEST(misuse)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_turn),
        cmocka_unit_test(test_writer_gives_up),
        cmocka_unit_test(test_cancelled_as_it_gets_it),
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
