/* layout.c - the list of all loops, and the description by which other programs find it: see layout.h.
 * Nothing in this process reads either of them. */
#include "layout.h"

#include "trace.h"

#include <pthread.h>

/* ---- the list ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static async_loop *first;

void async__layout_forked(void) { lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER; }

void async__loop_list(async_loop *loop)
{
    pthread_mutex_lock(&lock);
    loop->next = first;
    if (first) first->previous = loop;
    first = loop;
    pthread_mutex_unlock(&lock);
}

void async__loop_unlist(async_loop *loop)
{
    pthread_mutex_lock(&lock);
    if (loop->previous)
        loop->previous->next = loop->next;
    else
        first = loop->next;
    if (loop->next) loop->next->previous = loop->previous;
    pthread_mutex_unlock(&lock);
}

/* ---- the description ---- */

#define LOOP(member) offsetof(async_loop, member)
#define TIMERS(member) offsetof(struct async__timers, member)
#define TRACE(member) offsetof(struct async__trace, member)
#define ENTRY(member) offsetof(struct async__timer_entry, member)

/* Addresses are constants that the linker or the loader fills in. */
extern const struct async__layout async__layout;
const struct async__layout async__layout __attribute__((used)) = {
    .head = {ASYNC__LAYOUT_MAGIC, ASYNC__LAYOUT_VERSION, sizeof(struct async__layout)},
    .library = ASYNC_VERSION,
    .first = (uintptr_t)&first,
    .loop =
        {
            .size = sizeof(async_loop),
            .next = LOOP(next),
            .previous = LOOP(previous),
            .ready = LOOP(ready),
            .running = LOOP(running),
            .virtual_clock = LOOP(virtual_clock),
            .timed = LOOP(timed),
            .debug = LOOP(debug),
            .shared = LOOP(shared),
            .now = LOOP(now),
            .last_poll = LOOP(last_poll),
            .credit = LOOP(credit),
            .timers = LOOP(timers),
            .poller = LOOP(poller),
            .client = LOOP(client),
            .watches = LOOP(watches),
            .jobs = LOOP(jobs),
            .signals = LOOP(signals),
            .foreign = LOOP(foreign),
            .forks = LOOP(forks),
            .looks = LOOP(stats.looks),
            .sleeps = LOOP(stats.sleeps),
            .callbacks = LOOP(stats.callbacks),
            .ran = LOOP(stats.ran),
            .run_since = LOOP(stats.run_since),
            .asleep = LOOP(stats.asleep),
            .longest_step = LOOP(stats.longest_step),
            .timer_lag = LOOP(stats.timer_lag),
            .fds = LOOP(fds),
            .fds_length = LOOP(fds_length),
            .wake_fd = LOOP(wake_fd),
            .executor = LOOP(executor),
            .resolver = LOOP(resolver),
            .trace = LOOP(trace),
        },
    .fd =
        {
            .size = sizeof(struct async__fd),
            .interest = offsetof(struct async__fd, interest),
        },
    .pool = (uintptr_t)&async__pool_layout,
    .callback =
        {
            .next = offsetof(async_callback, next),
            .prev = offsetof(async_callback, prev),
            .run = offsetof(async_callback, run),
        },
    .timers =
        {
            .heap = TIMERS(heap),
            .length = TIMERS(length),
            .cancelled = TIMERS(cancelled),
            .slots_used = TIMERS(slots_used),
            .entry_size = sizeof(struct async__timer_entry),
            .when = ENTRY(when),
            .slot = ENTRY(slot),
        },
    .trace =
        {
            .events = TRACE(events),
            .capacity = TRACE(capacity),
            .count = TRACE(count),
            .asker = TRACE(asker),
            .begin = TRACE(begin),
            .event_size = sizeof(struct async__trace_event),
        },
    .request = (uintptr_t)&async__trace_request,
};

/* In C a section cannot be told to be a note. The distance, and not the address, so that the loader has
 * nothing to write here. */
__asm__(
    ".pushsection .note.casyncio, \"a\", %note\n"
    ".balign 4\n"
    ".long 9, 8, 1\n" /* the lengths of the name and of what follows it, ASYNC__LAYOUT_NOTE_TYPE */
    ".asciz \"" ASYNC__LAYOUT_NOTE "\"\n"
    ".balign 4\n"
    ".quad async__layout - .\n"
    ".popsection\n");
