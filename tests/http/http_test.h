/* http_test.h - what the tests of the HTTP client have in common. They run in real time, as the
 * servers do. */
#ifndef TESTS_HTTP_HTTP_TEST_H
#define TESTS_HTTP_HTTP_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <casyncio.h>
#include <casyncio/http.h>
#include <cmocka.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

#define HTTP_TEST(coroutine)                                                                       \
    static void test_##coroutine(void **state)                                                     \
    {                                                                                              \
        (void)state;                                                                               \
        int code = async_run(coroutine, NULL);                                                     \
        if (code < 0) print_error("%s\n", async_run_error_message());                              \
        assert_int_equal(code, 0);                                                                 \
    }

#define assert_contains(text, part)                                                                \
    do {                                                                                           \
        if (!strstr(text, part)) print_error("\"%s\" is not in: %s\n", part, text);                \
        assert_non_null(strstr(text, part));                                                       \
    } while (0)

/* The request fails so, and its message has these words. */
__attribute__((unused)) static void assert_request_fails(async_http_session *session,
                                                         const async_http_request_options *options,
                                                         int code, const char *words)
{
    async_http_response *response = async_http_request(session, options);
    assert_null(response);
    if (async_error_code() != code) print_error("%s\n", async_error_message());
    assert_string_equal(async_error_name(async_error_code()), async_error_name(code));
    assert_contains(async_error_message(), words);
}

#define assert_fails(session, url_, code, words)                                                   \
    assert_request_fails(session, &(async_http_request_options){.url = url_}, code, words)

#endif
