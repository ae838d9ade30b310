#define _GNU_SOURCE
#include "slot.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Two mount namespaces. The base holds nothing but what roots are made of. The template is made from it for each image
 * and holds one root and nothing else; containers get copies of the template. A root that no job changed serves the
 * next job of the same image as well. */

#define BESIDE "beside"
#define FULL_BYTES (4u << 20) /* ext4 refuses the last blocks to writers before it says zero */
#define TRIM_BYTES (64u << 20)

static int base = -1, space = -1;
static unsigned generation;
static char *image, *workdir, *beside_of;
static bool entered, made_workdir, new_ipc = true;
static uint64_t shm_bytes;

bool fail(struct failure *failure, const char *what)
{
    failure->what = what;
    failure->error = errno;
    return false;
}

static bool bind_fd(int fd, const char *target, int flags)
{
    char source[64];
    if (fd < 0) return false;
    snprintf(source, sizeof source, "/proc/self/fd/%d", fd);
    return mount(source, target, NULL, (unsigned long)(MS_BIND | flags), NULL) == 0;
}

/* The namespace that the agent left us in has everything of the host. */
bool root_begin(struct failure *failure)
{
    /* An ordinary user may take a mount only with all that is mounted on it. */
    const int with_all = options.users < 0 ? MS_REC : 0;
    const struct { const char *source, *name; int flags; } parts[] = {
        {options.images, "images", with_all}, {options.space, "space", with_all}, {"/dev", "dev", with_all},
        {"/sys/devices/system", "sys", with_all}, {"/proc", "proc", MS_REC}, {NULL, "root", 0}, {NULL, "queues", 0},
        {NULL, "made", 0}, {NULL, "made/dev", 0}, {NULL, "made/sys", 0}};
    const size_t count = sizeof parts / sizeof *parts;
    int sources[sizeof parts / sizeof *parts];
    char place[4096];
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return fail(failure, "a mount namespace");
    for (size_t i = 0; i < count; i++)
        sources[i] = parts[i].source != NULL ? open(parts[i].source, O_PATH | O_CLOEXEC) : -1;
    if (mount("tmpfs", options.space, "tmpfs", MS_NOSUID, "size=64k,mode=755") != 0) return fail(failure, "a base");
    for (size_t i = 0; i < count; i++) {
        snprintf(place, sizeof place, "%s/%s", options.space, parts[i].name);
        if (mkdir(place, 0755) != 0 || (parts[i].source != NULL && !bind_fd(sources[i], place, parts[i].flags)))
            return fail(failure, parts[i].name);
        if (sources[i] >= 0) close(sources[i]);
    }
    if (chdir(options.space) != 0 || syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0 ||
        chdir("/") != 0)
        return fail(failure, "a mount namespace");
    base = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    space = open("/space", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return base >= 0 && space >= 0 ? true : fail(failure, "a mount namespace");
}

static void back_to_base(void)
{
    entered = false;
    if (setns(base, CLONE_NEWNS) != 0) _exit(72); /* in a job's root there is nothing to go on with */
}

static bool untouched(const struct timespec *job_started)
{
    return !made_workdir && devices_untouched() && ipc_untouched() && upper_untouched(job_started);
}

/* The image's working directory ----------------------------------------------------------------- */

static int open_in(int root, const char *path, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

/* Makes the directory `name` in `parent`; both are the container's paths. */
static bool make_one(int root, const char *parent, const char *name, const struct request *request)
{
    uid_t uid = options.base, gid = options.base;
    if (options.users >= 0) uid += request->run.uid, gid += request->run.gid;
    int directory = open_in(root, parent, O_RDONLY | O_DIRECTORY);
    if (directory < 0) return false;
    bool done = mkdirat(directory, name, 0755) == 0 && fchownat(directory, name, uid, gid, AT_SYMLINK_NOFOLLOW) == 0;
    int error = errno;
    close(directory);
    errno = error;
    return done;
}

/* Makes the image's working directory, with its parents, where it is missing; links stay inside. */
static bool make_workdir(int root, const struct request *request)
{
    char path[4096] = "/", parent[4096], *words, *rest, *name;
    if (strlen(request->workdir) >= sizeof path - 1 || (rest = words = strdup(request->workdir)) == NULL) {
        errno = ENAMETOOLONG;
        return false;
    }
    bool done = true;
    while (done && (name = strsep(&rest, "/")) != NULL) {
        if (*name == 0 || strcmp(name, ".") == 0) continue;
        strcpy(parent, path);
        snprintf(path + strlen(path), sizeof path - strlen(path), "%s%s", path[1] ? "/" : "", name);
        int there = open_in(root, path, O_PATH);
        if (there >= 0) close(there);
        else done = errno == ENOENT && make_one(root, parent, name, request);
        made_workdir |= there < 0;
    }
    free(words);
    return done;
}

/* A root ------------------------------------------------------------------------------------------ */

/* The layer beside the image, which serves all roots on it. */
static bool make_beside(const char *lower, struct failure *failure)
{
    if (beside_of != NULL && strcmp(beside_of, lower) == 0) return true;
    free(beside_of);
    beside_of = NULL;
    if (!beside_make(space, BESIDE, lower)) return fail(failure, "the layer beside the image");
    beside_of = strdup(lower);
    return true;
}

static bool mount_overlay(const char *lower, struct failure *failure)
{
    char names[32], setup[4096];
    snprintf(names, sizeof names, "%u", ++generation);
    if (mkdirat(space, names, 0711) != 0) return fail(failure, "a directory on the job's disk");
    int own = openat(space, names, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool made = own >= 0 && upper_make(own, "upper", lower) && mkdirat(own, "work", 0700) == 0;
    if (own >= 0) close(own);
    if (!made) return fail(failure, "the writable layer");
    if (strpbrk(lower, ",:\\") != NULL) return errno = EINVAL, fail(failure, "the image's path");
    /* Nobody needs this tree after a crash: "volatile" leaves out every sync. As an ordinary user the overlay keeps its
     * own marks in attributes that such a user may write. */
    snprintf(setup, sizeof setup, "lowerdir=/space/" BESIDE ":%s,upperdir=/space/%u/upper,workdir=/space/%u/work%s", lower, generation, generation,
             options.users >= 0 ? ",index=off,metacopy=off,volatile" : ",userxattr");
    if (unshare(CLONE_NEWNS) != 0) return fail(failure, "a mount namespace");
    entered = true;
    if (mount("overlay", "/root", "overlay", MS_NOSUID | MS_NODEV, setup) != 0) return fail(failure, "the overlay");
    return true;
}

static bool make_root(const struct request *request, struct failure *failure, bool *no_workdir)
{
    const char *below = request->image + strlen(options.images);
    char lower[2048];
    if (strncmp(request->image, options.images, strlen(options.images)) != 0 || *below != '/' || strstr(below, "/../") != NULL)
        return errno = EINVAL, fail(failure, "the image's path");
    snprintf(lower, sizeof lower, "/images%s", below);
    if (!devices_make(request->run.shm_bytes, failure)) return false;
    if (!make_beside(lower, failure) || !mount_overlay(lower, failure)) return false;
    int root = open("/root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    made_workdir = false;
    bool made = root >= 0 && make_workdir(root, request);
    if (root >= 0) close(root);
    if (!made) return *no_workdir = true, fail(failure, request->workdir);
    if (!devices_attach()) return fail(failure, "/dev");
    /* An ordinary user may mount a new /proc only where a whole one can be seen. The job's own covers this one. */
    if (options.users < 0 && mount("/proc", "/root/proc", NULL, MS_BIND | MS_REC, NULL) != 0) return fail(failure, "/proc");
    if (chdir("/root") != 0 || syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
        return fail(failure, "the new root");
    return upper_settle() ? true : fail(failure, "the writable layer");
}

static bool serves(const struct request *request)
{
    return entered && shm_bytes == request->run.shm_bytes && strcmp(image, request->image) == 0 && (*request->workdir == 0 || strcmp(workdir, request->workdir) == 0);
}

/* Leaves the root and takes its disk space back. */
static bool drop_root(void)
{
    char name[32];
    struct fstrim_range all = {0, UINT64_MAX, 0};
    struct statvfs before;
    if (generation == 0) return true;
    back_to_base();
    upper_forget();
    devices_clean();
    bool measured = fstatvfs(space, &before) == 0;
    snprintf(name, sizeof name, "%u", generation);
    if (faccessat(space, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 && !tree_remove(space, name)) return false;
    if (options.limited && measured && (before.f_blocks - before.f_bfree) * before.f_frsize > TRIM_BYTES)
        ioctl(space, FITRIM, &all);
    return true;
}

bool root_enter(const struct request *request, struct failure *failure, bool *no_workdir)
{
    if (serves(request)) return true;
    if (!drop_root()) return fail(failure, "the disk of the job before");
    if (new_ipc && !ipc_new()) return fail(failure, "an IPC namespace");
    new_ipc = false;
    free(image);
    free(workdir);
    image = strdup(request->image);
    workdir = strdup(request->workdir);
    shm_bytes = request->run.shm_bytes;
    if (image == NULL || workdir == NULL || !make_root(request, failure, no_workdir)) {
        int error = failure->error;
        drop_root();
        failure->error = error;
        return false;
    }
    upper_wait();
    return true;
}

bool root_full(void)
{
    struct statvfs now;
    if (!options.limited || fstatvfs(space, &now) != 0) return false;
    return now.f_bavail * now.f_frsize < FULL_BYTES || now.f_favail == 0;
}

bool root_leave(const struct timespec *job_started)
{
    if (untouched(job_started)) return true;
    new_ipc = new_ipc || !ipc_untouched();
    return drop_root();
}
