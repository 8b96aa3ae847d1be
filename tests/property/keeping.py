"""Commands that work on the files of sandboxes: checkpoint, restore, fork, rename and adopt, as they are.

What is put in the place of something: what names mean, the text of the sandbox file, plans of `stop` and `start`
(which are made and looked at as others are), and what is enforced now. What must be is found here, from what was there.
"""

import argparse
import io
import json
import pickle
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from sandboxfile.cli import adopting, editing
from sandboxfile.cli.commands import adopt, checkpoint, fork, rename, restore
from sandboxfile.cli.editing import Proposal
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import NotFoundError, SandboxfileError
from sandboxfile.host.checkpoints import list_checkpoints
from sandboxfile.host.layout import Layout
from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.model.policy import NO_POLICY, Layer, Policy
from sandboxfile.names import UNMANAGED, SandboxId

from .attempt import ATTEMPT, Attempt
from .checks import Broken
from .driving import Driver
from .fake_files import Kept, labels_of, story
from .fake_supervisor import Box, Disk
from .files import FORK, OTHERS, adopted_in, renamed_in, waiting_for
from .histories import Round
from .pools import PROJECT

if TYPE_CHECKING:
    from .life import Life

FORKED = SandboxId(UNMANAGED, FORK)
ADOPTED = SandboxId(PROJECT, FORK)
ENFORCED = Layer("user team", "allow", enforced=True)  # by this user's file, since yesterday


@dataclass(frozen=True)
class Before:
    """How all was when a command began: `box` is the sandbox that is meant; `empty`: `up` had nothing to do."""

    boxes: dict[SandboxId, Box]
    specs: dict[SandboxId, DesiredSandbox | None]
    box: Box
    disk: Disk | None
    labels: frozenset[str]
    runs: bool
    whole: bool
    empty: bool = False


class Keeping:
    """Of one life."""

    def __init__(self, life: "Life") -> None:
        self._life, self._host, self._layout = life, life.host, life.layout
        self._host.may_become = self._may_become
        self._driver, self._round = Driver(), Round()
        self._count = 0
        self._leaving: set[str] = set()  # labels
        self._comes: list[Kept] = []  # what the disk may be instead, and of what size
        self._size = 0
        self._came = False
        self.struck = False
        self._messy = False  # since somebody was killed in the middle of something

    # --- what is put in the place of something -------------------------------------------------------------------

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Let the commands work on this host."""
        with pytest.MonkeyPatch.context() as patch:
            self._patch(patch.setattr)
            yield

    def _patch(self, patch: Callable[[Any, str, Any], None]) -> None:
        for module in (checkpoint, restore, fork, rename, adopt, editing):
            patch(module, "this_layout", lambda: self._layout)
        for module in (checkpoint, restore, fork, rename, adopt):
            patch(module, "run_async", lambda work: self._driver.wait(work))
        for module in (checkpoint, restore, fork):
            patch(module, "show_progress", _silent)
        for module in (checkpoint, restore, fork, rename):
            patch(module, "find_sandboxes", self._find)
        for module in (restore, fork, rename, adopt):
            patch(module, "apply_verb", self._apply_verb)
        for module in (checkpoint, restore, fork, rename, adopt):
            patch(module, "hold_lock", self._host.directories.hold_lock)
        for module in (checkpoint, restore):
            patch(module, "default_label", lambda _: f"at-{self._count}")
        patch(fork, "as_run", _as_run)
        patch(rename, "_edit", self._edit)
        patch(adopt, "proposed", self._proposed)
        patch(adopt, "_is_orphan", self._is_orphan)

    def _find(self, names: list[str], args: Any) -> list[SandboxId]:
        id = SandboxId.parse(names[0])
        if not self._layout.sandbox(id).root.exists():
            raise NotFoundError(f"there is no sandbox {id}")
        return [id]

    def _apply_verb(self, verb: Any, ids: Collection[SandboxId], allow_destroy: bool, args: Any, console: Any) -> int:
        code: int = self._driver.wait(lambda: self._life.carry_out_verb(verb, list(ids), self._round))
        return code

    def _edit(self, old: SandboxId, args: Any, applied: Any, console: Any) -> tuple[Proposal, Policy | None]:
        """As `rename` reads and edits YAML."""
        proposal = Proposal(*self._edited(renamed_in(self._life.text, old.name, args.new)), NO_POLICY)
        spec = next((spec for spec in self._life.file if spec.id.name == old.name), None)
        if spec is None:
            raise SandboxfileError("no such sandbox in the file")
        return proposal, spec.policy if spec.policy == applied.spec.policy else None

    def _proposed(self, id: SandboxId, path: Path, args: Any, console: Any) -> adopting.Adoption:
        """As `adopt` reads and edits YAML."""
        applied = self._host.boxes[id].record
        if self._is_in_file(FORK) or applied is None or (id != ADOPTED and ADOPTED in self._host.boxes):
            raise SandboxfileError("it cannot be written into the file")
        proposal = Proposal(*self._edited(adopted_in(self._life.text)), NO_POLICY)
        desired = replace(self._life.desired, sandboxes=(*self._life.file, replace(applied.spec, id=ADOPTED)))
        return adopting.Adoption(ADOPTED, proposal, desired, applied)

    def _is_orphan(self, id: SandboxId, path: Path) -> bool:
        return self._layout.sandbox(id).moved_record.exists() and not self._is_in_file(id.name)

    def _is_in_file(self, name: str) -> bool:
        return any(spec.id.name == name for spec in self._life.file)

    def _edited(self, text: str) -> tuple[Path, bytes, bytes]:
        return Path(self._life.source), self._life.text.encode(), text.encode()

    # --- the commands --------------------------------------------------------------------------------------------

    async def run(self, round: Round, *, quiet: bool) -> bool | None:
        """Do what the round says, and see that it is done, or not done. None: there is nothing to do it to."""
        self._host.directories.write_all()
        round = self._possible(round)
        id = self._target(round)
        if id is None:
            return None
        self._round, self._driver, self._count = round, Driver(), self._count + 1
        self._leaving, self._comes, self._came = set(), [], False
        before = await self._before(id, quiet and round.action == "rename")
        command, args = self._command(round, id, before)
        done = False
        if (attempt := ATTEMPT.get()) is not None:
            attempt.begin_steps()
        try:
            done = await self._driver.drive(lambda: command(args, _nobody())) == 0
        finally:
            self._life.see_text()
            self.must_be_whole()
            self._one_of_both(round, before)
            self._tidied_up(round, attempt, before)
            if quiet and not done and self._must_succeed(round, id, before):
                raise Broken(f"{round.action} {id} fails")
        if done:
            await self._is_done(round, args, id, before)
        return done

    def _possible(self, round: Round) -> Round:
        """What comes before it, where there is nothing yet to go back to, or to adopt."""
        if round.action in ("restore", "restore keeping") and not any(box.sure for box in self._host.boxes.values()):
            return replace(round, action="checkpoint")
        if round.action == "fork" and not any(box.sure for box in self._host.boxes.values()):
            return replace(round, label="b")
        if round.action == "adopt" and FORKED not in self._host.boxes and not self._is_half(ADOPTED):
            return replace(round, action="fork", label="b")
        return round

    def _target(self, round: Round) -> SandboxId | None:
        """Which sandbox is meant."""
        boxes = self._host.boxes
        if round.action == "adopt":
            return FORKED if FORKED in boxes else ADOPTED if self._is_half(ADOPTED) else None
        ids = sorted(id for id in boxes if id.project == PROJECT)
        if round.action == "rename":
            ids = [id for id in map(self._in_file, ids) if id is not None]
        elif round.which == 6 and FORKED in boxes:
            ids = [FORKED]
        elif round.action != "checkpoint":
            ids = [id for id in ids if boxes[id].sure] or ids
        return ids[round.which % len(ids)] if ids else None

    def _is_half(self, id: SandboxId) -> bool:
        """Whether a killed command has moved it, and no more."""
        return id in self._host.boxes and self._layout.sandbox(id).moved_record.exists()

    def _in_file(self, id: SandboxId) -> SandboxId | None:
        """What the file calls it, of those that may be renamed."""
        if id.name in OTHERS and self._is_in_file(id.name):
            return id
        old = SandboxId(PROJECT, OTHERS.get(id.name, ""))
        return old if self._is_half(id) and self._is_in_file(old.name) and old not in self._host.boxes else None

    def _command(
        self, round: Round, id: SandboxId, before: Before
    ) -> tuple[Callable[[Any, Console], int], argparse.Namespace]:
        box, label = before.box, round.label
        common: dict[str, Any] = {"name": str(id), "lock_timeout": round.patience, "yes": True, "list": False}
        common |= {"allow_destroy": round.allow_destroy, "parallel": round.parallel, "file": self._life.source}
        if round.action != "checkpoint" and box.sure:
            label = sorted(box.sure)[round.which % len(box.sure)]
        self._size = box.record.spec.resources.disk if box.record is not None else 0
        match round.action:
            case "checkpoint":
                _may_be_kept(box, label)
                return checkpoint.run, argparse.Namespace(**common, rm=False, label=label)
            case "drop checkpoint":
                self._leaving = {label}
                return checkpoint.run, argparse.Namespace(**common, rm=True, label=label)
            case "restore" | "restore keeping":
                self._comes = [box.sure[label]] if label in box.sure else []
                _may_be_kept(box, f"at-{self._count}")
                return restore.run, argparse.Namespace(**common, keep=round.action != "restore", label=label)
            case "fork":
                chosen = label if round.label == "a" else None
                _may_be_kept(box, ".fork")
                self._comes = ([box.sure[label]] if label in box.sure else []) if chosen else box.perhaps[".fork"]
                more = {"new": FORK, "checkpoint": chosen, "no_start": round.volumes}
                return fork.run, argparse.Namespace(**common, **more)
            case "rename":
                return rename.run, argparse.Namespace(**common, new=OTHERS[id.name])
        return adopt.run, argparse.Namespace(**{**common, "name": FORK}, new_name=None)

    async def _before(self, id: SandboxId, plans: bool) -> Before:
        boxes = dict(self._host.boxes)
        box = boxes[id] if id in boxes else boxes[SandboxId(PROJECT, OTHERS[id.name])]
        whole = box.record is not None and box.disk is not None
        if (supervisor := box.supervisor) is not None:
            whole = whole and supervisor.health == "running" and supervisor.ready_to_work and supervisor.listening
        return Before(
            boxes, {id: box.record and box.record.spec for id, box in boxes.items()}, box, box.disk,
            frozenset(box.sure), supervisor is not None, whole, plans and await self._life.nothing_to_do(),
        )  # fmt: skip

    def _must_succeed(self, round: Round, id: SandboxId, before: Before) -> bool:
        """Whether nothing stands in the way: of what once was struck, something may still be going on."""
        if self.struck or not before.whole or before.box.record is None:
            return False
        match round.action:
            case "checkpoint":
                return round.label not in before.labels
            case "drop checkpoint":
                return bool(before.labels)
            case "restore" | "restore keeping":
                protected = before.box.record.spec.protect and not round.allow_destroy and round.action == "restore"
                return bool(before.labels) and not protected and not before.runs
            case "fork":
                free = FORKED not in before.boxes and ADOPTED not in before.boxes
                return free and round.volumes and (round.label == "b" or bool(before.labels))
            case "rename":
                return not before.runs and not {id, SandboxId(PROJECT, OTHERS[id.name])} <= before.boxes.keys()
        return not before.runs and not self._is_in_file(FORK) and not {FORKED, ADOPTED} <= before.boxes.keys()

    # --- what must be --------------------------------------------------------------------------------------------

    def _may_become(self, id: SandboxId, disk: Disk) -> str | None:
        """What is wrong with a disk that a command has put there, if anything is. What was copied is not as it was."""
        for kept in self._comes:
            wanted: Disk = pickle.loads(kept.disk)
            wanted.size = max(wanted.size, self._size)
            if story(pickle.dumps(wanted)) == story(pickle.dumps(disk)):
                self._came = True
                box = self._host.boxes.get(id)
                of_other_setup = box is None or box.record is None or box.record.spec.setup != kept.setup
                if disk.finished is None and (of_other_setup or self._round.strikes):
                    disk.disturbed = disk.edited = True
                return None
        return f"{id} has a disk that nobody asked for"

    def must_be_whole(self) -> None:
        """Each checkpoint is one that somebody made, with its disk; none has gone; and what is listed is that."""
        machines: dict[int, SandboxId] = {}
        for id, box in self._host.boxes.items():
            if box.disk is not None and box.disk.machine and not self._layout.sandbox(id).copied.exists():
                other = machines.setdefault(box.disk.machine, id)
                _check(other == id, f"{id} and {other} take themselves for the same machine")
            there = labels_of(self._layout.sandbox(id))
            for label in sorted(box.sure.keys() - there):
                if label not in self._leaving:
                    raise Broken(f"the checkpoint {label} of {id} is gone")
                del box.sure[label]
            for label in sorted(there):
                self._must_be_one(id, box, label)
            listed = {each.label for each in list_checkpoints(self._layout.sandbox(id))} if there else set()
            if listed != there:
                raise Broken(f"of {id} {listed} are listed, and there are {there}")

    def _must_be_one(self, id: SandboxId, box: Box, label: str) -> None:
        place = self._layout.sandbox(id).checkpoints / label
        try:
            found, record = story((place / "disk.qcow2").read_bytes()), json.loads((place / "record.json").read_bytes())
        except (OSError, ValueError, EOFError, pickle.UnpicklingError) as exc:
            raise Broken(f"half a checkpoint {label} of {id}: {exc}") from exc
        allowed = [box.sure[label]] if label in box.sure else box.perhaps.get(label, [])
        kept = next((kept for kept in reversed(allowed) if story(kept.disk) == found), None)
        if kept is None:
            raise Broken(f"nobody made the checkpoint {label} of {id} as it is")
        if len(record["spec"]["setup"]) != len(kept.setup):
            raise Broken(f"the record of the checkpoint {label} of {id} is of another time")
        box.sure[label] = kept

    def _one_of_both(self, round: Round, before: Before) -> None:
        """Whatever befell it: what was there is there by its own name, or by the one that was asked for; and a record
        claims no setup that its disk has not.
        """
        places = {box.inode: id for id, box in self._host.boxes.items()}
        for id, box in before.boxes.items():
            now = places.get(box.inode, id)
            renamed = round.action == "rename" and now == SandboxId(PROJECT, OTHERS.get(id.name, ""))
            if now != id and not renamed and (round.action, id, now) != ("adopt", FORKED, ADOPTED):
                raise Broken(f"{id} is called {now}")
        for id, box in self._host.boxes.items():
            disk, record = box.disk, box.record
            if disk is not None and record is not None and disk.finished is None and not disk.edited:
                if record.setup_done > disk.done:
                    raise Broken(f"the record of {id} claims setup that its disk has not")
                disk.edited = disk.disturbed = disk.disturbed or record.setup_done < disk.done

    def _tidied_up(self, round: Round, attempt: Attempt | None, before: Before) -> None:
        """Who is not killed leaves nothing half done. A supervisor goes on copying for who is not there any more."""
        assert attempt is not None
        self._messy |= attempt.killed or self._host.died_in_copying
        self._messy |= bool(round.strikes) and (before.runs or (attempt.failures > 0 and round.action == "fork"))
        if self._messy:
            return
        no_leftovers(self._layout)
        for id in filter(self._is_half, self._host.boxes):
            named = json.loads(self._layout.sandbox(id).moved_record.read_bytes())["spec"]["id"]["name"]
            if named != id.name or not self._is_in_file(named):
                raise Broken(f"{id} was to be called {named}, and that is neither done nor undone")

    async def _is_done(self, round: Round, args: argparse.Namespace, id: SandboxId, before: Before) -> None:
        box = self._host.boxes.get(id)
        match round.action:
            case "checkpoint":
                _check(box is None or args.label in box.sure, f"{id} has no checkpoint {args.label}")
            case "drop checkpoint":
                _check(box is None or args.label not in box.sure, f"{id} has the checkpoint {args.label}")
            case "restore" | "restore keeping":
                self._is_restored(args, id, before)
            case "fork":
                self._is_forked(args, id, before)
            case "rename":
                await self._is_renamed(id, SandboxId(PROJECT, args.new), before)
            case "adopt":
                await self._is_adopted(before)

    def _is_restored(self, args: argparse.Namespace, id: SandboxId, before: Before) -> None:
        box = self._host.boxes.get(id)
        if box is not before.box:
            return
        _check(self._came or story(box.content) == self._grown(), f"{id} has not the disk of {args.label}")
        runs = box.supervisor is not None or bool(self._round.strikes)
        _check(runs or not before.runs, f"{id} ran before it was restored")
        kept = box.sure.keys() - before.labels
        _check(len(kept) == args.keep, f"restore has kept {kept} of {id}")
        spec = before.specs[id]
        protected = spec is not None and spec.protect and not args.allow_destroy
        _check(args.keep or not protected, f"the protected disk of {id} is lost")

    def _grown(self) -> tuple[Any, ...]:
        wanted: Disk = pickle.loads(self._comes[0].disk)
        wanted.size = max(wanted.size, self._size)
        return story(pickle.dumps(wanted))

    def _is_forked(self, args: argparse.Namespace, id: SandboxId, before: Before) -> None:
        box, old = self._host.boxes.get(FORKED), before.specs[id]
        if box is None or box.record is None or old is None:
            raise Broken(f"{id} is not forked")
        policy = box.record.spec.policy
        wanted = replace(
            old, id=FORKED, policy=policy, ports=(), mounts=(), depends_on=(), profiles=(), service="", protect=False
        )
        _check(self._came, f"the fork of {id} has no disk of it")
        _check(box.record.spec == wanted, f"the fork of {id} is {box.record.spec}")
        _check(ENFORCED in policy.layers, f"the fork of {id} is not held to what is enforced")
        _check({*old.policy.layers} <= {*policy.layers}, f"the fork of {id} is not held to what {id} is")

    async def _is_renamed(self, old: SandboxId, new: SandboxId, before: Before) -> None:
        box = self._host.boxes.get(new)
        _check(old not in self._host.boxes and box is before.box, f"{old} is not called {new}")
        _check(before.box.disk is before.disk, f"{new} has not the disk of {old}")
        _check(self._is_in_file(new.name) and not self._is_in_file(old.name), f"the file does not have {new}")
        for id, was in before.specs.items():
            now = self._host.boxes.get(id)
            if not was or now is None or now.record is None or now.supervisor is not None or self._round.strikes:
                continue
            _check(now.record.spec == waiting_for(was, old.name, new.name), f"{id} waits for {old} still")
        _check(not before.empty or await self._life.nothing_to_do(), f"{old} is {new}, and there is something to do")

    async def _is_adopted(self, before: Before) -> None:
        _check(self._host.boxes.get(ADOPTED) is before.box, "it is not adopted")
        _check(before.box.disk is before.disk, "what is adopted has another disk")
        _check(FORKED not in self._host.boxes and self._is_in_file(FORK), "the file does not have what is adopted")
        _check(await self._life.keeps(FORK), "what is adopted is to be made anew")


def no_leftovers(layout: Layout) -> None:
    """Nothing is in the directories of the project that nobody would ever look for again. Raises Broken."""
    for root in layout.sandboxes.glob(f"{PROJECT}/*"):
        wanted = {"lock", "record.json", "moved.json", "disk.qcow2", "base.ext4", "tree.gz", "image.json", "asleep"}
        found = {entry.name for entry in root.iterdir()} - wanted - {"checkpoints", "copied"}
        found |= {entry.name for entry in root.glob("checkpoints/.*")} | ({root.name} if root.name[0] == "." else set())
        if found := {name for name in found if not name.startswith((".record.json.", ".moved.json."))}:
            raise Broken(f"left in {root}: {found}")
    if any(layout.trash.iterdir()):
        raise Broken("the trash is full")


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)


def _may_be_kept(box: Box, label: str) -> None:
    """Of one that runs it is its supervisor that knows what is copied."""
    found = box.perhaps.setdefault(label, [])
    if box.supervisor is None and box.disk is not None and box.record is not None:
        found.append(box.as_kept)


def _nobody() -> Console:
    return Console(io.StringIO(), io.StringIO(), io.StringIO())


@asynccontextmanager
async def _silent(console: Console) -> AsyncIterator[Callable[[Any], None]]:
    yield lambda _: None


def _as_run(spec: DesiredSandbox) -> Any:
    """What is enforced now."""
    return SimpleNamespace(
        desired=SimpleNamespace(sandboxes=(SimpleNamespace(policy=Policy((ENFORCED, Layer("own")))),))
    )
