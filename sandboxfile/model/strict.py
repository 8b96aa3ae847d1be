"""What every model of the language has in common: strictness, and, for a whole file, knowing where its parts stand."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, model_validator

from sandboxfile.diagnostics import Span

Path = tuple[str | int, ...]  # a place in the file: ("sandboxes", "web", "workspaces", 0)


class Strict(BaseModel):
    """A map of the file: unknown fields are errors, nothing is converted, `x-` fields are somebody else's."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, defer_build=True, json_schema_extra={"patternProperties": {"^x-": {}}}
    )

    @model_validator(mode="before")
    @classmethod
    def _without_extensions(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and any(isinstance(key, str) and key.startswith("x-") for key in data):
            return {key: value for key, value in data.items() if not key.startswith("x-")}
        return data


class WholeFile(Strict):
    """The top of a file. `span(path)` tells where a part of it was written."""

    _spans: dict[Path, Span] = PrivateAttr(default_factory=dict)
    _whole: bool = PrivateAttr(default=True)
    _origins: dict[Path, Path] = PrivateAttr(default_factory=dict)

    @property
    def whole(self) -> bool:
        """False for the rest of a file that has errors: good for finding more of them, never to be applied."""
        return self._whole

    def span(self, *path: str | int) -> Span | None:
        """Where this part is written: a scalar's value, else its key; the nearest enclosing part when it was not."""
        path = (*self._origins.get(path[:2], path[:2]), *path[2:])
        spans = self._spans  # once: each look at a private attribute goes a long way through pydantic
        while path and path not in spans:
            path = path[:-1]
        return spans.get(path)

    def made_from(self, origins: Mapping[Path, Path]) -> Self:
        """A copy, parts of which (`("sandboxes", NAME)`) are written where another part is."""
        copied = self.model_copy()
        copied._origins = dict(origins)
        return copied

    def placed(self, spans: Mapping[Path, Span], whole: bool) -> Self:
        """The same file that knows its places and whether it is whole. Called by who reads it, before anybody else."""
        self._spans.update(spans)
        self._whole = whole
        return self
