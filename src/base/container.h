/* container.h - from a member to the struct that it is embedded in. */
#ifndef CASYNCIO_CONTAINER_H
#define CASYNCIO_CONTAINER_H

#include <stddef.h>

#define async__container(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#endif
