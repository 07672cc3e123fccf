/* backtrace.h - where the program is, in words: "program(function+0x12)", for addr2line. Nothing where
 * the C library has no backtrace(3), such as musl. */
#ifndef CASYNCIO_BACKTRACE_H
#define CASYNCIO_BACKTRACE_H

#include <stddef.h>

/* Up to `capacity` return addresses, innermost first, without the frame of its own. The first call in a
 * process may allocate; later ones are async-signal-safe. */
int async__backtrace(void **frames, int capacity);
/* Writes the frames into text, which is cut off at its end, with `between` between two. */
void async__describe_frames(void *const *frames, int count, const char *between, char *text,
                            size_t size);

#endif
