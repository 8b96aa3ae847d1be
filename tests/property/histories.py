"""Random lives of a project: files, edits, commands, and what befalls them. Small pools, so that things meet."""

import functools
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.names import SandboxId

from .attempt import Strike
from .pools import IMAGES, NAMES, POOLS, PROJECT

_EDITED = (*POOLS, *("workspaces",) * 4, *("policy",) * 2, "ports", "env", "resources", "setup")
# Weighted by repetition: the client's own end, failures, and other applies are what recovery is about.
KINDS = (
    *("kill client",) * 4, *("cancel client",) * 2, *("fail",) * 3, *("other apply",) * 6, *("kill",) * 2,
    *("unplug",) * 3, *("pause",) * 2, "resume", "hang", "stop", "delete disk", "spoil record", "exit main", "outdate",
    "die in setup", "fail in setup", "lose cache", *("command policy",) * 2, *("lose gateway",) * 2, "other policy",
    "refuse policy", "close ports", *("sleep",) * 2, "unplug volume", *("rotate key",) * 2,
    "die in copying", "disturb copying",
)  # fmt: skip
ACTIONS = (
    *("up",) * 14, *("down",) * 2, "start", "stop", "restart", "remove", "move file", *("rollback",) * 2,
    "delete volumes", *("save plan",) * 2, *("apply plan",) * 3, *("checkpoint",) * 4, "drop checkpoint",
    *("restore",) * 3, "restore keeping", *("fork",) * 2, "remove fork", *("rename",) * 2, "adopt",
)  # fmt: skip


@dataclass(frozen=True)
class Edit:
    """`field` `*` adds or removes the whole sandbox."""

    name: str
    field: str
    value: Any


@dataclass(frozen=True)
class Round:
    """Edit the file, then run a command, struck at some points. Times are in seconds: `patience` is the lock
    timeout, `pause` goes before the command, `thought` between its plan and the user's yes. `undo`: the file is first
    put back to what it was before the last round. `volume`: the file's volumes have at least so many GiB from now on.
    `scale`: so many of `web` from now on, 0 for one that is not scaled. `only` is what is named, `anew` what
    `--replace` names; `volumes` is that of `down`, and `--no-start` of `fork`. `which` sandbox a command is for
    that works on files; `label` of a checkpoint.
    """

    undo: bool = False
    edits: tuple[Edit, ...] = ()
    action: str = "up"
    only: tuple[str, ...] = ()
    anew: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    volumes: bool = False
    remove_orphans: bool = False
    allow_destroy: bool = False
    parallel: int = 4
    patience: float = 60.0
    pause: float = 0.0
    volume: int = 1
    scale: int | None = None
    thought: float = 0.0
    which: int = 0
    label: str = "a"
    strikes: tuple[Strike, ...] = ()


@dataclass(frozen=True)
class History:
    """`seed` decides how long things last."""

    seed: int
    file: tuple[DesiredSandbox, ...]
    rounds: tuple[Round, ...]


def sandbox(name: str, **fields: Any) -> DesiredSandbox:
    """A sandbox of the project, with what is said of it."""
    return replace(
        DesiredSandbox(SandboxId(PROJECT, name), "shell", IMAGES[0], resources=POOLS["resources"][0]), **fields
    )


@functools.cache
def histories() -> st.SearchStrategy[History]:
    """Whole lives."""
    names = st.sampled_from(NAMES)
    specs = st.fixed_dictionaries({field: st.sampled_from(pool) for field, pool in POOLS.items()})
    values = st.sampled_from([(field, value) for field in _EDITED for value in POOLS[field]])
    change = st.builds(lambda name, drawn: Edit(name, *drawn), names, values)
    whole = st.builds(lambda name, fields: Edit(name, "*", sandbox(name, **fields)), names, specs)
    edits = st.lists(st.one_of(change, change, change, change, whole), max_size=4)
    points = st.one_of(st.integers(1, 8), st.integers(1, 60))
    late = st.sampled_from((True, True, False))
    strikes = st.lists(st.builds(Strike, late, points, st.sampled_from(KINDS), st.integers(0, 5)), max_size=4)
    rounds = st.builds(
        Round,
        undo=st.sampled_from((False, False, False, True)),
        edits=edits.map(tuple),
        action=st.sampled_from(ACTIONS),
        only=st.sampled_from(((),) * 5 + (("api",), ("db", "web"))),
        anew=st.sampled_from(((),) * 6 + (("web",), ("api", "db"))),
        profiles=st.sampled_from(((), (), ("ci",), ("*",))),
        volumes=st.booleans(),
        remove_orphans=st.booleans(),
        allow_destroy=st.sampled_from((False, False, False, True)),
        parallel=st.sampled_from((4, 1)),
        patience=st.sampled_from((60.0, 0.0)),
        volume=st.sampled_from((1, 1, 1, 2, 3)),
        scale=st.sampled_from((None,) * 10 + (0, 1, 2)),
        pause=st.sampled_from((0.0, 0.0, 0.3, 50.0)),
        thought=st.sampled_from((0.0, 0.0, 100.0)),
        which=st.integers(0, 6),
        label=st.sampled_from(("a", "b")),
        strikes=strikes.map(tuple),
    )
    files = st.builds(
        lambda chosen, drawn: tuple(sandbox(name, **drawn[name]) for name in chosen),
        st.sampled_from((NAMES, NAMES[:2], NAMES[1:], NAMES[:1])),
        st.fixed_dictionaries({name: specs for name in NAMES}),
    )
    return st.builds(History, st.integers(0, 1 << 16), files, st.lists(rounds, min_size=1, max_size=8).map(tuple))
