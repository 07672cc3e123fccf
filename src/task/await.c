/* await.c - waiting for tasks: await, gather, detach, and waiting with a time limit. (wait.c has the
 * waits that can be given up.)
 *
 * A task has one hook, task->done, which is called at its end. Setting it claims the task, also one
 * that has ended already: a second claim is -EBUSY. A wait for tasks cannot be given up, since they
 * may use what lies in the waiter's frames: a waiter that is cancelled cancels the tasks, and goes
 * on waiting, which is then short. */
#include "task.h"

#define AHEAD 8 /* tasks by which a loop over many prefetches */

/* What the waits of this file have in common: a number of tasks yet to end. */
struct gathering {
    async__wait wait;
    async_task *const *tasks;
    size_t count, left;
    bool parked, fail_fast;
    int missing;       /* the code of handles that are NULL, or 0 */
    int code;          /* of the first that failed */
    async_task *first; /* that failed */
};

static void task_done(async_task *task);
const async__mark async__mark_await = {ASYNC__FUNCTION(task_done),
                                       offsetof(struct gathering, wait.task)};

const async_task *async__awaiter(const async_task *task)
{
    const async_task *awaiter = async__marked(task, &async__mark_await);
    return awaiter ? awaiter : async__marked(task, &async__mark_group);
}

/* Whether the task awaits, by way of others, the one that runs here: then an await of it could never
 * end. A longer chain is not followed to its end: the mistake shows in short ones. */
__attribute__((noinline)) static bool awaits_this(const async_task *task)
{
    const async_task *each = async__current;

    for (int steps = 0; each && steps < 1000; steps++) {
        each = async__awaiter(each);
        if (each == task) return true;
    }
    return false;
}

__attribute__((cold, noinline)) static int in_circle(const async_task *task, const char *call)
{
    char label[96];
    return async__failf(-EDEADLK, "%s: %s waits for this task", call,
                        async__task_label(task, label, sizeof label));
}

static void detached_done(async_task *task);
static const async__claim claim_await = {ASYNC__FUNCTION(task_done), "is awaited already"};
static const async__claim claim_detached = {ASYNC__FUNCTION(detached_done), "has been detached"};
static const async__claim *const claims[] = {
    &claim_await,
    &claim_detached,
    &async__claim_group,
    &async__claim_wait,
    &async__claim_as_completed,
    &async__claim_generator,
    &async__claim_thread,
    &async__claim_main,
};

/* Says by what the task is claimed. Of what stands on this layer only async_select claims tasks. */
static int claimed(const async_task *task, const char *call)
{
    char label[96], other[96];
    const char *how = "is waited for by async_select";
    const async_task *by = async__awaiter(task);

    if (!by) by = async__marked(task, &async__mark_wait);
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++)
        if (claims[i]->function == (uintptr_t)task->done) how = claims[i]->how;
    return async__failf(-EBUSY, "%s: %s %s%s%s", call, async__task_label(task, label, sizeof label),
                        how, by ? " by " : "",
                        by ? async__task_label(by, other, sizeof other) : "");
}

/* A handle that has been released is still claimed (async_detach sees to that, too). A circle is the
 * more serious mistake, and one of its members may well be awaited from outside of it. */
__attribute__((noinline)) static int taken(const async_task *task, const char *call)
{
    if (async__stale(task, call)) return -EINVAL;
    return awaits_this(task) ? in_circle(task, call) : claimed(task, call);
}

/* What nearly every task is that is to be claimed. */
static inline bool is_free(const async_task *task)
{
    return async__likely(task && task != async__current && !task->done && !task->wait);
}

int async__task_claimable(async_task *task, const char *call)
{
    if (!task) {
        struct async__tasks *tasks = async__current->tasks;
        int code = tasks->create_failed;
        tasks->create_failed = 0;
        if (code >= 0) return async__failf(-EINVAL, "%s: the task is NULL", call);
        if (async_error_code() == code) return async__fail(code); /* with its message */
        return async__failf(code, "%s: the task could not be made: %s", call, async_strerror(code));
    }
    if (async__unlikely(task == async__current))
        return async__failf(-EINVAL, "%s: a task awaits itself", call);
    if (async__unlikely(task->done != NULL)) return taken(task, call);
    if (async__unlikely(task->wait && awaits_this(task))) return in_circle(task, call);
    return 0;
}

/* The error of a task that has ended becomes the waiter's. */
static int take_result(async_task *task)
{
    int code = task->result;
    if (code >= 0) return code;

    async__error *error = task->record.error;
    task->record.error = NULL;
    if (!error && code != -ECANCELED) error = async__error_new(code, "%s", async_strerror(code));
    if (error) async__error_passed(error, task);
    return async__fail_with(code, error);
}

/* `why` is the message of the waiter's own cancellation, as in asyncio; NULL: a task has failed. */
static void cancel_all(struct gathering *gathering, const char *why)
{
    for (size_t i = 0; i < gathering->count; i++)
        async_cancel(gathering->tasks[i], why);
}

static void task_done(async_task *task)
{
    struct gathering *gathering = task->owner;

    if (task->result < 0 && !gathering->code) {
        gathering->code = task->result;
        gathering->first = task;
        if (gathering->fail_fast && gathering->left > 1) cancel_all(gathering, NULL);
    }
    /* Not parked: the waiter is still in the checkpoint between its claim and its wait. */
    if (--gathering->left == 0 && gathering->parked) async__unpark(&gathering->wait);
}

/* Does not unpark: the wait goes on until task_done ends it. */
static void interrupt_gathering(async__wait *wait)
{
    cancel_all(async__container(wait, struct gathering, wait), wait->task->why);
}

static inline void count_in(struct gathering *gathering, async_task *task)
{
    if (async__likely(task->state != ASYNC__DONE)) {
        gathering->left++;
    } else if (task->result < 0 && !gathering->code) {
        gathering->code = task->result;
        gathering->first = task;
    }
}

/* Waits for the last of them. */
static void gather(struct gathering *gathering)
{
    if (gathering->left == 0) return;
    if (gathering->code && gathering->fail_fast) cancel_all(gathering, NULL);
    gathering->wait.what = gathering->count == 1 ? "task" : "gather";
    gathering->wait.awaited = gathering->count == 1 ? gathering->tasks[0] : NULL;
    gathering->wait.fd = -1;
    gathering->wait.interrupt = interrupt_gathering;
    while (gathering->left > 0) {
        gathering->parked = true;
        async__park(&gathering->wait);
        gathering->parked = false;
    }
}

__attribute__((always_inline)) static inline int await_task(async_task *task, const char *call)
{
    async_task *self = async__current;
    if (async__unlikely(!self)) return async__no_task_in(call);
    int code = is_free(task) ? 0 : async__task_claimable(task, call);
    if (async__unlikely(code < 0)) return async__misuse(code);

    struct gathering gathering; /* what the wait itself needs is set by gather */
    gathering.tasks = &task;
    gathering.count = 1;
    gathering.left = 0;
    gathering.parked = gathering.fail_fast = false;
    gathering.code = 0;
    gathering.first = NULL;
    gathering.wait.task = self;
    task->owner = &gathering; /* before other tasks run: they may have the handle too */
    task->done = task_done;
    count_in(&gathering, task);
    async__checkpoint_in(
        call); /* a cancellation goes to the task that is awaited, and ends the wait */
    gather(&gathering);
    code = take_result(task);
    async__task_release(task);
    return code == -ECANCELED && self->interrupt ? async__interrupted(self) : code;
}

int async_await(async_task *task) { return await_task(task, __func__); }

static void unclaim(async_task *const *tasks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (tasks[i]) tasks[i]->done = NULL;
}

static inline size_t with_one_ahead(size_t count) { return count < AHEAD ? 0 : count - AHEAD; }

static inline int claim(async_task *const *tasks, size_t i, void (*done)(async_task *), void *owner,
                        const char *call)
{
    async_task *task = tasks[i];
    int code = is_free(task) ? 0 : async__task_claimable(task, call);

    if (code == -EBUSY && task->done == done && task->owner == owner)
        code = async__failf(-EINVAL, "%s: task %zu is there twice", call, i);
    if (async__unlikely(code < 0)) {
        unclaim(tasks, i);
        return async__misuse(code);
    }
    task->done = done;
    task->owner = owner;
    return 0;
}

static inline int check_array(async_task *const *tasks, size_t count, const char *call)
{
    if (!tasks && count > 0) return async__misuse(async__null_in(call, "array of tasks"));
    if (async__likely(count <= PTRDIFF_MAX / sizeof *tasks)) return 0;
    return async__misuse(async__failf(-EINVAL, "%s: %zd tasks", call, (ssize_t)count));
}

int async__tasks_claim(async_task *const *tasks, size_t count, void (*done)(async_task *),
                       void *owner, const char *call)
{
    int code = check_array(tasks, count, call);

    if (code < 0) return code;
    for (size_t i = 0, far = with_one_ahead(count); i < count; i++) {
        if (i < far) async__task_prefetch(tasks[i + AHEAD]);
        code = tasks[i] ? claim(tasks, i, done, owner, call) : 0;
        if (code < 0) return code;
    }
    return 0;
}

/* Claims all the tasks. A handle that is NULL, a task that could not be made, counts as one that
 * failed: `missing` is its code. */
static int claim_all(struct gathering *gathering, const char *call)
{
    async_task *const *tasks = gathering->tasks;
    size_t count = gathering->count;
    bool missing = false;

    int bad = check_array(tasks, count, call);
    if (bad < 0) return bad;
    for (size_t i = 0, far = with_one_ahead(count); i < count; i++) {
        if (i < far) async__task_prefetch(tasks[i + AHEAD]);
        if (async__unlikely(!tasks[i])) {
            missing = true;
            continue;
        }
        int code = claim(tasks, i, task_done, gathering, call);
        if (code < 0) return code;
        count_in(gathering, tasks[i]);
    }
    if (missing) gathering->missing = async__task_claimable(NULL, call);
    return 0;
}

static void release_all(async_task *const *tasks, size_t count)
{
    for (size_t i = 0, far = with_one_ahead(count); i < count; i++) {
        if (i < far) async__task_prefetch(tasks[i + AHEAD]);
        if (tasks[i]) async__task_release(tasks[i]);
    }
}

int async_gather_array(async_task *const *tasks, size_t count)
{
    async_task *self = async__current;
    if (!self) return async__no_task_in("async_gather");
    struct gathering gathering = {
        .wait = {.task = self}, .tasks = tasks, .count = count, .fail_fast = true};
    int misuse = claim_all(&gathering, "async_gather");
    if (misuse < 0) return misuse;

    if (gathering.missing) {
        gathering.code = gathering.missing;
        gathering.first = NULL;
    }
    int code = async__checkpoint_in("async_gather");
    gather(&gathering);
    if (gathering.first) take_result(gathering.first);
    release_all(tasks, count);
    if (gathering.code == -ECANCELED && self->interrupt) return async__interrupted(self);
    if (gathering.code < 0) return async__fail(gathering.code);
    return count == 0 && code < 0 ? code : 0;
}

/* Waits for all of them, whatever they give: 0, or the code of a misuse, and then none is claimed. */
static int gather_results(struct gathering *gathering, const char *call)
{
    int misuse = claim_all(gathering, call);
    if (misuse < 0) return misuse;

    async__checkpoint_in(call); /* a cancellation goes to the tasks, or is given at the end */
    gather(gathering);
    return 0;
}

int async_gather_results(async_task *const *tasks, size_t count, int *codes)
{
    async_task *self = async__current;
    if (!self) return async__no_task();
    struct gathering gathering = {.wait = {.task = self}, .tasks = tasks, .count = count};
    int misuse = gather_results(&gathering, "async_gather_results");
    if (misuse < 0) return misuse;

    for (size_t i = 0; codes && i < count; i++)
        codes[i] = tasks[i] ? tasks[i]->result : gathering.missing;
    release_all(tasks, count);
    return self->interrupt ? async__interrupted(self) : 0;
}

/* The error of a task that has ended, or of one that could not be made, as a cause of `all`. */
static void add_failure(async__error **all, async_task *task, int code)
{
    async__error *cause = task ? task->record.error : NULL;

    if (task) task->record.error = NULL;
    if (!cause) cause = async__error_new(code, "%s", async_strerror(code));
    if (cause && task) async__error_passed(cause, task);
    async__error_add_cause(all, cause);
}

int async_gather_all(async_task *const *tasks, size_t count, int *codes)
{
    async_task *self = async__current;
    async__error *failures = NULL;
    int first = 0;

    if (!self) return async__no_task();
    struct gathering gathering = {.wait = {.task = self}, .tasks = tasks, .count = count};
    int misuse = gather_results(&gathering, "async_gather_all");
    if (misuse < 0) return misuse;

    for (size_t i = 0; i < count; i++) {
        int code = tasks[i] ? tasks[i]->result : gathering.missing;
        if (codes) codes[i] = code;
        if (code >= 0) continue;
        if (!first) first = code;
        add_failure(&failures, tasks[i], code);
    }
    release_all(tasks, count);
    if (self->interrupt) {
        async__error_free(failures);
        return async__interrupted(self);
    }
    return first < 0 ? async__fail_with(first, failures) : 0;
}

int async_wait_for(async_task *task, double timeout)
{
    async_scope scope = {0};
    int code = async__timeout_enter_after(&scope, timeout);
    if (code < 0) code = async__timeout_refused(code, __func__);

    int misuse = code < 0 && async__current ? async__task_claimable(task, __func__) : 0;
    if (misuse < 0) return async__misuse(misuse); /* the task is not this one's to cancel */
    if (code < 0) {                               /* the handle is released all the same */
        struct async__record failure = async__record_save();
        async_cancel(task, NULL);
        async_await(task);
        async__record_restore(&failure, true);
        return code;
    }
    code = await_task(task, __func__);
    bool ran_out = code == -ETIMEDOUT && async__ran_out(&scope);
    async_scope_leave(&scope);
    if (!ran_out) return code;
    return async__failf(code, "async_wait_for: the task did not end within %g s",
                        timeout > 0 ? timeout : 0);
}

/* ---- detaching ---- */

static const char detached[] = "was detached, and failed";

static void detached_done(async_task *task)
{
    async__task_report(task, detached);
    async__bury(task);
}

void async_detach(async_task *task)
{
    if (!task || async__stale(task, "async_detach") || task->done) return;
    if (task->state == ASYNC__DONE) {
        task->done = detached_done; /* what comes upon the handle sees that it is taken */
        async__task_report(task, detached);
        async__task_release(task);
        return;
    }
    task->done = detached_done;
}
