"""`adopt` over sandboxes that exist on disk only."""

import json

import pytest

from sandboxfile.cli.commands import adopt
from sandboxfile.errors import StaleError
from sandboxfile.host import moving
from sandboxfile.host.statedir import read_record, try_lock
from sandboxfile.host.trust import approve, expose, read_trust
from sandboxfile.model.desired import FileContent
from sandboxfile.names import UNMANAGED, SandboxId
from sandboxfile.planning.trusting import digest_of

FILE = """\
# our shop
name: shop

sandboxes:
  web: {resources: {disk: 1GiB}}   # the old one
"""
BOX = SandboxId(UNMANAGED, "box")


@pytest.fixture(autouse=True)
def _no_machines(applied, attached):
    """Nothing here touches one."""


@pytest.fixture
def box(sbx, layout):
    """Make the unmanaged sandbox `box`, with content on its disk."""

    def make(*words, agent="shell"):
        sbx("create", "--overcommit", "--name", "box", agent, *words)
        layout.sandbox(BOX).disk.write_text("precious")

    return make


def planned(sbx, code=2):
    """The changes that `up` would make to sandboxes."""
    found = json.loads(sbx("plan", "--format", "json", "--detailed-exitcode", code=code).stdout)
    assert found["diagnostics"] == []
    return [
        (change["subject"], change["action"])
        for change in found["changes"]
        if change["subject"].startswith("sandbox") and change["subject"] != "sandbox web"
    ]


def look_at(path, layout):
    """A file that was there before anything of it was applied: a person approves it as it is."""
    approve(layout, [FileContent(str(path), digest_of(path.read_text()))])


def test_it_is_written_into_the_file_and_keeps_its_disk(sbx, box, layout, project):
    (project / "sandbox.yaml").write_text(FILE)
    box(".", "--policy", "allow", "--memory", "1GiB")
    said = sbx("adopt", "-y", "box").stderr
    assert "+  box:" in said
    assert "shop/box is in" in said
    text = (project / "sandbox.yaml").read_text()
    assert text.startswith(FILE)
    assert '    workspaces:\n      - {source: ".", protect: [".env"]}\n' in text
    new = layout.sandbox(SandboxId("shop", "box"))
    assert not layout.sandbox(BOX).root.exists()
    assert new.disk.read_text() == "precious"
    assert not new.moved_record.exists()
    found = read_record(new)
    assert (str(found.spec.id), found.source) == ("shop/box", str(project / "sandbox.yaml"))
    assert planned(sbx) == [("sandbox box", "start")]
    look_at(project / "sandbox.yaml", layout)
    sbx("up", "-y", "--overcommit")
    assert "sandbox.yaml" in read_record(new).spec.workspaces[0].protect


def test_what_it_cannot_write_to_it_still_cannot_and_what_the_file_protects_by_itself_is_not_repeated(
    sbx, box, layout, project
):
    (project / "sandbox.yaml").write_text("name: ${SHOP:-shop}\nsandboxes: {}\n")
    box(".")
    sbx("adopt", "-y", "box")
    assert 'workspaces: ["."]' in (project / "sandbox.yaml").read_text()  # .env is this file's
    assert "widens" not in sbx("plan").stdout
    (project / "other").mkdir()
    sbx("create", "--overcommit", "--name", "more", "shell", "other")
    said = sbx("adopt", "-y", "more").stderr
    assert '{source: "./other", protect: [".env"' in said
    assert "widens" not in sbx("plan").stdout


def test_what_it_writes_is_approved_by_that_where_there_was_no_file_whatever_was_approved_there_once(
    sbx, box, layout, project
):
    file = project / "sandbox.yaml"
    file.write_text(FILE)
    look_at(file, layout)
    file.unlink()
    box(".")
    sbx("adopt", "-y", "box")
    assert read_trust(layout).approved[str(file)] == digest_of(file.read_text())
    sbx("up", "-y", "--overcommit")


def test_a_file_that_nobody_has_to_look_at_is_approved_with_what_is_added_and_one_in_doubt_is_not(
    sbx, box, layout, project
):
    file = project / "sandbox.yaml"
    file.write_text(FILE)
    (project.parent / "elsewhere").mkdir()
    box("../elsewhere")
    sbx("adopt", "-y", "box")  # no sandbox sees this directory
    assert read_trust(layout).approved[str(file)] == digest_of(file.read_text())
    file.write_text(file.read_text() + "# by who knows whom\n")
    sbx("create", "--overcommit", "--name", "more", "shell", ".")
    expose(layout, {str(project): frozenset()})
    sbx("adopt", "-y", "more")
    assert read_trust(layout).approved[str(file)] != digest_of(file.read_text())
    assert "sbx trust" in sbx("up", "-y", "--overcommit", code=1).stderr


def test_without_a_file_a_new_one_is_made_here(sbx, box, project):
    box()
    sbx("adopt", "-y", "box", "--as", "dev")
    text = (project / "sandbox.yaml").read_text()
    assert text.startswith("name: my-project\n\nsandboxes:\n  dev:\n    agent: shell\n")
    assert planned(sbx) == [("sandbox dev", "start")]


def test_an_agent_and_its_key_come_along_and_what_it_brings_is_not_written_out(sbx, box, project, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    box(agent="claude")
    sbx("adopt", "-y", "box")
    text = (project / "sandbox.yaml").read_text()
    assert "agent: claude" in text
    assert "template" not in text
    assert "anthropic" not in text
    assert planned(sbx) == [("sandbox box", "start")]


def test_a_template_comes_with_its_definition(sbx, box, project, clean_home):
    (clean_home / "tools").mkdir()
    (clean_home / "tools/sandbox.yaml").write_text(
        "name: tools\ntemplates:\n  low: {base: shell, packages: {apt: [file]}, policy: p}\n  dev: {base: low}\n"
        "policies: {p: {allow: [a.example.com]}}\nsandboxes: {}\n"
    )
    sbx("-f", "../tools/sandbox.yaml", "create", "--overcommit", "-t", "dev", "--name", "box", "shell", ".")
    sbx("adopt", "-y", "box")
    text = (project / "sandbox.yaml").read_text()
    assert "  low:" in text
    assert planned(sbx) == [("sandbox box", "start")]


def test_what_commands_changed_is_written(sbx, box, project):
    box()
    sbx("network", "proxy", "box", "--allow-host", "api.example.com")
    sbx("adopt", "-y", "box")
    assert "api.example.com" in (project / "sandbox.yaml").read_text()
    assert planned(sbx) == [("sandbox box", "start")]


def test_a_policy_of_the_file_is_named(sbx, box, project):
    (project / "sandbox.yaml").write_text("name: shop\npolicies: {wide: {allow: [a.example.com]}}\nsandboxes: {}\n")
    box("--policy", "wide")
    sbx("adopt", "-y", "box")
    assert "policy: wide" in (project / "sandbox.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FILE.replace("web", "box"), "has sandboxes: box already"),
        (FILE.replace("disk: 1GiB", "colour: red"), "colour"),
        ("name: shop\ndefaults: {policy: {mode: allow}}\nsandboxes: {}\n", None),
        ("name: shop\ntemplates: {dev: {base: shell}}\nsandboxes: {}\n", "its disk would be lost (template)"),
        ("name: shop\nsandboxes: &all {web: {}}\nx-more: *all\n", "cannot edit"),
    ],
)
def test_a_file_that_would_make_it_another_sandbox_is_not_changed(text, said, sbx, box, layout, project):
    tools = project.parent / "tools.yaml"
    tools.write_text("name: t\ntemplates: {dev: {base: shell, packages: {apt: [file]}}}\nsandboxes: {}\n")
    sbx("-f", str(tools), "create", "--overcommit", "-t", "dev", "--name", "box", "shell", ".")
    (project / "sandbox.yaml").write_text(text)
    if said is None:
        sbx("adopt", "-y", "box")
        return
    assert said in sbx("adopt", "-y", "box", code=1).stderr
    assert (project / "sandbox.yaml").read_text() == text
    assert layout.sandbox(BOX).disk.exists()


def test_nothing_happens_when_nobody_can_be_asked(sbx, box, layout, project):
    box()
    said = sbx("adopt", "box", code=1).stderr
    assert "+  box:" in said
    assert "--yes" in said
    assert not (project / "sandbox.yaml").exists()
    assert layout.sandbox(BOX).root.exists()


def test_only_unmanaged_sandboxes_can_be_adopted(sbx, stopped):
    stopped("web")
    assert "describes it" in sbx("adopt", "-y", "web", code=1).stderr
    assert "no sandbox box" in sbx("adopt", "-y", "box", code=1).stderr


def test_a_name_of_the_project_that_is_taken_is_refused(sbx, box, stopped, project, layout):
    (project / "sandbox.yaml").write_text(FILE)
    stopped("box")
    box()
    assert "--as" in sbx("adopt", "-y", "_run/box", code=1).stderr
    assert layout.sandbox(BOX).disk.read_text() == "precious"


def test_a_file_that_cannot_be_written_leaves_the_sandbox_as_it_was(sbx, box, layout, project, monkeypatch):
    (project / "sandbox.yaml").write_text(FILE)
    box()
    before = read_record(layout.sandbox(BOX))

    def changed(proposal):
        raise StaleError("it was changed meanwhile")

    monkeypatch.setattr(adopt, "_write", changed)
    assert "changed meanwhile" in sbx("adopt", "-y", "box", code=1).stderr
    assert read_record(layout.sandbox(BOX)) == before
    assert layout.sandbox(BOX).disk.read_text() == "precious"
    assert not layout.sandbox(SandboxId("shop", "box")).root.exists()


class Killed(BaseException):
    """As if the process was gone: nothing after it runs."""


@pytest.mark.parametrize("with_file", [True, False])
def test_after_a_kill_between_the_two_the_same_command_goes_on(with_file, sbx, box, layout, project, monkeypatch):
    if with_file:
        (project / "sandbox.yaml").write_text(FILE)
    box()
    with monkeypatch.context() as patch:
        patch.setattr(adopt, "_write", lambda proposal: (_ for _ in ()).throw(Killed))
        patch.setattr(moving, "move_back", lambda *given: None)
        with pytest.raises(AssertionError):
            sbx("adopt", "-y", "box")
    if with_file:
        assert planned(sbx, code=2) == []  # an orphan
    sbx("adopt", "-y", "box")
    assert planned(sbx) == [("sandbox box", "start")]
    assert layout.sandbox(SandboxId("shop" if with_file else "my-project", "box")).disk.read_text() == "precious"


def test_after_a_kill_before_the_record_is_settled_up_goes_on(sbx, box, layout, project, monkeypatch):
    (project / "sandbox.yaml").write_text(FILE)
    box()
    monkeypatch.setattr(moving, "settle", lambda *given: None)
    sbx("adopt", "-y", "box")
    assert planned(sbx) == [("sandbox box", "start")]
    look_at(project / "sandbox.yaml", layout)
    sbx("up", "-y", "--overcommit")
    assert "describes it" in sbx("adopt", "-y", "box", code=1).stderr


def test_a_running_one_is_stopped_and_a_busy_one_is_left(sbx, box, layout, project):
    box()
    held = try_lock(layout.sandbox(BOX).lock)
    said = sbx("adopt", "-y", "box", code=1).stderr  # the plan stops nothing here
    assert "is stopped for this" in said
    assert "box is running" in said
    assert held is not None
    assert not (project / "sandbox.yaml").exists()
