/* What tasks wait for, with the n-th allocation, await, wait or wake-up failing: conditions,
 * semaphores, barriers, read-write locks, once, latches, queues in other orders, queues between
 * threads, and select over many of them. */
#include "sweep.h"

#include <pthread.h>

struct all {
    async_condition changed;
    async_semaphore places;
    async_rwlock rwlock;
    async_once once;
    async_latch latch;
    bool ready;
};

static bool is_ready(void *all) { return ((struct all *)all)->ready; }
static int nothing(void *unused) { return (void)unused, async_sleep(1); }

static int first_code(int code, int next) { return code < 0 ? code : next; }

static int use_all(struct all *all)
{
    int code = async_once_run(&all->once, nothing, NULL);
    if (code == 0) {
        async_with_condition (&all->changed)
            code = async_condition_wait_for(&all->changed, is_ready, all);
    }
    code = first_code(code, async_block_error());
    if (code == 0) {
        async_with_semaphore (&all->places)
            code = async_sleep(1);
        code = first_code(code, async_block_error());
    }
    if (code == 0) {
        async_with_read_lock (&all->rwlock)
            code = async_sleep(1);
        code = first_code(code, async_block_error());
    }
    if (code == 0) {
        async_with_write_lock (&all->rwlock)
            code = async_sleep(1);
        code = first_code(code, async_block_error());
    }
    async_latch_count_down(&all->latch);
    return first_code(code, async_latch_wait(&all->latch));
}

static int worker(void *all) { return use_all(all); }

static int primitives(void *unused)
{
    (void)unused;
    struct all all = {.places = ASYNC_BOUNDED_SEMAPHORE_INIT(1), .latch = ASYNC_LATCH_INIT(3)};
    int code = 0;

    async_with_group (group) {
        for (int i = 0; i < 3; i++)
            async_group_create_task(group, worker, &all);
        code = async_sleep(3);
        async_timeout (1000) {
            async_with_condition (&all.changed) {
                all.ready = true;
                async_condition_notify_all(&all.changed);
            }
        }
        if (!all.ready) async_group_cancel(group);
    }
    code = first_code(code, async_block_error());
    assert_false(async_condition_locked(&all.changed));
    assert_int_equal(async_semaphore_value(&all.places), 1);
    assert_int_equal(async_rwlock_try_write(&all.rwlock), 0);
    return code;
}

/* ---- barriers ---- */

static async_barrier barrier;

static int meets(void *unused)
{
    (void)unused;
    int code = 0;
    for (int round = 0; round < 3 && code >= 0; round++)
        code = async_barrier_wait(&barrier);
    if (code < 0) async_barrier_abort(&barrier);
    return code == ASYNC_EBROKENBARRIER ? -ECANCELED : code < 0 ? code : 0;
}

static int barriers(void *unused)
{
    (void)unused;
    barrier = (async_barrier)ASYNC_BARRIER_INIT(3);
    async_with_group (group) {
        for (int i = 0; i < 3; i++)
            if (!async_group_create_task(group, meets)) async_barrier_abort(&barrier);
    }
    return async_block_error();
}

/* ---- queues, and select ---- */

static int by_value(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static int puts_some(void *queue)
{
    int code = 0;
    for (int i = 9; i >= 0 && code == 0; i--)
        code = async_queue_put(queue, &i);
    async_queue_shutdown(queue, false);
    return code;
}

static int select_from(async_queue **queues, async_task **tasks)
{
    static async_event events[10];
    async_case cases[13];
    int item, left = 2;

    for (int i = 0; i < 2; i++)
        cases[i] = async_case_get(queues[i], &item);
    for (int i = 0; i < 10; i++) /* more than the call has room for */
        cases[2 + i] = async_case_event(&events[i]);
    cases[12] = async_case_after(5);
    while (left > 0) {
        int which = async_select(cases, 13);
        if (which == 12 || which == -ECANCELED || which == -ENOMEM || which == -ETIMEDOUT)
            return which < 0 ? which : -EDEADLK;
        for (int i = 0; i < 2; i++) {
            if (cases[i].code != ASYNC_ESHUTDOWN) continue;
            cases[i] = (async_case){0};
            left--;
        }
    }
    async_case ended[] = {async_case_task(tasks[0]), async_case_task(tasks[1])};
    int which = async_select(ended, 2);
    return which < 0 ? which : 0;
}

static int selects(void *unused)
{
    (void)unused;
    async_queue *queues[] = {async_priority_queue_new(sizeof(int), 2, by_value),
                             async_lifo_queue_new(sizeof(int), 0)};
    async_task *tasks[2] = {NULL, NULL};
    int code = queues[0] && queues[1] ? 0 : async_error_code();
    for (int i = 0; i < 2 && code == 0; i++)
        if (!(tasks[i] = async_create_task(puts_some, queues[i]))) code = async_error_code();
    if (code == 0) {
        async_timeout (100)
            code = select_from(queues, tasks);
    }
    for (int i = 0; i < 2; i++) {
        async_queue_shutdown(queues[i], true);
        int result = tasks[i] ? async_await(tasks[i]) : 0;
        if (code == 0 && result != ASYNC_ESHUTDOWN) code = result;
    }
    async_queue_free(queues[0]);
    async_queue_free(queues[1]);
    return code;
}

/* ---- a queue between threads ---- */

static void *thread_gets(void *queue)
{
    int item, expected = 0;
    while (async_thread_queue_get_threadsafe(queue, &item, 1e9) == 0)
        assert_int_equal(item, expected++);
    return NULL;
}

static int threads(void *unused)
{
    (void)unused;
    async_thread_queue *queue = async_thread_queue_new(sizeof(int), 1);
    pthread_t thread;
    int code = 0;

    if (!queue) return async_error_code();
    assert_int_equal(pthread_create(&thread, NULL, thread_gets, queue), 0);
    for (int i = 0; i < 20 && code == 0; i++)
        code = async_thread_queue_put(queue, &i);
    async_thread_queue_shutdown(queue, code < 0);
    pthread_join(thread, NULL);
    async_thread_queue_free(queue);
    return code;
}

SWEEP(primitives, 0)
SWEEP(barriers, 0)
SWEEP(selects, 0)
SWEEP(threads, 0)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_primitives),
        cmocka_unit_test(test_barriers),
        cmocka_unit_test(test_selects),
        cmocka_unit_test(test_threads),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
