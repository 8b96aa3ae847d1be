"""A clone of a repository that somebody else writes: what is fetched, what never runs, what is left behind."""

import os
import subprocess
import time
import tracemalloc

import anyio
import pytest

from sandboxfile.errors import HostError, SandboxfileError
from sandboxfile.host.git_clone import (
    BEGUN,
    FETCHED,
    Clone,
    checked_address,
    checked_ref,
    git_environment,
)
from sandboxfile.host.git_entries import blob_id


@pytest.fixture
def git(tmp_path, monkeypatch):
    """A repository of somebody's, and git in it."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))

    def call(*words, **variables):
        argv = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *words]
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)} | variables
        done = subprocess.run(argv, cwd=work, env=environment, capture_output=True, check=True)
        return done.stdout.decode().strip()

    call("init", "-q", "-b", "main")
    call.work = work
    return call


def commit(git, **files):
    for name, content in files.items():
        (git.work / name).write_text(content)
    git("add", "-A")
    git("commit", "-q", "--allow-empty", "-m", "x")
    return git("rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path):
    clone = Clone(tmp_path / "clone.git")
    clone.prepare()
    return clone


def fetch(clone, git, ref="main"):
    return anyio.run(clone.fetch, str(git.work), ref)


def test_a_branch_is_fetched_and_its_files_are_read_from_objects(git, clone):
    made = commit(git, a="one\n", b="")
    assert fetch(clone, git) == made == clone.commit_of(FETCHED)
    entries = clone.entries(made)
    assert [(entry.path, entry.kind, entry.size) for entry in entries] == [("a", "file", 4), ("b", "file", 0)]
    with clone.contents() as contents:
        assert [contents.of(entry) for entry in (*entries, *reversed(entries))] == [b"one\n", b"", b"", b"one\n"]


@pytest.mark.parametrize("how", ["branch", "tag", "annotated tag", "full name", "commit"])
def test_a_ref_may_be(git, clone, how):
    made = commit(git, a="x")
    git("tag", "light")
    git("tag", "-a", "-m", "x", "heavy")
    ref = {"branch": "main", "tag": "light", "annotated tag": "heavy", "full name": "refs/heads/main", "commit": made}
    assert fetch(clone, git, ref[how]) == made


def test_a_branch_that_was_rewritten_is_followed(git, clone):
    commit(git, a="1")
    first = fetch(clone, git)
    git("commit", "-q", "--amend", "-m", "other")
    assert fetch(clone, git) == git("rev-parse", "HEAD") != first


def test_what_cannot_be_fetched_is_an_error_with_the_words_of_git(git, clone):
    commit(git, a="1")
    with pytest.raises(HostError, match="cannot fetch nothing of") as caught:
        fetch(clone, git, "nothing")
    assert "couldn't find remote ref" in caught.value.output
    git("tag", "blob", git("rev-parse", "HEAD:a"))
    with pytest.raises(HostError, match="that is no commit"):
        fetch(clone, git, "blob")


def test_nothing_of_the_repository_or_of_our_environment_runs(git, clone, tmp_path, monkeypatch):
    """Hooks, filters, monitors and transports of the repository; GIT_ variables of whoever starts us."""
    ran = tmp_path / "ran"
    for hook in ("post-checkout", "reference-transaction", "post-update", "pre-receive", "post-merge"):
        for place in (git.work / ".git/hooks", clone.directory / "hooks"):
            place.mkdir(exist_ok=True)
            (place / hook).write_text(f"#!/bin/sh\necho {hook} >> {ran}\n")
            (place / hook).chmod(0o755)
    commit(git, **{".gitattributes": "* filter=evil\n", "a": "x"})
    ran.unlink(missing_ok=True)  # whoever commits there runs their own
    git("config", "uploadpack.packObjectsHook", f"sh -c 'touch {ran}; exec \"$@\"' -")
    git("config", "core.fsmonitor", f"touch {ran}")
    git("config", "filter.evil.smudge", f"touch {ran}")
    for name in ("GIT_SSH_COMMAND", "GIT_EXTERNAL_DIFF", "GIT_PROXY_COMMAND", "GIT_ASKPASS"):
        monkeypatch.setenv(name, f"touch {ran}")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    made = fetch(clone, git)
    clone.entries(made)
    clone.tidy()
    assert not ran.exists()


def test_submodules_are_left_out_and_never_fetched(git, clone):
    made = commit(git, a="x")
    git("update-index", "--add", "--cacheinfo", f"160000,{made},module")
    git("commit", "-q", "-m", "module")
    assert [entry.path for entry in clone.entries(fetch(clone, git))] == ["a"]


def test_a_commit_that_holds_too_much_is_refused_before_anything_is_written(git, clone, monkeypatch):
    commit(git, a="x", b="x", c="x" * 100)
    made = fetch(clone, git)
    monkeypatch.setattr("sandboxfile.host.git_entries.ENTRY_LIMIT", 2)
    with pytest.raises(HostError, match="holds more than"):
        clone.entries(made)
    monkeypatch.setattr("sandboxfile.host.git_entries.ENTRY_LIMIT", 9)
    monkeypatch.setattr("sandboxfile.host.git_entries.SIZE_LIMIT", 101)
    with pytest.raises(HostError, match="holds more than"):
        clone.entries(made)


def unfolding(git, leaf, depth, width):
    """A commit whose tree has, so deep, itself in it again and again; the objects are few."""
    tree = leaf
    for _ in range(depth):
        lines = "".join(f"040000 tree {tree}\td{number}\n" for number in range(width))
        done = subprocess.run(["git", "mktree"], cwd=git.work, input=lines, text=True, capture_output=True, check=True)
        tree = done.stdout.strip()
    git("update-ref", "refs/heads/main", git("commit-tree", "-m", "bomb", tree))


@pytest.mark.parametrize("leaf", ["files", "nothing"])
def test_a_few_objects_that_unfold_without_end_are_given_up_soon(git, clone, leaf):
    commit(git, **({"a": "x", "b": "x"} if leaf == "files" else {}))
    unfolding(git, git("rev-parse", "HEAD^{tree}"), depth=8, width=10)
    made = fetch(clone, git)
    tracemalloc.start()
    try:
        with pytest.raises(HostError, match="holds more than 100000 files and directories"):
            clone.entries(made)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_directories_in_directories_without_end_are_refused(git, clone):
    commit(git, a="x")
    unfolding(git, git("rev-parse", "HEAD^{tree}"), depth=101, width=1)
    with pytest.raises(HostError, match="longer than 4095 bytes or 100 directories"):
        clone.entries(fetch(clone, git))


def test_a_file_that_is_too_large_to_be_held_is_refused(git, clone, monkeypatch):
    commit(git, a="x" * 10, b="y" * 11)
    made = fetch(clone, git)
    monkeypatch.setattr("sandboxfile.host.git_entries.FILE_LIMIT", 10)
    with pytest.raises(HostError, match=r"in a file \(`b`\)"):
        clone.entries(made)


def test_a_commit_that_is_not_there_has_no_entries(clone):
    with pytest.raises(HostError, match="git ls-tree failed") as caught:
        clone.entries("0" * 40)
    assert "not a tree object" in caught.value.output


@pytest.mark.parametrize("name", ["..", ".git", ".GIT"])
def test_a_tree_with_a_name_that_leads_elsewhere_is_refused(git, clone, name):
    commit(git, a="x")
    blob = git("rev-parse", "HEAD:a")
    raw = f"100644 {name}\0".encode() + bytes.fromhex(blob)
    made = subprocess.run(
        ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"],
        cwd=git.work,
        input=raw,
        capture_output=True,
        check=True,
    )
    evil = git("commit-tree", "-m", "evil", made.stdout.decode().strip())
    git("update-ref", "refs/heads/evil", evil)
    with pytest.raises(HostError) as caught:
        clone.entries(fetch(clone, git, "evil"))
    assert "hasDot" in caught.value.output or "no path of a file" in caught.value.message


def test_locks_that_a_killed_one_left_are_in_nobodys_way(git, clone):
    made = commit(git, a="x")
    fetch(clone, git)
    for left in ("shallow.lock", "packed-refs.lock", "refs/reconcile/fetched.lock"):
        (clone.directory / left).touch()
    commit(git, a="y")
    with pytest.raises(HostError):
        fetch(clone, git)
    clone.prepare()
    assert fetch(clone, git) != made


def test_what_nothing_needs_any_more_is_thrown_away_and_what_was_begun_stays(git, clone):
    first = commit(git, a="0")
    fetch(clone, git)
    clone.remember(BEGUN, first)
    for number in range(1, 6):
        commit(git, a=str(number))
        fetch(clone, git)
    assert len(list(clone.directory.glob("objects/pack/*.pack"))) > 1
    clone.tidy()
    assert len(list(clone.directory.glob("objects/pack/*.pack"))) == 1
    assert not list(clone.directory.glob("objects/??/*"))
    assert [entry.path for entry in clone.entries(first)] == ["a"]
    assert fetch(clone, git) == git("rev-parse", "HEAD")
    counted = subprocess.run(
        ["git", f"--git-dir={clone.directory}", "count-objects", "-v"], capture_output=True, text=True, check=True
    )
    assert "in-pack: 6\n" in counted.stdout  # two commits, each with a tree and a file


def test_a_repository_that_is_silent_does_not_hold_us_up(clone, monkeypatch, tmp_path):
    monkeypatch.setattr("sandboxfile.host.git_clone.FETCH_PATIENCE", 0.3)
    silent = tmp_path / "bin" / "git"
    silent.parent.mkdir()
    silent.write_text("#!/bin/sh\nexec sleep 1000\n")
    silent.chmod(0o755)
    monkeypatch.setenv("PATH", f"{silent.parent}:{os.environ['PATH']}")
    started = time.monotonic()
    with pytest.raises(HostError, match=r"no answer within 0\.3 s"):
        anyio.run(clone.fetch, "/nowhere", "main")
    assert time.monotonic() - started < 20


# --- signatures --------------------------------------------------------------------------------------------------


def sign(git, tmp_path, key):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / key)], check=True)
    settings = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={tmp_path / key}")
    git(*settings, "commit", "-q", "--allow-empty", "-S", "-m", key)
    return git("rev-parse", "HEAD")


def test_only_signatures_of_those_whom_the_user_knows_are_good(git, clone, tmp_path):
    bare = commit(git, a="x")
    signed = sign(git, tmp_path, "known")
    known = (tmp_path / "known.pub").read_text()

    def good(made):
        fetch(clone, git, made)
        try:
            anyio.run(clone.verify, made)
        except HostError:
            return False
        return True

    assert not good(signed), "nobody is known yet"
    (tmp_path / "allowed").write_text(f"a@example.com {known}")
    (tmp_path / ".gitconfig").write_text(f'[gpg "ssh"]\n\tallowedSignersFile = {tmp_path}/allowed\n')
    assert good(signed)
    assert not good(bare)
    assert not good(sign(git, tmp_path, "stranger"))


# --- what is asked for -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "https://git.example.com/shop.git",
        "ssh://git@git.example.com:2222/shop.git",
        "git@git.example.com:team/shop.git",
        "file:///srv/shop.git",
        "/srv/shop.git",
        "/srv/a@-b/shop.git",
    ],
)
def test_a_repository_may_be(text):
    assert checked_address(text) == text


def test_a_path_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert checked_address("../shop") == str(tmp_path.parent / "shop")
    assert checked_address(".") == str(tmp_path)
    assert checked_address("~/shop") == "/home/somebody/shop"


@pytest.mark.parametrize(
    "text",
    [
        "--upload-pack=touch x",
        "ext::sh -c touch% x",
        "http://git.example.com/shop.git",
        "git://git.example.com/shop.git",
        "ssh://-oProxyCommand=x/y z",
        "-oProxyCommand=x@host:y",
        "ssh://-oProxyCommand=x/y",
        "ssh://git@-oProxyCommand=x/y",
        "ssh://-l@git.example.com/y",
        "ssh://%2doProxyCommand=x/y",
        "ssh://[-oProxyCommand=x]/y",
        "https://-x.example.com/y",
        "git@-oProxyCommand:y",
        "https://git.example.com/a b",
        "https://me:secret@git.example.com/shop.git",
        "shop",
        "",
    ],
)
def test_no_repository_is(text):
    with pytest.raises(SandboxfileError):
        checked_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://me:t0ken@git.example.com/shop.git",
        "https://t0ken@git.example.com/shop.git",
        "https://x%3At0ken@git.example.com/shop.git",
        "https://git.example.com/shop.git?private_token=t0ken",
        "https://git.example.com/shop.git#t0ken",
        "https://t0ken@git.example.com/no repository",
        "http://me:t0ken@git.example.com/shop.git",
        "ssh://git:t0ken@git.example.com/shop.git",
        "ssh://git%3At0ken@git.example.com/shop.git",
    ],
)
def test_no_token_is_kept_in_an_address(text):
    with pytest.raises(SandboxfileError, match="neither a password nor a token") as caught:
        checked_address(text)
    assert "t0ken" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("text", ["main", "feature/x-1", "refs/tags/v1.0", "a" * 40, "release_2"])
def test_a_ref_is(text):
    assert checked_ref(text) == text


@pytest.mark.parametrize("text", ["", "-x", "a..b", "a:b", "+a", "a^", "a b", "@{u}", "a//b", "a/", "x.lock", "*"])
def test_no_ref_is(text):
    with pytest.raises(SandboxfileError):
        checked_ref(text)


def test_git_gets_what_it_needs_of_our_environment_and_nothing_else():
    given = {"PATH": "/bin", "HOME": "/h", "GIT_DIR": "/x", "TOKEN": "secret", "https_proxy": "p", "SSH_AUTH_SOCK": "s"}
    found = git_environment(given)
    assert {name: found.get(name) for name in given} == given | {"GIT_DIR": None, "TOKEN": None}
    assert found["GIT_ALLOW_PROTOCOL"] == "file:https:ssh"


def test_names_of_contents_are_those_of_git():
    assert blob_id(b"", 40) == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert blob_id(b"", 64) == "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813"
