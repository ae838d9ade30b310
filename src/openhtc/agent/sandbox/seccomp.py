"""The system calls that no job may make: everything that reaches for the kernel itself.

Allowed by default, so that no program meets a surprise, and forbidden by list. The 32-bit calls of x86 are
under the same rules; any other foreign call table kills the program.
"""

import errno
import os
import platform
from dataclasses import dataclass
from typing import Any

import pyseccomp

from openhtc.domain.errors import SettingsError

_EVERYTHING = 0xFFFFFFFF
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_MMAP_PAGE_ZERO, _QUERY_ONLY = 0x0100000, 0x80000000
_AF_ALG, _AF_VSOCK = 38, 40
# NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
_NEW_NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)


@dataclass(frozen=True, slots=True)
class Rule:
    """These calls fail with ``number``; with ``argument``, only if (argument[index] & mask) == value."""

    names: tuple[str, ...]
    number: int = errno.EPERM
    argument: tuple[int, int, int] | None = None


def _always(names: str) -> Rule:
    return Rule(tuple(names.split()))


RULES: tuple[Rule, ...] = (
    _always(
        "mount umount umount2 pivot_root fsopen fsconfig fsmount fspick move_mount open_tree mount_setattr"
    ),
    _always("setns unshare"),
    _always("bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register fanotify_init"),
    _always("kexec_load kexec_file_load init_module finit_module delete_module create_module query_module"),
    _always("reboot swapon swapoff syslog _sysctl sysfs nfsservctl lookup_dcookie get_kernel_syms vhangup"),
    _always("acct quotactl keyctl add_key request_key uselib ustat kcmp"),
    _always("iopl ioperm vm86 vm86old"),
    _always("settimeofday clock_settime clock_settime64 clock_adjtime clock_adjtime64 adjtimex stime"),
    _always("open_by_handle_at name_to_handle_at"),
    # Its argument list is in memory, where no filter sees which family of sockets is asked for.
    _always("socketcall"),
    # clone3's flags are out of sight too; on ENOSYS the C library falls back to clone.
    Rule(("clone3",), errno.ENOSYS),
    *(Rule(("clone",), argument=(0, flag, flag)) for flag in _NEW_NAMESPACES),
    # These two put characters into a terminal's input.
    Rule(("ioctl",), argument=(1, _EVERYTHING, _TIOCSTI)),
    Rule(("ioctl",), argument=(1, _EVERYTHING, _TIOCLINUX)),
    Rule(("personality",), argument=(0, _MMAP_PAGE_ZERO | _QUERY_ONLY, _MMAP_PAGE_ZERO)),
    # Kernel crypto by socket, and sockets to the hypervisor: no network namespace holds the latter.
    Rule(("socket",), argument=(0, _EVERYTHING, _AF_ALG)),
    Rule(("socket",), argument=(0, _EVERYTHING, _AF_VSOCK)),
)


def compiled() -> int:
    """A descriptor of an unnamed file with the filter's program, for bwrap --seccomp.

    Readers share its position: reopen it by ``/proc/self/fd/N``. Raises SettingsError.
    """
    program = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    if platform.machine() == "x86_64":
        program.add_arch(pyseccomp.Arch.X86)
    for rule in RULES:
        for name in rule.names:
            _add(program, rule, name)
    # A search tree instead of a list. The kernel looks up every system call there is when a filter is set, which took a
    # fifth of the start of a container.
    program.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, 2)
    fd = os.memfd_create("openhtc-seccomp")
    with os.fdopen(os.dup(fd), "wb") as file:
        program.export_bpf(file)
    if os.fstat(fd).st_size == 0:
        raise SettingsError("libseccomp wrote an empty filter")
    return fd


def _add(program: Any, rule: Rule, name: str) -> None:
    action = pyseccomp.ERRNO(rule.number)
    if rule.argument is None:
        if not _known(name):
            return
        program.add_rule(action, name)
    else:
        index, mask, value = rule.argument
        program.add_rule(action, name, pyseccomp.Arg(index, pyseccomp.MASKED_EQ, mask, value))


def _known(name: str) -> bool:
    """False for a call that this libseccomp has never heard of: nothing can forbid it by name."""
    try:
        number: int = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    except ValueError:
        return False
    return number != -1


def oci() -> dict[str, Any]:
    """The same rules as ``linux.seccomp`` of an OCI runtime configuration."""
    machines = {
        "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "aarch64": ["SCMP_ARCH_AARCH64"],
    }
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": machines[platform.machine()],
        "syscalls": [_oci_rule(rule) for rule in RULES],
    }


def _oci_rule(rule: Rule) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "names": list(rule.names),
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": rule.number,
    }
    if rule.argument is not None:
        index, mask, value = rule.argument
        answer["args"] = [{"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}]
    return answer
