/* tasks.c - the tasks of a loop, and their stacks.
 *
 * The list of tasks is walked while the process may change it. Its tasks stand in the order of their
 * numbers, and each says which one stands before it; so a step that comes to another place than the next
 * one is noticed. Then the walk goes back to the last task that is still there, and on from it. */
#include "tasks.h"

#include "record.h"

#include <stdlib.h>
#include <string.h>

enum {
    TASKS = 1 << 24,
    REPAIRS = 1000, /* of one walk, and some more for each task that it has found */
    NEAR = 1024,
};

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

/* ---- a task ---- */

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

/* ---- the list ---- */

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

void loop_read_tasks(struct snapshot *snapshot, struct loop *loop)
{
    const struct image *image = snapshot->image;
    uint64_t layout = image_word(image, loop->client);
    struct record record;

    if (!image_read(image, layout, &loop->tasks_layout, sizeof loop->tasks_layout)) return;
    char *problem = layout_problem(&loop->tasks_layout.head, ASYNC__TASK_LAYOUT_MAGIC,
                                   sizeof loop->tasks_layout);
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
