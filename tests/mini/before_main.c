/* before_main.c - linked into every test, for what must be so before main:
 * what a test has printed is not lost when it crashes; and the stack has grown already, since valgrind 3.19 cannot always grow
 * it to deliver a signal ("Can't extend stack ... during signal delivery"). */
#include <stdio.h>
#include <string.h>

__attribute__((noinline)) static void grow_the_stack(void)
{
    char deep[64 * 1024];
    memset(deep, 0, sizeof deep);
    __asm__ volatile("" : : "r"(deep) : "memory"); /* or the compiler sees through it */
}

__attribute__((constructor)) static void before_main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    grow_the_stack();
}
