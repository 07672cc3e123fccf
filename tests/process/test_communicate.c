/* async_process_communicate: input and both outputs at the same time. */
#include "process_test.h"

#define ALL                                                                                        \
    {                                                                                              \
        .in = ASYNC_PIPE, .out = ASYNC_PIPE, .err = ASYNC_PIPE                                     \
    }

static async_process *start(const char *command)
{
    async_process *process = async_create_subprocess_shell(command, &(async_subprocess_options)ALL);
    assert_non_null(process);
    return process;
}

/* More than the pipes hold, in all three directions: whichever waited for the other would wait for
 * ever. */
static int large(void *unused)
{
    size_t size = 3 * 1024 * 1024 + 17;
    unsigned char *data = malloc(size);
    fill(data, size, 0);
    async_process *process = start("tee /dev/stderr");
    async_process_output output = {0};
    assert_int_equal(async_process_communicate(process, data, size, &output), 0);
    assert_int_equal(output.out_size, size);
    assert_int_equal(output.err_size, size);
    assert_true(is_pattern((unsigned char *)output.out, size, 0));
    assert_memory_equal(output.err, data, size);
    assert_int_equal(output.out[size], 0);
    async_process_output_free(&output);
    free(data);
    return async_process_close(process);
}
PROCESS_TEST(large)

static int nothing(void *unused)
{
    async_process *process = start("exit 4");
    async_process_output output = {0};
    assert_int_equal(async_process_communicate(process, NULL, 0, &output), 0);
    assert_string_equal(output.out, "");
    assert_string_equal(output.err, "");
    assert_int_equal(output.returncode, 4);
    async_process_output_free(&output);
    /* A second time all is at its end. */
    assert_int_equal(async_process_communicate(process, NULL, 0, &output), 0);
    async_process_output_free(&output);
    async_process_close(process);

    process = start("cat; cat >&2");
    assert_int_equal(async_process_communicate(process, "x", 1, NULL), 0); /* dropped */
    return async_process_close(process);
}
PROCESS_TEST(nothing)

/* It ends without having read its input. */
static int unread_input(void *unused)
{
    size_t size = 1024 * 1024;
    char *data = calloc(1, size);
    async_process_output output = {0};
    async_process *process = start("exec 0<&-; echo done");
    assert_int_equal(async_process_communicate(process, data, size, &output), 0);
    assert_string_equal(output.out, "done\n");
    async_process_output_free(&output);
    free(data);
    return async_process_close(process);
}
PROCESS_TEST(unread_input)

static int no_pipe_for_input(void *unused)
{
    async_process *process = async_create_subprocess_shell("exit 0", NULL);
    async_process_output output = {0};
    assert_int_equal(async_process_communicate(process, "x", 1, &output), -EINVAL);
    assert_message("standard input");
    assert_int_equal(output.returncode, ASYNC_RUNNING);
    async_process_output_free(&output);
    return async_process_close(process);
}
PROCESS_TEST(no_pipe_for_input)

static int limits(void *unused)
{
    async_process_output output = {.limit = 5};
    async_process *process = start("printf 12345; printf abcde >&2");
    assert_int_equal(async_process_communicate(process, NULL, 0, &output), 0);
    assert_string_equal(output.out, "12345");
    assert_string_equal(output.err, "abcde");
    async_process_output_free(&output);
    async_process_close(process);

    /* It goes on, and what comes after that can be read. */
    process = start("printf 123456789; exec sleep 1000");
    output.limit = 5;
    assert_int_equal(async_process_communicate(process, NULL, 0, &output), ASYNC_ELIMIT);
    assert_message("more than 5 bytes to its standard output");
    assert_string_equal(output.out, "123456");
    assert_int_equal(output.returncode, ASYNC_RUNNING);
    async_process_output_free(&output);
    char rest[4] = "";
    assert_int_equal(async_stream_readexactly(async_process_stdout(process), rest, 3), 3);
    assert_string_equal(rest, "789");
    async_process_close(process);

    output.limit = SIZE_MAX;
    process = start("echo x");
    assert_int_equal(async_process_communicate(process, NULL, 0, &output), 0);
    assert_string_equal(output.out, "x\n");
    async_process_output_free(&output);
    return async_process_close(process);
}
PROCESS_TEST(limits)

static int timed_out(void *unused)
{
    async_process *process = start("echo part; echo other >&2; exec sleep 1000");
    async_process_output output = {0};
    int code = 0;
    async_timeout (0.3)
        code = async_process_communicate(process, NULL, 0, &output);
    assert_int_equal(code, -ETIMEDOUT);
    /* On a busy machine nothing may have come. */
    assert_true(strcmp(output.out, "part\n") == 0 || !*output.out);
    async_process_output_free(&output);
    return async_process_close(process);
}
PROCESS_TEST(timed_out)

struct talk {
    async_process *process;
    async_process_output *output;
};

static int talk(struct talk *self)
{
    return async_process_communicate(self->process, "abc\n", 4, self->output);
}

/* What has come is in the output; on a busy machine that may be nothing. */
static int cancelled(void *unused)
{
    async_process *process = start("read line; echo $line; exec sleep 1000");
    async_process_output output = {0};
    async_task *task = async_spawn(talk, .process = process, .output = &output);
    async_sleep(0.05);
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    assert_true(strcmp(output.out, "abc\n") == 0 || !*output.out);
    async_process_output_free(&output);
    return async_process_close(process);
}
PROCESS_TEST(cancelled)

static int busy(void *unused)
{
    async_process *process = start("cat");
    async_process_output output = {0}, second = {0};
    async_task *task = async_spawn(talk, .process = process, .output = &output);
    async_sleep(0);
    async_sleep(0);
    /* One task reads already. */
    int code = async_process_communicate(process, NULL, 0, &second);
    assert_true(code == -EBUSY || code == 0);
    async_process_output_free(&second);
    assert_int_equal(async_await(task), 0);
    async_process_output_free(&output);
    return async_process_close(process);
}
PROCESS_TEST(busy)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_large),        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_unread_input), cmocka_unit_test(test_no_pipe_for_input),
        cmocka_unit_test(test_limits),       cmocka_unit_test(test_timed_out),
        cmocka_unit_test(test_cancelled),    cmocka_unit_test(test_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
