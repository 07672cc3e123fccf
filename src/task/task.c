/* task.c - tasks: fibers on the loop.
 *
 * A task lies at the top of its own stack, above the argument that was copied for it and the frames
 * of its coroutine, so that making one is to take a stack from the pool and fill in one struct, and
 * an idle one costs a page.
 *
 * A task runs until it parks (scheduler.c). When its coroutine has returned it calls task->done, the
 * hook of the task that awaits it; its memory goes back to the pool when the handle is released, at
 * the latest when the loop ends. */
#include "context.h"
#include "group.h"
#include "task.h"

#include <stdio.h>
#include <string.h>

/* ---- the layer ---- */

int async__tasks_open(async_loop *loop)
{
    struct async__tasks *tasks = async__alloc_zeroed(sizeof *tasks);
    if (!tasks) return -ENOMEM;

    tasks->stacks = async__stack_pool_new(loop->stack_size);
    if (!tasks->stacks) {
        int code = errno == EINVAL ? -EINVAL : -ENOMEM;
        async__free(tasks);
        return code;
    }
    tasks->layout = &async__task_layout;
    tasks->loop = loop;
    int code = async__observe_open(tasks);
    if (code < 0) {
        async__stack_pool_free(tasks->stacks);
        async__free(tasks);
        return code;
    }
    async__fiber_init_thread(&tasks->main);
    loop->client = tasks;
    loop->aside = async__call_aside;
    async__switch_open(loop);
    async__requests_open(loop);
    /* Without it an overflow is an ordinary crash: no reason to refuse to run. */
    tasks->watches_overflow = async__overflow_install(tasks->stacks, async__describe_current) == 0;
    return 0;
}

/* A failure is told of in any case, and in debug mode any task that nothing has asked for the result. */
static void report_unclaimed(async_task *task)
{
    char text[256], message[512];
    int code = task->result;

    if (!async__loop_of(task)->debug || (code < 0 && code != -ECANCELED)) {
        async__task_report(task, "failed and was never awaited");
        return;
    }
    async__describe_task(task, text, sizeof text);
    snprintf(message, sizeof message,
             "%s was neither awaited nor detached; its result was %d%s%s%s", text, code,
             code < 0 ? " (" : "", code < 0 ? async_error_name(code) : "", code < 0 ? ")" : "");
    async__report(async__loop_of(task), -EINVAL, message);
}

void async__tasks_close(async_loop *loop)
{
    struct async__tasks *tasks = loop->client;

    async__requests_end(loop);
    async__do_chores(tasks);
    if (tasks->watches_overflow) async__overflow_release(); /* its handler reads the pool */
    while (tasks->unclaimed) {
        if (!tasks->unclaimed->is_main) report_unclaimed(tasks->unclaimed);
        async__task_release(tasks->unclaimed);
    }
    async__observe_close(tasks); /* the pool wants every stack back */
    async__stack_pool_free(tasks->stacks);
    async__fiber_destroy(&tasks->main);
    async__free(tasks);
    loop->client = NULL;
    loop->aside = NULL;
}

/* ---- the end of a task ---- */

static void link_task(struct async__tasks *tasks, async_task *task)
{
    task->next = NULL;
    task->previous = tasks->last;
    if (tasks->last)
        tasks->last->next = task;
    else
        tasks->first = task;
    tasks->last = task;
    tasks->count++;
}

static void unlink_task(struct async__tasks *tasks, async_task *task)
{
    if (task->previous)
        task->previous->next = task->next;
    else
        tasks->first = task->next;
    if (task->next)
        task->next->previous = task->previous;
    else
        tasks->last = task->previous;
    tasks->count--;
}

/* Tasks that are done and not claimed yet: what is left here when the loop ends was never
 * awaited. */
static void join_unclaimed(struct async__tasks *tasks, async_task *task)
{
    task->previous = NULL;
    task->next = tasks->unclaimed;
    if (tasks->unclaimed) tasks->unclaimed->previous = task;
    tasks->unclaimed = task;
    task->unclaimed = true;
}

static void leave_unclaimed(struct async__tasks *tasks, async_task *task)
{
    task->unclaimed = false;
    if (task->previous)
        task->previous->next = task->next;
    else
        tasks->unclaimed = task->next;
    if (task->next) task->next->previous = task->previous;
}

void async__task_unclaim(async_task *task)
{
    task->done = NULL;
    if (task->state == ASYNC__DONE && !task->unclaimed) join_unclaimed(task->tasks, task);
}

void async__task_report(async_task *task, const char *what)
{
    if (task->result >= 0 || task->result == -ECANCELED) return;
    char label[96], message[512];
    const async__error *error = task->record.error;
    snprintf(message, sizeof message, "%s %s: %s", async__task_label(task, label, sizeof label),
             what, error ? error->message : async_strerror(task->result));
    async__report(async__loop_of(task), task->result, message);
}

bool async__stale_report(const char *call)
{
    char message[128];
    snprintf(message, sizeof message, "%s: the task has been awaited or detached before", call);
    async__failf(-EINVAL, "%s", message);
    if (async__loop()) async__report(async__loop(), -EINVAL, message);
    return true;
}

/* What few tasks have. False: the memory is not to go back to the pool yet. */
__attribute__((noinline)) static bool release_rest(async_task *task)
{
    async__error_free(task->record.error);
    task->record.error = NULL;
    async__free(task->why);
    task->why = NULL;
    if (task->named) async__free((char *)task->name);
    task->named = false;
    task->name = NULL;
    return !task->watched || async__observe_release(task);
}

void async__task_release(async_task *task)
{
    struct async__tasks *tasks = task->tasks;

    if (task->unclaimed) leave_unclaimed(tasks, task);
    task->state = ASYNC__RELEASED;
    async__fiber_destroy(&task->fiber);
    if (async__unlikely(task->record.error || (task->cancelled | task->named | task->watched)) &&
        !release_rest(task))
        return;
    async__stack_put(tasks->stacks, async__task_top(task));
}

/* The result that the coroutine's return value makes, and its detail in record.error. */
static int settle_result(async_task *task, int result)
{
    struct async__record *record = &task->record;

    /* A block's error that nothing asked for: late, but not lost. */
    if (result >= 0 && record->pending < 0) result = async_block_error();
    async__unpend(record);
    if (result < 0 && result == record->code) async__detail(record);
    if (result == -ECANCELED && !record->error && task->why)
        record->error = async__error_new(-ECANCELED, "%s", task->why);
    if (record->error && record->error->code != result) { /* it is about another failure */
        async__error_free(record->error);
        record->error = NULL;
    }
    return result;
}

/* What else there is to do at the end of a task that has context variables, or whose end is to be
 * told of. The callbacks run from the ready queue, and before whatever awaits the task. */
__attribute__((noinline)) static void end_attended(async_task *task)
{
    if (!task->is_main) async__context_leave(task); /* that of a main task is its runner's */
    if (task->result_to) *task->result_to = task->result;
    async__done_callbacks_run(task->callbacks, task->result);
    task->callbacks = NULL;
}

/* The coroutine has returned. Groups that it has left open lie in frames that are gone: they are
 * waited for first, since their tasks count as this one's work. */
static void finish(async_task *task, int result)
{
    struct async__tasks *tasks = task->tasks;

    if (async__unlikely(task->groups != NULL)) result = async__groups_abandoned(task, result);
    if (async__unlikely(result < 0 || task->record.pending || task->record.error))
        result = settle_result(task, result);
    task->result = result;
    if (async__unlikely(task->attended)) end_attended(task);
    task->state = ASYNC__DONE;
    ASYNC__PROBE2(task__end, task->number, result);
    unlink_task(tasks, task);
    /* The hook makes the awaiting task ready. That task runs, and may release this one, only once
     * this one has left its stack. */
    if (task->done)
        task->done(task);
    else
        join_unclaimed(tasks, task);
    if (tasks->closing && tasks->count == 0) async_loop_stop(tasks->loop);
}

/* Keeps the coroutine's frames clear of those that run_task's other calls will have: a scope that
 * the coroutine has forgotten must still be there to be taken out (async__scopes_abandoned). */
ASYNC__ANY_FUNCTION __attribute__((noinline)) static int call_coroutine(async_task *task)
{
    char clearance[ASYNC__CLEARANCE];

    __asm__ volatile("" ::"r"(clearance) : "memory");
    int result = task->coroutine(task->argument);
    __asm__ volatile("" ::"r"(clearance) : "memory");
    return result;
}

static void run_task(void *argument)
{
    async_task *task = argument;

    async__switch_arrived(task->tasks);
    int result = call_coroutine(task);
    /* Before any other call, whose frames would overwrite the scopes that were left open. */
    if (async__unlikely(task->scope != NULL)) result = async__scopes_abandoned(task, result);
    finish(task, result);
    async__switch_leave(task);
}

/* ---- the beginning of one ---- */

static void *copy_argument(async_task *task, const async_task_options *options)
{
    size_t align = options->align > 16 ? options->align : 16;
    void *copy = (void *)(((uintptr_t)task - options->size) & ~(uintptr_t)(align - 1));
    memcpy(copy, options->copy, options->size);
    return copy;
}

/* By the C library's vector stores: where it knows the size gcc inlines a `rep stos`, whose start
 * alone takes longer than the switch to the task will. */
static void clear(async_task *task)
{
    size_t size = offsetof(async_task, coroutine) - offsetof(async_task, wait);
    __asm__("" : "+r"(size));
    memset(&task->wait, 0, size);
}

__attribute__((noinline)) static void prepare(async_task *task)
{
    task->watched = task->tasks->watched;
    if (async__current && async__current->tasks == task->tasks)
        async__context_inherit(task, async__current->context);
    if (!task->tasks->closing) return;
    task->cancelled = true; /* the loop is at its end: a task that is made now ends at once */
    task->interrupt = -ECANCELED;
}

__attribute__((cold, noinline)) static void fail_for_stack(void)
{
    const char *why = async__stack_error();
    async__failf(-ENOMEM, "no stack for a task: %s", why && *why ? why : "out of memory");
}

__attribute__((always_inline)) static inline async_task *new_task(struct async__tasks *tasks)
{
    void *top = async__stack_get(tasks->stacks);
    if (async__unlikely(!top)) {
        fail_for_stack();
        return NULL;
    }
    async_task *task = async__task_at(top);
    clear(task);
    task->tasks = tasks;
    task->number = ++tasks->numbers;
    return task;
}

__attribute__((cold, noinline)) static void fail_for_copy(const async_task_options *options)
{
    async__failf(-EINVAL, "the arguments of %s are %zu bytes, aligned to %zu: at most %d and 64",
                 options->coroutine ? options->coroutine : "a task", options->size, options->align,
                 ASYNC_ARGUMENT_MAX);
}

/* `plain`: the caller knows that this is no special birth. Inlined: it is most of what making a task
 * costs. */
__attribute__((always_inline)) static inline async_task *make_task(
    struct async__tasks *tasks, async_coroutine coroutine, void *argument,
    const async_task_options *options, bool plain)
{
    if (options->copy && (options->size > ASYNC_ARGUMENT_MAX || options->align > 64)) {
        fail_for_copy(options);
        return NULL;
    }
    async_task *task = new_task(tasks);
    if (!task) return NULL;
    if (!plain && tasks->special_births) prepare(task);
    task->coroutine = coroutine;
    task->coroutine_name = options->coroutine;
    task->where = options->where;
    void *bottom = task;
    task->argument = argument;
    if (async__unlikely(options->copy != NULL))
        bottom = task->argument = copy_argument(task, options);
    if (options->name && async_task_set_name(task, options->name) < 0) {
        async__context_leave(task);
        async__stack_put(tasks->stacks, async__task_top(task)); /* nothing is linked yet */
        return NULL;
    }
    void *top = async__task_top(task);
    async__fiber_init(&task->fiber, async__stack_base(tasks->stacks, top),
                      (void *)((uintptr_t)bottom & ~(uintptr_t)15), run_task, task);
    link_task(tasks, task);
    ASYNC__PROBE2(task__begin, task->number, task->coroutine_name);
    async__switch_start(task);
    return task;
}

async_task *async__task_new(struct async__tasks *tasks, async_coroutine coroutine, void *argument,
                            const async_task_options *options)
{
    return make_task(tasks, coroutine, argument, options, false);
}

static const async_task_options no_options;

/* Without asking the loop's factory. */
static async_task *create_as_told(struct async__tasks *tasks, async_coroutine coroutine,
                                  void *argument, const async_task_options *options)
{
    if (options->group) return async__group_add(options->group, coroutine, argument, options);
    async_task *task = async__task_new(tasks, coroutine, argument, options);
    if (task && options->eager_start) async__switch_now(task);
    return task;
}

static async_task *create_failed(struct async__tasks *tasks)
{
    tasks->create_failed = async_error_code();
    return NULL;
}

__attribute__((noinline)) static async_task *create_specially(struct async__tasks *tasks,
                                                              async_coroutine coroutine,
                                                              void *argument,
                                                              const async_task_options *options)
{
    if (options->group)
        return async_group_create_task_with(options->group, coroutine, argument, options);
    async_task *task = tasks->factory ? tasks->factory(tasks->loop, coroutine, argument, options,
                                                       tasks->factory_data)
                                      : create_as_told(tasks, coroutine, argument, options);
    return task ? task : create_failed(tasks);
}

/* The task layer of a loop in which a coroutine can be made a task; NULL with the last error set. */
static inline struct async__tasks *tasks_for(async_loop *loop, async_coroutine coroutine,
                                             const char *call)
{
    if (async__likely(loop && loop->client && coroutine)) return loop->client;
    if (coroutine)
        async__failf(-EPERM, "%s: %s", call,
                     loop ? "the loop runs no tasks" : "async_run does not run in this thread");
    else
        async__failf(-EINVAL, "%s: the coroutine is NULL", call);
    if (loop && loop->client) create_failed(loop->client);
    return NULL;
}

/* All members of the options are as old as the function: `options_size` is for those to come. */
async_task *async__create_task(async_coroutine coroutine, void *argument,
                               const async_task_options *options, size_t options_size)
{
    struct async__tasks *tasks = tasks_for(async__loop(), coroutine, "async_create_task");

    (void)options_size;
    if (!tasks) return NULL;
    if (!options) options = &no_options;
    if (async__unlikely(tasks->special_births || options->group || options->eager_start))
        return create_specially(tasks, coroutine, argument, options);
    async_task *task = make_task(tasks, coroutine, argument, options, true);
    return async__likely(task) ? task : create_failed(tasks);
}

async_task *(async_create_task)(async_coroutine coroutine, void *argument)
{
    return async_create_task_with(coroutine, argument, NULL);
}

async_task *async__loop_create_task(async_loop *loop, async_coroutine coroutine, void *argument,
                                    const async_task_options *options, size_t options_size)
{
    (void)options_size;
    if (!loop) {
        async__failf(-EBADF, "async_loop_create_task: the loop is NULL");
        return NULL;
    }
    struct async__tasks *tasks = tasks_for(loop, coroutine, "async_loop_create_task");
    if (!tasks) return NULL;
    return create_specially(tasks, coroutine, argument, options ? options : &no_options);
}

/* ---- factories ---- */

async_task *async__task_make(async_loop *loop, async_coroutine coroutine, void *argument,
                             const async_task_options *options, size_t options_size)
{
    struct async__tasks *tasks = tasks_for(loop, coroutine, "async_task_new");

    (void)options_size;
    if (!tasks) return NULL;
    return create_as_told(tasks, coroutine, argument, options ? options : &no_options);
}

int async_set_task_factory(async_loop *loop, async_task_factory *factory, void *data)
{
    struct async__tasks *tasks = loop ? loop->client : NULL;

    if (!tasks) return async__failf(-EPERM, "async_set_task_factory: the loop runs no tasks");
    tasks->factory = factory;
    tasks->factory_data = data;
    if (factory) tasks->special_births = true;
    return 0;
}

async_task_factory *async_get_task_factory(const async_loop *loop, void **data)
{
    const struct async__tasks *tasks = loop ? loop->client : NULL;

    if (data) *data = tasks ? tasks->factory_data : NULL;
    return tasks ? tasks->factory : NULL;
}

async_task *async_eager_task_factory(async_loop *loop, async_coroutine coroutine, void *argument,
                                     const async_task_options *options, void *data)
{
    async_task_options eager = *options;

    (void)data;
    eager.eager_start = true;
    return async_task_new(loop, coroutine, argument, &eager);
}

/* ---- callbacks at the end ---- */

int async__done_callback_add(async_done_callback **list, async_done_callback *callback,
                             async_loop *loop, const char *call)
{
    if (!callback) return async__null_in(call, "callback");
    if (!callback->callback.run) return async__failf(-EINVAL, "%s: its run is NULL", call);
    if (callback->loop)
        return async__failf(-EBUSY, "%s: the callback has been added already, and not run", call);
    callback->loop = loop;
    callback->next = *list;
    *list = callback;
    return 0;
}

bool async__done_callback_remove(async_done_callback **list, async_done_callback *callback)
{
    for (; *list; list = &(*list)->next) {
        if (*list != callback) continue;
        *list = callback->next;
        callback->loop = NULL;
        return true;
    }
    return false;
}

void async__done_callbacks_run(async_done_callback *last, int code)
{
    async_done_callback *first = NULL;

    while (last) { /* they run in the order in which they were added */
        async_done_callback *before = last->next;
        last->next = first;
        first = last;
        last = before;
    }
    while (first) {
        async_done_callback *next = first->next;
        async_loop *loop = first->loop;
        first->code = code;
        first->loop = NULL;
        async_call_soon(loop, &first->callback);
        first = next;
    }
}

int async_task_add_done_callback(async_task *task, async_done_callback *callback)
{
    static const char call[] = "async_task_add_done_callback";
    if (!task) return async__null_in(call, "task");
    if (async__stale(task, call)) return -EINVAL;
    int code = async__done_callback_add(&task->callbacks, callback, async__loop_of(task), call);
    if (code < 0) return code;

    task->attended = true;
    if (task->state != ASYNC__DONE) return 0;
    async__done_callbacks_run(task->callbacks, task->result);
    task->callbacks = NULL;
    return 0;
}

bool async_task_remove_done_callback(async_task *task, async_done_callback *callback)
{
    if (!callback) return false;
    if (async_callback_cancel(&callback->callback)) return true; /* the task may be gone */
    if (!callback->loop || !task || async__stale(task, "async_task_remove_done_callback"))
        return false;
    return async__done_callback_remove(&task->callbacks, callback);
}

/* ---- asking about tasks ---- */

async_task *async_current_task(void) { return async__current; }

size_t async_all_tasks(async_task **list, size_t capacity)
{
    async_loop *loop = async__loop();
    if (!loop || !loop->client) return 0;
    struct async__tasks *tasks = loop->client;
    size_t count = 0;

    for (async_task *task = tasks->first; task; task = task->next, count++)
        if (list && count < capacity) list[count] = task;
    return count;
}

bool async_task_done(const async_task *task)
{
    return !task || async__stale(task, "async_task_done") || task->state == ASYNC__DONE;
}

int async_task_result(const async_task *task)
{
    if (!task) return async__failf(-EBADF, "async_task_result: the task is NULL");
    if (async__stale(task, "async_task_result")) return -EINVAL;
    if (task->state != ASYNC__DONE)
        return async__fail_text(-EINPROGRESS, "async_task_result: the task has not ended yet");
    if (task->result >= 0) return task->result;
    if (task->record.error) task->record.error->references++; /* an await takes it */
    return async__fail_with(task->result, task->record.error);
}

async_loop *async_task_get_loop(const async_task *task)
{
    if (!task || async__stale(task, "async_task_get_loop")) return NULL;
    return async__loop_of(task);
}

bool async_task_cancelled(const async_task *task)
{
    if (!task || async__stale(task, "async_task_cancelled")) return false;
    return task->state == ASYNC__DONE && task->cancelled && task->result == -ECANCELED;
}

bool async_task_cancelling(const async_task *task)
{
    if (!task || async__stale(task, "async_task_cancelling")) return false;
    return task->cancelled && task->state < ASYNC__DONE;
}

const char *async_task_cancel_message(const async_task *task)
{
    if (!task || async__stale(task, "async_task_cancel_message")) return "";
    return task->cancelled && task->why ? task->why : "";
}

/* The default name is made when it is first asked for, and kept. */
const char *async_task_name(const async_task *task)
{
    if (!task || async__stale(task, "async_task_name")) return "";
    if (!task->name) {
        char name[32];
        snprintf(name, sizeof name, "Task-%llu", (unsigned long long)task->number);
        if (async_task_set_name((async_task *)task, name) < 0) return "Task";
    }
    return task->name;
}

int async_task_set_name(async_task *task, const char *name)
{
    if (!task) return async__failf(-EBADF, "async_task_set_name: the task is NULL");
    if (!name) return async__failf(-EINVAL, "async_task_set_name: the name is NULL");
    if (async__stale(task, "async_task_set_name")) return -EINVAL;
    size_t size = strlen(name) + 1;
    char *copy = async__alloc(size);
    if (!copy) return async__fail_text(-ENOMEM, "async_task_set_name: no memory");

    memcpy(copy, name, size);
    if (task->named) async__free((char *)task->name);
    task->name = copy;
    task->named = true;
    return 0;
}

const char *async_task_coroutine(const async_task *task)
{
    if (!task || async__stale(task, "async_task_coroutine")) return "";
    return task->coroutine_name ? task->coroutine_name : "";
}

const char *async__task_label(const async_task *task, char *buffer, size_t size)
{
    char number[32];
    const char *name = task->name;

    if (!name) {
        snprintf(number, sizeof number, "Task-%llu", (unsigned long long)task->number);
        name = number;
    }
    if (task->coroutine_name)
        snprintf(buffer, size, "%s (%s)", name, task->coroutine_name);
    else
        snprintf(buffer, size, "%s", name);
    return buffer;
}
