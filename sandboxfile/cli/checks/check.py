"""The result of one look at the host."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "missing"]
_ORDER: tuple[Verdict, ...] = ("ok", "warning", "missing")


@dataclass(frozen=True, slots=True)
class Check:
    """`missing`: sandboxes cannot run without it. `fix` is what to do, a command where there is one."""

    name: str
    verdict: Verdict
    detail: str
    fix: str | None = None


def check(name: str, good: bool, detail: str, fix: str | None = None, otherwise: Verdict = "missing") -> Check:
    """`ok` without a fix when `good`, else `otherwise` with it."""
    return Check(name, "ok", detail) if good else Check(name, otherwise, detail, fix)


def worst(checks: Iterable[Check]) -> Verdict:
    """The verdict on all of them."""
    return max((found.verdict for found in checks), key=_ORDER.index, default="ok")
