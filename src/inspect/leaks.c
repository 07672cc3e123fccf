/* leaks.c - see leaks.h.
 *
 * As a garbage collector finds what is in use. A task is *live* if it runs or is ready, if it waits for
 * something that comes from outside (a descriptor, a timer, a thread), if a time limit will end its wait,
 * or if what it waits for can still be reached: the memory that has the lock, event or queue is referred to
 * from global variables, from the stack of a thread, or from the frames of a live task, be it through the
 * heap. A lock is an exception: it comes from the task that holds it. A task that waits for tasks is live if
 * one of those is. What is left when nothing more becomes live waits for ever.
 *
 * The scan is conservative: any word that could be an address is one. So what is found is lost, as far as
 * references are kept in memory as they are; and some of what is lost is not found, since an old address
 * may still lie somewhere. A heap whose blocks cannot be told apart (glibc's can) counts as in use. */
#include "leaks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PIECE = 1 << 20,
    PAGE = 4096,
    SCOPES = 1000,
    IDLE = 1 << 24,
    RED_ZONE = 128, /* of x86-64: in use below the stack pointer */
};

/* A piece of memory that counts only once it is referred to. */
struct area {
    uint64_t start, end; /* of what a word has to point at */
    uint64_t from, to;   /* of what is scanned then */
    uint64_t ignored;    /* an address in it that does not count: the task's place in a list */
    struct task *task;   /* whose stack it is, or NULL: of the heap, or an idle stack */
    bool reached;
};

struct search {
    const struct snapshot *snapshot;
    struct area *areas;
    size_t count, capacity;
    size_t *queue; /* areas to be scanned */
    size_t queued;
    unsigned char *live; /* by the index of the area of a task */
    uint64_t *piece;
};

/* ---- areas ---- */

static void add_area(struct search *search, struct area area)
{
    if (area.start >= area.end) return;
    if (search->count == search->capacity) {
        search->capacity = search->capacity ? 2 * search->capacity : 1024;
        search->areas = must(realloc(search->areas, search->capacity * sizeof area));
    }
    search->areas[search->count++] = area;
}

static int by_start(const void *a, const void *b)
{
    const struct area *left = a, *right = b;
    return left->start < right->start ? -1 : left->start > right->start;
}

static uint64_t in_use_from(const struct image *image, const struct thread *thread)
{
    return thread->registers[image_sp(image)] - RED_ZONE;
}

/* Where the part of a task's stack begins that is in use. */
static uint64_t frames_of(const struct search *search, const struct task *task)
{
    const struct thread *thread = task_thread(search->snapshot, task);

    if (thread) return in_use_from(search->snapshot->image, thread);
    if (task->state == ASYNC__RUNNING || task->sp < task->base || task->sp >= task->address)
        return task->base;
    return task->sp;
}

/* Stacks, in use or idle. What lies in them above the saved stack pointer is in use; the words below, and
 * those of idle ones, are old. */
static void add_stacks(struct search *search, struct loop *loop)
{
    const struct image *image = search->snapshot->image;
    uint64_t tops = image_word(image, loop->pool + loop->tasks_layout.stacks.tops);
    uint64_t idle = image_word(image, loop->pool + loop->tasks_layout.stacks.idle);

    for (size_t i = 0; i < loop->task_count; i++) {
        struct task *task = &loop->tasks[i];
        add_area(search, (struct area){task->base, task->top, frames_of(search, task),
                                       task->address, task->wait, task, false});
    }
    for (uint64_t i = 0; i < idle && i < IDLE; i++) {
        uint64_t top = image_word(image, tops + 8 * i);
        uint64_t base = ((top - 1) | loop->page_mask) + 1 - loop->usable;
        if (top) add_area(search, (struct area){.start = base, .end = top});
    }
}

/* The blocks of a heap of glibc's: a header of two words before each, the second of which is its size, with
 * three flags; the first of them says that the block before is in use. Nothing is added if this is no
 * such heap. */
static bool add_blocks(struct search *search, const struct mapping *mapping)
{
    const struct image *image = search->snapshot->image;
    size_t before = search->count, found = 0;
    uint64_t at = mapping->start;

    while (at + 32 <= mapping->end) {
        uint64_t header[2], size;
        if (!image_read(image, at, header, sizeof header)) break;
        size = header[1] & ~7ULL;
        if (size < 32 || size % 16 != 0 || size > mapping->end - at) break;
        uint64_t next = at + size;
        bool used = next + 16 > mapping->end || image_word(image, next + 8) & 1;
        /* The first block is the list of those that were freed last. A freed one has no references. */
        bool scanned = used && found > 0;
        add_area(search, (struct area){.start = at + 16,
                                       .end = next + 8,
                                       .from = scanned ? at + 16 : 0,
                                       .to = scanned ? next + 8 : 0});
        found++;
        at = next;
    }
    if (found > 2 && at == mapping->end) return true;
    search->count = before;
    return false;
}

static struct area *area_at(const struct search *search, uint64_t address)
{
    size_t low = 0, high = search->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (search->areas[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < search->count && search->areas[low].start <= address ? &search->areas[low] : NULL;
}

/* ---- scanning ---- */

static void reach(struct search *search, struct area *area)
{
    if (area->reached) return;
    area->reached = true;
    search->queue[search->queued++] = (size_t)(area - search->areas);
}

static void scan_words(struct search *search, const uint64_t *words, size_t count)
{
    uint64_t lowest = search->areas[0].start, highest = search->areas[search->count - 1].end;

    for (size_t i = 0; i < count; i++) {
        if (words[i] < lowest || words[i] >= highest) continue;
        struct area *area = area_at(search, words[i]);
        if (!area || words[i] == area->ignored) continue;
        if (words[i] < area->from || words[i] >= area->to)
            continue; /* a handle, the pool's: no frame */
        reach(search, area);
    }
}

static void scan(struct search *search, uint64_t from, uint64_t to)
{
    const struct image *image = search->snapshot->image;

    from = (from + 7) & ~7ULL;
    while (from < to) {
        size_t size = to - from < PIECE ? (size_t)(to - from) : PIECE;
        size_t got = image->read(image, from, search->piece, size);
        scan_words(search, search->piece, got / 8);
        from +=
            got < size ? ((got + from) | (PAGE - 1)) + 1 - from : size; /* past what is not there */
    }
}

static void scan_queued(struct search *search)
{
    while (search->queued > 0) {
        const struct area *area = &search->areas[search->queue[--search->queued]];
        scan(search, area->from, area->to);
    }
}

/* What is in use of a mapping. One that a guard or nothing precedes, and that a thread's stack pointer is
 * in, is its stack: the words below the pointer are old. */
static uint64_t mapping_from(const struct image *image, size_t index)
{
    const struct mapping *mapping = &image->mappings[index];
    bool guarded = index > 0 && mapping[-1].end == mapping->start && !mapping[-1].readable;

    if (!guarded && strcmp(mapping->path, "[stack]") != 0) return mapping->start;
    for (size_t i = 0; i < image->thread_count; i++) {
        const struct thread *thread = &image->threads[i];
        uint64_t from = in_use_from(image, thread);
        if (thread->known && from > mapping->start && from < mapping->end) return from;
    }
    return mapping->start;
}

/* Writable memory that is neither a stack of a task nor a block of a heap. */
static void scan_roots(struct search *search)
{
    const struct image *image = search->snapshot->image;
    size_t next = 0;

    for (size_t i = 0; i < image->mapping_count; i++) {
        const struct mapping *mapping = &image->mappings[i];
        uint64_t from = mapping_from(image, i);
        if (!mapping->readable || (!mapping->writable && image->pid)) continue;
        while (next < search->count && search->areas[next].end <= from)
            next++;
        for (size_t k = next; k < search->count && search->areas[k].start < mapping->end; k++) {
            if (from < search->areas[k].start) scan(search, from, search->areas[k].start);
            from = search->areas[k].end;
        }
        if (from < mapping->end) scan(search, from, mapping->end);
    }
    for (size_t i = 0; i < image->thread_count; i++)
        scan_words(search, image->threads[i].registers, REGISTERS);
}

/* ---- tasks ---- */

static bool has_limit_itself(const struct search *search, const struct loop *loop,
                             const struct task *task)
{
    const struct image *image = search->snapshot->image;
    uint64_t scope = task->scope;

    for (int i = 0; scope && i < SCOPES; i++) {
        double when;
        if (!image_read(image, scope + loop->tasks_layout.scope.when, &when, sizeof when)) break;
        if (isfinite(when) && when > 0) return true;
        scope = image_word(image, scope + loop->tasks_layout.scope.parent);
    }
    return false;
}

/* Whether a time limit will end its wait: its own, or one of those that await it, which is passed on to
 * what they wait for. */
static bool has_limit(const struct search *search, const struct loop *loop, const struct task *task)
{
    size_t at = (size_t)(task - loop->tasks);

    for (int i = 0; i < SCOPES && at != ASYNC__NO_NODE; i++, at = loop->nodes[at].parent)
        if (has_limit_itself(search, loop, &loop->tasks[at])) return true;
    return false;
}

static bool waits_for_tasks(const struct task *task)
{
    return task->what && (strcmp(task->what, "task") == 0 || strcmp(task->what, "gather") == 0 ||
                          strcmp(task->what, "group") == 0 || strcmp(task->what, "generator") == 0);
}

static bool can_be_reached(const struct search *search, uint64_t address)
{
    const struct area *area = area_at(search, address);
    return !area || area->reached || (area->task && search->live[area - search->areas]);
}

static size_t area_of(const struct search *search, uint64_t task)
{
    const struct area *area = task ? area_at(search, task) : NULL;
    return area && area->task && area->task->address == task ? (size_t)(area - search->areas)
                                                             : search->count;
}

/* Whether a task that is not known to be live is, as far as is known now. */
static bool is_live(const struct search *search, const struct loop *loop, const struct task *task)
{
    if (task->state != ASYNC__PARKED || task->moved || !task->what) return true;
    if (has_limit(search, loop, task)) return true;
    if (waits_for_tasks(task)) return false; /* one of those makes it so: set_live */
    if (task->fd >= 0 || !task->list) return true;
    if (strcmp(task->what, "lock") == 0 && task->holder) {
        size_t holder = area_of(search, task->holder);
        if (holder < search->count) return search->live[holder];
        return area_at(search, task->holder) == NULL; /* the holder has ended, and kept it */
    }
    return can_be_reached(search, task->list);
}

/* Makes a task live, and those that wait for it. */
static void set_live(struct search *search, const struct loop *loop, size_t index)
{
    while (index < search->count && !search->live[index]) {
        struct area *area = &search->areas[index];
        search->live[index] = true;
        reach(search, area);
        size_t parent = loop->nodes[area->task - loop->tasks].parent;
        if (parent == ASYNC__NO_NODE) return;
        index = area_of(search, loop->tasks[parent].address);
    }
}

static void find_live(struct search *search)
{
    const struct snapshot *snapshot = search->snapshot;

    for (bool more = true; more;) {
        more = false;
        scan_queued(search);
        for (size_t i = 0; i < snapshot->loop_count; i++) {
            const struct loop *loop = &snapshot->loops[i];
            for (size_t k = 0; k < loop->task_count; k++) {
                size_t index = area_of(search, loop->tasks[k].address);
                if (index == search->count || search->live[index]) continue;
                if (!is_live(search, loop, &loop->tasks[k])) continue;
                set_live(search, loop, index);
                more = true;
            }
        }
    }
}

static void prepare(struct search *search)
{
    const struct snapshot *snapshot = search->snapshot;
    const struct image *image = snapshot->image;

    for (size_t i = 0; i < snapshot->loop_count; i++)
        if (snapshot->loops[i].has_tasks) add_stacks(search, &snapshot->loops[i]);
    for (size_t i = 0; i < image->mapping_count; i++) {
        const struct mapping *mapping = &image->mappings[i];
        if (mapping->writable && (!*mapping->path || strcmp(mapping->path, "[heap]") == 0))
            add_blocks(search, mapping);
    }
    if (search->count == 0) return;
    qsort(search->areas, search->count, sizeof *search->areas, by_start);
    search->queue = must(malloc(search->count * sizeof *search->queue));
    search->live = must(calloc(search->count + 1, 1));
    search->piece = must(malloc(PIECE));
    scan_roots(search);
    find_live(search);
}

/* ---- what is found ---- */

static void show_lost(FILE *out, const struct search *search, const struct loop *loop,
                      struct unwinder *unwinder, const struct options *options, size_t *count)
{
    for (size_t i = 0; i < loop->task_count; i++) {
        size_t index = area_of(search, loop->tasks[i].address);
        if (index == search->count || search->live[index]) continue;
        if ((*count)++ == 0) fputs("tasks that nothing can wake:\n", out);
        async__print_label(out, &loop->nodes[i]);
        fputs(": waits: ", out);
        show_wait(out, loop, i);
        if (loop->tasks[i].where) fprintf(out, "; made at %s", loop->tasks[i].where);
        fputc('\n', out);
        if (unwinder) show_frames(out, unwinder, loop, i, 2, options->internal);
    }
}

void show_leaks(FILE *out, const struct snapshot *snapshot, const struct options *options)
{
    struct search search = {.snapshot = snapshot};
    struct unwinder *unwinder = options->frames ? unwinder_new(snapshot) : NULL;
    size_t count = 0;

    prepare(&search);
    for (size_t i = 0; i < snapshot->loop_count; i++)
        show_lost(out, &search, &snapshot->loops[i], unwinder, options, &count);
    if (count == 0) fputs("every task can still be woken, as far as can be seen\n", out);
    unwinder_free(unwinder);
    free(search.areas);
    free(search.queue);
    free(search.live);
    free(search.piece);
}
