/* errors.h's table: every errno value of the system has its name and text, in any locale. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <casyncio/errors.h>
#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#ifdef __GLIBC__
#if __GLIBC_PREREQ(2, 32)
#define HAS_NAMES
#endif
#endif

enum { LAST = 133 }; /* EHWPOISON, the highest on Linux but for MIPS' EDQUOT */

static int known_to_libc(int number)
{
    char unknown[64];
    snprintf(unknown, sizeof unknown, "Unknown error %d", number);
    const char *text = strerror(number);
    return strcmp(text, unknown) != 0 && strncmp(text, "No error information", 20) != 0;
}

static void test_every_errno_value(void **state)
{
    (void)state;
    int count = 0;
    for (int number = 1; number <= LAST; number++) {
        const char *name = async_error_name(-number), *text = async_strerror(-number);
        int known = known_to_libc(number);
#ifdef __GLIBC__ /* musl's knows fewer */
        if (!known) assert_string_equal(name, "?");
#endif
        if (!known) continue;
        count++;
        assert_int_equal(name[0], 'E');
        assert_int_not_equal(strncmp(text, "Unknown", 7), 0);
#ifdef HAS_NAMES
        assert_string_equal(name, strerrorname_np(number));
        assert_string_equal(text, strerrordesc_np(number));
#endif
    }
    assert_true(count > 80);
}

static void test_no_locale_changes_the_text(void **state)
{
    (void)state;
    static const char *const locales[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8"};
    for (size_t i = 0; i < sizeof locales / sizeof *locales; i++) {
        if (!setlocale(LC_ALL, locales[i])) continue;
        assert_string_equal(async_strerror(-ENOENT), "No such file or directory");
        assert_string_equal(async_strerror(-EADDRINUSE), "Address already in use");
    }
    setlocale(LC_ALL, "C");
}

static void test_other_codes(void **state)
{
    (void)state;
    assert_string_equal(async_strerror(0), "Success");
    assert_string_equal(async_strerror(INT_MAX), "Success");
    assert_string_equal(async_error_name(7), "0");
    assert_string_equal(async_error_name(ASYNC_ELIMIT), "ASYNC_ELIMIT");
    assert_string_equal(async_strerror(ASYNC_ENONAME), "The host name does not resolve");
    assert_string_equal(async_error_name(-41), "?");
    assert_string_equal(async_strerror(-41), "Unknown error -41");
    assert_string_equal(async_error_name(-LAST - 1), "?");
    assert_string_equal(async_error_name(ASYNC_ERROR_LAST), "?");
    assert_string_equal(async_error_name(INT_MIN), "?");
    assert_string_equal(async_strerror(INT_MIN), "Unknown error -2147483648");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_errno_value),
        cmocka_unit_test(test_no_locale_changes_the_text),
        cmocka_unit_test(test_other_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
