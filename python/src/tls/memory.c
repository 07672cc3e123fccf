/* memory.c - the memory that all TLS connections of a loop receive into.
 *
 * Where asyncio's SSLProtocol gives each connection 256 KiB, the connections of a loop share one
 * such piece here, kept as an attribute of the loop: what lies in it is copied before anything else
 * runs. */
#include "connection.h"

/* A type of its own: a bytearray could be made shorter by a program that finds it. */
struct memory {
    PyObject_HEAD char data[ASYNC__PY_TLS_MEMORY];
};

static PyTypeObject *memory_type;

static int memory_getbuffer(struct memory *self, Py_buffer *view, int flags)
{
    return PyBuffer_FillInfo(view, (PyObject *)self, self->data, sizeof self->data, 0, flags);
}

static void memory_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_Free(self);
    Py_DECREF(type);
}

static PyType_Slot memory_slots[] = {
    {Py_bf_getbuffer, memory_getbuffer},
    {Py_tp_dealloc, memory_dealloc},
    {0, NULL},
};

static PyType_Spec memory_spec = {
    .name = "casyncio._casyncio._TLSMemory",
    .basicsize = sizeof(struct memory),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = memory_slots,
};

/* The memory of the loop, which is made at its first connection. A loop that takes no attributes
 * has none: then the connection has its own. What lies in it is never read before it is written, so
 * it is not cleared: what nobody uses is no memory. */
static PyObject *loop_memory(PyObject *loop)
{
    PyObject *memory = PyObject_GetAttr(loop, async__py_tls_names.memory);

    if (memory && Py_IS_TYPE(memory, memory_type)) return memory;
    PyErr_Clear();
    Py_XDECREF(memory);
    memory = (PyObject *)PyObject_New(struct memory, memory_type);
    if (memory && PyObject_SetAttr(loop, async__py_tls_names.memory, memory) < 0) PyErr_Clear();
    return memory;
}

int async__py_tls_take_memory(async__py_tls *self)
{
    self->storage = loop_memory(self->loop);
    if (!self->storage) return -1;
    self->memory = ((struct memory *)self->storage)->data;
    return 0;
}

int async__py_add_tls_memory(PyObject *module)
{
    memory_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &memory_spec, NULL);
    return memory_type ? 0 : -1;
}
