"""Values of secrets that this host keeps: files, what commands print, the store. Read when a request needs them.

In memory only. Read anew: a file when it changed (looked at every quarter of a second at most), a command after 5
minutes, the store after 10 seconds; these two also after a server said 401 to the value, at most every 10 seconds.
Each source is read by one thread at a time.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sandboxfile.errors import SandboxfileError
from sandboxfile.model.credential import SecretSource

Reader = Callable[[SecretSource], str]  # blocking; raises SandboxfileError, whose words hold nothing of the value
Clock = Callable[[], float]

_COMMAND = 300.0  # seconds for which what a command printed is used
_SHORT = 10.0  # the same for the store, for failures, and for a value that a server refuses
_GLANCE = 0.25  # seconds for which a file is taken not to have changed: a thread for each request would cost a third
_LIMIT = 1024  # sources that are remembered
_Stamp = tuple[int, int, int, int, int] | None  # of a file


@dataclass(slots=True, eq=False)
class _Reading:
    """What was read of one source last. `lock` is held while it is read. A file seen unchanged counts as read."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    value: str | None = field(default=None, repr=False)
    failure: str = ""
    when: float = 0.0
    stamp: _Stamp = None
    refused: bool = False


class Sources:
    """One per gateway, for all sandboxes; safe to use from threads."""

    def __init__(self, read: Reader, clock: Clock = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._readings: OrderedDict[SecretSource, _Reading] = OrderedDict()

    def at_hand(self, source: SecretSource) -> str | None:
        """The value when it is young enough to be used; never blocks."""
        reading = self._reading(source)
        value = reading.value
        return value if value is not None and self._fresh(source, reading) else None

    def get(self, source: SecretSource) -> str:
        """The value. Blocking, as long as a command takes. Raises SandboxfileError."""
        reading = self._reading(source)
        with reading.lock:
            if not self._fresh(source, reading):
                self._look(source, reading)
            if reading.failure:
                raise SandboxfileError(reading.failure)
            assert reading.value is not None
            return reading.value

    def refused(self, source: SecretSource, value: str) -> None:
        """A server did not take this value: another one may be there by now."""
        reading = self._reading(source)
        if source.kind != "file" and reading.value == value and self._clock() - reading.when >= _SHORT:
            reading.refused = True

    def _look(self, source: SecretSource, reading: _Reading) -> None:
        stamp = _stamp(source.name) if source.kind == "file" else None
        if stamp is not None and stamp == reading.stamp and reading.value is not None:
            reading.when = self._clock()
            return
        reading.value, reading.failure = None, ""
        try:
            reading.value = self._read(source)
        except SandboxfileError as exc:
            reading.failure = exc.message or "it cannot be read"
        finally:
            reading.stamp, reading.when, reading.refused = stamp, self._clock(), False

    def _fresh(self, source: SecretSource, reading: _Reading) -> bool:
        if reading.refused or (reading.value is None and not reading.failure):
            return False
        lasts = _GLANCE if source.kind == "file" else _SHORT if reading.failure or source.kind == "store" else _COMMAND
        return self._clock() - reading.when < lasts

    def _reading(self, source: SecretSource) -> _Reading:
        with self._lock:
            reading = self._readings.pop(source, None) or _Reading()
            self._readings[source] = reading
            if len(self._readings) > _LIMIT:
                self._readings.popitem(last=False)
            return reading


def _stamp(path: str) -> _Stamp:
    """What changes with a file's content; None where it cannot be told."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev
