/* latch.c - opens when it has been counted down. */
#include "sync.h"

int async_latch_count_down(async_latch *latch)
{
    if (!latch) return async__null("latch");
    if (latch->left == 0)
        return async__failf(-EINVAL, "async_latch_count_down: the latch is open already");
    if (--latch->left == 0) async__wake_all(&latch->waiters);
    return 0;
}

int async_latch_wait(async_latch *latch)
{
    if (!latch) return async__null_wait("latch");
    int code = async__checkpoint();
    if (code < 0 || latch->left == 0) return code;
    return async__wait_in(&latch->waiters, "latch", NULL);
}
