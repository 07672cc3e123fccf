/* descriptors.c - what the loop knows of descriptors: who watches them, and which transport has
 * them.
 *
 * add_reader and add_writer are for descriptors of the user's own, who may close them without a
 * word; so their watches are foreign ones (casyncio/loop.h). A transport's descriptor is refused to
 * them. */
#include "../base/face.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>

typedef async__py_loop loop_object;

enum direction { READ, WRITE };

/* Of a handle, or of somebody who waits for one event: then `ready` is what tells him. */
struct watch {
    async_watch watch;
    loop_object *loop;
    PyObject *handle;
    PyObject *object; /* that was given for the descriptor, to find it when it is closed; or NULL */
    void (*ready)(PyObject *owner);
};

struct async__py_descriptor {
    struct watch watch[2];
    PyObject *transport; /* not owned */
};

static PyObject *name_is_closing, *name_sock, *name_fileno;

/* ---- descriptors ---- */

/* A descriptor as add_reader and the like take it: a number, or an object with fileno(). -1 and
 * ValueError. */
static int number_of(PyObject *object)
{
    int fd = PyObject_AsFileDescriptor(object);

    if (fd < 0 &&
        (PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_ValueError) ||
         PyErr_ExceptionMatches(PyExc_AttributeError)))
        PyErr_Format(PyExc_ValueError, "Invalid file object: %R", object);
    return fd;
}

static struct async__py_descriptor *find_descriptor(loop_object *self, int fd)
{
    return fd >= 0 && fd < self->descriptors_length ? self->descriptors[fd] : NULL;
}

/* The same for what is watched already: an object that was closed meanwhile has no number any more,
 * but had one when it was given. asyncio finds it, too. */
static int number_of_watched(loop_object *self, PyObject *object)
{
    int fd = number_of(object);
    if (fd >= 0 || PyLong_Check(object) || !PyErr_ExceptionMatches(PyExc_ValueError)) return fd;

    for (int i = 0; i < self->descriptors_length; i++) {
        struct async__py_descriptor *each = self->descriptors[i];
        if (!each || (each->watch[READ].object != object && each->watch[WRITE].object != object))
            continue;
        PyErr_Clear();
        return i;
    }
    return -1;
}

static struct async__py_descriptor *make_descriptor(loop_object *self, int fd)
{
    if (fd >= self->descriptors_length) {
        int length = self->descriptors_length ? self->descriptors_length : 32;
        while (length <= fd)
            length *= 2;
        struct async__py_descriptor **table =
            PyMem_Realloc(self->descriptors, (size_t)length * sizeof *table);
        if (!table) goto no_memory;
        memset(table + self->descriptors_length, 0,
               (size_t)(length - self->descriptors_length) * sizeof *table);
        self->descriptors = table;
        self->descriptors_length = length;
    }
    if (!self->descriptors[fd]) self->descriptors[fd] = PyMem_Calloc(1, sizeof **self->descriptors);
    if (self->descriptors[fd]) return self->descriptors[fd];
no_memory:
    PyErr_NoMemory();
    return NULL;
}

/* Ends the watch. The handle or the owner that it had, which the caller has to drop; or NULL. */
static PyObject *take_watch(loop_object *self, struct watch *watch)
{
    PyObject *handle = watch->handle;

    if (self->engine) async_remove_watch(self->engine, &watch->watch);
    watch->handle = NULL;
    return handle;
}

/* This may run any code, such as a finalizer that closes the loop or watches the descriptor again:
 * so it comes last. */
static void drop(PyObject *handle, bool is_owner)
{
    if (!is_owner) async__py_handle_cancel(handle);
    Py_DECREF(handle);
}

static bool remove_watch(loop_object *self, struct watch *watch)
{
    bool is_owner = watch->ready;
    PyObject *object = watch->object, *handle = take_watch(self, watch);

    watch->object = NULL;
    if (handle) drop(handle, is_owner);
    Py_XDECREF(object);
    return handle;
}

static void owner_ready(struct watch *watch)
{
    PyObject *owner = watch->handle;

    watch->handle = NULL;
    watch->ready(owner);
    Py_DECREF(owner);
}

static void watch_ready(async_callback *callback)
{
    struct watch *watch = async__container(callback, struct watch, watch.callback);
    loop_object *self = watch->loop;
    PyObject *handle = watch->handle;

    if (!handle) return;
    if (watch->ready) {
        owner_ready(watch);
        return;
    }
    if (async__py_handle_cancelled(handle)) {
        remove_watch(self, watch);
        return;
    }
    Py_INCREF(handle);
    async__py_handle_run(self, handle);
    Py_DECREF(handle);
}

/* epoll knows no regular files, and so asyncio refuses them. */
static int refuse_files(int fd)
{
    struct stat status;

    if (fstat(fd, &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) return 0;
    async__py_set_oserror(-(fcntl(fd, F_GETFD) < 0 ? EBADF : EPERM));
    return -1;
}

/* The user's own descriptor, so he may close it without a word to us. A watch that is there already
 * belongs to another descriptor, perhaps, that had the number: it is replaced. Takes a reference to
 * the object. */
static int set_watch(loop_object *self, int fd, enum direction direction, PyObject *given,
                     PyObject *object, void (*ready)(PyObject *owner))
{
    struct async__py_descriptor *descriptor = make_descriptor(self, fd);
    if (!descriptor) return -1;
    struct watch *watch = &descriptor->watch[direction];
    bool had_owner = watch->ready;
    PyObject *old_object = watch->object, *old = take_watch(self, watch);

    watch->object = NULL;
    watch->loop = self;
    watch->ready = ready;
    watch->watch.callback.run = watch_ready;
    watch->watch.foreign = true;
    watch->watch.once = ready != NULL;
    int code = direction == READ ? async_add_reader(self->engine, fd, &watch->watch)
                                 : async_add_writer(self->engine, fd, &watch->watch);
    if (code == 0 && ready && !watch->watch.armed) {
        async_remove_watch(self->engine, &watch->watch);
        code = -EPERM; /* it is a file, always ready: epoll's word for that */
    }
    if (code == 0) {
        watch->handle = Py_NewRef(object);
        watch->object = given && !PyLong_Check(given) ? Py_NewRef(given) : NULL;
    }
    if (old) drop(old, had_owner);
    Py_XDECREF(old_object);
    if (code == 0) return 0;
    async__py_set_oserror(code);
    return -1;
}

int async__py_wait_fd(async__py_loop *self, int fd, bool writing, PyObject *owner,
                      void (*ready)(PyObject *owner))
{
    return async__py_check_open(self) < 0
               ? -1
               : set_watch(self, fd, writing ? WRITE : READ, NULL, owner, ready);
}

void async__py_wait_end(async__py_loop *self, int fd, bool writing, PyObject *owner)
{
    struct async__py_descriptor *descriptor = find_descriptor(self, fd);

    if (descriptor && descriptor->watch[writing ? WRITE : READ].handle == owner)
        remove_watch(self, &descriptor->watch[writing ? WRITE : READ]);
}

/* _add_reader and _add_writer. The new handle. */
static PyObject *add_watch(loop_object *self, PyObject *const *args, Py_ssize_t count,
                           PyObject *names, enum direction direction)
{
    PyObject *context;

    if (async__py_check_count(count, 2, "add_reader(fd, callback, *args)") < 0 ||
        async__py_take_context(args, count, names, &context) < 0 || async__py_check_open(self) < 0)
        return NULL;
    int fd = number_of(args[0]);
    if (fd < 0 || refuse_files(fd) < 0) return NULL;
    PyObject *handle = async__py_handle_new(self, args[1], args + 2, count - 2, context);
    if (handle && async__py_check_open(self) < 0) Py_CLEAR(handle); /* it was closed meanwhile */
    if (handle && set_watch(self, fd, direction, args[0], handle, NULL) < 0) Py_CLEAR(handle);
    return handle;
}

static PyObject *end_watch(loop_object *self, PyObject *number, enum direction direction)
{
    if (!self->engine) Py_RETURN_FALSE;
    int fd = number_of_watched(self, number);
    if (fd < 0) return NULL;
    struct async__py_descriptor *descriptor = find_descriptor(self, fd);
    return PyBool_FromLong(descriptor && remove_watch(self, &descriptor->watch[direction]));
}

static PyObject *loop_add_reader_(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                  PyObject *names)
{
    return add_watch((loop_object *)self, args, count, names, READ);
}

static PyObject *loop_add_writer_(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                  PyObject *names)
{
    return add_watch((loop_object *)self, args, count, names, WRITE);
}

static PyObject *loop_remove_reader_(PyObject *self, PyObject *fd)
{
    return end_watch((loop_object *)self, fd, READ);
}

static PyObject *loop_remove_writer_(PyObject *self, PyObject *fd)
{
    return end_watch((loop_object *)self, fd, WRITE);
}

int async__py_set_transport(async__py_loop *self, int fd, PyObject *transport)
{
    struct async__py_descriptor *descriptor =
        transport ? make_descriptor(self, fd) : find_descriptor(self, fd);

    if (descriptor) descriptor->transport = transport;
    if (descriptor && transport) {
        /* They were the number's, which is the transport's now. */
        remove_watch(self, &descriptor->watch[READ]);
        remove_watch(self, &descriptor->watch[WRITE]);
    }
    return descriptor || !transport ? 0 : -1;
}

bool async__py_end_transport(async__py_loop *self, int fd, PyObject *transport)
{
    struct async__py_descriptor *descriptor = find_descriptor(self, fd);

    if (!descriptor || !descriptor->transport) return true;
    if (descriptor->transport != transport) return false;
    descriptor->transport = NULL;
    return true;
}

/* The transport's socket was closed without a word to it. So does the collector of another thread
 * begin with a transport that nobody has closed: the socket is finalised, and the number another
 * one's, before the transport itself has its turn. */
static bool lost_its_socket(PyObject *transport, int fd)
{
    PyObject *sock = PyObject_GetAttr(transport, name_sock);
    PyObject *number = sock ? PyObject_CallMethodNoArgs(sock, name_fileno) : NULL;
    bool lost = number && PyLong_Check(number) && PyLong_AsLong(number) != fd;

    Py_XDECREF(number);
    Py_XDECREF(sock);
    PyErr_Clear();
    return lost;
}

int async__py_check_no_transport(async__py_loop *self, int fd, PyObject *sock)
{
    struct async__py_descriptor *descriptor = find_descriptor(self, fd);
    if (!descriptor || !descriptor->transport) return 0;

    PyObject *transport = Py_NewRef(descriptor->transport);
    PyObject *closing = PyObject_CallMethodNoArgs(transport, name_is_closing);
    int is_closing = closing ? PyObject_IsTrue(closing) : -1;
    Py_XDECREF(closing);
    if (is_closing == 0 && lost_its_socket(transport, fd)) is_closing = 1;
    if (is_closing == 0)
        PyErr_Format(PyExc_RuntimeError, "File descriptor %R is used by transport %R", sock,
                     transport);
    Py_DECREF(transport);
    return is_closing == 1 ? 0 : -1;
}

static PyObject *loop_ensure_fd_no_transport(PyObject *self, PyObject *object)
{
    int fd = number_of(object);
    if (fd < 0 || async__py_check_no_transport((loop_object *)self, fd, object) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *public_add(PyObject *object, PyObject *const *args, Py_ssize_t count,
                            enum direction direction)
{
    loop_object *self = (loop_object *)object;

    if (async__py_check_count(count, 2, "add_reader(fd, callback, *args)") < 0) return NULL;
    int fd = number_of(args[0]);
    if (fd < 0 || async__py_check_no_transport(self, fd, args[0]) < 0) return NULL;
    PyObject *handle = add_watch(self, args, count, NULL, direction);
    if (!handle) return NULL;
    Py_DECREF(handle);
    Py_RETURN_NONE;
}

static PyObject *public_remove(PyObject *object, PyObject *number, enum direction direction)
{
    loop_object *self = (loop_object *)object;
    int fd = number_of_watched(self, number);

    if (fd < 0) return NULL;
    /* The number of an object that was closed may be a transport's by now. */
    struct async__py_descriptor *descriptor = find_descriptor(self, fd);
    bool own = descriptor && descriptor->watch[direction].object == number;
    if (!own && async__py_check_no_transport(self, fd, number) < 0) return NULL;
    return end_watch(self, number, direction);
}

static PyObject *loop_add_reader(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return public_add(self, args, count, READ);
}

static PyObject *loop_add_writer(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return public_add(self, args, count, WRITE);
}

static PyObject *loop_remove_reader(PyObject *self, PyObject *fd)
{
    return public_remove(self, fd, READ);
}

static PyObject *loop_remove_writer(PyObject *self, PyObject *fd)
{
    return public_remove(self, fd, WRITE);
}

/* What watches a descriptor, and its number: (number, handle of the reader, of the writer). */
static PyObject *loop_watched(PyObject *object, PyObject *number)
{
    struct async__py_descriptor *descriptor;
    int fd = number_of_watched((loop_object *)object, number);

    if (fd < 0) return NULL;
    descriptor = find_descriptor((loop_object *)object, fd);
    PyObject *reader = descriptor ? descriptor->watch[READ].handle : NULL;
    PyObject *writer = descriptor ? descriptor->watch[WRITE].handle : NULL;
    return Py_BuildValue("(iOO)", fd, reader ? reader : Py_None, writer ? writer : Py_None);
}

void async__py_close_descriptors(async__py_loop *self)
{
    for (int fd = 0; fd < self->descriptors_length; fd++) {
        if (!self->descriptors[fd]) continue;
        remove_watch(self, &self->descriptors[fd]->watch[READ]);
        remove_watch(self, &self->descriptors[fd]->watch[WRITE]);
    }
}

int async__py_visit_descriptors(async__py_loop *self, visitproc visit, void *arg)
{
    for (int fd = 0; fd < self->descriptors_length; fd++) {
        if (!self->descriptors[fd]) continue;
        for (int i = READ; i <= WRITE; i++) {
            Py_VISIT(self->descriptors[fd]->watch[i].handle);
            Py_VISIT(self->descriptors[fd]->watch[i].object);
        }
    }
    return 0;
}

void async__py_free_descriptors(async__py_loop *self)
{
    for (int fd = 0; fd < self->descriptors_length; fd++)
        PyMem_Free(self->descriptors[fd]);
    PyMem_Free(self->descriptors);
}

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

PyMethodDef async__py_descriptor_methods[] = {
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

int async__py_add_descriptors(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_is_closing, "is_closing"}, {&name_sock, "_sock"}, {&name_fileno, "fileno"}, {0}};

    (void)module;
    return async__py_intern(names);
}
