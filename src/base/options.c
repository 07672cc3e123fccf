/* options.c - see options.h. */
#include "options.h"

#include <errno.h>
#include <string.h>

int async__options(void *own, size_t own_size, const void *given, size_t given_size)
{
    memset(own, 0, own_size);
    if (!given) return 0;
    memcpy(own, given, given_size < own_size ? given_size : own_size);
    for (size_t i = own_size; i < given_size; i++)
        if (((const char *)given)[i]) return -EINVAL;
    return 0;
}

int async__option_seconds(double *value, double otherwise)
{
    if (*value == 0) *value = otherwise;
    return *value > 0 ? 0 : -EINVAL; /* NaN is not */
}
