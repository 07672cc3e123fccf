/* generator.c - an iterator written as a coroutine.
 *
 * The coroutine is a task of its own that runs only while a consumer waits for its next value.
 * Closing the generator cancels the task and waits until it has ended. A consumer that is cancelled
 * while it waits cancels the generator too, since that may be in the middle of anything; if a value
 * comes all the same, it is delivered. */
#include "task.h"

#include <casyncio/iterators.h>
#include <string.h>

struct async_generator {
    async_iterator iterator;
    async__unclosed unclosed;
    struct async__tasks *tasks;
    async_task *task; /* NULL before the first value is asked for, and once it has ended */
    int (*function)(async_generator *self, void *argument);
    void *argument;
    const char *coroutine;
    struct async__wait_list producer; /* the task, in async_yield, until it is asked for more */
    async__wait consumer;
    bool awaited; /* a task is parked on consumer */
    bool yielded; /* the task has put a value into *value */
    bool ended, started;
    int result;
    void *value;
    async__error *error;
};

/* ---- the producer's side ---- */

static int produce(void *argument)
{
    async_generator *self = argument;
    return self->function(self, self->argument);
}

static void wake_consumer(async_generator *self)
{
    if (!self->awaited) return;
    self->awaited = false;
    async__unpark(&self->consumer);
}

static void producer_done(async_task *task)
{
    async_generator *self = task->owner;

    self->ended = true;
    self->result = task->result;
    self->error = task->record.error;
    task->record.error = NULL;
    if (self->error) async__error_passed(self->error, task);
    self->task = NULL;
    async__bury(task);
    wake_consumer(self);
}

const async__claim async__claim_generator = {ASYNC__FUNCTION(producer_done), "is a generator's"};

int async_yield(async_generator *self, const void *value)
{
    if (!self) return async__misuse(async__failf(-EBADF, "async_yield: the generator is NULL"));
    if (!async__current || async__current != self->task)
        return async__failf(-EPERM,
                            "async_yield: called from outside of the generator's coroutine");
    if (!value) return async__misuse(async__failf(-EINVAL, "async_yield: the value is NULL"));
    if (!self->value) {
        /* Cancelled while no consumer waits: the value has no place to go to. A coroutine that ignores
         * that must not keep the others from running, nor the close from ending. */
        int code = async__checkpoint();
        return code < 0 ? code
                        : async__misuse(async__fail_text(
                              -ECANCELED, "async_yield: the generator is being closed"));
    }
    memcpy(self->value, value, self->iterator.size);
    self->value = NULL;
    self->yielded = true;
    wake_consumer(self);
    if (async__current->interrupt) return async__checkpoint();
    return async__wait_in(&self->producer, "generator's consumer", NULL);
}

/* ---- the consumer's side ---- */

/* Does not unpark: the wait goes on until the producer has yielded or ended. */
static void interrupt_consumer(async__wait *wait)
{
    async_cancel(async__container(wait, async_generator, consumer)->task, "the consumer has gone");
}

static void wait_for_producer(async_generator *self)
{
    self->consumer = (async__wait){
        .interrupt = interrupt_consumer, .what = "generator", .fd = -1, .awaited = self->task};
    self->awaited = true;
    async__park(&self->consumer);
}

static int start(async_generator *self)
{
    self->task = async__task_new(self->tasks, produce, self,
                                 &(async_task_options){.coroutine = self->coroutine});
    if (!self->task) return async_error_code();
    self->task->done = producer_done;
    self->task->owner = self;
    self->started = true;
    return 0;
}

static int end_of(async_generator *self)
{
    async_task *consumer = async__current;
    int result = self->result;

    self->result = 0; /* it is given once, and then the end */
    if (result >= 0) return 0;
    if (result == -ECANCELED && consumer->interrupt) return async__interrupted(consumer);
    async__error *error = self->error;
    self->error = NULL;
    return async__fail_with(result, error);
}

static int generator_next(async_iterator *iterator, void *value)
{
    async_generator *self = async__container(iterator, async_generator, iterator);
    int code = async__checkpoint_in("async_generate");
    if (code < 0) return code;
    if (self->ended) return end_of(self); /* maybe since the last value was taken */
    if (self->awaited)
        return async__failf(-EBUSY, "async_generate: another task waits for the next value");
    if (!self->started) {
        code = start(self);
        if (code < 0) return code;
    }
    self->value = value;
    self->yielded = false;
    async__wake_first(&self->producer);
    wait_for_producer(self);
    self->value = NULL;
    if (self->yielded) return 1;
    return end_of(self);
}

static void free_generator(async__unclosed *unclosed)
{
    async_generator *self = async__container(unclosed, async_generator, unclosed);

    async__unclosed_remove(self->tasks, &self->unclosed);
    async__error_free(self->error);
    async__free(self);
}

void async_generator_close(async_iterator *iterator)
{
    if (!iterator) return;
    async_generator *self = async__container(iterator, async_generator, iterator);

    if (self->task) {
        async_cancel(self->task, "the generator was closed");
        /* Where its end cannot be waited for, it is freed at the end of the loop: in a callback, in
         * its own coroutine, and while another task waits for a value. */
        if (self->awaited || !async__current || async__current == self->task) return;
        wait_for_producer(self);
    }
    free_generator(&self->unclosed);
}

async_iterator *async_generate_with(int (*function)(async_generator *self, void *argument),
                                    void *argument, size_t size, const char *coroutine)
{
    async_task *self = async__current;
    if (!self) {
        async__no_task_in("async_generate");
        return NULL;
    }
    if (!function || size == 0) {
        async__failf(-EINVAL, "async_generate: %s",
                     function ? "values of 0 bytes" : "the function is NULL");
        return NULL;
    }
    async_generator *generator = async__alloc_zeroed(sizeof *generator);
    if (!generator) {
        async__fail_text(-ENOMEM, "async_generate: no memory");
        return NULL;
    }
    generator->iterator =
        (async_iterator){.next = generator_next, .close = async_generator_close, .size = size};
    generator->tasks = self->tasks;
    generator->function = function;
    generator->argument = argument;
    generator->coroutine = coroutine;
    async__unclosed_add(self->tasks, &generator->unclosed, free_generator);
    return &generator->iterator;
}
