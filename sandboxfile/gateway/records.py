"""What one line of the network log holds. Pure.

Whatever comes from inside is bounded here and escaped by JSON: a host of 253 characters, a path of 1024. Neither
queries nor headers nor bodies are ever written; of credentials their names are.
"""

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sandboxfile.model.policy import Decision, Request

Via = Literal["proxy", "transparent", "names"]
Record = dict[str, Any]

_HOST, _PATH, _METHOD, _ERROR, _REASON = 253, 1024, 32, 300, 600  # characters


@dataclass(frozen=True, slots=True)
class Ending:
    """How a flow ended. `status` is that of the HTTP answer; `sent` and `received` are bytes, seen from inside."""

    status: int | None = None
    error: str = ""
    sent: int = 0
    received: int = 0


def record(
    sandbox: str,
    request: Request,
    decision: Decision,
    via: Via,
    inspected: bool,
    started: float,
    ending: Ending,
    injected: tuple[str, ...] = (),
) -> Record:
    """The record of a flow that began at `started` (seconds since 1970) and ends now.

    `injected` are names of credentials; a line without any has no such field.
    """
    return {
        "time": moment(started),
        "sandbox": sandbox,
        "verdict": "allowed" if decision.allowed else "blocked",
        "protocol": request.protocol,
        "host": decision.host[:_HOST],
        "port": request.port,
        "method": request.method and request.method[:_METHOD],
        "path": request.path and _path(request.path),
        "status": ending.status,
        "rule": decision.rule[:_HOST],
        "layer": decision.layer,
        "place": decision.place,
        "reason": decision.reason[:_REASON],
        "addresses": list(decision.addresses[:16]),
        "sent": ending.sent,
        "received": ending.received,
        "seconds": round(max(0.0, time.time() - started), 3),
        "error": ending.error[:_ERROR],
        "via": via,
        "inspected": inspected,
    } | ({"injected": list(injected)} if injected else {})


def name_record(sandbox: str, host: str, reason: str) -> Record:
    """The record of a name that does not resolve inside."""
    denied = Decision(False, host, 53, "not resolvable", "", "", reason)
    found = record(sandbox, Request(host, 53), denied, "names", False, time.time(), Ending())
    return found | {"protocol": "dns"}


def refused_record(sandbox: str, reason: str) -> Record:
    """The record of a connection that was not even looked at."""
    denied = Decision(False, "", 0, "limit", "gateway", "", reason)
    return record(sandbox, Request("", 0, "tcp"), denied, "proxy", False, time.time(), Ending())


def moment(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line(found: Record) -> bytes:
    """One line, with its newline; ASCII only, so nothing in it can steer a terminal."""
    return json.dumps(found, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def _path(path: str) -> str:
    return path.partition("?")[0].partition("#")[0][:_PATH]
