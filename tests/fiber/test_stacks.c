/* test_stacks.c - the pool: order, layout, guards, and what it gives back to the kernel.
 *
 * ctest: timeout=300 (under valgrind a child that dies takes seconds) */
#include "fiber_test.h"

#include <time.h>

#define STACKS 1000

static async__stack_pool *pool;
static void *tops[STACKS];

static int set_up(void **state)
{
    (void)state;
    pool = async__stack_pool_new(0);
    return pool ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    async__stack_pool_free(pool);
    unsetenv("CASYNCIO_GUARD");
    return 0;
}

static void get_all(void)
{
    for (int i = 0; i < STACKS; i++)
        assert_non_null(tops[i] = async__stack_get(pool));
}

static void put_all(void)
{
    for (int i = STACKS; i-- > 0;)
        async__stack_put(pool, tops[i]);
}

static void test_last_in_first_out(void **state)
{
    (void)state;
    void *first = async__stack_get(pool), *second = async__stack_get(pool);
    assert_ptr_not_equal(first, second);
    async__stack_put(pool, first);
    async__stack_put(pool, second);
    assert_ptr_equal(async__stack_get(pool), second);
    assert_ptr_equal(async__stack_get(pool), first);
    async__stack_put(pool, second);
    async__stack_put(pool, first);
}

static void test_counts(void **state)
{
    (void)state;
    assert_int_equal(async__stack_pool_total(pool), 0);
    get_all();
    assert_int_equal(async__stack_pool_used(pool), STACKS);
    size_t total = async__stack_pool_total(pool);
    assert_in_range(total, STACKS, STACKS + STACKS / 4);
    put_all();
    assert_int_equal(async__stack_pool_used(pool), 0);
    get_all();
    assert_int_equal(async__stack_pool_total(pool), total);
    put_all();
}

static int compare(const void *a, const void *b)
{
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
    return (x > y) - (x < y);
}

static void test_layout(void **state)
{
    (void)state;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), end = 0;
    int alike = 0;

    get_all();
    qsort(tops, STACKS, sizeof *tops, compare);
    for (int i = 0; i < STACKS; i++) {
        uintptr_t top = (uintptr_t)tops[i], base = (uintptr_t)async__stack_base(pool, tops[i]);
        assert_int_equal(top % 64, 0);
        assert_int_equal(base % page, 0);
        assert_true(top % page != 0 && page - top % page <= 2048);
        assert_in_range(top - base, 192 * 1024 - page - 2048, 192 * 1024 + page);
        assert_true(base >= end + 64 * 1024 - page); /* a guard between, less what is above a top */
        if (i > 0) alike += top % page == (uintptr_t)tops[i - 1] % page;
        end = top;
    }
    assert_int_equal(alike, 0);
    /* an odd number of pages from one to the next */
    assert_int_equal(((uintptr_t)tops[1] / page - (uintptr_t)tops[0] / page) % 2, 1);
    put_all();
}

static void test_usable_to_the_end(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 32 * 1024, 33333, 100 * 1000, 1024 * 1024};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        async__stack_pool *other = async__stack_pool_new(sizes[i]);
        void *top = async__stack_get(other), *base = async__stack_base(other, top), *in;
        size_t size = (size_t)((char *)top - (char *)base);
        /* a quarter of it is guard, at least 16 KiB and at most 64 */
        size_t quarter = sizes[i] ? sizes[i] / 4 : 64 * 1024;
        size_t guard = quarter < 16 * 1024 ? 16 * 1024 : quarter > 64 * 1024 ? 64 * 1024 : quarter;
        assert_true(size + guard + 2048 >= sizes[i] && size >= 14 * 1024);
        memset(base, 0x5a, size);
        assert_false(async__stack_guards(other, base, &in));
        assert_false(async__stack_guards(other, (char *)top - 1, &in));
        assert_true(async__stack_guards(other, (char *)base - 1, &in));
        assert_ptr_equal(in, base);
        assert_true(async__stack_guards(other, (char *)base - guard / 4096 * 4096, &in));
        async__stack_put(other, top);
        async__stack_pool_free(other);
    }
    assert_null(async__stack_pool_new(PTRDIFF_MAX));
    assert_int_equal(errno, EINVAL);
    assert_true(strlen(async__stack_error()) > 0);
}

static void test_kept(void **state)
{
    (void)state;
    char *top = async__stack_get(pool);
    memset(top - 512, 0x33, 512);
    async__stack_put(pool, top);
    for (int i = 1; i <= 512; i++)
        assert_int_equal(top[-i], 0x33);
}

/* ---- guards ---- */

static char *forbidden;
static void touch(void) { *(volatile char *)forbidden = 1; }

/* Both ends of the guard of each of many stacks, as they are made. */
static void test_guards(void **state)
{
    (void)state;
    static const char *const ways[] = {NULL, "madvise", "mprotect"};
    for (size_t way = 0; way < COUNT(ways); way++) {
        async__stack_pool_free(pool);
        if (ways[way]) setenv("CASYNCIO_GUARD", ways[way], 1);
        pool = async__stack_pool_new(0);
        get_all();
        for (int i = 0; i < STACKS; i += i < 20 ? 7 : 307) {
            if (RUNNING_ON_VALGRIND) break; /* a child that dies may take minutes there */
            char *base = async__stack_base(pool, tops[i]);
            forbidden = base - 1;
            assert_int_equal(run_child(touch), -SIGSEGV);
            forbidden = base - 64 * 1024;
            assert_int_equal(run_child(touch), -SIGSEGV);
            forbidden = base;
            assert_int_equal(run_child(touch), 0);
        }
        put_all();
    }
}

/* ---- memory ---- */

static void test_an_idle_stack_is_a_page(void **state)
{
    (void)state;
    if (SANITIZED || RUNNING_ON_VALGRIND || is_emulated())
        skip_with("what this process uses is not what the library does");
    long page = sysconf(_SC_PAGESIZE) / 1024, before = status_kib("VmRSS");
    get_all();
    for (int i = 0; i < STACKS; i++)
        memset((char *)tops[i] - 512, 1, 512);
    /* an eighth is made ready in advance, and the counter is not exact */
    assert_in_range(status_kib("VmRSS") - before, 0, STACKS * page * 5 / 4 + 1024);
    put_all();
    assert_in_range(status_kib("VmRSS") - before, 0, STACKS * page * 5 / 4 + 1024);
}

static void sleep_ms(int ms)
{
    struct timespec time = {.tv_nsec = ms * 1000000L};
    nanosleep(&time, NULL);
}

static int64_t milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int resident(void *const *list, int count)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    int sum = 0;
    for (int i = 0; i < count; i++) {
        unsigned char in;
        assert_int_equal(mincore((void *)((uintptr_t)list[i] & ~(page - 1)), page, &in), 0);
        sum += in & 1;
    }
    return sum;
}

static void test_trim(void **state)
{
    (void)state;
    if (is_emulated()) skip_with("the emulator ignores advice");
    get_all();
    for (int i = 0; i < STACKS; i++) {
        char *base = async__stack_base(pool, tops[i]);
        if (i % 10 == 0) memset(base, 1, 65536); /* as a fiber with deep calls does */
        *((char *)tops[i] - 1) = 1;
    }
    put_all();
    assert_int_equal(resident(tops, STACKS), STACKS);

    /* Nothing is trimmed at once, then a bounded number a call, and a reserve stays. */
    int calls = 0, left = STACKS;
    assert_true(async__stack_trim(pool));
    assert_int_equal(resident(tops, STACKS), STACKS);
    while (sleep_ms(5), async__stack_trim(pool)) {
        int now = resident(tops, STACKS);
        assert_true(left - now <= 64);
        left = now;
        assert_true(++calls < 1000);
    }
    left = resident(tops, STACKS);
    assert_in_range(left, 32, 64);
    for (int i = 0; i < STACKS; i++)
        if (!resident(&tops[i], 1)) {
            void *base = async__stack_base(pool, tops[i]), *guarded;
            assert_int_equal(resident(&base, 1), 0);
            /* the guard has survived */
            assert_true(async__stack_guards(pool, (char *)base - 1, &guarded));
            if (i < STACKS - 3 || RUNNING_ON_VALGRIND) continue;
            forbidden = (char *)base - 1;
            assert_int_equal(run_child(touch), -SIGSEGV);
        }

    /* All of them can be taken again, the warm ones first. */
    void *hot = async__stack_get(pool);
    assert_ptr_equal(hot, tops[0]);
    async__stack_put(pool, hot);
    get_all();
    for (int i = 0; i < STACKS; i++)
        memset((char *)tops[i] - 512, 2, 512);
    put_all();
}

/* Load in waves keeps its memory, however often the loop goes to sleep between them. */
static void test_waves(void **state)
{
    (void)state;
    if (is_emulated()) skip_with("the emulator ignores advice");
    for (int wave = 0; wave < 20; wave++) {
        get_all();
        for (int i = 0; i < STACKS; i++)
            *((char *)tops[i] - 1) = 1;
        put_all();
        int64_t began = milliseconds();
        for (int i = 0; i < 5; i++)
            async__stack_trim(pool);
        /* on a busy machine the calls themselves may be far apart */
        if (wave > 0 && milliseconds() - began < 80)
            assert_int_equal(resident(tops, STACKS), STACKS);
        sleep_ms(15);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_last_in_first_out),
        TEST(test_counts),
        TEST(test_layout),
        TEST(test_usable_to_the_end),
        TEST(test_kept),
        TEST(test_guards),
        TEST(test_trim),
        TEST(test_waves),
        TEST(test_an_idle_stack_is_a_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
