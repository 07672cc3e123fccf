/* once.c - what is done once, by the first task that needs it.
 *
 * The task that runs the function is the `runner`. When its run ends with a result, all that wait
 * get it; when it ends because the runner was cancelled, the first that waits is the runner from
 * then on: it is named at once, so that no task that comes meanwhile runs the function too. */
#include "sync.h"

/* A waiter's item. `runs` is that the function is now this task's to run. */
struct share {
    int result;
    async__error *error;
    bool runs;
};

static void hand_on(async_once *once)
{
    async__waiter *next = async__wake_first(&once->waiters);

    once->runner = next ? next->wait.task : NULL;
    if (next) ((struct share *)next->item)->runs = true;
}

/* A copy for each, since the chain of awaits that an error came through is each task's own. */
static async__error *copy_error(int code)
{
    const async__error *error = async__detail(&async__current->record);

    if (!error || error->code != code) return NULL; /* it is about another failure */
    async__error *copy = async__error_new(code, "%s", error->message);
    if (!copy) return NULL;
    copy->file = error->file;
    copy->line = error->line;
    copy->function = error->function;
    return copy;
}

static void tell_all(async_once *once, int result)
{
    async__waiter *waiter;

    while ((waiter = async__wake_first(&once->waiters))) {
        struct share *share = waiter->item;
        share->result = result;
        if (result < 0) share->error = copy_error(result);
    }
}

static int run(async_once *once, async_coroutine function, void *argument)
{
    once->runner = async__current;
    int result = function(argument);
    once->runner = NULL;
    if (result < 0 && result == async__current->interrupt) {
        hand_on(once);
        return result;
    }
    once->result = result;
    once->done = result >= 0;
    tell_all(once, result);
    return result;
}

int async_once_run(async_once *once, async_coroutine function, void *argument)
{
    if (!once) return async__null_wait("once");
    if (!function)
        return async__misuse(async__failf(-EINVAL, "async_once_run: the function is NULL"));
    int code = async__checkpoint();
    if (code < 0) return code;
    if (once->done) return once->result;
    if (once->runner == async__current)
        return async__failf(-EDEADLK, "async_once_run: called by the function that it runs");
    if (!once->runner) return run(once, function, argument);

    struct share share = {0};
    code = async__wait_in(&once->waiters, "once", &share);
    if (code < 0) return code;
    if (share.runs) return run(once, function, argument);
    return share.result < 0 ? async__fail_with(share.result, share.error) : share.result;
}
