/* contextvars.h - values that go with a task            Python: contextvars
 *
 * A context variable has a value for each task: a request's number, say, for the log lines of all
 * that works on it. A new task has the values that its creator has at that moment; what either of
 * them sets later the other does not see. Tasks share the values until one sets a variable, so that
 * making a task costs the same whether there are many or none. To look a variable up is O(n) in the
 * number of those that are set in the task, of which a program has a few.
 *
 *     static async_context_var request = ASYNC_CONTEXT_VAR_INIT("request", free);
 *     async_context_var_set(&request, strdup("42"), NULL);
 *
 * The functions here work in tasks, and in functions that async_to_thread runs (on a copy of the
 * calling task's values, whose destructors may run in that thread then). Elsewhere they give -EPERM.
 * None of them blocks. */
#ifndef CASYNCIO_CONTEXTVARS_H
#define CASYNCIO_CONTEXTVARS_H

#include <casyncio/tasks.h>

ASYNC_BEGIN

/* A variable; all zeros is one without a name, a default or a destructor. It must outlive the tasks
 * in which it is set: as a rule it is static. The fields are set before it is used, and not changed
 * after.
 * Python: ContextVar */
typedef struct async_context_var {
    const char *name;             /* for messages; may be NULL */
    void (*destroy)(void *value); /* called once for each value that was set, when no task and no
                                    * token has it any more; must not block; may be NULL */
    void *fallback;               /* what a task has in which it is not set; NULL: nothing */
    void *reserved[2];
} async_context_var;

#define ASYNC_CONTEXT_VAR_INIT(name, destroy)                                                      \
    {                                                                                              \
        (name), (destroy), NULL, { NULL, NULL }                                                    \
    }

/* What async_context_var_reset needs; the library's. */
typedef struct async_context_token {
    async_context_var *var; /* NULL once it has been used */
    void *owner;
    uint64_t serial;
    void *reserved[2];
} async_context_token;

/* Puts the value that the variable has here into *value: 0. -ENOENT if it is not set and has no
 * fallback, -EPERM outside of tasks, -EBADF for NULL: then *value is NULL. The value is good until
 * the variable is set or reset in this task, or the task ends.
 * Python: ContextVar.get, LookupError */
ASYNC_API int async_context_var_get(const async_context_var *var, void **value);

/* Sets it, for this task and those that it makes from now on: 0, and the library owns the value
 * (destroy). -ENOMEM, -EPERM, -EBADF: the value is still the caller's.
 *
 * With a token the value of before is kept for async_context_var_reset; tokens are reset in the
 * reverse order, and values of tokens that are not reset are released with the task. Without one
 * (NULL) it is replaced.
 * Python: ContextVar.set, Token */
ASYNC_API int async_context_var_set(async_context_var *var, void *value,
                                    async_context_token *token);

/* Gives the variable back what it had before the set that filled in the token: 0. -EINVAL for a token
 * that was used before, that was overtaken (one that was made before it has been reset), or that is
 * another task's; -ENOMEM: nothing is changed; -EPERM; -EBADF for NULL.
 * Python: ContextVar.reset, which raises ValueError or RuntimeError */
ASYNC_API int async_context_var_reset(async_context_token *token);

ASYNC_END
#endif
