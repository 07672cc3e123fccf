/* unclosed.h - for tests that debug mode tells of what was never closed, and of the place that opened it. */
#ifndef TESTS_UNCLOSED_H
#define TESTS_UNCLOSED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <casyncio.h>
#include <cmocka.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What debug mode has told of, one report behind another. */
static char unclosed[8192];
static int unclosed_count;

__attribute__((unused)) static void hear_unclosed(async_loop *loop, int code, const char *message,
                                                  void *data)
{
    (void)loop;
    (void)data;
    if (code == -ETIME) return; /* a slow machine */
    assert_int_equal(code, -EINVAL);
    size_t used = strlen(unclosed);
    snprintf(unclosed + used, sizeof unclosed - used, "%s\n", message);
    unclosed_count++;
}

__attribute__((unused)) static int run_unclosed(async_coroutine main)
{
    unclosed[0] = 0;
    unclosed_count = 0;
    return async_run_with(
        main, NULL,
        &(async_run_options){.loop = {.debug = true}, .exception_handler = hear_unclosed});
}

__attribute__((unused)) static int find_base(struct dl_phdr_info *info, size_t size, void *base)
{
    (void)size;
    *(uintptr_t *)base = info->dlpi_addr;
    return 1; /* the first one is the program */
}

/* Whether one of the places in the report lies in the code of this size at `function`. A place is
 * "program(+0x1234)", or "[0x401234]" of a program that is linked statically. */
__attribute__((unused)) static bool names_place(const char *report, void *function, size_t size)
{
    uintptr_t base = 0;
    dl_iterate_phdr(find_base, &base);
    for (const char *at = report; (at = strstr(at, "0x")); at++) {
        if (at == report || (at[-1] != '+' && at[-1] != '[')) continue;
        uintptr_t place = (at[-1] == '+' ? base : 0) + strtoul(at, NULL, 16);
        if (place > (uintptr_t)function && place <= (uintptr_t)function + size) return true;
    }
    return false;
}

/* There was one report: of a thing of this kind, opened by the main task in the function. */
#define assert_unclosed(kind, function)                                                            \
    do {                                                                                           \
        if (unclosed_count != 1) print_error("%d: %s\n", unclosed_count, unclosed);                \
        assert_int_equal(unclosed_count, 1);                                                       \
        assert_non_null(strstr(unclosed, "a " kind " was never closed: opened by Task-1"));        \
        if (HAS_PLACES && !names_place(unclosed, (void *)(uintptr_t)(function), FUNCTION_SIZE)) {  \
            print_error("%s is not in: %s\n", #function, unclosed);                                \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

/* More than a function of a few lines has, also where a sanitizer looks at each access. */
#define FUNCTION_SIZE 4096

#if __has_include(<execinfo.h>)
#define HAS_PLACES true
#else
#define HAS_PLACES false /* musl */
#endif

#endif
