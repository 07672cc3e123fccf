/* clock.c - what becomes of timers when a program replaces loop.time().
 *
 * Test loops travel in time: in a subclass, or on an instance, as unittest.mock does it. asyncio asks
 * loop.time() in every turn which timers are due. The engine's timers count by its own clock; so as
 * long as another is in place,
 *   - a timer is set as far away as it seems to be;
 *   - the turn after a callback of the program's looks whether the two clocks are still as far apart
 *     as they were, and if not sets all timers anew (only callbacks move a clock by hand);
 *   - a timer that goes off before loop.time() says so is set again. */
#include "clock.h"

#include "handle.h"

#include <math.h>

typedef async__py_loop loop_object;

#define RESOLUTION 1e-9 /* seconds: a timer this close is due, as with asyncio */
#define DRIFT 5e-5      /* seconds by which the clocks may part before timers are set anew */

static PyObject *name_time, *name_scheduled, *name_when;

static double engine_now(loop_object *self) { return (double)(async__py_loop_ns(self)) / 1e9; }

double async__py_now(loop_object *self)
{
    if (!self->other_time) return engine_now(self);
    PyObject *time = PyObject_CallMethodNoArgs((PyObject *)self, name_time);
    double seconds = time ? PyFloat_AsDouble(time) : -1;
    Py_XDECREF(time);
    return seconds;
}

/* Rounded up, so that a timer never goes off before loop.time() says so. */
static int64_t to_ns(double seconds)
{
    double ns = ceil(seconds * 1e9);
    return ns >= 9.2e18 ? INT64_MAX : ns <= -9.2e18 ? -INT64_MAX : (int64_t)ns;
}

int async__py_engine_time(loop_object *self, double when, int64_t *ns)
{
    if (self->other_time) {
        double time = async__py_now(self);
        if (time == -1 && PyErr_Occurred()) return -1;
        double apart = engine_now(self) - time;
        if (!(fabs(apart - self->apart) < DRIFT)) self->apart = NAN; /* timers are at odds now */
        when += apart;
    }
    *ns = to_ns(when);
    return 0;
}

/* ---- a clock that is moved ---- */

static double when_of(PyObject *handle)
{
    PyObject *when = PyObject_GetAttr(handle, name_when);
    double seconds = when ? PyFloat_AsDouble(when) : -1;

    Py_XDECREF(when);
    PyErr_Clear(); /* cancelled meanwhile, or tampered with */
    return seconds;
}

/* The earliest first: those that are due run in this order. */
static int set_anew(loop_object *self, double time)
{
    PyObject *timers = PyObject_GetAttr((PyObject *)self, name_scheduled);
    if (!timers || PyList_Sort(timers) < 0) {
        Py_XDECREF(timers);
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(timers) && self->engine; i++) {
        PyObject *handle = PyList_GET_ITEM(timers, i);
        double when = when_of(handle);
        bool due = when < time + RESOLUTION;
        async__py_timer_handle_move(self, handle, due ? 0 : to_ns(when + self->apart));
    }
    Py_DECREF(timers);
    return 0;
}

static void look(async_callback *callback)
{
    loop_object *self = async__container(callback, loop_object, look.callback);

    Py_INCREF((PyObject *)self);
    async__py_due_end(&self->look);
    double time = async__py_now(self);
    bool failed = time == -1 && PyErr_Occurred();
    double apart = engine_now(self) - time;
    if (!failed && !(fabs(apart - self->apart) < DRIFT)) {
        self->apart = apart;
        failed = set_anew(self, time) < 0;
    }
    if (failed) async__py_loop_fail(self, "Error while the loop's clock was asked", NULL);
    Py_DECREF((PyObject *)self);
}

void async__py_look_at_clock(loop_object *self)
{
    if (self->thread && self->thread != PyThread_get_thread_ident()) return;
    self->look.callback.run = look;
    self->look.holder.object = (PyObject *)self;
    async__py_due_soon(self, &self->look);
}

bool async__py_too_early(loop_object *self, PyObject *handle)
{
    double time = async__py_now(self);
    if (time == -1 && PyErr_Occurred()) {
        PyErr_Clear(); /* the look tells of it */
        return false;
    }
    return when_of(handle) >= time + RESOLUTION;
}

int async__py_add_clock(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_time, "time"},
        {&name_scheduled, "_scheduled"},
        {&name_when, "_when"},
        {0},
    };

    (void)module;
    return async__py_intern(names);
}
