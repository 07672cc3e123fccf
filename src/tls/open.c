/* open.c - connecting, serving, STARTTLS. */
#include "tls_internal.h"

#include <errno.h>

/* ---- connecting ---- */

/* The default context, unless there is one; NULL with the last error set. */
static async_tls_context *client_context(async_tls_context *context)
{
    if (!context) return async__tls_default_context();
    if (!context->server) return context;
    async__tls_raise(-EINVAL, "TLS: the context for a connection is a server's");
    return NULL;
}

/* Says with whom it failed. */
static int handshake_with(async_stream *stream, const char *whom)
{
    int code = async_stream_handshake(stream);
    const async__tls *tls = async__tls_find(stream);

    if (code < 0 && tls->failed == code && tls->reason)
        async__tls_raise(code, "TLS handshake with %s: %s", whom, tls->reason);
    return code;
}

/* The stream, speaking TLS, or NULL, and it is gone. */
static async_stream *secure(async_stream *stream, async_tls_context *context,
                            const char *server_name, const char *whom)
{
    if (!stream) return NULL;
    int code = async__tls_attach(context, stream, server_name);
    if (code == 0) code = handshake_with(stream, whom);
    if (code == 0) return stream;
    async_stream_abort(stream);
    return NULL;
}

async_stream *async_tls_open_connection(const char *host, int port, async_tls_context *context)
{
    char whom[300];

    context = client_context(context);
    if (!context) return NULL;
    async_stream *stream = async_open_connection(host, port);
    snprintf(whom, sizeof whom, "%s port %d", host ? host : "", port);
    return secure(stream, context, host, whom);
}

async_stream *async_tls_open_unix_connection(const char *path, const char *server_name,
                                             async_tls_context *context)
{
    context = client_context(context);
    if (!context) return NULL;
    async_stream *stream = async_open_unix_connection(path);
    return secure(stream, context, server_name, path);
}

/* ---- serving ---- */

static int make_filter(void *context, async_stream *stream)
{
    return async__tls_attach(context, stream, NULL);
}

static void drop_context(void *context) { async_tls_context_free(context); }

static int check_server(const async_tls_context *context)
{
    if (!context) return async__tls_raise(-EBADF, "there is no TLS context: it is NULL");
    if (!context->server)
        return async__tls_raise(-EINVAL, "TLS: the context for a server is a client's");
    if (!SSL_CTX_get0_certificate(context->ssl))
        return async__tls_raise(-EINVAL, "TLS: the server has no certificate");
    return 0;
}

int async__tls_secure(async_server_securer *securer, async_server *server)
{
    async_tls_context *context = (async_tls_context *)securer;
    int code = check_server(context);

    if (code < 0) return code;
    async__tls_context_ref(context);
    code = async_server_set_filter(server, make_filter, drop_context, context);
    if (code < 0) async_tls_context_free(context);
    return code;
}

static async_server *serve(async_server *server, async_tls_context *context)
{
    if (server) async__tls_secure(&context->securer, server);
    return server;
}

async_server *async__tls_start_server(const char *host, int port, async_tls_context *context,
                                      const async_server_options *options, size_t options_size)
{
    if (check_server(context) < 0) return NULL;
    return serve(async__start_server(host, port, options, options_size), context);
}

async_server *async__tls_start_unix_server(const char *path, async_tls_context *context,
                                           const async_server_options *options, size_t options_size)
{
    if (check_server(context) < 0) return NULL;
    return serve(async__start_unix_server(path, options, options_size), context);
}

/* ---- STARTTLS ---- */

int async_stream_start_tls(async_stream *stream, async_tls_context *context,
                           const char *server_name)
{
    if (!context && server_name && !(context = async__tls_default_context()))
        return async_error_code();
    if (context && context->server && check_server(context) < 0) return async_error_code();
    int code = async__tls_attach(context, stream, server_name);
    return code < 0 ? code : async_stream_handshake(stream);
}

int async_tls_handshake(async_stream *stream)
{
    if (!stream) return async__tls_raise(-EBADF, "there is no stream: it is NULL");
    if (!async__tls_find(stream))
        return async__tls_raise(-ENOTCONN, "the stream does not speak TLS");
    return async_stream_handshake(stream);
}
