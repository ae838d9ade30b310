#define _GNU_SOURCE
#include "slot.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Descriptors that a job sent through Unix sockets and nobody received outlive its processes, with all that they stand
 * for: memory, disk space, locks, terminals, ports. The kernel finds such sockets later, one layer of them at a time. They
 * belong to the slot's network: as long as it has more sockets than before any job, something of the job is left. */

#define SETTLE_MS 250 /* what the last of them held goes some ticks after it, more on a busy machine */

static int list = -1;
static size_t before;

static size_t count(void)
{
    char text[8192];
    size_t lines = 0;
    for (off_t at = 0;;) {
        ssize_t got = pread(list, text, sizeof text, at);
        if (got <= 0) return got == 0 ? lines : (size_t)-1;
        for (ssize_t i = 0; i < got; i++) lines += text[i] == '\n';
        at += got;
    }
}

/* In the slot's network, where the host's /proc can be seen. */
bool sockets_begin(void)
{
    list = open("/proc/self/net/unix", O_RDONLY | O_CLOEXEC);
    if (list < 0) return errno == ENOENT; /* this kernel has none */
    before = count();
    return before != (size_t)-1;
}

/* Waits for that at most so long. */
bool sockets_gone(int milliseconds)
{
    if (list < 0) return true;
    for (int waited = 0; count() > before; waited++) {
        if (waited >= milliseconds) return false;
        int one = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (one >= 0) close(one); /* the end of a socket has the kernel look for such others */
        nanosleep(&(struct timespec){0, 1000000}, NULL);
        if (count() <= before) {
            nanosleep(&(struct timespec){0, SETTLE_MS * 1000000}, NULL);
            return true;
        }
    }
    return true;
}
