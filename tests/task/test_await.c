/* Tasks, await, gather, sleep, and what misuse of them gives. */
#include "run.h"

#include <math.h>

struct worker {
    const char *name;
    double seconds;
    int result;
};

static int worker(struct worker *self)
{
    note("+%s", self->name);
    int code = async_sleep(self->seconds);
    note("-%s@%d", self->name, tenths());
    return code < 0           ? code
           : self->result < 0 ? async_raise(self->result, "%s failed", self->name)
                              : self->result;
}

static int sleeps(void *argument)
{
    (void)argument;
    assert_int_equal(async_sleep(1.5), 0);
    assert_int_equal(tenths(), 15);
    assert_int_equal(async_sleep(0), 0);
    assert_int_equal(tenths(), 15);
    assert_int_equal(async_sleep(-0.5), -EINVAL);
    assert_non_null(strstr(async_error_message(), "-0.5"));
    assert_int_equal(async_sleep(NAN), -EINVAL);
    assert_non_null(strstr(async_error_message(), "nan"));
    assert_int_equal(async_sleep_until(2.0), 0);
    assert_int_equal(tenths(), 20);
    assert_int_equal(async_sleep_until(1.0), 0);
    assert_int_equal(tenths(), 20);
    assert_int_equal(async_sleep_until(NAN), -EINVAL);
    return 0;
}

static int awaits(void *argument)
{
    (void)argument;
    async_task *task = async_spawn(worker, .name = "a", .seconds = 1, .result = 42);
    note("made");
    assert_false(async_task_done(task));
    assert_int_equal(async_await(task), 42);
    assert_int_equal(tenths(), 10);

    task = async_spawn(worker, .name = "b", .result = -EIO);
    async_sleep(1);
    assert_true(async_task_done(task));
    assert_int_equal(async_await(task), -EIO);
    assert_string_equal(async_error_message(), "b failed");
    assert_non_null(strstr(async_error_where(), "in worker"));
    assert_string_equal(async_error_chain(), "Task-3 (worker) <- Task-1");
    return 0;
}

static int numbers_of[100];

static int returns_number(void *number) { return *(int *)number; }

static int gathers(void *argument)
{
    (void)argument;
    assert_int_equal(async_gather(async_spawn(worker, .name = "a", .seconds = 2),
                                  async_spawn(worker, .name = "b", .seconds = 1)),
                     0);
    assert_notes("+a +b -b@10 -a@20 ");
    assert_int_equal(async_gather(async_spawn(worker, .name = "a", .seconds = 2),
                                  async_spawn(worker, .name = "b", .seconds = 1, .result = -EIO),
                                  async_spawn(worker, .name = "c", .seconds = 9)),
                     -EIO);
    assert_string_equal(async_error_message(), "b failed");
    assert_notes("+a +b +c -b@30 -a@30 -c@30 ");
    assert_notes("");
    assert_int_equal(async_gather(NULL, async_spawn(worker, .name = "a", .seconds = 9)), -EINVAL);
    assert_notes("+a -a@30 "); /* cancelled, and awaited */

    async_task *tasks[] = {async_spawn(worker, .name = "a", .seconds = 1, .result = -EIO),
                           async_spawn(worker, .name = "b", .seconds = 2, .result = 5)};
    int codes[2];
    assert_int_equal(async_gather_results(tasks, 2, codes), 0);
    assert_int_equal(codes[0], -EIO);
    assert_int_equal(codes[1], 5);
    notes[0] = 0;

    async_task *twice = async_spawn(worker, .name = "a"), *list[100];
    assert_int_equal(async_gather(twice, twice), -EINVAL);
    for (int i = 0; i < 100; i++) /* found among many, too, and none is released then */
        list[i] = i == 70 || i == 99 ? twice : async_create_task(returns_number, &numbers_of[i]);
    assert_int_equal(async_gather_array(list, 100), -EINVAL);
    assert_non_null(strstr(async_error_message(), "task 99 is there twice"));
    assert_int_equal(async_gather_array(list, 99), 0);
    assert_int_equal(async_gather_array(NULL, 0), 0);
    notes[0] = 0;
    return 0;
}

static int gather_cancelled(void *argument)
{
    (void)argument;
    int code = async_gather(async_spawn(worker, .name = "a", .seconds = 5),
                            async_spawn(worker, .name = "b", .seconds = 5));
    note("%s", async_error_name(code));
    return code;
}

static int cancels_a_gather(void *argument)
{
    (void)argument;
    async_task *task = async_create_task(gather_cancelled, NULL);
    async_sleep(1);
    assert_true(async_cancel(task, "enough"));
    assert_int_equal(async_await(task), -ECANCELED);
    assert_notes("+a +b -a@10 -b@10 ECANCELED ");
    return 0;
}

static int gathers_many(void *argument)
{
    (void)argument;
    async_task *tasks[1000];
    for (int i = 0; i < 1000; i++)
        tasks[i] = async_spawn(worker, .name = "", .seconds = i % 7);
    int code = async_gather_array(tasks, 1000);
    notes[0] = 0;
    return code;
}

static int awaits_wrongly(void *argument)
{
    (void)argument;
    assert_int_equal(async_await(async_current_task()), -EINVAL);
    assert_int_equal(async_await(NULL), -EINVAL);
    assert_int_equal(async_wait_for(NULL, 1), -EINVAL);
    async_task *task = async_spawn(worker, .name = "a", .seconds = 5);
    assert_int_equal(async_wait_for(task, 1), -ETIMEDOUT);
    assert_int_equal(tenths(), 10);
    task = async_spawn(worker, .name = "a", .seconds = 5);
    assert_int_equal(async_wait_for(task, NAN), -EINVAL);
    assert_int_equal(async_wait_for(async_current_task(), NAN), -EINVAL);
    assert_false(async_task_cancelling(async_current_task())); /* not this one's to cancel */
    notes[0] = 0;
    return 0;
}

static int too_big(void *argument)
{
    (void)argument;
    static const char text[ASYNC_ARGUMENT_MAX + 1];
    assert_null(async_create_task_with(sleeps, NULL,
                                       &(async_task_options){.copy = text, .size = sizeof text}));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_non_null(strstr(async_error_message(), "2049"));
    return 0;
}

struct aligned {
    _Alignas(64) char bytes[64];
    int value;
};

static int aligned(struct aligned *self)
{
    assert_int_equal((uintptr_t)self % 64, 0);
    return self->value;
}

static int adds(void *argument)
{
    int *two = argument;
    return two[0] + two[1];
}

/* A compound literal has commas that a macro's argument may not have. */
static int takes_literals(void *argument)
{
    (void)argument;
    assert_int_equal(async_await(async_create_task(adds, (int[]){1, 2})), 3);
    return 0;
}

static int spawns_aligned(void *argument)
{
    (void)argument;
    for (int i = 0; i < 40; i++)
        assert_int_equal(async_await(async_spawn(aligned, .value = i)), i);
    return 0;
}

struct order {
    int number;
};

static int order(struct order *self)
{
    for (int i = 0; i < 2; i++) {
        note("%d", self->number);
        async_sleep(0);
    }
    return 0;
}

static int takes_turns(void *argument)
{
    (void)argument;
    return async_gather(async_spawn(order, 1), async_spawn(order, 2), async_spawn(order, 3));
}

static void test_turns_and_seeds(void **state)
{
    (void)state;
    assert_int_equal(run(takes_turns, NULL), 0);
    assert_notes("1 2 3 1 2 3 ");

    char first[sizeof notes];
    bool differed = false;
    for (uint64_t seed = 1; seed < 20; seed++) {
        assert_int_equal(run_seeded(takes_turns, NULL, seed), 0);
        strcpy(first, notes);
        notes[0] = 0;
        assert_int_equal(run_seeded(takes_turns, NULL, seed), 0);
        assert_notes(first);
        differed |= strcmp(first, "1 2 3 1 2 3 ") != 0;
    }
    assert_true(differed);
}

static int checkpoints(void *argument)
{
    int *turns = argument;
    while (*turns < 3)
        async_checkpoint();
    return 0;
}

static int counts(void *argument)
{
    for (int *turns = argument; *turns < 3; ++*turns)
        async_sleep(0);
    return 0;
}

/* ---- a handle belongs to the first that awaits it, also if the task has ended already ---- */

static async_task *held[2];

static int gathers_both(void *unused)
{
    (void)unused;
    return async_gather(held[0], held[1]);
}

static int claims(void *unused)
{
    (void)unused;
    for (int round = 0; round < 2; round++) {
        held[0] = async_spawn(worker, .name = "quick", .result = 7);
        held[1] = async_spawn(worker, .name = "slow", .seconds = 1);
        async_sleep(0.1);
        assert_true(async_task_done(held[0]));
        async_task *gatherer = async_create_task(gathers_both, NULL);
        async_sleep(0.1);
        assert_int_equal(async_await(held[0]), -EBUSY);
        assert_int_equal(async_gather(held[0]), -EBUSY);
        assert_int_equal(async_wait_for(held[0], 1), -EBUSY);
        async_detach(held[0]); /* no effect: another task has claimed it */
        assert_int_equal(async_await(gatherer), 0);
    }
    async_task *list[80]; /* a stack that was released twice would be handed out twice */
    for (int i = 0; i < 80; i++) {
        list[i] = async_spawn(worker, .name = "x");
        for (int j = 0; j < i; j++)
            assert_ptr_not_equal(list[i], list[j]);
    }
    assert_int_equal(async_gather_array(list, 80), 0);
    notes[0] = 0;
    return 0;
}

/* Two tasks await one that has ended, where the checkpoint of await lets the other one run. */
static int uses_up_its_turn(void *task)
{
    for (int i = 0; i < 127; i++)
        async_checkpoint();
    int code = async_await(task);
    note("%s", async_error_name(code));
    return 0;
}

static int awaits_in_two_tasks(void *unused)
{
    (void)unused;
    async_task *task = async_create_task(returns_number, &numbers_of[0]);
    async_sleep(0);
    async_task *first = async_create_task(uses_up_its_turn, task);
    async_task *second = async_create_task(uses_up_its_turn, task);
    assert_int_equal(async_gather(first, second), 0);
    /* The one that is refused gives way as well, so either may be told first. */
    if (strcmp(notes, "0 EBUSY ") != 0) assert_string_equal(notes, "EBUSY 0 ");
    notes[0] = 0;
    return 0;
}

/* ---- handles that have been released ---- */

static int uses_stale_handles(void *unused)
{
    (void)unused;
    async_task *stale = async_spawn(worker, .name = "a");
    assert_int_equal(async_await(stale), 0);
    async_set_slow_callback_duration(async_get_running_loop(), INFINITY);
    for (int i = 0; i < 200; i++) {
        async_task *other = async_spawn(worker, .name = "b", .seconds = 1);
        assert_ptr_not_equal(other, stale);
        assert_false(async_cancel(stale, "a stale handle"));
        assert_non_null(strstr(async_error_message(), "async_cancel: the task has been awaited"));
        assert_int_equal(async_await(other), 0);
    }
    assert_int_equal(async_await(stale), -EINVAL);
    assert_int_equal(async_gather(stale), -EINVAL);
    assert_false(async_uncancel(stale));
    assert_true(async_task_done(stale));
    assert_string_equal(async_task_name(stale), "");
    assert_int_equal(async_task_set_name(stale, "x"), -EINVAL);
    async_detach(stale);
    notes[0] = 0;
    return 0;
}

static void hear(async_loop *loop, int code, const char *message, void *count)
{
    (void)loop;
    assert_int_equal(code, -EINVAL);
    assert_non_null(strstr(message, "has been awaited or detached before"));
    ++*(int *)count;
}

static void test_stale_handles(void **state)
{
    (void)state;
    int count = 0;
    async_run_options options = {.loop = {.virtual_clock = true, .debug = true},
                                 .exception_handler = hear,
                                 .exception_data = &count};
    assert_int_equal(async_run_with(uses_stale_handles, NULL, &options), 0);
    assert_int_equal(count, 207);
}

static int is_fair(void *argument)
{
    return async_gather(async_create_task(checkpoints, argument),
                        async_create_task(counts, argument));
}

static void test_checkpoints_give_way(void **state)
{
    (void)state;
    int turns = 0;
    assert_int_equal(run(is_fair, &turns), 0);
}

TEST(sleeps)
TEST(awaits)
TEST(gathers)
TEST(cancels_a_gather)
TEST(gathers_many)
TEST(awaits_wrongly)
TEST(claims)
TEST(awaits_in_two_tasks)
TEST(too_big)
TEST(spawns_aligned)
TEST(takes_literals)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sleeps),          cmocka_unit_test(test_awaits),
        cmocka_unit_test(test_gathers),         cmocka_unit_test(test_cancels_a_gather),
        cmocka_unit_test(test_gathers_many),    cmocka_unit_test(test_awaits_wrongly),
        cmocka_unit_test(test_claims),          cmocka_unit_test(test_awaits_in_two_tasks),
        cmocka_unit_test(test_stale_handles),   cmocka_unit_test(test_too_big),
        cmocka_unit_test(test_spawns_aligned),  cmocka_unit_test(test_takes_literals),
        cmocka_unit_test(test_turns_and_seeds), cmocka_unit_test(test_checkpoints_give_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
