/* texts.h - the texts of an image by their addresses: most are literals that many tasks share. */
#ifndef CASYNCIO_INSPECT_TEXTS_H
#define CASYNCIO_INSPECT_TEXTS_H

#include "image.h"

struct texts *texts_new(void);
void texts_free(struct texts *texts);

/* Cleaned of what a terminal, or a reader of JSON, would not take for text; NULL for 0. It lives as long
 * as `texts`. */
const char *texts_at(struct texts *texts, const struct image *image, uint64_t address);

#endif
