/* single.c - one fault at a time, and the checkpoints of a block: see casyncio/testing.h. */
#include "../base/faults.h"

#include <casyncio/testing.h>
#include <stdio.h>
#include <stdlib.h>

int async_test_fail_at(enum async_fault_kind kind, long n, int error)
{
    if ((unsigned)kind >= ASYNC__FAULT_KINDS || n < 0) return -EINVAL;
    async__faults[kind] = (struct async__fault_counter){.at = n};
    async__fault_errno = error;
    return 0;
}

long async_test_count(enum async_fault_kind kind)
{
    return (unsigned)kind < ASYNC__FAULT_KINDS ? async__faults[kind].count : 0;
}

/* A task that runs a block without a checkpoint does not let others run: so all that are counted from its
 * beginning to its end are its own, or it has had one. */
struct async__checkpoints async__checkpoints_here(bool wanted)
{
    return (struct async__checkpoints){
        .count = async__faults[ASYNC__FAULT_AWAIT].count, .wanted = wanted, .once = true};
}

void async__checkpoints_judge(const struct async__checkpoints *before, const char *file, int line)
{
    if ((async__faults[ASYNC__FAULT_AWAIT].count > before->count) == before->wanted) return;
    fprintf(stderr, "%s:%d: %s\n", file, line,
            before->wanted ? "the block has run no checkpoint" : "the block has run a checkpoint");
    abort();
}
