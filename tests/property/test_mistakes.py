"""Deliberate mistakes in what is tested: each must be found by the histories that were thought of, or by chance."""

from functools import cache

import pytest
from hypothesis import Phase, given, settings

from sandboxfile.applying import checkpoints, drivers, executor, journal, machines, storage
from sandboxfile.cli import renaming
from sandboxfile.cli.commands import adopt, fork, restore
from sandboxfile.host import checkpoints as host_checkpoints
from sandboxfile.host import moving, statedir
from sandboxfile.planning import (
    changes,
    ordering,
    project,
    rollback,
    sandbox,
    saved,
    selection,
    snapshot,
    verbs,
    volumes,
)

from .checks import Broken
from .corners import corners, crossroads
from .fake_host import FakeHost
from .fake_supervisor import Supervisor
from .histories import History, histories
from .living import live, strike_everywhere
from .mutation import Mutation, mutated
from .random_lives import COMMON
from .reaching import Line, Way, lines_of, ways


@settings(COMMON, max_examples=1500, derandomize=True, phases=[Phase.generate], report_multiple_bugs=False)
@given(histories())
def search(history: History) -> None:
    """Random lives, and nothing made small of what is found."""
    live(history)


_CHANGE = """\
        _change_stopped(part, spec, found, applied, cause)
"""
_RECORD = """\
        if recorded:
            part.do(f"record {spec.id.name}", UpdateRecord(spec, source), "the next start reads it")
"""

_TELL = """\
    if is_locked(paths.lock):
        await request(paths.control, Update(spec), timeout=_ANSWER_TIMEOUT)
        # An apply may have been killed between a policy and the values for it.
        await self._provide(spec.id, spec.policy.credentials)
"""
_WRITE = """\
    applied = read_record(paths)
    done = setup_done(applied, spec)
    write_record(paths, replace(applied, spec=spec, source=operation.source, setup_done=done))
"""
_SET_POLICY = "await self._request(id, SetPolicy(policy), report)"

ROADS = crossroads()
MUTATIONS = [
    # policies
    Mutation("a policy not set", sandbox._change_live, "if held_to_another(", "if not held_to_another("),
    Mutation("the gateway not asked", changes.held_to_another, "machine.policy != fingerprint(wanted)", "False"),
    Mutation("a policy only said to be set", drivers.HostDrivers._ask, _SET_POLICY, "pass"),
    Mutation(
        "a refusal ignored",
        drivers.HostDrivers._ask,
        _SET_POLICY,
        f"try: {_SET_POLICY}\n            except Exception: pass",
    ),
    Mutation("a record ahead", drivers.HostDrivers._update_record, _TELL + _WRITE, _WRITE + _TELL),
    # ports and secrets
    Mutation("ports forgotten", sandbox._change_live, "if set(listened(applied.spec, machine)) !=", "if None is"),
    Mutation(
        "the record's ports believed", changes.listened, "old.ports if machine is None or", "old.ports if True or"
    ),
    Mutation("new values not told", sandbox._change_live, "in found.stale_secrets)", "in ())"),
    Mutation(
        "values not told at the start", drivers.HostDrivers._start, "values=env_values", "values=() and env_values"
    ),
    # the planner
    Mutation("record first", sandbox._update, _CHANGE + _RECORD, _RECORD + _CHANGE, road=ROADS[12]),
    Mutation(
        "what a supervisor knows not asked", sandbox._goes_by_another, "machine is not None", "False", road=ROADS[10]
    ),
    Mutation("needs dropped", sandbox.Part.do, "(self.steps[-1].key,) if self.steps else ()", "()"),
    Mutation("shared needs dropped", project.assemble, "if key in known)", "if key in known and 'build' not in key)"),
    Mutation("protect ignored", sandbox.guard, "if protected and not allow_destroy", "if False"),
    Mutation("recorded protection ignored", sandbox.guard, "protected = protected or", "protected = protected and"),
    Mutation("a lost disk not said", project.removal, ", loses_disk=True", ""),
    Mutation("a replaced disk not said", sandbox.converge, ", loses_disk=True", ""),
    Mutation("orphans removed unasked", project.plan, "if options.remove_orphans:", "if True:"),
    Mutation("orphans not reported", project._orphans, "if sandbox.id not in wanted", "if False"),
    Mutation("`down` of what is to be protected", project.removal, "found, protected,", "found, False,"),
    Mutation("a shrinking disk accepted", sandbox.converge, "spec.resources.disk < found", "0 > found"),
    Mutation("the record believed, not the machine", changes.attached, "machine.workspaces", "applied.spec.workspaces"),
    Mutation("detaching forgotten", sandbox._change_workspaces, "sorted(there.keys() - wanted.keys())", "()"),
    Mutation("a paused machine left so", sandbox._change_live, 'if found.status == "paused"', "if False"),
    Mutation("an unresponsive one left so", sandbox._restart_cause, '"unresponsive"', '"never"'),
    Mutation("an outdated one left so", sandbox._restart_cause, "if found.outdated else None", "if False else None"),
    Mutation("unfinished setup forgotten", sandbox._update, "setup_done(applied, spec) < len(spec.setup)", "False"),
    Mutation("a main process forgotten", sandbox._finish, "main and spec.command is not None", "False"),
    Mutation("a stopped one's disk not grown", sandbox._change_stopped, "if spec.resources.disk >", "if 0 >"),
    Mutation("a running one's disk not grown", sandbox._change_live, "wanted > min(", "0 > min("),
    Mutation("the record not updated", sandbox._update, "applied.spec != spec or", "False and"),
    Mutation("a deleted disk overlooked", sandbox._replace_cause, "if not found.disk_present", "if False"),
    Mutation("`rm` of what is protected", verbs._part, "allow_destroy, ", "True, "),
    # what is meant
    Mutation("names not respected", selection.select, "if options.only:", "if False:"),
    Mutation(
        "what named ones wait for forgotten", selection._with_dependencies, "pending += [each.name", "_ = [each.name"
    ),
    Mutation("`--replace` ignored", selection.select, "options.replace for replica", "() for replica"),
    Mutation("`--replace` of all", project.plan, "s.id.name in selection.anew", "bool(selection.anew)"),
    Mutation("replicas not meant by their name", selection.meanings, "if spec.service:", "if False:"),
    Mutation("profiles not respected", selection._is_active, "return not spec.profiles or", "return True or"),
    Mutation("an unasked profile not missed", selection._left_out, "each.name not in chosen", "False"),
    Mutation(
        "what has a profile taken for an orphan",
        project._orphans,
        "in desired.sandboxes}",
        "in desired.sandboxes if not spec.profiles}",
    ),
    # what sandboxes share, and what others wait for
    Mutation("a volume left plugged in", sandbox._change_mounts, "superfluous(spec, applied, machine)", "()"),
    Mutation("a volume not plugged in", sandbox._change_mounts, "missing(spec, applied, machine)", "()"),
    Mutation("a volume not made larger", volumes._furnish, "found.size < volume.size", "False"),
    Mutation("a volume taken from who has it", volumes.pass_on, "if needs else step", "if False else step"),
    Mutation("dependents do not wait", ordering._starts, "if begin is not None:", "if False:"),
    Mutation("volumes deleted unasked", project._volumes_too, "or not options.volumes", "or False"),
    Mutation("volumes of others deleted", volumes.delete_volumes, "users.get(name):", "users.get(name) and None:"),
    # saved plans
    Mutation("needs not saved", saved._plan_to_json, '"needs": step.needs', '"needs": ()'),
    Mutation(
        "what does not concern a plan makes it stale", snapshot.snapshot, "sorted(ids)", "sorted(ids | there.keys())"
    ),
    Mutation(
        "a disk may vanish from beneath a plan",
        snapshot._steady,
        "machine=machine)",
        "machine=machine, disk_present=True)",
    ),
    # the way back
    Mutation("what was put aside stays there", rollback._back, "if was.is_same(kept):", "if False:"),
    Mutation("what was made since stays", rollback.plan_rollback, "for each in since]", "for each in since[:0]]"),
    # the executor and the journal
    Mutation("a failed step releases its dependents", executor._Walk.step, "if failed:", "if False:"),
    Mutation("needs not waited for", executor._Walk.step, "await self._ended[need].wait()", "pass"),
    Mutation("the stale check removed", executor.execute, "!= plan.observation", "== ''"),
    Mutation("more at once than allowed", executor._Walk.step, "async with self._turns:", "if True:"),
    Mutation("a failure forgotten", executor._Walk._run, "self.failed[step.key] = exc", "pass"),
    Mutation("begun steps not noted", journal.Journal.note, 'self._write({"begin": key})', "pass"),
    Mutation("the journal left", journal.Journal.__exit__, "self._path.unlink(missing_ok=True)", "pass"),
    # the apply and its drivers
    Mutation("the project's lock not held", statedir._try_lock_once, "fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH"),
    Mutation("the supervisor not told", drivers.HostDrivers._update_record, "if is_locked(paths.lock):", "if False:"),
    Mutation("setup begun anew", drivers.HostDrivers._have_run, ".setup_done\n", ".setup_done * 0\n", road=ROADS[17]),
    Mutation("setup counted wrong", drivers.HostDrivers._update_record, "setup_done=done", "setup_done=0"),
    Mutation("a hanging supervisor spared", machines.stop, "kill_holder(paths.lock)", "pass"),
    Mutation(
        "readiness not waited for",
        machines.start,
        "await request(paths.control, WaitReady(), showing(report), timeout=_READY_TIMEOUT)",
        "pass",
    ),
    Mutation("done setup not recorded", Supervisor._run_setup, "self._record_setup_done(index + 1)", "pass"),
    # checkpoints, forks, other names
    Mutation("a copy of a disk that moved", host_checkpoints.make_checkpoint, "if not undisturbed():", "if False:"),
    Mutation(
        "a checkpoint given away",
        host_checkpoints.coming_disk,
        "copy_file(checkpoint.paths.disk, coming)",
        "checkpoint.paths.disk.rename(coming)",
    ),
    Mutation(
        "a record ahead of its disk", host_checkpoints.put_in_place, "if setup_done < applied", "if None is applied"
    ),
    Mutation(
        "half a checkpoint left", host_checkpoints.remove_checkpoint, "target.rename(hidden)", "shutil.rmtree(target)"
    ),
    Mutation("a running disk copied from outside", checkpoints.checkpoint, "if is_locked(paths.lock):", "if 0:"),
    Mutation(
        "a restored disk too small", checkpoints._put_disk, "await grow_disk(coming, spec.resources.disk)", "pass"
    ),
    Mutation("a fork that is its origin", checkpoints.fork, "new.copied.touch()", "pass"),
    Mutation("halves of disks left", storage.sweep, "sweep_copies(layout.sandbox(SandboxId(project, name)))", "pass"),
    Mutation("`restore --keep` keeps nothing", restore.run, "if args.keep:", "if False:"),
    Mutation("`restore` of what is protected", restore.run, "if spec.protect", "if False"),
    Mutation("`restore` stops for good", restore.run, "if ran else exits.OK", "if False else exits.OK"),
    Mutation("a fork with ports", fork.forked, "ports=(), ", ""),
    Mutation(
        "a fork free of what is enforced",
        fork.run,
        "refreshed(old.policy, loaded.desired.sandboxes[0].policy)",
        "old.policy",
    ),
    Mutation("a name not taken back", renaming.rename, "moving.move_back(layout, new, old)", "pass"),
    Mutation("a name not in the file", renaming.rename, "editing.write(renaming.proposal)", "pass"),
    Mutation("old names waited for", renaming.rename, "await follow(layout, old, new)", "pass"),
    Mutation(
        "a name that is not taken left beside", moving.move, "moved_record.unlink(missing_ok=True)", "moved_record"
    ),
    Mutation("adopted into no file", adopt.adopt, "_write(adoption.proposal)", "pass"),
    Mutation("lost checkpoints not said", project.removal, "=found.checkpoints if checkpoints else 0", "=0"),
    Mutation("orphans deleted with their checkpoints", project.plan, ", checkpoints=False", ""),
    Mutation(
        "what is replaced deleted with its checkpoints",
        sandbox.converge,
        "keep=bool(source))",
        "keep=bool(source), checkpoints=True)",
    ),
    Mutation("`rm` without checkpoints", project.removal, "keep=keep, checkpoints=checkpoints", "keep=keep"),
    Mutation("a disk upon another image", checkpoints._furnish, "(own | beneath)", "(beneath | own)"),
    Mutation("a restored disk with another agent", checkpoints.restored, ", agent=was.agent", ""),
    Mutation("an image not recorded", checkpoints.restore, "if spec == applied.spec and", "if"),
    Mutation(
        "neither disk for a moment",
        checkpoints._put_whole,
        "exchange(new.root, paths.root)",
        "shutil.rmtree(paths.root); new.root.rename(paths.root)",
        road=ROADS[5],
    ),
    Mutation("checkpoints of a former name", moving._rename, "_rename_checkpoints(there, wanted, new)", "pass"),
    Mutation(
        "checkpoints of another one thrown away",
        moving._rename_checkpoints,
        "if checkpoint_labels(wanted.checkpoints):",
        "if False:",
    ),
    Mutation("checkpoints made since not seen", snapshot._steady, "if not is_lost:", "if True:"),
    Mutation("records not written", FakeHost.note_record, "old, box.record = box.record, applied", "old = box.record"),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_deliberate_mistake_is_found(mutation: Mutation) -> None:
    known, lines = thought_of(), lines_of(mutation)
    with mutated(mutation), pytest.raises(Broken):
        look_everywhere(known, lines, mutation.road)


def look_everywhere(ways: list[Way], lines: set[Line], road: History | None) -> None:
    """Where it can be seen: in histories that come to what is wrong, or chance must."""
    if road is not None:
        strike_everywhere(road)
    for way in ways:
        if way.reached & lines:
            live(way.history)
    search()


@cache
def thought_of() -> list[Way]:
    return ways([*corners(), *ROADS], [mutation.function for mutation in MUTATIONS])
