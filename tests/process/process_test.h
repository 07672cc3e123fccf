/* process_test.h - what the tests of src/process have in common. The children are programs of the
 * system, so that these tests run under emulators too. */
#ifndef PROCESS_TEST_H
#define PROCESS_TEST_H

#include "io/io_test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* With a real clock: children take real time. */
UNUSED int run_real(async_coroutine main, void *argument)
{
    return async_run_with(main, argument, NULL);
}

/* No child is left, neither running nor dead. */
UNUSED void assert_no_child(void)
{
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

/* A test that is one coroutine; it leaves no child and no descriptor behind. */
#define PROCESS_TEST(coroutine)                                                                    \
    static void test_##coroutine(void **state)                                                     \
    {                                                                                              \
        (void)state;                                                                               \
        int before = open_fds(), code = run_real(coroutine, NULL);                                 \
        if (code < 0) print_error("%s\n", async_run_error_message());                              \
        assert_int_equal(code, 0);                                                                 \
        assert_int_equal(open_fds(), before);                                                      \
        assert_no_child();                                                                         \
    }

/* Runs a command, with pipes for both outputs unless the options say otherwise, and gives its return
 * code; *output is to be freed. */
UNUSED int shell(const char *command, const async_subprocess_options *given,
                 async_process_output *output)
{
    async_subprocess_options options = {0};
    if (given) options = *given;
    if (options.out == ASYNC_INHERIT) options.out = ASYNC_PIPE;
    async_process *process = async_create_subprocess_shell(command, &options);
    if (!process) print_error("%s\n", async_error_message());
    assert_non_null(process);
    assert_int_equal(async_process_communicate(process, NULL, 0, output), 0);
    int code = async_process_returncode(process);
    assert_int_equal(output->returncode, code);
    assert_int_equal(async_process_close(process), 0);
    return code;
}

/* What a command writes. */
#define assert_shell(command, options, expected)                                                   \
    do {                                                                                           \
        async_process_output output_ = {0};                                                        \
        assert_int_equal(shell(command, options, &output_), 0);                                    \
        assert_string_equal(output_.out, expected);                                                \
        async_process_output_free(&output_);                                                       \
    } while (0)

#endif
