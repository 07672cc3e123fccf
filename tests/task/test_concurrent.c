/* Coroutines that other threads ask for, by a handle: its result with a time limit, its cancellation,
 * and the end of the loop meanwhile. Threads run in real time; where one of these waits for a time it
 * is for something that cannot come. */
#include "run.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

struct asker {
    async_loop *loop;
    async_event finished; /* set by `finish`, in the loop */
    async_callback finish;
    int (*body)(struct asker *);
    pthread_t thread;
    int code, cancelled;
};

static void on_finish(async_callback *callback)
{
    async_event_set(
        &((struct asker *)((char *)callback - offsetof(struct asker, finish)))->finished);
}

static void *ask(void *argument)
{
    struct asker *asker = argument;
    asker->code = asker->body(asker);
    async_call_soon_threadsafe(asker->loop, &asker->finish);
    return NULL;
}

/* Runs `body` in a thread, while the loop goes on. */
static int with_thread(int (*body)(struct asker *))
{
    struct asker asker = {
        .loop = async_get_running_loop(), .body = body, .finish = {.run = on_finish}};
    async_loop_share(asker.loop);
    pthread_create(&asker.thread, NULL, ask, &asker);
    int code = async_event_wait(&asker.finished);
    pthread_join(asker.thread, NULL);
    return code < 0 ? code : asker.code;
}

static int gives_five(void *unused)
{
    (void)unused;
    int code = async_sleep(0);
    return code < 0 ? code : 5;
}

static int fails(void *unused)
{
    (void)unused;
    return async_raise(-EIO, "the disk is on fire");
}

static int sleeps(void *unused)
{
    (void)unused;
    return async_sleep(INFINITY);
}

static int asks_in_thread(struct asker *asker)
{
    async_concurrent_future *five =
        async_submit_coroutine_threadsafe(asker->loop, gives_five, NULL);
    async_concurrent_future *bad = async_submit_coroutine_threadsafe(asker->loop, fails, NULL);
    assert_int_equal(async_concurrent_future_result(five, INFINITY), 5);
    assert_int_equal(async_concurrent_future_result(five, 0), 5);
    assert_true(async_concurrent_future_done(five));
    assert_false(async_concurrent_future_cancel(five));
    assert_int_equal(async_concurrent_future_result(bad, 1e9), -EIO);
    assert_string_equal(async_error_message(), "the disk is on fire");
    assert_int_equal(async_concurrent_future_result(bad, 0), -EIO);
    async_concurrent_future_free(five);
    async_concurrent_future_free(bad);
    assert_int_equal(async_run_coroutine_threadsafe(asker->loop, fails, NULL), -EIO);
    assert_string_equal(async_error_message(), "the disk is on fire");
    return 0;
}

static int answers(void *unused)
{
    (void)unused;
    return with_thread(asks_in_thread);
}

static int times_out_in_thread(struct asker *asker)
{
    async_concurrent_future *future = async_submit_coroutine_threadsafe(asker->loop, sleeps, NULL);
    assert_int_equal(async_concurrent_future_result(future, 0), -ETIMEDOUT);
    assert_int_equal(async_concurrent_future_result(future, 0.01), -ETIMEDOUT);
    assert_int_equal(async_concurrent_future_result(future, NAN), -EINVAL);
    assert_false(async_concurrent_future_done(future));
    assert_true(async_concurrent_future_cancel(future));
    assert_false(async_concurrent_future_cancel(future));
    assert_int_equal(async_concurrent_future_result(future, INFINITY), -ECANCELED);
    assert_string_equal(async_error_message(), "cancelled by another thread");
    async_concurrent_future_free(future);

    future = async_submit_coroutine_threadsafe(asker->loop, sleeps, NULL);
    assert_true(async_concurrent_future_cancel(future)); /* and is not waited for */
    async_concurrent_future_free(future);
    async_concurrent_future_free(NULL);
    assert_int_equal(async_concurrent_future_result(NULL, 0), -EBADF);
    assert_true(async_concurrent_future_done(NULL));
    assert_false(async_concurrent_future_cancel(NULL));
    assert_null(async_submit_coroutine_threadsafe(NULL, sleeps, NULL));
    assert_int_equal(async_error_code(), -EBADF);
    assert_null(async_submit_coroutine_threadsafe(asker->loop, NULL, NULL));
    assert_int_equal(async_error_code(), -EINVAL);
    return 0;
}

static int times_out(void *unused)
{
    (void)unused;
    return with_thread(times_out_in_thread);
}

/* In the loop's own thread a handle can be made, but not waited for. */
static int asks_itself(void *unused)
{
    (void)unused;
    async_loop *loop = async_get_running_loop();
    async_concurrent_future *future = async_submit_coroutine_threadsafe(loop, gives_five, NULL);
    assert_int_equal(async_concurrent_future_result(future, INFINITY), -EDEADLK);
    assert_int_equal(async_concurrent_future_result(future, 0), -ETIMEDOUT);
    while (!async_concurrent_future_done(future))
        async_sleep(0.01);
    assert_int_equal(async_concurrent_future_result(future, INFINITY), 5);
    async_concurrent_future_free(future);
    return 0;
}

/* ---- the end of the loop ---- */

static atomic_bool sees_handle;

static int waits_in_thread(struct asker *asker)
{
    async_concurrent_future *future = async_submit_coroutine_threadsafe(asker->loop, sleeps, NULL);
    atomic_store(&sees_handle, true);
    int code = async_concurrent_future_result(future, INFINITY);
    asker->cancelled = async_concurrent_future_cancel(future); /* the loop may be gone */
    async_concurrent_future_free(future);
    return code;
}

static void *wait_only(void *argument)
{
    struct asker *asker = argument;
    asker->code = asker->body(asker);
    return NULL;
}

static int ends_meanwhile(void *argument)
{
    struct asker *asker = argument;
    asker->loop = async_get_running_loop();
    async_loop_share(asker->loop);
    pthread_create(&asker->thread, NULL, wait_only, asker);
    while (!atomic_load(&sees_handle))
        async_sleep(0);
    return 0;
}

static void test_end_while_a_thread_waits(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct asker asker = {.body = waits_in_thread, .code = 1};
        atomic_store(&sees_handle, false);
        assert_int_equal(run(ends_meanwhile, &asker), 0);
        pthread_join(asker.thread, NULL);
        assert_int_equal(asker.code, -ECANCELED);
        assert_false(asker.cancelled);
    }
}

/* ---- many threads, that ask, cancel and give up ---- */

enum { THREADS = 4, ROUNDS = 200 };

static int work(void *unused)
{
    (void)unused;
    for (int i = 0; i < 3; i++) {
        int code = async_sleep(0);
        if (code < 0) return code;
    }
    return 3;
}

static int storms_in_thread(struct asker *asker)
{
    for (int i = 0; i < ROUNDS; i++) {
        async_concurrent_future *future =
            async_submit_coroutine_threadsafe(asker->loop, work, NULL);
        if (!future) return async_error_code();
        bool cancel = i % 3 == 0;
        if (cancel) async_concurrent_future_cancel(future);
        int code = i % 5 ? async_concurrent_future_result(future, i % 7 ? INFINITY : 0) : 3;
        if (code != 3 && !(cancel && code == -ECANCELED) && !(i % 7 == 0 && code == -ETIMEDOUT))
            return code;
        async_concurrent_future_free(future);
    }
    return 0;
}

static int has_thread(void *unused)
{
    (void)unused;
    return with_thread(storms_in_thread);
}

static int is_stormed(void *unused)
{
    (void)unused;
    async_with_group (group)
        for (int i = 0; i < THREADS; i++)
            async_group_create_task(group, has_thread);
    return async_block_error();
}

/* A coroutine that was given up and fails is told of. */
static void on_lost(async_loop *loop, int code, const char *message, void *count)
{
    (void)loop;
    assert_int_equal(code, -EIO);
    assert_non_null(strstr(message, "was given up by the thread that had asked for it, and failed: "
                                    "the disk is on fire"));
    ++*(int *)count;
}

static int fails_late(void *unused)
{
    (void)unused;
    while (!atomic_load(&sees_handle))
        async_sleep(0);
    return fails(NULL);
}

static int gives_up_in_thread(struct asker *asker)
{
    async_concurrent_future_free(async_submit_coroutine_threadsafe(asker->loop, fails_late, NULL));
    atomic_store(&sees_handle, true);
    return 0;
}

static int is_given_up(void *unused)
{
    (void)unused;
    int code = with_thread(gives_up_in_thread);
    return code < 0 ? code : async_sleep(1);
}

static void test_given_up(void **state)
{
    (void)state;
    int count = 0;
    atomic_store(&sees_handle, false);
    assert_int_equal(async_run_with(is_given_up, NULL,
                                    &(async_run_options){.loop = {.virtual_clock = true},
                                                         .exception_handler = on_lost,
                                                         .exception_data = &count}),
                     0);
    assert_int_equal(count, 1);
}

TEST(answers)
TEST(times_out)
TEST(asks_itself)
TEST(is_stormed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),     cmocka_unit_test(test_times_out),
        cmocka_unit_test(test_asks_itself), cmocka_unit_test(test_end_while_a_thread_waits),
        cmocka_unit_test(test_is_stormed),  cmocka_unit_test(test_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
