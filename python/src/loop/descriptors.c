/* descriptors.c - what the loop knows of descriptors: who watches them, and which transport has
 * them.
 *
 * add_reader and add_writer are for descriptors of the user's own, who may close them without a
 * word; so their watches are foreign ones (casyncio/loop.h). A transport's descriptor is refused to
 * them. */
#include "descriptors.h"
#include "handle.h"

#include <errno.h>
#include <stddef.h>

typedef async__py_loop loop_object;

enum direction { READ, WRITE };

/* Of a handle, or of an owner that waits for one event: then `ready` tells it. */
struct watch {
    async_watch watch;
    loop_object *loop;
    PyObject *handle;
    PyObject *object; /* that was given for the descriptor, to find it when it is closed; or NULL */
    bool (*ready)(PyObject *owner);
};

struct async__py_descriptor {
    struct watch watch[2];
    PyObject *transport; /* not owned */
};

static PyObject *name_is_closing, *name_sock, *name_fileno;

/* ---- descriptors ---- */

int async__py_descriptor_number(PyObject *object)
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

static struct watch *find_watch(loop_object *self, int fd, bool writing)
{
    struct async__py_descriptor *descriptor = find_descriptor(self, fd);
    return descriptor ? &descriptor->watch[writing ? WRITE : READ] : NULL;
}

int async__py_watched_number(async__py_loop *self, PyObject *object)
{
    int fd = async__py_descriptor_number(object);
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

/* What `ready` runs may end the wait, or put another in its place. */
static void owner_ready(loop_object *self, struct watch *watch)
{
    PyObject *owner = Py_NewRef(watch->handle);

    if (!watch->ready(owner) && watch->handle == owner) remove_watch(self, watch);
    Py_DECREF(owner);
}

static void watch_ready(async_callback *callback)
{
    struct watch *watch = async__container(callback, struct watch, watch.callback);
    loop_object *self = watch->loop;
    PyObject *handle = watch->handle;

    if (!handle) return;
    if (watch->ready) {
        owner_ready(self, watch);
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

/* The user's own descriptor, so he may close it without a word to us. A watch that is there already
 * belongs to another descriptor, perhaps, that had the number: it is replaced. Takes a reference to
 * the object. */
static int set_watch(loop_object *self, int fd, enum direction direction, PyObject *given,
                     PyObject *object, const struct async__py_wait *wait)
{
    struct async__py_descriptor *descriptor = make_descriptor(self, fd);
    if (!descriptor) return -1;
    struct watch *watch = &descriptor->watch[direction];
    bool had_owner = watch->ready;
    PyObject *old_object = watch->object, *old = take_watch(self, watch);

    watch->object = NULL;
    watch->loop = self;
    watch->ready = wait ? wait->ready : NULL;
    watch->watch.callback.run = watch_ready;
    watch->watch.foreign = true;
    watch->watch.once = wait && !wait->again;
    int code = direction == READ ? async_add_reader(self->engine, fd, &watch->watch)
                                 : async_add_writer(self->engine, fd, &watch->watch);
    if (code == 0 && watch->watch.once && !watch->watch.armed) {
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

int async__py_watch_fd(async__py_loop *self, int fd, bool writing, PyObject *given,
                       PyObject *handle)
{
    return set_watch(self, fd, writing ? WRITE : READ, given, handle, NULL);
}

bool async__py_unwatch_fd(async__py_loop *self, int fd, bool writing)
{
    struct watch *watch = find_watch(self, fd, writing);
    return watch && remove_watch(self, watch);
}

PyObject *async__py_watching(async__py_loop *self, int fd, bool writing)
{
    struct watch *watch = find_watch(self, fd, writing);
    return watch ? watch->handle : NULL;
}

PyObject *async__py_watched_object(async__py_loop *self, int fd, bool writing)
{
    struct watch *watch = find_watch(self, fd, writing);
    return watch ? watch->object : NULL;
}

int async__py_wait_fd(async__py_loop *self, PyObject *owner, const struct async__py_wait *wait)
{
    if (async__py_check_open(self) < 0) return -1;
    struct watch *watch = find_watch(self, wait->fd, wait->writing);
    if (wait->again && watch && watch->handle == owner && watch->watch.armed) {
        if (!wait->writing) async_watch_not_ready(self->engine, &watch->watch);
        return 0;
    }
    return set_watch(self, wait->fd, wait->writing ? WRITE : READ, NULL, owner, wait);
}

void async__py_wait_end(async__py_loop *self, int fd, bool writing, PyObject *owner)
{
    struct watch *watch = find_watch(self, fd, writing);

    if (watch && watch->handle == owner) remove_watch(self, watch);
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

int async__py_add_descriptors(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_is_closing, "is_closing"}, {&name_sock, "_sock"}, {&name_fileno, "fileno"}, {0}};

    (void)module;
    return async__py_intern(names);
}
