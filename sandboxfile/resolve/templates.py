"""A template's chain of bases to one recipe, one environment and one user.

Debian packages of the first levels belong to the origin, where it is Debian or Ubuntu: made at once, without a
machine. From the first npm, pip, files or run on, each level adds steps, in this order: apt, npm, pip, files, run.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sandboxfile.agents.builtin import BUILTIN_TEMPLATES
from sandboxfile.diagnostics import Diagnostic, Span, error
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.packages import Manager, package_name
from sandboxfile.model.references import parse_image_reference
from sandboxfile.model.spec import Build, PlacedFileSpec, SandboxFile, Template
from sandboxfile.model.template import BuildStep, Origin, PlacedFile, Recipe
from sandboxfile.resolve.chains import Chain, chain_of
from sandboxfile.resolve.environment import merge, passed_on
from sandboxfile.resolve.inputs import ResolveInputs, Source, SourceFact, origin_source, written_place

# Part of every image's digest: raise it when the same inputs would be built into something else.
IMAGE_FORMAT = 2
_Env = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class ResolvedTemplate:
    """`env` is in order of precedence, the outermost template last; None stands for the environment of sbx.

    `written`: the template as the file has it, with absolute paths; None for a built-in one. `passed_on`: variables of
    the environment of sbx that its build takes as arguments.
    """

    recipe: Recipe
    env: _Env
    user: str
    docker: bool = False
    written: Template | None = None
    passed_on: tuple[str, ...] = ()


def resolve_template(
    file: SandboxFile, name: str, inputs: ResolveInputs, problems: list[Diagnostic]
) -> ResolvedTemplate | None:
    """What a template comes to; None when a name in its chain is unknown or comes twice (`validate` said so).

    `problems` gets what is wrong with the files that its chain is made from; the recipe then lacks their digests.
    """
    chain = chain_of(file, name)
    if chain is None:
        return None
    build = _Building(file, inputs, chain)
    build.run()
    problems += build.problems
    env: dict[str, str | None] = {}
    user = "agent"
    for _, template in chain.levels:
        env.update(template.env)
        user = template.user if "user" in template.model_fields_set else user
    written = _absolute(chain.levels[-1][1], inputs) if name not in BUILTIN_TEMPLATES else None
    recipe, given = named(Recipe(build.origin, tuple(build.steps))), passed_on(_arguments(chain), inputs.environment)
    return ResolvedTemplate(recipe, env, user, chain.docker, written, given)


def _arguments(chain: Chain) -> _Env:
    first = chain.levels[0][1]
    return first.build.args if first.build is not None else {}


def named(recipe: Recipe) -> Recipe:
    """The recipe with the digest that its content gives."""
    return replace(recipe, digest=fingerprint((IMAGE_FORMAT, replace(recipe, digest=""))))


# --- levels ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Building:
    """A recipe that grows level by level."""

    file: SandboxFile
    inputs: ResolveInputs
    chain: Chain
    origin: Origin = field(init=False)
    steps: list[BuildStep] = field(default_factory=list)
    problems: list[Diagnostic] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        name, first = self.chain.levels[0]
        self.origin = self._origin(name, first)
        for index in range(len(self.chain.levels)):
            self._level(index)

    def _level(self, index: int) -> None:
        name, template = self.chain.levels[index]
        # Names that are passed on from the environment of sbx: unset here, lest a base's value remains for half of it.
        for variable, value in template.env.items():
            if value is None:
                self.env.pop(variable, None)
            else:
                self.env[variable] = value
        self._apt(name, self.chain.apt(index))
        for manager in ("npm", "pip"):
            packages: tuple[str, ...] = getattr(template.packages, manager)
            if packages:
                self._step(BuildStep(manager, tuple(sorted(set(packages)))), name, "packages", manager)
        if template.files:
            placed = tuple(self._file(name, number, item) for number, item in enumerate(template.files))
            # Of copied files no variable changes anything.
            place = self._place(name, "files")
            self.steps.append(BuildStep("files", files=tuple(sorted(placed, key=_target)), place=place))
        for number, item in enumerate(template.run):
            self._step(BuildStep("run", command=item.command, user=item.user), name, "run", number)

    def _apt(self, name: str, packages: tuple[str, ...]) -> None:
        if not packages:
            return
        if self.chain.distribution and not self.steps:
            self.origin = replace(self.origin, packages=_united("apt", self.origin.packages, packages))
            return
        there = {*self.origin.packages, *(item for step in self.steps if step.kind == "apt" for item in step.packages)}
        if missing := tuple(sorted(set(packages) - there)):
            self._step(BuildStep("apt", missing), name, "packages", "apt")

    def _step(self, step: BuildStep, name: str, *path: str | int) -> None:
        env = tuple(sorted(self.env.items()))
        self.steps.append(replace(step, env=env, place=self._place(name, *path)))

    def _file(self, name: str, number: int, item: PlacedFileSpec) -> PlacedFile:
        source = Source("file", self.inputs.absolute(item.source))
        digest = self._digest(source, item.source, self._span(name, "files", number, "source"), "File not readable")
        return PlacedFile(item.target, int(item.mode, 8), digest, self.inputs.paths[source.name].real)

    # --- where it begins ---

    def _origin(self, name: str, template: Template) -> Origin:
        if template.build is not None:
            return self._dockerfile(name, template.build)
        kind, _, rest = template.base.partition(":")
        if kind == "debian":
            return Origin("debian", rest)
        if kind == "ubuntu":
            return Origin("ubuntu", rest)
        if kind == "oci":
            reference = parse_image_reference(rest)
            assert reference is not None, "the language accepts no other"
            return Origin("oci", reference.tagged, reference.digest)
        source = origin_source(template, self.inputs.base, self.inputs.home)
        assert source is not None, "the language knows no other kinds"
        if source.kind == "tar":
            digest = self._digest(source, rest, self._span(name, "base"), "Tar not readable")
            return Origin("tar", digest=digest, path=self.inputs.paths[source.name].real)
        # A local image or a saved template may come later: said by who needs it.
        return Origin("local" if source.kind == "local" else "saved", rest, self._fact(source).digest)

    def _dockerfile(self, name: str, build: Build) -> Origin:
        source = Source("context", self.inputs.absolute(build.context), build.dockerfile)
        digest = self._digest(source, build.context, self._span(name, "build", "context"), "Build context not readable")
        return Origin(
            "dockerfile",
            digest=digest,
            dockerfile=build.dockerfile,
            target=build.target,
            args=merge([build.args], self.inputs.environment),
            path=self.inputs.paths[source.name].real,
        )

    def _digest(self, source: Source, written: str, span: Span | None, summary: str) -> str:
        fact = self._fact(source)
        if not fact.digest:
            detail = f"`{written}`: {fact.problem}."
            self.problems.append(error(summary, detail, span, fact.hint))
        return fact.digest

    def _fact(self, source: Source) -> SourceFact:
        return self.inputs.sources.get(source, SourceFact(problem="nobody looked"))

    def _span(self, name: str, *path: str | int) -> Span | None:
        return None if name in BUILTIN_TEMPLATES else self.file.span("templates", name, *path)

    def _place(self, name: str, *path: str | int) -> str:
        return written_place(self._span(name, *path), self.inputs)


def _absolute(template: Template, inputs: ResolveInputs) -> Template:
    """The same template, whatever directory it is read in, and whatever is in the environment of its build."""

    def real(written: str) -> str:
        return inputs.paths[inputs.absolute(written)].real

    changed: dict[str, Any] = {}
    if template.build is not None:
        args = dict(merge([template.build.args], inputs.environment))
        update = {"context": real(template.build.context), **({"args": args} if args else {})}
        changed["build"] = template.build.model_copy(update=update)
    elif template.base.startswith("tar:"):
        changed["base"] = f"tar:{real(template.base.removeprefix('tar:'))}"
    if template.files:
        changed["files"] = tuple(item.model_copy(update={"source": real(item.source)}) for item in template.files)
    return template.model_copy(update=changed)


def _target(placed: PlacedFile) -> str:
    return placed.target


def _united(manager: Manager, beneath: Iterable[str], above: Iterable[str]) -> tuple[str, ...]:
    """All of both, sorted; of one name with several versions the version that was asked for last."""
    found: dict[str, str] = {}
    for written in (*beneath, *above):
        name = package_name(manager, written)
        if written != name or name not in found:
            found[name] = written
    return tuple(sorted(found.values()))


# --- for people --------------------------------------------------------------------------------------------------

_TITLE_PACKAGES = 40  # characters of their names


def title_of(recipe: Recipe, directory: str = "") -> str:
    """What an image is made of, for people; paths as they are seen from `directory`."""
    origin = recipe.origin
    title = f"{origin.kind}:{origin.reference}"
    if origin.kind == "dockerfile":
        title = f"{origin.dockerfile} in {_seen_from(directory, origin.path)}"
    elif origin.kind == "tar":
        title = f"tar:{_seen_from(directory, origin.path)}"
    elif origin.kind == "local":
        title = f"local image {origin.reference}"
    if origin.packages:
        title += f" + {_shortened(origin.packages)}"
    count = len(recipe.steps)
    return f"{title}, {count} step{'' if count == 1 else 's'}" if count else title


def _seen_from(directory: str, path: str) -> str:
    if path == directory:
        return "."
    return "./" + path[len(directory) + 1 :] if directory and path.startswith(f"{directory}/") else path


def _shortened(packages: Iterable[str]) -> str:
    return " ".join(_fitting(packages))


def _fitting(packages: Iterable[str]) -> Iterator[str]:
    """As many as have room, one at least."""
    length = 0
    for number, name in enumerate(packages):
        length += len(name) + 1
        if number and length > _TITLE_PACKAGES:
            yield "…"
            return
        yield name
