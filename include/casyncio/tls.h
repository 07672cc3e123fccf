/* tls.h - TLS            asyncio: ssl= of Streams; Python: ssl (libcasyncio-tls)
 *
 *     async_stream *stream = async_tls_open_connection("example.org", 443, NULL);
 *
 * A stream that speaks TLS is a stream like any other: read, readline, write, close. What differs:
 *
 *   - The server's certificate is verified: its chain of signatures, its dates, its purpose,
 *     and the host name. One member switches that off, insecure_skip_verify.
 *   - The end of what comes is an end only if the peer has said so (close_notify). A connection that
 *     just ends gives ASYNC_EINCOMPLETE: what came may have been cut off.
 *   - async_stream_close says the same to the peer, and waits until its answer has come, for at most
 *     shutdown_timeout; without an answer it closes all the same, and gives 0. async_stream_abort says
 *     nothing.
 *   - async_stream_write_eof sends close_notify; reading goes on. (Peers that know TLS 1.2 alone may
 *     take it for the end of both directions.)
 *
 * A server's streams do the handshake in the first call that reads or writes, in the task of that
 * client, so that a slow client delays no other.
 *
 * Errors, each with a message that says what exactly was wrong:
 *   ASYNC_ECERT         the peer's certificate is not to be trusted, or not for this host
 *   ASYNC_ETLS          anything else about TLS: a peer that speaks something else, no version or
 *                       cipher in common, a peer that refuses us (an alert), a broken record
 *   ASYNC_EINCOMPLETE   the end without close_notify
 *   -ETIMEDOUT          the handshake was not done in time
 *   -ECONNRESET, ...    what carries the bytes has failed
 *
 * It lies over any stream: a socket, a pair in memory, another TLS stream. TLS 1.2 and 1.3; no
 * renegotiation, no compression. OpenSSL 3 does the work. */
#ifndef CASYNCIO_TLS_H
#define CASYNCIO_TLS_H

#include <casyncio/streams.h>

ASYNC_BEGIN

typedef struct async_tls_context async_tls_context;

/* ---- contexts ---- */

enum async_tls_version { ASYNC_TLS_1_2 = 12, ASYNC_TLS_1_3 = 13 };

enum async_tls_client_certificate {
    ASYNC_TLS_NO_CLIENT_CERTIFICATE, /* none is asked for */
    ASYNC_TLS_CLIENT_CERTIFICATE_OPTIONAL,
    ASYNC_TLS_CLIENT_CERTIFICATE_REQUIRED,
};

/* Files are in PEM. 0, NULL and false are the defaults. */
typedef struct async_tls_options {
    /* Trusted CAs: a file, or a directory as c_rehash makes it; without either those of the
     * system. A server needs them only to check its clients' certificates. */
    const char *ca_file, *ca_path;
    const char *crl_file; /* revocation lists; the peer's certificate must not be on its issuer's */
    bool crl_check_chain; /* nor may any of the CAs between; then a list of each is needed */

    /* Our own certificate, with the chain behind it, and its key (NULL: it is in the same file). A
     * server needs them, or async_tls_context_add_certificate. */
    const char *certificate, *key, *key_password;
    enum async_tls_client_certificate client_certificate; /* of a server */

    const char *const *alpn; /* protocols, the best first, NULL: {"h2", "http/1.1", NULL} */
    enum async_tls_version least_version;    /* 0: TLS 1.2 */
    enum async_tls_version greatest_version; /* 0: the last that there is */
    const char *ciphers;                     /* of TLS 1.2, as OpenSSL lists them: "ECDHE+AESGCM" */
    const char *cipher_suites;               /* of TLS 1.3: "TLS_AES_128_GCM_SHA256:..." */

    double handshake_timeout, shutdown_timeout; /* seconds; 0: 60, 30; INFINITY: none */

    const char *key_log_file; /* what a packet analyser needs to decrypt: for debugging */
    bool no_resumption;       /* sessions are not resumed: a full handshake each time */
    bool no_host_name_check;  /* any certificate of a trusted CA is good, whatever host it is for */
    bool insecure_skip_verify; /* any certificate is good: for tests */
} async_tls_options;

/* A context for clients, for servers: what their connections have in common, and the sessions that
 * clients resume. `options` may be NULL for a client. Files are read now, which blocks the thread.
 * Any thread may make one, several may use it at once, and it lives until it is freed and the last
 * of its connections is. NULL: -ENOENT, -EACCES, ... for a file that cannot be read, -EINVAL for what
 * makes no sense or is not PEM, a wrong password, a key that does not belong to the certificate;
 * -ENOMEM. The message names the file.
 * Python: ssl.create_default_context */
ASYNC_API async_tls_context *async__tls_client_context(const async_tls_options *options,
                                                       size_t options_size);
ASYNC_API async_tls_context *async__tls_server_context(const async_tls_options *options,
                                                       size_t options_size);
static inline async_tls_context *async_tls_client_context(const async_tls_options *options)
{
    return async__tls_client_context(options, sizeof *options);
}
static inline async_tls_context *async_tls_server_context(const async_tls_options *options)
{
    return async__tls_server_context(options, sizeof *options);
}

/* A further certificate for a server, with its chain: clients that ask for a host that it is for get
 * it; all others get the first. Before the context is used. 0; codes as above.
 * Python: SSLContext.sni_callback */
ASYNC_API int async_tls_context_add_certificate(async_tls_context *context, const char *certificate,
                                                const char *key, const char *key_password);

/* Releases the caller's reference. NULL is fine. Any thread. */
ASYNC_API void async_tls_context_free(async_tls_context *context);

/* ---- connecting and serving ---- */

/* Connects, and does the handshake. `context` NULL: a client's with default options, made once for the
 * process. The host is what the certificate has to be for. NULL: as async_open_connection, and the
 * errors above.
 * asyncio: open_connection(ssl=...) */
ASYNC_API async_stream *async_tls_open_connection(const char *host, int port,
                                                  async_tls_context *context);

/* The same for a Unix socket; `server_name` is what the certificate has to be for.
 * asyncio: open_unix_connection(ssl=..., server_hostname=...) */
ASYNC_API async_stream *async_tls_open_unix_connection(const char *path, const char *server_name,
                                                       async_tls_context *context);

/* As async_start_server; the server holds a reference to the context. All functions for servers
 * apply to it.
 * asyncio: start_server(ssl=...), start_unix_server(ssl=...) */
ASYNC_API async_server *async__tls_start_server(const char *host, int port,
                                                async_tls_context *context,
                                                const async_server_options *options,
                                                size_t options_size);
static inline async_server *async_tls_start_server(const char *host, int port,
                                                   async_tls_context *context,
                                                   const async_server_options *options)
{
    return async__tls_start_server(host, port, context, options, sizeof *options);
}
ASYNC_API async_server *async__tls_start_unix_server(const char *path, async_tls_context *context,
                                                     const async_server_options *options,
                                                     size_t options_size);
static inline async_server *async_tls_start_unix_server(const char *path,
                                                        async_tls_context *context,
                                                        const async_server_options *options)
{
    return async__tls_start_unix_server(path, context, options, sizeof *options);
}

/* Has a stream speak TLS from here on (STARTTLS), as a client or a server, as the context says, and does
 * the handshake. What has been written goes out before. What the stream has received and not yet given
 * out is taken for the beginning of the peer's TLS: nothing is lost. A client's `server_name` is what
 * the certificate has to be for; a server's is NULL. 0; the errors above, and the stream, which stays
 * the caller's, is broken; -EBUSY while another task reads from or writes to it, -EINVAL, -ENOMEM, and
 * it is as it was. After the code of a cancellation the handshake goes on with the next call.
 * asyncio: StreamWriter.start_tls */
ASYNC_API int async_stream_start_tls(async_stream *stream, async_tls_context *context,
                                     const char *server_name);

/* Does the handshake of a server's stream now, so that what follows can be asked for: 0, also if it is
 * done; the errors above. -ENOTCONN for a stream without TLS. */
ASYNC_API int async_tls_handshake(async_stream *stream);

/* ---- what has been agreed on: after the handshake. Does not block ---- */

/* The protocol by ALPN, or "": also for a stream without TLS. Good until the stream is closed.
 * Python: selected_alpn_protocol */
ASYNC_API const char *async_tls_alpn(const async_stream *stream);
/* "TLSv1.3", "TLS_AES_256_GCM_SHA384"; "". Good for ever. Python: version, cipher */
ASYNC_API const char *async_tls_version(const async_stream *stream);
ASYNC_API const char *async_tls_cipher(const async_stream *stream);
/* The host that the client has asked the server for, or "". Good until the stream is closed. */
ASYNC_API const char *async_tls_server_name(const async_stream *stream);
/* Python: session_reused */
ASYNC_API bool async_tls_resumed(const async_stream *stream);

typedef struct async_tls_certificate {
    const char *subject, *issuer;  /* "CN=example.org,O=Example" (RFC 2253) */
    const char *const *names;      /* "DNS:example.org", "IP:127.0.0.1", ..., NULL */
    const char *serial;            /* hexadecimal */
    int64_t not_before, not_after; /* seconds since 1970 */
    const char *pem;
} async_tls_certificate;

/* The peer's certificate, to be freed with the second. NULL: -ENODATA: it has none (a client that was
 * not asked), -ENOTCONN without TLS or before the handshake; -ENOMEM.
 * Python: getpeercert */
ASYNC_API async_tls_certificate *async_tls_peer_certificate(const async_stream *stream);
ASYNC_API void async_tls_certificate_free(async_tls_certificate *certificate);

ASYNC_END
#endif
