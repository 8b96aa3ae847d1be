"""The built-in template `base` on a real machine: every tool that it promises works, and builds something."""

import pytest

pytestmark = pytest.mark.vm

FILE = (
    "sandboxes: {box: {template: base, workspaces: [.], resources: {memory: 3GiB}, policy: {allow: [{preset: pip}]}}}\n"
)
VERSIONS = {
    "docker": "docker version --format '{{.Server.Version}}'",
    "buildx": "docker buildx version",
    "compose": "docker compose version",
    "git": "git --version",
    "gh": "gh --version",
    "node": "node --version",
    "npm": "npm --version",
    "go": "go version",
    "python3": "python3 --version",
    "pip": "python3 -m pip --version",
    "uv": "uv --version",
    "make": "make --version",
    "jq": "jq --version",
    "ripgrep": "rg --version",
    "curl": "curl --version",
    "sudo": "sudo -n id -u",
}
MAKEFILE = """\
.PHONY: all go node python
all: go node python
go:
	cd go && go build -o ../hello-go . && ../hello-go
node:
	cd node && npm install --silent --no-audit --no-fund ./dependency && node main.js
python:
	uv venv -q --python /usr/bin/python3 && uv pip install -q --no-index ./python && .venv/bin/hello
"""
GO = 'package main\n\nfunc main() { println("hello from go") }\n'
PYPROJECT = """\
[project]
name = "hello"
version = "1"
scripts = {hello = "hello:main"}
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
# A build back end in the standard library alone: nothing has to be downloaded.
BACKEND = """\
import zipfile
def build_wheel(directory, settings=None, metadata=None):
    name = "hello-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        wheel.writestr("hello.py", "def main(): print('hello from python')")
        wheel.writestr("hello-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: hello\\nVersion: 1\\n")
        wheel.writestr("hello-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\nRoot-Is-Purelib: true\\n")
        wheel.writestr("hello-1.dist-info/entry_points.txt", "[console_scripts]\\nhello = hello:main\\n")
        wheel.writestr("hello-1.dist-info/RECORD", "")
    return name
"""
SOURCES = {
    "Makefile": MAKEFILE,
    "go/go.mod": "module hello\n\ngo 1.20\n",
    "go/main.go": GO,
    "node/package.json": '{"name": "hello", "version": "1.0.0"}\n',
    "node/main.js": "console.log(require('dependency'))\n",
    "node/dependency/package.json": '{"name": "dependency", "version": "1.0.0"}\n',
    "node/dependency/index.js": "module.exports = 'hello from node'\n",
    "python/pyproject.toml": PYPROJECT,
    "python/backend.py": BACKEND,
}


@pytest.fixture(scope="module")
def box(module_sbx):
    """Runs a shell line inside; gives what it prints."""
    module_sbx.write(FILE)
    module_sbx("up", "--yes", timeout=1200)

    def run(line, **options):
        return module_sbx("exec", "box", "sh", "-c", line, timeout=900, **options).stdout

    run.project = module_sbx.project
    yield run
    module_sbx("down", "--yes")


def test_every_tool_says_its_version(box):
    said = box("; ".join(f"echo '== {name}'; {command} || echo FAILED" for name, command in VERSIONS.items()))
    answers = dict(part.split("\n", 1) for part in said.split("== ")[1:])
    assert answers.keys() == VERSIONS.keys()
    failed = {name: answer for name, answer in answers.items() if not answer.strip() or "FAILED" in answer}
    assert not failed


def test_make_builds_with_go_node_and_uv(box):
    for name, text in SOURCES.items():
        path = box.project / "build" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    said = box("cd build && make 2>&1")
    for language in ("go", "node", "python"):
        assert f"hello from {language}" in said, said
