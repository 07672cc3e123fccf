/* refusals.c - reports a task that goes on calling although each call is refused.
 *
 * Once a task is cancelled, or its time has run out, its blocking calls return the code at once. A
 * loop that ignores the code then runs without ever waiting. It gives way to the others (scheduler.c),
 * but it takes a whole processor, and its author has to learn where it is. */
#include "../base/backtrace.h"
#include "task.h"

#include <stdio.h>

__attribute__((noinline)) void async__report_refusals(async_task *self)
{
    char label[96], message[1024], where[640];
    void *frames[8];

    int count = async__backtrace(frames, sizeof frames / sizeof *frames);
    async__describe_frames(frames, count, " <- ", where, sizeof where);
    snprintf(message, sizeof message,
             "%s ignores the code of its blocking calls: %d in a row have given %s at once%s%s",
             async__task_label(self, label, sizeof label), ASYNC__REFUSALS,
             async_error_name(self->interrupt), *where ? ", at " : "", where);
    async__report(async__loop_of(self), self->interrupt, message);
}
