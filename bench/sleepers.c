/* sleepers [N [KIB]]: N tasks (a million, if it is not said) that are all asleep at once, each on a
 * guarded stack of its own of KIB (the default: 256); then all are awaited. Prints the CPU time, and the
 * memory at the fullest. */
#include "bench.h"

#include <casyncio.h>
#include <sys/resource.h>

static size_t count = 1000000, stack_size;

static int sleeper(void *unused)
{
    (void)unused;
    return async_sleep(30); /* of virtual time: all of them are made before the first one wakes */
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static int main_task(void *unused)
{
    (void)unused;
    size_t rss = bench_status("VmRSS"), tables = bench_status("VmPTE");
    async_task **tasks = malloc(count * sizeof *tasks);
    if (!tasks) return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        tasks[i] = async_create_task(sleeper, NULL);
        if (!tasks[i]) {
            printf("only %zu: %s\n", i, async_error_message());
            return -ENOMEM;
        }
    }
    async_sleep(1);
    printf("%zu tasks asleep: %.2f s of CPU, %.2f GiB resident + %.2f GiB of page tables\n", count,
           cpu_seconds(), (double)bench_status("VmRSS") / (1 << 30),
           (double)bench_status("VmPTE") / (1 << 30));
    printf("a task: %.0f bytes resident + %.0f bytes of page tables\n",
           (double)(bench_status("VmRSS") - rss) / (double)count,
           (double)(bench_status("VmPTE") - tables) / (double)count);
    int code = async_gather_array(tasks, count);
    printf("all awaited: %.2f s of CPU in all\n", cpu_seconds());
    free(tasks);
    return code;
}

int main(int argc, char **argv)
{
    if (argc > 1) count = strtoul(argv[1], NULL, 10);
    if (argc > 2) stack_size = strtoul(argv[2], NULL, 10) * 1024;
    return async_run_with(
        main_task, NULL,
        &(async_run_options){.loop = {.virtual_clock = true, .stack_size = stack_size}});
}
