/* Debug mode: what it tells of, and that it is told once; and the watchdog. Limits are 0 or infinite, and
 * what has to be waited for is waited for, so that no test depends on how fast a machine is. */
#include "run.h"
#include "unclosed.h"

#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#define SIGNALS_COME 0 /* a sanitizer that delays them until the thread calls something */
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SIGNALS_COME 0
#endif
#endif
#ifndef SIGNALS_COME
#define SIGNALS_COME 1
#endif

static char heard[16][1024];
static int codes[16], count;

static void hear(async_loop *loop, int code, const char *message, void *data)
{
    (void)loop;
    (void)data;
    if (count == 16) return;
    codes[count] = code;
    snprintf(heard[count++], sizeof heard[0], "%s", message);
}

static int run_in_debug(async_coroutine main, bool virtual_clock)
{
    count = 0;
    return async_run_with(
        main, NULL,
        &(async_run_options){.loop = {.virtual_clock = virtual_clock, .debug = true},
                             .exception_handler = hear});
}

#define assert_heard(index, code, text)                                                            \
    do {                                                                                           \
        assert_true(count > (index));                                                              \
        if (!strstr(heard[index], text)) print_error("heard: %s\n", heard[index]);                 \
        assert_non_null(strstr(heard[index], text));                                               \
        assert_int_equal(codes[index], code);                                                      \
    } while (0)

/* For a test that is about something else. */
static async_loop *patient(void)
{
    async_loop *loop = async_get_running_loop();
    assert_int_equal(async_set_slow_callback_duration(loop, INFINITY), 0);
    return loop;
}

/* ---- slow steps ---- */

static int quick(void *unused)
{
    (void)unused;
    return 0;
}

static void called(async_callback *callback) { (void)callback; }

static int is_slow(void *unused)
{
    (void)unused;
    async_loop *loop = patient();
    async_callback callback = {.run = called};
    assert_true(async_get_debug(loop));
    assert_true(isinf(async_slow_callback_duration(loop)));
    assert_int_equal(async_await(async_create_task(quick)), 0);
    assert_int_equal(count, 0);

    assert_int_equal(async_set_slow_callback_duration(loop, 0), 0); /* each is too slow */
    assert_int_equal(async_sleep(0), 0);
    assert_int_equal(async_await(async_create_task(quick)), 0); /* also of a task that is gone */
    async_call_soon(loop, &callback);
    assert_int_equal(async_sleep(0), 0);
    patient();
    assert_int_equal(async_sleep(0), 0);
    int before = count;
    assert_int_equal(async_sleep(0), 0);
    assert_int_equal(count, before);
    return 0;
}

static bool was_heard(const char *a, const char *b)
{
    for (int i = 0; i < count; i++)
        if (strstr(heard[i], a) && strstr(heard[i], b)) return true;
    return false;
}

static void test_slow_steps(void **state)
{
    (void)state;
    assert_int_equal(run_in_debug(is_slow, true), 0);
    assert_heard(0, -ETIME, "Task-1");
    assert_heard(0, -ETIME, "without giving way (the limit is 0 s)");
    assert_true(was_heard("Task-3 (quick), made at ", "test_debug.c:"));
    bool other = false;
    for (int i = 0; i < count; i++)
        other |= strncmp(heard[i], "Task-", 5) != 0 && strstr(heard[i], " ran for ");
    assert_true(other); /* the callback */
}

/* A loop of callbacks, without tasks. */
static void stops(async_callback *callback)
{
    (void)callback;
    async_loop_stop(async_get_running_loop());
}

static void test_plain_loop(void **state)
{
    (void)state;
    async_loop *loop = async_loop_new(&(async_loop_options){.debug = true, .virtual_clock = true});
    async_callback callback = {.run = stops};
    assert_non_null(loop);
    assert_true(async_get_debug(loop));
    count = 0;
    async_set_exception_handler(loop, hear, NULL);
    assert_int_equal(async_set_slow_callback_duration(loop, 0), 0);
    async_call_soon(loop, &callback);
    assert_int_equal(async_loop_run(loop), 0);
    assert_int_equal(count, 1); /* and not of the loop's own */
    assert_heard(0, -ETIME, " ran for ");
    assert_int_equal(async_loop_close(loop), 0);
}

/* ---- switching it on and off ---- */

static int switches(void *unused)
{
    (void)unused;
    async_loop *loop = async_get_running_loop();
    assert_false(async_get_debug(loop));
    assert_true(async_slow_callback_duration(loop) == 0.1);
    assert_int_equal(async_set_slow_callback_duration(loop, 0), 0);
    assert_int_equal(async_sleep(0), 0);
    assert_int_equal(count, 0);
    assert_int_equal(async_set_debug(loop, true), 0);
    assert_int_equal(async_sleep(0), 0); /* goes back to the loop; the step began before */
    assert_int_equal(async_sleep(0), 0);
    assert_true(count > 0);
    assert_int_equal(async_set_debug(loop, false), 0);
    assert_int_equal(async_sleep(0), 0);
    int before = count;
    assert_int_equal(async_sleep(0), 0);
    assert_int_equal(count, before);

    assert_int_equal(async_set_slow_callback_duration(loop, NAN), -EINVAL);
    assert_int_equal(async_set_slow_callback_duration(loop, -1), -EINVAL);
    assert_int_equal(async_set_slow_callback_duration(NULL, 1), -EBADF);
    assert_int_equal(async_set_debug(NULL, true), -EBADF);
    assert_false(async_get_debug(NULL));
    assert_true(async_slow_callback_duration(NULL) == 0);
    return 0;
}

static void test_switching(void **state)
{
    (void)state;
    count = 0;
    assert_int_equal(async_run_with(switches, NULL,
                                    &(async_run_options){.loop = {.virtual_clock = true},
                                                         .exception_handler = hear}),
                     0);
}

static int says_whether(void *unused)
{
    (void)unused;
    patient();
    return async_get_debug(async_get_running_loop());
}

static void test_environment(void **state)
{
    (void)state;
    assert_int_equal(async_run(says_whether), 0);
    assert_int_equal(setenv("CASYNCIO_DEBUG", "1", 1), 0);
    assert_int_equal(async_run(says_whether), 1);
    assert_int_equal(setenv("CASYNCIO_DEBUG", "0", 1), 0);
    assert_int_equal(async_run(says_whether), 0);
    unsetenv("CASYNCIO_DEBUG");
}

/* With a seed the order of the tasks is the same in debug mode, where they go by way of the loop. */
static int says(void *letter)
{
    for (int i = 0; i < 3; i++) {
        note("%s", (char *)letter);
        async_sleep(0);
    }
    return 0;
}

static int say(void *unused)
{
    (void)unused;
    patient();
    return async_gather(async_create_task(says, "a"), async_create_task(says, "b"),
                        async_create_task(says, "c"), async_create_task(says, "d"));
}

static void test_order(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        char plain[sizeof notes];
        async_run_options options = {.loop = {.virtual_clock = true, .seed = seed}};
        notes[0] = 0;
        assert_int_equal(async_run_with(say, NULL, &options), 0);
        strcpy(plain, notes);
        notes[0] = 0;
        options.loop.debug = true;
        assert_int_equal(async_run_with(say, NULL, &options), 0);
        assert_string_equal(notes, plain);
    }
    notes[0] = 0;
}

/* ---- tasks that nothing awaits ---- */

static int sleeps_long(void *unused)
{
    (void)unused;
    return async_sleep(1000);
}

static int forgets(void *unused)
{
    (void)unused;
    patient();
    async_create_task(quick);
    async_create_task(sleeps_long);
    async_detach(async_create_task(quick));
    async_detach(async_create_task(sleeps_long));
    async_with_group (group)
        async_group_create_task(group, quick);
    return async_sleep(1);
}

static void test_forgotten_tasks(void **state)
{
    (void)state;
    assert_int_equal(run_in_debug(forgets, true), 0);
    assert_int_equal(count, 2);
    assert_true(
        was_heard("Task-2 (quick), made at ", "neither awaited nor detached; its result was 0"));
    assert_true(was_heard("Task-3 (sleeps_long)", "its result was -125 (ECANCELED)"));
    count = 0;
    assert_int_equal(async_run_with(forgets, NULL,
                                    &(async_run_options){.loop = {.virtual_clock = true},
                                                         .exception_handler = hear}),
                     0);
    assert_int_equal(count, 0); /* without debug mode only failures are */
}

/* ---- what is never closed ---- */

__attribute__((noinline)) static int leaks(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    patient();
    assert_int_equal(async_stream_pair(ends), 0);
    assert_int_equal(async_stream_close(ends[1]), 0);
    async_file *file = async_file_open("/dev/null", "r");
    assert_non_null(file);
    async_file *other = async_file_open("/dev/null", "r");
    assert_int_equal(async_file_close(other), 0);
    async_server *server = async_start_server("127.0.0.1", 0, NULL);
    assert_non_null(server);
    async_datagram_endpoint *endpoint =
        async_datagram_from_fd(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    assert_non_null(endpoint);
    *(void **)unused = ends[0];
    ((void **)unused)[1] = file;
    ((void **)unused)[2] = server;
    ((void **)unused)[3] = endpoint;
    return 0;
}

static void *left[4];

static int leaks_into(void *unused)
{
    (void)unused;
    return leaks(left);
}

static int closes(void *unused)
{
    (void)unused;
    async_stream_abort(left[0]);
    async_file_close(left[1]);
    async_server_close(left[2]);
    async_datagram_close(left[3]);
    return 0;
}

static void test_unclosed(void **state)
{
    (void)state;
    assert_int_equal(run_in_debug(leaks_into, false), 0);
    assert_int_equal(count, 4);
    static const char *const kinds[] = {"a stream ", "a file ", "a server ",
                                        "a datagram endpoint "};
    for (int i = 0; i < 4; i++)
        assert_true(was_heard(kinds[i], "was never closed: opened by Task-1"));
    for (int i = 0; i < 4; i++)
        assert_true(!HAS_PLACES || names_place(heard[i], (void *)(uintptr_t)leaks, FUNCTION_SIZE));
    for (int i = 0; i < 4; i++)
        assert_int_equal(codes[i], -EINVAL);
    assert_int_equal(async_run(closes), 0); /* of which nothing is known any more */
}

/* A library's own. */
static int opens_by_itself(void *unused)
{
    (void)unused;
    static int session, other;
    patient();
    async_debug_opened(&session, "session");
    async_debug_opened(&other, "session");
    async_debug_closed(&other);
    async_debug_closed(&other);
    async_debug_closed(NULL);
    return 0;
}

static void test_of_libraries(void **state)
{
    (void)state;
    assert_int_equal(run_in_debug(opens_by_itself, true), 0);
    assert_int_equal(count, 1);
    assert_heard(0, -EINVAL, "a session was never closed");
}

/* ---- other threads ---- */

static async_loop *the_loop;
static async_task *the_task;
static async_event event;

static void *calls_from_afar(void *unused)
{
    (void)unused;
    async_callback callback = {.run = called};
    async_timer timer = {.callback = {.run = called}};
    async_call_soon(the_loop, &callback);
    assert_null(callback.next); /* it did nothing */
    assert_int_equal(async_call_later(the_loop, &timer, 1), -EPERM);
    assert_false(async_cancel(the_task, "from afar"));
    async_loop_stop(the_loop);
    return NULL;
}

static int is_called_from_afar(void *unused)
{
    (void)unused;
    pthread_t thread;
    the_loop = patient();
    the_task = async_current_task();
    assert_int_equal(pthread_create(&thread, NULL, calls_from_afar, NULL), 0);
    pthread_join(thread, NULL);
    assert_int_equal(async_sleep(0.001), 0);
    assert_false(async_task_cancelling(the_task));
    return 0;
}

static void test_wrong_threads(void **state)
{
    (void)state;
    assert_int_equal(run_in_debug(is_called_from_afar, false), 0);
    assert_int_equal(count, 1); /* one at a time */
    assert_heard(0, -EINVAL, "async_call_soon was called in another thread than the loop's");
}

static async_scope *the_scope;

static void *reaches_into_a_scope(void *unused)
{
    (void)unused;
    assert_int_equal(async_scope_reschedule(the_scope, 0), -EPERM);
    async_scope_cancel(the_scope);
    async_scope_leave(the_scope);
    return NULL;
}

static int has_a_scope(void *unused)
{
    (void)unused;
    pthread_t thread;
    async_scope scope;
    the_loop = patient();
    the_scope = &scope;
    assert_int_equal(async_timeout_enter(&scope, 100), 0);
    assert_int_equal(pthread_create(&thread, NULL, reaches_into_a_scope, NULL), 0);
    pthread_join(thread, NULL);
    assert_int_equal(async_sleep(0.001), 0);
    assert_true(async_scope_when(&scope) > 0);
    async_scope_leave(&scope);
    return 0;
}

static void test_scopes_from_wrong_threads(void **state)
{
    (void)state;
    assert_int_equal(run_in_debug(has_a_scope, false), 0);
    assert_int_equal(count, 1);
    assert_heard(0, -EINVAL, "async_scope_reschedule was called in another thread than the loop's");
}

/* The thread sets the event when the loop is about to sleep, and the loop sleeps when it has: the hook, which runs
 * right before the system call, sees to that. */
static sem_t is_going_to_sleep, has_set;

static void *wakes(void *unused)
{
    (void)unused;
    sem_wait(&is_going_to_sleep);
    async_event_set(&event);
    sem_post(&has_set);
    return NULL;
}

static void before_the_sleep(void *told)
{
    if (*(bool *)told) return; /* the loop sleeps again before its end */
    *(bool *)told = true;
    sem_post(&is_going_to_sleep);
    sem_wait(&has_set);
}

static void sets_the_event(async_callback *callback)
{
    (void)callback;
    async_event_set(&event);
}

static void *asks_the_loop(void *callback)
{
    sem_wait(&is_going_to_sleep);
    async_call_soon_threadsafe(the_loop, callback);
    sem_post(&has_set);
    return NULL;
}

static int is_woken_by(void *(*function)(void *), void *argument)
{
    pthread_t thread;
    bool told = false;
    event = (async_event)ASYNC_EVENT_INIT;
    sem_init(&is_going_to_sleep, 0, 0);
    sem_init(&has_set, 0, 0);
    the_loop = patient();
    async_loop_share(the_loop);
    assert_int_equal(pthread_create(&thread, NULL, function, argument), 0);
    async_set_poll_hooks(the_loop, &(async_poll_hooks){.before = before_the_sleep, .data = &told});
    int code = async_event_wait(&event);
    async_set_poll_hooks(the_loop, NULL);
    pthread_join(thread, NULL);
    assert_true(told);
    return code;
}

static int is_woken_wrongly(void *unused) { return is_woken_by(wakes, unused); }

static int is_woken_rightly(void *unused)
{
    (void)unused;
    async_callback callback = {.run = sets_the_event};
    return is_woken_by(asks_the_loop, &callback);
}

static void test_wakes_from_afar(void **state)
{
    (void)state;
    for (int times = 0; times < 3; times++) {
        assert_int_equal(run_in_debug(is_woken_wrongly, false), 0);
        assert_int_equal(count, 1);
        assert_heard(0, -EINVAL, "Task-1 was made ready by another thread while the loop slept");
    }
    /* What comes by the way for other threads is right. */
    assert_int_equal(run_in_debug(is_woken_rightly, false), 0);
    assert_int_equal(count, 0);
}

/* ---- on standard error ---- */

static char printed[8192];

static void run_and_read(async_coroutine main, const async_run_options *options)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stderr);
    int before = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    assert_int_equal(async_run_with(main, NULL, options), 0);
    fflush(stderr);
    dup2(before, STDERR_FILENO);
    close(before);
    rewind(file);
    printed[fread(printed, 1, sizeof printed - 1, file)] = 0;
    fclose(file);
}

static void test_printed(void **state)
{
    (void)state;
    run_and_read(forgets, &(async_run_options){.loop = {.virtual_clock = true, .debug = true}});
    assert_non_null(strstr(printed, "casyncio: Task-2 (quick), made at "));
    assert_non_null(strstr(printed, "casyncio: Task-3 (sleeps_long), made at "));
    assert_null(strstr(printed, "never looked at")); /* the line of other modes */
    run_and_read(forgets, &(async_run_options){.loop = {.virtual_clock = true}});
    assert_string_equal(printed, "");
}

/* ---- the watchdog ---- */

static atomic_bool barked;
static char barking[4096];
static double barked_after;

static void bark(async_loop *loop, double seconds, const char *message, void *data)
{
    assert_ptr_equal(data, &barked);
    assert_ptr_equal(loop, the_loop);
    snprintf(barking, sizeof barking, "%s", message);
    barked_after = seconds;
    atomic_store(&barked, true);
}

/* Blocks the loop until the watchdog has said so: a program that computes. */
__attribute__((noinline)) static int blocks(void *unused)
{
    (void)unused;
    while (!atomic_load(&barked))
        ;
    return 0;
}

static int awaits_what_blocks(void *unused)
{
    (void)unused;
    return async_await(async_create_task(blocks));
}

static int is_watched(void *unused)
{
    (void)unused;
    the_loop = async_get_running_loop();
    async_watchdog_options options = {.after = 0.02, .handler = bark, .data = &barked};
    assert_int_equal(async_watchdog_start(the_loop, &options), 0);
    assert_int_equal(async_watchdog_start(the_loop, &options), -EALREADY);
    atomic_store(&barked, false);
    assert_int_equal(async_await(async_create_task(awaits_what_blocks)), 0);
    async_watchdog_stop(the_loop);
    async_watchdog_stop(the_loop);
    assert_true(barked_after >= 0.02);
    assert_non_null(strstr(barking, "the loop is blocked for "));
#if SIGNALS_COME
    assert_non_null(strstr(barking, "by Task-3 (blocks), made at "));
    assert_non_null(strstr(barking, " <- Task-2 (awaits_what_blocks) <- Task-1"));
#if __has_include(<execinfo.h>)
    assert_non_null(strstr(barking, "\n  at "));
#endif
#endif
    return 0;
}

static void test_watchdog(void **state)
{
    (void)state;
    assert_int_equal(run(is_watched, NULL), 0);
    struct sigaction now;
    assert_int_equal(sigaction(SIGURG, NULL, &now), 0);
    assert_true(now.sa_handler == SIG_DFL); /* as it was */
}

/* A loop that sleeps, and one that works but gets on, are not blocked. */
static int gets_on(void *unused)
{
    (void)unused;
    the_loop = async_get_running_loop();
    atomic_store(&barked, false);
    assert_int_equal(
        async_watchdog_start(
            the_loop, &(async_watchdog_options){.after = 1e6, .handler = bark, .data = &barked}),
        0);
    assert_int_equal(async_sleep(0.01), 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(async_sleep(0), 0);
    assert_false(atomic_load(&barked));
    return 0; /* the loop's end ends the watchdog */
}

static void test_no_false_alarm(void **state)
{
    (void)state;
    assert_int_equal(async_run(gets_on), 0);
}

static void test_watchdog_arguments(void **state)
{
    (void)state;
    async_loop *loop = async_loop_new(NULL);
    assert_int_equal(async_watchdog_start(NULL, NULL), -EBADF);
    assert_int_equal(async_watchdog_start(loop, &(async_watchdog_options){.after = NAN}), -EINVAL);
    assert_int_equal(async_watchdog_start(loop, &(async_watchdog_options){.after = -1}), -EINVAL);
    async_watchdog_stop(NULL);
    async_watchdog_stop(loop);
    assert_int_equal(async_watchdog_start(loop, NULL), 0);
    assert_int_equal(async_loop_close(loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_steps),
        cmocka_unit_test(test_plain_loop),
        cmocka_unit_test(test_switching),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_forgotten_tasks),
        cmocka_unit_test(test_unclosed),
        cmocka_unit_test(test_of_libraries),
        cmocka_unit_test(test_wrong_threads),
        cmocka_unit_test(test_scopes_from_wrong_threads),
        cmocka_unit_test(test_wakes_from_afar),
        cmocka_unit_test(test_printed),
        cmocka_unit_test(test_watchdog),
        cmocka_unit_test(test_no_false_alarm),
        cmocka_unit_test(test_watchdog_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
