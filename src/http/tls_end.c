/* tls_end.c - whether a TLS connection was ended by the server, or cut off.
 *
 * A body without a length ends with its connection. Over TLS the server says so (close_notify), so
 * that the body cannot be cut off on the way; libcurl (7.88 to 8.14 at least, with OpenSSL) takes
 * the end of the TCP connection for the end of the body. So OpenSSL is asked, at the one moment when the transfer
 * has ended and still has its connection: in the last call of the progress callback. */
#include "http_internal.h"

#include <dlfcn.h>
#include <string.h>
#include <strings.h>

enum { RECEIVED_SHUTDOWN = 2 }; /* SSL_RECEIVED_SHUTDOWN */

static int (*get_shutdown)(const void *); /* SSL_get_shutdown */

void async__http_load_tls(void)
{
    void *function = dlsym(RTLD_DEFAULT, "SSL_get_shutdown");
    memcpy(&get_shutdown, &function, sizeof function);
}

static int on_progress(void *context, curl_off_t total, curl_off_t now, curl_off_t upload_total,
                       curl_off_t uploaded)
{
    async_http_response *response = context;
    const struct curl_tlssessioninfo *info = NULL;
    (void)total, (void)now, (void)upload_total, (void)uploaded;

    if (!response->until_close || !get_shutdown) return 0;
    if (curl_easy_getinfo(response->easy, CURLINFO_TLS_SSL_PTR, &info) != CURLE_OK) return 0;
    if (info && info->internals && info->backend == CURLSSLBACKEND_OPENSSL)
        response->cut_off = !(get_shutdown(info->internals) & RECEIVED_SHUTDOWN);
    return 0;
}

void async__http_watch_tls_end(async_http_response *response, bool watch)
{
    response->until_close = watch && strncasecmp(async_http_url(response), "https:", 6) == 0;
    response->cut_off = false;
    curl_easy_setopt(response->easy, CURLOPT_NOPROGRESS, response->until_close ? 0L : 1L);
    curl_easy_setopt(response->easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(response->easy, CURLOPT_XFERINFODATA, response);
}
