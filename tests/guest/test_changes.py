"""What has changed in a root, by listings as GNU find prints them."""

import pytest

from sandboxfile.errors import GuestError
from sandboxfile.guest.changes import Listing, Stat, compare, parse

SINCE = 100.0
ROOT = "1 50.0 d 755 0 0 4096 50.0\0\0\0"
KNOWN = {
    "etc": Stat("directory", 0o755, 0, 0),
    "etc/motd": Stat("file", 0o644, 0, 0, 8, 20),
    "etc/old": Stat("file", 0o644, 0, 0, 3, 20),
    "bin": Stat("symlink", 0o777, 0, 0, 0, 20, "usr/bin"),
    "data": Stat("directory", 0o755, 0, 0),
    "data/a": Stat("file", 0o644, 0, 0, 1, 20),
    "data/b": Stat("directory", 0o755, 0, 0),
    "data/b/c": Stat("file", 0o644, 0, 0, 1, 20),
}


def entry(path, letter="f", *, ctime=50.0, mode=0o644, size=0, mtime=20, link="", device=1, uid=0):
    return f"{device} {ctime:.10f} {letter} {mode:o} {uid} 0 {size} {mtime:.10f}\0{path}\0{link}\0"


def printed(*entries, made=()):
    words = "".join(f"made\0{path}\0\0" for path in made)
    return f"now\x00150.5\0\0{words}{ROOT}{''.join(entries)}end\0\0\0".encode("utf-8", "surrogateescape")


def as_known(*without):
    """All that is known, as it still is, but for `without`."""
    letters = {"file": "f", "directory": "d", "symlink": "l"}
    return [
        entry(path, letters[stat.kind], mode=stat.mode, size=stat.size, mtime=stat.modified, link=stat.link)
        for path, stat in KNOWN.items()
        if not any(path == gone or path.startswith(f"{gone}/") for gone in without)
    ]


def changes(*entries, made=(), known=KNOWN):
    return compare(known, parse(printed(*entries, made=made)), SINCE)


def test_a_root_that_is_as_it_was_has_no_changes():
    found = changes(*as_known())
    assert (found.taken, found.vanished, found.cleaned) == ((), (), ())


def test_the_guests_clock_is_taken_before_the_list():
    assert parse(printed()).taken_at == 150.5


def test_new_paths_and_those_whose_inode_changed_are_taken():
    found = changes(*as_known("etc/motd"), entry("etc/motd", size=8, ctime=100.0), entry("etc/new"))
    assert found.taken == ("etc/motd", "etc/new")


@pytest.mark.parametrize("now", [{"size": 9}, {"mtime": 21}, {"mode": 0o600}, {"uid": 5}, {"letter": "l", "link": "x"}])
def test_what_is_another_than_before_is_taken_though_its_inode_is_older(now):
    """`mv a x; mv b a` gives a tree whose files changed names, and nothing else."""
    found = changes(*as_known("etc/motd"), entry("etc/motd", **({"size": 8} | now)))
    assert found.taken == ("etc/motd",)


def test_only_the_topmost_of_what_is_gone_is_named():
    assert changes(*as_known("data", "etc/old")).vanished == ("data", "etc/old")
    assert changes(*as_known("data/b")).vanished == ("data/b",)


def test_what_takes_the_place_of_a_directory_hides_all_of_it():
    """A whiteout beneath a link would hide something where that leads."""
    found = changes(*as_known("data"), entry("data", "l", link="/etc"))
    assert (found.taken, found.vanished) == (("data",), ())


def test_what_lies_beneath_a_mount_is_neither_taken_nor_gone():
    found = changes(*as_known("data"), entry("data", "d", device=7, ctime=120))
    assert (found.taken, found.vanished) == ((), ())


def test_directories_made_for_mounts_are_left_out_with_those_above_unless_they_hold_more():
    entries = [
        entry("home", "d", ctime=120),
        entry("home/me", "d", ctime=120),
        entry("home/me/project", "d", device=7),
        entry("srv", "d", ctime=120),
        entry("srv/ws", "d", device=8),
        entry("srv/mine", ctime=120),
    ]
    found = changes(*as_known(), *entries, made=("/home", "/home/me", "/home/me/project", "/srv", "/srv/ws"))
    assert found.taken == ("srv", "srv/mine")


def test_what_every_boot_makes_anew_is_no_change():
    entries = [
        entry("etc/hostname", ctime=120),
        entry("run/x", ctime=120),
        entry("tmp/x", ctime=120),
        entry("dev/fifo", "p", ctime=120),
        entry("etc/ssl/certs/0a1b2c3d.0", "l", link="sandboxfile.pem", ctime=120),
        entry("etc/ssl/certs/11111111.0", "l", link="Root.pem", ctime=120),
        entry("var/lib/docker/overlay2/x", ctime=120),
        entry("srv/socket", "s", ctime=120),
        entry("srv/null", "c", ctime=120),
    ]
    assert changes(*as_known(), *entries).taken == ("etc/ssl/certs/11111111.0",)


def test_what_a_layer_would_take_for_a_mark_is_left_out():
    assert changes(*as_known(), entry("data/.wh.a", ctime=120), entry("data/a.wh.", ctime=120)).taken == ("data/a.wh.",)


def test_files_that_a_boot_writes_into_are_named_apart_wherever_a_link_leads():
    entries = [
        entry("etc/hosts", ctime=120),
        entry("etc/ssl/cert.pem", "l", link="../pki/bundle.pem"),
        entry("etc/pki/bundle.pem", ctime=120),
    ]
    found = changes(*as_known(), *entries)
    assert (found.cleaned, found.taken) == (("etc/hosts", "etc/pki/bundle.pem"), ("etc/ssl/cert.pem",))


def test_names_hold_whatever_a_file_system_takes():
    strange = "data/new\nline \udcff"
    assert changes(*as_known(), entry(strange)).taken == (strange,)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        printed()[:-3],
        printed().replace(b"end", b""),
        printed(entry("x"))[1:],
        b"now\0no time\0\0" + ROOT.encode() + b"end\0\0\0",
        b"now\x001.0\0\0end\0\0\0",
        printed("1 2 f 644 0 0\0x\0\0"),
        printed(entry("../x")),
        printed(entry("/x")),
        printed(entry("a//x")),
    ],
)
def test_what_is_no_list_is_an_error_of_the_guest(data):
    with pytest.raises(GuestError):
        parse(data)


def test_a_listing_becomes_what_is_known_next():
    listing = parse(printed(*as_known()))
    assert isinstance(listing, Listing)
    assert compare(listing.stats, listing, listing.taken_at).taken == ()
