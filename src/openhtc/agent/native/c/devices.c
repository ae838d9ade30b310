#define _GNU_SOURCE
#include "slot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

/* /dev and /sys are made once, in the base, and each root gets copies of the mounts. /dev has two places that a job may
 * write to: /dev/shm and its terminals. As long as both are as they were made they serve every root of the slot. */

static int shm = -1, pts = -1;
static uint64_t shm_bytes;
static struct statvfs shm_before;
static struct stat shm_made;
static bool mounted, sys_made;

/* A node of its own where that is allowed, because every mount costs each container its copy; else the host's. */
static bool make_device(const char *name)
{
    char source[64], target[64];
    struct stat status;
    snprintf(source, sizeof source, "/dev/%s", name);
    snprintf(target, sizeof target, "/made/dev/%s", name);
    if (stat(source, &status) != 0) return false;
    if (mknod(target, S_IFCHR | 0666, status.st_rdev) == 0) {
        int node = open(target, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        if (node >= 0 || errno == ENXIO) {
            if (node >= 0) close(node);
            return chmod(target, 0666) == 0;
        }
        unlink(target);
    }
    int file = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
    if (file < 0) return false;
    close(file);
    return mount(source, target, NULL, MS_BIND, NULL) == 0;
}

static bool make_terminals(void)
{
    if (mount("devpts", "/made/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,max=256") != 0) return false;
    pts = open("/made/dev/pts", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return pts >= 0;
}

/* /dev/shm, with the size that this job may have. */
static bool make_shm(uint64_t bytes)
{
    char setup[64];
    snprintf(setup, sizeof setup, "size=%llu,mode=1777", (unsigned long long)bytes);
    if (mount("tmpfs", "/made/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, setup) != 0) return false;
    shm = open("/made/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    shm_bytes = bytes;
    return shm >= 0 && fstatvfs(shm, &shm_before) == 0 && fstat(shm, &shm_made) == 0;
}

static bool make_dev(uint64_t bytes)
{
    static const char *const nodes[] = {"null", "zero", "full", "random", "urandom", "tty"};
    static const char *const links[][2] = {{"/proc/self/fd", "/made/dev/fd"},     {"/proc/self/fd/0", "/made/dev/stdin"},
                                           {"/proc/self/fd/1", "/made/dev/stdout"}, {"/proc/self/fd/2", "/made/dev/stderr"},
                                           {"/proc/kcore", "/made/dev/core"},     {"pts/ptmx", "/made/dev/ptmx"}};
    if (mount("tmpfs", "/made/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "size=64k,mode=755") != 0) return false;
    mounted = true;
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
        if (!make_device(nodes[i])) return false;
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        if (symlink(links[i][0], links[i][1]) != 0) return false;
    if (mkdir("/made/dev/shm", 0755) != 0 || mkdir("/made/dev/pts", 0755) != 0 || mkdir("/made/dev/none", 0555) != 0) return false;
    if (!make_terminals() || !make_shm(bytes)) return false;
    return mount(NULL, "/made/dev", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL) == 0;
}

static bool make_sys(void)
{
    const int closed = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (mount("tmpfs", "/made/sys", "tmpfs", (unsigned long)closed, "size=64k,mode=755") != 0) return false;
    if (mkdir("/made/sys/devices", 0755) != 0 || mkdir("/made/sys/devices/system", 0755) != 0) return false;
    if (mount("/sys", "/made/sys/devices/system", NULL, MS_BIND, NULL) != 0) return false;
    const unsigned long again = MS_REMOUNT | MS_BIND | MS_RDONLY | (unsigned long)closed;
    return mount(NULL, "/made/sys/devices/system", NULL, again, NULL) == 0 && mount(NULL, "/made/sys", NULL, again, NULL) == 0;
}

/* In /dev/shm is nothing, and it is as it was made. */
static bool shm_untouched(void)
{
    struct statvfs now;
    struct stat status;
    return fstatvfs(shm, &now) == 0 && now.f_ffree == shm_before.f_ffree && fstat(shm, &status) == 0 &&
           status.st_mode == shm_made.st_mode && status.st_uid == shm_made.st_uid && status.st_gid == shm_made.st_gid &&
           status.st_ctim.tv_sec == shm_made.st_ctim.tv_sec && status.st_ctim.tv_nsec == shm_made.st_ctim.tv_nsec &&
           flistxattr(shm, NULL, 0) <= 0;
}

/* Terminals go with the processes that had them open. The modes only an ordinary user's container could change: it has
   the user that made them. */
static bool terminals_untouched(void)
{
    struct stat now, multiplexer;
    return fstat(pts, &now) == 0 && fstatat(pts, "ptmx", &multiplexer, AT_SYMLINK_NOFOLLOW) == 0 &&
           now.st_mode == (S_IFDIR | 0755) && multiplexer.st_mode == (S_IFCHR | 0666);
}

bool devices_untouched(void)
{
    return shm >= 0 && pts >= 0 && shm_untouched() && terminals_untouched();
}

static void drop_dev(void)
{
    if (shm >= 0) close(shm);
    if (pts >= 0) close(pts);
    if (mounted) umount2("/made/dev", MNT_DETACH);
    shm = pts = -1;
    mounted = false;
}

/* In the base: what a job left in its /dev goes. */
void devices_clean(void)
{
    if (!devices_untouched()) drop_dev();
}

/* In the base. */
bool devices_make(uint64_t bytes, struct failure *failure)
{
    if (!sys_made && !(sys_made = make_sys())) return fail(failure, "/sys");
    if (devices_untouched() && shm_bytes == bytes) return true;
    drop_dev();
    if (make_dev(bytes)) return true;
    fail(failure, "/dev");
    drop_dev();
    return false;
}

/* In a new template, whose root is at /root. */
bool devices_attach(void)
{
    return mount("/made/dev", "/root/dev", NULL, MS_BIND | MS_REC, NULL) == 0 &&
           mount("/made/sys", "/root/sys", NULL, MS_BIND | MS_REC, NULL) == 0;
}
