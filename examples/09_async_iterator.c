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
    int code = async_sleep(1.0);
    if (code < 0) return code;
    *(int *)value = ++self->value;
    return 1; /* there is a value */
}

static int main_task(void)
{
    struct counter counter = {.iterator = {.next = counter_next, .size = sizeof(int)}, .last = 3};
    async_for (int, value, &counter.iterator)
        printf("%d\n", value);
    return async_block_error();
}

int main(void)
{
    if (async_run(main_task) < 0) errx(1, "%s", async_run_error_message());
}
