/* session.c - the sessions that a client resumes: one for each server name, the last that it has
 * given.
 *
 * With TLS 1.3 a session comes some time after the handshake, while data is read, and is good for one
 * connection (RFC 8446, C.4): it is taken out as it is offered. They belong to the context, since
 * what has been verified depends on that. The name of the server is what its certificate was
 * verified for. */
#include "tls_internal.h"

#include <string.h>

enum { MOST = 100 };

struct async__tls_session {
    struct async__tls_session *next;
    SSL_SESSION *session;
    char name[];
};

static void drop(async_tls_context *context, struct async__tls_session **at)
{
    struct async__tls_session *session = *at;

    *at = session->next;
    context->session_count--;
    SSL_SESSION_free(session->session);
    async__free(session);
}

static struct async__tls_session **find(async_tls_context *context, const char *name)
{
    struct async__tls_session **at = &context->sessions;

    while (*at && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

/* OpenSSL's reference to the session passes if this gives 1. */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    async__tls *tls = async__tls_of(ssl);
    async_tls_context *context = tls ? tls->context : NULL;
    size_t size = tls && tls->server_name ? strlen(tls->server_name) + 1 : 0;

    if (size == 0 || !SSL_SESSION_is_resumable(session)) return 0;
    struct async__tls_session *kept = async__alloc(sizeof *kept + size);
    if (!kept) return 0;
    memcpy(kept->name, tls->server_name, size);
    kept->session = session;
    pthread_mutex_lock(&context->lock);
    struct async__tls_session **at = find(context, kept->name);
    if (*at) drop(context, at);
    kept->next = context->sessions;
    context->sessions = kept;
    if (++context->session_count > MOST) {
        for (at = &context->sessions; (*at)->next;)
            at = &(*at)->next;
        drop(context, at);
    }
    pthread_mutex_unlock(&context->lock);
    return 1;
}

void async__tls_keep_sessions(async_tls_context *context)
{
    SSL_CTX_set_session_cache_mode(context->ssl,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context->ssl, on_new_session);
}

void async__tls_offer_session(async__tls *tls)
{
    async_tls_context *context = tls->context;

    if (!tls->server_name) return;
    pthread_mutex_lock(&context->lock);
    struct async__tls_session **at = find(context, tls->server_name);
    if (*at) {
        SSL_set_session(tls->ssl, (*at)->session);
        if (SSL_SESSION_get_protocol_version((*at)->session) >= TLS1_3_VERSION) drop(context, at);
    }
    pthread_mutex_unlock(&context->lock);
}

void async__tls_free_sessions(async_tls_context *context)
{
    while (context->sessions)
        drop(context, &context->sessions);
}
