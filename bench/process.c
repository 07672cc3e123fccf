/* process [PROGRAM]: a child is started and waited for, beside posix_spawn + waitpid: CPU time of this
 * process and its children together, in µs; and its output is read by communicate, beside a pipe and
 * read(2). PROGRAM (/bin/true; for the second row /bin/echo) has no arguments. */
#include "bench.h"

#include <casyncio.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/child.h"

enum { PAIRS = 41, CHILDREN = 20 };

extern char **environ;
static const char *program;

/* Of this process and of the children that have been waited for, in µs. */
static double cpu(void)
{
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) +
           bench_clock(CLOCK_PROCESS_CPUTIME_ID) / 1e3;
}

static double per_child(void (*run)(void))
{
    double begin = cpu();
    for (int i = 0; i < CHILDREN; i++)
        run();
    return (cpu() - begin) / CHILDREN;
}

/* ---- spawn, wait ---- */

static void ours(void)
{
    const char *arguments[] = {program, NULL};
    async_process *process = async_create_subprocess_exec(arguments, NULL);
    if (!process || async_process_wait(process, NULL) < 0) bench_fail(async_error_message());
    async_process_close(process);
}

static pid_t spawn_plainly(posix_spawn_file_actions_t *actions)
{
    pid_t pid;
    char *arguments[] = {(char *)program, NULL};
    errno = posix_spawn(&pid, program, actions, NULL, arguments, environ);
    if (errno) bench_fail("posix_spawn");
    return pid;
}

static void limit(void) { waitpid(spawn_plainly(NULL), NULL, 0); }

/* ---- and read what it writes ---- */

static void ours_with_output(void)
{
    const char *arguments[] = {program, NULL};
    async_process_output output = {0};
    async_process *process =
        async_create_subprocess_exec(arguments, &(async_subprocess_options){.out = ASYNC_PIPE});
    if (!process || async_process_communicate(process, NULL, 0, &output) < 0)
        bench_fail(async_error_message());
    async_process_output_free(&output);
    async_process_close(process);
}

static void limit_with_output(void)
{
    int ends[2];
    char text[4096];
    posix_spawn_file_actions_t actions;
    if (pipe2(ends, O_CLOEXEC) < 0) bench_fail("pipe2");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    pid_t pid = spawn_plainly(&actions);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    while (read(ends[0], text, sizeof text) > 0)
        ;
    close(ends[0]);
    waitpid(pid, NULL, 0);
}

static void measure(const char *name, void (*run)(void), void (*run_limit)(void))
{
    struct bench_pair pairs[PAIRS];
    per_child(run_limit);
    per_child(run);
    for (int i = 0; i < PAIRS; i++) {
        pairs[i].limit = per_child(run_limit);
        pairs[i].ours = per_child(run);
    }
    struct bench_pair middle = bench_median(pairs, PAIRS);
    bench_row(name, "µs", middle.ours, middle.limit, "1.15");
}

static int main_task(void *given)
{
    program = given ? given : "/bin/true";
    measure("subprocess: spawn, wait", ours, limit);
    if (!given) program = "/bin/echo";
    measure("subprocess: spawn, communicate", ours_with_output, limit_with_output);
    return 0;
}

int main(int argc, char **argv)
{
    bench_heading();
    return async_run(main_task, argc > 1 ? argv[1] : NULL) < 0;
}
