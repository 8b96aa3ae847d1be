"""Which files act, by their names and places."""

import pytest

from sandboxfile.host.review_rules import WHY, kind_of, kind_of_sum, kind_of_tree


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/.envrc", "environment"),
        ("/.pre-commit-config.yaml", "commit hook"),
        ("/.lefthook-local.yml", "commit hook"),
        (".vscode/tasks.json", "editor"),
        ("/shop.code-workspace", "editor"),
        (".claude/settings.local.json", "agent"),
        ("/.mcp.json", "agent"),
        ("web/package.json", "package manager"),
        ("web/Makefile", "build"),
        (".cargo/config.toml", "build"),
        ("tests/conftest.py", "tests"),
        ("/sandbox.yaml", "sandbox"),
        ("/.gitattributes", "git setting"),
        ("/.gitmodules", "git setting"),
        ("web/vite.config.ts", "build"),
        ("web/webpack.config.cjs", "build"),
        ("web/rollup.config.mjs", "build"),
        ("web/jest.config.js", "tests"),
        ("web/vitest.config.mts", "tests"),
        ("web/eslint.config.js", "editor"),
        ("web/prettier.config.js", "editor"),
        ("web/.eslintrc.cjs", "editor"),
        ("web/.eslintrc.json", "editor"),
        ("web/.prettierrc", "editor"),
        ("web/vite.config.json", None),
        ("web/.config.ts", None),
        ("/build.rs", "build"),
        ("/Cargo.toml", "build"),
        ("/gradle.properties", "build"),
        ("app/build.gradle", "build"),
        ("app/build.gradle.kts", "build"),
        ("/settings.gradle.kts", "build"),
        ("/CMakeLists.txt", "build"),
        ("cmake/tools.cmake", "build"),
        ("/configure", "build"),
        ("/Rakefile", "build"),
        ("/setup.cfg", "build"),
        ("/deno.json", "build"),
        ("/.bazelrc", "build"),
        ("/WORKSPACE", "build"),
        ("/MODULE.bazel", "build"),
        ("/Gemfile", "package manager"),
        ("/composer.json", "package manager"),
        ("addon/binding.gyp", "package manager"),
        ("/tox.ini", "tests"),
        ("/noxfile.py", "tests"),
        ("/CLAUDE.md", "agent"),
        ("docs/AGENTS.md", "agent"),
        ("/GEMINI.md", "agent"),
        (".github/copilot-instructions.md", "agent"),
        (".venv/pyvenv.cfg", "environment"),
        ("src/main.py", None),
        ("src/settings.json", None),
        ("/tasks.json", None),
        (".github/CODEOWNERS", None),
    ],
)
def test_a_file_counts_by_its_name_and_its_directory(place, kind):
    assert kind_of(*place.split("/")) == kind


@pytest.mark.parametrize(
    ("above", "name", "kind"),
    [
        ("", ".husky", "commit hook"),
        ("repo", ".devcontainer", "container"),
        (".github", "workflows", "pipeline"),
        ("src", "workflows", None),
        (".idea", "runConfigurations", "editor"),
        (".claude", "commands", "agent"),
        (".claude", "agents", "agent"),
        (".cursor", "rules", "agent"),
    ],
)
def test_of_some_directories_every_file_counts(above, name, kind):
    assert kind_of_tree(above, name) == kind


@pytest.mark.parametrize(
    ("above", "name", "kind"),
    [
        ("web", "node_modules", "packages installed"),
        ("python3.13", "site-packages", "packages installed"),
        (".venv", "bin", "environment"),
        ("venv", "bin", "environment"),
        ("src", "bin", None),
    ],
)
def test_some_directories_count_as_one(above, name, kind):
    assert kind_of_sum(above, name) == kind


def test_every_kind_says_why():
    assert all(why and why[0].islower() for why in WHY.values())
