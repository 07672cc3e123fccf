/* stack.c - the pool of stacks.
 *
 * What a stack costs is not its address space but page faults and system calls: a fault is 1.5 us,
 * an madvise 0.5, where a switch is 2 ns. So stacks are cut from large slabs and made ready (guard
 * installed, top page touched) many at a time, with one vectored call for all guards and one for
 * all top pages, and they are reused last in, first out.
 *
 * The guard is MADV_GUARD_INSTALL where the kernel has it (Linux 6.13): it lies in the page tables,
 * and so a slab stays one mapping. Elsewhere it is mprotect, at two mappings a stack, and then
 * vm.max_map_count ends it at some 32,750 stacks.
 *
 * A stack is an odd number of pages. Were it a power of two, the top pages of all stacks would fall
 * into a few sets of the TLB, and their page-table entries into a few of the cache: a switch in a
 * ring of 1000 fibers took 23 ns so, and takes 8. Within the page, the colours do the same for the
 * cache.
 *
 * Free stacks are in an array, not in a list through the stacks themselves: nothing of a stack that
 * lies idle is touched, and the array's two ends are the hottest stack and the one that has been
 * idle longest. It has three parts:
 *
 *     tops[0 .. cold)         trimmed: a guard, but no memory
 *     tops[cold .. floor)     warm, and not needed since the floor was last raised
 *     tops[floor .. idle)     warm; async__stack_get takes from here without another look
 *
 * When a get comes down to the floor it takes the slow path, which lowers the floor by a step. So
 * the floor is the low-water mark of the current period, at no cost to the fast path, and what has
 * lain below it for a whole period can be given back to the kernel. */
#include "../base/faults.h"
#include "../base/memory.h"
#include "fiber.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#define VALGRIND_STACK_REGISTER(base, end) ((void)(base), (void)(end), 0u)
#define VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#endif
#ifdef ASYNC__ASAN
#include <sanitizer/asan_interface.h>
#endif

/* Not yet in the C library's headers everywhere. */
#define ADVICE_POPULATE_READ 22  /* Linux 5.14 */
#define ADVICE_POPULATE_WRITE 23 /* Linux 5.14 */
#define ADVICE_GUARD_INSTALL 102 /* Linux 6.13 */
#define CALL_PIDFD_OPEN 434
#define CALL_PROCESS_MADVISE 440
#define SELF_PIDFD (-10000) /* PIDFD_SELF_THREAD, Linux 6.14 */

enum {
    STACK_SIZE = 256 * 1024,
    STACK_LEAST = 32 * 1024,
    GUARD_LEAST = 16 * 1024,
    GUARD_MOST = 64 * 1024, /* a quarter of the stack, within these */
    FIRST_SLAB = 8,         /* stacks; each slab is twice as large as the one before */
    LAST_SLAB = 4096,
    SLAB_MOST = 5 << 28, /* bytes, if that is more than one stack */
    BATCH_LEAST = 8,     /* stacks made ready at once */
    BATCH_MOST = 512,
    COLOURS = 32,
    COLOUR_SIZE = 64,
    MAPPINGS_SPARED = 32, /* the reserve below vm.max_map_count: see guard_by_mprotect */
    TRIM_BATCH = 64,
    TRIM_RESERVE = 64, /* warm stacks that trimming leaves alone */
    TRIM_PERIOD = 100, /* ms */
    KEPT = 512,        /* bytes below a free stack's top that can be read */
    POISONED = 16384 /* bytes below those, in which AddressSanitizer catches a dead task's locals */
};

struct slab {
    struct slab *next;
    char *memory;
    size_t count, ready; /* stacks; those with a guard come first */
    unsigned *valgrind;  /* its number for each; NULL when not on valgrind */
};

struct pool {
    async__stack_pool head;
    struct slab *slabs; /* newest first: only the newest has any that are not ready */
    size_t size, guard, page;
    size_t cold;
    size_t quiet; /* tops[cold .. quiet) have been idle for a whole period */
    int64_t period_began;
    bool guard_by_madvise, guard_proved;
    bool vectored;                   /* process_madvise works */
    struct iovec ranges[BATCH_MOST]; /* too large for a small stack */
};

static __thread const char *why = "";

const char *async__stack_error(void) { return why; }

static struct pool *pool_of(const async__stack_pool *head) { return (struct pool *)head; }

size_t async__stack_pool_total(const async__stack_pool *head) { return head->total; }

size_t async__stack_pool_used(const async__stack_pool *head) { return head->total - head->idle; }

/* ---- advice to the kernel, for many ranges at once ---- */

static ssize_t advise_vector(const struct iovec *ranges, size_t count, int advice)
{
    ssize_t bytes;

    do
        bytes = ASYNC__CALL(syscall(CALL_PROCESS_MADVISE, SELF_PIDFD, ranges, count, advice, 0));
    while (bytes < 0 && errno == EINTR);
    if (bytes >= 0 || errno != EBADF) return bytes;

    /* EBADF: a kernel before 6.14 takes only a real descriptor. It is not kept open, since after
     * fork it would name the parent. */
    int self = (int)ASYNC__CALL(syscall(CALL_PIDFD_OPEN, getpid(), 0));
    if (self < 0) return -1;
    do
        bytes = ASYNC__CALL(syscall(CALL_PROCESS_MADVISE, self, ranges, count, advice, 0));
    while (bytes < 0 && errno == EINTR);
    int error = errno;
    close(self);
    errno = error;
    return bytes;
}

/* Advises pool->ranges[0 .. count), in one call if possible. Gives how many were done; errno says
 * why it was not all. */
static size_t advise(struct pool *pool, size_t count, int advice)
{
    const struct iovec *ranges = pool->ranges;
    size_t done = 0;

    while (pool->vectored && done < count) {
        ssize_t bytes = advise_vector(ranges + done, count - done, advice);
        size_t before = done;
        if (bytes < 0 && errno != ENOMEM && errno != EAGAIN) pool->vectored = false;
        for (; bytes > 0 && done < count && (size_t)bytes >= ranges[done].iov_len; done++)
            bytes -= (ssize_t)ranges[done].iov_len;
        if (done == before) break;
    }
    while (done < count) {
        if (ASYNC__CALL(madvise(ranges[done].iov_base, ranges[done].iov_len, advice)) == 0)
            done++;
        else if (errno != EINTR)
            break;
    }
    return done;
}

/* ---- making stacks ---- */

/* Checks once that the guards are there: qemu-user ignores advice that it does not know, and
 * reports success. */
static bool prove_guard(struct pool *pool, void *guard)
{
    if (!pool->guard_proved)
        pool->guard_proved =
            ASYNC__CALL(madvise(guard, pool->page, ADVICE_POPULATE_READ)) < 0 && errno == EFAULT;
    return pool->guard_proved;
}

/* Gives how many have got a guard. At vm.max_map_count the last guards are taken off again: a
 * reserve of mappings for malloc() and pthread_create(). */
static size_t guard_by_mprotect(struct pool *pool, char *first, size_t count)
{
    size_t done = 0;
    while (done < count &&
           ASYNC__CALL(mprotect(first + done * pool->size, pool->guard, PROT_NONE)) == 0)
        done++;
    if (done == count) return done;

    why = errno == ENOMEM
              ? "the process has as many mappings as vm.max_map_count allows, and a stack "
                "with its guard takes two (Linux 6.13 does without)"
              : "mprotect cannot guard a stack";
    for (int spared = 0; done > 0 && spared < MAPPINGS_SPARED / 2; spared++) {
        done--;
        mprotect(first + done * pool->size, pool->guard, PROT_READ | PROT_WRITE);
    }
    return done;
}

/* Puts guards under `count` neighbouring stacks; gives how many have got one. */
static size_t install_guards(struct pool *pool, char *first, size_t count)
{
    if (!pool->guard_by_madvise) return guard_by_mprotect(pool, first, count);

    for (size_t i = 0; i < count; i++)
        pool->ranges[i] = (struct iovec){first + i * pool->size, pool->guard};
    size_t done = advise(pool, count, ADVICE_GUARD_INSTALL);
    bool memory = done < count && (errno == ENOMEM || errno == EAGAIN); /* before errno changes */
    if (done > 0 && prove_guard(pool, first)) return done;
    if (memory) {
        why = "the kernel has no memory for page tables";
        return 0;
    }
    pool->guard_by_madvise = false; /* the kernel or the emulator does not have it */
    return guard_by_mprotect(pool, first, count);
}

/* Populates the ranges. A failure is ignored: the first touch then faults the page in. */
static void populate(struct pool *pool, size_t count)
{
    advise(pool, count, ADVICE_POPULATE_WRITE);
}

static struct slab *map_slab(struct pool *pool, size_t count)
{
    struct slab *slab = async__alloc_zeroed(sizeof *slab);
    if (!slab) return NULL;

    /* Halved until it fits: address space may be short (RLIMIT_AS, vm.overcommit_memory 2). */
    for (slab->count = count; slab->count > 0; slab->count /= 2) {
        slab->memory =
            ASYNC__MAP(mmap(NULL, slab->count * pool->size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0));
        if (slab->memory != MAP_FAILED) break;
    }
    if (slab->count > 0 && RUNNING_ON_VALGRIND)
        slab->valgrind = async__alloc(slab->count * sizeof *slab->valgrind);
    if (slab->count == 0 || (RUNNING_ON_VALGRIND && !slab->valgrind)) {
        if (slab->count > 0) munmap(slab->memory, slab->count * pool->size);
        async__free(slab);
        return NULL;
    }
    /* A huge page would commit 2 MiB, several stacks, at the first touch of one. */
    madvise(slab->memory, slab->count * pool->size, MADV_NOHUGEPAGE);
    return slab;
}

/* Adds a slab, and room for its stacks in tops. */
static bool grow(struct pool *pool)
{
    size_t count = FIRST_SLAB;
    if (pool->slabs) count = pool->slabs->count < LAST_SLAB ? pool->slabs->count * 2 : LAST_SLAB;
    while (count > 1 && count * pool->size > SLAB_MOST)
        count /= 2;

    struct slab *slab = map_slab(pool, count);
    if (!slab) {
        why = "no memory, or no address space (RLIMIT_AS)";
        return false;
    }
    void **tops = async__realloc(pool->head.tops, (pool->head.total + slab->count) * sizeof *tops);
    if (!tops) {
        munmap(slab->memory, slab->count * pool->size);
        async__free(slab->valgrind);
        async__free(slab);
        why = "no memory for the list of stacks";
        return false;
    }
    pool->head.tops = tops;
    slab->next = pool->slabs;
    /* The handler of overflow.c walks this list: the slab is complete before it is linked. */
    __atomic_store_n(&pool->slabs, slab, __ATOMIC_RELEASE);
    return true;
}

/* Makes up to `count` new stacks ready; true if it was at least one. */
static bool make(struct pool *pool, size_t count)
{
    if ((!pool->slabs || pool->slabs->ready == pool->slabs->count) && !grow(pool)) return false;

    struct slab *slab = pool->slabs;
    if (count > slab->count - slab->ready) count = slab->count - slab->ready;
    char *first = slab->memory + slab->ready * pool->size;
    count = install_guards(pool, first, count);
    for (size_t i = 0; i < count; i++)
        pool->ranges[i] = (struct iovec){first + (i + 1) * pool->size - pool->page, pool->page};
    populate(pool, count);

    for (size_t i = count; i-- > 0;) { /* backwards: the lowest is handed out first */
        size_t number = slab->ready + i;
        char *end = first + (i + 1) * pool->size;
        pool->head.tops[pool->head.idle++] = end - COLOUR_SIZE * (1 + number % COLOURS);
        if (slab->valgrind)
            slab->valgrind[number] = VALGRIND_STACK_REGISTER(end - pool->head.usable, end);
    }
    slab->ready += count;
    pool->head.total += count;
    return count > 0;
}

/* Populates up to `count` stacks that were trimmed. */
static void warm_up(struct pool *pool, size_t count)
{
    if (count > pool->cold) count = pool->cold;
    for (size_t i = 0; i < count; i++) {
        uintptr_t top = (uintptr_t)pool->head.tops[pool->cold - 1 - i];
        pool->ranges[i] = (struct iovec){(void *)(top & ~pool->head.page_mask), pool->page};
    }
    populate(pool, count);
    pool->cold -= count;
}

void *async__stack_get_slow(async__stack_pool *head)
{
    struct pool *pool = pool_of(head);

    if (head->idle > pool->cold) { /* warm ones are left: lower the floor */
        size_t step = BATCH_LEAST + (head->idle - pool->cold) / 8;
        head->floor = head->idle - pool->cold > step ? head->idle - step : pool->cold;
    } else {
        size_t batch = async__stack_pool_used(head) / 8;
        if (batch < BATCH_LEAST) batch = BATCH_LEAST;
        if (batch > BATCH_MOST) batch = BATCH_MOST;
        if (pool->cold > 0)
            warm_up(pool, batch);
        else if (!make(pool, batch)) {
            errno = ENOMEM;
            return NULL;
        }
        head->floor = pool->cold;
    }
    if (pool->quiet > head->floor) pool->quiet = head->floor; /* what is above is needed again */

    void *top = head->tops[--head->idle];
#ifdef ASYNC__ASAN
    async__stack_lend(head, top);
#endif
    return top;
}

/* ---- giving memory back ---- */

static int64_t milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool async__stack_trim(async__stack_pool *head)
{
    struct pool *pool = pool_of(head);
    size_t warm = head->idle - pool->cold;
    size_t reserve = async__stack_pool_used(head) / 2;
    if (reserve < TRIM_RESERVE) reserve = TRIM_RESERVE;
    if (warm <= reserve) return false;

    int64_t now = milliseconds();
    if (now - pool->period_began >= TRIM_PERIOD) { /* what is below the floor was not needed */
        pool->period_began = now;
        pool->quiet = head->floor;
        head->floor = head->idle;
    }
    size_t count = pool->quiet > pool->cold ? pool->quiet - pool->cold : 0;
    if (count > TRIM_BATCH) count = TRIM_BATCH;
    if (count > warm - reserve) count = warm - reserve;
    if (count == 0) return true;

    for (size_t i = 0; i < count; i++)
        pool->ranges[i] =
            (struct iovec){async__stack_base(head, head->tops[pool->cold + i]), head->usable};
    advise(pool, count, MADV_DONTNEED); /* if it fails a cold stack keeps its memory: no harm */
    pool->cold += count;
    return warm - count > reserve;
}

/* ---- the pool ---- */

/* The larger the guard, the larger the frame that cannot step over it where code has been compiled
 * without -fstack-clash-protection. It is address space alone: 64 KiB and 16 KiB cost a task the
 * same memory and, within the noise, the same time. */
static size_t guard_size(size_t stack_size, size_t page)
{
    size_t guard = stack_size / 4 / page * page;

    if (guard > GUARD_MOST) guard = GUARD_MOST;
    if (guard < GUARD_LEAST) guard = GUARD_LEAST;
    return guard < page ? page : guard;
}

async__stack_pool *async__stack_pool_new(size_t stack_size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t least = STACK_LEAST > 2 * page ? STACK_LEAST : 2 * page;

    if (stack_size == 0) stack_size = STACK_SIZE;
    if (stack_size < least) stack_size = least;
    if (stack_size > PTRDIFF_MAX / (2 * FIRST_SLAB)) {
        why = "no address space is large enough for such a stack";
        errno = EINVAL;
        return NULL;
    }
    struct pool *pool = async__alloc_zeroed(sizeof *pool);
    if (!pool) {
        why = "no memory for the pool of stacks";
        errno = ENOMEM;
        return NULL;
    }
    pool->page = page;
    pool->guard = guard_size(stack_size, page);
    pool->size = ((stack_size + page - 1) / page | 1) * page;
    pool->head.page_mask = page - 1;
    pool->head.usable = pool->size - pool->guard;

    /* CASYNCIO_GUARD: "mprotect" and "madvise" force one of the fall-backs; for tests, and for a
     * sandbox that kills a process that calls process_madvise. Valgrind 3.19 prints a warning at
     * that call. */
    const char *choice = getenv("CASYNCIO_GUARD");
    pool->guard_by_madvise = !choice || strcmp(choice, "mprotect") != 0;
    pool->vectored = pool->guard_by_madvise && !RUNNING_ON_VALGRIND &&
                     (!choice || strcmp(choice, "madvise") != 0);
    return &pool->head;
}

void async__stack_pool_free(async__stack_pool *head)
{
    if (!head) return;
    struct pool *pool = pool_of(head);

    for (struct slab *slab = pool->slabs, *next; slab; slab = next) {
        next = slab->next;
        for (size_t i = 0; slab->valgrind && i < slab->ready; i++)
            VALGRIND_STACK_DEREGISTER(slab->valgrind[i]);
#ifdef ASYNC__ASAN
        /* munmap leaves the shadow poisoned, and the addresses may be mapped again. */
        for (size_t i = 0; i < slab->ready; i++)
            async__stack_lend(head, slab->memory + (i + 1) * pool->size);
#endif
        munmap(slab->memory, slab->count * pool->size);
        async__free(slab->valgrind);
        async__free(slab);
    }
    async__free(head->tops);
    async__free(pool);
}

bool async__stack_guards(const async__stack_pool *head, const void *address, void **base)
{
    struct pool *pool = pool_of(head);
    const struct slab *slab = __atomic_load_n(&pool->slabs, __ATOMIC_ACQUIRE);
    uintptr_t at = (uintptr_t)address;

    for (; slab; slab = slab->next) {
        uintptr_t start = (uintptr_t)slab->memory;
        if (at < start || at - start >= slab->ready * pool->size) continue;
        if ((at - start) % pool->size >= pool->guard) return false;
        *base = (void *)(at - (at - start) % pool->size + pool->guard);
        return true;
    }
    return false;
}

/* ---- AddressSanitizer ---- */

#ifdef ASYNC__ASAN
/* Writes shadow memory only where something in the stack is poisoned: the shadow of a whole stack
 * is some 30 KiB. */
void async__stack_lend(const async__stack_pool *head, void *top)
{
    char *base = async__stack_base(head, top);
    size_t size = (size_t)((char *)top - base);
    if (__asan_region_is_poisoned(base, size)) __asan_unpoison_memory_region(base, size);
}

void async__stack_return(const async__stack_pool *head, void *top)
{
    async__stack_lend(head, top); /* clears the redzones of frames that never returned */

    char *base = async__stack_base(head, top), *end = (char *)top - KEPT;
    char *start = end - base > POISONED ? end - POISONED : base;
    __asan_poison_memory_region(start, (size_t)(end - start));
}
#endif
