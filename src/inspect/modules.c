/* modules.c - the ELF files in an image, found by what is mapped: their headers, program headers and
 * notes are in memory, also where the file is gone or stripped. */
#include "image.h"

#include "../../python/src/loop/tasks_layout.h"
#include "loop/layout.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

enum { HEADERS = 64, NOTES = 64 * 1024, PAGE = 4096 };

static uint64_t aligned(uint64_t size) { return (size + 3) & ~(uint64_t)3; }

/* What the note of that type in a run of notes leads to, or 0. */
static uint64_t find_note(const unsigned char *notes, uint64_t size, uint64_t address,
                          uint32_t type)
{
    static const char name[] = ASYNC__LAYOUT_NOTE;
    Elf64_Nhdr header;

    for (uint64_t at = 0; at + sizeof header <= size;) {
        memcpy(&header, notes + at, sizeof header);
        uint64_t text = at + sizeof header, data = text + aligned(header.n_namesz);
        uint64_t next = data + aligned(header.n_descsz);
        if (data > size || next > size) return 0;
        if (header.n_type == type && header.n_namesz == sizeof name && header.n_descsz == 8 &&
            memcmp(notes + text, name, sizeof name) == 0) {
            int64_t distance;
            memcpy(&distance, notes + data, sizeof distance);
            return address + data + (uint64_t)distance;
        }
        at = next;
    }
    return 0;
}

/* A file may be mapped to be read, as data: then what its note leads to is not there. */
static uint64_t layout_at(const struct image *image, uint64_t address, const char *wanted)
{
    char magic[sizeof((struct async__layout_head *)0)->magic];

    return address && image_read(image, address, magic, sizeof magic) &&
                   memcmp(magic, wanted, sizeof magic) == 0
               ? address
               : 0;
}

static void read_notes(const struct image *image, uint64_t address, uint64_t size,
                       struct module *module)
{
    if (size > NOTES) return;
    unsigned char *notes = must(malloc(size + 1));
    if (image_read(image, address, notes, size)) {
        if (!module->layout)
            module->layout =
                layout_at(image, find_note(notes, size, address, ASYNC__LAYOUT_NOTE_TYPE),
                          ASYNC__LAYOUT_MAGIC);
        if (!module->python)
            module->python =
                layout_at(image, find_note(notes, size, address, ASYNC__PYTHON_LAYOUT_NOTE_TYPE),
                          ASYNC__PYTHON_LAYOUT_MAGIC);
    }
    free(notes);
}

/* Fills in *module for the file that is mapped from `start` on; false: it is no ELF file. */
static bool read_module(struct image *image, const struct mapping *mapping, struct module *module)
{
    Elf64_Ehdr file;
    Elf64_Phdr headers[HEADERS];
    bool placed = false;

    if (!image_read(image, mapping->start, &file, sizeof file) ||
        memcmp(file.e_ident, ELFMAG, SELFMAG) != 0 || file.e_ident[EI_CLASS] != ELFCLASS64 ||
        (file.e_type != ET_DYN && file.e_type != ET_EXEC) || file.e_phnum > HEADERS ||
        file.e_phentsize != sizeof *headers ||
        !image_read(image, mapping->start + file.e_phoff, headers, file.e_phnum * sizeof *headers))
        return false;
    *module = (struct module){.start = mapping->start, .path = mapping->path};
    for (unsigned i = 0; i < file.e_phnum && !placed; i++)
        if (headers[i].p_type == PT_LOAD && headers[i].p_offset < PAGE) {
            module->bias = mapping->start - (headers[i].p_vaddr - headers[i].p_offset);
            placed = true;
        }
    if (!placed) return false;
    if (!image->machine) image->machine = file.e_machine;
    for (unsigned i = 0; i < file.e_phnum; i++)
        if (headers[i].p_type == PT_NOTE)
            read_notes(image, module->bias + headers[i].p_vaddr, headers[i].p_filesz, module);
    return true;
}

bool image_find_modules(struct image *image)
{
    bool found = false;

    image->modules = must(calloc(image->mapping_count + 1, sizeof *image->modules));
    for (size_t i = 0; i < image->mapping_count; i++) {
        const struct mapping *mapping = &image->mappings[i];
        if (mapping->offset != 0 || !mapping->readable || !*mapping->path) continue;
        if (!read_module(image, mapping, &image->modules[image->module_count])) continue;
        if (image->modules[image->module_count++].layout) found = true;
    }
    return found;
}
