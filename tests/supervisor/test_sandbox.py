"""What a supervisor goes by: which settings, which policy, and that a refused change leaves both."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from sandboxfile.errors import HostError
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories
from sandboxfile.model.desired import Command, DesiredSandbox, Image
from sandboxfile.model.policy import NO_POLICY, Layer, Policy
from sandboxfile.names import SandboxId
from sandboxfile.supervisor.lifecycle import RestartChanged
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
