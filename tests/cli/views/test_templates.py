"""Templates for people: what a step, an origin and a file look like, whatever is in their names."""

from datetime import UTC, datetime

import pytest

from sandboxfile.cli.views.templates import (
    LayerRow,
    Shown,
    detail,
    file_lines,
    file_object,
    listing,
    origin_text,
    page,
    step_text,
)
from sandboxfile.images.config import ImageConfig
from sandboxfile.images.layers.tree import Entry
from sandboxfile.model.template import BuildStep, DesiredTemplate, Origin, PlacedFile, Recipe

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CREATED = datetime(2026, 11, 19, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (BuildStep("apt", ("git", "jq")), "apt git jq"),
        (BuildStep("npm", ("typescript@5.1.6",)), "npm typescript@5.1.6"),
        (BuildStep("files", files=(PlacedFile("/etc/x", 0o644, "sha256:0"),)), "files /etc/x (mode 0644)"),
        (BuildStep("run", command=("/bin/sh", "-c", "make\nall")), "run make all"),
        (BuildStep("run", command=("make", "all"), user="agent"), "run make all (as agent)"),
    ],
)
def test_a_step_is_one_line(step, text):
    assert step_text(step) == text


@pytest.mark.parametrize(
    ("origin", "text"),
    [
        (Origin("debian", "trixie"), "debian:trixie"),
        (Origin("oci", "example.com/a:1", "sha256:0"), "oci:example.com/a:1 (sha256:0)"),
        (Origin("local", "team/dev"), "docker:team/dev"),
        (Origin("tar", path="/src/root.tar"), "tar:/src/root.tar"),
        (Origin("dockerfile", dockerfile="D", target="t", path="/src"), "D in /src, target t"),
    ],
)
def test_an_origin_is_told_as_the_file_writes_it(origin, text):
    assert origin_text(origin) == text


def test_what_is_built_has_a_size_and_ages_and_what_is_not_has_none():
    built = Shown("dev", "file", "debian:trixie", "d" * 64, "sha256:" + "c" * 64, 3 << 20, CREATED, CREATED + 86400)
    missing = Shown("new", "file", "debian:trixie")
    saved = Shown("kept", "saved", "shop/web", "sha256:" + "5" * 64, size=1 << 20, created=CREATED)
    assert [line.split() for line in listing([built, missing, saved], NOW).splitlines()[1:]] == [
        ["dev", "file", "built", "3.0", "MiB", "2d", "1d", "c" * 12, "debian:trixie"],
        ["new", "file", "not", "built", "-", "-", "-", "-", "debian:trixie"],
        ["kept", "saved", "saved", "1.0", "MiB", "2d", "-", "5" * 12, "shop/web"],
    ]


def test_a_page_tells_everything_and_drives_no_terminal():
    recipe = Recipe(Origin("debian", "trixie"), (BuildStep("run", command=("evil\x1b[2J",), place="f:1:2"),))
    shown = Shown(
        "dev", "file", "debian:trixie", "d", "sha256:c", 1, CREATED, 0.0, DesiredTemplate("dev", recipe),
        ImageConfig((("A", "x\x07"),)), (LayerRow("k" * 64, "first", 1 << 20), LayerRow("l" * 64, "")),
        {"npm": (("typescript", "5.1.6"),)},
    )  # fmt: skip
    text = page(shown, NOW)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "its steps reach nothing" in text
    assert f"{'k' * 12}     1.0 MiB  first" in text
    assert f"{'l' * 12}  not in the cache" in text
    assert "typescript 5.1.6" in text
    assert detail(shown)["layers"][1] == {"key": "l" * 64, "made_by": "", "size": None}


def test_files_are_listed_as_ls_does_and_a_name_is_one_line():
    tree = {
        entry.path: entry
        for entry in (
            Entry("bin", "symlink", 0o777, link="usr/bin"),
            Entry("usr", "directory", 0o755),
            Entry("usr/sudo", "file", 0o4755, size=12, digest="0" * 64),
            Entry("usr/sudo2", "file", 0o4755, size=12, digest="0" * 64, link="usr/sudo"),
            Entry("x\n-rw-r--r--", "file", 0o644, uid=1000, gid=5),
        )
    }
    assert list(file_lines(tree)) == [
        "lrwxrwxrwx 0:0          0 bin -> usr/bin",
        "drwxr-xr-x 0:0          0 usr",
        "-rwsr-xr-x 0:0         12 usr/sudo",
        "-rwsr-xr-x 0:0         12 usr/sudo2 = usr/sudo",
        "-rw-r--r-- 1000:5          0 x\N{REPLACEMENT CHARACTER}-rw-r--r--",
    ]


def test_a_name_that_is_no_text_can_be_written_as_json():
    found = file_object(Entry("a\udcff", "file", 0o644, mtime=-1))
    assert found["path"] == "a\N{REPLACEMENT CHARACTER}"
    assert found["modified_at"] is None
