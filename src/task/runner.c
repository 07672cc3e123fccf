/* runner.c - a runner: a loop, main tasks in it one after another, and an orderly end. async_run is a
 * runner for one main task.
 *
 * The end: all tasks that are left are cancelled and the loop runs on until they have ended; then
 * generators, threads and the loop go. If nothing can ever happen any more while a main task still
 * waits (-EDEADLK), the call graph is noted for async_run_error_message, and everything is cancelled,
 * shields notwithstanding. */
#include "../loop/trace.h"
#include "context.h"
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

/* A signal that cancels the main task. */
struct ender {
    async_callback callback;
    struct async_runner *runner;
    int number;
    bool installed;
};

struct async_runner {
    async_loop *loop;
    pthread_t thread;
    async_run_options options;
    async_task *main;               /* NULL between two */
    struct async__context *context; /* what the main tasks leave to each other */
    struct ender enders[2];         /* SIGINT, SIGTERM */
    int signal;                     /* that has interrupted the main task, or 0 */
    int failure;                    /* of the loop itself */
    size_t left;                    /* tasks, when it failed */
    bool stuck;                     /* tasks are left that cannot be ended */
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

static int keep_failure(int code)
{
    run_code = code;
    return code;
}

/* Refuses a call. Inside of a running loop that is the task's error alone: the message that is kept is to be the
 * running one's. */
static int refuse(int code, const char *call, const char *why)
{
    async__failf(code, "%s: %s", call, why);
    if (async__loop()) return code;
    keep_message(async_error_message());
    return keep_failure(code);
}

/* ---- Ctrl-C, and SIGTERM ---- */

/* The first Ctrl-C. The second one ends the program in the signal handler: see
 * async__signal_add. */
static void on_signal(async_callback *callback)
{
    struct ender *ender = async__container(callback, struct ender, callback);
    char why[32];

    ender->runner->signal = ender->number;
    snprintf(why, sizeof why, "interrupted (SIG%s)", ender->number == SIGINT ? "INT" : "TERM");
    async_cancel(ender->runner->main, why);
}

/* A program that handles or ignores the signal itself is left alone. */
static void handle_signal(struct async_runner *runner, struct ender *ender, int number)
{
    struct sigaction now;
    if (sigaction(number, NULL, &now) < 0 || now.sa_handler != SIG_DFL) return;
    *ender = (struct ender){.callback = {.run = on_signal}, .runner = runner, .number = number};
    ender->installed = async__signal_add(runner->loop, number, &ender->callback, false) == 0;
}

static void begin_signals(struct async_runner *runner)
{
    if (!runner->options.no_signals) handle_signal(runner, &runner->enders[0], SIGINT);
    if (runner->options.handle_sigterm) handle_signal(runner, &runner->enders[1], SIGTERM);
}

static void end_signals(struct async_runner *runner)
{
    for (size_t i = 0; i < sizeof runner->enders / sizeof *runner->enders; i++) {
        struct ender *ender = &runner->enders[i];
        if (ender->installed) async__signal_remove(runner->loop, ender->number, false);
        ender->installed = false;
    }
}

/* ---- running until nothing is left ---- */

static void main_done(async_task *task)
{
    struct async_runner *runner = task->owner;
    async_loop_stop(runner->loop);
}

const async__claim async__claim_main = {ASYNC__FUNCTION(main_done), "is the main task"};

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
static bool force_the_end(struct async_runner *runner, int code)
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
    tasks->closing = tasks->special_births = true;
    cancel_everything(tasks, true);
    return true;
}

/* Runs the loop until `task` (NULL: every task) has ended. False: it never will. */
static bool run_until_done(struct async_runner *runner, async_task *task)
{
    struct async__tasks *tasks = runner->loop->client;

    while (task ? task->state != ASYNC__DONE : tasks->count > 0) {
        int code = async_loop_run(runner->loop);
        if (code < 0 && !force_the_end(runner, code)) return false;
    }
    return true;
}

/* The last task to end stops the loop: see finish in task.c. */
static bool end_tasks(struct async_runner *runner)
{
    struct async__tasks *tasks = runner->loop->client;

    tasks->closing = tasks->special_births = true;
    cancel_everything(tasks, runner->failure != 0);
    if (!run_until_done(runner, NULL)) return false;
    async__unclosed_free(tasks);
    return true;
}

static int outcome(struct async_runner *runner)
{
    const async__error *error = runner->main->record.error;
    int result = runner->main->result;

    if (runner->failure) return runner->failure;
    if (result < 0) keep_message(error ? error->message : async_strerror(result));
    return result == -ECANCELED && runner->signal ? -EINTR : result;
}

/* What the main task has set is there for the next one, as in asyncio. */
static void keep_context(struct async_runner *runner)
{
    async__context_release(runner->context);
    runner->context = runner->main->context;
    runner->main->context = NULL;
}

/* After a failure of the loop every task has been cancelled: the next main task finds none. */
static void recover(struct async_runner *runner)
{
    struct async__tasks *tasks = runner->loop->client;

    runner->failure = 0;
    runner->left = 0;
    tasks->closing = false;
}

static int run_main(struct async_runner *runner, async_coroutine main, void *argument,
                    const char *coroutine)
{
    struct async__tasks *tasks = runner->loop->client;
    async_task_options options = {.coroutine = coroutine, .name = runner->options.name};

    runner->signal = 0;
    runner->main = async__task_new(tasks, main, argument, &options);
    if (!runner->main) return -ENOMEM;
    async__context_inherit(runner->main, runner->context);
    runner->main->is_main = true;
    runner->main->done = main_done;
    runner->main->owner = runner;
    begin_signals(runner); /* the handlers cancel runner->main */
    bool ended = run_until_done(runner, runner->main);
    if (ended && runner->failure) ended = end_tasks(runner);
    runner->stuck = !ended;
    if (!ended) return runner->failure;
    keep_context(runner);
    return outcome(runner);
}

static void release_main(struct async_runner *runner)
{
    if (runner->main) async__task_release(runner->main);
    runner->main = NULL;
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

/* ---- opening and closing ---- */

#define EXIT_TIMEOUT 10 /* seconds */

static int open_tasks(struct async_runner *runner)
{
    double seconds = runner->options.exit_timeout ? runner->options.exit_timeout : EXIT_TIMEOUT;
    int64_t limit;

    if (async__seconds_to_ns(seconds, &limit) < 0 || limit < 0)
        return refuse(-EINVAL, "exit_timeout", "it is negative or NaN");
    async_set_exception_handler(runner->loop, runner->options.exception_handler,
                                runner->options.exception_data);
    int code = async__tasks_open(runner->loop);
    if (code < 0) return code;
    ((struct async__tasks *)runner->loop->client)->exit_timeout = limit;
    return 0;
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

static int open_runner(struct async_runner *runner, const async_run_options *given, size_t size)
{
    int code = async__options(&runner->options, sizeof runner->options, given, size);
    if (code < 0) return code;
    async_loop_options loop = runner->options.loop;
#ifdef ASYNC_FAULTS
    loop.virtual_clock |= async__fault_virtual_clock;
#endif
    read_environment(&loop);
    runner->thread = pthread_self();
    runner->loop = async_loop_new(&loop);
    if (!runner->loop) {
        code = -errno;
        keep_message(async_error_message());
        return code;
    }
    start_watchdog(runner->loop);
    code = open_tasks(runner);
    if (code < 0)
        async_loop_close(runner->loop);
    else
        async__trace_environment(runner->loop);
    return code;
}

/* If the tasks cannot be ended they keep their stacks: the task layer leaks. In a process that was
 * forked from the runner's no task can run. 0, or the loop's failure. */
static int close_runner(struct async_runner *runner)
{
    bool ended = !runner->stuck && !async__is_forked(runner->loop) && end_tasks(runner);

    end_signals(runner);
    async__requests_end(runner->loop);
    async__context_release(runner->context);
    if (ended) {
        release_main(runner); /* the tasks that were left may have its handle */
        async__tasks_close(runner->loop);
    }
#ifdef ASYNC_FAULTS
    async__fault_end = async_loop_time_ns(runner->loop);
#endif
    if (!runner->options.no_report) report_lost(runner->loop);
    async_loop_close(runner->loop);
    return runner->failure;
}

/* ---- async_run ---- */

static const char no_coroutine[] = "the coroutine is NULL";

static int run_whole(async_coroutine main, void *argument, const char *coroutine,
                     const async_run_options *given, size_t size)
{
    struct async_runner runner = {0};
    int code =
        main ? open_runner(&runner, given, size) : refuse(-EINVAL, "async_run", no_coroutine);
    if (code < 0) return code;
    code = run_main(&runner, main, argument, coroutine);
    int failure = close_runner(&runner);
    return failure < 0 ? failure : code;
}

static const char runs_already[] = "a loop runs in this thread already";

int async__run(async_coroutine main, void *argument, const char *coroutine,
               const async_run_options *given, size_t size)
{
    if (async__loop()) return refuse(-EBUSY, "async_run", runs_already);
    keep_message(NULL);
    return keep_failure(run_whole(main, argument, coroutine, given, size));
}

int async_run_named(async_coroutine main, void *argument, const char *coroutine)
{
    return async__run(main, argument, coroutine, NULL, 0);
}

int(async_run)(async_coroutine main, void *argument)
{
    return async__run(main, argument, NULL, NULL, 0);
}

/* ---- runners ---- */

async_runner *async__runner_new(const async_run_options *options, size_t options_size)
{
    if (async__loop()) { /* its stack would be taken for the new loop's own */
        async__failf(-EBUSY, "async_runner_new: %s", runs_already);
        return NULL;
    }
    async_runner *runner = async__alloc_zeroed(sizeof *runner);
    keep_message(NULL);
    int code = runner ? open_runner(runner, options, options_size) : -ENOMEM;

    if (code == 0) return runner;
    async__free(runner);
    async__failf(code, "async_runner_new: %s", run_message ? run_message : async_strerror(code));
    return NULL;
}

static int check_runner(const async_runner *runner, const char *call)
{
    if (!runner) return refuse(-EBADF, call, "the runner is NULL");
    if (!pthread_equal(runner->thread, pthread_self()))
        return refuse(-EPERM, call, "the runner is another thread's");
    if (runner->loop->running) return refuse(-EBUSY, call, "the runner runs");
    return 0;
}

int async_runner_run_named(async_runner *runner, async_coroutine main, void *argument,
                           const char *coroutine)
{
    static const char call[] = "async_runner_run";
    int code = check_runner(runner, call);
    if (code < 0) return code;
    if (async__loop()) return refuse(-EBUSY, call, runs_already);
    keep_message(NULL);
    if (!main) return refuse(-EINVAL, call, no_coroutine);
    if (async__is_forked(runner->loop)) return keep_failure(-ECHILD);
    if (runner->stuck) return keep_failure(runner->failure);
    code = run_main(runner, main, argument, coroutine);
    end_signals(runner);
    if (!runner->stuck) release_main(runner);
    if (runner->failure && !runner->stuck) recover(runner);
    return keep_failure(code);
}

int(async_runner_run)(async_runner *runner, async_coroutine main, void *argument)
{
    return async_runner_run_named(runner, main, argument, NULL);
}

async_loop *async_runner_get_loop(const async_runner *runner)
{
    if (!runner) async__failf(-EBADF, "async_runner_get_loop: the runner is NULL");
    return runner ? runner->loop : NULL;
}

int async_runner_close(async_runner *runner)
{
    if (!runner) return 0;
    int code = check_runner(runner, "async_runner_close");
    if (code < 0) return code;
    if (async__loop()) return refuse(-EBUSY, "async_runner_close", runs_already);
    keep_message(NULL);
    code = close_runner(runner);
    async__free(runner);
    return keep_failure(code);
}
