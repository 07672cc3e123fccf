/* help.c - names, imports, calls, types: what every file of the extension needs. */
#include "face.h"

int async__py_intern(const struct async__py_name *names)
{
    for (; names->where; names++) {
        *names->where = PyUnicode_InternFromString(names->text);
        if (!*names->where) return -1;
    }
    return 0;
}

PyObject *async__py_import(const char *module, const char *name)
{
    PyObject *from = PyImport_ImportModule(module);
    if (!from) return NULL;
    PyObject *found = PyObject_GetAttrString(from, name);
    Py_DECREF(from);
    return found;
}

PyObject *async__py_call_method(PyObject *object, const char *name, const char *format, ...)
{
    PyObject *interned = PyUnicode_InternFromString(name);
    PyObject *method = interned ? PyObject_GetAttr(object, interned) : NULL, *result = NULL;
    Py_XDECREF(interned);
    if (!method) return NULL;
    char in_brackets[16];
    snprintf(in_brackets, sizeof in_brackets, "(%s)", format ? format : "");
    va_list values;
    va_start(values, format);
    PyObject *args = Py_VaBuildValue(in_brackets, values);
    va_end(values);
    if (args) result = PyObject_Call(method, args, NULL);
    Py_XDECREF(args);
    Py_DECREF(method);
    return result;
}

PyTypeObject *async__py_add_type(PyObject *module, PyType_Spec *spec, PyObject *bases)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, bases);
    if (!type) return NULL;
    const char *dot = strrchr(spec->name, '.');
    if (PyModule_AddObjectRef(module, dot ? dot + 1 : spec->name, type) < 0) Py_CLEAR(type);
    return (PyTypeObject *)type;
}

static char *flag_of(PyObject *self, void *offset) { return (char *)self + (uintptr_t)offset; }

PyObject *async__py_get_flag(PyObject *self, void *offset)
{
    return PyBool_FromLong(*flag_of(self, offset));
}

int async__py_set_flag(PyObject *self, PyObject *value, void *offset)
{
    if (!value) {
        PyErr_SetString(PyExc_TypeError, "cannot delete attribute");
        return -1;
    }
    int truth = PyObject_IsTrue(value);
    if (truth >= 0) *flag_of(self, offset) = (char)truth;
    return truth < 0 ? -1 : 0;
}
