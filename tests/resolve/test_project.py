"""What a file asks for, with all defaults applied."""

import pytest

from sandboxfile.language.validate import load
from sandboxfile.model.desired import Command, Resources
from sandboxfile.model.values import GIB, MIB
from sandboxfile.resolve.inputs import PathFact, ResolveInputs
from sandboxfile.resolve.project import resolve


def test_an_empty_sandbox_is_a_shell_with_the_defaults(host):
    sandbox = host.only("sandboxes: {web: {}}")
    assert str(sandbox.id) == "project/web"
    assert (sandbox.template, sandbox.user, sandbox.docker) == ("shell", "agent", False)
    assert sandbox.image.title.startswith("debian:trixie + bash ")
    assert sandbox.resources == Resources()
    assert (sandbox.workspaces, sandbox.command, sandbox.restart, sandbox.protect) == ((), None, "no", False)


def test_sandboxes_are_sorted_and_the_source_is_the_file(host):
    state = host.state("name: shop\nsandboxes: {b: {}, a: {}}")
    assert state.project == "shop"
    assert state.source == "/home/user/project/sandbox.yaml"
    assert [sandbox.id.name for sandbox in state.sandboxes] == ["a", "b"]


def test_the_project_is_named_after_its_directory(host):
    host.file = "/srv/My Shop/sandbox.yaml"
    assert host.state("sandboxes: {}").project == "my-shop"


def test_defaults_lie_beneath_every_sandbox(host):
    host.directory("/home/user/project/docs")
    sandbox = host.only(
        "defaults:\n"
        "  template: dev\n  resources: {cpus: 4, memory: 1g}\n  env: {A: 1, B: 1}\n  restart: always\n  protect: true\n"
        "  setup: [one, two]\n  command: default\n  workspaces: [./docs:/docs, './docs:/src']\n"
        "templates: {dev: {}}\n"
        "sandboxes:\n"
        "  web: {resources: {memory: 2g}, env: {B: 2}, restart: no, setup: [two, three], workspaces: ['.:/src']}"
    )
    assert sandbox.template == "dev"
    assert sandbox.resources == Resources(4, 2 * GIB, Resources().disk)
    assert sandbox.env == (("A", "1"), ("B", "2"))
    assert (sandbox.restart, sandbox.protect) == ("no", True)
    assert [command.argv[2] for command in sandbox.setup] == ["one", "two", "three"]
    assert sandbox.command == Command(("/bin/sh", "-c", "default"))
    assert [(item.source, item.target) for item in sandbox.workspaces] == [
        ("/home/user/project", "/src"),
        ("/home/user/project/docs", "/docs"),
    ]


def test_the_sandboxs_own_first_workspace_is_the_working_directory(host):
    sandbox = host.directory("/opt/a").only("defaults: {workspaces: [/opt/a]}\nsandboxes: {web: {workspaces: [.]}}")
    assert sandbox.workdir == "/home/user/project"


def test_sizes_are_rounded_up_to_whole_mebibytes(host):
    assert host.only("sandboxes: {web: {resources: {memory: 1073741825}}}").resources.memory == GIB + MIB


def test_same_input_gives_same_state(new_host):
    text = "templates: {a: {packages: {apt: [x1, a1]}}}\nsandboxes: {web: {template: a, env: {B: 1, A: 2}}}"
    assert new_host().state(text) == new_host().state(text)


def test_all_problems_of_all_sandboxes_are_found_at_once(host):
    found = host.directory("/").summaries(
        "sandboxes:\n  a: {workspaces: [gone, /]}\n"
        "  b: {env_file: nope, workspaces: ['.:/proc']}\n  c: {workspaces: [~/]}"
    )
    assert found == [
        "Workspace not found",
        "Unsafe workspace",
        "env_file not found",
        "Unsafe target",
        "Unsafe workspace",
    ]


@pytest.mark.parametrize(
    "text",
    ["sandboxes: {a: {nope: 1}}", "sandboxes: {a: {}, a: {}}", "sandboxes: {a: {env: !t {}}}", "sandboxes: {a: *b}"],
)
def test_the_rest_of_a_wrong_file_is_never_wanted(text):
    file, _, problems = load(text, "f")
    assert problems
    assert file is not None
    paths = {path: PathFact("directory", path) for path in ("/home/u", "/p", "/s")} | {"/p/f": PathFact("file", "/p/f")}
    assert resolve(file, ResolveInputs("/p/f", "/home/u", ("/s",), paths, {})) == (None, ())
