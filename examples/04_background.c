/* A task in the background, awaited later. asyncio: asyncio.create_task, await task */
#include <casyncio.h>
#include <err.h>
#include <stdio.h>

struct background {
    double seconds;
};

static int background(struct background *self)
{
    if (async_sleep(self->seconds) < 0) return async_error_code();
    puts("Background task completed");
    return 0;
}

static int main_task(void *unused)
{
    async_task *task = async_spawn(background, .seconds = 3.0);
    puts("Main function continues running");
    if (async_sleep(1.0) < 0)
        return async_error_code(); /* and the end of the run cancels the task */
    puts("Still running...");
    return async_await(task);
}

int main(void)
{
    if (async_run(main_task, NULL) < 0) errx(1, "%s", async_run_error_message());
}
