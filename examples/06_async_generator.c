/* A generator that awaits between its values. asyncio: async def with yield, async for */
#include <casyncio.h>
#include <err.h>
#include <stdio.h>

static int numbers(async_generator *self, void *unused)
{
    for (int i = 0; i < 5; i++) {
        int code = async_sleep(1.0);
        if (code == 0) code = async_yield(self, &i); /* negative once the consumer has gone */
        if (code < 0) return code;
    }
    return 0; /* the end: StopAsyncIteration */
}

static int main_task(void)
{
    async_for (int, value, async_generate(numbers, NULL, sizeof(int)))
        printf("%d\n", value);
    return async_block_error(); /* 0, or why the iteration broke off */
}

int main(void)
{
    if (async_run(main_task) < 0) errx(1, "%s", async_run_error_message());
}
