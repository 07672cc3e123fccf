/* unwind.h - the frames of a stack that is not this program's, by the tables that the ELF files have for
 * exceptions (.eh_frame), and where they are in the source, as far as there is debug information. */
#ifndef CASYNCIO_INSPECT_UNWIND_H
#define CASYNCIO_INSPECT_UNWIND_H

#include "snapshot.h"

enum { FRAMES = 128 };

/* A place in the program; belongs to the unwinder. Each part may be NULL, or 0. */
struct place_in_code {
    uint64_t pc;
    const char *function, *file, *module;
    uint64_t offset; /* in the module, for addr2line */
    int line;
};

struct unwinder;

struct unwinder *unwinder_new(const struct snapshot *snapshot);
void unwinder_free(struct unwinder *unwinder);

/* The frames of a task, innermost first: how many. 0: it moves. The library's own, inside of the call
 * that the program made and outside of the coroutine, are left out unless `internal`. *cut: there are
 * more, that could not be found. */
size_t task_frames(struct unwinder *unwinder, const struct loop *loop, const struct task *task,
                   bool internal, const struct place_in_code **frames, bool *cut);

/* What is at an address of the program's code. */
const struct place_in_code *place_at(struct unwinder *unwinder, uint64_t address);

/* The thread that runs the task, or NULL. */
const struct thread *task_thread(const struct snapshot *snapshot, const struct task *task);
/* The frames of a thread, innermost first. */
size_t thread_frames(struct unwinder *unwinder, const struct thread *thread, uint64_t limit,
                     const struct place_in_code **frames, bool *cut);

#endif
