"""Origin servers, the real gateway process and real clients together: what must pass passes whole, and nothing else.

No machine: clients use the explicit proxy of a registered sandbox on loopback.
"""

import hashlib
import json
import shutil
import socket
import ssl
import sys
import time
from contextlib import suppress

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

from sandboxfile.model.policy import Rule

from . import packages
from .inside import Inside, policy
from .ledger import Hits
from .origin import GREETING
from .pattern import pattern, pattern_digest

AMOUNT = 20 << 20


OPEN = policy("api.example.com", "cdn.example.com:443")


def _said(stream):
    """Everything until the other side ends, or cuts."""
    said = b""
    try:
        while got := stream.recv(65536):
            said += got
    except (ConnectionError, ssl.SSLError):
        pass
    return said


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_allowed_hosts_answer_and_others_are_refused_with_the_reason(sandbox, origin, version):
    inside = sandbox(OPEN)
    got = json.loads(inside.curl(version, "https://api.example.com/headers"))
    assert got["sni"] == "api.example.com"
    assert inside.curl("http://api.example.com/") == b"hello from the origin\n"
    before = origin.hits()
    for url in ("https://evil.example.org/", "http://evil.example.org/", "http://cdn.example.com/"):
        said = inside.curl(version, "-w", "%{http_code}", url).decode()
        assert said.endswith("403")
        assert "Blocked by the network policy of sandbox 'web'" in said
        assert "sbx policy explain web" in said
        assert inside.curl("-f", url, code=22) == b""
    assert origin.hits() == before


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("given", [OPEN, policy("api.example.com", inspect="minimal")], ids=["inspected", "minimal"])
def test_large_bodies_pass_whole_both_ways(sandbox, tmp_path, version, given):
    inside = sandbox(given)
    if given is not OPEN:
        inside.registered.trusted.write_text(inside.origin.authority.certificate)
    for path in ("bytes", "chunked"):
        got = inside.curl(version, f"https://api.example.com/{path}/{AMOUNT}")
        assert hashlib.sha256(got).hexdigest() == pattern_digest(AMOUNT)
    file = tmp_path / "data"
    file.write_bytes(b"".join(pattern(AMOUNT)))
    told = json.loads(inside.curl(version, "-T", str(file), "https://api.example.com/upload"))
    assert told == {"length": AMOUNT, "sha256": pattern_digest(AMOUNT)}


def test_events_are_passed_on_as_they_come(sandbox):
    inside = sandbox(OPEN)
    said = inside.curl(
        "-N", "-w", "%{time_starttransfer} %{time_total}", "https://api.example.com/events/4/0.3"
    ).decode()
    *events, times = said.split("\n\n")
    first, total = map(float, times.split())
    assert len(events) == 4
    assert total - first > 0.6


@pytest.mark.parametrize(
    "given", [OPEN, policy("api.example.com", bypass=["api.example.com"])], ids=["inspected", "bypass"]
)
def test_websockets_go_through(sandbox, given):
    inside = sandbox(given)
    if given is not OPEN:
        inside.registered.trusted.write_text(inside.origin.authority.certificate)
    with inside.tunnel("api.example.com:443", "api.example.com") as stream:
        ours = WSConnection(ConnectionType.CLIENT)
        stream.sendall(ours.send(Request(host="api.example.com", target="/ws")))
        assert isinstance(_next(stream, ours), AcceptConnection)
        for text in ("one", "two" * 10_000):
            stream.sendall(ours.send(TextMessage(text)))
            echoed = ""
            while len(echoed) < len(text):
                event = _next(stream, ours)
                assert isinstance(event, TextMessage)
                echoed += event.data
            assert echoed == text
        stream.sendall(ours.send(CloseConnection(1000)))
        assert isinstance(_next(stream, ours), CloseConnection)


def _next(stream, ours):
    while True:
        for event in ours.events():
            return event
        ours.receive_data(stream.recv(65536))


def test_methods_and_paths_are_held_to(sandbox, origin):
    rule = Rule("api.example.com", methods=("GET", "HEAD"), paths=("/headers", "/bytes/**"))
    inside = sandbox(policy(rule))
    code = ("-o", "/dev/null", "-w", "%{http_code}")
    assert inside.curl(*code, "https://api.example.com/headers") == b"200"
    assert inside.curl(*code, "https://api.example.com/bytes/10") == b"200"
    reached = origin.hits().requests
    for refused in (
        ("-X", "POST", "https://api.example.com/headers"),
        ("https://api.example.com/upload",),
        ("--path-as-is", "https://api.example.com/bytes/../upload"),
        ("--path-as-is", "https://api.example.com/bytes/%2e%2e/upload"),
        ("--path-as-is", "https://api.example.com/bytes%2f10"),
        ("--path-as-is", "https://api.example.com//headers"),
    ):
        assert inside.curl(*code, *refused) == b"403", refused
    assert origin.hits().requests == reached


def test_a_bypassed_host_shows_its_own_certificate_and_no_other_does(sandbox, origin):
    inside = sandbox(policy("pinned.example.com", "api.example.com", bypass=["pinned.example.com"]))
    pinned = ("-k", "--pinnedpubkey", origin.pinned.public_key_pin)
    assert inside.curl(*pinned, "https://pinned.example.com/") == b"hello from the origin\n"
    inside.curl(*pinned, "https://api.example.com/", code=90)
    assert origin.hits("pinned") == Hits(1, 1)


def test_raw_tcp_goes_only_where_a_rule_names_it(sandbox, origin):
    inside = sandbox(policy(Rule("db.example.com:5432", protocol="tcp")))
    with inside.tunnel("db.example.com:5432") as sock, sock.makefile("rwb") as stream:
        assert stream.readline() == GREETING
        stream.write(b"select\n")
        stream.flush()
        assert stream.readline() == b"select\n"
    inside.registered.set_policy(policy("db.example.com:5432"))
    before = origin.hits("lines")
    with socket.create_connection(("127.0.0.1", inside.registered.port), 30) as sock:
        sock.sendall(b"CONNECT db.example.com:5432 HTTP/1.1\r\nHost: db.example.com:5432\r\n\r\nselect\n")
        assert b"select\n" not in _said(sock)
    assert origin.hits("lines").requests == before.requests


def test_servers_are_verified_against_what_the_host_trusts(sandbox, origin):
    inside = sandbox(policy("untrusted.example.com", "misnamed.example.com"))
    for name in ("untrusted", "misnamed"):
        said = inside.curl("-w", "%{http_code}", f"https://{name}.example.com/").decode()
        assert said.endswith("502")
        assert origin.hits(name).requests == 0


def test_redirects_to_a_denied_host_end_there(sandbox, origin):
    inside = sandbox(OPEN)
    assert inside.curl("-L", "https://api.example.com/redirect/2") == b"hello from the origin\n"
    away = "https://api.example.com/redirect?to=https://evil.example.org/"
    assert b"evil.example.org" in inside.curl("-L", away)
    assert "evil.example.org" not in {seen.host for seen in origin.seen()}


# --- attacks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [OPEN, policy("api.example.com", bypass=["api.example.com"])], ids=["inspected", "bypass"]
)
def test_the_tls_name_and_the_connect_target_must_agree(sandbox, origin, given):
    inside = sandbox(given)
    said = b""  # stays so where the handshake itself fails
    with suppress(ssl.SSLError, ConnectionError), inside.tunnel("api.example.com:443", "evil.example.org") as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nHost: evil.example.org\r\nConnection: close\r\n\r\n")
        said = _said(stream)
    assert not said or said.startswith(b"HTTP/1.1 403")
    assert origin.hits().requests == 0


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: evil.example.org\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: api.example.com\r\nHost: evil.example.org\r\n\r\n",
        b"GET https://evil.example.org/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
        b"GET http://evil.example.org/ HTTP/1.1\r\nHost: evil.example.org\r\n\r\n",
        b"CONNECT evil.example.org:443 HTTP/1.1\r\nHost: evil.example.org:443\r\n\r\n",
        b"PUT /u HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /upload HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        b"POST /upload HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST /upload HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: api.example.com\r\nX: 1\n\nGET /two HTTP/1.1\r\nHost: evil.example.org\r\n\r\n",
    ],
    ids=[
        "host",
        "two-hosts",
        "absolute",
        "absolute-http",
        "connect",
        "length-and-chunks",
        "lengths",
        "space",
        "vt",
        "lf",
    ],
)
@pytest.mark.parametrize("kept", [False, True], ids=["first", "second"])
def test_a_request_for_another_host_never_leaves_by_an_allowed_one(sandbox, origin, request_bytes, kept):
    inside = sandbox(OPEN)
    with inside.tunnel("api.example.com:443", "api.example.com") as stream:
        if kept:
            stream.sendall(b"GET /status/204 HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
            assert stream.recv(65536).startswith(b"HTTP/1.1 204")
        stream.sendall(request_bytes + b"GET /smuggled HTTP/1.1\r\nHost: evil.example.org\r\nConnection: close\r\n\r\n")
        said = _said(stream)
    assert b"hello from the origin" not in said
    assert not said or said.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), said
    reached = [(seen.target, seen.host) for seen in origin.seen() if seen.target != "/status/204"]
    assert not [seen for seen in reached if seen[0] in ("/smuggled", "/two") or "evil" in seen[1]]


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "[::1]", "[::ffff:127.0.0.1]", "[::]"),
        *("localhost", "localhost.", "host.docker.internal", "127.0.0.1."),
    ],
)
def test_the_hosts_own_services_are_out_of_reach_by_any_spelling(sandbox, traps, host):
    inside = sandbox(policy(mode="allow"))
    trap = traps.tcp("::1" if host in ("[::1]", "[::]") else "127.0.0.1")
    target = f"{host}:{trap.port}"
    plain = f"HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n"
    for request in (
        f"GET http://{target}/ {plain}",
        f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nGET / {plain}",
    ):
        with socket.create_connection(("127.0.0.1", inside.registered.port), 30) as sock:
            sock.sendall(request.encode())
            _said(sock)
    traps.assert_untouched()


def test_private_and_metadata_addresses_are_out_of_reach_by_any_name(sandbox, traps):
    trap = traps.tcp()
    resolve = {
        "meta.example.com": "169.254.169.254",
        "six.example.com": "fe80::1",
        "mine.example.com": f"127.0.0.1:{trap.port}",
        "both.example.com": ["203.0.113.1", "10.0.0.1"],
    }
    inside = sandbox(policy("*.example.com"), resolve=resolve)
    for name in resolve:
        for scheme in ("http", "https"):
            assert inside.curl("-o", "/dev/null", "-w", "%{http_code}", f"{scheme}://{name}/") == b"403", name
    traps.assert_untouched()


def test_a_name_that_changes_its_address_is_checked_each_time(sandbox, origin):
    resolve = {"moves.example.com:80": origin.address("http")}
    inside = sandbox(policy("moves.example.com", block=["169.254.0.0/16"]), resolve=resolve)
    assert inside.curl("http://moves.example.com/") == b"hello from the origin\n"
    origin.publish(inside.running.layout.config, {"moves.example.com:80": "169.254.169.254"})
    assert inside.curl("-o", "/dev/null", "-w", "%{http_code}", "http://moves.example.com/") == b"403"
    assert origin.hits("http") == Hits(1, 1)


# --- life --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [OPEN, policy("api.example.com", bypass=["api.example.com"])], ids=["inspected", "bypass"]
)
def test_a_tightened_policy_cuts_a_running_download(sandbox, origin, given):
    inside = sandbox(given)
    if given is not OPEN:
        inside.registered.trusted.write_text(origin.authority.certificate)
    with inside.tunnel("api.example.com:443", "api.example.com") as stream:
        stream.sendall(b"GET /bytes/1000000000 HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
        assert stream.recv(100)
        inside.registered.set_policy(policy())
        assert len(_said(stream)) < 100_000_000
    assert inside.curl("-o", "/dev/null", "-w", "%{http_code}", "http://api.example.com/") == b"403"


def test_sandboxes_have_their_own_policies_and_authorities(sandbox):
    one, two = sandbox(OPEN), sandbox(policy("cdn.example.com"), name="two")
    assert one.curl("https://api.example.com/") == b"hello from the origin\n"
    assert b"sandbox 'two'" in two.curl("https://api.example.com/")
    two.curl("--cacert", str(one.registered.trusted), "https://cdn.example.com/", code=60)


def test_nothing_passes_once_the_gateway_is_killed(sandbox, origin):
    inside = sandbox(OPEN)
    inside.curl("https://api.example.com/")
    inside.running.kill()
    before = origin.hits()
    inside.curl("https://api.example.com/", code=7)
    assert origin.hits() == before
    inside.running.start()
    again = inside.running.register("again", OPEN)
    assert (
        Inside(inside.running, again, origin, inside.home).curl("https://api.example.com/")
        == b"hello from the origin\n"
    )


def test_the_log_tells_what_passed_and_what_did_not(sandbox):
    inside = sandbox(OPEN)
    inside.curl("https://api.example.com/bytes/1000?secret=1")
    inside.curl("https://evil.example.org/x")
    deadline = time.monotonic() + 10
    while len(records := inside.registered.records()) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    text = inside.registered.log.read_text()
    assert "secret" not in text
    allowed = next(record for record in records if record["verdict"] == "allowed")
    blocked = next(record for record in records if record["verdict"] == "blocked")
    assert (allowed["host"], allowed["method"], allowed["path"], allowed["status"]) == (
        "api.example.com",
        "GET",
        "/bytes/1000",
        200,
    )
    assert allowed["received"] >= 1000
    assert blocked["host"] == "evil.example.org"
    assert blocked["layer"] == "policy web"


def test_the_hosts_own_proxy_is_used_and_resolves_what_the_host_cannot(sandbox, origin):
    proxies = (("https_proxy", f"http://user:pass@{origin.address('proxy')}"),)
    inside = sandbox(OPEN, proxies=proxies)
    assert inside.curl("https://api.example.com/") == b"hello from the origin\n"
    assert [seen.target for seen in origin.seen() if seen.server == "proxy"] == ["api.example.com:443"]
    assert b"Blocked" in inside.curl("https://evil.example.org/")
    assert origin.hits("proxy").requests == 1


# --- clients -----------------------------------------------------------------------------------------------------


def test_git_clones_and_pushes_through_it(sandbox, origin):
    inside = sandbox(policy("git.example.com"))
    inside.run("git", "clone", "https://git.example.com/git/sample.git", "copy")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    inside.run("git", "-C", "copy", *who, "commit", "--allow-empty", "-m", "more")
    before = origin.repository.head
    inside.run("git", "-C", "copy", "push", "origin", "HEAD")
    assert origin.repository.head != before


def test_pip_installs_through_it(sandbox):
    inside = sandbox(policy("pip.example.com"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--target",
        "site",
    ]
    inside.run(*command, "--index-url", "https://pip.example.com/simple/", packages.NAME)
    assert packages.SAYS in (inside.home / "site/origin_sample/__init__.py").read_text()


@pytest.mark.skipif(not shutil.which("npm"), reason="needs npm")
def test_npm_installs_through_it(sandbox):
    inside = sandbox(policy("npm.example.com"))
    inside.run("npm", "install", "--no-audit", "--no-fund", "--registry=https://npm.example.com/npm/", packages.NAME)
    said = inside.run("node", "-e", f"process.stdout.write(require('{packages.NAME}'))")
    assert said.decode() == packages.SAYS


def test_python_and_wget_read_through_it(sandbox):
    inside = sandbox(OPEN)
    program = "import urllib.request as u; print(u.urlopen('https://api.example.com/').read().decode(), end='')"
    assert inside.run(sys.executable, "-c", program) == b"hello from the origin\n"
    if shutil.which("wget"):
        trusted = f"--ca-certificate={inside.registered.trusted}"
        assert inside.run("wget", "-qO-", trusted, "https://api.example.com/") == b"hello from the origin\n"
