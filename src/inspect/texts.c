/* texts.c - see texts.h. */
#include "texts.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT = 256 };

struct text {
    uint64_t address;
    char *text;
};

struct texts {
    struct text *table;
    size_t used, size; /* a power of two */
};

struct texts *texts_new(void) { return must(calloc(1, sizeof(struct texts))); }

void texts_free(struct texts *texts)
{
    for (size_t i = 0; i < texts->size; i++)
        free(texts->table[i].text);
    free(texts->table);
    free(texts);
}

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

const char *texts_at(struct texts *texts, const struct image *image, uint64_t address)
{
    char text[TEXT];

    if (!address) return NULL;
    if (4 * texts->used >= 3 * texts->size) grow(texts);
    struct text *entry = &texts->table[place_of(texts, address)];
    if (entry->address) return entry->text;
    size_t got = image->read(image, address, text, 48);
    if (got == 48 && !memchr(text, 0, 48))
        got += image->read(image, address + 48, text + 48, TEXT - 1 - 48);
    text[got] = 0;
    clean(text);
    entry->address = address;
    entry->text = must(strdup(got ? text : "?"));
    texts->used++;
    return entry->text;
}
