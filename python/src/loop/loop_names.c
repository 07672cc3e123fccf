/* loop_names.c - loop.getaddrinfo: numbers at once, names by the engine's resolver.
 *
 * What is a number needs no thread: the socket module's own getaddrinfo is asked, with AI_NUMERICHOST,
 * and what it says is the answer, unless that is that the host is no number. A name is looked up in
 * the engine's resolver, which has threads of its own: so a look-up does not wait for what a program
 * has put into the default executor, and one that is cancelled ends at once.
 *
 * A program that has replaced socket.getaddrinfo gets asyncio's way, by the default executor. */
#include "../base/coroutine.h"
#include "loop_type.h"
#include "socket.h"

#include <errno.h>
#include <netdb.h>

typedef struct async__py_coroutine coroutine;
typedef enum async__py_outcome outcome;

enum { HOST, PORT, FAMILY, TYPE, PROTO, FLAGS, ARGUMENTS };

static const char *const argument_names[ARGUMENTS] = {"host", "port",  "family",
                                                      "type", "proto", "flags"};

static PyObject *base_events, *own_getaddrinfo, *native_getaddrinfo, *gaierror;
static PyObject *address_family, *socket_kind;
static PyObject *name_by_executor, *name_create_future, *name_done, *name_errno, *name_getaddrinfo,
    *name_set_exception, *name_set_result, *name_socket, *zero;

/* A look-up that is under way. The loop holds it, and it the future. */
struct lookup {
    PyObject_HEAD async__py_holder holder;
    async__py_loop *loop; /* valid while it is held */
    async_lookup *lookup; /* NULL: it has ended */
    PyObject *future;
};

static PyTypeObject *lookup_type;

/* ---- results ---- */

/* As the socket module has them: the enumeration's member, or the number. Takes the reference. */
static PyObject *as_member(PyObject *enumeration, PyObject *number)
{
    PyObject *member = number ? PyObject_CallOneArg(enumeration, number) : NULL;

    if (member || !number) {
        Py_XDECREF(number);
        return member;
    }
    if (!PyErr_ExceptionMatches(PyExc_ValueError)) {
        Py_DECREF(number);
        return NULL;
    }
    PyErr_Clear();
    return number;
}

static PyObject *entry(const struct addrinfo *info)
{
    struct sockaddr_storage address = {0};
    if (info->ai_addrlen <= sizeof address) memcpy(&address, info->ai_addr, info->ai_addrlen);
    PyObject *family = as_member(address_family, PyLong_FromLong(info->ai_family));
    PyObject *kind = family ? as_member(socket_kind, PyLong_FromLong(info->ai_socktype)) : NULL;
    PyObject *where = kind ? async__py_address_new(&address, info->ai_addrlen) : NULL;
    PyObject *result = where ? Py_BuildValue("(OOisO)", family, kind, info->ai_protocol,
                                             info->ai_canonname ? info->ai_canonname : "", where)
                             : NULL;

    Py_XDECREF(family);
    Py_XDECREF(kind);
    Py_XDECREF(where);
    return result;
}

static PyObject *entries(const struct addrinfo *info)
{
    PyObject *list = PyList_New(0);

    for (; list && info; info = info->ai_next) {
        if (!async__py_address_known(info->ai_family)) continue;
        PyObject *one = entry(info);
        if (!one || PyList_Append(list, one) < 0) Py_CLEAR(list);
        Py_XDECREF(one);
    }
    return list;
}

static void set_error(int error, int system_error)
{
    if (error == EAI_SYSTEM) {
        async__py_set_oserror(-(system_error ? system_error : EIO));
        return;
    }
    PyObject *exception = PyObject_CallFunction(gaierror, "is", error, gai_strerror(error));
    if (exception) PyErr_SetObject(gaierror, exception);
    Py_XDECREF(exception);
}

/* ---- numbers ---- */

/* Whether the port is no name, whose look-up would read files: None, a number, digits. */
static bool port_is_number(PyObject *port)
{
    if (port == Py_None || PyLong_Check(port)) return true;
    const char *text = PyBytes_Check(port)     ? PyBytes_AS_STRING(port)
                       : PyUnicode_Check(port) ? PyUnicode_AsUTF8(port)
                                               : NULL;
    PyErr_Clear();
    return text && text[strspn(text, "0123456789")] == 0;
}

/* Whether the exception that is set is gaierror EAI_NONAME. */
static bool is_no_number(void)
{
    if (!PyErr_ExceptionMatches(gaierror)) return false;
    PyObject *exception = async__py_error_take();
    PyObject *code = PyObject_GetAttr(exception, name_errno);
    bool no_name = code && PyLong_AsLong(code) == EAI_NONAME;

    Py_XDECREF(code);
    PyErr_Clear();
    async__py_error_set(exception);
    return no_name;
}

static int make_members(PyObject *list)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        PyObject *old = PyList_GET_ITEM(list, i);
        PyObject *family = as_member(address_family, Py_NewRef(PyTuple_GET_ITEM(old, 0)));
        PyObject *kind =
            family ? as_member(socket_kind, Py_NewRef(PyTuple_GET_ITEM(old, 1))) : NULL;
        PyObject *made = kind ? PyTuple_Pack(5, family, kind, PyTuple_GET_ITEM(old, 2),
                                             PyTuple_GET_ITEM(old, 3), PyTuple_GET_ITEM(old, 4))
                              : NULL;
        Py_XDECREF(family);
        Py_XDECREF(kind);
        if (!made || PyList_SetItem(list, i, made) < 0) return -1;
    }
    return 0;
}

/* ASYNC__PY_WAITS: the host is a name, or the port is. */
static outcome ask_numeric(PyObject *const *args, PyObject **result)
{
    if (!port_is_number(args[PORT])) return ASYNC__PY_WAITS;
    long flags = PyLong_AsLong(args[FLAGS]);
    if (flags == -1 && PyErr_Occurred()) return ASYNC__PY_FAILED;
    PyObject *numeric = PyLong_FromLong(flags | AI_NUMERICHOST);
    PyObject *asked[] = {args[HOST], args[PORT], args[FAMILY], args[TYPE], args[PROTO], numeric};
    *result = numeric ? PyObject_Vectorcall(native_getaddrinfo, asked, ARGUMENTS, NULL) : NULL;
    Py_XDECREF(numeric);
    if (*result) {
        if (make_members(*result) == 0) return ASYNC__PY_DONE;
        Py_CLEAR(*result);
        return ASYNC__PY_FAILED;
    }
    if ((flags & AI_NUMERICHOST) || args[HOST] == Py_None || !is_no_number())
        return ASYNC__PY_FAILED;
    PyErr_Clear();
    return ASYNC__PY_WAITS;
}

/* ---- names ---- */

/* The loop holds it as long as the look-up is under way; so the look-up has ended, or ends with the
 * engine. */
static void lookup_dealloc(PyObject *object)
{
    struct lookup *self = (struct lookup *)object;
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    Py_CLEAR(self->future);
    type->tp_free(object);
    Py_DECREF(type);
}

static int lookup_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(((struct lookup *)object)->future);
    Py_VISIT(Py_TYPE(object));
    return 0;
}

static PyType_Slot lookup_slots[] = {
    {Py_tp_dealloc, lookup_dealloc},
    {Py_tp_traverse, lookup_traverse},
    {0, NULL},
};

static PyType_Spec lookup_spec = {
    .name = "casyncio._casyncio._Lookup",
    .basicsize = sizeof(struct lookup),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = lookup_slots,
};

/* The future gets the list, or the exception that is set; unless it is done. */
static void end_future(struct lookup *self, PyObject *list)
{
    PyObject *exception = list ? NULL : async__py_error_take();
    PyObject *done = PyObject_CallMethodNoArgs(self->future, name_done), *set = NULL;
    int is_done = done ? PyObject_IsTrue(done) : -1;

    Py_XDECREF(done);
    if (is_done == 0)
        set = PyObject_CallMethodOneArg(self->future, list ? name_set_result : name_set_exception,
                                        list ? list : exception);
    if (is_done < 0 || (is_done == 0 && !set))
        async__py_loop_fail(self->loop, "A future refuses the result of a look-up", "future",
                            self->future, NULL);
    Py_XDECREF(set);
    Py_XDECREF(exception);
}

static void let_go(struct lookup *self)
{
    self->lookup = NULL;
    async__py_let_go(&self->holder);
}

static void looked_up(async_lookup *lookup)
{
    struct lookup *self = async_lookup_data(lookup);
    PyObject *object = Py_NewRef((PyObject *)self), *list = NULL;
    struct addrinfo *info;
    int system_error, error = async_lookup_result(lookup, &system_error, &info);

    if (error)
        set_error(error, system_error);
    else
        list = entries(info);
    async_lookup_free(lookup);
    end_future(self, list);
    Py_XDECREF(list);
    let_go(self);
    Py_DECREF(object);
}

/* A text for getaddrinfo: bytes, or None. NULL: an exception is set. */
static PyObject *text_of(PyObject *object, bool host)
{
    if (object == Py_None || PyBytes_Check(object)) return Py_NewRef(object);
    if (PyLong_Check(object)) {
        PyObject *digits = PyObject_Str(object);
        PyObject *bytes = digits ? PyUnicode_AsASCIIString(digits) : NULL;
        Py_XDECREF(digits);
        return bytes;
    }
    if (PyUnicode_Check(object))
        return host && !PyUnicode_IS_ASCII(object) ? PyUnicode_AsEncodedString(object, "idna", NULL)
                                                   : PyUnicode_AsUTF8String(object);
    PyErr_SetString(host ? PyExc_TypeError : PyExc_OSError,
                    host ? "getaddrinfo() argument 1 must be string or None"
                         : "Int or String expected");
    return NULL;
}

static const char *chars_of(PyObject *bytes)
{
    return bytes == Py_None ? NULL : PyBytes_AS_STRING(bytes);
}

static int hints_of(PyObject *const *args, struct addrinfo *hints)
{
    int *const numbers[] = {&hints->ai_family, &hints->ai_socktype, &hints->ai_protocol,
                            &hints->ai_flags};

    for (int i = 0; i < 4; i++) {
        long number = PyLong_AsLong(args[FAMILY + i]);
        if (number == -1 && PyErr_Occurred()) return -1;
        *numbers[i] = (int)number;
    }
    return PySys_Audit("socket.getaddrinfo", "OOiii", args[HOST], args[PORT], hints->ai_family,
                       hints->ai_socktype, hints->ai_protocol);
}

/* The look-up, begun; NULL: an exception is set. */
static PyObject *start(async__py_loop *loop, PyObject *const *args)
{
    struct addrinfo hints = {0};
    struct lookup *self = NULL;
    int code = 0;
    PyObject *host = text_of(args[HOST], true), *port = host ? text_of(args[PORT], false) : NULL;

    if (port && hints_of(args, &hints) == 0)
        self = (struct lookup *)lookup_type->tp_alloc(lookup_type, 0);
    if (self) {
        self->holder.object = (PyObject *)self;
        self->loop = loop;
        self->future = PyObject_CallMethodNoArgs((PyObject *)loop, name_create_future);
        if (!self->future || async__py_check_open(loop) < 0) {
            Py_CLEAR(self);
        } else {
            self->lookup = async_lookup_start(loop->engine, chars_of(host), chars_of(port), &hints,
                                              looked_up, self, &code);
            if (!self->lookup) {
                async__py_set_oserror(code);
                Py_CLEAR(self);
            } else {
                async__py_hold(loop, &self->holder);
            }
        }
    }
    Py_XDECREF(host);
    Py_XDECREF(port);
    return (PyObject *)self;
}

/* ---- the method ---- */

static bool is_replaced(void)
{
    PyObject *module = PyObject_GetAttr(base_events, name_socket); /* as asyncio has it */
    PyObject *now = module ? PyObject_GetAttr(module, name_getaddrinfo) : NULL;
    bool replaced = now != own_getaddrinfo;

    Py_XDECREF(module);
    Py_XDECREF(now);
    PyErr_Clear();
    return replaced;
}

/* asyncio's, which also tells in debug mode how long it has taken. */
static outcome by_executor(coroutine *c, PyObject *const *args)
{
    PyObject *names = PyTuple_New(4), *method = PyObject_GetAttr(c->owner, name_by_executor);
    PyObject *awaitable = NULL;

    for (int i = 0; names && i < 4; i++)
        PyTuple_SET_ITEM(names, i, PyUnicode_InternFromString(argument_names[FAMILY + i]));
    if (names && method) awaitable = PyObject_Vectorcall(method, args, 2, names);
    Py_XDECREF(names);
    Py_XDECREF(method);
    return async__py_await(c, awaitable);
}

static outcome begin(coroutine *c, PyObject **result)
{
    PyObject *const *args = ((PyTupleObject *)c->argument)->ob_item;
    async__py_loop *loop = (async__py_loop *)c->owner;

    if (async__py_check_open(loop) < 0) return ASYNC__PY_FAILED;
    if (loop->debug || is_replaced()) return by_executor(c, args);
    outcome ended = ask_numeric(args, result);
    if (ended != ASYNC__PY_WAITS) return ended;
    c->waiter = start(loop, args);
    if (!c->waiter) return ASYNC__PY_FAILED;
    return async__py_await(c, Py_NewRef(((struct lookup *)c->waiter)->future));
}

static outcome resume(coroutine *c, PyObject *value, PyObject **result)
{
    if (value) {
        *result = Py_NewRef(value);
        return ASYNC__PY_DONE;
    }
    struct lookup *self = (struct lookup *)c->waiter;
    if (self && self->lookup && self->holder.next) { /* no task waits for it any more */
        PyObject *error = async__py_error_take();
        if (self->loop->engine) async_lookup_abandon(self->lookup);
        let_go(self);
        async__py_error_set(error);
    }
    return ASYNC__PY_FAILED;
}

static const struct async__py_coroutine_kind kind = {
    .qualname = "Loop.getaddrinfo", .begin = begin, .resume = resume};

static PyObject *getaddrinfo_method(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"host", "port", "family", "type", "proto", "flags", NULL};
    PyObject *places[ARGUMENTS] = {NULL, NULL, zero, zero, zero, zero};

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OO|$OOOO:getaddrinfo", names, &places[HOST],
                                     &places[PORT], &places[FAMILY], &places[TYPE], &places[PROTO],
                                     &places[FLAGS]))
        return NULL;
    PyObject *arguments = PyTuple_New(ARGUMENTS);
    if (!arguments) return NULL;
    for (int i = 0; i < ARGUMENTS; i++)
        PyTuple_SET_ITEM(arguments, i, Py_NewRef(places[i]));
    PyObject *made = async__py_coroutine(&kind, self, arguments);
    Py_DECREF(arguments);
    return made;
}

static PyMethodDef methods[] = {
    {"getaddrinfo", (PyCFunction)(void (*)(void))getaddrinfo_method, METH_VARARGS | METH_KEYWORDS,
     "getaddrinfo($self, host, port, *, family=0, type=0, proto=0, flags=0)\n--\n\n"
     "socket.getaddrinfo() that does not block."},
    {0},
};

int async__py_add_loop_names(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_by_executor, "_getaddrinfo_by_executor"},
        {&name_create_future, "create_future"},
        {&name_done, "done"},
        {&name_errno, "errno"},
        {&name_getaddrinfo, "getaddrinfo"},
        {&name_set_exception, "set_exception"},
        {&name_set_result, "set_result"},
        {&name_socket, "socket"},
        {0},
    };

    if (async__py_intern(names) < 0 || async__py_add_loop_methods(methods) < 0) return -1;
    zero = PyLong_FromLong(0);
    base_events = PyImport_ImportModule("asyncio.base_events");
    own_getaddrinfo = async__py_import("socket", "getaddrinfo");
    native_getaddrinfo = async__py_import("_socket", "getaddrinfo");
    gaierror = async__py_import("socket", "gaierror");
    address_family = async__py_import("socket", "AddressFamily");
    socket_kind = async__py_import("socket", "SocketKind");
    if (!zero || !base_events || !own_getaddrinfo || !native_getaddrinfo || !gaierror ||
        !address_family || !socket_kind)
        return -1;
    lookup_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &lookup_spec, NULL);
    return lookup_type ? 0 : -1;
}
