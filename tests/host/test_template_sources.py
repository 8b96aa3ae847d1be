"""What templates are made from, looked at on a real disk."""

import json
import os
from pathlib import Path

import pytest

from sandboxfile.errors import HostError, NotFoundError
from sandboxfile.host import template_sources
from sandboxfile.host.file_digests import FileDigests
from sandboxfile.host.inputs import look
from sandboxfile.host.layout import Layout
from sandboxfile.host.template_sources import context_digest, source_facts
from sandboxfile.resolve.inputs import Source, SourceFact


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path.resolve()


@pytest.fixture
def layout(root: Path) -> Layout:
    return Layout(root / "state", root / "cache", root / "run")


@pytest.fixture
def context(root: Path) -> Path:
    made = root / "context"
    (made / "src/deep").mkdir(parents=True)
    (made / "Dockerfile").write_text("FROM scratch\n")
    (made / "src/main.c").write_text("int main;")
    (made / "src/deep/note").write_text("note")
    (made / "link").symlink_to("src/main.c")
    return made


def facts(layout: Layout, *sources: Source):
    paths = {source.name: look(source.name) for source in sources if source.is_path}
    return source_facts(sources, paths, layout)


def digest(context: Path, dockerfile: str = "Dockerfile") -> str:
    with FileDigests(context.parent / "memory") as digests:
        return context_digest(context, dockerfile, digests)


# --- facts -------------------------------------------------------------------------------------------------------


def test_every_source_has_a_digest_or_a_reason(root, layout, context, monkeypatch):
    (root / "file").write_text("x")
    (root / "link").symlink_to("file")
    monkeypatch.setattr(template_sources, "local_image_id", lambda name: "sha256:id" if name == "there" else None)
    (layout.saved / "team:v1").mkdir(parents=True)
    (layout.saved / "team:v1/manifest.json").write_text(json.dumps({"content": "sha256:saved"}))
    (layout.saved / "torn").mkdir()
    (layout.saved / "torn/manifest.json").write_text("{")
    asked = {
        Source("file", f"{root}/link"): "",
        Source("tar", f"{root}/file"): "",
        Source("context", f"{root}/context", "Dockerfile"): "",
        Source("local", "there"): "",
        Source("saved", "team:v1"): "",
        Source("file", f"{root}/gone"): "there is no such file",
        Source("file", f"{root}/context"): "it is a directory",
        Source("tar", f"{root}/gone"): "there is no such file",
        Source("context", f"{root}/gone", "Dockerfile"): "there is no such directory",
        Source("context", f"{root}/file", "Dockerfile"): "it is not a directory",
        Source("context", f"{root}/context", "gone"): "there is no gone in it",
        Source("local", "gone"): "neither podman nor buildah nor docker of this host has it",
        Source("saved", "gone"): "nothing was saved under it",
        Source("saved", "torn"): "its manifest cannot be read",
    }
    found = facts(layout, *asked)
    assert {source: fact.problem for source, fact in found.items()} == asked
    assert all(bool(fact.digest) != bool(fact.problem) for fact in found.values())
    assert found[Source("file", f"{root}/link")].digest == found[Source("tar", f"{root}/file")].digest
    assert found[Source("local", "there")] == SourceFact("sha256:id")
    assert found[Source("saved", "team:v1")] == SourceFact("sha256:saved")


def test_a_placed_file_has_a_bound_and_a_tar_has_none(root, layout):
    with (root / "huge").open("wb") as file:
        file.truncate(template_sources.PLACED_FILE_LIMIT + 1)
    found = facts(layout, Source("file", f"{root}/huge"), Source("tar", f"{root}/huge"))
    assert found[Source("file", f"{root}/huge")].problem == "it is larger than 64 MiB"
    assert found[Source("tar", f"{root}/huge")].digest


# --- contexts ----------------------------------------------------------------------------------------------------


def test_a_context_has_the_same_digest_wherever_and_whenever_it_is(root, context):
    before = digest(context)
    for path in context.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    assert digest(context) == before
    context.rename(root / "moved")
    assert digest(root / "moved") == before


@pytest.mark.parametrize(
    "change",
    [
        lambda context: (context / "src/main.c").write_text("int main = 1;"),
        lambda context: (context / "src/main.c").chmod(0o755),
        lambda context: (context / "src/main.c").rename(context / "src/main.h"),
        lambda context: (context / "src/empty").mkdir(),
        lambda context: (context / "Dockerfile").write_text("FROM x\n"),
        lambda context: ((context / "link").unlink(), (context / "link").symlink_to("elsewhere")),
        lambda context: ((context / "link").unlink(), (context / "link").write_text("src/main.c")),
        lambda context: (context / ".dockerignore").write_text("nothing-like-it"),
    ],
)
def test_everything_that_a_builder_can_see_counts(context, change):
    before = digest(context)
    change(context)
    assert digest(context) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda context: (context / "src/main.c").chmod(0o600),
        lambda context: os.mkfifo(context / "fifo"),
    ],
)
def test_what_no_builder_is_given_does_not(context, change):
    before = digest(context)
    change(context)
    assert digest(context) == before


@pytest.mark.parametrize("name", [".dockerignore", ".containerignore", "Dockerfile.dockerignore"])
def test_what_is_ignored_does_not_count(context, name):
    (context / name).write_text("src\n!src/deep/kept\n")
    before = digest(context)
    (context / "src/main.c").write_text("changed")
    (context / "src/new").mkdir()
    assert digest(context) == before
    (context / "src/deep/kept").write_text("new")
    assert digest(context) != before


def test_what_only_some_builders_leave_out_counts(context):
    (context / ".dockerignore").write_text("src\n")
    (context / ".containerignore").write_text("link\n")
    before = digest(context)
    (context / "src/main.c").write_text("changed")
    assert digest(context) != before


def test_the_dockerfile_and_the_ignore_file_count_though_they_are_ignored(context):
    (context / ".dockerignore").write_text("*\n")
    before = digest(context)
    (context / "Dockerfile").write_text("FROM x\n")
    changed = digest(context)
    (context / ".dockerignore").write_text("*\n# more\n")
    assert len({before, changed, digest(context)}) == 3


def test_a_dockerfile_in_an_ignored_directory_is_found(context):
    (context / "build").mkdir()
    (context / "build/File").write_text("FROM scratch\n")
    (context / ".dockerignore").write_text("build\n")
    before = digest(context, "build/File")
    (context / "build/File").write_text("FROM x\n")
    (context / "build/other").write_text("ignored")
    changed = digest(context, "build/File")
    (context / "build/other").write_text("ignored as well")
    assert before != changed == digest(context, "build/File")


def test_symlinks_are_not_followed(root, context):
    (root / "outside").mkdir()
    (context / "out").symlink_to("../outside")
    before = digest(context)
    (root / "outside/file").write_text("x")
    assert digest(context) == before


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.dockerignore", ".dockerignore", ".containerignore"])
@pytest.mark.parametrize("leads_to", ["src/main.c", "../outside", "nowhere"])
def test_what_rules_a_build_is_no_symlink(root, context, name, leads_to):
    """A builder would follow it to what no digest has."""
    (root / "outside").write_text("FROM scratch\n")
    (context / name).unlink(missing_ok=True)
    (context / name).symlink_to(leads_to)
    with pytest.raises(HostError, match=f"`{name}` in it is a symlink") as raised:
        digest(context)
    assert raised.value.hint == f"let {name} be a regular file of the context"


@pytest.mark.parametrize("ignored", ["", "build\n"])
def test_no_directory_on_the_way_to_the_dockerfile_is_a_symlink(root, context, ignored):
    (root / "build").mkdir()
    (root / "build/File").write_text("FROM scratch\n")
    (context / "build").symlink_to("../build")
    (context / ".dockerignore").write_text(ignored)
    with pytest.raises(HostError, match="`build` in it is a symlink"):
        digest(context, "build/File")


def test_a_dockerfile_that_is_a_directory_is_none(context):
    (context / "Dockerfile").unlink()
    (context / "Dockerfile").mkdir()
    with pytest.raises(NotFoundError, match="there is no Dockerfile in it"):
        digest(context)


def test_names_that_are_not_text_count(context):
    before = digest(context)
    (Path(os.fsdecode(bytes(context) + b"/\xff\xfe"))).write_text("x")
    assert digest(context) != before


def test_a_context_has_bounds(context, monkeypatch):
    monkeypatch.setattr(template_sources, "CONTEXT_ENTRIES", 3)
    with pytest.raises(HostError, match="more than 3 files") as raised:
        digest(context)
    assert raised.value.hint is not None
    monkeypatch.setattr(template_sources, "CONTEXT_ENTRIES", 300)
    monkeypatch.setattr(template_sources, "CONTEXT_DEPTH", 1)
    with pytest.raises(HostError, match="nested more than 1 deep"):
        digest(context)
    monkeypatch.setattr(template_sources, "CONTEXT_DEPTH", 100)
    monkeypatch.setattr(template_sources, "CONTEXT_LIMIT", 3)
    with pytest.raises(HostError, match="more than 0 GiB"):
        digest(context)


def test_an_ignored_directory_is_not_looked_into(context, monkeypatch):
    (context / "node_modules").mkdir()
    for number in range(20):
        (context / f"node_modules/{number}").touch()
    (context / ".dockerignore").write_text("node_modules\n")
    monkeypatch.setattr(template_sources, "CONTEXT_ENTRIES", 15)
    assert digest(context)


def test_an_ignore_file_that_is_wrong_is_an_error_and_not_an_empty_one(context):
    (context / ".dockerignore").write_bytes(b"\xff")
    with pytest.raises(HostError, match=r"its \.dockerignore cannot be used: it is not UTF-8"):
        digest(context)
    (context / ".dockerignore").unlink()
    (context / ".dockerignore").mkdir()
    with pytest.raises(HostError, match="dockerignore"):
        digest(context)
    with pytest.raises(NotFoundError):
        digest(context / "src")
