/* peer.h - a table of rows whose limit is Go's figure for what is nearest to it there, from a program of support/ that is run in the
 * same run, if there is a `go`. That program prints a line a row, "NAME: NS", once a round. */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include "bench.h"

struct peer_row {
    const char *name, *aim;
    double (*measure)(void);
    double ours, go; /* ns; 0: not measured */
};

static inline void peer_keep_best(double *best, double value)
{
    if (*best == 0 || value < *best) *best = value;
}

static inline void peer_measure(struct peer_row *rows, size_t count)
{
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < count; i++)
            peer_keep_best(&rows[i].ours, rows[i].measure());
}

static inline void peer_ask_go(struct peer_row *rows, size_t count, const char *program)
{
    char command[4096], line[256];
    snprintf(command, sizeof command,
             "command -v go >/dev/null && go run '%.*s/support/%s' %d 2>/dev/null",
             (int)(strrchr(__FILE__, '/') - __FILE__), __FILE__, program, ROUNDS);
    FILE *peer = popen(command, "r");
    while (peer && fgets(line, sizeof line, peer)) {
        char *colon = strchr(line, ':');
        if (!colon) continue;
        *colon = 0;
        for (size_t i = 0; i < count; i++)
            if (strcmp(line, rows[i].name) == 0)
                peer_keep_best(&rows[i].go, strtod(colon + 1, NULL));
    }
    if (peer) pclose(peer);
}

static inline void peer_table(const struct peer_row *rows, size_t count)
{
    bench_heading();
    for (size_t i = 0; i < count; i++)
        bench_row(rows[i].name, "ns", rows[i].ours, rows[i].go, rows[i].aim);
}

#endif
