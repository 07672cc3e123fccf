/* loop.h - the loop object, as far as handles, descriptors and transports have to know it. */
#ifndef CASYNCIO_PYTHON_LOOP_H
#define CASYNCIO_PYTHON_LOOP_H

#include "socket.h"

#include <casyncio/errors.h>
#include <casyncio/loop.h>

/* What the loop knows of a descriptor that the user watches, and of the transport that has it. */
struct async__py_descriptor;

/* An owner of watches. While it is linked, the loop holds a reference to it. */
typedef struct async__py_holder {
    struct async__py_holder *next, *prev; /* next is NULL while it is not linked */
    PyObject *object;
} async__py_holder;

/* A callback that runs at the latest when the loop stops, or before it is closed. The loop holds
 * the object until then. */
typedef struct async__py_due {
    async_callback callback;
    async__py_holder holder;
} async__py_due;

typedef struct async__py_loop {
    PyObject_HEAD async_loop *engine; /* NULL once the loop is closed */
    unsigned long thread;             /* that runs it, as threading.get_ident says; 0: none does */
    unsigned long owner;              /* that made it, or ran it last */
    char debug, closed;
    PyObject *task_factory; /* or NULL */
    bool other_time;    /* time() is not ours any more: a subclass's, or replaced on the instance */
    PyObject *time;     /* what loop.time is: our own, once asked for, or what took its place */
    double apart;       /* seconds from the program's clock to the engine's, at the last look */
    async__py_due look; /* queued: whether that has changed */
    double slow_callback_duration; /* seconds */
    double watchdog;               /* seconds; 0: none is wanted */
    bool watched;                  /* there is one now */
    PyObject *raised;              /* what run_forever is to end with */
    PyThreadState *state;          /* of the thread that polls */
    char *buffer;                  /* all transports receive into it; ASYNC__PY_BUFFER bytes */
    struct async__py_descriptor **descriptors;
    int descriptors_length;
    async__py_holder holders, dues; /* rings through these nodes */
    int process;                    /* that made it: in a child of that it only can be closed */
    int starting;                   /* > 0: in create_task(), whose call_soon() is no yield */
    PyObject *sockname;             /* of the last connection accepted: the next one's, as a rule */
    union async__py_inet sockname_of;
} async__py_loop;

enum { ASYNC__PY_BUFFER = 256 * 1024 };

extern PyTypeObject *async__py_loop_type;

/* ---- exceptions that no caller learns of (report.c) ---- */

/* Has run_forever end with the exception, whose reference it takes. The first one wins. */
void async__py_loop_raise(async__py_loop *loop, PyObject *exception);

/* Takes the exception that is set: SystemExit and KeyboardInterrupt end run_forever, others go to
 * loop.call_exception_handler, with `message` and what else is given: pairs of a key and a borrowed
 * object, ended by NULL. Objects that are NULL are left out. */
void async__py_loop_fail(async__py_loop *loop, const char *message, ...);

/* Takes the exception that is set, which no caller learns of: it is written to stderr as that of
 * `object`, or forgotten if that is NULL. But SystemExit and KeyboardInterrupt end run_forever. */
void async__py_loop_ignore(async__py_loop *loop, PyObject *object);

/* Like async__py_loop_fail, for an exception that has ended the callback of a handle. */
void async__py_handle_failed(async__py_loop *loop, PyObject *handle);

int async__py_add_report(PyObject *module);

/* ---- the object (state.c) ---- */

/* The object as a loop of ours, or NULL: no exception is set. */
async__py_loop *async__py_as_loop(PyObject *object);

/* 0, or -1 and RuntimeError: the loop is closed; or, without the GIL, another thread runs it. */
int async__py_check_open(async__py_loop *loop);

/* Another thread than this runs the loop. */
static inline bool async__py_elsewhere(const async__py_loop *loop)
{
    return loop->thread && loop->thread != PyThread_get_thread_ident();
}

/* This process was forked from the one that made the loop. */
bool async__py_loop_forked(const async__py_loop *loop);

/* The loop's receive buffer, made when it is first asked for; NULL: MemoryError is set. */
char *async__py_loop_buffer(async__py_loop *loop);

/* The loop's clock, also when it is closed. */
int64_t async__py_loop_ns(async__py_loop *loop);

/* For a callback that is not a handle: in debug mode says how long it took, if that was too long. */
int64_t async__py_slow_begin(async__py_loop *loop);
void async__py_slow_end(async__py_loop *loop, int64_t begin, PyObject *object);

/* Has the loop hold the object that the holder names, and let it go again. */
void async__py_hold(async__py_loop *loop, async__py_holder *holder);
void async__py_let_go(async__py_holder *holder);

/* Queues the callback, if it is not queued; and takes it out again: says whether it was there. The
 * callback itself begins with the second, which may let go of the last reference. */
void async__py_due_soon(async__py_loop *loop, async__py_due *due);
bool async__py_due_end(async__py_due *due);

#endif
