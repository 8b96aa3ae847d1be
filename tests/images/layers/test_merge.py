"""Merging layers: tables of small ones, a naive model, GNU tar as a judge, and hostile ones."""

import hashlib
import io
import os
import stat
import subprocess
import tarfile
from dataclasses import dataclass

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandboxfile.errors import BuildError
from sandboxfile.images.layers import layering, merge, tars

TYPES = {
    "dir": tarfile.DIRTYPE, "file": tarfile.REGTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE,
    "fifo": tarfile.FIFOTYPE, "char": tarfile.CHRTYPE, "block": tarfile.BLKTYPE,
}  # fmt: skip


def member(kind, name, value="", *, mode=None, pax=None, **attributes):
    """A member and its data; `value` is content or target."""
    info = tarfile.TarInfo(name)
    info.type = TYPES[kind]
    info.mode = mode if mode is not None else 0o755 if kind == "dir" else 0o644
    content = value.encode() if kind == "file" else b""
    info.size = len(content)
    if kind in ("link", "hard"):
        info.linkname = value
    info.pax_headers = pax or {}
    for key, number in attributes.items():
        setattr(info, key, number)
    return info, content


def parsed(line):
    """`file etc/x=content`, `link a->b`, `hard a=>b`, `dir d`; a bare name is a mark or an empty file."""
    kind, _, rest = line.partition(" ")
    if kind not in TYPES:
        return member("file", line)
    for sign in ("=>", "->", "="):
        name, found, value = rest.partition(sign)
        if found:
            return member(kind, name, value)
    return member(kind, rest)


def write_layer(path, lines):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape") as archive:
        for line in lines:
            info, content = parsed(line) if isinstance(line, str) else line
            archive.addfile(info, io.BytesIO(content))
    return path


def merged(directory, *layers, epoch=0):
    paths = [write_layer(directory / f"layer{number}.tar", lines) for number, lines in enumerate(layers)]
    target = directory / "merged.tar"
    return merge.merge(paths, target, epoch=epoch, report=lambda _: None, cancelled=lambda: None)


def listed(directory, result):
    """The merged tar as lines, like those that `parsed` reads; and that it is flat and agrees with the tree."""
    lines = []
    directories = {""}
    found = {}
    with tarfile.open(directory / "merged.tar", encoding="utf-8", errors="surrogateescape") as archive:
        for info in archive:
            path = info.name.removeprefix("./")
            assert info.name.startswith("./") or info.name == "."
            assert path not in found, "a name twice"
            assert path == "." or path.rpartition("/")[0] in directories, "no directory above it"
            if info.isdir():
                directories.add(path)
            content = archive.extractfile(info).read().decode() if info.isreg() else ""
            found[path] = (info, content)
    for path, (info, content) in sorted(found.items()):
        if path == ".":
            continue
        entry = result.tree[path]
        if info.islnk():
            assert entry.kind == "file"
            assert entry.link == info.linkname.removeprefix("./")
            assert found[entry.link][0].isreg()
            lines.append(f"hard {path}=>{entry.link}")
            continue
        assert (entry.mode, entry.uid, entry.gid, entry.mtime) == (info.mode, info.uid, info.gid, info.mtime)
        assert (info.uname, info.gname) == ("", "")
        assert entry.size == info.size
        if info.issym():
            assert entry.link == info.linkname
            lines.append(f"link {path}->{info.linkname}")
        elif info.isdir():
            lines.append(f"dir {path}")
        elif info.isfifo():
            lines.append(f"fifo {path}")
        else:
            assert entry.digest == hashlib.sha256(content.encode()).hexdigest()
            lines.append(f"file {path}={content}")
    assert set(found) - {"."} == set(result.tree)
    assert result.entries == len(result.tree)
    return lines


CASES = {
    "a later layer wins": ([["file a=1", "file b=1"], ["file a=2"]], ["file a=2", "file b=1"]),
    "a later member of one layer wins": ([["file a=1", "file a=2"]], ["file a=2"]),
    "missing parents are made": ([["file a/b/c=1"]], ["dir a", "dir a/b", "file a/b/c=1"]),
    "a file becomes a directory": ([["file a=1"], ["dir a", "file a/b=2"]], ["dir a", "file a/b=2"]),
    "a directory becomes a file": ([["dir a", "file a/b=1", "dir a/c"], ["file a=2"]], ["file a=2"]),
    "a directory becomes a link": ([["dir a", "file a/b=1", "dir c"], ["link a->c"]], ["link a->c", "dir c"]),
    "a directory given again keeps what is in it": ([["dir a", "file a/b=1"], ["dir a"]], ["dir a", "file a/b=1"]),
    "a link becomes a directory of its own": (
        [["dir c", "link a->c"], ["dir a", "file a/b=1"]],
        ["dir a", "file a/b=1", "dir c"],
    ),
    "links above an entry are followed": (
        [["dir usr", "dir usr/bin", "link bin->usr/bin"], ["file bin/x=1"]],
        ["link bin->usr/bin", "dir usr", "dir usr/bin", "file usr/bin/x=1"],
    ),
    "an absolute link stays inside": (
        [["dir usr", "link bin->/usr", "link up->../../usr/../usr"], ["file bin/x=1", "file up/y=1"]],
        ["link bin->/usr", "link up->../../usr/../usr", "dir usr", "file usr/x=1", "file usr/y=1"],
    ),
    "an absolute link begins at the root wherever it stands": (
        [["dir usr", "link usr/bin->/b", "file usr/bin/x=1"]],
        ["dir b", "file b/x=1", "dir usr", "link usr/bin->/b"],
    ),
    "a link that is replaced by way of itself": ([["link l->.", "dir l/l", "file l/x=1"]], ["dir l", "file l/x=1"]),
    "a directory that is hidden and made again": ([["file a/1=1"], [".wh.a", "file a/x=2"]], ["dir a", "file a/x=2"]),
    "where a link above an entry leads to is made": (
        [["link a->b/c", "file a/x=1"]],
        ["link a->b/c", "dir b", "dir b/c", "file b/c/x=1"],
    ),
    "names are normalised": (
        [["file /a=1", "file ./b=1", "file ../../c=1", "file d/../e=1", "dir f/", "file f//g=1", "dir ./", "dir /"]],
        ["file a=1", "file b=1", "file c=1", "file e=1", "dir f", "file f/g=1"],
    ),
    "a whiteout hides": ([["file a=1", "dir b", "file b/c=1"], [".wh.a", ".wh.b"]], []),
    "a whiteout of nothing is nothing": ([["file a=1"], [".wh.b", "c/d/.wh.e", "a/.wh.x"]], ["file a=1"]),
    "a whiteout hides through a link": (
        [["dir usr", "file usr/a=1", "link bin->usr"], ["bin/.wh.a"]],
        ["link bin->usr", "dir usr"],
    ),
    "a whiteout never hides what its own layer has": (
        [["file a=1", "dir b", "file b/old=1"], ["file a=2", "file b/new=2", ".wh.a", ".wh.b"]],
        ["file a=2", "dir b", "file b/new=2"],
    ),
    "a whiteout hides a lower layer's copy of what comes after it": (
        [["dir b", "file b/old=1"], [".wh.b", "dir b", "file b/new=2"]],
        ["dir b", "file b/new=2"],
    ),
    "an opaque directory hides lower layers wherever the mark stands": (
        [["dir a", "file a/1=1", "dir a/d", "file a/d/1=1"], ["dir a", "file a/2=2", "file a/d/2=2", "a/.wh..wh..opq"]],
        ["dir a", "file a/2=2", "dir a/d", "file a/d/2=2"],
    ),
    "an opaque root hides all": ([["file a=1", "dir b"], [".wh..wh..opq", "file c=1"]], ["file c=1"]),
    "a directory in place of a link, opaque, leaves what the link led to": (
        [["dir b", "dir b/c", "file b/c/x=1", "link a->b"], ["dir a", "dir a/c", "a/c/.wh..wh..opq"]],
        ["dir a", "dir a/c", "dir b", "dir b/c", "file b/c/x=1"],
    ),
    "marks of AUFS mean nothing": (
        [["file a=1"], [".wh..wh.plnk", ".wh..wh.aufs", "file .wh..wh.orph/x=1"]],
        ["file a=1"],
    ),
    "hard links": ([["file b=1", "hard a=>b", "hard c=>a"]], ["file a=1", "hard b=>a", "hard c=>a"]),
    "a hard link to a lower layer": ([["file b=1"], ["hard a=>b"]], ["file a=1", "hard b=>a"]),
    "a hard link keeps what was replaced": ([["file a=1", "hard b=>a"], ["file a=2"]], ["file a=2", "file b=1"]),
    "a hard link keeps what was hidden": (
        [["file a=1", "hard b=>a", "hard c=>a"], [".wh.a"]],
        ["file b=1", "hard c=>b"],
    ),
    "a hard link in place of a file": ([["file a=1", "file b=2"], ["hard b=>a"]], ["file a=1", "hard b=>a"]),
    "a hard link to itself": ([["file a=1"], ["hard a=>a"]], ["file a=1"]),
    "a hard link to itself is of that layer": ([["file a=1"], ["hard a=>a", ".wh.a"]], ["file a=1"]),
    "a hard link through links, absolute": (
        [["dir d", "file d/f=1", "link l->/d", "hard h=>/l/../l/f"]],
        ["dir d", "file d/f=1", "hard h=>d/f", "link l->/d"],
    ),
    "a hard link to a link is a link": ([["link l->x", "hard h=>l"]], ["link h->x", "link l->x"]),
    "a hard link to a device is nothing": ([["char null", "hard h=>null"]], []),
    "devices are dropped, and what they replace": (
        [["file a=1", "dir b", "file b/x=1"], ["char a", "block b", "fifo c"]],
        ["fifo c"],
    ),
    "what the guest mounts over is empty": (
        [["dir dev", "file dev/x=1", "dir dev/d", "file proc/1/x=1", "file sys/x=1", "file run/lock/x=1", "fifo dev/f",
          "dir var", "link var/run->../run", "file var/run/pid=1", "file runner=1", "file a/dev/x=1"]],
        ["dir a", "dir a/dev", "file a/dev/x=1", "dir dev", "dir proc", "dir run", "file runner=1", "dir sys",
         "dir var", "link var/run->../run"],
    ),
    "a link to what is dropped keeps it": ([["file dev/x=1", "hard z=>dev/x"]], ["dir dev", "file z=1"]),
    "a directory of the guest's that is a link is one": (
        [["dir e", "link dev->e", "file dev/x=1"]],
        ["link dev->e", "dir e", "file e/x=1"],
    ),
    "identities are dropped": (
        [["file etc/hostname=h", "link etc/resolv.conf->/run/r", "file etc/machine-id=0123", "file etc/x=1",
          "link var/lib/dbus/machine-id->/etc/machine-id"]],
        ["dir etc", "file etc/machine-id=", "file etc/x=1", "dir var", "dir var/lib", "dir var/lib/dbus"],
    ),
    "an identity that is a link is emptied, not what it leads to": (
        [["file secret=s", "link etc/machine-id->/secret", "dir etc/hostname"]],
        ["dir etc", "dir etc/hostname", "file etc/machine-id=", "file secret=s"],
    ),
    "an identity that others are linked to is only emptied itself": (
        [["file etc/machine-id=0123", "hard z=>etc/machine-id"]],
        ["dir etc", "file etc/machine-id=", "file z=0123"],
    ),
    "no layers": ([], []),
    "an empty layer": ([["file a=1"], []], ["file a=1"]),
}  # fmt: skip


@pytest.mark.parametrize(("layers", "expected"), CASES.values(), ids=CASES)
def test_layers_become(tmp_path, layers, expected):
    assert listed(tmp_path, merged(tmp_path, *layers)) == expected


def test_attributes_are_kept(tmp_path):
    xattrs = {
        "SCHILY.xattr.user.note": "n",
        "SCHILY.xattr.security.capability": "c",
        "SCHILY.xattr.security.selinux": "label",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "comment": "none of ours",
    }
    attributes = {"uid": 3_000_000, "gid": 4, "mtime": 1_600_000_000.7, "uname": "somebody", "gname": "some"}
    su = member("file", "su", "code", mode=0o106755, pax=xattrs, **attributes)
    result = merged(tmp_path, [su, member("dir", "t", mode=0o41777), member("link", "l", "x", mode=0)])
    listed(tmp_path, result)
    entry = result.tree["su"]
    assert (entry.mode, entry.uid, entry.gid, entry.mtime) == (0o6755, 3_000_000, 4, 1_600_000_000)
    assert entry.xattrs == (("security.capability", b"c"), ("user.note", b"n"))
    assert result.tree["t"].mode == 0o1777
    assert result.tree["l"].mode == 0o777


@pytest.mark.parametrize(
    ("epoch", "given", "kept"),
    [
        (0, 2_000_000_000, 2_000_000_000),
        (1000, 999, 999),
        (1000, 1001, 1000),
        (0, -5, 0),
        (1000, 1 << 60, 1000),
        (0, 1 << 60, 2**32 - 1),
    ],
)
def test_no_time_is_later_than_the_epoch_nor_beyond_what_file_systems_hold(tmp_path, epoch, given, kept):
    result = merged(tmp_path, [member("file", "d/a", mtime=given)], epoch=epoch)
    assert result.tree["d/a"].mtime == kept
    assert result.tree["d"].mtime == 0


def test_a_hidden_directory_that_is_only_there_for_what_is_in_it_has_nothing_of_the_hidden_one(tmp_path):
    lower = [member("dir", "d", mode=0o700, uid=7, mtime=7), member("dir", "e", mode=0o700, uid=7)]
    result = merged(tmp_path, lower, ["file d/x", ".wh.d", "file e/x"])
    assert (result.tree["d"].mode, result.tree["d"].uid, result.tree["d"].mtime) == (0o755, 0, 0)
    assert (result.tree["e"].mode, result.tree["e"].uid) == (0o700, 7)


def test_names_of_any_bytes_and_lengths_are_kept(tmp_path):
    names = ["\udcff\udcfe", "ü" * 127, "n" * 255, "/".join(["d" * 99] * 40), "with\nnewline", "-x", "%41", " "]
    result = merged(tmp_path, [member("file", name, "1") for name in names] + [member("link", "l", "t" * 4095)])
    listed(tmp_path, result)
    assert set(names) <= result.tree.keys()
    assert result.tree["l"].link == "t" * 4095


def test_size_counts_hard_links_once(tmp_path):
    result = merged(tmp_path, [member("file", "a", "12345"), member("hard", "b", "a"), member("file", "c", "1")])
    assert (result.size, result.entries) == (6, 3)


def deep(count):
    return "/".join(["d"] * count)


CHAIN = [f"link l{number}->l{number + 1}" for number in range(60)] + ["dir l60"]
HOSTILE = {
    "an entry below a file": [["file a=1", "file a/b=2"]],
    "an entry below a lower layer's file": [["file a=1"], ["file a/b=2"]],
    "an entry below a fifo": [["fifo a", "file a/b=2"]],
    "an entry below a device": [["char a", "file a/b=2"]],
    "links that lead to each other": [["link a->b", "link b->a", "file a/x=1"]],
    "a link to itself": [["link a->a", "file a/x=1"]],
    "too long a chain of links": [[*CHAIN, "file l0/x=1"]],
    "a hard link to nothing": [["hard a=>nothing"]],
    "a hard link out of the root": [["hard a=>../../../../etc/passwd"]],
    "a hard link to the root": [["hard a=>/"]],
    "a hard link to a directory": [["dir d", "hard a=>d"]],
    "a hard link through a loop": [["link a->b", "link b->a", "hard h=>a/x"]],
    "a hard link to what was hidden": [["file a=1"], [".wh.a", "hard b=>a"]],
    "a root that is a file": [["file .=1"]],
    "a root that is a link": [["link /->/etc"]],
    "a root by way of its parent that is a link": [["link a/..->/etc"]],
    "a whiteout of nothing": [[".wh."]],
    "a whiteout of its directory": [["d/.wh.."]],
    "a whiteout of the parent": [["d/.wh..."]],
    "an entry below a whiteout": [["file .wh.a/b=1"]],
    "a long name": [[member("file", "n" * 256)]],
    "a name long in bytes": [[member("file", "ü" * 128)]],
    "a long name of a parent": [[member("file", "n" * 256 + "/a")]],
    "a long name of where a link leads to": [[member("link", "l", "n" * 256), "file l/a=1"]],
    "a long path": [[member("file", "/".join(["d" * 200] * 21))]],
    "a path that links make long": [
        [member("link", "l", "/".join(["d" * 200] * 20)), member("file", "l/" + "n" * 200)]
    ],
    "a long link": [[member("link", "l", "t" * 4096)]],
    "a link to nowhere": [[member("link", "l", "")]],
    "directories too deep": [[f"file {deep(300)}=1"]],
    "directories too deep by links": [
        [f"link l->{deep(200)}", f"link {deep(200)}/m->{deep(200)}", f"file l/m/{deep(100)}=1"]
    ],
    "a negative owner": [[member("file", "a", uid=-1)]],
    "the owner that stands for none": [[member("file", "a", gid=0xFFFFFFFF)]],
    "a huge owner": [[member("file", "a", uid=1 << 40)]],
    "huge extended attributes": [[member("file", "a", pax={"SCHILY.xattr.user.x": "v" * 70_000})]],
}  # fmt: skip


@pytest.mark.parametrize("layers", HOSTILE.values(), ids=HOSTILE)
def test_what_no_root_can_be_made_of_is_an_error_and_leaves_nothing(tmp_path, layers):
    with pytest.raises(BuildError, match=r"cannot (use the layer .*layer[01]\.tar|make an image of these layers)"):
        merged(tmp_path, *layers)
    assert not (tmp_path / "merged.tar").exists()


def test_a_link_that_leads_out_makes_nothing_outside(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    work = tmp_path / "work"
    work.mkdir()
    lines = [f"link a->{outside}", "link b->../outside", "file a/x=1", "file b/y=1", f"file ../../{outside}/z=1"]
    result = merged(work, lines)
    assert [*outside.iterdir()] == []
    assert {"outside/y", f"{str(outside)[1:]}/x", f"{str(outside)[1:]}/z"} <= result.tree.keys()


@pytest.mark.parametrize(
    ("bound", "value", "lines"),
    [
        ("MOST_ENTRIES", 3, ["file a", "file a", "file a", ".wh.a"]),
        ("MOST_BYTES", 10, ["file a=123456", "file a=12345"]),
        ("MOST_NAMES", 10, ["file 123456", "link 1->234567"]),
        ("MOST_WORK", 20, ["file a/b/c/d=1", "file 1/2/3/4=1"] * 5),
        ("MOST_WORK", 20, [".wh..wh..opq", *(f"file {number}" for number in range(9)), *[".wh..wh..opq"] * 5]),
    ],
)
def test_what_a_layer_can_ask_for_is_bounded(tmp_path, monkeypatch, bound, value, lines):
    merged(tmp_path, lines)
    monkeypatch.setattr(layering, bound, value)
    with pytest.raises(BuildError, match="cannot use the layer"):
        merged(tmp_path, lines)


def sparse_layer(path, size):
    """GNU tar's word for a file of `size` bytes that holds one block."""
    (path.parent / "holes").write_bytes(b"x" * 4096)
    os.truncate(path.parent / "holes", size)
    subprocess.run(["tar", "-C", path.parent, "-cSf", path, "holes"], check=True)
    return path


def test_holes_are_filled_and_bounded(tmp_path, monkeypatch):
    layer = sparse_layer(tmp_path / "layer.tar", 5_000_000)
    arguments = {"epoch": 0, "report": print, "cancelled": lambda: None}
    result = merge.merge([layer], tmp_path / "merged.tar", **arguments)
    content = b"x" * 4096 + bytes(5_000_000 - 4096)
    assert result.tree["holes"].digest == hashlib.sha256(content).hexdigest()
    with tarfile.open(tmp_path / "merged.tar") as archive:
        assert archive.extractfile("./holes").read() == content
    monkeypatch.setattr(layering, "MOST_HOLES", 1_000_000)
    with pytest.raises(BuildError, match="bytes of holes"):
        merge.merge([layer], tmp_path / "merged.tar", **arguments)


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_layer_is_named(tmp_path, damage):
    path = write_layer(tmp_path / "bad.tar", ["file a=1", "file b=2"])
    data = path.read_bytes()
    path.write_bytes(data[:1200] if damage == "cut" else data[:1100] + b"x" + data[1101:])
    with pytest.raises(BuildError, match=r"cannot read .*bad\.tar"):
        merge.merge([path], tmp_path / "merged.tar", epoch=0, report=print, cancelled=lambda: None)


def test_a_layer_that_vanished_is_named(tmp_path):
    with pytest.raises(BuildError, match=r"cannot read .*gone"):
        merge.merge([tmp_path / "gone"], tmp_path / "merged.tar", epoch=0, report=print, cancelled=lambda: None)


def test_compressed_layers_are_as_good(tmp_path):
    plain = merged(tmp_path, ["dir a", "file a/b=1"], ["file a/c=2", "hard a/d=>a/b"])
    for number, command in ((0, ["gzip", "-c"]), (1, ["zstd", "-qc"])):
        path = tmp_path / f"layer{number}.tar"
        path.write_bytes(subprocess.run([*command, path], capture_output=True, check=True).stdout)
    layers = [tmp_path / "layer0.tar", tmp_path / "layer1.tar"]
    again = merge.merge(layers, tmp_path / "merged.tar", epoch=0, report=print, cancelled=lambda: None)
    assert again == plain
    assert listed(tmp_path, again) == ["dir a", "file a/b=1", "file a/c=2", "hard a/d=>a/b"]


def test_a_merged_tar_merges_to_itself(tmp_path):
    lines = ["dir a", "file a/b=1", "hard c=>a/b", "link l->a", "fifo f", "char null", member("file", "x" * 200, "2")]
    first = merged(tmp_path, lines, epoch=5)
    (tmp_path / "merged.tar").rename(tmp_path / "again.tar")
    again = merge.merge([tmp_path / "again.tar"], tmp_path / "t.tar", epoch=5, report=print, cancelled=lambda: None)
    assert again == first
    assert (tmp_path / "t.tar").read_bytes() == (tmp_path / "again.tar").read_bytes()


@pytest.mark.anyio
async def test_merging_in_a_thread_reports_here_and_gives_the_same(tmp_path):
    layer = write_layer(tmp_path / "layer.tar", ["file a=1"])
    said = []
    result = await merge.merge_layers([layer], tmp_path / "merged.tar", epoch=0, report=said.append)
    assert said == ["reading layer 1 of 1"]
    assert result.content == merged(tmp_path, ["file a=1"]).content


@pytest.mark.anyio
async def test_merging_that_is_given_up_stops_and_leaves_nothing(tmp_path):
    layer = write_layer(tmp_path / "layer.tar", ["file a=1"])
    with anyio.CancelScope() as scope:
        await merge.merge_layers([layer], tmp_path / "merged.tar", epoch=0, report=lambda _: scope.cancel())
    assert scope.cancelled_caught
    assert not (tmp_path / "merged.tar").exists()


# Properties.

NAMES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)
TARGETS = st.sampled_from(["a", "b", "c", "../a", "/b", "a/b", "../../c", "/", ".", "c/../b"])
MEMBERS = st.one_of(
    st.tuples(st.just("file"), NAMES, st.sampled_from(["", "1", "22"])),
    st.tuples(st.just("dir"), NAMES, st.just("")),
    st.tuples(st.just("link"), NAMES, TARGETS),
    st.tuples(st.just("hard"), NAMES, NAMES),
    st.tuples(st.just("hide"), NAMES, st.just("")),
    st.tuples(st.just("opaque"), NAMES, st.just("")),
)
LAYERS = st.lists(st.lists(MEMBERS, max_size=6), max_size=4)


class Refused(Exception):
    pass


@dataclass
class Thing:
    kind: str
    value: object  # content in a list (an identity), or target
    layer: int


class Model:
    """A file system as a dictionary from whole paths, and every rule said the long way."""

    def __init__(self):
        self.things = {(): Thing("dir", None, 0)}

    def directory(self, parts, layer, budget=40):
        """The real path of a directory; made where it is missing if there is a layer to make it."""
        here = ()
        for index, part in enumerate(parts):
            if part == "..":
                here = here[:-1]
                continue
            thing = self.things.get((*here, part))
            if thing is None:
                if layer is None:
                    return None
                thing = self.things[(*here, part)] = Thing("dir", None, layer)
            if thing.kind == "link":
                if budget == 0:
                    raise Refused
                start = () if thing.value.startswith("/") else here
                target = [name for name in thing.value.split("/") if name not in ("", ".")]
                # Written as one path from the root: `here` is real, so walking it again changes nothing.
                return self.directory((*start, *target, *parts[index + 1 :]), layer, budget - 1)
            if thing.kind != "dir":
                if layer is None:
                    return None
                raise Refused
            here = (*here, part)
        return here

    def below(self, path):
        return [other for other in self.things if other[: len(path)] == path]

    def remove(self, path):
        for other in self.below(path):
            del self.things[other]

    def hide(self, path, layer):
        mine = [other for other in self.below(path) if self.things[other].layer == layer]
        keep = {other[:length] for other in mine for length in range(len(other) + 1)}
        for other in self.below(path):
            if other not in keep:
                del self.things[other]
            else:
                self.things[other].layer = layer

    def put(self, kind, name, value, layer):
        parts = tuple(name.split("/"))
        if kind in ("hide", "opaque"):
            parent = self.directory(parts if kind == "opaque" else parts[:-1], None)
            if parent is None:
                return
            victims = [p for p in self.things if p[:-1] == parent and p] if kind == "opaque" else [(*parent, parts[-1])]
            for victim in victims:
                self.hide(victim, layer)
            return
        path = (*self.directory(parts[:-1], layer), parts[-1])
        if kind == "hard":
            target = tuple(value.split("/"))
            above = self.directory(target[:-1], None)
            found = self.things.get((*above, target[-1])) if above is not None else None
            if found is None or found.kind == "dir":
                raise Refused
            new = Thing(found.kind, found.value, layer)
        else:
            new = Thing(kind, [value] if kind == "file" else value, layer)
        if not (kind == "dir" and path in self.things and self.things[path].kind == "dir"):
            self.remove(path)
        self.things[path] = new

    def lines(self):
        first = {}
        for path, thing in sorted((("/".join(path), thing) for path, thing in self.things.items() if path)):
            if thing.kind == "dir":
                yield f"dir {path}"
            elif thing.kind == "link":
                yield f"link {path}->{thing.value}"
            elif id(thing.value) in first:
                yield f"hard {path}=>{first[id(thing.value)]}"
            else:
                first[id(thing.value)] = path
                yield f"file {path}={thing.value[0]}"


def as_member(kind, name, value):
    if kind == "hide":
        parent, _, last = name.rpartition("/")
        return member("file", f"{parent}/.wh.{last}")
    return member("file", f"{name}/.wh..wh..opq") if kind == "opaque" else member(kind, name, value)


anyway = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)


@anyway
@given(LAYERS)
def test_any_layers_become_what_a_naive_model_says(tmp_path, layers):
    model = Model()
    try:
        for number, lines in enumerate(layers):
            for line in lines:
                model.put(*line, number)
        expected = [*model.lines()]
    except Refused:
        expected = None
    written = [[as_member(*line) for line in lines] for lines in layers]
    if expected is None:
        with pytest.raises(BuildError):
            merged(tmp_path, *written)
    else:
        assert listed(tmp_path, merged(tmp_path, *written)) == expected


@anyway
@given(LAYERS, st.integers(0, 4))
def test_the_digest_does_not_depend_on_how_many_layers_lead_to_a_root(tmp_path, layers, cut):
    """Some of the layers merged before, or all of them into one tar, or that in another order: one digest."""
    written = [[as_member(*line) for line in lines] for lines in layers]
    try:
        whole = merged(tmp_path, *written)
    except BuildError:
        return
    above = [tmp_path / f"layer{number}.tar" for number in range(len(layers))]
    arguments = {"epoch": 0, "report": lambda _: None, "cancelled": lambda: None}
    merge.merge(above[:cut], tmp_path / "lower.tar", **arguments)
    # A layer above that replaces what a hard link is of tells it from a copy: those stay as they were.
    again = merge.merge([tmp_path / "lower.tar", *above[cut:]], tmp_path / "again.tar", **arguments)
    assert again.content == whole.content
    with tarfile.open(tmp_path / "merged.tar") as archive:
        found = [(info, archive.extractfile(info).read() if info.isreg() else b"") for info in archive]
    turned = sorted(found, key=lambda pair: (pair[0].islnk(), pair[0].name[::-1]))
    assert merged(tmp_path, turned).content == whole.content


KIND_BY_NAME = {"d": "dir", "f": "file", "s": "link", "h": "hard"}
BENIGN_NAMES = st.tuples(
    st.lists(st.sampled_from(["d1", "d2"]), max_size=2), st.sampled_from(["d3", "f1", "f2", "s1", "h1"])
).map(lambda pair: "/".join([*pair[0], pair[1]]))
BENIGN = st.lists(
    st.lists(st.tuples(BENIGN_NAMES, st.sampled_from(["1", "22", "../d1"]), st.integers(0, 0o777)), max_size=6),
    max_size=3,
)


def on_disk(root):
    """What is really there, as the lines of `listed` with the modes."""
    first = {}
    for path in sorted(root.rglob("*"), key=str):
        name, status = path.relative_to(root), path.lstat()
        mode = f"{stat.S_IMODE(status.st_mode):o}"
        if path.is_symlink():
            yield f"link {name}->{path.readlink()}"
        elif path.is_dir():
            yield f"{mode} dir {name}"
        elif status.st_ino in first:
            yield f"hard {name}=>{first[status.st_ino]}"
        else:
            first[status.st_ino] = name
            yield f"{mode} file {name}={path.read_text()}"


@settings(anyway, max_examples=40)
@given(BENIGN)
def test_ordinary_layers_become_what_gnu_tar_makes_of_them(tmp_path_factory, layers):
    work = tmp_path_factory.mktemp("gnu")
    written = []
    for lines in layers:
        members = []
        for name, value, mode in lines:
            kind = KIND_BY_NAME[name.rpartition("/")[2][0]]
            if kind == "hard":  # to a neighbour that is put there first
                members.append(member("file", f"{name[:-2]}f1", value, mode=mode | 0o400))
                value = f"{name[:-2]}f1"
            members.append(member(kind, name, value, mode=mode | 0o700))
        written.append(members)
    result = merged(work, *written)
    listed(work, result)
    unpack = ["tar", "--warning=none", "--preserve-permissions", "--delay-directory-restore", "-xf"]
    really, flat = work / "really", work / "flat"
    really.mkdir()
    flat.mkdir()
    for number in range(len(layers)):
        # -P: a link that leads upwards and stands there twice would else be the first of both.
        command = [*unpack, work / f"layer{number}.tar", "-P", "-C", really]
        subprocess.run(command, check=True, umask=0o022)
    subprocess.run([*unpack, work / "merged.tar", "-C", flat], check=True)
    assert [*on_disk(flat)] == [*on_disk(really)]


@pytest.mark.anyio
async def test_a_packed_merge_is_a_layer(tmp_path):
    first = merged(tmp_path, ["dir a", "file a/b=1"])
    await tars.pack(tmp_path / "merged.tar", tmp_path / "layer.tar.zst")
    again = await merge.merge_layers([tmp_path / "layer.tar.zst"], tmp_path / "two.tar", epoch=0, report=print)
    assert again == first
