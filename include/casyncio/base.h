/* base.h - what every other header needs: linkage, visibility, and the compiler's help.
 *
 * C and C++. In C a few of the library's names are macros (async_with, async_for, async_gather,
 * async_spawn, ...). In C++ nothing in lower case is a macro: what is a function stays one, and the
 * block macros have their upper-case names alone (ASYNC_WITH, ASYNC_FOR, ASYNC_TIMEOUT, ...), which
 * C has too. A C++ exception must not leave a coroutine. */
#ifndef CASYNCIO_BASE_H
#define CASYNCIO_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
#define ASYNC_BEGIN extern "C" {
#define ASYNC_END }
#define ASYNC__NULL = nullptr
#else
#define ASYNC_BEGIN
#define ASYNC_END
#define ASYNC__NULL /* an argument that C++ may leave out */
#endif

#define ASYNC_API __attribute__((visibility("default")))
#define ASYNC_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define ASYNC_CLEANUP(function) __attribute__((cleanup(function)))

/* A name that is new wherever a macro is used, so that block macros nest without shadowing. */
#define ASYNC__JOIN(a, b) ASYNC__JOIN_(a, b)
#define ASYNC__JOIN_(a, b) a##b

/* 0, in an expression of C's; does not compile, with the text, unless the condition holds. Not in a struct's
 * declaration: in one clang takes the compound literals of the condition for constants. */
#define ASYNC__ASSERT(condition, text)                                                             \
    __extension__({                                                                                \
        _Static_assert(condition, text);                                                           \
        0u;                                                                                        \
    })

#define ASYNC_VERSION_MAJOR 0
#define ASYNC_VERSION_MINOR 2
#define ASYNC_VERSION_PATCH 0
#define ASYNC_VERSION "0.2.0"

ASYNC_BEGIN

/* The version of the library that runs, as ASYNC_VERSION is that of the headers: "0.2.0". Never
 * freed. Any thread. Programs are compatible with a library of the same 0.N. */
ASYNC_API const char *async_version(void);

ASYNC_END

/* Option structs may get new members at their end. An inline function of the header passes the
 * size that the struct had when the caller was compiled: members beyond it are read as 0. A binding
 * for another language calls the function with the two underscores and gives the size itself.
 * Structs that lie in the caller's memory have `reserved` words for later members: leave them 0. */

#endif
