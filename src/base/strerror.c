/* strerror.c - the table of error codes, in words. The names of errno's codes are written out here,
 * since libc's strerrorname_np is glibc's alone. */
#include <casyncio/errors.h>
#include <stdio.h>
#include <string.h>

/* It would indent each line more than the last. */
/* clang-format off */
#define ERRNO_NAMES(X)                                                                             \
    X(EPERM) X(ENOENT) X(ESRCH) X(EINTR) X(EIO) X(ENXIO) X(E2BIG) X(ENOEXEC) X(EBADF) X(ECHILD)    \
    X(EAGAIN) X(ENOMEM) X(EACCES) X(EFAULT) X(EBUSY) X(EEXIST) X(EXDEV) X(ENODEV) X(ENOTDIR)       \
    X(EISDIR) X(EINVAL) X(ENFILE) X(EMFILE) X(ENOTTY) X(ETXTBSY) X(EFBIG) X(ENOSPC) X(ESPIPE)      \
    X(EROFS) X(EMLINK) X(EPIPE) X(EDOM) X(ERANGE) X(EDEADLK) X(ENAMETOOLONG) X(ENOSYS)             \
    X(ENOTEMPTY) X(ELOOP) X(EPROTO) X(EOVERFLOW) X(EILSEQ) X(ENOTSOCK) X(EDESTADDRREQ)             \
    X(EMSGSIZE) X(EPROTOTYPE) X(ENOPROTOOPT) X(EPROTONOSUPPORT) X(EOPNOTSUPP) X(EAFNOSUPPORT)      \
    X(EADDRINUSE) X(EADDRNOTAVAIL) X(ENETDOWN) X(ENETUNREACH) X(ENETRESET) X(ECONNABORTED)         \
    X(ECONNRESET) X(ENOBUFS) X(EISCONN) X(ENOTCONN) X(ESHUTDOWN) X(ETIMEDOUT) X(ECONNREFUSED)      \
    X(EHOSTDOWN) X(EHOSTUNREACH) X(EALREADY) X(EINPROGRESS) X(ESTALE) X(EDQUOT) X(ECANCELED)
/* clang-format on */

struct entry {
    int code;
    const char *name, *text;
};

static const struct entry own[] = {
#define ENTRY(name, value, text) {value, #name, text},
    ASYNC_ERRORS(ENTRY)
#undef ENTRY
};

static const struct entry of_errno[] = {
#define ENTRY(name) {-name, #name, NULL},
    ERRNO_NAMES(ENTRY)
#undef ENTRY
};

static const struct entry *find(const struct entry *table, size_t count, int code)
{
    for (size_t i = 0; i < count; i++)
        if (table[i].code == code) return &table[i];
    return NULL;
}

#define COUNT(table) (sizeof(table) / sizeof *(table))

const char *async_strerror(int code)
{
    static __thread char unknown[64];

    if (code >= 0) return "Success";
    const struct entry *entry = find(own, COUNT(own), code);
    if (entry) return entry->text;
    if (find(of_errno, COUNT(of_errno), code)) return strerror(-code);
    snprintf(unknown, sizeof unknown, "Unknown error %d", code);
    return unknown;
}

const char *async_error_name(int code)
{
    if (code >= 0) return "0";
    const struct entry *entry = find(own, COUNT(own), code);
    if (!entry) entry = find(of_errno, COUNT(of_errno), code);
    return entry ? entry->name : "?";
}
