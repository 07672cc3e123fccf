/* Talks to other programs: input, output, exit status, a time-out. asyncio: create_subprocess_exec */
#include <casyncio.h>
#include <err.h>
#include <stdio.h>
#include <string.h>

/* Has sort(1) put the lines in order. */
static int sort_lines(const char *lines)
{
    async_subprocess_options options = {.in = ASYNC_PIPE, .out = ASYNC_PIPE};
    async_process_output output = {.limit = 1 << 20};
    int code = 0;
    async_with_process (sort, async_create_subprocess_exec(ASYNC_ARGUMENTS("sort", "-n"), &options))
        code = async_process_communicate(sort, lines, strlen(lines), &output);
    if (code == 0 && output.out) printf("%s", output.out);
    async_process_output_free(&output);
    return code < 0 ? code : async_block_error();
}

/* Its lines as they come. */
static int count_up(void)
{
    int returncode = 0, code = 0;
    async_with_process (
        shell, async_create_subprocess_shell("for i in 1 2 3; do echo $i; done; exit 4",
                                             &(async_subprocess_options){.out = ASYNC_PIPE})) {
        async_for (char *, line, async_stream_lines(async_process_stdout(shell)))
            printf("the shell says %s\n", line);
        code = async_process_wait(shell, &returncode);
        if (code == 0) printf("and ends with %d\n", returncode);
    }
    return code < 0 ? code : async_block_error();
}

/* One that takes too long is ended by the block. */
static int be_impatient(void)
{
    int code = 0;
    async_with_process (sleeper,
                        async_create_subprocess_exec(ASYNC_ARGUMENTS("sleep", "1000"), NULL))
        async_timeout (0.1)
            code = async_process_wait(sleeper, NULL);
    if (code != -ETIMEDOUT) return code < 0 ? code : async_block_error();
    printf("sleep takes too long\n");
    return 0;
}

static int main_task(void)
{
    int code = sort_lines("10\n9\n100\n");
    if (code == 0) code = count_up();
    if (code == 0) code = be_impatient();
    if (code < 0) return code;
    if (!async_create_subprocess_exec(ASYNC_ARGUMENTS("no-such-program"), NULL))
        code = async_error_code();
    if (code != -ENOENT) return code;
    printf("no such program\n");
    return 0;
}

int main(void)
{
    if (async_run(main_task) < 0) errx(1, "%s", async_run_error_message());
}
