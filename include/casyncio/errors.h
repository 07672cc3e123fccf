/* errors.h - error codes and error records            asyncio: Exceptions
 *
 * Every call that can fail returns an int or a ssize_t: 0 or more is success, a negative number is
 * an error from one table: a negated errno value, or one of casyncio's own codes below. The detail
 * (a message that names what was wrong, where it was raised, the tasks it passed through) is on the
 * error record of the task in which it happened, until the next error there replaces it; a success
 * leaves it as it is. Outside of tasks (in a callback, before async_run) the record is the
 * thread's: what is said of "the task" below is then said of the thread.
 *
 * A block macro (contexts.h, async_for) cannot return a code: ask async_block_error() after it.
 *
 * A handle that is NULL gives -EBADF with a message, unless a function says otherwise (those that
 * release something take NULL); functions that have no code to give return 0, false, NULL or "".
 * The engine's own functions (loop.h) do not check for NULL. None of the functions of this header
 * blocks. */
#ifndef CASYNCIO_ERRORS_H
#define CASYNCIO_ERRORS_H

#include <casyncio/base.h>
#include <stdarg.h>

ASYNC_BEGIN

/* casyncio's own codes: X(name, value, text). They stand clear of every errno value. */
#define ASYNC_ERRORS(X)                                                                            \
    X(ASYNC_EINCOMPLETE, -5001, "The stream ended before all of it was read")                      \
    X(ASYNC_ELIMIT, -5002, "The separator was not found within the limit")                         \
    X(ASYNC_ENONAME, -5003, "The host name does not resolve")                                      \
    X(ASYNC_ETRYNAME, -5004, "The name server cannot answer for now")                              \
    X(ASYNC_ENAME, -5005, "The name server failed")                                                \
    X(ASYNC_ESHUTDOWN, -5006, "The queue has been shut down")                                      \
    X(ASYNC_ETLS, -5007, "TLS failed")                                                             \
    X(ASYNC_ECERT, -5008, "The peer's certificate could not be verified")                          \
    X(ASYNC_EHTTP, -5009, "The peer broke the HTTP protocol")                                      \
    X(ASYNC_ETOOMANYREDIRECTS, -5010, "Too many redirects")                                        \
    X(ASYNC_EHTTPSTATUS, -5011, "The response's status says that it failed")                       \
    X(ASYNC_EBROKENBARRIER, -5012, "The barrier is broken")

#define ASYNC_ERROR_ENUM(name, value, text) name = value,
enum async_error_codes { ASYNC_ERRORS(ASYNC_ERROR_ENUM) ASYNC_ERROR_LAST = -5999 };
#undef ASYNC_ERROR_ENUM

/* The text for a code, of errno or of the table above; "Success" for 0 or more; never NULL. The
 * string of a known code is never freed; that of an unknown one is valid until the thread's next
 * call. Any thread. */
ASYNC_API const char *async_strerror(int code);

/* The short name of a code, such as "ECANCELED" or "ASYNC_ELIMIT"; "0" for a success and "?" for
 * one that is not known. Never freed. Any thread. */
ASYNC_API const char *async_error_name(int code);

/* Raises: puts an error record with a formatted message (of at most 4096 bytes) on the current task
 * and returns `code`, so that a coroutine can say `return async_raise(-EINVAL, "no such user: %s",
 * name);`. `code` must be negative; anything else is turned into -EINVAL. If there is no memory for
 * the record, the code is returned all the same and the message is async_strerror's.
 * asyncio: `raise` */
#ifndef __cplusplus
#define async_raise(...) async_raise_at(__FILE__, __LINE__, __func__, __VA_ARGS__)
#endif
ASYNC_API int async_raise_at(const char *file, int line, const char *function, int code,
                             const char *format, ...) ASYNC_PRINTF(5, 6);
ASYNC_API int async_raise_at_list(const char *file, int line, const char *function, int code,
                                  const char *format, va_list arguments) ASYNC_PRINTF(5, 0);

/* The code of the last call that failed in the current task, like errno: it has a meaning right
 * after a call that has failed (a constructor that gave NULL, say); 0 if none has failed. */
ASYNC_API int async_error_code(void);

/* The error of a block that could not report it, because its entry failed (the block was skipped),
 * its iteration ended with an error, its group failed, or its stream or file could not be closed
 * well; 0 if there is none. Of several errors it is the first. The call marks the error as seen: it
 * becomes the last error (async_error_message describes it), and a second call gives 0.
 *
 * It belongs to the task, not to a function: ask right after the block, and before a call of a
 * function that asks as well; and take the code before the message, since the two as arguments of one
 * call may be evaluated in either order.
 *
 * The usual end of a coroutine with blocks is `return async_block_error();`. An error that is not
 * asked for becomes the task's result if the coroutine returns success: like an exception that
 * nothing caught, it is late, but not lost. */
ASYNC_API int async_block_error(void);

/* For a function or a block of a library that cannot return a code: the last error, whose code this
 * is, is one that async_block_error() gives, unless there is one already. Gives the code; does
 * nothing for 0 and more. */
ASYNC_API int async_block_fail(int code);

/* The message of the last error in the current task: what was raised; of a call that was refused its
 * name, and why; of a timeout how long it was, and what it was that did not come in time; else
 * async_strerror of the code; "" if there is none. Never NULL. Good until the task's next error, or until the
 * cancellation that it is about is taken back. */
ASYNC_API const char *async_error_message(void);

/* Where the last error was raised, as "file:line in function", or "" where that is not known
 * (errors of the library itself). Good until the thread's next call of it. */
ASYNC_API const char *async_error_where(void);

/* The chain of awaits that the last error came through, innermost first, as "Task-3 (fetch) <-
 * Task-1 (main_task)": the task that raised it, and each that awaited it; cut off at 1023 bytes. ""
 * outside of a task, and if there is no error. Good until the thread's next call of it. */
ASYNC_API const char *async_error_chain(void);

/* A group's failure can have several causes: their number (1 for an error that has no group, 0 if
 * there is none), and the message of cause `index`, counted from 0, with its code in *code (may be
 * NULL); NULL beyond the end. Good until the task's next error.
 * asyncio: ExceptionGroup.exceptions */
ASYNC_API size_t async_error_causes(void);
ASYNC_API const char *async_error_cause(size_t index, int *code);

ASYNC_END

#ifdef __cplusplus
/* The code, and the place where it is converted: that of the call. */
struct async__raised {
    int code, line;
    const char *file, *function;
    async__raised(int value, const char *from = __builtin_FILE(), int at = __builtin_LINE(),
                  const char *in = __builtin_FUNCTION())
        : code(value), line(at), file(from), function(in)
    {
    }
};
ASYNC_PRINTF(2, 3) inline int async_raise(async__raised raised, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int code = async_raise_at_list(raised.file, raised.line, raised.function, raised.code, format,
                                   arguments);
    va_end(arguments);
    return code;
}
#endif
#endif
