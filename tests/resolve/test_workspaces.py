"""Which directories are shared, where they appear, and what of them stays read-only."""

import pytest

from sandboxfile.model.desired import Workspace

BASE = "/home/user/project"
ALWAYS = (".git/config", ".git/hooks", "sandbox.yaml")


def test_a_workspace_appears_at_its_own_path_and_protects_what_is_loaded(host):
    (workspace,) = host.only("sandboxes: {web: {workspaces: [.]}}").workspaces
    assert workspace == Workspace(BASE, BASE, "rw", ALWAYS)


def test_files_loaded_by_any_sandbox_are_protected_in_every_writable_workspace(host):
    host.text(f"{BASE}/conf/db.env", "A=1").directory("/opt/x")
    web, db = host.state(
        "sandboxes:\n  web: {workspaces: [.]}\n  db: {env_file: conf/db.env, workspaces: [/opt/x]}"
    ).sandboxes[::-1]
    assert web.workspaces[0].protect == (".git/config", ".git/hooks", "conf/db.env", "sandbox.yaml")
    assert db.workspaces[0].protect == (".git/config", ".git/hooks")


def test_a_file_above_the_workspace_is_not_in_it(host):
    host.directory(f"{BASE}/src")
    (workspace,) = host.only("sandboxes: {web: {workspaces: [./src]}}").workspaces
    assert workspace.protect == (".git/config", ".git/hooks")


def test_the_users_own_list_is_added(host):
    (workspace,) = host.only(
        "sandboxes: {web: {workspaces: [{source: ., protect: [Makefile, .git/hooks]}]}}"
    ).workspaces
    assert workspace.protect == (".git/config", ".git/hooks", "Makefile", "sandbox.yaml")


@pytest.mark.parametrize("project", ["", "_run"])
def test_what_of_the_host_shapes_sandboxes_is_protected_whoever_makes_them(host, project):
    host.project = project
    host.configured("/home/user/project/.npmrc", "/home/user/.npmrc")
    (workspace,) = host.only("sandboxes: {web: {workspaces: [.]}}").workspaces
    assert ".npmrc" in workspace.protect
    assert ("sandbox.yaml" in workspace.protect) != bool(project)


def test_what_of_the_host_shapes_sandboxes_is_not_read_through_a_link_that_an_agent_can_turn(host):
    host.configured("/home/user/project/.npmrc").link("/home/user/project/.npmrc", "/home/user/mine", kind="file")
    assert host.summaries("sandboxes: {web: {workspaces: [.]}}") == ["Symlink inside a workspace"]


def test_a_read_only_workspace_needs_no_protection(host):
    (workspace,) = host.only("sandboxes: {web: {workspaces: ['.:ro']}}").workspaces
    assert workspace == Workspace(BASE, BASE, "ro")


def test_home_and_dots_are_resolved_as_text(host):
    host.directory("/home/user/docs", "/home/user/lib")
    first, second = host.only("sandboxes: {web: {workspaces: [~/docs, '../x/../lib/:/opt//lib/']}}").workspaces
    assert (first.source, first.target) == ("/home/user/docs", "/home/user/docs")
    assert (second.source, second.target) == ("/home/user/lib", "/opt/lib")


def test_the_source_is_the_real_path_and_the_target_the_written_one(host):
    host.link("/srv/link", "/data/real")
    (workspace,) = host.only("sandboxes: {web: {workspaces: [/srv/link]}}").workspaces
    assert (workspace.source, workspace.target) == ("/data/real", "/srv/link")


@pytest.mark.parametrize(
    "path",
    ["/", "/home/user", "/home", "/home/user/.local", "/home/user/.local/state/sandboxfile/sandboxes", "/run/user/1000",
     "/home/user/.cache", "/proc", "/proc/1", "/sys/fs/cgroup", "/dev"],
)  # fmt: skip
def test_dangerous_directories_are_refused(host, path):
    host.directory(path)
    assert host.summaries(f"sandboxes: {{web: {{workspaces: ['{path}:/src:ro']}}}}") == ["Unsafe workspace"]


@pytest.mark.parametrize("real", ["/", "/home/user", "/home", "/proc"])
def test_dangerous_directories_are_refused_behind_symlinks_too(host, real):
    host.link("/srv/link", real)
    assert "Unsafe workspace" in host.summaries("sandboxes: {web: {workspaces: ['/srv/link:/src']}}")


def test_directories_with_similar_names_are_not_refused(host):
    host.directory("/home/user2", "/home/user/.local/state/sandboxfile2", "/process")
    sandbox = host.only("sandboxes: {web: {workspaces: [/home/user2, ~/.local/state/sandboxfile2, '/process:/p']}}")
    assert len(sandbox.workspaces) == 3


@pytest.mark.parametrize(
    "target",
    ["/", "/proc", "/proc/x", "/sys/a", "/dev/shm", "/run", "/run/sbx/bin", "/etc", "/usr", "/usr/bin", "/bin",
     "/lib64", "/boot/x", "/home", "/var", "/var/run/x", "/etc/.", "/usr//bin/"],
)  # fmt: skip
def test_targets_that_would_hide_the_system_are_refused(host, target):
    assert host.summaries(f"sandboxes: {{web: {{workspaces: ['.:{target}']}}}}") == ["Unsafe target"]


OTHER_TARGETS = ["/workspace", "/home/agent/src", "/usr/local/src", "/etc/app", "/opt", "/srv", "/processes"]


@pytest.mark.parametrize("target", OTHER_TARGETS)
def test_other_targets_are_free(host, target):
    assert host.only(f"sandboxes: {{web: {{workspaces: ['.:{target}']}}}}").workspaces[0].target == target


def test_targets_must_differ_and_not_nest(host):
    host.directory("/a", "/b")
    text = "sandboxes: {{web: {{workspaces: ['/a:/x', '/b:{}']}}}}"
    assert host.summaries(text.format("/x/")) == ["Duplicate target"]
    assert host.summaries(text.format("/x/y")) == ["Nested targets"]
    assert host.summaries(text.format("/xy")) == []


def test_targets_of_a_sandbox_and_of_the_defaults_must_not_nest(host):
    host.directory("/a")
    found = host.summaries("defaults: {workspaces: ['/a:/x/y']}\nsandboxes: {web: {workspaces: ['.:/x']}}")
    assert found == ["Nested targets"]


def test_a_symlink_that_a_sandbox_can_turn_is_not_followed(host):
    host.link(f"{BASE}/link", "/data").directory("/data")
    by_other = f"sandboxes: {{a: {{workspaces: [.]}}, b: {{workspaces: ['{BASE}/link:/x:ro']}}}}"
    assert host.summaries(by_other) == ["Symlink inside a workspace"]
    read_only = by_other.replace("[.]", "['.:ro']")
    assert host.summaries(read_only) == []


def test_a_file_loaded_through_a_symlink_that_a_sandbox_can_turn_is_refused(host):
    host.link(f"{BASE}/conf/.env", "/data/.env", kind="file", at=f"{BASE}/conf")
    assert host.summaries("sandboxes: {a: {workspaces: [.], env_file: conf/.env}}") == ["Symlink inside a workspace"]
    assert host.summaries("sandboxes: {a: {workspaces: ['.:ro'], env_file: conf/.env}}") == []


def test_the_sandbox_file_itself_must_not_be_such_a_symlink(host):
    host.link(f"{BASE}/sandbox.yaml", "/etc/shared.yaml", kind="file")
    assert host.summaries("sandboxes: {a: {workspaces: [.]}}") == ["Symlink inside a workspace"]
