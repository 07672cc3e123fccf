/* context.c - context variables.
 *
 * A task's context is a table of variables and their values, or NULL. It is shared with the tasks
 * that inherit it, and copied by the one that changes it while it is shared. A value has a count of
 * the contexts that have it. A value that was set with a token keeps the one of before below it
 * (`previous`), so that it need not be found and freed by way of a token that lies in some frame.
 *
 * Threads of the pool read and change copies too: the counts are atomic, and a context that is
 * shared is never written. */
#include "context.h"

#include <casyncio/contextvars.h>
#include <string.h>

struct value {
    atomic_uint references;
    void *value;
    void (*destroy)(void *);
    struct value *previous; /* what a reset gives back; NULL: it was not set */
    uint64_t serial;        /* of the last set with a token, here or below; 0: there is none */
};

struct entry {
    const async_context_var *var;
    struct value *value;
};

struct async__context {
    atomic_uint references;
    uint64_t serials;
    size_t count, capacity;
    struct entry entries[];
};

static __thread struct async__context **threads_own; /* in a function of async_to_thread */

/* ---- references ---- */

static struct value *share_value(struct value *value)
{
    if (value) atomic_fetch_add_explicit(&value->references, 1, memory_order_relaxed);
    return value;
}

static bool last_reference(atomic_uint *references)
{
    return atomic_fetch_sub_explicit(references, 1, memory_order_acq_rel) == 1;
}

static void release_value(struct value *value)
{
    while (value && last_reference(&value->references)) {
        struct value *previous = value->previous;
        if (value->destroy) value->destroy(value->value);
        async__free(value);
        value = previous;
    }
}

struct async__context *async__context_share(struct async__context *context)
{
    if (context) atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

void async__context_release(struct async__context *context)
{
    if (!context || !last_reference(&context->references)) return;
    for (size_t i = 0; i < context->count; i++)
        release_value(context->entries[i].value);
    async__free(context);
}

void async__context_inherit(async_task *task, struct async__context *context)
{
    task->context = async__context_share(context);
    if (context) task->attended = true;
}

/* A destructor is the user's: what fails in it must not take the place of the task's error. */
void async__context_leave(async_task *task)
{
    struct async__context *context = task->context;

    if (!context) return;
    struct async__record before = async__record_save();
    task->context = NULL;
    async__context_release(context);
    async__record_restore(&before, true);
}

void async__context_enter_thread(struct async__context **own) { threads_own = own; }

/* ---- tables ---- */

/* Where the context of what runs here is kept; NULL: nowhere. */
static struct async__context **place(void)
{
    return async__current ? &async__current->context : threads_own;
}

static struct entry *find(struct async__context *context, const async_context_var *var)
{
    for (size_t i = 0; context && i < context->count; i++)
        if (context->entries[i].var == var) return &context->entries[i];
    return NULL;
}

/* Makes *place a context that is not shared, with room for one more entry: 0 or -ENOMEM. */
static int own_context(struct async__context **place, const char *call)
{
    struct async__context *old = *place;
    size_t count = old ? old->count : 0;

    if (old && atomic_load_explicit(&old->references, memory_order_acquire) == 1 &&
        count < old->capacity)
        return 0;
    size_t capacity = count < 4 ? 4 : count + count / 2;
    struct async__context *context =
        async__alloc(sizeof *context + capacity * sizeof *context->entries);
    if (!context) return async__failf(-ENOMEM, "%s: no memory", call);
    atomic_init(&context->references, 1);
    context->capacity = capacity;
    context->count = count;
    context->serials = old ? old->serials : 0;
    for (size_t i = 0; i < count; i++) {
        context->entries[i].var = old->entries[i].var;
        context->entries[i].value = share_value(old->entries[i].value);
    }
    *place = context;
    async__context_release(old);
    if (async__current) {
        async__current->attended = true;
        async__current->tasks->special_births = true;
    }
    return 0;
}

/* ---- the calls ---- */

int async_context_var_get(const async_context_var *var, void **value)
{
    struct async__context **here = place();

    if (value) *value = NULL;
    if (!var) return async__failf(-EBADF, "async_context_var_get: the variable is NULL");
    if (!here) return async__no_task();
    const struct entry *entry = find(*here, var);
    if (!entry && !var->fallback)
        return async__failf(-ENOENT, "async_context_var_get: %s is not set here",
                            var->name ? var->name : "a variable without a name");
    if (value) *value = entry ? entry->value->value : var->fallback;
    return 0;
}

int async_context_var_set(async_context_var *var, void *value, async_context_token *token)
{
    struct async__context **here = place();

    if (token) token->var = NULL;
    if (!var) return async__failf(-EBADF, "async_context_var_set: the variable is NULL");
    if (!here) return async__no_task();
    struct value *new = async__alloc_zeroed(sizeof *new);
    if (!new) return async__fail_text(-ENOMEM, "async_context_var_set: no memory");
    int code = own_context(here, __func__);
    if (code < 0) {
        async__free(new);
        return code;
    }
    struct entry *entry = find(*here, var);
    if (!entry) {
        entry = &(*here)->entries[(*here)->count++];
        *entry = (struct entry){.var = var};
    }
    struct value *old = entry->value;
    atomic_init(&new->references, 1);
    new->value = value;
    new->destroy = var->destroy;
    if (token) {
        new->previous = share_value(old);
        new->serial = ++(*here)->serials;
        *token = (async_context_token){.var = var, .owner = here, .serial = new->serial};
    } else if (old) {
        new->previous = share_value(old->previous);
        new->serial = old->serial;
    }
    entry->value = new;
    release_value(old); /* last: its destructor is the user's */
    return 0;
}

static int stale_token(const char *why)
{
    return async__failf(-EINVAL, "async_context_var_reset: the token %s", why);
}

int async_context_var_reset(async_context_token *token)
{
    struct async__context **here = place();

    if (!token) return async__failf(-EBADF, "async_context_var_reset: the token is NULL");
    if (!here) return async__no_task();
    if (!token->var) return stale_token("has been used before, or was never filled in");
    if (token->owner != here) return stale_token("is another task's");
    struct entry *entry = find(*here, token->var);
    const struct value *set = entry ? entry->value : NULL;
    while (set && set->serial != token->serial)
        set = set->previous;
    if (!set) return stale_token("was overtaken: one that was made before it has been reset");
    int code = own_context(here, __func__);
    if (code < 0) return code;

    entry = find(*here, token->var); /* in the copy, with the same values */
    struct value *old = entry->value;
    entry->value = share_value(set->previous);
    if (!entry->value) *entry = (*here)->entries[--(*here)->count];
    token->var = NULL;
    release_value(old);
    return 0;
}
