/* fiber_test.h - what the tests of stacks and fibers share: children that are meant to die, and
 * what the machine below can do. */
#ifndef TESTS_FIBER_TEST_H
#define TESTS_FIBER_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fiber/fiber.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define UNUSED __attribute__((unused))

#define skip_with(...)                                                                             \
    do {                                                                                           \
        print_message("skipped: " __VA_ARGS__);                                                    \
        print_message("\n");                                                                       \
        skip();                                                                                    \
    } while (0)

#if defined(ASYNC__ASAN) || defined(ASYNC__TSAN)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* qemu-user answers any advice with success, and its memory figures are those of the emulator. */
UNUSED static bool is_emulated(void) { return madvise(NULL, 4096, 9999) == 0; }

UNUSED static bool has_guard_advice(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool has = madvise(memory, page, 102) == 0 && !is_emulated();
    munmap(memory, page);
    return has;
}

/* A number from a line "Name: number kB" of /proc/self/status, in KiB. */
UNUSED static long status_kib(const char *name)
{
    char line[256];
    long value = -1;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0) value = atol(line + strlen(name) + 1);
    if (file) fclose(file);
    return value;
}

/* Runs `body` in a child, with the default dispositions (cmocka has handlers of its own), and gives
 * how it ended: its exit status, or minus the signal. What it wrote to standard error is in
 * `output`. */
static char output[4096];

UNUSED static int run_child(void (*body)(void))
{
    int ends[2], status;
    size_t length = 0;
    ssize_t n;

    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        body();
        _exit(0);
    }
    close(ends[1]);
    while ((n = read(ends[0], output + length, sizeof output - 1 - length)) > 0)
        length += (size_t)n;
    output[length] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

#endif
