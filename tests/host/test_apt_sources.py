"""Reading apt's sources in both formats, and which of them are Debian's."""

import pytest

from sandboxfile.host.apt_sources import Entry, debian_sources, parse_lines, parse_stanzas, read_entries

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example.com/debian
Suites: bookworm bookworm-updates
Components: main
# in between
  contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://security.example.com/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEX
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: http://off.example.com/debian
Suites: sid
Components: main

Types: deb-src
URIs: http://src.example.com/debian
Suites: sid
Components: main
"""


def test_stanzas_are_read_with_comments_continuations_and_disabled_ones():
    assert parse_stanzas(DEB822) == [
        Entry(
            "http://mirror.example.com/debian",
            ("bookworm", "bookworm-updates"),
            ("main", "contrib"),
            "/usr/share/keyrings/debian-archive-keyring.gpg",
        ),
        Entry("https://security.example.com/debian-security", ("bookworm-security",), ("main",)),
    ]


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        (
            "deb http://m.example.com/debian trixie main contrib # why",
            Entry("http://m.example.com/debian", ("trixie",), ("main", "contrib")),
        ),
        (
            "deb [ arch=amd64 signed-by=/k.gpg ] http://m.example.com/debian trixie main",
            Entry("http://m.example.com/debian", ("trixie",), ("main",), "/k.gpg"),
        ),
        (
            "deb [signed-by=/k.gpg] http://m.example.com/flat ./",
            Entry("http://m.example.com/flat", ("./",), (), "/k.gpg"),
        ),
        ("deb-src http://m.example.com/debian trixie main", None),
        ("# deb http://m.example.com/debian trixie main", None),
        ("deb cdrom:[Debian]/ trixie main", None),
        ("deb [signed-by=/k.gpg", None),
        ("deb", None),
        ("", None),
    ],
)
def test_one_line_entries_are_read(line, entry):
    assert parse_lines(line) == ([entry] if entry else [])


def test_files_are_read_in_order_and_others_are_left_alone(tmp_path):
    (tmp_path / "sources.list").write_text("deb http://a.example.com/debian sid main\n")
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "b.sources").write_text("Types: deb\nURIs: http://b.example.com/debian\nSuites: sid\nComponents: main")
    (parts / "c.list.save").write_text("deb http://c.example.com/debian sid main\n")
    (parts / "d.list").mkdir()
    assert [entry.uri for entry in read_entries(tmp_path)] == [
        "http://a.example.com/debian",
        "http://b.example.com/debian",
    ]
    assert read_entries(tmp_path / "none") == ()


def test_an_override_takes_the_place_of_every_mirror():
    mirror = Entry("http://mirror.example.com/debian", ("bookworm",), ("main",))
    ((entry, suite),) = debian_sources([mirror], "trixie", "https://other.example.com/debian")
    assert (entry.uri, suite) == ("https://other.example.com/debian", "trixie")
