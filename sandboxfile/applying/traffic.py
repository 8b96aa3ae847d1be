"""What a machine wanted to reach and was not allowed to, from its network log: why a build may have failed."""

import json
from collections import deque
from pathlib import Path

_LAST = 200  # lines that are looked at
_SHOWN = 5


def blocked(log: Path) -> list[str]:
    """Hosts (`name:port`) that were blocked last, each once, sorted. What is no record is passed over."""
    try:
        with log.open(errors="replace") as file:
            lines = deque(file, _LAST)
    except OSError:
        return []
    found: dict[str, None] = {}
    for line in lines:
        try:
            record = json.loads(line)
            if record["verdict"] != "allowed":
                host, port = str(record["host"]), int(record.get("port") or 0)
                found[f"{host}:{port}" if port else host] = None
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue
    return sorted(found)[:_SHOWN]
