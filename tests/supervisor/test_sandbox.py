"""What a supervisor goes by: which settings, which policy, and that a refused change leaves both."""

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from sandboxfile.errors import HostError, MachineError
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories
from sandboxfile.model.desired import Command, DesiredSandbox, Healthcheck, Image
from sandboxfile.model.policy import NO_POLICY, Layer, Policy
from sandboxfile.names import SandboxId
from sandboxfile.supervisor.lifecycle import Life, RestartChanged
from sandboxfile.supervisor.sandbox import Sandbox

SPEC = DesiredSandbox(SandboxId("shop", "web"), "shell", Image("d" * 64))
OPEN = Policy((Layer("policy web", "allow"),))


class Egress:
    """A gateway's word in place of a gateway."""

    def __init__(self):
        self.policy, self.told, self.refuses = NO_POLICY, [], False

    async def set_policy(self, policy):
        if self.refuses:
            raise HostError("the gateway refuses the policy")
        self.told.append(policy)
        self.policy = policy


class Conductor:
    def __init__(self):
        self.events = []

    def tell(self, event):
        self.events.append(event)


def with_sandbox(work):
    """Run `work(sandbox)` with one whose machine does not run."""

    async def main(root):
        layout = Layout(*(root / name for name in ("state", "cache", "run")))
        ensure_directories(layout)
        layout.sandbox(SPEC.id).root.mkdir(parents=True)
        made = Sandbox(layout, SPEC.id, SPEC, os.environ)
        made.egress, made.conductor = Egress(), Conductor()
        await work(made)

    with tempfile.TemporaryDirectory(prefix="sbx-", dir="/tmp") as root:
        anyio.run(main, Path(root))


def test_a_new_policy_belongs_to_the_settings_once_it_is_in_force():
    async def work(sandbox):
        await sandbox.set_policy(OPEN)
        assert sandbox.egress.told == [OPEN]
        assert sandbox.spec == replace(SPEC, policy=OPEN)

    with_sandbox(work)


def test_a_refused_policy_leaves_the_settings():
    async def work(sandbox):
        sandbox.egress.refuses = True
        for change, wanted in ((sandbox.set_policy, OPEN), (sandbox.update, replace(SPEC, policy=OPEN, user="root"))):
            with pytest.raises(HostError):
                await change(wanted)
            assert sandbox.spec == SPEC
        assert sandbox.conductor.events == []

    with_sandbox(work)


def test_other_settings_bring_their_policy_along_and_only_when_it_is_another():
    async def work(sandbox):
        served = Command(("serve",))
        for wanted in (replace(SPEC, env=(("A", "1"),)), replace(SPEC, policy=OPEN, command=served, restart="always")):
            await sandbox.update(wanted)
            assert sandbox.spec == wanted
        assert sandbox.egress.told == [OPEN]
        assert sandbox.conductor.events == [RestartChanged("no", False), RestartChanged("always", True)]

    with_sandbox(work)


def test_another_healthcheck_and_another_idle_time_count_at_once():
    async def work(sandbox):
        check = Healthcheck(Command(("probe",)))
        assert (sandbox.health.status, sandbox.idle.state.limit) == ("none", 0.0)
        await sandbox.update(replace(SPEC, healthcheck=check, idle_stop=60.0))
        assert (sandbox.health.state.check, sandbox.health.status) == (check, "starting")
        assert sandbox.idle.state.limit == 60.0
        await sandbox.update(SPEC)
        assert (sandbox.health.status, sandbox.idle.state.limit) == ("none", 0.0)

    with_sandbox(work)


def test_what_happens_is_told_to_those_who_look_at_its_health_and_at_what_is_done():
    async def work(sandbox):
        sandbox.conductor.life = Life("running", has_command=False)
        sandbox.notice()
        assert sandbox.health.state.situation == "running"
        assert sandbox.idle.state.since is not None
        async with sandbox.setup_turn:
            with sandbox.idle.during():
                sandbox.notice()
                assert (sandbox.health.state.situation, sandbox.idle.state.since) == ("before", None)
        sandbox.notice()
        assert sandbox.health.state.situation == "running"
        assert sandbox.idle.state.since is not None

    with_sandbox(work)


def test_that_it_sleeps_is_remembered_and_a_disk_that_takes_nothing_is_no_end(capfd):
    async def work(sandbox):
        await sandbox.mark_asleep()
        assert sandbox.paths.asleep.exists()
        shutil.rmtree(sandbox.paths.root)
        await sandbox.mark_asleep()

    with_sandbox(work)
    assert "cannot write" in capfd.readouterr().err


def test_who_comes_when_it_goes_to_sleep_is_told_to_come_again():
    async def work(sandbox):
        sandbox.ready.set()
        for asleep in (False, True):
            if asleep:
                sandbox.paths.asleep.touch()
            with pytest.raises(MachineError, match="stopping") as caught:
                await sandbox.guest()
            assert (caught.value.hint is not None) is asleep

    with_sandbox(work)
