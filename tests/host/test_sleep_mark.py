"""The mark of what sleeps: made and removed, as often as one likes."""

from pathlib import Path

from sandboxfile.host.layout import SandboxPaths
from sandboxfile.host.sleep_mark import mark_asleep, mark_awake


def test_the_mark_comes_and_goes_and_nothing_else_is_left(tmp_path: Path) -> None:
    paths = SandboxPaths(tmp_path, tmp_path / "x.sock")
    mark_awake(paths)
    for _ in range(2):
        mark_asleep(paths)
        assert [path.name for path in tmp_path.iterdir()] == ["asleep"]
    for _ in range(2):
        mark_awake(paths)
        assert list(tmp_path.iterdir()) == []
