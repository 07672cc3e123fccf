/* state.c - what handles, descriptors and transports need of the loop object: whether it is open, its
 * clock and buffer, and what it holds. */
#include "loop.h"

#include <time.h>
#include <unistd.h>

typedef async__py_loop loop_object;

PyTypeObject *async__py_loop_type;

async__py_loop *async__py_as_loop(PyObject *object)
{
    return PyObject_TypeCheck(object, async__py_loop_type) ? (loop_object *)object : NULL;
}

int async__py_check_open(async__py_loop *self)
{
    if (!self->engine) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return -1;
    }
    if (ASYNC__PY_GIL || !async__py_elsewhere(self)) return 0;
    PyErr_SetString(PyExc_RuntimeError, "Non-thread-safe operation invoked on an event loop "
                                        "other than the current one");
    return -1;
}

bool async__py_loop_forked(const async__py_loop *self) { return self->process != getpid(); }

char *async__py_loop_buffer(async__py_loop *self)
{
    if (!self->buffer) self->buffer = PyMem_Malloc(ASYNC__PY_BUFFER);
    if (!self->buffer) PyErr_NoMemory();
    return self->buffer;
}

/* ---- time ---- */

static int64_t monotonic(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int64_t async__py_loop_ns(async__py_loop *self)
{
    return self->engine ? async_loop_time_ns(self->engine) : monotonic();
}

int64_t async__py_slow_begin(async__py_loop *loop) { return loop->debug ? monotonic() : 0; }

void async__py_slow_end(async__py_loop *loop, int64_t begin, PyObject *object)
{
    if (!begin) return;
    double seconds = (double)(monotonic() - begin) / 1e9;
    if (seconds < loop->slow_callback_duration) return;
    PyObject *result = async__py_call_method((PyObject *)loop, "_warn_slow", "Od", object, seconds);
    if (!result) async__py_loop_fail(loop, "Error while a slow callback was told of", NULL);
    Py_XDECREF(result);
}

/* ---- what the loop holds ---- */

static void link_holder(async__py_holder *ring, async__py_holder *holder)
{
    Py_INCREF(holder->object);
    holder->next = ring;
    holder->prev = ring->prev;
    holder->prev->next = holder;
    ring->prev = holder;
}

void async__py_hold(async__py_loop *self, async__py_holder *holder)
{
    if (holder->next || !self->engine) return; /* a closed loop watches nothing */
    link_holder(&self->holders, holder);
}

void async__py_let_go(async__py_holder *holder)
{
    if (!holder->next) return;
    holder->prev->next = holder->next;
    holder->next->prev = holder->prev;
    holder->next = NULL;
    Py_DECREF(holder->object);
}

void async__py_due_soon(async__py_loop *self, async__py_due *due)
{
    if (due->holder.next || !self->engine) return;
    async_call_soon(self->engine, &due->callback);
    link_holder(&self->dues, &due->holder);
}

bool async__py_due_end(async__py_due *due)
{
    if (!due->holder.next) return false;
    async_callback_cancel(&due->callback);
    async__py_let_go(&due->holder);
    return true;
}
