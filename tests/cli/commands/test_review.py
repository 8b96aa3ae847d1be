"""`sbx review`: what it shows, what it says with its exit code, and what --done settles."""

import json
import os

import pytest

from sandboxfile.cli import exits
from sandboxfile.host.review import remember
from sandboxfile.model.desired import Workspace


@pytest.fixture
def shop(stopped, tmp_path):
    """A sandbox with a workspace that was written down; gives the directory."""
    source = tmp_path / "shop"
    source.mkdir()
    workspaces = (Workspace(str(source), str(source)),)
    remember(stopped("web", workspaces=workspaces), workspaces)
    return source


def test_nothing_changed_is_said_and_is_zero(cli, shop):
    done = cli("review", "shop/web")
    assert done.stdout == ""
    assert "nothing has changed" in done.stderr


def test_findings_are_listed_with_why_until_somebody_has_looked(cli, shop):
    (shop / ".envrc").write_text("")
    done = cli("review", "shop/web", code=exits.CHANGES)
    assert done.stdout.splitlines()[1].split()[:3] == ["new", "environment", f"{shop}/.envrc"]
    assert "shells and tools take variables" in done.stdout
    assert "sbx review shop/web --done" in done.stderr
    assert ".envrc" in cli("review", "shop/web", "--done").stdout
    assert cli("review", "shop/web").stdout == ""


def test_as_json_it_is_data(cli, shop):
    (shop / "package.json").write_text('{"scripts": {"dev": "x"}}')
    [finding] = json.loads(cli("review", "--format", "json", "shop/web", code=exits.CHANGES).stdout)
    assert finding == {
        "path": f"{shop}/package.json",
        "part": "scripts.dev",
        "kind": "package manager",
        "change": "new",
        "why": "package managers run it, or fetch from where it says",
    }


def test_names_that_drive_terminals_are_shown_harmless(cli, shop):
    evil = os.path.join(os.fsencode(shop), b"\x1b[2J\nnew  tests    all fine\xff\xc2\x9b")  # noqa: PTH118 - bytes
    os.mkdir(evil)  # noqa: PTH102
    with open(os.path.join(evil, b"Makefile"), "wb"):  # noqa: PTH118, PTH123
        pass
    done = cli("review", "shop/web", code=exits.CHANGES)
    assert len(done.stdout.splitlines()) == 2
    assert "\x1b" not in done.stdout
    assert "\x9b" not in done.stdout
    data = cli("review", "--format", "json", "shop/web", code=exits.CHANGES).stdout
    assert data.isascii()
    assert "\x1b" not in data


def test_a_record_that_cannot_be_read_is_an_error_until_done(cli, shop, layout):
    from sandboxfile.names import SandboxId

    layout.sandbox(SandboxId("shop", "web")).review.write_text("{}")
    assert "--done" in cli("review", "shop/web", code=exits.FAILED).stderr
    assert "counts as new" in cli("review", "shop/web", "--done").stderr
    cli("review", "shop/web")
