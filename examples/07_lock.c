/* Two tasks and one lock. asyncio: asyncio.Lock, async with lock */
#include <casyncio.h>
#include <err.h>
#include <stdio.h>

static async_lock lock; /* all zeros: it is free */

static int use_lock(void)
{
    async_with_lock (&lock) {
        puts("Lock acquired");
        int code = async_sleep(1.0);
        if (code < 0) return code; /* this, too, releases the lock */
    }
    int code = async_block_error();
    if (code < 0) return code; /* it never got the lock */
    puts("Lock released");
    return 0;
}

static int main_task(void)
{
    return async_gather(async_create_task(use_lock), async_create_task(use_lock));
}

int main(void)
{
    if (async_run(main_task) < 0) errx(1, "%s", async_run_error_message());
}
