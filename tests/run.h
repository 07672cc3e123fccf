/* run.h - for tests of what waits: runs a coroutine in a loop with a virtual clock. */
#ifndef TESTS_RUN_H
#define TESTS_RUN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <casyncio.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

__attribute__((unused)) static int run_seeded(async_coroutine main, void *argument, uint64_t seed)
{
    return async_run_with(main, argument,
                          &(async_run_options){.loop = {.virtual_clock = true, .seed = seed}});
}

__attribute__((unused)) static int run(async_coroutine main, void *argument)
{
    return run_seeded(main, argument, 0);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* Of so many seeds a twentieth or a tenth, where each takes ten times as long, or more. With
 * CASYNCIO_SEEDS=5 in the environment five times as many. */
__attribute__((unused)) static unsigned fewer_seeds(unsigned whole)
{
    const char *times = getenv("CASYNCIO_SEEDS");
    if (times && atoi(times) > 0) return whole * (unsigned)atoi(times);
    if (SANITIZED) return whole / 20;
    return getenv("CASYNCIO_TEST_WRAPPER") || getenv("CASYNCIO_EMULATED") ? whole / 10 : whole;
}

/* What happened, in order, as one string: note("a"), note("b"), assert_notes("a b "). */
static char notes[4096];

__attribute__((unused, format(printf, 1, 2))) static void note(const char *format, ...)
{
    size_t used = strlen(notes);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(notes + used, sizeof notes - used, format, arguments);
    va_end(arguments);
    strncat(notes, " ", sizeof notes - strlen(notes) - 1);
}

#define assert_notes(expected)                                                                     \
    do {                                                                                           \
        assert_string_equal(notes, expected);                                                      \
        notes[0] = 0;                                                                              \
    } while (0)

/* A test that is one coroutine, to be run in virtual time. */
#define TEST(coroutine)                                                                            \
    static void test_##coroutine(void **state)                                                     \
    {                                                                                              \
        (void)state;                                                                               \
        notes[0] = 0;                                                                              \
        assert_int_equal(run(coroutine, NULL), 0);                                                 \
    }

/* Times of the virtual clock, in the tenth of a second, since floating point is not for
 * equality. */
__attribute__((unused)) static int tenths(void) { return (int)(async_now() * 10 + 0.5); }

#endif
