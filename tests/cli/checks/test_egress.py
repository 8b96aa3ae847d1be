"""What doctor says of the way out."""

import os
import socket
import sys

import pytest

from sandboxfile.cli.checks import egress
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import try_lock


@pytest.fixture
def layout(clean_home):
    for name in ("state", "run", "config"):
        (clean_home / name).mkdir()
    return Layout(clean_home / "state", clean_home / "cache", clean_home / "run", clean_home / "config")


def found(layout, name):
    return next(check for check in egress.check_egress(layout, os.getuid()) if check.name == name)


def test_the_proxy_is_found_without_being_loaded():
    before = "mitmproxy" in sys.modules
    assert egress.check_library().verdict == "ok"
    assert ("mitmproxy" in sys.modules) == before


def test_a_missing_or_old_proxy_names_its_fix(monkeypatch):
    monkeypatch.setattr(egress, "version", lambda name: "11.0.2")
    assert egress.check_library().verdict == "missing"
    monkeypatch.setattr(egress, "LIBRARY", "no_such_library")
    assert ">=12" in egress.check_library().fix


def test_a_policy_file_must_be_its_users_alone(layout):
    path = layout.user_policy
    path.write_text("policies: {}\n")
    path.chmod(0o644)
    assert found(layout, "user policy").verdict == "ok"
    path.chmod(0o664)
    assert "written by others" in found(layout, "user policy").detail
    path.chmod(0o644)
    checked = egress.check_trusted("user policy", path, os.getuid())
    assert checked.verdict == "ok"


def test_a_policy_file_of_somebody_else_is_told(layout):
    if os.getuid() != 0:
        pytest.skip("gives a file away")
    layout.user_policy.touch()
    os.chown(layout.user_policy, 12345, 12345)
    assert "belongs to user 12345" in found(layout, "user policy").detail


def test_what_is_no_readable_file_is_told_and_no_file_is_no_check(layout):
    assert not [check for check in egress.check_egress(layout, os.getuid()) if check.name == "user policy"]
    layout.user_policy.mkdir()
    assert found(layout, "user policy").verdict == "missing"
    layout.user_policy.rmdir()
    layout.user_policy.symlink_to("/nowhere")
    assert found(layout, "user policy").verdict == "missing"


def test_nobody_else_may_listen_for_the_gateway(layout):
    assert found(layout, "gateway").verdict == "ok"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(layout.gateway_socket))
        assert found(layout, "gateway").verdict == "ok"  # a dead one's file: nobody listens
        listener.listen()
        assert found(layout, "gateway").verdict == "missing"
        handle = try_lock(layout.gateway_lock)
        assert "running" in found(layout, "gateway").detail
        os.close(handle)
