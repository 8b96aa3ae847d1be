"""Reading apt's configuration: which mirror, which suites, which options."""

from dataclasses import replace

import pytest

from sandboxfile.errors import BuildError
from sandboxfile.host.apt_sources import Entry
from sandboxfile.images.packages import sources
from sandboxfile.images.packages.sources import ARCHIVES, Sources, apt_options, source_lines

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


def test_an_override_may_name_a_security_archive_besides():
    both = "https://snapshot.example.com/debian/20260101 https://snapshot.example.com/debian-security/20260101"
    lines, _ = source_lines([], "trixie", both)
    assert [line.split("https://")[1] for line in lines] == [
        "snapshot.example.com/debian/20260101 trixie main",
        "snapshot.example.com/debian-security/20260101 trixie-security main",
    ]
    lines, _ = source_lines([], "sid", both)
    assert len(lines) == 1


def test_ubuntu_comes_from_ubuntus_mirrors_with_universe_and_its_updates():
    ubuntu = Entry("http://mirror.example.com/ubuntu/", ("jammy", "jammy-updates"), ("main", "restricted"), KEYRING)
    security = Entry("http://security.example.com/ubuntu/", ("jammy-security",), ("main",), KEYRING)
    lines, keyrings = source_lines([DEBIAN, SECURITY, ubuntu, security], "noble", distribution="ubuntu")
    assert lines == (
        f"deb [signed-by={KEYRING}] http://mirror.example.com/ubuntu/ noble main universe",
        f"deb [signed-by={KEYRING}] http://mirror.example.com/ubuntu/ noble-updates main universe",
        f"deb [signed-by={KEYRING}] http://security.example.com/ubuntu/ noble-security main universe",
    )
    assert [str(path) for path in keyrings] == [KEYRING]
    assert source_lines([ubuntu, security], "trixie") == ((), ())


@pytest.mark.anyio
async def test_a_debian_host_is_told_how_to_get_ubuntu(tmp_path, monkeypatch):
    with pytest.raises(BuildError, match="apt on this host has no Ubuntu mirror") as caught:
        await sources.host_sources("noble", "ubuntu", environ={}, directory=tmp_path)
    assert "SBX_UBUNTU_MIRROR=https://mirror.example.com/ubuntu" in (caught.value.hint or "")
    without = replace(ARCHIVES["ubuntu"], keyring=tmp_path / "none.gpg")
    archives = {**ARCHIVES, "ubuntu": without}
    monkeypatch.setattr("sandboxfile.host.apt_sources.ARCHIVES", archives)
    monkeypatch.setattr("sandboxfile.images.packages.sources.ARCHIVES", archives)
    environ = {"SBX_UBUNTU_MIRROR": "http://mirror.example.com/ubuntu"}
    with pytest.raises(BuildError, match=r"does not have .*none\.gpg") as caught:
        await sources.host_sources("noble", "ubuntu", environ=environ, directory=tmp_path)
    assert caught.value.hint == "install the package ubuntu-archive-keyring"


def test_an_image_does_not_learn_how_this_host_gets_to_its_mirrors():
    found = Sources(
        (
            "deb [signed-by=/k.gpg] https://me:secret@mirror.example.com/debian trixie main",
            "deb https://token@mirror.example.com/debian-security trixie-security main",
            "deb http://mirror.example.com/@dated/debian trixie-updates main",
        ),
        (
            'Acquire::http::Proxy "http://me:secret@proxy.example.com:3128"',
            'Acquire::https::mirror.example.com::SslKey "/etc/ssl/private/me.key"',
            'Acquire::Check-Valid-Until "false"',
            'Acquire::Retries "3"',
        ),
        (),
    )
    lines, options = found.inside
    assert lines == (
        "deb [signed-by=/k.gpg] https://mirror.example.com/debian trixie main\n"
        "deb https://mirror.example.com/debian-security trixie-security main\n"
        "deb http://mirror.example.com/@dated/debian trixie-updates main\n"
    )
    assert options == 'Acquire::Check-Valid-Until "false";\n'


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
