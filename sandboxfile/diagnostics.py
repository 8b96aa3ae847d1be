"""What is wrong with a user's file, as values: severity, fixed summary, detail, span, hint.

Parsers return `(value | None, Diagnostics)` and go on, so that a user sees all problems at once.
Rendering for people and for machines is in `cli/views`; nothing here prints.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, order=True, slots=True)
class Span:
    """A region of a text file. Lines and columns count from 1; columns count characters; the end is exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem. `summary` is short and fixed, without names; `detail` says what and why; `hint` what to do."""

    severity: Severity
    summary: str
    detail: str
    span: Span | None = None
    hint: str | None = None


Diagnostics = tuple[Diagnostic, ...]


def error(summary: str, detail: str, span: Span | None = None, hint: str | None = None) -> Diagnostic:
    """A diagnostic that stops the command."""
    return Diagnostic(Severity.ERROR, summary, detail, span, hint)


def warning(summary: str, detail: str, span: Span | None = None, hint: str | None = None) -> Diagnostic:
    """A diagnostic that the user should see, and that stops nothing."""
    return Diagnostic(Severity.WARNING, summary, detail, span, hint)


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    """Whether any of them is an error."""
    return any(d.severity is Severity.ERROR for d in diagnostics)


def as_warnings(diagnostics: Iterable[Diagnostic]) -> Diagnostics:
    """The same, of what is only looked at."""
    return tuple(warning(item.summary, item.detail, item.span, item.hint) for item in diagnostics)


def in_order(diagnostics: Iterable[Diagnostic]) -> Diagnostics:
    """Without repeats, by file, line and column; those without a place come first."""
    unique = dict.fromkeys(diagnostics)
    nowhere = Span("", 0, 0, 0, 0)
    return tuple(sorted(unique, key=lambda d: (d.span is not None, d.span or nowhere, d.summary, d.detail)))
