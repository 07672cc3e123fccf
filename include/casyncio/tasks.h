/* tasks.h - coroutines and tasks            asyncio: Coroutines and Tasks
 *
 * A coroutine is a plain C function that is called from a task; to await it is to call it. A task
 * runs a coroutine beside its creator, on a stack of its own.
 *
 * "Blocks" in these headers means: suspends the calling task and lets others run. Every blocking
 * call is a checkpoint, and no other call is: it reports a cancellation that is due, even if it
 * could finish at once; and a task yields to the others after 128 blocking calls that could finish
 * at once. Outside a task a blocking call gives -EPERM.
 *
 * Once a task is cancelled, or a timeout scope that it is in has run out, every blocking call gives
 * the same code at once (-ECANCELED, -ETIMEDOUT), until the task ends, is uncancelled, or leaves
 * the scope. "The code of a cancellation" below means either. If the result of a call is
 * there before the task learns of the cancellation, the call gives the result, and the next call
 * gives the code.
 *
 * A task belongs to the thread of its loop, and so do all functions here: other threads come in
 * through threads.h and loop.h.
 *
 * A task's stack is 256 KiB of address space by default (async_loop_options.stack_size), of which
 * it uses what it touches; the lowest quarter, at least 16 KiB and at most 64, is a guard. A task
 * that runs into it ends the program with a report that names it. A frame that is larger than the
 * guard might step over it: compile with -fstack-clash-protection, as pkg-config and CMake say. */
#ifndef CASYNCIO_TASKS_H
#define CASYNCIO_TASKS_H

#include <casyncio/errors.h>
#include <casyncio/loop.h>

ASYNC_BEGIN

typedef struct async_task async_task;
typedef int (*async_coroutine)(void *argument);

/* In C the macros below take a coroutine in any of three forms, and check which it is:
 *     int tick(void)              async_create_task(tick)
 *     int fetch(void *url)        async_create_task(fetch, url)
 *     int resize(struct resize *) async_spawn(resize, .width = 640) */
#define ASYNC__CALLABLE(function)                                                                  \
    _Generic((function), int (*)(void)                                                             \
             : (async_coroutine)(void (*)(void))(function), default                                \
             : (function))
/* The first of: what follows the function in a macro's arguments, and a NULL behind it. */
#define ASYNC__ARGUMENT(function, ...)                                                             \
    (((void *[]){__VA_ARGS__})                                                                     \
         [ASYNC__ASSERT(_Generic((function), int : 0, default : 1),                                \
                        "a coroutine is given as it is, not called: f, argument in place of "      \
                        "f(argument)") +                                                           \
          ASYNC__ASSERT(sizeof((void *[]){__VA_ARGS__}) <= 2 * sizeof(void *),                     \
                        "a coroutine has one argument: a pointer, to a struct if there is more "   \
                        "(async_spawn makes one)")])

/* ---- making tasks ---- */

/* Makes a task that will call coroutine(argument), soon; `argument` must be good until the task is
 * done. The new task runs when this one blocks. If it is cancelled before it has begun the
 * coroutine is called all the same, so that it can release what its argument owns. NULL: -ENOMEM,
 * -EINVAL for a coroutine that is NULL, or -EPERM where async_run does not run (async_error_code);
 * async_await and async_gather take NULL, and give that -ENOMEM. In C the argument may be left out.
 *
 * The handle is released by async_await, async_wait_for, async_gather and its like, or async_detach, once; every
 * task is given to one of them, or owned by a group. One that is not runs on, is cancelled at the
 * end of async_run, and released then; if it has failed, that is reported to the exception handler.
 * A released handle must not be used: in debug mode (debug.h) that gives -EINVAL, and is reported to
 * the exception handler. Does not block.
 * asyncio: asyncio.create_task */
ASYNC_API async_task *async_create_task(async_coroutine coroutine, void *argument ASYNC__NULL);

typedef struct async_task_options {
    const char *name;      /* copied; NULL: "Task-N" */
    const char *coroutine; /* the function's name, for the call graph; not copied; may be NULL */
    const void *copy;      /* an argument to copy into the task; `argument` is ignored then */
    size_t size, align; /* of the copy; at most ASYNC_ARGUMENT_MAX bytes, aligned to at most 64 */
    struct async_group *group; /* that is to own the task (async_group_create_task); NULL: none */
    int *result;       /* of a group's task: where its result is put when it ends; NULL: nowhere */
    bool eager_start;  /* see async_create_task_eager */
    const char *where; /* "file.c:12", for debug mode and metrics; not copied; may be NULL */
} async_task_options;

/* The same, with options (NULL: none), which are not needed after the call. What the macros call.
 * NULL: also -EINVAL for a copy that is larger or more aligned than the limits.
 * asyncio: create_task(name=..., eager_start=...) */
ASYNC_API async_task *async__create_task(async_coroutine coroutine, void *argument,
                                         const async_task_options *options, size_t options_size);
static inline async_task *async_create_task_with(async_coroutine coroutine, void *argument,
                                                 const async_task_options *options)
{
    return async__create_task(coroutine, argument, options, sizeof *options);
}

/* The most bytes of arguments that a task takes a copy of. */
#define ASYNC_ARGUMENT_MAX 2048

#ifndef __cplusplus
#define ASYNC__WHERE __FILE__ ":" ASYNC__TEXT(__LINE__)
#define ASYNC__TEXT(line) ASYNC__TEXT_(line)
#define ASYNC__TEXT_(line) #line

#define async_create_task(...) ASYNC__CREATE_TASK(__VA_ARGS__, NULL)
#define ASYNC__CREATE_TASK(function, ...)                                                          \
    async_create_task_with(ASYNC__CALLABLE(function), ASYNC__ARGUMENT(function, __VA_ARGS__),      \
                           &(async_task_options){.coroutine = #function, .where = ASYNC__WHERE})

/* async_spawn(fetch, .url = "...", .retries = 3): makes a task that will call fetch(&arguments),
 * where the arguments are a struct fetch of the task's own, set as the initialisers say and good
 * until fetch returns. What its pointers point to is not copied. fetch must be an int fetch(struct
 * fetch *); a struct of more than ASYNC_ARGUMENT_MAX bytes does not compile.
 *
 * async_spawn_copy(fetch, arguments): the same with a struct fetch that is there already: arrays
 * are copied with it. */
#define async_spawn(function, ...)                                                                 \
    async_create_task_with(ASYNC__COROUTINE(function), NULL,                                       \
                           &ASYNC__COPY(function, &(struct function){__VA_ARGS__}))
#define async_spawn_copy(function, ...)                                                            \
    async_create_task_with(ASYNC__COROUTINE(function), NULL, &ASYNC__COPY(function, &(__VA_ARGS__)))

/* async_create_task_eager, async_spawn_eager: the same, but the task runs at once, until it parks for
 * the first time or ends; only then, and before any other task runs, the call returns. A coroutine
 * that seldom has to wait saves its turn in the ready queue so. The handle is as any other. It can be
 * used in a callback as well; where the loop does not run the task starts as others do.
 * asyncio: create_task(eager_start=True), eager_task_factory */
#define async_create_task_eager(...) ASYNC__CREATE_TASK_EAGER(__VA_ARGS__, NULL)
#define ASYNC__CREATE_TASK_EAGER(function, ...)                                                    \
    async_create_task_with(                                                                        \
        ASYNC__CALLABLE(function), ASYNC__ARGUMENT(function, __VA_ARGS__),                         \
        &(async_task_options){.coroutine = #function, .where = ASYNC__WHERE, .eager_start = true})
#define async_spawn_eager(function, ...)                                                           \
    async__spawn_eager(ASYNC__COROUTINE(function),                                                 \
                       ASYNC__COPY(function, &(struct function){__VA_ARGS__}))
static inline async_task *async__spawn_eager(async_coroutine coroutine, async_task_options options)
{
    options.eager_start = true;
    return async_create_task_with(coroutine, NULL, &options);
}

/* The function as a coroutine; does not compile unless it takes a pointer to the struct of its
 * name. */
#define ASYNC__COROUTINE(function)                                                                 \
    ((async_coroutine)(void (*)(void)) _Generic(&function, int (*)(struct function *) : &function))
#define ASYNC__COPY(function, ...)                                                                 \
    ((async_task_options){                                                                         \
        .coroutine = #function,                                                                    \
        .where = ASYNC__WHERE,                                                                     \
        .copy = 1 ? (__VA_ARGS__) : (struct function *)0,                                          \
        .size = sizeof(struct function) +                                                          \
                ASYNC__ASSERT(sizeof(struct function) <= ASYNC_ARGUMENT_MAX &&                     \
                                  _Alignof(struct function) <= 64,                                 \
                              "struct " #function " is too large, or too much aligned, to "        \
                              "be copied into a task: pass a pointer to it"),                      \
        .align = _Alignof(struct function),                                                        \
    })
#endif

/* ---- making tasks in a loop that does not run, and by a factory ---- */

/* Makes a task in the loop of a Runner (runners.h), also while it does not run: it begins when the loop
 * next runs. Otherwise as async_create_task_with; NULL: also -EPERM for a loop that runs no tasks,
 * -EBADF for NULL. In the loop's thread.
 * asyncio: loop.create_task */
ASYNC_API async_task *async__loop_create_task(async_loop *loop, async_coroutine coroutine,
                                              void *argument, const async_task_options *options,
                                              size_t options_size);
static inline async_task *async_loop_create_task_with(async_loop *loop, async_coroutine coroutine,
                                                      void *argument,
                                                      const async_task_options *options)
{
    return async__loop_create_task(loop, coroutine, argument, options, sizeof *options);
}
#ifndef __cplusplus
#define async_loop_create_task(loop, ...) ASYNC__LOOP_CREATE_TASK(loop, __VA_ARGS__, NULL)
#define ASYNC__LOOP_CREATE_TASK(loop, function, ...)                                               \
    async_loop_create_task_with(                                                                   \
        loop, ASYNC__CALLABLE(function), ASYNC__ARGUMENT(function, __VA_ARGS__),                   \
        &(async_task_options){.coroutine = #function, .where = ASYNC__WHERE})
#endif

/* A factory is called in place of what makes the tasks of the calls above, and of a group
 * (options->group is the group then): it may change the options, which are never NULL and good during
 * the call, and makes the task by async_task_new, or gives NULL with the last error set. It must not
 * block. async_run's main task, generators and what other threads ask for do not go by it. NULL is
 * the default: no factory. 0; -EPERM for a loop that runs no tasks.
 * asyncio: loop.set_task_factory, get_task_factory */
typedef async_task *async_task_factory(async_loop *loop, async_coroutine coroutine, void *argument,
                                       const async_task_options *options, void *data);
ASYNC_API int async_set_task_factory(async_loop *loop, async_task_factory *factory, void *data);
ASYNC_API async_task_factory *async_get_task_factory(const async_loop *loop, void **data);

/* Makes a task without asking the loop's factory. asyncio: asyncio.Task(coro, loop=loop) */
ASYNC_API async_task *async__task_make(async_loop *loop, async_coroutine coroutine, void *argument,
                                       const async_task_options *options, size_t options_size);
static inline async_task *async_task_new(async_loop *loop, async_coroutine coroutine,
                                         void *argument, const async_task_options *options)
{
    return async__task_make(loop, coroutine, argument, options, sizeof *options);
}

/* A factory whose tasks start eagerly (async_create_task_eager).
 * asyncio: eager_task_factory */
ASYNC_API async_task *async_eager_task_factory(async_loop *loop, async_coroutine coroutine,
                                               void *argument, const async_task_options *options,
                                               void *data);

/* ---- awaiting, detaching ---- */

/* Waits for the task to end, gives its return value, and releases the handle. The handle stays
 * valid only after one of the errors in the last paragraph. The error record of a task that failed
 * passes to the awaiting task.
 *
 * If the awaiting task is cancelled meanwhile, the awaited one is cancelled too, and then waited
 * for: on return it has ended, and what the call gives is its result, or, if that is -ECANCELED,
 * the code of the cancellation.
 *
 * NULL gives the code for which the last task could not be made, else -EINVAL. -EINVAL for the
 * calling task itself, and, in debug mode, for a handle that has been released; -EBUSY if
 * another task awaits or gathers it already, or a group owns it (the message says what has it);
 * -EDEADLK if it waits, by way of others, for this task; -EPERM outside a task.
 * asyncio: `await task` */
ASYNC_API int async_await(async_task *task);

/* Lets the task run on by itself and releases the handle. NULL is fine, and a task that another one
 * awaits or that a group owns is left alone. If it fails, that is reported to the loop's exception
 * handler. If it is still running at the end of async_run it is cancelled and waited for. Does not
 * block.
 * asyncio: a task without a reference to it, but it is not collected */
ASYNC_API void async_detach(async_task *task);

/* Suspends the task for `seconds`; 0 lets the others run once; infinity is until it is cancelled.
 * 0, the code of a cancellation, -EINVAL for NaN or a negative number, -ENOMEM.
 * asyncio: asyncio.sleep */
ASYNC_API int async_sleep(double seconds);

/* Suspends the task until the loop's clock (async_loop_time, async_now) has come to `when`, in
 * seconds; a time in the past lets the others run once. 0, the code of a cancellation, -EINVAL for
 * NaN, -ENOMEM. */
ASYNC_API int async_sleep_until(double when);

/* Gives the code of a cancellation that is due, else 0, and now and then (once in 128 calls) lets
 * others run: for loops that compute for long. async_sleep(0) lets them run each time. -EPERM
 * outside a task.
 * trio: checkpoint */
ASYNC_API int async_checkpoint(void);

/* async_gather(a, b, ...): waits for several tasks and releases all the handles. 0, or the first
 * error: then the others are cancelled and waited for. A handle that is NULL counts as an error,
 * that for which the task could not be made. If the gathering task is cancelled, all are cancelled
 * and waited for; a first error of -ECANCELED is then given as the code of the cancellation.
 * -EINVAL, -EBUSY and -EDEADLK, as for async_await, for a handle that cannot be waited for or that
 * is there twice: then none is released.
 * asyncio: asyncio.gather */
#ifndef __cplusplus
#define async_gather(...)                                                                          \
    async_gather_array((async_task *[]){__VA_ARGS__},                                              \
                       sizeof((async_task *[]){__VA_ARGS__}) / sizeof(async_task *) +              \
                           ASYNC__ONLY_TASKS(__VA_ARGS__, NULL))
#define ASYNC__ONLY_TASKS(first, ...)                                                              \
    ASYNC__ASSERT(_Generic((first), async_task * : 1, void * : 1, default : 0),                    \
                  "async_gather takes tasks, which async_create_task makes; of an array it is "    \
                  "async_gather_array(tasks, count)")
#endif
ASYNC_API int async_gather_array(async_task *const *tasks, size_t count);

/* Waits for all the tasks, whatever they give, puts their return values into codes[] (for a NULL
 * the code for which a task could not be made; `codes` may be NULL), and releases all the handles.
 * 0, or the code of a cancellation: then they were cancelled, but have ended as well, and codes[] is
 * filled. Their error records are dropped: only the codes are left. -EINVAL and -EBUSY as above;
 * -EBADF for an array that is NULL, here and in the calls below.
 * asyncio: gather(return_exceptions=True) */
ASYNC_API int async_gather_results(async_task *const *tasks, size_t count, int *codes);

/* The same, but every error is kept: if any task failed, the code is that of the first one in the
 * array, with a cause in the error record for each that did (async_error_causes, async_error_cause),
 * in the order of the array. Where memory for a cause is lacking it is left out.
 * asyncio: gather(return_exceptions=True), and an ExceptionGroup of what is an exception */
ASYNC_API int async_gather_all(async_task *const *tasks, size_t count, int *codes);

enum {
    ASYNC_ALL_COMPLETED,   /* each task has ended */
    ASYNC_FIRST_COMPLETED, /* one has */
    ASYNC_FIRST_EXCEPTION /* one has failed, with another code than -ECANCELED, or all have ended */
};

/* Waits until what `return_when` says has come about, or `timeout` seconds have gone (0 or less: it
 * only looks; infinity: no limit), and gives the number of tasks that have ended, which
 * async_task_done tells from the others: fewer than `count`, maybe 0, is how a timeout shows. The
 * handles stay the caller's, to be awaited (those that have ended give their results at once) or
 * waited for again, and no task is cancelled, whatever happens to the wait. A handle that is NULL
 * counts as a task that has ended and failed. O(count), and O(1) for each task that ends.
 *
 * The code of a cancellation; -EINVAL for a count of 0, a timeout that is NaN, another number as
 * `return_when`, a task that is there twice, or the calling task itself; -EBUSY for a task that
 * another one awaits or waits for, or that a group owns; -EDEADLK for one that awaits, by way of
 * others, this task; -ENOMEM.
 * asyncio: asyncio.wait(tasks, timeout=, return_when=); async_wait(&task, 1, INFINITY,
 * ASYNC_ALL_COMPLETED) is `await shield(task)` */
ASYNC_API ssize_t async_wait(async_task *const *tasks, size_t count, double timeout,
                             int return_when);

/* An iterator over the tasks in the order in which they end, each when it has ended:
 *
 *     async_for (async_task *, task, async_as_completed(tasks, count, INFINITY))
 *         code = async_await(task);
 *
 * It takes the handles over, and gives each to the block, which awaits it (without waiting) or
 * detaches it. Those that were not given when the loop is left, by `break` or by an error, are
 * cancelled, waited for and released. The iteration ends with -ETIMEDOUT once `timeout` seconds
 * from this call have gone (infinity: no limit) and there is none left that has ended. A handle that
 * is NULL is given as it is, first: async_await(NULL) gives the code. A count of 0 is an iteration
 * without values. O(1) for each task.
 *
 * NULL: -EINVAL, -EBUSY, -EDEADLK and -EBADF, as for async_wait: then none was taken over; -ENOMEM,
 * and -EINVAL for NaN: then all have been cancelled, waited for and released. Blocks in that case
 * only.
 * asyncio: as_completed(tasks, timeout=), which leaves the others running */
struct async_iterator;
ASYNC_API struct async_iterator *async_as_completed(async_task *const *tasks, size_t count,
                                                    double timeout);

/* ---- cancellation ---- */

/* Cancels the task: its blocking calls give -ECANCELED from now on, the one it is in included.
 * `why` (copied; may be NULL) becomes the message. A task that is NULL, done or cancelled already
 * is left alone. true if that changed anything. A task may cancel itself. Does not block, and does
 * not run the task: it learns of the cancellation when it next runs. Only in the loop's thread.
 * asyncio: task.cancel(msg) */
ASYNC_API bool async_cancel(async_task *task, const char *why);

/* The message that the task was cancelled with, in whatever block or scope it is: "" if it has none,
 * is not cancelled, or is NULL. Good until it is uncancelled or released. The task itself finds it in
 * async_error_message too, right after a call that has given -ECANCELED. A task that is cancelled
 * while it awaits or gathers others passes it on to them.
 * asyncio: the argument of CancelledError */
ASYNC_API const char *async_task_cancel_message(const async_task *task);

/* Takes a cancellation back: blocking calls work again. true if there was one. A call that it has
 * already interrupted gives -ECANCELED all the same. Cancellations are not counted: one call takes
 * all of them back. NULL is left alone. Does not block.
 * asyncio: task.uncancel */
ASYNC_API bool async_uncancel(async_task *task);

/* Whether the task is cancelled and has not ended; whether it has ended (true also for NULL). The
 * handle must not have been released. asyncio: task.cancelling, task.done */
ASYNC_API bool async_task_cancelling(const async_task *task);
ASYNC_API bool async_task_done(const async_task *task);
/* Whether it has ended with -ECANCELED after a cancel. asyncio: task.cancelled */
ASYNC_API bool async_task_cancelled(const async_task *task);

/* The result of a task that has ended, without waiting or releasing: what async_await will give, with
 * its message. -EINPROGRESS if it has not ended, -EBADF for NULL. asyncio: task.result, task.exception */
ASYNC_API int async_task_result(const async_task *task);

/* The loop that the task belongs to; NULL for NULL. asyncio: task.get_loop */
ASYNC_API async_loop *async_task_get_loop(const async_task *task);

/* A callback that runs in the loop, outside of tasks, soon after a task or a future (futures.h) is
 * done. It lies in the caller's memory, and must stay there until it has run or been removed; then it
 * can be used again. */
typedef struct async_done_callback {
    async_callback callback; /* set callback.run; from its argument the way leads to this struct */
    int code;                /* for `run`: the task's result, or the future's code */
    async_loop *loop;        /* the rest is the library's */
    struct async_done_callback *next;
    void *reserved[2];
} async_done_callback;

/* Adds the callback: it runs when the task has ended, before what awaits it goes on; soon, if it has
 * ended already. Callbacks run in the order in which they were added, however many there are. The
 * task's handle may be released by the time that it runs. 0; -EBADF for NULL, -EINVAL without `run`,
 * -EBUSY if it has been added somewhere and has not run. Does not block.
 * asyncio: task.add_done_callback */
ASYNC_API int async_task_add_done_callback(async_task *task, async_done_callback *callback);

/* Removes it: true if it was there, and then it does not run. The task must not have been released
 * while the callback was still waiting for its end. O(n) in the number of its callbacks.
 * asyncio: task.remove_done_callback */
ASYNC_API bool async_task_remove_done_callback(async_task *task, async_done_callback *callback);

/* ---- names, and all tasks ---- */

/* The task that runs here, or NULL (in a callback, outside a loop). asyncio:
 * asyncio.current_task */
ASYNC_API async_task *async_current_task(void);

/* Puts up to `capacity` tasks that are not done into tasks[], the oldest first, and gives the
 * number of all, which may be more; 0 where async_run does not run. The pointers are good until the
 * next call that blocks. asyncio: asyncio.all_tasks */
ASYNC_API size_t async_all_tasks(async_task **tasks, size_t capacity);

/* The name ("Task-N" by default), good until the task is renamed or released; never NULL. Setting
 * one, which is copied, gives 0, -ENOMEM, or -EINVAL for a name that is NULL.
 * asyncio: task.get_name, task.set_name */
ASYNC_API const char *async_task_name(const async_task *task);
ASYNC_API int async_task_set_name(async_task *task, const char *name);
/* The name of its coroutine, as the macros know it; "" if not known. asyncio: task.get_coro */
ASYNC_API const char *async_task_coroutine(const async_task *task);

/* What a task waits for, and what waits for it. asyncio: FutureCallGraph */
typedef struct async_call_graph_entry {
    const char *name;      /* of the task */
    const char *coroutine; /* "" if not known */
    const char *waits_for; /* "sleep", "lock", "read", ...; NULL: it is ready or runs */
    int fd;                /* the descriptor that it waits for, or -1 */
    bool cancelled;
    ptrdiff_t awaited_by; /* which entry awaits it, or -1 */
    ptrdiff_t held_by;    /* which entry holds the lock that it waits for, or -1 */
    void *reserved[2];
} async_call_graph_entry;

/* Puts an entry for each of this loop's tasks that are not done into an array, the oldest task first: how
 * many. *entries, with the texts in it, is to be freed by free(). -ENOMEM, -EPERM where no loop runs
 * tasks, -EBADF for NULL; then *entries is NULL. O(n log n). Frames of C are not in it: `casyncio pstree`
 * shows them. Does not block. asyncio: capture_call_graph */
ASYNC_API ssize_t async_capture_call_graph(async_call_graph_entry **entries);

/* Writes the tree of what waits for what, a line a task, into a string to be freed by free(); NULL:
 * no memory, or no loop here. A task that another one awaits stands below it, indented. O(n) in the
 * number of tasks. Can be called from a debugger. Does not block. asyncio: format_call_graph */
ASYNC_API char *async_format_call_graph(void);

/* ---- scopes: timeouts and shields ---- */

/* A scope is a stretch of a task's code with rules of its own for cancellation. It is embedded in
 * the frame that it belongs to, entered and left there, innermost first. The fields are the
 * library's. Where several are due at once the outermost decides, up to the innermost shield. A
 * coroutine that returns inside of a scope that it has entered gives -EINVAL. The macros of
 * contexts.h leave by themselves. */
typedef struct async_scope {
    struct async_scope *parent;
    async_task *task;
    async_timer timer;
    double when; /* the loop's time at which it runs out, infinity for never */
    int code;    /* what blocking calls in it give, or 0 */
    bool shield; /* what is outside does not reach in */
    bool entered, expired;
    bool limited; /* a shield of a block's exit: see async_run_options.exit_timeout */
    double began; /* the loop's time at which a timeout was entered */
    void *reserved[1];
} async_scope;

/* Enters a scope whose blocking calls give -ETIMEDOUT once `delay` seconds have gone: 0 or less is
 * at once, infinity never. 0; or -EINVAL for NaN, -ENOMEM, -EPERM outside a task, and then it is
 * not entered. Every scope entered must be left. Does not block.
 * asyncio: async with asyncio.timeout(delay) */
ASYNC_API int async_timeout_enter(async_scope *scope, double delay);

/* The same, with a time of the loop's clock. asyncio: asyncio.timeout_at */
ASYNC_API int async_timeout_enter_at(async_scope *scope, double when);

/* Enters a scope that cancellations and timeouts from outside do not reach until it is left: for
 * clean-up that has to wait. Those of scopes inside of it do. 0, or -EPERM outside a task. Does not
 * block.
 * asyncio: shield, but of code, not of a task; trio: CancelScope(shield=True) */
ASYNC_API int async_shield_enter(async_scope *scope);

/* Leaves the scope. Always succeeds; NULL and a scope that was not entered (all zeros, say) are
 * left alone. Does not block. */
ASYNC_API void async_scope_leave(async_scope *scope);

/* Moves the deadline to `when`, a time of the loop's clock; infinity is none. 0; -EINVAL for NaN,
 * or if the scope has expired or been left; -ENOMEM: then it has no deadline any more.
 * async_scope_when gives the deadline (0 for NULL), async_scope_expired whether it has passed.
 * asyncio: Timeout.reschedule, when, expired */
ASYNC_API int async_scope_reschedule(async_scope *scope, double when);
ASYNC_API double async_scope_when(const async_scope *scope);
ASYNC_API bool async_scope_expired(const async_scope *scope);

/* Cancels what is in the scope: blocking calls in it give -ECANCELED until it is left. A scope that
 * has expired keeps its -ETIMEDOUT; one that is NULL or not entered is left alone. Does not block.
 * trio: CancelScope.cancel */
ASYNC_API void async_scope_cancel(async_scope *scope);

/* Awaits the task for at most `timeout` seconds (0 or less: none, infinity: no limit); then it is
 * cancelled and waited for, and the code is -ETIMEDOUT, unless the task ends with another result
 * than -ECANCELED all the same. -EINVAL for NaN; the task is cancelled and waited for then too.
 * Releases the handle, and gives errors, as async_await does.
 * asyncio: asyncio.wait_for */
ASYNC_API int async_wait_for(async_task *task, double timeout);

/* ---- groups ---- */

/* Tasks that live and end together: when one fails (with another code than -ECANCELED), the others
 * and the block that owns the group are cancelled; to leave the group is to wait for all of them.
 * See async_with_group in contexts.h.
 * asyncio: TaskGroup; trio: nursery */
typedef struct async_group async_group;

/* Opens a group in the current task, which must leave it: a coroutine that returns with a group
 * open has its tasks cancelled and waited for, and its result is -EINVAL. NULL: -ENOMEM, or -EPERM
 * outside a task. Does not block. */
ASYNC_API async_group *async_group_enter(void);

/* Waits for every task of the group, closes it and frees it. 0; the code of the first task that
 * failed, with one cause for each that did in the error record; or, if none failed, the code of a
 * cancellation of the owner. Waits until all children have ended, also if the owner is cancelled:
 * then they are cancelled. It cannot know that the block ended with an error: async_group_fail
 * tells it. Groups are left in the reverse order of entering. -EBADF for NULL; -EPERM in another
 * task than the owner: nothing has happened then.
 * asyncio: TaskGroup.__aexit__ */
ASYNC_API int async_group_leave(async_group *group);

/* The same, but the group stays open. A failure that it has given, and a cancellation of the group,
 * are over then: the group takes tasks again, and leaving it reports only later failures. */
ASYNC_API int async_group_wait(async_group *group);

/* Makes a task that the group owns: the handle is good until the task is done, and must not be
 * awaited or detached. Any task of the loop may do so while the group is open. NULL: a task that
 * cannot be made (-ENOMEM, -EINVAL) is a failure of the group, as async_group_fail says; -ECANCELED
 * once the group is being cancelled; -EBADF for a group that is NULL. Whatever the arguments own
 * then still belongs to the caller. Does not block. The macros take what async_create_task,
 * async_spawn and async_spawn_copy take.
 * asyncio: TaskGroup.create_task */
ASYNC_API async_task *async__group_create_task(async_group *group, async_coroutine coroutine,
                                               void *argument, const async_task_options *options,
                                               size_t options_size);
static inline async_task *async_group_create_task_with(async_group *group,
                                                       async_coroutine coroutine, void *argument,
                                                       const async_task_options *options)
{
    return async__group_create_task(group, coroutine, argument, options, sizeof *options);
}
#ifndef __cplusplus
#define async_group_create_task(owner, ...) ASYNC__GROUP_CREATE_TASK(owner, __VA_ARGS__, NULL)
#define ASYNC__GROUP_CREATE_TASK(owner, function, ...)                                             \
    async_group_create_task_with(                                                                  \
        owner, ASYNC__CALLABLE(function), ASYNC__ARGUMENT(function, __VA_ARGS__),                  \
        &(async_task_options){.coroutine = #function, .where = ASYNC__WHERE})
#define async_group_spawn(owner, function, ...)                                                    \
    async_group_create_task_with(owner, ASYNC__COROUTINE(function), NULL,                          \
                                 &ASYNC__COPY(function, &(struct function){__VA_ARGS__}))
/* The result of the task is put into *result as it ends (or why it could not be made), for the block's
 * owner to read after the group has been left. */
#define async_group_spawn_result(owner, result, function, ...)                                     \
    async__group_spawn_result(owner, result, ASYNC__COROUTINE(function),                           \
                              ASYNC__COPY(function, &(struct function){__VA_ARGS__}))
static inline async_task *async__group_spawn_result(async_group *group, int *result,
                                                    async_coroutine coroutine,
                                                    async_task_options options)
{
    options.result = result;
    return async_group_create_task_with(group, coroutine, NULL, &options);
}
#define async_group_spawn_copy(owner, function, ...)                                               \
    async_group_create_task_with(owner, ASYNC__COROUTINE(function), NULL,                          \
                                 &ASYNC__COPY(function, &(__VA_ARGS__)))
#endif

/* Makes the group fail with `code` (negative; else -EINVAL), as a task of it that failed would: the
 * last error, if it has that code, becomes the cause, and the tasks and the block are cancelled.
 * Gives the code, so that a block can say `return async_group_fail(group, async_raise(-EIO, "disk
 * on fire"));`. Does not block.
 * asyncio: an exception that leaves the body of `async with TaskGroup()` */
ASYNC_API int async_group_fail(async_group *group, int code);

/* Cancels every task of the group and the block that owns it; that is no failure. NULL is left
 * alone. Does not block: leaving the group waits for the tasks.
 * trio: nursery.cancel_scope.cancel */
ASYNC_API void async_group_cancel(async_group *group);

/* How many of its tasks have not ended. */
ASYNC_API size_t async_group_count(const async_group *group);

ASYNC_END

#ifdef __cplusplus
inline async_task *async_create_task(int (*coroutine)(void))
{
    return async_create_task_with((async_coroutine)(void (*)(void))coroutine, nullptr, nullptr);
}

inline async_task *async_loop_create_task(async_loop *loop, async_coroutine coroutine,
                                          void *argument = nullptr)
{
    return async_loop_create_task_with(loop, coroutine, argument, nullptr);
}
inline async_task *async_loop_create_task(async_loop *loop, int (*coroutine)(void))
{
    return async_loop_create_task(loop, (async_coroutine)(void (*)(void))coroutine);
}
inline async_task *async_create_task_eager(async_coroutine coroutine, void *argument = nullptr)
{
    async_task_options options = async_task_options();
    options.eager_start = true;
    return async_create_task_with(coroutine, argument, &options);
}
inline async_task *async_create_task_eager(int (*coroutine)(void))
{
    return async_create_task_eager((async_coroutine)(void (*)(void))coroutine);
}

/* A copy of `arguments`, which must be trivially copyable, is made into the task. */
template <class Arguments> inline async_task_options async__copy_of(const Arguments &arguments)
{
    static_assert(__is_trivially_copyable(Arguments), "a task's arguments are copied byte by byte");
    static_assert(sizeof(Arguments) <= ASYNC_ARGUMENT_MAX && alignof(Arguments) <= 64,
                  "the arguments are too large, or too much aligned, to be copied into a task");
    async_task_options options = async_task_options();
    options.copy = &arguments;
    options.size = sizeof arguments;
    options.align = alignof(Arguments);
    return options;
}
template <class Arguments>
inline async_task *async_spawn(int (*function)(Arguments *), const Arguments &arguments)
{
    async_task_options options = async__copy_of(arguments);
    return async_create_task_with((async_coroutine)(void (*)(void))function, nullptr, &options);
}
template <class Arguments>
inline async_task *async_spawn_eager(int (*function)(Arguments *), const Arguments &arguments)
{
    async_task_options options = async__copy_of(arguments);
    options.eager_start = true;
    return async_create_task_with((async_coroutine)(void (*)(void))function, nullptr, &options);
}
template <class Arguments>
inline async_task *async_group_spawn_result(async_group *group, int *result,
                                            int (*function)(Arguments *),
                                            const Arguments &arguments)
{
    async_task_options options = async__copy_of(arguments);
    options.result = result;
    return async_group_create_task_with(group, (async_coroutine)(void (*)(void))function, nullptr,
                                        &options);
}
template <class Arguments>
inline async_task *async_group_spawn(async_group *group, int (*function)(Arguments *),
                                     const Arguments &arguments)
{
    async_task_options options = async__copy_of(arguments);
    return async_group_create_task_with(group, (async_coroutine)(void (*)(void))function, nullptr,
                                        &options);
}
inline async_task *async_group_create_task(async_group *group, async_coroutine coroutine,
                                           void *argument = nullptr)
{
    return async_group_create_task_with(group, coroutine, argument, nullptr);
}
inline async_task *async_group_create_task(async_group *group, int (*coroutine)(void))
{
    return async_group_create_task(group, (async_coroutine)(void (*)(void))coroutine);
}
template <class... Tasks> inline int async_gather(Tasks... tasks)
{
    async_task *all[] = {tasks...};
    return async_gather_array(all, sizeof...(tasks));
}
#endif
#endif
