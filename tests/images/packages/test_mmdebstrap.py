"""What mmdebstrap's output becomes: progress and causes."""

import shutil

import anyio
import pytest

from sandboxfile.errors import BuildError
from sandboxfile.images.packages.mmdebstrap import Progress, explain, remove_tree


def explained(output):
    return explain(BuildError("it failed", command=["mmdebstrap"], output=output), "trixie")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            "Building dependency tree...\nE: Unable to locate package nodejss\nE: Unable to locate package b",
            "Debian trixie has no package nodejss, b",
        ),
        ("E: Package 'python' has no installation candidate", "Debian trixie has no package python"),
        (
            "E: The repository 'http://mirror.example.com/debian trixie Release' does not have a Release file.",
            "the mirror of this host has no Debian suite trixie",
        ),
        (
            "W: cannot copy to /x: No space left on device",
            "cannot build an image of Debian trixie: the disk is full",
        ),
        (
            "Err:1 http://mirror.example.com trixie InRelease\n  Could not resolve 'mirror.example.com'",
            "the Debian mirror of this host cannot be reached",
        ),
        (
            "I: the /bin/mv binary inside the chroot doesn't work under fakechroot",
            "fakechroot cannot build Debian trixie on this host, whose own libraries are older or newer",
        ),
        ("E: something else", "it failed"),
    ],
)
def test_the_cause_becomes_the_message(output, message):
    error = explained(output)
    assert error.message == message
    assert (error.command, error.output) == (("mmdebstrap",), output)


def test_another_distribution_is_called_by_its_name():
    failed = BuildError("it failed", output="E: Unable to locate package nodejss")
    assert explain(failed, "noble", "ubuntu").message == "Ubuntu noble has no package nodejss"
    failed = BuildError("it failed", output="E: The repository 'http://x noble Release' does not have a Release file.")
    assert "SBX_UBUNTU_MIRROR" in (explain(failed, "noble", "ubuntu").hint or "")


def test_each_phase_is_reported_once_in_short_words():
    said = []
    progress = Progress(said.append)
    for line in (
        "I: automatically chosen mode: unshare",
        "I: running apt-get update...",
        "I: running apt-get update...",
        "I: downloading packages with apt...",
        "I: extracting archives...",
        "I: installing essential packages...",
        "I: installing remaining packages inside the chroot...",
        "I: creating tarball...",
    ):
        progress(line)
    assert said == [
        "reading package lists",
        "downloading packages",
        "unpacking packages",
        "configuring essential packages",
        "configuring packages",
        "packing",
    ]


@pytest.mark.anyio
async def test_a_tree_goes_with_its_scratch_and_links_are_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    kept = tmp_path / "kept"
    scratch = tmp_path / "tmp" / "sbx.build-x"
    for directory in (kept, scratch, tmp_path / ".build-x"):
        directory.mkdir(parents=True)
        (directory / "file").write_text("x")
    (tmp_path / ".build-x" / "link").symlink_to(kept)
    (scratch / "link").symlink_to(kept)
    await remove_tree(tmp_path / ".build-x")
    assert not (tmp_path / ".build-x").exists()
    assert not scratch.exists()
    assert (kept / "file").exists()


@pytest.mark.anyio
@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
async def test_a_tree_that_is_not_there_is_no_trouble(tmp_path):
    with anyio.fail_after(10):
        await remove_tree(tmp_path / "none")
