/* file.h - what file.c, file_read.c, file_work.c and file_close.c share. */
#ifndef CASYNCIO_FILE_H
#define CASYNCIO_FILE_H

#include "../base/buffer.h"
#include "io.h"

#include <casyncio/files.h>

enum {
    ASYNC__FILE_CHUNK = 256 * 1024
}; /* the most that one job reads or writes, or one look in the cache */

/* One call at a time has the turn, and with it the descriptor, `offset` and the block; the others
 * wait in `turns`. A call that is cancelled while its job is in a thread leaves the turn to the job.
 * So whatever uses the descriptor has the turn, and async_file_close closes it at once if no call
 * has the turn, and else leaves that to the end of the turn. */
struct async_file {
    int fd;              /* -1 once it is closed, or about to be */
    unsigned references; /* the owner's, and one for each call, iterator and job left behind */
    unsigned forks;      /* async__forks when it was opened */
    bool polled;         /* FIFO, tty, ...: waits for readiness, needs no thread */
    bool unopened;       /* a FIFO to read that perhaps had no writer yet: not at its end */
    bool positioned;     /* has an offset: read and written at `offset` */
    bool append;
    bool uncached;                 /* the kernel cannot say what it has in its cache */
    bool written;                  /* close(2) may have to write, and so may block */
    bool closed;                   /* async_file_close has begun: no new calls */
    bool busy;                     /* a call, or the job that it has left behind, has the turn */
    bool left_to_job;              /* the job has it */
    struct async__wait_list turns; /* item: a bool, set for the call that gets the turn */
    int64_t offset;                /* behind what has been read ahead */
    struct async__buffer ahead;    /* what has been read ahead for lines */
    char path[];                   /* for messages */
};

/* ---- jobs (file_work.c) ---- */

/* Some work in a thread. It has its own memory, so that it may outlive the call that began it. */
struct async__work {
    /* Its buffer is `data`. call.offset: in, where to read or write; out, where the file then stands. */
    struct async__work_op call;
    async__wait *waiter; /* NULL: its call has been cancelled */
    async_file *file;    /* NULL for an open and a close */
    int owned_fd;        /* -1, or a descriptor to be closed at the end */
    bool must_run;       /* a close: a cancellation does not take it back from the queue */
    bool positioned, append;
    bool moves; /* the file then stands at call.offset, also if the call was cancelled */
    union {     /* the data, or the path of an open and a close */
        struct stat status;
        char data[1];
    };
};

/* `size`: of the data. NULL: no memory. */
struct async__work *async__work_new(async_file *file, enum async__opcode opcode,
                                    ssize_t (*run)(async__op *), size_t size);
static inline struct async__work *async__work_of(async__op *op)
{
    return async__container(op, struct async__work, call.op);
}
/* 0: it is done, and the caller's to free. Else a code: it has freed itself, or will. */
int async__work_await(struct async__work *work, const char *what);

/* Starts it and waits for nothing; it frees itself. */
void async__work_detach(struct async__work *work);

/* ---- calls (file.c) ---- */

/* Takes a reference and the turn: 0, and _leave must follow; or a code. */
#define async__file_enter(file) async__file_enter_in(file, __func__)
int async__file_enter_in(async_file *file, const char *call);
ssize_t async__file_leave(async_file *file, ssize_t result);
/* Passes the turn on; if there is none to pass it to and the file is closed, closes the descriptor. */
void async__file_end_turn(async_file *file);
/* The same without a loop, in any thread: closes what is to be closed here and now. */
void async__file_end_turn_outside(async_file *file);
void async__file_unref(async_file *file);
int async__file_closed(const async_file *file); /* -EBADF, with its message */
int async__file_failed(const async_file *file, const char *what, ssize_t code);

/* Keeps what a cancelled read has brought from a file that cannot be read there again
 * (file_read.c). */
void async__file_keep(async_file *file, const char *data, size_t size);

/* Forgets what has been read ahead: the file stands right behind what its callers have read. */
static inline void async__file_drop_block(async_file *file)
{
    if (file->positioned) file->offset -= (int64_t)async__buffer_size(&file->ahead);
    file->ahead.start = file->ahead.end = 0;
}

#endif
