/* buffer.h - bytes on their way: appended at one end, consumed at the other. */
#ifndef CASYNCIO_BUFFER_H
#define CASYNCIO_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

/* The bytes are data[start .. end). All zero: empty, and without memory. */
struct async__buffer {
    char *data;
    size_t start, end, capacity;
};

static inline size_t async__buffer_size(const struct async__buffer *buffer)
{
    return buffer->end - buffer->start;
}

/* NULL without memory: an offset of 0 to that is undefined in C. */
static inline char *async__buffer_bytes(const struct async__buffer *buffer)
{
    return buffer->data ? buffer->data + buffer->start : NULL;
}

static inline size_t async__buffer_room(const struct async__buffer *buffer)
{
    return buffer->capacity - buffer->end;
}

/* Makes room for `size` more bytes behind the end: 0, or -ENOMEM, and nothing has changed. The
 * capacity at least doubles; without memory so far it is exactly `size`. What is there may move. */
int async__buffer_reserve(struct async__buffer *buffer, size_t size);

/* 0, or -ENOMEM, and nothing has changed. */
int async__buffer_append(struct async__buffer *buffer, const void *data, size_t size);

/* Drops the first `size` bytes. The memory stays. */
static inline void async__buffer_consume(struct async__buffer *buffer, size_t size)
{
    buffer->start += size;
    if (buffer->start == buffer->end) buffer->start = buffer->end = 0;
}

/* Empty, and without memory. */
void async__buffer_free(struct async__buffer *buffer);

#endif
