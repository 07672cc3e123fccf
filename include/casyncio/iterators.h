/* iterators.h - async iterators and generators            asyncio: `async for`, async generators */
#ifndef CASYNCIO_ITERATORS_H
#define CASYNCIO_ITERATORS_H

#include <casyncio/tasks.h>

ASYNC_BEGIN

/* Anything that yields values one after another, each of which may have to be awaited. Embed one in
 * a struct of your own (first, or at any place that `next` can find its way back from) to make that
 * an iterator. One task may use it at a time. */
typedef struct async_iterator async_iterator;
struct async_iterator {
    /* Puts the next value into *value and gives 1; 0 at the end; a negative code for an error, that
     * of a cancellation among them. May block. async_for does not call it again after 0 or an
     * error. asyncio: __anext__, StopAsyncIteration */
    int (*next)(async_iterator *self, void *value);
    /* Called once, however the loop is left; may be NULL. May block (in a shield, as the exit of
     * async_with), and may free the iterator. asyncio: aclose */
    void (*close)(async_iterator *self);
    size_t size; /* of a value, in bytes, as sizeof gives it */
    void *reserved[2];
};

/* async_for (type, name, iterator) { ... }: declares `type name`, and runs the block for each
 * value; the type must be what the iterator yields: if its size is another, the error is -EINVAL
 * and the block does not run. break, return and goto close the iterator too. A NULL iterator (which
 * could not be made) and an iteration that ends with an error are errors that the block could not
 * report: async_block_error() gives them (see contexts.h). C++: ASYNC_FOR.
 * asyncio: async for, which does not close */
#define ASYNC_FOR(type, name, iterator)                                                            \
    ASYNC__FOR(type, name, iterator, ASYNC__JOIN(async__for_, __COUNTER__))
#define ASYNC__FOR(type, name, iterator, loop)                                                     \
    for (async__for loop ASYNC_CLEANUP(async__for_leave) = async__for_mark();                      \
         loop.live == 2 && async__for_begin(&loop, iterator, sizeof(type)); loop.live = 0)         \
        for (type name; async__for_next(&loop, &name);)
#ifndef __cplusplus
#define async_for(type, name, iterator) ASYNC_FOR(type, name, iterator)
#endif

typedef struct async__for {
    async_iterator *iterator;
    int live; /* 2: the iterator is yet to be made, 1: in the loop, 0: at its end */
    unsigned failures;
    void *reserved;
} async__for;

ASYNC_API async__for async__for_mark(void);
ASYNC_API bool async__for_begin(async__for *loop, async_iterator *iterator, size_t size);
ASYNC_API bool async__for_next(async__for *loop, void *value);
ASYNC_API void async__for_leave(async__for *loop);

/* ---- generators: an iterator written as a coroutine ---- */

typedef struct async_generator async_generator;

/* Makes an iterator from a coroutine, which runs as a task of its own each time the next value is
 * asked for, until it yields it. The values are `size` bytes each; `argument` must be good until it
 * is closed. What the coroutine returns, if negative, is the iteration's error. Nothing runs before
 * the first value is asked for. If the task that waits for a value is cancelled, so is the
 * generator, for good. A second task that asks while one waits gets -EBUSY.
 *
 * Closing it (async_for does, or async_generator_close) makes blocking calls in it, async_yield
 * among them, give -ECANCELED, waits until the coroutine has returned, whose result is dropped, and
 * frees the iterator; one that is never closed is freed at the end of the loop. NULL: -ENOMEM,
 * -EINVAL for a size of 0 or a function that is NULL, -EPERM outside of a task. Does not block.
 * asyncio: an async def with yield in it */
ASYNC_API async_iterator *async_generate_with(int (*function)(async_generator *self,
                                                              void *argument),
                                              void *argument, size_t size, const char *coroutine);
#ifndef __cplusplus
#define async_generate(function, argument, size)                                                   \
    async_generate_with(function, argument, size, #function)
#else
inline async_iterator *async_generate(int (*function)(async_generator *self, void *argument),
                                      void *argument, size_t size)
{
    return async_generate_with(function, argument, size, nullptr);
}
#endif

/* Hands a value (copied) to the task that asks for it, and waits until the next one is asked for.
 * 0; negative once the consumer has gone or been cancelled: then the generator should clean up and
 * return. -EPERM outside of the generator's coroutine. asyncio: `yield` */
ASYNC_API int async_yield(async_generator *self, const void *value);

/* Closes a generator that is used without async_for; see above. Blocks until the coroutine has
 * returned, also if the calling task is cancelled. In a callback, in the generator's own coroutine,
 * and while another task waits for a value, it only cancels the generator, which is then freed at
 * the end of the loop. NULL is fine.
 * asyncio: aclose */
ASYNC_API void async_generator_close(async_iterator *iterator);

ASYNC_END
#endif
