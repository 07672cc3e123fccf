/* error.c - error records: what went wrong, where, and through which tasks it came.
 *
 * A detail (async__error) is made when there is something to say beyond the code, and stays in the
 * task's record until the task's next error; a success leaves it alone, as it leaves errno alone.
 * Failures that are part of a program's usual course (a timeout, an empty queue) are only noted: their
 * detail is made when something asks for it (async__detail).
 * When a task that failed is awaited its detail passes to the awaiting task, which is how a message
 * gets from the place that raised it to the place that catches it.
 *
 * A block macro cannot return a code, so its error is kept beside the last one (`pending`) until
 * async_block_error() asks for it or the task ends: a later success or failure of something else
 * must neither hide it nor take its place.
 *
 * Code that runs outside of tasks (a callback, a thread before async_run) has a record too, the
 * thread's; its memory is freed as the thread ends. */
#include "task.h"

#include <pthread.h>
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
    if (!error || error->references-- > 0) return;
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

void async__error_add_cause(async__error **group, async__error *cause)
{
    async__error *all = *group;

    if (!cause) return;
    if (!all) {
        all = *group = async__error_new(cause->code, "%s", cause->message);
        if (!all) {
            async__error_free(cause);
            return;
        }
        all->file = cause->file;
        all->line = cause->line;
        all->function = cause->function;
    }
    if (all->last_cause)
        all->last_cause->next_cause = cause;
    else
        all->causes = cause;
    all->last_cause = cause;
    all->cause_count++;
}

/* ---- records ---- */

static __thread struct async__record outside; /* of tasks */
static __thread bool freed_at_exit;

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool has_key;

static void free_record(void *record) { async__record_clear(record); }

static void make_key(void) { has_key = pthread_key_create(&key, free_record) == 0; }

__attribute__((destructor)) static void delete_key(void)
{
    if (has_key) pthread_key_delete(key); /* free_record is unloaded with the library */
    has_key = false;
}

struct async__record *async__thread_record(void)
{
    if (!freed_at_exit) {
        pthread_once(&key_once, make_key);
        if (has_key) pthread_setspecific(key, &outside);
        freed_at_exit = true; /* without a key, or memory for it, the last message leaks */
    }
    return &outside;
}

/* The new detail takes the old one's place also if there is no memory for it: better no message
 * than that of another error. */
int async__fail_with(int code, async__error *error)
{
    struct async__record *record = async__record();

    async__error_free(record->error);
    record->error = error;
    record->noted = 0;
    record->code = code;
    record->failures++;
    return code;
}

int async__fail_timeout(double after, const char *in)
{
    async__record()->after = after;
    return async__fail_text(-ETIMEDOUT, in);
}

int async__fail_null(const char *what)
{
    int code = async__record()->code;
    return code < 0 ? async__fail(code) : async__failf(-EBADF, "%s is NULL", what);
}

static async__error *make_noted(const struct async__record *record)
{
    const char *note = record->note;

    if (record->noted != -ETIMEDOUT) return async__error_new(record->noted, "%s", note);
    double after = record->after; /* of a time of the clock's, without the bits that it lacks */
    if (after < 1e9) after = (double)(int64_t)(after * 1e6 + 0.5) / 1e6;
    return async__error_new(-ETIMEDOUT, "timed out after %g s%s%s%s", after, note ? " (" : "",
                            note ? note : "", note ? ")" : "");
}

async__error *async__detail(struct async__record *record)
{
    if (record->noted && record->noted == record->code) {
        async__error *error = make_noted(record);
        if (!error) return NULL; /* the note is left for the message */
        async__error_free(record->error);
        record->error = error;
        record->noted = 0;
    }
    return record->error && record->error->code == record->code ? record->error : NULL;
}

void async__pend(int code)
{
    struct async__record *record = async__record();

    record->code = code;
    if (record->pending) return;
    record->pending = code;
    record->pending_error = async__detail(record);
    if (record->pending_error) record->pending_error->references++;
}

void async__unpend(struct async__record *record)
{
    async__error_free(record->pending_error);
    record->pending_error = NULL;
    record->pending = 0;
}

void async__record_clear(struct async__record *record)
{
    async__error_free(record->error);
    record->error = NULL;
    async__unpend(record);
}

struct async__record async__record_save(void)
{
    struct async__record *record = async__record(), saved = *record;

    record->error = record->pending_error = NULL;
    record->pending = record->noted = 0;
    return saved;
}

void async__record_restore(const struct async__record *saved, bool last_too)
{
    struct async__record *record = async__record();

    /* Of the errors that blocks could not report the first is kept: that of before. */
    if (saved->pending) {
        async__unpend(record);
        record->pending = saved->pending;
        record->pending_error = saved->pending_error;
    }
    if (!last_too) {
        async__error_free(saved->error);
        return;
    }
    async__error_free(record->error);
    record->error = saved->error;
    record->code = saved->code;
    record->noted = saved->noted;
    record->note = saved->note;
    record->after = saved->after;
    record->failures = saved->failures; /* failures of the exit's are none of the block's entry */
}

int async_block_fail(int code)
{
    if (code < 0) async__pend(code);
    return code;
}

int async__no_task_in(const char *call)
{
    /* async__f is called by the macro or inline function async_f, and "recv" is async_recv's wait. */
    size_t prefix = strncmp(call, "async__", 7) == 0 ? 7 : strncmp(call, "async_", 6) == 0 ? 6 : 0;
    return async__failf(
        -EPERM,
        "async_%s: called outside of a task: a coroutine is run by async_run, or made a "
        "task by async_create_task",
        call + prefix);
}

/* ---- failing ---- */

int async__failf(int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    async__error *error = make_error(code, format, arguments);
    va_end(arguments);
    return async__fail_with(code, error);
}

int async_raise_at_list(const char *file, int line, const char *function, int code,
                        const char *format, va_list arguments)
{
    if (code >= 0) code = -EINVAL;
    async__error *error = make_error(code, format, arguments);
    if (error) {
        error->file = file;
        error->line = line;
        error->function = function;
    }
    return async__fail_with(code, error);
}

int async_raise_at(const char *file, int line, const char *function, int code, const char *format,
                   ...)
{
    va_list arguments;
    va_start(arguments, format);
    code = async_raise_at_list(file, line, function, code, format, arguments);
    va_end(arguments);
    return code;
}

/* ---- asking ---- */

int async_error_code(void) { return async__record()->code; }

int async_block_error(void)
{
    struct async__record *record = async__record();
    int code = record->pending;

    if (code == 0) return 0;
    async__error *error = record->pending_error;
    record->pending_error = NULL;
    record->pending = 0;
    return async__fail_with(code, error);
}

const char *async_error_message(void)
{
    struct async__record *record = async__record();
    const async__error *error = async__detail(record);
    const async_task *self = async__current;

    if (error) return error->message;
    if (record->noted && record->noted == record->code) /* no memory for the detail */
        return record->noted == -ETIMEDOUT ? "timed out" : record->note;
    if (self && record->code == -ECANCELED && self->cancelled && self->why) return self->why;
    return record->code < 0 ? async_strerror(record->code) : "";
}

const char *async_error_where(void)
{
    static __thread char where[256];
    const async__error *error = async__detail(async__record());

    if (!error || !error->file) return "";
    snprintf(where, sizeof where, "%s:%d in %s", error->file, error->line, error->function);
    return where;
}

const char *async_error_chain(void)
{
    static __thread char chain[1024];
    char label[96];
    struct async__record *record = async__record();
    const async__error *error = async__detail(record);

    if (!async__current || record->code == 0) return "";
    async__task_label(async__current, label, sizeof label);
    snprintf(chain, sizeof chain, "%s%s%s", error && error->chain ? error->chain : "",
             error && error->chain ? " <- " : "", label);
    return chain;
}

size_t async_error_causes(void)
{
    struct async__record *record = async__record();
    const async__error *error = async__detail(record);

    if (error && error->cause_count) return error->cause_count;
    return record->code < 0;
}

const char *async_error_cause(size_t index, int *code)
{
    struct async__record *record = async__record();
    async__error *error = async__detail(record);

    if (index >= async_error_causes()) return NULL;
    if (!error || !error->causes) {
        if (code) *code = record->code;
        return async_error_message();
    }
    /* Asked for one after another, as a rule: each goes on from the one before. */
    if (!error->cursor || index < error->cursor_index) {
        error->cursor = error->causes;
        error->cursor_index = 0;
    }
    for (; error->cursor_index < index; error->cursor_index++)
        error->cursor = error->cursor->next_cause;
    if (code) *code = error->cursor->code;
    return error->cursor->message;
}
