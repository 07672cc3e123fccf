/* Two tasks at once: together they take as long as the longer one. asyncio: asyncio.gather */
#include <casyncio.h>
#include <err.h>
#include <stdio.h>

static int task1(void *unused)
{
    puts("Task 1 started");
    if (async_sleep(2.0) < 0) return async_error_code();
    puts("Task 1 completed");
    return 0;
}

static int task2(void *unused)
{
    puts("Task 2 started");
    if (async_sleep(1.0) < 0) return async_error_code();
    puts("Task 2 completed");
    return 0;
}

static int main_task(void *unused)
{
    return async_gather(async_create_task(task1, NULL), async_create_task(task2, NULL));
}

int main(void)
{
    if (async_run(main_task, NULL) < 0) errx(1, "%s", async_run_error_message());
}
