/* Included before each program of the documentation that test_docs.sh runs in virtual time. */
#include <casyncio.h>
#undef async_run
#define async_run(main, argument)                                                                  \
    async_run_with(main, argument, &(async_run_options){.loop = {.virtual_clock = true}})
