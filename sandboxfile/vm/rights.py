"""What the programs before QEMU ask of the kernel: what a process gives up, and what it is bound to.

Called by `launcher.py` and `opener.py` only, in processes of their own with one thread; standard library only.
Everything raises OSError, and nobody goes on after that.
"""

import ctypes
import os
import resource
import signal
from typing import Any

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x8000000, 0x10000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, SECCOMP_MODE_FILTER = 47, 4, 2
LINUX_CAPABILITY_VERSION_3 = 0x20080522
DESCRIPTORS = 1 << 20  # numbers from here on are not given out

libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def die_with(parent: int) -> None:
    """Have the kernel kill us when our parent goes; leave at once when it went before we could ask.

    To be repeated after a change of the user id, at which the kernel forgets it.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(4)


def set_limits(limits: dict[str, int]) -> None:
    """Soft and hard limits by RLIMIT name, where they are not lower already."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (allowed, allowed))


def drop_privileges(run_as: dict[str, Any] | None) -> None:
    """Another user (for a root caller), then no capability in any set, and none to be had by exec."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break
    if run_as is not None:
        os.setgroups(run_as["groups"])
        os.setresgid(run_as["gid"], run_as["gid"], run_as["gid"])
        os.setresuid(run_as["uid"], run_as["uid"], run_as["uid"])
    header = (ctypes.c_uint32 * 2)(LINUX_CAPABILITY_VERSION_3, 0)
    check(libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def leave_file_system(place: str) -> None:
    """See nothing any more but one empty, read-only directory, made at `place`: in mounts of our own."""
    check(libc.unshare(CLONE_NEWNS), "unshare")
    mount("empty", place, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=555,size=4k,nr_inodes=1")
    os.chdir(place)
    check(libc.pivot_root(b".", b"."), "pivot_root")  # both on one place; the old root is on top
    check(libc.umount2(b".", MNT_DETACH), "umount")
    os.chdir("/")


def load_filter(program: bytes) -> None:
    """Go under a seccomp program (BPF instructions of eight bytes) for good."""
    packed = _Program(len(program) // 8, program)
    arguments = (ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(packed))
    check(libc.prctl(PR_SET_SECCOMP, *arguments, ctypes.c_ulong(0), ctypes.c_ulong(0)), "seccomp")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    result = libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    check(result, f"mount {source or ''} on {target}")


def prctl(option: int, value: int) -> None:
    check(libc.prctl(option, *(ctypes.c_ulong(number) for number in (value, 0, 0, 0))), f"prctl {option}")


def describe(exc: OSError) -> str:
    """What failed and why, without the number."""
    return ": ".join(str(part) for part in (exc.filename, exc.strerror) if part)


def check(result: int, what: str) -> None:
    """Turn a failed call of libc into OSError."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
