"""The ext4 image, made by the real mke2fs and read by debugfs."""

import io
import os
import subprocess
import tarfile
import time

import pytest

from sandboxfile.errors import BuildError
from sandboxfile.images.disk import make_disk
from sandboxfile.images.layers.merge import merge_layers
from sandboxfile.images.packages.mmdebstrap import choose_mode, environment

pytestmark = pytest.mark.anyio
NEVER = 1_600_000_000


def write(path, members):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape") as archive:
        for name, kind, mode, uid, text in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid, member.gid, member.mtime = kind, mode, uid, uid, NEVER
            content = b""
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                member.linkname = text
            else:
                content = text.encode()
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


MEMBERS = (
    ("./", tarfile.DIRTYPE, 0o755, 0, ""),
    ("./dev", tarfile.DIRTYPE, 0o755, 0, ""),
    ("./dev/null", tarfile.CHRTYPE, 0o666, 0, ""),
    ("./etc", tarfile.DIRTYPE, 0o755, 0, ""),
    ("./etc/resolv.conf", tarfile.REGTYPE, 0o644, 0, "nameserver 192.0.2.1\n"),
    ("./etc/hostname", tarfile.REGTYPE, 0o644, 0, "builder\n"),
    ("./etc/machine-id", tarfile.REGTYPE, 0o444, 0, "0123\n"),
    ("./bin", tarfile.DIRTYPE, 0o755, 0, ""),
    ("./bin/su", tarfile.REGTYPE, 0o4755, 0, "code"),
    ("./bin/hard", tarfile.LNKTYPE, 0o4755, 0, "bin/su"),
    ("./bin/sh", tarfile.SYMTYPE, 0o777, 0, "/usr/bin/\udcff"),
    ("./home", tarfile.DIRTYPE, 0o550, 1000, ""),
    ("./home/file", tarfile.REGTYPE, 0o600, 1000, "mine"),
    ("./home/pipe", tarfile.FIFOTYPE, 0o600, 1000, ""),
    ("./" + "d" * 250 + "/" + "e" * 250, tarfile.REGTYPE, 0o644, 0, "long"),
)


async def make(tmp_path, members=MEMBERS):
    layer = write(tmp_path / "layer.tar", members)
    tar, image = tmp_path / ".merged.tar", tmp_path / "rootfs.ext4"
    merged = await merge_layers([layer], tar, epoch=0, report=print)
    sealed = await make_disk(tar, image, mode=await choose_mode(), size=merged.size, entries=merged.entries)
    assert not tar.exists()
    return image, sealed, merged


def debugfs(image, request):
    command = ["debugfs", "-R", request, str(image)]
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, errors="surrogateescape", check=True
    ).stdout


def check(image):
    checked = subprocess.run(["e2fsck", "-fn", image], env=environment(), capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


async def test_the_image_holds_the_tree_with_its_owners_and_modes_and_nothing_of_the_host(tmp_path):
    image, _, _ = await make(tmp_path)
    su = debugfs(image, "stat /bin/su")
    assert "04755" in su
    assert "User:     0" in su
    assert "Links: 2" in su
    home = debugfs(image, "stat /home")
    assert "User:  1000" in home
    assert "0550" in home
    assert "Type: FIFO" in debugfs(image, "stat /home/pipe")
    assert "User:     0" in debugfs(image, "stat /")
    assert "Size: 0" in debugfs(image, "stat /etc/machine-id")
    assert "/usr/bin/\udcff" in debugfs(image, "stat /bin/sh")
    for gone in ("/etc/resolv.conf", "/etc/hostname", "/dev/null"):
        assert "Inode:" not in debugfs(image, f"stat {gone}")
    assert debugfs(image, f"cat /{'d' * 250}/{'e' * 250}") == "long"
    check(image)


async def test_all_is_older_than_the_seal_and_keeps_its_time_of_change(tmp_path):
    before = time.time()
    image, sealed, merged = await make(tmp_path)
    assert before - 1 <= sealed <= time.time()
    for path in ("", *merged.tree, "lost+found"):
        fields = {line.split(":")[0].strip(): line for line in debugfs(image, f"stat /{path}").splitlines()}
        seconds = int(fields["ctime"].split("0x")[1].split(":")[0], 16)
        assert seconds <= sealed, path
        if path not in ("", "lost+found", "d" * 250):
            assert int(fields["mtime"].split("0x")[1].split(":")[0], 16) == NEVER, path


async def test_extended_attributes_reach_the_image(tmp_path):
    layer = tmp_path / "layer.tar"
    capability = bytes.fromhex("0100000200200000000000000000000000000000").decode("latin-1")
    with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT, encoding="latin-1") as archive:
        member = tarfile.TarInfo("ping")
        member.pax_headers = {"SCHILY.xattr.user.note": "kept", "SCHILY.xattr.security.capability": capability}
        archive.addfile(member)
    tar, image, mode = tmp_path / ".merged.tar", tmp_path / "rootfs.ext4", await choose_mode()
    merged = await merge_layers([layer], tar, epoch=0, report=print)
    await make_disk(tar, image, mode=mode, size=merged.size, entries=merged.entries)
    found = debugfs(image, "ea_list /ping")
    assert 'user.note (4) = "kept"' in found
    if mode == "root":
        assert "security.capability (20)" in found
    check(image)


async def test_the_image_is_sparse_and_made_to_grow(tmp_path):
    image, _, _ = await make(tmp_path)
    described = debugfs(image, "show_super_stats -h")
    blocks = {line.split(":")[0]: line.split(":")[1].strip() for line in described.splitlines() if ":" in line}
    assert int(blocks["Reserved block count"]) == 0
    assert int(blocks["Reserved GDT blocks"]) >= 127  # 128 blocks of descriptors reach 1 TiB
    assert image.stat().st_blocks * 512 < 16 << 20


@pytest.mark.parametrize("kind", ["files", "directories", "links", "deep"])
async def test_there_is_room_for_many_small_things(tmp_path, kind):
    members = {
        "files": [(f"d{number % 99}/f{number}", tarfile.REGTYPE, 0o644, 0, "x") for number in range(3000)],
        "directories": [(f"d{number % 99}/{number}", tarfile.DIRTYPE, 0o755, 0, "") for number in range(3000)],
        "links": [(f"d{number % 99}/{number}", tarfile.SYMTYPE, 0o777, 0, "t" * 300) for number in range(3000)],
        "deep": [("/".join(["d"] * 254), tarfile.DIRTYPE, 0o755, 0, "")],
    }[kind]
    image, _, _ = await make(tmp_path, members)
    check(image)


async def test_there_is_an_inode_for_every_entry_and_room_for_the_data(tmp_path):
    """Twice as many entries, all of them empty, as mke2fs would have inodes for."""
    tar = tmp_path / ".merged.tar"
    await merge_layers([], tar, epoch=0, report=print)
    image = tmp_path / "rootfs.ext4"
    await make_disk(tar, image, mode=await choose_mode(), size=1 << 30, entries=200_000)
    described = debugfs(image, "show_super_stats -h")
    facts = {line.split(":")[0]: line.split(":")[1].strip() for line in described.splitlines() if ":" in line}
    assert int(facts["Inode count"]) > 200_000
    assert int(facts["Free blocks"]) * 4096 > (1 << 30) + 200_000 * 4096


async def test_the_epoch_of_the_caller_does_not_reach_into_the_image(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    image, _, _ = await make(tmp_path)
    assert f"0x{NEVER:08x}" in debugfs(image, "stat /bin/su")


async def test_a_tar_that_cannot_be_unpacked_is_an_error_with_the_command(tmp_path):
    tar = tmp_path / ".root.tar"
    with tarfile.open(tar, "w") as archive:
        archive.addfile(tarfile.TarInfo("file"))
        archive.addfile(tarfile.TarInfo("file/below"))
    with pytest.raises(BuildError, match="cannot make the disk image") as caught:
        await make_disk(tar, tmp_path / "rootfs.ext4", mode=await choose_mode(), size=0, entries=2)
    assert str(tar) in caught.value.command


@pytest.fixture
def small(tmp_path):
    """A disk of 2 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", path]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("nothing can be mounted here")
    yield path
    subprocess.run(["umount", path], check=True)


async def test_a_full_disk_is_said_to_be_full(tmp_path, small):
    layer = write(tmp_path / "layer.tar", [("big", tarfile.REGTYPE, 0o644, 0, "x" * 3_000_000)])
    tar = tmp_path / ".merged.tar"
    merged = await merge_layers([layer], tar, epoch=0, report=print)
    with pytest.raises(BuildError) as caught:
        await make_disk(tar, small / "rootfs.ext4", mode="root", size=merged.size, entries=merged.entries)
    assert "disk is full" in caught.value.message, caught.value.output
