/* certificate.c - certificates and keys from files, and which of several a server shows.
 *
 * The files are read by OpenSSL's own functions, but are opened here first, so that one that is
 * missing is told by its errno and its name. */
#include "tls_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct async__tls_certificate {
    struct async__tls_certificate *next;
    X509 *certificate;
    EVP_PKEY *key;
    STACK_OF(X509) * chain;
};

struct password {
    const char *text; /* NULL: none */
    bool missing;     /* it was asked for, and there is none */
    bool given;       /* it was asked for, and given */
};

/* Without a password a key that has one is an error, and no prompt. */
static int give_password(char *buffer, int size, int writing, void *data)
{
    struct password *password = data;
    (void)writing;
    size_t length = password->text ? strlen(password->text) : 0;

    password->missing = !password->text;
    if (!password->text || length > (size_t)size) return -1;
    memcpy(buffer, password->text, length);
    password->given = true;
    return (int)length;
}

/* ---- reading files ---- */

static BIO *open_file(const char *path, const char *what)
{
    BIO *file = BIO_new_file(path, "r");
    if (file) return file;
    int code = errno ? -errno : -EIO;
    ERR_clear_error();
    async__tls_raise(code, "%s %s: %s", what, path, async_strerror(code));
    return NULL;
}

static int not_pem(const char *path, const char *what)
{
    char text[256];
    unsigned long error = async__tls_take_error(text, sizeof text);

    if (ERR_GET_REASON(error) == PEM_R_NO_START_LINE)
        return async__tls_raise(-EINVAL, "%s %s: there is none in it", what, path);
    if (ERR_GET_REASON(error) == PEM_R_BAD_DECRYPT || ERR_GET_LIB(error) == ERR_LIB_PROV ||
        ERR_GET_LIB(error) == ERR_LIB_EVP)
        return async__tls_raise(-EINVAL, "%s %s: the password is wrong, or the file damaged", what,
                                path);
    return async__tls_raise(-EINVAL, "%s %s: %s", what, path, text);
}

static int read_chain(struct async__tls_certificate *self, BIO *file, const char *path)
{
    struct password none = {0};
    X509 *next;

    self->certificate = PEM_read_bio_X509_AUX(file, NULL, give_password, &none);
    if (!self->certificate) return not_pem(path, "certificate");
    self->chain = sk_X509_new_null();
    while (self->chain && (next = PEM_read_bio_X509(file, NULL, give_password, &none)))
        if (!sk_X509_push(self->chain, next)) {
            X509_free(next);
            return async__tls_raise(-ENOMEM, "no memory for the certificates of %s", path);
        }
    unsigned long error = ERR_peek_last_error();
    if (error && ERR_GET_REASON(error) != PEM_R_NO_START_LINE) return not_pem(path, "certificate");
    ERR_clear_error();
    return 0;
}

static int read_key(struct async__tls_certificate *self, const char *path, const char *text)
{
    struct password password = {.text = text};
    BIO *file = open_file(path, "key");
    if (!file) return async_error_code();
    ERR_clear_error();
    self->key = PEM_read_bio_PrivateKey(file, NULL, give_password, &password);
    BIO_free(file);
    if (!self->key && password.missing) {
        ERR_clear_error();
        return async__tls_raise(-EINVAL, "key %s: it needs a password", path);
    }
    /* With a wrong password what has been decrypted is mostly padded wrongly, and now and then well: then
     * it is not a key. */
    if (!self->key && password.given) {
        ERR_clear_error();
        return async__tls_raise(-EINVAL, "key %s: the password is wrong, or the file damaged",
                                path);
    }
    if (!self->key) return not_pem(path, "key");
    if (X509_check_private_key(self->certificate, self->key) == 1) return 0;
    ERR_clear_error();
    return async__tls_raise(-EINVAL, "key %s: it does not belong to the certificate", path);
}

static void clear(struct async__tls_certificate *self)
{
    X509_free(self->certificate);
    EVP_PKEY_free(self->key);
    sk_X509_pop_free(self->chain, X509_free);
}

static int read_all(struct async__tls_certificate *self, const char *certificate, const char *key,
                    const char *password)
{
    BIO *file = open_file(certificate, "certificate");
    if (!file) return async_error_code();
    ERR_clear_error();
    int code = read_chain(self, file, certificate);
    BIO_free(file);
    return code < 0 ? code : read_key(self, key ? key : certificate, password);
}

/* ---- using them ---- */

int async__tls_use_certificate(SSL_CTX *ssl, const char *certificate, const char *key,
                               const char *password)
{
    struct async__tls_certificate read = {0};
    char text[256];
    int code = read_all(&read, certificate, key, password);

    if (code == 0 &&
        SSL_CTX_use_cert_and_key(ssl, read.certificate, read.key, read.chain, 1) != 1) {
        async__tls_take_error(text, sizeof text);
        code = async__tls_raise(-EINVAL, "certificate %s: %s", certificate, text);
    }
    clear(&read);
    return code;
}

static bool is_for(const struct async__tls_certificate *self, const char *name)
{
    return X509_check_host(self->certificate, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
                           NULL) == 1;
}

static int on_server_name(SSL *ssl, int *alert, void *data)
{
    async_tls_context *context = data;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

    for (struct async__tls_certificate *c = name ? context->certificates : NULL; c; c = c->next) {
        if (!is_for(c, name)) continue;
        if (SSL_use_cert_and_key(ssl, c->certificate, c->key, c->chain, 1) != 1) {
            *alert = SSL_AD_INTERNAL_ERROR;
            return SSL_TLSEXT_ERR_ALERT_FATAL;
        }
        break;
    }
    return SSL_TLSEXT_ERR_OK;
}

void async__tls_choose_certificates(async_tls_context *context)
{
    SSL_CTX_set_tlsext_servername_callback(context->ssl, on_server_name);
    SSL_CTX_set_tlsext_servername_arg(context->ssl, context);
}

int async_tls_context_add_certificate(async_tls_context *context, const char *certificate,
                                      const char *key, const char *key_password)
{
    struct async__tls_certificate *added, **last;

    if (!context) return async__tls_raise(-EBADF, "there is no TLS context: it is NULL");
    if (!context->server || !certificate)
        return async__tls_raise(-EINVAL, "async_tls_context_add_certificate: %s",
                                certificate ? "the context is a client's" : "there is no file");
    if (!SSL_CTX_get0_certificate(context->ssl))
        return async__tls_use_certificate(context->ssl, certificate, key, key_password);
    added = async__alloc_zeroed(sizeof *added);
    if (!added) return async__tls_raise(-ENOMEM, "no memory for a certificate");
    int code = read_all(added, certificate, key, key_password);
    if (code < 0) {
        clear(added);
        async__free(added);
        return code;
    }
    for (last = &context->certificates; *last; last = &(*last)->next)
        ;
    *last = added;
    return 0;
}

void async__tls_free_certificates(async_tls_context *context)
{
    struct async__tls_certificate *next;

    for (struct async__tls_certificate *c = context->certificates; c; c = next) {
        next = c->next;
        clear(c);
        async__free(c);
    }
}
