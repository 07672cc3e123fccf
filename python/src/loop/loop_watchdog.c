/* loop_watchdog.c - loop.watchdog: the engine's watchdog, with Python's frames in its reports.
 *
 * The thread that tells of a block must not wait for the GIL, which the one that blocks may hold. The one way
 * to have a stack of Python's without it, in every version and by a public name, is faulthandler's: a signal
 * handler in the thread itself. So it is registered for the signal by which the watchdog asks (SIGURG), has the
 * engine's handler called after its own, and writes into a file in memory, which the watchdog's thread
 * reads when the answer has come. */
#include "loop_type.h"

#include <casyncio/debug.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TEXT = 16 * 1024 };

static PyObject *register_words;

/* Of the process: how many loops have a watchdog, and the file that faulthandler writes into; -1: it is not
 * registered, as the program has a handler of its own for the signal. */
static int users, file = -1, process;

/* ---- in the watchdog's thread: no Python ---- */

/* `  File "server.py", line 5 in main` as the engine writes frames: `\n  at main (server.py:5)`. */
static size_t add_frame(const char *line, char *text, size_t size)
{
    const char *name = strchr(line, '"'), *end = strchr(line, '\n');
    const char *number = name ? strstr(name + 1, "\", line ") : NULL;
    const char *function = number ? strstr(number, " in ") : NULL;

    if (!function || !end || function > end) return 0;
    name++;
    int length = snprintf(text, size, "\n  at %.*s (%.*s:%d)", (int)(end - function - 4),
                          function + 4, (int)(number - name), name, atoi(number + 8));
    return length > 0 && (size_t)length < size ? (size_t)length : 0;
}

static void read_frames(char *text, size_t size, void *none)
{
    static const char title[] = "\n  in Python:";
    char written[TEXT + 1];

    (void)none;
    ssize_t got = pread(file, written, TEXT, 0);
    if (ftruncate(file, 0) < 0 || lseek(file, 0, SEEK_SET) < 0 || got <= 0) return;
    written[got] = 0;
    /* The last stack: before it there may be one whose question had no answer in time. */
    const char *line = NULL;
    for (const char *at = written; (at = strstr(at, "Stack (most recent")); at++)
        line = at;
    size_t used = 0;
    while (line && (line = strchr(line, '\n')) && *++line) {
        char *to = text + used;
        size_t head = used == 0 ? sizeof title - 1 : 0;
        if (size - used <= head) break;
        size_t added = add_frame(line, to + head, size - used - head);
        if (added == 0) continue;
        memcpy(to, title, head);
        used += head + added;
    }
    text[used] = 0;
}

/* ---- in the loop's ---- */

static bool is_free(int number)
{
    struct sigaction now;
    return sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_DFL;
}

static PyObject *call_faulthandler(const char *name, PyObject *const *args, PyObject *words)
{
    PyObject *function = async__py_import("faulthandler", name);
    PyObject *number = function ? PyLong_FromLong(SIGURG) : NULL, *result = NULL;

    if (number) {
        PyObject *all[4] = {number};
        for (Py_ssize_t i = 0; words && i < PyTuple_GET_SIZE(words); i++)
            all[i + 1] = args[i];
        result = PyObject_Vectorcall(function, all, 1, words);
    }
    Py_XDECREF(number);
    Py_XDECREF(function);
    return result;
}

static int register_handler(void)
{
    file = memfd_create("casyncio-watchdog", MFD_CLOEXEC);
    if (file < 0) {
        async__py_set_oserror(-errno);
        return -1;
    }
    PyObject *args[] = {PyLong_FromLong(file), Py_False, Py_True};
    PyObject *result = args[0] ? call_faulthandler("register", args, register_words) : NULL;
    Py_XDECREF(args[0]);
    Py_XDECREF(result);
    if (result) return 0;
    close(file);
    file = -1;
    return -1;
}

/* The engine's handler comes back into its place. No exception. */
static void unregister_handler(void)
{
    if (file < 0) return;
    Py_XDECREF(call_faulthandler("unregister", NULL, NULL));
    PyErr_Clear();
    close(file);
    file = -1;
}

static int start(async__py_loop *self, double after)
{
    bool inherited = process && process != (int)getpid(); /* the watchdogs are the parent's */
    if (inherited) {
        unregister_handler();
        users = 0;
    }
    process = (int)getpid();
    bool ours = users > 0 ? file >= 0 : inherited || is_free(SIGURG);
    int code = async_watchdog_start(self->engine, &(async_watchdog_options){
                                                      .after = after,
                                                      .frames = ours ? read_frames : NULL,
                                                  });
    if (code < 0) {
        async__py_set_oserror(code);
        return -1;
    }
    if (users == 0 && ours && register_handler() < 0) {
        async_watchdog_stop(self->engine);
        return -1;
    }
    users++;
    self->watched = true;
    return 0;
}

static void stop(async__py_loop *self)
{
    self->watched = false;
    if (process == (int)getpid() && --users == 0) unregister_handler();
    async_watchdog_stop(self->engine);
}

/* One thread at a time: with the GIL it is so. */
static int set(async__py_loop *self, double after)
{
    int code = 0;

    Py_BEGIN_CRITICAL_SECTION((PyObject *)async__py_loop_type);
    if (self->watched) stop(self);
    if (after > 0) code = start(self, after);
    Py_END_CRITICAL_SECTION();
    return code;
}

int async__py_watchdog_begin(async__py_loop *self)
{
    const char *variable = secure_getenv("CASYNCIO_WATCHDOG");
    double after = self->watchdog > 0 ? self->watchdog : variable ? atof(variable) : 0;

    return after > 0 ? set(self, after) : 0;
}

/* The exception that is set, if any, has been taken before. */
void async__py_watchdog_end(async__py_loop *self)
{
    if (self->watched) set(self, 0);
}

static PyObject *get_watchdog(PyObject *object, void *none)
{
    double after = ((async__py_loop *)object)->watchdog;

    (void)none;
    if (after > 0) return PyFloat_FromDouble(after);
    Py_RETURN_NONE;
}

static int set_watchdog(PyObject *object, PyObject *value, void *none)
{
    async__py_loop *self = (async__py_loop *)object;
    double after = 0;

    (void)none;
    if (!value) {
        PyErr_SetString(PyExc_AttributeError, "watchdog cannot be deleted: None is for none");
        return -1;
    }
    if (value != Py_None) {
        after = PyFloat_AsDouble(value);
        if (after == -1 && PyErr_Occurred()) return -1;
        if (!(after > 0 && after <= 1e9)) {
            PyErr_Format(PyExc_ValueError, "watchdog: %R: seconds, more than 0", value);
            return -1;
        }
    }
    if (async__py_elsewhere(self)) {
        PyErr_SetString(PyExc_RuntimeError, "watchdog: the loop runs in another thread");
        return -1;
    }
    if (self->thread && set(self, after) < 0) return -1;
    self->watchdog = after;
    return 0;
}

int async__py_add_loop_watchdog(PyObject *module)
{
    static PyGetSetDef getters[] = {
        {"watchdog", get_watchdog, set_watchdog,
         "Seconds after which what blocks the loop is told on standard error; None: never.", NULL},
        {0},
    };

    (void)module;
    register_words = Py_BuildValue("(sss)", "file", "all_threads", "chain");
    return register_words ? async__py_add_loop_getters(getters) : -1;
}
