/* file.h - what file.c, file_read.c and file_work.c share. */
#ifndef CASYNCIO_FILE_H
#define CASYNCIO_FILE_H

#include "io.h"

#include <casyncio/files.h>

enum {
    ASYNC__FILE_CHUNK = 256 * 1024
}; /* the most that one job reads or writes, or one look in the cache */

struct async__work;

struct async_file {
    int fd;
    unsigned references; /* the owner's, and one for each call under way */
    bool polled;         /* FIFO, tty, ...: waits for readiness, needs no thread */
    bool unopened;       /* a FIFO to read that perhaps had no writer yet: not at its end */
    bool positioned;     /* has places: read and written at `offset` */
    bool append;
    bool uncached; /* the kernel cannot say what it has in its cache */
    bool written;
    bool closed;
    bool busy; /* somebody has the turn */
    struct async__wait_list turns;
    struct async__work *detached; /* a job whose caller was cancelled; it has the turn */
    int64_t offset;               /* behind what has been read ahead */
    char *block;                  /* what has been read ahead for lines: block[start .. end) */
    size_t start, end, capacity;
    char path[]; /* for messages */
};

/* ---- jobs (file_work.c) ---- */

/* Some work in a thread. It has its own memory, and outlives a caller that is cancelled. */
struct async__work {
    async_job job;
    void (*run)(struct async__work *self); /* in the thread */
    async__wait *waiter;                   /* NULL: nobody waits any more */
    async_file *file;                      /* NULL for an open and a close */
    int fd;                                /* for open: what came of it */
    int owned_fd;                          /* to be closed when nobody takes the result, or -1 */
    int flags;                             /* for open */
    bool positioned, append;
    bool moves;     /* the file then stands at `offset`, whoever waits */
    int64_t offset; /* in: where; out: where the file then stands */
    size_t size;    /* of data, in */
    ssize_t result; /* or a negated errno */
    union {         /* the data, or what it is about */
        struct stat status;
        char data[1];
    };
};

/* NULL: no memory. */
struct async__work *async__work_new(async_file *file, void (*run)(struct async__work *),
                                    size_t size);
/* 0: it is done, and the caller's to free. Else a code: it has freed itself, or will. */
int async__work_await(struct async__work *work, const char *what);

/* Starts it and waits for nothing. */
void async__work_detach(struct async__work *work);

/* ---- calls (file.c) ---- */

/* Takes a reference and the turn; _leave must follow. */
int async__file_enter(async_file *file);
ssize_t async__file_leave(async_file *file, ssize_t result);
void async__file_give_turn(async_file *file);
void async__file_unref(async_file *file);
int async__file_failed(const async_file *file, const char *what, ssize_t code);

/* Keeps what a cancelled read has brought from a file that cannot be read there again
 * (file_read.c). */
void async__file_keep(async_file *file, const char *data, size_t size);

/* Goes back to behind what the caller has read. */
static inline void async__file_drop_block(async_file *file)
{
    if (file->positioned) file->offset -= (int64_t)(file->end - file->start);
    file->start = file->end = 0;
}

#endif
