/* socket.c - which sockets are what they seem to be: their calls can be made without asking them. */
#include "socket.h"

#include <stdatomic.h>

static PyTypeObject *socket_type;
static PyObject *name_recv, *name_recv_into, *name_recvfrom, *name_recvfrom_into, *name_send;

/* Whether the class still has the methods that it was born with. Its version changes when it is
 * changed. */
static bool class_is_plain(void)
{
    static atomic_uint version;
    PyObject *const methods[] = {name_recv, name_recv_into, name_send, name_recvfrom,
                                 name_recvfrom_into};

    if (socket_type->tp_version_tag != 0 && socket_type->tp_version_tag == version) return true;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        PyObject *method = PyObject_GetAttr((PyObject *)socket_type, methods[i]);
        PyObject *original = PyObject_GetAttr((PyObject *)socket_type->tp_base, methods[i]);
        bool same = method && method == original;
        Py_XDECREF(method);
        Py_XDECREF(original);
        PyErr_Clear();
        if (!same) return false;
    }
    version = socket_type->tp_version_tag;
    return true;
}

bool async__py_is_plain_socket(PyObject *sock)
{
    return Py_TYPE(sock) == socket_type && class_is_plain();
}

int async__py_add_socket(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_recv, "recv"},         {&name_recv_into, "recv_into"},
        {&name_recvfrom, "recvfrom"}, {&name_recvfrom_into, "recvfrom_into"},
        {&name_send, "send"},         {0},
    };

    (void)module;
    socket_type = (PyTypeObject *)async__py_import("socket", "socket");
    return socket_type ? async__py_intern(names) : -1;
}
