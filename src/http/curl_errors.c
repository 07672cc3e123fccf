/* curl_errors.c - CURLcodes as casyncio's codes, and the messages.
 *
 * Most CURLcodes are of other protocols, or of mistakes that this library does not make: those
 * that are not in the table are -EIO. Some say less than curl knows: where it has the errno of
 * the system call, that is the better code. */
#include "http_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* 0: the errno of the system call, else what stands in `otherwise`. */
struct entry {
    short result;
    bool system;
    int code;
};

static const struct entry table[] = {
    {CURLE_UNSUPPORTED_PROTOCOL, false,
     ASYNC_EHTTP}, /* an answer that is not HTTP/1 or 2, a redirect to ftp: */
    {CURLE_URL_MALFORMAT, false, -EINVAL},
    {CURLE_COULDNT_RESOLVE_PROXY, false, ASYNC_ENONAME},
    {CURLE_COULDNT_RESOLVE_HOST, false, ASYNC_ENONAME},
    {CURLE_COULDNT_CONNECT, true, -ECONNREFUSED},
    {CURLE_WEIRD_SERVER_REPLY, false, ASYNC_EHTTP},
    {CURLE_REMOTE_ACCESS_DENIED, false, -EACCES},
    {CURLE_HTTP2, false, ASYNC_EHTTP},
    {CURLE_PARTIAL_FILE, false, ASYNC_EINCOMPLETE},
    {CURLE_HTTP_RETURNED_ERROR, false, ASYNC_EHTTP},
    {CURLE_OUT_OF_MEMORY, false, -ENOMEM},
    {CURLE_OPERATION_TIMEDOUT, false, -ETIMEDOUT},
    {CURLE_HTTP_POST_ERROR, false, ASYNC_EHTTP},
    {CURLE_SSL_CONNECT_ERROR, false, ASYNC_ETLS},
    {CURLE_ABORTED_BY_CALLBACK, false, -ECANCELED},
    {CURLE_BAD_FUNCTION_ARGUMENT, false, -EINVAL},
    {CURLE_INTERFACE_FAILED, true, -EADDRNOTAVAIL},
    {CURLE_TOO_MANY_REDIRECTS, false, ASYNC_ETOOMANYREDIRECTS},
    {CURLE_GOT_NOTHING, false, ASYNC_EINCOMPLETE},
    {CURLE_SSL_ENGINE_NOTFOUND, false, ASYNC_ETLS},
    {CURLE_SSL_ENGINE_SETFAILED, false, ASYNC_ETLS},
    {CURLE_SEND_ERROR, true, -EPIPE},
    {CURLE_RECV_ERROR, true, ASYNC_EHTTP}, /* with no errno: a malformed chunk, a proxy's refusal */
    {CURLE_SSL_CERTPROBLEM, false, ASYNC_ETLS}, /* our own certificate */
    {CURLE_SSL_CIPHER, false, ASYNC_ETLS},
    {CURLE_PEER_FAILED_VERIFICATION, false, ASYNC_ECERT},
    {CURLE_BAD_CONTENT_ENCODING, false, ASYNC_EHTTP},
    {CURLE_USE_SSL_FAILED, false, ASYNC_ETLS},
    {CURLE_SEND_FAIL_REWIND, false, -EIO},
    {CURLE_SSL_ENGINE_INITFAILED, false, ASYNC_ETLS},
    {CURLE_LOGIN_DENIED, false, -EACCES},
    {CURLE_SSL_CACERT_BADFILE, false, ASYNC_ETLS},
    {CURLE_SSL_SHUTDOWN_FAILED, false, ASYNC_ETLS},
    {CURLE_SSL_CRL_BADFILE, false, ASYNC_ETLS},
    {CURLE_SSL_ISSUER_ERROR, false, ASYNC_ECERT},
    {CURLE_NO_CONNECTION_AVAILABLE, false, -EAGAIN},
    {CURLE_SSL_PINNEDPUBKEYNOTMATCH, false, ASYNC_ECERT},
    {CURLE_SSL_INVALIDCERTSTATUS, false, ASYNC_ECERT},
    {CURLE_HTTP2_STREAM, false, ASYNC_EHTTP},
    {CURLE_AUTH_ERROR, false, -EACCES},
    {CURLE_HTTP3, false, ASYNC_EHTTP},
    {CURLE_QUIC_CONNECT_ERROR, true, -ECONNREFUSED},
    {CURLE_PROXY, false, ASYNC_EHTTP},
    {CURLE_SSL_CLIENTCERT, false, ASYNC_ETLS},
};

int async__http_code(async_http_response *response, CURLcode result)
{
    const struct entry *entry = table, *end = table + sizeof table / sizeof *table;
    long error = 0;

    if (result == CURLE_OK && response->headers_done) return 0;
    if (result == CURLE_OK) { /* as curl sees it: an end within the headers is no error there */
        async__http_detail(response, "the connection was closed within the headers");
        return ASYNC_EINCOMPLETE;
    }
    if (response->doom) {
        async__http_detail(response, "%s", response->why ? response->why : "");
        return response->doom;
    }
    while (entry < end && entry->result != (short)result)
        entry++;
    if (!response->detail[0]) async__http_detail(response, "%s", curl_easy_strerror(result));
    if (entry == end) return -EIO;
    if (!entry->system) return entry->code;

    curl_easy_getinfo(response->easy, CURLINFO_OS_ERRNO, &error);
    if (result == CURLE_COULDNT_CONNECT && response->socket_code) return response->socket_code;
    /* The errno may be one of before: of an address that was tried in vain, of another request. */
    bool current =
        result == CURLE_COULDNT_CONNECT || strstr(response->detail, strerror((int)error));
    if (error > 0 && error != EAGAIN && error != EINPROGRESS && current) return -(int)error;
    /* OpenSSL 3's word for a TLS connection that ends without saying so; curl passes it on as
     * text only. */
    if (result == CURLE_RECV_ERROR && strstr(response->detail, "unexpected eof"))
        return ASYNC_EINCOMPLETE;
    return entry->code;
}

void async__http_detail(async_http_response *response, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(response->detail, sizeof response->detail, format, arguments);
    va_end(arguments);
}

/* Where the URL goes on after user:password@, which is left out: messages end up in logs. The
 * length of what comes before that is *scheme. */
static const char *without_user(const char *url, int *scheme)
{
    const char *host = strstr(url, "://");

    *scheme = 0;
    if (!host) return url;
    host += 3;
    for (const char *at = host + strcspn(host, "/?#"); at > host; at--) {
        if (at[-1] != '@') continue;
        *scheme = (int)(host - url);
        return at;
    }
    return url;
}

int async__http_raise_for(const char *method, const char *url, int code, const char *text,
                          const char *detail)
{
    int scheme;
    const char *rest = without_user(url, &scheme);

    if (!detail || !*detail)
        return async_raise_at(NULL, 0, NULL, code, "%s %.*s%s: %s", method, scheme, url, rest,
                              text);
    return async_raise_at(NULL, 0, NULL, code, "%s %.*s%s: %s (%s)", method, scheme, url, rest,
                          text, detail);
}

int async__http_raise(const async_http_response *response, int code)
{
    return async__http_raise_for(response->method, async_http_url(response), code,
                                 async_strerror(code), response->detail);
}
