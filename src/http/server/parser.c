/* parser.c - llhttp. The one file that knows it.
 *
 * It is given whole heads, whole lines of chunk sizes and whole trailers, which the guard has let
 * through; so a name or a value comes in one piece, and nothing has to be gathered. All of its lenient
 * modes are off. */
#include "server_internal.h"

#include <llhttp.h>
#include <stdio.h>

struct async__http_parser {
    llhttp_t llhttp;
    char *target;
    size_t target_size;
    size_t name_size, value_size;
    struct async__http_fields *fields;
    bool complete;   /* the headers, or a chunk's size line, have come to their end */
    bool overflowed; /* there are more fields than there is room for */
};

static struct async__http_parser *parser_of(llhttp_t *llhttp)
{
    return (struct async__http_parser *)llhttp;
}

static int on_url(llhttp_t *llhttp, const char *at, size_t size)
{
    parser_of(llhttp)->target = (char *)at;
    parser_of(llhttp)->target_size = size;
    return 0;
}

/* The 0 behind the name is put where its colon is, and that behind the value in place of what follows
 * it, which llhttp has seen already or does not look at again. */
static int on_field(llhttp_t *llhttp, const char *at, size_t size)
{
    struct async__http_parser *parser = parser_of(llhttp);
    struct async__http_fields *fields = parser->fields;

    if (fields->count == fields->capacity) {
        parser->overflowed = true;
        return HPE_USER;
    }
    fields->at[fields->count++] = (struct async__http_field){.name = (char *)at};
    parser->name_size = size;
    return 0;
}

static int on_value(llhttp_t *llhttp, const char *at, size_t size)
{
    struct async__http_parser *parser = parser_of(llhttp);
    struct async__http_field *field = &parser->fields->at[parser->fields->count - 1];

    if (field->value) return HPE_USER; /* in two pieces: the guard lets no folded line through */
    field->value = (char *)at;
    parser->value_size = size;
    return 0;
}

/* Only now: the spans are told before llhttp has left them. */
static int on_value_complete(llhttp_t *llhttp)
{
    struct async__http_parser *parser = parser_of(llhttp);
    struct async__http_field *field = &parser->fields->at[parser->fields->count - 1];
    size_t size = parser->value_size;

    while (size > 0 && (field->value[size - 1] == ' ' || field->value[size - 1] == '\t'))
        size--;
    field->name[parser->name_size] = '\0';
    /* llhttp tells of an empty value where the next line begins. */
    if (size == 0) field->value = field->name + parser->name_size;
    field->value[size] = '\0';
    return 0;
}

static int on_complete(llhttp_t *llhttp)
{
    parser_of(llhttp)->complete = true;
    return 0;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_complete,
    .on_chunk_header = on_complete,
};

async__http_parser *async__http_parser_new(void)
{
    return async__alloc_zeroed(sizeof(async__http_parser));
}

void async__http_parser_free(async__http_parser *parser) { async__free(parser); }

/* What of the text has been parsed without an error. An upgrade, after which llhttp wants to be asked
 * to go on, is no error here. */
static bool execute(async__http_parser *parser, const char *data, size_t size)
{
    llhttp_errno_t error = llhttp_execute(&parser->llhttp, data, size);

    if (error == HPE_PAUSED_UPGRADE) {
        llhttp_resume_after_upgrade(&parser->llhttp);
        return true;
    }
    return error == HPE_OK;
}

static int refuse(const async__http_parser *parser, const char **why)
{
    if (parser->overflowed) {
        *why = "there are too many headers";
        return 431;
    }
    *why = llhttp_get_error_reason(&parser->llhttp);
    return llhttp_get_errno(&parser->llhttp) == HPE_INVALID_METHOD ? 501 : 400;
}

int async__http_parse_head(async__http_parser *parser, struct async__http_head *head, char *data,
                           size_t size, const char **why)
{
    llhttp_init(&parser->llhttp, HTTP_REQUEST, &settings);
    parser->fields = &head->fields;
    parser->target = NULL;
    parser->complete = parser->overflowed = false;
    head->fields.count = 0;
    if (!execute(parser, data, size)) return refuse(parser, why);
    *why = "the head could not be parsed";
    if (!parser->complete || !parser->target) return 400;

    /* The guard has seen to it that there is one blank before the target and one behind it. */
    parser->target[parser->target_size] = '\0';
    parser->target[-1] = '\0';
    head->target = parser->target;
    head->method = data + (data[0] == '\r' ? 2 : 0);
    head->minor = parser->llhttp.http_minor;
    return 0;
}

uint64_t async__http_parser_length(const async__http_parser *parser)
{
    return parser->llhttp.content_length;
}

bool async__http_parser_chunked(const async__http_parser *parser)
{
    return parser->llhttp.flags & F_CHUNKED;
}

bool async__http_parse_chunk(async__http_parser *parser, const char *digits, size_t count,
                             uint64_t *size)
{
    parser->complete = false;
    if (!execute(parser, digits, count) || !execute(parser, "\r\n", 2)) return false;
    *size = parser->llhttp.content_length;
    return parser->complete;
}

bool async__http_parse_data(async__http_parser *parser, const char *data, size_t size)
{
    return execute(parser, data, size);
}

bool async__http_parse_trailer(async__http_parser *parser, struct async__http_fields *fields,
                               char *data, size_t size)
{
    parser->fields = fields;
    return execute(parser, data, size);
}

char *async__http_field(const struct async__http_fields *fields, const char *name)
{
    for (int i = 0; i < fields->count; i++)
        if (async__http_same_name(fields->at[i].name, name)) return fields->at[i].value;
    return NULL;
}
