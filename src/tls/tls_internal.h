/* tls_internal.h - TLS from the inside.
 *
 *   context.c      options become an SSL_CTX
 *   certificate.c  certificates and keys from files; which of several a server shows
 *   session.c      the sessions that a client resumes
 *   connection.c   one connection: an SSL as a filter of a stream (casyncio/filters.h)
 *   failure.c      what OpenSSL says of a failure, as a code and a message
 *   open.c         connecting, serving, STARTTLS
 *   peer.c         what has been agreed on, and the peer's certificate
 *
 * The library stands on the public headers alone (and on src/base, compiled into it), since it is a
 * shared library of its own.
 *
 * OpenSSL's error queue belongs to the thread, not to a task. It is cleared before each call that
 * may fail, read right after, and left clean; no function here waits between the two. */
#ifndef CASYNCIO_TLS_INTERNAL_H
#define CASYNCIO_TLS_INTERNAL_H

#include "../base/memory.h"
#include "../base/options.h"

#include <casyncio/errors.h>
#include <casyncio/filters.h>
#include <casyncio/loop.h>
#include <casyncio/tls.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

/* async_raise, without a place: that of the library says nothing to its users. */
#define async__tls_raise(...) async_raise_at(NULL, 0, NULL, __VA_ARGS__)

struct async__tls_certificate; /* one of a server's: certificate.c */
struct async__tls_session;     /* session.c */

struct async_tls_context {
    async_server_securer securer; /* is the first: the HTTP server finds it so */
    atomic_uint references;
    SSL_CTX *ssl;
    bool server, verify, check_host;
    double handshake_timeout, shutdown_timeout;
    unsigned char *alpn; /* as it goes over the wire */
    unsigned alpn_size;
    struct async__tls_certificate *certificates; /* further ones, the first first */
    FILE *key_log;

    pthread_mutex_t lock;                /* of what follows */
    struct async__tls_session *sessions; /* the one that was used last first */
    unsigned session_count;
};

typedef struct async__tls {
    SSL *ssl;
    async_filter *filter;
    async_tls_context *context;
    char *server_name; /* of a client: whom the certificate has to be for; or NULL */
    bool done;         /* the handshake is */
    bool is_end;       /* what is below has ended */
    bool drained;      /* the last read has found nothing more to decrypt */
    size_t room;       /* bytes that this attempt may still receive */
    int below, unsent; /* what receiving and sending below have failed with, in this call; or 0 */
    int failed;        /* the code of a failure, which lasts; or 0 */
    char *alpn;        /* once it has been asked for */
    char *reason;      /* its message; NULL: there was no memory, or it is the code's */
    int verify_error;  /* X509_V_ERR_...: the peer's certificate was refused */
} async__tls;

/* The connection that an SSL belongs to. */
async__tls *async__tls_of(const SSL *ssl);

/* Makes a connection in the context as a filter for that stream; `server_name` is a client's, or NULL. 0
 * or a code with its message. May wait, as async_stream_filter does. */
int async__tls_attach(async_tls_context *context, async_stream *stream, const char *server_name);
/* The filter's: what ALPN has agreed on. */
const char *async__tls_protocol(const void *state);
/* NULL: it has no TLS. */
async__tls *async__tls_find(const async_stream *stream);

/* ---- contexts ---- */

/* Puts TLS on the streams that a server accepts: 0 or a code with its message. */
int async__tls_secure(async_server_securer *context, async_server *server);
async_tls_context *async__tls_context_ref(async_tls_context *context);
/* The one of clients with default options; NULL with the last error set. It stays the library's. */
async_tls_context *async__tls_default_context(void);

/* ---- certificates ---- */

/* Sets the context's first certificate. 0 or a code with its message. */
int async__tls_use_certificate(SSL_CTX *ssl, const char *certificate, const char *key,
                               const char *password);
void async__tls_choose_certificates(async_tls_context *context); /* by the name that is asked for */
void async__tls_free_certificates(async_tls_context *context);

/* ---- sessions ---- */

void async__tls_keep_sessions(async_tls_context *context);
void async__tls_free_sessions(async_tls_context *context);
/* Offers the server of that name the last session with it, if there is one. */
void async__tls_offer_session(async__tls *tls);

/* ---- failures ---- */

/* The first error of OpenSSL's queue as text, in `text`; the queue is left empty. Gives its code. */
unsigned long async__tls_take_error(char *text, size_t size);
/* What a call on self->ssl has given is a failure (SSL_get_error is neither of the WANTs): notes it.
 * Gives its code; 0: it is the peer's orderly end. */
int async__tls_failed(async__tls *self, int result);
/* SSL_CTX_set_verify's callback: notes what is wrong with a certificate. */
int async__tls_on_verify(int good, X509_STORE_CTX *store);
/* "CN=a", as RFC 2253 has it; NULL: no memory. To be freed with async__free. */
char *async__tls_name_text(const X509_NAME *name);

#endif
