#define _GNU_SOURCE
#include "slot.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* What a job leaves in the network: connections that are still being closed, ports that stay taken for a minute, and, in
 * the program that carries packets to the outside, the way back for answers that are still to come. None of it can be
 * removed from here, and the next job would meet it. So a slot whose network was used gets another one; whether it was,
 * the kernel's counters of IPv4, TCP and UDP say, which nothing else moves. */

#define MAX_TEXT 4096

static int counters = -1;
static char before[MAX_TEXT];
static ssize_t before_length;

/* In the slot's network, where the host's /proc can be seen. */
bool traffic_begin(void)
{
    if (options.network < 0) return true; /* the network of whoever started us is never exchanged */
    counters = open("/proc/self/net/snmp", O_RDONLY | O_CLOEXEC);
    if (counters < 0) return errno == ENOENT; /* this kernel has no network */
    before_length = pread(counters, before, sizeof before, 0);
    return before_length > 0 && before_length < MAX_TEXT;
}

/* Since the beginning. */
bool traffic_seen(void)
{
    char now[MAX_TEXT];
    if (counters < 0) return false;
    ssize_t length = pread(counters, now, sizeof now, 0);
    return length != before_length || memcmp(now, before, (size_t)length) != 0;
}
