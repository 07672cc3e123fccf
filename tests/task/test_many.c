/* A great many tasks at once: what they take, and that it is given back.
 * ctest: labels=slow timeout=300 serial */
#include "run.h"

#define TASKS 200000

/* A figure in /proc/self/status, in bytes. */
static size_t status(const char *field)
{
    char line[256];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, field, strlen(field)) == 0)
            kib = strtoul(line + strlen(field) + 1, NULL, 10);
    if (file) fclose(file);
    return kib * 1024;
}

static int sleeper(void *argument)
{
    int code = async_sleep(100);
    ++*(int *)argument;
    return code;
}

/* 5 GiB for a million is 5368 bytes for each. */
static int sleep_in_their_thousands(void *argument)
{
    static async_task *tasks[TASKS];
    size_t before = status("VmRSS") + status("VmPTE");
    int woken = 0;
    (void)argument;
    for (int i = 0; i < TASKS; i++) {
        tasks[i] = async_create_task(sleeper, &woken);
        if (!tasks[i]) {
            /* Guards by mprotect: two mappings a stack, and vm.max_map_count of them. */
            print_message("%d tasks, and then: %s\n", i, async_error_message());
            assert_true(i > 30000);
            assert_non_null(strstr(async_error_message(), "max_map_count"));
            for (int j = 0; j < i; j++)
                async_cancel(tasks[j], NULL);
            for (int j = 0; j < i; j++)
                async_await(tasks[j]);
            return 0;
        }
    }
    async_sleep(1);
    size_t each = (status("VmRSS") + status("VmPTE") - before) / TASKS;
    print_message("%zu bytes a task\n", each);
    assert_in_range(each, 4096, 5368);
    assert_int_equal(woken, 0);
    assert_int_equal(async_gather_array(tasks, TASKS), 0);
    assert_int_equal(woken, TASKS);
    assert_int_equal(tenths(), 1000);
    return 0;
}

static void test_a_crowd(void **state)
{
    (void)state;
    assert_int_equal(run(sleep_in_their_thousands, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_crowd)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
