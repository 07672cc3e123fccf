/* failure.c - what OpenSSL says of a failure, as a code and a message.
 *
 * OpenSSL has some hundred reasons, many of them in its own jargon. Those that users meet are told in
 * other words; the rest is passed on. */
#include "tls_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 512 }; /* bytes of a message */

/* ---- words ---- */

static const struct {
    int reason;
    const char *text;
} words[] = {
    {SSL_R_WRONG_VERSION_NUMBER, "the peer does not speak TLS"},
    {SSL_R_HTTP_REQUEST, "the peer does not speak TLS, but HTTP"},
    {SSL_R_HTTPS_PROXY_REQUEST, "the peer does not speak TLS, but HTTP"},
    {SSL_R_UNKNOWN_PROTOCOL, "the peer does not speak TLS"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "the peer's version of TLS is too old"},
    {SSL_R_VERSION_TOO_LOW, "the peer's version of TLS is too old"},
    {SSL_R_NO_SHARED_CIPHER, "there is no cipher that both sides know"},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, "there is no signature that both sides know"},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "the client has no certificate"},
    {SSL_R_NO_APPLICATION_PROTOCOL, "there is no protocol that both sides know (ALPN)"},
    {SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, "a record is damaged"},
    {SSL_R_ENCRYPTED_LENGTH_TOO_LONG, "the peer has sent a record that is too long"},
    {SSL_R_DATA_LENGTH_TOO_LONG, "the peer has sent a record that is too long"},
    {SSL_R_PACKET_LENGTH_TOO_LONG, "the peer has sent a record that is too long"},
    {SSL_R_NO_RENEGOTIATION, "the peer wants to renegotiate, which is switched off"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "the peer refuses our version of TLS"},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "the peer refuses the handshake"},
    {SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, "the peer knows none of our protocols (ALPN)"},
    {SSL_R_TLSV1_UNRECOGNIZED_NAME, "the peer does not know that server name"},
    {SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, "the peer asks for a certificate of ours"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "the peer refuses our certificate"},
    {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, "the peer refuses the kind of our certificate"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, "the peer takes our certificate for revoked"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "the peer takes our certificate for expired"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "the peer refuses our certificate"},
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA, "the peer does not trust the CA of our certificate"},
};

static const char *in_words(unsigned long error)
{
    if (ERR_GET_LIB(error) != ERR_LIB_SSL) return NULL;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (words[i].reason == ERR_GET_REASON(error)) return words[i].text;
    return NULL;
}

unsigned long async__tls_take_error(char *text, size_t size)
{
    const char *data = NULL;
    int flags = 0;
    unsigned long error = ERR_get_error_all(NULL, NULL, NULL, &data, &flags);
    const char *said = in_words(error), *reason = ERR_reason_error_string(error);

    if (said)
        snprintf(text, size, "%s", said);
    else if (ERR_SYSTEM_ERROR(error))
        snprintf(text, size, "%s", async_strerror(-ERR_GET_REASON(error)));
    else if (error)
        snprintf(text, size, "%s%s%s", reason ? reason : "an error of OpenSSL",
                 flags & ERR_TXT_STRING && data && *data ? ": " : "",
                 flags & ERR_TXT_STRING && data ? data : "");
    else
        snprintf(text, size, "OpenSSL does not say why");
    ERR_clear_error();
    return error;
}

/* Keeps the message, as far as there is memory. */
__attribute__((format(printf, 3, 4))) static int note(async__tls *self, int code,
                                                      const char *format, ...)
{
    char text[MOST];
    va_list arguments;

    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (size >= (int)sizeof text) size = sizeof text - 1;
    self->failed = code;
    async__free(self->reason);
    self->reason = async__alloc((size_t)size + 1);
    if (self->reason) memcpy(self->reason, text, (size_t)size + 1);
    return code;
}

/* ---- certificates ---- */

char *async__tls_name_text(const X509_NAME *name)
{
    BIO *memory = BIO_new(BIO_s_mem());
    char *copy = NULL, *text;
    long size;

    if (memory &&
        X509_NAME_print_ex(memory, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
        size = BIO_get_mem_data(memory, &text);
        copy = async__alloc((size_t)size + 1);
        if (copy) {
            memcpy(copy, text, (size_t)size);
            copy[size] = 0;
        }
    }
    BIO_free(memory);
    return copy;
}

/* The names of hosts that the certificate is for, as far as there is room. */
static void list_names(const X509 *certificate, char *text, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    size_t used = 0;

    for (int i = 0; i < sk_GENERAL_NAME_num(names) && used < size; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS) continue;
        used += (size_t)snprintf(text + used, size - used, "%s%.*s", used ? ", " : "",
                                 ASN1_STRING_length(name->d.dNSName),
                                 (const char *)ASN1_STRING_get0_data(name->d.dNSName));
    }
    GENERAL_NAMES_free(names);
}

static void describe_refusal(const async__tls *self, const X509 *certificate, char *text,
                             size_t size)
{
    char *subject = certificate ? async__tls_name_text(X509_get_subject_name(certificate)) : NULL;
    char names[MOST / 2] = "";

    if (self->verify_error == X509_V_ERR_HOSTNAME_MISMATCH ||
        self->verify_error == X509_V_ERR_IP_ADDRESS_MISMATCH) {
        list_names(certificate, names, sizeof names);
        snprintf(text, size, "the certificate of %.150s is not for %.100s, but for %.200s",
                 subject ? subject : "?", self->server_name, *names ? names : "no host name");
    } else {
        snprintf(text, size, "the certificate of %.150s is refused: %.200s",
                 subject ? subject : "?", X509_verify_cert_error_string(self->verify_error));
    }
    async__free(subject);
}

int async__tls_on_verify(int good, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    async__tls *self = async__tls_of(ssl);
    char text[MOST];

    if (good || !self || self->verify_error) return good;
    self->verify_error = X509_STORE_CTX_get_error(store);
    describe_refusal(self, X509_STORE_CTX_get_current_cert(store), text, sizeof text);
    note(self, 0, "%s", text);
    return 0;
}

/* ---- failures of a connection ---- */

static int note_end(async__tls *self)
{
    if (self->done)
        return note(self, ASYNC_EINCOMPLETE,
                    "the connection has ended without TLS's close_notify: what came may be cut "
                    "off");
    return note(self, ASYNC_ETLS,
                "the peer has closed the connection in the middle of the handshake");
}

int async__tls_failed(async__tls *self, int result)
{
    char text[MOST] = "", whom[MOST / 2] = "";
    int kind = SSL_get_error(self->ssl, result);

    if (kind == SSL_ERROR_ZERO_RETURN) {
        ERR_clear_error();
        return 0;
    }
    unsigned long error = async__tls_take_error(text, sizeof text);
    if (self->below < 0) return self->failed = self->below;
    if (self->is_end &&
        (kind == SSL_ERROR_SYSCALL || ERR_GET_REASON(error) == SSL_R_UNEXPECTED_EOF_WHILE_READING))
        return note_end(self);
    /* After another failure it is only the alert that could not be sent. */
    if (self->unsent < 0 && ERR_GET_LIB(error) != ERR_LIB_SSL) return self->failed = self->unsent;
    if (ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE)
        return note(self, -ENOMEM, "%s", async_strerror(-ENOMEM));
    if (self->verify_error && !self->done)
        return self->failed = ASYNC_ECERT; /* on_verify has said why */
    if (self->server_name && !self->done)
        snprintf(whom, sizeof whom, " (with %s)", self->server_name);
    return note(self, ASYNC_ETLS, "%s%s", text, whom);
}
