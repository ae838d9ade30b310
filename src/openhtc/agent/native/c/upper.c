#define _GNU_SOURCE
#include "slot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A root has three layers: the image; beside it, what a container needs and the image may lack, made once for each image
 * of the slot and never written to again; and on top the job's own, empty at first. So every change that a job makes puts
 * a name into that top directory, or changes the directory itself, and either moves its change time, which nobody can set
 * back. The kernel stamps that time with the tick of a coarse clock: a job that began in the very tick of our own last
 * change cannot be told from us, and its root is not used again. */

static int upper = -1;
static struct timespec changed;
static bool doubtful;

static bool make_directory(int layer, const char *path, const struct stat *like, mode_t mode)
{
    uid_t uid = like != NULL ? like->st_uid : options.base;
    gid_t gid = like != NULL ? like->st_gid : options.base;
    if (like != NULL) mode = like->st_mode & 07777;
    return mkdirat(layer, path, 0700) == 0 && fchownat(layer, path, uid, gid, AT_SYMLINK_NOFOLLOW) == 0 &&
           fchmodat(layer, path, mode, 0) == 0;
}

static bool copy(int from, int to)
{
    char data[4096];
    ssize_t got;
    while ((got = read(from, data, sizeof data)) > 0)
        if (write(to, data, (size_t)got) != got) return false;
    return got == 0;
}

static bool put_file(int layer, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "etc/%s", name);
    int from = openat(options.etc, name, O_RDONLY | O_CLOEXEC);
    if (from < 0) return errno == ENOENT;
    int to = openat(layer, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    bool done = to >= 0 && copy(from, to) && fchmod(to, 0644) == 0 && fchown(to, options.base, options.base) == 0;
    close(from);
    if (to >= 0) close(to);
    return done;
}

static bool fill(int layer, int image)
{
    static const struct { const char *name; mode_t mode; } needed[] = {
        {"tmp", 01777}, {"proc", 0555}, {"sys", 0555}, {"dev", 0755}};
    struct stat status;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (fstatat(image, needed[i].name, &status, AT_SYMLINK_NOFOLLOW) != 0)
            if (errno != ENOENT || !make_directory(layer, needed[i].name, NULL, needed[i].mode)) return false;
    bool there = fstatat(image, "etc", &status, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && !S_ISDIR(status.st_mode)) return true; /* a link in this image: left as it is */
    return make_directory(layer, "etc", there ? &status : NULL, 0755) && put_file(layer, "hosts") && put_file(layer, "resolv.conf");
}

/* Closes the descriptors; errno stays that of what failed. */
static bool closed(int one, int other, bool done)
{
    int error = errno;
    if (one >= 0) close(one);
    if (other >= 0) close(other);
    errno = error;
    return done;
}

bool beside_make(int space, const char *name, const char *path)
{
    int image = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), layer = -1;
    bool done = image >= 0 && (faccessat(space, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0 || tree_remove(space, name)) &&
                mkdirat(space, name, 0755) == 0 && (layer = openat(space, name, O_PATH | O_DIRECTORY | O_CLOEXEC)) >= 0 &&
                fill(layer, image);
    return closed(image, layer, done);
}

bool upper_make(int space, const char *name, const char *path)
{
    struct stat status;
    int image = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    upper_forget();
    bool done = image >= 0 && fstat(image, &status) == 0 && mkdirat(space, name, 0700) == 0;
    upper = done ? openat(space, name, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    done = upper >= 0 && fchownat(upper, "", status.st_uid, status.st_gid, AT_EMPTY_PATH) == 0 &&
           fchmodat(space, name, status.st_mode & 07777, 0) == 0;
    return closed(image, -1, done);
}

static bool look(struct timespec *time)
{
    struct stat status;
    if (fstatat(upper, "", &status, AT_EMPTY_PATH) != 0) return false;
    *time = status.st_ctim;
    return true;
}

static bool later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

/* Everything is in its place, the overlay is mounted. */
bool upper_settle(void)
{
    return look(&changed);
}

bool upper_untouched(const struct timespec *job_started)
{
    struct timespec now;
    doubtful = false;
    if (!look(&now) || now.tv_sec != changed.tv_sec || now.tv_nsec != changed.tv_nsec) return false;
    doubtful = !later(job_started, &changed);
    return !doubtful;
}

/* After a job whose changes could not be told from ours the next one gets a root that is a tick old: else jobs that end
 * within a tick and change nothing would get a new root each. */
void upper_wait(void)
{
    struct timespec now;
    while (doubtful && clock_gettime(CLOCK_REALTIME_COARSE, &now) == 0 && !later(&now, &changed)) {
        if (changed.tv_sec > now.tv_sec + 1) break; /* the clock was set back */
        nanosleep(&(struct timespec){0, 500000}, NULL);
    }
    doubtful = false;
}

void upper_forget(void)
{
    if (upper >= 0) close(upper);
    upper = -1;
}
