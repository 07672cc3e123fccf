/* Reading up to separators: what comes in pieces of any size is cut as a search through all of it would cut
 * it, and nothing is lost. The first byte says how much a read gets at the most, the second how large the
 * caller's buffer is, the third how long two separators are, which follow; the rest is what comes. */
#include <casyncio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    size_t max_read, room;
    struct iovec separators[2];
    const uint8_t *data;
    size_t size;
};

static void must(bool holds)
{
    if (!holds) abort();
}

/* Where the first separator to end does so; 0: none does. */
static size_t first_end(const struct input *input, size_t from)
{
    for (size_t end = from + 1; end <= input->size; end++)
        for (int i = 0; i < 2; i++) {
            size_t length = input->separators[i].iov_len;
            if (end - from >= length &&
                memcmp(input->data + end - length, input->separators[i].iov_base, length) == 0)
                return end;
        }
    return 0;
}

struct writing {
    async_stream *stream;
    const struct input *input;
};

static int writing(struct writing *self)
{
    int code = async_stream_write(self->stream, self->input->data, self->input->size);
    return code < 0 ? code : async_stream_close(self->stream);
}

static int read_all(void *argument)
{
    const struct input *input = argument;
    async_stream *ends[2];
    char buffer[300];
    size_t at = 0;

    must(async_stream_pair_with(ends, &(async_pair_options){.max_read = input->max_read}) == 0);
    async_task *task = async_spawn(writing, .stream = ends[1], .input = input);
    for (;;) {
        ssize_t got =
            async_stream_readuntil_any(ends[0], buffer, input->room, input->separators, 2);
        size_t end = first_end(input, at), left = input->size - at;
        if (end > 0 && end - at <= input->room - 1) {
            must(got == (ssize_t)(end - at) && buffer[got] == 0);
        } else if (got == ASYNC_ELIMIT) {
            must(left >= input->room - 1);
            got = async_stream_readexactly(ends[0], buffer, 1);
            must(got == 1);
        } else {
            must(got == ASYNC_EINCOMPLETE && left <= input->room - 1);
            got = async_stream_readexactly(ends[0], buffer, left);
            must(got == (ssize_t)left && async_stream_read(ends[0], buffer + left, 1) == 0);
        }
        must(memcmp(buffer, input->data + at, (size_t)got) == 0);
        at += (size_t)got;
        if (at == input->size) break;
    }
    must(async_await(task) == 0);
    must(async_stream_close(ends[0]) == 0);
    async_block_error();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4 || size > 4096) return 0;
    size_t first = data[2] % 4 + 1, second = data[2] / 4 % 4 + 1;
    if (size < 4 + first + second) return 0;
    struct input input = {
        .max_read = data[0],
        .room = data[1] + 2u,
        .separators = {{(void *)(data + 3), first}, {(void *)(data + 3 + first), second}},
        .data = data + 3 + first + second,
        .size = size - 3 - first - second};
    must(async_run_with(
             read_all, &input,
             &(async_run_options){.loop = {.virtual_clock = true}, .no_signals = true}) == 0);
    return 0;
}
