/* overflow.c - what happens when a fiber runs into its guard.
 *
 * The fault cannot be handled on the stack that is full, so each thread has an alternate one. The
 * handler says which fiber it was, in one line, and then lets happen what would have happened
 * without it: a sanitizer's report, a user's handler, a core dump. It never tries to go on.
 *
 * The handler finds its thread's record by pthread_self in a list, and not in a thread-local
 * variable: in a library that was loaded late the first touch of one may call malloc, and the fault
 * may be malloc's. Records are reused and never freed, so that the list can be walked at any
 * time. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* REG_RSP */
#endif
#include "../base/faults.h"
#include "../base/memory.h"
#include "fiber.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

enum {
    STACK_ENOUGH = 16 * 1024, /* an alternate stack of this size that is there already is kept */
    STACK_SIZE = 64 * 1024,   /* of ours: the handlers of sanitizers and of Python run on it too */
    FAR_FRAME = 64 * 1024     /* how far below its stack a large frame may have put the pointer */
};

struct watch {
    struct watch *next;
    _Atomic(pthread_t) thread;
    _Atomic(async__stack_pool *) pool; /* NULL: the record is free */
    const char *(*name)(void);
    char *stack; /* NULL: the thread had one */
    size_t stack_size;
    stack_t before;
};

static _Atomic(struct watch *) watches;

/* Under the lock: how many records are in use, and what the signals were before. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned users;
static struct hook {
    int signal;
    bool installed; /* perhaps behind a handler that was installed later and chains to ours */
    struct sigaction previous;
} hooks[] = {{.signal = SIGSEGV}, {.signal = SIGBUS}};
#define HOOKS (sizeof hooks / sizeof hooks[0])

static struct watch *find(pthread_t thread)
{
    struct watch *watch = atomic_load_explicit(&watches, memory_order_acquire);
    for (; watch; watch = watch->next)
        if (atomic_load(&watch->pool) && pthread_equal(atomic_load(&watch->thread), thread)) break;
    return watch;
}

/* ---- the handler ---- */

static uintptr_t stack_pointer(const void *context)
{
    const ucontext_t *user = context;
#if defined(__x86_64__)
    return (uintptr_t)user->uc_mcontext.gregs[REG_RSP];
#else
    return (uintptr_t)user->uc_mcontext.sp;
#endif
}

/* Whether the fault is an overflow of the stack above the guard. A guard is also hit from the other
 * side: a write past the end of the stack below it touches the guard's first bytes, and the stack
 * pointer is then not in the stack above. */
static bool overflows(const async__stack_pool *pool, const char *address, uintptr_t sp, void **base)
{
    void *below;

    if (!async__stack_guards(pool, address, base)) return false;
    uintptr_t end = (uintptr_t)*base + pool->usable;
    if (sp < end && sp >= (uintptr_t)*base) return true;
    if (async__stack_guards(pool, (void *)sp, &below) && below == *base) return true;
    /* A frame larger than the guard has moved the pointer below it. */
    bool first_bytes = !async__stack_guards(pool, address - 64, &below) || below != *base;
    return sp < (uintptr_t)address && (uintptr_t)address - sp < FAR_FRAME && !first_bytes;
}

static size_t append(char *line, size_t length, size_t size, const char *text)
{
    while (*text && length < size)
        line[length++] = *text++;
    return length;
}

static size_t append_number(char *line, size_t length, size_t size, size_t number)
{
    char digits[24], *digit = digits + sizeof digits - 1;
    *digit = '\0';
    do
        *--digit = (char)('0' + number % 10);
    while (number /= 10);
    return append(line, length, size, digit);
}

static void report(const struct watch *watch, const siginfo_t *info, const void *context)
{
    const async__stack_pool *pool = atomic_load(&watch->pool);
    char line[512];
    size_t room = 384; /* for the name: the rest always fits */
    void *base;

    if (!overflows(pool, info->si_addr, stack_pointer(context), &base)) return;
    const char *name = watch->name ? watch->name() : NULL;
    size_t length = append(line, 0, sizeof line, "casyncio: stack overflow in ");
    length = append(line, length, room, name ? name : "a fiber");
    length = append(line, length, sizeof line, ": all ");
    length = append_number(line, length, sizeof line, pool->usable / 1024);
    length = append(line, length, sizeof line, " KiB of its stack are in use\n");
    ssize_t written = write(STDERR_FILENO, line, length);
    (void)written;
}

static void chain(struct hook *hook, siginfo_t *info, void *context)
{
    struct sigaction previous = hook->previous;
    bool plain = !(previous.sa_flags & SA_SIGINFO);

    if (plain && (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN)) {
        /* A fault recurs on return, and then kills: the kernel does not let it be ignored. A signal
         * that a process sent does not recur: it is raised again, unless it was to be ignored. */
        bool sent = info->si_code <= 0;
        if (sent && previous.sa_handler == SIG_IGN) return;
        struct sigaction fatal = {.sa_handler = SIG_DFL};
        sigaction(hook->signal, &fatal, NULL);
        if (sent) raise(hook->signal);
        return;
    }
    if (previous.sa_flags & SA_RESETHAND) { /* as the kernel does, before the handler runs */
        hook->previous.sa_flags = 0;
        hook->previous.sa_handler = SIG_DFL;
    }
    if (plain)
        previous.sa_handler(hook->signal);
    else
        previous.sa_sigaction(hook->signal, info, context);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    int saved = errno;
    const struct watch *watch = find(pthread_self());

    /* Of the kernel's own signals only (si_code > 0): one that was sent has no address. */
    if (watch && info->si_code > 0) report(watch, info, context);
    errno = saved;
    chain(&hooks[signal == SIGBUS], info, context);
}

/* ---- installing it ---- */

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == on_fault;
}

/* With the mask of the previous handler, and its SA_NODEFER, which it may count on. */
static int hook_signal(struct hook *hook)
{
    struct sigaction action;

    /* unhook_signal left it behind a later handler, which chains to ours, or chooses not to. To
     * install it again would make a ring of the two. */
    if (hook->installed) return 0;
    if (sigaction(hook->signal, NULL, &hook->previous) != 0) return -errno;
    action = hook->previous;
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | (hook->previous.sa_flags & SA_NODEFER);
    if (ASYNC__CALL(sigaction(hook->signal, &action, NULL)) != 0) return -errno;
    hook->installed = true;
    return 0;
}

static void unhook_signal(struct hook *hook)
{
    struct sigaction now;

    /* A later handler may call ours: then ours stays, and remains marked as installed. */
    if (!hook->installed || sigaction(hook->signal, NULL, &now) != 0 || !is_ours(&now)) return;
    if (sigaction(hook->signal, &hook->previous, NULL) == 0) hook->installed = false;
}

static int hook_signals(void)
{
    int code = 0;

    for (size_t i = 0; i < HOOKS && code == 0; i++)
        code = hook_signal(&hooks[i]);
    if (code == 0)
        users++;
    else if (users == 0)
        for (size_t i = 0; i < HOOKS; i++)
            unhook_signal(&hooks[i]);
    return code;
}

/* A stack with a guard page of its own. */
static int give_stack(struct watch *watch)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), least = 0;
    stack_t stack = {0};

#ifdef _SC_MINSIGSTKSZ
    long minimum = sysconf(_SC_MINSIGSTKSZ); /* the registers alone, with AVX-512 and AMX: 11 KiB */
    if (minimum > 0) least = (size_t)minimum;
#endif
    watch->stack = NULL;
    if (sigaltstack(NULL, &watch->before) != 0) return -errno;
    if (!(watch->before.ss_flags & SS_DISABLE) && watch->before.ss_size >= least + STACK_ENOUGH)
        return 0;

    stack.ss_size = (least + STACK_SIZE + page - 1) & ~(page - 1);
    watch->stack_size = page + stack.ss_size;
    watch->stack = ASYNC__MAP(mmap(NULL, watch->stack_size, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (watch->stack == MAP_FAILED) {
        watch->stack = NULL;
        return -ENOMEM;
    }
    mprotect(watch->stack, page, PROT_NONE);
    stack.ss_sp = watch->stack + page;
    if (ASYNC__CALL(sigaltstack(&stack, NULL)) == 0) return 0;
    int code = -errno;
    munmap(watch->stack, watch->stack_size);
    return code;
}

static void take_stack(struct watch *watch)
{
    stack_t now;

    if (!watch->stack) return;
    bool ours = sigaltstack(NULL, &now) == 0 && !(now.ss_flags & SS_DISABLE) &&
                (char *)now.ss_sp > watch->stack &&
                (char *)now.ss_sp < watch->stack + watch->stack_size;
    if (ours && sigaltstack(&watch->before, NULL) != 0) return; /* we are on it: it must stay */
    munmap(watch->stack, watch->stack_size);
    watch->stack = NULL;
}

/* A free record, or a new one; under the lock. */
static struct watch *new_watch(void)
{
    struct watch *watch = atomic_load(&watches);
    while (watch && atomic_load(&watch->pool))
        watch = watch->next;
    if (watch) return watch;

    watch = async__alloc_zeroed(sizeof *watch);
    if (!watch) return NULL;
    watch->next = atomic_load(&watches);
    atomic_store_explicit(&watches, watch, memory_order_release);
    return watch;
}

int async__overflow_install(async__stack_pool *pool, const char *(*name)(void))
{
    struct watch *watch = find(pthread_self());
    if (watch) {
        watch->name = name;
        atomic_store(&watch->pool, pool);
        return 0;
    }
    pthread_mutex_lock(&lock);
    int code = -ENOMEM;
    watch = new_watch();
    if (watch) code = give_stack(watch);
    if (code == 0) {
        code = hook_signals();
        if (code != 0) take_stack(watch);
    }
    if (code == 0) {
        /* The pool last: the handler skips a record without one. */
        watch->name = name;
        atomic_store(&watch->thread, pthread_self());
        atomic_store(&watch->pool, pool);
    }
    pthread_mutex_unlock(&lock);
    return code;
}

void async__overflow_release(void)
{
    struct watch *watch = find(pthread_self());
    if (!watch) return;

    pthread_mutex_lock(&lock);
    if (--users == 0)
        for (size_t i = 0; i < HOOKS; i++)
            unhook_signal(&hooks[i]);
    take_stack(watch); /* after the handlers, which run on it */
    atomic_store(&watch->pool, NULL);
    pthread_mutex_unlock(&lock);
}
