/* terminal.h - the terminal, with keys that come one at a time and a screen of its own. What it was before
 * is put back however this program ends: by its own will, by a signal, by a fault, or while it is
 * stopped. */
#ifndef CASYNCIO_INSPECT_TERMINAL_H
#define CASYNCIO_INSPECT_TERMINAL_H

#include <stdbool.h>
#include <stdio.h>

enum key {
    NO_KEY = 0,
    KEY_GONE = -1,
    KEY_UP = 256,
    KEY_DOWN,
    KEY_PAGE_UP,
    KEY_PAGE_DOWN,
    KEY_HOME,
    KEY_END
};
enum { ESCAPE = 27, BACKSPACE = 127 };

/* False: standard input or output is no terminal that could be used so. */
bool terminal_open(void);
void terminal_close(void); /* where it is not open nothing is done */
void terminal_size(int *columns, int *rows);
/* Whether it has another size, or has been out of this program's hands, since this was asked last. */
bool terminal_changed(void);
/* Waits up to `ms` for a key: a byte of what was typed, a KEY_..., NO_KEY, or KEY_GONE: the terminal is. */
int terminal_key(int ms);
/* Writes lines over those that are on the screen, each cut to its width, and no more than it has. */
void terminal_show(const char *text);

/* Writes the text, cut to so many columns and filled up to `least`. */
void write_columns(FILE *out, const char *text, size_t length, int most, int least);

#endif
