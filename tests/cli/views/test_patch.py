"""Differences that `patch` applies, whatever the line ends."""

import subprocess

import pytest

from sandboxfile.cli.views.patch import patch


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\nb\n", "a\nb\nc\n"),
        ("a\nb", "a\nb\nc"),
        ("a\r\nb\r\n", "a\r\nb\r\nc\r\n"),
        ("a\x0cb\u2028c\n", "a\x0cb\u2028c\nd\n"),
        ("", "a"),
    ],
)
def test_patch_makes_the_one_of_the_other(before, after, tmp_path):
    (tmp_path / "sandbox.yaml").write_bytes(before.encode())
    text = patch(before, after, "sandbox.yaml")
    done = subprocess.run(["patch", "-p0", "--binary"], cwd=tmp_path, input=f"{text}\n".encode(), capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "sandbox.yaml").read_bytes() == after.encode()


def test_no_difference_is_no_patch():
    assert patch("a\n", "a\n", "x") == ""
