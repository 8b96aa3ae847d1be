"""Seccomp programs beyond those that QEMU and virtiofsd load themselves. The only door to pyseccomp.

Built once per process, as bytes: BPF instructions for the native architecture; other architectures are killed.
"""

import errno
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
# Which argument of a call is a mode; a setuid or setgid bit in it is refused. (mkdir: the kernel drops both itself.)
_MODE_ARGUMENT = {
    **{"chmod": 1, "fchmod": 1, "fchmodat": 2, "mknod": 1, "mknodat": 2, "creat": 1, "open": 2, "openat": 3},
}
_FCHMODAT2 = 452  # newer than the libseccomp of Debian 12


@cache
def machine_filter() -> bytes:
    """For QEMU: sockets of the UNIX family only (it has no network device), and no rarely used kernel interfaces."""
    seccomp = _library()
    program = seccomp.SyscallFilter(seccomp.ALLOW)
    for call in ("socket", "socketpair"):
        program.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), call, seccomp.Arg(0, seccomp.NE, socket.AF_UNIX))
    for call in _MACHINE_DENIED:
        program.add_rule(seccomp.ERRNO(errno.EPERM), call)
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
