/* group.c - task groups.
 *
 * A group is a scope of its owner plus the tasks it owns. A task that fails leaves its error record
 * here as a cause, and the group is cancelled: its tasks, and the block. To leave a group is to
 * wait until the last task has ended; that wait cannot be given up, only hastened: if the owner is
 * cancelled, or its time runs out, the group is cancelled and waited for all the same. */
#include "group.h"

async_group *async_group_enter(void)
{
    async_task *self = async__current;
    if (!self) {
        async__no_task();
        return NULL;
    }
    async_group *group = async__alloc_zeroed(sizeof *group);
    if (!group) {
        async__fail_text(-ENOMEM, "async_group_enter: no memory");
        return NULL;
    }
    async__scope_enter(&group->scope, __func__);
    group->owner = self;
    group->pending_before = self->record.pending != 0;
    group->outer = self->groups;
    self->groups = group;
    return group;
}

/* Cancelling a task makes it ready, never runs it: the list stays as it is. */
static void cancel_tasks(async_group *group)
{
    group->cancelling = true;
    for (async_task *task = group->first; task; task = task->next_sibling)
        async_cancel(task, NULL);
}

void async_group_cancel(async_group *group)
{
    if (!group || group->cancelling) return;
    cancel_tasks(group);
    async_scope_cancel(&group->scope);
}

size_t async_group_count(const async_group *group) { return group ? group->count : 0; }

/* ---- failures ---- */

static void fail(async_group *group, int code, async__error *cause)
{
    if (!cause) cause = async__error_new(code, "%s", async_strerror(code));
    if (!group->code) group->code = code;
    async__error_add_cause(&group->error, cause);
    async_group_cancel(group);
}

int async_group_fail(async_group *group, int code)
{
    if (!group) return async__failf(-EBADF, "async_group_fail: the group is NULL");
    if (code >= 0) code = async__failf(-EINVAL, "async_group_fail: %d is no error code", code);

    /* A copy: the block may still look at its own. */
    async__detail(async__record());
    const async__error *last = async__record()->error;
    bool same = last && last->code == code;
    async__error *cause = async__error_new(code, "%s", same ? last->message : async_strerror(code));
    if (cause && same) {
        cause->file = last->file;
        cause->line = last->line;
        cause->function = last->function;
    }
    fail(group, code, cause);
    return code;
}

/* ---- a task of the group ends ---- */

static void unlink_child(async_group *group, async_task *task)
{
    if (task->previous_sibling)
        task->previous_sibling->next_sibling = task->next_sibling;
    else
        group->first = task->next_sibling;
    if (task->next_sibling) task->next_sibling->previous_sibling = task->previous_sibling;
    group->count--;
}

/* As in asyncio, a task that was cancelled has not failed. */
static bool is_failure(const async_task *task)
{
    return task->result < 0 && task->result != -ECANCELED;
}

static void child_done(async_task *task)
{
    async_group *group = task->owner;

    unlink_child(group, task);
    if (is_failure(task) && group->tolerant) {
        async__task_report(task, "failed");
    } else if (is_failure(task)) {
        async__error *cause = task->record.error;
        task->record.error = NULL;
        if (cause) async__error_passed(cause, task);
        fail(group, task->result, cause);
    }
    async__bury(task);
    if (group->count == 0 && group->waiting) async__unpark(&group->wait);
}

const async__mark async__mark_group = {ASYNC__FUNCTION(child_done), offsetof(async_group, owner)};
const async__claim async__claim_group = {ASYNC__FUNCTION(child_done),
                                         "is owned by a group that was opened"};

/* ---- making one ---- */

/* The task has not been made; the last error says why. */
static async_task *not_made(const async_task_options *options)
{
    if (options && options->result) *options->result = async_error_code();
    return NULL;
}

static inline async_task *add(async_group *group, async_coroutine coroutine, void *argument,
                              const async_task_options *options)
{
    static const async_task_options none;

    if (!coroutine) {
        async__failf(-EINVAL, "async_group_create_task: the coroutine is NULL");
        return not_made(options);
    }
    if (!options) options = &none;
    async_task *task = async__task_new(group->owner->tasks, coroutine, argument, options);
    if (async__unlikely(!task)) return not_made(options);
    task->done = child_done;
    task->owner = group;
    task->next_sibling = group->first;
    if (group->first) group->first->previous_sibling = task;
    group->first = task;
    group->count++;
    if (async__unlikely(options->result != NULL)) {
        task->result_to = options->result;
        task->attended = true;
    }
    if (async__unlikely(options->eager_start)) async__switch_now(task);
    return task;
}

async_task *async__group_add(async_group *group, async_coroutine coroutine, void *argument,
                             const async_task_options *options)
{
    return add(group, coroutine, argument, options);
}

static async_task *ask_factory(async_group *group, async_coroutine coroutine, void *argument,
                               const async_task_options *given)
{
    const struct async__tasks *tasks = group->owner->tasks;
    async_task_options options = given ? *given : (async_task_options){0};

    options.group = group;
    async_task *task =
        tasks->factory(tasks->loop, coroutine, argument, &options, tasks->factory_data);
    return task ? task : not_made(given);
}

__attribute__((noinline)) static async_task *create_specially(async_group *group,
                                                              async_coroutine coroutine,
                                                              void *argument,
                                                              const async_task_options *options)
{
    if (!group) {
        async__failf(-EBADF, "async_group_create_task: the group is NULL");
        return not_made(options);
    }
    if (group->cancelling) {
        async__failf(-ECANCELED, "async_group_create_task: the group is being cancelled");
        return not_made(options);
    }
    async_task *task = ask_factory(group, coroutine, argument, options);
    if (!task) async_group_fail(group, async_error_code());
    return task;
}

/* A task that cannot be made is a failure of the group, since few callers check the handle. */
async_task *async__group_create_task(async_group *group, async_coroutine coroutine, void *argument,
                                     const async_task_options *options, size_t options_size)
{
    (void)options_size;
    if (async__unlikely(!group || group->cancelling || group->owner->tasks->factory))
        return create_specially(group, coroutine, argument, options);
    async_task *task = add(group, coroutine, argument, options);
    if (async__unlikely(!task)) async_group_fail(group, async_error_code());
    return task;
}

/* ---- waiting for all of them ---- */

/* Does not unpark: the wait goes on until child_done ends it. */
static void interrupt_wait(async__wait *wait)
{
    cancel_tasks(async__container(wait, async_group, wait));
}

/* In a loop: another task may add a child between the wake-up and the owner's run. */
static void wait_for_children(async_group *group)
{
    while (group->count > 0) {
        group->waiting = true;
        group->wait.what = "group";
        group->wait.interrupt = interrupt_wait;
        group->wait.fd = -1;
        async__park(&group->wait);
        group->waiting = false;
    }
}

/* What the group gives: its failure; or what cancelled the owner from outside. That its own scope
 * was cancelled, because a task failed, does not count. */
static int take_outcome(async_group *group)
{
    async_task *self = async__current;
    int code = group->code;
    async__error *error = group->error;

    if (!code) return self->interrupt ? async__interrupted(self) : 0;
    group->code = 0;
    group->error = NULL;
    return async__fail_with(code, error);
}

static int wait_for_group(async_group *group, const char *call)
{
    if (!group) return async__misuse(async__null_in(call, "group"));
    if (group->owner != async__current)
        return async__failf(-EPERM, "%s: the group was opened by another task", call);
    if (group->count == 0) async__checkpoint_in(call); /* its code is that of take_outcome */
    wait_for_children(group);
    group->cancelling = false;
    if (group->scope.code) {
        /* A loop in the block that ended with this cancellation has not failed. */
        struct async__record *record = &group->owner->record;
        if (!group->pending_before && record->pending == group->scope.code) async__unpend(record);
        group->scope.code = 0;
        async__scope_changed(group->owner);
    }
    return take_outcome(group);
}

static void close_group(async_group *group)
{
    async_group **link = &group->owner->groups;
    while (*link && *link != group)
        link = &(*link)->outer;
    if (*link) *link = group->outer;
    async_scope_leave(&group->scope);
    async__error_free(group->error);
    async__free(group);
}

int async_group_wait(async_group *group) { return wait_for_group(group, __func__); }

int async_group_leave(async_group *group)
{
    int code = wait_for_group(group, __func__);
    if (!group || group->owner != async__current) return code;
    close_group(group);
    return code;
}

int async__groups_abandoned(async_task *task, int result)
{
    while (task->groups) {
        async_group *group = task->groups;
        group->scope.entered = false; /* async__scopes_abandoned has forgotten it */
        cancel_tasks(group);
        wait_for_children(group);
        task->groups = group->outer;
        async__error_free(group->error);
        async__free(group);
    }
    if (result < 0 && result != -EINVAL) return result;
    return async__failf(-EINVAL, "%s returned with a group still open",
                        task->coroutine_name ? task->coroutine_name : "the coroutine");
}
