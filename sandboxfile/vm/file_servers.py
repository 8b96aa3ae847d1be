"""Which virtiofsd this host has, and how it is told what to do.

Two programs bear the name: the one in C that came with QEMU up to 7, and its successor in Rust (README of
gitlab.com/virtio-fs/virtiofsd). Both take a listening socket by descriptor; all else is spelt differently.
"""

import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from sandboxfile.errors import HostError

Flavour = Literal["c", "rust"]
SHARED_DIRECTORY = "/run/share"  # share_launcher.SHARE

_PLACES = ("/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/libexec/qemu/virtiofsd")
_HINT = "install it: apt install virtiofsd (Debian 12: it is part of qemu-system-common)"


@dataclass(frozen=True, slots=True)
class FileServer:
    program: str
    flavour: Flavour


def find_file_server() -> FileServer:
    """The host's virtiofsd. Raises HostError."""
    program = _program()
    return FileServer(program, _flavour(program))


def flavour_of(content: bytes) -> Flavour:
    """Which of the two an executable is. Raises HostError for neither.

    Told by what is in it: the C program does not even say its version to an ordinary user.
    """
    if b"the QEMU Project developers" in content:
        return "c"
    if b"inode-file-handles" in content:
        return "rust"
    raise HostError("the virtiofsd of this host is neither QEMU's nor its successor in Rust", hint=_HINT)


def file_server_command(server: FileServer, listener: int) -> list[str]:
    """The command that serves SHARED_DIRECTORY on a listening socket.

    Descriptor limits are set before it starts. No extended attributes: with them a guest could set file capabilities.
    """
    if server.flavour == "c":
        options = (f"source={SHARED_DIRECTORY}", "cache=auto", "sandbox=namespace", "no_xattr", "log_level=warn")
        words = [word for option in options for word in ("-o", option)]
        return [server.program, f"--fd={listener}", *words, "--thread-pool-size=0", "--rlimit-nofile=0"]
    return [
        *(server.program, f"--fd={listener}", f"--shared-dir={SHARED_DIRECTORY}"),
        *("--cache=auto", "--sandbox=namespace", "--inode-file-handles=never", "--log-level=warn"),
        *("--thread-pool-size=0", "--rlimit-nofile=0"),
    ]


def _program() -> str:
    for place in _PLACES:
        if Path(place).exists():
            return place
    found = shutil.which("virtiofsd")
    if found is None:
        raise HostError("virtiofsd, which serves workspaces, is not installed", hint=_HINT)
    return found


@cache
def _flavour(program: str) -> Flavour:
    try:
        return flavour_of(Path(program).read_bytes())
    except OSError as exc:
        raise HostError(f"cannot read {program}: {exc}", hint=_HINT) from exc
