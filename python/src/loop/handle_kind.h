/* handle_kind.h - the three types of handles from the inside: where their slots lie (handle_type.c finds
 * them), and what of the engine is behind them (handle.c). */
#ifndef CASYNCIO_PYTHON_HANDLE_KIND_H
#define CASYNCIO_PYTHON_HANDLE_KIND_H

#include "handle.h"

#include <stdatomic.h>

enum { ASYNC__PY_KEPT_HANDLES = 128 };

/* The loop holds the handle, or is kept by its slot, but need not be: `loop` is valid while the
 * handle is queued, for the queue ends with the loop. */
struct async__py_handle_part {
    async_callback callback;
    async__py_loop *loop;
};

struct async__py_timer_part {
    async_timer timer;
    async__py_loop *loop;
};

struct async__py_shared_part {
    async_callback callback;
    async__py_loop *loop;
    atomic_ulong runner; /* the thread that runs the callback; 0: none does */
};

/* One of the three types, with where its parts lie. */
struct async__py_handle_kind {
    PyTypeObject *type;
    Py_ssize_t callback, args, cancelled, loop, source_traceback, repr, context, scheduled, when;
    Py_ssize_t lock;
    Py_ssize_t weakrefs, part; /* part: our own, behind the base's */
    PyObject *kept[ASYNC__PY_KEPT_HANDLES];
    int kept_count;
};

/* The third's type is NULL before 3.14. */
extern struct async__py_handle_kind async__py_handles, async__py_timers, async__py_shared;

#define ASYNC__PY_SLOT(self, kind, name) (*(PyObject **)((char *)(self) + (kind)->name))
#define ASYNC__PY_HANDLE_PART(self)                                                                \
    ((struct async__py_handle_part *)((char *)(self) + async__py_handles.part))
#define ASYNC__PY_TIMER_PART(self)                                                                 \
    ((struct async__py_timer_part *)((char *)(self) + async__py_timers.part))
#define ASYNC__PY_SHARED_PART(self)                                                                \
    ((struct async__py_shared_part *)((char *)(self) + async__py_shared.part))

static inline struct async__py_handle_kind *async__py_kind_of(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    return type == async__py_handles.type  ? &async__py_handles
           : type == async__py_timers.type ? &async__py_timers
                                           : &async__py_shared;
}

/* The loop that the handle's slot has, if it is one of ours, or NULL. */
static inline async__py_loop *async__py_handle_loop(PyObject *self,
                                                    struct async__py_handle_kind *kind)
{
    PyObject *loop = ASYNC__PY_SLOT(self, kind, loop);
    return loop ? async__py_as_loop(loop) : NULL;
}

/* Of other threads than the loop's: until the callback, if it runs, has ended. */
void async__py_handle_wait(PyObject *self);

/* Calls the callback in its context, cancelled or not. */
void async__py_handle_call(async__py_loop *loop, PyObject *self);

/* Slots of the types. */
int async__py_handle_traverse(PyObject *self, visitproc visit, void *arg);
int async__py_handle_clear(PyObject *self);
void async__py_handle_dealloc(PyObject *self);
int async__py_prepare_handles(void);

#endif
