/* signals.c - signals as callbacks in a loop.
 *
 * Dispositions belong to the process, and so does the table here: it says which loop each signal
 * goes to. The handler sets a bit in that loop's state and wakes it; the rest happens in the
 * loop's thread.
 *
 * The handler may run in any thread, also while the loop's own thread removes the loop from the
 * table. So the handler increments `inside` before it reads the table, and decrements it when it has
 * finished with the loop; after a loop has been removed, its thread waits until `inside` is 0. From
 * then on no handler uses the loop. A handler runs with all signals blocked, so it always finishes.
 *
 * After fork the child shares the parent's eventfd, and our handler there would wake the parent. So
 * in the child the previous dispositions are restored and the table is emptied. Children made without
 * fork (vfork, clone) run no such code; the handler finds that the process id is another, restores
 * the disposition itself, and raises the signal again. */
#include "loop_internal.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "../base/faults.h"

enum { SIGNALS = 64 };

static struct slot {
    _Atomic(async_loop *) loop;
    atomic_int inside;         /* handlers that may be using the loop */
    atomic_bool own;           /* async_run's handling of Ctrl-C, and no handler of the user's */
    atomic_int arrivals;       /* while it is */
    struct sigaction previous; /* valid while our handler is installed */
} table[SIGNALS + 1];

static atomic_int process; /* whose table this is */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_error;

struct async__signal_state {
    _Atomic uint64_t pending; /* bit n - 1: signal n has arrived */
    struct {
        async_callback *user, *own; /* own: async_run's, not called while there is a user's */
    } callbacks[SIGNALS + 1];
};

static uint64_t bit(int number) { return (uint64_t)1 << (number - 1); }

/* Ctrl-C asks the program to end. If it is pressed again the program is not to be trusted with that:
 * a task may compute for ever, or ignore its cancellation. So this is decided here, in the handler. */
static bool is_second(struct slot *slot)
{
    return atomic_load(&slot->own) && atomic_fetch_add(&slot->arrivals, 1) > 0;
}

static void on_signal(int number)
{
    int saved = errno;
    struct slot *slot = &table[number];
    pid_t here = getpid();
    if (here != atomic_load(&process) || is_second(slot)) { /* hands it back */
        sigaction(number, &slot->previous, NULL);
        kill(here, number); /* not raise: musl's uses a cached thread id, which is the parent's */
    } else {
        atomic_fetch_add(&slot->inside, 1);
        async_loop *loop = atomic_load(&slot->loop);
        if (loop) {
            atomic_fetch_or(&loop->signal_state->pending, bit(number));
            async__wake(loop);
        }
        atomic_fetch_sub(&slot->inside, 1);
    }
    errno = saved;
}

static bool is_ours(const struct sigaction *action)
{
    return !(action->sa_flags & SA_SIGINFO) && action->sa_handler == on_signal;
}

/* Restores the previous disposition, unless the program has replaced our handler meanwhile. */
static void restore(int number)
{
    struct sigaction current;
    if (sigaction(number, NULL, &current) == 0 && is_ours(&current))
        sigaction(number, &table[number].previous, NULL);
}

/* ---- fork ---- */

static void after_fork(void)
{
    for (int number = 1; number <= SIGNALS; number++) {
        if (atomic_load(&table[number].loop)) restore(number);
        atomic_store(&table[number].loop, NULL);
        atomic_store(&table[number].inside, 0); /* the threads that counted are the parent's */
    }
    atomic_store(&process, getpid());
}

static void start(void)
{
    atomic_store(&process, getpid());
    once_error = pthread_atfork(NULL, NULL, after_fork);
}

/* ---- the table ---- */

static int install(async_loop *loop, int number)
{
    struct slot *slot = &table[number];
    /* No SA_ONSTACK: the handler is small, and valgrind (3.19), where a thread has no alternate
     * stack, then does not let the main stack grow to take the signal's frame, and ends the
     * program. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    async_loop *none = NULL;
    if (!atomic_compare_exchange_strong(&slot->loop, &none, loop)) return -EBUSY;
    sigfillset(&action.sa_mask);
    /* In a call of its own, so that `previous` is set before the handler can run. */
    if (sigaction(number, NULL, &slot->previous) == 0) {
        /* The program saved our handler, and restored it after we had uninstalled it. */
        if (is_ours(&slot->previous)) slot->previous = (struct sigaction){.sa_handler = SIG_DFL};
        if (ASYNC__CALL(sigaction(number, &action, NULL)) == 0) return 0;
    }
    int code = -errno;
    atomic_store(&slot->loop, NULL);
    return code;
}

static void uninstall(async_loop *loop, int number)
{
    struct slot *slot = &table[number];
    struct timespec moment = {.tv_nsec = 10000};
    if (atomic_load(&slot->loop) != loop) return; /* in a child after fork */
    restore(number);
    atomic_store(&slot->loop, NULL);
    /* Not sched_yield: a real-time thread does not yield to one of lower priority in the handler. */
    while (atomic_load(&slot->inside) > 0)
        nanosleep(&moment, NULL);
    atomic_fetch_and(&loop->signal_state->pending, ~bit(number));
}

/* ---- the loop's side ---- */

static void set_own(int number, bool own)
{
    atomic_store(&table[number].arrivals, 0);
    atomic_store(&table[number].own, own);
}

int async__signal_add(async_loop *loop, int number, async_callback *callback, bool counted)
{
    if (number < 1 || number > SIGNALS) return -EINVAL;
    pthread_once(&once, start);
    if (once_error) return -once_error;
    struct async__signal_state *state = loop->signal_state;
    if (!state) {
        state = loop->signal_state = async__alloc_zeroed(sizeof *state);
        if (!state) return -ENOMEM;
    }
    async_callback **user = &state->callbacks[number].user, **own = &state->callbacks[number].own;
    if (counted ? *user : *own) return -EBUSY;
    if (!*user && !*own) {
        int code = install(loop, number);
        if (code < 0) return code;
    }
    *(counted ? user : own) = callback;
    if (counted) loop->signals++;
    set_own(number, *own && !*user);
    return 0;
}

bool async__signal_remove(async_loop *loop, int number, bool counted)
{
    struct async__signal_state *state = loop->signal_state;
    if (number < 1 || number > SIGNALS || !state) return false;
    async_callback **user = &state->callbacks[number].user, **own = &state->callbacks[number].own;
    async_callback **place = counted ? user : own;
    if (!*place) return false;
    async_callback_cancel(*place);
    *place = NULL;
    if (counted) loop->signals--;
    set_own(number, *own && !*user);
    if (!*user && !*own) uninstall(loop, number);
    return true;
}

int async_add_signal_handler(async_loop *loop, int number, async_callback *callback)
{
    int code = async__signal_add(loop, number, callback, true);
    if (code < 0)
        async__loop_fail(code, "async_add_signal_handler: signal %d: %s", number,
                         code == -EBUSY    ? "it has a handler already"
                         : code == -EINVAL ? "it is none that can be handled"
                                           : async_strerror(code));
    return code;
}

bool async_remove_signal_handler(async_loop *loop, int number)
{
    return async__signal_remove(loop, number, true);
}

void async__signals_dispatch(async_loop *loop)
{
    struct async__signal_state *state = loop->signal_state;
    if (!state || !atomic_load_explicit(&state->pending, memory_order_relaxed)) return;
    uint64_t pending = atomic_exchange(&state->pending, 0);
    for (; pending; pending &= pending - 1) {
        int number = __builtin_ctzll(pending) + 1;
        async_callback *callback = state->callbacks[number].user;
        if (!callback) callback = state->callbacks[number].own;
        if (callback) async_call_soon(loop, callback);
    }
}

void async__signals_close(async_loop *loop)
{
    if (!loop->signal_state) return;
    for (int number = 1; number <= SIGNALS; number++) {
        async__signal_remove(loop, number, true);
        async__signal_remove(loop, number, false);
    }
    async__free(loop->signal_state);
    loop->signal_state = NULL;
}
