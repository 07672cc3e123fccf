/* Other threads: work that goes out, coroutines that come in, and a stack that overflows. */
#include "run.h"

#include <casyncio/loop.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static int add_one(void *argument)
{
    ++*(int *)argument;
    return 5;
}

static int goes_out(void *argument)
{
    (void)argument;
    int value = 1;
    assert_int_equal(async_to_thread(add_one, &value), 5);
    assert_int_equal(value, 2);
    return 0;
}

static int waits_for_semaphore(void *argument)
{
    sem_wait(argument);
    return 7;
}

static int calls_it(void *argument) { return async_to_thread(waits_for_semaphore, argument); }

/* A thread cannot be interrupted: the call ends when the function does, with its result. */
static int cannot_be_cancelled(void *argument)
{
    (void)argument;
    sem_t semaphore;
    sem_init(&semaphore, 0, 0);
    async_task *task = async_create_task(calls_it, &semaphore);
    async_sleep(0);
    async_cancel(task, NULL);
    async_sleep(0);
    sem_post(&semaphore);
    int code = async_await(task);
    assert_true(code == 7 || code == -ECANCELED); /* the latter if no thread had begun yet */
    sem_destroy(&semaphore);
    return 0;
}

struct visitor {
    async_loop *loop;
    async_event event;
    int result;
};

static int visits(void *argument)
{
    struct visitor *visitor = argument;
    async_sleep(0);
    async_event_set(&visitor->event);
    return 11;
}

static void *visitor_thread(void *argument)
{
    struct visitor *visitor = argument;
    visitor->result = async_run_coroutine_threadsafe(visitor->loop, visits, visitor);
    return NULL;
}

static int is_visited(void *argument)
{
    (void)argument;
    struct visitor visitor = {.loop = async_get_running_loop()};
    pthread_t thread;
    async_loop_share(visitor.loop);
    assert_int_equal(async_run_coroutine_threadsafe(visitor.loop, visits, &visitor), -EDEADLK);
    pthread_create(&thread, NULL, visitor_thread, &visitor);
    assert_int_equal(async_event_wait(&visitor.event), 0);
    pthread_join(thread, NULL);
    return visitor.result;
}

static void *two_loops_thread(void *argument)
{
    *(int *)argument = async_run(goes_out, NULL);
    return NULL;
}

static void test_loops_in_two_threads(void **state)
{
    (void)state;
    pthread_t threads[2];
    int results[2] = {1, 1};
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, two_loops_thread, &results[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(results[0], 0);
    assert_int_equal(results[1], 0);
}

static int recurses(void *argument)
{
    volatile char page[4096];
    page[0] = argument ? 0 : 1;
    return page[0] ? recurses(argument) + page[0]
                   : 0; /* the compiler must not see that it never ends */
}

static int overflows(void *argument) { return async_await(async_create_task(recurses, argument)); }

static void test_overflow_names_the_task(void **state)
{
    (void)state;
    int pipe_ends[2];
    char text[4096] = "";
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        dup2(pipe_ends[1], 2);
        async_run(overflows, NULL);
        _exit(0);
    }
    close(pipe_ends[1]);
    size_t used = 0;
    ssize_t n;
    while (used < sizeof text - 1 &&
           (n = read(pipe_ends[0], text + used, sizeof text - 1 - used)) > 0)
        used += (size_t)n;
    close(pipe_ends[0]);
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
    assert_non_null(strstr(text, "stack overflow in Task-2 (recurses)"));
}

static int sleeps_long(void *argument)
{
    (void)argument;
    kill(getpid(), SIGINT);
    int code = async_sleep(1000);
    note("%s[%s]", async_error_name(code), async_error_message());
    return code;
}

static void test_ctrl_c(void **state)
{
    (void)state;
    signal(SIGINT, SIG_DFL);
    assert_int_equal(async_run(sleeps_long, NULL), -EINTR);
    assert_notes("ECANCELED[interrupted (SIGINT)] ");
}

TEST(goes_out)

static void test_cannot_be_cancelled(void **state)
{
    (void)state;
    assert_int_equal(async_run(cannot_be_cancelled, NULL), 0);
}

static void test_is_visited(void **state)
{
    (void)state;
    assert_int_equal(async_run(is_visited, NULL), 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goes_out),
        cmocka_unit_test(test_cannot_be_cancelled),
        cmocka_unit_test(test_is_visited),
        cmocka_unit_test(test_loops_in_two_threads),
        cmocka_unit_test(test_overflow_names_the_task),
        cmocka_unit_test(test_ctrl_c),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
