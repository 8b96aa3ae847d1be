"""Sandboxes that commands make: what `run` and `create` are asked for becomes a file with one sandbox, then a plan.

There are two roads to a sandbox that runs. One that does not exist is made from the command's text; one that exists is
never remade: it keeps its template, its workspaces and its policy, and only what its agent's services bring along
(a key that is in the environment now, hosts of a newer definition) is brought up to date, at once.
"""

import argparse
import copy
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sandboxfile import pipeline
from sandboxfile.cli.applying import fit_of, plan_and_apply
from sandboxfile.cli.choosing import Chosen
from sandboxfile.cli.editing import same_meaning
from sandboxfile.cli.project import WrongFile, show_problems, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import harmless
from sandboxfile.errors import SandboxfileError, StaleError, StateError
from sandboxfile.host.durable import write_atomic
from sandboxfile.host.layout import LOCK_FILE, SANDBOX_FILES, Layout
from sandboxfile.host.project_files import OVERRIDE_FILES
from sandboxfile.host.statedir import read_record
from sandboxfile.host.variables import DOT_ENV
from sandboxfile.model.desired import DesiredSandbox, DesiredState, Mode
from sandboxfile.model.observed import Applied
from sandboxfile.model.plan import Plan, PlanOptions
from sandboxfile.model.policy import Policy
from sandboxfile.names import NAME_LIMIT, UNMANAGED, SandboxId, name_from
from sandboxfile.policy.implied import is_implied, settled, without_implied
from sandboxfile.resolve.render import to_yaml
from sandboxfile.resolve.unmanaged import unmanaged_text

# What in a workspace could be loaded later: an agent must not widen its own policy.
PROTECTED = (*SANDBOX_FILES, LOCK_FILE, *OVERRIDE_FILES, DOT_ENV)
_ATTEMPTS = 20  # how often others at work on sandboxes of their own may be first
_MODES: tuple[Mode, ...] = ("ro", "rw")


@dataclass(frozen=True, slots=True)
class Directory:
    """A workspace as typed: absolute, symlinks not followed."""

    path: Path
    mode: Mode = "rw"

    @property
    def real(self) -> str:
        return str(self.path.resolve())


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. Empty is not given. `resources` as in the file: `{"memory": "4GiB"}`."""

    agent: str
    directories: tuple[Directory, ...]
    explicit: bool = False  # the directories were typed
    name: str = ""
    template: Chosen | None = None
    policy: Chosen | None = None
    resources: Mapping[str, int | str] = field(default_factory=dict)
    git_identity: bool = True


class _Taken(Exception):
    """Somebody else made a sandbox of this name since we looked."""


def directory(text: str) -> Directory:
    """Read `PATH[:ro|rw]`. Raises SandboxfileError when there is no such directory."""
    path, colon, last = text.rpartition(":")
    mode: Mode = "rw"
    if colon and last in _MODES:
        mode = "ro" if last == "ro" else "rw"
    else:
        path = text
    found = Path(path).expanduser()
    if not path or not found.is_dir():
        missing = "there is no directory" if not found.exists() else "this is no directory:"
        raise SandboxfileError(f"{missing} {path or '(empty)'}", hint="a workspace is PATH or PATH:ro")
    return Directory(Path(os.path.abspath(found)), mode)  # noqa: PTH100 - `..` is text, as in a sandbox file


# --- the text ----------------------------------------------------------------------------------------------------


def text_of(wish: Wish, name: str) -> str:
    """The sandbox file that the command stands for."""
    chosen = [each for each in (wish.template, wish.policy) if each is not None]
    carried: dict[str, Any] = {
        "templates": {name: level for each in chosen for name, level in each.templates.items()},
        "policies": {name: policy for each in chosen for name, policy in each.policies.items()},
    }
    extra: dict[str, Any] = {"workspaces": [_workspace(each, chosen) for each in wish.directories]}
    if wish.policy is not None:
        extra["policy"] = wish.policy.name
    if wish.resources:
        extra["resources"] = dict(wish.resources)
    if wish.git_identity:
        extra["git"] = "host"
    template = str(wish.template.name) if wish.template is not None else ""
    definitions = to_yaml({section: found for section, found in carried.items() if found})
    return definitions + unmanaged_text(name, wish.agent, (), template, extra=extra)


def _workspace(wanted: Directory, chosen: list[Chosen]) -> dict[str, Any]:
    fields: dict[str, Any] = {"source": str(wanted.path), "mode": wanted.mode}
    files = [each.file for each in chosen if each.file is not None and each.file.is_relative_to(wanted.path)]
    # What is not there yet is protected as soon as it is noticed.
    inside = {*PROTECTED, *(str(file.relative_to(wanted.path)) for file in files)}
    return {**fields, "protect": sorted(inside)} if wanted.mode == "rw" else fields


def load(wish: Wish, name: str, console: Console, *, quiet: bool = False) -> DesiredState:
    """What the command asks for, resolved; shows what is wrong with it. Raises WrongFile."""
    files = [each.file for each in (wish.template, wish.policy) if each is not None and each.file is not None]
    loaded = pipeline.load_command(text_of(wish, name), this_layout(), *files[:1])
    if loaded.desired is None or not quiet:
        show_problems(loaded, console)
    if loaded.desired is None:
        raise WrongFile("no such sandbox can be made; nothing was changed")
    chosen = (file for each in (wish.template, wish.policy) if each is not None for file in each.contents)
    return replace(loaded.desired, files=tuple(dict.fromkeys((*loaded.desired.files, *chosen))))


# --- which sandbox -----------------------------------------------------------------------------------------------


def settle(wish: Wish, layout: Layout) -> tuple[SandboxId, Applied | None]:
    """The sandbox that is meant: one that exists, with its record, or a name that is free. Raises StateError."""
    if wish.name:
        id = SandboxId(UNMANAGED, wish.name)
        return id, _record(id, layout)
    wanted = name_from(f"{wish.agent}-{wish.directories[0].path.name}")
    for name in _numbered(wanted):
        id = SandboxId(UNMANAGED, name)
        try:
            found = _record(id, layout)
        except StateError:
            continue  # whatever that is, it is not to be disturbed
        if found is None or _belongs(wish, found.spec):
            return id, found
    raise AssertionError("unreachable")


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        end = f"-{number}"
        yield name[: NAME_LIMIT - len(end)] + end
        number += 1


def _record(id: SandboxId, layout: Layout) -> Applied | None:
    paths = layout.sandbox(id)
    return read_record(paths) if paths.root.exists() else None


def _belongs(wish: Wish, spec: DesiredSandbox) -> bool:
    """Whether a sandbox with an automatic name is the one that is meant."""
    first = spec.workspaces[0].source if spec.workspaces else ""
    return spec.agent == wish.agent and first == wish.directories[0].real


def check_agreement(wish: Wish, id: SandboxId, found: DesiredSandbox, console: Console) -> None:
    """Raise SandboxfileError when a sandbox that exists is not as asked for, with all that differs."""
    differences = list(_differences(wish, id, found, console))
    if differences:
        raise SandboxfileError(
            f"the sandbox {id} exists, and {'; '.join(differences)}",
            hint=f"come back to it as it is: sbx run {id}; make another: --name; delete it: sbx rm {id}",
        )


def _differences(wish: Wish, id: SandboxId, found: DesiredSandbox, console: Console) -> Iterator[str]:
    if found.agent != wish.agent:
        yield f"its agent is {found.agent}, not {wish.agent} (it is fixed when a sandbox is made)"
        return
    wanted = [(each.real, each.mode) for each in wish.directories]
    there = [(each.source, each.mode) for each in found.workspaces]
    if (wish.explicit or wish.name) and wanted != there:
        yield f"its workspaces are {_listed(there)}, not {_listed(wanted)}"
    if not (wish.template or wish.policy or wish.resources):
        return
    (spec,) = load(wish, id.name, console, quiet=True).sandboxes
    if wish.template is not None and spec.template != found.template:
        yield f"its template is {found.template}, not {spec.template}"
    if wish.policy is not None and not same_meaning(_chosen(spec.policy), _chosen(found.policy)):
        yield "its policy is another one (`sbx network proxy` changes it while it runs)"
    for name in wish.resources:
        before, after = getattr(found.resources, name), getattr(spec.resources, name)
        if before != after:
            yield f"it was made with another `{name}` ({before}, not {after})"


def _listed(workspaces: list[tuple[str, Mode]]) -> str:
    return ", ".join(f"{path}:ro" if mode == "ro" else path for path, mode in workspaces) or "none"


def _chosen(policy: Policy) -> Policy:
    """What somebody chose of it: neither enforced layers, nor what comes with the agent."""
    return Policy((without_implied(policy.own),))


# --- making it run -----------------------------------------------------------------------------------------------


def bring_up(wish: Wish, args: argparse.Namespace, console: Console) -> tuple[SandboxId, int]:
    """Make the sandbox unless it exists, and start it; gives it with the exit code."""
    layout = this_layout()
    for _ in range(_ATTEMPTS):
        id, found = settle(wish, layout)
        try:
            if found is None:
                return id, _make(wish, id, args, console)
            check_agreement(wish, id, found.spec, console)
            return id, resume(id, args, console)
        except (StaleError, _Taken):  # others are at work, on sandboxes of their own as a rule
            continue
    raise StaleError("other sandboxes are made and started all the time", hint="run the same command again")


def _make(wish: Wish, id: SandboxId, args: argparse.Namespace, console: Console) -> int:
    desired = load(wish, id.name, console)
    told: list[str] = []

    async def make_plans() -> list[Plan]:
        plan = await pipeline.make_plan(desired, this_layout(), PlanOptions(only=(id.name,)), fit_of(args))
        if this_layout().sandbox(id).root.exists():  # or it would be changed into ours
            raise _Taken
        for sentence in (sentence for change in plan.changes for sentence in change.reach):
            if sentence not in told:
                console.say(harmless(sentence))
                told.append(sentence)
        return [plan]

    code = plan_and_apply(make_plans, unasked(args), console)
    if (paths := this_layout().sandbox(id)).root.exists():
        write_atomic(paths.command, text_of(wish, id.name).encode())
    return code


def resume(id: SandboxId, args: argparse.Namespace, console: Console) -> int:
    """Start an unmanaged sandbox that exists, unless it runs, with what its agent's services bring along by now."""
    paths = this_layout().sandbox(id)
    spec = read_record(paths).spec
    agent = pipeline.load_command(unmanaged_text(id.name, spec.agent, ()), this_layout())
    if agent.desired is None:
        show_problems(agent, console)
        raise WrongFile(f"{id} was not started")
    (fresh,) = agent.desired.sandboxes
    if not refreshed(spec.policy, fresh.policy).credentials:
        show_problems(agent, console)  # that there is no key

    async def make_plans() -> list[Plan]:
        now = read_record(paths).spec
        if not (paths.disk.exists() and paths.base.exists()):
            hint = f"delete it, and make it anew: sbx rm {id}"
            raise SandboxfileError(f"the disk of {id} has been deleted: it cannot be started again", hint=hint)
        wanted = replace(now, policy=refreshed(now.policy, fresh.policy))
        desired = DesiredState(UNMANAGED, "", (wanted,))
        plan = await pipeline.make_plan(desired, this_layout(), PlanOptions(only=(id.name,)), fit_of(args))
        return [plan] if plan.steps or plan.diagnostics else []

    return plan_and_apply(make_plans, unasked(args), console)


def unasked(args: argparse.Namespace) -> argparse.Namespace:
    """The arguments for what the command itself asks for: done without a question, and told by its progress."""
    changed = copy.copy(args)
    changed.yes, changed.shows_plan = True, False
    return changed


def refreshed(old: Policy, fresh: Policy) -> Policy:
    """The policy of a sandbox with what its agent and the enforced layers bring along as of now; pure.

    A credential that this environment lacks stays: another terminal's has it.
    """
    chosen = without_implied(old.own)
    brought = tuple(rule for rule in fresh.own.allow if is_implied(rule))
    own = settled(replace(chosen, allow=(*chosen.allow, *brought)))
    if frozenset(own.allow) == frozenset(old.own.allow):
        own = old.own
    credentials = {each.name: each for each in (*old.credentials, *fresh.credentials)}
    settings = {name: value for name, value in old.settings if name not in old.placeholders}
    settings |= {each.variable: each.placeholder for each in credentials.values() if each.variable}
    by_name = sorted(credentials.values(), key=lambda each: each.name)
    # Those of a file that its policy was taken from: nobody has lifted them.
    kept = tuple(layer for layer in old.layers[:-1] if not layer.name.startswith(("user ", "machine ")))
    layers = tuple(dict.fromkeys((*fresh.layers[:-1], *kept, own)))
    return Policy(layers, tuple(sorted(settings.items())), tuple(by_name))
