/* transport_base.c - what all transports are derived from: asyncio's _FlowControlMixin, and its
 * arithmetic of limits. */
#include "face.h"

PyTypeObject *async__py_transport_base;
Py_ssize_t async__py_transport_base_size;

/* The base has slots only: an array of objects behind the head. */
static PyObject **slots_of(PyObject *self)
{
    return (PyObject **)((char *)self + sizeof(PyObject));
}

static Py_ssize_t slot_count(void)
{
    return (async__py_transport_base_size - (Py_ssize_t)sizeof(PyObject)) /
           (Py_ssize_t)sizeof(PyObject *);
}

int async__py_transport_base_traverse(PyObject *self, visitproc visit, void *arg)
{
    for (Py_ssize_t i = 0; i < slot_count(); i++)
        Py_VISIT(slots_of(self)[i]);
    return 0;
}

void async__py_transport_base_clear(PyObject *self)
{
    for (Py_ssize_t i = 0; i < slot_count(); i++)
        Py_CLEAR(slots_of(self)[i]);
}

/* A limit that may be None: then it stays as it is. */
static int parse_limit(PyObject *object, Py_ssize_t *limit)
{
    if (object == Py_None) return 0;
    *limit = PyNumber_AsSsize_t(object, NULL);
    return *limit == -1 && PyErr_Occurred() ? -1 : 0;
}

int async__py_parse_limits(PyObject *args, PyObject *keywords, Py_ssize_t usual,
                           struct async__py_limits *limits)
{
    static char *names[] = {"high", "low", NULL};
    PyObject *high = Py_None, *low = Py_None;
    struct async__py_limits made = {.high = usual};

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|OO", names, &high, &low) ||
        parse_limit(low, &made.low) < 0)
        return -1;
    if (low != Py_None) made.high = made.low > PY_SSIZE_T_MAX / 4 ? PY_SSIZE_T_MAX : made.low * 4;
    if (parse_limit(high, &made.high) < 0) return -1;
    if (low == Py_None) made.low = made.high / 4;
    if (made.high < made.low || made.low < 0) {
        PyErr_Format(PyExc_ValueError, "high (%zd) must be >= low (%zd) must be >= 0", made.high,
                     made.low);
        return -1;
    }
    *limits = made;
    return 0;
}

int async__py_add_transport_base(PyObject *module)
{
    PyTypeObject *base =
        (PyTypeObject *)async__py_import("asyncio.transports", "_FlowControlMixin");

    (void)module;
    if (!base) return -1;
    if (base->tp_dictoffset || base->tp_weaklistoffset) {
        PyErr_SetString(PyExc_ImportError, "casyncio: asyncio's transports have more than slots");
        return -1;
    }
    async__py_transport_base = base;
    async__py_transport_base_size = base->tp_basicsize;
    return 0;
}
