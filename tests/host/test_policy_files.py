"""The user's and the machine's policy files: read when they are there, trusted when they are theirs."""

import os
from pathlib import Path

import pytest

from sandboxfile.diagnostics import has_errors
from sandboxfile.host.layout import Layout
from sandboxfile.host.policy_files import read_policy_files
from sandboxfile.model.desired import FileContent
from sandboxfile.planning.trusting import ABSENT, digest_of
from sandboxfile.resolve.inputs import PolicyFiles


class Files:
    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.machine = root / "etc/policy.yaml"
        self.layout = Layout.from_environment({}, self.home, 1000)
        self.user = self.layout.user_policy
        for path in (self.machine, self.user):
            path.parent.mkdir(parents=True)

    def read(self) -> PolicyFiles:
        return read_policy_files(self.layout, self.home, self.machine)

    def write(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o644)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_absence_is_fine(files: Files) -> None:
    absent = PolicyFiles(files=(FileContent(str(files.machine), ABSENT), FileContent(str(files.user), ABSENT)))
    assert files.read() == absent
    files.user.parent.rmdir()
    assert files.read() == absent


def test_both_files_are_read_and_the_users_sees_the_machines(files: Files) -> None:
    files.write(files.machine, "policies: {corp: {}}")
    files.write(files.user, "default_policy: corp\npolicies: {mine: {extends: corp}}")
    found = files.read()
    assert found.problems == ()
    assert found.names == {"corp", "mine"}
    assert [file.digest for file in found.files] == [
        digest_of(each.read_bytes()) for each in (files.machine, files.user)
    ]
    assert found.user is not None
    assert str(found.user.span("default_policy")) == "~/.config/sandboxfile/policy.yaml:1:17"
    assert sorted(found.sources) == [str(files.machine), "~/.config/sandboxfile/policy.yaml"]


def test_the_machine_does_not_see_the_users(files: Files) -> None:
    files.write(files.machine, "policies: {corp: {extends: mine}}")
    files.write(files.user, "policies: {mine: {}}")
    (problem,) = files.read().problems
    assert (problem.summary, problem.span.file if problem.span else "") == ("Unknown policy", str(files.machine))


@pytest.mark.parametrize("which", ["user", "machine"])
@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_may_write_to_is_an_error(files: Files, which: str, mode: int) -> None:
    path = getattr(files, which)
    files.write(path, "policies: {}")
    path.chmod(mode)
    found = files.read()
    assert has_errors(found.problems)
    assert (found.user, found.machine) == (None, None)
    assert "chmod go-w" in (found.problems[0].hint or "")


@pytest.mark.skipif(os.getuid() != 0, reason="needs to give a file away")
def test_a_file_of_another_user_is_an_error(files: Files) -> None:
    files.write(files.user, "policies: {}")
    os.chown(files.user, 12345, 12345)
    (problem,) = files.read().problems
    assert "belongs to another user" in problem.detail


@pytest.mark.parametrize("make", ["directory", "fifo", "dangling", "loop", "not_utf8", "empty", "wrong"])
def test_what_is_there_and_cannot_be_read_is_an_error(files: Files, make: str) -> None:
    path = files.user
    match make:
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "dangling":
            path.symlink_to("nothing")
        case "loop":
            path.symlink_to(path.name)
        case "not_utf8":
            path.write_bytes(b"\xff")
        case "empty":
            files.write(path, "")
        case "wrong":
            files.write(path, "policies: [1]")
    assert has_errors(files.read().problems)


def test_a_symlink_to_a_file_of_ours_is_followed(files: Files) -> None:
    files.write(files.home / "dotfiles.yaml", "policies: {mine: {}}")
    files.user.symlink_to(files.home / "dotfiles.yaml")
    assert files.read().names == {"mine"}
