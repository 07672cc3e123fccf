/* transfers.h - from a file to a stream, and from stream to stream    asyncio: Transferring files
 *
 * What moves is bytes: where the kernel can move them from one descriptor to the other (a file to a
 * socket, a socket to a socket), they do not pass through the program; else they go through a
 * buffer, which is there only while something is in it. All calls block.
 *
 * Each says how far it has come, also when it fails or is cancelled: nothing is lost silently. */
#ifndef CASYNCIO_TRANSFERS_H
#define CASYNCIO_TRANSFERS_H

#include <casyncio/files.h>
#include <casyncio/streams.h>

ASYNC_BEGIN

/* Sends `count` bytes of a file from `offset` on; a count of -1 is up to the file's end. Gives how
 * many were sent: fewer than `count` if the file ends before. It is one message, as with
 * async_stream_write: other writers wait until it is done, and what other writers have left in the
 * stream goes first. The file's position is neither used nor moved; the file may be closed meanwhile,
 * and several tasks may send it. What another program writes to it meanwhile may be in what is sent.
 *
 * *sent (may be NULL) is kept up to date while the call is under way. If it fails or is cancelled
 * it says how much the stream has taken, and the stream can be written to from there on; if `sent` is
 * NULL and a part has gone out the stream is broken: later writes give -EPIPE.
 *
 * -EISDIR for a directory, -ESPIPE for what has no offsets (a FIFO, a socket, a tty: see
 * async_stream_copy), -EINVAL for an offset that is negative or a count below -1, -EBADF for a file
 * that is not open for reading, -EIO, ...; -EPIPE, -ECONNRESET, ...: the connection is gone.
 * asyncio: loop.sendfile */
ASYNC_API int64_t async_sendfile(async_stream *to, async_file *file, int64_t offset, int64_t count,
                                 int64_t *sent);

/* The same for a descriptor, which stays the caller's and may be closed meanwhile. */
ASYNC_API int64_t async_sendfile_fd(async_stream *to, int fd, int64_t offset, int64_t count,
                                    int64_t *sent);

/* Copies what comes from one stream to another one until it ends; what `from` has read already goes
 * first. Gives the number of bytes. Neither stream is closed or sent an end; what `to` keeps is sent
 * as room comes. Meanwhile the call is the reader of `from`: another one gets -EBUSY. Others may
 * write to `to`: a copy is not one message. Both may be the same stream, which then gets back what it
 * sends.
 *
 * *copied (may be NULL) is kept up to date, and says how many bytes `to` has taken if the call fails
 * or is cancelled: what has been read from `from` beyond that is the next to be read there. Both
 * streams can be used from there on. If there is no memory to keep it in, the code is -ENOMEM, and the
 * message says how many bytes are lost.
 *
 * A close of either stream ends it with -EBADF, also while there is nothing to copy; so does an
 * error of what `to` still keeps. Else a `to` that is gone shows when something is written to it.
 * Python: shutil.copyfileobj */
ASYNC_API int64_t async_stream_copy(async_stream *from, async_stream *to, int64_t *copied);

/* Connects two streams: copies both ways, and passes on the end of each way (async_stream_write_eof)
 * as it comes, until both have ended. Where no end can be sent (a tty) it is not passed on.
 *
 * 0; or what failed first, a code of a cancellation: then the other way is cancelled too, and both
 * streams are as async_stream_copy leaves them. copied (may be NULL) is of two numbers: bytes from a
 * to b, and from b to a. Neither stream is closed. -EINVAL for a stream with itself.
 * socat: socat A B */
ASYNC_API int async_stream_relay(async_stream *a, async_stream *b, int64_t copied[2]);

ASYNC_END
#endif
