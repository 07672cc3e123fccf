/* What a client sends to the HTTP server: heads, bodies by length and in chunks, trailers, one request
 * after another. The first byte says how much a read gets at the most.
 *
 * A handler reads the whole body and answers with what it was; beside the sanitizers' word what is
 * checked is that nothing remains of the connection, and that no handler failed by itself. */
#include <casyncio.h>
#include <casyncio/http_server.h>
#include <stdlib.h>

struct input {
    const uint8_t *data;
    size_t size;
};

struct end {
    async_http_server *server;
    async_stream *stream;
};

static void must(bool holds)
{
    if (!holds) abort();
}

static int echo(struct async_http_request *request)
{
    size_t size;
    const void *body = async_http_request_read(request, &size);

    async_http_query(request, "a");
    async_http_cookie(request, "a");
    async_http_form(request, "a");
    async_block_error();
    if (!body) return async_error_code();
    async_http_request_trailer(request, "X");
    return async_http_respond(request, 200, "text/plain", body, size);
}

static void failed(struct async_http_request *request, int code, const char *message, void *data)
{
    (void)request, (void)code, (void)message, (void)data;
    abort();
}

static int end(struct end *self) { return async_http_serve_stream(self->server, self->stream); }

static int exchange(void *argument)
{
    const struct input *input = argument;
    async_stream *ends[2];
    char answer[4096];
    async_http_server *server = async_http_server_new(
        &(async_http_server_options){.max_head = 4096, .max_body = 65536, .on_error = failed});

    must(server != NULL);
    must(async_http_route(server, NULL, "/{path...}", echo) == 0);
    must(async_stream_pair_with(ends, &(async_pair_options){.max_read = input->data[0]}) == 0);
    async_task *task = async_spawn(end, .server = server, .stream = ends[0]);
    async_stream_write(ends[1], input->data + 1, input->size - 1);
    async_stream_write_eof(ends[1]);
    while (async_stream_read(ends[1], answer, sizeof answer) > 0)
        continue;
    async_stream_close(ends[1]);
    must(async_await(task) == 0);
    must(async_http_server_connections(server) == 0);
    async_http_server_free(server);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {.data = data, .size = size};

    if (size == 0 || size > 32768) return 0;
    must(async_run_with(
             exchange, &input,
             &(async_run_options){.loop = {.virtual_clock = true}, .no_signals = true}) == 0);
    return 0;
}
