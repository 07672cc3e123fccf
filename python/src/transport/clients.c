/* clients.c - the connections of a server: what server._clients is.
 *
 * A ring through the transports, which leave it as they are released. It owns none of them, so that
 * one that is abandoned is still found to be; asyncio has a weak set for that, which takes longer
 * than the rest of what a server does for a connection. */
#include "endpoint.h"

typedef struct {
    PyObject_HEAD async__py_client ring;
    Py_ssize_t count; /* of those in the ring */
} clients;

static PyTypeObject *type;
static PyObject *name_clients;

int async__py_client_attach(async__py_client *client, PyObject *transport, PyObject *server)
{
    PyObject *object = PyObject_GetAttr(server, name_clients);

    if (!object && !PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
    PyErr_Clear();
    if (!object || !Py_IS_TYPE(object, type)) {
        Py_XDECREF(object);
        return 0;
    }
    clients *self = (clients *)object;
    *client = (async__py_client){&self->ring, self->ring.prev, transport, object};
    client->prev->next = client;
    self->ring.prev = client;
    self->count++;
    return 1;
}

bool async__py_client_detach(async__py_client *client)
{
    clients *self = (clients *)client->clients;

    client->prev->next = client->next;
    client->next->prev = client->prev;
    client->clients = NULL;
    bool last = --self->count == 0;
    Py_DECREF((PyObject *)self);
    return last;
}

/* ---- the type: a collection that can be counted and gone through ---- */

static PyObject *clients_new(PyTypeObject *subtype, PyObject *args, PyObject *keywords)
{
    static char *names[] = {NULL};

    if (!PyArg_ParseTupleAndKeywords(args, keywords, ":Clients", names)) return NULL;
    clients *self = (clients *)subtype->tp_alloc(subtype, 0);
    if (self) self->ring.next = self->ring.prev = &self->ring;
    return (PyObject *)self;
}

/* Each client has a reference: there are none any more. */
static void clients_dealloc(PyObject *self)
{
    PyTypeObject *own = Py_TYPE(self);

    own->tp_free(self);
    Py_DECREF(own);
}

static Py_ssize_t clients_length(PyObject *self) { return ((clients *)self)->count; }

/* Through a copy, since those that are closed meanwhile leave the ring. */
static PyObject *clients_iter(PyObject *object)
{
    clients *self = (clients *)object;
    PyObject *list = NULL, *iterator = NULL;
    Py_ssize_t count = 0;

    /* To make the list may collect garbage, and so transports. */
    do
        Py_XSETREF(list, PyList_New(count = self->count));
    while (list && count != self->count);
    async__py_client *each = self->ring.next;
    for (Py_ssize_t i = 0; list && i < count; i++, each = each->next)
        PyList_SET_ITEM(list, i, Py_NewRef(each->transport));
    if (list) iterator = PyObject_GetIter(list);
    Py_XDECREF(list);
    return iterator;
}

static PyType_Slot slots[] = {
    {Py_tp_new, clients_new},
    {Py_tp_dealloc, clients_dealloc},
    {Py_tp_iter, clients_iter},
    {Py_sq_length, clients_length},
    {0},
};

static PyType_Spec spec = {
    .name = "casyncio._casyncio.Clients",
    .basicsize = sizeof(clients),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

int async__py_add_clients(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_clients, "_clients"},
        {0},
    };

    if (async__py_intern(names) < 0) return -1;
    type = async__py_add_type(module, &spec, NULL);
    return type ? 0 : -1;
}
