/* fiber.c - what there is to a fiber besides the switch: its first frame, and what the sanitizers
 * are told.
 *
 * In a plain build a fiber is made by writing the registers that its first switch will load, and
 * nothing else is done, ever. AddressSanitizer must be told of a switch before it (where the next
 * stack lies) and after it (on the next stack; a fiber's very first instruction included), and
 * ThreadSanitizer just before it. */
#include "fiber.h"

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define RUNNING_ON_VALGRIND 0
#define VALGRIND_MAKE_MEM_UNDEFINED(address, size) ((void)(address), (void)(size))
#endif
#ifdef ASYNC__ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef ASYNC__TSAN
#include <sanitizer/tsan_interface.h>
#endif

void async__fiber_start(void) __attribute__((visibility("hidden")));

enum { RED_ZONE = 128 }; /* what a leaf function may have below its stack pointer */

static bool on_valgrind; /* kept, since each request costs 2 ns also where valgrind is not there */

/* What async__switch loads, lowest address first. */
#if defined(__x86_64__) && !defined(__ILP32__)
struct frame {
    void *r15, *r14, *r13;
    void *argument;        /* r12 */
    void (*entry)(void *); /* rbx */
    void *frame_pointer;   /* rbp */
    void (*start)(void);
    void *return_address[2]; /* of the first frame: none. Two, to align the stack */
};
_Static_assert(sizeof(struct frame) == 72, "as switch_x86_64.S has it");
#elif defined(__aarch64__)
struct frame {
    void *frame_pointer;   /* x29 */
    void (*start)(void);   /* x30 */
    void (*entry)(void *); /* x19 */
    void *argument;        /* x20 */
    void *x21_28[8];
    uint64_t d8_15[8];
};
_Static_assert(sizeof(struct frame) == 160, "as switch_aarch64.S has it");
#else
#error "casyncio has a context switch for x86-64 and AArch64"
#endif

#if defined(ASYNC__ASAN) || defined(ASYNC__TSAN)

#ifdef ASYNC__ASAN
/* The fiber that is being switched from; NULL if it has left for ever. Its stack is noted on
 * arrival in the next fiber: that of a thread is known in no other way. */
static __thread async__fiber *departed;

static void announce(async__fiber *from, async__fiber *to, bool leaving)
{
    departed = leaving ? NULL : from;
    __sanitizer_start_switch_fiber(leaving ? NULL : &from->fake, to->bottom, to->size);
}

static void arrive(void *fake)
{
    const void *bottom;
    size_t size;

    __sanitizer_finish_switch_fiber(fake, &bottom, &size);
    if (departed) {
        departed->bottom = bottom;
        departed->size = size;
    }
}
#else
#define announce(from, to, leaving) ((void)0)
#define arrive(fake) ((void)0)
#endif

static void begin(void *self)
{
    async__fiber *fiber = self;

    arrive(NULL);
    fiber->entry(fiber->argument);
}

#ifdef ASYNC__TSAN
#define tell_tsan(to) __tsan_switch_to_fiber((to)->tsan, 0)
#else
#define tell_tsan(to) ((void)0)
#endif

__attribute__((no_sanitize("thread"))) void async__fiber_switch_annotated(async__fiber *from,
                                                                          async__fiber *to)
{
    announce(from, to, false);
    tell_tsan(to);
    async__switch(&from->sp, to->sp);
    arrive(from->fake); /* `from` has been switched to again */
}

/* By way of async__switch, since a call to a noreturn function would have AddressSanitizer clean up
 * a stack that it takes to be left already. */
__attribute__((no_sanitize("thread"))) void async__fiber_leave_annotated(async__fiber *from,
                                                                         async__fiber *to)
{
    announce(from, to, true);
    tell_tsan(to);
    async__switch(&from->sp, to->sp);
    __builtin_trap();
}

#endif

void async__fiber_begin(async__fiber *fiber, void *top, void (*entry)(void *), void *argument)
{
    struct frame *frame = (struct frame *)top - 1;

    /* memcheck has marked what the last fiber on this stack popped as not accessible. */
    if (on_valgrind) VALGRIND_MAKE_MEM_UNDEFINED(frame, sizeof *frame);
#if defined(ASYNC__ASAN) || defined(ASYNC__TSAN)
    fiber->entry = entry;
    fiber->argument = argument;
    entry = begin;
    argument = fiber;
#endif
    *frame = (struct frame){.start = async__fiber_start, .entry = entry, .argument = argument};
    fiber->sp = frame;
#ifdef ASYNC__TSAN
    fiber->tsan = __tsan_create_fiber(0);
#endif
}

void async__fiber_init_thread(async__fiber *fiber)
{
    *fiber = (async__fiber){.sp = NULL};
    if (RUNNING_ON_VALGRIND) on_valgrind = true;
#ifdef ASYNC__TSAN
    fiber->tsan = __tsan_get_current_fiber();
#endif
}

#ifdef ASYNC__TSAN
void async__fiber_destroy(async__fiber *fiber)
{
    if (fiber->tsan && fiber->tsan != __tsan_get_current_fiber()) __tsan_destroy_fiber(fiber->tsan);
    fiber->tsan = NULL;
    fiber->sp = NULL;
}
#endif

void async__fiber_call_on(const async__fiber *other, void (*function)(void *), void *argument)
{
#if defined(ASYNC__ASAN) || defined(ASYNC__TSAN)
    (void)other;
    function(argument);
#else
    if (on_valgrind)
        function(argument);
    else
        async__call_on((void *)(((uintptr_t)other->sp - RED_ZONE) & ~(uintptr_t)15), function,
                       argument);
#endif
}
