/* core.c - a process that is dead: its core file, and for what the kernel leaves out of one (the text and
 * the constants of programs and libraries) those files. */
#include "image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEGMENTS = 1 << 20, NOTES = 64 << 20, PATHS = 1 << 20 };

struct segment {
    uint64_t start, size, offset; /* size: of what the file has */
};

struct core {
    int fd;
    uint64_t length;
    const char *program;    /* in place of the program's own path, or NULL */
    uint64_t program_start; /* where that is mapped */
    struct segment *segments;
    size_t count;
    /* The last file that was read from instead. */
    int file;
    const char *file_path;
};

static bool read_at(int fd, uint64_t offset, void *to, size_t size)
{
    size_t done = 0;

    while (done < size) {
        if (offset + done > INT64_MAX) return false;
        ssize_t got = pread(fd, (char *)to + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        done += (size_t)got;
    }
    return true;
}

/* ---- memory ---- */

static const char *path_of(const struct image *self, const char *path)
{
    const struct core *core = self->data;
    const struct mapping *program = image_mapping(self, core->program_start);

    return core->program && program && strcmp(program->path, path) == 0 ? core->program : path;
}

static int open_core_file(const struct image *self, const struct module *module)
{
    return open(path_of(self, module->path), O_RDONLY | O_CLOEXEC);
}

/* From the file that was mapped there: what was written to is in the core. */
static size_t read_file(const struct image *self, uint64_t address, void *to, size_t size)
{
    struct core *core = self->data;
    const struct mapping *mapping = image_mapping(self, address);

    if (!mapping || mapping->path[0] != '/') return 0;
    if (core->file_path != mapping->path) {
        if (core->file >= 0) close(core->file);
        core->file = open(path_of(self, mapping->path), O_RDONLY | O_CLOEXEC);
        core->file_path = mapping->path;
    }
    if (size > mapping->end - address) size = mapping->end - address;
    uint64_t offset = mapping->offset + (address - mapping->start);
    return core->file >= 0 && read_at(core->file, offset, to, size) ? size : 0;
}

static const struct segment *segment_of(const struct core *core, uint64_t address)
{
    size_t low = 0, high = core->count;

    while (low < high) { /* the last one that begins at or before the address */
        size_t middle = low + (high - low) / 2;
        if (core->segments[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0) return NULL;
    const struct segment *segment = &core->segments[low - 1];
    return address - segment->start < segment->size ? segment : NULL;
}

static size_t read_core(const struct image *self, uint64_t address, void *to, size_t size)
{
    const struct core *core = self->data;
    size_t done = 0;

    while (done < size) {
        uint64_t at = address + done;
        size_t piece = size - done;
        const struct segment *segment = segment_of(core, at);
        if (segment) {
            uint64_t left = segment->size - (at - segment->start);
            if (piece > left) piece = left;
            if (!read_at(core->fd, segment->offset + (at - segment->start), (char *)to + done,
                         piece))
                break;
        } else {
            piece = read_file(self, at, (char *)to + done, piece);
            if (piece == 0) break;
        }
        done += piece;
    }
    return done;
}

static void close_core(struct image *self)
{
    struct core *core = self->data;

    if (core->fd >= 0) close(core->fd);
    if (core->file >= 0) close(core->file);
    free(core->segments);
    free(core);
}

/* ---- what the core tells ---- */

static int by_start(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b; /* the first member of both structs */
    return *left < *right ? -1 : *left > *right;
}

static void add_mapping(struct image *image, struct mapping mapping)
{
    if (image->mapping_count % 64 == 0)
        image->mappings =
            must(realloc(image->mappings, (image->mapping_count + 64) * sizeof *image->mappings));
    image->mappings[image->mapping_count++] = mapping;
}

/* NT_FILE: a count, the unit of the offsets, three words a mapping, and then the paths. */
static void take_files(struct image *image, const unsigned char *data, size_t size)
{
    uint64_t count, unit, words[3];

    if (size < 16) return;
    memcpy(&count, data, 8);
    memcpy(&unit, data + 8, 8);
    if (count > (size - 16) / 24) return;
    const unsigned char *path = data + 16 + count * 24, *end = data + size;
    for (uint64_t i = 0; i < count; i++) {
        const unsigned char *zero = path < end ? memchr(path, 0, (size_t)(end - path)) : NULL;
        if (!zero) return;
        memcpy(words, data + 16 + i * 24, sizeof words);
        if (words[0] < words[1])
            add_mapping(image, (struct mapping){words[0], words[1], words[2] * unit, true, false,
                                                must(strdup((const char *)path))});
        path = zero + 1;
    }
}

static void take_registers(struct image *image, const unsigned char *data, size_t size)
{
    uint64_t registers[34];
    size_t count = image->machine == EM_AARCH64 ? 34 : 27;
    struct thread thread = {0};
    int32_t id;

    if (size < 112 + count * 8) return; /* struct elf_prstatus */
    memcpy(&id, data + 32, sizeof id);
    memcpy(registers, data + 112, count * 8);
    thread.id = id;
    thread_set_registers(&thread, image->machine, registers, count);
    image->threads =
        must(realloc(image->threads, (image->thread_count + 1) * sizeof *image->threads));
    image->threads[image->thread_count++] = thread;
}

/* AT_PHDR, which lies in the program itself. */
static void take_auxiliary(struct core *core, const unsigned char *data, size_t size)
{
    uint64_t pair[2];

    for (size_t at = 0; at + sizeof pair <= size; at += sizeof pair) {
        memcpy(pair, data + at, sizeof pair);
        if (pair[0] == AT_PHDR) core->program_start = pair[1];
    }
}

static void take_notes(struct image *image, const unsigned char *notes, size_t size)
{
    Elf64_Nhdr header;

    for (size_t at = 0; at + sizeof header <= size;) {
        memcpy(&header, notes + at, sizeof header);
        uint64_t data = at + sizeof header + ((header.n_namesz + 3ULL) & ~3ULL);
        uint64_t next = data + ((header.n_descsz + 3ULL) & ~3ULL);
        if (data > size || data + header.n_descsz > size) return;
        if (header.n_type == NT_PRSTATUS) take_registers(image, notes + data, header.n_descsz);
        if (header.n_type == NT_FILE) take_files(image, notes + data, header.n_descsz);
        if (header.n_type == NT_AUXV) take_auxiliary(image->data, notes + data, header.n_descsz);
        at = next;
    }
}

/* A core that names no files, as qemu's: of the program that was named it is known where it is mapped. */
static void take_program(struct image *image)
{
    enum { HEADERS = 64, PAGE = 4096 };
    const struct core *core = image->data;
    Elf64_Ehdr file;
    Elf64_Phdr headers[HEADERS] = {{0}};
    char *path = core->program && core->program_start ? realpath(core->program, NULL) : NULL;
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    bool good = fd >= 0 && read_at(fd, 0, &file, sizeof file) &&
                memcmp(file.e_ident, ELFMAG, SELFMAG) == 0 && file.e_phnum <= HEADERS &&
                file.e_phentsize == sizeof *headers &&
                read_at(fd, file.e_phoff, headers, file.e_phnum * sizeof *headers);
    uint64_t bias = 0;

    for (size_t i = 0; good && i < file.e_phnum; i++)
        if (headers[i].p_type == PT_LOAD && headers[i].p_offset == 0 && file.e_type == ET_DYN)
            bias = core->program_start - file.e_phoff - headers[i].p_vaddr;
    for (size_t i = 0; good && i < file.e_phnum; i++) {
        const Elf64_Phdr *header = &headers[i];
        uint64_t above = header->p_vaddr % PAGE, start = bias + header->p_vaddr - above;
        uint64_t size = (header->p_filesz + above + PAGE - 1) / PAGE * PAGE;
        if (header->p_type == PT_LOAD && start + size > start && header->p_offset >= above)
            add_mapping(image, (struct mapping){start, start + size, header->p_offset - above, true,
                                                header->p_flags & PF_W, must(strdup(path))});
    }
    if (fd >= 0) close(fd);
    free(path);
}

/* What lies in no file: the heap, stacks, and the rest. */
static void add_anonymous(struct image *image, const Elf64_Phdr *header, size_t files)
{
    for (size_t i = 0; i < files; i++)
        if (image->mappings[i].start < header->p_vaddr + header->p_memsz &&
            image->mappings[i].end > header->p_vaddr)
            return;
    add_mapping(image,
                (struct mapping){header->p_vaddr, header->p_vaddr + header->p_memsz, 0,
                                 header->p_flags & PF_R, header->p_flags & PF_W, must(strdup(""))});
}

static void take_headers(struct image *image, const Elf64_Phdr *headers, size_t count)
{
    struct core *core = image->data;

    core->segments = must(calloc(count + 1, sizeof *core->segments));
    for (size_t i = 0; i < count; i++) {
        if (headers[i].p_type != PT_NOTE || headers[i].p_filesz > NOTES) continue;
        unsigned char *notes = must(malloc(headers[i].p_filesz + 1));
        if (read_at(core->fd, headers[i].p_offset, notes, headers[i].p_filesz))
            take_notes(image, notes, headers[i].p_filesz);
        free(notes);
    }
    if (image->mapping_count == 0) take_program(image);
    size_t files = image->mapping_count;
    for (size_t i = 0; i < count; i++) {
        const Elf64_Phdr *header = &headers[i];
        if (header->p_type != PT_LOAD || header->p_memsz == 0 ||
            header->p_vaddr + header->p_memsz < header->p_vaddr)
            continue;
        if (header->p_filesz > 0)
            core->segments[core->count++] = (struct segment){
                header->p_vaddr,
                header->p_filesz < header->p_memsz ? header->p_filesz : header->p_memsz,
                header->p_offset};
        add_anonymous(image, header, files);
    }
    if (core->count > 0) qsort(core->segments, core->count, sizeof *core->segments, by_start);
    if (image->mapping_count > 0)
        qsort(image->mappings, image->mapping_count, sizeof *image->mappings, by_start);
}

/* NULL, or what is wrong. */
static char *read_headers(struct image *image, const char *name)
{
    struct core *core = image->data;
    Elf64_Ehdr file;
    struct stat status;
    size_t count;

    if (core->fd < 0 || fstat(core->fd, &status) < 0)
        return text_of("%s: %s", name, strerror(errno));
    core->length = (uint64_t)status.st_size;
    if (!S_ISREG(status.st_mode) || !read_at(core->fd, 0, &file, sizeof file) ||
        memcmp(file.e_ident, ELFMAG, SELFMAG) != 0 || file.e_type != ET_CORE ||
        file.e_ident[EI_CLASS] != ELFCLASS64)
        return text_of("%s: neither a process nor a core file of a 64-bit one", name);
    image->machine = file.e_machine;
    count = file.e_phnum;
    if (count == PN_XNUM) { /* as many as the first section says */
        Elf64_Shdr section;
        if (!read_at(core->fd, file.e_shoff, &section, sizeof section))
            return text_of("%s: the file is truncated", name);
        count = section.sh_info;
    }
    if (count > SEGMENTS || file.e_phentsize != sizeof(Elf64_Phdr))
        return text_of("%s: its headers make no sense", name);
    Elf64_Phdr *headers = must(calloc(count + 1, sizeof *headers));
    bool whole = read_at(core->fd, file.e_phoff, headers, count * sizeof *headers);
    uint64_t end = 0;
    for (size_t i = 0; whole && i < count; i++)
        if (headers[i].p_offset + headers[i].p_filesz > end)
            end = headers[i].p_offset + headers[i].p_filesz;
    if (whole) take_headers(image, headers, count);
    free(headers);
    if (whole && end <= core->length) return NULL;
    return text_of("%s: the file is truncated: it has %llu bytes, and should have %s%llu", name,
                   (unsigned long long)core->length, whole ? "" : "more than ",
                   (unsigned long long)(whole ? end : core->length));
}

struct image *image_of_core(const char *name, const char *program, char **error)
{
    struct image *image = must(calloc(1, sizeof *image));
    struct core *core = must(calloc(1, sizeof *core));
    const char *slash = strrchr(name, '/');

    *core = (struct core){.fd = open(name, O_RDONLY | O_CLOEXEC), .program = program, .file = -1};
    *image = (struct image){
        .read = read_core, .open = open_core_file, .close = close_core, .data = core};
    snprintf(image->title, sizeof image->title, "core %s", slash ? slash + 1 : name);
    char *problem = read_headers(image, name);
    if (!problem && program && access(program, R_OK) < 0)
        problem = text_of("%s: %s", program, strerror(errno));
    if (!problem && !image_find_modules(image))
        problem = text_of("%s: no casyncio is in it that this program knows%s", name,
                          program ? "" : " (or its program has gone: name it after the core)");
    if (!problem) return image;
    *error = problem;
    image_free(image);
    return NULL;
}
