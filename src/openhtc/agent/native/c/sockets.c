#define _GNU_SOURCE
#include "slot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Descriptors that a job sent through Unix sockets and nobody received outlive its processes, with all that they stand
 * for: memory, disk space, locks, terminals, ports. The kernel finds such sockets later, one layer of them at a time. They
 * belong to the slot's network: as long as it has more sockets than before any job, something of the job is left. */

#define SETTLE_MS 250 /* what the last of them held goes some ticks after it */
#define PORTS_MS 3000 /* its ports go later on a busy machine, which can be seen */

static int list = -1, ports = -1, ports6 = -1;
static size_t before;
static long in_use_before;

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

/* Internet sockets of the slot's network by the kernel's summary; those without a process are among them. */
static long in_use_of(int summary)
{
    char text[2048];
    long sum = 0;
    ssize_t got = summary < 0 ? 0 : pread(summary, text, sizeof text - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    for (char *at = text; (at = strstr(at, "inuse ")) != NULL;) sum += strtol(at += strlen("inuse "), NULL, 10);
    return sum;
}

static long in_use(void)
{
    return in_use_of(ports) + in_use_of(ports6);
}

static void ports_settle(void)
{
    for (int waited = 0; waited < PORTS_MS && in_use() > in_use_before; waited++)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
}

/* In the slot's network, where the host's /proc can be seen. */
bool sockets_begin(void)
{
    list = open("/proc/self/net/unix", O_RDONLY | O_CLOEXEC);
    if (list < 0) return errno == ENOENT; /* this kernel has none */
    before = count();
    ports = open("/proc/self/net/sockstat", O_RDONLY | O_CLOEXEC);
    ports6 = open("/proc/self/net/sockstat6", O_RDONLY | O_CLOEXEC);
    in_use_before = in_use();
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
            ports_settle();
            return true;
        }
    }
    return true;
}
