/* subprocess.h - child processes            asyncio: Subprocesses
 *
 * A program is started, its streams are read and written like any other, and its end is waited for:
 *
 *     async_with_process (grep, async_create_subprocess_exec(
 *                                   ASYNC_ARGUMENTS("grep", "-c", "error"),
 *                                   &(async_subprocess_options){.in = ASYNC_PIPE, .out = ASYNC_PIPE})) {
 *         async_process_output output = {.limit = 1 << 20};
 *         if (async_process_communicate(grep, text, strlen(text), &output) == 0)
 *             printf("%s", output.out);
 *         async_process_output_free(&output);
 *     }
 *
 * A pidfd reports the end of the child: the program's handling of SIGCHLD is neither needed nor
 * changed. Where there are no pidfds (Linux before 5.3, some emulators) the library polls for the
 * child's end, at most 50 times a second.
 *
 * A process that is NULL is -EBADF; where the result is a pointer it is NULL. One that another task
 * closes while a call on it waits stays good until that call has returned, with -EBADF. To begin a
 * call on a process that has been closed is an error like using freed memory. */
#ifndef CASYNCIO_SUBPROCESS_H
#define CASYNCIO_SUBPROCESS_H

#include <casyncio/contexts.h>
#include <casyncio/streams.h>
#include <limits.h>

ASYNC_BEGIN

typedef struct async_process async_process;

/* What the child has as its standard input, output or error. asyncio: PIPE, STDOUT, DEVNULL */
enum async_stdio {
    ASYNC_INHERIT, /* what this process has; closed, if it is closed here */
    ASYNC_PIPE,    /* a pipe: see async_process_stdin, _stdout, _stderr */
    ASYNC_DEVNULL, /* /dev/null */
    ASYNC_STDOUT,  /* of `err` only: the same as its standard output */
    ASYNC_FD       /* the descriptor in in_fd, out_fd or err_fd, which stays the caller's */
};

typedef struct async_subprocess_options {
    int in, out, err; /* enum async_stdio */
    int in_fd, out_fd, err_fd;
    const char *executable;         /* what is run if it is not the first argument */
    const char *const *environment; /* "NAME=value", ..., NULL; NULL in its place: this process's */
    const char *directory;          /* the working directory; NULL: this process's */
    const int *pass_fds;            /* descriptors that the child has under the same numbers, ... */
    size_t pass_fds_count;          /* ... 3 or higher; the rest is closed in it */
    bool inherit_fds;       /* the rest stays open in the child, if it is not close-on-exec */
    bool new_session;       /* setsid(2) */
    bool new_process_group; /* setpgid(2), a group of its own; not with new_session */
    pid_t process_group;    /* not 0: joins this group; not with the two above */
    bool terminal;  /* with new_session: its standard input becomes the session's terminal */
    bool set_umask; /* to `umask` */
    mode_t umask;
    /* The child starts with the signals that this thread has blocked, and with an ignored SIGPIPE;
     * otherwise none is blocked, and SIGPIPE is not ignored. */
    bool keep_signals;
    double grace; /* seconds, for async_process_close; 0: 5; negative: none */
} async_subprocess_options;

/* The arguments as an array: ASYNC_ARGUMENTS("ls", "-l"). C only. */
#ifndef __cplusplus
#define ASYNC_ARGUMENTS(...) ((const char *const[]){__VA_ARGS__, NULL})
#endif

/* Starts a program. `arguments` ends with NULL; the first names the program, which is looked for in
 * PATH (that of `environment`, if there is one) unless it contains a slash. `options` may be NULL.
 * When the call returns the program is running: one that cannot be is an error of the call.
 *
 * Only descriptors 0 to 2 and pass_fds are open in the child; signals that this process handles have
 * their default effect in it, those that it ignores stay ignored (but for SIGPIPE).
 *
 * It holds up the thread until the kernel has loaded the program, and takes no longer however much
 * memory this process has. A checkpoint; it does not wait otherwise: if it is cancelled nothing has
 * been started. NULL: see async_error_code: -ENOENT, -EACCES, -ENOEXEC, -E2BIG (one argument of 128
 * KiB, or a quarter of the stack's limit for all and the environment), -ENOTDIR, -EMFILE, -EAGAIN (too
 * many processes), -ENOMEM; -EBADF for a descriptor that is none; -EINVAL for options that
 * contradict each other. The message names the program and what could not be done.
 * asyncio: create_subprocess_exec */
ASYNC_API async_process *async__create_subprocess_exec(const char *const *arguments,
                                                       const async_subprocess_options *options,
                                                       size_t options_size);
static inline async_process *async_create_subprocess_exec(const char *const *arguments,
                                                          const async_subprocess_options *options)
{
    return async__create_subprocess_exec(arguments, options, sizeof *options);
}

/* Has /bin/sh run a command: what the program does not write itself must be quoted.
 * asyncio: create_subprocess_shell */
ASYNC_API async_process *async__create_subprocess_shell(const char *command,
                                                        const async_subprocess_options *options,
                                                        size_t options_size);
static inline async_process *async_create_subprocess_shell(const char *command,
                                                           const async_subprocess_options *options)
{
    return async__create_subprocess_shell(command, options, sizeof *options);
}

/* The streams of those that are pipes, else NULL. They belong to the process, which closes them; to
 * tell the child that its input is over, call async_stream_write_eof. A stream that is closed earlier
 * gives -EBADF.
 * asyncio: Process.stdin, stdout, stderr */
ASYNC_API async_stream *async_process_stdin(const async_process *process);
ASYNC_API async_stream *async_process_stdout(const async_process *process);
ASYNC_API async_stream *async_process_stderr(const async_process *process);

/* asyncio: Process.pid */
ASYNC_API pid_t async_process_pid(const async_process *process);

/* How it has ended, as far as a wait or a poll has found out: the exit status (0 to 255), or the
 * negated number of the signal that killed it; ASYNC_RUNNING before.
 * asyncio: Process.returncode */
enum { ASYNC_RUNNING = INT_MIN };
ASYNC_API int async_process_returncode(const async_process *process);

/* Waits until the process has ended; other processes may still hold its pipes. Any number of tasks may
 * wait. 0, and *returncode (may be NULL) is as above; the code of a cancellation: nothing has changed;
 * -ECHILD: it has ended, but how cannot be known, since this process ignores SIGCHLD, or something else
 * in it has waited for the child.
 * A child that fills a pipe that no task reads does not end: see async_process_communicate.
 * asyncio: Process.wait */
ASYNC_API int async_process_wait(async_process *process, int *returncode);

/* Whether it has ended: 1, and *returncode (may be NULL), or 0 if it has not; negative as above. Does
 * not block. subprocess: Popen.poll */
ASYNC_API int async_process_poll(async_process *process, int *returncode);

/* What a process has written. Set `limit`; the rest is the call's. */
typedef struct async_process_output {
    size_t limit;    /* the most bytes of each of the two; 0: no limit */
    char *out, *err; /* followed by a 0 byte; NULL: no pipe */
    size_t out_size, err_size;
    int returncode; /* as above */
    void *reserved[4];
} async_process_output;

/* Sends the input and then its end (if the child's input is a pipe), reads both outputs (those that are
 * pipes) to their ends at the same time, and waits for the end of the process: 0. A child that does not
 * read all of its input is no error. `input` may be NULL with a size of 0; `output` may be NULL, and
 * what is read is then dropped.
 *
 * ASYNC_ELIMIT if one of the outputs is longer than the limit; the process goes on. -EINVAL for an
 * input and no pipe to send it to. In these cases, after a cancellation and every other error,
 * `output` has what was read until then (beyond the limit one byte), and what of the input has been
 * sent is not known. *output is always to be freed.
 *
 * A grandchild that holds the pipe keeps it from ending: put a timeout around the call.
 * asyncio: Process.communicate */
ASYNC_API int async_process_communicate(async_process *process, const void *input,
                                        size_t input_size, async_process_output *output);

/* Frees what it has, and clears it; NULL is fine. */
ASYNC_API void async_process_output_free(async_process_output *output);

/* Sends a signal: 0, also if it has ended and no wait or poll has found that out; -ESRCH afterwards;
 * -EINVAL for what is no signal; -EPERM. Never reaches another process that has the number by now.
 * terminate is SIGTERM, kill SIGKILL. They do not block.
 * asyncio: Process.send_signal, terminate, kill */
ASYNC_API int async_process_send_signal(async_process *process, int signal);
ASYNC_API int async_process_terminate(async_process *process);
ASYNC_API int async_process_kill(async_process *process);

/* Ends the process if it has not ended: closes its input, sends SIGTERM, waits for at most `grace`
 * seconds, sends SIGKILL, waits. Then closes the streams and frees the process, always. Calls that
 * wait on it give -EBADF. Runs in a shield, like an exit of async_with: a cancellation shortens the
 * grace to what is left of async_run_options.exit_timeout. Outside of a task it sends SIGKILL at
 * once, and holds up the thread until the process has ended. In a forked child it only frees. NULL is
 * fine.
 * 0; -EPERM if it has become another user's, and goes on; -ETIMEDOUT if not even SIGKILL ends it (it
 * waits for a disk that does not answer), and the wait for that was cancelled or outside of a task; -EBADF,
 * and nothing else has happened, while another task closes it. */
ASYNC_API int async_process_close(async_process *process);

/* async_with_process (name, enter) { ... }: declares `async_process *name = enter`, and closes it when
 * the block is left. An error of the close is the block's.
 * trio: run_process */
#define ASYNC_WITH_PROCESS(name, enter)                                                            \
    ASYNC__WITH(async_process *, name, enter, async__close_process, ASYNC__EXIT_CLOSE,             \
                ASYNC__JOIN(async__once_, __COUNTER__), ASYNC__JOIN(async__with_, __COUNTER__))
#ifndef __cplusplus
#define async_with_process(name, enter) ASYNC_WITH_PROCESS(name, enter)
#endif
ASYNC_API void async__close_process(void *process);

ASYNC_END
#endif
