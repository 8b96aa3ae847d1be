"""What `sbx secret set` keeps: values in the desktop's keyring where one answers, else in files (0600). Blocking.

An index says where each is, and decides: what it does not name is not there. A value is written before the index says
so, and removed after it; what a killed writer left is removed by the next one. All writers hold one lock.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from sandboxfile.errors import HostError, NotFoundError, StateError
from sandboxfile.host.durable import sync_directory, write_atomic
from sandboxfile.host.files import read_file
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import locked_shortly, private_directory
from sandboxfile.names import NAME_LIMIT, is_name
from sandboxfile.secrets.keyring import Keyring
from sandboxfile.secrets.values import SecretError, usable

Place = Literal["keyring", "file"]
VERSION = 1
_INDEX = "index.json"  # no secret can be called so
_LOCK = ".lock"


class Store:
    """The secrets that one user keeps. `environ` leads to the keyring."""

    def __init__(self, layout: Layout, environ: Mapping[str, str]) -> None:
        self._layout = layout
        self._root = layout.secrets
        self._keyring = Keyring(environ, layout.state)

    def places(self) -> Mapping[str, Place]:
        """Where each secret is kept, by name, sorted. Raises StateError when the index is wrong."""
        return read_index(self._root / _INDEX)

    def names(self) -> tuple[str, ...]:
        return tuple(self.places())

    def get(self, name: str) -> str:
        """A value. Raises SecretError when there is none, or its place does not give it; StateError."""
        place = self.places().get(name)
        if place is None:
            raise SecretError(f"there is no secret {name} in the store", hint=f"sbx secret set {name}")
        value = self._keyring.get(name) if place == "keyring" else self._from_file(name)
        if value is None:
            hint = f"sbx secret set {name}"
            raise SecretError(f"the secret {name} is gone from {_where(place)}", hint=hint)
        return usable(value, f"the secret {name} of the store")

    def set(self, name: str, value: str) -> tuple[Place, str]:
        """Keep a value. Where it is kept now, and why not in the keyring. Raises SecretError, HostError, StateError."""
        check_name(name)
        value = usable(value, f"the secret {name}")
        with self._writing() as index:
            reason = self._into_keyring(name, value)
            if reason:
                write_atomic(self._file(name), value.encode())
            place: Place = "file" if reason else "keyring"
            before = index.get(name)
            self._write_index({**index, name: place})
            if place == "keyring":
                self._drop_file(name)
            elif before == "keyring":
                self._forget(name)
        return place, reason

    def remove(self, name: str) -> None:
        """Forget a value. Raises NotFoundError; SecretError when the keyring still has it."""
        with self._writing() as index:
            if name not in index:
                raise NotFoundError(f"there is no secret {name} in the store", hint="`sbx secret ls` lists them")
            if index[name] == "keyring":  # first: nobody would think of it once its name is gone
                self._keyring.remove(name)
            self._write_index({other: place for other, place in index.items() if other != name})
            self._drop_file(name)

    def keyring_missing(self) -> str | None:
        """Why a secret would go into a file; None when a keyring answers."""
        return self._keyring.missing()

    # --- the keyring ---

    def _into_keyring(self, name: str, value: str) -> str:
        """Why it is not in the keyring; empty when it is."""
        if missing := self._keyring.missing():
            return missing
        try:
            self._keyring.set(name, value)
        except SecretError as exc:
            return exc.message
        return ""

    def _forget(self, name: str) -> None:
        """The keyring's old value. It may be out of reach, which must not keep a new one from being set."""
        try:
            self._keyring.remove(name)
        except SecretError:
            return

    # --- files ---

    def _file(self, name: str) -> Path:
        return self._root / name

    def _from_file(self, name: str) -> bytes | None:
        try:
            return read_file(self._file(name), owners=frozenset({os.geteuid()}))
        except NotFoundError:
            return None
        except HostError as exc:
            raise SecretError(exc.message, hint=exc.hint) from exc

    def _drop_file(self, name: str) -> None:
        self._file(name).unlink(missing_ok=True)
        sync_directory(self._root)

    def _write_index(self, places: Mapping[str, Place]) -> None:
        fields = {"version": VERSION, "secrets": dict(sorted(places.items()))}
        write_atomic(self._root / _INDEX, json.dumps(fields, indent=1).encode())

    @contextmanager
    def _writing(self) -> Iterator[Mapping[str, Place]]:
        """Alone, with the index as it is, and without what a killed writer left."""
        private_directory(self._layout.state)
        private_directory(self._root)
        with locked_shortly(self._root / _LOCK):
            index = self.places()
            self._sweep(index)
            yield index

    def _sweep(self, index: Mapping[str, Place]) -> None:
        kept = {_LOCK, _INDEX, *(name for name, place in index.items() if place == "file")}
        for path in list(self._root.iterdir()):
            if path.name not in kept and not path.is_dir():
                path.unlink(missing_ok=True)


def check_name(name: str) -> None:
    """Raises SecretError when no secret can be called so."""
    if not is_name(name):
        rule = f"at most {NAME_LIMIT} lower-case letters, digits, `-` and `_`, beginning with a letter or digit"
        # Not repeated: it may be the secret itself, given in the wrong place.
        raise SecretError("this cannot be the name of a secret", hint=rule)


def read_index(path: Path) -> Mapping[str, Place]:
    """Where each secret is kept; empty without a file. Raises StateError when it is anything but an index of ours."""
    hint = f"look at it; without it (rm {path}) the store is empty"
    try:
        fields = json.loads(read_file(path))
        version, secrets = fields["version"], fields["secrets"]
        right = isinstance(secrets, dict) and all(_is_entry(*item) for item in secrets.items())
    except NotFoundError:
        return MappingProxyType({})
    except (HostError, ValueError, LookupError, TypeError, RecursionError) as exc:
        raise StateError(f"the list of stored secrets cannot be read: {path}: {exc}", hint=hint) from exc
    if version != VERSION:
        raise StateError(
            f"{path} has version {version}; this program knows {VERSION}", hint="use the sbx that wrote it"
        )
    if not right:
        raise StateError(f"the list of stored secrets cannot be read: {path} has entries that are none", hint=hint)
    return MappingProxyType(dict(sorted(secrets.items())))


def _is_entry(name: str, place: object) -> bool:
    return is_name(name) and place in ("keyring", "file")


def _where(place: Place) -> str:
    return "the keyring" if place == "keyring" else "its file"
