/* gzip.c - answers that are compressed on their way.
 *
 * A handler asks for it; whether it is done is seen when the answer begins: by the client's
 * Accept-Encoding, the type and the length. Each piece that the handler sends goes out as soon as it is
 * compressed, so that events and the like are not held back. zlib is loaded by name: see codings.c. */
#include "server_internal.h"

#include "../zlib_by_name.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define WORTH 1024 /* bytes of a body that is worth it */

struct async__http_gzip {
    zlib_stream zlib;
    char out[16384];
};

/* ---- zlib ---- */

static int (*deflate_init)(zlib_stream *, int level, int method, int window, int memory,
                           int strategy, const char *version, int size);
static int (*deflate)(zlib_stream *, int flush);
static int (*deflate_end)(zlib_stream *);

static void load(void)
{
    void *library = dlopen("libz.so.1", RTLD_LAZY | RTLD_LOCAL);

    if (!library) return;
    *(void **)&deflate_init = dlsym(library, "deflateInit2_");
    *(void **)&deflate = dlsym(library, "deflate");
    *(void **)&deflate_end = dlsym(library, "deflateEnd");
}

static bool is_there(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, load);
    return deflate_init && deflate && deflate_end;
}

static struct async__http_gzip *new_gzip(void)
{
    struct async__http_gzip *self = is_there() ? async__alloc_zeroed(sizeof *self) : NULL;

    if (!self) return NULL;
    if (deflate_init(&self->zlib, 6, 8, ZLIB_GZIP, 8, 0, "1.2.0", (int)sizeof self->zlib) ==
        ZLIB_OK)
        return self;
    async__free(self);
    return NULL;
}

void async__http_gzip_free(struct async__http_gzip *self)
{
    if (!self) return;
    deflate_end(&self->zlib);
    async__free(self);
}

/* ---- whether it is done ---- */

/* "gzip;q=0.5" of a list: the weight, in thousandths; -1: it is another coding. */
static int weight_of(const char *item, size_t size, const char *coding)
{
    size_t name = 0, length = strlen(coding);

    while (name < size && !strchr("; \t", item[name]))
        name++;
    if (name != length || !async__http_begins(item, coding)) return -1;
    const char *at = memchr(item, ';', size), *end = item + size;
    if (!at) return 1000;
    at++;
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    if (end - at < 3 || (*at | 32) != 'q' || at[1] != '=') return 1000;
    int weight = at[2] == '1' ? 1000 : 0;
    if (end - at > 3 && at[3] == '.' && weight == 0)
        for (int i = 0, digit = 100; i < 3 && at + 4 + i < end; i++, digit /= 10)
            if (at[4 + i] >= '0' && at[4 + i] <= '9') weight += (at[4 + i] - '0') * digit;
    return weight;
}

/* RFC 9110, 12.5.3. */
static bool is_accepted(const struct async_http_request *request)
{
    int gzip = -1, any = -1, identity = -1;

    for (int i = 0; i < request->head.fields.count; i++) {
        const struct async__http_field *field = &request->head.fields.at[i];
        const char *list = field->value, *item;
        size_t size;
        if (!async__http_same_name(field->name, "Accept-Encoding")) continue;
        while (async__http_list_next(&list, &item, &size)) {
            int weight = weight_of(item, size, "gzip");
            if (weight < 0) weight = weight_of(item, size, "x-gzip");
            if (weight >= 0) gzip = weight;
            if ((weight = weight_of(item, size, "*")) >= 0) any = weight;
            if ((weight = weight_of(item, size, "identity")) >= 0) identity = weight;
        }
    }
    if (gzip < 0) gzip = any;
    return gzip > 0 && gzip >= identity;
}

/* What is text, and not compressed by itself. */
static bool is_compressible(const char *type)
{
    static const char *const types[] = {"text/",
                                        "application/json",
                                        "application/javascript",
                                        "application/xml",
                                        "application/wasm",
                                        "application/manifest+json",
                                        "application/ld+json",
                                        "application/xhtml+xml",
                                        "application/rss+xml",
                                        "application/atom+xml",
                                        "image/svg+xml"};

    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (async__http_begins(type, types[i])) return true;
    return false;
}

/* Of the lines of a head: it ends with \r\n, and with no 0 byte. */
static const char *value_of(struct async__buffer *lines, const char *name)
{
    const char *line = async__http_find_line(lines, name);
    return line ? line + strlen(name) + 2 : NULL;
}

static size_t value_length(const char *value)
{
    size_t length = 0;
    while (value[length] != '\r')
        length++;
    return length;
}

static bool may_be(struct async_http_request *request, const char *content_type, int64_t length)
{
    struct async__buffer *extra = &request->extra;
    const char *type = value_of(extra, "Content-Type");
    const char *cache = value_of(extra, "Cache-Control");

    if (!type) type = content_type;
    if (!type || !is_compressible(type) || async__http_find_line(extra, "Content-Encoding"))
        return false;
    if (cache && memmem(cache, value_length(cache), "no-transform", 12)) return false;
    return request->status >= 200 && request->status != 204 && request->status != 206 &&
           request->status != 304 && (length < 0 || length >= WORTH);
}

/* An entity tag is of the bytes that go out: what is compressed has a weak one. */
static int weaken_tag(struct async_http_request *request)
{
    const char *tag = value_of(&request->extra, "ETag");
    char weak[256];

    if (!tag || async__http_begins(tag, "W/")) return 0;
    size_t size = value_length(tag);
    if (size + 3 > sizeof weak) return async_http_set_header(request, "ETag", NULL);
    memcpy(weak, "W/", 2);
    memcpy(weak + 2, tag, size);
    weak[size + 2] = '\0';
    return async_http_set_header(request, "ETag", weak);
}

int64_t async__http_gzip_begin(struct async_http_request *request, const char *content_type,
                               int64_t length)
{
    if (!request->compress || !may_be(request, content_type, length)) return length;
    if (async_http_add_header(request, "Vary", "Accept-Encoding") < 0) return length;
    if (!is_accepted(request)) return length;
    struct async__http_gzip *gzip = new_gzip();
    if (gzip && weaken_tag(request) == 0 &&
        async_http_set_header(request, "Content-Encoding", "gzip") == 0) {
        request->gzip = gzip;
        return -1;
    }
    async__http_gzip_free(gzip); /* no memory: it goes as it is */
    return length;
}

/* ---- doing it ---- */

int async__http_gzip_send(struct async_http_request *request, const void *data, size_t size,
                          bool last)
{
    struct async__http_gzip *self = request->gzip;
    int code = 0;
    bool done = false;

    if (size == 0 && !last) return request->framing->send(request, NULL, 0, false);
    do {
        size_t part = size < (1U << 30) ? size : 1U << 30;
        int flush = !last || part < size ? ZLIB_SYNC_FLUSH : ZLIB_FINISH;
        self->zlib.next_in = data;
        self->zlib.avail_in = (unsigned)part;
        do {
            self->zlib.next_out = (unsigned char *)self->out;
            self->zlib.avail_out = sizeof self->out;
            int result = deflate(&self->zlib, flush);
            done = flush == ZLIB_FINISH ? result == ZLIB_END : self->zlib.avail_out > 0;
            size_t got = sizeof self->out - self->zlib.avail_out;
            bool end = done && flush == ZLIB_FINISH;
            if (got > 0 || end) code = request->framing->send(request, self->out, got, end);
        } while (code == 0 && !done);
        size -= part;
        if (size > 0) data = (const char *)data + part;
    } while (code == 0 && size > 0);
    return code;
}

int async_http_enable_compression(struct async_http_request *request)
{
    if (!request) return async__http_raise_null("request");
    if (request->answer != ASYNC__HTTP_UNANSWERED)
        return async_raise_at(NULL, 0, NULL, -EALREADY, "the answer has begun already");
    request->compress = true;
    return 0;
}
