"""Where everything is kept: four roots, names that fit into a socket's address, and nothing outside."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.host.layout import Layout
from sandboxfile.names import NAME_LIMIT, SandboxId

HOME = Path("/home/u")
names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)
identities = st.builds(SandboxId, names, names)


def layout(**environ: str) -> Layout:
    return Layout.from_environment(environ, HOME, 1000)


def test_without_variables_it_is_below_the_home() -> None:
    assert layout() == Layout(
        HOME / ".local/state/sandboxfile",
        HOME / ".cache/sandboxfile",
        Path("/tmp/sandboxfile-1000"),
        HOME / ".config/sandboxfile",
    )


def test_each_variable_moves_its_own_root() -> None:
    moved = layout(XDG_STATE_HOME="/s", XDG_CACHE_HOME="/c", XDG_RUNTIME_DIR="/r", XDG_CONFIG_HOME="/k")
    assert moved == Layout(*(Path(f"/{root}/sandboxfile") for root in "scrk"))


def test_sbx_home_moves_what_we_write_whatever_else_is_set() -> None:
    ours = Path("/h/state"), Path("/h/cache"), Path("/h/run")
    assert layout(SBX_HOME="/h", XDG_STATE_HOME="/s") == Layout(*ours, HOME / ".config/sandboxfile")


@pytest.mark.parametrize("value", ["", "here", "./here", "~/here"])
def test_values_that_are_not_absolute_are_ignored(value: str) -> None:
    assert layout(SBX_HOME=value, XDG_STATE_HOME=value, XDG_CACHE_HOME=value, XDG_RUNTIME_DIR=value) == layout()


def test_the_longest_names_fit_into_a_socket_address() -> None:
    longest = SandboxId("p" * NAME_LIMIT, "n" * NAME_LIMIT)
    sockets = layout(XDG_RUNTIME_DIR="/run/user/4294967294").sandbox(longest)
    for socket in (sockets.control, sockets.monitor, sockets.control.with_suffix(".new")):
        assert len(str(socket)) < 108


@given(identities, identities)
def test_no_two_sandboxes_share_a_file(one: SandboxId, other: SandboxId) -> None:
    first, second = layout().sandbox(one), layout().sandbox(other)
    assert (first.root == second.root) == (first.control == second.control) == (one == other)


def test_two_homes_do_not_share_sockets_in_one_runtime_directory() -> None:
    here, there = (layout(XDG_RUNTIME_DIR="/r", XDG_STATE_HOME=state) for state in ("/a", "/b"))
    id = SandboxId("shop", "web")
    assert here.sandbox(id).control != there.sandbox(id).control


@given(identities)
def test_everything_is_below_its_root_and_no_two_things_are_one(id: SandboxId) -> None:
    here = layout()
    paths = here.sandbox(id)
    below = {
        here.state: [here.sandboxes, here.trash, here.host_record, paths.root],
        here.project_lock(id.project).parent: [here.project_lock(id.project), here.journal(id.project)],
        here.cache: [here.platforms, here.images, here.accelerator_record],
        here.runtime: [paths.control, paths.monitor],
        paths.root: [paths.lock, paths.record, paths.base, paths.disk, paths.console_log, paths.main_log],
    }
    every = [path for root, found in below.items() for path in found if path.is_relative_to(root) and path != root]
    assert len(set(every)) == sum(map(len, below.values()))
