"""What acts of a file's content, part by part, and which other files it names that then act as well. Pure.

Of a git configuration that is all but what is known to be harmless, of package.json and composer.json what is run.
What cannot be read as expected counts whole. Names are looked for generously: one too many is only compared in vain.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from sandboxfile.host.review_rules import Kind

Use = Literal["hooks", "settings", "program"]


def parts_of(kind: Kind, name: str, content: bytes) -> dict[str, bytes]:
    """What acts of a file's content, by the name of the part; the empty name is the file as a whole."""
    if kind == "git setting" and name not in (".gitattributes", "attributes"):
        return git_settings(content)
    if name in _RUN_BY:
        return _json_parts(content, _RUN_BY[name])
    return {"": content}


# --- git's configuration -----------------------------------------------------------------------------------------

_SECTION = re.compile(rb'\s*\[\s*([A-Za-z0-9.-]+)(?:\s+"((?:[^"\\]|\\.)*)")?\s*\](.*)\Z', re.DOTALL)
_SETTING = re.compile(rb"\s*([A-Za-z][A-Za-z0-9-]*)\s*(?:=(.*))?\Z", re.DOTALL)
# What cannot make git run or fetch anything, or take anything else for a repository. All the rest is compared.
_HARMLESS = re.compile(
    rb"core\.(?:repositoryformatversion|filemode|bare|logallrefupdates|ignorecase|precomposeunicode|symlinks|autocrlf"
    rb"|eol|safecrlf|abbrev|quotepath|compression)|branch\..*\.(?:remote|merge|rebase|description)|user\.(?:name|email)"
    rb"|remote\..*\.(?:fetch|tagopt|prune)|extensions\.(?:worktreeconfig|objectformat)|gc\..*|submodule\..*\.active"
)
_INCLUDE = re.compile(r"include\.path|includeif\..*\.path", re.DOTALL)
_VALUE_PIECE = re.compile(r'\\(.)|(")|([#;])|([^\\"#;]+)', re.DOTALL)
_WORK_TREE = re.compile(rb"\bworktree[ \t]*=([^\r\n]{,4096})", re.IGNORECASE)
_NO_COMMAND = re.compile(r".*\.(?:url|pushurl)|core\.worktree", re.DOTALL)
_COMMAND = 1024  # characters; in longer ones, which take long to read, no names with spaces are looked for
_BETWEEN_WORDS = re.compile(r"\$\{?\w+\}?|[\s\"'`$(){}\[\];|&<>=!]+")


def git_settings(content: bytes) -> dict[str, bytes]:
    """Each setting that is not known to be harmless, by its name, with all its values.

    Every line is read by itself, also one that continues another: what a value hides is then a setting too many, and
    never one too few.
    """
    found: dict[str, list[bytes]] = {}
    section = b""
    for line in re.split(rb"[\r\n]", content):
        text = line
        if header := _SECTION.match(line):
            section = header[1].lower() + (b"." + header[2] if header[2] is not None else b"")
            text = header[3]
        stripped = text.strip()
        if not stripped or stripped[:1] in (b"#", b";"):
            continue
        setting = _SETTING.match(text)
        name = section + b"." + setting[1].lower() if setting else section + b".?"
        if not _HARMLESS.fullmatch(name):
            found.setdefault(name.decode(errors="backslashreplace"), []).append(stripped + b"\n")
    return {name: b"".join(lines) for name, lines in found.items()}


def named_by_settings(settings: Mapping[str, bytes]) -> Iterator[tuple[Use, str]]:
    """What values may name: directories of hooks, further settings, and files in what are or may be commands."""
    for key, lines in settings.items():
        for line in lines.split(b"\n"):
            value = _value(line.partition(b"=")[2].decode(errors="surrogateescape"))
            if not value:
                continue
            if key == "core.hookspath":
                yield "hooks", value
            elif _INCLUDE.fullmatch(key):
                yield "settings", value
            elif not _NO_COMMAND.fullmatch(key):
                yield from (("program", name) for name in dict.fromkeys(_names_in(value)))


def work_trees(content: bytes) -> list[str]:
    """Where git settings may say that the work tree of a submodule is, relative to its git directory; a few at most."""
    lines = [found[1].decode(errors="surrogateescape") for found in _WORK_TREE.finditer(content)]
    return [_value(line) for line in lines[-3:]]


def _value(text: str) -> str:
    """A value as git reads it: without quotes and comments."""
    found, quoted = "", False
    for piece in _VALUE_PIECE.finditer(text.strip()):
        escaped, quote, comment, plain = piece.groups()
        if comment and not quoted:
            break
        quoted ^= bool(quote)
        found += {"n": "\n", "t": "\t"}.get(escaped, escaped) if escaped else plain or comment or ""
    return found.strip()


def _names_in(command: str) -> Sequence[str]:
    words = [word for word in _BETWEEN_WORDS.split(command) if word and len(word) <= _COMMAND]
    if len(command) > _COMMAND:
        return words
    words.append(command)
    try:
        return words + [word for word in shlex.split(command.removeprefix("!")) if word]
    except ValueError:
        return words


# --- manifests of packages ---------------------------------------------------------------------------------------

_RUN_BY: Mapping[str, Sequence[str]] = {
    "package.json": (
        *("scripts", "husky", "lint-staged", "simple-git-hooks", "gitHooks", "pre-commit", "packageManager", "pnpm"),
        *("trustedDependencies", "jest", "babel", "eslintConfig", "prettier"),
    ),
    "composer.json": ("scripts", "repositories", "config"),
}
_BUILD_SCRIPT = re.compile(rb"""\bbuild["']?[ \t]*=[ \t]*["']([^"'\r\n]+)["']""")


def named_by_manifest(name: str, content: bytes) -> list[str]:
    """The programs that a Cargo.toml has run before the build, when they are called otherwise than build.rs."""
    return [found.decode(errors="surrogateescape") for found in _BUILD_SCRIPT.findall(content)] * (name == "Cargo.toml")


def _json_parts(content: bytes, keys: Sequence[str]) -> dict[str, bytes]:
    try:
        fields = json.loads(content)
        return dict(_run_by(fields, keys)) if isinstance(fields, dict) else {"": content}
    except (ValueError, RecursionError):
        return {"": content}


def _run_by(fields: Mapping[str, object], keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for name in keys:
        value = fields.get(name)
        if isinstance(value, dict):
            for key, one in value.items():
                yield f"{name}.{key}", json.dumps(one, sort_keys=True).encode()
        elif value is not None:
            yield name, json.dumps(value, sort_keys=True).encode()
