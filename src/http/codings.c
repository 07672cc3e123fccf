/* codings.c - content codings: gzip, deflate, br and zstd.
 *
 * libcurl decodes them too, but reads no more than the first gzip member, takes a cut-off body for
 * a whole one, and decodes all of a received piece at once, however much that comes to: 16 KiB of
 * brotli can become gigabytes. So curl gives bodies as they are, and they are decoded here, step by
 * step, no further than there is room for the result.
 *
 * A body may have several codings, each applied to the result of the one before. Each has a stage;
 * a stage draws its input from the stage below it, the lowest from what has been received.
 *
 * zlib, libbrotlidec and libzstd are loaded by name. They are in the process already, since
 * libcurl is linked with them; in this way a program neither needs them on its link line nor their
 * headers, and a coding whose library is not there is not asked for. Of their interfaces, stable
 * since long before Debian 12, the few functions in use are declared here. */
#include "http_internal.h"
#include "zlib_by_name.h"

#include <dlfcn.h>
#include <string.h>
#include <strings.h>

#define STAGES_MAX 4
#define PIECE CURL_MAX_WRITE_SIZE /* of what curl hands over at once */

/* ---- the libraries ---- */

enum { BROTLI_ERROR = 0, BROTLI_SUCCESS = 1 };
enum { ZSTD_WINDOW_LOG_MAX = 100, ZSTD_MEMORY = 64 };

typedef struct {
    void *data;
    size_t size, at;
} zstd_buffer;

static int (*zlib_init)(zlib_stream *, int window, const char *version, int size);
static int (*zlib_inflate)(zlib_stream *, int flush);
static int (*zlib_reset)(zlib_stream *);
static int (*zlib_end)(zlib_stream *);
static void *(*brotli_new)(void *allocate, void *release, void *opaque);
static int (*brotli_decode)(void *, size_t *in_left, const unsigned char **in, size_t *out_left,
                            unsigned char **out, size_t *total);
static int (*brotli_error)(const void *);
static const char *(*brotli_error_text)(int);
static void (*brotli_free)(void *);
static void *(*zstd_new)(void);
static size_t (*zstd_set)(void *, int parameter, int value);
static size_t (*zstd_decode)(void *, zstd_buffer *out, zstd_buffer *in);
static unsigned (*zstd_is_error)(size_t);
static int (*zstd_error)(size_t);
static const char *(*zstd_error_text)(size_t);
static size_t (*zstd_free)(void *);

static const struct symbol {
    const char *library, *name;
    void *function; /* the address of the pointer to it */
} symbols[] = {
    {"libz.so.1", "inflateInit2_", &zlib_init},
    {"libz.so.1", "inflate", &zlib_inflate},
    {"libz.so.1", "inflateReset", &zlib_reset},
    {"libz.so.1", "inflateEnd", &zlib_end},
    {"libbrotlidec.so.1", "BrotliDecoderCreateInstance", &brotli_new},
    {"libbrotlidec.so.1", "BrotliDecoderDecompressStream", &brotli_decode},
    {"libbrotlidec.so.1", "BrotliDecoderGetErrorCode", &brotli_error},
    {"libbrotlidec.so.1", "BrotliDecoderErrorString", &brotli_error_text},
    {"libbrotlidec.so.1", "BrotliDecoderDestroyInstance", &brotli_free},
    {"libzstd.so.1", "ZSTD_createDCtx", &zstd_new},
    {"libzstd.so.1", "ZSTD_DCtx_setParameter", &zstd_set},
    {"libzstd.so.1", "ZSTD_decompressStream", &zstd_decode},
    {"libzstd.so.1", "ZSTD_isError", &zstd_is_error},
    {"libzstd.so.1", "ZSTD_getErrorCode", &zstd_error},
    {"libzstd.so.1", "ZSTD_getErrorName", &zstd_error_text},
    {"libzstd.so.1", "ZSTD_freeDCtx", &zstd_free},
};

/* ---- stages ---- */

/* What a step works on; a decoder moves the pointers on. */
struct span {
    const unsigned char *in;
    size_t in_left;
    unsigned char *out;
    size_t out_left;
};

struct stage {
    const struct coding *coding;
    void *state;   /* the library's */
    bool begun;    /* has had input */
    bool complete; /* at the end of a member, frame or stream */
    zlib_stream zlib;
    size_t at, length; /* of the input that is not used yet */
    unsigned char *input;
    unsigned char buffer[PIECE];
};

struct async__http_decoder {
    int count;
    int code;     /* what came was bad: told once all that was good has been given out */
    bool pending; /* there is more to give out without more input, or may be */
    struct stage *stages[STAGES_MAX]; /* the lowest first: that of the coding applied last */
};

struct coding {
    const char *name, *other_name;
    const void *library; /* the address of the last of its functions */
    int (*open)(struct stage *stage, unsigned char first);
    /* One call of the library's. 0, or a code with *why; sets `complete`. */
    int (*step)(struct stage *stage, struct span *span, const char **why);
    void (*close)(struct stage *stage);
};

static int open_zlib(struct stage *stage, int window)
{
    return zlib_init(&stage->zlib, window, "1.2.0", (int)sizeof stage->zlib) == ZLIB_OK ? 0
                                                                                        : -ENOMEM;
}

static int open_gzip(struct stage *stage, unsigned char first)
{
    (void)first;
    return open_zlib(stage, ZLIB_GZIP);
}

/* Some servers send deflated data without zlib's header, which begins with a byte of 0x?8. */
static int open_deflate(struct stage *stage, unsigned char first)
{
    return open_zlib(stage, (first & 15) == 8 ? ZLIB_ZLIB : ZLIB_RAW);
}

static int step_zlib(struct stage *stage, struct span *span, const char **why)
{
    zlib_stream *zlib = &stage->zlib;

    zlib->next_in = span->in;
    zlib->avail_in = (unsigned)span->in_left;
    zlib->next_out = span->out;
    zlib->avail_out = span->out_left > UINT32_MAX ? UINT32_MAX : (unsigned)span->out_left;
    int result = zlib_inflate(zlib, ZLIB_NO_FLUSH);
    if (zlib->next_in != span->in) stage->complete = false;
    span->in_left -= (size_t)(zlib->next_in - span->in);
    span->out_left -= (size_t)(zlib->next_out - span->out);
    span->in = zlib->next_in;
    span->out = zlib->next_out;
    *why = zlib->message ? zlib->message : "";
    if (result == ZLIB_END) stage->complete = true;
    if (result == ZLIB_OK || result == ZLIB_END || result == ZLIB_NO_PROGRESS) return 0;
    return result == ZLIB_MEMORY ? -ENOMEM : ASYNC_EHTTP;
}

/* After a member there may be another (RFC 1952, 2.2). */
static int step_gzip(struct stage *stage, struct span *span, const char **why)
{
    if (stage->complete && span->in_left > 0) zlib_reset(&stage->zlib);
    return step_zlib(stage, span, why);
}

static int step_deflate(struct stage *stage, struct span *span, const char **why)
{
    if (!stage->complete) return step_zlib(stage, span, why);
    *why = "data after its end";
    return span->in_left > 0 ? ASYNC_EHTTP : 0;
}

static void close_zlib(struct stage *stage) { zlib_end(&stage->zlib); }

static int open_brotli(struct stage *stage, unsigned char first)
{
    (void)first;
    stage->state = brotli_new(NULL, NULL, NULL);
    return stage->state ? 0 : -ENOMEM;
}

static int step_brotli(struct stage *stage, struct span *span, const char **why)
{
    if (stage->complete) {
        *why = "data after its end";
        return span->in_left > 0 ? ASYNC_EHTTP : 0;
    }
    int result =
        brotli_decode(stage->state, &span->in_left, &span->in, &span->out_left, &span->out, NULL);
    stage->complete = result == BROTLI_SUCCESS;
    if (result != BROTLI_ERROR) return 0;
    int error = brotli_error(stage->state);
    *why = brotli_error_text(error);
    return error <= -21 && error >= -30 ? -ENOMEM : ASYNC_EHTTP; /* the codes of allocations */
}

static void close_brotli(struct stage *stage) { brotli_free(stage->state); }

/* Windows of more than 8 MiB are not for HTTP (RFC 9659). */
static int open_zstd(struct stage *stage, unsigned char first)
{
    (void)first;
    stage->state = zstd_new();
    if (!stage->state) return -ENOMEM;
    zstd_set(stage->state, ZSTD_WINDOW_LOG_MAX, 23);
    return 0;
}

static int step_zstd(struct stage *stage, struct span *span, const char **why)
{
    zstd_buffer in = {(void *)span->in, span->in_left, 0};
    zstd_buffer out = {span->out, span->out_left, 0};

    if (stage->complete && span->in_left == 0) return 0;
    size_t result = zstd_decode(stage->state, &out, &in);
    span->in += in.at;
    span->in_left -= in.at;
    span->out += out.at;
    span->out_left -= out.at;
    stage->complete = result == 0;
    if (!zstd_is_error(result)) return 0;
    *why = zstd_error_text(result);
    return zstd_error(result) == ZSTD_MEMORY ? -ENOMEM : ASYNC_EHTTP;
}

static void close_zstd(struct stage *stage) { zstd_free(stage->state); }

static const struct coding codings[] = {
    {"gzip", "x-gzip", &zlib_end, open_gzip, step_gzip, close_zlib},
    {"deflate", NULL, &zlib_end, open_deflate, step_deflate, close_zlib},
    {"br", NULL, &brotli_free, open_brotli, step_brotli, close_brotli},
    {"zstd", NULL, &zstd_free, open_zstd, step_zstd, close_zstd},
};

enum { CODINGS = sizeof codings / sizeof *codings };

static bool is_there(const struct coding *coding)
{
    void *function;
    memcpy(&function, coding->library, sizeof function);
    return function != NULL;
}

/* ---- which there are ---- */

static char accepted[64] = "Accept-Encoding: ";

/* A library counts as there once its last function has been found. */
void async__http_load_codings(void)
{
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *library = dlopen(symbols[i].library, RTLD_NOW | RTLD_LOCAL);
        void *function = library ? dlsym(library, symbols[i].name) : NULL;
        memcpy(symbols[i].function, &function, sizeof function);
    }
    for (int i = 0, some = 0; i < CODINGS; i++) {
        if (!is_there(&codings[i])) continue;
        if (some++) strcat(accepted, ", ");
        strcat(accepted, codings[i].name);
    }
}

const char *async__http_accept_encoding(void)
{
    return accepted[sizeof "Accept-Encoding: " - 1] ? accepted : "Accept-Encoding: identity";
}

/* ---- making a decoder ---- */

static const struct coding *find(const char *name, size_t length)
{
    for (int i = 0; i < CODINGS; i++) {
        const struct coding *coding = &codings[i];
        const char *other = coding->other_name ? coding->other_name : coding->name;
        if (((strlen(coding->name) == length && strncasecmp(coding->name, name, length) == 0) ||
             (strlen(other) == length && strncasecmp(other, name, length) == 0)) &&
            is_there(coding))
            return coding;
    }
    return NULL;
}

void async__http_decoder_free(struct async__http_decoder *decoder)
{
    if (!decoder) return;
    for (int i = 0; i < decoder->count; i++) {
        struct stage *stage = decoder->stages[i];
        if (stage->begun) stage->coding->close(stage);
        async__free(stage);
    }
    async__free(decoder);
}

static int add_stage(struct async__http_decoder **decoder, const struct coding *coding)
{
    if (!*decoder) *decoder = async__alloc_zeroed(sizeof **decoder);
    struct stage *stage = *decoder ? async__alloc(sizeof *stage) : NULL;
    if (!stage) return -ENOMEM;
    memset(stage, 0, offsetof(struct stage, buffer));
    stage->coding = coding;
    memmove((*decoder)->stages + 1, (*decoder)->stages,
            (size_t)(*decoder)->count * sizeof *(*decoder)->stages);
    (*decoder)->stages[0] = stage;
    (*decoder)->count++;
    return 0;
}

int async__http_decoder_add(struct async__http_decoder **decoder, const char *list,
                            async_http_response *response)
{
    while (*list) {
        list += strspn(list, ", \t");
        size_t length = strcspn(list, ", \t");
        if (length == 0) break;
        const struct coding *coding = find(list, length);
        bool identity = length == 8 && strncasecmp(list, "identity", length) == 0;
        if (!coding && !identity) {
            async__http_detail(response, "unknown content coding: %.*s", (int)length, list);
            return ASYNC_EHTTP;
        }
        if (coding && *decoder && (*decoder)->count == STAGES_MAX) {
            async__http_detail(response, "more than %d content codings", STAGES_MAX);
            return ASYNC_EHTTP;
        }
        if (coding && add_stage(decoder, coding) < 0) return -ENOMEM;
        list += length;
    }
    return 0;
}

/* ---- decoding ---- */

/* One step of a stage, which has input or may still have output. false: nothing has moved. */
static bool step(struct stage *stage, struct span *span, async_http_response *response, int *code)
{
    size_t had = stage->length - stage->at, room = span->out_left;
    const char *why = "";

    if (!stage->begun) {
        if (had == 0) return false;
        *code = stage->coding->open(stage, stage->input[stage->at]);
        if (*code < 0) return false;
        stage->begun = true;
    }
    span->in = stage->input + stage->at;
    span->in_left = had;
    *code = stage->coding->step(stage, span, &why);
    stage->at = stage->length - span->in_left;
    if (*code == ASYNC_EHTTP)
        async__http_detail(response, "bad %s data: %s", stage->coding->name, why);
    return span->in_left < had || span->out_left < room;
}

/* Fills `out` as far as the input goes, and gives the number of bytes; *code is set where it can
 * go no further. */
static size_t draw(struct async__http_decoder *decoder, int index, void *out, size_t size,
                   async_http_response *response, int *code)
{
    struct stage *stage = decoder->stages[index];
    struct span span = {.out = out, .out_left = size};
    bool moved = true;

    while (moved && span.out_left > 0 && *code == 0) {
        if (stage->at == stage->length && index > 0) {
            stage->input = stage->buffer;
            stage->at = 0;
            stage->length = draw(decoder, index - 1, stage->buffer, PIECE, response, code);
        }
        if (*code == 0 || stage->length > 0) {
            int failed = 0;
            moved = step(stage, &span, response, &failed);
            if (failed < 0) *code = failed;
        }
    }
    return size - span.out_left;
}

void async__http_decoder_give(struct async__http_decoder *decoder, const char *data, size_t size)
{
    struct stage *stage = decoder->stages[0];

    stage->input = (unsigned char *)data;
    stage->at = 0;
    stage->length = size;
    decoder->pending = true;
}

void async__http_decoder_keep(struct async__http_decoder *decoder)
{
    struct stage *stage = decoder->stages[0];
    size_t left = stage->length - stage->at;

    memmove(stage->buffer, stage->input + stage->at, left);
    stage->input = stage->buffer;
    stage->at = 0;
    stage->length = left;
}

ssize_t async__http_decoder_draw(struct async__http_decoder *decoder, char *out, size_t size,
                                 async_http_response *response)
{
    size_t n = 0;

    if (decoder->code == 0)
        n = draw(decoder, decoder->count - 1, out, size, response, &decoder->code);
    decoder->pending = n == size || decoder->code < 0;
    return n == 0 && decoder->code < 0 ? decoder->code : (ssize_t)n;
}

bool async__http_decoder_pending(const struct async__http_decoder *decoder)
{
    return decoder && decoder->pending;
}

/* A body of no bytes at all is taken for an empty one, whatever its coding. */
bool async__http_decoder_complete(const struct async__http_decoder *decoder,
                                  async_http_response *response)
{
    for (int i = 0; decoder && i < decoder->count; i++) {
        const struct stage *stage = decoder->stages[i];
        if (!stage->begun || stage->complete) continue;
        async__http_detail(response, "the %s data is cut short", stage->coding->name);
        return false;
    }
    return true;
}
