/* http_fuzz.h - what the targets of the HTTP server share: a client whose bytes an input says, over a pair
 * in memory. Beside the sanitizers' word what is checked is that nothing remains of the connection, and that
 * no handler failed by itself. */
#ifndef FUZZ_HTTP_FUZZ_H
#define FUZZ_HTTP_FUZZ_H

#include <casyncio.h>
#include <casyncio/http_server.h>
#include <stdlib.h>
#include <string.h>

struct fuzz_end {
    async_http_server *server;
    async_stream *stream;
};

struct fuzz_exchange {
    void (*add_routes)(async_http_server *server);
    size_t max_read;
    const char *head; /* goes before the data */
    size_t head_size;
    const uint8_t *data;
    size_t size;
};

static void must(bool holds)
{
    if (!holds) abort();
}

static void failed(struct async_http_request *request, int code, const char *message, void *data)
{
    (void)request, (void)code, (void)message, (void)data;
    abort();
}

static int fuzz_end(struct fuzz_end *self)
{
    return async_http_serve_stream(self->server, self->stream);
}

static int fuzz_exchange(void *argument)
{
    const struct fuzz_exchange *self = argument;
    async_stream *ends[2];
    char answer[4096];
    async_http_server *server = async_http_server_new(
        &(async_http_server_options){.max_head = 4096, .max_body = 65536, .on_error = failed});

    must(server != NULL);
    self->add_routes(server);
    must(async_stream_pair_with(ends, &(async_pair_options){.max_read = self->max_read}) == 0);
    async_task *task = async_spawn(fuzz_end, .server = server, .stream = ends[0]);
    async_stream_write(ends[1], self->head, self->head_size);
    async_stream_write(ends[1], self->data, self->size);
    async_stream_write_eof(ends[1]);
    while (async_stream_read(ends[1], answer, sizeof answer) > 0)
        continue;
    async_stream_close(ends[1]);
    must(async_await(task) == 0);
    must(async_http_server_connections(server) == 0);
    async_http_server_free(server);
    return 0;
}

static void fuzz_run(struct fuzz_exchange *exchange)
{
    must(async_run_with(
             fuzz_exchange, exchange,
             &(async_run_options){.loop = {.virtual_clock = true}, .no_signals = true}) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
