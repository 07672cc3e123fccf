/* image.c - what live processes and cores have in common. */
#include "image.h"

#include <elf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *must(void *memory)
{
    if (memory) return memory;
    fputs("casyncio: out of memory\n", stderr);
    exit(1);
}

char *text_of(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0) text = NULL;
    va_end(arguments);
    return must(text);
}

bool image_read(const struct image *image, uint64_t address, void *to, size_t size)
{
    size_t got = address + size < address ? 0 : image->read(image, address, to, size);

    if (got >= size) return true;
    memset((char *)to + got, 0, size - got);
    return false;
}

uint64_t image_word(const struct image *image, uint64_t address)
{
    uint64_t word;
    return image_read(image, address, &word, sizeof word) ? word : 0;
}

const struct mapping *image_mapping(const struct image *image, uint64_t address)
{
    size_t low = 0, high = image->mapping_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (image->mappings[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == image->mapping_count || image->mappings[low].start > address) return NULL;
    return &image->mappings[low];
}

void thread_set_registers(struct thread *thread, int machine, const uint64_t *given, size_t count)
{
    /* Where in user_regs_struct DWARF's registers are: rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8 to
     * r15, rip. */
    static const unsigned char x86_64[] = {10, 12, 11, 5, 13, 14, 4, 19, 9,
                                           8,  7,  6,  3, 2,  1,  0, 16};

    if (machine == EM_X86_64 && count >= 20) {
        for (size_t i = 0; i < sizeof x86_64; i++)
            thread->registers[i] = given[x86_64[i]];
        thread->pc = given[16];
        thread->known = thread->whole = true;
    } else if (machine == EM_AARCH64 && count >= 33) {
        memcpy(thread->registers, given, 32 * sizeof *given); /* x0 to x30, sp */
        thread->pc = given[32];
        thread->known = thread->whole = true;
    }
}

void image_free(struct image *image)
{
    if (!image) return;
    image->close(image);
    for (size_t i = 0; i < image->mapping_count; i++)
        free(image->mappings[i].path);
    free(image->mappings);
    free(image->threads);
    free(image->modules);
    free(image);
}
