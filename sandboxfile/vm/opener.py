"""A process that stays in a jail's network and opens one more port there whenever the supervisor asks.

Forked by `launcher.py`, for a namespace can be entered by an ordinary user only with more rights than anybody should
keep. It has one descriptor (a SOCK_SEQPACKET to the supervisor), no capability, no file system, no way to start a
program, and few system calls. It keeps no port: the descriptor goes out and is closed here. It dies with the jail.

One message in: a port in decimal. One message out: `{"ok": true, "port": N}` with the socket, or `{"error": ...}`.
"""

import errno
import os
import socket
from typing import Any, NoReturn

from sandboxfile.vm import furnishing, rights

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - in the jail's namespace, where every address is ours
LIMITS = {"CORE": 0, "FSIZE": 0, "NPROC": 0, "MEMLOCK": 0, "NOFILE": 1024, "AS": 1 << 28}
_READY = b"ready"


def start(config: dict[str, Any], place: str) -> int:
    """Fork it, and give its pid once it has given up everything. Raises OSError when it could not.

    `config` holds `control` (a descriptor, which is closed here), `run_as` and `filter`. `place` is a directory over
    which it mounts what it still sees.
    """
    reader, writer = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _become(config, place, parent, writer)
    os.close(writer)
    os.close(config["control"])
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read(4096)
    if said != _READY:
        raise OSError(errno.ECHILD, f"the opener of ports: {said.decode() or 'it died'}")
    return child


def _become(config: dict[str, Any], place: str, parent: int, ready: int) -> NoReturn:
    """Never returns, whatever happens: its caller is another program."""
    try:
        rights.die_with(parent)
        rights.leave_file_system(place)
        rights.set_limits(LIMITS)
        rights.drop_privileges(config["run_as"])
        rights.die_with(parent)  # the kernel forgets it when the user id changes
        control, ready = _only(config["control"], ready)
        rights.load_filter(bytes.fromhex(config["filter"]))
        os.write(ready, _READY)
        os.close(ready)
        serve(control)
    except OSError as exc:
        os.write(ready, rights.describe(exc).encode())
    finally:
        os._exit(5)


def _only(control: int, ready: int) -> tuple[socket.socket, int]:
    """Keep these two descriptors and no other: as 0 and 1."""
    spare = os.dup(ready)  # neither must be lost when the other takes its number
    os.dup2(control, 0)
    os.dup2(spare, 1)
    os.closerange(2, rights.DESCRIPTORS)
    return socket.socket(fileno=0), 1


def serve(control: socket.socket) -> None:
    """Answer until the supervisor hangs up."""
    while request := control.recv(64):
        try:
            port = int(request)
            made = furnishing.listener(ANY_ADDRESS, port if 0 < port < 1 << 16 else -1)
        except (OSError, OverflowError, ValueError) as exc:
            furnishing.reply(control, {"error": rights.describe(exc) if isinstance(exc, OSError) else str(exc)})
            continue
        furnishing.reply(control, {"ok": True, "port": port}, [made])
        made.close()
