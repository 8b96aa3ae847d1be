"""Where an exported image can go, and what it is called there."""

import pytest

from sandboxfile.errors import SandboxfileError
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories
from sandboxfile.images.config import ImageConfig
from sandboxfile.images.containers import export
from sandboxfile.images.containers.export import Content, Destination, parse_destination, reference_of

DEFAULT = "localhost/sbx/shop-dev:latest"
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def layout(tmp_path):
    found = Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")
    ensure_directories(found)
    return found


@pytest.mark.parametrize(
    ("name", "project", "called"),
    [
        ("dev", "shop", DEFAULT),
        ("shell", "", "localhost/sbx/shell:latest"),
        ("dev", "my_-shop-", "localhost/sbx/my-shop-dev:latest"),
        ("kept:v1.2", "", "localhost/sbx/kept:v1.2"),
        ("node.js", "", "localhost/sbx/node-js:latest"),
    ],
)
def test_a_template_has_a_name_that_any_tool_can_read(name, project, called):
    assert reference_of(name, project) == called


@pytest.mark.parametrize(
    ("text", "transport", "called", "place"),
    [
        ("oci-archive:out.tar", "oci-archive", DEFAULT, "out.tar"),
        ("docker-archive:/a:b.tar", "docker-archive", DEFAULT, "/a:b.tar"),
        ("containers-storage:", "containers-storage", DEFAULT, ""),
        ("containers-storage:localhost/x/y:1", "containers-storage", "localhost/x/y:1", ""),
        ("docker-daemon:team/dev", "docker-daemon", "docker.io/team/dev:latest", ""),
    ],
)
def test_a_destination_is_read_as_skopeo_writes_it(text, transport, called, place):
    assert parse_destination(text, DEFAULT) == Destination(transport, called, place)


@pytest.mark.parametrize(
    "text", ["out.tar", "oci-archive:", "dir:/x", "containers-storage:UP", f"docker-daemon:x@sha256:{'0' * 64}", ""]
)
def test_what_is_no_destination_is_refused_with_what_is(text):
    with pytest.raises(SandboxfileError) as caught:
        parse_destination(text, DEFAULT)
    assert caught.value.hint


async def test_a_workspace_is_gone_afterwards_and_is_not_swept_before(layout):
    from sandboxfile.images.prune import survey

    async with export.workspace(layout) as work:
        (work / "big").write_bytes(b"x")
        (entry,) = survey(layout)
        assert entry.busy
    assert list(layout.layers.iterdir()) == []


async def test_an_archive_that_cannot_be_written_leaves_what_was_there(layout, tmp_path):
    (tmp_path / "out.tar").write_text("before")
    (tmp_path / "broken.tar").write_text("no tar")
    content = Content((tmp_path / "broken.tar", tmp_path / "missing.tar"), ImageConfig())
    async with export.workspace(layout) as work:
        with pytest.raises((SandboxfileError, OSError)):
            await export.export(content, Destination("oci-archive", DEFAULT, f"{tmp_path}/out.tar"), work, print)
    assert (tmp_path / "out.tar").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
