"""Files at a revision, of real repositories; and of hostile ones, of which nothing runs and nothing leads out."""

import hashlib
import os
import subprocess
import zlib
from pathlib import Path

import pytest

from sandboxfile.errors import HostError, NotFoundError, SandboxfileError
from sandboxfile.host.file_digests import FileDigests
from sandboxfile.host.git_tree import git_tree
from sandboxfile.host.layout import Layout
from sandboxfile.host.template_sources import context_digest
from sandboxfile.resolve.inputs import Source


@pytest.fixture
def layout(tmp_path):
    return Layout.from_environment({"SBX_HOME": str(tmp_path / "sbx")}, tmp_path, os.getuid())


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit, and a way to make another; what is written afterwards is on the disk alone."""
    top = tmp_path / "repo"
    top.mkdir()
    git(top, "init", "-q", "-b", "main")
    write(top, {"sandbox.yaml": "old\n", "team/policy.yaml": "p\n", "ctx/Dockerfile": "FROM x\n", "ctx/a/b": "b"})
    (top / "ctx/run").write_text("#!/bin/sh\n")
    (top / "ctx/run").chmod(0o755)
    (top / "ctx/link").symlink_to("a/b")
    commit(top)
    return top


def git(top, *words):
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    who = ("-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgSign=false")
    done = subprocess.run(["git", *who, *words], cwd=top, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(top):
    git(top, "add", "-A")
    git(top, "commit", "-q", "-m", "x")


def write(top, files):
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_files_are_as_the_revision_has_them(repository):
    file = repository / "sandbox.yaml"
    file.write_text("new\n")
    (repository / "team/policy.yaml").unlink()
    with git_tree(file, "main") as tree:
        assert tree.read(file) == b"old\n"
        assert tree.read(repository / "team/../team/policy.yaml") == b"p\n"
        assert tree.look(f"{repository}/team/policy.yaml", read=True).content == b"p\n"
        assert tree.look(f"{repository}/ctx").kind == "directory"
        link = tree.look(f"{repository}/ctx/link", read=True)
        assert (link.real, link.links, link.content) == (f"{repository}/ctx/a/b", (f"{repository}/ctx/link",), b"b")


def test_relative_paths_count_from_here(repository, monkeypatch):
    monkeypatch.chdir(repository / "team")
    with git_tree(Path("../sandbox.yaml"), "HEAD") as tree:
        assert tree.read(Path("policy.yaml")) == b"p\n"
        assert tree.exists(Path("../sandbox.yaml"))


def test_what_the_disk_alone_has_is_missing_but_for_directories(repository):
    write(repository, {".env": "A=1\n", "sandbox.override.yaml": "x\n", "data/y": "y"})
    with git_tree(repository / "sandbox.yaml", "main") as tree:
        for name in (".env", "sandbox.override.yaml", "data/y"):
            assert not tree.exists(repository / name)
            assert tree.look(f"{repository}/{name}", read=True).kind == "missing"
            with pytest.raises(NotFoundError):
                tree.read(repository / name)
        assert tree.look(f"{repository}/data").kind == "directory"


def test_what_lies_outside_is_the_disks(repository, tmp_path):
    write(tmp_path, {"outside.yaml": "o\n"})
    with git_tree(repository / "sandbox.yaml", "main") as tree:
        assert tree.read(tmp_path / "outside.yaml") == b"o\n"
        assert tree.look(f"{tmp_path}/outside.yaml", read=True).content == b"o\n"
        assert tree.exists(tmp_path / "outside.yaml")


def test_a_directory_and_a_submodule_are_no_files(repository):
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{git(repository, 'rev-parse', 'HEAD')},module")
    git(repository, "commit", "-q", "-m", "module")
    with git_tree(repository / "sandbox.yaml", "main") as tree:
        assert tree.look(f"{repository}/module").kind == "directory"
        for name in ("team", "module"):
            with pytest.raises(HostError, match="not a regular file"):
                tree.read(repository / name)


@pytest.mark.parametrize(
    ("links", "asked"),
    [
        ({"l": "/etc/hostname"}, "l"),
        ({"l": "../outside"}, "l"),
        ({"a/b/K": "../..", "a/b/L": "K/../../outside"}, "a/b/L"),
        ({"l": "/etc"}, "l/hostname"),
        ({"l": "l"}, "l"),
        ({"l": "m", "m": "l"}, "l"),
    ],
)
def test_links_of_the_tree_lead_nowhere_else(repository, tmp_path, links, asked):
    (tmp_path / "outside").write_text("secret")
    for name, target in links.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).symlink_to(target)
    commit(repository)
    with git_tree(repository / "sandbox.yaml", "main") as tree:
        with pytest.raises(HostError, match=r"leads (out of the repository|through too many)"):
            tree.read(repository / asked)
        fact = tree.look(f"{repository}/{asked}", read=True)
        assert (fact.kind, fact.content) == ("missing", None)
        assert tree.read(repository / "sandbox.yaml") == b"old\n"  # and the next question is answered


def test_a_link_on_the_disk_does_not_stand_for_what_the_tree_has(repository, tmp_path):
    write(tmp_path, {"evil/policy.yaml": "evil\n"})
    (repository / "team/policy.yaml").unlink()
    (repository / "team").rmdir()
    (repository / "team").symlink_to(tmp_path / "evil")
    with git_tree(repository / "sandbox.yaml", "main") as tree:
        assert tree.read(repository / "team/policy.yaml") == b"p\n"


def test_a_link_on_the_disk_does_not_move_a_directory_that_the_tree_lacks(repository, tmp_path):
    (tmp_path / "private/keys").mkdir(parents=True)
    (repository / "data").symlink_to(tmp_path / "private")
    with git_tree(repository / "sandbox.yaml", "main") as tree:
        for name in ("data", "data/keys"):
            fact = tree.look(f"{repository}/{name}")
            assert (fact.kind, fact.real, fact.links) == ("directory", f"{repository}/{name}", ())


def test_templates_have_the_digests_that_the_disk_would_give(repository, layout):
    with FileDigests(layout.file_digests) as digests:
        there = context_digest(repository / "ctx", "Dockerfile", digests)
    (repository / "ctx/a/b").write_text("changed")
    sources = [
        Source("file", f"{repository}/sandbox.yaml"),
        Source("context", f"{repository}/ctx", "Dockerfile"),
        Source("file", f"{repository}/none"),
        Source("tar", f"{repository}/ctx"),
    ]
    with git_tree(repository / "sandbox.yaml", "main") as tree:
        found = tree.facts(sources, {source.name: tree.look(source.name) for source in sources}, layout)
    assert found[sources[0]].digest == f"sha256:{hashlib.sha256(b'old\n').hexdigest()}"
    assert found[sources[1]].digest == there
    assert found[sources[2]].problem == "there is no such file"
    assert found[sources[3]].problem == "it is not a regular file"


def test_a_linked_work_tree_is_a_repository_too(repository, tmp_path):
    git(repository, "worktree", "add", "-q", str(tmp_path / "other"), "-b", "side")
    with git_tree(tmp_path / "other/sandbox.yaml", "main") as tree:
        assert tree.read(tmp_path / "other/sandbox.yaml") == b"old\n"


@pytest.mark.parametrize(
    "revision", ["nope", "", "--all", "-h", "main:sandbox.yaml", "HEAD^{tree}", "a\nb", "HEAD..HEAD"]
)
def test_what_is_no_revision_is_refused(repository, revision):
    with pytest.raises(SandboxfileError, match="no revision"), git_tree(repository / "sandbox.yaml", revision):
        pass


def test_outside_of_repositories_there_are_no_revisions(tmp_path):
    with pytest.raises(SandboxfileError, match="in no git repository"), git_tree(tmp_path / "sandbox.yaml", "main"):
        pass


def test_nothing_of_a_hostile_repository_runs(repository, tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\necho $0 >> {ran}\n")
    script.chmod(0o755)
    write(repository, {".gitattributes": "* filter=evil diff=evil\n", "big.yaml": "x\n"})
    commit(repository)
    for hook in ("post-checkout", "reference-transaction", "fsmonitor-watchman", "post-index-change"):
        (repository / ".git/hooks").mkdir(exist_ok=True)
        (repository / ".git/hooks" / hook).symlink_to(script)
    for name, value in {
        "core.fsmonitor": script,
        "core.hooksPath": repository / ".git/hooks",
        "core.pager": script,
        "core.sshCommand": script,
        "core.askPass": script,
        "core.alternateRefsCommand": script,
        "core.worktree": tmp_path,
        "filter.evil.smudge": script,
        "filter.evil.clean": script,
        "filter.evil.process": script,
        "diff.evil.textconv": script,
        "diff.external": script,
        "credential.helper": f"!{script}",
        "alias.cat-file": f"!{script}",
        "remote.origin.url": f"ext::{script}",
        "remote.origin.uploadpack": script,
        "remote.origin.promisor": "true",
        "extensions.partialClone": "origin",
        "protocol.ext.allow": "always",
        "protocol.allow": "always",
    }.items():
        git(repository, "config", name, str(value))
    git(repository, "config", "core.repositoryFormatVersion", "1")
    blob = git(repository, "rev-parse", "main:big.yaml")
    (repository / ".git/objects" / blob[:2] / blob[2:]).unlink()  # a promised object, which git would fetch
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(script))
    ran.unlink(missing_ok=True)
    with git_tree(repository / "sandbox.yaml", "main") as tree:
        assert tree.read(repository / "sandbox.yaml") == b"old\n"
        with pytest.raises(HostError):
            tree.read(repository / "big.yaml")
    assert not ran.exists()


def test_replaced_objects_are_not_taken(repository):
    old = git(repository, "rev-parse", "main:sandbox.yaml")
    (repository / "other").write_text("other\n")
    git(repository, "replace", old, git(repository, "hash-object", "-w", "other"))
    with git_tree(repository / "sandbox.yaml", "main") as tree:
        assert tree.read(repository / "sandbox.yaml") == b"old\n"


# --- forged objects ----------------------------------------------------------------------------------------------


def forge(top, name, kind, data):
    """Put another object where one is, as whoever can write to the repository can."""
    id = git(top, "rev-parse", name)
    place = top / ".git/objects" / id[:2] / id[2:]
    place.chmod(0o644)
    place.write_bytes(zlib.compress(b"%s %d\0" % (kind, len(data)) + data))


def other_tree(top):
    """A tree that has another sandbox.yaml, and is there."""
    (top / "sandbox.yaml").write_text("wide\n")
    git(top, "add", "-A")
    return git(top, "write-tree")


@pytest.mark.parametrize("what", ["blob", "tree", "commit"])
@pytest.mark.parametrize("named", ["by id", "by branch"])
def test_an_object_that_is_not_what_its_id_says_is_refused(repository, what, named):
    id = git(repository, "rev-parse", "main")
    tree = other_tree(repository)
    raw = subprocess.run(["git", "cat-file", "tree", tree], cwd=repository, capture_output=True, check=True).stdout
    if what == "blob":
        forge(repository, "main:sandbox.yaml", b"blob", b"wide\n")
    elif what == "tree":
        forge(repository, "main^{tree}", b"tree", raw)
    else:
        forge(
            repository,
            "main",
            b"commit",
            git(repository, "cat-file", "commit", id)
            .replace(git(repository, "rev-parse", "main^{tree}"), tree)
            .encode(),
        )
    with (
        pytest.raises(SandboxfileError, match=r"forged object|has no revision"),
        git_tree(repository / "sandbox.yaml", id if named == "by id" else "main") as tree,
    ):
        tree.read(repository / "sandbox.yaml")


def test_a_forged_link_or_file_of_a_template_is_refused(repository, layout):
    forge(repository, "main:ctx/link", b"blob", b"/etc")
    forge(repository, "main:ctx/a/b", b"blob", b"evil")
    sources = [Source("context", f"{repository}/ctx", "Dockerfile"), Source("file", f"{repository}/ctx/a/b")]
    with git_tree(repository / "sandbox.yaml", "main") as tree:
        assert "forged" in tree.look(f"{repository}/ctx/link").problem
        found = tree.facts(sources, {source.name: tree.look(source.name) for source in sources}, layout)
    assert all("forged" in fact.problem for fact in found.values())


def test_the_id_of_a_tag_does_not_stand_for_a_commit(repository):
    git(repository, "tag", "-a", "-m", "x", "v1")
    id = git(repository, "rev-parse", "v1")
    with pytest.raises(SandboxfileError, match="is not the id of a commit"), git_tree(repository / "sandbox.yaml", id):
        pass
    with git_tree(repository / "sandbox.yaml", "v1") as tree:
        assert tree.read(repository / "sandbox.yaml") == b"old\n"


@pytest.mark.parametrize("raw", [b"100644 a", b"100644 a\0short"])
def test_a_directory_that_is_not_whole_is_an_error(repository, raw):
    asked = ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"]
    made = subprocess.run(asked, cwd=repository, input=raw, capture_output=True, check=True)
    evil = git(repository, "commit-tree", "-m", "evil", made.stdout.decode().strip())
    with (
        git_tree(repository / "sandbox.yaml", evil) as tree,
        pytest.raises(HostError, match="not whole"),
    ):
        tree.read(repository / "a")


def test_a_repository_of_longer_ids_is_checked_too(tmp_path):
    top = tmp_path / "long"
    top.mkdir()
    git(top, "init", "-q", "-b", "main", "--object-format=sha256")
    write(top, {"sandbox.yaml": "old\n", "team/policy.yaml": "p\n"})
    commit(top)
    with git_tree(top / "sandbox.yaml", git(top, "rev-parse", "HEAD")) as tree:
        assert tree.read(top / "team/policy.yaml") == b"p\n"
    forge(top, "main:team/policy.yaml", b"blob", b"q\n")
    with git_tree(top / "sandbox.yaml", "main") as tree, pytest.raises(HostError, match="forged"):
        tree.read(top / "team/policy.yaml")
