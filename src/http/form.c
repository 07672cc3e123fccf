/* form.c - forms as bodies of requests: multipart/form-data, put together in memory. */
#include "http_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

struct async_http_form_data {
    struct async__buffer body;
    char boundary[36];
    char content_type[80];
    bool ended;
};

async_http_form_data *async_http_form_new(void)
{
    unsigned char random[16];
    async_http_form_data *self = async__alloc_zeroed(sizeof *self);

    if (!self || getrandom(random, sizeof random, 0) != sizeof random) {
        async__free(self);
        async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for a form");
        return NULL;
    }
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(self->boundary + 2 * i, 3, "%02x", random[i]);
    snprintf(self->content_type, sizeof self->content_type, "multipart/form-data; boundary=%s",
             self->boundary);
    return self;
}

void async_http_form_free(async_http_form_data *form)
{
    if (!form) return;
    async__buffer_free(&form->body);
    async__free(form);
}

static int put(async_http_form_data *form, const void *data, size_t size)
{
    return size > 0 ? async__buffer_append(&form->body, data, size) : 0;
}

static int put_text(async_http_form_data *form, const char *text)
{
    return put(form, text, strlen(text));
}

/* As browsers do: what would end the quotes or the line is coded. */
static int put_quoted(async_http_form_data *form, const char *name, const char *text)
{
    int bad = put_text(form, name);

    for (; *text; text++) {
        if (*text == '"')
            bad |= put_text(form, "%22");
        else if (*text == '\r')
            bad |= put_text(form, "%0D");
        else if (*text == '\n')
            bad |= put_text(form, "%0A");
        else
            bad |= put(form, text, 1);
    }
    return bad | put_text(form, "\"");
}

int async_http_form_add_file(async_http_form_data *form, const char *name, const char *filename,
                             const char *content_type, const void *data, size_t size)
{
    if (!form) return async_raise_at(NULL, 0, NULL, -EBADF, "the form is NULL");
    if (!name || (content_type && strpbrk(content_type, "\r\n")) || form->ended)
        return async_raise_at(NULL, 0, NULL, -EINVAL,
                              form->ended ? "the form has been used already"
                                          : "a part of a form has no name, or a bad type");
    size_t before = form->body.end;
    int bad = put_text(form, "--") | put_text(form, form->boundary) |
              put_quoted(form, "\r\nContent-Disposition: form-data; name=\"", name);
    if (filename) bad |= put_quoted(form, "; filename=\"", filename);
    if (content_type) bad |= put_text(form, "\r\nContent-Type: ") | put_text(form, content_type);
    bad |= put_text(form, "\r\n\r\n") | put(form, data, size) | put_text(form, "\r\n");
    if (bad == 0) return 0;
    form->body.end = before;
    return async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for a form");
}

int async_http_form_add(async_http_form_data *form, const char *name, const char *value)
{
    if (!value) return async_raise_at(NULL, 0, NULL, -EINVAL, "a part of a form has no value");
    return async_http_form_add_file(form, name, NULL, NULL, value, strlen(value));
}

const void *async_http_form_body(async_http_form_data *form, size_t *size)
{
    if (!form) {
        async_raise_at(NULL, 0, NULL, -EBADF, "the form is NULL");
        return NULL;
    }
    if (!form->ended) {
        size_t before = form->body.end;
        if (put_text(form, "--") | put_text(form, form->boundary) | put_text(form, "--\r\n")) {
            form->body.end = before;
            async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for a form");
            return NULL;
        }
        form->ended = true;
    }
    if (size) *size = async__buffer_size(&form->body);
    return async__buffer_bytes(&form->body);
}

const char *async_http_form_type(const async_http_form_data *form)
{
    return form ? form->content_type : NULL;
}
