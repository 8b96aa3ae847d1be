"""Taking kernel packages apart, on small ones made here."""

import gzip
import lzma
import shutil
import struct
import subprocess

import pytest

from sandboxfile.errors import BuildError
from sandboxfile.images.boot.kernel import load_order, module, vmlinux

ELF = b"\x7fELF" + bytes(range(256)) * 64
DEPENDENCIES = """\
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/char/virtio-rng.ko: kernel/drivers/virtio/virtio.ko
kernel/fs/a.ko: kernel/fs/b.ko kernel/drivers/virtio/virtio.ko
kernel/fs/b.ko: kernel/drivers/virtio/virtio.ko
"""


def bzimage(payload, setup_sectors=4):
    """A boot image whose payload begins 16 bytes into its second part."""
    image = bytearray((setup_sectors + 1) * 512) + bytes(16) + payload + bytes(32)
    image[0x1F1] = setup_sectors
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", image, 0x248, 16, len(payload))
    return bytes(image)


def by_command(*command):
    return subprocess.run(command, input=ELF, capture_output=True, check=True).stdout


def packed(kind):
    if shutil.which(kind) is None and kind in ("lz4", "zstd"):
        pytest.skip(f"{kind} is not installed")
    length = struct.pack("<I", len(ELF))
    return {
        "gzip": lambda: gzip.compress(ELF),
        "xz": lambda: lzma.compress(ELF) + length,
        "lz4": lambda: by_command("lz4", "-l", "-c") + length,
        "zstd": lambda: by_command("zstd", "-c") + length,
    }[kind]()


@pytest.mark.parametrize("kind", ["gzip", "xz", "lz4", "zstd"])
def test_the_kernel_comes_out_of_every_compression_that_debian_uses(kind):
    assert vmlinux(bzimage(packed(kind))) == ELF


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (bytes(1024), "no bzImage"),
        (bzimage(gzip.compress(b"text")), "no ELF kernel"),
        (bzimage(b"unheard of"), "unknown"),
    ],
)
def test_what_is_no_kernel_is_refused(image, said):
    with pytest.raises(BuildError, match=said):
        vmlinux(image)


def test_modules_are_unpacked_and_named_so():
    assert module("a.ko.xz", lzma.compress(b"code")) == ("a.ko", b"code")
    assert module("a.ko", b"code") == ("a.ko", b"code")


def test_modules_come_after_what_they_need_and_once():
    order = load_order(["a", "virtio_pci", "virtio_rng", "ext4"], DEPENDENCIES, "kernel/fs/ext4/ext4.ko\n")
    assert [path.rpartition("/")[2] for path in order] == [
        "virtio.ko",
        "b.ko",
        "a.ko",
        "virtio_pci.ko",
        "virtio-rng.ko",
    ]


def test_a_module_that_the_kernel_does_not_have_is_said():
    with pytest.raises(BuildError, match="no module none"):
        load_order(["none"], DEPENDENCIES, "")
