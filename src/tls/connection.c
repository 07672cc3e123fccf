/* connection.c - one TLS connection: an SSL as a filter of a stream.
 *
 * The SSL reads and writes by a BIO whose ends are async_filter_recv and async_filter_send. The
 * latter takes all, so that a record is never half sent as far as OpenSSL knows, and a call of
 * SSL_write need not be repeated with the same data: only receiving can come to nothing for now.
 *
 * A peer may send without end what is no data for the application (KeyUpdates, tickets), and SSL_read
 * goes on for as long as it receives. So an attempt receives a limited amount (`room`); then the BIO
 * has nothing for now, and what is left is `pending`, or the wire below is ready again.
 *
 * An idle connection has no buffers: OpenSSL frees its own (SSL_MODE_RELEASE_BUFFERS). It reads
 * ahead, a record's head and body by one system call; what it has read and not yet decrypted is
 * `pending`, unless it was found to be part of a record (`drained`). */
#include "tls_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

enum {
    RECORD = 16 * 1024, /* bytes that a record can have */
    GATHERED = 4096,    /* pieces that are smaller are copied together */
    AT_ONCE = 64 * 1024 /* bytes that one call sends, or receives without data in them */
};

/* ---- the BIO ---- */

static int bio_read(BIO *bio, char *data, size_t size, size_t *n)
{
    async__tls *self = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    *n = 0;
    ssize_t got = self->room > 0 ? async_filter_recv(self->filter, data, size) : -EAGAIN;
    if (got > 0) {
        *n = (size_t)got;
        self->room -= *n < self->room ? *n : self->room;
        return 1;
    }
    if (got == -EAGAIN)
        BIO_set_retry_read(bio);
    else if (got == 0)
        self->is_end = true;
    else
        self->below = (int)got;
    return 0;
}

static int bio_write(BIO *bio, const char *data, size_t size, size_t *n)
{
    async__tls *self = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    int code = async_filter_send(self->filter, data, size);
    *n = code < 0 ? 0 : size;
    if (code < 0) self->unsent = code;
    return code == 0;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    const async__tls *self = BIO_get_data(bio);
    (void)number, (void)pointer;

    switch (command) {
    case BIO_CTRL_FLUSH: return 1;
    case BIO_CTRL_EOF: return self->is_end;
    default: return 0;
    }
}

static BIO_METHOD *method;

static void make_method(void)
{
    BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "casyncio");
    if (!made) return;
    BIO_meth_set_read_ex(made, bio_read);
    BIO_meth_set_write_ex(made, bio_write);
    BIO_meth_set_ctrl(made, bio_ctrl);
    method = made;
}

static BIO *new_bio(async__tls *self)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_method);
    BIO *bio = method ? BIO_new(method) : NULL;
    if (!bio) return NULL;
    BIO_set_data(bio, self);
    BIO_set_init(bio, 1);
    return bio;
}

/* ---- the filter ---- */

/* Before a call of OpenSSL's that may fail. */
static void begin(async__tls *self)
{
    self->below = self->unsent = 0;
    /* To clear a queue that is clean costs a tenth of a call of SSL_read. */
    if (ERR_peek_error() != 0) ERR_clear_error();
}

/* What the call that has failed comes to: -EAGAIN, 0 for the peer's end, or a code that lasts. */
static int outcome(async__tls *self, int result)
{
    int kind = SSL_get_error(self->ssl, result);

    if (kind != SSL_ERROR_WANT_READ && kind != SSL_ERROR_WANT_WRITE)
        return async__tls_failed(self, result);
    ERR_clear_error();
    return -EAGAIN;
}

static int tls_start(void *state)
{
    async__tls *self = state;

    if (self->failed) return self->failed;
    self->room = AT_ONCE;
    begin(self);
    int result = SSL_do_handshake(self->ssl);
    self->drained = result != 1 && self->room > 0;
    if (result == 1) {
        self->done = true;
        return 0;
    }
    int code = outcome(self, result);
    if (code != 0) return code;
    self->is_end = true; /* close_notify */
    return async__tls_failed(self, -1);
}

static ssize_t tls_recv(void *state, void *buffer, size_t size)
{
    async__tls *self = state;
    size_t got = 0, n;

    if (self->failed) return self->failed;
    self->room = size + AT_ONCE;
    do {
        begin(self);
        int result = SSL_read_ex(self->ssl, (char *)buffer + got, size - got, &n);
        if (result != 1) {
            int code = outcome(self, result);
            self->drained = code == -EAGAIN && self->room > 0;
            return got > 0 ? (ssize_t)got : code;
        }
        self->drained = false;
        got += n;
    } while (got < size && SSL_has_pending(self->ssl));
    return (ssize_t)got;
}

static bool tls_pending(const void *state)
{
    const async__tls *self = state;

    if (self->failed || SSL_get_shutdown(self->ssl) & SSL_RECEIVED_SHUTDOWN) return true;
    return !self->drained && SSL_has_pending(self->ssl);
}

/* A place in a list of pieces. */
struct place {
    const struct iovec *piece;
    int count;
    size_t skip;
};

static void advance(struct place *place, size_t size)
{
    place->skip += size;
    while (place->count > 0 && place->skip >= place->piece->iov_len) {
        place->skip -= place->piece->iov_len;
        place->piece++;
        place->count--;
    }
}

/* What the next record is to have: part of a piece, or several small ones, copied to `room`. */
static struct iovec next_record(const struct place *from, char *room)
{
    struct place place = *from;
    size_t size = place.piece->iov_len - place.skip, copied = 0;

    if (place.count == 1 || size >= GATHERED)
        return (struct iovec){(char *)place.piece->iov_base + place.skip,
                              size < RECORD ? size : RECORD};
    while (place.count > 0 && copied < GATHERED) {
        size = place.piece->iov_len - place.skip;
        if (size > GATHERED - copied) size = GATHERED - copied;
        memcpy(room + copied, (char *)place.piece->iov_base + place.skip, size);
        copied += size;
        advance(&place, size);
    }
    return (struct iovec){room, copied};
}

static ssize_t tls_send(void *state, const struct iovec *pieces, int count)
{
    async__tls *self = state;
    struct place place = {pieces, count, 0};
    char room[GATHERED];
    size_t sent = 0, n;

    if (self->failed) return self->failed;
    self->room = AT_ONCE;
    advance(&place, 0); /* empty pieces */
    while (place.count > 0 && sent < AT_ONCE) {
        struct iovec record = next_record(&place, room);
        advance(&place, record.iov_len);
        if (sent == 0 && place.count > 0) async_filter_hold(self->filter);
        begin(self);
        int result = SSL_write_ex(self->ssl, record.iov_base, record.iov_len, &n);
        if (result != 1) {
            int code = outcome(self, result);
            if (code == 0) code = -EPIPE; /* our end has been sent */
            return sent > 0 ? (ssize_t)sent : code;
        }
        sent += n;
    }
    return (ssize_t)sent;
}

static int tls_send_end(void *state)
{
    async__tls *self = state;

    if (self->failed || !self->done) return self->failed;
    self->room = AT_ONCE;
    begin(self);
    int result = SSL_shutdown(self->ssl);
    if (result >= 0) return 0;
    int code = outcome(self, result);
    return code == -EAGAIN ? 0 : code;
}

static const char *tls_reason(const void *state, int code)
{
    const async__tls *self = state;
    return self->failed == code ? self->reason : NULL;
}

static void tls_free(void *state)
{
    async__tls *self = state;

    SSL_free(self->ssl);
    async_tls_context_free(self->context);
    async__free(self->server_name);
    async__free(self->alpn);
    async__free(self->reason);
    async__free(self);
    ERR_clear_error();
}

static const async_filter_type type = {
    .size = sizeof(async_filter_type),
    .name = "TLS handshake",
    .start = tls_start,
    .recv = tls_recv,
    .send = tls_send,
    .send_end = tls_send_end,
    .pending = tls_pending,
    .reason = tls_reason,
    .free = tls_free,
    .protocol = async__tls_protocol,
};

async__tls *async__tls_of(const SSL *ssl) { return SSL_get_app_data(ssl); }

async__tls *async__tls_find(const async_stream *stream)
{
    return async_stream_filter_state(stream, &type);
}

/* ---- making one ---- */

static bool is_address(const char *name)
{
    unsigned char address[16];
    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

/* A name as certificates have it: without the dot at its end, without the zone of an address. */
static char *canonical(const char *name)
{
    size_t size = strcspn(name, "%");
    if (size > 1 && name[size - 1] == '.') size--;
    char *copy = async__alloc(size + 1);
    if (!copy) return NULL;
    memcpy(copy, name, size);
    copy[size] = 0;
    return copy;
}

/* Whom a client asks for, and whom the certificate has to be for. */
static int set_server(async__tls *self)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(self->ssl);
    bool check = self->context->verify && self->context->check_host, good = true;

    SSL_set_connect_state(self->ssl);
    if (!self->server_name) return 0;
    if (is_address(self->server_name)) {
        if (check) good = X509_VERIFY_PARAM_set1_ip_asc(param, self->server_name) == 1;
    } else {
        X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        if (check) good = X509_VERIFY_PARAM_set1_host(param, self->server_name, 0) == 1;
        if (good) good = SSL_set_tlsext_host_name(self->ssl, self->server_name) == 1;
    }
    ERR_clear_error();
    return good ? 0
                : async__tls_raise(-EINVAL, "TLS: '%.255s' is no name of a server",
                                   self->server_name);
}

static int prepare(async__tls *self, const char *server_name)
{
    if (server_name && !(self->server_name = canonical(server_name)))
        return async__tls_raise(-ENOMEM, "no memory for a TLS connection");
    self->ssl = SSL_new(self->context->ssl);
    BIO *bio = self->ssl ? new_bio(self) : NULL;
    if (!bio) {
        ERR_clear_error();
        return async__tls_raise(-ENOMEM, "no memory for a TLS connection");
    }
    SSL_set_bio(self->ssl, bio, bio);
    SSL_set_app_data(self->ssl, self);
    if (self->context->server) {
        SSL_set_accept_state(self->ssl);
        return 0;
    }
    int code = set_server(self);
    if (code == 0) async__tls_offer_session(self);
    return code;
}

static int check(const async_tls_context *context, const char *server_name)
{
    if (!context) return async__tls_raise(-EBADF, "there is no TLS context: it is NULL");
    if (context->server)
        return server_name ? async__tls_raise(-EINVAL, "TLS: a server has no name of a server") : 0;
    if (server_name && !*server_name)
        return async__tls_raise(-EINVAL, "TLS: the server's name is empty");
    if (!server_name && context->verify && context->check_host)
        return async__tls_raise(-EINVAL, "TLS: without the server's name its certificate cannot be "
                                         "verified");
    return 0;
}

int async__tls_attach(async_tls_context *context, async_stream *stream, const char *server_name)
{
    int code = check(context, server_name);
    if (code < 0) return code;
    async__tls *self = async__alloc_zeroed(sizeof *self);
    if (!self) return async__tls_raise(-ENOMEM, "no memory for a TLS connection");
    self->context = async__tls_context_ref(context);
    code = prepare(self, server_name);
    if (code == 0) {
        self->filter = async_stream_filter(
            stream, &(async_filter_options){.type = &type,
                                            .self = self,
                                            .start_timeout = context->handshake_timeout,
                                            .close_timeout = context->shutdown_timeout});
        if (self->filter) return 0;
        code = async_error_code();
    }
    tls_free(self);
    return code;
}
