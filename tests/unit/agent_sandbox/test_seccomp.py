"""The filter, applied to real processes, and its other form for OCI runtimes."""

import os
import subprocess
import sys

import pytest

from openhtc.agent.sandbox import seccomp

# Loads a filter program from a descriptor, then makes one system call and tells its errno.
PROGRAM = """
import ctypes, os, struct, sys
fd, call, arguments = int(sys.argv[1]), int(sys.argv[2]), [int(x) for x in sys.argv[3:]]
code = os.pread(fd, 1 << 20, 0)
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(code)
program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program, 0, 0) == 0
result = libc.syscall(call, *[ctypes.c_long(a) for a in arguments])
print(ctypes.get_errno() if result < 0 else 0)
"""


def errno_of(number: int, *arguments: int) -> int:
    fd = seccomp.compiled()
    try:
        words = [str(word) for word in (fd, number, *arguments)]
        done = subprocess.run(
            [sys.executable, "-I", "-c", PROGRAM, *words],
            pass_fds=[fd],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        os.close(fd)
    return int(done.stdout)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers below are those of x86_64")
@pytest.mark.parametrize(
    ("number", "arguments", "expected"),
    [
        (165, (0, 0, 0, 0, 0), 1),  # mount
        (272, (0x10000000,), 1),  # unshare
        (272, (0,), 1),
        (56, (0x10000000, 0, 0, 0, 0), 1),  # clone with a new user namespace
        (435, (0, 0), 38),  # clone3
        (425, (1, 0), 1),  # io_uring_setup
        (321, (0, 0, 0), 1),  # bpf
        (250, (0, 0), 1),  # keyctl
        (16, (0, 0x5412, 0), 1),  # ioctl TIOCSTI
        (41, (40, 1, 0), 1),  # a socket to the hypervisor
        (41, (38, 5, 0), 1),  # a socket to the kernel's ciphers
        (135, (0x0100000,), 1),  # personality: pages at address zero
        (135, (0xFFFFFFFF,), 0),  # personality: only asked for
        (39, (), 0),  # getpid
    ],
)
def test_calls(number, arguments, expected):
    assert errno_of(number, *arguments) == expected


def test_the_oci_form_has_the_same_rules():
    rules = seccomp.oci()["syscalls"]
    assert [tuple(rule["names"]) for rule in rules] == [rule.names for rule in seccomp.RULES]
    assert seccomp.oci()["defaultAction"] == "SCMP_ACT_ALLOW"
    clones = [rule["args"][0]["value"] for rule in rules if rule["names"] == ["clone"]]
    assert 0x10000000 in clones and 0x40000000 in clones
