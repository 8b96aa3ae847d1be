"""What the way out needs: the proxy library, the user's and the machine's policy files, a place for the gateway."""

import os
import socket
import stat
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from sandboxfile.cli.checks.check import Check, check
from sandboxfile.host.layout import MACHINE_POLICY, Layout
from sandboxfile.host.statedir import is_locked

LIBRARY = "mitmproxy"
WANTED = 12  # the first version with the TLS stack and the layers that the gateway is written for


def check_egress(layout: Layout, uid: int) -> list[Check]:
    """Everything about egress that can be seen without starting a sandbox."""
    found = [check_library(), _gateway(layout)]
    found += [check_trusted(name, path, uid) for name, path in _files(layout) if os.path.lexists(path)]
    return found


def _files(layout: Layout) -> tuple[tuple[str, Path], ...]:
    return (
        ("user policy", layout.user_policy),
        ("machine policy", MACHINE_POLICY),
        ("resolver overrides", layout.resolver_overrides),
    )


def check_library() -> Check:
    """Whether the proxy can be loaded, without loading it: that takes half a second."""
    fix = f"pip install '{LIBRARY}>={WANTED}' with Python 3.12 or later"
    try:
        found = version(LIBRARY) if find_spec(LIBRARY) is not None else None
    except PackageNotFoundError:
        found = None
    if found is None:
        return Check(LIBRARY, "missing", "not installed; looks into what sandboxes send", fix)
    first = found.partition(".")[0]
    return check(LIBRARY, first.isdigit() and int(first) >= WANTED, f"version {found}", fix)


def check_trusted(name: str, path: Path, uid: int) -> Check:
    """Whether a file that says what sandboxes may reach can only be written by its user, or by root."""
    fix = f"chown {'root' if path == MACHINE_POLICY else '$USER'} {path} && chmod go-w {path}"
    try:
        found = path.stat()
        with path.open("rb"):
            pass
    except OSError as exc:
        return Check(name, "missing", f"{path}: {exc.strerror}", f"make it readable, or remove it: rm {path}")
    if not stat.S_ISREG(found.st_mode):
        return Check(name, "missing", f"{path} is not a regular file", f"rm {path}")
    if found.st_uid not in (0, uid):
        return Check(name, "missing", f"{path} belongs to user {found.st_uid}, who can change it", fix)
    if found.st_mode & 0o022:
        return Check(name, "missing", f"{path} can be written by others", fix)
    return Check(name, "ok", str(path))


def _gateway(layout: Layout) -> Check:
    """Nobody but a gateway of ours may listen on its socket; one that died leaves a file, which does no harm."""
    path = layout.gateway_socket
    if is_locked(layout.gateway_lock):
        return Check("gateway", "ok", f"running, {path}")
    if not path.exists():
        return Check("gateway", "ok", "not running; the first sandbox starts it")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return Check("gateway", "ok", "not running; the first sandbox starts it")
    detail = f"something that is no gateway of ours listens on {path}"
    return Check("gateway", "missing", detail, f"end it (`ss -xlp` names it), then rm {path}")
