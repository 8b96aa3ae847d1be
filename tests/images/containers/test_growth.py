"""How far a program has come, by the size of what it writes."""

import anyio
import pytest

from sandboxfile.images.containers import growth
from sandboxfile.images.containers.growth import amount, size_of, watched

pytestmark = pytest.mark.anyio


AMOUNTS = {
    0: "0 bytes",
    999: "999 bytes",
    1000: "1.0 kB",
    999_949: "999.9 kB",
    999_950: "1.0 MB",
    10**15: "1000.0 TB",
}


@pytest.mark.parametrize(("size", "text"), AMOUNTS.items())
def test_amounts_are_for_people(size, text):
    assert amount(size) == text


def test_the_size_of_a_directory_is_that_of_its_files(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "a/b/two").write_bytes(b"22")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    assert size_of(tmp_path) == 3 + (tmp_path / "a/loop").lstat().st_size
    assert size_of(tmp_path / "gone") == 0


async def test_what_grows_is_looked_at_until_the_block_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "SECONDS", 0.001)
    seen, enough = [], anyio.Event()

    def look(size):
        seen.append(size)
        (tmp_path / "file").write_bytes(b"x" * (size + 1))
        if len(seen) == 3:
            enough.set()

    async with watched(tmp_path / "file", look):
        with anyio.fail_after(20):
            await enough.wait()
    assert seen[:3] == [0, 1, 2]
    count = len(seen)
    await anyio.sleep(0.01)
    assert len(seen) == count


async def test_what_the_look_raises_ends_the_block(tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "SECONDS", 0.001)

    def look(size):
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"), anyio.fail_after(20):
        async with watched(tmp_path, look):
            await anyio.sleep_forever()
