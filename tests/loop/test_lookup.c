/* Look-ups of names by the public interface, for programs that have no tasks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <casyncio/loop.h>
#include <cmocka.h>
#include <netdb.h>
#include <sys/socket.h>

static async_loop *loop;
static int calls, error, system_error;
static struct addrinfo *found;

static void done(async_lookup *lookup)
{
    assert_ptr_equal(async_lookup_data(lookup), &calls);
    calls++;
    error = async_lookup_result(lookup, &system_error, &found);
    if (!error) assert_int_equal(found->ai_family, AF_INET);
    async_lookup_free(lookup);
    async_loop_stop(loop);
}

static async_lookup *start(const char *host)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    int code = 1;
    async_lookup *lookup = async_lookup_start(loop, host, "80", &hints, done, &calls, &code);
    assert_non_null(lookup);
    assert_int_equal(code, 0);
    return lookup;
}

static int set_up(void **state)
{
    (void)state;
    calls = error = 0;
    loop = async_loop_new(NULL);
    return loop ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return async_loop_close(loop);
}

static void test_found(void **state)
{
    (void)state;
    start("localhost");
    assert_int_equal(async_loop_run(loop), 0);
    assert_int_equal(calls, 1);
    assert_int_equal(error, 0);
}

static void test_not_found(void **state)
{
    (void)state;
    start("256.256.256.256.invalid");
    assert_int_equal(async_loop_run(loop), 0);
    assert_int_equal(calls, 1);
    assert_int_not_equal(error, 0);
}

static void test_abandoned(void **state)
{
    (void)state;
    async_lookup_abandon(start("localhost"));
    start("localhost");
    assert_int_equal(async_loop_run(loop), 0);
    assert_int_equal(calls, 1);
}

/* What async_loop_take has given out is queued again, and freed with the loop. */
static void test_taken(void **state)
{
    async_callback *callback;
    (void)state;
    start("localhost");
    do
        callback = async_loop_take(loop);
    while (!callback);
    assert_true(async_is_lookup(callback));
    assert_false(async_is_lookup(&(async_callback){0}));
    async_call_soon(loop, callback);
    assert_int_equal(calls, 0);
}

static void test_closed(void **state)
{
    (void)state;
    start("localhost"); /* nothing is left of it, as the sanitizer says */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_abandoned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_closed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
