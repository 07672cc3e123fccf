/* pki.h - certificates for a test, made when it runs: a directory of files in PEM.
 *
 * pki_make() makes a CA ("ca.crt"); pki_issue() whatever the test needs. The directory is removed at
 * the program's end. */
#ifndef TESTS_TLS_PKI_H
#define TESTS_TLS_PKI_H

#include <ftw.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DAY = 24 * 60 * 60 };

struct pki_request {
    const char *file;     /* <file>.crt, <file>.key */
    const char *subject;  /* the common name; NULL: file */
    const char *names;    /* as OpenSSL has them: "DNS:localhost,IP:127.0.0.1" */
    const char *issuer;   /* a file of ours; NULL: it signs itself */
    const char *chain;    /* a file whose certificate is put behind it */
    const char *usage;    /* "serverAuth", "clientAuth" */
    const char *password; /* of the key */
    bool authority;       /* it is a CA's */
    long from, to;        /* seconds from now; 0, 0: from yesterday to tomorrow */
    long serial;          /* 0: a new one */
};

static char pki_dir[64];

/* The path of a file of ours; good until the eighth call from here. */
__attribute__((unused)) static const char *pki(const char *name)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", pki_dir, name);
    return path;
}

static const char *pki_with(const char *file, const char *end)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s", file, end);
    return pki(name);
}

static void pki_fail(const char *what)
{
    fprintf(stderr, "the test's certificates: %s\n", what);
    ERR_print_errors_fp(stderr);
    abort();
}

static X509 *pki_read_certificate(const char *file)
{
    FILE *stream = fopen(pki_with(file, ".crt"), "r");
    X509 *x509 = stream ? PEM_read_X509(stream, NULL, NULL, NULL) : NULL;
    if (!x509) pki_fail(file);
    fclose(stream);
    return x509;
}

static EVP_PKEY *pki_read_key(const char *file)
{
    FILE *stream = fopen(pki_with(file, ".key"), "r");
    EVP_PKEY *key = stream ? PEM_read_PrivateKey(stream, NULL, NULL, NULL) : NULL;
    if (!key) pki_fail(file);
    fclose(stream);
    return key;
}

static void pki_extend(X509 *x509, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    if (!value) return;
    X509V3_set_ctx(&context, issuer, x509, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    if (!extension || X509_add_ext(x509, extension, -1) != 1) pki_fail(value);
    X509_EXTENSION_free(extension);
}

static void pki_write(const struct pki_request *request, X509 *x509, EVP_PKEY *key)
{
    FILE *stream = fopen(pki_with(request->file, ".crt"), "w");
    if (!stream || PEM_write_X509(stream, x509) != 1) pki_fail(request->file);
    if (request->chain) {
        X509 *behind = pki_read_certificate(request->chain);
        PEM_write_X509(stream, behind);
        X509_free(behind);
    }
    fclose(stream);
    stream = fopen(pki_with(request->file, ".key"), "w");
    const EVP_CIPHER *cipher = request->password ? EVP_aes_128_cbc() : NULL;
    if (!stream ||
        PEM_write_PrivateKey(stream, key, cipher, NULL, 0, NULL, (void *)request->password) != 1)
        pki_fail(request->file);
    fclose(stream);
}

__attribute__((unused)) static void pki_issue_(const struct pki_request *request)
{
    static long serials = 1000;
    X509 *x509 = X509_new(), *issuer = x509;
    EVP_PKEY *key = EVP_EC_gen("P-256"), *signer = key;
    const char *subject = request->subject ? request->subject : request->file;
    bool dated = request->from || request->to;

    if (request->issuer) {
        issuer = pki_read_certificate(request->issuer);
        signer = pki_read_key(request->issuer);
    }
    X509_set_version(x509, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), request->serial ? request->serial : serials++);
    X509_gmtime_adj(X509_getm_notBefore(x509), dated ? request->from : -DAY);
    X509_gmtime_adj(X509_getm_notAfter(x509), dated ? request->to : DAY);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_UTF8,
                               (const unsigned char *)subject, -1, -1, 0);
    X509_set_issuer_name(x509, X509_get_subject_name(issuer));
    X509_set_pubkey(x509, key);
    pki_extend(x509, issuer, NID_basic_constraints, request->authority ? "critical,CA:TRUE" : NULL);
    pki_extend(x509, issuer, NID_key_usage,
               request->authority ? "critical,keyCertSign,cRLSign" : NULL);
    pki_extend(x509, issuer, NID_subject_key_identifier, "hash");
    pki_extend(x509, issuer, NID_authority_key_identifier, request->issuer ? "keyid" : NULL);
    pki_extend(x509, issuer, NID_ext_key_usage, request->usage);
    pki_extend(x509, issuer, NID_subject_alt_name, request->names);
    if (!X509_sign(x509, signer, EVP_sha256())) pki_fail("sign");
    pki_write(request, x509, key);
    if (request->issuer) {
        X509_free(issuer);
        EVP_PKEY_free(signer);
    }
    X509_free(x509);
    EVP_PKEY_free(key);
}
#define pki_issue(...) pki_issue_(&(struct pki_request){__VA_ARGS__})

/* <issuer>.crl, which has the certificate of `file` on it; NULL: nothing. */
__attribute__((unused)) static void pki_revoke(const char *issuer, const char *file)
{
    X509_CRL *crl = X509_CRL_new();
    X509 *authority = pki_read_certificate(issuer);
    EVP_PKEY *key = pki_read_key(issuer);
    ASN1_TIME *time = ASN1_TIME_new();

    X509_CRL_set_version(crl, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(authority));
    X509_CRL_set1_lastUpdate(crl, X509_gmtime_adj(time, -DAY));
    X509_CRL_set1_nextUpdate(crl, X509_gmtime_adj(time, DAY));
    if (file) {
        X509 *x509 = pki_read_certificate(file);
        X509_REVOKED *entry = X509_REVOKED_new();
        X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(x509));
        X509_REVOKED_set_revocationDate(entry, X509_gmtime_adj(time, -DAY));
        X509_CRL_add0_revoked(crl, entry);
        X509_free(x509);
    }
    X509_CRL_sort(crl);
    X509_CRL_sign(crl, key, EVP_sha256());
    FILE *stream = fopen(pki_with(issuer, ".crl"), "w");
    if (!stream || PEM_write_X509_CRL(stream, crl) != 1) pki_fail("crl");
    fclose(stream);
    ASN1_TIME_free(time);
    X509_free(authority);
    EVP_PKEY_free(key);
    X509_CRL_free(crl);
}

__attribute__((unused)) static void pki_text(const char *name, const char *text)
{
    FILE *stream = fopen(pki(name), "w");
    if (!stream || fputs(text, stream) < 0) pki_fail(name);
    fclose(stream);
}

static int pki_remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

static pid_t pki_owner;

static void pki_remove(void)
{
    if (getpid() == pki_owner) nftw(pki_dir, pki_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* The directory, the CA "ca", and "server": localhost, 127.0.0.1, ::1, by that CA. */
__attribute__((unused)) static void pki_make(void)
{
    strcpy(pki_dir, "/tmp/casyncio-tls-XXXXXX");
    if (!mkdtemp(pki_dir)) pki_fail("mkdtemp");
    pki_owner = getpid();
    atexit(pki_remove);
    pki_issue(.file = "ca", .subject = "Test CA", .authority = true);
    pki_issue(.file = "server", .subject = "localhost", .issuer = "ca",
              .names = "DNS:localhost,IP:127.0.0.1,IP:::1");
}

#endif
