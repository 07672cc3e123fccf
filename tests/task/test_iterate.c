/* async_for, generators, async_with: what runs when the block is left, and where errors go. */
#include "run.h"

static int numbers(async_generator *self, void *argument)
{
    int end = argument ? *(int *)argument : 5, code = 0;

    for (int i = 0; i < end && code == 0; i++) {
        async_sleep(1.0);
        code = async_yield(self, &i);
    }
    note("end:%s", async_error_name(code));
    return code;
}

static int generates(void *argument)
{
    (void)argument;
    async_for (int, value, async_generate(numbers, NULL, sizeof(int)))
        note("%d@%d", value, tenths());
    assert_int_equal(async_block_error(), 0);
    assert_notes("0@10 1@20 2@30 3@40 4@50 end:0 ");
    async_for (int, value, async_generate(numbers, NULL, sizeof(int))) {
        if (value == 0) continue;
        note("%d", value);
        if (value == 2) break;
    }
    assert_notes("1 2 end:ECANCELED ");
    async_for (int, a, async_generate(numbers, &(int){2}, sizeof(int)))
        async_for (int, b, async_generate(numbers, &(int){1}, sizeof(int)))
            note("%d%d", a, b);
    assert_notes("00 end:0 10 end:0 end:0 ");
    async_iterator *unused = async_generate(numbers, NULL, sizeof(int));
    async_generator_close(unused);
    async_generate(numbers, NULL, sizeof(int)); /* left to the end of the loop */
    return 0;
}

static int find(int wanted)
{
    async_for (int, value, async_generate(numbers, NULL, sizeof(int)))
        if (value == wanted) return value;
    return -ENOENT;
}

static int leaves_by_return(void *argument)
{
    (void)argument;
    assert_int_equal(find(1), 1);
    assert_notes("end:ECANCELED ");
    return 0;
}

static int breaks_off(async_generator *self, void *argument)
{
    (void)argument;
    int value = 1;
    async_yield(self, &value);
    return async_raise(-EIO, "no more paper");
}

static int meets_an_error(void *argument)
{
    (void)argument;
    int seen = 0;
    async_for (int, value, async_generate(breaks_off, NULL, sizeof(int)))
        seen += value;
    assert_int_equal(seen, 1);
    assert_int_equal(async_block_error(), -EIO);
    assert_string_equal(async_error_message(), "no more paper");
    async_for (int, value, (async_iterator *)NULL)
        fail_msg("%d", value);
    assert_int_equal(async_block_error(), -EINVAL);
    return 0;
}

static int does_not_ask(void *argument)
{
    (void)argument;
    async_for (int, value, async_generate(breaks_off, NULL, sizeof(int)))
        (void)value;
    return 0;
}

static void test_an_error_nobody_asks_for(void **state)
{
    (void)state;
    assert_int_equal(run(does_not_ask, NULL), -EIO);
    assert_string_equal(async_run_error_message(), "no more paper");
}

static int times_out(void *argument)
{
    (void)argument;
    async_timeout (2.5)
        async_for (int, value, async_generate(numbers, NULL, sizeof(int)))
            note("%d", value);
    assert_int_equal(async_block_error(), -ETIMEDOUT);
    return 0;
}

static int yields_from_outside(void *argument)
{
    async_iterator *iterator = async_generate(numbers, NULL, sizeof(int));
    int value;
    (void)argument;
    assert_int_equal(iterator->next(iterator, &value), 1);
    assert_int_equal(async_yield((async_generator *)iterator, &value), -EPERM);
    async_generator_close(iterator);
    return 0;
}

/* ---- async_with ---- */

struct door {
    bool open;
};

static struct door door_enter(void)
{
    note("in");
    async_sleep(1);
    return (struct door){.open = true};
}

static int door_exit(struct door *door)
{
    int code = async_sleep(1);
    note("out:%s", async_error_name(code));
    door->open = false;
    return code;
}

static struct door *no_door(void)
{
    async_raise(-ENOENT, "there is no door");
    return NULL;
}

static int goes_through(void *argument)
{
    (void)argument;
    async_with (struct door, door, door_enter(), door_exit)
        note("%d", door.open);
    assert_notes("in 1 out:0 ");
    async_with (struct door, door, door_enter(), door_exit) {
        if (door.open) break;
        fail();
    }
    async_with (struct door, door, door_enter(), door_exit)
        goto out;
out:
    assert_notes("in out:0 in out:0 ");
    async_with (struct door *, door, no_door(), door_exit)
        fail_msg("%d", door->open);
    assert_int_equal(async_block_error(), -ENOENT);
    return 0;
}

/* What failed before a block is not what the block failed with. */
static int forgets_what_was_before(void *argument)
{
    async_lock lock = ASYNC_LOCK_INIT;
    (void)argument;
    async_sleep(-1);
    async_with_lock (&lock)
        ;
    assert_int_equal(async_block_error(), 0);
    async_sleep(-1);
    async_timeout (1)
        ;
    assert_int_equal(async_block_error(), 0);
    async_sleep(-1);
    async_shield ()
        ;
    assert_int_equal(async_block_error(), 0);
    async_sleep(-1);
    async_with (struct door, door, (struct door){.open = true}, door_exit)
        assert_true(door.open);
    assert_int_equal(async_block_error(), 0);
    return 0;
}

static int is_inside(void *argument)
{
    (void)argument;
    async_with (struct door, door, door_enter(), door_exit)
        return async_sleep(door.open ? 10 : 0);
    return 1;
}

static int exits_when_cancelled(void *argument)
{
    (void)argument;
    async_task *task = async_create_task(is_inside, NULL);
    async_sleep(2);
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    assert_notes("in out:0 ");
    assert_int_equal(tenths(), 30);
    return 0;
}

static int needs_a_door(void *argument)
{
    (void)argument;
    async_with (struct door *, door, no_door(), door_exit)
        fail_msg("%d", door->open);
    return 0;
}

static void test_an_entry_that_fails(void **state)
{
    (void)state;
    assert_int_equal(run(needs_a_door, NULL), -ENOENT);
    assert_string_equal(async_run_error_message(), "there is no door");
}

TEST(generates)
TEST(leaves_by_return)
TEST(meets_an_error)
TEST(times_out)
TEST(yields_from_outside)
TEST(goes_through)
TEST(exits_when_cancelled)
/* A generator that fails while no consumer waits: that is the next value's error, once. */
static int fails_after_one(async_generator *self, void *unused)
{
    int value = 1;
    (void)unused;
    async_cancel(async_current_task(), "by itself");
    async_yield(self, &value); /* delivers it, and gives the code */
    return async_raise(-EIO, "no more paper");
}

static int fails_meanwhile(void *unused)
{
    (void)unused;
    int value = 0;
    async_iterator *iterator = async_generate(fails_after_one, NULL, sizeof(int));
    assert_int_equal(iterator->next(iterator, &value), 1);
    assert_int_equal(value, 1);
    async_sleep(1);
    assert_int_equal(iterator->next(iterator, &value), -EIO);
    assert_string_equal(async_error_message(), "no more paper");
    assert_int_equal(iterator->next(iterator, &value), 0);
    async_generator_close(iterator);
    return 0;
}

TEST(fails_meanwhile)

/* Where the end of a generator cannot be waited for it is cancelled, and freed with the loop. */
static async_iterator *to_close;

static void closes(async_callback *callback)
{
    (void)callback;
    async_generator_close(to_close);
}

static int closes_itself(async_generator *self, void *unused)
{
    int code, value = 1;
    (void)unused;
    code = async_yield(self, &value);
    if (code < 0) return code;
    async_generator_close((async_iterator *)self);
    assert_int_equal(async_sleep(1), -ECANCELED);
    return 0;
}

static int closed_elsewhere(void *unused)
{
    int value;
    (void)unused;
    async_callback callback = {.run = closes};
    to_close = async_generate(numbers, NULL, sizeof(int));
    assert_int_equal(to_close->next(to_close, &value), 1);
    async_call_soon(async_get_running_loop(), &callback);
    async_sleep(0);
    async_sleep(0);
    async_for (int, each, async_generate(closes_itself, NULL, sizeof(int)))
        assert_int_equal(each, 1);
    return async_block_error();
}

TEST(closed_elsewhere)
TEST(forgets_what_was_before)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generates),
        cmocka_unit_test(test_leaves_by_return),
        cmocka_unit_test(test_meets_an_error),
        cmocka_unit_test(test_an_error_nobody_asks_for),
        cmocka_unit_test(test_times_out),
        cmocka_unit_test(test_yields_from_outside),
        cmocka_unit_test(test_goes_through),
        cmocka_unit_test(test_exits_when_cancelled),
        cmocka_unit_test(test_forgets_what_was_before),
        cmocka_unit_test(test_an_entry_that_fails),
        cmocka_unit_test(test_fails_meanwhile),
        cmocka_unit_test(test_closed_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
