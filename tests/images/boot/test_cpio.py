"""The archive, read back by cpio where it is installed, and by its format."""

import shutil
import subprocess

import pytest

from sandboxfile.images.boot import cpio

ENTRIES = [
    cpio.file("bin/tool", b"#!\n", executable=True),
    cpio.directory("bin"),
    cpio.link("bin/sh", "tool"),
    cpio.character_device("console", 5, 1),
    cpio.file("odd", b"12345"),
]


def members(archive):
    """(name, mode, content) of each member, by the layout in the kernel's early-userspace/buffer-format.rst."""
    position, found = 0, []
    while True:
        assert archive[position : position + 6] == b"070701"
        fields = [int(archive[position + 6 + 8 * index : position + 14 + 8 * index], 16) for index in range(13)]
        name = archive[position + 110 : position + 110 + fields[11] - 1].decode()
        start = -(-(position + 110 + fields[11]) // 4) * 4
        if name == "TRAILER!!!":
            return found
        found.append((name, fields[1], archive[start : start + fields[6]], fields[2:4], fields[5], fields[9:11]))
        position = -(-(start + fields[6]) // 4) * 4


def test_members_are_sorted_owned_by_root_and_without_times():
    assert members(cpio.archive(ENTRIES)) == [
        ("bin", 0o40755, b"", [0, 0], 0, [0, 0]),
        ("bin/sh", 0o120777, b"tool", [0, 0], 0, [0, 0]),
        ("bin/tool", 0o100755, b"#!\n", [0, 0], 0, [0, 0]),
        ("console", 0o20600, b"", [0, 0], 0, [5, 1]),
        ("odd", 0o100644, b"12345", [0, 0], 0, [0, 0]),
    ]


def test_the_order_of_entries_does_not_matter():
    assert cpio.archive(ENTRIES) == cpio.archive(reversed(ENTRIES))


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_cpio_lists_it():
    printed = subprocess.run(["cpio", "-tv", "--quiet"], input=cpio.archive(ENTRIES), capture_output=True, check=True)
    names = [line.split()[-1] for line in printed.stdout.decode().splitlines()]
    assert names == ["bin", "tool", "bin/tool", "console", "odd"]
