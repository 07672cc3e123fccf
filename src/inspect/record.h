/* record.h - a struct of the program that is looked at, as it was read: with as many bytes as its layout
 * says. A field that lies outside of them is 0. */
#ifndef CASYNCIO_INSPECT_RECORD_H
#define CASYNCIO_INSPECT_RECORD_H

#include "image.h"

#include <string.h>

enum { STRUCT = 4096 }; /* no struct that a layout describes is larger */

struct record {
    unsigned char bytes[STRUCT];
    uint32_t size;
};

static inline bool read_record(const struct image *image, uint64_t address, uint32_t size,
                               struct record *record)
{
    record->size = size < STRUCT ? size : STRUCT;
    return address && image_read(image, address, record->bytes, record->size);
}

/* Whether a field lies within a struct, whatever a layout says. */
static inline bool fits(uint32_t offset, size_t size, uint32_t whole)
{
    return offset <= whole && size <= whole - offset;
}

static inline void field(const struct record *record, uint32_t offset, void *to, size_t size)
{
    if (fits(offset, size, record->size))
        memcpy(to, record->bytes + offset, size);
    else
        memset(to, 0, size);
}

static inline uint64_t word(const struct record *record, uint32_t offset)
{
    uint64_t value;
    field(record, offset, &value, sizeof value);
    return value;
}

static inline uint32_t half(const struct record *record, uint32_t offset)
{
    uint32_t value;
    field(record, offset, &value, sizeof value);
    return value;
}

static inline unsigned char byte(const struct record *record, uint32_t offset)
{
    unsigned char value;
    field(record, offset, &value, sizeof value);
    return value;
}

#endif
