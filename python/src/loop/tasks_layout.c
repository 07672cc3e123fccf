/* tasks_layout.c - see tasks_layout.h.
 *
 * The objects are described by the interpreter's own headers, but for asyncio's tasks, which have none. Of
 * these three getters tell where they read: in a task that was never initialised there is one object in one
 * place, and another everywhere else. It is untracked meanwhile: a collector must not see it so. */
#include "../base/coroutine.h"
#include "loop_type.h"
#include "tasks_layout.h"

#include <string.h>

#if PY_VERSION_HEX < 0x030E0000
#define Py_BUILD_CORE 1
#undef _PyGC_FINALIZED /* the core's own headers have another of that name */
#include <internal/pycore_frame.h>
#include <internal/pycore_interp.h>
#undef Py_BUILD_CORE

#define GENERATOR(member) offsetof(PyGenObject, gi_##member)
#define FRAME(member) offsetof(struct _PyInterpreterFrame, member)
#define CODE(member) offsetof(PyCodeObject, co_##member)
#define OWN(member) offsetof(struct async__py_coroutine, member)
#endif

extern struct async__python_layout async__python_layout;
struct async__python_layout async__python_layout __attribute__((used)) = {
    .magic = ASYNC__PYTHON_LAYOUT_MAGIC,
    .version = ASYNC__PYTHON_LAYOUT_VERSION,
    .size = sizeof(struct async__python_layout),
    .python = PY_VERSION_HEX,
#if PY_VERSION_HEX < 0x030E0000
    .own =
        {
            .kind = OWN(kind),
            .qualname = offsetof(struct async__py_coroutine_kind, qualname),
            .awaited = OWN(awaited),
            .state = OWN(state),
        },
    .type = offsetof(PyObject, ob_type),
    .set =
        {
            .table = offsetof(PySetObject, table),
            .mask = offsetof(PySetObject, mask),
            .entry_size = sizeof(setentry),
            .key = offsetof(setentry, key),
        },
    .referent = offsetof(PyWeakReference, wr_object),
    .generator =
        {
            .frame = GENERATOR(iframe),
            .state = GENERATOR(frame_state),
#if PY_VERSION_HEX >= 0x030D0000
            .awaits = FRAME_SUSPENDED_YIELD_FROM,
#else
            .awaits = FRAME_SUSPENDED,
#endif
            .runs = FRAME_EXECUTING,
            .done = FRAME_COMPLETED,
        },
    .frame =
        {
#if PY_VERSION_HEX >= 0x030D0000
            .code = FRAME(f_executable),
            .instruction = FRAME(instr_ptr),
#else
            .code = FRAME(f_code),
            .instruction = FRAME(prev_instr),
#endif
            .previous = FRAME(previous),
            .stack = FRAME(localsplus),
            .stack_top = FRAME(stacktop),
            .owner = FRAME(owner),
#if PY_VERSION_HEX >= 0x030C0000
            .no_owner = FRAME_OWNED_BY_CSTACK,
#else
            .no_owner = 255,
#endif
        },
    .code =
        {
            .name = CODE(qualname),
            .file = CODE(filename),
            .line = CODE(firstlineno),
            .lines = CODE(linetable),
            .instructions = CODE(code_adaptive),
        },
    .text =
        {
            .length = offsetof(PyASCIIObject, length),
            .state = offsetof(PyASCIIObject, state),
            .ascii = sizeof(PyASCIIObject),
            .compact = sizeof(PyCompactUnicodeObject),
        },
    .bytes = {.size = offsetof(PyVarObject, ob_size), .data = offsetof(PyBytesObject, ob_sval)},
    .integer =
        {
#if PY_VERSION_HEX >= 0x030C0000
            .size = offsetof(PyLongObject, long_value.lv_tag),
            .size_shift = _PyLong_NON_SIZE_BITS,
            .digits = offsetof(PyLongObject, long_value.ob_digit),
#else
            .size = offsetof(PyVarObject, ob_size),
            .digits = offsetof(PyLongObject, ob_digit),
#endif
            .bits = PyLong_SHIFT,
        },
    .thread =
        {
            .first = offsetof(PyInterpreterState, threads.head),
            .next = offsetof(PyThreadState, next),
#if PY_VERSION_HEX >= 0x030D0000
            .frame = offsetof(PyThreadState, current_frame),
#else
            .frame = offsetof(PyThreadState, cframe),
            .indirect = 1,
            .current = offsetof(_PyCFrame, current_frame),
#endif
        },
#endif
};

/* As in src/loop/layout.c. */
__asm__(
    ".pushsection .note.casyncio, \"a\", %note\n"
    ".balign 4\n"
    ".long 9, 8, 2\n" /* the lengths of the name and of what follows it, ASYNC__PYTHON_LAYOUT_NOTE_TYPE */
    ".asciz \"casyncio\"\n"
    ".balign 4\n"
    ".quad async__python_layout - .\n"
    ".popsection\n");

#if PY_VERSION_HEX < 0x030E0000

/* What can only be told at run time. */
static PyObject *all_tasks; /* kept, as its address has been told */

static void describe_texts(void)
{
    PyASCIIObject text;
    uint32_t *state = (void *)&text.state;

    memset(&text, 0, sizeof text); /* bits have no offset, but a value */
    text.state.kind = 7;
    async__python_layout.text.kind = *state;
    text.state.kind = 0;
    text.state.ascii = 1;
    async__python_layout.text.is_ascii = *state;
    text.state.ascii = 0;
    text.state.compact = 1;
    async__python_layout.text.is_compact = *state;
    async__python_layout.text.kind_shift = (uint32_t)__builtin_ctz(async__python_layout.text.kind);
}

/* Puts an object into each place of the task but those of its dict and its weak references. */
static void fill(PyObject *task, PyObject *object)
{
    const PyTypeObject *type = Py_TYPE(task);

    for (Py_ssize_t at = sizeof *task; at + (Py_ssize_t)sizeof object <= type->tp_basicsize;
         at += sizeof object) {
        if (at == type->tp_dictoffset || at == type->tp_weaklistoffset) continue;
        *(PyObject **)((char *)task + at) = object;
    }
}

/* Whether the attribute, or method without arguments, of the task gives that very object. */
static bool gives(PyObject *task, const char *name, PyObject *object)
{
    PyObject *got = name[0] == '_' ? PyObject_GetAttrString(task, name)
                                   : async__py_call_method(task, name, NULL);

    if (!got) PyErr_Clear();
    Py_XDECREF(got);
    return got == object;
}

/* The offset that it reads; 0, if there is not just one. */
static uint32_t place_of(PyObject *task, const char *name)
{
    const PyTypeObject *type = Py_TYPE(task);
    PyObject *probe = PyUnicode_FromString("probe"), *other = PyUnicode_FromString("other");
    uint32_t found = 0;
    int count = 0;

    for (Py_ssize_t at = sizeof *task;
         probe && other && at + (Py_ssize_t)sizeof probe <= type->tp_basicsize;
         at += sizeof probe) {
        if (at == type->tp_dictoffset || at == type->tp_weaklistoffset) continue;
        fill(task, other);
        *(PyObject **)((char *)task + at) = probe;
        if (gives(task, name, probe)) {
            found = (uint32_t)at;
            count++;
        }
        fill(task, NULL);
    }
    PyErr_Clear();
    Py_XDECREF(probe);
    Py_XDECREF(other);
    return count == 1 ? found : 0;
}

/* Whether tasks are what they are known to be. */
static bool describe_tasks(void)
{
    PyObject *type = async__py_import("_asyncio", "Task");
    PyObject *task = type && PyType_Check(type)
                         ? ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0)
                         : NULL;

    if (task) {
        PyObject_GC_UnTrack(task);
        async__python_layout.task.coroutine = place_of(task, "get_coro");
        async__python_layout.task.name = place_of(task, "get_name");
        async__python_layout.task.waiter = place_of(task, "_fut_waiter");
    }
    Py_XDECREF(task);
    Py_XDECREF(type);
    PyErr_Clear();
    return async__python_layout.task.coroutine && async__python_layout.task.name &&
           async__python_layout.task.waiter;
}

static bool find_tasks(void)
{
    PyObject *weak = async__py_import(
        "asyncio.tasks", PY_VERSION_HEX < 0x030C0000 ? "_all_tasks" : "_scheduled_tasks");

    all_tasks = weak ? PyObject_GetAttrString(weak, "data") : NULL;
    Py_XDECREF(weak);
    PyErr_Clear();
    return all_tasks && PyAnySet_Check(all_tasks);
}

/* What it cannot tell is no reason not to be loaded. */
int async__py_add_tasks_layout(PyObject *module)
{
    struct async__python_layout *layout = &async__python_layout;

    (void)module;
    if (!find_tasks() || !describe_tasks()) return 0;
    describe_texts();
    layout->tasks = (uintptr_t)all_tasks;
    layout->interpreter = (uintptr_t)PyInterpreterState_Get();
    layout->code_type = (uintptr_t)&PyCode_Type;
    layout->integer_type = (uintptr_t)&PyLong_Type;
    layout->generator_types[0] = (uintptr_t)&PyCoro_Type;
    layout->generator_types[1] = (uintptr_t)&PyGen_Type;
    layout->generator_types[2] = (uintptr_t)&PyAsyncGen_Type;
    layout->wrappers[0].type = (uintptr_t)&_PyAsyncGenASend_Type;
    layout->wrappers[0].inner = sizeof(PyObject);
    async__py_coroutine_layout(&layout->own.type, &layout->own.running, &layout->own.done);
    __atomic_store_n(&layout->known, 1, __ATOMIC_RELEASE);
    return 0;
}

#else

int async__py_add_tasks_layout(PyObject *module)
{
    (void)module;
    return 0;
}

#endif
