/* utf8.c - UTF-8, byte by byte, so that a text may be cut anywhere. RFC 3629: neither surrogates, nor
 * longer forms than need be, nor more than U+10FFFF, each of which shows in the second byte. */
#include "websocket_internal.h"

static bool begin(struct async__utf8 *self, unsigned char byte)
{
    self->low = 0x80;
    self->high = 0xbf;
    if (byte < 0xc2 || byte > 0xf4) return false;
    self->need = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    switch (byte) {
    case 0xe0: self->low = 0xa0; break;
    case 0xed: self->high = 0x9f; break;
    case 0xf0: self->low = 0x90; break;
    case 0xf4: self->high = 0x8f; break;
    default: break;
    }
    return true;
}

bool async__utf8_check(struct async__utf8 *self, const char *data, size_t size)
{
    const char *end = data + size;

    while (data < end) {
        uint64_t eight;
        while (self->need == 0 && end - data >= 8) { /* plain ASCII */
            memcpy(&eight, data, 8);
            if (eight & 0x8080808080808080u) break;
            data += 8;
        }
        if (data == end) break;
        unsigned char byte = (unsigned char)*data++;
        if (self->need == 0) {
            if (byte >= 0x80 && !begin(self, byte)) return false;
            continue;
        }
        if (byte < self->low || byte > self->high) return false;
        self->low = 0x80;
        self->high = 0xbf;
        self->need--;
    }
    return true;
}

bool async__utf8_is_text(const char *data, size_t size)
{
    struct async__utf8 self = {0};
    return size == 0 || (async__utf8_check(&self, data, size) && self.need == 0);
}
