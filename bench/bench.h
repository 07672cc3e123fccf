/* bench.h - what the benchmark programs share: clocks, and a table with a limit beside each row.
 *
 * Times are of the machine they are taken on: quote the ratio to the limit of the same run. Each row
 * is the best of several rounds, ours and the limit's by turns, so that both saw the same machine; or,
 * where a round cannot be short enough to find the machine quiet, the middle one of many pairs. */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 7

static inline double bench_clock(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* CPU time of this thread in ns: what others do to the machine counts less in it than in wall time. */
static inline double bench_cpu(void) { return bench_clock(CLOCK_THREAD_CPUTIME_ID); }
static inline double bench_wall(void) { return bench_clock(CLOCK_MONOTONIC); }

/* A figure in a process's /proc/PID/status, in bytes; 0: this one's. */
static inline size_t bench_status_of(int pid, const char *field)
{
    char line[256], path[64] = "/proc/self/status";
    size_t kib = 0, length = strlen(field);
    if (pid > 0) snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, field, length) == 0 && line[length] == ':')
            kib = strtoul(line + length + 1, NULL, 10);
    if (file) fclose(file);
    return kib * 1024;
}

static inline size_t bench_status(const char *field) { return bench_status_of(0, field); }

/* One round: the limit, and ours right after it. Of many pairs, the one whose ratio is the median. */
struct bench_pair {
    double ours, limit;
};

static inline int bench_by_ratio(const void *a, const void *b)
{
    const struct bench_pair *x = a, *y = b;
    double difference = x->ours / x->limit - y->ours / y->limit;
    return difference < 0 ? -1 : difference > 0;
}

static inline struct bench_pair bench_median(struct bench_pair *pairs, size_t count)
{
    qsort(pairs, count, sizeof *pairs, bench_by_ratio);
    return pairs[count / 2];
}

/* Once, if several programs make one table: `make bench` sets BENCH_CONTINUED for the later ones. */
static inline void bench_heading(void)
{
    if (getenv("BENCH_CONTINUED")) return;
    printf("%-46s %10s %10s %7s %9s\n", "", "casyncio", "limit", "ratio", "aim");
}

/* limit 0: there is none to be had. aim: text, as it stands in the documentation. */
static inline void bench_row(const char *name, const char *unit, double ours, double limit,
                             const char *aim)
{
    char label[64];
    snprintf(label, sizeof label, "%s, %s", name, unit);
    if (limit > 0)
        printf("%-46s %10.1f %10.1f %7.2f %9s\n", label, ours, limit, ours / limit, aim);
    else
        printf("%-46s %10.1f %10s %7s %9s\n", label, ours, "-", "-", aim);
    fflush(stdout);
}

#endif
