/* accept.c - the handshake of a server (RFC 6455, 4.2).
 *
 * A client that is refused has been answered when async_websocket_accept gives NULL, and the code that
 * the handler then returns counts as the client's failure: it is not reported. */
#include "websocket_internal.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>

void async__ws_accept_key(const char *key, char *accept)
{
    char text[24 + 36 + 1];
    unsigned char digest[SHA_DIGEST_LENGTH];

    snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    SHA1((const unsigned char *)text, strlen(text), digest);
    EVP_EncodeBlock((unsigned char *)accept, digest, sizeof digest);
}

/* ---- refusing ---- */

static int refuse(struct async_http_request *request, int code, int status, const char *why)
{
    if (status == 426) {
        static const char lines[] = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
        if (async__buffer_append(&request->extra, lines, sizeof lines - 1) < 0)
            return async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for an answer");
    }
    int sent = async_http_respond_text(request, status, "%s\n", why);
    if (sent < 0) return sent;
    request->body_code = code; /* the client's */
    request->body_status = status;
    return async_raise_at(NULL, 0, NULL, code, "a WebSocket for %s was refused: %s",
                          request->head.target, why);
}

/* The only header of that name; NULL: there is none, or there are several. */
static const char *only(const struct async_http_request *request, const char *name)
{
    const struct async__http_fields *fields = &request->head.fields;
    const char *found = NULL;

    for (int i = 0; i < fields->count; i++) {
        if (!async__http_same_name(fields->at[i].name, name)) continue;
        if (found) return NULL;
        found = fields->at[i].value;
    }
    return found;
}

/* 16 bytes in base64. */
static bool is_key(const char *key)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    return key && strlen(key) == 24 && strspn(key, digits) == 22 && strcmp(key + 22, "==") == 0;
}

/* "https://example.org:8443" is of the host that the request is for, whatever the ports: a proxy in between
 * has another one. */
static bool is_same_host(const char *origin, const char *host)
{
    const char *at = strstr(origin, "://");
    size_t size = strlen(host);

    if (!at || size == 0) return false;
    at += 3;
    return async__http_begins(at, host) && (at[size] == '\0' || at[size] == ':');
}

static bool is_let_in(const struct async_http_request *request,
                      const async_websocket_options *options)
{
    const char *origin = async_http_request_header(request, "Origin");

    if (!origin) return true;
    if (!options->origins) return is_same_host(origin, async_http_request_host(request));
    for (const char *const *each = options->origins; *each; each++)
        if (strcmp(*each, "*") == 0 || async__http_same(*each, origin)) return true;
    return false;
}

static int judge(struct async_http_request *request, const async_websocket_options *options)
{
    const char *version = only(request, "Sec-WebSocket-Version");
    const char *upgrade = async_http_request_header(request, "Upgrade");

    if (!upgrade || !async__http_list_has(upgrade, "websocket"))
        return refuse(request, -EINVAL, 426, "this is a WebSocket");
    if (!version || strcmp(version, "13") != 0)
        return refuse(request, -EINVAL, 426, "the version of WebSocket is 13");
    if (strcmp(async_http_request_method(request), "GET") != 0)
        return refuse(request, -EINVAL, 400, "the method of a WebSocket is GET");
    if (!is_key(only(request, "Sec-WebSocket-Key")))
        return refuse(request, -EINVAL, 400, "Sec-WebSocket-Key is not 16 bytes in base64");
    if (!is_let_in(request, options))
        return refuse(request, -EACCES, 403, "this Origin is not let in");
    return 0;
}

/* ---- what both speak ---- */

static bool offers(const struct async_http_request *request, const char *protocol)
{
    const struct async__http_fields *fields = &request->head.fields;
    const char *item;
    size_t size;

    for (int i = 0; i < fields->count; i++) {
        const char *list = fields->at[i].value;
        if (!async__http_same_name(fields->at[i].name, "Sec-WebSocket-Protocol")) continue;
        while (async__http_list_next(&list, &item, &size))
            if (size == strlen(protocol) && memcmp(item, protocol, size) == 0) return true;
    }
    return false;
}

static const char *choose_protocol(const struct async_http_request *request,
                                   const async_websocket_options *options)
{
    for (const char *const *each = options->subprotocols; each && *each; each++)
        if (offers(request, *each)) return *each;
    return "";
}

static int agree(async_websocket *self, struct async_http_request *request,
                 const async_websocket_options *options)
{
    const struct async__http_fields *fields = &request->head.fields;
    char accept[29], extension[200];
    int code = 0;

    async__ws_accept_key(only(request, "Sec-WebSocket-Key"), accept);
    for (int i = 0; i < fields->count && !options->no_compression && !self->deflate.on; i++)
        if (async__http_same_name(fields->at[i].name, "Sec-WebSocket-Extensions"))
            async__deflate_accept(&self->deflate, options, fields->at[i].value, extension);
    if (self->deflate.on)
        code = async_http_set_header(request, "Sec-WebSocket-Extensions", extension);
    if (code == 0 && *self->subprotocol)
        code = async_http_set_header(request, "Sec-WebSocket-Protocol", self->subprotocol);
    if (code == 0) code = async_http_set_header(request, "Sec-WebSocket-Accept", accept);
    return code;
}

/* What async_http_upgrade has refused, which has said why. */
static void not_upgraded(struct async_http_request *request)
{
    int code = async_error_code();

    request->extra.start = request->extra.end = 0; /* was meant for another answer */
    if (code == -EINVAL)
        refuse(request, code, 426, "the client has not asked for an upgrade by HTTP/1.1");
    if (code == ASYNC_EHTTP)
        refuse(request, -EINVAL, 400, "the client has not waited for the answer to its upgrade");
}

async_websocket *async__websocket_accept(struct async_http_request *request,
                                         const async_websocket_options *given, size_t given_size)
{
    async_websocket_options options;

    if (!request) {
        async__http_raise_null("request");
        return NULL;
    }
    if (async__ws_options(&options, given, given_size) < 0) return NULL;
    if (request->answer == ASYNC__HTTP_UNANSWERED && judge(request, &options) < 0) return NULL;
    async_websocket *self = async__ws_new(&options, choose_protocol(request, &options));
    if (!self) return NULL;
    int code = agree(self, request, &options);
    if (code == 0) self->stream = async_http_upgrade(request, "websocket");
    if (!self->stream) {
        if (code == 0 && request->answer == ASYNC__HTTP_UNANSWERED) not_upgraded(request);
        async__ws_unref(self);
        return NULL;
    }
    self->request = request;
    self->upgrade.shutdown = async__ws_shutdown;
    self->upgrade.handled = async__ws_handled;
    request->connection->upgrade = &self->upgrade;
    if (request->server->stopping) async__ws_shutdown(&self->upgrade); /* meanwhile */
    return self;
}
