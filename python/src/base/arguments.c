/* arguments.c - the arguments of methods that take them as they come (METH_FASTCALL), told with the
 * messages of Python's own functions. */
#include "face.h"

static PyObject *name_context;

int async__py_check_count(Py_ssize_t count, Py_ssize_t least, const char *usage)
{
    if (count >= least) return 0;
    PyErr_Format(PyExc_TypeError, "usage: %s", usage);
    return -1;
}

int async__py_take_context(PyObject *const *args, Py_ssize_t count, PyObject *names,
                           PyObject **context)
{
    *context = NULL;
    for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        if (name != name_context && PyUnicode_Compare(name, name_context) != 0) {
            PyErr_Format(PyExc_TypeError, "got an unexpected keyword argument '%U'", name);
            return -1;
        }
        *context = args[count + i];
    }
    return 0;
}

int async__py_init_argument(const char *class, const char *name, PyObject *arguments,
                            PyObject *names, PyObject **value)
{
    Py_ssize_t count = PyTuple_GET_SIZE(arguments), most = name ? 1 : 0;
    if (count > most) {
        PyErr_Format(PyExc_TypeError,
                     "%s.__init__() takes %zd positional argument%s but %zd were given", class,
                     most + 1, most ? "s" : "", count + 1);
        return -1;
    }
    if (count) *value = PyTuple_GET_ITEM(arguments, 0);
    PyObject *key, *given;
    for (Py_ssize_t at = 0; names && PyDict_Next(names, &at, &key, &given);) {
        if (!name || PyUnicode_CompareWithASCIIString(key, name)) {
            PyErr_Format(PyExc_TypeError, "%s.__init__() got an unexpected keyword argument '%U'",
                         class, key);
            return -1;
        }
        if (count) {
            PyErr_Format(PyExc_TypeError, "%s.__init__() got multiple values for argument '%s'",
                         class, name);
            return -1;
        }
        *value = given;
    }
    return 0;
}

int async__py_argument(const struct async__py_parameter *parameter, PyObject *const *args,
                       Py_ssize_t count, PyObject *names, PyObject **value)
{
    Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0, given = count + named;

    if (given > 1)
        PyErr_Format(PyExc_TypeError, "%s() takes at most 1 argument (%zd given)",
                     parameter->method, given);
    else if (named && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), parameter->name))
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'",
                     parameter->method, PyTuple_GET_ITEM(names, 0));
    else if (!given && parameter->required)
        PyErr_Format(PyExc_TypeError, "%s() missing 1 required argument: '%s'", parameter->method,
                     parameter->name);
    else if (given)
        *value = args[0];
    return PyErr_Occurred() ? -1 : 0;
}

int async__py_add_arguments(PyObject *module)
{
    static const struct async__py_name names[] = {{&name_context, "context"}, {0}};

    (void)module;
    return async__py_intern(names);
}
