/* loop_descriptors.c - add_reader, add_writer and their like.
 *
 * They are for descriptors of the user's own; a transport's is refused to them. */
#include "descriptors.h"
#include "handle.h"
#include "loop_type.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

typedef async__py_loop loop_object;

/* epoll knows no regular files, and so asyncio refuses them. */
static int refuse_files(int fd)
{
    struct stat status;

    if (fstat(fd, &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) return 0;
    async__py_set_oserror(-(fcntl(fd, F_GETFD) < 0 ? EBADF : EPERM));
    return -1;
}

/* _add_reader and _add_writer. The new handle. */
static PyObject *add_watch(loop_object *self, PyObject *const *args, Py_ssize_t count,
                           PyObject *names, bool writing)
{
    PyObject *context;

    if (async__py_check_count(count, 2, "add_reader(fd, callback, *args)") < 0 ||
        async__py_take_context(args, count, names, &context) < 0 || async__py_check_open(self) < 0)
        return NULL;
    int fd = async__py_descriptor_number(args[0]);
    if (fd < 0 || refuse_files(fd) < 0) return NULL;
    PyObject *handle = async__py_handle_new(self, args[1], args + 2, count - 2, context);
    if (handle && async__py_check_open(self) < 0) Py_CLEAR(handle); /* it was closed meanwhile */
    if (handle && async__py_watch_fd(self, fd, writing, args[0], handle) < 0) Py_CLEAR(handle);
    return handle;
}

static PyObject *end_watch(loop_object *self, PyObject *number, bool writing)
{
    if (!self->engine) Py_RETURN_FALSE;
    int fd = async__py_watched_number(self, number);
    if (fd < 0) return NULL;
    return PyBool_FromLong(async__py_unwatch_fd(self, fd, writing));
}

static PyObject *loop_add_reader_(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                  PyObject *names)
{
    return add_watch((loop_object *)self, args, count, names, false);
}

static PyObject *loop_add_writer_(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                  PyObject *names)
{
    return add_watch((loop_object *)self, args, count, names, true);
}

static PyObject *loop_remove_reader_(PyObject *self, PyObject *fd)
{
    return end_watch((loop_object *)self, fd, false);
}

static PyObject *loop_remove_writer_(PyObject *self, PyObject *fd)
{
    return end_watch((loop_object *)self, fd, true);
}

static PyObject *loop_ensure_fd_no_transport(PyObject *self, PyObject *object)
{
    int fd = async__py_descriptor_number(object);
    if (fd < 0 || async__py_check_no_transport((loop_object *)self, fd, object) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *public_add(PyObject *object, PyObject *const *args, Py_ssize_t count, bool writing)
{
    loop_object *self = (loop_object *)object;

    if (async__py_check_count(count, 2, "add_reader(fd, callback, *args)") < 0) return NULL;
    int fd = async__py_descriptor_number(args[0]);
    if (fd < 0 || async__py_check_no_transport(self, fd, args[0]) < 0) return NULL;
    PyObject *handle = add_watch(self, args, count, NULL, writing);
    if (!handle) return NULL;
    Py_DECREF(handle);
    Py_RETURN_NONE;
}

static PyObject *public_remove(PyObject *object, PyObject *number, bool writing)
{
    loop_object *self = (loop_object *)object;
    int fd = async__py_watched_number(self, number);

    if (fd < 0) return NULL;
    /* The number of an object that was closed may be a transport's by now. */
    bool own = async__py_watched_object(self, fd, writing) == number;
    if (!own && async__py_check_no_transport(self, fd, number) < 0) return NULL;
    return end_watch(self, number, writing);
}

static PyObject *loop_add_reader(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return public_add(self, args, count, false);
}

static PyObject *loop_add_writer(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return public_add(self, args, count, true);
}

static PyObject *loop_remove_reader(PyObject *self, PyObject *fd)
{
    return public_remove(self, fd, false);
}

static PyObject *loop_remove_writer(PyObject *self, PyObject *fd)
{
    return public_remove(self, fd, true);
}

/* What watches a descriptor, and its number: (number, handle of the reader, of the writer). */
static PyObject *loop_watched(PyObject *object, PyObject *number)
{
    async__py_loop *self = (async__py_loop *)object;
    int fd = async__py_watched_number(self, number);

    if (fd < 0) return NULL;
    PyObject *reader = async__py_watching(self, fd, false);
    PyObject *writer = async__py_watching(self, fd, true);
    return Py_BuildValue("(iOO)", fd, reader ? reader : Py_None, writer ? writer : Py_None);
}

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef methods[] = {
    {"add_reader", FAST(loop_add_reader), METH_FASTCALL,
     "add_reader($self, fd, callback, /, *args)\n--\n\n"
     "Has the callback run whenever the descriptor can be read from."},
    {"add_writer", FAST(loop_add_writer), METH_FASTCALL,
     "add_writer($self, fd, callback, /, *args)\n--\n\n"
     "Has the callback run whenever the descriptor can be written to."},
    {"remove_reader", loop_remove_reader, METH_O, "Ends add_reader(); says whether there was one."},
    {"remove_writer", loop_remove_writer, METH_O, "Ends add_writer(); says whether there was one."},
    {"_add_reader", FAST(loop_add_reader_), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_add_writer", FAST(loop_add_writer_), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_remove_reader", loop_remove_reader_, METH_O, NULL},
    {"_remove_writer", loop_remove_writer_, METH_O, NULL},
    {"_ensure_fd_no_transport", loop_ensure_fd_no_transport, METH_O, NULL},
    {"_watched", loop_watched, METH_O, NULL},
    {0},
};

int async__py_add_loop_descriptors(PyObject *module)
{
    (void)module;
    return async__py_add_loop_methods(methods);
}
