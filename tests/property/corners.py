"""Histories that were thought of: a way to each kind of change, and what chance seldom comes to."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sandboxfile.model.desired import Command, Dependency, DesiredSandbox, Mount, Port, Resources

from .attempt import Strike
from .histories import Edit, History, Round, sandbox
from .pools import COMMANDS, GIB, IMAGES, POLICIES, WORKSPACES

FOUND = (
    "close ports", "rotate key", "delete disk", "pause", "unplug", "hang", "outdate", "command policy", "lose gateway",
    "other policy",
)  # fmt: skip


def crossroads() -> list[History]:
    """A way to each kind of change that a plan knows, as the last of some rounds, for striking at every place of it."""
    there = sandbox(
        "web",
        workspaces=WORKSPACES[1:3],
        env=(("A", "1"),),
        setup=COMMANDS[:2],
        command=Command(("serve",)),
        restart="always",
        policy=POLICIES[1],
    )
    changed: list[dict[str, Any]] = [
        {"workspaces": WORKSPACES[2:]},
        {"env": (("A", "2"),), "restart": "no", "workspaces": WORKSPACES[:1]},
        {"resources": Resources(1, GIB, 16 * GIB), "protect": True},
        {"resources": Resources(2, GIB, 8 * GIB), "user": "root"},
        {"image": IMAGES[1], "setup": COMMANDS[1:]},
        {"policy": POLICIES[2], "workspaces": WORKSPACES[:1]},
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
        *_of_files(),
        *(
            History(1, (there,), (Round(), Round(edits=tuple(Edit("web", *item) for item in fields.items()))))
            for fields in changed
        ),
    ]


def _of_files() -> Iterator[History]:
    """Ways to checkpoints and back, and to other names."""
    api = sandbox("api", setup=COMMANDS[:2], workspaces=WORKSPACES[1:3])
    waiting = sandbox("db", depends_on=(Dependency("api"),))
    there, stop, keep = Round(), Round(action="stop"), Round(action="checkpoint")
    fork = Round(action="fork", label="b", volumes=True)
    yield History(1, (api,), (there, keep))
    yield History(1, (api,), (there, stop, keep, there, stop, Round(action="restore keeping")))
    anew = Round(edits=(Edit("api", "image", IMAGES[1]),))
    yield History(1, (api,), (there, keep, anew, stop, Round(action="restore")))
    yield History(1, (api,), (there, stop, fork))
    yield History(1, (api, waiting), (there, stop, keep, Round(action="rename")))
    yield History(1, (api,), (there, stop, fork, Round(action="adopt")))


def corners() -> list[History]:
    """Single things that random histories seldom come to."""
    plain, large = sandbox("web", protect=False), sandbox("web", resources=Resources(1, GIB, 16 * GIB))
    kept = sandbox("web", protect=True)
    equipped = sandbox("web", workspaces=WORKSPACES[1:3], ports=(Port(8080, 80),), policy=POLICIES[4])
    other_image, smaller, protected = (
        (Edit("web", "image", IMAGES[1]), Edit("db", "image", IMAGES[1])),
        (Edit("web", "resources", Resources(1, GIB, 4 * GIB)),),
        (Edit("web", "protect", True),),
    )
    held = (Edit("web", "policy", POLICIES[2]),)
    found = [Round(strikes=(Strike(False, 1, kind),)) for kind in FOUND]
    return [
        *(History(1, (each,), (Round(), round)) for round in found for each in (plain, equipped)),
        *_of_volumes_and_rollback(plain),
        *_of_what_is_meant(plain),
        *_of_volumes_deleted(plain),
        *_of_saved_plans(plain),
        History(1, (plain,), (Round(), Round(edits=protected, action="down"))),
        History(1, (kept,), (Round(), Round(action="remove"))),
        History(1, (plain, sandbox("db")), (Round(), Round(edits=other_image, only=("web",)))),
        History(1, (large,), (Round(), Round(edits=smaller))),
        History(1, (plain, sandbox("db")), (Round(parallel=1),)),
        History(1, (plain,), (Round(), Round(edits=protected, thought=100.0, strikes=(Strike(False, 3, "pause"),)))),
        *(
            History(1, (plain,), (Round(), Round(edits=held, strikes=(Strike(True, point, "refuse policy"),))))
            for point in (1, 2, 3)
        ),
        *_of_checkpoints(plain),
        *_of_what_is_left_halfway(plain),
    ]


def _of_what_is_left_halfway(plain: DesiredSandbox) -> Iterator[History]:
    """A first apply that comes to no end."""
    for point in (3, 9):
        failed = Round(strikes=(Strike(True, point, "fail"),))
        yield History(1, (replace(plain, setup=COMMANDS[:2]),), (failed, Round()))
    yield History(1, (plain, sandbox("db")), (Round(strikes=(Strike(True, 1, "fail"),)),))
    yield History(1, (replace(plain, policy=POLICIES[4]),), (Round(strikes=(Strike(True, 3, "kill client"),)),))


def _of_volumes_and_rollback(plain: DesiredSandbox) -> Iterator[History]:
    cached = replace(sandbox("db"), mounts=(Mount("/cache", "cache"),))
    moved = (Edit("db", "mounts", ()), Edit("web", "mounts", (Mount("/other", "cache"),)))
    back = Round(action="rollback", pause=100.0)
    yield History(1, (cached, plain), (Round(), Round(edits=moved, volume=2)))
    unseen = (Strike(False, 1, "kill client"),)  # so that it is the last apply that does it
    yield History(1, (cached, plain), (Round(), Round(edits=moved, volume=2, strikes=unseen)))
    yield History(1, (cached, plain), (Round(), Round(edits=moved[:1])))
    yield History(1, (cached, replace(plain, depends_on=(Dependency("db"),))), (Round(),))
    yield History(1, (plain,), (Round(), Round(edits=(Edit("web", "image", IMAGES[1]),), pause=100.0), back))
    yield History(1, (plain,), (Round(), Round(edits=(Edit("db", "*", cached),), pause=100.0), back))
    yield History(1, (plain,), (Round(), Round(edits=(Edit("web", "env", (("A", "2"),)),), pause=100.0), back))


def _of_what_is_meant(plain: DesiredSandbox) -> Iterator[History]:
    """By name, by profile, as replicas; made anew."""
    other, waiting = sandbox("db"), replace(plain, depends_on=(Dependency("db"),))
    inactive, ci = replace(other, profiles=("ci",)), Round(profiles=("ci",))
    yield History(1, (other, waiting), (Round(only=("web",)),))
    yield History(1, (other, plain), (Round(), Round(anew=("web",)), Round(only=("db",), anew=("web",))))
    yield History(1, (other, replace(plain, protect=True)), (Round(), Round(anew=("web",))))
    yield History(1, (other, plain), (Round(scale=2), Round(anew=("web",)), Round(only=("web",)), Round(scale=1)))
    yield History(1, (other, plain), (Round(scale=2), Round(scale=0, remove_orphans=True)))
    for round in (Round(), Round(remove_orphans=True), Round(edits=(Edit("db", "env", (("A", "2"),)),))):
        yield History(1, (inactive, plain), (ci, round))
    yield History(1, (inactive, waiting), (Round(), Round(only=("web",)), Round(action="down"), ci))
    yield History(
        1, (inactive, plain), (ci, Round(edits=(Edit("db", "profiles", ()), Edit("web", "profiles", ("ci",)))))
    )


def _of_volumes_deleted(plain: DesiredSandbox) -> Iterator[History]:
    cached = replace(sandbox("db"), mounts=(Mount("/cache", "cache"),))
    for last in (
        Round(action="down"),
        Round(action="down", volumes=True),
        Round(action="down", volumes=True, only=("web",)),
        Round(action="down", volumes=True, edits=(Edit("db", "*", None),)),
        Round(action="delete volumes"),
        Round(action="delete volumes", thought=100.0, strikes=(Strike(False, 3, "other apply"),)),
    ):
        yield History(1, (cached, plain), (Round(), last))
    for before in ("down", "stop"):
        yield History(1, (cached, plain), (Round(), Round(action=before), Round(action="delete volumes")))


def _of_saved_plans(plain: DesiredSandbox) -> Iterator[History]:
    """With nothing in between, with what concerns them, and with what does not."""
    file, there = (sandbox("db"), plain), Round()
    save = Round(action="save plan", edits=(Edit("web", "env", (("A", "2"),)),))
    anew, apply = Round(action="save plan", only=("web",), anew=("web",)), Round(action="apply plan")
    begin = Round(action="start", only=("db",))
    for saving in (save, anew):
        yield History(1, file, (there, saving, apply, apply))
        yield History(1, file, (there, saving, Round(edits=(Edit("db", "image", IMAGES[1]),), only=("db",)), apply))
        yield History(1, file, (there, saving, Round(edits=(Edit("web", "docker", True),)), apply))
        for kind in ("delete disk", "pause", "kill", "command policy"):
            yield History(1, file, (there, saving, replace(begin, strikes=(Strike(False, 1, kind, 1),)), apply))
    yield History(1, file, (Round(action="save plan"), apply))
    yield History(1, file, (Round(action="save plan"), there, apply))


def _of_checkpoints(plain: DesiredSandbox) -> Iterator[History]:
    """Kept, gone back to, gone with its sandbox, put aside with it; forks, other names."""
    there, stop, keep, other = (Round(), *(Round(action=each) for each in ("stop", "checkpoint", "fork")))
    restore, keeping = Round(action="restore"), Round(action="restore keeping")
    kept = replace(plain, protect=True)
    anew = Round(edits=(Edit("web", "image", IMAGES[1]),), pause=100.0)
    larger = Round(edits=(Edit("web", "resources", Resources(1, GIB, 16 * GIB)),))
    setup = replace(plain, setup=COMMANDS[:2])
    failed = Round(strikes=(Strike(True, 1, "fail in setup"),))
    yield History(1, (plain,), (there, keep, keep, Round(action="drop checkpoint"), keep))
    yield History(1, (plain,), (there, keep, larger, restore))
    yield History(1, (kept,), (there, keep, restore, keeping, replace(restore, allow_destroy=True)))
    yield History(1, (plain,), (there, keep, anew, Round(action="rollback", pause=100.0), restore))
    yield History(1, (plain,), (there, keep, Round(action="remove"), there))
    for gone in (Round(edits=(Edit("web", "*", None),), remove_orphans=True), Round(action="down")):
        more = Round(edits=(Edit("web", "*", replace(plain, env=(("A", "1"),))),))
        yield History(1, (plain,), (there, keep, gone, restore, other, more, stop, restore, there))
    for replaced in (anew, Round(edits=(Edit("web", "agent", "claude"),))):
        yield History(1, (plain,), (there, keep, replaced, stop, restore, Round(), restore))
    yield History(1, (plain,), (there, keep, anew, other, replace(keep, label="b"), restore))
    unseen = replace(keep, strikes=(Strike(True, 2, "kill client"),))
    yield History(1, (plain,), (there, unseen, Round(action="remove", thought=100.0)))
    yield History(
        1,
        (plain,),
        (there, keep, Round(action="save plan", anew=("web",)), replace(keep, label="b"), Round(action="apply plan")),
    )
    yield History(1, (setup,), (failed, keep, there, restore, there))
    yield History(1, (setup,), (there, stop, keep, Round(edits=(Edit("web", "setup", COMMANDS),)), restore))
    for kind in ("die in copying", "disturb copying", "pause", "stop", "kill"):
        for point in range(1, 5):
            yield History(1, (plain,), (there, replace(keep, strikes=(Strike(True, point, kind, point),)), there, keep))
    for full in (replace(plain, policy=POLICIES[2], ports=(Port(8080, 80),)), kept):
        yield History(1, (full,), (there, other, replace(other, label="b", volumes=True), Round(action="adopt")))
        yield History(1, (full,), (there, keep, other, there, Round(action="adopt"), there))
    api, waiting = sandbox("api"), replace(plain, depends_on=(Dependency("api"),))
    name = Round(action="rename")
    yield History(1, (api, waiting), (there, keep, name, there, name, keep))
    yield History(1, (api, waiting), (there, stop, keep, name, name))
    yield History(1, (api, sandbox("db")), (there, name, Round(action="rename", which=1)))
    pulled = replace(name, volumes=True)
    yield History(1, (api, waiting), (there, stop, keep, pulled, there))
    # Another sandbox is made with the new name, and the first one leaves its checkpoints.
    struck_early, orphans = replace(pulled, strikes=(Strike(True, 1, "kill client"),)), Round(remove_orphans=True)
    yield History(1, (api,), (there, stop, keep, struck_early, there, orphans, replace(keep, label="b"), stop, name))
    fork = replace(other, label="b", volumes=True)
    yield History(
        1, (plain,), (there, stop, fork, replace(keep, which=6), Round(action="adopt"), there, stop, restore, there)
    )
    for kind in ("kill client", "cancel client", "fail"):
        for point in range(1, 8):
            struck = (Strike(True, point, kind),)
            yield History(1, (plain,), (there, stop, keep, replace(restore, strikes=struck), there))
            yield History(1, (plain,), (there, stop, keep, Round(action="drop checkpoint", strikes=struck), there))
            yield History(1, (plain,), (there, stop, replace(other, label="b", volumes=True, strikes=struck), there))
            yield History(1, (api, waiting), (there, stop, replace(name, strikes=struck), name, there))
