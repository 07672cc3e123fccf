/* names.c - what TLS needs of Python's by name: methods, and the classes and constants of asyncio
 * and ssl. */
#include "names.h"

struct async__py_tls_names async__py_tls_names;
struct async__py_tls_classes async__py_tls_classes;

static const struct async__py_name names[] = {
    {&async__py_tls_names.abort, "abort"},
    {&async__py_tls_names.buffer_updated, "buffer_updated"},
    {&async__py_tls_names.call_exception_handler, "call_exception_handler"},
    {&async__py_tls_names.call_later, "call_later"},
    {&async__py_tls_names.call_soon, "call_soon"},
    {&async__py_tls_names.cancel, "cancel"},
    {&async__py_tls_names.cancelled, "cancelled"},
    {&async__py_tls_names.check_handshake_timeout, "_check_handshake_timeout"},
    {&async__py_tls_names.check_hostname, "check_hostname"},
    {&async__py_tls_names.check_shutdown_timeout, "_check_shutdown_timeout"},
    {&async__py_tls_names.cipher, "cipher"},
    {&async__py_tls_names.close, "close"},
    {&async__py_tls_names.compression, "compression"},
    {&async__py_tls_names.connection_lost, "connection_lost"},
    {&async__py_tls_names.connection_made, "connection_made"},
    {&async__py_tls_names.create_default_context, "create_default_context"},
    {&async__py_tls_names.data_received, "data_received"},
    {&async__py_tls_names.debug, "debug"},
    {&async__py_tls_names.do_handshake, "do_handshake"},
    {&async__py_tls_names.eof_received, "eof_received"},
    {&async__py_tls_names.exc_info, "exc_info"},
    {&async__py_tls_names.force_close, "_force_close"},
    {&async__py_tls_names.get_buffer, "get_buffer"},
    {&async__py_tls_names.get_debug, "get_debug"},
    {&async__py_tls_names.get_extra_info, "get_extra_info"},
    {&async__py_tls_names.getpeercert, "getpeercert"},
    {&async__py_tls_names.is_closing, "is_closing"},
    {&async__py_tls_names.memory, "_casyncio_tls_memory"},
    {&async__py_tls_names.pause_reading, "pause_reading"},
    {&async__py_tls_names.pause_writing, "pause_writing"},
    {&async__py_tls_names.pending, "pending"},
    {&async__py_tls_names.peercert, "peercert"},
    {&async__py_tls_names.read, "read"},
    {&async__py_tls_names.resume_reading, "resume_reading"},
    {&async__py_tls_names.resume_writing, "resume_writing"},
    {&async__py_tls_names.resumed, "_resumed"},
    {&async__py_tls_names.set_exception, "set_exception"},
    {&async__py_tls_names.set_result, "set_result"},
    {&async__py_tls_names.shutdown, "shutdown"},
    {&async__py_tls_names.ssl_object, "ssl_object"},
    {&async__py_tls_names.sslobj, "_sslobj"},
    {&async__py_tls_names.time, "time"},
    {&async__py_tls_names.unwrap, "unwrap"},
    {&async__py_tls_names.warning, "warning"},
    {&async__py_tls_names.wrap_bio, "wrap_bio"},
    {&async__py_tls_names.write, "write"},
    {NULL},
};

static const struct {
    PyObject **where;
    const char *module, *name;
} asyncio_classes[] =
    {
        {&async__py_tls_classes.cancelled_error, "asyncio", "CancelledError"},
        {&async__py_tls_classes.buffered_protocol, "asyncio", "BufferedProtocol"},
        {&async__py_tls_classes.logger, "asyncio.log", "logger"},
        {&async__py_tls_classes.handshake_timeout, "asyncio.constants", "SSL_HANDSHAKE_TIMEOUT"},
        {&async__py_tls_classes.shutdown_timeout, "asyncio.constants", "SSL_SHUTDOWN_TIMEOUT"},
        {NULL},
},
  ssl_classes[] = {
      {&async__py_tls_classes.memory_bio, "ssl", "MemoryBIO"},
      {&async__py_tls_classes.ssl_object, "ssl", "SSLObject"},
      {&async__py_tls_classes.ssl_error, "ssl", "SSLError"},
      {&async__py_tls_classes.want_read, "ssl", "SSLWantReadError"},
      {&async__py_tls_classes.syscall_error, "ssl", "SSLSyscallError"},
      {&async__py_tls_classes.zero_return, "ssl", "SSLZeroReturnError"},
      {&async__py_tls_classes.certificate_error, "ssl", "CertificateError"},
      {NULL},
};

static const struct {
    Py_ssize_t *where;
    const char *name;
} asyncio_numbers[] = {
    {&async__py_tls_classes.read_kib, "FLOW_CONTROL_HIGH_WATER_SSL_READ"},
    {&async__py_tls_classes.write_kib, "FLOW_CONTROL_HIGH_WATER_SSL_WRITE"},
    {&async__py_tls_classes.warn_after, "LOG_THRESHOLD_FOR_CONNLOST_WRITES"},
    {NULL},
};

static int find_asyncio(void)
{
    for (size_t i = 0; asyncio_classes[i].where; i++) {
        *asyncio_classes[i].where =
            async__py_import(asyncio_classes[i].module, asyncio_classes[i].name);
        if (!*asyncio_classes[i].where) return -1;
    }
    for (size_t i = 0; asyncio_numbers[i].where; i++) {
        PyObject *number = async__py_import("asyncio.constants", asyncio_numbers[i].name);
        if (!number) return -1;
        *asyncio_numbers[i].where = PyNumber_AsSsize_t(number, NULL);
        Py_DECREF(number);
    }
    return PyErr_Occurred() ? -1 : 0;
}

/* A Python without ssl is no error, until somebody wants TLS. */
static int find_ssl(void)
{
    async__py_tls_classes.ssl = PyImport_ImportModule("ssl");
    if (!async__py_tls_classes.ssl && PyErr_ExceptionMatches(PyExc_ImportError)) {
        PyErr_Clear();
        return 0;
    }
    for (size_t i = 0; async__py_tls_classes.ssl && ssl_classes[i].where; i++) {
        *ssl_classes[i].where = async__py_import(ssl_classes[i].module, ssl_classes[i].name);
        if (!*ssl_classes[i].where) return -1;
    }
    return async__py_tls_classes.ssl ? 0 : -1;
}

int async__py_tls_find_names(void)
{
    return async__py_intern(names) < 0 || find_asyncio() < 0 ? -1 : find_ssl();
}
