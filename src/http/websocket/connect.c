/* connect.c - the handshake of a client (RFC 6455, 4.1).
 *
 * The answer's head is read into memory of a fixed size, and every line of it is checked, in which RFC
 * 9112's grammar is all that is let through. What comes behind the head stays in the stream. */
#include "websocket_internal.h"

#include <casyncio/tls.h>
#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

#define HEAD_MAX 16384

struct target {
    const char *url; /* for messages */
    bool tls;
    char *host; /* without brackets */
    char *path; /* with the query */
    int port;
    bool default_port;
    char key[25];
};

/* ---- URLs ---- */

static int no_memory(const char *url)
{
    async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for %s", url);
    return -ENOMEM;
}

static int bad_url(const char *url, const char *why)
{
    async_raise_at(NULL, 0, NULL, -EINVAL, "%s: %s", url, why);
    return -EINVAL;
}

static char *part(CURLU *handle, CURLUPart what)
{
    char *text = NULL;
    return curl_url_get(handle, what, &text, 0) == CURLUE_OK ? text : NULL;
}

static int take_parts(struct target *self, CURLU *handle)
{
    char *scheme = part(handle, CURLUPART_SCHEME), *port = part(handle, CURLUPART_PORT);
    char *query = part(handle, CURLUPART_QUERY), *path = part(handle, CURLUPART_PATH);
    char *host = part(handle, CURLUPART_HOST), *fragment = part(handle, CURLUPART_FRAGMENT);
    size_t size = host ? strlen(host) : 0;
    size_t room = (path ? strlen(path) : 0) + (query ? strlen(query) : 0) + 2;
    int code = 0;

    self->tls = scheme && strcmp(scheme, "wss") == 0;
    if (!scheme || (!self->tls && strcmp(scheme, "ws") != 0))
        code = bad_url(self->url, "it is no ws:// or wss:// URL");
    else if (fragment)
        code = bad_url(self->url, "a WebSocket's URL has no fragment");
    else if (!host || size == 0)
        code = bad_url(self->url, "it names no host");
    self->port = port ? atoi(port) : self->tls ? 443 : 80;
    self->default_port = self->port == (self->tls ? 443 : 80);
    if (code == 0) {
        self->path = async__alloc(room);
        self->host = async__alloc(size + 1);
        if (!self->path || !self->host) code = no_memory(self->url);
    }
    if (code == 0) {
        snprintf(self->path, room, "%s%s%s", path ? path : "/", query ? "?" : "",
                 query ? query : "");
        bool brackets = host[0] == '[' && host[size - 1] == ']';
        snprintf(self->host, size + 1, "%.*s", (int)(brackets ? size - 2 : size), host + brackets);
    }
    curl_free(scheme), curl_free(port), curl_free(query);
    curl_free(path), curl_free(host), curl_free(fragment);
    return code;
}

static int parse_url(struct target *self, const char *url)
{
    CURLU *handle = curl_url();
    int code;

    *self = (struct target){.url = url};
    if (!handle) return no_memory(url);
    CURLUcode bad =
        curl_url_set(handle, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME | CURLU_DISALLOW_USER);
    if (bad == CURLUE_OUT_OF_MEMORY)
        code = no_memory(url);
    else
        code = bad == CURLUE_OK ? take_parts(self, handle) : bad_url(url, curl_url_strerror(bad));
    curl_url_cleanup(handle);
    return code;
}

static void free_target(struct target *self)
{
    async__free(self->host);
    async__free(self->path);
}

/* ---- the request ---- */

static int append(struct async__buffer *to, const char *text)
{
    return async__buffer_append(to, text, strlen(text));
}

static int append_header(struct async__buffer *to, const char *name, const char *value)
{
    return append(to, name) | append(to, ": ") | append(to, value) | append(to, "\r\n");
}

/* "Name: value", of a name that is not the handshake's own. */
static bool is_header(const char *line)
{
    static const char *const own[] = {"Upgrade",
                                      "Connection",
                                      "Content-Length",
                                      "Transfer-Encoding",
                                      "Sec-WebSocket-Key",
                                      "Sec-WebSocket-Version",
                                      "Host",
                                      "Sec-WebSocket-Protocol",
                                      "Sec-WebSocket-Extensions",
                                      "Sec-WebSocket-Accept"};
    const char *colon = line ? strchr(line, ':') : NULL;
    char name[128];

    if (!colon || (size_t)(colon - line) >= sizeof name || !async__http_is_value(colon + 1))
        return false;
    snprintf(name, sizeof name, "%.*s", (int)(colon - line), line);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (async__http_same(name, own[i])) return false;
    return async__http_is_token(name);
}

static int make_request(struct target *self, const async_websocket_options *options,
                        struct async__buffer *to)
{
    unsigned char random[16];
    char offer[200], port[16] = "";
    bool v6 = strchr(self->host, ':');
    int bad = 0;

    if (RAND_bytes(random, sizeof random) != 1)
        return async_raise_at(NULL, 0, NULL, -EIO, "no random bytes for a key");
    EVP_EncodeBlock((unsigned char *)self->key, random, sizeof random);
    if (!self->default_port) snprintf(port, sizeof port, ":%d", self->port);
    bad |= append(to, "GET ") | append(to, self->path) | append(to, " HTTP/1.1\r\nHost: ");
    bad |= append(to, v6 ? "[" : "") | append(to, self->host) | append(to, v6 ? "]" : "");
    bad |= append(to, port);
    bad |= append(to, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    bad |= append_header(to, "Sec-WebSocket-Key", self->key);
    bad |= append_header(to, "Sec-WebSocket-Version", "13");
    if (options->subprotocols && *options->subprotocols) {
        bad |= append(to, "Sec-WebSocket-Protocol: ");
        for (const char *const *each = options->subprotocols; *each; each++)
            bad |= append(to, each == options->subprotocols ? "" : ", ") | append(to, *each);
        bad |= append(to, "\r\n");
    }
    if (!options->no_compression) {
        async__deflate_offer(options, offer);
        bad |= append_header(to, "Sec-WebSocket-Extensions", offer);
    }
    for (const char *const *each = options->headers; each && *each; each++) {
        if (!is_header(*each))
            return async_raise_at(NULL, 0, NULL, -EINVAL, "%s: not a header of a client's: \"%s\"",
                                  self->url, *each);
        bad |= append(to, *each) | append(to, "\r\n");
    }
    bad |= append(to, "\r\n");
    return bad == 0 ? 0 : async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for a handshake");
}

/* ---- the answer ---- */

struct answer {
    int status;
    const char *upgrade, *connection, *accept, *protocol, *extensions;
};

static int bad_answer(const struct target *self, const char *why)
{
    return async_raise_at(NULL, 0, NULL, ASYNC_EHTTP, "%s: %s", self->url, why);
}

/* Cuts a line, without its end, off; NULL: it is malformed. */
static char *cut_line(char **text)
{
    char *line = *text, *end = strstr(line, "\r\n");

    if (!end) return NULL;
    *end = '\0';
    *text = end + 2;
    return line;
}

/* Whether it is one of those that are asked for, and is there for the first time. */
static bool keep(struct answer *answer, const char *name, const char *value)
{
    struct {
        const char *name, **to;
    } wanted[] = {{"Upgrade", &answer->upgrade},
                  {"Connection", &answer->connection},
                  {"Sec-WebSocket-Accept", &answer->accept},
                  {"Sec-WebSocket-Protocol", &answer->protocol},
                  {"Sec-WebSocket-Extensions", &answer->extensions}};

    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        if (!async__http_same(name, wanted[i].name)) continue;
        bool first = !*wanted[i].to;
        *wanted[i].to = value;
        return first;
    }
    return true;
}

static const char *parse_answer(struct answer *answer, char *text, size_t size)
{
    char *line = strlen(text) == size ? cut_line(&text) : NULL;

    *answer = (struct answer){0};
    if (!line || !async__http_begins(line, "HTTP/1.1 ") || strspn(line + 9, "0123456789") != 3 ||
        (line[12] != ' ' && line[12] != '\0') || !async__http_is_value(line))
        return "what came is not HTTP/1.1";
    answer->status = atoi(line + 9);
    while ((line = cut_line(&text)) && *line) {
        char *value = strchr(line, ':');
        if (!value) return "a header of the answer is malformed";
        *value++ = '\0';
        value += strspn(value, " \t");
        for (char *end = value + strlen(value); end > value && (end[-1] == ' ' || end[-1] == '\t');)
            *--end = '\0';
        if (!async__http_is_token(line) || !async__http_is_value(value))
            return "a header of the answer is malformed";
        if (!keep(answer, line, value)) return "a header of the answer is there twice";
    }
    return line ? NULL : "a header of the answer is malformed";
}

static bool was_offered(const async_websocket_options *options, const char *protocol)
{
    for (const char *const *each = options->subprotocols; each && *each; each++)
        if (strcmp(*each, protocol) == 0) return true;
    return false;
}

static int judge(const struct target *self, const async_websocket_options *options,
                 const struct answer *answer, struct async__deflate *deflate)
{
    char accept[29];

    if (answer->status != 101)
        return async_raise_at(NULL, 0, NULL, ASYNC_EHTTPSTATUS, "%s: the server answered with %d",
                              self->url, answer->status);
    async__ws_accept_key(self->key, accept);
    if (!answer->upgrade || !async__http_same(answer->upgrade, "websocket"))
        return bad_answer(self, "the answer's Upgrade is not websocket");
    if (!answer->connection || !async__http_list_has(answer->connection, "upgrade"))
        return bad_answer(self, "the answer's Connection is not Upgrade");
    if (!answer->accept || strcmp(answer->accept, accept) != 0)
        return bad_answer(self, "the answer's Sec-WebSocket-Accept is wrong");
    if (answer->protocol && !was_offered(options, answer->protocol))
        return bad_answer(self, "the answer names a subprotocol that was not offered");
    if (answer->extensions &&
        (options->no_compression || !async__deflate_agree(deflate, options, answer->extensions)))
        return bad_answer(self, "the answer names extensions that were not offered");
    return 0;
}

static async_websocket *handshake(struct target *self, const async_websocket_options *options,
                                  async_stream *stream)
{
    struct async__buffer request = {0};
    struct async__deflate deflate = {0};
    struct answer answer;
    char *head = async__alloc(HEAD_MAX);
    async_websocket *made = NULL;
    const char *why;

    int code = head ? make_request(self, options, &request)
                    : async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for a handshake");
    if (code == 0)
        code =
            async_stream_write(stream, async__buffer_bytes(&request), async__buffer_size(&request));
    ssize_t size = code == 0 ? async_stream_readuntil(stream, head, HEAD_MAX, "\r\n\r\n", 4) : code;
    if (size == ASYNC_ELIMIT) bad_answer(self, "the answer's head is too large");
    if (head && size > 0) {
        why = parse_answer(&answer, head, (size_t)size);
        code = why ? bad_answer(self, why) : judge(self, options, &answer, &deflate);
        if (code == 0) made = async__ws_new(options, answer.protocol ? answer.protocol : "");
    }
    if (made) {
        made->stream = stream;
        made->deflate = deflate;
    }
    async__free(head);
    async__buffer_free(&request);
    return made;
}

/* ---- connecting ---- */

static async_stream *open_stream(const struct target *self, const async_websocket_options *options)
{
    return self->tls ? async_tls_open_connection(self->host, self->port, options->tls)
                     : async_open_connection(self->host, self->port);
}

/* Within open_timeout. `stream`: the one that is given, or NULL. */
static async_websocket *open_socket(struct target *self, const async_websocket_options *options,
                                    async_stream *stream)
{
    async_websocket *made = NULL;
    async_scope scope;

    if (async_timeout_enter(&scope, options->open_timeout) < 0) {
        async_stream_abort(stream);
        return NULL;
    }
    if (!stream) stream = open_stream(self, options);
    if (stream) made = handshake(self, options, stream);
    if (stream && !made) async_stream_abort(stream);
    int code = made ? 0 : async_error_code();
    if (code == -ETIMEDOUT && async_scope_expired(&scope))
        async_raise_at(NULL, 0, NULL, code, "%s: no WebSocket in %g s", self->url,
                       options->open_timeout);
    async_scope_leave(&scope);
    return made;
}

static async_websocket *connect_over(async_stream *stream, const char *url, const void *given,
                                     size_t given_size)
{
    async_websocket_options options;
    async_websocket *made = NULL;
    struct target target = {0};
    int code = async__ws_options(&options, given, given_size);

    if (code == 0 && !url) code = async__http_raise_null("url");
    if (code == 0) code = parse_url(&target, url);
    if (code == 0)
        made = open_socket(&target, &options, stream);
    else
        async_stream_abort(stream);
    free_target(&target);
    return made;
}

async_websocket *async__websocket_connect(const char *url, const async_websocket_options *options,
                                          size_t options_size)
{
    return async_checkpoint() < 0 ? NULL : connect_over(NULL, url, options, options_size);
}

async_websocket *async__websocket_connect_stream(async_stream *stream, const char *url,
                                                 const async_websocket_options *options,
                                                 size_t options_size)
{
    if (!stream) {
        if (async_error_code() == 0) async__http_raise_null("stream");
        return NULL;
    }
    return connect_over(stream, url, options, options_size);
}
