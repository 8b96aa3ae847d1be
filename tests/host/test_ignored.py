"""Docker's rules for .dockerignore, by examples of its documentation and of its own tests."""

import time

import pytest

from sandboxfile.host.ignored import LINES, MalformedPattern, is_ignored, parse_ignore


@pytest.mark.parametrize(
    ("text", "ignored", "kept"),
    [
        ("", [], ["a", "a/b"]),
        ("*/temp*", ["a/temporary.txt", "a/temp"], ["temp", "a/b/temp"]),
        ("*/*/temp*", ["a/b/temporary.txt"], ["a/temp"]),
        ("temp?", ["tempa", "tempb"], ["temp", "tempab", "a/tempa"]),
        ("*.md\n!README.md", ["a.md"], ["README.md", "a/b.md"]),
        ("*.md\n!README*.md\nREADME-secret.md", ["a.md", "README-secret.md"], ["README.md", "README-x.md"]),
        ("*.md\nREADME-secret.md\n!README*.md", ["a.md"], ["README-secret.md"]),
        ("**/*.go", ["a.go", "a/b/c.go"], ["a.gox"]),
        ("node_modules", ["node_modules", "node_modules/a/b"], ["a/node_modules"]),
        ("**/node_modules/", ["node_modules/a", "a/b/node_modules/c"], ["a/node_modules_x"]),
        ("*\n!src", ["a", "b/c"], ["src", "src/x/y"]),
        ("/foo/./bar/../bar/", ["foo/bar", "foo/bar/x"], ["foo/x"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "ab"]),
        ("**", ["a", "a/b"], []),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a/xb", "ab"]),
        ("**/foo/**/*.txt", ["foo/a.txt", "x/foo/y/z/a.txt"], ["fool/a.txt", "foo/a.txts"]),
        ("dir/**\n!dir/keep", ["dir/a"], ["dir/keep", "dir/keep/a"]),
        ("# comment\n  # no comment\n", ["# no comment", "# no comment/x"], ["# comment", "comment"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "-x"]),
        ("[^a]x", ["bx"], ["ax", "/x"]),
        ("[\\]]x", ["]x"], ["\\x"]),
        ("\\*\\?", ["*?"], ["ab"]),
        ("a.b", ["a.b"], ["axb"]),
        ("a*b*c", ["abc", "axbxc", "abbc"], ["abcd", "a/b/c"]),
        ("! \n.\n/\n", [], ["a"]),
        ("\ufeffa\r\nb\r\n", ["a", "b"], ["c"]),
        ("!a", [], ["a", "b"]),
    ],
)
def test_what_docker_leaves_out_is_left_out(text, ignored, kept):
    patterns = parse_ignore(text)
    assert [path for path in ignored if not is_ignored(path, patterns)] == []
    assert [path for path in kept if is_ignored(path, patterns)] == []


@pytest.mark.parametrize("line", ["[a", "[", "a\\", "[]", "[z-a]"])
def test_what_is_no_pattern_is_said_with_its_line(line):
    with pytest.raises(MalformedPattern, match="line 2"):
        parse_ignore(f"# comment\n{line}\n")


def test_there_is_a_bound():
    with pytest.raises(MalformedPattern, match="more than"):
        parse_ignore("\n" * LINES)
    assert len(parse_ignore("a\n" * (LINES - 1))) == LINES - 1


@pytest.mark.parametrize(
    "pattern", ["a*" * 60 + "b", "**/a*/" * 60 + "b", "**/" * 60 + "b", "*a" * 60 + "/**/" + "a*" * 60 + "b"]
)
def test_a_hostile_pattern_takes_no_time(pattern):
    patterns = parse_ignore(pattern)
    start = time.process_time()
    is_ignored("a" * 250 + "/" + "a/" * 200 + "a" * 250, patterns)
    assert time.process_time() - start < 2.0
