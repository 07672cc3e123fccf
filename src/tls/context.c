/* context.c - options become an SSL_CTX. */
#include "tls_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HANDSHAKE_TIMEOUT 60.0 /* asyncio's */
#define SHUTDOWN_TIMEOUT 30.0

/* ---- whom to trust ---- */

/* OpenSSL's error, or if it is about a file that cannot be read that file's errno. */
static int bad_file(const char *what, const char *path)
{
    char text[256];
    struct stat status;

    async__tls_take_error(text, sizeof text);
    if (access(path, R_OK) < 0) {
        int code = -errno;
        return async__tls_raise(code, "%s %s: %s", what, path, async_strerror(code));
    }
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        return async__tls_raise(-EISDIR, "%s %s: %s", what, path, async_strerror(-EISDIR));
    return async__tls_raise(-EINVAL, "%s %s: %s", what, path, text);
}

static int set_authorities(SSL_CTX *ssl, const async_tls_options *options)
{
    struct stat status;

    if (options->ca_file && SSL_CTX_load_verify_file(ssl, options->ca_file) != 1)
        return bad_file("ca_file", options->ca_file);
    if (options->ca_path) {
        int code = stat(options->ca_path, &status) < 0 ? -errno
                   : S_ISDIR(status.st_mode)           ? 0
                                                       : -ENOTDIR;
        if (code < 0)
            return async__tls_raise(code, "ca_path %s: %s", options->ca_path, async_strerror(code));
        if (SSL_CTX_load_verify_dir(ssl, options->ca_path) != 1)
            return bad_file("ca_path", options->ca_path);
    }
    if (!options->ca_file && !options->ca_path) SSL_CTX_set_default_verify_paths(ssl);
    ERR_clear_error();
    return 0;
}

static int set_revoked(SSL_CTX *ssl, const async_tls_options *options)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ssl);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    unsigned long flags = X509_V_FLAG_CRL_CHECK;

    if (!lookup || X509_load_crl_file(lookup, options->crl_file, X509_FILETYPE_PEM) <= 0)
        return bad_file("crl_file", options->crl_file);
    if (options->crl_check_chain) flags |= X509_V_FLAG_CRL_CHECK_ALL;
    X509_STORE_set_flags(store, flags);
    ERR_clear_error();
    return 0;
}

static int accept_any(X509_STORE_CTX *store, void *unused)
{
    (void)store, (void)unused;
    return 1;
}

static int set_verification(async_tls_context *self, const async_tls_options *options)
{
    static const int modes[] = {
        [ASYNC_TLS_NO_CLIENT_CERTIFICATE] = SSL_VERIFY_NONE,
        [ASYNC_TLS_CLIENT_CERTIFICATE_OPTIONAL] = SSL_VERIFY_PEER,
        [ASYNC_TLS_CLIENT_CERTIFICATE_REQUIRED] = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
    };
    int mode = self->server ? modes[options->client_certificate] : SSL_VERIFY_PEER;

    if (mode == SSL_VERIFY_NONE) return 0;
    SSL_CTX_set_verify(self->ssl, mode, async__tls_on_verify);
    if (!self->verify) {
        SSL_CTX_set_cert_verify_callback(self->ssl, accept_any, NULL);
        return 0;
    }
    int code = set_authorities(self->ssl, options);
    if (code == 0 && options->crl_file) code = set_revoked(self->ssl, options);
    if (code == 0 && self->server && options->ca_file)
        SSL_CTX_set_client_CA_list(self->ssl, SSL_load_client_CA_file(options->ca_file));
    ERR_clear_error();
    return code;
}

/* ---- protocols ---- */

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                   const unsigned char *in, unsigned in_size, void *data)
{
    const async_tls_context *self = data;
    unsigned char *chosen;
    (void)ssl;

    if (SSL_select_next_proto(&chosen, out_size, self->alpn, self->alpn_size, in, in_size) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301, 3.2 */
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int set_alpn(async_tls_context *self, const char *const *names)
{
    size_t size = 0;

    for (const char *const *name = names; *name; name++) {
        if (!**name || strlen(*name) > 255)
            return async__tls_raise(-EINVAL, "alpn: a name of %zu bytes", strlen(*name));
        size += 1 + strlen(*name);
    }
    if (size == 0) return 0;
    if (size > 65535) return async__tls_raise(-EINVAL, "alpn: %zu bytes are too many", size);
    unsigned char *at = self->alpn = async__alloc(size);
    if (!at) return async__tls_raise(-ENOMEM, "no memory for a TLS context");
    for (const char *const *name = names; *name; name++) {
        size_t length = strlen(*name);
        *at++ = (unsigned char)length;
        memcpy(at, *name, length);
        at += length;
    }
    self->alpn_size = (unsigned)size;
    if (self->server)
        SSL_CTX_set_alpn_select_cb(self->ssl, on_alpn, self);
    else if (SSL_CTX_set_alpn_protos(self->ssl, self->alpn, self->alpn_size) != 0)
        return async__tls_raise(-ENOMEM, "no memory for a TLS context");
    return 0;
}

static int version_of(enum async_tls_version version)
{
    return version == ASYNC_TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;
}

static bool is_version(enum async_tls_version version)
{
    return !version || version == ASYNC_TLS_1_2 || version == ASYNC_TLS_1_3;
}

static int set_protocols(async_tls_context *self, const async_tls_options *options)
{
    SSL_CTX *ssl = self->ssl;
    int least = TLS1_2_VERSION;

    if (options->least_version) least = version_of(options->least_version);
    SSL_CTX_set_min_proto_version(ssl, least);
    if (options->greatest_version)
        SSL_CTX_set_max_proto_version(ssl, version_of(options->greatest_version));
    if (options->ciphers && SSL_CTX_set_cipher_list(ssl, options->ciphers) != 1) {
        ERR_clear_error();
        return async__tls_raise(-EINVAL, "ciphers: '%s' names none", options->ciphers);
    }
    if (options->cipher_suites && SSL_CTX_set_ciphersuites(ssl, options->cipher_suites) != 1) {
        ERR_clear_error();
        return async__tls_raise(-EINVAL, "cipher_suites: '%s' is no list of TLS 1.3's",
                                options->cipher_suites);
    }
    return options->alpn ? set_alpn(self, options->alpn) : 0;
}

/* ---- the key log ---- */

static void on_key(const SSL *ssl, const char *line)
{
    async__tls *tls = async__tls_of(ssl);
    if (!tls) return;
    pthread_mutex_lock(&tls->context->lock);
    fprintf(tls->context->key_log, "%s\n", line);
    fflush(tls->context->key_log);
    pthread_mutex_unlock(&tls->context->lock);
}

static int open_key_log(async_tls_context *self, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    if (fd >= 0 && !(self->key_log = fdopen(fd, "a"))) close(fd);
    if (!self->key_log) {
        int code = errno ? -errno : -EIO;
        return async__tls_raise(code, "key_log_file %s: %s", path, async_strerror(code));
    }
    SSL_CTX_set_keylog_callback(self->ssl, on_key);
    return 0;
}

/* ---- making one ---- */

static void set_modes(async_tls_context *self, const async_tls_options *options)
{
    static const unsigned char id[] = "casyncio";
    SSL_CTX *ssl = self->ssl;

    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_read_ahead(ssl, 1);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ssl, id, sizeof id - 1);
    if (self->server) SSL_CTX_set_options(ssl, SSL_OP_CIPHER_SERVER_PREFERENCE);
    if (options->no_resumption) {
        SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(ssl, 0);
    } else if (!self->server) {
        async__tls_keep_sessions(self);
    }
}

static int configure(async_tls_context *self, const async_tls_options *options)
{
    int code = 0;

    set_modes(self, options);
    if (options->certificate)
        code = async__tls_use_certificate(self->ssl, options->certificate, options->key,
                                          options->key_password);
    if (code == 0) code = set_verification(self, options);
    if (code == 0) code = set_protocols(self, options);
    if (code == 0 && options->key_log_file) code = open_key_log(self, options->key_log_file);
    if (code == 0 && self->server) async__tls_choose_certificates(self);
    return code;
}

static double timeout_or(double given, double otherwise) { return given > 0 ? given : otherwise; }

static int check(const async_tls_options *options, bool server)
{
    const char *what = NULL;

    if (!(options->handshake_timeout >= 0) || !(options->shutdown_timeout >= 0))
        what = "a time-out is not a number of seconds";
    else if (!is_version(options->least_version) || !is_version(options->greatest_version))
        what = "a version is neither 1.2 nor 1.3";
    else if (options->greatest_version && options->least_version > options->greatest_version)
        what = "least_version is greater than greatest_version";
    else if ((unsigned)options->client_certificate > ASYNC_TLS_CLIENT_CERTIFICATE_REQUIRED)
        what = "client_certificate is none of its values";
    else if (options->client_certificate && !server)
        what = "client_certificate is a server's";
    else if (options->client_certificate && !options->insecure_skip_verify && !options->ca_file &&
             !options->ca_path)
        what = "client_certificate needs ca_file or ca_path: whose are good?";
    else if (options->key && !options->certificate)
        what = "there is a key, but no certificate";
    else if (options->crl_check_chain && !options->crl_file)
        what = "crl_check_chain needs crl_file";
    return what ? async__tls_raise(-EINVAL, "TLS: %s", what) : 0;
}

static async_tls_context *new_context(const async_tls_options *given, size_t size, bool server)
{
    async_tls_options options;

    if (async__options(&options, sizeof options, given, size) < 0) {
        async__tls_raise(-EINVAL, "TLS: an option of a newer version");
        return NULL;
    }
    if (check(&options, server) < 0) return NULL;
    async_tls_context *self = async__alloc_zeroed(sizeof *self);
    if (self) self->ssl = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (!self || !self->ssl) {
        ERR_clear_error();
        async__free(self);
        async__tls_raise(-ENOMEM, "no memory for a TLS context");
        return NULL;
    }
    atomic_init(&self->references, 1);
    pthread_mutex_init(&self->lock, NULL);
    self->securer.secure = async__tls_secure;
    self->server = server;
    self->verify = !options.insecure_skip_verify;
    self->check_host = !options.no_host_name_check;
    self->handshake_timeout = timeout_or(options.handshake_timeout, HANDSHAKE_TIMEOUT);
    self->shutdown_timeout = timeout_or(options.shutdown_timeout, SHUTDOWN_TIMEOUT);
    if (configure(self, &options) == 0) return self;
    async_tls_context_free(self);
    return NULL;
}

async_tls_context *async__tls_client_context(const async_tls_options *options, size_t size)
{
    return new_context(options, size, false);
}

async_tls_context *async__tls_server_context(const async_tls_options *options, size_t size)
{
    return new_context(options, size, true);
}

async_tls_context *async__tls_default_context(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static async_tls_context *context;

    pthread_mutex_lock(&lock);
    if (!context) context = async_tls_client_context(NULL);
    pthread_mutex_unlock(&lock);
    return context;
}

async_tls_context *async__tls_context_ref(async_tls_context *context)
{
    atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

void async_tls_context_free(async_tls_context *context)
{
    if (!context || atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel) > 1)
        return;
    async__tls_free_sessions(context);
    async__tls_free_certificates(context);
    SSL_CTX_free(context->ssl);
    if (context->key_log) fclose(context->key_log);
    pthread_mutex_destroy(&context->lock);
    async__free(context->alpn);
    async__free(context);
}
