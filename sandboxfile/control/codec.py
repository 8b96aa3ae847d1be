"""Messages as lines, a JSON object each: `{"v": VERSION, "kind": NAME, ...fields}`. No other version is guessed at."""

import dataclasses
import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sandboxfile.errors import ControlError


class Codec:
    """One protocol. `kinds` are its messages, dataclasses of different names; `hint` helps with another version."""

    def __init__(self, version: int, kinds: tuple[type[Any], ...], hint: str) -> None:
        self._version = version
        self._kinds = {kind.__name__: kind for kind in kinds}
        self._hint = hint
        self._adapters: dict[str, TypeAdapter[Any]] = {}

    def encode(self, message: Any) -> bytes:
        """One line, with its newline."""
        fields = {"v": self._version, "kind": type(message).__name__, **dataclasses.asdict(message)}
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    def decode(self, line: bytes) -> Any:
        """The message of one line. Raises ControlError for anything that this version does not know."""
        try:
            fields = json.loads(line)
            version, kind = fields.pop("v"), fields.pop("kind")
            if version != self._version:
                said = f"the other side speaks protocol version {version}, this one {self._version}"
                raise ControlError(said, hint=self._hint)
            return self._adapter(kind).validate_python(fields)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError):
            # Not a byte of it is shown, nor what pydantic says of it: it may be a message with secrets.
            raise ControlError(f"malformed message of {len(line)} bytes") from None

    def _adapter(self, kind: str) -> TypeAdapter[Any]:
        """Made when first needed: a client uses few of them. Raises KeyError."""
        if kind not in self._adapters:
            self._adapters[kind] = TypeAdapter(self._kinds[kind])
        return self._adapters[kind]
