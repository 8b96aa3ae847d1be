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

from sandboxfile.cli import adopting, editing, renaming
from sandboxfile.cli.commands import adopt, checkpoint, fork, rename, restore
from sandboxfile.cli.editing import Proposal
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import NotFoundError, SandboxfileError
from sandboxfile.host.checkpoints import list_checkpoints
from sandboxfile.host.directories import checkpoint_owners
from sandboxfile.host.layout import CHECKPOINTS, Layout, SandboxPaths
from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.model.policy import NO_POLICY, Layer, Policy
from sandboxfile.names import UNMANAGED, SandboxId

from .attempt import ATTEMPT, Attempt
from .checks import Broken
from .driving import Driver
from .fake_files import Kept, beneath, labels_of, story
from .fake_supervisor import Box, Disk
from .files import FORK, OTHERS, adopted_in, renamed_in, waiting_for
from .histories import Round
from .pools import PROJECT

if TYPE_CHECKING:
    from .life import Life

_OF_OTHERS = {"other apply", "delete disk"}
FORKED = SandboxId(UNMANAGED, FORK)
ADOPTED = SandboxId(PROJECT, FORK)
ENFORCED = Layer("user team", "allow", enforced=True)  # by this user's file, since yesterday


@dataclass(frozen=True)
class Before:
    """How all was when a command began: `box` is the sandbox that is meant, when it was not gone; `empty`: `up` had
    nothing to do.
    """

    boxes: dict[SandboxId, Box]
    specs: dict[SandboxId, DesiredSandbox | None]
    box: Box | None
    disk: Disk | None
    labels: frozenset[str]
    runs: bool
    whole: bool
    empty: bool = False


class Keeping:
    """Of one life."""

    def __init__(self, life: "Life") -> None:
        self._life, self._host, self._layout = life, life.host, life.layout
        self._host.may_become, self._host.directories.at_work = self._may_become, self._note_disk
        self._driver, self._round = Driver(), Round()
        self._count = 0
        self._keeps: list[tuple[SandboxId, str]] = []
        self._leaving: set[tuple[SandboxId, str]] = set()
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
        for module in (checkpoint, restore, fork, rename, renaming, adopt, editing):
            patch(module, "this_layout", lambda: self._layout)
        for module in (checkpoint, restore, fork, rename, adopt):
            patch(module, "run_async", lambda work: self._driver.wait(work))
        for module in (checkpoint, restore, fork):
            patch(module, "show_progress", _silent)
        for module in (checkpoint, fork, rename):
            patch(module, "find_sandboxes", self._find)
        for module in (checkpoint, restore, fork):
            patch(module, "find_with_checkpoints", self._find_with_checkpoints)
        for module in (restore, fork, rename, adopt):
            patch(module, "apply_verb", self._apply_verb)
        for module in (checkpoint, restore, fork, renaming, adopt):
            patch(module, "hold_lock", self._host.directories.hold_lock)
        for module in (checkpoint, restore):
            patch(module, "default_label", lambda _: f"at-{self._count}")
        patch(fork, "as_run", _as_run)
        patch(rename, "given_with", lambda _: None)
        patch(renaming, "_edit", self._edit)
        patch(adopt, "proposed", self._proposed)
        patch(adopt, "_is_orphan", self._is_orphan)

    def _find(self, names: list[str], args: Any) -> list[SandboxId]:
        id = SandboxId.parse(names[0])
        if not self._layout.sandbox(id).root.exists():
            raise NotFoundError(f"there is no sandbox {id}")
        return [id]

    def _find_with_checkpoints(self, name: str, args: Any) -> SandboxId:
        id = SandboxId.parse(name)
        return id if labels_of(self._layout.sandbox(id)) else self._find([name], args)[0]

    def _apply_verb(self, verb: Any, ids: Collection[SandboxId], allow_destroy: bool, args: Any, console: Any) -> int:
        code: int = self._driver.wait(lambda: self._life.carry_out_verb(verb, list(ids), self._round))
        return code

    def _edit(
        self, old: SandboxId, name: str, path: Any, given: Any, applied: Any
    ) -> tuple[Proposal | None, Policy | None]:
        """As `rename` reads and edits YAML."""
        if not self._is_in_file(old.name) and self._is_in_file(name):
            return None, None
        proposal = Proposal(*self._edited(renamed_in(self._life.text, old.name, name)), NO_POLICY)
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
        self._keeps, self._leaving, self._comes, self._came = [], set(), [], False
        renames = round.action == "rename"
        before = await self._before(id, quiet and renames, renames)
        command, args = self._command(round, id, before)
        if round.action == "rename" and round.volumes:  # somebody has renamed it there, and it was pulled
            Path(self._life.source).write_text(renamed_in(self._life.text, id.name, args.new))
            self._life.see_text()
        done = False
        if (attempt := ATTEMPT.get()) is not None:
            attempt.begin_steps()
        try:
            code: int = await self._driver.drive(lambda: command(args, _nobody()))
            done = code == 0
        finally:
            self._life.see_text()
            if round.action in ("rename", "adopt"):
                self._follow_name(
                    *((id, SandboxId(PROJECT, args.new)) if round.action == "rename" else (FORKED, ADOPTED))
                )
            self.must_be_whole()
            self._one_of_both(round, before)
            self._tidied_up(round, attempt, before)
            if quiet and not done and self._must_succeed(round, id, before):
                raise Broken(f"{round.action} {id} fails")
        if done:
            await self._is_done(round, args, id, before, quiet=quiet)
        return done

    def _possible(self, round: Round) -> Round:
        """What comes before it, where there is nothing yet to go back to, or to adopt."""
        kept = any(shelf.sure for shelf in self._host.shelves.values())
        if round.action in ("restore", "restore keeping") and not kept:
            return replace(round, action="checkpoint")
        if round.action == "fork" and not kept:
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
        elif round.action != "checkpoint" and (round.action, round.label) != ("fork", "b"):
            shelves = self._host.shelves  # also of those that are gone
            ids = sorted(id for id in shelves if id.project == PROJECT and shelves[id].sure) or ids
        return ids[round.which % len(ids)] if ids else None

    def _is_half(self, id: SandboxId) -> bool:
        """Whether a killed command has moved it, and no more."""
        return id in self._host.boxes and self._layout.sandbox(id).moved_record.exists()

    def _in_file(self, id: SandboxId) -> SandboxId | None:
        """What the file calls it, of those that may be renamed."""
        other = SandboxId(PROJECT, OTHERS.get(id.name, ""))
        if self._is_half(id) and self._is_in_file(other.name) and other not in self._host.boxes:
            return other
        return id if id.name in OTHERS and (self._is_in_file(id.name) or self._is_in_file(other.name)) else None

    def _command(
        self, round: Round, id: SandboxId, before: Before
    ) -> tuple[Callable[[Any, Console], int], argparse.Namespace]:
        box, label, shelf = before.box, round.label, self._host.shelf(id)
        common: dict[str, Any] = {"name": str(id), "lock_timeout": round.patience, "yes": True, "list": False}
        common |= {"allow_destroy": round.allow_destroy, "parallel": round.parallel, "file": self._life.source}
        if round.action != "checkpoint" and shelf.sure:
            label = sorted(shelf.sure)[round.which % len(shelf.sure)]
        of_label = [shelf.sure[label]] if label in shelf.sure else []
        match round.action:
            case "checkpoint":
                self._keeps = [(id, label)]
                return checkpoint.run, argparse.Namespace(**common, rm=False, label=label)
            case "drop checkpoint":
                self._leaving = {(id, label)}
                return checkpoint.run, argparse.Namespace(**common, rm=True, label=label)
            case "restore" | "restore keeping":
                self._comes = of_label
                self._keeps = [(id, f"at-{self._count}")]
                self._size = self._size_with(box, of_label)
                return restore.run, argparse.Namespace(**common, keep=round.action != "restore", label=label)
            case "fork":
                chosen = label if round.label == "a" else None
                self._keeps = [] if chosen else [(id, ".fork")]
                self._comes = of_label if chosen else shelf.perhaps.setdefault(".fork", [])
                self._size = self._size_with(box, of_label if chosen else [])
                more = {"new": FORK, "checkpoint": chosen, "no_start": round.volumes}
                return fork.run, argparse.Namespace(**common, **more)
            case "rename":
                return rename.run, argparse.Namespace(**common, new=OTHERS[id.name])
        return adopt.run, argparse.Namespace(**{**common, "name": FORK}, new_name=None)

    async def _before(self, id: SandboxId, plans: bool, renames: bool) -> Before:
        boxes = dict(self._host.boxes)
        box = boxes.get(id, boxes.get(SandboxId(PROJECT, OTHERS.get(id.name, ""))) if renames else None)
        whole = box is None or (box.record is not None and box.disk is not None)
        supervisor = box.supervisor if box is not None else None
        if supervisor is not None:
            whole = whole and supervisor.health == "running" and supervisor.ready_to_work and supervisor.listening
        return Before(
            boxes,
            {id: box.record.spec if box.record is not None else None for id, box in boxes.items()},
            box,
            box.disk if box is not None else None,
            frozenset(self._host.shelf(id).sure),
            supervisor is not None,
            whole,
            plans and await self._life.nothing_to_do(),
        )

    def _note_disk(self) -> None:
        """Of one that runs it is its supervisor that knows what is copied."""
        for id, label in self._keeps:
            found, box = self._host.shelf(id).perhaps.setdefault(label, []), self._host.boxes.get(id)
            if box is not None and box.supervisor is None and box.disk is not None and box.record is not None:
                found.append(box.as_kept)

    def _size_with(self, box: Box | None, kept: list[Kept]) -> int:
        """How large a disk is at least that comes instead."""
        now = [box.record.spec] if box is not None and box.record is not None else []
        return max((spec.resources.disk for spec in (*now, *(each.spec for each in kept))), default=0)

    def _must_succeed(self, round: Round, id: SandboxId, before: Before) -> bool:
        """Whether nothing stands in the way: of what once was struck, something may still be going on."""
        if self.struck or not before.whole:
            return False
        spec = before.box.record.spec if before.box is not None and before.box.record is not None else None
        match round.action:
            case "checkpoint":
                return round.label not in before.labels
            case "drop checkpoint":
                return bool(before.labels)
            case "restore" | "restore keeping":
                protected = spec is not None and spec.protect and not round.allow_destroy and round.action == "restore"
                return spec is not None and bool(before.labels) and not protected and not before.runs
            case "fork":
                free = FORKED not in before.boxes and ADOPTED not in before.boxes
                return free and round.volumes and (round.label == "b" or bool(before.labels))
            case "rename":
                both = {id, SandboxId(PROJECT, OTHERS[id.name])}
                return not before.runs and not both <= before.boxes.keys() and not self._have_both(both)
        both = {FORKED, ADOPTED}
        free = not self._is_in_file(FORK) and not both <= before.boxes.keys()
        return not before.runs and free and not self._have_both(both)

    def _have_both(self, ids: set[SandboxId]) -> bool:
        """Whether there are checkpoints under each of two names."""
        return all(labels_of(self._layout.sandbox(id)) for id in ids)

    # --- what must be --------------------------------------------------------------------------------------------

    def _may_become(self, id: SandboxId, disk: Disk) -> str | None:
        """What is wrong with a disk that a command has put there, if anything is. What was copied is not as it was."""
        for kept in self._comes:
            wanted: Disk = pickle.loads(kept.disk)
            wanted.size = max(wanted.size, self._size)
            if self._round.strikes:  # which others may have made larger meanwhile
                wanted.size = max(wanted.size, disk.size)
            if story(pickle.dumps(wanted)) == story(pickle.dumps(disk)):
                self._came = True
                box = self._host.boxes.get(id)
                of_other_setup = box is None or box.record is None or box.record.spec.setup != kept.spec.setup
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
        owners = {SandboxId(*owner) for owner in checkpoint_owners(self._layout)}
        for id in sorted(self._host.shelves.keys() | owners):
            self._shelf_must_be_whole(id)

    def _shelf_must_be_whole(self, id: SandboxId) -> None:
        paths, shelf = self._layout.sandbox(id), self._host.shelf(id)
        there = labels_of(paths)
        for label in sorted(shelf.sure.keys() - there):
            if (id, label) not in self._leaving:
                raise Broken(f"the checkpoint {label} of {id} is gone")
            del shelf.sure[label]
            shelf.perhaps.pop(label, None)
        listed = {each.label: each.applied.spec for each in list_checkpoints(paths)} if there else {}
        if listed.keys() != there:
            raise Broken(f"of {id} {[*listed]} are listed, and there are {there}")
        for label, spec in sorted(listed.items()):
            found = self._disk_in(paths.checkpoints / label)
            allowed = [shelf.sure[label]] if label in shelf.sure else shelf.perhaps.get(label, [])
            kept = next((kept for kept in reversed(allowed) if story(kept.disk) == found), None)
            if kept is None:
                raise Broken(f"nobody made the checkpoint {label} of {id} as it is")
            if _lasting(spec) != _lasting(kept.spec):
                raise Broken(f"the record of the checkpoint {label} of {id} is of another time")
            shelf.sure[label] = replace(kept, spec=spec)

    def _disk_in(self, place: Path) -> tuple[Any, ...]:
        """The disk of a checkpoint, and what it stands on."""
        there = SandboxPaths(place, place)
        try:
            content = there.disk.read_bytes()
            digests = {path.read_text() for path in beneath(there)}
        except OSError as exc:
            raise Broken(f"half a checkpoint {place}: {exc}") from exc
        try:
            disk: Disk = pickle.loads(content)
        except (ValueError, EOFError, pickle.UnpicklingError) as exc:
            raise Broken(f"half a disk in the checkpoint {place}: {exc}") from exc
        _check(digests == {disk.image}, f"the disk of the checkpoint {place} stands on {digests}")
        return story(content)

    def _follow_name(self, one: SandboxId, other: SandboxId) -> None:
        """Checkpoints go with a sandbox that is called otherwise, all of them; back, when that is undone."""
        shelves = self._host.shelves
        for old, new in ((one, other), (other, one)):
            there, wanted = (labels_of(self._layout.sandbox(id)) for id in (old, new))
            if self._host.shelf(old).sure and not there and wanted and not self._host.shelf(new).sure:
                shelves[new] = shelves.pop(old)
                return

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
        meant, alone = before.box, not self._life.others and not _OF_OTHERS & {each.kind for each in round.strikes}
        if meant is not None and before.disk is not None and alone:
            there = meant in self._host.boxes.values() and meant.disk is not None
            _check(there, f"{meant.record and meant.record.spec.id} has neither the one disk nor the other")
        for id, box in self._host.boxes.items():
            disk, record = box.disk, box.record
            if disk is not None and record is not None and disk.finished is None and not disk.edited:
                if record.setup_done > disk.done:
                    raise Broken(f"the record of {id} claims setup that its disk has not")
                disk.edited = disk.disturbed = disk.disturbed or record.setup_done < disk.done
            if disk is not None and record is not None:
                digests = {path.read_text() for path in beneath(self._layout.sandbox(id))}
                _check(digests == {disk.image}, f"the disk of {id} is one upon {disk.image}, and stands on {digests}")
                _check(record.spec.image.digest == disk.image, f"by its record {id} has another image than its disk")

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

    async def _is_done(
        self, round: Round, args: argparse.Namespace, id: SandboxId, before: Before, *, quiet: bool
    ) -> None:
        shelf = self._host.shelf(id)
        match round.action:
            case "checkpoint":
                _check(args.label in shelf.sure, f"{id} has no checkpoint {args.label}")
            case "drop checkpoint":
                _check(args.label not in shelf.sure, f"{id} has the checkpoint {args.label}")
            case "restore" | "restore keeping":
                self._is_restored(args, id, before, quiet=quiet)
            case "fork":
                self._is_forked(args, id, before)
            case "rename":
                await self._is_renamed(id, SandboxId(PROJECT, args.new), before)
            case "adopt":
                await self._is_adopted(before)

    def _is_restored(self, args: argparse.Namespace, id: SandboxId, before: Before, *, quiet: bool) -> None:
        box = self._host.boxes.get(id)
        _check(before.box is not None, f"{id} is restored, and was gone")
        if box is None or box is not before.box:
            return
        _check(self._came or story(box.content) == self._grown(), f"{id} has not the disk of {args.label}")
        runs = box.supervisor is not None or bool(self._round.strikes)
        _check(runs or not before.runs, f"{id} ran before it was restored")
        kept = self._host.shelf(id).sure.keys() - before.labels
        _check(len(kept) == args.keep, f"restore has kept {kept} of {id}")
        spec = before.specs[id]
        protected = spec is not None and spec.protect and not args.allow_destroy
        _check(args.keep or not protected, f"the protected disk of {id} is lost")
        if quiet and spec is not None:
            wanted, now = with_disk_of(spec, self._comes[0].spec), box.record and box.record.spec
            _check(now == wanted, f"{id} is restored as {now}, not as {wanted}")

    def _grown(self) -> tuple[Any, ...]:
        wanted: Disk = pickle.loads(self._comes[0].disk)
        wanted.size = max(wanted.size, self._size)
        return story(pickle.dumps(wanted))

    def _is_forked(self, args: argparse.Namespace, id: SandboxId, before: Before) -> None:
        box, old, was = self._host.boxes.get(FORKED), before.specs.get(id), self._comes[0].spec if self._comes else None
        if args.checkpoint is not None and was is not None:
            old = with_disk_of(old, was) if old is not None else was
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
        _check(box is not None and box.disk is before.disk, f"{new} has not the disk of {old}")
        _check(not self._host.shelf(old).sure, f"checkpoints of {new} are those of {old} still")
        _check(self._is_in_file(new.name) and not self._is_in_file(old.name), f"the file does not have {new}")
        for id, was in before.specs.items():
            now = self._host.boxes.get(id)
            if not was or now is None or now.record is None or now.supervisor is not None or self._round.strikes:
                continue
            _check(now.record.spec == waiting_for(was, old.name, new.name), f"{id} waits for {old} still")
        _check(not before.empty or await self._life.nothing_to_do(), f"{old} is {new}, and there is something to do")

    async def _is_adopted(self, before: Before) -> None:
        _check(self._host.boxes.get(ADOPTED) is before.box, "it is not adopted")
        _check(before.box is not None and before.box.disk is before.disk, "what is adopted has another disk")
        _check(not self._host.shelf(FORKED).sure, "checkpoints of what is adopted are left behind")
        _check(FORKED not in self._host.boxes and self._is_in_file(FORK), "the file does not have what is adopted")
        _check(await self._life.keeps(FORK), "what is adopted is to be made anew")


def no_leftovers(layout: Layout) -> None:
    """Nothing is in the directories of the project that nobody would ever look for again. Raises Broken."""
    wanted = {
        "lock",
        "record.json",
        "moved.json",
        "disk.qcow2",
        "base.ext4",
        "tree.gz",
        "image.json",
        "asleep",
        "copied",
    }
    if half := [str(entry) for entry in layout.sandboxes.glob(f"{PROJECT}/{CHECKPOINTS}/*/.*")]:
        raise Broken(f"left of checkpoints: {half}")
    for root in layout.sandboxes.glob(f"{PROJECT}/*"):
        if root.name == CHECKPOINTS:
            continue
        found = {entry.name for entry in root.iterdir()} - wanted | ({root.name} if root.name[0] == "." else set())
        if found := {name for name in found if not name.startswith((".record.json.", ".moved.json."))}:
            raise Broken(f"left in {root}: {found}")
    if any(layout.trash.iterdir()):
        raise Broken("the trash is full")


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)


def _lasting(spec: DesiredSandbox) -> tuple[Any, ...]:
    """What does not change as long as a disk is kept and its setup is not edited."""
    return spec.image.digest, spec.agent, spec.setup


def with_disk_of(spec: DesiredSandbox, was: DesiredSandbox) -> DesiredSandbox:
    """What a sandbox is with a disk that is from when it was so: what comes of another image is as it was then."""
    size = max(spec.resources.disk, was.resources.disk)
    now = replace(spec, resources=replace(spec.resources, disk=size))
    if (spec.image, spec.agent) == (was.image, was.agent):
        return now
    return replace(now, template=was.template, image=was.image, user=was.user, docker=was.docker, agent=was.agent)


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
