/* face.h - the Python face from the inside: what its files have in common.
 *
 * The extension module casyncio._casyncio is a client of <casyncio/loop.h>, as any C program is.
 * Each file here is one concept with its types, and has one function that adds them to the module
 * (module.c has the list). What the files share of Python's objects is kept in static variables:
 * the module refuses to be imported into a second interpreter. */
#ifndef CASYNCIO_PYTHON_FACE_H
#define CASYNCIO_PYTHON_FACE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <casyncio/errors.h>
#include <casyncio/loop.h>
#include <sys/socket.h>

/* Interpreters without the GIL. A loop and what belongs to it is one thread's, as always: what only
 * that thread calls has no lock, and says RuntimeError to another while the loop runs. Others may
 * call call_soon_threadsafe() and cancel what it returned; close() may come between. These have
 * critical sections, which cost nothing where there is the GIL. What is kept for reuse is kept only
 * under it. */
#ifdef Py_GIL_DISABLED
enum { ASYNC__PY_GIL = false };
#else
enum { ASYNC__PY_GIL = true };
#endif
#if PY_VERSION_HEX < 0x030D0000
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#endif

#define async__container(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* ---- help for all files (module.c) ---- */

/* Names that a file looks up often, made once: an array that ends with {0}. */
struct async__py_name {
    PyObject **where;
    const char *text;
};
int async__py_intern(const struct async__py_name *names);

/* A new reference to what `module` has under `name`. */
PyObject *async__py_import(const char *module, const char *name);

/* PyObject_CallMethod, but for names that are made anew each time: CPython's cache of methods would
 * keep one string for each call. For what is seldom called; what is often has an interned name of
 * its own. */
PyObject *async__py_call_method(PyObject *object, const char *name, const char *format, ...);

/* Makes the type and puts it into the module, under the part of its name behind the last dot;
 * `bases` may be NULL, a type or a tuple of them. A new reference. */
PyTypeObject *async__py_add_type(PyObject *module, PyType_Spec *spec, PyObject *bases);

/* The exception that is set, taken away; and given back (which takes the reference). */
PyObject *async__py_error_take(void);
void async__py_error_set(PyObject *exception);

/* For a PyGetSetDef: a `bool` or a `char` of the object that is read as a bool, and set by anything
 * that has a truth value, as an attribute of asyncio's classes is. (A T_BOOL member takes nothing
 * but True and False.) */
PyObject *async__py_get_flag(PyObject *self, void *offset);
int async__py_set_flag(PyObject *self, PyObject *value, void *offset);
#define ASYNC__PY_FLAG(name, type, member)                                                         \
    {                                                                                              \
        name, async__py_get_flag, async__py_set_flag, NULL, (void *)offsetof(type, member)         \
    }

/* Sets OSError, of the subclass that belongs to the code: a negated errno. NULL. */
PyObject *async__py_set_oserror(int code);

/* ---- the loop (loop.c) ---- */

/* What the loop knows of a descriptor that the user watches, and of the transport that has it. */
struct async__py_descriptor;

/* An owner of watches. While it is linked, the loop holds a reference to it. */
typedef struct async__py_holder {
    struct async__py_holder *next, *prev; /* next is NULL while it is not linked */
    PyObject *object;
} async__py_holder;

/* A callback that runs at the latest when the loop stops, or before it is closed. The loop holds
 * the object until then. */
typedef struct async__py_due {
    async_callback callback;
    async__py_holder holder;
} async__py_due;

typedef struct async__py_loop {
    PyObject_HEAD async_loop *engine; /* NULL once the loop is closed */
    unsigned long thread;             /* that runs it, as threading.get_ident says; 0: none does */
    unsigned long owner;              /* that made it, or ran it last */
    char debug, closed;
    PyObject *task_factory; /* or NULL */
    bool other_time;    /* time() is not ours any more: a subclass's, or replaced on the instance */
    PyObject *time;     /* what loop.time is: our own, once asked for, or what took its place */
    double apart;       /* seconds from other_time's clock to the engine's, at the last look */
    async__py_due look; /* queued: whether that has changed */
    double slow_callback_duration; /* seconds */
    PyObject *raised;              /* what run_forever is to end with */
    PyThreadState *state;          /* of the thread that polls */
    char *buffer;                  /* all transports receive into it; ASYNC__PY_BUFFER bytes */
    struct async__py_descriptor **descriptors;
    int descriptors_length;
    async__py_holder holders, dues; /* rings through these nodes */
    int process;                    /* that made it: in a child of that it only can be closed */
    int starting;                   /* > 0: in create_task(), whose call_soon() is no yield */
} async__py_loop;

enum { ASYNC__PY_BUFFER = 256 * 1024 };

extern PyTypeObject *async__py_loop_type;

/* The object as a loop of ours, or NULL: no exception is set. */
async__py_loop *async__py_as_loop(PyObject *object);

/* The engine's run: returns None after stop, or NULL and what a callback has raised. */
PyObject *async__py_loop_run(async__py_loop *loop);

/* 0, or -1 and TypeError: fewer arguments than that. */
int async__py_check_count(Py_ssize_t count, Py_ssize_t least, const char *usage);

/* The loop's clock, also when it is closed. */
int64_t async__py_loop_ns(async__py_loop *loop);

/* ---- the clock that the program sees (clock.c) ---- */

/* Whether a subclass has a time() of its own. */
bool async__py_replaces_time(PyTypeObject *type);

/* loop.time(). -1 and an exception: the program's own has failed. */
double async__py_now(async__py_loop *loop);

/* When that is by the engine's clock. 0, or -1 and an exception. */
int async__py_engine_time(async__py_loop *loop, double when, int64_t *ns);

/* In the next turn, looks whether the program's clock was moved. */
void async__py_look_at_clock(async__py_loop *loop);

/* By the program's clock, a timer that has gone off is not due. */
bool async__py_too_early(async__py_loop *loop, PyObject *handle);

/* 0, or -1 and RuntimeError: the loop is closed; or, without the GIL, another thread runs it. */
int async__py_check_open(async__py_loop *loop);

/* Another thread than this runs the loop. */
static inline bool async__py_elsewhere(const async__py_loop *loop)
{
    return loop->thread && loop->thread != PyThread_get_thread_ident();
}

/* The exception that is set is SystemExit or KeyboardInterrupt: nobody's but run_forever's. */
bool async__py_ends_the_loop(void);

/* Takes the exception that is set: SystemExit and KeyboardInterrupt end run_forever, others go to
 * loop.call_exception_handler, with `message` and what else is given: pairs of a key and a borrowed
 * object, ended by NULL. Objects that are NULL are left out. */
void async__py_loop_fail(async__py_loop *loop, const char *message, ...);

/* Takes the exception that is set, which no caller learns of: it is written to stderr as that of `object`,
 * or forgotten if that is NULL. But SystemExit and KeyboardInterrupt end run_forever. */
void async__py_loop_ignore(async__py_loop *loop, PyObject *object);

/* The same for an exception that has ended a callback: it is told which. */
void async__py_handle_failed(async__py_loop *loop, PyObject *handle);

/* Has the loop hold the object that the holder names, and let it go again. */
void async__py_hold(async__py_loop *loop, async__py_holder *holder);
void async__py_let_go(async__py_holder *holder);

/* Queues the callback, if it is not queued; and takes it out again: says whether it was there. The
 * callback itself begins with the second, which may let go of the last reference. */
void async__py_due_soon(async__py_loop *loop, async__py_due *due);
bool async__py_due_end(async__py_due *due);

/* This process was forked from the one that made the loop. */
bool async__py_loop_forked(const async__py_loop *loop);

/* Puts a transport into the table of descriptors, or (NULL) takes it out: add_reader and the like
 * refuse the descriptor meanwhile. The table does not own it. -1: an exception is set. */
int async__py_set_transport(async__py_loop *loop, int fd, PyObject *transport);

/* Takes it out for good. False: another transport has the number, for the descriptor was closed
 * without a word. */
bool async__py_end_transport(async__py_loop *loop, int fd, PyObject *transport);

/* 0, or -1 and RuntimeError: another transport that is not closing has the descriptor. */
int async__py_check_no_transport(async__py_loop *loop, int fd, PyObject *sock);

/* Has `ready` called with the owner, once, when the user's descriptor can be read from, or written
 * to. The loop holds the owner until then. It takes the place of what waited there before, as in
 * add_reader; -1: an exception is set. The second ends the wait, if it is still this owner's. */
int async__py_wait_fd(async__py_loop *loop, int fd, bool writing, PyObject *owner,
                      void (*ready)(PyObject *owner));
void async__py_wait_end(async__py_loop *loop, int fd, bool writing, PyObject *owner);

/* For the loop's own end. */
void async__py_close_descriptors(async__py_loop *loop);
int async__py_visit_descriptors(async__py_loop *loop, visitproc visit, void *arg);
void async__py_free_descriptors(async__py_loop *loop);

/* The loop's receive buffer, made when it is first asked for; NULL: MemoryError is set. */
char *async__py_loop_buffer(async__py_loop *loop);

/* The keyword argument `context` of call_soon and its like, NULL if it is not there. -1: there is
 * another. */
int async__py_take_context(PyObject *const *args, Py_ssize_t count, PyObject *names,
                           PyObject **context);

/* For a callback that is not a handle: in debug mode says how long it took, if that was too long.
 * */
int64_t async__py_slow_begin(async__py_loop *loop);
void async__py_slow_end(async__py_loop *loop, int64_t begin, PyObject *object);

/* Methods of the loop that other files have, each array ended by {0}. */
extern PyMethodDef async__py_schedule_methods[]; /* schedule.c */
extern PyGetSetDef async__py_clock_getters[];
extern PyMethodDef async__py_descriptor_methods[]; /* descriptors.c */
extern PyMethodDef async__py_task_methods[];       /* tasks.c */
extern PyMethodDef async__py_run_methods[];        /* run.c */
extern PyMethodDef async__py_accept_methods[];     /* accept.c */
extern PyMethodDef async__py_sock_methods[];       /* sock.c */
extern PyMethodDef async__py_names_methods[];      /* names.c */

/* ---- handles (handle.c) ---- */

/* A new handle; `context` may be NULL or None: a copy of the current one. */
PyObject *async__py_handle_new(async__py_loop *loop, PyObject *callback, PyObject *const *args,
                               Py_ssize_t count, PyObject *context);
/* One that another thread than the loop's queues. */
PyObject *async__py_shared_handle_new(async__py_loop *loop, PyObject *callback,
                                      PyObject *const *args, Py_ssize_t count, PyObject *context);
/* `when` is the loop's time in seconds, an object that the handle keeps. */
PyObject *async__py_timer_handle_new(async__py_loop *loop, PyObject *when, PyObject *callback,
                                     PyObject *const *args, Py_ssize_t count, PyObject *context);

/* Queues the handle: the queue takes a reference. The second is for other threads, too: -1 and
 * RuntimeError, the loop was closed meanwhile. */
void async__py_handle_schedule(async__py_loop *loop, PyObject *handle);
int async__py_handle_schedule_threadsafe(async__py_loop *loop, PyObject *handle);
int async__py_timer_handle_schedule(async__py_loop *loop, PyObject *handle, int64_t when);

/* Sets a timer that is set for another time; 0: it is due now. */
void async__py_timer_handle_move(async__py_loop *loop, PyObject *handle, int64_t when);

/* Calls it in its context, now; what it raises is reported. */
void async__py_handle_run(async__py_loop *loop, PyObject *handle);
void async__py_handle_cancel(PyObject *handle);
bool async__py_handle_cancelled(PyObject *handle);
bool async__py_is_timer_handle(PyObject *handle);

/* The handle that a callback of the loop's queue belongs to (borrowed), or NULL. */
PyObject *async__py_handle_of(async_callback *callback);

/* The type of the callback by which a task of C's does its next step: a bare yield, sleep(0), queues
 * one, and so does the start of a task. NULL until there was one. */
extern PyTypeObject *async__py_step_type;

/* loop.call_soon for C: `function` with one argument; `context` as for a handle. 0, or -1 and an
 * exception is set. */
int async__py_call_soon(async__py_loop *loop, PyObject *function, PyObject *argument,
                        PyObject *context);

/* ---- streams (stream_protocol.c) ---- */

/* The object is a StreamReaderProtocol of ours, and nobody has replaced its methods: a transport
 * may feed it with the function below, without making a bytes object, instead of data_received().
 * */
bool async__py_is_stream_protocol(PyObject *protocol);

/* data_received(): 0, or -1 and an exception is set. */
int async__py_stream_feed(PyObject *protocol, const char *data, Py_ssize_t length);

/* ---- TLS (tls.c) ---- */

/* For a transport: the protocol is an SSLProtocol, so instead of get_buffer and buffer_updated,
 * what was received can be given to it directly. It is copied at once, so `data` may be the loop's
 * buffer. The caller holds a reference to the protocol. 0, or -1 and an exception, as
 * buffer_updated raises it. */
bool async__py_is_tls(PyObject *protocol);
int async__py_tls_feed(PyObject *protocol, const char *data, Py_ssize_t length);

/* ---- sockets (sock.c) ---- */

/* A socket.socket, of no other class, whose methods are what they always were: what they do can be
 * done by the system call itself. */
bool async__py_is_plain_socket(PyObject *sock);

/* ---- addresses of sockets (address.c) ---- */

/* Families whose addresses are made here: AF_INET, AF_INET6, AF_UNIX. */
bool async__py_address_known(int family);

/* The address as the socket module would give it: None when there is none. */
PyObject *async__py_address_new(const struct sockaddr_storage *address, socklen_t length);

/* The other direction, for an address that needs no resolver: its length, or 0 (no exception is
 * set): let the socket do it. */
socklen_t async__py_address_parse(int family, PyObject *address, struct sockaddr_storage *result);

/* ---- the parts, in the order in which they are added ---- */

int async__py_add_handle(PyObject *module);
int async__py_add_loop(PyObject *module);
int async__py_add_schedule(PyObject *module);
int async__py_add_clock(PyObject *module);
int async__py_add_descriptors(PyObject *module);
int async__py_add_run(PyObject *module);
int async__py_add_tasks(PyObject *module);
int async__py_add_endpoint(PyObject *module);
int async__py_add_transport(PyObject *module);
int async__py_add_clients(PyObject *module);
int async__py_add_accept(PyObject *module);
int async__py_add_coroutine(PyObject *module);
int async__py_add_sock(PyObject *module);
int async__py_add_names(PyObject *module);
int async__py_add_datagram(PyObject *module);
int async__py_add_mixins(PyObject *module);
int async__py_add_lock(PyObject *module);
int async__py_add_event(PyObject *module);
int async__py_add_semaphore(PyObject *module);
int async__py_add_condition(PyObject *module);
int async__py_add_queue(PyObject *module);
int async__py_add_timeout(PyObject *module);
int async__py_add_stream_base(PyObject *module);
int async__py_add_stream_reader(PyObject *module);
int async__py_add_stream_flow(PyObject *module);
int async__py_add_stream_protocol(PyObject *module);
int async__py_add_stream_writer(PyObject *module);
int async__py_add_tls(PyObject *module);

#endif
