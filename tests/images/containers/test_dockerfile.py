"""Dockerfiles, built by the real buildah and podman, in a store of the test's own; nothing is fetched from anywhere."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import anyio
import pytest

from sandboxfile.errors import BuildError
from sandboxfile.host.builders import CHOICE
from sandboxfile.host.file_digests import FileDigests
from sandboxfile.host.template_sources import context_digest
from sandboxfile.images.config import ImageConfig
from sandboxfile.images.containers import dockerfile, engines
from sandboxfile.images.containers.packing import write_archive
from sandboxfile.model.template import Origin

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_store")]

NAME = "localhost/sbx/small:latest"
CONFIG = ImageConfig(env=(("PATH", "/bin"), ("BASE", "ours")))
FROM_SCRATCH = "FROM scratch\nADD root.tar /\n"


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def context(tmp_path, small_root):
    path = tmp_path / "context"
    path.mkdir()
    shutil.copy(small_root, path / "root.tar")
    return path


@pytest.fixture
def exported(small_root, tmp_path, own_store, skopeo):
    """One of our own templates in the local store, as `sbx template export` leaves it there."""
    write_archive(tmp_path / "exported.tar", [small_root], CONFIG, NAME, epoch=0)
    skopeo("--insecure-policy", "copy", f"oci-archive:{tmp_path / 'exported.tar'}", f"containers-storage:{NAME}")


async def fetch(context, work, text=None, *, said=None, **fields):
    if text is not None:
        (context / "Dockerfile").write_text(text)
    origin = Origin("dockerfile", dockerfile=fields.pop("dockerfile", "Dockerfile"), path=str(context), **fields)
    return await dockerfile.fetch(origin, work, epoch=1_700_000_000, report=(said if said is not None else []).append)


def files(found) -> dict[str, bytes]:
    """What the files of all layers hold, the upper ones winning."""
    held = {}
    for path in found.layers:
        with tarfile.open(path) as archive:
            held |= {item.name.lstrip("./"): archive.extractfile(item).read() for item in archive if item.isreg()}
    return held


def containers() -> list[str]:
    return subprocess.run(["buildah", "containers", "-q"], capture_output=True, text=True, check=True).stdout.split()


def names() -> list[str]:
    """Tagged images."""
    done = subprocess.run(["buildah", "images", "--json"], capture_output=True, text=True, check=True)
    return [name for image in json.loads(done.stdout) or [] for name in image.get("names") or []]


@pytest.mark.parametrize("builder", ["buildah", "podman"])
async def test_a_dockerfile_is_built_with_its_arguments_and_configuration(builder, context, work, monkeypatch):
    monkeypatch.setenv(CHOICE, builder)
    said = []
    text = f'{FROM_SCRATCH}ARG WORD\nENV KIND=test\nWORKDIR /srv\nRUN echo $WORD >/word\nUSER 7\nCMD ["sh"]\n'
    found = await fetch(context, work, text, said=said, args=(("WORD", "given"),))
    assert files(found)["word"] == b"given\n"
    assert (found.config.user, found.config.workdir, found.config.command) == ("7", "/srv", ("sh",))
    assert dict(found.config.env)["KIND"] == "test"
    assert any(line.startswith("STEP 2/") for line in said), said
    assert containers() == names() == []


async def test_the_image_is_the_same_whenever_and_wherever_it_is_built(context, tmp_path, monkeypatch):
    text = f"{FROM_SCRATCH}COPY note /note\nRUN echo made >/made && touch /bin/false\n"
    digests = set()
    for number in range(2):
        place = tmp_path / f"try{number}"
        place.mkdir()
        config = place / "storage.conf"
        config.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{place}/store"\nrunroot = "{place}/run"\n')
        monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(config))
        (context / "note").write_text("note")
        os.utime(context / "note", (number * 10_000_000, number * 10_000_000))
        found = await fetch(context, place, text)
        digests.add(found.digest)
    assert len(digests) == 1
    with tarfile.open(found.layers[-1]) as archive:
        assert archive.getmember("made").mtime == dockerfile.TIME


async def test_only_steps_that_changed_are_run_again(context, work, tmp_path):
    await fetch(context, work, f"{FROM_SCRATCH}RUN echo one >/one\nRUN echo two >/two\n")
    again = tmp_path / "again"
    again.mkdir()
    lines = []
    monitor = dockerfile.run_tied

    async def noted(command, *, on_line, **options):
        return await monitor(command, on_line=lambda line: (lines.append(line), on_line(line)), **options)

    dockerfile.run_tied = noted
    try:
        found = await fetch(context, again, f"{FROM_SCRATCH}RUN echo one >/one\nRUN echo three >/two\n")
    finally:
        dockerfile.run_tied = monitor
    assert files(found)["two"] == b"three\n"
    last = len(lines) - lines[::-1].index("STEP 1/4: FROM scratch")
    assert sum("Using cache" in line for line in lines[last:]) == 2, lines


async def test_layers_that_the_user_built_alone_are_not_taken_for_ours(context, work):
    (context / "Dockerfile").write_text(f"{FROM_SCRATCH}RUN echo one >/one\n")
    command = ["buildah", "build", "--layers", "--isolation=chroot", str(context)]
    await anyio.run_process(command)
    found = await fetch(context, work)
    with tarfile.open(found.layers[-1]) as archive:
        assert archive.getmember("one").mtime == dockerfile.TIME


async def test_a_stage_is_built_alone(context, work):
    text = f"{FROM_SCRATCH.replace('scratch', 'scratch AS first')}RUN echo 1 >/first\nFROM first\nRUN false\n"
    assert files(await fetch(context, work, text, target="first"))["first"] == b"1\n"


async def test_a_stage_that_is_not_there_is_said(context, work):
    with pytest.raises(BuildError, match="has no stage nowhere"):
        await fetch(context, work, FROM_SCRATCH, target="nowhere")


async def test_a_template_of_ours_is_a_base_without_any_network(exported, context, work):
    text = f"FROM {NAME}\nRUN rm /etc/theirs && echo $BASE >/base\n"
    found = await fetch(context, work, text)
    assert files(found)["base"] == b"ours\n"
    assert len(found.layers) == 2
    with tarfile.open(found.layers[1]) as upper:
        assert any(name.endswith(".wh.theirs") for name in upper.getnames())
    assert names() == [NAME]


async def test_what_is_ignored_is_not_given_to_the_builder(context, work):
    (context / "secret").write_text("secret")
    (context / ".dockerignore").write_text("secret\n")
    found = await fetch(context, work, f"{FROM_SCRATCH}COPY . /context\n")
    assert not any("secret" in name for name in files(found) if not name.endswith("ignore"))


async def test_a_failing_step_is_said_with_its_exit_code_and_its_output(context, work):
    text = f"{FROM_SCRATCH}RUN echo fine\nRUN echo about to fail; echo oops >&2; exit 42\n"
    with pytest.raises(BuildError, match=r"STEP 4/4: RUN echo about to fail.* failed with exit code 42") as caught:
        await fetch(context, work, text)
    assert "oops" in caught.value.output
    assert "build" in caught.value.command
    assert containers() == names() == []


@pytest.mark.parametrize("builder", ["buildah", "podman"])
async def test_a_wrong_instruction_is_said_with_its_line(builder, context, work, monkeypatch):
    monkeypatch.setenv(CHOICE, builder)
    with pytest.raises(BuildError, match=f"{context}/Dockerfile:3: there is no instruction COPPY"):
        await fetch(context, work, f"{FROM_SCRATCH}COPPY a b\n")
    assert containers() == []


async def test_other_mistakes_are_said_with_their_step(context, work):
    with pytest.raises(BuildError, match=r"STEP 3/3: COPY gone /gone failed") as caught:
        await fetch(context, work, f"{FROM_SCRATCH}COPY gone /gone\n")
    assert "gone" in caught.value.output


async def test_an_empty_dockerfile_is_said(context, work):
    with pytest.raises(BuildError, match="has no instructions"):
        await fetch(context, work, "")


async def test_a_dockerfile_that_is_not_there_is_said(context, work):
    with pytest.raises(BuildError, match=r"there is no .*/image/Dockerfile"):
        await fetch(context, work, dockerfile="image/Dockerfile")


async def test_a_base_that_is_not_to_be_had_is_said(context, work):
    with pytest.raises(BuildError, match=r"the base image of STEP 1/1: FROM localhost/none:1 is not to be had"):
        await fetch(context, work, "FROM localhost/none:1\n")


async def test_a_context_that_is_not_as_it_was_looked_at_is_refused_before_anything_of_it_runs(context, work):
    (context / "Dockerfile").write_text(FROM_SCRATCH)
    with FileDigests(work / "memory") as digests:
        pinned = context_digest(context, "Dockerfile", digests)
    assert (await fetch(context, work, digest=pinned)).layers
    again = work / "again"
    again.mkdir()
    said = []
    with pytest.raises(BuildError, match=f"was pinned to {pinned} and is now"):
        await fetch(context, again, f"{FROM_SCRATCH}RUN echo ran\n", said=said, digest=pinned)
    assert said == []


async def test_what_becomes_of_a_context_while_it_is_built_changes_nothing(context, work):
    (context / "note").write_text("as it was looked at")
    (context / "Dockerfile").write_text(f"{FROM_SCRATCH}RUN true\nCOPY note /note\n")

    def report(line):
        (context / "note").write_text("exchanged")

    origin = Origin("dockerfile", dockerfile="Dockerfile", path=str(context))
    found = await dockerfile.fetch(origin, work, epoch=0, report=report)
    assert (context / "note").read_text() == "exchanged"
    assert files(found)["note"] == b"as it was looked at"


async def test_a_dockerfile_that_is_a_symlink_is_refused(context, work):
    (context.parent / "elsewhere").write_text(FROM_SCRATCH)
    (context / "Dockerfile").symlink_to("../elsewhere")
    with pytest.raises(BuildError, match="`Dockerfile` in it is a symlink"):
        await fetch(context, work)


async def test_a_cancelled_build_leaves_no_container_and_no_process(context, work):
    started = anyio.Event()

    def report(line):
        if "RUN" in line:
            started.set()

    async def build():
        origin = Origin("dockerfile", dockerfile="Dockerfile", path=str(context))
        await dockerfile.fetch(origin, work, epoch=0, report=report)

    (context / "Dockerfile").write_text(f"{FROM_SCRATCH}RUN sleep 987\n")
    async with anyio.create_task_group() as group:
        group.start_soon(build)
        with anyio.fail_after(60):
            await started.wait()
            while not processes(str(work)):  # noqa: ASYNC110 - they tell nobody
                await anyio.sleep(0.02)
        group.cancel_scope.cancel()
    assert processes(str(work)) == []
    assert containers() == []


def processes(word: str) -> list[str]:
    """Programs, and what they run in containers, that work for the build in this directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            text = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
        except OSError:
            continue
        if word.encode() in text and b"pytest" not in text.split(b"\0")[0] and path.name != str(os.getpid()):
            found.append(text[:200].decode(errors="replace"))
    return found


CHILD = """
import anyio, sys
from pathlib import Path
from sandboxfile.images.containers import dockerfile
from sandboxfile.model.template import Origin
origin = Origin("dockerfile", dockerfile="Dockerfile", path=sys.argv[1])
anyio.run(lambda: dockerfile.fetch(origin, Path(sys.argv[2]), epoch=0, report=lambda line: print(line, flush=True)))
"""


async def test_what_a_killed_build_leaves_is_gone_by_the_next_one(context, work):
    (context / "Dockerfile").write_text(f"{FROM_SCRATCH}RUN sleep 987\n")
    command = [sys.executable, "-c", CHILD, str(context), str(work)]
    child = await anyio.open_process(command, stderr=subprocess.DEVNULL)
    async with child:
        assert child.stdout is not None
        said = b""
        while b"RUN" not in said:
            said += await child.stdout.receive()
        child.kill()
    with anyio.fail_after(30):  # the builder is told to end by the kernel
        while processes(str(work)):  # noqa: ASYNC110 - they tell nobody
            await anyio.sleep(0.05)
    shutil.rmtree(work)
    again = work.parent / "again"
    again.mkdir()
    await fetch(context, again, FROM_SCRATCH)
    assert containers() == []


async def test_a_container_of_a_dead_build_is_removed_and_nobody_else_s(context, work, tmp_path):
    def container(*options: str) -> str:
        (context / "Dockerfile").write_text("FROM scratch\nADD root.tar /\nRUN false\n")
        before = set(containers())
        command = ["buildah", "build", "--layers", "--isolation=chroot", *options, str(context)]
        assert subprocess.run(command, capture_output=True).returncode != 0
        (new,) = set(containers()) - before
        return new

    dead = container(f"--build-arg={engines.MARK}={tmp_path / 'gone'}")
    alive = container(f"--build-arg={engines.MARK}={work}")
    theirs = container()
    await engines.sweep("buildah")
    assert set(containers()) == {alive, theirs}
    await engines.sweep("buildah", work)
    assert set(containers()) == {theirs}
    assert dead not in containers()


@pytest.mark.parametrize("choice", ["kaniko", "docker"])
async def test_a_builder_that_does_not_work_here_is_said(choice, context, work, monkeypatch):
    monkeypatch.setenv(CHOICE, choice)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{work}/no.sock")
    with pytest.raises(BuildError, match=f"{CHOICE} asks for {choice}, which does not work here"):
        await fetch(context, work, FROM_SCRATCH)


async def test_without_any_builder_the_packages_are_named(context, work, monkeypatch):
    monkeypatch.setattr(engines, "find_builder", lambda: None)
    monkeypatch.delenv(CHOICE, raising=False)
    with pytest.raises(BuildError, match="no program of this host builds Dockerfiles") as caught:
        await fetch(context, work, FROM_SCRATCH)
    assert "apt install buildah" in caught.value.hint
