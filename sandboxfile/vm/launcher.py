"""Makes the namespaces that QEMU's jail stands in, gives up every right, and becomes bubblewrap.

Run as `python -I -S launcher.py FD`, never imported; single-threaded, standard library only. FD is a SOCK_SEQPACKET to
the supervisor: one message in (the configuration, JSON), one message out (`{"ok": true}`, or what failed).
Nothing is skipped: a step that fails ends the process before QEMU is reached.

Why a program of its own before bubblewrap: the network namespace must exist, and be furnished, while we still may;
and files in the caller's private directories must be in reach of the unprivileged user that QEMU runs as.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x8000000, 0x10000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 1, 24, 38, 47, 4
LINUX_CAPABILITY_VERSION_3 = 0x20080522
STAGE = "/run"  # hidden beneath a file system of our own; bubblewrap takes the files from there

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    config = json.loads(control.recv(1 << 20))
    try:
        die_with(config["parent"])
        make_namespaces()
        stage_files(config["files"])
        set_limits(config["limits"])
    except OSError as exc:
        control.send(json.dumps({"errno": exc.errno, "error": describe(exc)}).encode())
        os._exit(3)
    control.send(json.dumps({"ok": True}).encode())
    control.close()
    drop_privileges(config["run_as"])
    die_with(config["parent"])  # the kernel forgets it when the user id changes
    for descriptor in config["keep"]:
        os.set_inheritable(descriptor, True)
    os.chdir("/")
    os.execve(config["argv"][0], config["argv"], {})  # noqa: S606 - a fixed program, no shell


def die_with(parent: int) -> None:
    """Have the kernel kill us when the supervisor goes; leave at once when it went before we could ask."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(4)


def make_namespaces() -> None:
    """Own network, IPC and mounts; as an ordinary user these need a user namespace, in which our id stays itself."""
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWNS
    check(libc.unshare(flags if uid == 0 else flags | CLONE_NEWUSER), "unshare")
    if uid != 0:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open_write(f"/proc/self/{name}") as descriptor:
                os.write(descriptor, text.encode())


def stage_files(files: list[list[str]]) -> None:
    """Show each `[source, name]` as STAGE/name, read-only, in this mount namespace only."""
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", STAGE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for source, name in files:
        target = f"{STAGE}/{name}"
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        mount(source, target, None, MS_BIND)


def set_limits(limits: dict[str, int]) -> None:
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


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    result = libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    check(result, f"mount {source or ''} on {target}")


def prctl(option: int, value: int) -> None:
    check(libc.prctl(option, *(ctypes.c_ulong(number) for number in (value, 0, 0, 0))), f"prctl {option}")


def describe(exc: OSError) -> str:
    return ": ".join(str(part) for part in (exc.filename, exc.strerror) if part)


def check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


@contextmanager
def open_write(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
