#define _GNU_SOURCE
#include "slot.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Every change that a job makes to its root file system is made in the upper layer, and there in one of the few inodes
 * that we put into it: a new name changes the directory it is in. Such a change moves the inode's change time, which
 * nobody can set back. The kernel stamps that time with the tick of a coarse clock; so a job that began in the very tick
 * of our own last change cannot be told from us, and its root is not used again. */

#define MAX_MADE 64

static int upper = -1;
static struct {
    char *path;
    struct timespec changed;
} made[MAX_MADE];
static size_t count;
static struct timespec newest;
static bool doubtful, stamped;

/* Does a file system stamp a file that is written through a mapping in memory? tmpfs does not. */
static bool stamps_mapped_writes(void)
{
    static const unsigned long known[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC};
    struct statfs status;
    if (fstatfs(upper, &status) != 0) return false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if ((unsigned long)status.f_type == known[i]) return true;
    return false;
}

void upper_note(const char *path)
{
    if (count < MAX_MADE) made[count].path = strdup(path);
    count++;
}

bool upper_directory(const char *path, const struct stat *like, mode_t mode)
{
    uid_t uid = like != NULL ? like->st_uid : options.base;
    gid_t gid = like != NULL ? like->st_gid : options.base;
    if (like != NULL) mode = like->st_mode & 07777;
    if (mkdirat(upper, path, 0700) != 0) return false;
    upper_note(path);
    return fchownat(upper, path, uid, gid, AT_SYMLINK_NOFOLLOW) == 0 && fchmodat(upper, path, mode, 0) == 0;
}

static bool copy(int from, int to)
{
    char data[4096];
    ssize_t got;
    while ((got = read(from, data, sizeof data)) > 0)
        if (write(to, data, (size_t)got) != got) return false;
    return got == 0;
}

static bool put_file(const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "etc/%s", name);
    int from = openat(options.etc, name, O_RDONLY | O_CLOEXEC);
    if (from < 0) return errno == ENOENT;
    int to = openat(upper, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    bool done = to >= 0 && copy(from, to) && fchmod(to, 0644) == 0 && fchown(to, options.base, options.base) == 0;
    close(from);
    if (to >= 0) close(to);
    upper_note(path);
    return done;
}

/* What a container needs and the image may lack. */
static bool fill(int image)
{
    static const struct { const char *name; mode_t mode; } needed[] = {
        {"tmp", 01777}, {"proc", 0555}, {"sys", 0555}, {"dev", 0755}};
    struct stat status;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (fstatat(image, needed[i].name, &status, AT_SYMLINK_NOFOLLOW) != 0)
            if (errno != ENOENT || !upper_directory(needed[i].name, NULL, needed[i].mode)) return false;
    bool there = fstatat(image, "etc", &status, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && !S_ISDIR(status.st_mode)) return true; /* a link in this image: left as it is */
    if (!upper_directory("etc", there ? &status : NULL, 0755)) return false;
    return put_file("hosts") && put_file("resolv.conf");
}

bool upper_make(int space, const char *name, const char *image)
{
    struct stat status;
    int lower = open(image, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (lower < 0) return false;
    upper_forget();
    bool done = fstat(lower, &status) == 0 && mkdirat(space, name, 0700) == 0;
    upper = openat(space, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    stamped = stamps_mapped_writes();
    upper_note("");
    done = done && upper >= 0 && fchownat(upper, "", status.st_uid, status.st_gid, AT_EMPTY_PATH) == 0 &&
           fchmodat(space, name, status.st_mode & 07777, 0) == 0 && fill(lower);
    int error = errno;
    close(lower);
    errno = error;
    return done;
}

static bool look(const char *path, struct timespec *changed)
{
    struct stat status;
    if (fstatat(upper, path, &status, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0) return false;
    *changed = status.st_ctim;
    return true;
}

static bool later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

/* Everything is in its place, and the working directory is the container's root. */
bool upper_settle(void)
{
    struct stat seen;
    newest = (struct timespec){0, 0};
    /* At the first look at a directory that is in the image too, overlayfs writes down in the upper one which that is.
     * Later it would seem to be done by the first job that looks into it. */
    for (size_t i = 1; i < count && i < MAX_MADE; i++)
        if (lstat(made[i].path, &seen) != 0) return false;
    for (size_t i = 0; i < count && i < MAX_MADE; i++) {
        if (!look(made[i].path, &made[i].changed)) return false;
        if (later(&made[i].changed, &newest)) newest = made[i].changed;
    }
    return true;
}

bool upper_untouched(const struct timespec *job_started)
{
    doubtful = false;
    if (count > MAX_MADE || !stamped) return false;
    for (size_t i = 0; i < count; i++) {
        struct timespec changed;
        if (!look(made[i].path, &changed)) return false;
        if (changed.tv_sec != made[i].changed.tv_sec || changed.tv_nsec != made[i].changed.tv_nsec) return false;
    }
    doubtful = !later(job_started, &newest);
    return !doubtful;
}

/* After a job whose changes could not be told from ours the next one gets a root that is a tick old: else jobs that end
 * within a tick and change nothing would get a new root each. */
void upper_wait(void)
{
    struct timespec now;
    while (doubtful && clock_gettime(CLOCK_REALTIME_COARSE, &now) == 0 && !later(&now, &newest)) {
        if (newest.tv_sec > now.tv_sec + 1) break; /* the clock was set back */
        nanosleep(&(struct timespec){0, 500000}, NULL);
    }
    doubtful = false;
}

void upper_forget(void)
{
    for (size_t i = 0; i < count && i < MAX_MADE; i++) free(made[i].path);
    count = 0;
    if (upper >= 0) close(upper);
    upper = -1;
}
