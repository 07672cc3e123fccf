/* error.c - error records: what went wrong, where, and through which tasks it came.
 *
 * A record is made when there is something to say beyond the code, and lies on the task until its next
 * error. When a task that failed is awaited its record passes to the one that awaits it, which is how
 * a message gets from the place that raised it to the place that catches it. */
#include "task.h"

#include <stdio.h>
#include <string.h>

#define MESSAGE_MAX 4096

static async__error *make_error(int code, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0) length = 0;
    if (length > MESSAGE_MAX) length = MESSAGE_MAX;

    async__error *error = async__alloc_zeroed(sizeof *error + (size_t)length + 1);
    if (!error) return NULL;
    error->code = code;
    vsnprintf(error->message, (size_t)length + 1, format, arguments);
    return error;
}

async__error *async__error_new(int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    async__error *error = make_error(code, format, arguments);
    va_end(arguments);
    return error;
}

void async__error_free(async__error *error)
{
    if (!error) return;
    for (async__error *cause = error->causes, *next; cause; cause = next) {
        next = cause->next_cause;
        async__error_free(cause);
    }
    async__free(error->chain);
    async__free(error);
}

void async__error_passed(async__error *error, const async_task *task)
{
    char label[96];
    size_t before = error->chain ? strlen(error->chain) : 0;
    async__task_label(task, label, sizeof label);

    char *chain = async__realloc(error->chain, before + sizeof " <- " + strlen(label));
    if (!chain) return;
    strcpy(chain + before, before ? " <- " : "");
    strcat(chain + before, label);
    error->chain = chain;
}

/* The new record takes the old one's place also if there is no memory for it: better no message than
 * one of another error. */
static int set_error(int code, async__error *error)
{
    async_task *self = async__current;

    async__error_free(self->error);
    self->error = error;
    self->last_code = code;
    return code;
}

int async__failf(int code, const char *format, ...)
{
    if (!async__current) return code;
    va_list arguments;
    va_start(arguments, format);
    async__error *error = make_error(code, format, arguments);
    va_end(arguments);
    return set_error(code, error);
}

int async_raise_at(const char *file, int line, const char *function, int code, const char *format,
                   ...)
{
    if (code >= 0) code = -EINVAL;
    if (!async__current) return code;
    va_list arguments;
    va_start(arguments, format);
    async__error *error = make_error(code, format, arguments);
    va_end(arguments);
    if (error) {
        error->file = file;
        error->line = line;
        error->function = function;
    }
    return set_error(code, error);
}

void async__pend(int code)
{
    if (!async__current) return;
    async__current->last_code = code;
    async__current->pending = code;
}

int async_error_code(void)
{
    if (!async__current) return 0;
    async__current->pending = 0;
    return async__current->last_code;
}

/* The record of the last error; NULL if that one has none. */
static const async__error *last_error(void)
{
    async_task *self = async__current;
    if (!self || !self->error || self->error->code != self->last_code) return NULL;
    return self->error;
}

const char *async_error_message(void)
{
    async_task *self = async__current;
    if (!self) return "";
    self->pending = 0;
    const async__error *error = last_error();
    if (error) return error->message;
    if (self->last_code == -ECANCELED && self->cancelled && self->why) return self->why;
    return self->last_code < 0 ? async_strerror(self->last_code) : "";
}

const char *async_error_where(void)
{
    static __thread char where[256];
    const async__error *error = last_error();
    if (!error || !error->file) return "";
    snprintf(where, sizeof where, "%s:%d in %s", error->file, error->line, error->function);
    return where;
}

const char *async_error_chain(void)
{
    static __thread char chain[1024];
    char label[96];
    const async__error *error = last_error();
    if (!async__current || async__current->last_code == 0) return "";
    async__task_label(async__current, label, sizeof label);
    snprintf(chain, sizeof chain, "%s%s%s", error && error->chain ? error->chain : "",
             error && error->chain ? " <- " : "", label);
    return chain;
}

size_t async_error_causes(void)
{
    const async__error *error = last_error();
    if (error && error->cause_count) return error->cause_count;
    return async__current && async__current->last_code < 0;
}

const char *async_error_cause(size_t index, int *code)
{
    const async__error *error = last_error();

    if (index >= async_error_causes()) return NULL;
    if (!error || !error->causes) {
        if (code) *code = async__current->last_code;
        return async_error_message();
    }
    const async__error *cause = error->causes;
    while (index-- > 0)
        cause = cause->next_cause;
    if (code) *code = cause->code;
    return cause->message;
}
