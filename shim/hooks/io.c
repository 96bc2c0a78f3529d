/* send(2), recv(2) and their kin: during a backoff they answer as on a socket that is connecting, and never
 * with an end of file or SIGPIPE. What is pending aside, each is a load and a jump: the data's way is
 * not touched. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hooks/pending.h"
#include "libc.h"

/* ---- tier 1, the typed pointers to the real functions, are real_NAME() of the runtime ------------- */

/* ---- tier 2: ours --------------------------------------------------------------------------------- */

/* True if the call fails, with errno set. */
static __attribute__((noinline)) bool shim_io(int fd)
{
	int error = thread_held ? 0 : pending_io(fd);
	if (error != 0)
		errno = error;
	return error != 0;
}

/* The real call has an outcome: perhaps it is what the last attempt has left in the kernel. */
static __attribute__((noinline, cold)) ssize_t shim_io_over(int fd, ssize_t result)
{
	if (!thread_held && result < 0)
		pending_io_failed(fd, errno);
	else if (!thread_held)
		pending_io_done(fd);
	return result;
}

/* ---- tier 3: exported ----------------------------------------------------------------------------- */

/* Nearly always it is the real call and a jump; the second way, which asks and listens, stands apart so that the first needs
 * no stack. */
#define IO(name, parameters, arguments, real_call)                       \
	static __attribute__((noinline)) ssize_t asking_##name parameters      \
	{                                                                      \
		return shim_io(fd) ? -1 : shim_io_over(fd, real_call);               \
	}                                                                      \
	__attribute__((visibility("default"))) ssize_t name parameters         \
	{                                                                      \
		return pending_any_failing() ? (asking_##name arguments) : (real_call); \
	}

ssize_t __read_chk(int fd, void *data, size_t size, size_t room);
ssize_t __recv_chk(int fd, void *data, size_t size, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *data, size_t size, size_t room, int flags, struct sockaddr *from, socklen_t *length);
#if LIBC_TIME64
ssize_t __sendmsg64(int fd, const struct msghdr *message, int flags);
ssize_t __recvmsg64(int fd, struct msghdr *message, int flags);
#endif

IO(send, (int fd, const void *data, size_t size, int flags),
   (fd, data, size, flags), real_send()(fd, data, size, flags))
IO(sendto, (int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length),
   (fd, data, size, flags, to, length), real_sendto()(fd, data, size, flags, to, length))
IO(sendmsg, (int fd, const struct msghdr *message, int flags),
   (fd, message, flags), real_sendmsg()(fd, message, flags))
IO(write, (int fd, const void *data, size_t size),
   (fd, data, size), real_write()(fd, data, size))
IO(writev, (int fd, const struct iovec *vector, int count),
   (fd, vector, count), real_writev()(fd, vector, count))
IO(recv, (int fd, void *data, size_t size, int flags),
   (fd, data, size, flags), real_recv()(fd, data, size, flags))
IO(recvfrom, (int fd, void *restrict data, size_t size, int flags, struct sockaddr *restrict from, socklen_t *restrict length),
   (fd, data, size, flags, from, length), real_recvfrom()(fd, data, size, flags, from, length))
IO(recvmsg, (int fd, struct msghdr *message, int flags),
   (fd, message, flags), real_recvmsg()(fd, message, flags))
IO(read, (int fd, void *data, size_t size),
   (fd, data, size), real_read()(fd, data, size))
IO(readv, (int fd, const struct iovec *vector, int count),
   (fd, vector, count), real_readv()(fd, vector, count))
IO(__read_chk, (int fd, void *data, size_t size, size_t room),
   (fd, data, size, room), real___read_chk()(fd, data, size, room))
IO(__recv_chk, (int fd, void *data, size_t size, size_t room, int flags),
   (fd, data, size, room, flags), real___recv_chk()(fd, data, size, room, flags))
IO(__recvfrom_chk, (int fd, void *data, size_t size, size_t room, int flags, struct sockaddr *from, socklen_t *length),
   (fd, data, size, room, flags, from, length), real___recvfrom_chk()(fd, data, size, room, flags, from, length))
#if LIBC_TIME64 /* time64.c has the others */
IO(__sendmsg64, (int fd, const struct msghdr *message, int flags),
   (fd, message, flags), real___sendmsg64()(fd, message, flags))
IO(__recvmsg64, (int fd, struct msghdr *message, int flags),
   (fd, message, flags), real___recvmsg64()(fd, message, flags))
#endif
