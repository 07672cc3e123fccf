/* files.h - files, read and written off the loop            (asyncio has none; Python's names)
 *
 * A disk can be slow and has no readiness, so files are worked on in the loop's threads; what the
 * kernel has in its cache is read at once. FIFOs, ttys and the like have readiness, and wait for
 * it. A cancellation ends a call at once: data goes through buffers of the library's own, and the
 * caller's buffer is the caller's again on return. Calls of several tasks on one file are done one
 * after another, in the order in which they came. All of them block but those that say otherwise,
 * and may give -ENOMEM, and -EAGAIN if no thread can be made. */
#ifndef CASYNCIO_FILES_H
#define CASYNCIO_FILES_H

#include <casyncio/iterators.h>
#include <casyncio/tasks.h>
#include <sys/stat.h>

ASYNC_BEGIN

typedef struct async_file async_file;

/* Opens a file; `mode` as fopen's: "r", "w", "a", "x", with "+" and (without effect) "b". A file
 * that it makes has the mode 0666, less the umask. NULL: -ENOENT, -EACCES, -EISDIR, -EINVAL (not a
 * mode), ...; the message names the file. The opening of a FIFO for writing waits until
 * there is a reader. Python: open */
ASYNC_API async_file *async_file_open(const char *path, const char *mode);

/* Reads up to `size` bytes from the file's position, maybe fewer; 0 is its end, or a size of 0. If
 * it is cancelled the position stays as it was. Python: read */
ASYNC_API ssize_t async_file_read(async_file *file, void *buffer, size_t size);

/* Reads a line, its \n included, and puts a 0 byte behind it, which the result does not count; 0 is
 * the end of the file. ASYNC_ELIMIT: longer than size - 1; nothing is consumed. -EINVAL for a size
 * of 0. Python: readline */
ASYNC_API ssize_t async_file_readline(async_file *file, char *line, size_t size);

/* The lines without their ends (\n or \r\n), of any length; each good until the next. The file
 * stays open when the loop is left. NULL: -ENOMEM; for a file that is NULL the last error (why it
 * could not be opened), else -EBADF. Does not block.
 * Python: for line in file */
ASYNC_API async_iterator *async_file_lines(async_file *file);

/* Writes all of it: 0. If it fails or is cancelled, an unknown part of it has been or will be
 * written, before what is done with the file next. Python: write + flush */
ASYNC_API int async_file_write(async_file *file, const void *data, size_t size);
ASYNC_API int async_file_printf(async_file *file, const char *format, ...) ASYNC_PRINTF(2, 3);

/* lseek(2): the new position, or a negative code. Does not block. -EBUSY while another call on the
 * file is under way. Python: seek, tell */
ASYNC_API int64_t async_file_seek(async_file *file, int64_t offset, int whence);

/* fsync(2), ftruncate(2), fstat(2): 0, or the system call's error. A cancellation does not take
 * back what a thread has begun. Python: os.fsync, truncate, os.fstat */
ASYNC_API int async_file_sync(async_file *file);
ASYNC_API int async_file_truncate(async_file *file, int64_t size);
ASYNC_API int async_file_stat(async_file *file, struct stat *status);

/* The descriptor, which stays the file's. Its offset is not the file's position. Does not block.
 * Python: fileno */
ASYNC_API int async_file_fd(const async_file *file);

/* Closes and frees it, always. NULL is fine. 0, or close(2)'s error, or the code of a cancellation:
 * then a thread closes it. Calls that wait for their turn or for readiness give -EBADF. If a thread
 * is at work for a call, then 0 at once: that call ends as it would have, the descriptor lives
 * until then, and an error of its close goes to the exception handler. */
ASYNC_API int async_file_close(async_file *file);

ASYNC_END
#endif
