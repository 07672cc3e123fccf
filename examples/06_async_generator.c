/* A generator that awaits between its values. asyncio: async def with yield, async for */
#include <casyncio.h>
#include <err.h>
#include <stdio.h>

static int numbers(async_generator *self, void *unused)
{
    for (int i = 0; i < 5; i++) {
        if (async_sleep(1.0) < 0) return async_error_code();
        int code = async_yield(self, &i); /* negative once the consumer has gone */
        if (code < 0) return code;
    }
    return 0; /* the end: StopAsyncIteration */
}

static int main_task(void *unused)
{
    async_for (int, value, async_generate(numbers, NULL, sizeof(int)))
        printf("%d\n", value);
    return 0;
}

int main(void)
{
    if (async_run(main_task, NULL) < 0) errx(1, "%s", async_run_error_message());
}
