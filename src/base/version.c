/* version.c - which library this is. */
#include <casyncio/base.h>

const char *async_version(void) { return ASYNC_VERSION; }
