"""sandbox.lock as text: what is written is read back, and whatever else somebody wrote there is refused."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.model.lock import LOCK_VERSION, Lock, LockedTemplate, encode_lock, parse_lock
from sandboxfile.model.template import BuildStep, Origin, PlacedFile, Recipe

DIGEST = "sha256:" + "a" * 64

digests = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format)
words = st.text(string.printable + "é‮", max_size=12)
packages = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
versions = st.dictionaries(packages, st.from_regex(r"[0-9][0-9a-z.+~:-]{0,8}", fullmatch=True), max_size=4).map(
    lambda found: tuple(sorted(found.items()))
)
pairs = st.dictionaries(words, words, max_size=3).map(lambda found: tuple(sorted(found.items())))
origins = st.builds(
    Origin,
    st.sampled_from(["debian", "ubuntu", "oci", "local", "tar", "saved", "dockerfile"]),
    reference=words,
    digest=st.just("") | digests,
    packages=st.lists(packages, max_size=3).map(tuple),
    versions=versions,
    dockerfile=words,
    target=words,
    args=pairs,
)
files = st.builds(PlacedFile, words, st.integers(0, 0o7777), digests)
steps = st.builds(
    BuildStep,
    st.sampled_from(["apt", "npm", "pip", "files", "run"]),
    packages=st.lists(packages, max_size=3).map(tuple),
    versions=versions,
    files=st.lists(files, max_size=2).map(tuple),
    command=st.lists(words, max_size=3).map(tuple),
    user=words,
    env=pairs,
)
recipes = st.builds(Recipe, origins, st.lists(steps, max_size=3).map(tuple), st.integers(1, 1 << 39))
names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,9}", fullmatch=True)
locks = st.builds(
    Lock, st.dictionaries(names, st.builds(LockedTemplate, recipes, digests, st.integers(0, 9)), max_size=3)
)


@given(locks)
def test_what_is_written_is_read_back_and_written_again_as_the_same_text(lock):
    text = encode_lock(lock)
    assert parse_lock(text) == (lock, ())
    assert encode_lock(parse_lock(text)[0]) == text
    assert text.isascii()


@given(st.text() | st.builds(json.dumps, st.recursive(st.none() | st.integers() | words, st.lists, max_leaves=5)))
def test_no_text_makes_it_raise(text):
    lock, problems = parse_lock(text)
    assert (lock is None) == bool(problems)


def written(**template):
    entry = {"base": {"kind": "oci", "reference": "a.example.com/x:1"}, "epoch": 9, "content": DIGEST, "format": 2}
    return {"version": LOCK_VERSION, "templates": {"dev": {**entry, **template}}}


def test_each_thing_has_its_line():
    recipe = Recipe(Origin("debian", "trixie", packages=("git", "jq"), versions=(("git", "1"), ("jq", "2"))), (), 7)
    text = encode_lock(Lock({"dev": LockedTemplate(recipe, DIGEST, 2)}))
    lines = [line.strip() for line in text.splitlines()]
    for line in ('"git",', '"jq"', '"git": "1",', '"jq": "2"', '"epoch": 7,'):
        assert line in lines
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (written(content="sha256:1"), ("templates", "dev", "content")),
        (written(epoch=0), ("templates", "dev", "epoch")),
        (written(epoch="9"), ("templates", "dev", "epoch")),
        (written(epoch=True), ("templates", "dev", "epoch")),
        (written(colour="red"), ("templates", "dev", "colour")),
        (written(base={"kind": "iso"}), ("templates", "dev", "base", "kind")),
        (written(base={"kind": "oci", "digest": "md5:1"}), ("templates", "dev", "base", "digest")),
        (written(steps=[{"kind": "shell"}]), ("templates", "dev", "steps", 0, "kind")),
        (
            written(steps=[{"kind": "files", "files": [{"target": "/a", "mode": "9", "digest": DIGEST}]}]),
            ("templates", "dev", "steps", 0, "files", 0, "mode"),
        ),
        ({"version": 1, "templates": {"../x": written()["templates"]["dev"]}}, ("templates", "../x")),
        ({"version": 2, "templates": {}}, ("version",)),
        ({"version": "1", "templates": {}}, ("version",)),
        ({"version": 1}, ("templates",)),
    ],
)
def test_what_is_wrong_is_named_by_its_path(data, path):
    lock, (problem, *_) = parse_lock(json.dumps(data))
    assert lock is None
    assert problem.path[: len(path)] == path


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("--index-url", "1"),
        ("a b", "1"),
        ("a/../b", "1"),
        ("/etc/passwd", "1"),
        ("a", "1 --force"),
        ("a", "--force"),
        ("a", "$(id)"),
        ("a", "git+https://example.com"),
        ("a", ""),
        ("a", "file:../x"),
    ],
)
def test_a_pin_is_never_an_option_a_path_or_a_second_word(name, version):
    lock, problems = parse_lock(json.dumps(written(steps=[{"kind": "pip", "versions": {name: version}}])))
    assert lock is None
    assert problems[0].path[:5] == ("templates", "dev", "steps", 0, "versions")


@pytest.mark.parametrize(
    ("name", "version"),
    [("libc6", "2.41-12+deb13u1"), ("@types/node", "22.1.0-rc.1"), ("ruamel.yaml", "1!2.0.post1"), ("g++", "4:14.2~x")],
)
def test_the_names_and_versions_of_all_managers_can_be_pinned(name, version):
    lock, problems = parse_lock(json.dumps(written(steps=[{"kind": "npm", "versions": {name: version}}])))
    assert problems == ()
    assert lock.templates["dev"].recipe.steps[0].versions == ((name, version),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON"),
        ('{"version": 1,\n "templates": {},}', "no JSON"),
        ('{"version": 1, "version": 1, "templates": {}}', "'version' comes twice"),
        ('{"version": NaN}', "NaN"),
        ("[" * 100_000, "This is no"),
        ('{"version": ' + "9" * 9999 + "}", "This is no lock"),
    ],
)
def test_text_that_is_no_lock_is_refused_in_words(text, words):
    lock, (problem,) = parse_lock(text)
    assert lock is None
    assert words in problem.detail


def test_wrong_json_has_a_line_and_a_column():
    _, (problem,) = parse_lock('{"version": 1,\n "templates": oops}')
    assert (problem.line, problem.column) == (2, 15)


def test_nothing_is_written_that_could_not_be_read():
    recipe = Recipe(Origin("debian", "trixie", versions=(("curl", "1 --force"),)), (), 7)
    with pytest.raises(ValueError, match="versions"):
        encode_lock(Lock({"dev": LockedTemplate(recipe, DIGEST, 2)}))
