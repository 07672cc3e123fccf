/* async_run: results, nesting, the end of what is left, deadlocks, lost errors. */
#include "run.h"

static int returns(void *argument) { return *(int *)argument; }

static void test_result(void **state)
{
    (void)state;
    int value = 7;
    assert_int_equal(run(returns, &value), 7);
    value = -EIO;
    assert_int_equal(run(returns, &value), -EIO);
    assert_string_equal(async_run_error_message(), async_strerror(-EIO));
    value = 0;
    assert_int_equal(async_run(returns, &value), 0);
    assert_string_equal(async_run_error_message(), "");
}

static int raises(void *argument)
{
    (void)argument;
    return async_raise(-EPROTO, "no %s today", "bread");
}

static void test_message(void **state)
{
    (void)state;
    assert_int_equal(run(raises, NULL), -EPROTO);
    assert_string_equal(async_run_error_message(), "no bread today");
}

static int runs_again(void *argument)
{
    int value = 0;
    (void)argument;
    assert_int_equal(async_run(returns, &value), -EBUSY);
    assert_non_null(strstr(async_error_message(), "async_run"));
    return 3;
}

static void test_inside_itself(void **state)
{
    (void)state;
    assert_int_equal(run(runs_again, NULL), 3);
}

static int sleeper(void *argument)
{
    int code = async_sleep(100);
    note("%s:%s", (char *)argument, async_error_name(code));
    return code;
}

static int leaves_tasks(void *argument)
{
    (void)argument;
    async_create_task(sleeper, "kept");
    async_detach(async_create_task(sleeper, "detached"));
    async_sleep(1);
    return 0;
}

static void test_what_is_left_is_cancelled(void **state)
{
    (void)state;
    assert_int_equal(run(leaves_tasks, NULL), 0);
    assert_notes("kept:ECANCELED detached:ECANCELED ");
}

static int spawns_at_the_end(void *argument)
{
    int code = async_sleep(100);
    (void)argument;
    async_detach(async_create_task(sleeper, "late"));
    return code;
}

static int leaves_a_spawner(void *argument)
{
    (void)argument;
    async_create_task(spawns_at_the_end, NULL);
    return async_sleep(1);
}

static void test_tasks_made_at_the_end_end_too(void **state)
{
    (void)state;
    assert_int_equal(run(leaves_a_spawner, NULL), 0);
    assert_notes("late:ECANCELED ");
}

static int waits_for_nothing(void *argument) { return async_event_wait(argument); }

static int waits_for_a_waiter(void *argument)
{
    return async_await(async_create_task(waits_for_nothing, argument));
}

static void test_deadlock(void **state)
{
    (void)state;
    async_event event = ASYNC_EVENT_INIT;
    assert_int_equal(run(waits_for_a_waiter, &event), -EDEADLK);
    const char *message = async_run_error_message();
    assert_non_null(strstr(message, "deadlock"));
    assert_non_null(strstr(message, "waits_for_nothing"));
    assert_non_null(strstr(message, "event"));
    assert_int_equal(async_run(waits_for_a_waiter, &event), -EDEADLK);
}

static int waits_in_a_shield(void *argument)
{
    async_scope shield;
    async_shield_enter(&shield);
    int code = async_event_wait(argument);
    async_scope_leave(&shield);
    return code;
}

/* A circle of awaits is found by the one that would close it, and so it ends. */
static async_task *circle[3];

static int waits_in_a_circle(void *next)
{
    int code = async_await(*(async_task **)next);
    note("%s", async_error_name(code));
    return code;
}

static int makes_a_circle(void *unused)
{
    (void)unused;
    for (int i = 0; i < 3; i++)
        circle[i] = async_create_task(waits_in_a_circle, &circle[(i + 1) % 3]);
    async_sleep(1);
    assert_notes("EDEADLK EDEADLK EDEADLK ");
    return async_await(circle[0]);
}

/* By way of a gather, and of a group that the awaiting task belongs to. */
static async_task *gathering;

static int awaits_its_gatherer(void *unused)
{
    (void)unused;
    async_sleep(0.1);
    note("%s", async_error_name(async_await(gathering)));
    return 0;
}

static int gathers(void *unused)
{
    (void)unused;
    return async_gather(async_create_task(awaits_its_gatherer, NULL),
                        async_create_task(awaits_its_gatherer, NULL));
}

static int groups(void *unused)
{
    (void)unused;
    async_with_group (group)
        async_group_create_task(group, awaits_its_gatherer, NULL);
    return async_block_error();
}

static int makes_other_circles(void *unused)
{
    (void)unused;
    gathering = async_create_task(gathers, NULL);
    async_sleep(1);
    assert_int_equal(async_await(gathering), 0);
    gathering = async_create_task(groups, NULL);
    async_sleep(1);
    assert_int_equal(async_await(gathering), 0);
    assert_notes("EDEADLK EDEADLK EDEADLK ");
    return 0;
}

static void test_circle(void **state)
{
    (void)state;
    assert_int_equal(run(makes_other_circles, NULL), 0);
    assert_int_equal(run(makes_a_circle, NULL), -EDEADLK);
    assert_string_equal(async_run_error_message(),
                        "async_await: Task-2 (waits_in_a_circle) waits for this task");
}

static void test_deadlock_in_a_shield(void **state)
{
    (void)state;
    async_event event = ASYNC_EVENT_INIT;
    assert_int_equal(run(waits_in_a_shield, &event), -EDEADLK);
}

static void hear(async_loop *loop, int code, const char *message, void *data)
{
    (void)loop;
    (void)data;
    note("%s[%s]", async_error_name(code), message);
}

static int loses_errors(void *argument)
{
    (void)argument;
    async_detach(async_create_task(raises, NULL));
    async_create_task(raises, NULL);
    return async_sleep(1);
}

static void test_lost_errors_are_heard_of(void **state)
{
    (void)state;
    assert_int_equal(async_run_with(loses_errors, NULL,
                                    &(async_run_options){.loop = {.virtual_clock = true},
                                                         .exception_handler = hear}),
                     0);
    assert_notes("EPROTO[Task-2 (raises) was detached, and failed: no bread today] "
                 "EPROTO[Task-3 (raises) failed and was never awaited: no bread today] ");
}

static int names(void *argument)
{
    (void)argument;
    assert_string_equal(async_task_name(async_current_task()), "chief");
    async_task *other = async_create_task(sleeper, "x");
    assert_string_equal(async_task_name(other), "Task-2");
    assert_string_equal(async_task_coroutine(other), "sleeper");
    async_task_set_name(other, "worker");
    assert_string_equal(async_task_name(other), "worker");
    async_task *list[4];
    assert_int_equal(async_all_tasks(list, 4), 2);
    assert_ptr_equal(list[0], async_current_task());
    assert_ptr_equal(list[1], other);
    async_sleep(0);
    char *graph = async_format_call_graph();
    assert_non_null(strstr(graph, "worker (sleeper): waits: sleep"));
    free(graph);
    async_cancel(other, NULL);
    async_await(other);
    notes[0] = 0;
    return 0;
}

static void test_names(void **state)
{
    (void)state;
    assert_int_equal(
        async_run_with(names, NULL,
                       &(async_run_options){.loop = {.virtual_clock = true}, .name = "chief"}),
        0);
}

/* As data: a task that gathers_both two, of which one waits for a lock that the other one has. */
static async_lock graph_lock;

static int holds(void)
{
    async_with_lock (&graph_lock)
        return async_sleep(1);
    return async_block_error();
}

static int wants(void)
{
    async_with_lock (&graph_lock)
        return 0;
    return async_block_error();
}

static int gathers_both(void)
{
    return async_gather(async_create_task(holds), async_create_task(wants));
}

static ptrdiff_t entry_of(const async_call_graph_entry *entries, ssize_t count,
                          const char *coroutine)
{
    for (ssize_t i = 0; i < count; i++)
        if (strcmp(entries[i].coroutine, coroutine) == 0) return i;
    return -1;
}

static int graph_as_data(void *unused)
{
    (void)unused;
    async_call_graph_entry *entries;
    async_task *task = async_create_task(gathers_both);
    async_sleep(0.5);
    async_task_set_name(task, "the gatherer, by a name of its own");
    ssize_t count = async_capture_call_graph(&entries);
    assert_int_equal(count, 4);
    ptrdiff_t holder = entry_of(entries, count, "holds"), other = entry_of(entries, count, "wants"),
              above = entry_of(entries, count, "gathers_both");
    assert_string_equal(entries[above].name, "the gatherer, by a name of its own");
    assert_string_equal(entries[holder].name, "Task-3");
    assert_string_equal(entries[holder].waits_for, "sleep");
    assert_string_equal(entries[other].waits_for, "lock");
    assert_int_equal(entries[holder].awaited_by, above);
    assert_int_equal(entries[other].awaited_by, above);
    assert_int_equal(entries[other].held_by, holder);
    assert_int_equal(entries[above].awaited_by, -1);
    assert_int_equal(entries[above].held_by, -1);
    assert_int_equal(entries[0].fd, -1);
    assert_null(entries[0].waits_for); /* it runs */
    free(entries);
    assert_int_equal(async_capture_call_graph(NULL), -EBADF);
    return async_await(task);
}

static void test_graph_as_data(void **state)
{
    (void)state;
    async_call_graph_entry *entries;
    assert_int_equal(run(graph_as_data, NULL), 0);
    assert_int_equal(async_capture_call_graph(&entries), -EPERM);
    assert_null(entries);
}

static void test_bad_options(void **state)
{
    (void)state;
    int value = 0;
    assert_int_equal(
        async_run_with(returns, &value, &(async_run_options){.loop = {.backend = "kqueue"}}),
        -EINVAL);
    assert_int_equal(async_run_with(NULL, NULL, NULL), -EINVAL);
}

/* Callers that were compiled when the options were shorter, or will be when they are longer. */
static int has_a_name(void *name)
{
    assert_string_equal(async_task_name(async_current_task()), name);
    return 0;
}

static void test_sizes_of_options(void **state)
{
    (void)state;
    struct {
        async_run_options known;
        char new_member[16];
    } longer = {.known = {.loop = {.virtual_clock = true}, .name = "chief"}};
    assert_int_equal(async__run(has_a_name, "chief", NULL, &longer.known, sizeof longer), 0);
    longer.new_member[15] = 1;
    assert_int_equal(async__run(has_a_name, "chief", NULL, &longer.known, sizeof longer), -EINVAL);

    /* Only `loop` was known then: the name that lies behind it in memory is not read. */
    assert_int_equal(
        async__run(has_a_name, "Task-1", NULL, &longer.known, offsetof(async_run_options, name)),
        0);
    assert_int_equal(async__run(has_a_name, "Task-1", NULL, NULL, 0), 0);

    struct {
        async_loop_options known;
        int new_member;
    } newer = {.new_member = 1};
    assert_null(async__loop_new(&newer.known, sizeof newer));
    assert_int_equal(errno, EINVAL);
}

static void test_version(void **state)
{
    (void)state;
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", ASYNC_VERSION_MAJOR, ASYNC_VERSION_MINOR,
             ASYNC_VERSION_PATCH);
    assert_string_equal(async_version(), text);
    assert_string_equal(async_version(), ASYNC_VERSION);
}

static void test_outside(void **state)
{
    (void)state;
    assert_int_equal(async_sleep(1), -EPERM);
    assert_null(async_create_task(returns, NULL));
    assert_null(async_current_task());
    assert_null(async_get_running_loop());
    assert_int_equal(async_await(NULL), -EPERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_result),
        cmocka_unit_test(test_message),
        cmocka_unit_test(test_inside_itself),
        cmocka_unit_test(test_what_is_left_is_cancelled),
        cmocka_unit_test(test_tasks_made_at_the_end_end_too),
        cmocka_unit_test(test_deadlock),
        cmocka_unit_test(test_circle),
        cmocka_unit_test(test_deadlock_in_a_shield),
        cmocka_unit_test(test_lost_errors_are_heard_of),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_graph_as_data),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_sizes_of_options),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
