/* zlib_by_name.h - what is declared here of zlib's interface: it is loaded by name, see codings.c. */
#ifndef CASYNCIO_ZLIB_BY_NAME_H
#define CASYNCIO_ZLIB_BY_NAME_H

typedef struct {
    const unsigned char *next_in;
    unsigned avail_in;
    unsigned long total_in;
    unsigned char *next_out;
    unsigned avail_out;
    unsigned long total_out;
    const char *message;
    void *state, *allocate, *release, *opaque;
    int data_type;
    unsigned long adler, reserved;
} zlib_stream;

enum {
    ZLIB_OK = 0,
    ZLIB_END = 1,
    ZLIB_NO_FLUSH = 0,
    ZLIB_SYNC_FLUSH = 2,
    ZLIB_FINISH = 4,
    ZLIB_MEMORY = -4,
    ZLIB_NO_PROGRESS = -5
};
enum { ZLIB_RAW = -15, ZLIB_ZLIB = 15, ZLIB_GZIP = 15 + 16 };

#endif
