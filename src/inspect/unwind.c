/* unwind.c - see unwind.h.
 *
 * libdw finds the tables and reads them; the steps from frame to frame are made here, since a hundred
 * thousand tasks are parked in a handful of places: what is found for an address (how to step on from
 * it, what its function and line are) is kept, and a step is a look-up and a few words of memory. */
#include "unwind.h"

#include <dwarf.h>
#include <elf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WINDOW = 16 * 1024, COLUMNS = REGISTERS };

/* How a register of the caller's is found. */
enum rule_kind { SAME, UNDEFINED, SAVED, VALUE, REGISTER, UNKNOWN };
struct rule {
    unsigned char kind;
    unsigned char number; /* of REGISTER */
    int32_t offset;       /* from the frame's address (CFA), of SAVED and VALUE */
};

struct step {
    uint64_t pc; /* that was looked up; 0: the entry is free */
    bool good;
    unsigned char cfa_register, return_column;
    int64_t cfa_offset;
    struct rule rules[COLUMNS];
    struct place_in_code place;
};

struct unwinder {
    const struct snapshot *snapshot;
    Dwfl *dwfl;
    int columns, sp, frame_pointer;
    struct step **table; /* by pc */
    size_t used, size;
    unsigned char *window; /* the part of a stack that has been read */
    uint64_t window_start;
    size_t window_size;
};

/* ---- modules ---- */

static int no_file(Dwfl_Module *module, void **data, const char *name, Dwarf_Addr base,
                   char **file_name, Elf **elf)
{
    (void)module, (void)data, (void)name, (void)base, (void)file_name, (void)elf;
    return -1; /* all are reported with theirs */
}

struct range {
    uint64_t start, end;
};

/* What the file says of where it is to be mapped, as it lies on the disk: what is in memory may be torn. */
static bool range_of(int fd, const struct module *module, struct range *range, uint64_t *bias)
{
    Elf64_Ehdr file;
    Elf64_Phdr headers[64];

    if (pread(fd, &file, sizeof file, 0) != sizeof file ||
        memcmp(file.e_ident, ELFMAG, SELFMAG) != 0 || file.e_ident[EI_CLASS] != ELFCLASS64 ||
        file.e_phnum == 0 || file.e_phnum > 64 || file.e_phentsize != sizeof *headers)
        return false;
    ssize_t size = (ssize_t)(file.e_phnum * sizeof *headers);
    if (pread(fd, headers, (size_t)size, (off_t)file.e_phoff) != size) return false;
    *range = (struct range){UINT64_MAX, 0};
    for (unsigned i = 0; i < file.e_phnum; i++) {
        if (headers[i].p_type != PT_LOAD) continue;
        uint64_t end = headers[i].p_vaddr + headers[i].p_memsz;
        if (headers[i].p_vaddr < range->start) range->start = headers[i].p_vaddr & ~0xFFFULL;
        if (end > range->end) range->end = end;
    }
    if (range->start >= range->end) return false;
    *bias = module->start - range->start;
    range->start += *bias;
    range->end += *bias;
    return range->start < range->end && (file.e_type != ET_EXEC || *bias == 0);
}

/* Modules that would lie over each other, as a core may claim, are more than libdw is made for. */
static bool is_free(const struct range *ranges, size_t count, struct range range)
{
    for (size_t i = 0; i < count; i++)
        if (range.start < ranges[i].end && ranges[i].start < range.end) return false;
    return true;
}

static void report_modules(struct unwinder *unwinder)
{
    const struct image *image = unwinder->snapshot->image;
    struct range *ranges = must(calloc(image->module_count + 1, sizeof *ranges));
    size_t count = 0;

    dwfl_report_begin(unwinder->dwfl);
    for (size_t i = 0; i < image->module_count; i++) {
        const struct module *module = &image->modules[i];
        uint64_t bias;
        int fd = image->open(image, module);
        if (fd < 0) continue;
        if (!range_of(fd, module, &ranges[count], &bias) ||
            !is_free(ranges, count, ranges[count]) ||
            !dwfl_report_elf(unwinder->dwfl, module->path, module->path, fd, bias, true))
            close(fd);
        else
            count++;
    }
    dwfl_report_end(unwinder->dwfl, NULL, NULL);
    free(ranges);
}

struct unwinder *unwinder_new(const struct snapshot *snapshot)
{
    static char *debug_path; /* the usual places */
    static const Dwfl_Callbacks callbacks = {
        .find_elf = no_file,
        .find_debuginfo = dwfl_standard_find_debuginfo,
        .debuginfo_path = &debug_path,
    };
    struct unwinder *unwinder = must(calloc(1, sizeof *unwinder));
    bool aarch64 = snapshot->image->machine == EM_AARCH64;

    unwinder->snapshot = snapshot;
    unwinder->columns = aarch64 ? 32 : 17;
    unwinder->sp = aarch64 ? 31 : 7;
    unwinder->frame_pointer = aarch64 ? 29 : 6;
    unwinder->window = must(malloc(WINDOW));
    unwinder->size = 256;
    unwinder->table = must(calloc(unwinder->size, sizeof *unwinder->table));
    unwinder->dwfl = dwfl_begin(&callbacks);
    if (unwinder->dwfl) report_modules(unwinder);
    return unwinder;
}

void unwinder_free(struct unwinder *unwinder)
{
    if (!unwinder) return;
    for (size_t i = 0; i < unwinder->size; i++)
        free(unwinder->table[i]);
    free(unwinder->table);
    free(unwinder->window);
    if (unwinder->dwfl) dwfl_end(unwinder->dwfl);
    free(unwinder);
}

/* ---- what is known of an address ---- */

static struct rule rule_of(const Dwarf_Op *ops, size_t count, const Dwarf_Op *memory)
{
    struct rule rule = {.kind = UNKNOWN};

    if (count == 0) return (struct rule){.kind = ops == memory ? UNDEFINED : SAME};
    if (ops[0].atom == DW_OP_regx && count == 1 && ops[0].number < COLUMNS)
        return (struct rule){.kind = REGISTER, .number = (unsigned char)ops[0].number};
    if (ops[0].atom != DW_OP_call_frame_cfa) return rule;
    size_t next = 1;
    rule.kind = SAVED;
    if (next < count && ops[next].atom == DW_OP_plus_uconst)
        rule.offset = (int32_t)ops[next++].number;
    if (next < count && ops[next].atom == DW_OP_stack_value) {
        rule.kind = VALUE;
        next++;
    }
    if (next < count) rule.kind = UNKNOWN;
    return rule;
}

/* False: the frame's address is no register and an offset (as in a procedure linkage table). */
static bool take_cfa(Dwarf_Frame *frame, struct step *step)
{
    Dwarf_Op *ops;
    size_t count;

    if (dwarf_frame_cfa(frame, &ops, &count) != 0 || count < 1 || count > 2) return false;
    if (ops[0].atom >= DW_OP_breg0 && ops[0].atom <= DW_OP_breg31) {
        step->cfa_register = (unsigned char)(ops[0].atom - DW_OP_breg0);
        step->cfa_offset = (int64_t)ops[0].number;
    } else if (ops[0].atom == DW_OP_bregx && ops[0].number < COLUMNS) {
        step->cfa_register = (unsigned char)ops[0].number;
        step->cfa_offset = (int64_t)ops[0].number2;
    } else {
        return false;
    }
    if (count == 2 && ops[1].atom != DW_OP_plus_uconst) return false;
    if (count == 2) step->cfa_offset += (int64_t)ops[1].number;
    return true;
}

static bool take_rules(const struct unwinder *unwinder, Dwarf_CFI *cfi, uint64_t pc,
                       struct step *step)
{
    Dwarf_Frame *frame;
    bool signal;

    if (!cfi || dwarf_cfi_addrframe(cfi, pc, &frame) != 0) return false;
    int column = dwarf_frame_info(frame, NULL, NULL, &signal);
    bool good = column >= 0 && column < unwinder->columns && take_cfa(frame, step);
    step->return_column = (unsigned char)column;
    for (int i = 0; good && i < unwinder->columns; i++) {
        Dwarf_Op memory[3], *ops;
        size_t count;
        if (dwarf_frame_register(frame, i, memory, &ops, &count) == 0)
            step->rules[i] = rule_of(ops, count, memory);
        else
            step->rules[i].kind = UNKNOWN;
    }
    free(frame);
    return good;
}

/* clang leaves out the table of addresses (.debug_aranges) that dwfl_module_getsrc needs. */
static void search_units(Dwfl_Module *module, uint64_t pc, struct step *step)
{
    Dwarf_Addr bias;
    Dwarf_Die *unit = NULL;

    while ((unit = dwfl_module_nextcu(module, unit, &bias))) {
        if (dwarf_haspc(unit, pc - bias) <= 0) continue;
        Dwarf_Line *line = dwarf_getsrc_die(unit, pc - bias);
        if (!line || dwarf_lineno(line, &step->place.line) != 0) return;
        step->place.file = dwarf_linesrc(line, NULL, NULL);
        return;
    }
}

static void take_place(Dwfl_Module *module, uint64_t pc, struct step *step)
{
    Dwarf_Addr start;
    int line;

    step->place.module = dwfl_module_info(module, NULL, &start, NULL, NULL, NULL, NULL, NULL);
    step->place.offset = pc - start;
    step->place.function = dwfl_module_addrname(module, pc);
    Dwfl_Line *source = dwfl_module_getsrc(module, pc);
    if (!source) {
        search_units(module, pc, step);
        return;
    }
    step->place.file = dwfl_lineinfo(source, NULL, &line, NULL, NULL, NULL);
    step->place.line = line;
}

static struct step *look_up(struct unwinder *unwinder, uint64_t pc)
{
    struct step *step = must(calloc(1, sizeof *step));
    Dwfl_Module *module = unwinder->dwfl ? dwfl_addrmodule(unwinder->dwfl, pc) : NULL;
    Dwarf_Addr bias;

    step->pc = step->place.pc = pc;
    if (!module) return step;
    take_place(module, pc, step);
    Dwarf_CFI *cfi = dwfl_module_eh_cfi(module, &bias);
    step->good = take_rules(unwinder, cfi, pc - bias, step);
    if (step->good) return step;
    cfi = dwfl_module_dwarf_cfi(module, &bias);
    step->good = take_rules(unwinder, cfi, pc - bias, step);
    return step;
}

static struct step **entry_of(struct step **table, size_t size, uint64_t pc)
{
    size_t place = (pc * 0x9E3779B97F4A7C15ULL >> 20) & (size - 1);

    while (table[place] && table[place]->pc != pc)
        place = (place + 1) & (size - 1);
    return &table[place];
}

static struct step *step_at(struct unwinder *unwinder, uint64_t pc)
{
    struct step **entry = entry_of(unwinder->table, unwinder->size, pc);

    if (*entry) return *entry;
    if (2 * ++unwinder->used > unwinder->size) {
        size_t size = 2 * unwinder->size;
        struct step **table = must(calloc(size, sizeof *table));
        for (size_t i = 0; i < unwinder->size; i++)
            if (unwinder->table[i])
                *entry_of(table, size, unwinder->table[i]->pc) = unwinder->table[i];
        free(unwinder->table);
        unwinder->table = table;
        unwinder->size = size;
        entry = entry_of(table, size, pc);
    }
    return *entry = look_up(unwinder, pc);
}

const struct place_in_code *place_at(struct unwinder *unwinder, uint64_t address)
{
    return &step_at(unwinder, address)->place;
}

/* ---- from frame to frame ---- */

struct frame {
    uint64_t pc, registers[COLUMNS];
    uint64_t known; /* a bit for each register */
    uint64_t cfa;   /* of the frame before */
    bool first;     /* pc is where it is, and not where it returns to */
};

static bool read_word(const struct unwinder *unwinder, uint64_t address, uint64_t *word)
{
    uint64_t offset = address - unwinder->window_start;

    if (unwinder->window_size >= 8 && offset <= unwinder->window_size - 8) {
        memcpy(word, unwinder->window + offset, 8);
        return true;
    }
    return image_read(unwinder->snapshot->image, address, word, 8);
}

static bool knows(const struct frame *frame, unsigned number) { return frame->known >> number & 1; }

static void set(struct frame *frame, unsigned number, uint64_t value)
{
    frame->registers[number] = value;
    frame->known |= 1ULL << number;
}

/* Without a table: as code that keeps a frame pointer has its frames. */
static bool follow_frame_pointer(const struct unwinder *unwinder, struct frame *frame)
{
    unsigned pointer = (unsigned)unwinder->frame_pointer;
    uint64_t at = frame->registers[pointer], outer, pc;

    if (!knows(frame, pointer) || at < frame->registers[unwinder->sp] || at % 8 != 0 ||
        !read_word(unwinder, at, &outer) || !read_word(unwinder, at + 8, &pc) || pc < 4096)
        return false;
    uint64_t sp = at + 16;
    *frame = (struct frame){.pc = pc, .cfa = sp};
    set(frame, pointer, outer);
    set(frame, (unsigned)unwinder->sp, sp);
    return true;
}

static void apply(const struct unwinder *unwinder, const struct rule *rule, unsigned number,
                  const struct frame *from, struct frame *to)
{
    uint64_t value;

    switch (rule->kind) {
    case SAME:
        if (knows(from, number)) set(to, number, from->registers[number]);
        break;
    case SAVED:
        if (read_word(unwinder, to->cfa + (uint64_t)(int64_t)rule->offset, &value))
            set(to, number, value);
        break;
    case VALUE: set(to, number, to->cfa + (uint64_t)(int64_t)rule->offset); break;
    case REGISTER:
        if (knows(from, rule->number)) set(to, number, from->registers[rule->number]);
        break;
    default: break;
    }
}

/* False: this was the last frame. *cut: though it should not have been. */
static bool step_out(struct unwinder *unwinder, struct frame *frame, bool *cut)
{
    const struct step *step = step_at(unwinder, frame->first ? frame->pc : frame->pc - 1);
    unsigned sp = (unsigned)unwinder->sp;

    *cut = true;
    if (!step->good || !knows(frame, step->cfa_register))
        return !step->good && follow_frame_pointer(unwinder, frame);
    struct frame outer = {.cfa = frame->registers[step->cfa_register] + (uint64_t)step->cfa_offset};
    if (step->rules[step->return_column].kind == UNDEFINED) {
        *cut = false;
        return false;
    }
    if (outer.cfa <= frame->cfa || outer.cfa % 8 != 0) return false; /* torn */
    set(&outer, sp, outer.cfa);
    for (int i = 0; i < unwinder->columns; i++)
        if ((unsigned)i != sp || step->rules[i].kind == SAVED)
            apply(unwinder, &step->rules[i], (unsigned)i, frame, &outer);
    if (!knows(&outer, step->return_column)) return false;
    outer.pc = outer.registers[step->return_column];
    if (unwinder->sp == 31) outer.pc &= (1ULL << 48) - 1; /* without a signature of the pointer */
    *frame = outer;
    if (outer.pc == 0) *cut = false;
    return outer.pc != 0;
}

static size_t unwind(struct unwinder *unwinder, struct frame *frame, uint64_t limit,
                     const struct place_in_code **frames, bool *cut)
{
    size_t count = 0;

    do
        frames[count++] = &step_at(unwinder, frame->first ? frame->pc : frame->pc - 1)->place;
    while (count < FRAMES && step_out(unwinder, frame, cut) &&
           (!limit || frame->registers[unwinder->sp] <= limit));
    return count;
}

/* What async__switch has left on the stack: switch_x86_64.S, switch_aarch64.S. */
static bool saved_frame(const struct unwinder *unwinder, uint64_t sp, struct frame *frame)
{
    static const unsigned char x86_64[] = {15, 14, 13, 12, 3, 6};
    static const unsigned char aarch64[] = {29, 30, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28};
    bool arm = unwinder->sp == 31;
    const unsigned char *numbers = arm ? aarch64 : x86_64;
    size_t count = arm ? sizeof aarch64 : sizeof x86_64;
    uint64_t word;

    *frame = (struct frame){.cfa = sp};
    for (size_t i = 0; i < count; i++) {
        if (!read_word(unwinder, sp + 8 * i, &word)) return false;
        set(frame, numbers[i], word);
    }
    set(frame, (unsigned)unwinder->sp, sp + (arm ? 160 : 56));
    if (arm) {
        frame->pc = frame->registers[30];
        return true;
    }
    return read_word(unwinder, sp + 48, &frame->pc);
}

/* ---- what is shown ---- */

static bool begins(const char *name, const char *with)
{
    return name && strncmp(name, with, strlen(with)) == 0;
}

static bool is(const struct place_in_code *frame, const char *function)
{
    return frame->function && strcmp(frame->function, function) == 0;
}

/* The first frame that is a public function of the library, from which on it is the program's; or, where
 * that has ended in a call of an internal one, the last of those. */
static size_t inner(const struct place_in_code **frames, size_t count)
{
    size_t last = 0;

    for (size_t i = 0; i < count && i < 12; i++) {
        if (is(frames[i], "call_coroutine") || is(frames[i], "run_task")) break;
        if (!begins(frames[i]->function, "async_")) continue;
        if (!begins(frames[i]->function, "async__")) return i;
        last = i;
    }
    return last;
}

static size_t without_internal(const struct place_in_code **frames, size_t count)
{
    size_t from = inner(frames, count), to = count;

    for (size_t i = count; i-- > from + 1;)
        if (is(frames[i], "run_task")) to = i;
    if (to < count && to - 1 > from && is(frames[to - 1], "call_coroutine")) to--;
    memmove(frames, frames + from, (to - from) * sizeof *frames);
    return to - from;
}

const struct thread *task_thread(const struct snapshot *snapshot, const struct task *task)
{
    const struct image *image = snapshot->image;
    int sp = image_sp(image);

    if (task->state != ASYNC__RUNNING) return NULL;
    for (size_t i = 0; i < image->thread_count; i++) {
        const struct thread *thread = &image->threads[i];
        if (thread->known && thread->registers[sp] >= task->base &&
            thread->registers[sp] < task->top)
            return thread;
    }
    return NULL;
}

size_t thread_frames(struct unwinder *unwinder, const struct thread *thread, uint64_t limit,
                     const struct place_in_code **frames, bool *cut)
{
    struct frame frame = {.pc = thread->pc, .first = true};

    *cut = true;
    if (!thread->known) return 0;
    memcpy(frame.registers, thread->registers, sizeof frame.registers);
    frame.known = thread->whole ? ~0ULL : 1ULL << unwinder->sp;
    unwinder->window_size = 0;
    return unwind(unwinder, &frame, limit, frames, cut);
}

size_t task_frames(struct unwinder *unwinder, const struct loop *loop, const struct task *task,
                   bool internal, const struct place_in_code **frames, bool *cut)
{
    struct frame frame;
    size_t count;

    *cut = false;
    if (task->state == ASYNC__RUNNING) {
        const struct thread *thread = task_thread(unwinder->snapshot, task);
        count = thread ? thread_frames(unwinder, thread, task->top, frames, cut) : 0;
    } else {
        unwinder->window_start = task->sp;
        unwinder->window_size =
            task_stack(unwinder->snapshot, loop, task, unwinder->window, WINDOW);
        if (!unwinder->window_size || !saved_frame(unwinder, task->sp, &frame)) return 0;
        count = unwind(unwinder, &frame, task->top, frames, cut);
    }
    if (internal || count == 0) return count;
    if (count == 1 && !*cut && task->state != ASYNC__RUNNING)
        frames[0] = &step_at(unwinder, task->coroutine)->place; /* it has not begun */
    return without_internal(frames, count);
}
