"""Names of packages: what a manager understands, and nothing that it could take for more than a name."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sandboxfile.model.packages import AptPackage, NpmPackage, PipPackage, package_name

KINDS = {"apt": TypeAdapter(AptPackage), "npm": TypeAdapter(NpmPackage), "pip": TypeAdapter(PipPackage)}
NAMES = {
    "apt": [("git", "git"), ("g++", "g++"), ("libstdc++6=14.2.0-19", "libstdc++6"), ("vim=2:9.1~rc1-1+b1", "vim")],
    "npm": [
        ("typescript", "typescript"), ("typescript@5.1.6", "typescript"), ("@scope/a", "@scope/a"), ("JSONStream",
        "JSONStream"),
        ("@scope/a@^1.2.0-rc.1+b", "@scope/a"), ("a@latest", "a"), ("a@~1.2", "a"), ("a@1.x", "a"),
    ],
    "pip": [
        ("pytest", "pytest"), ("a.b_c-d", "a.b_c-d"), ("x==1.0", "x"), ("x===1.0+local", "x"), ("x>=1,<2,!=1.5.*", "x"),
        ("x[y,z]~=1.4", "x"), ("x[y]", "x"), ("x==1!2.0", "x"),
    ],
}  # fmt: skip
WRONG = {
    "apt": [
        "", "g", "G++", "-y", "git-", "git=", "git=-1", "git 1", "git/sid", "./git.deb", "git\n", "git,vim",
        "?all", "git:i386",
    ],
    "npm": [
        "", "-g", "a b", ".", "..", "./a", "../a", "/a", "a/b", "@a", "@a/", "@/a", "a@", "a@-1", "a@npm:b",
        "a@file:b", "a@>1",
        "a@1 || 2", "git+ssh://x", "a@*", "a@$(id)", "a\n", "a;b", "@a/../b", "https://example.com/a.tgz", "a@git@b",
    ],
    "pip": [
        "", "-r", "--pre", "a b", "./a", "/a", "a/b", "a @ file:///x", "a;x", "a[", "a[]", "a[x", "a=1", "a==",
        "a==1,", "a>", "a\n",
        "a-", ".a", "a==1 ", "a== 1", "git+https://example.com/a", "a.whl @ b", "a==$(id)", "a==`id`", "a==-1",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "written", "name"), [(kind, *pair) for kind in NAMES for pair in NAMES[kind]])
def test_packages_are_written_as_their_manager_writes_them(kind, written, name):
    assert KINDS[kind].validate_python(written) == written
    assert package_name(kind, written) == name


@pytest.mark.parametrize(("kind", "written"), [(kind, text) for kind in WRONG for text in WRONG[kind]])
def test_nothing_else_is_a_package(kind, written):
    with pytest.raises(ValidationError, match="cannot be"):
        KINDS[kind].validate_python(written)


@given(
    st.sampled_from(sorted(KINDS)), st.text(st.sampled_from("aA0@/=<>!~^.,[]+-_* \t\n;|&$`'\"\\(){}#?:"), max_size=12)
)
def test_what_is_accepted_is_one_harmless_word(kind, text):
    try:
        KINDS[kind].validate_python(text)
    except ValidationError:
        return
    assert not text.startswith(("-", ".", "/", "~"))
    assert not set(text) & set(" \t\n;|&$`'\"\\(){}#?:") - ({":"} if kind == "apt" else set())
    assert ".." not in text.split("/")
    assert "://" not in text
    assert shlex.split(text.replace("<", "").replace(">", "")) == [text.replace("<", "").replace(">", "")]


def test_a_very_long_word_is_refused_at_once():
    for adapter in KINDS.values():
        with pytest.raises(ValidationError):
            adapter.validate_python("a" * 1_000_000 + "!")
