/* descriptors.h - the table of descriptors: what watches them, and which transport has them. */
#ifndef CASYNCIO_PYTHON_DESCRIPTORS_H
#define CASYNCIO_PYTHON_DESCRIPTORS_H

#include "loop.h"

/* Puts a transport into the table of descriptors, or (NULL) takes it out: add_reader and the like
 * refuse the descriptor meanwhile. The table does not own it. -1: an exception is set. */
int async__py_set_transport(async__py_loop *loop, int fd, PyObject *transport);

/* Takes it out for good. False: another transport has the number, for the descriptor was closed
 * without a word. */
bool async__py_end_transport(async__py_loop *loop, int fd, PyObject *transport);

/* 0, or -1 and RuntimeError: another transport that is not closing has the descriptor. */
int async__py_check_no_transport(async__py_loop *loop, int fd, PyObject *sock);

/* What an owner waits for: that the user's descriptor can be read from, or written to. */
struct async__py_wait {
    int fd;
    bool writing;
    /* It was ready, but the system call has found nothing. So the next wait keeps its interest in the
     * descriptor until it ends: a lasting condition, such as an error queue that is not empty, would
     * have one-shot interest reported as soon as it is asked for, without end (src/loop/fd.c). */
    bool again;
    bool (*ready)(PyObject *owner); /* called then; whether the owner has begun to wait again */
};

/* The loop holds the owner until the wait ends. It takes the place of what waited there before, as in
 * add_reader; -1: an exception is set. The second ends the wait, if it is still this owner's. */
int async__py_wait_fd(async__py_loop *loop, PyObject *owner, const struct async__py_wait *wait);
void async__py_wait_end(async__py_loop *loop, int fd, bool writing, PyObject *owner);

/* A descriptor as add_reader and the like take it: a number, or an object with fileno(). -1 and
 * ValueError. The second is for what is watched already: an object that was closed meanwhile has no
 * number any more, but had one when it was given. */
int async__py_descriptor_number(PyObject *object);
int async__py_watched_number(async__py_loop *loop, PyObject *object);

/* Has the handle run whenever the user's descriptor is ready; `given` is what its number was asked
 * of. -1: an exception is set. The second ends it: false, there was none. */
int async__py_watch_fd(async__py_loop *loop, int fd, bool writing, PyObject *given,
                       PyObject *handle);
bool async__py_unwatch_fd(async__py_loop *loop, int fd, bool writing);

/* The handle, or owner, that watches the descriptor, and what was given for it, unless that was a
 * number; borrowed, or NULL. */
PyObject *async__py_watching(async__py_loop *loop, int fd, bool writing);
PyObject *async__py_watched_object(async__py_loop *loop, int fd, bool writing);

/* For the loop's own end. */
void async__py_close_descriptors(async__py_loop *loop);
int async__py_visit_descriptors(async__py_loop *loop, visitproc visit, void *arg);
void async__py_free_descriptors(async__py_loop *loop);

int async__py_add_descriptors(PyObject *module);

#endif
