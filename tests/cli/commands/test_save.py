"""`save` over a sandbox that is kept in no time."""

import io

import pytest

from sandboxfile.applying import building
from sandboxfile.cli.main import run
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import BusyError
from sandboxfile.names import SandboxId


@pytest.fixture
def sbx(project, environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project)

    def call(*words):
        console = Console(io.StringIO(), io.StringIO(), io.StringIO())
        return run(words, console), console.err.getvalue()

    return call


def test_a_sandbox_is_kept_under_a_tag(sbx, stopped, layout, make_saved, monkeypatch):
    stopped("web")
    kept, asked = make_saved("dev:1"), []

    async def save_sandbox(given, id, tag, report, *, replace=False):
        asked.append((given, id, tag, replace))
        report("packing")
        return kept

    monkeypatch.setattr(building, "save_sandbox", save_sandbox)
    code, said = sbx("save", "web", "saved:dev:1", "--replace")
    assert code == 0
    assert asked == [(layout, SandboxId("shop", "web"), "dev:1", True)]
    assert "save shop/web: packing" in said
    assert "kept as saved:dev:1" in said


def test_a_tag_that_is_taken_is_told(sbx, stopped, monkeypatch):
    stopped("web")

    async def save_sandbox(*given, replace):
        raise BusyError("there is a saved template dev already", hint="--replace replaces it")

    monkeypatch.setattr(building, "save_sandbox", save_sandbox)
    code, said = sbx("save", "web", "dev")
    assert code == 1
    assert "save shop/web: failed" in said
    assert said.endswith("hint: --replace replaces it\n")


def test_what_does_not_exist_cannot_be_kept(sbx):
    assert sbx("save", "web", "dev")[0] == 1
