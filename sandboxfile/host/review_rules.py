"""Which files of a workspace programs of the host act on by themselves, or when somebody works there as usual. Pure.

A file counts by its name and place (`kind_of`, `kind_of_tree`). Of some files only what acts is compared, a part each
(`parts_of`): of a git configuration all but what is known to be harmless, of package.json the scripts. What cannot be
read as expected counts whole.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Literal

Kind = Literal[
    "git hook",
    "git setting",
    "git link",
    "commit hook",
    "environment",
    "editor",
    "agent",
    "container",
    "package manager",
    "build",
    "tests",
    "pipeline",
    "sandbox",
    "link",
    "not looked at",
]
WHY: Mapping[Kind, str] = {
    "git hook": "git runs it at commits, checkouts and merges",
    "git setting": "git goes by it in every command, and some settings are commands",
    "git link": "it says where the repository is that git uses here, with its settings and hooks",
    "commit hook": "a hook manager runs what it says at commits",
    "environment": "shells and tools take variables and programs from it",
    "editor": "editors run what it says, some when the directory is opened",
    "agent": "an agent on this host takes hooks, permissions and servers to start from it",
    "container": "it says what containers started from here may use of this host",
    "package manager": "package managers run it, or fetch from where it says",
    "build": "a build runs it",
    "tests": "a test run runs it",
    "pipeline": "it runs where the project is built and deployed",
    "sandbox": "it says what sandboxes see and reach",
    "link": "it leads elsewhere, and what is there is not looked at",
    "not looked at": "there is more than this looks at",
}
SKIPPED = frozenset({"node_modules", "__pycache__"})  # too large, and made from what is looked at

# Names of files, wherever they are.
_NAMES: Mapping[Kind, str] = {
    "commit hook": ".pre-commit-config.yaml .pre-commit-config.yml .overcommit.yml"
    " lefthook.yml lefthook.yaml lefthook.toml lefthook.json lefthook-local.yml lefthook-local.yaml"
    " .lefthook.yml .lefthook.yaml .lefthook.toml .lefthook.json .lefthook-local.yml",
    "environment": ".envrc .env .env.local mise.toml .mise.toml mise.local.toml .mise.local.toml .rtx.toml"
    " .tool-versions rust-toolchain rust-toolchain.toml shell.nix flake.nix devbox.json",
    "editor": ".exrc .vimrc .nvimrc .nvim.lua .lvimrc .dir-locals.el .gdbinit .lldbinit"
    " eslint.config.js eslint.config.cjs eslint.config.mjs eslint.config.ts .eslintrc.js .eslintrc.cjs"
    " prettier.config.js prettier.config.cjs prettier.config.mjs .prettierrc.js .prettierrc.cjs .prettierrc.mjs",
    "agent": ".mcp.json opencode.json opencode.jsonc .aider.conf.yml",
    "container": "compose.yaml compose.yml compose.override.yaml docker-compose.yaml docker-compose.yml"
    " docker-compose.override.yml .devcontainer.json",
    "package manager": ".npmrc .yarnrc .yarnrc.yml .pnpmfile.cjs pnpm-workspace.yaml bunfig.toml package.json"
    " pip.conf uv.toml",
    "build": "Makefile makefile GNUmakefile justfile Justfile .justfile Taskfile.yml Taskfile.yaml taskfile.yml"
    " Taskfile.dist.yml Rakefile setup.py setup.cfg pyproject.toml build.rs build.gradle build.gradle.kts"
    " settings.gradle settings.gradle.kts gradlew gradle-wrapper.properties gradle-wrapper.jar mvnw",
    "tests": "conftest.py noxfile.py tox.ini pytest.ini",
    "pipeline": ".gitlab-ci.yml Jenkinsfile azure-pipelines.yml .travis.yml",
    "sandbox": "sandbox.yaml sandbox.yml sandbox.override.yaml sandbox.override.yml sandbox.lock",
}
# Names with the directory that they are in.
_PLACES: Mapping[Kind, str] = {
    "environment": ".config/mise.toml .mise/config.toml",
    "editor": ".vscode/tasks.json .vscode/settings.json .vscode/launch.json .vscode/extensions.json"
    " .zed/tasks.json .zed/settings.json .zed/debug.json"
    " .idea/workspace.xml .idea/watcherTasks.xml .idea/startup.xml .idea/externalTools.xml",
    "agent": ".claude/settings.json .claude/settings.local.json .gemini/settings.json .gemini/.env .codex/config.toml"
    " .cursor/mcp.json .cursor/hooks.json .cursor/environment.json .cursor/cli.json .vscode/mcp.json"
    " .kiro/mcp.json settings/mcp.json .amp/settings.json",
    "package manager": ".bundle/config",
    "build": ".cargo/config.toml .cargo/config",
    "pipeline": ".circleci/config.yml",
}
# Directories of which every file counts.
_TREES: Mapping[Kind, str] = {
    "commit hook": ".husky .githooks",
    "editor": ".run .idea/runConfigurations",
    "agent": ".claude/hooks .claude/plugins .gemini/extensions .gemini/hooks .kiro/hooks .opencode",
    "container": ".devcontainer",
    "package manager": ".yarn/releases .yarn/plugins",
    "build": ".mvn",
    "pipeline": ".github/workflows .github/actions .forgejo/workflows .gitea/workflows",
}


def _by_word(table: Mapping[Kind, str]) -> dict[str, Kind]:
    return {word: kind for kind, words in table.items() for word in words.split()}


_KIND_OF_NAME, _KIND_OF_PLACE, _KIND_OF_TREE = _by_word(_NAMES), _by_word(_PLACES), _by_word(_TREES)
# Where a link leads programs to another directory than the one that is looked at.
DIRECTORIES = frozenset({".git", *(place.split("/")[0] for place in (*_KIND_OF_PLACE, *_KIND_OF_TREE))}) - {"settings"}


def kind_of(parent: str, name: str) -> Kind | None:
    """What a file is, by its name and that of its directory; None for what nothing acts on. Not for git's own files."""
    if name.endswith(".code-workspace"):
        return "editor"
    return _KIND_OF_PLACE.get(f"{parent}/{name}") or _KIND_OF_NAME.get(name)


def kind_of_tree(above: str, name: str) -> Kind | None:
    """What every file in a directory is, at whatever depth, by its name and that of the directory above."""
    return _KIND_OF_TREE.get(name) or _KIND_OF_TREE.get(f"{above}/{name}")


def parts_of(kind: Kind, name: str, content: bytes) -> dict[str, bytes]:
    """What acts of a file's content, by the name of the part; the empty name is the file as a whole."""
    if kind == "git setting":
        return git_settings(content)
    if name == "package.json":
        return _package_scripts(content)
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


def git_settings(content: bytes) -> dict[str, bytes]:
    """Each setting that is not known to be harmless, by its name, with all its values.

    Every line is read by itself, also one that continues another: what a value hides is then a setting too many, and
    never one too few.
    """
    found: dict[str, bytes] = {}
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
            key = name.decode(errors="backslashreplace")
            found[key] = found.get(key, b"") + stripped + b"\n"
    return found


def hooks_path(settings: Mapping[str, bytes]) -> str | None:
    """Where `core.hooksPath` says that the hooks are; the last one counts."""
    lines = settings.get("core.hookspath", b"").decode(errors="surrogateescape").splitlines()
    _, _, value = lines[-1].partition("=") if lines else ("", "", "")
    return value.strip().strip('"') or None


# --- package.json ------------------------------------------------------------------------------------------------

_RUN_BY = ("scripts", "husky", "lint-staged", "simple-git-hooks", "gitHooks", "pre-commit", "packageManager")


def _package_scripts(content: bytes) -> dict[str, bytes]:
    try:
        fields = json.loads(content)
        return dict(_scripts(fields)) if isinstance(fields, dict) else {"": content}
    except (ValueError, RecursionError):
        return {"": content}


def _scripts(fields: Mapping[str, object]) -> Iterator[tuple[str, bytes]]:
    for name in _RUN_BY:
        value = fields.get(name)
        if isinstance(value, dict):
            for key, one in value.items():
                yield f"{name}.{key}", json.dumps(one, sort_keys=True).encode()
        elif value is not None:
            yield name, json.dumps(value, sort_keys=True).encode()
