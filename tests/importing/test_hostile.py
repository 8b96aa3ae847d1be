"""Whatever the source is: a file that loads, or diagnostics; never a traceback, never a line of somebody else's."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxfile.diagnostics import has_errors
from sandboxfile.importing import KINDS, Source, convert, detect
from sandboxfile.language.validate import load

_WORDS = (
    "services image build command environment env_file ports volumes depends_on healthcheck restart deploy resources"
    " limits cpus memory mem_limit context args target dockerfile type source read_only policy default network"
    " allowedDomains blockedDomains blockedCIDRs bypassDomains schemaVersion agent name workspace additionalWorkspaces"
    " path readOnly clone env sandboxOptions template secrets sandbox host hostIP protocol mounts containerEnv"
    " forwardPorts postCreateCommand remoteUser hostRequirements workspaceFolder workspaceMount entrypoint working_dir"
    " test interval retries start_period disable condition profiles scale replicas target published"
)
WORDS = _WORDS.split()
TEXTS = st.sampled_from(
    ["1", "allow", "deny", "claude", ".", "..", "/", "~", "./a:/b:ro", "8080:80", "1-3:1-3", "a.example.com", "*.x.com",
     "10.0.0.0/8", "${A}", "${A", "$B", "$$", "${{ env.args.a }}", "a b 'c", "2g", "no", "x\ny: z", "\x1b[31m", "\x85",
     "\u2028", "\0", "type=bind,source=/a,target=/b", "${localEnv:A}", "always", ":", "::", "-", "# x", "'", '"']
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers(-1, 1 << 70) | TEXTS | st.text(max_size=8)
KEYS = st.sampled_from(WORDS) | st.text(max_size=4)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=30
)


def check(kind: str, text: str) -> None:
    source = Source(text, "the\nsource", "/home/ada/shop", "/home/ada/other")
    imported = convert(kind, source)
    if imported.text is None:
        assert has_errors(imported.diagnostics)
        return
    file, _, problems = load(imported.text, "sandbox.yaml", variables=dict.fromkeys("AB", "1"))
    assert file is not None
    refused = [problem for problem in problems if problem.summary != "Variable required"]
    assert not has_errors(refused), (imported.text, problems)
    assert imported.text.isprintable() or all(line.isprintable() for line in imported.text.split("\n"))


def wrapped(kind: str, tree: object) -> object:
    """Something of the kind's own shape around it, so that more than the first line of the importer is met."""
    if kind == "compose":
        return {"services": {"web": tree, "a b": tree}}
    if kind == "sbxenv":
        return {"schemaVersion": "1", **tree} if isinstance(tree, dict) else {"schemaVersion": "1", "env": tree}
    if kind == "proxy-config":
        return {"policy": {"default": "allow"}, "network": tree}
    return tree


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(tree=TREES)
def test_any_tree_gives_a_file_that_loads_or_says_why_not(kind: str, tree: object) -> None:
    check(kind, json.dumps(wrapped(kind, tree)))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_gives_a_file_that_loads_or_says_why_not(kind: str, text: str) -> None:
    check(kind, text)
    detect(Source(text, "x", "/", "/"))


@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(
        st.sampled_from(
            ["run", "create", "claude", "x", ".", "--name", "-t", "-tx", "-e", "A=1", "=", "-v", "a:b", "--",
             "--policy", "network", "proxy", "allow",
             "--block-host", "--allow-cidr", "10.0.0.0/8", "docker", "sandbox", "\n", ";",
             "$X", "'a", '"b', "\\", "$(", "#", "`", "--name=", "-w", "--bypass-host"]
        )
    )
)  # fmt: skip
def test_any_command_line_gives_a_file_that_loads_or_says_why_not(words: list[str]) -> None:
    check("commands", "docker sandbox run claude\ndocker sandbox " + " ".join(words))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text",
    [
        "x" * 300_000,
        "{" * 10_000,
        '{"a":' * 10_000,
        "[" * 10_000 + "]" * 10_000,
        '"' + '\\"' * 100_000,
        "/*" * 100_000,
        "," * 100_000,
        '{"services": {' + ",".join(f'"s{i}": {{"image": "a"}}' for i in range(3000)) + "}}",
        "docker sandbox run claude\n" * 5000,
        "docker sandbox run claude " + "'" * 9999,
        "a: &a [x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\n",
        "\ud800".encode("utf-8", "replace").decode() + "\x00",
    ],
    ids=range(12),
)
def test_long_and_deep_sources_are_read_in_reasonable_time(kind: str, text: str) -> None:
    check(kind, text)


def test_what_becomes_longer_than_a_sandbox_file_may_be_is_an_error() -> None:
    image = "a" * 80
    text = "services:\n" + "".join(f"  s{number}: {{image: {image}}}\n" for number in range(2500))
    imported = convert("compose", Source(text, "compose.yaml", "/a", "/a"))
    assert imported.text is None
    assert [problem.summary for problem in imported.diagnostics] == ["Cannot be imported"]


def test_a_name_with_a_line_break_writes_no_line_of_its_own() -> None:
    text = json.dumps({"services": {"web": {"image\npolicies: {x: {mode: allow}}": 1, "env\u2028x": 2}}})
    imported = convert("compose", Source(text, "compose.yaml\nname: evil", "/a", "/a"))
    assert imported.text is not None
    lines = [line for line in imported.text.splitlines() if not line.startswith("#")]
    assert [line for line in lines if line] == ["sandboxes:", "  web: {}"]
