"""Seccomp programs beyond those that QEMU and virtiofsd load themselves. The only door to pyseccomp.

Built once per process, as bytes: BPF instructions for the native architecture; other architectures are killed.
"""

import errno
import mmap
import os
import socket
import stat
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from sandboxfile.errors import HostError

# Doors into the kernel that an emulator never needs, and that most often had holes.
_MACHINE_DENIED = (
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "perf_event_open", "userfaultfd"),
    *("keyctl", "add_key", "request_key", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd"),
    *("mount", "umount2", "pivot_root", "unshare", "setns", "open_tree", "move_mount", "fsopen", "fsmount"),
    *("mount_setattr", "open_by_handle_at", "name_to_handle_at", "kexec_load", "init_module", "finit_module"),
    *("delete_module", "personality", "swapon", "reboot", "acct", "quotactl", "syslog"),
)
_MACHINE_FAMILIES = {int(family) for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)}
# All that Python needs to wait for a message and answer it with a listening socket.
_OPENER_ALLOWED = (
    *("recvfrom", "sendmsg", "bind", "listen", "setsockopt", "getsockopt", "getsockname", "write", "close"),
    *("brk", "munmap", "mremap", "madvise", "futex", "clock_gettime", "restart_syscall", "rt_sigreturn"),
    *("rt_sigprocmask", "exit", "exit_group"),
)
# Which argument of a call is a mode; a setuid or setgid bit in it is refused. (mkdir: the kernel drops both itself.)
_MODE_ARGUMENT = {
    **{"chmod": 1, "fchmod": 1, "fchmodat": 2, "mknod": 1, "mknodat": 2, "creat": 1, "open": 2, "openat": 3},
}
_FCHMODAT2 = 452  # newer than the libseccomp of Debian 12


@cache
def machine_filter() -> bytes:
    """For QEMU: UNIX and IP sockets only, of the common protocols, and no rarely used kernel interfaces.

    The network namespace stops IP and netlink; but vsock, for one, belongs to no namespace.
    """
    seccomp = _library()
    program = seccomp.SyscallFilter(seccomp.ALLOW)
    refused = seccomp.ERRNO(errno.EAFNOSUPPORT)
    for call in ("socket", "socketpair"):
        # Compared as 64 bits, of which the kernel takes 32: what lies above the families is refused by "greater".
        for family in set(range(max(_MACHINE_FAMILIES))) - _MACHINE_FAMILIES:
            program.add_rule(refused, call, seccomp.Arg(0, seccomp.EQ, family))
        program.add_rule(refused, call, seccomp.Arg(0, seccomp.GT, max(_MACHINE_FAMILIES)))
        program.add_rule(refused, call, seccomp.Arg(2, seccomp.GT, socket.IPPROTO_UDP))
    for call in _MACHINE_DENIED:
        program.add_rule(seccomp.ERRNO(errno.EPERM), call)
    return _export(program)


@cache
def opener_filter() -> bytes:
    """For the process that opens ports: TCP sockets of IPv4, memory that is not code, and little else."""
    seccomp = _library()
    program = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    for call in _OPENER_ALLOWED:
        program.add_rule(seccomp.ALLOW, call)
    kind = socket.SOCK_STREAM | socket.SOCK_CLOEXEC
    wanted = enumerate((socket.AF_INET, kind, socket.IPPROTO_TCP))
    program.add_rule(seccomp.ALLOW, "socket", *(seccomp.Arg(place, seccomp.EQ, int(value)) for place, value in wanted))
    program.add_rule(seccomp.ALLOW, "mmap", seccomp.Arg(2, seccomp.MASKED_EQ, mmap.PROT_EXEC, 0))
    return _export(program)


@cache
def share_filter() -> bytes:
    """For virtiofsd: no way to make a setuid or setgid file.

    Without it a guest's `chmod 4755` makes a setuid file of the calling user's, root's included, on the host. Calls
    that hide the mode in a structure do not exist. Price: no new setgid directories in a workspace.
    """
    seccomp = _library()
    program = seccomp.SyscallFilter(seccomp.ALLOW)
    for call, argument in _MODE_ARGUMENT.items():
        for bit in (stat.S_ISUID, stat.S_ISGID):
            program.add_rule(seccomp.ERRNO(errno.EPERM), call, seccomp.Arg(argument, seccomp.MASKED_EQ, bit, bit))
    for hidden in ("openat2", _FCHMODAT2, "io_uring_setup"):
        program.add_rule(seccomp.ERRNO(errno.ENOSYS), hidden)
    return _export(program)


def _library() -> ModuleType:
    try:
        return import_module("pyseccomp")
    except (ImportError, RuntimeError, OSError) as exc:
        raise HostError(
            "libseccomp is missing: without it nothing is jailed, so nothing is started",
            hint="install it: apt install libseccomp2",
        ) from exc


def _export(program: Any) -> bytes:
    with os.fdopen(os.memfd_create("filter"), "r+b") as file:
        program.export_bpf(file)
        file.seek(0)
        return file.read()
