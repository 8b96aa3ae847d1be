"""Dockerfiles, built by a program of this host: the first of buildah, podman, docker that works, or SBX_BUILDER.

The builder is the user's own tool and runs as the user, on the host: its RUN steps are not behind a sandbox's policy,
and what they may reach and do is what the builder lets them. Base images are fetched by it, with its own settings; one
that is on this host already (`localhost/...`) is used as it is, without a network. Its cache of layers is its own and
stays; nothing is tagged, and no container of a build is left, however it ends.

Same inputs, same layers: buildah and podman give all that a build makes one fixed time; docker cannot, so there it is
the merge of layers that evens out times, and files older than the epoch keep theirs. What a step downloads, and what an
unpinned FROM stands for, nobody can pin here.

Built is a copy of the context, taken with its digest: what somebody looked at is what runs, whatever becomes of it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import anyio.from_thread
import anyio.to_thread

from sandboxfile.errors import BuildError, HostError, NotFoundError
from sandboxfile.host.builders import Builder
from sandboxfile.host.context_copies import copy_context
from sandboxfile.images.config import Fetched
from sandboxfile.images.containers import build_errors, engines, oci
from sandboxfile.images.containers.children import Ended, run_tied
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.template import Origin

# Of every file that a build makes: no less than what a zip file can say. Always the same, whatever the epoch, or layers
# from the builder's cache would have another time than new ones.
TIME = 315_619_200  # 1980-01-02
# The builders' caches tell this form from OCI's, and few use it: so layers with other times are not taken for ours.
FORM = "docker"
PROBE = 'FROM scratch\nRUN ["/probe"]\n'
PROBED = re.compile(r"/probe\S* (not found|no such file)|/probe\S*: (not found|no such file)", re.IGNORECASE)
STEP = re.compile(r"(?:\[\d+/\d+\] )?STEP \d+/\d+: .*|Step \d+/\d+ : .*|#\d+ \[[^]]*\d+/\d+\] .*")
type Report = Callable[[str], None]


async def fetch(origin: Origin, work: Path, *, epoch: int, report: Report) -> Fetched:
    """Build the image of the context at `origin.path`. Raises BuildError.

    `origin.digest`, that of the context, must still hold: else nothing is built. The image's own id is another with
    every build (it has names of containers in it); the digest given is that of its layers and what is kept of the rest.
    """
    copy = await anyio.to_thread.run_sync(_copy, origin, work / "context", anyio.from_thread.check_cancelled)
    archive = await _image(copy, origin, work=work, report=report, epoch=epoch)
    image = await oci.read(archive, work / "members")
    return replace(image, digest=f"sha256:{fingerprint([*image.contents, image.config.to_json()])}")


def _copy(origin: Origin, target: Path, cancelled: Callable[[], None]) -> Path:
    """The context as it was looked at, for us alone. Raises BuildError."""
    context = Path(origin.path)
    try:
        now = copy_context(context, origin.dockerfile, target, cancelled)
    except NotFoundError as exc:
        hint = "`build.dockerfile` is relative to `build.context`"
        raise BuildError(f"there is no {context / origin.dockerfile}", hint=hint) from exc
    except HostError as exc:
        raise BuildError(f"the build context {context} cannot be used: {exc.message}", hint=exc.hint) from exc
    if origin.digest and now != origin.digest:
        raise BuildError(
            f"the build context {context} was pinned to {origin.digest} and is now {now}",
            hint="it changed since it was looked at; run the command again",
        )
    return target


async def _image(context: Path, origin: Origin, *, work: Path, report: Report, epoch: int) -> Path:
    """Build, and put the image into an archive below `work`. Raises BuildError with the step that failed."""
    builder = await engines.builder()
    given = [f"--build-arg={name}={value}" for name, value in origin.args]
    if epoch and not any(name == "SOURCE_DATE_EPOCH" for name, _ in origin.args):
        given.append(f"--build-arg=SOURCE_DATE_EPOCH={epoch}")
    target = [f"--target={origin.target}"] if origin.target else []
    options = [*given, *target, f"--iidfile={work / 'id'}", f"--file={context / origin.dockerfile}"]
    await engines.sweep(builder.name)
    try:
        ended, command = await _build(builder, options, context, work, report)
    except BaseException:
        await engines.sweep(builder.name, work)
        raise
    if ended.code != 0:
        await engines.sweep(builder.name, work)
        told = Path(origin.path) / origin.dockerfile
        raise build_errors.explain(told, command, ended, context / origin.dockerfile)
    return await engines.save(builder.name, (work / "id").read_text().strip(), work, report)


async def _build(
    builder: Builder, options: Sequence[str], context: Path, work: Path, report: Report
) -> tuple[Ended, Sequence[str]]:
    """Build, once more without a container runtime where this host's does not work. Gives the last try."""
    env = engines.scratch_environment(work)
    if builder.name == "docker":
        command = ["docker", "build", "--force-rm", *options, str(context)]
        return await _run(command, {**env, "BUILDKIT_PROGRESS": "plain"}, report), command
    report(f"building with {builder.name}")
    command = [*_buildah(builder, work), *options, str(context)]
    ended = await _run(command, env, report)
    if ended.code != 0 and build_errors.RUNTIME.search(ended.said) and not await _has_runtime(builder, work, env):
        report(f"no container runtime works here: building with {builder.name} in a plain chroot")
        command.insert(2, "--isolation=chroot")
        ended = await _run(command, env, report)
    return ended, command


def _buildah(builder: Builder, work: Path) -> list[str]:
    return [
        builder.name, "build", f"--format={FORM}", f"--timestamp={TIME}", "--layers", "--force-rm", "--pull=false",
        f"--build-arg={engines.MARK}={work}",
    ]  # fmt: skip


async def _has_runtime(builder: Builder, work: Path, env: Mapping[str, str]) -> bool:
    """Whether RUN works at all here: asked with a file of ours, so that no output of the user's decides."""
    empty = work / "probe"
    empty.mkdir()
    (empty / "Dockerfile").write_text(PROBE)
    ended = await _run([*_buildah(builder, work), "--no-cache", str(empty)], env, lambda _: None)
    return PROBED.search(ended.said) is not None


async def _run(command: Sequence[str], env: Mapping[str, str], report: Report) -> Ended:
    def on_line(line: str) -> None:
        if STEP.fullmatch(line):
            report(line[:200])

    return await run_tied(command, env=env, on_line=on_line, hint=engines.INSTALL)
