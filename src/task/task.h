/* task.h - tasks from the inside: for src/task and all that stands on it.
 *
 * A blocking call is written in one of two ways:
 *
 *   - it waits in a list of waiters (a lock's, a queue's): async__wait_in(list, "lock", NULL);
 *   - it waits for something else: it embeds an async__wait and parks on it, and the completion
 *     calls async__unpark(&wait). If the task is interrupted first, wait.interrupt is called, which
 *     either undoes the wait and calls async__unpark itself (a timer), or asks for the end of what
 *     is under way and lets the completion call async__unpark (an operation in the kernel's hands).
 *
 * Waking transfers ownership: after async__unpark() the task owns the item, lock or turn, even if
 * it is cancelled before it is scheduled. */
#ifndef CASYNCIO_TASK_H
#define CASYNCIO_TASK_H

#include "../base/faults.h"
#include "../base/probes.h"
#include "../fiber/fiber.h"
#include "../loop/debug.h"
#include "tree.h"

#include <casyncio/errors.h>
#include <casyncio/futures.h>
#include <casyncio/tasks.h>
#include <stdarg.h>

#define ASYNC__BUDGET 128      /* calls that finish at once before a task has to give way */
#define ASYNC__QUARANTINE 1024 /* debug mode: released handles that are recognised */
#define ASYNC__REFUSALS 1000   /* refused calls in a row after which the loop is told */
#define ASYNC__CLEARANCE 192   /* bytes, between a coroutine's frames and its task's own */

/* A coroutine is called as int (*)(void *), whatever it takes: nothing, or a pointer to a struct of
 * the user's. Every ABI that the library knows has these alike; clang's -fsanitize=function and its
 * control-flow integrity have to be told. */
#ifdef __clang__
#define ASYNC__ANY_FUNCTION __attribute__((no_sanitize("function", "cfi-icall")))
#else
#define ASYNC__ANY_FUNCTION
#endif

/* ---- errors (error.c) ---- */

typedef struct async__error {
    unsigned references;
    int code, line;
    const char *file, *function;
    struct async__error *causes, *last_cause, *next_cause; /* of a group */
    size_t cause_count;
    struct async__error *cursor; /* the cause that was asked for last */
    size_t cursor_index;
    char *chain; /* "Task-3 (fetch) <- Task-1 (main)", or NULL */
    char message[];
} async__error;

async__error *async__error_new(int code, const char *format, ...) ASYNC_PRINTF(2, 3);
void async__error_free(async__error *error); /* gives up a reference; NULL is fine */
void async__error_passed(async__error *error, const async_task *task); /* adds it to the chain */
/* Takes `cause` over as the next cause of *group, which is made of the first one if it is NULL. A
 * cause that is NULL is left out; without memory for the group the code alone is left. */
void async__error_add_cause(async__error **group, async__error *cause);

/* What failed last, and the first block error that nothing has asked for yet: of a task, or of a
 * thread for what runs outside of tasks. */
struct async__record {
    async__error *error; /* the detail, good if its code is `code`: async__detail */
    int code;            /* of the last call that failed: async_error_code() */
    int pending;         /* of a block that could not report it, or 0: async_block_error() */
    unsigned failures;   /* how many there have been: tells whether something has failed since */
    int noted; /* 0, or the code of a failure after `error`, whose detail is yet to be made of: */
    const char *note; /* a literal: the message; of a timeout where it was noticed, or NULL */
    double after;     /* of a timeout, in seconds */
    async__error *pending_error;
};

/* ---- tasks ---- */

typedef struct async__wait async__wait;
struct async__wait {
    async_task *task;
    void (*interrupt)(async__wait *self);
    const char *what;    /* for the call graph: "sleep", "lock", "read" */
    async_task *awaited; /* for the call graph: whose end it waits for, or NULL */
    int fd;              /* for the call graph: the descriptor, or -1 */
    bool interrupted;
};

/* The exceptions that are being handled, as the C++ runtime has them: __cxa_eh_globals. */
struct async__cxx {
    void *caught;
    unsigned uncaught;
};

/* Lies at the top of its own stack, so that an idle task costs one page. What a wake-up and a switch
 * touch is in the first cache line, what the end and the release need besides in the second: with
 * thousands of tasks each further line is a miss. */
struct async_task {
    async_callback step;
    async__fiber fiber;
    async__wait *wait; /* what it is parked on */
    struct async__tasks *tasks;
    int interrupt; /* the code that blocking calls give, or 0: async__scope_changed */
    int result;
    unsigned char state;
    bool cancelled, forced; /* forced: shields do not hold any more, the loop is at its end */
    bool watched : 1;       /* its layer is */
    bool named : 1;         /* name is the task's own memory */
    bool unclaimed;         /* done, and in the list of those that are not awaited yet */
    bool is_main;
    bool attended; /* has context, callbacks or result_to: looked at when it ends */

    async_scope *scope;
    async_group *groups;         /* those it has open, innermost first */
    void (*done)(async_task *);  /* called once, when it has ended; NULL: not claimed yet */
    void *owner;                 /* of done */
    async_task *next, *previous; /* all tasks that are not done */
    struct async__record record; /* of which the second line has the error and the codes */

    struct async__context *context; /* its context variables; NULL: none is set (context.c) */
    async_done_callback *callbacks; /* to be called when it has ended, the last one first */
    int *result_to;                 /* where its result is put, too */
    async_task *next_sibling, *previous_sibling; /* in a group */
    const char *name;                            /* NULL: "Task-<number>" */
    char *why;                  /* of a cancellation; NULL unless it is cancelled */
    const char *interrupted_in; /* what was interrupted or refused last */
    int refused;                /* calls in a row that gave a code of cancellation at once */
    struct async__cxx cxx;
    int64_t since, ran; /* where steps are timed: the end of the last one, and all of them, in ns */

    /* Set when the task is made; what is above, from `wait` on, is cleared. */
    async_coroutine coroutine;
    void *argument;
    const char *coroutine_name;
    const char *where; /* it was made: "file.c:12", or NULL */
    uint64_t number;
};

/* An iterator that has not been closed: at the end of the loop, when all tasks have ended, it is
 * freed by `free`, which removes it. Embedded in a generator, say (iterator.c). */
typedef struct async__unclosed async__unclosed;
struct async__unclosed {
    async__unclosed *next, *previous;
    void (*free)(async__unclosed *self);
};

/* The task layer's part of a loop: loop->client. */
struct async__tasks {
    const struct async__task_layout *layout; /* of the task layer: the first member (layout.c) */
    async_loop *loop;
    async__fiber main; /* the loop's own stack */
    async__stack_pool *stacks;
    async_task *first, *last; /* all tasks that are not done, oldest first */
    size_t count;
    async_task *unclaimed; /* done, and not awaited yet */
    async_task *zombie;    /* has left its stack, which can go back to the pool */
    uint64_t numbers;
    uint64_t chances; /* the state of async_select's draws; 0: none so far */
    int budget;
    bool chores;                        /* there is something to do on arrival: see scheduler.c */
    struct async__cxx *cxx, *cxx_owner; /* the thread's exceptions, and the place to save them in */
    struct async__cxx main_cxx;
    int create_failed; /* why the last task could not be made: async_await(NULL) gives it */
    async_task_factory *factory; /* NULL: there is none */
    void *factory_data;
    async_task **quarantine; /* debug mode: released, and not yet to be used again */
    uint64_t released;
    struct async__depths *depths; /* ASYNC_MEASURE_STACKS */
    int64_t exit_timeout;         /* ns; of the shields around exits */
    bool watches_overflow;
    bool closing;        /* the main task is done: what is left is being cancelled */
    bool watched;        /* there is a quarantine, or depths: released tasks go through observe.c */
    bool special_births; /* one of the two, context variables are used, or there is a factory */
    async__unclosed *unclosed; /* iterators, to be freed at the end */
};

extern __thread async_task *async__current;

static inline async_loop *async__loop_of(const async_task *task) { return task->tasks->loop; }

/* Makes and tears down the task layer of a loop. 0, -ENOMEM, or -EINVAL for the stack size. */
int async__tasks_open(async_loop *loop);
void async__tasks_close(async_loop *loop);

/* Where a task lies on the stack with this top, and back. */
#define ASYNC__TASK_ROOM ((sizeof(async_task) + 63) & ~(size_t)63)
static inline async_task *async__task_at(void *top)
{
    return (async_task *)((char *)top - ASYNC__TASK_ROOM);
}
static inline void *async__task_top(async_task *task) { return (char *)task + ASYNC__TASK_ROOM; }

/* For a loop over tasks: has the two lines come that their ends and releases touch. NULL is fine.
 * Always inlined: gcc drops a call of a function that only prefetches. */
__attribute__((always_inline)) static inline void async__task_prefetch(const async_task *task)
{
    __builtin_prefetch(task, 1);
    __builtin_prefetch((const char *)task + 64, 1);
}

/* Makes a task and makes it ready; NULL with the last error set. It does not run before the caller
 * gives way, so that `done` and `owner` can still be set. */
async_task *async__task_new(struct async__tasks *tasks, async_coroutine coroutine, void *argument,
                            const async_task_options *options);
/* Whether the task can be claimed by setting its `done`: 0, or a code with a message that names the
 * call. NULL is a task that could not be made: the code for which the last one could not. */
int async__task_claimable(async_task *task, const char *call);
/* Claims all the tasks (NULL is passed over): 0. Or the code of a misuse, and then none is claimed;
 * -EINVAL for a task that is there twice. Those that have ended already call no `done`. */
int async__tasks_claim(async_task *const *tasks, size_t count, void (*done)(async_task *),
                       void *owner, const char *call);
/* Gives a task that is claimed back to whatever has its handle. */
void async__task_unclaim(async_task *task);
/* Queues the callbacks of a list, whose last one is first, with the code that they are to find. */
void async__done_callbacks_run(async_done_callback *last, int code);
/* Adds a callback to a list, or takes it out again. 0; -EBADF, -EINVAL, -EBUSY; whether it was there. */
int async__done_callback_add(async_done_callback **list, async_done_callback *callback,
                             async_loop *loop, const char *call);
bool async__done_callback_remove(async_done_callback **list, async_done_callback *callback);
/* Gives the task's memory back; it must be done. */
void async__task_release(async_task *task);
/* Tells the loop's exception handler of a task's failure that no await will give. */
void async__task_report(async_task *task, const char *what);

/* Whether the handle was released before. That is then the last error, and is reported to the loop too,
 * since few callers check what these calls return. Certain in debug mode: else the memory may be another
 * task's by now. */
bool async__stale_report(const char *call);
static inline bool async__stale(const async_task *task, const char *call)
{
    return async__unlikely(task->state == ASYNC__RELEASED) && async__stale_report(call);
}

/* The task that awaits this one, or will have to: by await, by gather, or because it owns its group. */
const async_task *async__awaiter(const async_task *task);

/* ---- for what looks at tasks from outside (layout.c) ---- */

/* A function that is the `done` or the `interrupt` of one kind of struct alone, and so tells where in it
 * something lies: from the owner on, or from the wait on. */
typedef struct async__mark {
    uintptr_t function;
    int64_t offset;
} async__mark;

/* What claims a task, by its `done`: for the message of a second claim. */
typedef struct async__claim {
    uintptr_t function;
    const char *how; /* "is awaited already" */
} async__claim;
extern const async__claim async__claim_group, async__claim_wait, async__claim_as_completed,
    async__claim_generator, async__claim_thread, async__claim_main;

#define ASYNC__FUNCTION(name) ((uintptr_t) & (name))                             /* as a constant */
extern const async__mark async__mark_await, async__mark_group, async__mark_wait; /* the awaiter */
extern const async__mark async__mark_list, async__mark_sleep; /* the list, the timer's slot */
extern const struct async__task_layout async__task_layout;
extern const struct async__trace_views
    async__trace_views; /* what a trace tells of tasks (trace.c) */

/* The task that the mark leads to from `task`, if it is one of that kind; else NULL. */
static inline const async_task *async__marked(const async_task *task, const async__mark *mark)
{
    if ((uintptr_t)task->done != mark->function) return NULL;
    return *(async_task *const *)((const char *)task->owner + mark->offset);
}

/* ---- debug mode and metrics (observe.c) ---- */

/* 0 or -ENOMEM: of what debug mode and the measures of the loop ask for. */
int async__observe_open(struct async__tasks *tasks);
void async__observe_close(struct async__tasks *tasks);
/* Of a task that is being released in a layer that is watched. False: its stack goes back to the pool
 * later. */
bool async__observe_release(async_task *task);

/* ---- switching (scheduler.c) ---- */

void async__switch_open(async_loop *loop);
bool async__switch_is_step(const async_callback *callback); /* a task's */
void async__switch_start(async_task *task);                 /* makes a new task ready */
void async__call_aside(void (*function)(void *), void *argument);
void async__switch_now(
    async_task *task); /* runs a new task, which is ready, until it first parks */
void async__switch_arrived(struct async__tasks *tasks); /* the first thing a fiber does */
void async__switch_leave(async_task *self) __attribute__((noreturn)); /* the last */
void async__do_chores(struct async__tasks *tasks);

/* For a task that has ended and that nothing awaits: its memory is freed once it has left its
 * stack. */
static inline void async__bury(async_task *task)
{
    task->tasks->zombie = task;
    task->tasks->chores = true;
}

/* The same with where it was made, "Task-3 (fetch), made at main.c:12"; and for the message of a stack
 * overflow the task that runs here, or "the loop". Async-signal-safe. */
void async__describe_task(const async_task *task, char *buffer, size_t size);
const char *async__describe_current(void);

/* The description for messages and graphs: "Task-3 (fetch)". */
const char *async__task_label(const async_task *task, char *buffer, size_t size);

/* ---- failing ---- */

/* The record of what runs here: the current task's, or the thread's outside of tasks. */
struct async__record *async__thread_record(void);
static inline struct async__record *async__record(void)
{
    return async__current ? &async__current->record : async__thread_record();
}

/* Notes the code as the last error (no message of its own) and gives it back. */
static inline int async__fail(int code)
{
    struct async__record *record = async__record();
    record->code = code;
    record->failures++;
    return code;
}

/* The same with a message that is a literal, which costs no memory: for what fails often, and for a
 * lack of memory. */
static inline int async__fail_text(int code, const char *message)
{
    struct async__record *record = async__record();
    record->code = record->noted = code;
    record->note = message;
    record->failures++;
    return code;
}

/* -ETIMEDOUT, of a scope that has run out after so many seconds. `in`, a literal, is the call or what it
 * waited for; may be NULL. */
int async__fail_timeout(double after, const char *in);

/* The detail of the record's last error; it is made now if it has only been noted. NULL: it has none, or
 * there is no memory. */
async__error *async__detail(struct async__record *record);

/* Makes `error` (whose reference passes; may be NULL) the detail of the last error, `code`. */
int async__fail_with(int code, async__error *error);

/* The same with a message, which should name what was wrong and with what: "connect to localhost
 * port 1: Connection refused". */
int async__failf(int code, const char *format, ...) ASYNC_PRINTF(2, 3);

/* Keeps the last error, which the construct that it happened in cannot return: unless
 * async_block_error() asks for it, it becomes the task's result. Of several the first is kept. */
void async__pend(int code);
/* Drops what async__pend has kept. */
void async__unpend(struct async__record *record);
/* Frees the errors of a record that is about to go. */
void async__record_clear(struct async__record *record);

/* For a call whose handle is NULL: fails with the last error, as a rule that of the constructor
 * that gave NULL, or if there is none with -EBADF and a message that names `what`. */
int async__fail_null(const char *what);

/* An exit runs between these two: the last error that the program may still look at is then that of
 * before (unless `last_too` is false), and so is a block's error that has not been asked for. What the
 * exit's own blocks leave counts if there was none before. */
struct async__record async__record_save(void);
void async__record_restore(const struct async__record *saved, bool last_too);

/* Gives the code back, of a blocking call that is refused before its checkpoint: it counts as one that
 * finishes at once, so that a task that ignores it in a loop does not keep the others from running. */
int async__misuse(int code);

/* -EBADF for a call whose object is NULL. The first is for calls that block. */
#define async__null_wait(what) async__misuse(async__null(what))
#define async__null(what) async__null_in(__func__, what)
#define async__null_in(call, what) async__failf(-EBADF, "%s: the " what " is NULL", call)

/* -EPERM, for a call that needs a task and was made outside of one. */
#define async__no_task() async__no_task_in(__func__)
int async__no_task_in(const char *call);

/* ---- parking ---- */

/* Suspends the current task until async__unpark. If it is cancelled already, wait->interrupt is
 * called at once. The caller sets interrupt, what, awaited and fd; the rest is set here. */
void async__park(async__wait *wait);

static inline void async__make_ready(async_task *task)
{
    task->state = ASYNC__READY;
    async__ready_push(task->tasks->loop, &task->step);
}

#ifdef ASYNC_FAULTS
void async__fault_at_wake(async_task *task);
#endif

/* Waking transfers ownership: from here on the task owns the item, lock or turn that it waited for,
 * even if it is cancelled before it is scheduled. */
static inline void async__resume(async_task *task)
{
    ASYNC__PROBE(task__wake, task->number);
    task->wait = NULL;
    async__make_ready(task);
#ifdef ASYNC_FAULTS
    async__fault_at_wake(task);
#endif
}

/* Does nothing if the task has been woken from this wait already. */
static inline void async__unpark(async__wait *wait)
{
    if (async__likely(wait->task->wait == wait)) async__resume(wait->task);
}

/* Puts the task at the end of the ready queue: the others run first. */
void async__yield(async_task *self);

/* Notes and gives self->interrupt, for a wait that was interrupted or a call that was refused. The other
 * one is for a task that was interrupted in the ready queue. */
int async__interrupted(async_task *self);
int async__interrupted_in(async_task *self, const char *call);
int async__checkpoint_slow(async_task *self, const char *call);
void async__report_refusals(async_task *self); /* refusals.c */

/* The beginning of every blocking call: the code of a cancellation that is due, -EPERM outside a
 * task, else 0. Now and then it lets other tasks run. `call` is for the message. */
#define async__checkpoint() async__checkpoint_in(__func__)
static inline int async__checkpoint_in(const char *call)
{
    async_task *self = async__current;
#ifdef ASYNC_FAULTS
    if (self && async__fault(ASYNC__FAULT_AWAIT)) async_cancel(self, "fault");
#endif
    if (async__unlikely(!self || self->interrupt || --self->tasks->budget <= 0))
        return async__checkpoint_slow(self, call);
    return 0;
}

/* Enters a scope with no rules of its own yet. -EPERM outside a task, -EBADF for NULL. */
int async__scope_enter(async_scope *scope, const char *call);
/* async_timeout_enter_at, now, without a message, which the other gives: so that the call's name costs
 * nothing where it is not needed. */
int async__timeout_enter(async_scope *scope, double now, double when);
static inline int async__timeout_enter_after(async_scope *scope, double delay)
{
    double now = async_now();
    return async__timeout_enter(scope, now, now + delay);
}
int async__timeout_refused(int code, const char *call);
/* After how many seconds the scope has run out whose -ETIMEDOUT is due to the task. */
double async__ran_out_after(const async_task *task);
/* Whether it is this scope, the current task's innermost. */
bool async__ran_out(const async_scope *scope);
/* Enters a shield with a time limit, which runs from when something outside of it is due
 * (async_run_options.exit_timeout). Outside a task the scope is left as it is. */
void async__exit_shield_enter(async_scope *scope);
/* The coroutine has returned inside of scopes: forgets them. Gives the result that the task then
 * has. */
int async__scopes_abandoned(async_task *task, int result);

/* Works out task->interrupt anew and, if the task is parked and has to know, interrupts its
 * wait. */
void async__scope_changed(async_task *task);

void async__unclosed_add(struct async__tasks *tasks, async__unclosed *item,
                         void (*free)(async__unclosed *));
void async__unclosed_remove(struct async__tasks *tasks, async__unclosed *item);
/* At the end of the loop: frees the iterators that were not closed. */
void async__unclosed_free(struct async__tasks *tasks);

/* From when on, and until when, other threads may have the loop run a coroutine (thread.c). The end
 * answers those that still wait with -ECANCELED, and refuses all later ones. */
void async__requests_open(async_loop *loop);
void async__requests_end(async_loop *loop);

/* The tree of what waits for what, a line a task; to be freed by free(). NULL: no memory. */
char *async__format_call_graph(async_loop *loop);

/* ---- waiting in a list (wait_list.c) ---- */

typedef struct async__waiter {
    async__wait wait;
    struct async__wait_list *list;
    struct async__waiter *next, *previous;
    void *item; /* for the waker to read or to fill in */
    /* Of a waiter that is one of several of its task, whose wait.task is NULL: wakes the task, and
     * sets wait.task. */
    void (*woken)(struct async__waiter *self);
} async__waiter;

/* Puts a waiter at the end of a list; takes one out of the list that it is in. Neither touches its
 * task. */
static inline void async__list_append(struct async__wait_list *list, async__waiter *waiter)
{
    waiter->list = list;
    waiter->next = NULL;
    waiter->previous = list->last;
    if (list->last)
        list->last->next = waiter;
    else
        list->first = waiter;
    list->last = waiter;
}
void async__list_remove(async__waiter *waiter);

/* Joins the list and parks: 0 once woken by one of the functions below, else the code of a
 * cancellation, out of the list again. No checkpoint of its own. */
int async__wait_in(struct async__wait_list *list, const char *what, void *item);
/* The same with a waiter of the caller's, whose `interrupt` may have more to do: it takes the waiter
 * out of the list and unparks it, or leaves the wake-up to come. */
int async__wait_with(struct async__wait_list *list, async__waiter *waiter, const char *what,
                     void *item, void (*interrupt)(async__wait *));
/* Takes the first waiter out of the list and wakes its task; NULL if there is none. The waiter lies
 * in the task's frame, and is good until that task runs. async__wake_plain is for a first waiter that
 * is known to be the only one of its task: it has wait.task. */
static inline void async__wake_plain(struct async__wait_list *list, async__waiter *first)
{
    list->first = first->next;
    if (async__unlikely(first->next != NULL))
        first->next->previous = NULL;
    else
        list->last = NULL;
    async__resume(first->wait.task); /* it is in the list, so it is parked on this wait */
}
async__waiter *async__wake_one_of(async__waiter *waiter); /* out of line: select.c's are rare */
static inline async__waiter *async__wake_first(struct async__wait_list *list)
{
    async__waiter *first = list->first;
    if (!first) return NULL;
    if (async__unlikely(!first->wait.task)) return async__wake_one_of(first);
    async__wake_plain(list, first);
    return first;
}
void async__wake_all(struct async__wait_list *list);

/* ---- operations (op_await.c) ---- */

/* A checkpoint; then starts the operation, parks until it is done, and gives its result or a
 * code. */
ssize_t async__op_await(async__op *op, const char *what);
/* The same without the checkpoint: for calls that check their object between the two, since a
 * checkpoint may let other tasks run. */
ssize_t async__op_run(async__op *op, const char *what);
/* -EBADF, with its message: the descriptor was closed while other tasks ran. */
int async__op_closed(int fd, const char *what);

#endif
