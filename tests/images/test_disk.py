"""The ext4 image, made by the real mke2fs and read by debugfs."""

import io
import subprocess
import tarfile

import pytest

from sandboxfile.errors import BuildError
from sandboxfile.images.disk import make_disk
from sandboxfile.images.mmdebstrap import choose_mode, environment

pytestmark = pytest.mark.anyio


@pytest.fixture
def tar(tmp_path):
    path = tmp_path / ".root.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind, mode, uid, text in (
            ("./", tarfile.DIRTYPE, 0o755, 0, ""),
            ("./dev", tarfile.DIRTYPE, 0o755, 0, ""),
            ("./dev/null", tarfile.CHRTYPE, 0o666, 0, ""),
            ("./etc", tarfile.DIRTYPE, 0o755, 0, ""),
            ("./etc/resolv.conf", tarfile.REGTYPE, 0o644, 0, "nameserver 192.0.2.1\n"),
            ("./etc/hostname", tarfile.REGTYPE, 0o644, 0, "builder\n"),
            ("./etc/machine-id", tarfile.REGTYPE, 0o444, 0, "0123\n"),
            ("./bin", tarfile.DIRTYPE, 0o755, 0, ""),
            ("./bin/su", tarfile.REGTYPE, 0o4755, 0, "code"),
            ("./home", tarfile.DIRTYPE, 0o750, 1000, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid, member.gid, member.size = kind, mode, uid, uid, len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def debugfs(image, request):
    command = ["debugfs", "-R", request, str(image)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout


def check(image):
    checked = subprocess.run(["e2fsck", "-fn", image], env=environment(), capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


async def test_the_image_holds_the_tree_with_its_owners_and_modes_and_nothing_of_the_host(tmp_path, tar):
    image = tmp_path / "rootfs.ext4"
    await make_disk(tar, image, mode=await choose_mode())
    assert not tar.exists()
    su = debugfs(image, "stat /bin/su")
    assert "04755" in su
    assert "User:     0" in su
    assert "User:  1000" in debugfs(image, "stat /home")
    assert "User:     0" in debugfs(image, "stat /")
    assert "Size: 0" in debugfs(image, "stat /etc/machine-id")
    for gone in ("/etc/resolv.conf", "/etc/hostname", "/dev/null"):
        assert "Inode:" not in debugfs(image, f"stat {gone}")
    check(image)


async def test_the_image_is_sparse_and_made_to_grow(tmp_path, tar):
    image = tmp_path / "rootfs.ext4"
    await make_disk(tar, image, mode=await choose_mode())
    described = debugfs(image, "show_super_stats -h")
    blocks = {line.split(":")[0]: line.split(":")[1].strip() for line in described.splitlines() if ":" in line}
    assert int(blocks["Reserved block count"]) == 0
    assert int(blocks["Reserved GDT blocks"]) >= 127  # 128 blocks of descriptors reach 1 TiB
    assert image.stat().st_blocks * 512 < 16 << 20


async def test_a_tar_that_cannot_be_unpacked_is_an_error_with_the_command(tmp_path):
    tar = tmp_path / ".root.tar"
    with tarfile.open(tar, "w") as archive:
        archive.addfile(tarfile.TarInfo("file"))
        archive.addfile(tarfile.TarInfo("file/below"))
    with pytest.raises(BuildError, match="cannot make the disk image") as caught:
        await make_disk(tar, tmp_path / "rootfs.ext4", mode=await choose_mode())
    assert str(tar) in caught.value.command
