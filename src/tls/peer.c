/* peer.c - what has been agreed on, and the peer's certificate. */
#include "tls_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <time.h>

/* ---- what has been agreed on ---- */

/* The stream's connection, after its handshake; else NULL. */
static async__tls *connected(const async_stream *stream)
{
    async__tls *tls = stream ? async__tls_find(stream) : NULL;
    return tls && tls->done ? tls : NULL;
}

/* OpenSSL has it without a 0 byte behind it. */
static const char *alpn(async__tls *tls)
{
    const unsigned char *name;
    unsigned size;

    if (tls->alpn) return tls->alpn;
    SSL_get0_alpn_selected(tls->ssl, &name, &size);
    if (size == 0) return "";
    char *copy = async__alloc(size + 1);
    if (!copy) return "";
    memcpy(copy, name, size);
    copy[size] = 0;
    return tls->alpn = copy;
}

const char *async_tls_alpn(const async_stream *stream)
{
    async__tls *tls = connected(stream);
    return tls ? alpn(tls) : "";
}

const char *async__tls_protocol(const void *state)
{
    async__tls *tls = (void *)state;
    return tls->done ? alpn(tls) : "";
}

const char *async_tls_version(const async_stream *stream)
{
    const async__tls *tls = connected(stream);
    return tls ? SSL_get_version(tls->ssl) : "";
}

const char *async_tls_cipher(const async_stream *stream)
{
    const async__tls *tls = connected(stream);
    return tls ? SSL_CIPHER_get_name(SSL_get_current_cipher(tls->ssl)) : "";
}

const char *async_tls_server_name(const async_stream *stream)
{
    const async__tls *tls = connected(stream);
    const char *name = tls ? SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name) : NULL;
    return name ? name : "";
}

bool async_tls_resumed(const async_stream *stream)
{
    const async__tls *tls = connected(stream);
    return tls && SSL_session_reused(tls->ssl);
}

/* ---- the peer's certificate ---- */

struct certificate {
    async_tls_certificate public;
    char **names;
    char *strings[4]; /* subject, issuer, serial, PEM */
};

static char *copy(const char *text, size_t size)
{
    char *made = async__alloc(size + 1);
    if (!made) return NULL;
    memcpy(made, text, size);
    made[size] = 0;
    return made;
}

static int64_t seconds(const ASN1_TIME *time)
{
    struct tm parts;
    return ASN1_TIME_to_tm(time, &parts) == 1 ? (int64_t)timegm(&parts) : 0;
}

static char *serial_of(const X509 *x509)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x509), NULL);
    char *hex = number ? BN_bn2hex(number) : NULL;
    char *made = hex ? copy(hex, strlen(hex)) : NULL;

    OPENSSL_free(hex);
    BN_free(number);
    return made;
}

static char *pem_of(X509 *x509)
{
    BIO *memory = BIO_new(BIO_s_mem());
    char *text, *made = NULL;

    if (memory && PEM_write_bio_X509(memory, x509) == 1) {
        long size = BIO_get_mem_data(memory, &text);
        made = copy(text, (size_t)size);
    }
    BIO_free(memory);
    return made;
}

/* "DNS:a", "IP:::1", "URI:...", "email:..."; other kinds are "other:". */
static char *name_text(const GENERAL_NAME *name)
{
    static const char *const kinds[] = {
        [GEN_EMAIL] = "email:", [GEN_DNS] = "DNS:", [GEN_URI] = "URI:"};
    char text[64] = "IP:";
    int size;

    switch (name->type) {
    case GEN_EMAIL:
    case GEN_DNS:
    case GEN_URI: {
        const char *kind = kinds[name->type];
        size_t length = strlen(kind);
        size = ASN1_STRING_length(name->d.ia5);
        char *made = async__alloc(length + (size_t)size + 1);
        if (!made) return NULL;
        memcpy(made, kind, length);
        memcpy(made + length, ASN1_STRING_get0_data(name->d.ia5), (size_t)size);
        made[length + (size_t)size] = 0;
        return made;
    }
    case GEN_IPADD:
        size = ASN1_STRING_length(name->d.iPAddress);
        if ((size == 4 || size == 16) &&
            inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(name->d.iPAddress),
                      text + 3, sizeof text - 3))
            return copy(text, strlen(text));
        return copy("other:", 6);
    default: return copy("other:", 6);
    }
}

static bool list_names(struct certificate *self, X509 *x509)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x509, NID_subject_alt_name, NULL, NULL);
    int count = names ? sk_GENERAL_NAME_num(names) : 0;
    bool good = true;

    self->names = async__alloc_zeroed(((size_t)count + 1) * sizeof *self->names);
    for (int i = 0; i < count && self->names && good; i++) {
        self->names[i] = name_text(sk_GENERAL_NAME_value(names, i));
        good = self->names[i] != NULL;
    }
    GENERAL_NAMES_free(names);
    return self->names && good;
}

static async_tls_certificate *describe(X509 *x509)
{
    struct certificate *self = async__alloc_zeroed(sizeof *self);
    if (!self) return NULL;
    bool good = list_names(self, x509);

    self->strings[0] = async__tls_name_text(X509_get_subject_name(x509));
    self->strings[1] = async__tls_name_text(X509_get_issuer_name(x509));
    self->strings[2] = serial_of(x509);
    self->strings[3] = pem_of(x509);
    for (int i = 0; i < 4; i++)
        good = good && self->strings[i];
    self->public = (async_tls_certificate){
        .subject = self->strings[0],
        .issuer = self->strings[1],
        .names = (const char *const *)self->names,
        .serial = self->strings[2],
        .not_before = seconds(X509_get0_notBefore(x509)),
        .not_after = seconds(X509_get0_notAfter(x509)),
        .pem = self->strings[3],
    };
    if (good) return &self->public;
    async_tls_certificate_free(&self->public);
    return NULL;
}

async_tls_certificate *async_tls_peer_certificate(const async_stream *stream)
{
    const async__tls *tls = connected(stream);
    X509 *x509 = tls ? SSL_get0_peer_certificate(tls->ssl) : NULL;

    if (!tls)
        async__tls_raise(-ENOTCONN, "the stream does not speak TLS, or its handshake is not done");
    else if (!x509)
        async__tls_raise(-ENODATA, "the peer has no certificate");
    if (!x509) return NULL;
    async_tls_certificate *certificate = describe(x509);
    ERR_clear_error();
    if (!certificate) async__tls_raise(-ENOMEM, "no memory for a certificate");
    return certificate;
}

void async_tls_certificate_free(async_tls_certificate *certificate)
{
    struct certificate *self = (struct certificate *)certificate;

    if (!self) return;
    for (size_t i = 0; self->names && self->names[i]; i++)
        async__free(self->names[i]);
    async__free(self->names);
    for (int i = 0; i < 4; i++)
        async__free(self->strings[i]);
    async__free(self);
}
