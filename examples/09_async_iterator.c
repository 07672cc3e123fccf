/* An iterator that is a struct with a `next` of its own. asyncio: __aiter__, __anext__ */
#include <casyncio.h>
#include <err.h>
#include <stdio.h>

struct counter {
    async_iterator iterator; /* first, so that a pointer to it is one to the counter */
    int value, last;
};

static int counter_next(async_iterator *iterator, void *value)
{
    struct counter *self = (struct counter *)iterator;
    if (self->value == self->last) return 0; /* there is no more: StopAsyncIteration */
    if (async_sleep(1.0) < 0) return async_error_code();
    *(int *)value = ++self->value;
    return 1; /* there is a value */
}

static int main_task(void *unused)
{
    struct counter counter = {.iterator.next = counter_next, .last = 3};
    async_for (int, value, &counter.iterator)
        printf("%d\n", value);
    return 0;
}

int main(void)
{
    if (async_run(main_task, NULL) < 0) errx(1, "%s", async_run_error_message());
}
