/* clock.h - the clock that the program sees: loop.time(), which it may have replaced. */
#ifndef CASYNCIO_PYTHON_CLOCK_H
#define CASYNCIO_PYTHON_CLOCK_H

#include "loop.h"

/* loop.time(). -1 and an exception: the program's own has failed. */
double async__py_now(async__py_loop *loop);

/* When that is by the engine's clock, in nanoseconds. 0, or -1 and an exception. */
int async__py_engine_time(async__py_loop *loop, double when, int64_t *ns);

/* In the next turn, looks whether the program's clock was moved. */
void async__py_look_at_clock(async__py_loop *loop);

/* By the program's clock, a timer that has gone off is not due. */
bool async__py_too_early(async__py_loop *loop, PyObject *handle);

int async__py_add_clock(PyObject *module);

#endif
