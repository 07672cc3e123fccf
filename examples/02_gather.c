/* Two tasks at once: together they take as long as the longer one. asyncio: asyncio.gather */
#include <casyncio.h>
#include <err.h>
#include <stdio.h>

static int task1(void)
{
    puts("Task 1 started");
    int code = async_sleep(2.0);
    if (code == 0) puts("Task 1 completed");
    return code;
}

static int task2(void)
{
    puts("Task 2 started");
    int code = async_sleep(1.0);
    if (code == 0) puts("Task 2 completed");
    return code;
}

static int main_task(void)
{
    return async_gather(async_create_task(task1), async_create_task(task2));
}

int main(void)
{
    if (async_run(main_task) < 0) errx(1, "%s", async_run_error_message());
}
