"""Reading apt's configuration: which mirror, which suites, which options."""

import pytest

from sandboxfile.errors import BuildError
from sandboxfile.host.apt_sources import Entry
from sandboxfile.images import sources
from sandboxfile.images.sources import apt_options, source_lines

KEYRING = "/etc/apt/keyrings/ours.gpg"
DEBIAN = Entry("http://mirror.example.com/debian", ("bookworm", "bookworm-updates"), ("main",), KEYRING)
SECURITY = Entry("http://mirror.example.com/debian-security", ("bookworm-security",), ("main",), KEYRING)
TOOLS = Entry("https://tools.example.com/apt", ("stable",), ("main",))


def test_the_suite_is_the_images_own_with_its_updates_and_security():
    lines, keyrings = source_lines([TOOLS, DEBIAN, SECURITY], "trixie")
    assert lines == (
        f"deb [signed-by={KEYRING}] http://mirror.example.com/debian trixie main",
        f"deb [signed-by={KEYRING}] http://mirror.example.com/debian trixie-updates main",
        f"deb [signed-by={KEYRING}] http://mirror.example.com/debian-security trixie-security main",
    )
    assert [str(path) for path in keyrings] == [KEYRING]


def test_a_host_without_updates_and_security_gets_none():
    plain = Entry("http://mirror.example.com/debian/", ("bookworm",), ("main",))
    assert source_lines([plain], "trixie") == (("deb http://mirror.example.com/debian/ trixie main",), ())


def test_a_rolling_suite_has_neither_updates_nor_security():
    lines, _ = source_lines([DEBIAN, SECURITY], "sid")
    assert len(lines) == 1


def test_a_mirror_with_a_date_in_its_path_counts_as_debian():
    dated = Entry("http://snapshot.example.com/archive/debian/20250520T000000Z", ("bookworm",), ("main",))
    assert source_lines([dated], "bookworm")[0] == (f"deb {dated.uri} bookworm main",)


@pytest.mark.parametrize(
    "uri", ["http://mirror.example.com/ubuntu", "https://debian.example.com/tools", "http://x.example.com/debian-other"]
)
def test_what_is_not_debian_is_no_mirror_of_it(uri):
    assert source_lines([Entry(uri, ("stable",), ("main",))], "trixie") == ((), ())


def test_the_override_is_used_alone():
    lines, _ = source_lines([DEBIAN, SECURITY], "trixie", "https://other.example.com/debian")
    (line,) = lines
    assert line.endswith("https://other.example.com/debian trixie main")


@pytest.mark.anyio
async def test_a_host_without_a_mirror_is_told_what_to_set(tmp_path):
    with pytest.raises(BuildError, match="no Debian mirror") as caught:
        await sources.host_sources("trixie", environ={}, directory=tmp_path)
    assert "SBX_DEBIAN_MIRROR" in (caught.value.hint or "")


def test_only_options_that_reach_the_mirrors_are_passed_on():
    dump = """\
APT::Architecture "amd64";
Acquire "";
Acquire::http::Proxy "http://proxy.example.com:3128";
Acquire::https::mirror.example.com::Verify-Peer "true";
Acquire::Check-Valid-Until "false";
Acquire::GzipIndexes "true";
Acquire::httpx "1";
Dir::State "var/lib/apt";
"""
    assert apt_options(dump) == (
        'Acquire::http::Proxy "http://proxy.example.com:3128"',
        'Acquire::https::mirror.example.com::Verify-Peer "true"',
        'Acquire::Check-Valid-Until "false"',
    )
