"""Whatever is edited, killed, paused, deleted or overtaken: the next apply converges, and nothing protected is lost.

A history is a random file, random edits and commands, struck by crashes and interference at random places, lived
through the real planner, executor, journal, project lock, drivers and `machines` on a host that behaves (fake_host.py),
in virtual time. Afterwards one undisturbed apply must make everything as the file says, and a second plan be empty.
That the property can fail is shown by deliberate mistakes, each of which it must find.

SBX_HISTORIES=5000 lives as many, other ones each time; without it they are the same in every run.
"""

import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from sandboxfile.applying import drivers, executor, journal, machines
from sandboxfile.host import statedir
from sandboxfile.planning import changes, project, sandbox, verbs

from .attempt import Strike
from .checks import Broken
from .fake_host import FakeHost
from .fake_supervisor import Supervisor
from .histories import History, Round, corners, crossroads, histories
from .living import live
from .mutation import Mutation, mutated

HISTORIES = int(os.environ.get("SBX_HISTORIES", "0"))
COMMON = settings(
    deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@settings(COMMON, max_examples=HISTORIES or 300, derandomize=not HISTORIES, print_blob=True)
@given(histories())
def test_the_next_apply_converges_and_nothing_protected_is_lost(history: History) -> None:
    live(history)


@pytest.mark.parametrize("history", crossroads())
def test_an_apply_can_be_struck_at_every_place_and_the_file_undone(history: History) -> None:
    strike_everywhere(history)


@pytest.mark.parametrize("history", corners())
def test_corners_that_chance_seldom_comes_to(history: History) -> None:
    live(history)


def strike_everywhere(history: History) -> None:
    """At each place of its last round: kill the client, fail the step, kill the supervisor. Then go on, or go back."""
    *before, last = history.rounds
    for place in range(1, live(history)[-1] + 1):
        for kind in ("kill client", "fail", "kill"):
            struck = replace(last, strikes=(Strike(True, place, kind),))
            live(replace(history, rounds=(*before, struck)))
            live(replace(history, rounds=(*before, struck, Round(undo=True, pause=100.0))))


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
    Mutation("record first", sandbox._update, _CHANGE + _RECORD, _RECORD + _CHANGE, rare=True),
    Mutation("what a supervisor knows not asked", sandbox._goes_by_another, "machine is not None", "False", rare=True),
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
    Mutation("names not respected", project.plan, "if not options.only or spec.id.name in options.only]", "]"),
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
    Mutation("setup begun anew", drivers.HostDrivers._ask, ".setup_done\n", ".setup_done * 0\n"),
    Mutation("setup counted wrong", drivers.HostDrivers._update_record, "setup_done=done", "setup_done=0"),
    Mutation("a hanging supervisor spared", machines.stop, "kill_holder(paths.lock)", "pass"),
    Mutation(
        "readiness not waited for",
        machines.start,
        "await request(paths.control, WaitReady(), showing(report), timeout=_READY_TIMEOUT)",
        "pass",
    ),
    Mutation("done setup not recorded", Supervisor._run_setup, "self._record_setup_done(index + 1)", "pass"),
    Mutation("records not written", FakeHost.put_record, "old, box.record = box.record, applied", "old = box.record"),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_deliberate_mistake_is_found(mutation: Mutation) -> None:
    with mutated(mutation), pytest.raises(Broken):
        look_everywhere(mutation.rare)


def look_everywhere(rare: bool) -> None:
    if rare:
        for history in crossroads():
            strike_everywhere(history)
    for history in (*corners(), *crossroads()):
        live(history)
    search()
