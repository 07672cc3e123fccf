/* torn.h - the picture of a process, recorded, and given to the reader again with some of it changed: for
 * tests/inspect/test_torn.c and fuzz/inspect.c. The process is a child that has tasks of all kinds. */
#ifndef TESTS_INSPECT_TORN_H
#define TESTS_INSPECT_TORN_H

#include "../../python/src/loop/tasks_layout.h"
#include "inspect/python.h"

#include <casyncio.h>
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 4096, READS = 65536 };

struct page {
    uint64_t address;
    unsigned char bytes[PAGE];
};

struct recording {
    struct image *image; /* of the child, which has gone; for what is not its memory */
    size_t (*read)(const struct image *, uint64_t, void *, size_t);
    struct page *pages[PAGES];
    size_t page_count;
    uint64_t reads[READS]; /* the addresses of words that the reader has looked at */
    size_t read_count;
};

static struct recording recording;

/* ---- the process ---- */

static async_lock torn_lock;

static int torn_sleeper(void *unused)
{
    (void)unused;
    return async_sleep(1000);
}

static int torn_holder(void *unused)
{
    (void)unused;
    async_lock_acquire(&torn_lock);
    return async_sleep(1000);
}

static int torn_waiter(void *unused)
{
    (void)unused;
    return async_lock_acquire(&torn_lock);
}

static int torn_announcer(void *end)
{
    char byte = 0;
    async_task_set_name(async_current_task(), "the announcer");
    if (write(*(int *)end, &byte, 1) != 1) _exit(1);
    return async_sleep(1000);
}

static int torn_main(void *end)
{
    async_with_group (group) {
        async_group_create_task(group, torn_holder);
        async_group_create_task(group, torn_waiter);
        async_task *some[] = {async_create_task(torn_sleeper), async_create_task(torn_sleeper)};
        async_detach(async_create_task_with(torn_announcer, end, NULL));
        async_gather_array(some, 2);
    }
    return 0;
}

/* ---- what looks like Python in that process: five tasks of it, in structs of our own ---- */

struct torn_text {
    uint64_t length, state;
    char characters[24];
};
struct torn_code {
    uint64_t type;
    struct torn_text *name, *file;
    void *lines;
    uint32_t line, unused;
    uint16_t instructions[8];
};
struct torn_frame {
    struct torn_code *code;
    struct torn_frame *previous;
    uint16_t *instruction;
    uint32_t top;
    unsigned char owner;
    void *stack[2];
};
struct torn_coroutine {
    uint64_t type;
    signed char state;
    struct torn_frame frame;
};
struct torn_own {
    uint64_t type;
    const char **kind;
    void *awaited;
    uint64_t state;
};
struct torn_task {
    uint64_t type;
    void *coroutine, *name, *waiter;
};

enum {
    CODE_TYPE = 1001,
    INTEGER_TYPE,
    COROUTINE_TYPE,
    WRAPPER_TYPE,
    OWN_TYPE,
    AWAITS = -1,
    RUNS,
    ENDED
};

#define TEXT(letters)                                                                              \
    {                                                                                              \
        sizeof(letters) - 1, 1 | 2 | 1 << 2, letters                                               \
    }
static struct torn_text torn_texts[] = {TEXT("outer"), TEXT("inner"), TEXT("torn.py"),
                                        TEXT("the task")};
/* Entries of each kind: no line; 3 more, without columns; 100 more, in two bytes; one more. */
static struct {
    uint64_t size;
    unsigned char bytes[12];
} torn_lines = {12, {0xF8, 0xE9, 6, 0xF1, 0x48, 3, 0, 0, 0, 0xDB, 0, 0}};
static struct torn_code torn_codes[] = {
    {CODE_TYPE, &torn_texts[0], &torn_texts[2], &torn_lines, 10, 0, {0}},
    {CODE_TYPE, &torn_texts[1], &torn_texts[2], &torn_lines, 20, 0, {0}},
};
static const char *torn_kind = "Queue.get";
static struct torn_own torn_own = {OWN_TYPE, &torn_kind, NULL, 1};
static uint64_t torn_wrapper[] = {WRAPPER_TYPE, (uintptr_t)&torn_own};
static struct torn_coroutine torn_coroutines[] = {
    {COROUTINE_TYPE,
     AWAITS,
     {&torn_codes[0], NULL, torn_codes[0].instructions + 2, 1, 1, {&torn_coroutines[1]}}},
    {COROUTINE_TYPE,
     AWAITS,
     {&torn_codes[1], NULL, torn_codes[1].instructions + 5, 2, 1, {NULL, torn_wrapper}}},
    {COROUTINE_TYPE, RUNS, {&torn_codes[0], NULL, torn_codes[0].instructions + 3, 0, 1, {NULL}}},
    {COROUTINE_TYPE, ENDED, {&torn_codes[0], NULL, torn_codes[0].instructions, 0, 1, {NULL}}},
};
static struct torn_frame torn_innermost = {
    &torn_codes[1], &torn_coroutines[2].frame, torn_codes[1].instructions, 0, 0, {NULL}};
static uint64_t torn_number[] = {INTEGER_TYPE, 1 << 3, 12};
static struct torn_task torn_tasks[] = {
    {1, &torn_coroutines[0], &torn_texts[3], NULL},
    {1, &torn_coroutines[2], torn_number, &torn_tasks[0]},
    {1, &torn_coroutines[3], torn_number, NULL},
    {1, &torn_own, NULL, &torn_tasks[1]},
};
static void *torn_references[] = {&torn_tasks[0], &torn_tasks[1], &torn_tasks[2], &torn_tasks[3]};
static struct {
    void **reference;
    uint64_t hash;
} torn_table[8] = {{&torn_references[0], 0},
                   {&torn_references[1], 0},
                   {NULL, 0},
                   {&torn_references[2], 0},
                   {&torn_references[3], 0}};
static struct {
    uint64_t mask;
    void *table;
} torn_set = {7, torn_table};
static struct torn_thread {
    struct torn_thread *next;
    struct torn_frame **frame;
} torn_thread = {NULL, &(struct torn_frame *){&torn_innermost}};
static struct torn_thread *torn_threads = &torn_thread;

extern struct async__python_layout torn_layout;
struct async__python_layout torn_layout __attribute__((used)) = {
    .magic = ASYNC__PYTHON_LAYOUT_MAGIC,
    .version = ASYNC__PYTHON_LAYOUT_VERSION,
    .size = sizeof torn_layout,
    .known = 1,
    .tasks = (uintptr_t)&torn_set,
    .interpreter = (uintptr_t)&torn_threads,
    .code_type = CODE_TYPE,
    .integer_type = INTEGER_TYPE,
    .generator_types = {COROUTINE_TYPE},
    .wrappers = {{WRAPPER_TYPE, 8}},
    .own = {OWN_TYPE, 8, 0, 16, 24, 2, 3},
    .set = {8, 0, 16, 0},
    .task = {8, 16, 24},
    .generator = {offsetof(struct torn_coroutine, frame), 8, AWAITS, RUNS, ENDED},
    .frame = {0, 8, 16, offsetof(struct torn_frame, stack), offsetof(struct torn_frame, top),
              offsetof(struct torn_frame, owner), 3},
    .code = {8, 16, offsetof(struct torn_code, line), offsetof(struct torn_code, lines),
             offsetof(struct torn_code, instructions)},
    .text = {0, 8, 16, 16, 1, 2, 7 << 2, 2},
    .bytes = {0, 8},
    .integer = {8, 3, 16, 30},
    .thread = {0, 0, 8, 1, 0},
};
__asm__(".pushsection .note.casyncio, \"a\", %note\n"
        ".balign 4\n"
        ".long 9, 8, 2\n"
        ".asciz \"casyncio\"\n"
        ".balign 4\n"
        ".quad torn_layout - .\n"
        ".popsection\n");

/* ---- recording ---- */

static struct page *recorded(uint64_t address)
{
    for (size_t i = 0; i < recording.page_count; i++)
        if (recording.pages[i]->address == (address & ~(uint64_t)(PAGE - 1)))
            return recording.pages[i];
    return NULL;
}

/* Reads from what is recorded. */
static size_t replay(const struct image *self, uint64_t address, void *to, size_t size)
{
    size_t done = 0;

    (void)self;
    while (done < size) {
        struct page *page = recorded(address + done);
        size_t at = (address + done) % PAGE, piece = PAGE - at;
        if (!page) break;
        if (piece > size - done) piece = size - done;
        memcpy((char *)to + done, page->bytes + at, piece);
        done += piece;
    }
    return done;
}

static size_t record(const struct image *self, uint64_t address, void *to, size_t size)
{
    for (uint64_t at = address & ~(uint64_t)(PAGE - 1); at < address + size; at += PAGE) {
        struct page *page = recorded(at) ? NULL : must(malloc(sizeof *page));
        if (!page) continue;
        page->address = at;
        if (recording.page_count < PAGES && recording.read(self, at, page->bytes, PAGE) == PAGE)
            recording.pages[recording.page_count++] = page;
        else
            free(page);
    }
    for (uint64_t at = address; at < address + size && recording.read_count < READS; at += 8)
        recording.reads[recording.read_count++] = at;
    return replay(self, address, to, size);
}

/* What was shown last; to be freed. */
static char *shown_text;

static bool read_all(struct image *image)
{
    char *error = NULL, *text = NULL;
    size_t size;
    struct options options = {.frames = true};
    struct snapshot *snapshot = snapshot_take(image, &error);
    FILE *out = must(open_memstream(&text, &size));

    free(error);
    for (size_t i = 0; snapshot && i < snapshot->loop_count; i++)
        snapshot_nodes(&snapshot->loops[i]);
    if (snapshot) {
        show_rows(out, snapshot, &options);
        show_tree(out, snapshot, &options);
        show_json(out, snapshot, &options);
    }
    fclose(out);
    free(shown_text);
    shown_text = text;
    snapshot_free(snapshot);
    return snapshot != NULL;
}

static void make_recording(void)
{
    char *error = NULL, byte;
    int ends[2];

    if (pipe(ends) < 0) abort();
    pid_t child = fork();
    if (child < 0) abort();
    if (child == 0) _exit(async_run(torn_main, &ends[1]) < 0);
    if (read(ends[0], &byte, 1) != 1) abort();
    recording.image = image_of_process(child, false, &error);
    if (!recording.image) {
        fprintf(stderr, "%s\n", error);
        abort();
    }
    recording.read = recording.image->read;
    recording.image->read = record;
    free(recording.image->modules);
    recording.image->module_count = 0;
    if (!image_find_modules(recording.image) || !read_all(recording.image)) abort();
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(ends[0]);
    close(ends[1]);
}

static int open_by_path(const struct image *self, const struct module *module)
{
    (void)self;
    return open(module->path, O_RDONLY | O_CLOEXEC);
}

/* Lets the reader have the recording as it is now. */
static bool replay_all(void)
{
    struct image image = *recording.image;

    image.read = replay;
    image.open = open_by_path;
    image.modules = NULL;
    image.module_count = 0;
    image.machine = 0;
    bool good = image_find_modules(&image) && read_all(&image);
    free(image.modules);
    return good;
}

/* ---- the recording as a core file ---- */

/* A descriptor of a file without a name. Registers and mappings are those of the child, as far as the
 * reader looks at them. */
static int write_core(void)
{
    const struct image *image = recording.image;
    FILE *told = tmpfile(), *core = tmpfile();
    uint64_t files[2] = {image->mapping_count, 1};
    Elf64_Nhdr header = {.n_namesz = 5, .n_type = NT_FILE};

    if (!told || !core) abort();
    fwrite(files, 1, sizeof files, told);
    for (size_t i = 0; i < image->mapping_count; i++)
        fwrite(&(uint64_t[]){image->mappings[i].start, image->mappings[i].end,
                             image->mappings[i].offset},
               1, 24, told);
    for (size_t i = 0; i < image->mapping_count; i++)
        fwrite(image->mappings[i].path, 1, strlen(image->mappings[i].path) + 1, told);
    header.n_descsz = (Elf64_Word)ftell(told);
    while (ftell(told) % 4 != 0)
        fputc(0, told);
    size_t noted = sizeof header + 8 + (size_t)ftell(told), count = recording.page_count;
    Elf64_Ehdr file = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB},
                       .e_type = ET_CORE,
                       .e_machine = (Elf64_Half)image->machine,
                       .e_phoff = sizeof file,
                       .e_phentsize = sizeof(Elf64_Phdr),
                       .e_phnum = (Elf64_Half)(count + 1)};
    size_t data = sizeof file + (count + 1) * sizeof(Elf64_Phdr);
    Elf64_Phdr note = {.p_type = PT_NOTE, .p_offset = data, .p_filesz = noted};
    fwrite(&file, 1, sizeof file, core);
    fwrite(&note, 1, sizeof note, core);
    for (size_t i = 0; i < count; i++) {
        Elf64_Phdr page = {.p_type = PT_LOAD,
                           .p_flags = PF_R | PF_W,
                           .p_vaddr = recording.pages[i]->address,
                           .p_offset = data + noted + i * PAGE,
                           .p_filesz = PAGE,
                           .p_memsz = PAGE};
        fwrite(&page, 1, sizeof page, core);
    }
    fwrite(&header, 1, sizeof header, core);
    fwrite("CORE\0\0\0", 1, 8, core);
    rewind(told);
    for (int byte; (byte = fgetc(told)) != EOF;)
        fputc(byte, core);
    fclose(told);
    for (size_t i = 0; i < count; i++)
        fwrite(recording.pages[i]->bytes, 1, PAGE, core);
    fflush(core);
    int fd = dup(fileno(core));
    fclose(core);
    return fd;
}

static bool read_core_file(int fd)
{
    char name[64], *error = NULL;

    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    struct image *image = image_of_core(name, NULL, &error);
    bool good = image && read_all(image);
    free(error);
    image_free(image);
    return good;
}

#endif
