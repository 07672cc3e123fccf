/* sweep.h - a scenario, run again and again within one process, each time with another fault: the
 * n-th allocation, system call, transfer, await or wait, in the loop's thread or in its pools', for
 * every n that it reaches.
 *
 * A scenario gives 0 if all of it went well (what it computed it asserts itself), or the negative
 * code of what failed. Checked of each run: that it comes to an end, that a failure has a code that
 * fits the fault and a message, that it is no deadlock, that no descriptor and no memory is left,
 * and that without a fault it succeeds. */
#ifndef TESTS_FAULT_SWEEP_H
#define TESTS_FAULT_SWEEP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <casyncio.h>
#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/faults.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#else
#define __lsan_do_recoverable_leak_check() 0
#endif

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum {
    SEEDS = 3,     /* orders of ready tasks: as they became so, and two others */
    PEERS = 1,     /* both ends of a connection are here: one may report what hit the other */
    MUCH_DATA = 2, /* too much data to be moved byte by byte */
    FOR_EACH = 20, /* seconds for one n */
};

static struct {
    const char *scenario, *kind;
    long n;
    int error;
    uint64_t seed; /* of the order in which ready tasks run; 0: as they became so */
} running;         /* for the message of an assertion, or of the alarm */

static void tell_where(int signal)
{
    char text[256];
    int size = snprintf(text, sizeof text, "%s: %s %ld of %s, errno %d, seed %d\n",
                        signal == SIGALRM ? "it hangs" : "it aborts", running.kind, running.n,
                        running.scenario, running.error, (int)running.seed);
    (void)!write(2, text, (size_t)size);
    struct sigaction fatal = {.sa_handler = SIG_DFL};
    sigaction(signal, &fatal, NULL);
    raise(signal);
}

static int descriptors(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* Whether the code fits the fault: a cancellation gives -ECANCELED, a failed allocation -ENOMEM; a
 * system call gives its errno, or what the layer above makes of it. */
static bool fits(int code, enum async__fault_kind kind, int flags)
{
    if (code == 0) return true;
    if (code == -EDEADLK || code > 0) return false;
    if (kind == ASYNC__FAULT_SYSTEM_CALL || flags & PEERS) return true;
    if (kind == ASYNC__FAULT_ALLOCATION) return code == -ENOMEM || code == -EAGAIN; /* no thread */
    if (kind == ASYNC__FAULT_EXPIRE && code == -ETIMEDOUT) return true;
    return kind != ASYNC__FAULT_TRANSFER && code == -ECANCELED;
}

/* One run, whose n-th call fails. Gives whether n was reached. */
static bool run_with_fault(async_coroutine scenario, enum async__fault_kind kind, bool worker,
                           bool on, int flags)
{
    struct async__fault_counter *counters = worker ? async__worker_faults : async__faults;
    int before = descriptors();

    memset(async__faults, 0, sizeof async__faults);
    memset(async__worker_faults, 0, sizeof async__worker_faults);
    counters[kind].at = running.n;
    counters[kind].on = on;
    async__fault_errno = running.error;
    alarm(FOR_EACH);
    int code =
        async_run_with(scenario, NULL,
                       &(async_run_options){.loop = {.virtual_clock = true, .seed = running.seed}});
    alarm(0);
    counters[kind].at = 0;
    bool reached = counters[kind].count >= running.n;
    const char *message = async_run_error_message();
    bool good = fits(code, kind, flags) && (reached || code == 0) && (code == 0) == !*message &&
                descriptors() == before;
    if (!good)
        print_error("%s %ld of %s, errno %d, seed %d: %s: \"%s\", %d descriptors more\n",
                    running.kind, running.n, running.scenario, running.error, (int)running.seed,
                    async_error_name(code), message, descriptors() - before);
    assert_true(good);
    return reached;
}

/* With `on`, every later one fails too. */
static void sweep_kind(async_coroutine scenario, enum async__fault_kind kind, bool worker, bool on,
                       int flags)
{
    static const char *const names[] = {"allocation", "system_call", "transfer", "await",
                                        "wait",       "wake",        "expire"};
    static const int errors[] = {EMFILE, ECONNRESET, EINTR, EIO, ENOMEM, EAGAIN};
    size_t count = kind == ASYNC__FAULT_SYSTEM_CALL ? COUNT(errors) : 1;
    long most = 0, runs = 0;
    static char name[64];

    snprintf(name, sizeof name, "%s%s%s", worker ? "worker_" : "", names[kind], on ? "+" : "");
    running.kind = name;
    for (size_t i = 0; i < count * SEEDS; i++) {
        running.error = errors[i / SEEDS];
        running.seed = i % SEEDS;
        for (running.n = 1; run_with_fault(scenario, kind, worker, on, flags); running.n++)
            assert_true(running.n < 5000);
        if (running.n - 1 > most) most = running.n - 1;
        runs += running.n;
    }
    if (most > 0) printf("    %-20s %5ld  %ld runs\n", name, most, runs);
    assert_int_equal(__lsan_do_recoverable_leak_check(), 0);
}

__attribute__((unused)) static void sweep(const char *name, async_coroutine scenario, int flags)
{
    struct sigaction action = {.sa_handler = tell_where};
    sigaction(SIGABRT, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    running.scenario = name;
    printf("%s\n", name);
    for (int worker = 0; worker < 2; worker++)
        for (int kind = 0; kind < ASYNC__FAULT_KINDS; kind++)
            sweep_kind(scenario, (enum async__fault_kind)kind, worker, false, flags);
    sweep_kind(scenario, ASYNC__FAULT_ALLOCATION, false, true, flags);
    if (!(flags & MUCH_DATA)) {
        sweep_kind(scenario, ASYNC__FAULT_TRANSFER, false, true, flags);
        sweep_kind(scenario, ASYNC__FAULT_TRANSFER, true, true, flags);
    }
}

/* A test that is one scenario. */
#define SWEEP(scenario, flags)                                                                     \
    static void test_##scenario(void **state)                                                      \
    {                                                                                              \
        (void)state;                                                                               \
        sweep(#scenario, scenario, flags);                                                         \
    }

#endif
