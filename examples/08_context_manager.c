/* A block whose exit always runs: also if it fails (--fail), or is cancelled (--cancel).
 * asyncio: async with, __aenter__, __aexit__ */
#include <casyncio.h>
#include <err.h>
#include <stdio.h>
#include <string.h>

struct context {
    const char *name;
};

static struct context context_enter(const char *name)
{
    puts("Entering context");
    return (struct context){.name = name};
}

static void context_exit(struct context *self)
{
    async_sleep(0.1); /* it may await, also when the task has been cancelled */
    puts("Exiting context");
}

static int main_task(void *option)
{
    async_with (struct context, context, context_enter("example"), context_exit) {
        puts("Inside block");
        if (strcmp(option, "--fail") == 0)
            return async_raise(-EIO, "the block of %s failed", context.name);
        if (strcmp(option, "--cancel") == 0)
            async_cancel(async_current_task(), "the block was cancelled");
        return async_sleep(0.1);
    }
    return async_block_error();
}

int main(int argc, char **argv)
{
    if (async_run(main_task, argc > 1 ? argv[1] : "") < 0) errx(1, "%s", async_run_error_message());
}
