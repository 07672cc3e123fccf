/* A coroutine, and the event loop that runs it. asyncio: asyncio.run, asyncio.sleep */
#include <casyncio.h>
#include <err.h>
#include <stdio.h>

static int say_hello(void)
{
    puts("Hello");
    async_sleep(1.0); /* seconds, as in asyncio */
    puts("World");
    return 0;
}

int main(void)
{
    if (async_run(say_hello) < 0) errx(1, "%s", async_run_error_message());
}
