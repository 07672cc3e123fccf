/* A task in the background, awaited later. asyncio: asyncio.create_task, await task */
#include <casyncio.h>
#include <err.h>
#include <stdio.h>

struct background {
    double seconds;
};

static int background(struct background *self)
{
    int code = async_sleep(self->seconds);
    if (code == 0) puts("Background task completed");
    return code;
}

static int main_task(void)
{
    async_task *task = async_spawn(background, .seconds = 3.0);
    puts("Main function continues running");
    int code = async_sleep(1.0);
    if (code < 0) return code; /* and the end of the run cancels the task */
    puts("Still running...");
    return async_await(task);
}

int main(void)
{
    if (async_run(main_task) < 0) errx(1, "%s", async_run_error_message());
}
