/* base/buffer.h: the growing buffer. */
#include "base/buffer.h"

#include "run.h"

static void assert_bytes(const struct async__buffer *buffer, const char *expected)
{
    assert_int_equal(async__buffer_size(buffer), strlen(expected));
    assert_memory_equal(async__buffer_bytes(buffer), expected, strlen(expected));
}

static void test_append_and_consume(void **state)
{
    (void)state;
    struct async__buffer buffer = {0};
    assert_int_equal(async__buffer_append(&buffer, NULL, 0), 0);
    assert_null(buffer.data);
    assert_int_equal(async__buffer_append(&buffer, "hello", 5), 0);
    assert_int_equal(buffer.capacity, 5); /* exactly what is asked for at first */
    assert_int_equal(async__buffer_append(&buffer, " world", 6), 0);
    assert_bytes(&buffer, "hello world");
    async__buffer_consume(&buffer, 6);
    assert_bytes(&buffer, "world");
    async__buffer_consume(&buffer, 5);
    assert_int_equal(buffer.end, 0); /* empty: all of the capacity is room again */
    assert_non_null(buffer.data);
    async__buffer_free(&buffer);
    assert_null(buffer.data);
}

/* What has been consumed makes room, if that costs no more than what has been consumed. */
static void test_room_in_front(void **state)
{
    (void)state;
    struct async__buffer buffer = {0};
    assert_int_equal(async__buffer_append(&buffer, "0123456789", 10), 0);
    async__buffer_consume(&buffer, 6);
    assert_int_equal(async__buffer_append(&buffer, "abcdef", 6), 0);
    assert_int_equal(buffer.capacity, 10);
    assert_bytes(&buffer, "6789abcdef");
    async__buffer_consume(&buffer, 1);
    assert_int_equal(async__buffer_append(&buffer, "g", 1), 0);
    assert_int_equal(buffer.capacity, 20);
    assert_bytes(&buffer, "789abcdefg");
    async__buffer_free(&buffer);
}

static void test_doubles(void **state)
{
    (void)state;
    struct async__buffer buffer = {0};
    size_t growths = 0, before = 0;
    for (size_t i = 0; i < 100000; i++) {
        assert_int_equal(async__buffer_append(&buffer, &(char){(char)i}, 1), 0);
        growths += buffer.capacity != before;
        before = buffer.capacity;
    }
    assert_true(growths < 20);
    for (size_t i = 0; i < 100000; i++)
        assert_int_equal(buffer.data[i], (char)i);
    async__buffer_free(&buffer);
}

static void test_too_much(void **state)
{
    (void)state;
    struct async__buffer buffer = {0};
    assert_int_equal(async__buffer_append(&buffer, "abc", 3), 0);
    assert_int_equal(async__buffer_reserve(&buffer, SIZE_MAX), -ENOMEM);
    assert_bytes(&buffer, "abc");
    async__buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_and_consume),
        cmocka_unit_test(test_room_in_front),
        cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_too_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
