"""The loop of `sbx reconcile` in virtual time, with a world that remembers what was done to it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import anyio
import pytest
import trio
import trio.testing

from sandboxfile.cli.reconciling.checking import Refused
from sandboxfile.cli.reconciling.loop import Loop, Stopped
from sandboxfile.errors import HostError, StaleError
from sandboxfile.model.plan import Plan, ResumeSandbox, Step
from sandboxfile.model.reconciliation import Status
from sandboxfile.names import SandboxId

NEW = Status("shop", "/shop.git", "main", "sandbox.yaml")
STEP = Step("resume", ResumeSandbox(SandboxId("shop", "web")), "it is paused")
START = datetime(2027, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """A repository at `head`, a host that is as `there`. `refused` commits have a reason."""

    head: str = "a"
    there: str = ""
    tree: str = ""
    refused: dict = field(default_factory=dict)
    fetch_fails: bool = False
    apply_fails: int = 0
    overtaken: int = 0
    is_suspended: bool = False
    in_apply: object = None
    guards: list = field(default_factory=list)
    done: list = field(default_factory=list)
    saved: list = field(default_factory=list)

    async def fetch(self):
        self.done.append("fetch")
        if self.fetch_fails:
            raise HostError("no answer")
        return self.head

    async def check(self, commit):
        if commit in self.refused and self.refused[commit] != "widening":
            raise Refused(self.refused[commit], f"{commit} is wrong")
        return commit

    async def plan(self, wanted, *, guarded):
        self.guards.append(guarded)
        if guarded and self.refused.get(wanted) == "widening":
            raise Refused("widening", f"{wanted} widens")
        self.wanted = wanted
        return Plan("shop", "", steps=(STEP,) if self.there != wanted else ())

    async def begin(self, commit, wanted):
        self.tree = commit

    async def apply(self, plan):
        if self.overtaken:
            self.overtaken -= 1
            raise StaleError("something changed")
        assert self.saved[-1].begun == self.wanted, "it is written down before anything is done"
        if self.in_apply:
            self.in_apply()
        if self.apply_fails:
            self.apply_fails -= 1
            raise HostError("a step failed", hint="look")
        self.done.append(f"apply {self.wanted}")
        self.there = self.wanted

    def suspended(self):
        return self.is_suspended

    def save(self, status):
        self.saved.append(status)


class Clock:
    """Virtual time; each `advance` lets the loop go on."""

    def __init__(self, world, status=NEW, interval=60.0):
        self.world = world
        self.loop = Loop(world, interval, self.now, status)

    def now(self):
        return START + timedelta(seconds=trio.current_time() - self.began)

    def run(self, script):
        """Run the loop, and a script beside it that ends it."""

        async def both():
            self.began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.loop.forever)
                with trio.fail_after(1e6):
                    await script()
                self.loop.stop.ask()

        trio.run(both, clock=trio.testing.MockClock(autojump_threshold=0))
        return self.loop.status


async def turns(count=1, interval=60):
    await trio.sleep(count * interval - interval / 2)


def test_a_push_is_applied_at_the_next_turn_and_then_nothing_is_done():
    world = World()

    async def script():
        await turns()
        assert world.there == world.tree == "a"
        world.head = "b"
        await turns(2)
        assert world.there == world.tree == "b"
        await turns(5)

    status = Clock(world).run(script)
    assert [done for done in world.done if done != "fetch"] == ["apply a", "apply b"]
    assert (status.state, status.applied, status.counts.applies) == ("applied", "b", 2)


def test_drift_is_mended_each_turn():
    world = World()

    async def script():
        await turns()
        world.there = "moved"
        await trio.sleep(60)
        assert world.there == "a"

    assert Clock(world).run(script).counts.drifts == 1


@pytest.mark.parametrize("reason", ["file", "policy-test", "signature", "widening"])
def test_a_bad_commit_leaves_the_old_one_which_is_still_looked_after(reason):
    world = World(refused={"b": reason})

    async def script():
        await turns()
        world.head = "b"
        await trio.sleep(60)
        assert (world.there, world.tree) == ("a", "a")
        world.there = "moved"
        await trio.sleep(60)
        assert world.there == "a"
        world.head = "c"
        await trio.sleep(60)

    status = Clock(world).run(script)
    [seen] = {(each.reason, each.message, each.applied) for each in world.saved if each.reason}
    assert seen[0] == reason
    assert seen[1].startswith("b ")
    assert seen[2] == "a"
    assert (status.state, status.applied, status.message) == ("applied", "c", "")


def test_a_bad_commit_at_the_very_beginning_does_nothing():
    world = World(refused={"a": "file"})
    status = Clock(world).run(turns)
    assert (status.state, status.begun, world.there) == ("failed", "", "")


def test_what_was_let_through_once_is_not_refused_when_it_is_mended():
    before = Status("shop", "/shop.git", "main", "sandbox.yaml", commit="a", begun="a")
    world = World(there="half", refused={"a": "widening"}, saved=[before])
    status = Clock(world, before).run(turns)
    assert (status.applied, world.there) == ("a", "a")


def test_failing_applies_are_tried_again_ever_more_rarely_until_one_works():
    world = World(apply_fails=3)
    times = []
    clock = Clock(world)
    world.in_apply = lambda: times.append((clock.now() - START).total_seconds())

    async def script():
        await trio.sleep(2000)

    status = clock.run(script)
    assert times == [0, 60, 180, 420]
    assert status.applied == "a"
    failure = next(each for each in world.saved if each.reason == "apply")
    assert failure.message == "a step failed\nlook"


def test_a_repository_that_does_not_answer_is_asked_ever_more_rarely_and_the_host_looked_after():
    world = World()

    async def script():
        await turns()
        world.fetch_fails = True
        world.done.clear()
        await trio.sleep(60 * 8)
        assert world.done.count("fetch") == 4
        world.there = "moved"
        await trio.sleep(60)
        assert world.there == "a"
        world.fetch_fails = False
        await trio.sleep(900)

    assert Clock(world).run(script).state == "applied"


def test_a_plan_that_others_overtook_is_made_anew():
    world = World(overtaken=2)
    assert Clock(world).run(turns).applied == "a"
    world = World(overtaken=9)
    assert Clock(world).run(turns).reason == "apply"


def test_a_plan_that_is_made_anew_is_guarded_like_the_first():
    world = World(overtaken=2)
    Clock(world).run(turns)
    assert world.guards == [True, True, True]


def test_a_commit_that_widens_when_it_is_planned_anew_is_not_let_through_at_the_next_turn_either():
    world = World(refused={"a": "none"}, overtaken=1)
    world.check = World.check.__get__(World())  # by plans alone
    apply = world.apply

    async def overtaken(plan):
        world.refused["a"] = "widening"
        await apply(plan)

    world.apply = overtaken
    status = Clock(world).run(lambda: turns(5))
    assert (world.there, status.begun, status.reason) == ("", "", "widening")
    assert set(world.guards) == {True}
    assert world.saved[-1].begun == ""


def test_suspended_it_does_nothing_and_resumed_it_goes_on():
    world = World(is_suspended=True)

    async def script():
        await turns(3)
        assert world.done == []
        world.is_suspended = False
        await trio.sleep(60)
        assert world.there == "a"

    Clock(world).run(script)


def test_asked_to_end_it_finishes_the_step_under_way_and_writes_down_where_it_is():
    world = World()
    clock = Clock(world)

    def end():
        clock.loop.stop.ask()
        raise Stopped

    world.in_apply = end
    status = clock.run(turns)
    assert (status.begun, status.applied) == ("a", "")
    assert world.saved[-1] == status


def test_asked_to_end_it_gives_up_at_once_what_only_waits():
    world = World()
    clock = Clock(world, interval=1e5)

    async def never():
        await anyio.sleep_forever()

    async def script():
        await trio.sleep(1)
        world.fetch = never

    assert clock.run(script).applied == "a"
    clock = Clock(world)
    assert clock.run(script).applied == ""


def test_the_next_turn_is_announced():
    status = Clock(World()).run(turns)
    assert status.next_attempt == "2027-01-01T00:01:00.000+00:00"
