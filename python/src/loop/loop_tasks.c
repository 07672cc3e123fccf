/* loop_tasks.c - loop.create_task and loop.create_future: asyncio's own objects, made without a frame of
 * Python. */
#include "loop_type.h"

static PyObject *tasks, *futures, *name_task, *name_future, *name_loop, *name_by_factory,
    *loop_names;

/* The names of the keywords that were given, and "loop". */
static PyObject *with_loop(PyObject *names)
{
    if (!names || PyTuple_GET_SIZE(names) == 0) return Py_NewRef(loop_names);
    Py_ssize_t count = PyTuple_GET_SIZE(names);
    PyObject *all = PyTuple_New(count + 1);
    if (!all) return NULL;
    for (Py_ssize_t i = 0; i < count; i++)
        PyTuple_SET_ITEM(all, i, Py_NewRef(PyTuple_GET_ITEM(names, i)));
    PyTuple_SET_ITEM(all, count, Py_NewRef(name_loop));
    return all;
}

/* Looked up each time: a test may have put another class there, as asyncio's own do. */
static PyObject *call(PyObject *module, PyObject *class_name, PyObject *loop, PyObject *const *args,
                      Py_ssize_t count, PyObject *names)
{
    enum { MOST = 8 };
    Py_ssize_t given = count + (names ? PyTuple_GET_SIZE(names) : 0);
    PyObject *all[MOST + 1];

    if (given > MOST) {
        PyErr_Format(PyExc_TypeError, "%U: too many arguments", class_name);
        return NULL;
    }
    PyObject *class = PyObject_GetAttr(module, class_name), *all_names = with_loop(names),
             *made = NULL;
    if (given) memcpy(all, args, (size_t)given * sizeof *all);
    all[given] = loop;
    if (class && all_names) made = PyObject_Vectorcall(class, all, (size_t)count, all_names);
    Py_XDECREF(class);
    Py_XDECREF(all_names);
    return made;
}

static PyObject *make_task(async__py_loop *loop, PyObject *const *args, Py_ssize_t count,
                           PyObject *names)
{
    if (!loop->task_factory || loop->task_factory == Py_None)
        return call(tasks, name_task, (PyObject *)loop, args, count, names);
    PyObject *method = PyObject_GetAttr((PyObject *)loop, name_by_factory);
    PyObject *task = method ? PyObject_Vectorcall(method, args, (size_t)count, names) : NULL;
    Py_XDECREF(method);
    return task;
}

static PyObject *create_task(PyObject *self, PyObject *const *args, Py_ssize_t count,
                             PyObject *names)
{
    async__py_loop *loop = (async__py_loop *)self;

    if (async__py_check_open(loop) < 0) return NULL;
    if (count != 1) {
        PyErr_Format(PyExc_TypeError,
                     "create_task() takes one coroutine, and keywords; %zd were given", count);
        return NULL;
    }
    loop->starting++;
    PyObject *task = make_task(loop, args, count, names);
    loop->starting--;
    return task;
}

static PyObject *create_future(PyObject *self, PyObject *none)
{
    (void)none;
    return call(futures, name_future, self, NULL, 0, NULL);
}

static PyMethodDef methods[] = {
    {"create_task", (PyCFunction)(void (*)(void))create_task, METH_FASTCALL | METH_KEYWORDS,
     "create_task($self, coro, *, name=None, context=None, **options)\n--\n\n"
     "Schedules a coroutine: a Task. A task factory is given the context, and other options, only "
     "if the "
     "caller gave them."},
    {"create_future", create_future, METH_NOARGS, "A new Future of this loop."},
    {0},
};

int async__py_add_loop_tasks(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_task, "Task"},
        {&name_future, "Future"},
        {&name_loop, "loop"},
        {&name_by_factory, "_create_task_by_factory"},
        {0},
    };

    (void)module;
    tasks = PyImport_ImportModule("asyncio.tasks");
    futures = PyImport_ImportModule("asyncio.futures");
    if (!tasks || !futures || async__py_intern(names) < 0) return -1;
    loop_names = PyTuple_Pack(1, name_loop);
    return loop_names ? async__py_add_loop_methods(methods) : -1;
}
