"""Where a reconciler stands, for people. Pure."""

from datetime import datetime
from typing import Any

from sandboxfile.cli.views.text import age, harmless


def page(found: dict[str, Any], now: datetime) -> str:
    """The object of `--status --format json` as lines: a name and a value; an empty name goes on with the one above."""
    lines = [
        ("name", found["name"]),
        ("follows", f"{found['ref']} of {found['git']}, {found['path']}"),
        ("runs", "yes" if found["running"] else "no"),
        ("state", _state(found, now)),
    ]
    for position, line in enumerate(found["message"].splitlines()):
        lines.append(("" if position else "because", line))
    lines += [
        ("newest commit", found["commit"] or "none"),
        ("applied commit", _applied(found, now)),
        ("next attempt", found["next_attempt"] or "-"),
        ("tree", found["tree"]),
        ("so far", ", ".join(_counted(number, what) for what, number in found["counts"].items())),
    ]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {harmless(text)}".rstrip() for name, text in lines)


def keeper(found: dict[str, Any] | None) -> str:
    """The same in one line, for the page of a sandbox; empty when no reconciler keeps it."""
    if found is None:
        return ""
    state = "suspended" if found["suspended"] else found["state"] if found["running"] else "not running"
    return f"sbx reconcile {found['name']} ({state}), commit {found['applied'][:12] or 'none'}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number != 1 else f"1 {'apply' if what == 'applies' else what.removesuffix('s')}"


def _state(found: dict[str, Any], now: datetime) -> str:
    since = f" for {age(found['since'], now)}" if found["since"] else ""
    failure = f" ({found['reason']} of {(found['culprit'] or found['ref'])[:12]}, {found['failures']} in a row)"
    suspended = "suspended; " if found["suspended"] else ""
    return f"{suspended}{found['state']}{failure if found['reason'] else ''}{since}"


def _applied(found: dict[str, Any], now: datetime) -> str:
    if not found["applied"]:
        return "none"
    half = f"; {found['begun'][:12]} is begun" if found["begun"] not in ("", found["applied"]) else ""
    return f"{found['applied']} ({age(found['applied_at'], now)} ago){half}"
