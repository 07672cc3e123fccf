/* process.h - what the files of src/process share. */
#ifndef CASYNCIO_PROCESS_H
#define CASYNCIO_PROCESS_H

#include "../io/io.h"

#include <casyncio/subprocess.h>

/* ---- from the call to the running program (spawn.c, child.c) ---- */

enum {
    ASYNC__CHILD_STACK = 16 * 1024,
    ASYNC__SIGNAL_SET = 8, /* bytes of the kernel's signal sets */
    ASYNC__DUP_STDOUT = -2 /* in async__child.stdio[2]: what the child has as descriptor 1 */
};

/* What the child was doing when it failed. */
enum async__child_step {
    ASYNC__STEP_DESCRIPTORS,
    ASYNC__STEP_SESSION,
    ASYNC__STEP_GROUP,
    ASYNC__STEP_TERMINAL,
    ASYNC__STEP_DIRECTORY,
    ASYNC__STEP_EXEC
};

struct async__child_failure {
    int step;
    int error; /* an errno value; 0: none so far */
};

/* All that the child needs to know, worked out beforehand by the parent. The two share their memory
 * until the program runs. */
struct async__child {
    const char *const *arguments;
    const char *const *environment;
    const char *path;   /* of the program, or its name, if it is to be looked for in `search` */
    const char *search; /* the value of PATH, or NULL */
    char *candidate;    /* room for an entry of it, a slash, and the name */
    const char *directory;
    const int *pass;
    size_t pass_count;
    int stdio
        [3]; /* the descriptors that become 0, 1, 2; -1: it stays as it is; ASYNC__DUP_STDOUT */
    bool inherit_fds, new_session, terminal, set_group, set_umask, keep_signals;
    pid_t group; /* with set_group: 0 is its own */
    mode_t umask;
    unsigned char signal_mask[ASYNC__SIGNAL_SET]; /* what the parent's thread has blocked */
    int report;          /* a pipe for the failure, in case the memory is not shared; or -1 */
    volatile bool alive; /* the child has written this: the memory is shared */
    volatile struct async__child_failure failure;
    char stack[ASYNC__CHILD_STACK] __attribute__((aligned(16)));
};

/* What runs in the child. Returns in no case; its type is that of clone(2). */
int async__child_main(void *child);

/* Starts it, and returns once its program runs: 0, or a code, and *step is where it failed; it has been
 * reaped then. *pidfd is -1 where there are none. Does not set the last error. */
int async__spawn(struct async__child *child, pid_t *pid, int *pidfd, int *step);

/* ---- a child's descriptors (stdio.c) ---- */

/* The ends of pipes and the other descriptors that are needed for one child. */
struct async__stdio {
    int child[3];  /* for async__child.stdio */
    int opened[3]; /* those of them that were opened for it, or -1 */
    int parent[3]; /* this process's ends of the pipes, or -1 */
};

/* A pipe, close-on-exec, whose ends are above 2: 0 or a code, without a message. */
int async__open_pipe(int ends[2]);

/* 0, or a code with its message. */
int async__stdio_open(struct async__stdio *stdio, const async_subprocess_options *options,
                      const char *name);
void async__stdio_close_child(struct async__stdio *stdio);
void async__stdio_close(struct async__stdio *stdio);

/* The one place in which a stream is made of a pipe's end, which is closed if that fails: NULL, with
 * its message. The process has a reference of its own, so that the stream may be closed by others
 * before async__process_stream_free. */
async_stream *async__process_stream(int fd);
bool async__process_stream_closed(const async_stream *stream);
void async__process_stream_abort(async_stream *stream);
void async__process_stream_free(async_stream *stream);

/* ---- the process (process.c, end.c) ---- */

struct async_process {
    pid_t pid;
    int pidfd;           /* -1: it has ended, or there are none: `timer` asks then */
    unsigned references; /* the owner's, and one for each call that is under way */
    unsigned forks;      /* async__forks when it was started */
    bool ended, lost;    /* lost: how it has ended cannot be known */
    bool closed;         /* async_process_close has begun */
    bool waited_for;     /* `watch` or `timer` is set */
    int returncode;
    double grace;
    async_stream *streams[3];
    async_watch watch;
    async_timer timer;
    double pause;                    /* until the timer asks again */
    struct async__wait_list waiters; /* item: an int for the result, as async__process_reap's */
    char name[];                     /* for messages */
};

void async__process_free(async_process *process);

/* Every call that may wait is between these two, as with streams. */
#define async__process_enter(process) async__process_enter_in(process, __func__)
int async__process_enter_in(async_process *process, const char *call);
int async__process_leave(async_process *process, int result);
int async__process_closed(const async_process *process); /* fails with -EBADF and a message */

/* Takes the exit status if there is one: 1; 0: it runs; or a code, without a message. */
int async__process_reap(async_process *process);
/* Waits for the end: 0, or a code with its message. No checkpoint. */
int async__process_await(async_process *process);
/* Ends all waits with `result`, without waiting for anything. */
void async__process_wake(async_process *process, int result);
/* 0, or a code without a message. The process has not been reaped. */
int async__process_signal(const async_process *process, int signal);
/* 0, or -ECHILD with its message; the process has ended. */
int async__process_result(const async_process *process, int *returncode);

#endif
