/* runner.c - async_run: a loop, the main task in it, and an orderly end.
 *
 * The end: when the main task is done, all others are cancelled and the loop runs on until they
 * have ended; then generators, threads and the loop go. If nothing can ever happen any more while a
 * task still waits (-EDEADLK), the call graph is noted for async_run_error_message, and everything
 * is cancelled, shields notwithstanding. */
#include "task.h"

#include <casyncio/runners.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of this thread's last async_run. */
static __thread char *run_message; /* NULL: there is only the code */
static __thread int run_code;

struct runner {
    async_loop *loop;
    async_task *main;
    async_callback interrupt; /* SIGINT */
    bool handles_interrupt, interrupted;
    int failure; /* of the loop itself */
    size_t left; /* tasks, when it failed */
};

/* Frees the message of a thread that ends. Where there is no key left for it, that leaks. */
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool has_key;

static void make_key(void) { has_key = pthread_key_create(&key, async__free) == 0; }

__attribute__((destructor)) static void delete_key(void)
{
    if (has_key) pthread_key_delete(key); /* async__free is unloaded with the library */
    has_key = false;
}

static void keep_message(const char *message)
{
    size_t size = message ? strlen(message) + 1 : 0;

    async__free(run_message);
    run_message = size > 1 ? async__alloc(size) : NULL;
    if (run_message) memcpy(run_message, message, size);
    pthread_once(&key_once, make_key);
    if (has_key) pthread_setspecific(key, run_message);
}

const char *async_run_error_message(void)
{
    if (run_message) return run_message;
    return run_code < 0 ? async_strerror(run_code) : "";
}

/* ---- Ctrl-C ---- */

/* The first Ctrl-C. The second one ends the program in the signal handler: see
 * async__signal_add. */
static void on_interrupt(async_callback *callback)
{
    struct runner *runner = async__container(callback, struct runner, interrupt);

    runner->interrupted = true;
    async_cancel(runner->main, "interrupted (SIGINT)");
}

/* A program that handles or ignores SIGINT itself is left alone. */
static void handle_interrupt(struct runner *runner)
{
    struct sigaction now;
    if (sigaction(SIGINT, NULL, &now) < 0 || now.sa_handler != SIG_DFL) return;
    runner->interrupt.run = on_interrupt;
    runner->handles_interrupt =
        async__signal_add(runner->loop, SIGINT, &runner->interrupt, false) == 0;
}

/* ---- running until nothing is left ---- */

static void main_done(async_task *task)
{
    struct runner *runner = task->owner;
    async_loop_stop(runner->loop);
}

static void cancel_everything(struct async__tasks *tasks, bool force)
{
    for (async_task *task = tasks->first; task; task = task->next) {
        task->forced = force;
        async_cancel(task, NULL);
        async__scope_changed(task); /* also of a task that was cancelled before: `forced` is new */
    }
}

static void note_deadlock(async_loop *loop)
{
    char *graph = async__format_call_graph(loop), *message = NULL;

    if (asprintf(&message, "deadlock: every task waits for what can never come\n%s",
                 graph ? graph : "") < 0)
        message = NULL;
    keep_message(message ? message : async_strerror(-EDEADLK));
    free(message);
    free(graph);
}

/* The loop cannot go on: -EDEADLK, or an error of the poller. Every task is cancelled, in whatever
 * shield it sits; false if that has been done before and was of no use. */
static bool force_the_end(struct runner *runner, int code)
{
    struct async__tasks *tasks = runner->loop->client;

    if (runner->failure && runner->left == tasks->count) return false;
    runner->left = tasks->count;
    if (!runner->failure) {
        runner->failure = code;
        if (code == -EDEADLK)
            note_deadlock(runner->loop);
        else
            keep_message(async_strerror(code));
    }
    tasks->closing = true;
    cancel_everything(tasks, true);
    return true;
}

/* Runs the loop until `task` (NULL: every task) has ended. False: it never will. */
static bool run_until_done(struct runner *runner, async_task *task)
{
    struct async__tasks *tasks = runner->loop->client;

    while (task ? task->state != ASYNC__DONE : tasks->count > 0) {
        int code = async_loop_run(runner->loop);
        if (code < 0 && !force_the_end(runner, code)) return false;
    }
    return true;
}

/* The last task to end stops the loop: see finish in task.c. */
static bool end_tasks(struct runner *runner)
{
    struct async__tasks *tasks = runner->loop->client;

    tasks->closing = true;
    cancel_everything(tasks, runner->failure != 0);
    if (!run_until_done(runner, NULL)) return false;
    async__generators_free(tasks);
    return true;
}

static int outcome(struct runner *runner)
{
    const async__error *error = runner->main->record.error;
    int result = runner->main->result;

    if (runner->failure) return runner->failure;
    if (result < 0) keep_message(error ? error->message : async_strerror(result));
    return result == -ECANCELED && runner->interrupted ? -EINTR : result;
}

/* If the tasks cannot be ended they keep their stacks: the task layer leaks. */
static int run_main(struct runner *runner, async_coroutine main, void *argument,
                    const async_run_options *options, const char *coroutine)
{
    struct async__tasks *tasks = runner->loop->client;
    runner->main =
        async__task_new(tasks, main, argument,
                        &(async_task_options){.coroutine = coroutine, .name = options->name});
    if (!runner->main) {
        async__tasks_close(runner->loop);
        return -ENOMEM;
    }

    runner->main->is_main = true;
    runner->main->done = main_done;
    runner->main->owner = runner;
    if (!options->no_signals) handle_interrupt(runner); /* the handler cancels runner->main */
    bool ended = run_until_done(runner, runner->main) && end_tasks(runner);
    if (runner->handles_interrupt) async__signal_remove(runner->loop, SIGINT, false);
    async__requests_end(runner->loop);
    if (!ended) return runner->failure;
    int code = outcome(runner);
    async__task_release(runner->main);
    async__tasks_close(runner->loop);
    return code;
}

/* ---- errors that no call has returned ---- */

static void report_lost(const async_loop *loop)
{
    if (loop->lost == 1)
        fprintf(stderr, "casyncio: an error was never looked at: %s\n", loop->first_lost);
    else if (loop->lost > 1)
        fprintf(stderr, "casyncio: %zu errors were never looked at; the first: %s\n", loop->lost,
                loop->first_lost);
}

/* ---- the whole ---- */

#define EXIT_TIMEOUT 10 /* seconds */

static int run_in(struct runner *runner, async_coroutine main, void *argument,
                  const async_run_options *options, const char *coroutine)
{
    async_loop *loop = runner->loop;
    int64_t limit;

    if (async__seconds_to_ns(options->exit_timeout ? options->exit_timeout : EXIT_TIMEOUT, &limit) <
            0 ||
        limit < 0)
        return -EINVAL;
    async_set_exception_handler(loop, options->exception_handler, options->exception_data);
    int code = async__tasks_open(loop);
    if (code < 0) return code;
    ((struct async__tasks *)loop->client)->exit_timeout = limit;
    return run_main(runner, main, argument, options, coroutine);
}

/* A watchdog that cannot be had is no reason not to run. */
static void start_watchdog(async_loop *loop)
{
    const char *after = secure_getenv("CASYNCIO_WATCHDOG");

    if (after && atof(after) > 0)
        (void)async_watchdog_start(loop, &(async_watchdog_options){.after = atof(after)});
    else if (loop->debug)
        (void)async_watchdog_start(loop, NULL);
}

static void read_environment(async_loop_options *options)
{
    const char *debug = secure_getenv("CASYNCIO_DEBUG");
    if (debug && strcmp(debug, "1") == 0) options->debug = true;
}

static int run_in_new_loop(async_coroutine main, void *argument, const async_run_options *options,
                           const char *coroutine)
{
    async_loop_options loop = options->loop;
#ifdef ASYNC_FAULTS
    loop.virtual_clock |= async__fault_virtual_clock;
#endif
    read_environment(&loop);
    struct runner runner = {.loop = async_loop_new(&loop)};
    if (!runner.loop) return -errno;
    start_watchdog(runner.loop);
    int code = run_in(&runner, main, argument, options, coroutine);
#ifdef ASYNC_FAULTS
    async__fault_end = async_loop_time_ns(runner.loop);
#endif
    if (!options->no_report) report_lost(runner.loop);
    async_loop_close(runner.loop);
    return code;
}

int async__run(async_coroutine main, void *argument, const char *coroutine,
               const async_run_options *given, size_t size)
{
    async_run_options options;
    if (async__loop()) return async__failf(-EBUSY, "async_run: a loop runs in this thread already");
    keep_message(NULL);
    run_code = async__options(&options, sizeof options, given, size);
    if (run_code == 0)
        run_code = main ? run_in_new_loop(main, argument, &options, coroutine) : -EINVAL;
    return run_code;
}

int async_run_named(async_coroutine main, void *argument, const char *coroutine)
{
    return async__run(main, argument, coroutine, NULL, 0);
}

int(async_run)(async_coroutine main, void *argument)
{
    return async__run(main, argument, NULL, NULL, 0);
}
