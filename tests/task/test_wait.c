/* Waiting for some of several tasks: async_wait, async_as_completed, async_gather_all.
 *
 * ctest: timeout=300 */
#include "run.h"

#include <math.h>

struct worker {
    double seconds;
    int result;
};

static int worker(struct worker *self)
{
    int code = async_sleep(self->seconds);
    note("%d@%d", (int)self->seconds, tenths());
    if (code < 0) return code;
    return self->result < 0 ? async_raise(self->result, "after %g", self->seconds) : self->result;
}

enum { THREE = 3 };

static void make_three(async_task **tasks, int second)
{
    tasks[0] = async_spawn(worker, .seconds = 3);
    tasks[1] = async_spawn(worker, .seconds = 1, .result = second);
    tasks[2] = async_spawn(worker, .seconds = 2, .result = 7);
}

static void await_all(async_task *const *tasks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        async_await(tasks[i]);
    notes[0] = 0;
}

/* ---- async_wait ---- */

static int waits_for_first(void *unused)
{
    (void)unused;
    async_task *tasks[THREE];
    make_three(tasks, 5);
    assert_int_equal(async_wait(tasks, THREE, INFINITY, ASYNC_FIRST_COMPLETED), 1);
    assert_int_equal(tenths(), 10);
    assert_false(async_task_done(tasks[0]));
    assert_true(async_task_done(tasks[1]));
    assert_false(async_task_done(tasks[2]));
    assert_int_equal(async_await(tasks[1]), 5);
    async_task *rest[] = {tasks[0], tasks[2]};
    assert_int_equal(async_wait(rest, 2, INFINITY, ASYNC_FIRST_COMPLETED), 1);
    assert_int_equal(tenths(), 20);
    assert_int_equal(async_wait(rest, 2, INFINITY, ASYNC_ALL_COMPLETED), 2);
    assert_int_equal(tenths(), 30);
    assert_int_equal(async_wait(rest, 2, INFINITY, ASYNC_FIRST_COMPLETED), 2); /* at once */
    assert_int_equal(tenths(), 30);
    await_all(rest, 2);
    return 0;
}

static int waits_for_exception(void *unused)
{
    (void)unused;
    async_task *tasks[THREE];
    make_three(tasks, -EIO);
    assert_int_equal(async_wait(tasks, THREE, INFINITY, ASYNC_FIRST_EXCEPTION), 1);
    assert_int_equal(tenths(), 10);
    assert_int_equal(async_await(tasks[1]), -EIO);
    assert_string_equal(async_error_message(), "after 1");
    async_cancel(tasks[2], NULL); /* no exception in asyncio's sense */
    async_task *rest[] = {tasks[0], tasks[2]};
    assert_int_equal(async_wait(rest, 2, INFINITY, ASYNC_FIRST_EXCEPTION), 2);
    assert_int_equal(tenths(), 30);
    await_all(rest, 2);
    make_three(tasks, -EIO);
    async_sleep(1.5);
    assert_int_equal(async_wait(tasks, THREE, INFINITY, ASYNC_FIRST_EXCEPTION), 1); /* has ended */
    assert_int_equal(tenths(), 45);
    await_all(tasks, THREE);
    return 0;
}

static int waits_for_a_time(void *unused)
{
    (void)unused;
    async_task *tasks[THREE];
    make_three(tasks, 5);
    assert_int_equal(async_wait(tasks, THREE, 0, ASYNC_ALL_COMPLETED), 0);
    assert_int_equal(async_wait(tasks, THREE, -1, ASYNC_FIRST_COMPLETED), 0);
    assert_int_equal(async_wait(tasks, THREE, 0.5, ASYNC_FIRST_COMPLETED), 0);
    assert_int_equal(tenths(), 5);
    assert_int_equal(async_wait(tasks, THREE, 2, ASYNC_ALL_COMPLETED), 2);
    assert_int_equal(tenths(), 25);
    for (int i = 0; i < THREE; i++)
        assert_false(async_task_cancelling(tasks[i]));
    assert_int_equal(async_await(tasks[0]), 0);
    assert_int_equal(tenths(), 30);
    await_all(tasks + 1, 2);
    return 0;
}

/* The time is over in the turn in which the task ends: both are told. */
static int time_is_over_at_once(void *unused)
{
    (void)unused;
    async_task *task = async_spawn(worker, .seconds = 1);
    ssize_t ended = async_wait(&task, 1, 1, ASYNC_ALL_COMPLETED);
    assert_true(ended == async_task_done(task));
    assert_int_equal(async_await(task), 0);
    notes[0] = 0;
    return 0;
}

struct waiter {
    async_task **tasks;
    size_t count;
    double timeout;
};

static int waiter(struct waiter *self)
{
    return (int)async_wait(self->tasks, self->count, self->timeout, ASYNC_ALL_COMPLETED);
}

static int cancels_nothing(void *unused)
{
    (void)unused;
    async_task *tasks[THREE];
    make_three(tasks, 5);
    async_task *wait = async_spawn(waiter, tasks, THREE, INFINITY);
    async_sleep(1.5);
    assert_int_equal(async_wait(tasks, 1, 1, ASYNC_ALL_COMPLETED), -EBUSY);
    assert_int_equal(async_await(tasks[0]), -EBUSY);
    async_cancel(wait, "enough");
    assert_int_equal(async_await(wait), -ECANCELED);
    assert_string_equal(async_error_message(), "enough");
    assert_int_equal(tenths(), 15);
    async_timeout (0.2)
        assert_int_equal(async_wait(tasks, THREE, INFINITY, ASYNC_ALL_COMPLETED), -ETIMEDOUT);
    assert_int_equal(tenths(), 17);
    assert_int_equal(async_await(tasks[0]), 0); /* still there, and not cancelled */
    assert_int_equal(async_await(tasks[1]), 5);
    assert_int_equal(async_await(tasks[2]), 7);
    assert_int_equal(tenths(), 30);
    notes[0] = 0;
    return 0;
}

static int refuses_waits(void *unused)
{
    (void)unused;
    async_task *self = async_current_task(), *task = async_spawn(worker, .seconds = 1);
    async_task *twice[] = {task, task}, *with_null[] = {NULL, task};

    assert_int_equal(async_wait(NULL, 0, 1, ASYNC_ALL_COMPLETED), -EINVAL);
    assert_string_equal(async_error_message(), "async_wait: there is no task to wait for");
    assert_int_equal(async_wait(NULL, 2, 1, ASYNC_ALL_COMPLETED), -EBADF);
    assert_int_equal(async_wait(&self, 1, 1, ASYNC_ALL_COMPLETED), -EINVAL);
    assert_string_equal(async_error_message(), "async_wait: a task awaits itself");
    assert_int_equal(async_wait(&task, 1, NAN, ASYNC_ALL_COMPLETED), -EINVAL);
    assert_int_equal(async_wait(&task, 1, 1, 3), -EINVAL);
    assert_string_equal(async_error_message(), "async_wait: return_when is 3");
    assert_int_equal(async_wait(twice, 2, 1, ASYNC_ALL_COMPLETED), -EINVAL);
    assert_string_equal(async_error_message(), "async_wait: task 1 is there twice");
    assert_int_equal(async_wait(with_null, 2, 5, ASYNC_FIRST_EXCEPTION), 1);
    assert_int_equal(tenths(), 0);
    assert_int_equal(async_wait(with_null, 2, 5, ASYNC_ALL_COMPLETED), 2);
    assert_int_equal(tenths(), 10);
    await_all(&task, 1);

    async_with_group (group) {
        async_task *owned = async_group_spawn(group, worker, .seconds = 1);
        assert_int_equal(async_wait(&owned, 1, 1, ASYNC_ALL_COMPLETED), -EBUSY);
    }
    notes[0] = 0;
    return 0;
}

static int awaits_waiter(void *main) { return async_await(main); }

static int finds_circles(void *unused)
{
    (void)unused;
    async_task *task = async_create_task(awaits_waiter, async_current_task());
    async_sleep(0);
    assert_int_equal(async_wait(&task, 1, INFINITY, ASYNC_ALL_COMPLETED), 1);
    return async_await(task) == -EBUSY ? 0 : -EIO; /* a main task is not to be awaited */
}

struct pair {
    async_task *other;
};

static int waits_for_other(void *pair)
{
    async_sleep(0);
    return (int)async_wait(&((struct pair *)pair)->other, 1, INFINITY, ASYNC_ALL_COMPLETED);
}

static int wait_in_a_circle(void *unused)
{
    (void)unused;
    static struct pair pairs[2];
    pairs[1].other = async_create_task(waits_for_other, &pairs[0]);
    pairs[0].other = async_create_task(waits_for_other, &pairs[1]);
    return async_sleep(INFINITY);
}

static void test_circle_is_a_deadlock(void **state)
{
    (void)state;
    assert_int_equal(run(wait_in_a_circle, NULL), -EDEADLK);
    assert_non_null(strstr(async_run_error_message(), "waits: wait"));
}

static void test_outside_of_tasks(void **state)
{
    (void)state;
    assert_int_equal(async_wait(NULL, 1, 1, ASYNC_ALL_COMPLETED), -EPERM);
    assert_null(async_as_completed(NULL, 1, 1));
    assert_int_equal(async_error_code(), -EPERM);
    assert_int_equal(async_gather_all(NULL, 0, NULL), -EPERM);
}

/* ---- async_as_completed ---- */

static int completes(void *unused)
{
    (void)unused;
    async_task *tasks[THREE];
    int sum = 0;
    make_three(tasks, 5);
    async_for (async_task *, task, async_as_completed(tasks, THREE, INFINITY)) {
        assert_true(async_task_done(task));
        note("%d@%d", task == tasks[0] ? 0 : task == tasks[1] ? 1 : 2, tenths());
        sum += async_await(task);
    }
    assert_int_equal(async_block_error(), 0);
    assert_int_equal(sum, 12);
    assert_notes("1@10 1@10 2@20 2@20 3@30 0@30 ");
    async_for (async_task *, task, async_as_completed(NULL, 0, 0))
        fail();
    assert_int_equal(async_block_error(), 0);
    return 0;
}

/* What has not been given when the loop is left is cancelled, and has ended then. */
static int is_left_early(void *unused)
{
    (void)unused;
    async_task *tasks[THREE];
    make_three(tasks, 5);
    async_for (async_task *, task, async_as_completed(tasks, THREE, INFINITY)) {
        assert_int_equal(async_await(task), 5);
        break;
    }
    assert_notes("1@10 3@10 2@10 ");
    assert_int_equal(async_all_tasks(NULL, 0), 1);

    make_three(tasks, -EIO);
    async_for (async_task *, task, async_as_completed(tasks, THREE, 1.5))
        assert_int_equal(async_await(task), -EIO);
    assert_int_equal(async_block_error(), -ETIMEDOUT);
    assert_string_equal(async_error_message(),
                        "async_as_completed: not all tasks have ended within 1.5 s");
    assert_notes("1@20 3@25 2@25 ");

    make_three(tasks, 5); /* those that have ended come in spite of the time */
    async_sleep(10);
    int count = 0;
    async_for (async_task *, task, async_as_completed(tasks, THREE, -1)) {
        async_await(task);
        count++;
    }
    assert_int_equal(async_block_error(), 0);
    assert_int_equal(count, THREE);
    notes[0] = 0;
    return 0;
}

static int consumer(void *tasks)
{
    int code = 0;
    async_for (async_task *, task, async_as_completed(tasks, THREE, INFINITY))
        code = async_await(task);
    note("left@%d", tenths());
    code = async_block_error();
    return code;
}

static int is_cancelled(void *unused)
{
    (void)unused;
    async_task *tasks[THREE];
    make_three(tasks, 5);
    async_task *task = async_create_task(consumer, tasks);
    async_sleep(1.5);
    assert_int_equal(async_as_completed(tasks, 1, 1) == NULL, 1);
    assert_int_equal(async_error_code(), -EBUSY);
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    assert_notes("1@10 3@15 2@15 left@15 ");
    return 0;
}

static int takes_null(void *unused)
{
    (void)unused;
    async_task *tasks[] = {async_spawn(worker, .seconds = 1), NULL,
                           async_spawn(worker, .seconds = 2)};
    int nulls = 0, count = 0;
    async_for (async_task *, task, async_as_completed(tasks, THREE, INFINITY)) {
        if (!task) assert_int_equal(count, 0);
        nulls += !task;
        count++;
        async_await(task);
    }
    assert_int_equal(nulls, 1);
    assert_int_equal(count, 3);
    notes[0] = 0;
    assert_null(async_as_completed(NULL, 1, 1));
    assert_int_equal(async_error_code(), -EBADF);

    async_task *task = async_spawn(worker, .seconds = 9);
    double before = async_now();
    assert_null(async_as_completed(&task, 1, NAN)); /* and it has ended */
    assert_int_equal(async_error_code(), -EINVAL);
    assert_true(async_now() == before);
    assert_int_equal(async_all_tasks(NULL, 0), 1);
    notes[0] = 0;
    return 0;
}

/* One that is never closed is freed with the loop. */
static int leaves_open(void *unused)
{
    (void)unused;
    async_task *tasks[THREE], *first;
    make_three(tasks, 5);
    async_iterator *open = async_as_completed(tasks, THREE, INFINITY);
    assert_int_equal(open->next(open, &first), 1);
    assert_int_equal(async_await(first), 5);
    return 0;
}

static void test_left_open(void **state)
{
    (void)state;
    assert_int_equal(run(leaves_open, NULL), 0);
    notes[0] = 0;
}

/* ---- async_gather_all ---- */

static int keeps_everything(void *unused)
{
    (void)unused;
    int codes[4] = {1, 1, 1, 1}, code;
    async_task *tasks[] = {async_spawn(worker, .seconds = 2, .result = 4),
                           async_spawn(worker, .seconds = 3, .result = -EIO),
                           async_spawn(worker, .seconds = 1, .result = -ENOENT), NULL};
    assert_int_equal(async_gather_all(tasks, 4, codes), -EIO); /* the first in the array */
    assert_int_equal(tenths(), 30);
    assert_int_equal(codes[0], 4);
    assert_int_equal(codes[1], -EIO);
    assert_int_equal(codes[2], -ENOENT);
    assert_int_equal(codes[3], -EINVAL);
    assert_string_equal(async_error_message(), "after 3");
    assert_int_equal(async_error_causes(), 3);
    assert_string_equal(async_error_cause(1, &code), "after 1");
    assert_int_equal(code, -ENOENT);
    assert_non_null(async_error_cause(2, &code));
    assert_int_equal(code, -EINVAL);
    assert_null(async_error_cause(3, &code));

    make_three(tasks, 5);
    assert_int_equal(async_gather_all(tasks, 3, NULL), 0);
    make_three(tasks, 5);
    assert_int_equal(async_gather_results(tasks, 3, NULL), 0);
    assert_int_equal(async_gather_all(NULL, 0, NULL), 0);
    assert_int_equal(async_gather_all(NULL, 1, NULL), -EBADF);
    notes[0] = 0;
    return 0;
}

static int gatherer(void *tasks)
{
    int codes[THREE] = {0};
    int code = async_gather_all(tasks, THREE, codes);
    note("%d,%d,%d", codes[0], codes[1], codes[2]);
    return code;
}

static int says_why(void *unused)
{
    (void)unused;
    int code = async_sleep(INFINITY);
    note("%s", async_error_message());
    note("%s", async_task_cancel_message(async_current_task()));
    return code;
}

static int passes_the_message(void *unused)
{
    (void)unused;
    async_task *tasks[THREE] = {async_create_task(says_why), async_create_task(says_why),
                                async_spawn(worker, .result = 1)};
    async_task *task = async_create_task(gatherer, tasks);
    async_sleep(1);
    async_cancel(task, "bye");
    assert_string_equal(async_task_cancel_message(task), "bye");
    assert_int_equal(async_await(task), -ECANCELED);
    assert_string_equal(async_error_message(), "bye");
    char expected[128];
    snprintf(expected, sizeof expected, "0@0 bye bye bye bye %d,%d,1 ", -ECANCELED, -ECANCELED);
    assert_notes(expected);
    assert_string_equal(async_task_cancel_message(NULL), "");
    return 0;
}

/* ---- timeouts at a time of the clock ---- */

static int ends_at_a_time(void *unused)
{
    (void)unused;
    async_sleep(1);
    async_timeout_at (3.0)
        assert_int_equal(async_sleep(10), -ETIMEDOUT);
    assert_int_equal(tenths(), 30);
    async_timeout_at_scope(scope, 3.5)
    {
        assert_true(async_scope_when(&scope) == 3.5);
        assert_int_equal(async_scope_reschedule(&scope, 4), 0);
        assert_int_equal(async_sleep(10), -ETIMEDOUT);
        assert_true(async_scope_expired(&scope));
        assert_int_equal(async_scope_reschedule(&scope, 9), -EINVAL);
    }
    assert_int_equal(tenths(), 40);
    async_timeout_at (1.0) /* it is over */
        assert_int_equal(async_sleep(1), -ETIMEDOUT);
    async_timeout_at (NAN)
        fail();
    assert_int_equal(async_block_error(), -EINVAL);
    async_timeout_at (INFINITY)
        assert_int_equal(async_sleep(1), 0);
    return 0;
}

/* ---- many ---- */

enum { MANY = SANITIZED ? 2000 : 10000 }; /* ThreadSanitizer has room for 8000 fibers */

static int random_nap(void *number) { return async_sleep((int)(intptr_t)number * 7919 % MANY); }

static int waits_for_many(void *unused)
{
    (void)unused;
    static async_task *tasks[MANY];
    static int codes[MANY];
    int last = -1, count = 0;

    for (intptr_t i = 0; i < MANY; i++)
        tasks[i] = async_create_task(random_nap, (void *)i);
    assert_int_equal(async_wait(tasks, MANY, INFINITY, ASYNC_FIRST_COMPLETED), 1);
    async_for (async_task *, task, async_as_completed(tasks, MANY, INFINITY)) {
        assert_true((int)async_now() >= last);
        last = (int)async_now();
        assert_int_equal(async_await(task), 0);
        count++;
    }
    assert_int_equal(count, MANY);
    for (intptr_t i = 0; i < MANY; i++)
        tasks[i] = async_create_task(random_nap, (void *)i);
    assert_int_equal(async_wait(tasks, MANY, INFINITY, ASYNC_FIRST_EXCEPTION), MANY);
    assert_int_equal(async_gather_all(tasks, MANY, codes), 0);
    return 0;
}

/* ---- a model: what has been given, what is left, in any order of the ready tasks ---- */

static uint64_t state_of_draw;
static unsigned draw(unsigned limit)
{
    state_of_draw = state_of_draw * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(state_of_draw >> 33) % limit;
}

enum { CREW = 8 };

static int chaos(void *unused)
{
    (void)unused;
    async_task *tasks[CREW];
    bool awaited[CREW] = {false};
    int when[CREW], result[CREW];
    double begin = async_now();

    for (int i = 0; i < CREW; i++) {
        when[i] = (int)draw(6);
        result[i] = draw(3) == 0 ? -EIO : 1 + (int)draw(100);
        tasks[i] = async_spawn(worker, .seconds = when[i], .result = result[i]);
    }
    for (int left = CREW; left > 0;) {
        async_task *some[CREW];
        int of[CREW], count = 0, ended = 0;
        for (int i = 0; i < CREW; i++)
            if (!awaited[i] && (draw(4) || left == 1)) of[count] = i, some[count++] = tasks[i];
        if (count == 0) continue;
        ssize_t got = -EIO;
        int return_when = (int)draw(3);
        async_timeout (draw(4) ? 100.0 : draw(3) + 0.3)
            got = async_wait(some, (size_t)count, draw(3) ? INFINITY : draw(3) + 0.4, return_when);
        int at = (int)(async_now() - begin + 0.01);
        for (int k = 0; k < count; k++) {
            bool done = async_task_done(some[k]);
            if (when[of[k]] < at) assert_true(done);
            if (when[of[k]] > at) assert_false(done);
            ended += done;
        }
        assert_true(got == ended || got == -ETIMEDOUT);
        for (int k = 0; k < count; k++) {
            if (!async_task_done(some[k])) continue;
            assert_int_equal(async_await(some[k]), result[of[k]]);
            awaited[of[k]] = true;
            left--;
        }
    }
    notes[0] = 0;
    return 0;
}

static void test_chaos(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= fewer_seeds(2000); seed++) {
        state_of_draw = seed;
        assert_int_equal(run_seeded(chaos, NULL, seed), 0);
    }
}

TEST(waits_for_first)
TEST(waits_for_exception)
TEST(waits_for_a_time)
TEST(time_is_over_at_once)
TEST(cancels_nothing)
TEST(refuses_waits)
TEST(finds_circles)
TEST(completes)
TEST(is_left_early)
TEST(is_cancelled)
TEST(takes_null)
TEST(keeps_everything)
TEST(passes_the_message)
TEST(ends_at_a_time)
TEST(waits_for_many)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_for_first),
        cmocka_unit_test(test_waits_for_exception),
        cmocka_unit_test(test_waits_for_a_time),
        cmocka_unit_test(test_time_is_over_at_once),
        cmocka_unit_test(test_cancels_nothing),
        cmocka_unit_test(test_refuses_waits),
        cmocka_unit_test(test_finds_circles),
        cmocka_unit_test(test_circle_is_a_deadlock),
        cmocka_unit_test(test_outside_of_tasks),
        cmocka_unit_test(test_completes),
        cmocka_unit_test(test_is_left_early),
        cmocka_unit_test(test_is_cancelled),
        cmocka_unit_test(test_takes_null),
        cmocka_unit_test(test_left_open),
        cmocka_unit_test(test_keeps_everything),
        cmocka_unit_test(test_passes_the_message),
        cmocka_unit_test(test_ends_at_a_time),
        cmocka_unit_test(test_waits_for_many),
        cmocka_unit_test(test_chaos),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
