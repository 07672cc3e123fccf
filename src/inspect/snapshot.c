/* snapshot.c - see snapshot.h.
 *
 * The list of tasks is walked while the process may change it. Its tasks stand in the order of their
 * numbers, and each says which one stands before it; so a step that comes to another place than the next
 * one is noticed. Then the walk goes back to the last task that is still there, and on from it. */
#include "snapshot.h"

#include "base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LOOPS = 1024,
    TASKS = 1 << 24,
    TIMERS = 1 << 22,
    DESCRIPTORS = 1 << 22,
    REPAIRS = 1000, /* of one walk, and some more for each task that it has found */
    TEXT = 256,
    NEAR = 1024,
    STRUCT = 4096, /* no struct that a layout describes is larger */
};

/* ---- texts, by address: most are literals that many tasks share ---- */

struct text {
    uint64_t address;
    char *text;
};

struct texts {
    struct text *table;
    size_t used, size; /* a power of two */
};

static size_t place_of(const struct texts *texts, uint64_t address)
{
    size_t place = (address * 0x9E3779B97F4A7C15ULL >> 20) & (texts->size - 1);

    while (texts->table[place].address && texts->table[place].address != address)
        place = (place + 1) & (texts->size - 1);
    return place;
}

static void grow(struct texts *texts)
{
    struct texts larger = {.size = texts->size ? 2 * texts->size : 256, .used = texts->used};

    larger.table = must(calloc(larger.size, sizeof *larger.table));
    for (size_t i = 0; i < texts->size; i++)
        if (texts->table[i].address)
            larger.table[place_of(&larger, texts->table[i].address)] = texts->table[i];
    free(texts->table);
    *texts = larger;
}

/* Nothing that a terminal, or a reader of JSON, would take for anything but text. */
static void clean(char *text)
{
    unsigned char *at = (unsigned char *)text;
    size_t left = strlen(text);

    while (left > 0) {
        size_t length = async__character(at, left);
        if (length == 0) *at = '?', length = 1;
        at += length;
        left -= length;
    }
}

const char *snapshot_text(struct snapshot *snapshot, uint64_t address)
{
    struct texts *texts = snapshot->texts;
    char text[TEXT];

    if (!address) return NULL;
    if (4 * texts->used >= 3 * texts->size) grow(texts);
    struct text *entry = &texts->table[place_of(texts, address)];
    if (entry->address) return entry->text;
    size_t got = snapshot->image->read(snapshot->image, address, text, 48);
    if (got == 48 && !memchr(text, 0, 48))
        got += snapshot->image->read(snapshot->image, address + 48, text + 48, TEXT - 1 - 48);
    text[got] = 0;
    clean(text);
    entry->address = address;
    entry->text = must(strdup(got ? text : "?"));
    texts->used++;
    return entry->text;
}

/* ---- fields ---- */

/* A struct as it was read, with as many bytes as its layout says. */
struct record {
    unsigned char bytes[STRUCT];
    uint32_t size;
};

static bool read_record(const struct image *image, uint64_t address, uint32_t size,
                        struct record *record)
{
    record->size = size < STRUCT ? size : STRUCT;
    return address && image_read(image, address, record->bytes, record->size);
}

static void field(const struct record *record, uint32_t offset, void *to, size_t size)
{
    if (offset <= record->size && size <= record->size - offset)
        memcpy(to, record->bytes + offset, size);
    else
        memset(to, 0, size);
}

static uint64_t word(const struct record *record, uint32_t offset)
{
    uint64_t value;
    field(record, offset, &value, sizeof value);
    return value;
}

static uint32_t half(const struct record *record, uint32_t offset)
{
    uint32_t value;
    field(record, offset, &value, sizeof value);
    return value;
}

static unsigned char byte(const struct record *record, uint32_t offset)
{
    unsigned char value;
    field(record, offset, &value, sizeof value);
    return value;
}

/* ---- a task's neighbourhood ---- */

/* What a task waits for lies in one of its frames, a few hundred bytes below the task itself: both are
 * read by one system call, and so are of one moment. It is an image, which reads what it has from there. */
struct near {
    struct image image;
    const struct image *real;
    uint64_t start;
    size_t size;
    unsigned char bytes[NEAR + STRUCT];
};

static size_t read_near(const struct image *image, uint64_t address, void *to, size_t size)
{
    const struct near *near = (const struct near *)image; /* its first member */

    if (address < near->start || size > near->size || address - near->start > near->size - size)
        return near->real->read(near->real, address, to, size);
    memcpy(to, near->bytes + (address - near->start), size);
    return size;
}

static void look_near(struct near *near, uint64_t address, uint32_t size)
{
    size_t all = NEAR + (size < STRUCT ? size : STRUCT);

    near->start = address - NEAR;
    near->size = 0; /* where it cannot be read whole, each part is on its own */
    if (address > NEAR && near->real->read(near->real, near->start, near->bytes, all) == all)
        near->size = all;
}

static struct near *near_of(const struct image *image)
{
    struct near *near = must(malloc(sizeof *near));

    near->image = *image;
    near->image.read = read_near;
    near->real = image;
    near->start = 0;
    near->size = 0;
    return near;
}

/* ---- layouts ---- */

/* NULL, or why it is none that this program knows. */
static char *check_head(const struct async__layout_head *head, const char *magic, size_t size)
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
            problem = check_head(&layout->head, ASYNC__LAYOUT_MAGIC, sizeof *layout);
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

    if (length > TIMERS || slots > TIMERS || entry < 8 || entry > 256) return;
    if (layout->timers.when + 8 > entry || layout->timers.slot + 4 > entry) return;
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

/* ---- tasks ---- */

static bool marked(const struct loop *loop, size_t mark, uint64_t function)
{
    return function && loop->marks[mark].function == function;
}

static void take_awaiter(const struct image *image, const struct loop *loop, struct task *task)
{
    for (size_t i = 0; i < AWAITERS; i++) {
        if (!marked(loop, i, task->done)) continue;
        task->awaiter = image_word(image, task->owner + loop->marks[i].offset);
        if (i == 0) task->group = task->owner;
        return;
    }
}

/* Whether the wait is the beginning of a waiter: then a list, or the waiter before it, leads to it. */
static bool is_in_list(const struct image *image, const struct async__task_layout *layout,
                       const struct task *task)
{
    uint64_t list = image_word(image, task->wait + layout->waiter.list);
    uint64_t before = image_word(image, task->wait + layout->waiter.previous);
    uint64_t link = before ? before + layout->waiter.next : list + layout->waiter.first;

    return list && image_word(image, link) == task->wait;
}

static void take_wait(struct snapshot *snapshot, const struct image *image, const struct loop *loop,
                      struct task *task)
{
    const struct async__task_layout *layout = &loop->tasks_layout;
    struct record wait;

    task->fd = -1;
    task->left = INT64_MIN;
    if (!task->wait) return;
    if (!read_record(image, task->wait, layout->wait.size, &wait) ||
        word(&wait, layout->wait.task) != task->address) {
        task->moved = true;
        task->wait = 0;
        return;
    }
    task->what = snapshot_text(snapshot, word(&wait, layout->wait.what));
    if (!task->what) task->what = "?";
    task->fd = (int)half(&wait, layout->wait.fd);
    task->awaited = word(&wait, layout->wait.awaited);
    task->interrupt = word(&wait, layout->wait.interrupt);
    if (is_in_list(image, layout, task)) {
        task->list = image_word(image, task->wait + layout->waiter.list);
        if (strcmp(task->what, "lock") == 0)
            task->holder = image_word(image, task->list + layout->lock_owner);
    } else if (marked(loop, IN_SLEEP, task->interrupt)) {
        uint32_t slot = 0;
        image_read(image, task->wait + loop->marks[IN_SLEEP].offset, &slot, sizeof slot);
        if (slot < loop->due_count && loop->due[slot] != INT64_MIN &&
            loop->due[slot] != INT64_MAX && loop->clock)
            task->left = (int64_t)((uint64_t)loop->due[slot] - (uint64_t)loop->clock);
    }
}

/* False: what is there is no task of this loop. */
static bool take_task(const struct loop *loop, const struct record *record, struct task *task)
{
    const struct async__task_layout *layout = &loop->tasks_layout;

    task->number = word(record, layout->task.number);
    task->state = byte(record, layout->task.state);
    task->tasks = word(record, layout->task.tasks);
    if (task->tasks != loop->client || task->state >= ASYNC__DONE) return false;
    task->top = task->address + layout->task.room;
    task->sp = word(record, layout->task.sp);
    task->wait = task->state == ASYNC__PARKED ? word(record, layout->task.wait) : 0;
    task->cancelled = byte(record, layout->task.cancelled);
    task->is_main = byte(record, layout->task.is_main);
    task->coroutine = word(record, layout->task.coroutine);
    task->scope = word(record, layout->task.scope);
    task->done = word(record, layout->task.done);
    task->owner = word(record, layout->task.owner);
    task->since = (int64_t)word(record, layout->task.since);
    task->ran = (int64_t)word(record, layout->task.ran);
    return true;
}

static bool read_task(const struct image *image, const struct loop *loop, uint64_t address,
                      struct record *record, struct task *task)
{
    *task = (struct task){.address = address, .fd = -1, .left = INT64_MIN};
    return read_record(image, address, loop->tasks_layout.task.size, record) &&
           take_task(loop, record, task);
}

static void fill_in(struct snapshot *snapshot, const struct image *image, const struct loop *loop,
                    const struct record *record, struct task *task)
{
    const struct async__task_layout *layout = &loop->tasks_layout;

    task->base = ((task->top - 1) | loop->page_mask) + 1 - loop->usable;
    task->name = snapshot_text(snapshot, word(record, layout->task.name));
    task->coroutine_name = snapshot_text(snapshot, word(record, layout->task.coroutine_name));
    task->where = snapshot_text(snapshot, word(record, layout->task.where));
    take_awaiter(image, loop, task);
    take_wait(snapshot, image, loop, task);
}

static void append(struct loop *loop, const struct task *task)
{
    size_t count = loop->task_count++;

    if ((count & (count - 1)) == 0) /* none, or a power of two: it is full */
        loop->tasks = must(realloc(loop->tasks, (count ? 2 * count : 1) * sizeof *task));
    loop->tasks[count] = *task;
}

/* The last task of those found that is still what it was, and how many go with it. */
static size_t still_there(const struct image *image, const struct loop *loop, struct record *record)
{
    struct task now;
    size_t count = loop->task_count, step = 1;

    while (count > 0) {
        const struct task *last = &loop->tasks[count - 1];
        if (read_task(image, loop, last->address, record, &now) && now.number == last->number)
            break;
        count = count > step ? count - step : 0;
        step *= 2; /* many may have ended: those in between are kept, being found */
    }
    return count;
}

static void walk(struct snapshot *snapshot, struct loop *loop)
{
    const struct async__task_layout *layout = &loop->tasks_layout;
    const struct image *image = snapshot->image;
    uint64_t at = image_word(image, loop->client + layout->tasks.first), before = 0, number = 0;
    uint64_t repairs = 0;
    struct near *near = near_of(image);
    struct record record;
    struct task task;

    while (at && loop->task_count < TASKS) {
        look_near(near, at, layout->task.size);
        bool good = read_task(&near->image, loop, at, &record, &task) &&
                    word(&record, layout->task.previous) == before && task.number > number;
        uint64_t next = word(&record, layout->task.next);
        if (!good) {
            if (++repairs > REPAIRS + 2 * loop->task_count) break;
            size_t kept = still_there(image, loop, &record);
            before = kept ? loop->tasks[kept - 1].address : 0;
            at = kept ? word(&record, layout->task.next)
                      : image_word(image, loop->client + layout->tasks.first);
            number = kept ? loop->tasks[kept - 1].number : 0;
            continue;
        }
        number = task.number;
        /* After a step back, those that are known come once more. */
        if (loop->task_count == 0 || number > loop->tasks[loop->task_count - 1].number) {
            fill_in(snapshot, &near->image, loop, &record, &task);
            append(loop, &task);
        }
        before = at;
        at = next;
    }
    loop->incomplete = at != 0;
    free(near);
}

static void take_marks(const struct image *image, struct loop *loop)
{
    const struct async__task_layout *at = &loop->tasks_layout;
    uint64_t addresses[MARKS] = {at->marks[0], at->marks[1], at->marks[2], at->marks[3], at->sleep};

    for (size_t i = 0; i < MARKS; i++)
        if (addresses[i]) image_read(image, addresses[i], &loop->marks[i], sizeof loop->marks[i]);
}

static void read_tasks(struct snapshot *snapshot, struct loop *loop)
{
    const struct image *image = snapshot->image;
    uint64_t layout = image_word(image, loop->client);
    struct record record;

    if (!image_read(image, layout, &loop->tasks_layout, sizeof loop->tasks_layout)) return;
    char *problem =
        check_head(&loop->tasks_layout.head, ASYNC__TASK_LAYOUT_MAGIC, sizeof loop->tasks_layout);
    if (problem) {
        if (snapshot->problem) free(snapshot->problem);
        snapshot->problem = problem;
        return;
    }
    const struct async__task_layout *at = &loop->tasks_layout;
    if (!read_record(image, loop->client, at->tasks.size, &record)) return;
    loop->has_tasks = true;
    loop->pool = word(&record, at->tasks.stacks);
    loop->page_mask = image_word(image, loop->pool + at->stacks.page_mask);
    loop->usable = image_word(image, loop->pool + at->stacks.usable);
    loop->stacks_pooled = image_word(image, loop->pool + at->stacks.idle);
    loop->stacks_used = image_word(image, loop->pool + at->stacks.total) - loop->stacks_pooled;
    loop->tasks_made = word(&record, at->tasks.numbers);
    take_marks(image, loop);
    loop->count = word(&record, at->tasks.count);
    walk(snapshot, loop);
}

/* ---- loops ---- */

static uint64_t count_descriptors(const struct image *image, const struct loop *loop,
                                  const struct record *record)
{
    const struct async__layout *at = loop->layout;
    uint64_t length = half(record, at->loop.fds_length), size = at->fd.size, count = 0;

    if (length > DESCRIPTORS || size == 0 || size > 256 || at->fd.interest >= size) return 0;
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
        if (loop->client) read_tasks(snapshot, loop);
        before = at;
        at = word(&record, layout->loop.next);
    }
}

struct snapshot *snapshot_take(struct image *image, char **error)
{
    struct snapshot *snapshot = must(calloc(1, sizeof *snapshot));

    snapshot->image = image;
    snapshot->texts = must(calloc(1, sizeof *snapshot->texts));
    take_layouts(snapshot);
    for (size_t i = 0; i < snapshot->layout_count; i++)
        read_loops(snapshot, &snapshot->layouts[i]);
    if (snapshot->loop_count > 0 || !snapshot->problem) return snapshot;
    *error = text_of("%s: %s", image->title, snapshot->problem);
    snapshot_free(snapshot);
    return NULL;
}

void snapshot_free(struct snapshot *snapshot)
{
    if (!snapshot) return;
    for (size_t i = 0; i < snapshot->loop_count; i++) {
        free(snapshot->loops[i].tasks);
        free(snapshot->loops[i].due);
        free(snapshot->loops[i].nodes);
    }
    for (size_t i = 0; i < snapshot->texts->size; i++)
        free(snapshot->texts->table[i].text);
    free(snapshot->texts->table);
    free(snapshot->texts);
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

/* ---- stacks ---- */

size_t task_stack(const struct snapshot *snapshot, const struct loop *loop, const struct task *task,
                  void *to, size_t size)
{
    struct record record;
    struct task now;

    if (task->moved || task->state == ASYNC__RUNNING || task->sp < task->base ||
        task->sp >= task->address)
        return 0;
    /* The task lies above its frames and is read after them, by the same call if there is room: if it is
     * still where it was, what was read before it belongs together. */
    uint64_t depth = task->address - task->sp, above = loop->tasks_layout.task.size;
    size_t wanted = above <= STRUCT && depth + above <= size ? depth + above
                    : depth < size                           ? depth
                                                             : size;
    size_t got = snapshot->image->read(snapshot->image, task->sp, to, wanted);
    bool with_task = got > depth && got == wanted;
    if (got > depth) got = depth;
    if (snapshot->image->pid == 0 || snapshot->image->stopped < 0) return got;
    if (with_task) {
        record.size = (uint32_t)above;
        memcpy(record.bytes, (char *)to + depth, above);
        now = (struct task){.address = task->address};
    }
    if (!(with_task ? take_task(loop, &record, &now)
                    : read_task(snapshot->image, loop, task->address, &record, &now)) ||
        now.number != task->number || now.sp != task->sp || now.state != task->state ||
        (task->wait && now.wait != task->wait))
        return 0;
    return got;
}
