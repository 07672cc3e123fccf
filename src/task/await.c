/* await.c - waiting for tasks: await, gather, detach, and waiting with a time limit.
 *
 * A task has one hook, task->done, for whoever is to learn of its end. To wait for tasks cannot be
 * given up: they may use what lies in the waiter's frames. Who is cancelled while it waits cancels
 * what it waits for, and goes on waiting, which is then short. */
#include "task.h"

/* What the waits of this file have in common: a number of tasks yet to end. */
struct gathering {
    async__wait wait;
    async_task *const *tasks;
    size_t count, left;
    bool parked, fail_fast;
    int code;          /* of the first that failed */
    async_task *first; /* that failed */
};

static int check_handle(async_task *task, const char *call)
{
    if (!task) {
        struct async__tasks *tasks = async__current->tasks;
        int code = tasks->create_failed;
        tasks->create_failed = 0;
        return code < 0 ? async__fail(code) : async__failf(-EINVAL, "%s: the task is NULL", call);
    }
    if (task == async__current) return async__failf(-EINVAL, "%s: a task awaits itself", call);
#ifdef ASYNC_DEBUG
    if (task->state == ASYNC__RELEASED)
        return async__failf(-EINVAL, "%s: the task has been awaited or detached before", call);
#endif
    if (task->done)
        return async__failf(-EBUSY, "%s: the task is awaited already, or owned by a group", call);
    return 0;
}

/* The error of a task that has ended becomes the waiter's. */
static int take_result(async_task *task)
{
    async_task *self = async__current;
    int code = task->result;

    if (code >= 0) return code;
    async__error_free(self->error);
    self->error = task->error;
    task->error = NULL;
    if (!self->error && code != -ECANCELED)
        self->error = async__error_new(code, "%s", async_strerror(code));
    if (self->error) async__error_passed(self->error, task);
    self->last_code = code;
    return code;
}

static void cancel_all(struct gathering *gathering)
{
    for (size_t i = 0; i < gathering->count; i++)
        async_cancel(gathering->tasks[i], NULL);
}

static void task_done(async_task *task)
{
    struct gathering *gathering = task->owner;

    if (task->result < 0 && !gathering->code) {
        gathering->code = task->result;
        gathering->first = task;
        if (gathering->fail_fast && gathering->left > 1) cancel_all(gathering);
    }
    if (--gathering->left == 0 && gathering->parked) async__unpark(&gathering->wait);
}

static void interrupt_gathering(async__wait *wait)
{
    cancel_all(async__container(wait, struct gathering, wait));
}

/* The tasks that are not done get the hook; then waits for the last of them. */
static void gather(struct gathering *gathering)
{
    async_task *self = async__current;

    for (size_t i = 0; i < gathering->count; i++) {
        async_task *task = gathering->tasks[i];
        if (!task) continue;
        task->owner = gathering;
        if (task->state == ASYNC__DONE) {
            if (task->result < 0 && !gathering->code) {
                gathering->code = task->result;
                gathering->first = task;
            }
            continue;
        }
        task->done = task_done;
        gathering->left++;
    }
    if (gathering->left == 0) return;
    if (self->interrupt || (gathering->code && gathering->fail_fast)) cancel_all(gathering);
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

int async_await(async_task *task)
{
    if (!async__current) return -EPERM;
    int code = check_handle(task, "async_await");
    if (code < 0) return code;

    async__checkpoint(); /* for the others' turn; a cancellation goes to the task, and ends the wait */
    if (task->state == ASYNC__DONE) {
        code = take_result(task);
        async__task_release(task);
        return code;
    }
    async_task *self = async__current;
    struct gathering gathering = {.tasks = &task, .count = 1};
    gather(&gathering);
    code = take_result(task);
    async__task_release(task);
    return code == -ECANCELED && self->interrupt ? async__interrupted(self) : code;
}

/* A handle that is misused is told of before anything is done. One that is NULL, a task that could not
 * be made, counts as a task that failed: *missing is its code. */
static int check_handles(async_task *const *tasks, size_t count, int *missing)
{
    *missing = 0;
    for (size_t i = 0; i < count; i++) {
        int code = check_handle(tasks[i], "async_gather");
        for (size_t j = 0; code == 0 && j < i && count <= 64; j++)
            if (tasks[j] == tasks[i])
                code = async__failf(-EINVAL, "async_gather: task %zu is there twice", i);
        if (code < 0 && tasks[i]) return code;
        if (code < 0 && !*missing) *missing = code;
    }
    return 0;
}

static void release_all(async_task *const *tasks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (tasks[i]) async__task_release(tasks[i]);
}

int async_gather_array(async_task *const *tasks, size_t count)
{
    async_task *self = async__current;
    if (!self) return -EPERM;
    int code = async__checkpoint(), missing;
    int misuse = check_handles(tasks, count, &missing);
    if (misuse < 0) return misuse;

    struct gathering gathering = {
        .tasks = tasks, .count = count, .fail_fast = true, .code = missing};
    gather(&gathering);
    if (gathering.first) take_result(gathering.first);
    release_all(tasks, count);
    if (gathering.code == -ECANCELED && self->interrupt) return async__interrupted(self);
    if (gathering.code < 0) return async__fail(gathering.code);
    return count == 0 && code < 0 ? code : 0;
}

int async_gather_results(async_task *const *tasks, size_t count, int *codes)
{
    async_task *self = async__current;
    if (!self) return -EPERM;
    int code = async__checkpoint(), missing;
    int misuse = check_handles(tasks, count, &missing);
    if (misuse < 0) return misuse;

    struct gathering gathering = {.tasks = tasks, .count = count};
    gather(&gathering);
    for (size_t i = 0; i < count; i++)
        codes[i] = tasks[i] ? tasks[i]->result : missing;
    release_all(tasks, count);
    if (self->interrupt) return async__interrupted(self);
    return count == 0 && code < 0 ? code : 0;
}

int async_wait_for(async_task *task, double timeout)
{
    async_scope scope = {0};
    int code = async_timeout_enter(&scope, timeout);

    if (code < 0) {
        async_cancel(task, NULL);
        async_await(task);
        return async__fail(code);
    }
    code = async_await(task);
    async_scope_leave(&scope);
    return code;
}

/* ---- detaching ---- */

static const char detached[] = "failed and nobody awaits it";

static void detached_done(async_task *task)
{
    async__task_report(task, detached);
    task->tasks->zombie = task;
}

void async_detach(async_task *task)
{
    if (!task || task->state == ASYNC__RELEASED || task->done) return;
    if (task->state == ASYNC__DONE) {
        async__task_report(task, detached);
        async__task_release(task);
        return;
    }
    task->done = detached_done;
}
