/* fiber.h - stacks and the context switch. Knows no loop and no task.
 *
 * A fiber is a saved stack pointer; a stack is a piece of a slab, with a guard below it. Stacks
 * come from a pool that belongs to one thread, last in, first out, and are handed out already
 * touched. */
#ifndef CASYNCIO_FIBER_H
#define CASYNCIO_FIBER_H

#include <casyncio/base.h>

#if defined(__SANITIZE_ADDRESS__)
#define ASYNC__ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASYNC__ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define ASYNC__TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ASYNC__TSAN 1
#endif
#endif

/* ---- stacks (stack.c) ---- */

/* A stack as its user sees it: [base, top) is usable, with the guard just below base. `top` is
 * aligned to 64 and coloured: the tops of neighbours start at different cache sets. */
typedef struct async__stack_pool async__stack_pool;

/* The part of a pool that the inline functions need: the tops of the free stacks, last in, first
 * out, and the floor down to which async__stack_get takes them without the slow path. */
struct async__stack_pool {
    void **tops;
    size_t idle;   /* how many of them there are */
    size_t floor;  /* async__stack_get_slow is asked when idle has come down to this */
    size_t usable; /* from a stack's base to the end of its top page */
    size_t page_mask;
    size_t total; /* stacks, handed out and idle */
};

/* A pool for the calling thread; NULL: errno is ENOMEM, or EINVAL for a size that is too large for
 * any address space. `stack_size`, in bytes with the guard, is rounded up to an odd number of
 * pages; 0 is 256 KiB, and the least is 32 KiB. */
async__stack_pool *async__stack_pool_new(size_t stack_size);
void async__stack_pool_free(async__stack_pool *pool); /* every stack must be back */

void *async__stack_get_slow(async__stack_pool *pool);
void async__stack_lend(const async__stack_pool *pool, void *top); /* tell AddressSanitizer */
void async__stack_return(const async__stack_pool *pool, void *top);

/* Takes a stack from the pool. The result is its top; NULL if there is no memory or no more
 * mappings (errno ENOMEM; async__stack_error says which in words). */
static inline void *async__stack_get(async__stack_pool *pool)
{
    if (__builtin_expect(pool->idle == pool->floor, 0)) return async__stack_get_slow(pool);
    void *top = pool->tops[--pool->idle];
#ifdef ASYNC__ASAN
    async__stack_lend(pool, top);
#endif
    return top;
}

/* Gives a stack back; no fiber may run on it any more. The 512 bytes below its top keep their
 * contents, and can be read, until the stack is handed out again or trimmed (they read as 0 from
 * then on). */
static inline void async__stack_put(async__stack_pool *pool, void *top)
{
#ifdef ASYNC__ASAN
    async__stack_return(pool, top);
#endif
    pool->tops[pool->idle++] = top;
}

/* Why the last async__stack_get or async__stack_pool_new of this thread gave NULL. */
const char *async__stack_error(void);

/* From a top (of async__stack_get) to the lowest usable address. */
static inline void *async__stack_base(const async__stack_pool *pool, const void *top)
{
    return (void *)((((uintptr_t)top - 1) | pool->page_mask) + 1 - pool->usable);
}

/* Whether the address lies in the guard of one of the pool's stacks; *base is then the base of that
 * stack. Async-signal-safe. */
bool async__stack_guards(const async__stack_pool *pool, const void *address, void **base);

/* Gives the memory of idle stacks back to the kernel, a bounded number a call; called when the loop
 * is about to sleep. Only stacks that were not needed for a tenth of a second are trimmed, so that
 * load that comes in waves keeps its memory. True if it is worth calling again. */
bool async__stack_trim(async__stack_pool *pool);

/* How many bytes below its top a stack has been written to, since it was mapped or last measured; from
 * `bottom` down it is cleared. No fiber may run on it any more. */
size_t async__stack_depth(async__stack_pool *pool, void *top, void *bottom);

/* How many stacks there are, handed out and in all; for tests and the call graph. */
size_t async__stack_pool_used(const async__stack_pool *pool);
size_t async__stack_pool_total(const async__stack_pool *pool);

/* ---- fibers (fiber.c, switch_*.S) ---- */

typedef struct async__fiber {
    void *sp; /* where its registers are saved while it does not run */
#if defined(ASYNC__ASAN) || defined(ASYNC__TSAN)
    void (*entry)(void *);
    void *argument;
#endif
#ifdef ASYNC__ASAN
    const void *bottom; /* its stack, as AddressSanitizer wants it told at each switch */
    size_t size;
    void *fake;
#endif
#ifdef ASYNC__TSAN
    void *tsan;
#endif
} async__fiber;

/* All of async__fiber_init but what AddressSanitizer is told of the stack. */
void async__fiber_begin(async__fiber *fiber, void *top, void (*entry)(void *), void *argument);
/* Makes a fiber that will run entry(argument) on [base, top) the first time it is switched to; top
 * is aligned to 16. entry never returns: it switches away for the last time with
 * async__fiber_leave. */
static inline void async__fiber_init(async__fiber *fiber, void *base, void *top,
                                     void (*entry)(void *), void *argument)
{
    async__fiber_begin(fiber, top, entry, argument);
#ifdef ASYNC__ASAN
    fiber->bottom = base;
    fiber->size = (size_t)((char *)top - (char *)base);
    fiber->fake = NULL;
#else
    (void)base;
#endif
}
/* Makes `fiber` stand for the thread's own stack, so that it can be switched from. */
void async__fiber_init_thread(async__fiber *fiber);
/* Ends the book-keeping of a fiber that has left for ever, or was never run (sanitizers). */
#ifdef ASYNC__TSAN
void async__fiber_destroy(async__fiber *fiber);
#else
static inline void async__fiber_destroy(async__fiber *fiber) { fiber->sp = NULL; }
#endif

/* The bare switch, in assembly: saves the callee-saved registers on this stack, its pointer in
 * *from, and goes on where `to` left off. The floating-point environment belongs to the thread, not
 * to the fiber. async__jump is the same without saving anything. */
void async__switch(void **from, void *to) __attribute__((visibility("hidden")));
void async__jump(void *to) __attribute__((visibility("hidden"), noreturn));

/* Calls function(argument) with the stack pointer `sp`, aligned to 16, and comes back to this stack. */
void async__call_on(void *sp, void (*function)(void *), void *argument)
    __attribute__((visibility("hidden")));

void async__fiber_switch_annotated(async__fiber *from, async__fiber *to);
void async__fiber_leave_annotated(async__fiber *from, async__fiber *to) __attribute__((noreturn));

static inline void async__fiber_switch(async__fiber *from, async__fiber *to)
{
#if defined(ASYNC__ASAN) || defined(ASYNC__TSAN)
    async__fiber_switch_annotated(from, to);
#else
    async__switch(&from->sp, to->sp);
#endif
}

/* The last switch of a fiber: it will not come back. */
static inline void __attribute__((noreturn))
async__fiber_leave(async__fiber *from, async__fiber *to)
{
#if defined(ASYNC__ASAN) || defined(ASYNC__TSAN)
    async__fiber_leave_annotated(from, to);
#else
    (void)from;
    async__jump(to->sp);
#endif
}

/* Calls function(argument) on the stack of a fiber that does not run, below what is in use of it. The
 * function must not switch, and the other fiber does not run before it has returned. (Under a sanitizer or
 * valgrind, which would have to be told, it is called on this stack.) */
void async__fiber_call_on(const async__fiber *other, void (*function)(void *), void *argument);

/* ---- stack overflow (overflow.c) ---- */

/* Installs handlers of SIGSEGV and SIGBUS that run on an alternate stack of this thread's. If the
 * address that faulted lies in a guard of this thread's pool, `name` is called for a description of
 * the fiber that overflowed (it must be async-signal-safe, and returns a string); one line is
 * written to standard error: "casyncio: stack overflow in <name>: ..."; then, for every fault, the
 * previous handler is called. A second call in a thread replaces pool and name. 0, -ENOMEM, or
 * another negated errno.
 *
 * async__overflow_release undoes it; to be called before the pool is freed, in the same thread and
 * not on a fiber. A handler that was installed later is left alone. */
int async__overflow_install(async__stack_pool *pool, const char *(*name)(void));
void async__overflow_release(void);

#endif
