/* response.c - what the user asks of a response.
 *
 * The body gathers in `filling`. async_http_read waits until all of it is there; the iterator
 * hands out what has come so far by swapping `filling` with `held`, so that a chunk stays where
 * it is while the next one gathers, and nothing is copied twice. Where `filling` had grown too
 * long, curl was paused (receive.c) and is let go on here. */
#include "http_internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- the head ---- */

int async_http_status(const async_http_response *response) { return response->status; }

const char *async_http_reason(const async_http_response *response)
{
    return response->head.text.end ? response->head.text.data : "";
}

const char *async_http_version(const async_http_response *response) { return response->version; }

const char *async_http_url(const async_http_response *response)
{
    char *url = response->own_url;

    if (url) return url;
    curl_easy_getinfo(response->easy, CURLINFO_EFFECTIVE_URL, &url);
    return url ? url : "";
}

static size_t count_lines(const struct async__http_lines *lines)
{
    return lines->index.end / sizeof(uint32_t);
}

/* The name; the value is behind it. */
static const char *line_at(const struct async__http_lines *lines, size_t index)
{
    uint32_t begin;

    memcpy(&begin, lines->index.data + index * sizeof begin, sizeof begin);
    return lines->text.data + begin;
}

static const char *find_line(const struct async__http_lines *lines, const char *wanted)
{
    for (size_t i = 0; i < count_lines(lines); i++) {
        const char *name = line_at(lines, i);
        if (strcasecmp(name, wanted) == 0) return name + strlen(name) + 1;
    }
    return NULL;
}

size_t async_http_header_count(const async_http_response *response)
{
    return count_lines(&response->head);
}

bool async_http_header_at(const async_http_response *response, size_t index, const char **name,
                          const char **value)
{
    if (index >= count_lines(&response->head)) return false;
    const char *found = line_at(&response->head, index);
    if (name) *name = found;
    if (value) *value = found + strlen(found) + 1;
    return true;
}

const char *async_http_header(const async_http_response *response, const char *name)
{
    return find_line(&response->head, name);
}

const char *async_http_trailer(const async_http_response *response, const char *name)
{
    return find_line(&response->trailers, name);
}

size_t async_http_history_count(const async_http_response *response)
{
    size_t count = 0;

    while ((response = response->history))
        count++;
    return count;
}

const async_http_response *async_http_history_at(const async_http_response *response, size_t index)
{
    size_t count = async_http_history_count(response);

    if (index >= count) return NULL;
    for (size_t back = count - index; back > 0; back--)
        response = response->history;
    return response;
}

int async_http_raise_for_status(const async_http_response *response)
{
    char text[256];

    if (response->status < 400) return 0;
    snprintf(text, sizeof text, "%d %s", response->status, async_http_reason(response));
    return async__http_raise_for(response->method, async_http_url(response), ASYNC_EHTTPSTATUS,
                                 text, NULL);
}

/* ---- the body ---- */

int async__http_wait(async_http_response *response)
{
    async_event_clear(&response->changed);
    return async_event_wait(&response->changed);
}

/* There is room again: first for what has been received but not decoded, then for curl's piece. */
static void resume(async_http_response *response)
{
    async__http_decode(response);
    if (!response->paused || response->finished) return;
    if (async__http_decoder_pending(response->decoder)) return;
    response->paused = false;
    CURLcode bad = curl_easy_pause(response->easy, CURLPAUSE_CONT);
    if (bad != CURLE_OK) async__http_finish(response, async__http_code(response, bad));
}

/* All that was received has been given out, or gathered: the body is whole if the transfer was. */
static void check_complete(async_http_response *response)
{
    if (response->code < 0 || async__http_decoder_complete(response->decoder, response)) return;
    response->code = ASYNC_EINCOMPLETE;
}

int async__http_next_chunk(async_iterator *self, void *value)
{
    async_http_response *response = async__container(self, async_http_response, chunks);
    async_http_chunk *chunk = value;
    int code = 0;

    if (response->filling.end > 0 || response->finished)
        code = async_checkpoint();
    else
        while (code == 0 && response->filling.end == 0 && !response->finished)
            code = async__http_wait(response);
    if (code < 0) return code;
    if (response->filling.end == 0 || response->whole) {
        check_complete(response);
        return response->code < 0 ? async__http_raise(response, response->code) : 0;
    }

    struct async__buffer taken = response->filling;
    response->filling = response->held;
    response->filling.end = 0;
    response->held = taken;
    chunk->data = taken.data;
    chunk->size = taken.end;
    resume(response);
    return 1;
}

async_iterator *async_http_chunks(async_http_response *response)
{
    if (!response) async__http_null("response");
    return response ? &response->chunks : NULL;
}

/* The limit holds for what has come already as well. */
static void want_whole(async_http_response *response)
{
    size_t max = response->session ? response->session->max_body : 0;

    response->whole = true;
    if (max && response->filling.end > max) {
        async__http_finish(response, -EMSGSIZE);
        response->code = -EMSGSIZE;
        async__http_detail(response, ASYNC__HTTP_TOO_LARGE);
    }
    resume(response);
}

const void *async_http_read(async_http_response *response, size_t *size)
{
    int code = 0;

    if (size) *size = 0;
    if (!response) {
        async__http_null("response");
        return NULL;
    }
    if (!response->whole) want_whole(response);
    if (response->finished) code = async_checkpoint();
    while (code == 0 && !response->finished)
        code = async__http_wait(response);
    if (code < 0) {
        response->whole = response->finished;
        return NULL;
    }
    check_complete(response);
    if (response->code < 0) {
        async__http_raise(response, response->code);
        return NULL;
    }
    if (!response->filling.data) return "";
    response->filling.data[response->filling.end] = 0; /* receive.c keeps a byte for it */
    if (size) *size = response->filling.end;
    return response->filling.data;
}

const char *async_http_text(async_http_response *response)
{
    const char *text = async_http_read(response, NULL);

    if (text) return text;
    async_block_fail(async_error_code());
    return "";
}
