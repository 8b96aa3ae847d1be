"""Saved plans on the disk, and the key that seals them: in the user's state, which no sandbox reaches."""

import os
import secrets
import stat
from pathlib import Path

from sandboxfile.errors import HostError, NotFoundError, StateError
from sandboxfile.host.durable import write_atomic
from sandboxfile.host.files import read_file
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import locked_shortly, private_directory
from sandboxfile.planning.saved import MARK

LIMIT = 64 << 20  # bytes of a saved plan
_KEY_LENGTH = 32
_BEGIN = 64  # bytes in which a saved plan has said that it is one


def write_plan(path: Path, text: str) -> None:
    """Save a plan, in one step, mode 0600. Raises HostError when something else than a saved plan is there."""
    try:
        if not _may_be_replaced(path):
            raise HostError(f"{path} is there already, and is no saved plan", hint="give the plan another name")
        write_atomic(path, text.encode())
    except OSError as exc:
        raise HostError(f"cannot write {path}: {exc.strerror}") from exc


def read_plan(path: Path) -> bytes:
    """What stands in a file that ought to be a saved plan. Raises NotFoundError, HostError, StateError."""
    data = read_file(path, limit=LIMIT + 1)
    if len(data) > LIMIT:
        raise StateError(f"it is longer than {LIMIT >> 20} MiB")
    return data


def plan_key(layout: Layout) -> bytes:
    """The key of this user's plans, made when it is first needed."""
    private_directory(layout.state)
    with locked_shortly(layout.plan_key.with_suffix(".lock")):
        if (key := find_plan_key(layout)) is None:
            key = secrets.token_bytes(_KEY_LENGTH)
            write_atomic(layout.plan_key, key)
    return key


def find_plan_key(layout: Layout) -> bytes | None:
    """The key, None when no plan was ever saved. Raises StateError when it is not one of ours."""
    try:
        key = read_file(layout.plan_key, owners=frozenset({os.geteuid()}))
    except NotFoundError:
        return None
    except HostError as exc:
        raise StateError(f"the key of saved plans cannot be used: {exc.message}") from exc
    if len(key) != _KEY_LENGTH:
        raise StateError(
            f"the key of saved plans is damaged: {layout.plan_key}",
            hint=f"remove it (rm {layout.plan_key}) and save your plans anew",
        )
    return key


def _may_be_replaced(path: Path) -> bool:
    """Nothing, or a saved plan: not a sandbox file, a device, or somewhere else by a symlink."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
    except FileNotFoundError:
        return True
    return is_plan(path)


def is_plan(path: Path) -> bool:
    """Whether a file says that it is a saved plan. Raises NotFoundError, HostError."""
    return f'"{MARK}"'.encode() in read_file(path, limit=_BEGIN)
