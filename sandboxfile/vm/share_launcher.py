"""Builds the mount namespace of one shared directory and becomes virtiofsd; later, enters it to change protections.

Run as `python -I -S share_launcher.py serve|adjust FD`, never imported; single-threaded, standard library only. FD is
a SOCK_SEQPACKET to the supervisor, which speaks first (JSON). What a reply says was done, was done; every failure is
told and ends the process.

Paths are walked with openat2, one component at a time, never through a symbolic link, and mounts are made on the
descriptors so found: there is no moment in which a path could be exchanged for another.
"""

import ctypes
import errno
import json
import os
import re
import resource
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

SHARE = "/run/share"  # where virtiofsd finds the directory, whatever its name on the host

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE = 2, 4, 16384, 1 << 18
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 1, 4, 0x40
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 4, 8
STATX_ATTR_MOUNT_ROOT = 0x2000
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
# Calls newer than the architectures' own tables have one number everywhere.
SYS_open_tree, SYS_move_mount, SYS_openat2, SYS_mount_setattr = 428, 429, 437, 442

libc = ctypes.CDLL(None, use_errno=True)
Identity = list[tuple[int, int]]  # (device, inode) of every component of a protected path


class Refused(Exception):
    """The path goes through a symbolic link, or somewhere that we cannot see."""


def main() -> None:
    action, control = sys.argv[1], socket.socket(fileno=int(sys.argv[2]))
    try:
        config = json.loads(control.recv(1 << 20))
        if action == "serve":
            serve(control, config)
        else:
            reply(control, adjust(config))
    except OSError as exc:
        reply(control, {"errno": exc.errno, "error": describe(exc)})
        os._exit(3)


def serve(control: socket.socket, config: dict[str, Any]) -> None:
    """Namespaces, ids, mounts, limits, filter; then virtiofsd."""
    die_with(config["parent"])
    namespaces = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP
    call("unshare", libc.unshare(namespaces))
    # Before the ids change: the caller's own groups may be what lets us in. After the namespace: mounts belong to it.
    source = open_path(AT_FDCWD, config["source"], RESOLVE_NO_SYMLINKS)
    reply(control, {"unshared": True})
    if not control.recv(16):  # the supervisor has written our id maps
        os._exit(4)
    os.setresgid(0, 0, 0)
    os.setgroups([])
    os.setresuid(0, 0, 0)
    die_with(config["parent"])  # the kernel forgets it when the user id changes

    share = mount_share(source, read_only=config["mode"] == "ro")
    outcome = protect_all(share, config["protect"])
    if outcome["refused"] and config["mode"] == "rw":
        reply(control, outcome)
        os._exit(5)
    raise_descriptor_limit()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    load_filter(config["filter"])
    reply(control, {"ok": True, **outcome})
    os.set_inheritable(config["listener"], True)
    # The variable is for people: it tells which workspace a virtiofsd serves (/proc/PID/environ).
    os.execve(config["argv"][0], config["argv"], {"SBX_WORKSPACE": config["source"]})  # noqa: S606 - no shell


def adjust(config: dict[str, Any]) -> dict[str, Any]:
    """Enter the namespaces of a running virtiofsd, protect what needs it, and set the mode when one is given."""
    descriptors = [os.open(f"/proc/{config['pid']}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("user", "mnt")]
    process = os.open("/proc/self", os.O_PATH | os.O_CLOEXEC)
    for descriptor in descriptors:
        call("setns", libc.setns(descriptor, 0))
    share = open_path(AT_FDCWD, "/", RESOLVE_NO_SYMLINKS)
    if identity(share) != tuple(config["root"]):
        raise OSError(errno.ESTALE, "the file server has not entered its directory")
    outcome = protect_all(share, config["protect"])
    if config["mode"] == "ro":
        try:
            set_attributes(share, MOUNT_ATTR_RDONLY, 0, AT_RECURSIVE)
        except OSError as exc:
            if exc.errno != errno.EBUSY:
                raise
            return {**outcome, "busy": True}
    elif config["mode"] == "rw" and not outcome["refused"]:
        allow_writing(process, config["protect"])
    return {"ok": True, **outcome}


def mount_share(source: int, read_only: bool) -> int:
    """A private copy of the directory's mounts, at SHARE: no setuid, no devices, and read-only when asked."""
    call("mount", libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None))
    call("mount", libc.mount(b"tmpfs", b"/run", b"tmpfs", ctypes.c_ulong(MS_NOSUID | MS_NODEV), b"mode=755"))
    for directory in (SHARE, "/run/virtiofsd"):
        Path(directory).mkdir()  # the second is where the C virtiofsd writes its pid
    target = open_path(AT_FDCWD, SHARE, RESOLVE_NO_SYMLINKS)
    flags = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (MOUNT_ATTR_RDONLY if read_only else 0)
    return bind(source, target, flags)


def protect_all(share: int, paths: list[str]) -> dict[str, Any]:
    """Make the paths read-only: `bound` has the identity of each, None where there is nothing; `refused` the others."""
    bound: dict[str, Identity | None] = {}
    refused = []
    for path in sorted(paths):
        try:
            bound[path] = protect(share, path)
        except Refused:
            refused.append(path)
    return {"bound": bound, "refused": refused, "root": identity(share)}


def protect(share: int, path: str) -> Identity | None:
    """Bind a path onto itself read-only, and each of its parents onto itself.

    A parent that is no mount point could be renamed by the guest, and the path with it, leaving room for another.
    Safe to repeat. None when there is nothing at the path.
    """
    here, found = share, []
    names = [name for name in path.split("/") if name not in ("", ".")]
    for depth, name in enumerate(names, 1):
        try:
            child = open_path(here, name, RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise Refused(path) from exc
        flags = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV if depth == len(names) else 0
        if not is_mount_root(child):
            here = bind(child, child, flags)
        else:
            here = child
            if flags:
                set_attributes(child, flags, 0, AT_RECURSIVE)
        found.append(identity(here))
    return found


def allow_writing(process: int, protected: list[str]) -> None:
    """Make everything but the protected paths writable again, as far as the host has it writable itself."""
    for path in mount_points(process):
        relative = path.strip("/")
        if any(relative == kept or relative.startswith(f"{kept}/") for kept in protected):
            continue
        with suppress(PermissionError):  # the kernel holds fast what is read-only on the host
            set_attributes(open_path(AT_FDCWD, path, RESOLVE_NO_SYMLINKS), 0, MOUNT_ATTR_RDONLY, 0)


def mount_points(process: int) -> Iterator[str]:
    """The mount points of the namespace that we are in now."""
    with os.fdopen(os.open("mountinfo", os.O_RDONLY, dir_fd=process), "rb") as file:
        for line in file:
            # Space, tab, newline and backslash are octal there, and nothing else is escaped.
            yield os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), line.split()[4]))


def raise_descriptor_limit() -> None:
    """One descriptor per file that the guest knows of: as many as we may have."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def load_filter(descriptor: int) -> None:
    """Load a seccomp program (BPF in a file) for us and what we become."""
    program = os.read(descriptor, 1 << 16)
    buffer = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    packed = Program(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    call("prctl", libc.prctl(PR_SET_NO_NEW_PRIVS, *(ctypes.c_ulong(number) for number in (1, 0, 0, 0))))
    call("seccomp", libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(2), ctypes.byref(packed)))


def die_with(parent: int) -> None:
    """Have the kernel kill us when the supervisor goes; leave at once when it went before we could ask."""
    call("prctl", libc.prctl(PR_SET_PDEATHSIG, *(ctypes.c_ulong(number) for number in (signal.SIGKILL, 0, 0, 0))))
    if os.getppid() != parent:
        os._exit(4)


def bind(source: int, target: int, attributes: int) -> int:
    """Put a copy of the mounts at `source` on `target`, with attributes set before anybody sees it."""
    flags = OPEN_TREE_CLONE | AT_EMPTY_PATH | AT_RECURSIVE | os.O_CLOEXEC
    tree = syscall("open_tree", SYS_open_tree, source, ctypes.c_char_p(b""), flags)
    if attributes:
        set_attributes(tree, attributes, 0, AT_RECURSIVE)
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    syscall("move_mount", SYS_move_mount, tree, ctypes.c_char_p(b""), target, ctypes.c_char_p(b""), flags)
    return tree


def set_attributes(mount: int, add: int, remove: int, flags: int) -> None:
    attributes = struct.pack("=QQQQ", add, remove, 0, 0)
    arguments = (mount, ctypes.c_char_p(b""), AT_EMPTY_PATH | flags, ctypes.c_char_p(attributes), len(attributes))
    syscall("mount_setattr", SYS_mount_setattr, *arguments)


def open_path(directory: int, path: str, resolve: int) -> int:
    """A descriptor that names what is at the path (O_PATH)."""
    how = struct.pack("=QQQ", os.O_PATH | os.O_CLOEXEC, 0, resolve)
    arguments = (directory, ctypes.c_char_p(os.fsencode(path)), ctypes.c_char_p(how), len(how))
    return syscall(f"open {path}", SYS_openat2, *arguments)


def is_mount_root(descriptor: int) -> bool:
    buffer = ctypes.create_string_buffer(256)
    call("statx", libc.statx(descriptor, b"", AT_EMPTY_PATH, 0, buffer))
    attributes: int = struct.unpack_from("=Q", buffer, 8)[0]
    return bool(attributes & STATX_ATTR_MOUNT_ROOT)


def identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def syscall(what: str, number: int, *arguments: Any) -> int:
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise os_error(what)
    return result


def call(what: str, result: int) -> None:
    if result != 0:
        raise os_error(what)


def os_error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


def describe(exc: OSError) -> str:
    return ": ".join(str(part) for part in (exc.filename, exc.strerror) if part)


def reply(control: socket.socket, message: dict[str, Any]) -> None:
    control.send(json.dumps(message).encode())


if __name__ == "__main__":
    main()
