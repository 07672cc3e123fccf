/* utf8.h - texts that go to a terminal or into JSON, and may have any bytes in them. */
#ifndef CASYNCIO_UTF8_H
#define CASYNCIO_UTF8_H

#include <stddef.h>

/* The length of the character in UTF-8 that begins here, or 0: there is none that may be printed. */
static inline size_t async__character(const unsigned char *at, size_t left)
{
    size_t length = *at < 0x80 ? 1 : *at >= 0xF0 && *at < 0xF5 ? 4 : *at >= 0xE0 ? 3 : 2;

    if (*at < 0x20 || *at == 0x7F || (*at >= 0x80 && *at < 0xC2) || *at >= 0xF5 || length > left)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xC0) != 0x80) return 0;
    if (length == 2 && *at == 0xC2 && at[1] < 0xA0) return 0; /* control characters */
    if (length == 3 && ((*at == 0xE0 && at[1] < 0xA0) || (*at == 0xED && at[1] >= 0xA0))) return 0;
    if (length == 4 && ((*at == 0xF0 && at[1] < 0x90) || (*at == 0xF4 && at[1] >= 0x90))) return 0;
    return length;
}

#endif
