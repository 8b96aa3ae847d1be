"""What reached the origin servers, for tests to look at from any thread. Bounded, whatever clients do."""

import threading
from collections import Counter, deque
from dataclasses import dataclass

_REQUESTS = 10_000


@dataclass(frozen=True)
class Seen:
    """One request as it arrived. `headers` in order, names lower-case; `sni` is None without TLS or without a name."""

    server: str
    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]
    sni: str | None = None

    @property
    def host(self) -> str:
        """From `:authority` or `Host`."""
        return next((value for name, value in self.headers if name in (":authority", "host")), "")


@dataclass(frozen=True)
class Hits:
    connections: int
    requests: int


UNTOUCHED = Hits(0, 0)


class Ledger:
    """Counts connections (before any TLS) and requests by server name, and keeps the latest requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()
        self._seen: deque[Seen] = deque(maxlen=_REQUESTS)

    def connected(self, server: str) -> None:
        with self._lock:
            self._connections[server] += 1

    def requested(self, seen: Seen) -> None:
        with self._lock:
            self._requests[seen.server] += 1
            self._seen.append(seen)

    def hits(self, server: str | None = None) -> Hits:
        """Of one server, or of all together."""
        with self._lock:
            if server is None:
                return Hits(self._connections.total(), self._requests.total())
            return Hits(self._connections[server], self._requests[server])

    def seen(self) -> list[Seen]:
        with self._lock:
            return list(self._seen)

    def forget(self) -> None:
        """Count from nothing again."""
        with self._lock:
            self._connections.clear()
            self._requests.clear()
            self._seen.clear()
