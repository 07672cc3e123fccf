/* A form with files, of the boundary "b". The first byte says how much a read gets at the most, and how the
 * parts are read. */
#include "http_fuzz.h"

#include <casyncio/http_server.h>
#include <stdio.h>

static bool in_pieces;

static int form(struct async_http_request *request)
{
    async_http_part part;
    char piece[7];
    int code;

    while ((code = async_http_next_part(request, &part)) > 0) {
        must(part.name != NULL);
        ssize_t got = 1;
        while (in_pieces && got > 0)
            got = async_http_part_recv(request, piece, sizeof piece);
        if (!in_pieces && !async_http_part_read(request, NULL)) got = async_error_code();
        if (got < 0) return (int)got;
    }
    return code < 0 ? code : async_http_respond_text(request, 200, "fine");
}

static void add_routes(async_http_server *server)
{
    must(async_http_route(server, "POST", "/", form) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char head[200];

    if (size == 0 || size > 32768) return 0;
    in_pieces = data[0] & 1;
    int head_size = snprintf(head, sizeof head,
                             "POST / HTTP/1.0\r\nContent-Type: multipart/form-data; boundary=b\r\n"
                             "Content-Length: %zu\r\n\r\n",
                             size - 1);
    fuzz_run(&(struct fuzz_exchange){add_routes, data[0] >> 1, head, (size_t)head_size, data + 1,
                                     size - 1});
    return 0;
}
