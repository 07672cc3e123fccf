/* image.h - the memory of a process that is looked at from outside, live (live.c) or dead (core.c), and
 * what there is in it: mappings, threads, ELF files. Whatever is read may be torn, or may lie: nothing
 * here, or above, believes a length or follows a link without a limit. */
#ifndef CASYNCIO_INSPECT_IMAGE_H
#define CASYNCIO_INSPECT_IMAGE_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REGISTERS = 33 }; /* by DWARF's numbers: x86-64 has 17 with the return address, AArch64 32 */

struct mapping {
    uint64_t start, end, offset;
    bool readable, writable;
    char *path; /* "" for none */
};

struct thread {
    int id;
    bool known; /* pc and sp are; a thread that runs has none that could be told without a stop */
    bool whole; /* and so are all other registers */
    uint64_t pc, registers[REGISTERS];
};

/* An ELF file in memory. */
struct module {
    uint64_t start, bias; /* bias: from the addresses in the file to those in memory */
    uint64_t layout;      /* the address of an async__layout, or 0 */
    uint64_t python;      /* of an async__python_layout, or 0 */
    const char *path;
};

struct image {
    int pid;         /* 0: a core */
    char title[300]; /* "process 12 (server)", "core.12" */
    int machine;     /* EM_X86_64, EM_AARCH64 */
    double stopped;  /* how long it stood still, in ms; 0: it did not */
    int64_t now;     /* CLOCK_MONOTONIC in ns; 0: not known */

    struct mapping *mappings; /* ascending */
    size_t mapping_count;
    struct thread *threads;
    size_t thread_count;
    struct module *modules;
    size_t module_count;

    /* Reads up to `size` bytes: how many could be read, from the beginning on. */
    size_t (*read)(const struct image *self, uint64_t address, void *to, size_t size);
    /* A file that has the module's text in it: a descriptor, or -1. */
    int (*open)(const struct image *self, const struct module *module);
    void (*close)(struct image *self);
    void *data; /* of the three */
};

int64_t clock_now(void); /* CLOCK_MONOTONIC in ns */

/* NULL: *error has a line, to be freed. `stop`: its threads stand still until image_resume. */
struct image *image_of_process(int pid, bool stop, char **error);
struct image *image_of_core(const char *core, const char *program, char **error);
void image_resume(struct image *image);
void image_free(struct image *image);

/* False: less than all of it could be read; what could not is 0. */
bool image_read(const struct image *image, uint64_t address, void *to, size_t size);
/* Of a live process. False: not all of it could be written, and errno says why. */
bool image_write(const struct image *image, uint64_t address, const void *data, size_t size);
/* The word at an address, or 0. */
uint64_t image_word(const struct image *image, uint64_t address);
const struct mapping *image_mapping(const struct image *image, uint64_t address);
/* Finds the ELF files, and the layouts in them (modules.c). Whether there is a layout. */
bool image_find_modules(struct image *image);
/* From the kernel's order of registers to DWARF's. */
void thread_set_registers(struct thread *thread, int machine, const uint64_t *given, size_t count);
/* DWARF's number of the stack pointer. */
static inline int image_sp(const struct image *image)
{
    return image->machine == EM_AARCH64 ? 31 : 7;
}
/* A line in memory of its own. */
char *text_of(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Memory, or the end of this program with a line that says so. */
void *must(void *memory);

#endif
