"""Ordinary clients inside a real sandbox, with and without proxy variables: what is allowed works, the rest says why.

One sandbox for all tests. Names lead to the origin servers of `tests/egress` by the operator's override.
"""

import json
import re
import shlex
from pathlib import Path

import pytest

from .roots import CLIENTS

pytestmark = pytest.mark.vm

FILE = (
    f"templates: {{clients: {CLIENTS}}}\n"
    + """\
sandboxes:
  box:
    template: clients
    workspaces: [.]
    policy:
      allow:
        - api.example.com
        - cdn.example.com
        - git.example.com
        - npm.example.com:443
        - pip.example.com:443
        - debian.example.com
        - pinned.example.com:443
        - untrusted.example.com
        - misnamed.example.com
        - {host: www.example.com, methods: [GET], paths: ["/bytes/**", /headers]}
        - {host: db.example.com, port: 5432, protocol: tcp}
      bypass: [pinned.example.com]
"""
)
BARE = (
    "env -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY -u NO_PROXY -u http_proxy -u https_proxy -u all_proxy -u no_proxy"
    " -u NODE_USE_ENV_PROXY "
)
# Each asks for every URL that it is given, in one process where it can: to start one takes seconds in emulation.
URLLIB = """
import sys, urllib.request
for url in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(url).read().decode())
    except OSError as error:
        print(error)
"""
REQUESTS = """
import sys, requests
for url in sys.argv[1:]:
    try:
        print(requests.get(url).text)
    except requests.RequestException as error:
        print(error)
"""
FETCH = """
(async () => {
  for (const url of process.argv.slice(1))
    await fetch(url).then(async answer => console.log(await answer.text()), error => console.log(error))
})()
"""
CLIENTS = {
    "curl": "for url in {urls}; do curl -sS $url; echo curl gave $?; done",
    "curl over http2": "for url in {urls}; do curl -sS --http2 $url; echo curl gave $?; done",
    "wget": "for url in {urls}; do wget -nv -O- --content-on-error --tries=1 $url; done",
    "python urllib": f"python3 -c {shlex.quote(URLLIB)} {{urls}}",
    "python requests": f"python3 -c {shlex.quote(REQUESTS)} {{urls}}",
    "node fetch": f"node -e {shlex.quote(FETCH.replace('{', '{{').replace('}', '}}'))} {{urls}}",
}
PLAIN = ("curl", "wget", "python urllib")  # those that are also tried without TLS
EVIL = "untrusted"  # the origin server that the denied name leads to


@pytest.fixture(scope="module")
def box(module_sbx, module_origin):
    """Runs a shell line inside, as the agent; gives its Result."""
    config = module_sbx.home / ".config/sandboxfile"
    module_origin.publish(config, {"evil.example.org:443": module_origin.address(EVIL)})
    module_sbx.write(FILE)
    module_sbx("up", "--yes")

    def run(line, **options):
        return module_sbx("exec", "box", "sh", "-c", line, any_code=True, **options)

    run.sbx, run.origin = module_sbx, module_origin
    yield run
    module_sbx("down", "--yes")


@pytest.fixture(params=["with proxy variables", "without"])
def prefix(request):
    return "" if request.param == "with proxy variables" else BARE


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_reaches_what_is_allowed_and_nothing_else(box, prefix, client):
    allowed = ["https://api.example.com/", *["http://api.example.com/"] * (client in PLAIN)]
    before = box.origin.hits(EVIL)
    line = CLIENTS[client].format(urls=" ".join([*allowed, "https://evil.example.org/"]))
    result = box(f"{prefix}sh -c {shlex.quote(line)}")
    assert result.stdout.count("hello from the origin") == len(allowed), (result, client)
    assert box.origin.hits(EVIL) == before
    if client.startswith("curl"):  # the reason where the agent looks, and that a name is denied where it resolves names
        *codes, denied = re.findall(r"curl gave (\d+)", result.stdout)
        assert codes == ["0"] * len(allowed)
        assert denied == "6" if prefix else "sbx policy explain box https://evil.example.org/" in result.stdout, result


def test_a_denied_request_is_told_the_rule_and_the_file(box):
    said = box("curl -sS -w '%{http_code}' -X POST https://www.example.com/headers").stdout
    assert "GET" in said
    assert "sandbox.yaml:" in said
    assert said.endswith("403")


def test_git_clones_and_pushes(box, prefix):
    head = box.origin.repository.head
    line = (
        "cd $(mktemp -d) && git clone -q https://git.example.com/git/sample.git && cd sample && git rev-parse HEAD"
        " && git -c user.name=a -c user.email=a@example.com commit -q --allow-empty -m more && git push -q"
    )
    result = box(f"{prefix}sh -ec {shlex.quote(line)}")
    assert result.code == 0, result
    assert result.stdout.split() == [head]
    assert box.origin.repository.head != head


def test_methods_and_paths_are_held_to(box, prefix):
    asked = {
        "https://www.example.com/bytes/7": "200",
        "http://www.example.com/headers": "200",
        "https://www.example.com/upload -d x": "403",
        "https://www.example.com/": "403",
        "--path-as-is https://www.example.com/bytes/../upload": "403",
        "https://www.example.com/bytes/%2e%2e/upload": "403",
    }
    curl = f"{prefix}curl -sS -o /dev/null -w '%{{http_code}} '"
    assert box("; ".join(f"{curl} {words}" for words in asked)).stdout.split() == list(asked.values())


def test_a_bypassed_host_shows_its_own_certificate(box, prefix):
    pin = box.origin.pinned.public_key_pin
    result = box(f"{prefix}curl -sS -k --pinnedpubkey {pin} https://pinned.example.com/headers")
    assert result.code == 0, result
    assert json.loads(result.stdout)["server"] == "pinned"
    other = box(f"{prefix}curl -sS -k --pinnedpubkey {pin} https://api.example.com/")
    assert other.code == 90, "an inspected host shows a certificate of the sandbox's authority"


def test_nothing_is_added_to_what_passes(box, prefix):
    for host in ("pinned.example.com", "api.example.com"):
        seen = json.loads(box(f"{prefix}curl -sS -k https://{host}/headers").stdout)
        names = {name for name, _ in seen["headers"]}
        assert not names & {"via", "x-forwarded-for", "forwarded", "proxy-connection", "proxy-authorization"}, seen


def test_raw_tcp_by_name_to_a_server_that_speaks_first(box):
    script = """
import socket
s = socket.create_connection(("db.example.com", 5432), 20)
f = s.makefile("rwb")
print(f.readline().decode().strip())
f.write(b"select 1\\n"); f.flush()
print(f.readline().decode().strip())
"""
    assert box(f"python3 -c {shlex.quote(script)}").stdout.splitlines() == ["220 lines at your service", "select 1"]
    tunnel = box("printf 'hello\\nquit\\n' | curl -sS --proxytunnel telnet://db.example.com:5432")
    assert "hello" in tunnel.stdout, tunnel


def test_upstream_certificates_are_verified_and_told(box, prefix):
    for host in ("untrusted.example.com", "misnamed.example.com"):
        result = box(f"{prefix}curl -sS -w '%{{http_code}}' https://{host}/")
        assert result.stdout.endswith("502"), result
        assert "certificate" in result.stdout.lower(), result
        assert host in result.stdout


def test_websocket(box, prefix):
    script = """
const socket = new WebSocket("wss://api.example.com/ws")
socket.onopen = () => socket.send("over a socket")
socket.onmessage = event => { console.log(event.data); socket.close() }
socket.onerror = event => { console.log("error", event.message); process.exit(1) }
"""
    # node's own WebSocket knows no proxy variables: it takes the transparent way in both cases
    result = box(f"{prefix}node --experimental-websocket -e {shlex.quote(script)}")
    assert result.stdout.strip() == "over a socket", result


def test_http2_from_end_to_end(box, prefix):
    result = box(f"{prefix}curl -sS --http2 -w ' %{{http_version}}' https://api.example.com/headers")
    seen, _, version = result.stdout.rpartition(" ")
    assert version == "2"
    assert json.loads(seen)["version"] == "HTTP/2"


def test_events_arrive_as_they_are_sent(box, prefix):
    script = """
import time, urllib.request
lines = [(time.monotonic(), line) for line in urllib.request.urlopen("https://api.example.com/events/3/1.0")]
times = [at for at, line in lines if line.startswith(b"data")]
print(len(times), times[-1] - times[0] > 1.5)
"""
    assert box(f"{prefix}python3 -c {shlex.quote(script)}").stdout.split() == ["3", "True"]


def test_large_bodies_stream_both_ways_and_the_gateway_stays_small(box):
    (gateway,) = box.sbx.processes("gateway")
    size = 128 << 20
    before = _resident(gateway)
    down = box(f"curl -sS https://cdn.example.com/bytes/{size} | wc -c", timeout=600)
    assert down.stdout.split() == [str(size)], down
    up = box(f"head -c {size} /dev/zero | curl -sS -T - https://cdn.example.com/upload", timeout=600)
    assert json.loads(up.stdout)["length"] == size, up
    assert _peak(gateway) - before < 64 << 20


def _memory(pid, field):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) << 10
    raise AssertionError(field)


def _resident(pid):
    return _memory(pid, "VmRSS")


def _peak(pid):
    return _memory(pid, "VmHWM")


NPM = """
cd $(mktemp -d)
npm install --silent --no-audit --no-fund --registry https://npm.example.com/npm origin-sample
node -p 'require("origin-sample")'
"""
PIP = """
target=$(mktemp -d)
pip install -q --no-deps --target "$target" --index-url https://pip.example.com/simple origin-sample
PYTHONPATH=$target python3 -c 'import origin_sample; print(origin_sample.SAYS)'
"""
APT = """
list=$(mktemp --suffix .list)
echo 'deb [trusted=yes] http://debian.example.com/debian stable main' >"$list"
chmod 644 "$list"
only="-o Dir::Etc::sourcelist=$list -o Dir::Etc::sourceparts=/nonexistent"
sudo apt-get -qq $only update
sudo apt-get -qq $only install -y origin-sample >/dev/null
origin-sample
sudo dpkg --purge origin-sample >/dev/null
"""


@pytest.mark.parametrize("script", [NPM, PIP, APT], ids=["npm", "pip", "apt"])
def test_package_managers_with_registries_of_their_own(box, script):
    """Without proxy variables. With them they go to their real registries in test_egress_presets.py."""
    result = box(f"{BARE}sh -ec {shlex.quote(script)}", timeout=300)
    assert result.stdout.strip() == "said by the sample package", result


def test_the_log_tells_what_was_reached_and_what_was_blocked(box):
    box("curl -sS https://api.example.com/headers?secret=1; curl -sS https://evil.example.org/")
    records = [json.loads(line) for line in box.sbx("network", "log", "box", "--format", "json").stdout.splitlines()]
    reached = [r for r in records if r["host"] == "api.example.com" and r["verdict"] == "allowed"]
    assert reached
    assert reached[-1]["rule"] == "api.example.com"
    assert reached[-1]["place"].startswith("sandbox.yaml:")
    assert "secret" not in json.dumps(records)
    blocked = box.sbx("network", "log", "box", "--blocked").stdout
    assert "evil.example.org" in blocked
    assert "api.example.com" not in blocked
    assert "api.example.com" in box.sbx("network", "summary", "box").stdout
