/* unix_path.c - a listening Unix socket, or one for datagrams, and the file at its path.
 *
 * bind(2) makes the file, and nothing removes it when its server dies. A new server must remove
 * such a stale file, but never one at which another server listens. The kernel has no call that
 * removes a file only if nothing listens there, so between the question and the removal another
 * server might have taken the path; and one that has bound its socket and not yet called listen
 * looks stale. Therefore all of it, from the question to listen, is done under a lock, which is an
 * empty file beside the path. flock(2) gives it up when its holder dies; so it is never stale. */
#include "io.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_SUFFIX ".casyncio-lock"
#define LOCK_PAUSE 1000000 /* ns */

enum {
    LOCK_TRIES = 100, /* a holder needs no more than a few system calls, unless it is stopped */
    DATAGRAMS = -1,   /* in place of a backlog */
};

struct lock {
    int fd;
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + sizeof LOCK_SUFFIX];
};

/* ---- the lock ---- */

/* The file that was opened is still the one at the path, and no one's but ours to remove. */
static bool is_current(const struct lock *lock, bool *removable)
{
    struct stat opened, there;

    if (ASYNC__CALL(fstat(lock->fd, &opened)) < 0 || ASYNC__CALL(lstat(lock->path, &there)) < 0)
        return false;
    *removable = S_ISREG(opened.st_mode) && opened.st_size == 0;
    return opened.st_dev == there.st_dev && opened.st_ino == there.st_ino;
}

/* Removes the file before it gives the lock up: one that has opened it meanwhile will see. */
static void unlock(struct lock *lock)
{
    bool removable;

    if (is_current(lock, &removable) && removable) unlink(lock->path);
    flock(lock->fd, LOCK_UN); /* a child of a fork may have the descriptor, too */
    close(lock->fd);
}

/* 0; -EAGAIN: another process has it, or has just removed it; or another code. */
static int try_lock(struct lock *lock)
{
    bool removable;

    lock->fd =
        ASYNC__CALL(open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
    if (lock->fd < 0) return -errno;
    int code = ASYNC__CALL(flock(lock->fd, LOCK_EX | LOCK_NB)) < 0 ? -errno : 0;
    /* A file system without locks: a server that starts alone must be able to. */
    if (code == -ENOLCK || code == -EOPNOTSUPP || code == -ENOSYS) code = 0;
    if (code == 0 && !is_current(lock, &removable)) code = -EAGAIN;
    if (code < 0) close(lock->fd);
    return code == -EINTR ? -EAGAIN : code;
}

static int lock_path(struct lock *lock, const char *path)
{
    int code = -EAGAIN;

    snprintf(lock->path, sizeof lock->path, "%s" LOCK_SUFFIX, path);
    for (int tries = 0; code == -EAGAIN && tries < LOCK_TRIES; tries++) {
        if (tries > 0) nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE}, NULL);
        code = try_lock(lock);
    }
    return code == -EAGAIN ? -EADDRINUSE : code; /* the other server is about to listen there */
}

/* ---- the path ---- */

static int call_bind(int fd, const struct sockaddr_un *address, socklen_t length)
{
    return ASYNC__CALL(bind(fd, (const struct sockaddr *)address, length)) < 0 ? -errno : 0;
}

/* 0: there is nothing at the path any more. -EADDRINUSE: something is there that has to stay. `type`
 * is that of the socket that is to take its place: the kernel looks for a socket before it compares
 * types, so a stale file refuses any. */
static int remove_stale(const struct sockaddr_un *address, socklen_t length, int type)
{
    struct stat status;

    if (ASYNC__CALL(lstat(address->sun_path, &status)) < 0) return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(status.st_mode)) return -EADDRINUSE;
    int fd = ASYNC__CALL(socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (fd < 0) return -errno;
    int code = ASYNC__CALL(connect(fd, (const struct sockaddr *)address, length)) < 0 ? -errno : 0;
    close(fd);
    /* Only a refusal says that nothing listens: a full queue, another type of socket or a missing
     * permission does not. */
    if (code != -ECONNREFUSED) return -EADDRINUSE;
    return ASYNC__CALL(unlink(address->sun_path)) < 0 && errno != ENOENT ? -errno : 0;
}

static int bind_path(int fd, const struct sockaddr_un *address, socklen_t length, int type)
{
    int code = call_bind(fd, address, length);

    if (code != -EADDRINUSE) return code;
    code = remove_stale(address, length, type);
    return code < 0 ? code : call_bind(fd, address, length);
}

/* From here on the file is the server's to remove. */
static int own_file(struct async__unix_file *file, const char *path, int mode)
{
    struct stat status;

    if (ASYNC__CALL(lstat(path, &status)) < 0) return -errno;
    strcpy(file->path, path);
    file->device = status.st_dev;
    file->inode = status.st_ino;
    file->owner = getpid();
    /* Before listen, so that no client connects while the mode is another. */
    return mode && ASYNC__CALL(chmod(path, (mode_t)mode)) < 0 ? -errno : 0;
}

/* A datagram socket has no backlog: DATAGRAMS. */
static int start(int fd, int backlog)
{
    return backlog != DATAGRAMS && ASYNC__CALL(listen(fd, backlog)) < 0 ? -errno : 0;
}

static int start_at_path(int fd, const struct sockaddr_un *address, socklen_t length, int mode,
                         int backlog, struct async__unix_file *file)
{
    int code = bind_path(fd, address, length, backlog == DATAGRAMS ? SOCK_DGRAM : SOCK_STREAM);
    if (code < 0) return code;
    code = own_file(file, address->sun_path, mode);
    if (code == 0) code = start(fd, backlog);
    if (code < 0 && file->path[0])
        async__unix_file_remove(file);
    else if (code < 0)
        unlink(address->sun_path);
    return code;
}

int async__unix_bind(int fd, const struct sockaddr_un *address, socklen_t length, int mode,
                     struct async__unix_file *file)
{
    return async__unix_listen(fd, address, length, mode, DATAGRAMS, file);
}

int async__unix_listen(int fd, const struct sockaddr_un *address, socklen_t length, int mode,
                       int backlog, struct async__unix_file *file)
{
    struct lock lock;

    file->path[0] = 0;
    if (address->sun_path[0] == 0) { /* an abstract name: the kernel frees it with the socket */
        int code = call_bind(fd, address, length);
        return code == 0 ? start(fd, backlog) : code;
    }
    int code = lock_path(&lock, address->sun_path);
    if (code < 0) return code;
    code = start_at_path(fd, address, length, mode, backlog, file);
    unlock(&lock);
    return code;
}

/* Called while the socket is still open. It holds on to its inode, so that no other file can have
 * been given the same number. */
int async__unix_file_remove(struct async__unix_file *file)
{
    struct stat status;
    int code = 0;

    if (!file->path[0]) return 0;
    /* What a child of a fork closes is still its parent's. */
    if (file->owner == getpid() && lstat(file->path, &status) == 0 &&
        status.st_dev == file->device && status.st_ino == file->inode &&
        ASYNC__CALL(unlink(file->path)) < 0)
        code = async__failf(-errno, "close the server at %s: %s", file->path, strerror(errno));
    file->path[0] = 0;
    return code;
}
