"""Paths in hostile spellings, and globs."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.policy.paths import parse_glob, plain_path


@pytest.mark.parametrize(
    ("sent", "plain"),
    [
        ("/", "/"),
        ("/a/b/", "/a/b/"),
        ("/a.b/..c/d..", "/a.b/..c/d.."),
        ("/...", "/..."),
        ("/@scope/x;v=1/~y!$&'()*+,=:", "/@scope/x;v=1/~y!$&'()*+,=:"),
        ("/%40scope", "/@scope"),
        ("/%C3%bc", "/\u00c3\u00bc"),
        ("/a%20b", "/a b"),
        ("/100%25", "/100%"),
        ("/%3Fx", "/?x"),
        ("/" + "a" * 8000, "/" + "a" * 8000),
    ],
)
def test_a_path_is_read_without_escapes(sent, plain):
    assert plain_path(sent) == plain


@pytest.mark.parametrize(
    "sent",
    [
        *("", "*", "a", "http://example.com/", "example.com:443"),
        *("/..", "/../a", "/a/..", "/a/../b", "/.", "/./a", "/a/./b", "/a/..;/b", "/a/.;x/b", "/..;", "/a/..%3b/b"),
        *("//", "/a//b", "//a", "/a//"),
        *("/a\\b", "/a/..\\b", "/a%5cb", "/a%5Cb"),
        *("/a%2fb", "/a%2Fb", "/%2e%2e/a", "/.%2e/a", "/%2E/a", "/%252e", "/%25%32%65", "/a%252fb", "/%2525"),
        *("/%61", "/%7E", "/%5f", "/%2d", "/%39"),
        *("/%00", "/a%0ab", "/%1f", "/%7f", "/%", "/%2", "/%zz", "/a%u002f", "/%c0%2f"),
        *("/a b", "/a\nb", "/a\0", "/ü", "/a?b", "/a#b", "/\ud800", '/a"b', "/a<b"),
        "/" + "a" * 9000,
    ],
)
def test_a_path_that_servers_may_read_in_several_ways_has_no_reading(sent):
    assert plain_path(sent) is None


@pytest.mark.parametrize(
    ("glob", "matching", "other"),
    [
        ("/", ["/"], ["/a"]),
        ("/a", ["/a"], ["/", "/a/", "/ab", "/a/b"]),
        ("/a/*", ["/a/", "/a/b"], ["/a", "/a/b/c", "/a/b/"]),
        ("/a/**", ["/a/", "/a/b", "/a/b/c"], ["/a", "/ab", "/b/a/c"]),
        ("/a/*/c", ["/a/b/c", "/a//c"], ["/a/c", "/a/b/b/c"]),
        ("/**/c", ["/a/c", "/a/b/c", "//c"], ["/c", "/a/c/"]),
        ("/a*b", ["/ab", "/axb", "/abb"], ["/a/b", "/abc"]),
        ("/a**b", ["/ab", "/a/b", "/a/x/b"], ["/abc"]),
        ("/**/a*b/c", ["/ax/ab/c", "/x/ab/c"], ["/ax/b/c/", "/a/b/c"]),
        ("**", ["/", "/a/b"], []),
        ("*/x", ["/x"], ["/a/x"]),
        ("/a.b", ["/a.b"], ["/axb"]),
        ("/%C3%BC/**", ["/\u00c3\u00bc/x"], ["/u/x"]),
        ("/ü/**", ["/\u00c3\u00bc/x"], ["/u/x"]),
        ("/a%2Ab", ["/a*b"], ["/axb"]),
    ],
)
def test_a_star_stays_within_a_segment_and_two_go_across(glob, matching, other):
    compiled = parse_glob(glob)
    assert [path for path in matching if not compiled.matches(path)] == []
    assert [path for path in other if compiled.matches(path)] == []


@pytest.mark.parametrize("glob", ["", "a", "a/**", "?", "https://example.com/"])
def test_a_glob_that_could_match_no_path_is_refused(glob):
    with pytest.raises(ValueError, match="begins with"):
        parse_glob(glob)


def as_regex(glob):
    parts = re.split(r"(\*+)", glob)
    return "".join("[^/]*" if p == "*" else "(?s:.*)" if p.startswith("*") else re.escape(p) for p in parts)


@given(st.text("/ab*", max_size=10).map("/".__add__), st.text("/ab", max_size=14).map("/".__add__))
def test_globs_match_what_regular_expressions_do(glob, path):
    assert parse_glob(glob).matches(path) == bool(re.fullmatch(as_regex(glob), path))
