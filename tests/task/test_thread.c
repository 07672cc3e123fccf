/* Other threads: work that goes out, coroutines that come in, and a stack that overflows. */
#include <loop/loop_internal.h>

#include "run.h"

#include <pthread.h>
#include <sched.h>
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

static int raises(void *name) { return async_raise(-ENOENT, "no user %s", (const char *)name); }

static int fails(void *unused)
{
    (void)unused;
    return -ENOENT;
}

/* The error that the function made is the task's; one without a message does not get another's. */
static int brings_errors(void *argument)
{
    (void)argument;
    assert_null(async_file_open("/nonexistent", "r"));
    assert_string_equal(async_error_message(), "open /nonexistent: No such file or directory");
    assert_int_equal(async_to_thread(raises, "bob"), -ENOENT);
    assert_string_equal(async_error_message(), "no user bob");
    assert_non_null(strstr(async_error_where(), "test_thread.c:"));
    assert_int_equal(async_to_thread(fails, NULL), -ENOENT);
    assert_string_equal(async_error_message(), async_strerror(-ENOENT));
    return 0;
}

static void test_errors_from_threads(void **state)
{
    (void)state;
    assert_int_equal(run(brings_errors, NULL), 0);
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

struct remote {
    async_loop *loop;
    async_event event;
    int result;
};

static int answers(void *argument)
{
    struct remote *remote = argument;
    async_sleep(0);
    async_event_set(&remote->event);
    return 11;
}

static void *remote_thread(void *argument)
{
    struct remote *remote = argument;
    remote->result = async_run_coroutine_threadsafe(remote->loop, answers, remote);
    return NULL;
}

static int is_called(void *argument)
{
    (void)argument;
    struct remote remote = {.loop = async_get_running_loop()};
    pthread_t thread;
    async_loop_share(remote.loop);
    assert_int_equal(async_run_coroutine_threadsafe(remote.loop, answers, &remote), -EDEADLK);
    pthread_create(&thread, NULL, remote_thread, &remote);
    assert_int_equal(async_event_wait(&remote.event), 0);
    pthread_join(thread, NULL);
    return remote.result;
}

/* ---- threads that call in while the loop ends ---- */

static int never_runs(void *unused)
{
    (void)unused;
    abort();
}

static void ignore(async_callback *callback) { (void)callback; }

struct late {
    async_job job;
    async_callback callback;
    async_loop *loop;
    sem_t begun; /* a job that has not would be dropped */
    int code;
};

/* The loop waits for the work of its threads, and takes no requests any more by then. */
static void call_late(async_job *job)
{
    struct late *late = async__container(job, struct late, job);
    sem_post(&late->begun);
    while (atomic_load(&late->loop->takes_requests))
        sched_yield();
    late->code = async_run_coroutine_threadsafe(late->loop, never_runs, NULL);
    async_call_soon_threadsafe(late->loop, &late->callback); /* does no harm, and does not run */
}

static int leaves_a_job(void *argument)
{
    struct late *late = argument;
    late->loop = async_get_running_loop();
    assert_int_equal(async_run_in_executor(late->loop, &late->job), 0);
    sem_wait(&late->begun);
    return 0;
}

static void test_calls_after_the_end(void **state)
{
    (void)state;
    static struct late late = {.job = {.work = call_late}, .callback = {.run = ignore}};
    assert_int_equal(async_run(leaves_a_job, &late), 0);
    assert_int_equal(late.code, -ECANCELED);
}

/* Threads that call in all the time while the main task ends: each is refused in the end, and none
 * waits for ever. async_run does not return before, since a job of its own waits for them. */
enum { CALLERS = 4 };
struct storm {
    async_job job;
    async_loop *loop;
    async_event enough;
    sem_t begun;
    atomic_int calls;
    pthread_t threads[CALLERS];
};

static int counted(void *argument)
{
    struct storm *storm = argument;
    if (atomic_fetch_add(&storm->calls, 1) == 50) async_event_set(&storm->enough);
    return async_sleep(0);
}

static void *call_again_and_again(void *argument)
{
    struct storm *storm = argument;
    int code;
    while ((code = async_run_coroutine_threadsafe(storm->loop, counted, storm)) == 0)
        ;
    return code == -ECANCELED ? storm : NULL;
}

static void await_callers(async_job *job)
{
    struct storm *storm = async__container(job, struct storm, job);
    sem_post(&storm->begun);
    for (int i = 0; i < CALLERS; i++) {
        void *refused;
        pthread_join(storm->threads[i], &refused);
        assert_ptr_equal(refused, storm);
    }
}

static int is_stormed(void *argument)
{
    struct storm *storm = argument;
    storm->loop = async_get_running_loop();
    async_loop_share(storm->loop);
    for (int i = 0; i < CALLERS; i++)
        pthread_create(&storm->threads[i], NULL, call_again_and_again, storm);
    assert_int_equal(async_event_wait(&storm->enough), 0);
    assert_int_equal(async_run_in_executor(storm->loop, &storm->job), 0);
    sem_wait(&storm->begun);
    return 0;
}

static void test_calls_while_it_ends(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct storm storm = {.job = {.work = await_callers}};
        assert_int_equal(async_run(is_stormed, &storm), 0);
    }
}

/* A loop of callbacks alone runs no coroutines, and says so. */
static void test_call_into_a_loop_without_tasks(void **state)
{
    (void)state;
    async_loop *loop = async_loop_new(NULL);
    assert_int_equal(async_run_coroutine_threadsafe(loop, never_runs, NULL), -ECANCELED);
    async_loop_close(loop);
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

static void test_is_called(void **state)
{
    (void)state;
    assert_int_equal(async_run(is_called, NULL), 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goes_out),
        cmocka_unit_test(test_errors_from_threads),
        cmocka_unit_test(test_cannot_be_cancelled),
        cmocka_unit_test(test_is_called),
        cmocka_unit_test(test_calls_after_the_end),
        cmocka_unit_test(test_calls_while_it_ends),
        cmocka_unit_test(test_call_into_a_loop_without_tasks),
        cmocka_unit_test(test_loops_in_two_threads),
        cmocka_unit_test(test_overflow_names_the_task),
        cmocka_unit_test(test_ctrl_c),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
