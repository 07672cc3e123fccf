/* options.h - option structs, of whatever size the caller knows them: see casyncio/base.h. */
#ifndef CASYNCIO_OPTIONS_H
#define CASYNCIO_OPTIONS_H

#include <stddef.h>

/* Copies the options that a caller gave into those of this library: members that the caller does not
 * know are 0. NULL: all are. 0; -EINVAL if the caller sets what this library does not know. */
int async__options(void *own, size_t own_size, const void *given, size_t given_size);

/* A time limit: 0 becomes `otherwise`. 0; -EINVAL if it is negative or not a number. */
int async__option_seconds(double *value, double otherwise);

#endif
