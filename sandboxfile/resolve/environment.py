"""The environment of a sandbox, in Compose's order: template, `env_file`, `env`; that of `defaults` beneath its own."""

from collections.abc import Iterable, Iterator, Mapping

from sandboxfile.diagnostics import Diagnostic, Diagnostics, Span, error
from sandboxfile.model.spec import Sandbox, SandboxFile
from sandboxfile.resolve.env_file import parse_env_file
from sandboxfile.resolve.inputs import PathFact, ResolveInputs


def merge(layers: Iterable[Mapping[str, str | None]], environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Later layers over earlier ones, sorted by name. None is the value in `environment`, or no variable at all."""
    merged: dict[str, str | None] = {}
    for layer in layers:
        merged.update(layer)
    found = {name: environment.get(name) if value is None else value for name, value in merged.items()}
    return tuple(sorted((name, value) for name, value in found.items() if value is not None))


def passed_on(merged: Mapping[str, str | None], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Which of these variables have the value that they have in `environment`, sorted."""
    return tuple(sorted(name for name, value in merged.items() if value is None and name in environment))


def layers_of(
    sandbox: Sandbox, files: Mapping[str, Mapping[str, str | None]], inputs: ResolveInputs
) -> Iterator[Mapping[str, str | None]]:
    """What a sandbox (or the defaults) sets, in order. `files` are the variables of each env_file by path."""
    for written in sandbox.env_file:
        yield files.get(inputs.absolute(written), {})
    yield sandbox.env


def read_env_files(file: SandboxFile, inputs: ResolveInputs) -> tuple[dict[str, Mapping[str, str | None]], Diagnostics]:
    """The variables of every env_file, by absolute path, and what is wrong with them."""
    files: dict[str, Mapping[str, str | None]] = {}
    problems: list[Diagnostic] = []
    for written, span in _uses(file):
        path = inputs.absolute(written)
        fact = inputs.paths[path]
        text, problem = _text(written, fact, span)
        if problem is not None:
            problems.append(problem)
        elif path not in files:
            files[path], wrong = parse_env_file(text, written)
            problems += wrong
    return files, tuple(problems)


def _uses(file: SandboxFile) -> Iterator[tuple[str, Span | None]]:
    for path, sandbox in ((("defaults",), file.defaults), *((("sandboxes", n), s) for n, s in file.sandboxes.items())):
        for index, written in enumerate(sandbox.env_file):
            yield written, file.span(*path, "env_file", index)


def _text(written: str, fact: PathFact, span: Span | None) -> tuple[str, Diagnostic | None]:
    if fact.kind == "missing":
        detail = f"`{written}`: {fact.problem or 'there is no such file'}."
        return "", error("env_file not found", detail, span, "create it, or correct the path")
    if fact.content is None:
        detail = f"`{written}`: {fact.problem or 'it is not a regular file'}."
        return "", error("env_file not readable", detail, span)
    try:
        return fact.content.decode(), None
    except UnicodeDecodeError:
        return "", error("Not UTF-8", f"`{written}` is not UTF-8 text.", span, "save the file with the encoding UTF-8")


def check_passed_on(env: tuple[tuple[str, str], ...], span: Span | None) -> Iterator[Diagnostic]:
    """Variables whose value (taken from the environment of sbx) is not text, and so can be written nowhere."""
    for name, value in env:
        if any("\ud800" <= character <= "\udfff" for character in value):
            yield error("Not UTF-8", f"The variable `{name}` of the environment is not UTF-8 text.", span)
