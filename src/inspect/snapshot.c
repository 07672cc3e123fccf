/* snapshot.c - see snapshot.h: the loops of an image; tasks.c reads their tasks. */
#include "snapshot.h"

#include "record.h"
#include "tasks.h"
#include "texts.h"

#include <stdlib.h>
#include <string.h>

enum {
    LOOPS = 1024,
    TIMERS = 1 << 22,
    DESCRIPTORS = 1 << 22,
};

/* ---- layouts ---- */

char *layout_problem(const struct async__layout_head *head, const char *magic, size_t size)
{
    if (memcmp(head->magic, magic, sizeof head->magic) != 0)
        return text_of("what should describe its casyncio does not");
    if (head->version != ASYNC__LAYOUT_VERSION)
        return text_of(
            "its casyncio has layout %u, and this program knows layout %d: use the casyncio "
            "program of the same version",
            head->version, ASYNC__LAYOUT_VERSION);
    return head->size == size ? NULL : text_of("the description of its casyncio has a wrong size");
}

static void take_layouts(struct snapshot *snapshot)
{
    const struct image *image = snapshot->image;

    snapshot->layouts = must(calloc(image->module_count + 1, sizeof *snapshot->layouts));
    for (size_t i = 0; i < image->module_count; i++) {
        struct async__layout *layout = &snapshot->layouts[snapshot->layout_count];
        if (!image->modules[i].layout) continue;
        char *problem = NULL;
        if (!image_read(image, image->modules[i].layout, layout, sizeof *layout) &&
            !layout->head.version)
            problem = text_of("the description of its casyncio cannot be read");
        else
            problem = layout_problem(&layout->head, ASYNC__LAYOUT_MAGIC, sizeof *layout);
        layout->library[sizeof layout->library - 1] = 0;
        if (!problem)
            snapshot->layout_count++;
        else if (snapshot->problem)
            free(problem);
        else
            snapshot->problem = problem;
    }
}

/* ---- timers ---- */

static void read_timers(const struct image *image, struct loop *loop, const struct record *record)
{
    const struct async__layout *layout = loop->layout;
    uint32_t timers = layout->loop.timers, entry = layout->timers.entry_size;
    uint64_t heap = word(record, timers + layout->timers.heap);
    uint64_t length = half(record, timers + layout->timers.length);
    uint64_t slots = (uint64_t)half(record, timers + layout->timers.slots_used) + 1;

    if (length > TIMERS || slots > TIMERS || entry > 256) return;
    if (!fits(layout->timers.when, 8, entry) || !fits(layout->timers.slot, 4, entry)) return;
    unsigned char *entries = must(calloc(length + 1, entry));
    size_t got = image->read(image, heap, entries, length * entry) / entry;
    loop->due = must(malloc(slots * sizeof *loop->due));
    loop->due_count = slots;
    for (size_t i = 0; i < slots; i++)
        loop->due[i] = INT64_MIN;
    for (size_t i = 0; i < got; i++) {
        uint32_t slot;
        memcpy(&slot, entries + i * entry + layout->timers.slot, sizeof slot);
        if (slot < slots)
            memcpy(&loop->due[slot], entries + i * entry + layout->timers.when, sizeof *loop->due);
    }
    free(entries);
}

/* ---- loops ---- */

static uint64_t count_descriptors(const struct image *image, const struct loop *loop,
                                  const struct record *record)
{
    const struct async__layout *at = loop->layout;
    uint64_t length = half(record, at->loop.fds_length), size = at->fd.size, count = 0;

    if (length > DESCRIPTORS || size > 256 || !fits(at->fd.interest, 1, at->fd.size)) return 0;
    unsigned char *entries = must(malloc(length * size + 1));
    size_t got = image->read(image, word(record, at->loop.fds), entries, length * size) / size;
    for (size_t i = 0; i < got; i++)
        count += entries[i * size + at->fd.interest] != 0 && i != half(record, at->loop.wake_fd);
    free(entries);
    return count;
}

static void add_pool(const struct image *image, const struct async__pool_layout *at, uint64_t pool,
                     struct pool_counts *counts)
{
    struct record record;

    if (!read_record(image, pool, at->size, &record)) return;
    uint64_t threads = half(&record, at->threads), idle = half(&record, at->idle);
    int64_t most = (int64_t)word(&record, at->waited_most);
    counts->threads += threads;
    counts->max_threads += half(&record, at->max_threads);
    counts->working += threads > idle ? threads - idle : 0;
    counts->queued += half(&record, at->queued);
    counts->begun += word(&record, at->begun);
    counts->waited += (int64_t)word(&record, at->waited);
    if (most > counts->waited_most) counts->waited_most = most;
}

static void take_pools(const struct image *image, struct loop *loop, const struct record *record)
{
    const struct async__layout *at = loop->layout;
    struct async__pool_layout layout;

    if (!image_read(image, at->pool, &layout, sizeof layout)) return;
    add_pool(image, &layout, word(record, at->loop.executor), &loop->pools);
    add_pool(image, &layout, word(record, at->loop.resolver), &loop->pools);
}

static void take_beat(const struct async__layout *at, const struct record *record,
                      struct beat *beat)
{
    beat->callbacks = word(record, at->loop.callbacks) -
                      (uint64_t)(int64_t)(int32_t)half(record, at->loop.credit);
    beat->runs = byte(record, at->loop.running) && word(record, at->loop.sleeps) % 2 == 0;
}

bool loop_beat(const struct image *image, const struct loop *loop, struct beat *beat)
{
    struct record record;

    if (!read_record(image, loop->address, loop->layout->loop.size, &record)) return false;
    take_beat(loop->layout, &record, beat);
    return true;
}

static void take_loop(const struct image *image, struct loop *loop, const struct record *record)
{
    const struct async__layout *at = loop->layout;

    loop->client = word(record, at->loop.client);
    loop->running = byte(record, at->loop.running);
    loop->trace = word(record, at->loop.trace);
    loop->wake_fd = (int)half(record, at->loop.wake_fd);
    loop->virtual_clock = byte(record, at->loop.virtual_clock);
    loop->timed = byte(record, at->loop.timed);
    loop->debug = byte(record, at->loop.debug);
    loop->shared = byte(record, at->loop.shared);
    loop->looks = word(record, at->loop.looks);
    loop->sleeps = word(record, at->loop.sleeps);
    loop->sleeping = loop->sleeps % 2;
    struct beat beat;
    take_beat(at, record, &beat);
    loop->callbacks = beat.callbacks;
    loop->watches = word(record, at->loop.watches);
    loop->jobs = word(record, at->loop.jobs);
    loop->signals = word(record, at->loop.signals);
    loop->foreign = word(record, at->loop.foreign);
    loop->forks = half(record, at->loop.forks);
    loop->timers = half(record, at->loop.timers + at->timers.length) -
                   half(record, at->loop.timers + at->timers.cancelled);
    loop->ran = (int64_t)word(record, at->loop.ran);
    loop->run_since = (int64_t)word(record, at->loop.run_since);
    loop->asleep = (int64_t)word(record, at->loop.asleep);
    loop->longest_step = (int64_t)word(record, at->loop.longest_step);
    loop->timer_lag = (int64_t)word(record, at->loop.timer_lag);
    loop->clock = loop->virtual_clock ? (int64_t)word(record, at->loop.now)
                  : image->now        ? image->now
                                      : (int64_t)word(record, at->loop.last_poll);
    loop->descriptors = count_descriptors(image, loop, record);
    take_pools(image, loop, record);
    read_timers(image, loop, record);
}

static void read_loops(struct snapshot *snapshot, const struct async__layout *layout)
{
    const struct image *image = snapshot->image;
    uint64_t at = image_word(image, layout->first), before = 0;
    struct record record;

    while (at && snapshot->loop_count < LOOPS) {
        if (!read_record(image, at, layout->loop.size, &record) ||
            word(&record, layout->loop.previous) != before)
            break;
        snapshot->loops =
            must(realloc(snapshot->loops, (snapshot->loop_count + 1) * sizeof *snapshot->loops));
        struct loop *loop = &snapshot->loops[snapshot->loop_count++];
        *loop = (struct loop){.address = at, .layout = layout};
        take_loop(image, loop, &record);
        if (loop->client) loop_read_tasks(snapshot, loop);
        before = at;
        at = word(&record, layout->loop.next);
    }
}

struct snapshot *snapshot_take(struct image *image, char **error)
{
    struct snapshot *snapshot = must(calloc(1, sizeof *snapshot));

    snapshot->image = image;
    snapshot->texts = texts_new();
    take_layouts(snapshot);
    for (size_t i = 0; i < snapshot->layout_count; i++)
        read_loops(snapshot, &snapshot->layouts[i]);
    if (snapshot->loop_count > 0 || !snapshot->problem) return snapshot;
    *error = text_of("%s: %s", image->title, snapshot->problem);
    snapshot_free(snapshot);
    return NULL;
}

const char *snapshot_text(struct snapshot *snapshot, uint64_t address)
{
    return texts_at(snapshot->texts, snapshot->image, address);
}

void snapshot_free(struct snapshot *snapshot)
{
    if (!snapshot) return;
    for (size_t i = 0; i < snapshot->loop_count; i++) {
        free(snapshot->loops[i].tasks);
        free(snapshot->loops[i].due);
        free(snapshot->loops[i].nodes);
    }
    texts_free(snapshot->texts);
    free(snapshot->layouts);
    free(snapshot->loops);
    free(snapshot->problem);
    free(snapshot);
}

/* ---- the tree ---- */

struct place {
    uint64_t address;
    size_t index;
};

static int by_address(const void *a, const void *b)
{
    const struct place *left = a, *right = b;
    return left->address < right->address ? -1 : left->address > right->address;
}

static size_t find(const struct place *places, size_t count, uint64_t address)
{
    struct place wanted = {address, 0};
    const struct place *found =
        address ? bsearch(&wanted, places, count, sizeof *places, by_address) : NULL;
    return found ? found->index : ASYNC__NO_NODE;
}

size_t loop_find(const struct loop *loop, uint64_t address)
{
    for (size_t i = 0; address && i < loop->task_count; i++)
        if (loop->tasks[i].address == address) return i;
    return ASYNC__NO_NODE;
}

void snapshot_nodes(struct loop *loop)
{
    size_t count = loop->task_count;
    struct place *places = must(malloc((count + 1) * sizeof *places));

    if (loop->nodes) free(loop->nodes);
    loop->nodes = must(calloc(count + 1, sizeof *loop->nodes));
    for (size_t i = 0; i < count; i++)
        places[i] = (struct place){loop->tasks[i].address, i};
    qsort(places, count, sizeof *places, by_address);
    for (size_t i = 0; i < count; i++) {
        const struct task *task = &loop->tasks[i];
        loop->nodes[i] = (async__node){
            .name = task->name,
            .coroutine = task->coroutine_name,
            .number = task->number,
            .what = task->what,
            .fd = task->fd,
            .state = task->state,
            .cancelled = task->cancelled,
            .parent = find(places, count, task->awaiter),
            .holder = find(places, count, task->holder),
        };
    }
    for (size_t i = 0; i < count; i++) {
        size_t awaited = find(places, count, loop->tasks[i].awaited);
        if (awaited != ASYNC__NO_NODE) loop->nodes[awaited].parent = i;
    }
    free(places);
}
