"""Named volumes of containers as volumes of a sandbox file: one sandbox has one, and it begins empty."""

from dataclasses import dataclass, field

from sandboxfile.diagnostics import Span
from sandboxfile.importing.draft import Draft
from sandboxfile.model.spec import Path

_READ_ONLY = "a volume can be written to here"
_EMPTY = "it begins empty, also where the image has files; its size is 10GiB unless `size` says otherwise"


@dataclass(slots=True)
class NamedVolumes:
    """Those of one source: who has which, by the name that the source gives."""

    draft: Draft
    holders: dict[str, str] = field(default_factory=dict)

    def mount(self, written: str, target: str, path: Path, what: str, span: Span, *, read_only: bool = False) -> None:
        """Give a volume to the sandbox at `path`, unless another one has it."""
        if "$" in written:
            self.draft.leave(what, "the name of a volume cannot come from a variable", span)
            return
        if written in self.holders:
            why = f"one sandbox at a time has a volume, and `{self.holders[written]}` has it"
            self.draft.leave(what, why, span)
            return
        self.holders[written] = str(path[-1])
        name = self.draft.name("volumes", written, what, span)
        self.draft.put(("volumes", name), {}, what, span)
        self.draft.add((*path, "volumes"), f"{name}:{target}", what, span)
        if read_only:
            self.draft.leave(what, _READ_ONLY, span)
        self.draft.leave(what, _EMPTY, span)
