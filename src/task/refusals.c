/* refusals.c - reports a task that goes on calling although each call is refused.
 *
 * Once a task is cancelled, or its time has run out, its blocking calls return the code at once. A
 * loop that ignores the code then runs without ever waiting. It gives way to the others (scheduler.c),
 * but it takes a whole processor, and its author has to learn where it is. */
#include "task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<execinfo.h>)
#include <execinfo.h>

enum { FRAMES = 8, SKIPPED = 1 /* place() */ };

/* Puts "program(+0x1234) <- program(+0x1300)" into text, for addr2line. */
static void place(char *text, size_t size)
{
    void *frames[FRAMES];
    int count = backtrace(frames, FRAMES);
    char **names = backtrace_symbols(frames, count);
    size_t used = 0;

    for (int i = SKIPPED; names && i < count && used < size; i++) {
        size_t length = strcspn(names[i], " ");
        int written = snprintf(text + used, size - used, "%s%.*s", i > SKIPPED ? " <- " : ", at ",
                               (int)length, names[i]);
        if (written < 0) break;
        used += (size_t)written;
    }
    free(names);
}
#else
static void place(char *text, size_t size)
{
    (void)text;
    (void)size;
}
#endif

__attribute__((noinline)) void async__report_refusals(async_task *self)
{
    char label[96], message[1024], where[640] = "";

    place(where, sizeof where);
    snprintf(message, sizeof message,
             "%s ignores the code of its blocking calls: %d in a row have given %s at once%s",
             async__task_label(self, label, sizeof label), ASYNC__REFUSALS,
             async_error_name(self->interrupt), where);
    async__report(async__loop_of(self), self->interrupt, message);
}
