/* child.h - processes beside the one that measures: servers, and crowds of clients.
 *
 * Each is pinned to a processor, is ended by the kernel when its parent goes, and ends by itself after
 * five minutes: a benchmark that fails leaves nothing behind. */
#ifndef BENCH_CHILD_H
#define BENCH_CHILD_H

#include <sys/types.h>

/* Pins this process to the n-th of the processors that the program may use (modulo their number). */
void bench_pin(int n);

/* Forks a process that is pinned so and calls run(argument). Its port, if it has one to tell, it tells by
 * bench_tell; it is ended by bench_end (0: none). */
pid_t bench_child(int processor, void (*run)(void *), void *argument);
void bench_end(pid_t child);

/* What the child says, once: a number (a port). bench_hear waits for it; -1: it has died. Of several
 * children, each is heard before the next one is made. */
void bench_tell(int number);
int bench_hear(void);

/* CPU time of the process, user and system, in ns. */
double bench_cpu_of(pid_t child);

/* Raises the limit of open files as far as it goes, and gives it. */
int bench_files(void);

/* A listening, non-blocking socket on a free port of 127.0.0.1; and a blocking connection to one. They
 * end the program if that fails. */
int bench_listen(int *port);
int bench_connect(int port);

/* Ends the program with errno's text. */
void bench_fail(const char *what) __attribute__((noreturn));

#endif
