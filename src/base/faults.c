/* faults.c - the counters of the fault hook (faults.h); empty in an ordinary build. */
#include "faults.h"

#ifdef ASYNC_FAULTS
#include <errno.h>

__thread struct async__fault_counter async__faults[ASYNC__FAULT_KINDS];
int async__fault_errno = EIO;
#else
typedef int async__no_faults; /* a translation unit may not be empty */
#endif
