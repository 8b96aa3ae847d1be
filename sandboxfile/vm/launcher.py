"""Makes the namespaces that QEMU's jail stands in, gives up every right, and becomes bubblewrap.

Run as `python -I -S launcher.py FD`, never imported; single-threaded, standard library and three neighbours only. FD is
a SOCK_SEQPACKET to the supervisor: one message in (the configuration, JSON), one message out (`{"ok": true}` with the
listening sockets of the network, or what failed). Nothing is skipped: a step that fails ends the process before QEMU is
reached.

Why a program of its own before bubblewrap: the network namespace must exist, and be furnished, while we still may;
and files in the caller's private directories must be in reach of the unprivileged user that QEMU runs as.
"""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# At the end, so that nothing there hides a module of the standard library.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120

from sandboxfile.vm import furnishing, opener, rights

STAGE = "/run"  # hidden beneath a file system of our own; bubblewrap takes the files from there


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    config = json.loads(control.recv(1 << 20))
    try:
        prepare(control, config)
    except OSError as exc:
        furnishing.reply(control, {"errno": exc.errno, "error": rights.describe(exc)})
        os._exit(3)
    control.close()
    rights.drop_privileges(config["run_as"])
    rights.die_with(config["parent"])  # the kernel forgets it when the user id changes
    for descriptor in config["keep"]:
        os.set_inheritable(descriptor, True)
    os.chdir("/")
    os.execve(config["argv"][0], config["argv"], {})  # noqa: S606 - a fixed program, no shell


def prepare(control: socket.socket, config: dict[str, Any]) -> None:
    """All that can fail; at its end the supervisor has the sockets, and nobody here."""
    rights.die_with(config["parent"])
    make_namespaces()
    stage_files(config["files"])
    sockets = furnishing.furnish(config["listen"])
    helper = opener.start({**config["opener"], "run_as": config["run_as"]}, STAGE)
    rights.set_limits(config["limits"])
    furnishing.reply(control, {"ok": True, "opener": helper}, sockets)
    for made in sockets:
        made.close()


def make_namespaces() -> None:
    """Own network, IPC and mounts; as an ordinary user these need a user namespace, in which our id stays itself."""
    uid, gid = os.getuid(), os.getgid()
    flags = rights.CLONE_NEWNET | rights.CLONE_NEWIPC | rights.CLONE_NEWNS
    rights.check(rights.libc.unshare(flags if uid == 0 else flags | rights.CLONE_NEWUSER), "unshare")
    if uid != 0:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open_write(f"/proc/self/{name}") as descriptor:
                os.write(descriptor, text.encode())


def stage_files(files: list[list[str]]) -> None:
    """Show each `[source, name]` as STAGE/name, read-only, in this mount namespace only."""
    rights.mount(None, "/", None, rights.MS_REC | rights.MS_PRIVATE)
    rights.mount("tmpfs", STAGE, "tmpfs", rights.MS_NOSUID | rights.MS_NODEV, "mode=755")
    for source, name in files:
        target = f"{STAGE}/{name}"
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        rights.mount(source, target, None, rights.MS_BIND)


@contextmanager
def open_write(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
