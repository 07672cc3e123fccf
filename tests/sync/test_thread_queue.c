/* Queues between threads and loops: nothing lost, nothing doubled, each putter's items in order, both
 * sides held up, and cancellations that race with another thread's hand-over. */
#include "run.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

enum { PRODUCERS = 3, EACH = 2000 };

struct item {
    int producer, number;
};

static async_thread_queue *queue;

static void *thread_puts(void *producer)
{
    for (int i = 0; i < EACH; i++) {
        struct item item = {*(int *)producer, i};
        assert_int_equal(async_thread_queue_put_threadsafe(queue, &item, INFINITY), 0);
    }
    return NULL;
}

static int numbers[] = {0, 1, 2};

static void start(pthread_t *threads, int count, void *(*function)(void *))
{
    for (int i = 0; i < count; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, function, &numbers[i]), 0);
}

static void join(const pthread_t *threads, int count)
{
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static int next_of[PRODUCERS]; /* checked by one consumer */

static void check(const struct item *item)
{
    assert_int_equal(item->number, next_of[item->producer]++);
}

static int run_real(async_coroutine main)
{
    return async_run_with(main, NULL, &(async_run_options){0});
}

/* ---- threads put, a task gets ---- */

static int task_gets(void *unused)
{
    (void)unused;
    pthread_t threads[PRODUCERS];
    start(threads, PRODUCERS, thread_puts);
    for (int i = 0; i < PRODUCERS * EACH; i++) {
        struct item item;
        int code = async_thread_queue_get(queue, &item);
        if (code < 0) return code;
        check(&item);
        assert_true(async_thread_queue_size(queue) <= 4);
    }
    join(threads, PRODUCERS);
    return 0;
}

static void test_to_a_task(void **state)
{
    (void)state;
    queue = async_thread_queue_new(sizeof(struct item), 4);
    memset(next_of, 0, sizeof next_of);
    assert_int_equal(run_real(task_gets), 0);
    async_thread_queue_free(queue);
}

/* ---- tasks put, a thread gets ---- */

static int task_puts(void *producer)
{
    for (int i = 0; i < EACH; i++) {
        struct item item = {*(int *)producer, i};
        int code = async_thread_queue_put(queue, &item);
        if (code < 0) return code;
    }
    return 0;
}

static void *thread_gets(void *unused)
{
    struct item item;
    (void)unused;
    while (async_thread_queue_get_threadsafe(queue, &item, INFINITY) == 0) {
        check(&item);
        assert_int_equal(async_thread_queue_task_done(queue), 0);
    }
    assert_int_equal(async_error_code(), ASYNC_ESHUTDOWN);
    return NULL;
}

static int tasks_put(void *unused)
{
    (void)unused;
    pthread_t thread;
    async_task *tasks[PRODUCERS];
    start(&thread, 1, thread_gets);
    for (int i = 0; i < PRODUCERS; i++)
        tasks[i] = async_create_task(task_puts, &numbers[i]);
    assert_int_equal(async_gather_array(tasks, PRODUCERS), 0);
    assert_int_equal(async_thread_queue_join(queue), 0);
    for (int i = 0; i < PRODUCERS; i++)
        assert_int_equal(next_of[i], EACH);
    async_thread_queue_shutdown(queue, false);
    join(&thread, 1);
    return 0;
}

static void test_to_a_thread(void **state)
{
    (void)state;
    queue = async_thread_queue_new(sizeof(struct item), 1);
    memset(next_of, 0, sizeof next_of);
    assert_int_equal(run_real(tasks_put), 0);
    async_thread_queue_free(queue);
}

/* ---- from loop to loop ---- */

static int puts_all(void *producer) { return task_puts(producer); }

static void *loop_puts(void *producer)
{
    assert_int_equal(async_run_with(puts_all, producer, &(async_run_options){0}), 0);
    return NULL;
}

static int gets_until_shut(void *unused)
{
    (void)unused;
    int count = 0;
    async_for (struct item, item, async_thread_queue_items(queue)) {
        check(&item);
        if (++count == PRODUCERS * EACH) async_thread_queue_shutdown(queue, false);
    }
    return async_block_error();
}

static void test_between_loops(void **state)
{
    pthread_t threads[PRODUCERS];
    (void)state;
    queue = async_thread_queue_new(sizeof(struct item), 3);
    memset(next_of, 0, sizeof next_of);
    start(threads, PRODUCERS, loop_puts);
    assert_int_equal(run_real(gets_until_shut), 0);
    join(threads, PRODUCERS);
    for (int i = 0; i < PRODUCERS; i++)
        assert_int_equal(next_of[i], EACH);
    async_thread_queue_free(queue);
}

/* ---- cancellations and timeouts, at any moment ---- */

static char seen[PRODUCERS][EACH];
static atomic_int got;

static void see(const struct item *item)
{
    assert_int_equal(seen[item->producer][item->number]++, 0);
    atomic_fetch_add(&got, 1);
}

static int impatient(void *unused)
{
    (void)unused;
    for (;;) {
        struct item item;
        int code = 0;
        async_timeout (20e-6)
            code = async_thread_queue_get(queue, &item);
        if (code == 0) see(&item);
        if (code == ASYNC_ESHUTDOWN) return 0;
        if (code == -ECANCELED) return code;
    }
}

static void *impatient_thread(void *unused)
{
    struct item item;
    int code;
    (void)unused;
    do {
        code = async_thread_queue_get_threadsafe(queue, &item, 20e-6);
        if (code == 0) see(&item);
    } while (code == 0 || code == -ETIMEDOUT);
    assert_int_equal(code, ASYNC_ESHUTDOWN);
    return NULL;
}

static int impatient_all(void *unused)
{
    (void)unused;
    pthread_t threads[PRODUCERS], getter;
    async_task *tasks[4];
    start(threads, PRODUCERS, thread_puts);
    start(&getter, 1, impatient_thread);
    for (int i = 0; i < 4; i++)
        tasks[i] = async_create_task(impatient);
    for (int i = 0; atomic_load(&got) < PRODUCERS * EACH; i = (i + 1) % 4) {
        async_cancel(tasks[i], NULL); /* and another takes its place */
        int code = async_await(tasks[i]);
        assert_true(code == -ECANCELED || code == 0);
        tasks[i] = async_create_task(impatient);
        async_sleep(0);
    }
    join(threads, PRODUCERS);
    async_thread_queue_shutdown(queue, false);
    join(&getter, 1);
    return async_gather_array(tasks, 4);
}

static void test_races(void **state)
{
    (void)state;
    queue = async_thread_queue_new(sizeof(struct item), 2);
    assert_int_equal(run_real(impatient_all), 0);
    assert_int_equal(atomic_load(&got), PRODUCERS * EACH);
    async_thread_queue_free(queue);
}

/* ---- the end, time limits, mistakes ---- */

static atomic_int at_end;

static void *waits_to_put(void *unused)
{
    struct item item = {0};
    (void)unused;
    assert_int_equal(async_thread_queue_put_threadsafe(queue, &item, INFINITY), ASYNC_ESHUTDOWN);
    atomic_fetch_add(&at_end, 1);
    return NULL;
}

static void *waits_to_join(void *unused)
{
    (void)unused;
    assert_int_equal(async_thread_queue_join_threadsafe(queue, INFINITY), 0);
    atomic_fetch_add(&at_end, 1);
    return NULL;
}

static int waits_as_well(void *unused)
{
    struct item item = {0};
    (void)unused;
    return async_thread_queue_put(queue, &item);
}

static int ends(void *unused)
{
    (void)unused;
    struct item item = {0};
    pthread_t putter, joiner;
    assert_int_equal(async_thread_queue_put(queue, &item), 0);
    assert_true(async_thread_queue_full(queue));
    assert_int_equal(async_thread_queue_put_nowait(queue, &item), -EAGAIN);
    start(&putter, 1, waits_to_put);
    start(&joiner, 1, waits_to_join);
    async_task *task = async_create_task(waits_as_well);
    async_sleep(0.01);
    assert_int_equal(atomic_load(&at_end), 0);
    async_thread_queue_shutdown(queue, true);
    assert_int_equal(async_await(task), ASYNC_ESHUTDOWN);
    join(&putter, 1);
    join(&joiner, 1);
    assert_true(async_thread_queue_empty(queue));
    assert_int_equal(async_thread_queue_get_nowait(queue, &item), ASYNC_ESHUTDOWN);
    assert_int_equal(async_thread_queue_get(queue, &item), ASYNC_ESHUTDOWN);
    assert_int_equal(async_thread_queue_join(queue), 0);
    return 0;
}

static void test_shutdown(void **state)
{
    (void)state;
    queue = async_thread_queue_new(sizeof(struct item), 1);
    assert_int_equal(run_real(ends), 0);
    async_thread_queue_free(queue);
}

static int in_a_loop(void *unused)
{
    (void)unused;
    struct item item = {0};
    assert_int_equal(async_thread_queue_put_threadsafe(queue, &item, 1), -EDEADLK);
    assert_string_equal(async_error_message(), "async_thread_queue_put_threadsafe: would block the "
                                               "thread of a loop that runs");
    assert_int_equal(async_thread_queue_get_threadsafe(queue, &item, 1), -EDEADLK);
    assert_int_equal(async_thread_queue_join_threadsafe(queue, 1), -EDEADLK);
    async_timeout (1) /* in virtual time, which does not wait for other threads */
        assert_int_equal(async_thread_queue_get(queue, &item), -ETIMEDOUT);
    assert_int_equal(async_thread_queue_put_nowait(queue, &item), 0);
    async_timeout (1)
        assert_int_equal(async_thread_queue_join(queue), -ETIMEDOUT);
    return 0;
}

static int waits_for_itself(void *unused)
{
    (void)unused;
    async_future never = ASYNC_FUTURE_INIT;
    async_timeout (1)
        async_thread_queue_join(queue);
    return async_future_wait(&never, NULL); /* no wait in a thread queue hides this */
}

static void test_misuse(void **state)
{
    struct item item = {0};
    (void)state;
    assert_null(async_thread_queue_new(0, 1));
    assert_string_equal(async_error_message(), "async_thread_queue_new: items of 0 bytes");
    queue = async_thread_queue_new(sizeof(struct item), 1);
    assert_int_equal(run(in_a_loop, NULL), 0);
    assert_int_equal(run(waits_for_itself, NULL), -EDEADLK);
    assert_int_equal(async_thread_queue_put_threadsafe(queue, &item, 0), -ETIMEDOUT);
    assert_int_equal(async_thread_queue_put_threadsafe(queue, &item, -1), -ETIMEDOUT);
    assert_int_equal(async_thread_queue_join_threadsafe(queue, 0.001), -ETIMEDOUT);
    assert_int_equal(async_thread_queue_get_threadsafe(queue, &item, NAN), -EINVAL);
    assert_int_equal(async_thread_queue_get_threadsafe(queue, &item, 0), 0);
    assert_int_equal(async_thread_queue_get_threadsafe(queue, &item, 0.001), -ETIMEDOUT);
    assert_int_equal(async_thread_queue_task_done(queue), 0);
    assert_int_equal(async_thread_queue_task_done(queue), -EINVAL);
    assert_int_equal(async_thread_queue_put(queue, &item), -EPERM);
    assert_int_equal(async_thread_queue_get(queue, &item), -EPERM);
    assert_int_equal(async_thread_queue_join(queue), -EPERM);
    assert_int_equal(async_thread_queue_put(queue, NULL), -EINVAL);
    assert_int_equal(async_thread_queue_get_nowait(queue, NULL), -EINVAL);
    assert_int_equal(async_thread_queue_put_threadsafe(queue, NULL, 1), -EINVAL);
    async_thread_queue_free(queue);

    assert_int_equal(async_thread_queue_put(NULL, &item), -EBADF);
    assert_int_equal(async_thread_queue_get(NULL, &item), -EBADF);
    assert_int_equal(async_thread_queue_join(NULL), -EBADF);
    assert_int_equal(async_thread_queue_put_nowait(NULL, &item), -EBADF);
    assert_int_equal(async_thread_queue_get_nowait(NULL, &item), -EBADF);
    assert_int_equal(async_thread_queue_put_threadsafe(NULL, &item, 1), -EBADF);
    assert_int_equal(async_thread_queue_get_threadsafe(NULL, &item, 1), -EBADF);
    assert_int_equal(async_thread_queue_join_threadsafe(NULL, 1), -EBADF);
    assert_int_equal(async_thread_queue_task_done(NULL), -EBADF);
    assert_string_equal(async_error_message(),
                        "async_thread_queue_task_done: the thread queue is NULL");
    assert_int_equal(async_thread_queue_size(NULL), 0);
    assert_true(async_thread_queue_empty(NULL));
    assert_false(async_thread_queue_full(NULL));
    assert_null(async_thread_queue_items(NULL));
    async_thread_queue_shutdown(NULL, true);
    async_thread_queue_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_to_a_task),     cmocka_unit_test(test_to_a_thread),
        cmocka_unit_test(test_between_loops), cmocka_unit_test(test_races),
        cmocka_unit_test(test_shutdown),      cmocka_unit_test(test_misuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
