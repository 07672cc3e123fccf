/* module.c - the extension module casyncio._casyncio: its making.
 *
 * Its types and constants are kept in static variables, so that a file reaches them without asking
 * the module. That is why there is one module in a process: a second interpreter is refused, since
 * objects of one must not be seen by another; a second import of the same name (sys.modules was
 * emptied) gives the module that is there; and when the interpreter that had it is finished and a
 * new one begun, it is refused too, for its objects are gone. */
#include "base/coroutine.h"
#include "loop/clock.h"
#include "loop/descriptors.h"
#include "loop/handle.h"
#include "loop/loop_type.h"
#include "loop/socket.h"
#include "streams/stream.h"
#include "sync/mixins.h"
#include "tls/tls.h"
#include "transport/datagram.h"
#include "transport/transport.h"

/* In the order in which they are added: each after what it needs. */
static int (*const parts[])(PyObject *) = {
    async__py_add_arguments,
    async__py_add_coroutine,
    async__py_add_transport_base,
    async__py_add_report,
    async__py_add_clock,
    async__py_add_handle,
    async__py_add_descriptors,
    async__py_add_socket,
    async__py_add_loop,
    async__py_add_loop_schedule,
    async__py_add_loop_descriptors,
    async__py_add_loop_watchdog,
    async__py_add_loop_run,
    async__py_add_loop_tasks,
    async__py_add_loop_sock,
    async__py_add_loop_names,
    async__py_add_mixins,
    async__py_add_lock,
    async__py_add_event,
    async__py_add_semaphore,
    async__py_add_condition,
    async__py_add_queue,
    async__py_add_timeout,
    async__py_add_stream_base,
    async__py_add_stream_reader,
    async__py_add_stream_flow,
    async__py_add_stream_protocol,
    async__py_add_stream_writer,
    async__py_add_tls,
    async__py_add_endpoint,
    async__py_add_clients,
    async__py_add_transport,
    async__py_add_datagram,
    async__py_add_loop_accept,
    async__py_add_tasks_layout,
};

static PyObject *the_module;
static bool filled, finished;

static void finish(void) { finished = true; }

static PyObject *create(PyObject *spec, PyModuleDef *definition)
{
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "casyncio cannot be used in a sub-interpreter: "
                                           "it works in a process's main interpreter only");
        return NULL;
    }
    if (finished) {
        PyErr_SetString(PyExc_ImportError, "casyncio cannot be used again after Py_Finalize()");
        return NULL;
    }
    if (!the_module) {
        if (Py_AtExit(finish) < 0) {
            PyErr_SetString(PyExc_ImportError, "casyncio: Py_AtExit() has no room left");
            return NULL;
        }
        PyObject *name = PyObject_GetAttrString(spec, "name");
        if (!name) return NULL;
        the_module = PyModule_NewObject(name);
        Py_DECREF(name);
    }
    return Py_XNewRef(the_module);
}

static int fill(PyObject *module)
{
    if (filled) return 0;
    if (PyModule_AddStringConstant(module, "__version__", ASYNC_VERSION) < 0) return -1;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i](module) < 0) return -1;
    }
    filled = true;
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_create, create},
    {Py_mod_exec, fill},
#ifdef Py_mod_multiple_interpreters /* 3.12 */
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#ifdef Py_mod_gil /* 3.13; what is shared between threads has locks of its own (face.h) */
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "casyncio._casyncio",
    .m_doc = "What of casyncio is written in C.",
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__casyncio(void) { return PyModuleDef_Init(&definition); }
