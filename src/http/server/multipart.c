/* multipart.c - forms with files: multipart/form-data (RFC 7578, RFC 2046), part by part.
 *
 * What has been read of the body and not given out lies in a buffer of a few KiB, in which the delimiter
 * is looked for: CR, LF, two hyphens, the boundary. Data before it is the part's; where there is none, all
 * but as many bytes as could be its beginning. A CR and an LF that are put before the body make the first
 * delimiter one like the others. */
#include "server_internal.h"

#include <casyncio/files.h>

#include <errno.h>
#include <stdio.h>

#define BOUNDARY 70    /* characters that a boundary may have */
#define PART_HEAD 8192 /* bytes of a part's head */
#define STEP 16384     /* bytes that are read at once */

enum place { PREAMBLE, IN_PART, AFTER_END };

struct async__http_multipart {
    char delimiter[BOUNDARY + 5]; /* "\r\n--" and the boundary */
    size_t size;
    struct async__buffer in;
    enum place place;
    bool ended; /* the body has */
    int parts;
};

void async__http_multipart_free(struct async__http_multipart *self)
{
    if (!self) return;
    async__buffer_free(&self->in);
    async__free(self);
}

static int malformed(struct async_http_request *request, const char *what)
{
    return async__http_body_fail(request, ASYNC_EHTTP, 400, what);
}

/* ---- parameters of a header: ;name=token, ;name="quoted" ---- */

/* The next one: its name, and its value, unquoted, in `value`. 1; 0: there are no more; -1: malformed. */
static int next_parameter(const char **at, const char **name, size_t *name_size, char *value,
                          size_t room)
{
    const char *text = *at + strspn(*at, " \t");
    size_t size = 0;

    if (!*text) return 0;
    if (*text++ != ';') return -1;
    text += strspn(text, " \t");
    *name = text;
    *name_size = strcspn(text, "= \t;\"");
    text += *name_size;
    if (*name_size == 0 || *text++ != '=') return -1;
    bool quoted = *text == '"';
    if (quoted) text++;
    while (*text && (quoted ? *text != '"' : !strchr("; \t", *text))) {
        if (quoted && *text == '\\' && (text[1] == '"' || text[1] == '\\')) text++;
        if (size + 1 >= room) return -1;
        value[size++] = *text++;
    }
    if (quoted && *text++ != '"') return -1;
    if (!quoted && size == 0) return -1;
    value[size] = '\0';
    *at = text;
    return 1;
}

static bool is_name(const char *name, size_t size, const char *wanted)
{
    return strlen(wanted) == size && async__http_begins(name, wanted);
}

/* RFC 2046, 5.1.1. */
static bool is_boundary(const char *text)
{
    size_t size = strlen(text);
    return size > 0 && size <= BOUNDARY && text[size - 1] != ' ' &&
           strspn(text,
                  "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=? ") ==
               size;
}

/* Of the Content-Type; false: it is another, or has no boundary. */
static bool find_boundary(const char *type, char boundary[BOUNDARY + 2])
{
    static const char form[] = "multipart/form-data";
    const char *name, *at = type;
    size_t size;
    char value[256];
    bool found = false;
    int code;

    if (!type || !async__http_begins(type, form)) return false;
    at += sizeof form - 1;
    while ((code = next_parameter(&at, &name, &size, value, sizeof value)) > 0) {
        if (!is_name(name, size, "boundary")) continue;
        if (found || !is_boundary(value)) return false;
        memcpy(boundary, value, strlen(value) + 1);
        found = true;
    }
    return code == 0 && found;
}

/* ---- the body ---- */

static struct async__http_multipart *begin(struct async_http_request *request)
{
    char boundary[BOUNDARY + 2];

    if (request->multipart) return request->multipart;
    if (!find_boundary(async_http_request_header(request, "Content-Type"), boundary)) {
        async__http_body_fail(request, ASYNC_EHTTP, 400, "it is no multipart/form-data");
        return NULL;
    }
    struct async__http_multipart *self = async__alloc_zeroed(sizeof *self);
    if (!self || async__buffer_append(&self->in, "\r\n", 2) < 0) {
        async__http_multipart_free(self);
        async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for a form");
        return NULL;
    }
    self->size = (size_t)snprintf(self->delimiter, sizeof self->delimiter, "\r\n--%s", boundary);
    return request->multipart = self;
}

/* More in `in`: 0, also at the body's end; or a code. */
static int fill(struct async_http_request *request)
{
    struct async__http_multipart *self = request->multipart;

    if (async__buffer_room(&self->in) < STEP / 4 && async__buffer_reserve(&self->in, STEP) < 0)
        return async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for a form");
    ssize_t got = async_http_request_recv(request, self->in.data + self->in.end,
                                          async__buffer_room(&self->in));
    if (got < 0) return (int)got;
    self->in.end += (size_t)got;
    self->ended = got == 0;
    return 0;
}

static const char *find(const char *bytes, size_t size, const char *what, size_t what_size)
{
    return size > 0 ? memmem(bytes, size, what, what_size) : NULL;
}

/* How many bytes at the beginning of `in` belong to the part; 0, and the delimiter is next; a code. Waits
 * until it is one of them. */
static ssize_t data_size(struct async_http_request *request)
{
    struct async__http_multipart *self = request->multipart;

    for (;;) {
        const char *bytes = async__buffer_bytes(&self->in);
        size_t size = async__buffer_size(&self->in);
        const char *at = find(bytes, size, self->delimiter, self->size);
        if (at) return at - bytes;
        if (size >= self->size) return (ssize_t)(size - self->size + 1);
        if (self->ended) return malformed(request, "the form has no end");
        int code = fill(request);
        if (code < 0) return code;
    }
}

/* Drops what is left of the part: 0 or a code. */
static int skip_part(struct async_http_request *request)
{
    ssize_t size = 1;

    while ((size = data_size(request)) > 0)
        async__buffer_consume(&request->multipart->in, (size_t)size);
    return (int)size;
}

/* ---- heads ---- */

/* Until `in` has this text behind `from`, within the limit: where; a code. */
static ssize_t wait_for(struct async_http_request *request, size_t from, const char *text)
{
    struct async__http_multipart *self = request->multipart;

    for (;;) {
        const char *bytes = async__buffer_bytes(&self->in);
        size_t size = async__buffer_size(&self->in);
        const char *at = size > from ? find(bytes + from, size - from, text, strlen(text)) : NULL;
        if (at && (size_t)(at - bytes) <= from + PART_HEAD) return at - bytes;
        if (at || size > from + PART_HEAD)
            return async__http_body_fail(request, -EMSGSIZE, 413, "a part's head is too large");
        if (self->ended) return malformed(request, "the form has no end");
        int code = fill(request);
        if (code < 0) return code;
    }
}

/* Behind a delimiter: 1, a part begins; 0, the form has ended; a code. */
static int pass_delimiter(struct async_http_request *request)
{
    struct async__http_multipart *self = request->multipart;

    while (async__buffer_size(&self->in) < self->size + 2 && !self->ended) {
        int code = fill(request);
        if (code < 0) return code;
    }
    const char *behind = async__buffer_bytes(&self->in) + self->size;
    if (async__buffer_size(&self->in) >= self->size + 2 && memcmp(behind, "--", 2) == 0) return 0;
    ssize_t end = wait_for(request, self->size, "\r\n");
    if (end < 0) return (int)end;
    behind = async__buffer_bytes(&self->in) + self->size;
    for (const char *at = behind; at < async__buffer_bytes(&self->in) + end; at++)
        if (*at != ' ' && *at != '\t')
            return malformed(request, "a delimiter of the form is malformed");
    async__buffer_consume(&self->in, (size_t)end); /* the CR and LF begin the head */
    return 1;
}

static int read_disposition(struct async_http_request *request, const char *value,
                            async_http_part *part)
{
    static const char form[] = "form-data";
    const char *at = value + sizeof form - 1, *name;
    size_t size;
    int code;

    if (!async__http_begins(value, form) || part->name)
        return malformed(request, "a part's Content-Disposition is malformed");
    char *text = async__http_request_alloc(request, strlen(value) + 1);
    if (!text) return -ENOMEM;
    while ((code = next_parameter(&at, &name, &size, text, strlen(value) + 1)) > 0) {
        const char **to = is_name(name, size, "name")       ? &part->name
                          : is_name(name, size, "filename") ? &part->filename
                                                            : NULL;
        if (!to) continue;
        if (*to) return malformed(request, "a part's Content-Disposition is malformed");
        *to = text;
        text = async__http_request_alloc(request, strlen(value) + 1);
        if (!text) return -ENOMEM;
    }
    if (code == 0 && part->name) return 0;
    return malformed(request, "a part's Content-Disposition is malformed");
}

static int read_line(struct async_http_request *request, char *line, async_http_part *part)
{
    char *colon = strchr(line, ':');

    if (!colon) return malformed(request, "a part's header is malformed");
    *colon = '\0';
    char *value = colon + 1 + strspn(colon + 1, " \t"), *end = value + strlen(value);
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        *--end = '\0';
    if (!async__http_is_token(line) || !async__http_is_value(value))
        return malformed(request, "a part's header is malformed");
    if (async__http_same(line, "Content-Disposition"))
        return read_disposition(request, value, part);
    if (async__http_same(line, "Content-Type")) part->content_type = value;
    if (async__http_same(line, "Content-Transfer-Encoding") && !async__http_same(value, "binary") &&
        !async__http_same(value, "8bit") && !async__http_same(value, "7bit"))
        return malformed(request, "a part has a Content-Transfer-Encoding");
    return 0;
}

/* `in` begins with the CR and LF before the head. */
static int read_part_head(struct async_http_request *request, async_http_part *part)
{
    struct async__http_multipart *self = request->multipart;
    ssize_t size = wait_for(request, 0, "\r\n\r\n");
    int code = 0;

    if (size < 0) return (int)size;
    char *head = async__http_request_alloc(request, (size_t)size + 3);
    if (!head) return -ENOMEM;
    memcpy(head, async__buffer_bytes(&self->in), (size_t)size + 2);
    head[size + 2] = '\0';
    if (memchr(head, '\0', (size_t)size + 2))
        return malformed(request, "a part's header is malformed");
    for (char *line = head + 2, *end; code == 0 && *line; line = end + 2) {
        end = strstr(line, "\r\n");
        *end = '\0';
        code = read_line(request, line, part);
    }
    if (code < 0) return code;
    if (!part->name) return malformed(request, "a part has no name");
    async__buffer_consume(&self->in, (size_t)size + 4);
    return 0;
}

/* ---- what handlers call ---- */

int async_http_next_part(struct async_http_request *request, async_http_part *part)
{
    if (!request) return async__http_raise_null("request");
    if (!part) return async__http_raise_null("part");
    *part = (async_http_part){0};
    int code = async_checkpoint();
    if (code < 0) return code;
    struct async__http_multipart *self = begin(request);
    if (!self) return async_error_code();
    if (self->place == AFTER_END) return 0;
    code = skip_part(request); /* or the preamble */
    if (code == 0) code = pass_delimiter(request);
    if (code == 0) self->place = AFTER_END;
    if (code <= 0) return code;
    if (++self->parts > request->server->options.max_parts)
        return async__http_body_fail(request, -EMSGSIZE, 413, "the form has too many parts");
    self->place = IN_PART;
    code = read_part_head(request, part);
    return code < 0 ? code : 1;
}

ssize_t async_http_part_recv(struct async_http_request *request, void *buffer, size_t size)
{
    struct async__http_multipart *self = request ? request->multipart : NULL;

    if (!request) return async__http_raise_null("request");
    int code = async_checkpoint();
    if (code < 0 || size == 0 || !self || self->place != IN_PART) return code;
    ssize_t there = data_size(request);
    if (there <= 0) return there;
    if (size > (size_t)there) size = (size_t)there;
    memcpy(buffer, async__buffer_bytes(&self->in), size);
    async__buffer_consume(&self->in, size);
    return (ssize_t)size;
}

const char *async_http_part_read(struct async_http_request *request, size_t *size)
{
    struct async__buffer whole = {0};
    ssize_t got = 1;
    char *copy = NULL;

    while (got > 0) {
        if (async__buffer_room(&whole) == 0 && async__buffer_reserve(&whole, 1024) < 0)
            got = async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for a part of a form");
        else
            got = async_http_part_recv(request, whole.data + whole.end, async__buffer_room(&whole));
        if (got > 0) whole.end += (size_t)got;
    }
    if (got == 0) copy = async__http_request_alloc(request, async__buffer_size(&whole) + 1);
    if (copy) {
        memcpy(copy, async__buffer_bytes(&whole), async__buffer_size(&whole));
        copy[async__buffer_size(&whole)] = '\0';
        if (size) *size = async__buffer_size(&whole);
    }
    async__buffer_free(&whole);
    return copy;
}

int64_t async_http_part_save(struct async_http_request *request, const char *path)
{
    char piece[8192];
    int64_t total = 0;
    ssize_t got;

    if (!request) return async__http_raise_null("request");
    if (!path) return async__http_raise_null("path");
    async_file *file = async_file_open(path, "w");
    if (!file) return async_error_code();
    while ((got = async_http_part_recv(request, piece, sizeof piece)) > 0) {
        int code = async_file_write(file, piece, (size_t)got);
        if (code < 0) {
            got = code;
            break;
        }
        total += got;
    }
    int closed = async_file_close(file);
    if (got < 0) return got;
    return closed < 0 ? closed : total;
}
