/* Frames of HTTP/2 that a client sends to the HTTP server, behind the preface. The first byte says how much
 * a read gets at the most. */
#include "http_fuzz.h"

#include <casyncio/http_server.h>

static int echo(struct async_http_request *request)
{
    size_t size;
    const void *body = async_http_request_read(request, &size);

    if (!body) return async_error_code();
    async_http_request_header(request, "Cookie");
    async_http_request_trailer(request, "X");
    return async_http_respond(request, 200, "text/plain", body, size);
}

static int slow(struct async_http_request *request)
{
    int code = async_sleep(1);
    for (int i = 0; i < 3 && code == 0; i++)
        code = async_http_send_event(request, "x", NULL, "y");
    return code;
}

static void add_routes(async_http_server *server)
{
    must(async_http_route(server, NULL, "/{path...}", echo) == 0);
    must(async_http_route(server, "GET", "/", slow) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";

    if (size == 0 || size > 32768) return 0;
    fuzz_run(
        &(struct fuzz_exchange){add_routes, data[0], preface, sizeof preface, data + 1, size - 1});
    return 0;
}
