/* http2_client.h - a client of HTTP/2 that is frames, over a pair in memory and in virtual time.
 *
 * What it sends is put together by hand, so that it can be wrong; heads that come are decoded by nghttp2. */
#ifndef TESTS_HTTP_HTTP2_CLIENT_H
#define TESTS_HTTP_HTTP2_CLIENT_H

#include "server_test.h"

#include <nghttp2/nghttp2.h>

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

/* Frames that have been put together, and go out as one. */
struct frames {
    unsigned char bytes[1 << 20];
    size_t size;
};

static struct frames out;

__attribute__((unused)) static void put_bytes(const void *bytes, size_t size)
{
    assert_true(out.size + size <= sizeof out.bytes);
    if (size > 0) memcpy(out.bytes + out.size, bytes, size);
    out.size += size;
}

__attribute__((unused)) static void put_frame(int type, int flags, int id, const void *payload,
                                              size_t size)
{
    unsigned char head[9] = {
        (unsigned char)(size >> 16), (unsigned char)(size >> 8), (unsigned char)size,
        (unsigned char)type,         (unsigned char)flags,       (unsigned char)(id >> 24),
        (unsigned char)(id >> 16),   (unsigned char)(id >> 8),   (unsigned char)id};
    put_bytes(head, sizeof head);
    put_bytes(payload, size);
}

__attribute__((unused)) static void put_number(int type, int id, uint32_t number)
{
    unsigned char bytes[4] = {(unsigned char)(number >> 24), (unsigned char)(number >> 16),
                              (unsigned char)(number >> 8), (unsigned char)number};
    put_frame(type, 0, id, bytes, sizeof bytes);
}

__attribute__((unused)) static void put_setting(int name, uint32_t value)
{
    unsigned char bytes[6] = {0,
                              (unsigned char)name,
                              (unsigned char)(value >> 24),
                              (unsigned char)(value >> 16),
                              (unsigned char)(value >> 8),
                              (unsigned char)value};
    put_frame(NGHTTP2_SETTINGS, 0, 0, bytes, sizeof bytes);
}

__attribute__((unused)) static void put_preface(void)
{
    put_bytes(PREFACE, sizeof PREFACE - 1);
    put_frame(NGHTTP2_SETTINGS, 0, 0, NULL, 0);
}

/* A header, as a literal that is neither indexed nor coded. */
__attribute__((unused)) static size_t write_string(unsigned char *to, const char *text)
{
    size_t size = strlen(text), at = 0;
    if (size < 127) {
        to[at++] = (unsigned char)size;
    } else {
        to[at++] = 127;
        size_t rest = size - 127;
        for (; rest >= 128; rest /= 128)
            to[at++] = (unsigned char)(128 | rest % 128);
        to[at++] = (unsigned char)rest;
    }
    memcpy(to + at, text, size);
    return at + size;
}

/* Names and values, and NULL. */
__attribute__((unused)) static size_t write_block(unsigned char *to, const char *const *headers)
{
    size_t at = 0;
    for (; *headers; headers += 2) {
        to[at++] = 0;
        at += write_string(to + at, headers[0]);
        at += write_string(to + at, headers[1]);
    }
    return at;
}

__attribute__((unused)) static void put_headers(int id, int flags, const char *const *headers)
{
    static unsigned char block[65536];
    put_frame(NGHTTP2_HEADERS, flags | END_HEADERS, id, block, write_block(block, headers));
}

#define HEADERS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define REQUEST(method, path, ...)                                                                 \
    HEADERS(":method", method, ":scheme", "http", ":path", path, ":authority", "a", ##__VA_ARGS__)

__attribute__((unused)) static void send_all(struct client *client)
{
    client_send(client, (const char *)out.bytes, out.size);
    out.size = 0;
}

/* ---- what comes ---- */

struct frame {
    int type, flags, id;
    size_t size;
    unsigned char payload[16384];
};

static nghttp2_hd_inflater *inflater;
static struct frame frame;
static char head[4096]; /* of the last HEADERS frame: lines "name: value\n" */

__attribute__((unused)) static void http2_open(struct client *client, async_http_server *server)
{
    assert_int_equal(nghttp2_hd_inflate_new(&inflater), 0);
    client_open(client, server);
    out.size = 0;
    put_preface();
}

__attribute__((unused)) static void http2_close(struct client *client)
{
    client_close(client);
    nghttp2_hd_inflate_del(inflater);
    inflater = NULL;
}

static void decode_head(void)
{
    const uint8_t *at = frame.payload;
    size_t left = frame.size, used = 0;
    nghttp2_nv nv;
    int flags;

    for (head[0] = '\0'; left > 0;) {
        ssize_t size = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, at, left, 1);
        assert_true(size >= 0);
        at += size;
        left -= (size_t)size;
        if (flags & NGHTTP2_HD_INFLATE_EMIT)
            used +=
                (size_t)snprintf(head + used, sizeof head - used, "%s: %s\n", nv.name, nv.value);
        if (flags & NGHTTP2_HD_INFLATE_FINAL) break;
    }
    nghttp2_hd_inflate_end_headers(inflater);
}

/* The next frame within `seconds`: false, there is none; *end says if the connection has ended. */
__attribute__((unused)) static bool next_frame(struct client *client, double seconds)
{
    unsigned char bytes[9];
    ssize_t got = -ETIMEDOUT;

    async_timeout (seconds)
        got = async_stream_readexactly(client->ends[1], bytes, sizeof bytes);
    async_block_error();
    if (got != sizeof bytes) return false;
    frame.size = (size_t)bytes[0] << 16 | (size_t)bytes[1] << 8 | bytes[2];
    frame.type = bytes[3];
    frame.flags = bytes[4];
    frame.id = (bytes[5] & 127) << 24 | bytes[6] << 16 | bytes[7] << 8 | bytes[8];
    assert_true(frame.size <= sizeof frame.payload);
    if (frame.size > 0 &&
        async_stream_readexactly(client->ends[1], frame.payload, frame.size) != (ssize_t)frame.size)
        return false;
    if (frame.type == NGHTTP2_HEADERS) decode_head();
    return true;
}

/* The next one of that type, whatever comes before. */
__attribute__((unused)) static bool find_frame(struct client *client, int type)
{
    while (next_frame(client, 100))
        if (frame.type == type) return true;
    return false;
}

__attribute__((unused)) static uint32_t number_at(size_t at)
{
    const unsigned char *p = frame.payload + at;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The stream's answer: its head is in `head`, its body in client->answer. The error of a stream that is
 * reset; -1: the connection has ended. */
__attribute__((unused)) static int read_answer(struct client *client, int id)
{
    client->size = 0;
    client->answer[0] = '\0';
    while (next_frame(client, 100)) {
        if (frame.id != id) continue;
        if (frame.type == NGHTTP2_RST_STREAM) return (int)number_at(0);
        if (frame.type == NGHTTP2_DATA && client->size + frame.size < sizeof client->answer) {
            memcpy(client->answer + client->size, frame.payload, frame.size);
            client->size += frame.size;
            client->answer[client->size] = '\0';
        }
        if (frame.type != NGHTTP2_WINDOW_UPDATE && (frame.flags & END_STREAM)) return 0;
    }
    return -1;
}

#endif
