"""Build contexts copied: what the copy holds, and that its digest is that of the copy and nothing else."""

import os

import pytest

from sandboxfile.errors import HostError
from sandboxfile.host import context_copies
from sandboxfile.host.context_copies import copy_context
from sandboxfile.host.file_digests import FileDigests
from sandboxfile.host.template_sources import context_digest


@pytest.fixture
def context(tmp_path):
    path = tmp_path / "context"
    (path / "src/deep").mkdir(parents=True)
    (path / "Dockerfile").write_text("FROM scratch\n")
    (path / "src/program").write_text("#!/bin/sh\n")
    (path / "src/program").chmod(0o4711)
    (path / "src/deep/big").write_bytes(os.urandom((1 << 20) + 7))
    (path / "link").symlink_to("../outside")
    os.mkfifo(path / "pipe")
    (path / "left").mkdir()
    (path / "left/out").write_text("left out")
    (path / "left/kept").write_text("kept")
    (path / ".dockerignore").write_text("left\n!left/kept\n")
    return path


def copied(context, cancelled=lambda: None):
    return copy_context(context, "Dockerfile", context.parent / "copy", cancelled)


def digest(context):
    with FileDigests(context.parent / "memory") as digests:
        return context_digest(context, "Dockerfile", digests)


def test_the_copy_has_all_that_counts_and_the_digest_of_the_context(context, tmp_path):
    assert copied(context) == digest(context) == digest(tmp_path / "copy")
    names = {str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*")}
    plain = {"Dockerfile", ".dockerignore", "src", "src/program", "src/deep", "src/deep/big", "link"}
    assert names == plain | {"left", "left/kept"}
    assert (tmp_path / "copy/src/deep/big").read_bytes() == (context / "src/deep/big").read_bytes()
    assert (tmp_path / "copy/link").readlink() == (context / "link").readlink()


def test_permissions_and_times_are_kept_and_no_right_of_another_user(context, tmp_path):
    for name in ("src/deep/big", "src/deep", "src"):
        os.utime(context / name, (1000, 2000))
    (context / "src/deep").chmod(0o2555)
    context.chmod(0o751)
    copied(context)

    def facts(name):
        status = (tmp_path / "copy" / name).stat()
        return status.st_mode & 0o7777, int(status.st_mtime)

    assert facts("src/program")[0] == 0o711
    assert facts("src/deep") == (0o755, 2000)
    assert facts("src/deep/big")[1] == facts("src")[1] == 2000
    assert facts("")[0] == 0o751


def test_what_is_exchanged_while_it_is_copied_is_in_no_copy_with_the_digest_of_before(context, tmp_path):
    """A-B-A: the original is as it was, before and afterwards."""
    before, looked = digest(context), []

    def exchange():
        looked.append("directory or chunk")
        (context / "src/deep/big").write_bytes(b"x" * ((1 << 20) + 7))

    now = copied(context, exchange)
    assert looked
    assert now != before
    assert now == digest(tmp_path / "copy")


def test_a_file_that_becomes_another_between_two_looks_is_refused(context, monkeypatch):
    real = os.open

    def opened(path, *rest, **options):
        if path == "program":
            (context / "src/program").unlink()
            (context / "src/program").write_text("longer than it was\n")
        return real(path, *rest, **options)

    monkeypatch.setattr(context_copies.os, "open", opened)
    with pytest.raises(HostError, match="`src/program` in it: it changes while it is read"):
        copied(context)


def test_who_waits_no_more_ends_it(context):
    class GivenUpError(Exception):
        pass

    def give_up():
        raise GivenUpError

    with pytest.raises(GivenUpError):
        copied(context, give_up)
