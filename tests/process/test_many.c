/* Many processes at once, and starting them from a large process.
 * ctest: timeout=300 */
#include "process_test.h"

#include <sys/mman.h>
#include <time.h>

#if defined(__SANITIZE_THREAD__)
#define FORKS 1 /* and copies the page tables of the sanitizer's memory */
#else
#define FORKS 0
#endif

enum { MANY = 1000 };

static int one(void *place)
{
    char text[16], expected[16];
    int code = 0;
    snprintf(text, sizeof text, "%d\n", (int)(intptr_t)place);
    memcpy(expected, text, sizeof text);
    async_with_process (process,
                        async_create_subprocess_exec(
                            ASYNC_ARGUMENTS("cat"),
                            &(async_subprocess_options){.in = ASYNC_PIPE, .out = ASYNC_PIPE})) {
        async_process_output output = {0};
        /* All of them are there before the first one ends. */
        async_sleep(0);
        code = async_process_communicate(process, text, strlen(text), &output);
        if (code == 0 && (output.returncode != 0 || strcmp(output.out, expected) != 0))
            code = async_raise(-EIO, "%s", output.out);
        async_process_output_free(&output);
    }
    return code < 0 ? code : async_block_error();
}

static int many(void *unused)
{
    struct rlimit limit;
    int count = MANY;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < 4 * MANY) count = (int)limit.rlim_max / 4;
    if (FORKS || RUNNING_ON_VALGRIND || getenv("CASYNCIO_EMULATED")) count = 20;
    async_with_group (group)
        for (intptr_t i = 0; i < count; i++)
            async_group_create_task(group, one, (void *)i);
    return async_block_error();
}
PROCESS_TEST(many)

static int exec_true(void *unused)
{
    int code = 0;
    for (int i = 0; i < 20 && code == 0; i++)
        async_with_process (process, async_create_subprocess_exec(ASYNC_ARGUMENTS("true"), NULL))
            code = async_process_wait(process, NULL);
    return code < 0 ? code : async_block_error();
}

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now); /* not the children's */
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double best_of_three(void)
{
    double best = 1e9;
    for (int i = 0; i < 3; i++) {
        double begin = cpu_seconds();
        assert_int_equal(run_real(exec_true, NULL), 0);
        double took = cpu_seconds() - begin;
        if (took < best) best = took;
    }
    return best;
}

/* fork copies the page tables: of 512 MiB in small pages that takes 5 to 10 ms of this process's CPU time
 * for each child. */
static void test_large_process(void **state)
{
    (void)state;
    size_t size = (size_t)512 << 20;
    if (FORKS || RUNNING_ON_VALGRIND || getenv("CASYNCIO_EMULATED")) skip();
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) skip();
    madvise(memory, size, MADV_NOHUGEPAGE);
    double small = best_of_three();
    for (size_t at = 0; at < size; at += 4096)
        memory[at] = 1;
    double large = best_of_three();
    munmap(memory, size);
    print_message("CPU time for 20 children: %.1f ms, and with 512 MiB more %.1f ms\n", small * 1e3,
                  large * 1e3);
    assert_true(large < small * 4 + 0.03);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_large_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
