#define _GNU_SOURCE
#include "slot.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The container's first process makes what must be new for each job, starts the program, and from then on only reaps,
 * passes signals on, and holds nothing but the right to do that. It runs as a user that the container does not have. */

#define NOBODY_IN_THERE 65536 /* the first id behind those of the container */
#define MAX_DESCRIPTORS 16384
#define CLOSED (MS_NOSUID | MS_NODEV | MS_NOEXEC)

extern char **environ;

static struct report *report;

static void give_up(int stage, const char *what)
{
    report->error = errno;
    report->what = what;
    report->stage = stage;
    _exit(1);
}

static void must(bool done, const char *what)
{
    if (!done) give_up(NODE_FAILED, what);
}

static void write_file(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    must(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text), path);
    close(file);
}

/* What tells of the host in /proc, and can be read by anybody: nobody in a container is the host's root. */
static const char *const files[] = {"kcore", "keys", "timer_list", "latency_stats", "sched_debug", "kallsyms", "kmsg", "vmallocinfo"};
static const char *const directories[] = {"acpi", "scsi", "asound", "driver"};
static char masked[12][32];
static size_t masked_files, masked_all;

static void find_open(const char *const *names, size_t count, mode_t open_to_all)
{
    struct stat status;
    for (size_t i = 0; i < count; i++) {
        snprintf(masked[masked_all], sizeof *masked, "/proc/%s", names[i]);
        if (stat(masked[masked_all], &status) == 0 && (status.st_mode & open_to_all) != 0) masked_all++;
    }
}

/* Once, where the host's /proc can be seen. */
void job_begin(void)
{
    find_open(files, sizeof files / sizeof *files, 0007);
    masked_files = masked_all;
    find_open(directories, sizeof directories / sizeof *directories, 0007);
}

/* An ordinary user's jobs have the user that made the network and IPC namespaces of the slot, whose settings they could
 * leave behind for others. */
static void make_settings_read_only(void)
{
    static const char *const names[] = {"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (access(names[i], F_OK) != 0) continue;
        must(mount(names[i], names[i], NULL, MS_BIND, NULL) == 0 &&
                 mount(NULL, names[i], NULL, CLOSED | MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0,
             names[i]);
    }
}

/* /proc of the new process namespace, without the parts that tell of the host or reach into it. */
static void make_proc(void)
{
    must(mount("proc", "/proc", "proc", CLOSED, NULL) == 0, "/proc");
    for (size_t i = 0; i < masked_all; i++)
        must(mount(i < masked_files ? "/dev/null" : "/dev/none", masked[i], NULL, MS_BIND, NULL) == 0, "a part of /proc");
    if (options.users < 0) make_settings_read_only();
}

static void make_new(const struct request *request)
{
    must(sethostname(request->hostname, strlen(request->hostname)) == 0, "the host name");
    make_proc();
    /* Under want of memory the program goes first, and this slot's own process last. */
    write_file("/proc/self/oom_score_adj", "1000");
}

static void set_capabilities(uint32_t low)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{low, low, 0}, {0, 0, 0}};
    must(syscall(SYS_capset, &header, data) == 0, "capabilities");
}

/* The program's process becomes the container's user, for good. */
static void become_user(const struct request *request)
{
    const struct run *run = &request->run;
    char map[64];
    if (options.users >= 0) {
        must(setns(options.users, CLONE_NEWUSER) == 0, "the user namespace");
        must(syscall(SYS_setgroups, run->groups, request->groups) == 0, "setgroups");
        must(syscall(SYS_setresgid, run->gid, run->gid, run->gid) == 0, "setresgid");
    } else {
        uid_t uid = geteuid();
        gid_t gid = getegid();
        must(unshare(CLONE_NEWUSER) == 0, "a user namespace");
        write_file("/proc/self/setgroups", "deny");
        snprintf(map, sizeof map, "%u %u 1\n", run->uid, uid);
        write_file("/proc/self/uid_map", map);
        snprintf(map, sizeof map, "%u %u 1\n", run->gid, gid);
        write_file("/proc/self/gid_map", map);
    }
    for (int i = 0; i <= 63; i++)
        if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) != 0) break;
    if (options.users >= 0) must(syscall(SYS_setresuid, run->uid, run->uid, run->uid) == 0, "setresuid");
    set_capabilities(0);
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
}

static void filter_calls(void)
{
    struct sock_fprog program = {(unsigned short)(options.program_size / sizeof(struct sock_filter)), (struct sock_filter *)options.program};
    must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0, "the system call filter");
}

/* As execvpe(3), but a file that is no program is not handed to a shell. */
static void execute(const struct request *request)
{
    const char *name = request->argv[0], *path = "/bin:/usr/bin";
    char file[4096];
    int error = ENOENT;
    for (char **variable = request->envp; *variable != NULL; variable++)
        if (strncmp(*variable, "PATH=", 5) == 0) path = *variable + 5;
    if (strchr(name, '/') != NULL) {
        execve(name, request->argv, request->envp);
        return;
    }
    for (;;) {
        int length = (int)strcspn(path, ":");
        if (snprintf(file, sizeof file, "%.*s%s%s", length, path, length ? "/" : "", name) < (int)sizeof file)
            execve(file, request->argv, request->envp);
        if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) return;
        if (errno == EACCES) error = EACCES;
        if (path[length] == 0) break;
        path += length + 1;
    }
    errno = error;
}

/* It also bounds how many descriptors can be left in sockets, which the kernel takes 8 ms each to find. */
static void limit_descriptors(void)
{
    struct rlimit limit;
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0, "the limit of descriptors");
    if (limit.rlim_max > MAX_DESCRIPTORS) limit.rlim_max = MAX_DESCRIPTORS;
    if (limit.rlim_cur > limit.rlim_max) limit.rlim_cur = limit.rlim_max;
    must(setrlimit(RLIMIT_NOFILE, &limit) == 0, "the limit of descriptors");
}

static void be_program(const struct request *request, int output)
{
    sigset_t none;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    must(null >= 0 && dup2(null, 0) == 0 && dup2(output, 1) == 1 && dup2(output, 2) == 2, "the output");
    must(setsid() >= 0, "setsid");
    limit_descriptors();
    become_user(request);
    must(syscall(SYS_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */) == 0, "close_range");
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (chdir(request->cwd) != 0) give_up(CANNOT_EXECUTE, "cwd");
    filter_calls();
    execute(request);
    give_up(CANNOT_EXECUTE, "exec");
}

static void drop_rights(void)
{
    if (options.users >= 0) {
        uid_t other = options.base + NOBODY_IN_THERE;
        must(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 && syscall(SYS_setgroups, 0, NULL) == 0 &&
                 syscall(SYS_setresgid, other, other, other) == 0 && syscall(SYS_setresuid, other, other, other) == 0,
             "another user");
    }
    set_capabilities(1u << CAP_KILL);
    /* Becoming another user has undone the wish to die with the slot's program. */
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 &&
             prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0,
         "no_new_privs");
}

/* Until the program has ended; what it left behind ends with this process. */
static void tend(pid_t program, const sigset_t *all)
{
    for (;;) {
        int number = sigwaitinfo(all, NULL), status;
        if (number != SIGCHLD) {
            if (number > 0) kill(program, number);
            continue;
        }
        for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
            if (pid == program) {
                report->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
                report->stage = RAN;
                _exit(0);
            }
    }
}

static void be_first(const struct request *request, int output)
{
    sigset_t all;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    make_new(request);
    pid_t program = vfork();
    if (program == 0) be_program(request, output);
    must(program > 0, "a process for the program");
    if (report->stage != NOT_BEGUN) _exit(1);
    drop_rights();
    syscall(SYS_close_range, 0, ~0u, 0);
    tend(program, &all);
}

pid_t job_start(const struct request *request, int output, struct report *into, int *pidfd)
{
    struct clone_args how = {
        .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
    };
    report = into;
    report->stage = NOT_BEGUN;
    report->error = report->status = 0;
    report->what = NULL;
    pid_t pid = (pid_t)syscall(SYS_clone3, &how, sizeof how);
    if (pid == 0) {
        be_first(request, output);
        _exit(1);
    }
    return pid;
}
