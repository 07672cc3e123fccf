/* Linked to every example: a line comes out when it is printed, also where stdout is a pipe. */
#include <stdio.h>

__attribute__((constructor)) static void line_buffered(void) { setvbuf(stdout, NULL, _IOLBF, 0); }
