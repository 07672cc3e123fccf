/* probes.h - points (USDT) at which perf, bpftrace, gdb and SystemTap can listen, in a build with
 * CASYNCIO_PROBES=ON: a nop each, and a note in the ELF file that says where their arguments are. Else
 * there is nothing, and the arguments are not worked out.
 *
 *     casyncio:task__begin    number, name of the coroutine (an address, or 0)
 *     casyncio:task__end      number, result
 *     casyncio:task__park     number, what it waits for (an address), descriptor or -1
 *     casyncio:task__wake     number
 *     casyncio:loop__look     loop, the longest that it may sleep in ns
 *     casyncio:loop__looked   loop
 *     casyncio:job__queued    job, its function
 *     casyncio:job__begun     job
 *     casyncio:job__ended     job */
#ifndef CASYNCIO_PROBES_H
#define CASYNCIO_PROBES_H

#ifdef ASYNC_PROBES
#include <sys/sdt.h>
#define ASYNC__PROBE(name, first) DTRACE_PROBE1(casyncio, name, first)
#define ASYNC__PROBE2(name, first, second) DTRACE_PROBE2(casyncio, name, first, second)
#define ASYNC__PROBE3(name, first, second, third)                                                  \
    DTRACE_PROBE3(casyncio, name, first, second, third)
#else
#define ASYNC__PROBE(name, first) ((void)0)
#define ASYNC__PROBE2(name, first, second) ((void)0)
#define ASYNC__PROBE3(name, first, second, third) ((void)0)
#endif

#endif
