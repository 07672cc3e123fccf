/* Included before each program of the documentation that test_docs.sh runs in virtual time. */
#include <casyncio.h>
#undef ASYNC__RUN
#define ASYNC__RUN(main, ...)                                                                      \
    async__run(ASYNC__CALLABLE(main), ASYNC__ARGUMENT(__VA_ARGS__), #main,                         \
               &(async_run_options){.loop = {.virtual_clock = true}}, sizeof(async_run_options))
