"""When sources are read, and when what was read is used again; in virtual time."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandboxfile.errors import SandboxfileError
from sandboxfile.gateway import sources as module
from sandboxfile.gateway.sources import Sources
from sandboxfile.model.credential import SecretSource

COMMAND = SecretSource("command", command=("vault", "read"))
STORE = SecretSource("store", "tracker")


class World:
    """`said` is what sources say next; `asked` counts."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked = 0
        self.said: str | Exception = "first"
        self.sources = Sources(self._read, lambda: self.now)

    def _read(self, _: SecretSource) -> str:
        self.asked += 1
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(("source", "lasts"), [(COMMAND, 300.0), (STORE, 10.0)])
def test_a_value_is_used_for_a_while_and_then_read_anew(world: World, source: SecretSource, lasts: float) -> None:
    assert world.sources.at_hand(source) is None
    assert world.sources.get(source) == "first"
    world.said = "second"
    world.now += lasts - 1
    assert world.sources.at_hand(source) == "first"
    assert (world.sources.get(source), world.asked) == ("first", 1)
    world.now += 1
    assert world.sources.at_hand(source) is None
    assert (world.sources.get(source), world.asked) == ("second", 2)


def test_a_command_is_run_again_when_a_server_refuses_its_value_but_not_at_once(world: World) -> None:
    world.sources.get(COMMAND)
    world.now += 9
    world.sources.refused(COMMAND, "first")
    assert world.sources.at_hand(COMMAND) == "first"
    world.now += 1
    world.sources.refused(COMMAND, "another")  # an older value than the one at hand
    assert world.sources.at_hand(COMMAND) == "first"
    world.sources.refused(COMMAND, "first")
    assert world.sources.at_hand(COMMAND) is None
    world.sources.get(COMMAND)
    world.sources.refused(COMMAND, "first")
    assert (world.sources.get(COMMAND), world.asked) == ("first", 2)


def test_a_failure_is_remembered_for_a_short_while(world: World) -> None:
    world.said = SandboxfileError("the command vault failed", output="the end of what it printed")
    for _ in range(3):
        with pytest.raises(SandboxfileError, match="the command vault failed") as caught:
            world.sources.get(COMMAND)
        assert caught.value.output == ""
    assert world.asked == 1
    world.now += 10
    world.said = "there it is"
    assert world.sources.get(COMMAND) == "there it is"


def test_a_failure_takes_the_place_of_a_value_that_is_too_old(world: World) -> None:
    world.sources.get(COMMAND)
    world.now += 300
    world.said = SandboxfileError("locked")
    with pytest.raises(SandboxfileError, match="locked"):
        world.sources.get(COMMAND)
    assert world.sources.at_hand(COMMAND) is None


def test_a_mistake_is_not_remembered(world: World) -> None:
    world.said = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        world.sources.get(COMMAND)
    world.said = "first"
    assert world.sources.get(COMMAND) == "first"


@pytest.fixture
def file(tmp_path: Path, world: World) -> tuple[SecretSource, Callable[[str], None]]:
    def read(source: SecretSource) -> str:
        world.asked += 1
        try:
            return Path(source.name).read_text()
        except OSError as exc:
            raise SandboxfileError(str(exc)) from None

    world.sources = Sources(read, lambda: world.now)
    path = tmp_path / "key"
    return SecretSource("file", str(path)), lambda text: path.write_text(text) and None


def test_a_file_is_read_when_it_has_changed_and_only_then(
    world: World, file: tuple[SecretSource, Callable[[str], None]], tmp_path: Path
) -> None:
    source, write = file

    def later() -> str:
        world.now += 0.25
        return world.sources.get(source)

    write("first")
    assert [later() for _ in range(3)] == ["first"] * 3
    assert world.asked == 1
    write("second, longer")
    assert later() == "second, longer"
    (tmp_path / "new").write_text("third")
    (tmp_path / "new").rename(source.name)
    assert later() == "third"
    assert world.asked == 3


def test_a_file_is_looked_at_a_few_times_a_second(
    world: World, file: tuple[SecretSource, Callable[[str], None]]
) -> None:
    source, write = file
    write("first")
    world.sources.get(source)
    for pause in (0.2, 0.25):
        world.now += pause
        assert world.sources.at_hand(source) == ("first" if pause < 0.25 else None)
    world.sources.get(source)
    assert (world.sources.at_hand(source), world.asked) == ("first", 1)


def test_a_file_that_is_taken_away_has_no_value_and_one_that_appears_has(
    world: World, file: tuple[SecretSource, Callable[[str], None]]
) -> None:
    source, write = file
    write("first")
    assert world.sources.get(source) == "first"
    Path(source.name).unlink()
    for _ in range(2):
        world.now += 0.25
        with pytest.raises(SandboxfileError, match="No such file"):
            world.sources.get(source)
    write("first")
    world.now += 0.25
    assert world.sources.get(source) == "first"


def test_of_many_who_ask_one_reads_and_others_are_not_held_up() -> None:
    reading, release = threading.Event(), threading.Event()
    asked: list[SecretSource] = []

    def read(source: SecretSource) -> str:
        asked.append(source)
        if source == COMMAND:
            reading.set()
            assert release.wait(20)
        return "value"

    sources = Sources(read)
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(sources.get, COMMAND) for _ in range(6)]
        assert reading.wait(20)
        assert sources.at_hand(COMMAND) is None
        assert sources.get(STORE) == "value"
        release.set()
        assert {each.result(20) for each in found} == {"value"}
    assert sorted(source.kind for source in asked) == ["command", "store"]


def test_what_is_remembered_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIMIT", 10)
    for number in range(100):
        world.sources.get(SecretSource("store", str(number)))
    assert len(world.sources._readings) == 10
    assert "first" not in repr(world.sources._readings)
