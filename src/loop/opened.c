/* opened.c - debug mode: what was opened, where, and not closed before its loop was.
 *
 * A table of all loops', since an object may be closed in another thread than it was opened in. Of
 * what debug mode was not on for there is no record, and a close that finds none does nothing. */
#include "debug.h"

#include "../base/backtrace.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { BUCKETS = 1024, FRAMES = 8 };

struct record {
    struct record *next;
    const void *object;
    const char *what;
    async_loop *loop;
    int count;
    void *frames[FRAMES];
    char opener[160]; /* the task */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct record *table[BUCKETS];
static atomic_size_t records;

static struct record **bucket_of(const void *object)
{
    return &table[((uintptr_t)object >> 4) * 2654435761u / 64 % BUCKETS];
}

void async__debug_forked(void) { lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER; }

void async_debug_opened(const void *object, const char *what)
{
    async_loop *loop = async__loop();
    if (!loop || !loop->debug) return;
    struct record *record = async__alloc_zeroed(sizeof *record);
    if (!record) return;

    record->object = object;
    record->what = what;
    record->loop = loop;
    record->count = async__backtrace(record->frames, FRAMES);
    if (loop->describe) loop->describe(NULL, false, record->opener, sizeof record->opener);
    pthread_mutex_lock(&lock);
    struct record **bucket = bucket_of(object);
    record->next = *bucket;
    *bucket = record;
    records++;
    pthread_mutex_unlock(&lock);
}

void async_debug_closed(const void *object)
{
    if (records == 0) return;
    pthread_mutex_lock(&lock);
    struct record **place = bucket_of(object), *record;
    while ((record = *place) && record->object != object)
        place = &record->next;
    if (record) {
        *place = record->next;
        records--;
    }
    pthread_mutex_unlock(&lock);
    async__free(record);
}

static struct record *take_of(const async_loop *loop)
{
    struct record *found = NULL;

    pthread_mutex_lock(&lock);
    for (int i = 0; i < BUCKETS; i++)
        for (struct record **place = &table[i], *record; (record = *place);) {
            if (record->loop != loop) {
                place = &record->next;
                continue;
            }
            *place = record->next;
            record->next = found;
            found = record;
            records--;
        }
    pthread_mutex_unlock(&lock);
    return found;
}

void async__debug_unclosed(async_loop *loop)
{
    if (records == 0) return;
    for (struct record *record = take_of(loop), *next; record; record = next) {
        char where[640], message[1024];
        next = record->next;
        if (record->count > 1) /* without async_debug_opened's own */
            async__describe_frames(record->frames + 1, record->count - 1, " <- ", where,
                                   sizeof where);
        else
            where[0] = 0;
        snprintf(message, sizeof message, "a %s was never closed: opened%s%s%s%s", record->what,
                 *record->opener ? " by " : "", record->opener, *where ? "\n  at " : "", where);
        async__report(loop, -EINVAL, message);
        async__free(record);
    }
}
