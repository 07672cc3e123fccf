/* testing.h - for a program's own tests: faults, seeds, checkpoints
 *                                                 trio: trio.testing (libcasyncio-test)
 *
 * These are in a library of their own, libcasyncio-test, which is linked in place of libcasyncio: it is
 * the same, compiled so that the n-th allocation, system call or await can fail. It is for tests: each of
 * these is counted, which takes time.
 *
 *     cc test.c $(pkg-config --cflags --libs casyncio-test)
 *
 * A scenario is a coroutine that runs from its beginning to its end in a loop of its own, with a virtual
 * clock, and gives 0 if all went well, or the negative code of what failed. */
#ifndef CASYNCIO_TESTING_H
#define CASYNCIO_TESTING_H

#include <casyncio/runners.h>

ASYNC_BEGIN

enum async_fault_kind {
    ASYNC_FAULT_ALLOCATION,  /* of the library's: there is no memory */
    ASYNC_FAULT_SYSTEM_CALL, /* of the library's: fails with an errno */
    ASYNC_FAULT_TRANSFER,    /* a read or a write moves one byte */
    ASYNC_FAULT_AWAIT,       /* the task is cancelled at this checkpoint */
    ASYNC_FAULT_WAIT,        /* the task is cancelled once it has begun to wait */
    ASYNC_FAULT_WAKE,        /* the task is cancelled as it is woken, before it runs */
    ASYNC_FAULT_EXPIRE,      /* the same, but its innermost timeout runs out */
    ASYNC_FAULT_KINDS
};

typedef struct async_test_options {
    const char *name; /* of the scenario, in messages; NULL: "the scenario" */
    unsigned kinds;   /* 1u << ASYNC_FAULT_..., or'ed; 0: all */
    unsigned
        seeds; /* orders of ready tasks that each n is tried in; 0: 3. The first is the usual one */
    const int
        *errors; /* that system calls fail with, `error_count` of them; NULL: EMFILE, ECONNRESET,
                        * EINTR, EIO, ENOMEM, EAGAIN */
    size_t error_count;
    double limit; /* seconds of the real clock for one run, and then it hangs; 0: 20 */
    bool peers; /* both ends of a connection are in the scenario: any code may come of any fault */
    bool much_data; /* too much to be moved byte by byte */
    /* After each run: NULL, or what is wrong. `code` is what the scenario has given. */
    const char *(*check)(int code, void *data);
    void *data;
} async_test_options;

/* Runs scenario(argument) again and again, each time with another fault: the n-th of each kind, in the
 * loop's thread and in its pools', for every n that it reaches. True if each run
 *
 *   - comes to an end, and not by a deadlock;
 *   - gives 0, or a negative code that fits the fault (-ENOMEM for an allocation, -ECANCELED for a
 *     cancellation), with a message; without a fault 0;
 *   - leaves no descriptor open, and no memory (if the program is built with AddressSanitizer);
 *   - is right for `check`.
 *
 * Else false, after the first that is not, and standard error says which it was and how to repeat it: the
 * program is run with CASYNCIO_TEST=..., and then does that run alone, where a debugger can look. A run
 * that crashes, aborts or hangs says so as well, and then ends the program as it would have. (SIGALRM and
 * alarm(2) are used meanwhile.) NULL for options: all are 0. False for a scenario that is NULL. Blocks the
 * thread; not where a loop runs. */
ASYNC_API bool async__test_faults(async_coroutine scenario, void *argument,
                                  const async_test_options *options, size_t size);
static inline bool async_test_faults(async_coroutine scenario, void *argument,
                                     const async_test_options *options)
{
    return async__test_faults(scenario, argument, options, sizeof *options);
}

/* Runs the scenario in the usual order of ready tasks, and in `count` others, those of the seeds 1 to
 * `count`. True if each run gives 0 and is right for `check`; else as above. */
ASYNC_API bool async__test_seeds(async_coroutine scenario, void *argument, uint64_t count,
                                 const async_test_options *options, size_t size);
static inline bool async_test_seeds(async_coroutine scenario, void *argument, uint64_t count,
                                    const async_test_options *options)
{
    return async__test_seeds(scenario, argument, count, options, sizeof *options);
}

/* What the last of these two has found, as it stood on standard error; "" if all was well. Good until the
 * thread's next. Any thread. */
ASYNC_API const char *async_test_failure(void);

/* For a test that has its own loop over n: from now on the n-th (from 1; 0: none) of this kind fails in
 * this thread, a system call with the errno `error`, and how many there have been since. -EINVAL for what
 * is no kind. */
ASYNC_API int async_test_fail_at(enum async_fault_kind kind, long n, int error);
ASYNC_API long async_test_count(enum async_fault_kind kind);

/* async_assert_checkpoint () { ... } and async_assert_no_checkpoint () { ... }: the block is to run at
 * least one checkpoint of this task (a call that blocks, or could), or none. If that is wrong, the place is
 * written to standard error and the program is aborted. A block that is left by break, return or goto is
 * not judged.
 * trio: testing.assert_checkpoints, assert_no_checkpoints */
#define ASYNC_ASSERT_CHECKPOINT() ASYNC__ASSERT_CHECKPOINTS(true)
#define ASYNC_ASSERT_NO_CHECKPOINT() ASYNC__ASSERT_CHECKPOINTS(false)
#ifndef __cplusplus
#define async_assert_checkpoint() ASYNC_ASSERT_CHECKPOINT()
#define async_assert_no_checkpoint() ASYNC_ASSERT_NO_CHECKPOINT()
#endif
#define ASYNC__ASSERT_CHECKPOINTS(wanted)                                                          \
    for (struct async__checkpoints async__before = async__checkpoints_here(wanted);                \
         async__before.once;                                                                       \
         async__before.once = false, async__checkpoints_judge(&async__before, __FILE__, __LINE__))
struct async__checkpoints {
    long count;
    bool wanted, once;
};
ASYNC_API struct async__checkpoints async__checkpoints_here(bool wanted);
ASYNC_API void async__checkpoints_judge(const struct async__checkpoints *before, const char *file,
                                        int line);

ASYNC_END
#endif
