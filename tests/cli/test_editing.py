"""Writing the sandbox file: at once or not at all, as the same file that was read, with its mode."""

import os
import stat

import pytest

from sandboxfile.cli import editing
from sandboxfile.cli.editing import Proposal, same_meaning, write
from sandboxfile.errors import StaleError
from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.model.policy import COMMAND, NO_POLICY, Layer, Policy, Rule


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sandbox.yaml"
    path.write_bytes(b"old\r\n")
    return path


def left(path):
    return sorted(entry.name for entry in path.parent.iterdir())


def proposal(path, before=b"old\r\n", after=b"new\r\n"):
    return Proposal(path, before, after, NO_POLICY)


def test_the_file_is_replaced_with_its_mode_and_leaves_nothing_behind(file):
    file.chmod(0o640)
    write(proposal(file))
    assert file.read_bytes() == b"new\r\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert left(file) == ["sandbox.yaml"]


def test_its_owner_keeps_it(file):
    if os.getuid() != 0:
        pytest.skip("gives a file away")
    os.chown(file, 12345, 23456)
    write(proposal(file))
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 23456)


def test_a_symlink_stays_one_and_what_it_leads_to_is_changed(file, tmp_path):
    link = tmp_path / "elsewhere" / "link.yaml"
    link.parent.mkdir()
    link.symlink_to("../sandbox.yaml")
    write(proposal(link))
    assert link.is_symlink()
    assert file.read_bytes() == b"new\r\n"
    assert left(link) == ["link.yaml"]


@pytest.mark.parametrize("now", [b"older\r\n", b"old\r\nand more", b"", None])
def test_a_file_that_changed_meanwhile_is_left_as_it_is(file, now):
    if now is None:
        file.unlink()
    else:
        file.write_bytes(now)
    with pytest.raises(StaleError, match="changed meanwhile"):
        write(proposal(file))
    assert (file.read_bytes() if file.exists() else None) == now
    assert left(file) in ([], ["sandbox.yaml"])


def test_a_file_that_is_swapped_while_it_is_written_is_left_as_it_is(file, monkeypatch):
    def swap(handle, found):
        file.rename(file.with_suffix(".bak"))
        file.write_bytes(b"somebody else's")

    monkeypatch.setattr(editing, "_take_over", swap)
    with pytest.raises(StaleError):
        write(proposal(file))
    assert file.read_bytes() == b"somebody else's"
    assert left(file) == ["sandbox.bak", "sandbox.yaml"]


def test_a_new_file_that_somebody_changes_before_it_has_its_name_is_noticed(file, monkeypatch):
    def meddle(handle, found):
        (temporary,) = file.parent.glob(".sandbox.yaml.*")
        with temporary.open("r+b") as other:
            other.write(b"NEW")

    monkeypatch.setattr(editing, "_take_over", meddle)
    with pytest.raises(StaleError, match="while it was written"):
        write(proposal(file))


def test_credentials_do_not_count_as_the_environment_may_have_changed():
    rules = (Layer("policy a", allow=(Rule("x"), Rule("y:443", origin="agent claude"))),)
    credential = Credential("c", SecretSource("env", "KEY"), (Injection("y"),), "KEY", "placeholder")
    first = Policy(rules, (("KEY", "placeholder"), ("NPM", "url")), (credential,))
    assert same_meaning(first, Policy(rules, (("NPM", "url"),)))
    assert not same_meaning(first, Policy(rules, ()))
    assert not same_meaning(
        first, Policy((Layer("policy a", allow=rules[0].allow[:1]),), first.settings, (credential,))
    )


def test_policies_mean_the_same_when_they_decide_alike():
    first = Policy((Layer("policy a", allow=(Rule("x", origin=COMMAND), Rule("y", place="f:1"))),))
    second = Policy((Layer("policy of web", allow=(Rule("y"), Rule("x", place="g:2")), place="g:1"),))
    assert same_meaning(first, second)
    for other in (
        Layer("policy a", "allow", allow=second.own.allow),
        Layer("policy a", allow=(Rule("x"),)),
        Layer("policy a", block=second.own.allow),
        Layer("policy a", allow=second.own.allow, inspect="minimal"),
        Layer("policy a", allow=(Rule("x", origin="preset npm"), Rule("y"))),
    ):
        assert not same_meaning(first, Policy((other,)))
    assert not same_meaning(first, Policy((Layer("z", enforced=True), *second.layers)))
