/* faults.h - the hook for the fault tests: the n-th allocation, system call or await fails.
 *
 * Without ASYNC_FAULTS it is nothing. With it, a test sets async__faults[kind].at to n, runs a
 * scenario, and learns from .count how many there were, and so when to stop. */
#ifndef CASYNCIO_FAULTS_H
#define CASYNCIO_FAULTS_H

#include <stdbool.h>

enum async__fault_kind {
    ASYNC__FAULT_ALLOCATION, /* gives NULL, ENOMEM */
    ASYNC__FAULT_SYSTEM_CALL, /* gives -1 and async__fault_errno */
    ASYNC__FAULT_AWAIT,      /* the task is cancelled at this checkpoint */
    ASYNC__FAULT_KINDS
};

#ifdef ASYNC_FAULTS
struct async__fault_counter {
    long at;    /* which one fails, counted from 1; 0: none */
    long count; /* how many there have been */
};
extern __thread struct async__fault_counter async__faults[ASYNC__FAULT_KINDS];
extern int async__fault_errno;

static inline bool async__fault(enum async__fault_kind kind)
{
    struct async__fault_counter *counter = &async__faults[kind];
    return ++counter->count == counter->at;
}

/* A system call by way of the hook: ASYNC__CALL(recv(fd, b, n, 0)) is -1 with errno set when its turn
 * to fail has come. */
#define ASYNC__CALL(call)                                                                          \
    (async__fault(ASYNC__FAULT_SYSTEM_CALL) ? (errno = async__fault_errno, -1) : (call))
#else
#define async__fault(kind) false
#define ASYNC__CALL(call) (call)
#endif

#endif
