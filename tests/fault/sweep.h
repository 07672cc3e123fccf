/* sweep.h - the sweeps of casyncio/testing.h as tests of our own: a scenario is a test, run with the n-th
 * allocation, system call, transfer, await or wait failing, in the loop's thread or in its pools', for
 * every n that it reaches. What a scenario computed it asserts itself. */
#ifndef TESTS_FAULT_SWEEP_H
#define TESTS_FAULT_SWEEP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <casyncio.h>
#include <casyncio/testing.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/faults.h"

extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak)); /* LeakSanitizer's */

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum {
    PEERS = 1,     /* both ends of a connection are here: one may report what hit the other */
    MUCH_DATA = 2, /* too much data to be moved byte by byte */
};

__attribute__((unused)) static void sweep(const char *name, async_coroutine scenario, int flags)
{
    printf("%s\n", name);
    assert_true(async_test_faults(scenario, NULL,
                                  &(async_test_options){.name = name,
                                                        .peers = flags & PEERS,
                                                        .much_data = flags & MUCH_DATA}));
}

/* A test that is one scenario. */
#define SWEEP(scenario, flags)                                                                     \
    static void test_##scenario(void **state)                                                      \
    {                                                                                              \
        (void)state;                                                                               \
        sweep(#scenario, scenario, flags);                                                         \
    }

#endif
