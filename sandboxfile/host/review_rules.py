"""Which files of a workspace programs of the host act on by themselves, or when somebody works there as usual. Pure.

A file counts by its name and place (`kind_of`), or by a directory all files of which count (`kind_of_tree`). Some
directories have too much to be told file by file and count as one thing (`kind_of_sum`): installed packages, and the
programs of virtual environments. Source code as such does not count, though builds and tests run it.
"""

import re
from collections.abc import Mapping
from typing import Literal

Kind = Literal[
    "git hook",
    "git setting",
    "git link",
    "git program",
    "commit hook",
    "environment",
    "editor",
    "agent",
    "container",
    "package manager",
    "packages installed",
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
    "git program": "a git setting names it, and git may run it",
    "commit hook": "a hook manager runs what it says at commits",
    "environment": "shells and tools take variables and programs from it",
    "editor": "editors run what it says, some when the directory is opened",
    "agent": "an agent on this host takes hooks, permissions, servers to start or instructions from it",
    "container": "it says what containers started from here may use of this host",
    "package manager": "package managers run it, or fetch from where it says",
    "packages installed": "builds, tests and editors run what is in it",
    "build": "a build runs it",
    "tests": "a test run runs it",
    "pipeline": "it runs where the project is built and deployed",
    "sandbox": "it says what sandboxes see and reach",
    "link": "it leads elsewhere, where programs then take what they look for here",
    "not looked at": "there is more than this looks at",
}
SKIPPED = frozenset({"__pycache__"})  # made from what is looked at, again and again

# Names of files, wherever they are.
_NAMES: Mapping[Kind, str] = {
    "git setting": ".gitattributes .gitmodules",
    "commit hook": ".pre-commit-config.yaml .pre-commit-config.yml .overcommit.yml"
    " lefthook.yml lefthook.yaml lefthook.toml lefthook.json lefthook-local.yml lefthook-local.yaml"
    " .lefthook.yml .lefthook.yaml .lefthook.toml .lefthook.json .lefthook-local.yml",
    "environment": ".envrc .env .env.local mise.toml .mise.toml mise.local.toml .mise.local.toml .rtx.toml"
    " .tool-versions rust-toolchain rust-toolchain.toml shell.nix flake.nix devbox.json pyvenv.cfg",
    "editor": ".exrc .vimrc .nvimrc .nvim.lua .lvimrc .dir-locals.el .gdbinit .lldbinit .eslintrc .prettierrc",
    "agent": ".mcp.json opencode.json opencode.jsonc .aider.conf.yml"
    " CLAUDE.md CLAUDE.local.md AGENTS.md AGENTS.override.md AGENT.md GEMINI.md .cursorrules .windsurfrules"
    " .clinerules",
    "container": "compose.yaml compose.yml compose.override.yaml docker-compose.yaml docker-compose.yml"
    " docker-compose.override.yml .devcontainer.json",
    "package manager": ".npmrc .yarnrc .yarnrc.yml .pnpmfile.cjs pnpm-workspace.yaml bunfig.toml package.json"
    " pip.conf uv.toml binding.gyp composer.json Gemfile Pipfile",
    "build": "Makefile makefile GNUmakefile justfile Justfile .justfile Taskfile.yml Taskfile.yaml taskfile.yml"
    " Taskfile.dist.yml Rakefile rakefile Rakefile.rb setup.py setup.cfg pyproject.toml Cargo.toml build.rs"
    " gradle.properties gradlew gradle-wrapper.properties gradle-wrapper.jar mvnw pom.xml"
    " CMakeLists.txt CMakePresets.json CMakeUserPresets.json configure meson.build"
    " deno.json deno.jsonc .bazelrc WORKSPACE WORKSPACE.bazel MODULE.bazel .babelrc",
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
    " .kiro/mcp.json settings/mcp.json .amp/settings.json .github/copilot-instructions.md",
    "package manager": ".bundle/config",
    "build": ".cargo/config.toml .cargo/config",
    "pipeline": ".circleci/config.yml",
}
# Directories of which every file counts.
_TREES: Mapping[Kind, str] = {
    "commit hook": ".husky .githooks",
    "editor": ".run .idea/runConfigurations",
    "agent": ".claude/hooks .claude/plugins .claude/commands .claude/agents .claude/skills .claude/rules"
    " .gemini/extensions .gemini/hooks .gemini/commands .cursor/rules .cursor/commands .github/instructions"
    " .kiro/hooks .kiro/steering .opencode",
    "container": ".devcontainer",
    "package manager": ".yarn/releases .yarn/plugins",
    "build": ".mvn",
    "pipeline": ".github/workflows .github/actions .forgejo/workflows .gitea/workflows",
}
# Directories of which all that is in them counts as one.
_SUMS: Mapping[Kind, str] = {
    "environment": ".venv/bin .venv/Scripts venv/bin venv/Scripts",
    "packages installed": "node_modules site-packages",
}
# Settings that are programs, of whatever tool: its name, and the end that says in what language.
_PROGRAM = re.compile(r"(.+)\.config\.[cm]?[jt]sx?")
_PROGRAM_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("eslint", "prettier", "stylelint"), "editor"),
    **dict.fromkeys(("jest", "vitest", "playwright", "cypress", "wdio"), "tests"),
}
_ENDS: Mapping[str, Kind] = {".code-workspace": "editor", ".gradle": "build", ".gradle.kts": "build", ".cmake": "build"}
_BEGINNINGS: Mapping[str, Kind] = {
    ".eslintrc.": "editor",
    ".prettierrc.": "editor",
    ".babelrc.": "build",
    ".mocharc.": "tests",
}


def _by_word(table: Mapping[Kind, str]) -> dict[str, Kind]:
    return {word: kind for kind, words in table.items() for word in words.split()}


_KIND_OF_NAME, _KIND_OF_PLACE = _by_word(_NAMES), _by_word(_PLACES)
_KIND_OF_TREE, _KIND_OF_SUM = _by_word(_TREES), _by_word(_SUMS)
# Where a link leads programs to another directory than the one that is looked at.
DIRECTORIES = frozenset({".git", *(place.split("/")[0] for place in (*_KIND_OF_PLACE, *_KIND_OF_TREE, *_KIND_OF_SUM))})
DIRECTORIES -= {"settings"}


def kind_of(parent: str, name: str) -> Kind | None:
    """What a file is, by its name and that of its directory; None for what nothing acts on. Not for git's own files."""
    return _KIND_OF_PLACE.get(f"{parent}/{name}") or _KIND_OF_NAME.get(name) or _kind_of_shape(name)


def kind_of_tree(above: str, name: str) -> Kind | None:
    """What every file in a directory is, at whatever depth, by its name and that of the directory above."""
    return _KIND_OF_TREE.get(name) or _KIND_OF_TREE.get(f"{above}/{name}")


def kind_of_sum(above: str, name: str) -> Kind | None:
    """What a directory is as a whole, by its name and that of the directory above."""
    return _KIND_OF_SUM.get(name) or _KIND_OF_SUM.get(f"{above}/{name}")


def _kind_of_shape(name: str) -> Kind | None:
    if ".config." in name and (program := _PROGRAM.fullmatch(name)):
        return _PROGRAM_KINDS.get(program[1], "build")
    for end, kind in _ENDS.items():
        if name.endswith(end):
            return kind
    if name.startswith("."):
        return next((kind for beginning, kind in _BEGINNINGS.items() if name.startswith(beginning)), None)
    return None
