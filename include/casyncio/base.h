/* base.h - what every other header needs: linkage, visibility, and the compiler's help. */
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
#else
#define ASYNC_BEGIN
#define ASYNC_END
#endif

#define ASYNC_API __attribute__((visibility("default")))
#define ASYNC_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define ASYNC_CLEANUP(function) __attribute__((cleanup(function)))

/* A name that is new wherever a macro is used, so that block macros nest without shadowing. */
#define ASYNC__JOIN(a, b) ASYNC__JOIN_(a, b)
#define ASYNC__JOIN_(a, b) a##b

#define ASYNC_VERSION_MAJOR 0
#define ASYNC_VERSION_MINOR 1
#define ASYNC_VERSION_PATCH 0
#define ASYNC_VERSION "0.1.0"

#endif
