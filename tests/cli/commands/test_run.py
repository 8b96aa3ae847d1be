"""`run` and `create` over sandboxes that exist on disk only: which sandbox is meant, and what is made."""

import pytest

from sandboxfile.cli import unmanaged
from sandboxfile.host.statedir import read_record, write_record
from sandboxfile.model.credential import SecretSource
from sandboxfile.model.desired import DesiredSandbox, Image, Workspace
from sandboxfile.model.observed import Applied
from sandboxfile.model.plan import CreateSandbox
from sandboxfile.names import UNMANAGED, SandboxId

FILE = """\
name: shop
defaults: {env: {A: of-the-file}}
templates:
  low: {base: shell, packages: {apt: [file]}, policy: mirror}
  dev: {base: low, files: [{source: ./motd, target: /etc/motd}]}
policies:
  mirror: {allow: [mirror.example.com]}
  wide: {extends: mirror, allow: ["*.example.com"]}
  held: {enforce: true, mode: allow, block: [bad.example.com]}
  unused: {allow: [unused.example.com]}
sandboxes:
  web: {workspaces: [.]}
"""


@pytest.fixture(autouse=True)
def _no_waiting_host(applied, attached):
    """Nothing here touches a machine."""


@pytest.fixture
def run(sbx):
    """`sbx run ... --overcommit`; the agent of these tests ends with 7."""

    def call(*words, code=7):
        return sbx("run", "--overcommit", *words, code=code)

    return call


@pytest.fixture
def spec(layout):
    """What an unmanaged sandbox is by its record."""
    return lambda name: read_record(layout.sandbox(SandboxId(UNMANAGED, name))).spec


def made(applied):
    return [
        step.operation.spec.id.name
        for plan in applied
        for step in plan.steps
        if isinstance(step.operation, CreateSandbox)
    ]


def test_a_sandbox_is_made_for_this_directory_and_named_after_both(run, applied, attached, spec, project):
    run("shell")
    assert made(applied) == ["shell-my-project"]
    assert [workspace.source for workspace in spec("shell-my-project").workspaces] == [str(project)]
    assert attached == [("shell-my-project", [], {}, False)]


def test_arguments_variables_and_detaching_are_for_the_agent(run, attached, monkeypatch):
    monkeypatch.setenv("HERE", "1")
    run("shell", "-d", ".", "-e", "A=b", "-e", "HERE", "--", "-c", "echo hi", "--", "-y")
    assert attached == [("shell-my-project", ["-c", "echo hi", "--", "-y"], {"A": "b", "HERE": "1"}, True)]


def test_words_and_options_may_come_in_any_order(run, spec, project):
    docs = project.parent / "docs"
    docs.mkdir()
    run("shell", "--name", "box", ".", "--cpus", "1", "../docs/../docs:ro")
    assert [(item.source, item.mode) for item in spec("box").workspaces] == [(str(project), "rw"), (str(docs), "ro")]
    assert spec("box").resources.cpus == 1


def test_the_same_again_comes_back_to_it(run, applied, attached):
    run("shell")
    run("shell", ".")
    run("shell-my-project")
    assert made(applied) == ["shell-my-project"]
    assert [call[0] for call in attached] == ["shell-my-project"] * 3
    assert [step.key for step in applied[-1].steps if "platform" not in step.key] == ["start shell-my-project"]


def test_a_name_that_is_taken_gets_a_number(run, applied, clean_home):
    for place in ("a", "b", "c"):
        (clean_home / place / "app").mkdir(parents=True)
        run("shell", f"../{place}/app")
    run("shell", "../b/app")
    assert made(applied) == ["shell-app", "shell-app-2", "shell-app-3"]


def test_an_unreadable_sandbox_is_left_alone(run, applied, layout):
    paths = layout.sandbox(SandboxId(UNMANAGED, "shell-my-project"))
    paths.root.mkdir(parents=True)
    paths.record.write_text("{")
    run("shell")
    assert made(applied) == ["shell-my-project-2"]
    assert paths.record.read_text() == "{"


def test_numbers_fit_into_the_longest_name(run, applied, clean_home):
    for place in ("a", "b"):
        (clean_home / place / ("x" * 80)).mkdir(parents=True)
        run("shell", f"../{place}/{'x' * 80}")
    assert [len(name) for name in made(applied)] == [63, 63]
    assert made(applied)[1].endswith("x-2")


def test_several_names_can_have_one_directory(run, applied, spec):
    run("shell", "--name", "one")
    run("shell", "--name", "two")
    run("shell", "--name", "one")
    assert made(applied) == ["one", "two"]
    assert spec("one").workspaces == spec("two").workspaces


def test_links_to_a_directory_are_that_directory(run, applied, project, clean_home):
    run("shell")
    (clean_home / "other").mkdir()
    (clean_home / "other/my-project").symlink_to(project)
    run("shell", "../other/my-project")
    assert made(applied) == ["shell-my-project"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["claude", "--name", "box"], "its agent is shell, not claude (it is fixed when a sandbox is made)"),
        (["shell", "--name", "box", ".."], "its workspaces are "),
        (["shell", "--name", "box", ".:ro"], "my-project:ro"),
        (["shell", "--name", "box", "-t", "base"], "its template is shell, not base"),
        (["shell", "--name", "box", "--policy", "allow"], "its policy is another one"),
        (["shell", "--name", "box", "--cpus", "1", "--memory", "1GiB"], "it was made with another `cpus`"),
        (["box", "."], "box is no agent"),
        (["box", "-t", "base"], "come back to it as it is: sbx run box"),
    ],
)
def test_a_sandbox_that_exists_is_not_made_anew(words, said, run, applied, attached):
    run("shell", "--name", "box")
    shown = run(*words, code=125).stderr
    assert said in shown
    assert "sbx run box" in shown
    assert made(applied) == ["box"]
    assert len(attached) == 1


def test_options_that_it_has_already_change_nothing(run, applied):
    options = ("-t", "base", "--policy", "allow", "--cpus", "1", "--memory", "512MiB")
    run("shell", *options)
    run("shell", *options)
    assert made(applied) == ["shell-my-project"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cluade"], "did you mean claude"),
        (["shell", "nowhere"], "there is no directory nowhere"),
        (["shell", "nowhere:ro"], "there is no directory nowhere"),
        (["shell", "/"], "is the whole host"),
        (["shell", ".."], "the home directory"),
        (["shell", "../sbx/state"], "sandboxfile keeps its own files"),
        (["shell", "-t", "bsae"], "did you mean base"),
        (["shell", "-t", "saved:no"], "nothing is saved under that tag"),
        (["shell", "--policy", "alow"], "did you mean allow"),
        (["shell", "--memory", "much"], "memory"),
        (["shell", "--detach-keys", "ctrl-ö"], "there is no key"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(words, said, run, applied, clean_home):
    (clean_home / "sbx/state/sandboxfile").mkdir(parents=True)
    (clean_home / "sbx/state/x").mkdir()
    assert said in run(*words, code=125).stderr
    assert not made(applied)


def test_who_commits_is_told_unless_refused(run, spec, clean_home):
    (clean_home / ".gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.com\n")
    run("shell", "--name", "told")
    run("shell", "--name", "untold", "--no-git-identity")
    assert ("GIT_AUTHOR_EMAIL", "ada@example.com") in spec("told").env
    assert spec("untold").env == ()


def test_sandbox_files_of_a_workspace_cannot_be_changed_inside(run, spec, project):
    (project / "sandbox.yaml").write_text("sandboxes: {}\n")
    (project / "sandbox.override.yaml").symlink_to("nowhere")
    run("shell")
    (found,) = spec("shell-my-project").workspaces
    overrides = ("sandbox.override.yaml", "sandbox.override.yml")
    sandbox_files = ("sandbox.lock", *overrides, "sandbox.yaml", "sandbox.yml")
    assert found.protect == (".env", ".git/config", ".git/hooks", *sandbox_files)


def test_nobody_is_asked_and_what_it_reaches_is_said(run):
    said = run("shell", "--policy", "allow").stderr
    assert "shell-my-project can reach everything but private networks" in said
    assert said.count("can reach everything") == 1
    assert "Apply" not in said


# --- templates and policies --------------------------------------------------------------------------------------


def test_a_template_of_the_file_comes_with_its_chain_and_what_the_file_enforces(run, spec, applied, project):
    (project / "sandbox.yaml").write_text(FILE)
    (project / "motd").write_text("hi\n")
    (project / "sub").mkdir()
    run("shell", "sub", "-t", "dev", "--policy", "wide")
    found = spec("shell-sub")
    assert found.template == "dev"
    assert dict(found.env).get("A") is None
    assert [layer.name for layer in found.policy.layers] == ["policy held", "policy wide"]
    assert [rule.pattern for rule in found.policy.own.allow] == ["mirror.example.com", "*.example.com"]
    run("shell", "sub", "-t", "dev", "--policy", "wide")
    assert made(applied) == ["shell-sub"]


def test_what_the_command_asked_for_is_kept_and_means_the_same_anywhere(run, layout, spec, project, cli):
    (project / "sandbox.yaml").write_text(FILE)
    (project / "motd").write_text("hi\n")
    (project.parent / "work").mkdir()
    run("shell", "../work", "-t", "dev", "--policy", "wide")
    kept = layout.sandbox(SandboxId(UNMANAGED, "shell-work")).command.read_text()
    assert str(project / "motd") in kept
    assert "unused.example.com" not in kept
    (project.parent / "other.yaml").write_text(kept)
    shown = cli("-f", str(project.parent / "other.yaml"), "config", "--format", "json").stdout
    assert '"template": "dev"' in shown


def test_a_wrong_file_hinders_only_what_needs_it(run, applied, project):
    (project / "sandbox.yaml").write_text(FILE.replace("workspaces: [.]", "colour: red"))
    run("shell")
    assert "colour" in run("shell", "--name", "b", "-t", "dev", code=125).stderr
    assert "colour" in run("web", code=125).stderr
    assert made(applied) == ["shell-my-project"]


def test_bases_of_the_language_are_templates(run, spec, make_saved):
    make_saved("kept")
    run("shell", "--name", "a", "-t", "kept")
    run("shell", "--name", "b", "-t", "saved:kept")
    run("shell", "--name", "c", "-t", "oci:registry.example.com/team/image:1")
    assert spec("a").image.digest == spec("b").image.digest
    assert spec("c").template == "oci-registry-example-com-team-image-1"


def test_the_users_policies_can_be_named(run, spec, clean_home):
    place = clean_home / ".config/sandboxfile"
    place.mkdir(parents=True)
    (place / "policy.yaml").write_text(
        "default_policy: usual\npolicies: {usual: {allow: [a.example.com]}, mine: {allow: [b.example.com]}}\n"
    )
    run("shell", "--name", "a")
    run("shell", "--name", "b", "--policy", "mine")
    assert [spec(name).policy.own.allow[0].pattern for name in "ab"] == ["a.example.com", "b.example.com"]


def test_create_makes_it_and_attaches_nobody(sbx, applied, attached):
    said = sbx("create", "--overcommit", "-q", "--name", "box", "shell", ".")
    assert said.stdout == "box\n"
    assert "sbx run box" in sbx("create", "--overcommit", "--name", "box", "shell").stdout
    assert made(applied) == ["box"]
    assert attached == []


def test_create_takes_images_of_this_host(sbx, spec, applied):
    said = sbx("create", "--overcommit", "--load-local-template", "-t", "mine:1", "shell", code=1).stderr
    assert "stands on `docker:mine:1`" in said
    assert "which image" in sbx("create", "--load-local-template", "shell", code=1).stderr
    assert "no agent that could get arguments" in sbx("create", "shell", "--", "-x", code=1).stderr
    assert not made(applied)


# --- sandboxes of the file ---------------------------------------------------------------------------------------


def test_a_sandbox_of_the_file_is_brought_up_alone_shown_and_asked_for(run, applied, attached, project):
    (project / "sandbox.yaml").write_text("name: shop\nsandboxes: {shell: {}, db: {}}\n")
    said = run("shell", code=125).stderr
    assert "sandbox shell: create" in said
    assert "sandbox db" not in said
    assert "--yes" in said
    run("shell", "-y")
    assert made(applied) == ["shell"]
    assert [plan.project for plan in applied] == ["shop"]
    run("shell")
    assert attached == [("shop/shell", [], {}, False)] * 2
    run("shell", ".")  # with a directory it is the agent
    assert attached[-1][0] == "shell-my-project"


def test_other_projects_are_named_in_full(run, applied, attached, stopped):
    stopped("web")
    assert "no agent and no sandbox web" in run("web", code=125).stderr
    run("shop/web")
    assert attached == [("shop/web", [], {}, False)]


# --- others at work, and what comes back -------------------------------------------------------------------------


def test_a_name_that_somebody_takes_meanwhile_is_left_to_them(run, applied, layout, clean_home, monkeypatch):
    (clean_home / "other/my-project").mkdir(parents=True)
    settle, looked = unmanaged.settle, []

    def settled(wish, layout):
        found = settle(wish, layout)
        if not looked:
            looked.append(found)
            theirs = Workspace(f"{clean_home}/other/my-project", "/x")
            record(layout, DesiredSandbox(found[0], "shell", Image("d"), workspaces=(theirs,)))
        return found

    monkeypatch.setattr(unmanaged, "settle", settled)
    run("shell")
    assert made(applied) == ["shell-my-project-2"]
    theirs = read_record(layout.sandbox(SandboxId(UNMANAGED, "shell-my-project"))).spec
    assert theirs.workspaces[0].source == f"{clean_home}/other/my-project"


def record(layout, spec):
    paths = layout.sandbox(spec.id)
    paths.root.mkdir(parents=True)
    write_record(paths, Applied(spec, "", "2026-01-02T03:04:05+00:00", 0))
    for file in (paths.disk, paths.base):
        file.touch()


def test_a_key_that_is_there_later_comes_with_the_next_run_and_stays(run, spec, monkeypatch):
    assert "No credential" in run("claude").stderr
    assert spec("claude-my-project").policy.credentials == ()
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    run("claude")
    (found,) = spec("claude-my-project").policy.credentials
    assert found.source == SecretSource("env", "ANTHROPIC_API_KEY")
    assert dict(spec("claude-my-project").policy.settings)["ANTHROPIC_API_KEY"] == found.placeholder
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    run("claude-my-project")
    assert spec("claude-my-project").policy.credentials == (found,)


def test_what_commands_changed_stays_when_it_is_come_back_to(run, spec, sbx):
    run("shell")
    sbx("network", "proxy", "shell-my-project", "--allow-host", "api.example.com")
    before = spec("shell-my-project")
    run("shell")
    assert spec("shell-my-project") == before
    assert [rule.pattern for rule in before.policy.own.allow] == ["api.example.com"]


def test_a_deleted_disk_is_no_reason_to_make_another_one(run, layout, applied):
    run("shell")
    layout.sandbox(SandboxId(UNMANAGED, "shell-my-project")).disk.unlink()
    said = run("shell", code=125).stderr
    assert "the disk of shell-my-project has been deleted" in said
    assert made(applied) == ["shell-my-project"]


# --- the other commands ------------------------------------------------------------------------------------------


def test_up_and_down_leave_it_alone_and_the_others_find_it_by_its_name(run, sbx, applied, project):
    (project / "sandbox.yaml").write_text("name: shop\nsandboxes: {}\n")
    run("shell", "--name", "box")
    for words in (("up", "-y"), ("down", "-y")):
        assert "box" not in sbx(*words).stderr
    line = sbx("ls", "-a").stdout.splitlines()[1].split()
    assert line[:5] == ["box", "box", "shell", "stopped", str(project)]
    assert "nothing to do" in sbx("stop", "box").stderr
    assert '"managed": false' in sbx("ls", "-a", "--format", "json").stdout
    assert "a command made it" in sbx("status", "box").stdout
    assert "box, as applied" in sbx("policy", "show", "box").stderr
    sbx("logs", "box")
    assert "sandbox box: delete" in sbx("rm", "-y", "box").stderr
    assert sbx("ls", "-aq").stdout == ""


def test_reset_deletes_it_too(run, sbx):
    run("shell")
    sbx("reset", "-y")
    assert sbx("ls", "-aq").stdout == ""


def test_the_policy_of_what_no_file_describes_is_written_into_none(run, sbx):
    run("shell", "--name", "box")
    said = sbx("network", "proxy", "box", "--allow-host", "api.example.com", "--save", code=1).stderr
    assert "sbx adopt box" in said
