/* A file that is closed however the block is left. aiofiles: async with aiofiles.open(path) */
#include <casyncio.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int write_lines(const char *path, int count)
{
    int code = 0;
    async_with_file(file, async_file_open(path, "w")) for (int i = 1; i <= count && code == 0; i++)
        code = async_file_printf(file, "This is line %d\n", i);
    return code < 0 ? code : async_block_error(); /* 0, or why it could not be opened or closed */
}

static int count_lines(const char *path)
{
    int count = 0;
    async_with_file(file, async_file_open(path, "r"))
        async_for (char *, line, async_file_lines(file)) printf("%d: %s\n", ++count, line);
    int code = async_block_error();
    return code < 0 ? code : count;
}

static int main_task(void *path)
{
    int code = write_lines(path, 5);
    if (code < 0) return code;
    int count = count_lines(path);
    if (count >= 0) printf("%d lines\n", count);
    return count;
}

int main(int argc, char **argv)
{
    char scratch[] = "/tmp/11_files-XXXXXX";
    const char *path = argc > 1 ? argv[1] : scratch;
    if (argc == 1 && close(mkstemp(scratch)) < 0) err(1, "%s", scratch);
    int code = async_run(main_task, (void *)path);
    if (argc == 1) unlink(scratch);
    if (code < 0) errx(1, "%s", async_run_error_message());
}
