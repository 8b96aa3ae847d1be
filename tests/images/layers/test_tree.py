"""The canonical list of a root: one text for equal roots, another for any other."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.images.layers.tree import Entry, content_digest, decode, differences, encode

names = st.binary(min_size=1, max_size=12).map(lambda name: name.decode("utf-8", "surrogateescape"))
entries = st.builds(
    Entry,
    path=names,
    kind=st.sampled_from(("file", "directory", "symlink", "fifo")),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    gid=st.integers(0, 2**32 - 2),
    mtime=st.integers(0, 2**32),
    size=st.integers(0, 2**40),
    digest=st.sampled_from(("", "0" * 64, "f" * 64)),
    link=st.one_of(st.just(""), names),
    xattrs=st.lists(st.tuples(names, st.binary(max_size=12)), max_size=3, unique_by=lambda pair: pair[0]).map(
        lambda pairs: tuple(sorted(pairs))
    ),
)
trees = st.lists(entries, max_size=5).map(lambda found: {entry.path: entry for entry in found})


@given(trees)
def test_what_is_written_is_read_back(tree):
    assert decode(encode(tree)) == tree


@given(trees, trees)
def test_two_roots_have_one_digest_only_if_they_are_equal(one, other):
    assert (content_digest(one) == content_digest(other)) == (one == other)


def test_the_order_in_which_entries_were_found_does_not_matter():
    one, other = Entry("a", "directory", 0o755), Entry("a/b", "file", 0o644)
    assert encode({"a": one, "a/b": other}) == encode({"a/b": other, "a": one})


@pytest.mark.parametrize("path", ["-", "a b", "a\nb", "%41", "a,b=c", "\udcff", "ü"])
def test_an_entry_is_one_line_of_ascii_whatever_its_name(path):
    entry = Entry(path, "symlink", 0o777, link=path, xattrs=((path, path.encode("utf-8", "surrogateescape")),))
    assert encode({path: entry}).count(b"\n") == 2
    assert encode({path: entry}).isascii()
    assert decode(encode({path: entry})) == {path: entry}


def test_the_text_is_as_it_was_since_digests_in_locks_depend_on_it():
    tree = {
        "etc": Entry("etc", "directory", 0o755, mtime=7),
        "etc/a b": Entry("etc/a b", "file", 0o4644, 1, 2, 3, 4, "ab", xattrs=(("user.x", b"\x00=,"),)),
        "etc/-": Entry("etc/-", "symlink", 0o777, link="-"),
    }
    assert encode(tree) == (
        b"sandboxfile tree 1\n"
        b"directory 0755 0 0 7 0 - etc - -\n"
        b"symlink 0777 0 0 0 0 - etc/- %2D -\n"
        b"file 4644 1 2 3 4 ab etc/a%20b - user.x=%00%3D%2C\n"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"sandboxfile tree 2\n",
        b"sandboxfile tree 1\nfile",
        b"sandboxfile tree 1\nfile 0644 0 0\n",
        b"sandboxfile tree 1\ndevice 0644 0 0 0 0 - a - -\n",
        b"sandboxfile tree 1\nfile mode 0 0 0 0 - a - -\n",
        b"sandboxfile tree 1\nfile 0644 0 0 0 0 - \xff - -\n",
    ],
)
def test_what_is_no_list_is_refused(data):
    with pytest.raises(ValueError):  # noqa: PT011 - of whichever part
        decode(data)


def test_differences_say_what_differs_at_each_path():
    file = Entry("f", "file", 0o644, size=1, digest="a")
    tree = {"f": file, "only": Entry("only", "directory", 0o755), "kind": Entry("kind", "file", 0o644)}
    other = {
        "f": replace(file, digest="b", mode=0o600, uid=5, mtime=1, link="x", xattrs=(("user.a", b""),)),
        "kind": Entry("kind", "directory", 0o755),
        "new": Entry("new", "fifo", 0o600),
    }
    assert differences(tree, other, names=("the lock", "this build")) == [
        ("f", "content, link, mode, owner, time, extended attributes"),
        ("kind", "file or directory"),
        ("new", "only in this build"),
        ("only", "only in the lock"),
    ]
    assert differences(tree, tree) == []
