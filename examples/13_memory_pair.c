/* Tests a protocol over a pair of streams in memory, at every failure that it can meet. */
#include <casyncio.h>
#include <err.h>
#include <stdio.h>

/* The client under test: "GET name\n" is answered by "size\n" and so many bytes. */
static int get(async_stream *stream, const char *name, char *value, size_t room)
{
    char line[32];
    size_t size = 0;
    int code = async_stream_printf(stream, "GET %s\n", name);
    if (code < 0) return code;
    ssize_t n = async_stream_readline(stream, line, sizeof line);
    if (n <= 0) return n < 0 ? (int)n : ASYNC_EINCOMPLETE;
    if (sscanf(line, "%zu", &size) != 1 || size >= room) return -EPROTO;
    n = async_stream_readexactly(stream, value, size);
    value[n < 0 ? 0 : n] = 0;
    return n < 0 ? (int)n : 0;
}

static int serve(void *stream)
{
    char line[32];
    while (async_stream_readline(stream, line, sizeof line) > 0) {
        struct iovec reply[] = {{(char *)"5\n", 2}, {(char *)"value", 5}};
        if (async_stream_writev(stream, reply, 2) < 0) break;
    }
    async_stream_close(stream);
    return 0;
}

static int exchange(const async_pair_options *options)
{
    async_stream *ends[2];
    char value[32];
    int code = async_stream_pair_with(ends, options);
    if (code < 0) return code;
    async_task *server = async_create_task(serve, ends[1]);
    if (!server) async_stream_abort(ends[1]);
    code = get(ends[0], "it", value, sizeof value);
    async_stream_abort(ends[0]);
    int served = async_await(server);
    return code < 0 ? code : served;
}

static int tests(void *unused)
{
    (void)unused;
    int code = exchange(&(async_pair_options){.max_read = 1});
    if (code == 0) code = exchange(&(async_pair_options){.latency = 60});
    if (code < 0) return code;
    puts("it takes its reply in single bytes, and waits for one that takes minutes");

    size_t bytes = 1;
    while ((code = exchange(&(async_pair_options){.cut_after = bytes})) == ASYNC_EINCOMPLETE)
        bytes++;
    if (code < 0) return code;
    printf("it sees that a reply of fewer than %zu bytes is cut off\n", bytes);

    unsigned call = 1;
    while ((code = exchange(&(async_pair_options){.fail_at = call})) == -ECONNRESET)
        call++;
    if (code == 0) printf("it tells when the connection is lost, at any of %u calls\n", call - 1);
    return code;
}

int main(void)
{
    const async_run_options options = {.loop = {.virtual_clock = true}};
    if (async_run_with(tests, NULL, &options) < 0) errx(1, "%s", async_run_error_message());
}
