/* Waiting for one of several things: exactly one is carried out, whatever happens meanwhile. */
#include "run.h"

#include <math.h>

static async_queue *first, *second;

static async_queue *queue_of(int count, int maxsize)
{
    async_queue *queue = async_queue_new(sizeof(int), (size_t)maxsize);
    for (int i = 0; i < count; i++)
        assert_int_equal(async_queue_put_nowait(queue, &i), 0);
    return queue;
}

static void open_queues(int in_first, int in_second, int maxsize)
{
    first = queue_of(in_first, maxsize);
    second = queue_of(in_second, maxsize);
}

static void free_queues(void)
{
    async_queue_free(first);
    async_queue_free(second);
}

/* Gets from either queue, and says what. */
static int gets(void *unused)
{
    int items[2] = {-1, -1};
    async_case cases[] = {async_case_get(first, &items[0]), async_case_get(second, &items[1])};
    (void)unused;
    int which = async_select(cases, 2);
    if (which < 0)
        note("%s", async_error_name(which));
    else
        note("%d:%d", which, items[which]);
    return which < 0 ? which : 0;
}

static int sleeps(void *seconds) { return async_sleep(*(double *)seconds); }

/* ---- what is ready at once ---- */

static int ready(void *unused)
{
    (void)unused;
    int item = 7, got = 0;
    async_event event = ASYNC_EVENT_INIT;
    async_future future = ASYNC_FUTURE_INIT;
    async_latch latch = ASYNC_LATCH_INIT(1);
    async_lock lock = ASYNC_LOCK_INIT;
    async_semaphore semaphore = ASYNC_SEMAPHORE_INIT(0);
    double zero = 0;
    async_task *task = async_create_task(sleeps, &zero);
    open_queues(0, 1, 1);
    enum { GET, PUT, EVENT, FUTURE, LATCH, LOCK, SEMAPHORE, TASK, NONE, AFTER, CASES };
    async_case cases[CASES] = {
        [GET] = async_case_get(first, &got),
        [PUT] = async_case_put(second, &item),
        [EVENT] = async_case_event(&event),
        [FUTURE] = async_case_future(&future),
        [LATCH] = async_case_latch(&latch),
        [LOCK] = async_case_lock(&lock),
        [SEMAPHORE] = async_case_semaphore(&semaphore),
        [TASK] = async_case_task(task),
        [AFTER] = async_case_after(0),
    };
    cases[LOCK] = (async_case){0}; /* it is free: to be tried below */
    assert_int_equal(async_select(cases, CASES), AFTER);
    async_event_set(&event);
    assert_int_equal(async_select(cases, CASES), EVENT);
    async_event_clear(&event);
    async_queue_put_nowait(first, &item);
    assert_int_equal(async_select(cases, CASES), GET);
    assert_int_equal(got, 7);
    async_queue_get_nowait(second, &got);
    assert_int_equal(async_select(cases, CASES), PUT);
    assert_int_equal(async_queue_size(second), 1);
    async_latch_count_down(&latch);
    assert_int_equal(async_select(cases, CASES), LATCH);
    cases[LATCH] = (async_case){0};
    async_semaphore_release(&semaphore);
    assert_int_equal(async_select(cases, CASES), SEMAPHORE);
    assert_int_equal(async_semaphore_value(&semaphore), 0);
    async_sleep(1);
    assert_int_equal(async_select(cases, CASES), TASK);
    assert_int_equal(async_await(task), 0);
    cases[TASK] = (async_case){0};
    cases[LOCK] = async_case_lock(&lock);
    assert_int_equal(async_select(cases, CASES), LOCK);
    assert_int_equal(async_lock_release(&lock), 0);
    cases[LOCK] = (async_case){0};
    async_future_set(&future, -EIO, NULL);
    assert_int_equal(async_select(cases, CASES), FUTURE);
    cases[FUTURE] = (async_case){0};
    assert_int_equal(async_select(cases, CASES), AFTER);
    free_queues();
    return 0;
}

/* ---- what comes later, one after another, to a task that waits for all of it ---- */

static struct {
    async_event event;
    async_future future;
    async_latch latch;
    async_lock lock;
    async_semaphore semaphore;
    async_task *task;
} all;

static int waits_for_all(void *unused)
{
    (void)unused;
    int item = 7, got = 0;
    async_case cases[] = {
        async_case_get(first, &got),
        async_case_put(second, &item),
        async_case_event(&all.event),
        async_case_future(&all.future),
        async_case_latch(&all.latch),
        async_case_lock(&all.lock),
        async_case_semaphore(&all.semaphore),
        async_case_task(all.task),
        async_case_after(5),
    };
    for (;;) {
        int which = async_select(cases, COUNT(cases));
        if (which < 0) return which;
        note("%d@%d", which, tenths());
        switch (which) {
        case 0: assert_int_equal(got, 9); break;
        case 2: async_event_clear(&all.event); break;
        case 8: return async_lock_release(&all.lock);
        default: cases[which] = (async_case){0};
        }
    }
}

static int later(void *unused)
{
    (void)unused;
    int item = 9;
    double eight = 8;
    memset(&all, 0, sizeof all);
    all.latch = (async_latch)ASYNC_LATCH_INIT(1);
    all.task = async_create_task(sleeps, &eight);
    open_queues(0, 1, 1);
    async_lock_acquire(&all.lock);
    async_task *task = async_create_task(waits_for_all);
    async_sleep(1);
    async_queue_put(first, &item);
    async_sleep(1);
    async_queue_get(second, &item);
    async_sleep(1);
    async_event_set(&all.event);
    async_sleep(1);
    async_future_set(&all.future, 0, NULL);
    async_sleep(1);
    async_latch_count_down(&all.latch);
    async_sleep(1);
    async_lock_release(&all.lock);
    async_sleep(1);
    async_semaphore_release(&all.semaphore);
    assert_int_equal(async_await(task), 0);
    assert_int_equal(async_await(all.task), 0);
    assert_notes("0@10 1@20 2@30 3@40 4@50 5@60 6@70 7@80 8@130 ");
    assert_int_equal(async_semaphore_value(&all.semaphore), 0);
    free_queues();
    return 0;
}

/* ---- nothing is lost ---- */

/* Two become ready in one turn: one is taken, the other stays where it is. */
static int both_at_once(void *unused)
{
    (void)unused;
    int item = 3;
    open_queues(0, 0, 0);
    async_task *task = async_create_task(gets);
    async_sleep(0);
    async_queue_put_nowait(second, &item);
    async_queue_put_nowait(first, &item);
    async_queue_put_nowait(second, &item);
    assert_int_equal(async_await(task), 0);
    assert_notes("1:3 ");
    assert_int_equal(async_queue_size(first), 1);
    assert_int_equal(async_queue_size(second), 1);
    free_queues();
    return 0;
}

static int cancelled(void *unused)
{
    (void)unused;
    int item = 3;
    open_queues(0, 0, 0);
    async_task *task = async_create_task(gets);
    async_sleep(0);
    async_cancel(task, NULL);
    async_queue_put_nowait(first, &item); /* it stands in line no more */
    assert_int_equal(async_await(task), -ECANCELED);
    assert_notes("ECANCELED ");
    assert_int_equal(async_queue_size(first), 1);

    async_queue_get_nowait(first, &item);
    task = async_create_task(gets);
    async_sleep(0);
    async_queue_put_nowait(second, &item);
    async_cancel(task, NULL); /* it has the item */
    assert_int_equal(async_await(task), 0);
    assert_notes("1:3 ");

    task = async_create_task(gets);
    async_timeout (1)
        assert_int_equal(async_select((async_case[]){async_case_get(first, &item)}, 1), -ETIMEDOUT);
    assert_int_equal(async_queue_put_nowait(first, &item), 0);
    assert_int_equal(async_await(task), 0);
    assert_notes("0:3 ");
    free_queues();
    return 0;
}

static async_case shared[2];

static int selects_shared(void *unused)
{
    (void)unused;
    return async_select(shared, 2);
}

/* The array is changed while it waits: it waits for what there was. */
static int changed_meanwhile(void *unused)
{
    (void)unused;
    int item = 3;
    open_queues(0, 0, 0);
    shared[0] = async_case_get(first, &item);
    shared[1] = async_case_get(second, &item);
    async_task *task = async_create_task(selects_shared);
    async_sleep(0);
    memset(shared, 0, sizeof shared);
    async_queue_put_nowait(second, &item);
    async_queue_put_nowait(first, &item);
    assert_int_equal(async_await(task), 1);
    assert_int_equal(async_queue_size(first), 1);
    free_queues();
    return 0;
}

/* It stands in line with those that wait for one thing only, at its place. */
static int in_line(void *unused)
{
    (void)unused;
    open_queues(0, 0, 0);
    async_task *tasks[3];
    for (int i = 0; i < 3; i++)
        tasks[i] = async_create_task(gets);
    async_sleep(0);
    for (int i = 0; i < 3; i++)
        async_queue_put_nowait(i == 1 ? second : first, &i);
    assert_int_equal(async_gather_array(tasks, 3), 0);
    assert_notes("0:0 1:1 0:2 ");
    free_queues();
    return 0;
}

/* A timer that has gone off and a queue's item, in one turn. */
static int time_and_item(void *unused)
{
    (void)unused;
    int item = 0;
    open_queues(0, 0, 0);
    double one = 1;
    async_task *task = async_create_task(sleeps, &one);
    async_case cases[] = {async_case_get(first, &item), async_case_after(1), async_case_task(task)};
    int which = async_select(cases, 3);
    assert_true(which == 1 || which == 2);
    assert_int_equal(async_await(task), 0);
    assert_int_equal(tenths(), 10);
    cases[2] = (async_case){0};
    assert_int_equal(async_select(cases, 3), 1); /* the timer counts from the call */
    assert_int_equal(tenths(), 20);
    free_queues();
    return 0;
}

/* ---- fairness ---- */

static int counts[2];
static char order[65];

static int fair(void *unused)
{
    (void)unused;
    int item;
    open_queues(1000, 1000, 0);
    async_case cases[] = {async_case_get(first, &item), async_case_get(second, &item)};
    memset(counts, 0, sizeof counts);
    for (int i = 0; i < 1000; i++) {
        int which = async_select(cases, 2);
        assert_in_range(which, 0, 1);
        counts[which]++;
        if (i < 64) order[i] = (char)('0' + which);
    }
    assert_in_range(counts[0], 400, 600);
    free_queues();
    return 0;
}

static void test_seeds(void **state)
{
    char before[65];
    (void)state;
    assert_int_equal(run_seeded(fair, NULL, 5), 0);
    memcpy(before, order, sizeof before);
    assert_int_equal(run_seeded(fair, NULL, 5), 0);
    assert_string_equal(order, before);
    assert_int_equal(run_seeded(fair, NULL, 6), 0);
    assert_string_not_equal(order, before);
}

/* ---- tasks ---- */

static int raises(void *unused)
{
    (void)unused;
    async_sleep(1);
    return async_raise(-EIO, "on purpose");
}

static void on_lost(async_loop *loop, int code, const char *message, void *data)
{
    (void)loop, (void)data;
    note("%d %s", code == -EIO, message);
}

static int tasks(void *unused)
{
    (void)unused;
    double ten = 10;
    async_task *slow = async_create_task(sleeps, &ten);
    async_task *failing = async_create_task(raises);
    async_case cases[] = {async_case_task(slow), async_case_task(failing)};
    assert_int_equal(async_select(cases, 2), 1);
    assert_int_equal(async_await(failing), -EIO);
    assert_string_equal(async_error_message(), "on purpose");
    async_timeout (1)
        assert_int_equal(async_select(cases, 1), -ETIMEDOUT);
    assert_false(async_task_cancelling(slow)); /* and may be awaited */
    assert_int_equal(async_await(slow), 0);
    assert_int_equal(tenths(), 100);

    /* One that failed, was chosen, and is never awaited: told at the end. */
    async_task *lost = async_create_task(raises);
    assert_int_equal(async_select((async_case[]){async_case_task(lost)}, 1), 0);
    return 0;
}

static void test_tasks(void **state)
{
    (void)state;
    notes[0] = 0;
    assert_int_equal(async_run_with(tasks, NULL,
                                    &(async_run_options){.loop = {.virtual_clock = true},
                                                         .exception_handler = on_lost}),
                     0);
    assert_notes("1 Task-4 (raises) failed and was never awaited: on purpose ");
}

static async_task *awaited;

static int awaits(void *unused)
{
    (void)unused;
    return async_await(awaited);
}

static int selects(void *unused)
{
    (void)unused;
    return async_select((async_case[]){async_case_task(awaited)}, 1);
}

static int claimed(void *unused)
{
    (void)unused;
    double one = 1;
    awaited = async_create_task(sleeps, &one);
    async_task *other = async_create_task(awaits);
    async_sleep(0);
    assert_int_equal(selects(NULL), -EBUSY);
    assert_int_equal(async_await(other), 0);

    awaited = async_create_task(sleeps, &one);
    other = async_create_task(selects);
    async_sleep(0);
    assert_int_equal(async_await(awaited), -EBUSY);
    assert_int_equal(selects(NULL), -EBUSY);
    assert_int_equal(async_await(other), 0);
    assert_int_equal(async_await(awaited), 0);
    return 0;
}

/* ---- queues that are shut down ---- */

static int shut(void *unused)
{
    (void)unused;
    int item = 0;
    open_queues(0, 0, 1);
    async_case cases[] = {async_case_get(first, &item), async_case_get(second, &item)};
    async_queue_shutdown(second, false);
    assert_int_equal(async_select(cases, 2), ASYNC_ESHUTDOWN);
    assert_int_equal(cases[0].code, 0);
    assert_int_equal(cases[1].code, ASYNC_ESHUTDOWN);
    cases[1] = (async_case){0};
    async_task *task = async_create_task(gets); /* finds it shut down */
    assert_int_equal(async_await(task), ASYNC_ESHUTDOWN);
    notes[0] = 0;
    assert_int_equal(async_queue_put(first, &item), 0);
    assert_int_equal(async_select(cases, 2), 0);
    assert_int_equal(cases[0].code, 0);
    free_queues();
    return 0;
}

static int shut_meanwhile(void *unused)
{
    (void)unused;
    open_queues(0, 0, 1);
    async_task *task = async_create_task(gets), *other = async_create_task(gets);
    async_sleep(0);
    async_queue_shutdown(second, true);
    assert_int_equal(async_await(task), ASYNC_ESHUTDOWN);
    assert_int_equal(async_await(other), ASYNC_ESHUTDOWN);
    assert_notes("ASYNC_ESHUTDOWN ASYNC_ESHUTDOWN ");
    free_queues();
    return 0;
}

/* ---- many cases, and mistakes ---- */

static int many(void *unused)
{
    (void)unused;
    enum { MANY = 200 };
    static async_event events[MANY];
    static async_case cases[MANY];
    for (int i = 0; i < MANY; i++)
        cases[i] = async_case_event(&events[i]);
    for (int i = 0; i < MANY; i += 7) {
        async_event_set(&events[i]);
        assert_int_equal(async_select(cases, MANY), i);
        async_event_clear(&events[i]);
    }
    async_timeout (1)
        assert_int_equal(async_select(cases, MANY), -ETIMEDOUT);
    return 0;
}

static int in_group(void *unused)
{
    (void)unused;
    return async_sleep(1);
}

#define ONE(a_case) async_select((async_case[]){a_case}, 1)

static int misuse(void *unused)
{
    (void)unused;
    int item = 0;
    async_event set = {.set = true};
    async_lock lock = ASYNC_LOCK_INIT;
    async_semaphore below = ASYNC_SEMAPHORE_INIT(-1);
    open_queues(0, 0, 1);
    assert_int_equal(async_select(NULL, 0), -EINVAL);
    assert_string_equal(async_error_message(), "async_select: no case that could ever be ready");
    assert_int_equal(async_select(NULL, 1), -EINVAL);
    assert_int_equal(ONE((async_case){0}), -EINVAL);
    assert_int_equal(ONE(async_case_after(INFINITY)), -EINVAL);
    assert_int_equal(ONE(async_case_after(NAN)), -EINVAL);
    assert_int_equal(ONE(async_case_get(NULL, &item)), -EBADF);
    assert_string_equal(async_error_message(), "async_select: the queue is NULL");
    assert_int_equal(ONE(async_case_put(NULL, &item)), -EBADF);
    assert_int_equal(ONE(async_case_get(first, NULL)), -EINVAL);
    assert_int_equal(ONE(async_case_put(first, NULL)), -EINVAL);
    assert_int_equal(ONE(async_case_event(NULL)), -EBADF);
    assert_int_equal(ONE(async_case_future(NULL)), -EBADF);
    assert_int_equal(ONE(async_case_latch(NULL)), -EBADF);
    assert_int_equal(ONE(async_case_lock(NULL)), -EBADF);
    assert_int_equal(ONE(async_case_semaphore(NULL)), -EBADF);
    assert_int_equal(ONE(async_case_semaphore(&below)), -EINVAL);
    assert_int_equal(ONE(async_case_task(NULL)), -EINVAL);
    assert_int_equal(ONE(async_case_task(async_current_task())), -EINVAL);
    async_lock_acquire(&lock);
    assert_int_equal(ONE(async_case_lock(&lock)), -EDEADLK);
    /* Also beside a case that is ready. */
    async_case cases[] = {async_case_event(&set), async_case_event(NULL)};
    for (int i = 0; i < 10; i++)
        assert_int_equal(async_select(cases, 2), -EBADF);
    async_with_group (group) {
        async_task *task = async_group_create_task(group, in_group);
        assert_int_equal(ONE(async_case_task(task)), -EBUSY);
    }
    /* Found when the wait begins: what was begun is undone. */
    async_task *task = async_create_task(in_group);
    async_case twice[] = {async_case_get(first, &item), async_case_task(task),
                          async_case_task(task)};
    assert_int_equal(async_select(twice, 3), -EBUSY);
    assert_int_equal(async_queue_put_nowait(first, &item), 0);
    assert_int_equal(async_queue_size(first), 1);
    assert_int_equal(async_await(task), 0);
    free_queues();
    return 0;
}

static void test_outside(void **state)
{
    async_event set = {.set = true};
    (void)state;
    assert_int_equal(ONE(async_case_event(&set)), -EPERM);
}

TEST(ready)
TEST(later)
TEST(both_at_once)
TEST(cancelled)
TEST(changed_meanwhile)
TEST(in_line)
TEST(time_and_item)
TEST(fair)
TEST(claimed)
TEST(shut)
TEST(shut_meanwhile)
TEST(many)
TEST(misuse)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ready),          cmocka_unit_test(test_later),
        cmocka_unit_test(test_both_at_once),   cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_in_line),        cmocka_unit_test(test_changed_meanwhile),
        cmocka_unit_test(test_time_and_item),  cmocka_unit_test(test_fair),
        cmocka_unit_test(test_seeds),          cmocka_unit_test(test_tasks),
        cmocka_unit_test(test_claimed),        cmocka_unit_test(test_shut),
        cmocka_unit_test(test_shut_meanwhile), cmocka_unit_test(test_many),
        cmocka_unit_test(test_misuse),         cmocka_unit_test(test_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
