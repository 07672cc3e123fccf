/* faults.h - the hook for the fault tests: the n-th allocation, system call or await fails.
 *
 * Without ASYNC_FAULTS it is nothing. With it, a test sets async__faults[kind].at to n, runs a
 * scenario, and learns from .count how many there were, and so when to stop.
 *
 * The counters of a thread are its own: what fails in a test must not depend on what other threads
 * do meanwhile. The threads of a loop's pools, which do the loop's work on files and names, share a
 * second set (async__worker_faults): so "the third system call of the loop" and "the third of its
 * pool" each mean the same call in every run.
 *
 * A program that does not set counters itself is controlled by its environment, which is read once
 * at its start:
 *
 *     CASYNCIO_FAULT=KIND:N[:ERRNO]   the N-th fails; KIND: allocation, system_call, transfer,
 *                                     await, wait, wake, expire, or worker_system_call,
 *                                     worker_transfer; ERRNO: a number; KIND+ instead of KIND:
 *                                     every later one too
 *     CASYNCIO_FAULT_CLOCK=virtual    async_run has a virtual clock, whatever its options say
 *     CASYNCIO_FAULT_CLOCK=virtual:N  the same, and each look at descriptors and timers advances it
 *                                     by N ns, so that a program that is never idle reaches its
 *                                     timeouts
 *     CASYNCIO_FAULT_CLOCK=20         the real clock, made 20 times as fast
 *     CASYNCIO_FAULT_REPORT=FD        at its exit the program writes to FD the counts, the time of
 *                                     the clock, and the number of open descriptors
 *     CASYNCIO_FAULT_CURL=1           libcurl's allocations count too */
#ifndef CASYNCIO_FAULTS_H
#define CASYNCIO_FAULTS_H

#include <stdbool.h>

enum async__fault_kind {
    ASYNC__FAULT_ALLOCATION,  /* gives NULL, ENOMEM */
    ASYNC__FAULT_SYSTEM_CALL, /* gives -1 and async__fault_errno */
    ASYNC__FAULT_TRANSFER,    /* a read or a write moves a single byte */
    ASYNC__FAULT_AWAIT,       /* the task is cancelled at this checkpoint */
    ASYNC__FAULT_WAIT,        /* the task is cancelled once it has begun to wait */
    ASYNC__FAULT_WAKE,        /* the task is cancelled as it is woken, before it runs */
    ASYNC__FAULT_EXPIRE,      /* the same, but its innermost scope's time runs out */
    ASYNC__FAULT_KINDS
};

#ifdef ASYNC_FAULTS
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

struct async__fault_counter {
    long at;    /* which one fails, counted from 1; 0: none */
    bool on;    /* and every later one too */
    long count; /* how many there have been */
};
extern __thread struct async__fault_counter async__faults[ASYNC__FAULT_KINDS];
extern struct async__fault_counter async__worker_faults[ASYNC__FAULT_KINDS];
extern __thread bool async__fault_worker; /* this is a thread of a pool */
extern int async__fault_errno;
/* Unless it is NULL it is called instead, in the loop's thread, and nothing fails: a test has another
 * task do something at the n-th point of a kind. */
extern void (*async__fault_action)(void);

/* The values of CASYNCIO_FAULT_CLOCK. */
extern bool async__fault_virtual_clock;
extern int async__fault_speed;
extern int64_t async__fault_tick;
extern int64_t async__fault_end; /* where the clock of the last async_run stood at its end */

extern const char *const async__fault_names[ASYNC__FAULT_KINDS];

bool async__fault(enum async__fault_kind kind);
size_t async__fault_size(size_t size);
int async__fault_close(int fd);

/* A system call by way of the hook: ASYNC__CALL(recv(fd, b, n, 0)) is -1 with errno set, without
 * the call, when its turn to fail has come. ASYNC__MAP is for mmap. ASYNC__CLOSE closes in any
 * case, and then may report a failure. The size that is passed to a read or a write is
 * ASYNC__SIZE(n). */
#define ASYNC__CALL(call)                                                                          \
    (async__fault(ASYNC__FAULT_SYSTEM_CALL) ? (errno = async__fault_errno, -1) : (call))
#define ASYNC__MAP(call)                                                                           \
    (async__fault(ASYNC__FAULT_SYSTEM_CALL) ? (errno = async__fault_errno, MAP_FAILED) : (call))
#define ASYNC__CLOSE(fd) async__fault_close(fd)
#define ASYNC__SIZE(size) async__fault_size(size)
#else
#define async__fault(kind) false
#define ASYNC__CALL(call) (call)
#define ASYNC__MAP(call) (call)
#define ASYNC__CLOSE(fd) close(fd)
#define ASYNC__SIZE(size) (size)
#endif

#endif
