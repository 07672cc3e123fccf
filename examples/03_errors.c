/* A coroutine raises an error and its caller catches it. asyncio: raise, try ... except */
#include <casyncio.h>
#include <err.h>
#include <stdio.h>

static int may_raise_error(void)
{
    async_sleep(1.0);
    return async_raise(-EINVAL, "An error occurred!");
}

static int main_task(void)
{
    if (may_raise_error() < 0) printf("Caught an exception: %s\n", async_error_message());
    return 0;
}

int main(void)
{
    if (async_run(main_task) < 0) errx(1, "%s", async_run_error_message());
}
