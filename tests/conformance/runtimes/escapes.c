/* What a hostile program asks the kernel for. Each line of output: the name of an attempt, and "refused" with the error, or
 * "POSSIBLE". Nothing here does any harm where it is possible. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CALL(name, ...) static long name(void) { return __VA_ARGS__; }

static char zero[4096];

CALL(load_module, syscall(SYS_init_module, zero, sizeof zero, ""))
CALL(load_module_file, syscall(SYS_finit_module, 0, "", 0))
CALL(remove_module, syscall(SYS_delete_module, "none-such", 0))
CALL(load_kernel, syscall(SYS_kexec_load, 0, 0, NULL, 0))
CALL(run_bpf, syscall(SYS_bpf, 0, zero, 64))
CALL(count_events, syscall(SYS_perf_event_open, zero, -1, 0, -1, 0))
CALL(handle_faults, syscall(SYS_userfaultfd, 0))
CALL(queue_calls, syscall(SYS_io_uring_setup, 1, zero))
CALL(join_keyring, syscall(SYS_keyctl, 1, NULL))
CALL(add_key, syscall(SYS_add_key, "user", "x", "x", 1, -2))
CALL(mount_memory, mount("none", "/tmp", "tmpfs", 0, ""))
CALL(mount_proc, mount("none", "/tmp", "proc", 0, ""))
CALL(mount_bind, mount("/", "/tmp", NULL, MS_BIND, NULL))
CALL(mount_writable, mount(NULL, "/sys", NULL, MS_REMOUNT | MS_BIND, NULL))
CALL(unmount_proc, umount2("/proc", MNT_DETACH))
CALL(pivot, syscall(SYS_pivot_root, "/", "/tmp"))
CALL(open_file_system, syscall(SYS_fsopen, "tmpfs", 0))
CALL(clone_mount, syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */))
CALL(new_user_namespace, unshare(CLONE_NEWUSER))
CALL(new_mount_namespace, unshare(CLONE_NEWNS))
CALL(change_root, chroot("/tmp"))
CALL(make_disk, mknod("/tmp/disk", S_IFBLK | 0600, makedev(8, 0)))
CALL(make_memory, mknod("/tmp/mem", S_IFCHR | 0600, makedev(1, 1)))
CALL(ports, ioperm(0x80, 1, 1))
CALL(port_level, iopl(3))
CALL(set_name, sethostname("x", 1))
CALL(switch_off, syscall(SYS_reboot, 0, 0, 0, NULL)) /* with a wrong number: at most EINVAL */
CALL(swap, swapon("/none-such", 0))
CALL(account, acct("/none-such"))
CALL(quota, syscall(SYS_quotactl, 0x80000100 /* Q_SYNC */, "/none-such", 0, NULL))
CALL(become_other, setresuid(4242, 4242, 4242))
CALL(join_groups, syscall(SYS_setgroups, 1, (gid_t[]){0}))
CALL(real_time, sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){1}))
CALL(be_first, setpriority(PRIO_PROCESS, 0, -20))
CALL(read_first_process, process_vm_readv(1, &(struct iovec){zero, 16}, 1, &(struct iovec){(void *)0x400000, 16}, 1, 0))
CALL(raw_packets, socket(AF_PACKET, SOCK_RAW, 0))
CALL(raw_ip, socket(AF_INET, SOCK_RAW, 255))
CALL(hypervisor_socket, socket(40, SOCK_STREAM, 0))
CALL(crypto_socket, socket(38, SOCK_SEQPACKET, 0))
CALL(watch_files, syscall(SYS_fanotify_init, 0, 0))
CALL(read_log, syscall(SYS_syslog, 3, zero, 16))

static long set_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return syscall(SYS_clock_settime, CLOCK_REALTIME, &now);
}

static long join_namespace(void)
{
    int own = open("/proc/self/ns/mnt", O_RDONLY);
    return own < 0 ? own : setns(own, 0);
}

static long open_by_handle(void)
{
    struct { struct file_handle handle; char more[64]; } place = {.handle = {.handle_bytes = 8, .handle_type = 1}};
    return syscall(SYS_open_by_handle_at, AT_FDCWD, &place, O_RDONLY);
}

static long child_in_namespace(void)
{
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, 0);
    if (pid == 0) _exit(0);
    if (pid > 0) waitpid((pid_t)pid, NULL, 0);
    return pid;
}

static long raise_limit(void)
{
    struct rlimit most;
    getrlimit(RLIMIT_NOFILE, &most);
    most.rlim_cur = ++most.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &most);
}

static long gain_capabilities(void)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{.effective = 1u << CAP_SYS_ADMIN, .permitted = 1u << CAP_SYS_ADMIN}};
    return syscall(SYS_capset, &head, data);
}

static long writes(const char *path)
{
    int file = open(path, O_WRONLY);
    if (file < 0) return -1;
    close(file);
    return 0;
}

static long reads(const char *path)
{
    int file = open(path, O_RDONLY);
    if (file < 0) return -1;
    ssize_t got = read(file, zero, 16);
    close(file);
    if (got == 0) errno = ENODATA;
    return got > 0 ? 0 : -1;
}

static const struct { const char *name; long (*attempt)(void); } attempts[] = {
    {"load a module", load_module}, {"load a module from a file", load_module_file}, {"remove a module", remove_module},
    {"load another kernel", load_kernel}, {"run BPF", run_bpf}, {"count the kernel's events", count_events},
    {"handle faults", handle_faults}, {"queue system calls", queue_calls}, {"join a keyring", join_keyring},
    {"add a key", add_key}, {"mount a tmpfs", mount_memory}, {"mount another /proc", mount_proc},
    {"bind a directory", mount_bind}, {"make /sys writable", mount_writable}, {"unmount /proc", unmount_proc},
    {"change the root mount", pivot}, {"open a file system", open_file_system}, {"clone a mount", clone_mount},
    {"make a user namespace", new_user_namespace}, {"make a mount namespace", new_mount_namespace},
    {"start a child in a user namespace", child_in_namespace}, {"join a namespace", join_namespace},
    {"change the root", change_root}, {"make a disk device", make_disk}, {"make a memory device", make_memory},
    {"use ports", ports}, {"raise the port level", port_level}, {"set the host name", set_name}, {"set the time", set_time},
    {"switch the machine off", switch_off}, {"swap", swap}, {"account for processes", account}, {"ask for quotas", quota},
    {"become another user", become_other}, {"join groups", join_groups}, {"gain capabilities", gain_capabilities},
    {"run in real time", real_time}, {"be more important", be_first}, {"raise a limit", raise_limit},
    {"read the first process's memory", read_first_process}, {"open a file by its handle", open_by_handle},
    {"send raw packets", raw_packets}, {"send raw IP", raw_ip}, {"talk to the hypervisor", hypervisor_socket},
    {"use the kernel's crypto", crypto_socket}, {"watch all files", watch_files}, {"read the kernel's log", read_log},
};

static const char *const not_writable[] = {
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger",
    "/proc/sys/fs/binfmt_misc/register", "/proc/irq/0/smp_affinity", "/proc/1/mem", "/proc/1/oom_score_adj",
    "/sys/power/state", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs", "/dev/mem", "/dev/kmsg", "/dev/port",
};

static const char *const not_readable[] = {
    "/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/1/mem", "/proc/1/environ",
    "/proc/acpi", "/sys/kernel/debug", "/sys/firmware", "/dev/mem", "/dev/sda", "/dev/vda", "/dev/fuse", "/dev/kvm",
    "/dev/net/tun",
};

static void tell(const char *what, const char *name, long result)
{
    if (result < 0) printf("%s%s: refused, %s\n", what, name, strerrorname_np(errno));
    else printf("%s%s: POSSIBLE\n", what, name);
}

int main(void)
{
    prctl(PR_SET_PDEATHSIG, 0);
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) tell("", attempts[i].name, attempts[i].attempt());
    for (size_t i = 0; i < sizeof not_writable / sizeof *not_writable; i++)
        tell("write ", not_writable[i], writes(not_writable[i]));
    for (size_t i = 0; i < sizeof not_readable / sizeof *not_readable; i++)
        tell("read ", not_readable[i], reads(not_readable[i]));
    return 0;
}
