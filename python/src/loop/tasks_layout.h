/* tasks_layout.h - where Python's tasks lie, and what they are made of, for programs that look into this one from
 * outside (src/inspect), as src/loop/layout.h is for the engine: a note in the extension's file
 * (".note.casyncio") leads to it. Filled in by tasks_layout.c for the interpreter that the extension was
 * compiled against. A change gets a new version. */
#ifndef CASYNCIO_PYTHON_TASKS_LAYOUT_H
#define CASYNCIO_PYTHON_TASKS_LAYOUT_H

#include <stdint.h>

#define ASYNC__PYTHON_LAYOUT_NOTE_TYPE 2 /* 8 bytes: the distance from themselves to the layout */
#define ASYNC__PYTHON_LAYOUT_VERSION 1
#define ASYNC__PYTHON_LAYOUT_MAGIC "casyncio-python"

/* Members are offsets, in the object that the group is named after, if not said otherwise. */
struct async__python_layout {
    char magic[16];
    uint32_t version, size;
    uint32_t python; /* PY_VERSION_HEX */
    uint32_t known;  /* 0: what follows is not: from 3.14 on the interpreter itself can tell */
    uint64_t tasks;  /* the address of the set of weak references to all tasks */
    uint64_t interpreter;
    uint64_t code_type, integer_type; /* the addresses of types */
    uint64_t generator_types
        [3]; /* of what has a frame: coroutines, generators, asynchronous generators */
    struct {
        uint64_t type; /* 0: none */
        uint64_t inner;
    } wrappers[2]; /* what is awaited through: the object at `inner` */
    struct {
        uint64_t type;
        uint32_t kind, qualname, awaited; /* qualname: at the kind, a text of C's */
        uint32_t state, running, done;    /* a byte, and values of it */
    } own;                                /* coroutines of the extension */
    uint32_t type;                        /* of an object */
    struct {
        uint32_t table, mask, entry_size, key; /* key: of an entry */
    } set;
    uint32_t referent; /* of a weak reference */
    struct {
        uint32_t coroutine, name, waiter;
    } task;
    struct {
        uint32_t frame, state;      /* the frame is in it; the state is a signed byte: */
        int32_t awaits, runs, done; /* done: this or more */
    } generator;
    struct {
        uint32_t code, previous, instruction, stack, stack_top, owner;
        uint32_t no_owner; /* a value of the byte `owner`: it stands for C's frames */
    } frame;
    struct {
        uint32_t name, file, line, lines, instructions; /* name, file: texts; lines: bytes */
    } code;
    struct {
        uint32_t length, state, ascii, compact;          /* the two: where the characters are */
        uint32_t is_ascii, is_compact, kind, kind_shift; /* masks of the word `state` */
    } text;
    struct {
        uint32_t size, data;
    } bytes;
    struct {
        uint32_t size, size_shift, digits, bits; /* size: >> size_shift is the count of digits */
    } integer;
    struct {
        uint32_t first, next, frame; /* first: in the interpreter */
        uint32_t indirect, current;  /* 1: `frame` leads to a struct that has it at `current` */
    } thread;
};

#endif
