/* format.c - vsnprintf to a buffer of sufficient size, for the calls that print. Short texts are
 * formatted on the caller's stack. */
#include "io.h"

#include <stdio.h>

int async__format(struct async__text *text, const char *format, va_list arguments)
{
    va_list again;

    va_copy(again, arguments);
    text->data = text->small;
    int size = vsnprintf(text->small, sizeof text->small, format, arguments), code = 0;
    if (size < 0) {
        code = async__failf(-errno, "printf: %s", async_strerror(-errno));
    } else if ((size_t)size >= sizeof text->small) {
        text->data = async__alloc((size_t)size + 1);
        if (text->data)
            vsnprintf(text->data, (size_t)size + 1, format, again);
        else
            code = async__failf(-ENOMEM, "no memory for a text of %d bytes", size);
    }
    va_end(again);
    text->size = size < 0 ? 0 : (size_t)size;
    return code;
}

void async__format_free(struct async__text *text)
{
    if (text->data != text->small) async__free(text->data);
}
