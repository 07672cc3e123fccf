/* curl_errors.c - CURLcodes as casyncio's codes, and the messages.
 *
 * Only codes that http.h lists leave this file. Most CURLcodes are of other protocols, or of
 * mistakes that this library does not make: those that are not in the table are -EIO. Some say less
 * than curl knows: where the system has reported an error, that is the better code. */
#include "http_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `code`, unless `system` is set and there is an error of the system's. */
struct entry {
    short result;
    bool system;
    int code;
};

enum { TOO_LARGE = 100 }; /* CURLE_TOO_LARGE, since 8.6 */

static const struct entry table[] = {
    {CURLE_UNSUPPORTED_PROTOCOL, false, ASYNC_EHTTP}, /* an answer that is not HTTP/1 or 2 */
    {CURLE_URL_MALFORMAT, false, -EINVAL},
    {CURLE_COULDNT_RESOLVE_PROXY, false, ASYNC_ENONAME},
    {CURLE_COULDNT_RESOLVE_HOST, false, ASYNC_ENONAME},
    {CURLE_COULDNT_CONNECT, true, -ECONNREFUSED},
    {CURLE_WEIRD_SERVER_REPLY, false, ASYNC_EHTTP},
    {CURLE_HTTP2, true, ASYNC_EHTTP},
    {CURLE_PARTIAL_FILE, false, ASYNC_EINCOMPLETE},
    {CURLE_HTTP_RETURNED_ERROR, false, ASYNC_EHTTP},
    {CURLE_OUT_OF_MEMORY, false, -ENOMEM},
    {CURLE_OPERATION_TIMEDOUT, false, -ETIMEDOUT},
    {CURLE_HTTP_POST_ERROR, false, ASYNC_EHTTP},
    {CURLE_SSL_CONNECT_ERROR, true, ASYNC_ETLS},
    {CURLE_BAD_FUNCTION_ARGUMENT, false, -EINVAL},
    {CURLE_GOT_NOTHING, false, ASYNC_EINCOMPLETE},
    {CURLE_SSL_ENGINE_NOTFOUND, false, ASYNC_ETLS},
    {CURLE_SSL_ENGINE_SETFAILED, false, ASYNC_ETLS},
    {CURLE_SEND_ERROR, true, -ECONNRESET},
    {CURLE_RECV_ERROR, true, ASYNC_EHTTP},      /* a malformed chunk, a proxy's refusal */
    {CURLE_SSL_CERTPROBLEM, false, ASYNC_ETLS}, /* our own certificate */
    {CURLE_SSL_CIPHER, false, ASYNC_ETLS},
    {CURLE_PEER_FAILED_VERIFICATION, false, ASYNC_ECERT},
    {CURLE_BAD_CONTENT_ENCODING, false, ASYNC_EHTTP},
    {CURLE_USE_SSL_FAILED, false, ASYNC_ETLS},
    {CURLE_SSL_ENGINE_INITFAILED, false, ASYNC_ETLS},
    {CURLE_SSL_CACERT_BADFILE, false, ASYNC_ETLS},
    {CURLE_SSL_SHUTDOWN_FAILED, false, ASYNC_ETLS},
    {CURLE_SSL_CRL_BADFILE, false, ASYNC_ETLS},
    {CURLE_SSL_ISSUER_ERROR, false, ASYNC_ECERT},
    {CURLE_SSL_PINNEDPUBKEYNOTMATCH, false, ASYNC_ECERT},
    {CURLE_SSL_INVALIDCERTSTATUS, false, ASYNC_ECERT},
    {CURLE_HTTP2_STREAM, true, ASYNC_EHTTP},
    {CURLE_PROXY, false, ASYNC_EHTTP},
    {CURLE_SSL_CLIENTCERT, false, ASYNC_ETLS},
    {TOO_LARGE, false, ASYNC_EHTTP}, /* a header line, or the number of headers */
};

static const struct {
    int error, code;
} errnos[] = {
    {ECONNREFUSED, -ECONNREFUSED},
    {ECONNRESET, -ECONNRESET},
    {EPIPE, -ECONNRESET},
    {ECONNABORTED, -ECONNRESET},
    {ETIMEDOUT, -ETIMEDOUT},
    {EHOSTUNREACH, -EHOSTUNREACH},
    {EHOSTDOWN, -EHOSTUNREACH},
    {ENETUNREACH, -ENETUNREACH},
    {ENETDOWN, -ENETUNREACH},
    {EAFNOSUPPORT, -ENETUNREACH},
    {EADDRNOTAVAIL, -EADDRNOTAVAIL},
    {EACCES, -EACCES},
    {EPERM, -EACCES},
    {EMFILE, -EMFILE},
    {ENFILE, -ENFILE},
    {ENOMEM, -ENOMEM},
    {ENOBUFS, -ENOMEM},
};

int async__http_code_of_errno(int error)
{
    for (size_t i = 0; i < sizeof errnos / sizeof *errnos; i++)
        if (errnos[i].error == error) return errnos[i].code;
    return -EIO;
}

/* As words (plain sockets and, mostly, TLS) or as a number (TLS: "SSL_ERROR_SYSCALL, errno 104").
 * CURLINFO_OS_ERRNO would not do: it is not set for TLS, and may be that of an earlier request. */
int async__http_code_of_curl(const async_http_response *response)
{
    const char *text = response->curl_error, *number = strstr(text, "errno ");

    for (size_t i = 0; i < sizeof errnos / sizeof *errnos; i++)
        if (strstr(text, strerror(errnos[i].error)) ||
            (number && atoi(number + 6) == errnos[i].error))
            return errnos[i].code;
    return 0;
}

static int connect_code(const async_http_response *response)
{
    long error = 0;

    if (response->socket_code) return response->socket_code;
    curl_easy_getinfo(response->easy, CURLINFO_OS_ERRNO, &error);
    if (error <= 0 || error == EAGAIN || error == EINPROGRESS) return 0;
    if (error == EINVAL) return -EHOSTUNREACH; /* a link-local address without its interface */
    return async__http_code_of_errno((int)error);
}

/* Bytes that libcurl takes of a line, where a longer one was the reason; else 0. Up to 8.5 it says
 * "out of memory" then: if as much memory as such a line needs can be had, that is not meant. */
static int exceeded_line(const async_http_response *response, CURLcode result)
{
    long connected = 0;

    if (strstr(response->curl_error, "CONNECT response too large"))
        return ASYNC__HTTP_CONNECT_LINE_MAX;
    if (result == CURLE_RECV_ERROR && response->headers_done)
        return strstr(response->curl_error, "Out of memory in chunked") ? ASYNC__HTTP_TRAILER_MAX
                                                                        : 0;
    if (response->headers_done) return 0;
    if (result == CURLE_OUT_OF_MEMORY) {
        curl_easy_getinfo(response->easy, CURLINFO_PRIMARY_PORT, &connected);
        void *probe = connected > 0 ? async__alloc(2 * ASYNC__HTTP_LINE_MAX) : NULL;
        async__free(probe);
        if (!probe) return 0;
    } else if ((int)result != TOO_LARGE || response->curl_error[0]) {
        return 0;
    }
    return response->sends > 0 ? ASYNC__HTTP_LINE_MAX : ASYNC__HTTP_CONNECT_LINE_MAX;
}

static int lookup(async_http_response *response, CURLcode result)
{
    const struct entry *entry = table, *end = table + sizeof table / sizeof *table;
    int code;

    while (entry < end && entry->result != (short)result)
        entry++;
    async__http_detail(response, "%s",
                       response->curl_error[0] ? response->curl_error : curl_easy_strerror(result));
    if (entry == end) return -EIO;
    /* Once there is an answer, what is wrong is the peer's: a trailer without a colon, say. */
    if (entry->code == -EINVAL && response->headers_done) return ASYNC_EHTTP;
    if (!entry->system) return entry->code;
    /* OpenSSL 3's word for a TLS connection that ends without a close_notify; curl passes it on as text
     * only. It came first: errno may be of what was written after it, which the peer no longer takes. */
    if ((result == CURLE_RECV_ERROR || result == CURLE_SEND_ERROR) &&
        strstr(response->curl_error, "unexpected eof"))
        return ASYNC_EINCOMPLETE;
    code = result == CURLE_COULDNT_CONNECT ? connect_code(response)
                                           : async__http_code_of_curl(response);
    return code < 0 ? code : entry->code;
}

int async__http_code(async_http_response *response, CURLcode result)
{
    if (result == CURLE_OK && response->refused) response->headers_done = true;
    if (result == CURLE_OK && response->headers_done && !response->cut_off) return 0;
    if (response->failure) return response->failure;
    /* The answer is there, and curl was kept from sending the request again. */
    if (result == CURLE_ABORTED_BY_CALLBACK && response->headers_done) return 0;
    if (result == CURLE_OK && response->headers_done) {
        async__http_detail(response, "the TLS connection was cut off, without a close_notify");
        return ASYNC_EINCOMPLETE;
    }
    if (result == CURLE_OK) { /* as curl sees it: an end within the headers is no error there */
        async__http_detail(response, "the connection was closed within the headers");
        return ASYNC_EINCOMPLETE;
    }
    if (async__http_met_itself(response)) {
        async__http_detail(response, ASYNC__HTTP_MET_ITSELF);
        return -ECONNREFUSED;
    }
    int limit = exceeded_line(response, result);
    if (limit == 0) return lookup(response, result);
    async__http_detail(response, "a %s line is longer than %d bytes",
                       response->headers_done ? "trailer" : "header", limit);
    return ASYNC_EHTTP;
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

/* A URL of more than URL_SHOWN bytes is cut off in a message. */
#define URL_SHOWN 1000

int async__http_raise_for(const char *method, const char *url, int code, const char *text,
                          const char *detail)
{
    int scheme;
    const char *rest = without_user(url, &scheme);
    const char *dots = strlen(rest) > URL_SHOWN ? "..." : "";

    if (!detail || !*detail)
        return async_raise_at(NULL, 0, NULL, code, "%.64s %.*s%.*s%s: %s", method, scheme, url,
                              URL_SHOWN, rest, dots, text);
    return async_raise_at(NULL, 0, NULL, code, "%.64s %.*s%.*s%s: %s (%s)", method, scheme, url,
                          URL_SHOWN, rest, dots, text, detail);
}

int async__http_raise(const async_http_response *response, int code)
{
    return async__http_raise_for(response->method, async_http_url(response), code,
                                 async_strerror(code), response->detail);
}

void async__http_null(const char *what)
{
    int code = async_error_code();

    if (code < 0)
        async_raise_at(NULL, 0, NULL, code, "%s", async_error_message());
    else
        async_raise_at(NULL, 0, NULL, -EBADF, "HTTP: the %s is NULL", what);
}
