/* The n-th allocation, system call, await, ... of a scenario over HTTP/2 fails: the sweep is HTTP/1's.
 *
 * ctest: labels=slow,fault timeout=300 */
#include "http2_client.h"

#define FRAMES

#ifdef ASYNC_FAULTS

static const char *bytes;
static size_t size_of_bytes(void) { return out.size; }

static void make_bytes(void)
{
    out.size = 0;
    put_preface();
    put_headers(1, END_STREAM,
                REQUEST("GET", "/hello?name=A%41", "cookie", "c=d", "cookie", "e=f"));
    put_headers(3, 0,
                REQUEST("POST", "/echo", "content-type", "application/x-www-form-urlencoded"));
    put_frame(NGHTTP2_DATA, 0, 3, "f=1", 3);
    put_frame(NGHTTP2_DATA, 0, 3, "2345", 4);
    put_headers(3, END_STREAM, HEADERS("x-sum", "1"));
    put_headers(5, END_STREAM, REQUEST("GET", "/events"));
    put_headers(7, END_STREAM, REQUEST("GET", "/s/file"));
    put_headers(9, 0, REQUEST("POST", "/hello", "expect", "100-continue"));
    put_headers(11, END_STREAM, REQUEST("GET", "/events"));
    put_number(NGHTTP2_RST_STREAM, 11, NGHTTP2_CANCEL);
    put_headers(13, 0, REQUEST("POST", "/echo", "content-length", "3"));
    put_frame(NGHTTP2_DATA, END_STREAM, 13, "x", 1);
    put_frame(NGHTTP2_PING, 0, 0, "01234567", 8);
    bytes = (const char *)out.bytes;
}

#endif

#include "test_server_faults.c"
