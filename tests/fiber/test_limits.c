/* test_limits.c - very many stacks, and what happens when address space or mappings run out.
 * ctest: labels=slow timeout=120 */
#include "fiber_test.h"

#include <sys/resource.h>

#define MANY 100000

static void **tops;

/* Takes as many stacks as there are, at most MANY, and puts them back; gives their number. */
static size_t get_many(async__stack_pool *pool)
{
    size_t n = 0;
    while (n < MANY && (tops[n] = async__stack_get(pool)))
        n++;
    return n;
}

static void put_many(async__stack_pool *pool, size_t n)
{
    while (n > 0)
        async__stack_put(pool, tops[--n]);
}

static int mappings(void)
{
    int c, lines = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while ((c = getc(maps)) != EOF)
        lines += c == '\n';
    fclose(maps);
    return lines;
}

static void test_many_stacks_in_few_mappings(void **state)
{
    (void)state;
    if (!has_guard_advice()) skip_with("no MADV_GUARD_INSTALL here (Linux 6.13)");
    async__stack_pool *pool = async__stack_pool_new(0);
    int before = mappings();
    assert_int_equal(get_many(pool), MANY);
    assert_in_range(mappings() - before, 1, 300); /* some are a sanitizer's */
    put_many(pool, MANY);
    async__stack_pool_free(pool);
    if (!SANITIZED) assert_in_range(mappings(), 1, before + 5);
}

static long max_map_count(void)
{
    long count = 0;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
    if (file && fscanf(file, "%ld", &count) != 1) count = 0;
    if (file) fclose(file);
    return count;
}

static void test_mappings_run_out(void **state)
{
    (void)state;
    long most = max_map_count();
    if (most <= 0 || most / 2 > MANY) skip_with("vm.max_map_count is %ld", most);
    if (is_emulated()) skip_with("the emulator has a limit of its own");
    setenv("CASYNCIO_GUARD", "mprotect", 1);
    async__stack_pool *pool = async__stack_pool_new(0);
    unsetenv("CASYNCIO_GUARD");

    size_t n = get_many(pool);
    assert_in_range(n, most / 2 - 600, most / 2);
    assert_int_equal(errno, ENOMEM);
    assert_non_null(strstr(async__stack_error(), "vm.max_map_count"));
    for (int i = 0; i < 20; i++)
        assert_null(async__stack_get(pool));

    /* The reserve: others can still map memory. */
    void *mapped[8];
    for (size_t i = 0; i < COUNT(mapped); i++) {
        mapped[i] =
            mmap(NULL, 8192, i % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(mapped[i], MAP_FAILED);
    }
    for (size_t i = 0; i < COUNT(mapped); i++)
        munmap(mapped[i], 8192);

    put_many(pool, n);
    assert_int_equal(get_many(pool), n); /* the stacks that were made can be used again */
    put_many(pool, n);
    async__stack_pool_free(pool);
}

/* The limit is 20 MiB more than is in use, and a stack takes 260 KiB. */
static void use_up_address_space(void)
{
    struct rlimit limit;
    limit.rlim_cur = limit.rlim_max = (rlim_t)(status_kib("VmSize") + 20 * 1024) * 1024;
    if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(10);
    async__stack_pool *pool = async__stack_pool_new(0);
    if (!pool) _exit(11);
    for (int round = 0; round < 2; round++) {
        size_t n = 0;
        errno = 0;
        while (n < 1000 && (tops[n] = async__stack_get(pool)))
            n++;
        if (n < 50 || n > 80) _exit(12);
        if (errno != ENOMEM || !strstr(async__stack_error(), "address space")) _exit(13);
        put_many(pool, n);
    }
    async__stack_pool_free(pool);
}

static void test_address_space_runs_out(void **state)
{
    (void)state;
    if (SANITIZED || RUNNING_ON_VALGRIND || is_emulated())
        skip_with("this process needs the address space itself");
    assert_int_equal(run_child(use_up_address_space), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_stacks_in_few_mappings),
        cmocka_unit_test(test_mappings_run_out),
        cmocka_unit_test(test_address_space_runs_out),
    };
    tops = calloc(MANY, sizeof *tops);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(tops);
    return failed;
}
