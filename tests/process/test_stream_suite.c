/* ctest: timeout=300
 * The suite of streams over a child's pipes: what is written to its input comes back as its output. */
#include "../io/stream_suite.h"

#include <casyncio/subprocess.h>
#include <poll.h>
#include <stdio.h>

static async_process *children[2]; /* a copy goes from one to another */
static unsigned opened;

static int open_child(async_stream *ends[2])
{
    async_subprocess_options options = {.in = ASYNC_PIPE, .out = ASYNC_PIPE};
    async_process **slot = &children[opened++ % COUNT(children)], *child;
    assert_int_equal(async_process_close(*slot), 0);
    assert_non_null(*slot = child = async_create_subprocess_exec(ASYNC_ARGUMENTS("cat"), &options));
    ends[0] = async_process_stdin(child);
    ends[1] = async_process_stdout(child);
    return 0;
}

/* Its input takes no more, and so it can only be asleep because its output takes no more, either. */
static bool is_child_full(void)
{
    async_process *child = children[(opened - 1) % COUNT(children)];
    struct pollfd room = {.fd = async_stream_fd(async_process_stdin(child)), .events = POLLOUT};
    char path[64], text[256] = "";

    if (poll(&room, 1, 0) != 0) return false;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)async_process_pid(child));
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    const char *state = strrchr(text, ')');
    return state && strncmp(state, ") S", 3) == 0;
}

static void close_child(void)
{
    for (size_t i = 0; i < COUNT(children); i++) {
        assert_int_equal(async_process_close(children[i]), 0);
        children[i] = NULL;
    }
}

static const struct carrier carriers[] = {
    {.name = "child's pipes",
     .open = open_child,
     .half_close = true,
     .real_time = true,
     .is_full = is_child_full,
     .done = close_child},
};
SUITE(carriers)
