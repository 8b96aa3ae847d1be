"""Random lives of a project: files, edits, commands, and what befalls them. Small pools, so that things meet."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.model.desired import (
    Command,
    Condition,
    Dependency,
    DesiredSandbox,
    Healthcheck,
    Image,
    Mount,
    Port,
    Resources,
    Volume,
    Workspace,
)
from sandboxfile.model.policy import NO_POLICY, Layer, Policy, Rule
from sandboxfile.model.template import DesiredTemplate, Origin, Recipe
from sandboxfile.names import SandboxId, VolumeId

from .attempt import Strike
from .fake_supervisor import WORK

PROJECT = "shop"
CONDITIONS: tuple[Condition, ...] = ("started", "healthy", "completed")
NAMES = ("api", "db", "web")
GIB = 1 << 30
_IMAGES = (Image("a" * 64), Image("b" * 64))
# What the file's templates come to.
TEMPLATES = tuple(
    DesiredTemplate(name, Recipe(Origin("debian", "trixie"), digest=image.digest))
    for name, image in zip(("shell", "dev"), _IMAGES, strict=True)
)
_COMMANDS = tuple(Command((word,)) for word in ("fetch", "build", "seed"))
_WORKSPACES = tuple(
    Workspace(source, target, mode)  # type: ignore[arg-type]
    for source, target, mode in (
        ("/p/src", "/src", "rw"),
        ("/p/src", "/src", "ro"),
        ("/p/lib", "/lib", "rw"),
        ("/p/doc", "/src/doc", "ro"),
    )
)
_WEB = Layer("policy web", allow=(Rule("api.example.com:443"), Rule("*.example.org")))
_TEAM = Layer("file policy team", "allow", block=(Rule("paste.example.com"),), enforced=True)
KEY = "SBX_TEST_KEY"  # the variable that a credential's value is in
_CREDENTIAL = Credential("key", SecretSource("env", KEY), (Injection("api.example.com", name="X-Key"),))
POLICIES = (
    NO_POLICY,
    Policy((_WEB,)),
    Policy((_TEAM, _WEB), (("PIP_INDEX_URL", "https://pypi.example.com/simple"),)),
    Policy((replace(_WEB, allow=(*_WEB.allow, Rule("db.example.com:5432", "tcp"))),)),
    Policy((_WEB,), credentials=(_CREDENTIAL,)),
    Policy((_WEB,), credentials=(replace(_CREDENTIAL, name="other"),)),
)
_POOLS: dict[str, tuple[Any, ...]] = {
    "image": _IMAGES,
    "template": ("shell", "dev"),
    "user": ("agent", "root"),
    "workspaces": ((), _WORKSPACES[:1], _WORKSPACES[1:3], _WORKSPACES[2:], (_WORKSPACES[2], _WORKSPACES[0])),
    "env": ((), (("A", "1"),), (("A", "2"), ("B", "1"))),
    "resources": tuple(
        Resources(c, m * GIB, d * GIB)
        for c, m, d in ((1, 1, 4), (1, 1, 4), (1, 1, 8), (1, 1, 16), (2, 1, 4), (1, 2, 8))
    ),
    "setup": ((), _COMMANDS[:1], _COMMANDS, (_COMMANDS[0], _COMMANDS[2]), (_COMMANDS[2], _COMMANDS[1])),
    "command": (None, Command(("serve",)), WORK),
    "restart": ("no", "always"),
    "protect": (False, False, False, True),
    "docker": (False, True),
    "agent": ("shell", "shell", "shell", "claude"),
    "ports": ((), (), (Port(8080, 80),), (Port(8080, 81), Port(9000, 90))),
    "policy": POLICIES,
    "mounts": ((), (), (Mount("/cache", "cache"),), (Mount("/other", "cache"), Mount("/data", "data"))),
    "depends_on": ((), (), *((Dependency(name, condition),) for name in NAMES for condition in CONDITIONS)),
    "healthcheck": (None, Healthcheck(Command(("check",)))),
    "idle_stop": (0.0, 0.0, 1800.0),
}
_EDITED = (*_POOLS, *("workspaces",) * 4, *("policy",) * 2, "ports", "env", "resources", "setup")
# Weighted by repetition: the client's own end, failures, and other applies are what recovery is about.
FOUND = (
    "close ports", "rotate key", "delete disk", "pause", "unplug", "hang", "outdate", "command policy", "lose gateway",
    "other policy",
)  # fmt: skip
KINDS = (
    *("kill client",) * 4, *("cancel client",) * 2, *("fail",) * 3, *("other apply",) * 6, *("kill",) * 2,
    *("unplug",) * 3, *("pause",) * 2, "resume", "hang", "stop", "delete disk", "spoil record", "exit main", "outdate",
    "die in setup", "fail in setup", "lose cache", *("command policy",) * 2, *("lose gateway",) * 2, "other policy",
    "refuse policy", "close ports", *("sleep",) * 2, "unplug volume", *("rotate key",) * 2,
)  # fmt: skip
ACTIONS = (*("up",) * 14, "down", "start", "stop", "restart", "remove", "move file", *("rollback",) * 2)


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
    """

    undo: bool = False
    edits: tuple[Edit, ...] = ()
    action: str = "up"
    only: tuple[str, ...] = ()
    remove_orphans: bool = False
    allow_destroy: bool = False
    parallel: int = 4
    patience: float = 60.0
    pause: float = 0.0
    volume: int = 1
    thought: float = 0.0
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
        DesiredSandbox(SandboxId(PROJECT, name), "shell", _IMAGES[0], resources=_POOLS["resources"][0]), **fields
    )


def crossroads() -> list[History]:
    """A way to each kind of change that a plan knows, as the last of some rounds, for striking at every place of it."""
    there = sandbox(
        "web",
        workspaces=_WORKSPACES[1:3],
        env=(("A", "1"),),
        setup=_COMMANDS[:2],
        command=Command(("serve",)),
        restart="always",
        policy=POLICIES[1],
    )
    changed: list[dict[str, Any]] = [
        {"workspaces": _WORKSPACES[2:]},
        {"env": (("A", "2"),), "restart": "no", "workspaces": _WORKSPACES[:1]},
        {"resources": Resources(1, GIB, 16 * GIB), "protect": True},
        {"resources": Resources(2, GIB, 8 * GIB), "user": "root"},
        {"image": _IMAGES[1], "setup": _COMMANDS[1:]},
        {"policy": POLICIES[2], "workspaces": _WORKSPACES[:1]},
        {"policy": POLICIES[0], "resources": Resources(2, GIB, 4 * GIB)},
        {"docker": True, "env": (("A", "2"),)},
        {"agent": "claude", "ports": (Port(8080, 80),)},
        {"ports": (Port(8080, 80),), "policy": POLICIES[4]},
    ]
    new = History(1, (there, sandbox("db")), (Round(),))
    return [
        new,
        History(1, (there,), (Round(), Round(action="stop"), Round())),
        History(1, (there,), (Round(), Round(action="down"))),
        *(
            History(1, (there,), (Round(), Round(edits=tuple(Edit("web", *item) for item in fields.items()))))
            for fields in changed
        ),
    ]


def corners() -> list[History]:
    """Single things that random histories seldom come to."""
    plain, large = sandbox("web", protect=False), sandbox("web", resources=Resources(1, GIB, 16 * GIB))
    kept = sandbox("web", protect=True)
    equipped = sandbox("web", workspaces=_WORKSPACES[1:3], ports=(Port(8080, 80),), policy=POLICIES[4])
    other_image, smaller, protected = (
        (Edit("web", "image", _IMAGES[1]), Edit("db", "image", _IMAGES[1])),
        (Edit("web", "resources", Resources(1, GIB, 4 * GIB)),),
        (Edit("web", "protect", True),),
    )
    held = (Edit("web", "policy", POLICIES[2]),)
    found = [Round(strikes=(Strike(False, 1, kind),)) for kind in FOUND]
    return [
        *(History(1, (each,), (Round(), round)) for round in found for each in (plain, equipped)),
        *_of_volumes_and_rollback(plain),
        History(1, (plain,), (Round(), Round(edits=protected, action="down"))),
        History(1, (kept,), (Round(), Round(action="remove"))),
        History(1, (plain, sandbox("db")), (Round(), Round(edits=other_image, only=("web",)))),
        History(1, (large,), (Round(), Round(edits=smaller))),
        *(
            History(1, (plain,), (Round(), Round(edits=held, strikes=(Strike(True, point, "refuse policy"),))))
            for point in (1, 2, 3)
        ),
    ]


def _of_volumes_and_rollback(plain: DesiredSandbox) -> Iterator[History]:
    cached = replace(sandbox("db"), mounts=(Mount("/cache", "cache"),))
    moved = (Edit("db", "mounts", ()), Edit("web", "mounts", (Mount("/other", "cache"),)))
    back = Round(action="rollback", pause=100.0)
    yield History(1, (cached, plain), (Round(), Round(edits=moved, volume=2)))
    yield History(1, (cached, plain), (Round(), Round(edits=moved[:1])))
    yield History(1, (cached, replace(plain, depends_on=(Dependency("db"),))), (Round(),))
    yield History(1, (plain,), (Round(), Round(edits=(Edit("web", "image", _IMAGES[1]),), pause=100.0), back))
    yield History(1, (plain,), (Round(), Round(edits=(Edit("db", "*", cached),), pause=100.0), back))
    yield History(1, (plain,), (Round(), Round(edits=(Edit("web", "env", (("A", "2"),)),), pause=100.0), back))


def edited(file: tuple[DesiredSandbox, ...], edits: tuple[Edit, ...]) -> tuple[DesiredSandbox, ...]:
    """The file after some edits."""
    specs = {spec.id.name: spec for spec in file}
    for edit in edits:
        if edit.field == "*":
            if edit.name in specs:
                del specs[edit.name]
            else:
                specs[edit.name] = edit.value
        elif edit.name in specs:
            specs[edit.name] = replace(specs[edit.name], **{edit.field: edit.value})
    return tuple(specs[name] for name in sorted(specs))


def rightly(file: tuple[DesiredSandbox, ...]) -> tuple[DesiredSandbox, ...]:
    """The file without what the language refuses: two sandboxes with one volume, dependencies that cannot be met."""
    specs, taken, found = {spec.id.name: spec for spec in file}, set[str](), []
    for name, spec in specs.items():
        mounts = tuple(mount for mount in spec.mounts if mount.volume not in taken)
        taken |= {mount.volume for mount in mounts}
        needs = tuple(each for each in spec.depends_on if each.name < name and _can_be_met(specs.get(each.name), each))
        found.append(replace(spec, mounts=mounts, depends_on=needs))
    return tuple(found)


def _can_be_met(spec: DesiredSandbox | None, dependency: Dependency) -> bool:
    if spec is None or dependency.condition == "started":
        return spec is not None
    if dependency.condition == "healthy":
        return spec.healthcheck is not None
    return spec.command == WORK and spec.restart != "always"


def volumes(size: int) -> tuple[Volume, ...]:
    """The volumes of the file."""
    return tuple(Volume(VolumeId(PROJECT, name), size * GIB) for name in ("cache", "data"))


@functools.cache
def histories() -> st.SearchStrategy[History]:
    """Whole lives."""
    names = st.sampled_from(NAMES)
    specs = st.fixed_dictionaries({field: st.sampled_from(pool) for field, pool in _POOLS.items()})
    values = st.sampled_from([(field, value) for field in _EDITED for value in _POOLS[field]])
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
        remove_orphans=st.booleans(),
        allow_destroy=st.sampled_from((False, False, False, True)),
        parallel=st.sampled_from((4, 1)),
        patience=st.sampled_from((60.0, 0.0)),
        volume=st.sampled_from((1, 1, 1, 2, 3)),
        pause=st.sampled_from((0.0, 0.0, 0.3, 50.0)),
        thought=st.sampled_from((0.0, 0.0, 100.0)),
        strikes=strikes.map(tuple),
    )
    files = st.builds(
        lambda chosen, drawn: tuple(sandbox(name, **drawn[name]) for name in chosen),
        st.sampled_from((NAMES, NAMES[:2], NAMES[1:], NAMES[:1])),
        st.fixed_dictionaries({name: specs for name in NAMES}),
    )
    return st.builds(History, st.integers(0, 1 << 16), files, st.lists(rounds, min_size=1, max_size=8).map(tuple))
