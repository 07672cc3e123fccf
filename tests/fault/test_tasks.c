/* Sweeps of what the twelve programs do not reach in tasks and what they synchronise by: groups and
 * gathers whose tasks fail, generators closed half-way, queues shut down, timeouts, futures,
 * signals.
 *
 * ctest: timeout=600 */
#include "sweep.h"

#include <pthread.h>

struct nap {
    double seconds;
    int result;
};

static int nap(struct nap *self)
{
    int code = async_sleep(self->seconds);
    return code < 0 ? code : self->result;
}

/* ---- groups ---- */

static int failing_group(void)
{
    async_group *group = async_group_enter();
    if (!group) return async_error_code();
    bool made = async_group_spawn(group, nap, .seconds = 1, .result = -ENOENT) &&
                async_group_spawn(group, nap, .seconds = 2, .result = -EIO) &&
                async_group_spawn(group, nap, .seconds = 1000);
    int code = made ? async_sleep(500) : async_error_code();
    int left = async_group_leave(group);
    if (left == -ENOENT) return 0;
    if (left == -EIO) return -ECANCELED; /* the first was cancelled before it could fail */
    return left < 0 ? left : code < 0 ? code : -ECANCELED;
}

static int sum_group(void)
{
    async_with_group (group)
        for (int i = 0; i < 12; i++)
            if (!async_group_spawn(group, nap, .seconds = i % 3)) return async_error_code();
    return async_block_error();
}

static int groups(void *unused)
{
    (void)unused;
    int code = failing_group();
    if (code == 0) code = sum_group();
    if (code == 0) assert_true(async_now() < 4);
    return code;
}

/* ---- gather ---- */

static int gathers(void *unused)
{
    (void)unused;
    int codes[3] = {1, 1, 1};
    int code = async_gather(async_spawn(nap, .seconds = 3), async_spawn(nap, .result = -ENOENT),
                            async_spawn(nap, .seconds = 2));
    if (code != -ENOENT) return code < 0 ? code : -ECANCELED;
    async_task *tasks[3] = {async_spawn(nap, .seconds = 1, .result = 7),
                            async_spawn(nap, .seconds = 2, .result = -EIO),
                            async_spawn(nap, .seconds = 3, .result = 9)};
    code = async_gather_results(tasks, 3, codes);
    if (code < 0) return code;
    for (int i = 0; i < 3; i++)
        if (codes[i] == -ENOMEM || codes[i] == -ECANCELED) return codes[i];
    assert_int_equal(codes[0], 7);
    assert_int_equal(codes[1], -EIO);
    assert_int_equal(codes[2], 9);
    async_task *named = async_create_task_with((async_coroutine)(void (*)(void))nap, NULL,
                                               &(async_task_options){.name = "a name",
                                                                     .copy = &(struct nap){1, 3},
                                                                     .size = sizeof(struct nap)});
    code = async_await(named);
    if (code >= 0) assert_int_equal(code, 3);
    async_detach(async_spawn(nap, .result = -EIO));
    return code < 0 ? code : 0;
}

/* ---- generators ---- */

static int numbers(async_generator *self, void *unused)
{
    (void)unused;
    for (int i = 0;; i++) {
        int code = async_sleep(1);
        if (code == 0) code = async_yield(self, &i);
        if (code < 0) {
            async_shield ()
                async_sleep(1);
            return code;
        }
    }
}

static int evens(async_generator *self, void *unused)
{
    (void)unused;
    async_for (int, i, async_generate(numbers, NULL, sizeof(int))) {
        if (i == 8) return async_raise(-ENOENT, "no more");
        if (i % 2) continue;
        int code = async_yield(self, &i);
        if (code < 0) return code;
    }
    return async_block_error();
}

static int generators(void *unused)
{
    (void)unused;
    int sum = 0;
    async_for (int, i, async_generate(numbers, NULL, sizeof(int))) {
        sum += i;
        if (i == 3) break;
    }
    int code = async_block_error();
    if (code < 0) return code;
    assert_int_equal(sum, 6);
    async_for (int, i, async_generate(evens, NULL, sizeof(int)))
        sum += i;
    code = async_block_error();
    if (code != -ENOENT) return code < 0 ? code : -ECANCELED;
    assert_int_equal(sum, 6 + 12);
    return 0;
}

/* ---- queues ---- */

struct worker {
    async_queue *queue;
    int *sum;
};

static int worker(struct worker *self)
{
    async_for (int, item, async_queue_items(self->queue)) {
        *self->sum += item;
        int code = async_sleep(0.1);
        async_queue_task_done(self->queue);
        if (code < 0) return code;
    }
    return async_block_error();
}

static int use_queue(async_queue *queue)
{
    int sum = 0, code = 0;
    async_with_group (group) {
        struct worker own = {queue, &sum};
        for (int i = 0; i < 2 && code == 0; i++)
            if (!async_group_spawn(group, worker, own.queue, own.sum)) code = async_error_code();
        for (int i = 1; i <= 10 && code == 0; i++)
            code = async_queue_put(queue, &i);
        /* A worker that was cancelled leaves items that no other works off. */
        if (code == 0)
            async_timeout (60)
                code = async_queue_join(queue);
        async_queue_shutdown(queue, code < 0);
    }
    int failure = async_block_error();
    if (failure < 0) code = failure; /* why the group was cancelled */
    if (code == 0) assert_int_equal(sum, 55);
    return code == -ETIMEDOUT ? -ECANCELED : code;
}

static int queues(void *unused)
{
    (void)unused;
    async_queue *queue = async_queue_new(sizeof(int), 3);
    if (!queue) return async_error_code();
    int code = use_queue(queue), item;
    if (code == 0) assert_int_equal(async_queue_get_nowait(queue, &item), ASYNC_ESHUTDOWN);
    async_queue_free(queue);
    if (code < 0) return code;

    queue = async_queue_new(sizeof(int), 0); /* without a bound: it grows */
    if (!queue) return async_error_code();
    for (int i = 0; i < 100 && code == 0; i++)
        code = async_queue_put_nowait(queue, &i);
    for (int i = 0; i < 100 && code == 0; i++) {
        code = async_queue_get(queue, &item);
        if (code == 0) assert_int_equal(item, i);
    }
    async_queue_free(queue);
    return code;
}

/* ---- timeouts ---- */

static int timeouts(void *unused)
{
    (void)unused;
    int code = async_wait_for(async_spawn(nap, .seconds = 10), 1);
    if (code != -ETIMEDOUT) return code < 0 ? code : -ECANCELED;
    code = async_wait_for(async_spawn(nap, .seconds = 1, .result = 5), 10);
    if (code < 0) return code;
    assert_int_equal(code, 5);
    code = 0;
    async_timeout_scope (scope, 2.0) {
        code = async_sleep(1);
        if (code == 0 && !async_scope_expired(&scope))
            code = async_scope_reschedule(&scope, async_now() + 5);
        async_shield ()
            if (code == 0) code = async_sleep(10);
        if (code == 0) code = async_sleep(0);
    }
    if (code == -ETIMEDOUT) return 0;
    if (code < 0) return code;
    code = async_block_error();
    return code < 0 ? code : -ECANCELED;
}

/* ---- futures, events, locks ---- */

static async_lock lock;

struct together {
    async_future *future;
    async_event *event;
    int *order;
};

static int together(struct together *self)
{
    void *value = NULL;
    int code = async_event_wait(self->event);
    if (code < 0) return code;
    code = async_lock_acquire(&lock);
    if (code < 0) return code;
    code = async_sleep(1);
    ++*self->order;
    async_lock_release(&lock);
    if (code < 0) return code;
    code = async_future_wait(self->future, &value);
    if (code == 0) assert_ptr_equal(value, self);
    return code == -ENOENT ? 0 : code;
}

static int primitives(void *unused)
{
    (void)unused;
    async_future future = ASYNC_FUTURE_INIT;
    async_event event = ASYNC_EVENT_INIT;
    int order = 0, code = 0;

    lock = (async_lock){0};
    async_with_group (group) {
        for (int i = 0; i < 3 && code == 0; i++)
            if (!async_group_spawn(group, together, &future, &event, &order))
                code = async_error_code();
        if (code == 0) code = async_sleep(1);
        async_event_set(&event);
        if (code == 0) code = async_sleep(10);
        async_future_set(&future, -ENOENT, NULL);
    }
    int failure = async_block_error();
    if (failure < 0) code = failure;
    if (code == 0 && order < 3) code = -ECANCELED; /* one of them was */
    assert_false(async_lock_locked(&lock));
    return code;
}

/* ---- signals ---- */

struct heard {
    async_callback callback;
    async_event event;
};

static void on_signal(async_callback *callback)
{
    async_event_set(&((struct heard *)callback)->event);
}

static int signals(void *unused)
{
    (void)unused;
    async_loop *loop = async_get_running_loop();
    struct heard heard = {.callback = {.run = on_signal}};
    int code = async_add_signal_handler(loop, SIGUSR1, &heard.callback);
    if (code < 0) return code;
    raise(SIGUSR1);
    code = async_event_wait(&heard.event);
    async_remove_signal_handler(loop, SIGUSR1);
    return code;
}

/* ---- the end of a run ---- */

static int left_behind(void *unused)
{
    (void)unused;
    static async_iterator *open;
    int value, code;
    open = async_generate(numbers, NULL, sizeof(int));
    if (!open) return async_error_code();
    code = open->next(open, &value); /* never closed: async_run frees it at its end */
    if (code < 0) return code;
    async_spawn(nap, .seconds = 100); /* never awaited */
    async_task *task = async_spawn(nap, .seconds = 0);
    if (!task) return async_error_code();
    async_detach(task);
    char *graph = async_format_call_graph();
    free(graph);
    return graph ? 0 : -ENOMEM;
}

static int fails(void *unused)
{
    (void)unused;
    return async_raise(-EINVAL, "on purpose");
}

static void *run_in_thread(void *unused)
{
    (void)unused;
    assert_int_equal(async_run(fails, NULL), -EINVAL);
    assert_string_equal(async_run_error_message(), "on purpose");
    return NULL;
}

/* The message of a thread's last async_run is freed as the thread ends. */
static void test_message_of_a_thread(void **state)
{
    pthread_t thread;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, run_in_thread, NULL), 0);
    pthread_join(thread, NULL);
    if (__lsan_do_recoverable_leak_check) assert_int_equal(__lsan_do_recoverable_leak_check(), 0);
}

SWEEP(groups, 0)
SWEEP(gathers, 0)
SWEEP(generators, 0)
SWEEP(queues, 0)
SWEEP(timeouts, 0)
SWEEP(primitives, 0)
SWEEP(signals, 0)
SWEEP(left_behind, 0)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_gathers),
        cmocka_unit_test(test_generators),
        cmocka_unit_test(test_queues),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_primitives),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_left_behind),
        cmocka_unit_test(test_message_of_a_thread),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
