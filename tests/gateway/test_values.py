"""Values of one sandbox: given ones and their source, readings beside the loop, and words that hold no value."""

import threading
from typing import Any

import anyio
import pytest

from sandboxfile.errors import SandboxfileError
from sandboxfile.gateway.sources import Sources
from sandboxfile.gateway.values import Unavailable, Values
from sandboxfile.model.credential import Credential, SecretSource

pytestmark = pytest.mark.anyio

SECRET = "value-that-never-enters-4711"


def credential(name: str = "tracker", kind: Any = "env", source: str = "TRACKER") -> Credential:
    return Credential(name, SecretSource(kind, source))


def reading(said: str | Exception) -> Values:
    def read(_: SecretSource) -> str:
        if isinstance(said, Exception):
            raise said
        return said

    return Values(Sources(read))


async def reason(values: Values, wanted: Credential) -> str:
    with pytest.raises(Unavailable) as caught:
        await values.get(wanted)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    return str(caught.value)


async def test_a_value_that_was_given_is_had_until_the_sandbox_is_gone() -> None:
    values = reading("")
    values.adopt([credential()])
    assert await reason(values, credential()) == "the variable TRACKER was not set where sbx ran last"
    values.give([("tracker", SECRET)])
    values.give([("other", "x")])
    assert await values.get(credential()) == SECRET
    values.forget()
    assert "TRACKER" in await reason(values, credential())


async def test_a_value_given_for_one_source_is_not_used_for_another_of_the_same_name() -> None:
    values = reading("")
    values.adopt([credential()])
    values.give([("tracker", SECRET)])
    values.adopt([credential()])
    assert await values.get(credential()) == SECRET
    other = credential(source="OTHER")
    values.adopt([other])
    assert "OTHER" in await reason(values, other)


async def test_a_value_is_forgotten_with_its_credential() -> None:
    values = reading("")
    values.adopt([credential()])
    values.give([("tracker", SECRET)])
    values.adopt([])
    values.adopt([other := credential(source="OTHER")])
    assert "OTHER" in await reason(values, other)


@pytest.mark.parametrize("value", ["", f"{SECRET}\nX: 1", f"{SECRET}\r", f"{SECRET}\0", f"\t{SECRET}", SECRET * 3000])
@pytest.mark.parametrize("kind", ["env", "store"])
async def test_what_would_break_a_line_is_no_value(kind: str, value: str) -> None:
    values = reading(value)
    wanted = credential(kind=kind)
    values.adopt([wanted])
    values.give([("tracker", value)])
    if value == f"{SECRET}\r":
        assert await values.get(wanted) == SECRET
        return
    said = await reason(values, wanted)
    assert said.startswith("its value ")
    assert SECRET not in said


async def test_the_reason_of_a_source_is_told_as_one_bounded_line() -> None:
    values = reading(SandboxfileError("it\x1b[31m failed.\nsecond line", output=SECRET, hint="run it"))
    assert await reason(values, credential(kind="store")) == "it?[31m failed"
    values = reading(SandboxfileError("x" * 5000))
    assert len(await reason(values, credential(kind="store"))) == 300


async def test_a_mistake_while_reading_is_told_without_its_text(capfd: pytest.CaptureFixture[str]) -> None:
    said = await reason(reading(ValueError(SECRET)), credential(kind="store"))
    assert said == "reading it failed: this is a bug in sandboxfile"
    logged = capfd.readouterr().err
    assert "ValueError" in logged
    assert "in read" in logged
    assert SECRET not in logged


async def test_a_slow_source_holds_up_neither_the_loop_nor_another_sandbox() -> None:
    started, release = threading.Event(), threading.Event()

    def read(source: SecretSource) -> str:
        if source.name == "slow":
            started.set()
            assert release.wait(20)
        return SECRET

    sources = Sources(read)
    mine, theirs = Values(sources), Values(sources)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(mine.get, credential(kind="store", source="slow"))
            while not started.is_set():  # noqa: ASYNC110 - a thread's event
                await anyio.sleep(0.01)
            assert await theirs.get(credential(kind="store", source="quick")) == SECRET
            release.set()


async def test_what_was_asked_for_by_somebody_who_left_is_there_for_the_next() -> None:
    started, release = threading.Event(), threading.Event()
    asked: list[SecretSource] = []

    def read(source: SecretSource) -> str:
        asked.append(source)
        started.set()
        assert release.wait(20)
        return SECRET

    values = Values(Sources(read))
    async with anyio.create_task_group() as group:
        group.start_soon(values.get, credential(kind="store"))
        while not started.is_set():  # noqa: ASYNC110 - a thread's event
            await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    release.set()
    assert await values.get(credential(kind="store")) == SECRET
    assert len(asked) == 1
