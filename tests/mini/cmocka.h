/* cmocka.h - the part of cmocka that the tests use, in one header, for builds where there is no cmocka: a cross compiler's, musl's.
 * The same names, the same meanings, the same words at the end; no mocks. Only builds with CASYNCIO_MINI_CMOCKA see this file.
 *
 * As in cmocka a failed assertion leaves the test by longjmp, or aborts if CMOCKA_TEST_ABORT is 1. */
#ifndef CASYNCIO_MINI_CMOCKA_H
#define CASYNCIO_MINI_CMOCKA_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*CMUnitTestFunction)(void **state);
typedef int (*CMFixtureFunction)(void **state);

struct CMUnitTest {
    const char *name;
    CMUnitTestFunction test_func;
    CMFixtureFunction setup_func;
    CMFixtureFunction teardown_func;
    void *initial_state;
};

/* clang-format off */
#define cmocka_unit_test(f) {#f, f, NULL, NULL, NULL}
#define cmocka_unit_test_setup(f, setup) {#f, f, setup, NULL, NULL}
#define cmocka_unit_test_teardown(f, teardown) {#f, f, NULL, teardown, NULL}
#define cmocka_unit_test_setup_teardown(f, setup, teardown) {#f, f, setup, teardown, NULL}
#define cmocka_unit_test_prestate(f, state) {#f, f, NULL, NULL, state}
#define cmocka_unit_test_prestate_setup_teardown(f, setup, teardown, state) {#f, f, setup, teardown, state}
/* clang-format on */

enum { MINI_PASSED, MINI_FAILED, MINI_SKIPPED };

/* One test at a time in a process, so one of each is enough. */
static sigjmp_buf mini_end __attribute__((unused));

__attribute__((unused, format(printf, 1, 2))) static void print_message(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    fflush(stdout);
}

__attribute__((unused, format(printf, 1, 2))) static void print_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
}

__attribute__((unused, noreturn)) static void mini_stop(int how) { siglongjmp(mini_end, how + 1); }

__attribute__((unused, noreturn, format(printf, 3, 4))) static void mini_fail(const char *file,
                                                                              int line,
                                                                              const char *format,
                                                                              ...)
{
    va_list arguments;
    fprintf(stderr, "%s:%d: error: ", file, line);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    const char *abort_test = getenv("CMOCKA_TEST_ABORT");
    if (abort_test && strcmp(abort_test, "1") == 0) abort();
    mini_stop(MINI_FAILED);
}

#define fail() mini_fail(__FILE__, __LINE__, "failed")
#define fail_msg(...) mini_fail(__FILE__, __LINE__, __VA_ARGS__)
#define skip() mini_stop(MINI_SKIPPED)

/* The arguments are evaluated once, as cmocka's are. */
#define MINI_ASSERT(truth, ...) ((truth) ? (void)0 : mini_fail(__FILE__, __LINE__, __VA_ARGS__))

#define MINI_COMPARE(a, b, operator, text_a, text_b)                                               \
    do {                                                                                           \
        uintmax_t mini_a = (uintmax_t)(a), mini_b = (uintmax_t)(b);                                \
        MINI_ASSERT(mini_a operator mini_b,                                                        \
                    "%s " #operator" %s: %" PRIdMAX " (0x%" PRIxMAX ") and %" PRIdMAX              \
                                   " (0x%" PRIxMAX ")",                                            \
                    text_a, text_b, (intmax_t)mini_a, mini_a, (intmax_t)mini_b, mini_b);           \
    } while (0)

#define assert_true(c) MINI_ASSERT(c, "%s is false", #c)
#define assert_false(c) MINI_ASSERT(!(c), "%s is true", #c)
#define assert_null(p) MINI_ASSERT((p) == NULL, "%s is not NULL", #p)
#define assert_non_null(p) MINI_ASSERT((p) != NULL, "%s is NULL", #p)
#define assert_int_equal(a, b) MINI_COMPARE(a, b, ==, #a, #b)
#define assert_int_not_equal(a, b) MINI_COMPARE(a, b, !=, #a, #b)
#define assert_uint_equal(a, b) MINI_COMPARE(a, b, ==, #a, #b)
#define assert_uint_not_equal(a, b) MINI_COMPARE(a, b, !=, #a, #b)
#define assert_ptr_equal(a, b) MINI_COMPARE((uintptr_t)(a), (uintptr_t)(b), ==, #a, #b)
#define assert_ptr_not_equal(a, b) MINI_COMPARE((uintptr_t)(a), (uintptr_t)(b), !=, #a, #b)
#define assert_return_code(rc, error)                                                              \
    do {                                                                                           \
        long mini_rc = (long)(rc);                                                                 \
        MINI_ASSERT(mini_rc >= 0, "%s is %ld (%s)", #rc, mini_rc, strerror(error));                \
    } while (0)

#define assert_in_range(value, minimum, maximum)                                                   \
    do {                                                                                           \
        uintmax_t mini_value = (uintmax_t)(value);                                                 \
        MINI_ASSERT(mini_value - (uintmax_t)(minimum) <=                                           \
                        (uintmax_t)(maximum) - (uintmax_t)(minimum),                               \
                    "%s is %" PRIuMAX ", not in [%" PRIuMAX ", %" PRIuMAX "]", #value, mini_value, \
                    (uintmax_t)(minimum), (uintmax_t)(maximum));                                   \
    } while (0)
#define assert_not_in_range(value, minimum, maximum)                                               \
    do {                                                                                           \
        uintmax_t mini_value = (uintmax_t)(value);                                                 \
        MINI_ASSERT(mini_value<(uintmax_t)(minimum) || mini_value>(uintmax_t)(maximum),            \
                    "%s is %" PRIuMAX ", in the range", #value, mini_value);                       \
    } while (0)

#define assert_float_equal(a, b, epsilon)                                                          \
    do {                                                                                           \
        double mini_a = (a), mini_b = (b), mini_e = (epsilon);                                     \
        MINI_ASSERT(mini_a - mini_b <= mini_e && mini_b - mini_a <= mini_e, "%s == %s: %g and %g", \
                    #a, #b, mini_a, mini_b);                                                       \
    } while (0)

#define assert_string_equal(a, b)                                                                  \
    do {                                                                                           \
        const char *mini_a = (a), *mini_b = (b);                                                   \
        MINI_ASSERT(strcmp(mini_a, mini_b) == 0, "%s == %s: \"%s\" and \"%s\"", #a, #b, mini_a,    \
                    mini_b);                                                                       \
    } while (0)
#define assert_string_not_equal(a, b)                                                              \
    do {                                                                                           \
        const char *mini_a = (a), *mini_b = (b);                                                   \
        MINI_ASSERT(strcmp(mini_a, mini_b) != 0, "%s != %s: \"%s\"", #a, #b, mini_a);              \
    } while (0)
#define assert_memory_equal(a, b, size)                                                            \
    do {                                                                                           \
        size_t mini_size = (size);                                                                 \
        MINI_ASSERT(memcmp((a), (b), mini_size) == 0, "%s == %s: %zu bytes differ", #a, #b,        \
                    mini_size);                                                                    \
    } while (0)
#define assert_memory_not_equal(a, b, size)                                                        \
    MINI_ASSERT(memcmp((a), (b), (size)) != 0, "%s != %s", #a, #b)

__attribute__((unused)) static int mini_run_group(const char *group, const struct CMUnitTest *tests,
                                                  size_t count, CMFixtureFunction setup,
                                                  CMFixtureFunction teardown)
{
    /* static: what longjmp comes back to must not live in a register */
    static size_t i, counts[3];
    static void *group_state;
    static int outcome;
    static const char *const words[] = {"      OK", " FAILED ", " SKIPPED"};

    memset(counts, 0, sizeof counts);
    group_state = NULL;
    print_message("[==========] %s: Running %zu test(s).\n", group, count);
    if (setup && setup(&group_state) != 0) {
        print_error("[  FAILED  ] GROUP SETUP\n");
        return -1;
    }
    for (i = 0; i < count; i++) {
        static void *state;
        state = tests[i].initial_state ? tests[i].initial_state : group_state;
        print_message("[ RUN      ] %s\n", tests[i].name);
        outcome = sigsetjmp(mini_end, 1);
        if (outcome == 0) {
            if (tests[i].setup_func && tests[i].setup_func(&state) != 0)
                mini_fail(__FILE__, __LINE__, "the setup of %s failed", tests[i].name);
            tests[i].test_func(&state);
            outcome = MINI_PASSED;
        } else {
            outcome--;
        }
        if (tests[i].teardown_func) {
            if (sigsetjmp(mini_end, 1) != 0 || tests[i].teardown_func(&state) != 0) {
                print_error("the teardown of %s failed\n", tests[i].name);
                outcome = MINI_FAILED;
            }
        }
        counts[outcome]++;
        print_message("[ %s ] %s\n", words[outcome], tests[i].name);
    }
    if (teardown && teardown(&group_state) != 0) {
        print_error("[  FAILED  ] GROUP TEARDOWN\n");
        counts[MINI_FAILED]++;
    }
    print_message("[  PASSED  ] %zu test(s).\n", counts[MINI_PASSED]);
    if (counts[MINI_SKIPPED]) print_message("[  SKIPPED ] %zu test(s).\n", counts[MINI_SKIPPED]);
    if (counts[MINI_FAILED]) print_error("[  FAILED  ] %zu test(s).\n", counts[MINI_FAILED]);
    return (int)counts[MINI_FAILED];
}

#define cmocka_run_group_tests(tests, setup, teardown)                                             \
    mini_run_group(#tests, tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)
#define cmocka_run_group_tests_name(name, tests, setup, teardown)                                  \
    mini_run_group(name, tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)
#define cmocka_set_message_output(how) ((void)0)

#endif
