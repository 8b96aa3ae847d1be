"""A guest's tar goes on with members of ours."""

import io
import tarfile
import tempfile

import pytest

from sandboxfile.applying.exporting import _append, certificates, digests_of, known_of
from sandboxfile.host.layout import SandboxPaths
from sandboxfile.images.layers.tree import Entry


def tar_of(*names):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


@pytest.mark.parametrize("first", [tar_of("a", "b").rstrip(b"\0"), b""])
def test_members_are_appended_in_the_place_of_the_end(first):
    first += bytes(-len(first) % 512) + bytes(1024)  # as GNU tar ends one with a blocking factor of 1
    with tempfile.TemporaryFile() as file:
        file.write(first)
        _append(file, tar_of("c"))
        file.seek(0)
        with tarfile.open(fileobj=file) as tar:
            assert tar.getnames() == (["a", "b", "c"] if len(first) > 1024 else ["c"])


def test_a_tree_as_it_is_compared_with_a_listing():
    tree = {
        "etc/hosts": Entry("etc/hosts", "file", 0o644, 1, 2, 3, 4, "d" * 64),
        "a": Entry("a", "file", 0o644, link="b"),
        "l": Entry("l", "symlink", 0o777, link="x"),
    }
    known = known_of(tree)
    assert known["etc/hosts"] == ("file", 0o644, 1, 2, 4, 3, "")
    assert (known["a"].link, known["l"].link) == ("", "x")
    assert digests_of(tree) == {"etc/hosts": "d" * 64}


def test_certificates_come_without_keys(tmp_path):
    paths = SandboxPaths(tmp_path, tmp_path / "x.sock")
    assert certificates(paths) == ""
    certificate = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"
    paths.authority.write_text(f"{certificate}-----BEGIN PRIVATE KEY-----\nsecret\n")
    assert certificates(paths, paths) == certificate * 2
