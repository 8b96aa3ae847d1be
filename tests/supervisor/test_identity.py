"""A copied disk becomes a machine of its own, once, and before anything else runs on it."""

from types import SimpleNamespace

import anyio
import pytest

from sandboxfile.errors import GuestError
from sandboxfile.host.layout import SandboxPaths
from sandboxfile.supervisor.identity import renew_identity


class Guest:
    def __init__(self, code=0):
        self.ran, self._code = [], code

    async def run(self, argv, timeout):
        self.ran.append(argv)
        return SimpleNamespace(code=self._code, output="no room")


@pytest.fixture
def paths(tmp_path):
    return SandboxPaths(tmp_path, tmp_path / "x.sock")


def test_only_a_copied_disk_is_given_a_new_one_and_only_once(paths):
    guest = Guest()
    anyio.run(renew_identity, guest, paths)
    assert guest.ran == []
    paths.copied.touch()
    for _ in range(2):
        anyio.run(renew_identity, guest, paths)
    ((*_, script),) = guest.ran
    assert "/etc/machine-id" in script
    assert not paths.copied.exists()


def test_two_machines_with_one_identity_do_not_start(paths):
    paths.copied.touch()
    with pytest.raises(GuestError, match="identity") as caught:
        anyio.run(renew_identity, Guest(code=1), paths)
    assert caught.value.output == "no room"
    assert paths.copied.exists(), "the next start tries again"
