/* deflate.c - permessage-deflate (RFC 7692): what is agreed on, and zlib.
 *
 * zlib has no raw compressor with a window of 8 bits (1.2.9 and later refuse it), so a peer that wants one
 * gets nothing compressed. Its state is made with the first message that needs it, from the library's
 * own allocator. A message is compressed as a whole, since its text is there; what comes is decompressed
 * piece by piece and stopped at the limit, so that no input grows beyond it. */
#include "websocket_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#define PIECE ((unsigned)1 << 30) /* bytes that zlib is given at once */

static const unsigned char tail[4] = {0, 0, 0xff, 0xff}; /* of each message; it is not sent */

/* ---- parameters ---- */

struct parameters {
    bool server_no_takeover, client_no_takeover;
    int server_bits, client_bits; /* 0: not named; -1: named without a value */
};

static bool is_name(const char *text, size_t size, const char *name)
{
    return size == strlen(name) && async__http_begins(text, name);
}

static bool flag(bool *value, const char *text)
{
    bool fine = !*value && !text;
    *value = true;
    return fine;
}

/* 8 to 15, without leading zeros; it may stand in quotes. */
static bool bits(int *value, const char *text, size_t size)
{
    char *end, digits[3] = "";

    if (*value != 0) return false;
    *value = -1;
    if (!text) return true;
    if (size >= 2 && text[0] == '"' && text[size - 1] == '"') text++, size -= 2;
    if (size < 1 || size > 2 || text[0] == '0') return false;
    memcpy(digits, text, size);
    long number = strtol(digits, &end, 10);
    *value = (int)number;
    return end == digits + size && number >= 8 && number <= 15;
}

static void trim(const char **text, size_t *size)
{
    while (*size > 0 && (**text == ' ' || **text == '\t'))
        ++*text, --*size;
    while (*size > 0 && ((*text)[*size - 1] == ' ' || (*text)[*size - 1] == '\t'))
        --*size;
}

static bool parameter(struct parameters *self, const char *text, size_t size)
{
    const char *value = memchr(text, '=', size);
    size_t length = value ? (size_t)(value - text) : size;
    size_t value_size = value ? size - length - 1 : 0;

    if (value) value++;
    trim(&text, &length);
    if (value) trim(&value, &value_size);
    if (is_name(text, length, "server_no_context_takeover"))
        return flag(&self->server_no_takeover, value);
    if (is_name(text, length, "client_no_context_takeover"))
        return flag(&self->client_no_takeover, value);
    if (is_name(text, length, "server_max_window_bits"))
        return bits(&self->server_bits, value, value_size) && self->server_bits > 0;
    if (is_name(text, length, "client_max_window_bits"))
        return bits(&self->client_bits, value, value_size);
    return false;
}

/* "permessage-deflate; ...": false: it is another extension, or malformed. */
static bool parse(struct parameters *self, const char *text, size_t size)
{
    bool first = true, fine = true;

    *self = (struct parameters){0};
    for (const char *end = text + size; fine && text <= end;) {
        const char *stop = memchr(text, ';', (size_t)(end - text)), *item = text;
        size_t length = (size_t)((stop ? stop : end) - text);
        trim(&item, &length);
        fine = first ? is_name(item, length, "permessage-deflate") : parameter(self, item, length);
        first = false;
        text = (stop ? stop : end) + 1;
    }
    return fine;
}

static int least(int a, int b) { return a < b ? a : b; }

static int own_bits(int option) { return option > 0 ? option : 12; }

bool async__deflate_accept(struct async__deflate *self, const async_websocket_options *options,
                           const char *offers, char *answer)
{
    struct parameters offer;
    const char *item;
    size_t size;

    while (async__http_list_next(&offers, &item, &size)) {
        if (!parse(&offer, item, size)) continue;
        int server = least(own_bits(options->server_max_window_bits),
                           offer.server_bits > 0 ? offer.server_bits : 15);
        if (server < 9) continue; /* it could not be kept */
        int client = offer.client_bits > 0 ? offer.client_bits : 15;
        bool limit = offer.client_bits != 0 && options->client_max_window_bits > 0;
        if (limit) client = least(client, options->client_max_window_bits);
        *self = (struct async__deflate){
            .on = true,
            .send_bits = server,
            .receive_bits = client,
            .send_reset = offer.server_no_takeover || options->server_no_context_takeover,
            .receive_reset = offer.client_no_takeover || options->client_no_context_takeover,
        };
        int used = snprintf(answer, 200, "permessage-deflate; server_max_window_bits=%d", server);
        if (offer.client_bits != 0 && client < 15)
            used += snprintf(answer + used, 60, "; client_max_window_bits=%d", client);
        if (self->send_reset) used += snprintf(answer + used, 60, "; server_no_context_takeover");
        if (self->receive_reset) snprintf(answer + used, 60, "; client_no_context_takeover");
        return true;
    }
    return false;
}

void async__deflate_offer(const async_websocket_options *options, char *offer)
{
    int used = snprintf(offer, 200, "permessage-deflate; client_max_window_bits");

    if (options->client_max_window_bits > 0)
        used += snprintf(offer + used, 10, "=%d", options->client_max_window_bits);
    if (options->server_max_window_bits > 0)
        used += snprintf(offer + used, 60, "; server_max_window_bits=%d",
                         options->server_max_window_bits);
    if (options->server_no_context_takeover)
        used += snprintf(offer + used, 60, "; server_no_context_takeover");
    if (options->client_no_context_takeover)
        snprintf(offer + used, 60, "; client_no_context_takeover");
}

bool async__deflate_agree(struct async__deflate *self, const async_websocket_options *options,
                          const char *answer)
{
    struct parameters given;

    if (!parse(&given, answer, strlen(answer)) || given.client_bits < 0) return false;
    if (options->server_max_window_bits > 0 &&
        (given.server_bits == 0 || given.server_bits > options->server_max_window_bits))
        return false;
    if (options->client_max_window_bits > 0 && given.client_bits > options->client_max_window_bits)
        return false;
    if (options->server_no_context_takeover && !given.server_no_takeover) return false;
    int client = least(own_bits(options->client_max_window_bits),
                       given.client_bits > 0 ? given.client_bits : 15);
    *self = (struct async__deflate){
        .on = true,
        .send_bits = client < 9 ? 0 : client,
        .receive_bits = given.server_bits > 0 ? given.server_bits : 15,
        .send_reset = given.client_no_takeover || options->client_no_context_takeover,
        .receive_reset = given.server_no_takeover,
    };
    return true;
}

/* ---- zlib ---- */

static void *allocate(void *unused, unsigned count, unsigned size)
{
    (void)unused;
    return async__alloc((size_t)count * size);
}

static void release(void *unused, void *memory)
{
    (void)unused;
    async__free(memory);
}

static z_stream *make(bool sends, int window)
{
    z_stream *made = async__alloc_zeroed(sizeof *made);

    if (!made) return NULL;
    made->zalloc = allocate;
    made->zfree = release;
    int bad = sends ? deflateInit2(made, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -window, window - 7,
                                   Z_DEFAULT_STRATEGY)
                    : inflateInit2(made, -window);
    if (bad == Z_OK) return made;
    async__free(made);
    return NULL;
}

/* Room for more behind the end, which is doubled up to `most`: 0, -ENOMEM, -EMSGSIZE. */
static int grow(struct async__buffer *to, size_t most)
{
    size_t used = async__buffer_size(to), step = used < 512 ? 512 : used;

    if (used >= most) return -EMSGSIZE;
    if (step > most - used) step = most - used;
    return async__buffer_reserve(to, step);
}

/* What zlib has been given, into `to`. */
static int compress_piece(z_stream *z, struct async__buffer *to, int flush)
{
    do {
        int code = async__buffer_room(to) > 0 ? 0 : grow(to, SIZE_MAX);
        if (code < 0) return code;
        size_t room = async__buffer_room(to);
        z->next_out = (void *)(to->data + to->end);
        z->avail_out = room > PIECE ? PIECE : (unsigned)room;
        unsigned had = z->avail_out;
        deflate(z, flush);
        to->end += had - z->avail_out;
    } while (z->avail_out == 0);
    return 0;
}

int async__deflate_send(struct async__deflate *self, struct async__buffer *to, const void *data,
                        size_t size)
{
    int code = 0;

    to->start = to->end = 0;
    if (!self->send) self->send = make(true, self->send_bits);
    if (!self->send || async__buffer_reserve(to, size / 2 + 64) < 0) return -ENOMEM;
    for (size_t at = 0, piece; code == 0; at += piece) {
        piece = size - at > PIECE ? PIECE : size - at;
        self->send->next_in = (void *)((uintptr_t)data + at);
        self->send->avail_in = (unsigned)piece;
        bool last = piece == size - at;
        code = compress_piece(self->send, to, last ? Z_SYNC_FLUSH : Z_NO_FLUSH);
        if (last) break;
    }
    /* What was not sent must not be referred to. */
    if (code < 0 || self->send_reset) deflateReset(self->send);
    if (code < 0) return code;
    to->end -= sizeof tail;
    return 0;
}

/* One piece of what zlib gets. */
static int decompress(z_stream *z, struct async__buffer *to, size_t most, const void *data,
                      size_t size)
{
    z->next_in = (void *)(uintptr_t)data;
    z->avail_in = (unsigned)size; /* at most a frame's piece */
    for (;;) {
        /* One byte more than there may be, which tells that it is too much; and one for the 0. */
        int code = async__buffer_room(to) > 1 ? 0 : grow(to, most + 2);
        if (code < 0) return code;
        size_t room = async__buffer_room(to) - 1;
        if (room > most + 1 - async__buffer_size(to)) room = most + 1 - async__buffer_size(to);
        z->next_out = (void *)(to->data + to->end);
        z->avail_out = room > PIECE ? PIECE : (unsigned)room;
        unsigned had = z->avail_out;
        int result = inflate(z, Z_SYNC_FLUSH);
        to->end += had - z->avail_out;
        if (async__buffer_size(to) > most) return -EMSGSIZE;
        if (result == Z_MEM_ERROR) return -ENOMEM;
        /* The last block of a stream: another one may follow, with the window as it is (7.2.3.5). */
        if (result == Z_STREAM_END && inflateResetKeep(z) == Z_OK) continue;
        if (result != Z_OK && result != Z_BUF_ERROR) return -EBADMSG;
        if (z->avail_in == 0 && z->avail_out > 0) return 0;
        if (result == Z_BUF_ERROR && z->avail_out > 0) return -EBADMSG;
    }
}

int async__deflate_receive(struct async__deflate *self, struct async__buffer *to, size_t most,
                           const void *data, size_t size, bool last)
{
    if (!self->receive) self->receive = make(false, self->receive_bits);
    if (!self->receive) return -ENOMEM;
    int code = size > 0 ? decompress(self->receive, to, most, data, size) : 0;
    if (code == 0 && last) code = decompress(self->receive, to, most, tail, sizeof tail);
    if (code == 0 && last && self->receive_reset) inflateReset(self->receive);
    return code;
}

void async__deflate_forget(struct async__deflate *self)
{
    if (self->send) deflateReset(self->send);
}

void async__deflate_free(struct async__deflate *self)
{
    if (self->send) deflateEnd(self->send);
    if (self->receive) inflateEnd(self->receive);
    async__free(self->send);
    async__free(self->receive);
    self->send = self->receive = NULL;
}
