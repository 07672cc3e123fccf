/* The values of headers that the HTTP server takes apart, and a query: the first byte says which. */
#include "http_fuzz.h"

#include <casyncio/http_server.h>
#include <stdio.h>

static int respond(struct async_http_request *request)
{
    async_http_query(request, "a");
    async_http_cookie(request, "a");
    async_http_enable_compression(request);
    return async_http_respond_file(request, "/etc/services", "text/plain");
}

static void add_routes(async_http_server *server)
{
    must(async_http_route(server, NULL, "/{path...}", respond) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {
        "Range",      "If-Range", "If-None-Match", "If-Match",        "If-Modified-Since", "Cookie",
        "Connection", "Expect",   "Host",          "Accept-Encoding", "Content-Type"};
    char head[4096];
    int head_size;

    if (size == 0 || size > 2048) return 0;
    unsigned which = data[0] % (sizeof names / sizeof *names + 1);
    if (which == sizeof names / sizeof *names)
        head_size = snprintf(head, sizeof head, "GET /?a=%.*s HTTP/1.0\r\n\r\n", (int)size - 1,
                             (const char *)data + 1);
    else
        head_size = snprintf(head, sizeof head, "GET / HTTP/1.0\r\n%s: %.*s\r\n\r\n", names[which],
                             (int)size - 1, (const char *)data + 1);
    fuzz_run(&(struct fuzz_exchange){add_routes, 0, head, (size_t)head_size, NULL, 0});
    return 0;
}
