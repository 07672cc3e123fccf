/* What a client sends to the HTTP server: heads, bodies by length and in chunks, trailers, one request
 * after another. The first byte says how much a read gets at the most.
 *
 * A handler reads the whole body and answers with what it was. */
#include "http_fuzz.h"

#include <casyncio/http_server.h>

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

static void add_routes(async_http_server *server)
{
    must(async_http_route(server, NULL, "/{path...}", echo) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 32768) return 0;
    fuzz_run(&(struct fuzz_exchange){add_routes, data[0], "", 0, data + 1, size - 1});
    return 0;
}
