/* buffer.c - see buffer.h. Bytes are moved to the front when at least as many have been consumed
 * as are moved, so that each is moved at most once on its way. */
#include "buffer.h"
#include "memory.h"

#include <errno.h>
#include <string.h>

static void move_to_front(struct async__buffer *buffer)
{
    size_t there = async__buffer_size(buffer);

    memmove(buffer->data, async__buffer_bytes(buffer), there);
    buffer->start = 0;
    buffer->end = there;
}

/* To at least `need` bytes of capacity. Not by realloc, which would copy what is consumed, too. */
static int grow(struct async__buffer *buffer, size_t need)
{
    size_t there = async__buffer_size(buffer), capacity;

    if (__builtin_mul_overflow(buffer->capacity, 2, &capacity) || capacity < need) capacity = need;
    char *data =
        buffer->start == 0 ? async__realloc(buffer->data, capacity) : async__alloc(capacity);
    if (!data) return -ENOMEM;
    if (buffer->start > 0) {
        memcpy(data, async__buffer_bytes(buffer), there);
        async__free(buffer->data);
    }
    *buffer = (struct async__buffer){.data = data, .end = there, .capacity = capacity};
    return 0;
}

int async__buffer_reserve(struct async__buffer *buffer, size_t size)
{
    size_t there = async__buffer_size(buffer), need;

    if (size <= async__buffer_room(buffer)) return 0;
    if (__builtin_add_overflow(there, size, &need)) return -ENOMEM;
    if (need > buffer->capacity || buffer->start < there) return grow(buffer, need);
    move_to_front(buffer);
    return 0;
}

int async__buffer_append(struct async__buffer *buffer, const void *data, size_t size)
{
    int code = async__buffer_reserve(buffer, size);
    if (code < 0 || size == 0) return code;
    memcpy(buffer->data + buffer->end, data, size);
    buffer->end += size;
    return 0;
}

void async__buffer_free(struct async__buffer *buffer)
{
    async__free(buffer->data);
    *buffer = (struct async__buffer){0};
}
