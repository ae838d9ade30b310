#include "slot.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Counters of the slot's cgroup never go back; a job's share is the difference of two readings. Version 1 and 2 of
 * the interface have the same three in files of their own: a bare number, or lines of a name and a number. */

static int64_t number(int fd, const char *name, int64_t unit)
{
    char text[1024];
    if (fd < 0) return 0;
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    if (got <= 0) return 0;
    text[got] = 0;
    if (text[0] >= '0' && text[0] <= '9') return strtoll(text, NULL, 10) / unit;
    char *at = strstr(text, name);
    return at == NULL ? 0 : strtoll(at + strlen(name), NULL, 10);
}

static int64_t cpu_us(void) { return number(options.cpu, "usage_usec ", 1000); }
static int64_t ooms(void) { return number(options.ooms, "oom_kill ", 1); }

void meters_reset(struct meters *before)
{
    if (options.peak >= 0) {
        /* Version 2 before Linux 6.12 cannot do that: then a peak is only known when it is above all before it. */
        ssize_t done = pwrite(options.peak, "0", 1, 0);
        before->peak_bytes = done == 1 ? 0 : number(options.peak, "", 1);
    }
    before->cpu_us = cpu_us();
    before->ooms = ooms();
}

void meters_read(const struct meters *before, struct ended *ended)
{
    int64_t peak = number(options.peak, "", 1);
    ended->cpu_us = cpu_us() - before->cpu_us;
    ended->oom_kills = (uint32_t)(ooms() - before->ooms);
    ended->peak_bytes = peak > before->peak_bytes ? peak : 0;
}
