/* python_tasks.c - see python_tasks.h.
 *
 * The set of all tasks is a hash table of weak references. A task has a coroutine; that has a frame, which lies
 * in it, and if it awaits, what it awaits is on the top of the frame's stack: another coroutine, or
 * something that is none, as a future is. The frames of a coroutine that runs are found from the other end,
 * from the thread that runs it.
 *
 * All of it may be torn or lie: each loop has a limit, and an object is one if its type is one that is known. */
#include "python_tasks.h"

#include "../../python/src/loop/tasks_layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ENTRIES = 1 << 22,
    TASKS = 1 << 20,
    FRAMES = 64, /* of a task */
    DEPTH = 256, /* of a thread */
    THREADS = 256,
    TEXT = 200,         /* characters */
    LINES = 256 * 1024, /* bytes of a table of lines */
    DIGITS = 2,         /* of an integer */
};

struct reader {
    const struct image *image;
    struct async__python_layout layout;
    /* Of all threads, in their order, innermost frame first: the frames' addresses; 0 after each thread. */
    uint64_t *running;
    size_t running_count;
};

/* ---- objects ---- */

static uint64_t word_at(const struct reader *reader, uint64_t address, uint64_t offset)
{
    return image_word(reader->image, address + offset);
}

static uint32_t half_at(const struct reader *reader, uint64_t address, uint64_t offset)
{
    uint32_t value = 0;
    image_read(reader->image, address + offset, &value, sizeof value);
    return value;
}

static unsigned char byte_at(const struct reader *reader, uint64_t address, uint64_t offset)
{
    unsigned char value = 0;
    image_read(reader->image, address + offset, &value, 1);
    return value;
}

/* With a sign, as states of generators have. */
static int state_at(const struct reader *reader, uint64_t address, uint64_t offset)
{
    int value = byte_at(reader, address, offset);
    return value < 128 ? value : value - 256;
}

static uint64_t type_of(const struct reader *reader, uint64_t object)
{
    return object ? word_at(reader, object, reader->layout.type) : 0;
}

static bool is_generator(const struct reader *reader, uint64_t type)
{
    for (size_t i = 0; i < 3; i++)
        if (type == reader->layout.generator_types[i]) return type != 0;
    return false;
}

static bool is_own(const struct reader *reader, uint64_t type)
{
    return type != 0 && type == reader->layout.own.type;
}

static char *add_character(char *to, uint32_t character)
{
    if (character < 0x20 || (character >= 0x7F && character < 0xA0) || character > 0x10FFFF ||
        (character >= 0xD800 && character < 0xE000))
        character = '?';
    if (character < 0x80) {
        *to++ = (char)character;
    } else if (character < 0x800) {
        *to++ = (char)(0xC0 | character >> 6);
        *to++ = (char)(0x80 | (character & 0x3F));
    } else if (character < 0x10000) {
        *to++ = (char)(0xE0 | character >> 12);
        *to++ = (char)(0x80 | (character >> 6 & 0x3F));
        *to++ = (char)(0x80 | (character & 0x3F));
    } else {
        *to++ = (char)(0xF0 | character >> 18);
        *to++ = (char)(0x80 | (character >> 12 & 0x3F));
        *to++ = (char)(0x80 | (character >> 6 & 0x3F));
        *to++ = (char)(0x80 | (character & 0x3F));
    }
    return to;
}

/* A str's text, without what cannot be printed; to be freed. NULL: it is none. */
static char *read_text(const struct reader *reader, uint64_t object)
{
    unsigned char raw[4 * TEXT];
    uint64_t length = word_at(reader, object, reader->layout.text.length);
    uint32_t state = half_at(reader, object, reader->layout.text.state), character;
    uint32_t shift = reader->layout.text.kind_shift % 32;
    size_t each = (state & reader->layout.text.kind) >> shift;
    bool ascii = state & reader->layout.text.is_ascii;

    if (!object || !(state & reader->layout.text.is_compact)) return NULL;
    if (length > INT64_MAX || (each != 1 && each != 2 && each != 4)) return NULL;
    if (length > TEXT) length = TEXT;
    uint64_t from = object + (ascii ? reader->layout.text.ascii : reader->layout.text.compact);
    if (!image_read(reader->image, from, raw, length * each)) return NULL;
    char *text = must(malloc(4 * length + 1)), *end = text;
    for (size_t i = 0; i < length; i++) {
        character = 0;
        memcpy(&character, raw + i * each, each);
        end = add_character(end, character);
    }
    *end = 0;
    return text;
}

/* A text of C's. */
static char *read_c_text(const struct reader *reader, uint64_t address)
{
    char text[TEXT + 1] = "";

    if (!address) return NULL;
    reader->image->read(reader->image, address, text, TEXT);
    text[TEXT] = 0;
    for (char *at = text; *at; at++)
        if (*at < 0x20 || *at > 0x7E) *at = '?';
    return must(strdup(text));
}

/* A name that was not asked for yet is a number: 12 for "Task-12". */
static char *read_name(const struct reader *reader, uint64_t object)
{
    uint32_t digits[DIGITS] = {0};

    if (!object || type_of(reader, object) != reader->layout.integer_type)
        return read_text(reader, object);
    uint64_t size = word_at(reader, object, reader->layout.integer.size) >>
                    reader->layout.integer.size_shift % 64;
    if (size > DIGITS ||
        !image_read(reader->image, object + reader->layout.integer.digits, digits, size * 4))
        return NULL;
    return text_of("Task-%llu",
                   (unsigned long long)digits[0] | (unsigned long long)digits[1]
                                                       << reader->layout.integer.bits % 64);
}

/* ---- lines ---- */

/* The next number of 6 bits a byte. */
static unsigned take_number(const unsigned char *table, size_t size, size_t *at)
{
    unsigned value = 0, shift = 0, byte = 0;

    do {
        byte = *at < size ? table[(*at)++] : 0;
        value |= shift < 32 ? (byte & 63) << shift : 0;
        shift += 6;
    } while (byte & 64);
    return value;
}

static int take_signed(const unsigned char *table, size_t size, size_t *at)
{
    unsigned value = take_number(table, size, at);
    return value & 1 ? -(int)(value >> 1) : (int)(value >> 1);
}

/* CPython's table of locations (Objects/locations.md): each entry has a first byte, with its kind and the
 * count of code units, a difference of lines by kind, and what is about columns. */
static int find_line(const unsigned char *table, size_t size, int first, uint64_t instruction)
{
    enum { COLUMNS = 10, NO_COLUMNS = 13, LONG, NONE };
    unsigned line = (unsigned)first;
    uint64_t reached = 0;

    for (size_t at = 0; at < size;) {
        unsigned char head = table[at++];
        unsigned kind = head >> 3 & 15;
        if (kind == LONG || kind == NO_COLUMNS)
            line += (unsigned)take_signed(table, size, &at);
        else if (kind >= COLUMNS && kind < NO_COLUMNS)
            line += kind - COLUMNS;
        reached += (head & 7U) + 1;
        if (instruction < reached) return kind == NONE ? 0 : (int)line;
        while (at < size && !(table[at] & 0x80)) /* only a first byte has this bit */
            at++;
    }
    return 0;
}

static int read_line(const struct reader *reader, uint64_t code, uint64_t instruction)
{
    const struct async__python_layout *layout = &reader->layout;
    uint64_t lines = word_at(reader, code, layout->code.lines);
    uint64_t size = word_at(reader, lines, layout->bytes.size);
    int first = (int)half_at(reader, code, layout->code.line);
    uint64_t start = code + layout->code.instructions;

    if (instruction < start) return first; /* it has not begun */
    if (!lines || size == 0 || size > LINES) return 0;
    unsigned char *table = must(malloc(size));
    bool good = image_read(reader->image, lines + layout->bytes.data, table, size);
    int line = good ? find_line(table, size, first, (instruction - start) / 2) : 0;
    free(table);
    return line > 0 ? line : 0;
}

/* ---- frames ---- */

/* False: it stands for C's. */
static bool read_frame(const struct reader *reader, uint64_t address, struct python_frame *frame)
{
    const struct async__python_layout *layout = &reader->layout;
    uint64_t code = word_at(reader, address, layout->frame.code);

    if (byte_at(reader, address, layout->frame.owner) == layout->frame.no_owner ||
        type_of(reader, code) != layout->code_type)
        return false;
    *frame = (struct python_frame){
        .function = read_text(reader, word_at(reader, code, layout->code.name)),
        .file = read_text(reader, word_at(reader, code, layout->code.file)),
        .line = read_line(reader, code, word_at(reader, address, layout->frame.instruction)),
    };
    return true;
}

static void add_frame(struct python_task *task, struct python_frame frame)
{
    if (!task->frames) task->frames = must(calloc(FRAMES, sizeof *task->frames));
    task->frames[task->frame_count++] = frame;
}

static void read_running(struct reader *reader)
{
    const struct async__python_layout *layout = &reader->layout;
    uint64_t thread = word_at(reader, layout->interpreter, layout->thread.first);

    reader->running = must(calloc(THREADS * (DEPTH + 1), sizeof *reader->running));
    for (size_t i = 0; thread && i < THREADS; i++) {
        uint64_t frame = word_at(reader, thread, layout->thread.frame);
        if (layout->thread.indirect) frame = word_at(reader, frame, layout->thread.current);
        for (size_t depth = 0; frame && depth < DEPTH; depth++) {
            reader->running[reader->running_count++] = frame;
            frame = word_at(reader, frame, layout->frame.previous);
        }
        reader->running[reader->running_count++] = 0;
        thread = word_at(reader, thread, layout->thread.next);
    }
}

/* From the innermost one of the thread down to that of the coroutine. */
static void add_running(struct reader *reader, struct python_task *task, uint64_t outermost)
{
    size_t first = 0, last = 0;

    if (!reader->running) read_running(reader);
    while (last < reader->running_count && reader->running[last] != outermost) {
        if (reader->running[last] == 0) first = last + 1;
        last++;
    }
    for (size_t i = first; last < reader->running_count && i <= last; i++) {
        struct python_frame frame;
        if (task->frame_count < FRAMES && read_frame(reader, reader->running[i], &frame))
            add_frame(task, frame);
    }
}

/* What the coroutine awaits, on the top of its stack; or 0. */
static uint64_t awaited_by(const struct reader *reader, uint64_t frame)
{
    uint32_t top = half_at(reader, frame, reader->layout.frame.stack_top);

    if (top == 0 || top > INT32_MAX) return 0;
    return word_at(reader, frame, reader->layout.frame.stack + 8 * (uint64_t)(top - 1));
}

/* Adds the frame of one object that is awaited: the next, or 0. */
static uint64_t step(struct reader *reader, struct python_task *task, uint64_t object)
{
    const struct async__python_layout *layout = &reader->layout;
    uint64_t type = type_of(reader, object);

    for (size_t i = 0; i < 2; i++)
        if (type && type == layout->wrappers[i].type)
            return word_at(reader, object, layout->wrappers[i].inner);
    if (is_own(reader, type)) {
        uint64_t kind = word_at(reader, object, layout->own.kind);
        char *name = read_c_text(reader, word_at(reader, kind, layout->own.qualname));
        task->running |= byte_at(reader, object, layout->own.state) == layout->own.running;
        add_frame(task, (struct python_frame){.function = name});
        return word_at(reader, object, layout->own.awaited);
    }
    if (!is_generator(reader, type)) return 0;
    int state = state_at(reader, object, layout->generator.state);
    uint64_t frame = object + layout->generator.frame;
    struct python_frame place;
    if (state >= layout->generator.done) return 0;
    if (state == layout->generator.runs) {
        task->running = true;
        return 0;
    }
    if (read_frame(reader, frame, &place)) add_frame(task, place);
    return state == layout->generator.awaits ? awaited_by(reader, frame) : 0;
}

/* Innermost first, as a thread's are. */
static void turn_round(struct python_task *task)
{
    for (size_t i = 0, j = task->frame_count; j > 0 && i < --j; i++) {
        struct python_frame frame = task->frames[i];
        task->frames[i] = task->frames[j];
        task->frames[j] = frame;
    }
}

static void read_frames(struct reader *reader, struct python_task *task)
{
    uint64_t object = task->coroutine;

    for (size_t steps = 0; object && steps < 2 * FRAMES && task->frame_count < FRAMES; steps++)
        object = step(reader, task, object);
    turn_round(task);
    if (task->running && task->frame_count == 0)
        add_running(reader, task, task->coroutine + reader->layout.generator.frame);
}

/* ---- tasks ---- */

/* Whether it is one that has not ended. */
static bool read_task(struct reader *reader, uint64_t address, struct python_task *task)
{
    const struct async__python_layout *layout = &reader->layout;
    uint64_t coroutine = word_at(reader, address, layout->task.coroutine);
    uint64_t type = type_of(reader, coroutine);
    bool own = is_own(reader, type);

    if (!own && !is_generator(reader, type)) return false;
    if (own ? byte_at(reader, coroutine, layout->own.state) == layout->own.done
            : state_at(reader, coroutine, layout->generator.state) >= layout->generator.done)
        return false;
    *task = (struct python_task){
        .address = address,
        .coroutine = coroutine,
        .waiter = word_at(reader, address, layout->task.waiter),
        .name = read_name(reader, word_at(reader, address, layout->task.name)),
        .awaiter = SIZE_MAX,
    };
    if (!task->name) task->name = text_of("%#llx", (unsigned long long)address);
    read_frames(reader, task);
    return true;
}

static void add_task(struct reader *reader, struct python_tasks *tasks, uint64_t reference)
{
    uint64_t address = reference ? word_at(reader, reference, reader->layout.referent) : 0;
    struct python_task task;

    if (!address || tasks->count == TASKS || !read_task(reader, address, &task)) return;
    if ((tasks->count & (tasks->count - 1)) == 0)
        tasks->tasks = must(realloc(tasks->tasks, (2 * tasks->count + 1) * sizeof task));
    tasks->tasks[tasks->count++] = task;
}

static void read_set(struct reader *reader, struct python_tasks *tasks)
{
    const struct async__python_layout *layout = &reader->layout;
    unsigned char piece[64 * 64];
    uint64_t each = layout->set.entry_size, left, table;

    table = word_at(reader, layout->tasks, layout->set.table);
    left = word_at(reader, layout->tasks, layout->set.mask) + 1;
    if (!table || left > ENTRIES || each < 8 || each > 64 || layout->set.key > each - 8) return;
    while (left > 0) {
        size_t count = left < sizeof piece / each ? left : sizeof piece / each;
        size_t got = reader->image->read(reader->image, table, piece, count * each) / each;
        for (size_t i = 0; i < got; i++) {
            uint64_t reference;
            memcpy(&reference, piece + i * each + layout->set.key, sizeof reference);
            add_task(reader, tasks, reference);
        }
        if (got < count) return;
        table += count * each;
        left -= count;
    }
}

static int by_address(const void *left, const void *right)
{
    const struct python_task *a = left, *b = right;
    return (a->address > b->address) - (a->address < b->address);
}

static int by_name(const void *left, const void *right)
{
    const struct python_task *const *a = left, *const *b = right;
    int order = strverscmp((*a)->name, (*b)->name);
    return order ? order : by_address(*a, *b);
}

/* By their names; the tasks that wait for others are told by the addresses of these. */
static void arrange(struct python_tasks *tasks)
{
    size_t count = tasks->count;
    struct python_task *given = tasks->tasks, **order = must(calloc(count + 1, sizeof *order)),
                       *sorted = must(calloc(count + 1, sizeof *sorted));
    size_t *places = must(calloc(count + 1, sizeof *places));

    if (count > 0) qsort(given, count, sizeof *given, by_address);
    for (size_t i = 0; i < count; i++)
        order[i] = &given[i];
    qsort(order, count, sizeof(void *), by_name);
    for (size_t i = 0; i < count; i++)
        places[order[i] - given] = i;
    for (size_t i = 0; i < count; i++)
        sorted[i] = *order[i];
    for (size_t i = 0; i < count; i++) {
        struct python_task wanted = {.address = sorted[i].waiter};
        const struct python_task *found =
            wanted.address ? bsearch(&wanted, given, count, sizeof *given, by_address) : NULL;
        if (found) sorted[places[found - given]].awaiter = i;
    }
    free(places);
    free(order);
    free(given);
    tasks->tasks = sorted;
}

enum python_known python_tasks_read(const struct image *image, uint64_t layout,
                                    struct python_tasks *tasks)
{
    struct reader reader = {.image = image};

    *tasks = (struct python_tasks){0};
    if (!layout || !image_read(image, layout, &reader.layout, sizeof reader.layout) ||
        memcmp(reader.layout.magic, ASYNC__PYTHON_LAYOUT_MAGIC, sizeof reader.layout.magic) != 0 ||
        reader.layout.version != ASYNC__PYTHON_LAYOUT_VERSION ||
        reader.layout.size != sizeof reader.layout)
        return PYTHON_TASKS_UNKNOWN;
    if (!reader.layout.known) return PYTHON_TASKS_TOLD_BY_PYTHON;
    read_set(&reader, tasks);
    free(reader.running);
    arrange(tasks);
    return PYTHON_TASKS_READ;
}

void python_tasks_free(struct python_tasks *tasks)
{
    for (size_t i = 0; i < tasks->count; i++) {
        struct python_task *task = &tasks->tasks[i];
        for (size_t j = 0; j < task->frame_count; j++) {
            free(task->frames[j].function);
            free(task->frames[j].file);
        }
        free(task->frames);
        free(task->name);
    }
    free(tasks->tasks);
    *tasks = (struct python_tasks){0};
}
