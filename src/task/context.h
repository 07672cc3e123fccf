/* context.h - the context variables of a task from the inside. */
#ifndef CASYNCIO_CONTEXT_H
#define CASYNCIO_CONTEXT_H

#include "task.h"

/* Another reference to the context, or to none (NULL), and its end. Any thread. */
struct async__context *async__context_share(struct async__context *context);
void async__context_release(struct async__context *context);

/* A new task has the values of this context. */
void async__context_inherit(async_task *task, struct async__context *context);
/* The task has ended: lets go of its values. */
void async__context_leave(async_task *task);

/* What runs in this thread from now on, outside of tasks, has the context *own; NULL: none again. */
void async__context_enter_thread(struct async__context **own);

#endif
