"""Reading tars: what GNU tar and Python write is understood, what is damaged or hostile is refused."""

import io
import os
import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.errors import BuildError
from sandboxfile.images.layers import tar_reader, tar_writer
from sandboxfile.images.layers.tar_reader import Contents, members
from sandboxfile.images.layers.tree import Entry

END = bytes(1024)


def read(data):
    """Name, kind, content of all members, and the members themselves."""
    found = [*members(io.BytesIO(data), "layer")]
    contents = Contents(io.BytesIO(data), "layer")
    return [b"".join(contents.pieces(each.offset, each.size, each.segments)) for each in found], found


def block(name=b"file", kind=b"0", size=b"0" * 11, *, link=b"", mode=b"0000644", uid=b"0000000", mtime=b"0" * 11):
    start = name.ljust(100, b"\0") + b"".join(
        field.ljust(width, b"\0") for field, width in ((mode, 8), (uid, 8), (b"0000000", 8), (size, 12), (mtime, 12))
    )
    rest = (kind + link.ljust(100, b"\0") + b"ustar\x0000").ljust(356, b"\0")
    return start + b"%06o\0 " % (sum(start) + sum(rest) + 256) + rest


def pax(*records, kind=b"x"):
    data = b"".join(tar_writer._record(key, value) for key, value in records)
    return block(b"pax", kind, b"%011o" % len(data)) + data + bytes(-len(data) % 512)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_python_writes_is_read(form):
    long = form != tarfile.USTAR_FORMAT
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, encoding="utf-8") as archive:
        for name, kind, link in (
            ("dir", tarfile.DIRTYPE, ""),
            ("a/" * 40 + "b" * 90, tarfile.REGTYPE, ""),  # with the prefix of ustar
            ("ü" * (200 if long else 20), tarfile.REGTYPE, ""),
            ("link", tarfile.SYMTYPE, "t" * (300 if long else 99)),
            ("hard", tarfile.LNKTYPE, "dir"),
            ("fifo", tarfile.FIFOTYPE, ""),
            ("null", tarfile.CHRTYPE, ""),
            ("disk", tarfile.BLKTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            member.mode, member.uid, member.mtime = 0o4755, 1000, 1_700_000_000
            member.size = 700 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"x" * 700))
    contents, found = read(buffer.getvalue())
    kinds = ["directory", "file", "file", "symlink", "hardlink", "fifo", "device", "device"]
    assert [each.kind for each in found] == kinds
    assert {(each.mode, each.uid, each.mtime) for each in found} == {(0o4755, 1000, 1_700_000_000)}
    assert contents[1] == contents[2] == b"x" * 700
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as archive:
        assert [(each.name.rstrip("/"), each.link) for each in found] == [
            (each.name, each.linkname) for each in archive
        ]


SPARSE = {
    "gnu": ["--format=gnu"],
    "0.0": ["--format=pax", "--sparse-version=0.0"],
    "0.1": ["--format=pax", "--sparse-version=0.1"],
    "1.0": ["--format=pax", "--sparse-version=1.0"],
}


@pytest.mark.parametrize("options", SPARSE.values(), ids=SPARSE)
def test_sparse_files_of_every_format_are_filled(tmp_path, options):
    with (tmp_path / "many").open("wb") as stream:
        for number in range(60):  # more parts than one block of the old format holds
            stream.seek(number * 100_000)
            stream.write(os.urandom(4096))
        stream.truncate(8_000_000)
    with (tmp_path / "none").open("wb") as stream:
        stream.truncate(3_000_000)
    (tmp_path / "next").write_text("after them")
    command = ["tar", "-C", tmp_path, "-cS", "-b1", *options, "-f-", "many", "none", "next"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    assert len(data) < 1_000_000
    contents, found = read(data)
    assert [each.name for each in found] == ["many", "none", "next"]
    assert contents == [(tmp_path / name).read_bytes() for name in ("many", "none", "next")]


def test_extended_attributes_and_numbers_of_a_pax_header_are_read():
    data = pax(
        (b"mtime", b"-1.5"), (b"uid", b"4000000000"), (b"path", b"n\xff"), (b"SCHILY.xattr.user.a%3Db%25", b"\0v\n"),
    ) + block() + END  # fmt: skip
    (member,) = read(data)[1]
    assert (member.mtime, member.uid, member.name) == (-2, 4_000_000_000, "n\udcff")
    assert member.xattrs == (("user.a=b%", b"\0v\n"),)


def test_a_global_header_holds_for_all_that_follow_and_their_own_go_before_it():
    data = pax((b"mtime", b"5"), (b"comment", b"c"), kind=b"g") + block() + pax((b"mtime", b"6")) + block() + END
    assert [member.mtime for member in read(data)[1]] == [5, 6]


def test_numbers_in_base_256_are_read_with_their_sign():
    huge, negative = b"\x80" + (1 << 40).to_bytes(11), b"\xff" * 12
    data = block(mtime=huge) + block(mtime=negative) + block(uid=b"\x80\0\0\0\xff\xff\xff\xfe") + END
    assert [(member.mtime, member.uid) for member in read(data)[1]] == [(1 << 40, 0), (-1, 0), (0, 0xFFFFFFFE)]


def test_a_link_has_no_data_whatever_size_it_claims():
    data = block(b"a", b"1", b"%011o" % 5000, link=b"b") + block(b"b") + END
    assert [member.name for member in read(data)[1]] == ["a", "b"]


def test_a_file_whose_name_ends_with_a_slash_is_a_directory_as_of_old():
    assert [member.kind for member in read(block(b"dir/", b"\0") + END)[1]] == ["directory"]


def test_an_empty_archive_holds_nothing_and_what_follows_the_end_is_not_looked_at():
    assert read(END)[1] == []
    assert [member.name for member in read(block() + END + block(b"later") + b"rest")[1]] == ["file"]


LONG = (1 << 20) + 1
DAMAGED = {
    "nothing at all": b"",
    "no tar": b"#!/bin/sh\n" + b"x" * 1000,
    "no end": block(),
    "half a header": block()[:300],
    "data cut short": block(size=b"%011o" % 1000) + b"x" * 600,
    "a checksum": block()[:99] + b"x" + block()[100:] + END,
    "a damaged header between others": block() + b"garbage" * 100 + block() + END,
    "digits that are none": block(size=b"12x45") + END,
    "a negative size": block(size=b"\xff" * 12) + END,
    "a negative size in octal": block(size=b"-0000000001") + END,
    "a negative size in pax": pax((b"size", b"-1")) + block() + END,
    "an unknown kind": block(kind=b"Q") + END,
    "a volume of several": block(kind=b"M") + END,
    "a huge pax header": block(kind=b"x", size=b"%011o" % LONG) + b"0" * LONG + END,
    "a huge long name": block(kind=b"L", size=b"%011o" % LONG) + b"n" * LONG + END,
    "a pax header without a member": pax((b"path", b"a")) + END,
    "pax headers without end": pax((b"path", b"a")) * 50 + block() + END,
    "a pax record without length": block(kind=b"x", size=b"%011o" % 10) + b"path=a\n".ljust(512, b"\0") + END,
    "a pax record of length 0": block(kind=b"x", size=b"%011o" % 4) + b"0 =\n".ljust(512, b"\0") + END,
    "a pax record too long": block(kind=b"x", size=b"%011o" % 9) + b"99 path=a\n".ljust(512, b"\0") + END,
    "a number of a million digits": pax((b"mtime", b"9" * 1_000_000)) + block() + END,
    "a name with a zero byte": pax((b"path", b"a\0b")) + block() + END,
    "sparse parts that overlap": pax((b"GNU.sparse.map", b"0,9,5,9"), (b"GNU.sparse.size", b"50")) + block() + END,
    "sparse parts beyond the file": pax((b"GNU.sparse.map", b"0,1,60,1"), (b"GNU.sparse.size", b"50")) + block() + END,
    "sparse parts that are not there": pax((b"GNU.sparse.map", b"0,9"), (b"GNU.sparse.size", b"50")) + block() + END,
    "half a sparse part": pax((b"GNU.sparse.map", b"0"), (b"GNU.sparse.size", b"50")) + block() + END,
    "a sparse file of no size": pax((b"GNU.sparse.map", b"0,0")) + block() + END,
    "a sparse map without end": pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"1"))
    + block(size=b"%011o" % 4096) + b"1" * 4096 + END,
    "a sparse map of a billion": pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"1"))
    + block(size=b"%011o" % 512) + b"1000000000\n".ljust(512, b"\0") + END,
}  # fmt: skip


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_what_is_damaged_or_unknown_is_an_error_that_names_the_layer(data):
    with pytest.raises(BuildError, match="cannot read layer: it is not a tar, or damaged"):
        read(data)


@given(st.integers(0, 5000), st.binary(min_size=1, max_size=20))
def test_no_damage_makes_it_crash(place, damage):
    whole = pax((b"path", b"long"), (b"GNU.sparse.map", b"0,9"), (b"GNU.sparse.size", b"50")) + block(
        size=b"%011o" % 9
    ) + b"x" * 512 + block(b"b", b"S") + block(b"c", b"5") + END  # fmt: skip
    data = whole[:place] + damage + whole[place + len(damage) :]
    try:
        read(data)
    except BuildError as exc:
        assert "layer" in exc.message  # noqa: PT017 - either it is refused so, or it is read


def test_data_that_has_gone_since_is_an_error():
    data = block(size=b"%011o" % 1000) + b"x" * 1024 + END
    (member,) = members(io.BytesIO(data), "layer")
    with pytest.raises(BuildError, match="layer: it is shorter than it was"):
        [*Contents(io.BytesIO(data[:700]), "layer").pieces(member.offset, member.size)]


names = st.lists(
    st.binary(min_size=1, max_size=130).map(lambda part: part.replace(b"\0", b"0").replace(b"/", b"_")),
    min_size=1,
    max_size=40,
).map(lambda parts: b"/".join(parts).decode("utf-8", "surrogateescape"))


@given(
    st.builds(
        Entry,
        path=names,
        kind=st.sampled_from(("file", "directory", "symlink", "fifo")),
        mode=st.integers(0, 0o7777),
        uid=st.integers(0, 2**32),
        gid=st.integers(0, 2**32),
        mtime=st.integers(0, 2**40),
        size=st.just(0),
        link=names,
        xattrs=st.lists(
            st.tuples(names.map(lambda name: f"user.{name}"), st.binary(max_size=300)),
            max_size=3,
            unique_by=lambda pair: pair[0],
        ).map(lambda pairs: tuple(sorted(pairs))),
    )
)
def test_what_is_written_is_read_back_by_us_and_by_python(entry):
    data = tar_writer.header(entry) + END
    (member,) = members(io.BytesIO(data), "layer")
    link = f"./{entry.link}" if entry.kind == "file" else entry.link
    assert member.name.removeprefix("./").removesuffix("/") == entry.path
    assert member.kind == ("hardlink" if entry.kind == "file" else entry.kind)
    assert (member.mode, member.uid, member.gid, member.mtime) == (entry.mode, entry.uid, entry.gid, entry.mtime)
    assert member.link == link
    assert member.xattrs == (() if entry.kind == "file" else entry.xattrs)
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as archive:
        other = archive.next()
    assert (other.name, other.linkname) == (member.name.rstrip("/"), link)
    assert (other.uid, other.gid, other.mtime) == (entry.uid, entry.gid, entry.mtime)


def test_a_size_beyond_octal_is_written_and_read():
    data = tar_writer.header(Entry("big", "file", 0o644, size=1 << 40))
    assert tar_reader._Reader(io.BytesIO(data)).next().size == 1 << 40
