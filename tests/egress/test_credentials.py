"""Secrets through the real gateway process: they reach the places they are bound to, and nothing else holds them."""

import base64
import hashlib
import json
import os
import socket
import ssl
import time
from contextlib import suppress

import pytest

from sandboxfile.control.egress import Refused, SetPolicy
from sandboxfile.model.credential import Credential, Injection, SecretSource

from .inside import Inside, policy

SECRET = "value-that-never-enters-4711"
PLACEHOLDER = "sk-placeholder-0123456789"
HOST = "api.example.com"
VERSIONS = pytest.mark.parametrize("version", ["--http1.1", "--http2"])


def credential(source=None, *injections, name="tracker"):
    injections = injections or (Injection(HOST, name="X-Api-Key", drops=("authorization",)), Injection(HOST))
    return Credential(name, source or SecretSource("env", "TRACKER"), injections, "TRACKER", PLACEHOLDER)


def held(*credentials, hosts=(HOST, "cdn.example.com"), **fields):
    return policy(*hosts, credentials=credentials or (credential(),), **fields)


@pytest.fixture
def web(sandbox):
    """A sandbox whose value was given."""
    inside = sandbox(held())
    inside.registered.provide(tracker=SECRET)
    return inside


def sent(origin):
    """All that arrived at any server, as one text, with Basic authorization decoded."""
    found = []
    for seen in origin.seen():
        found.append(seen.target)
        for name, value in seen.headers:
            if name == ":path":  # the target, once more
                continue
            found.append(f"{name}: {value}")
            if value.startswith("Basic "):
                found.append(base64.b64decode(value[6:]).decode())
    return "\n".join(found)


def logged(registered, count):
    """The network log once it holds so many records."""
    deadline = time.monotonic() + 20
    while len(registered.records()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return registered.records()


@VERSIONS
def test_a_bound_host_gets_it_and_nothing_of_ours_keeps_it(web, origin, version):
    code = ("-o", "/dev/null", "-w", "%{http_code}")
    for url in (f"https://{HOST}/status/200?key={PLACEHOLDER}", f"https://{HOST}/status/401"):
        said = web.curl(version, *code, "-u", f"user:{PLACEHOLDER}", "-H", "x-API-key: mine", url)
        assert said == url.rpartition("/")[2][:3].encode()
    assert [dict(seen.headers)["x-api-key"] for seen in origin.seen()] == [SECRET, SECRET]
    assert [seen.target for seen in origin.seen()] == [f"/status/200?key={SECRET}", "/status/401"]
    assert "authorization" not in sent(origin)
    records = logged(web.registered, 2)
    assert [(each["injected"], each["status"]) for each in records] == [(["tracker"], 200), (["tracker"], 401)]
    process = web.running.process
    kept = [web.registered.log.read_bytes(), web.running.said().encode()]
    kept += [(process / name).read_bytes() for name in ("cmdline", "environ")]
    kept += [path.read_bytes() for path in web.running.layout.state.rglob("*") if path.is_file()]
    for text in kept:
        assert SECRET.encode() not in text
        assert base64.b64encode(SECRET.encode())[:-4] not in text


@VERSIONS
@pytest.mark.parametrize("url", ["https://cdn.example.com/", f"http://{HOST}/", "http://cdn.example.com/"])
def test_no_other_place_gets_it(web, origin, version, url):
    for _ in range(2):
        web.curl(version, f"https://{HOST}/")
    origin.ledger.forget()
    web.curl(version, "-H", f"X-Api-Key: {PLACEHOLDER}", "-u", f"u:{PLACEHOLDER}", f"{url}?key={PLACEHOLDER}")
    assert origin.hits().requests == 1
    assert SECRET not in sent(origin)
    assert sent(origin).count(PLACEHOLDER) == 3


@VERSIONS
def test_where_a_redirect_leads_does_not_get_it(web, origin, version):
    for target in ("https://cdn.example.com/", f"http://{HOST}/"):
        origin.ledger.forget()
        arguments = ("-L", "--location-trusted", "-u", f"u:{PLACEHOLDER}", "-H", f"X-Api-Key: {PLACEHOLDER}")
        said = web.curl(version, *arguments, f"https://{HOST}/redirect?to={target}")
        assert said == b"hello from the origin\n"
        first, second = origin.seen()
        assert dict(first.headers)["x-api-key"] == SECRET
        assert dict(second.headers)["x-api-key"] == PLACEHOLDER
        assert SECRET not in str(second.headers)


def test_another_sandbox_neither_has_it_nor_gets_it(web, origin):
    others = [
        web.running.register("bare", policy(HOST)),
        web.running.register("same", held()),  # the same credential, but nobody gave it the value
    ]
    for registered, status in zip(others, (b"200", b"403"), strict=True):
        other = Inside(web.running, registered, origin, web.home)
        code = ("-o", "/dev/null", "-w", "%{http_code}", "-H", f"X-Api-Key: {PLACEHOLDER}")
        assert other.curl(*code, f"https://{HOST}/") == status
    assert SECRET not in sent(origin)
    assert "injected" not in logged(others[0], 1)[0]
    web.curl(f"https://{HOST}/")
    assert SECRET in sent(origin)


def test_a_bypassed_host_does_not_get_it(sandbox, origin):
    inside = sandbox(held(bypass=[HOST]))
    inside.registered.provide(tracker=SECRET)
    inside.registered.trusted.write_text(origin.authority.certificate)
    assert inside.curl("-H", f"X-Api-Key: {PLACEHOLDER}", f"https://{HOST}/") == b"hello from the origin\n"
    with socket.create_connection(("127.0.0.1", inside.registered.port), 30) as sock:
        head = f"GET https://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
        sock.sendall(head.encode())
        while sock.recv(65536):
            pass
    assert origin.hits().requests == 2
    assert SECRET not in sent(origin)


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\nHost: cdn.example.com\r\n",
        f"GET / HTTP/1.1\r\nHost: {HOST}\r\nHost: cdn.example.com\r\n",
        f"GET https://cdn.example.com/ HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET / HTTP/1.1\r\nHost: {HOST}:444\r\n",
    ],
)
@pytest.mark.parametrize("name", [HOST, "cdn.example.com"])
@pytest.mark.parametrize("target", [f"{HOST}:443", "cdn.example.com:443"])
def test_requests_that_name_two_hosts_do_not_get_it(web, origin, target, name, head):
    said = b""
    with suppress(ssl.SSLError, ConnectionError), web.tunnel(target, name) as stream:
        stream.sendall(f"{head}Connection: close\r\n\r\n".encode())
        while got := stream.recv(65536):
            said += got
    assert SECRET.encode() not in said
    for seen in origin.seen():  # all names agreed, on a host that it is not bound to
        assert (seen.host, seen.sni) == ("cdn.example.com", "cdn.example.com")
        assert SECRET not in str(seen.headers)


def test_with_minimal_inspection_it_arrives_and_others_are_left_alone(sandbox, origin):
    inside = sandbox(held(inspect="minimal"))
    inside.registered.provide(tracker=SECRET)
    inside.curl(f"https://{HOST}/")
    assert SECRET in sent(origin)
    inside.registered.trusted.write_text(origin.authority.certificate)  # the origin's own certificate
    assert inside.curl("https://cdn.example.com/") == b"hello from the origin\n"


def test_a_connection_that_was_passed_on_ends_when_its_host_becomes_bound(sandbox, origin):
    inside = sandbox(policy(HOST, inspect="minimal"))
    inside.registered.trusted.write_text(origin.authority.certificate)
    with inside.tunnel(f"{HOST}:443", HOST) as stream:
        stream.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert stream.recv(100)
        inside.registered.set_policy(held(inspect="minimal"))
        with suppress(ConnectionError, ssl.SSLError):
            while stream.recv(65536):
                pass
    assert origin.hits().requests == 1


def test_credentials_come_and_go_with_the_policy_on_one_connection(sandbox, origin):
    inside = sandbox(policy(HOST))
    registered = inside.registered

    def change(given, **values):
        registered.set_policy(given)
        registered.provide(**values)

    with inside.tunnel(f"{HOST}:443", HOST) as stream, stream.makefile("rb") as answers:
        for step in (
            lambda: None,
            lambda: change(held(), tracker=SECRET),
            lambda: change(policy(HOST)),
            lambda: registered.set_policy(held()),  # its value was forgotten with it
            lambda: registered.set_policy(held(credential(SecretSource("env", "OTHER")))),
        ):
            step()
            stream.sendall(f"GET /status/204 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            assert _head(answers).startswith((b"HTTP/1.1 204", b"HTTP/1.1 403"))
    assert [dict(seen.headers).get("x-api-key") for seen in origin.seen()] == [None, SECRET, None]


def _head(answers):
    lines = []
    while (line := answers.readline()) not in (b"\r\n", b""):
        lines.append(line)
    head = b"".join(lines)
    length = [line.split(b":")[1] for line in lines if line.lower().startswith(b"content-length")]
    answers.read(int(length[0]) if length else 0)
    return head


def test_the_value_is_given_again_to_a_gateway_that_was_killed(web, origin):
    web.curl(f"https://{HOST}/")
    web.running.kill()
    web.running.start()
    registered = web.running.register("web", held())
    again = Inside(web.running, registered, origin, web.home)
    said = again.curl(f"https://{HOST}/")
    assert b"the secret 'tracker' has no value on the host" in said
    assert "has no value: the variable TRACKER was not set where sbx ran last" in web.running.said()
    registered.provide(tracker="another-value-4712")
    again.curl(f"https://{HOST}/")
    assert [dict(seen.headers)["x-api-key"] for seen in origin.seen()] == [SECRET, "another-value-4712"]


def test_a_file_is_followed_without_a_restart(sandbox, origin, tmp_path):
    file = tmp_path / "key"
    inside = sandbox(held(credential(SecretSource("file", str(file)))))

    def until(arrives):
        deadline = time.monotonic() + 20
        while not arrives(said := inside.curl(f"https://{HOST}/headers")):
            assert time.monotonic() < deadline, said

    def sends(value):
        return lambda said: value in said

    until(sends(b"has no value on the host"))
    assert "has no value: there is no file" in inside.running.said()
    for value in ("first-value", "second-value"):
        file.write_text(f"{value}\n")
        until(sends(value.encode()))
    (tmp_path / "next").write_text("third-value")
    (tmp_path / "next").rename(file)
    until(sends(b"third-value"))
    file.write_text("first\nline")
    until(sends(b"has no value on the host"))
    assert "has no value: the file" in inside.running.said()
    assert "first-value" not in str(origin.seen()[-1].headers)


def test_a_command_is_run_once_and_its_failure_told_without_its_words(sandbox, origin, tmp_path):
    count = tmp_path / "count"
    script = f"echo run >> {count}; echo {SECRET}"
    inside = sandbox(held(credential(SecretSource("command", command=("sh", "-c", script)))))
    inside.curl(*[f"https://{HOST}/status/200"] * 3)
    assert count.read_text() == "run\n"
    assert [dict(seen.headers)["x-api-key"] for seen in origin.seen()] == [SECRET] * 3
    failing = SecretSource("command", command=("sh", str(tmp_path / "fails")))
    (tmp_path / "fails").write_text(f"echo {SECRET}; echo {SECRET} >&2; exit 3")
    inside.registered.set_policy(held(credential(failing)))
    said = inside.curl(f"https://{HOST}/").decode()
    assert "has no value on the host" in said
    assert "ended with exit code 3" in inside.running.said()
    assert SECRET not in said + inside.running.said() + inside.registered.log.read_text()


def test_a_slow_command_holds_up_neither_others_nor_another_sandbox(sandbox, origin, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    slow = credential(SecretSource("command", command=("cat", str(fifo))))
    inside = sandbox(held(slow))
    other = Inside(inside.running, inside.running.register("other", policy(HOST)), origin, inside.home)
    with inside.tunnel(f"{HOST}:443", HOST) as stream:
        stream.sendall(f"GET /status/204 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert other.curl(f"https://{HOST}/") == b"hello from the origin\n"
        assert inside.curl("https://cdn.example.com/") == b"hello from the origin\n"
        fifo.write_text(SECRET)
        assert stream.recv(100).startswith(b"HTTP/1.1 204")
    assert sent(origin).count(SECRET) == 1


def test_events_are_passed_on_as_they_come(web, origin):
    said = web.curl("-N", "-w", "%{time_starttransfer} %{time_total}", f"https://{HOST}/events/4/0.3").decode()
    *events, times = said.split("\n\n")
    first, total = map(float, times.split())
    assert len(events) == 4
    assert total - first > 0.6
    assert SECRET in sent(origin)


def test_a_large_body_passes_whole_and_untouched(web, origin, tmp_path):
    body = (PLACEHOLDER.encode() + b"\n") * 200_000
    (tmp_path / "body").write_bytes(body)
    told = json.loads(web.curl("-T", str(tmp_path / "body"), f"https://{HOST}/upload"))
    assert told == {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def test_it_goes_through_the_hosts_own_proxy_within_tls(sandbox, origin):
    inside = sandbox(held(), proxies=(("https_proxy", f"http://{origin.address('proxy')}"),))
    inside.registered.provide(tracker=SECRET)
    inside.curl(f"https://{HOST}/")
    by_proxy = [seen for seen in origin.seen() if seen.server == "proxy"]
    assert [seen.target for seen in by_proxy] == [f"{HOST}:443"]
    assert SECRET not in str(by_proxy)
    assert SECRET in sent(origin)


def test_git_speaks_with_a_token_that_it_does_not_have(sandbox, origin):
    injection = Injection(
        "git.example.com",
        name="Authorization",
        value="x-access-token:{secret}",
        basic=True,
        paths=("/**/info/refs", "/**/git-upload-pack", "/**/git-receive-pack"),
    )
    inside = sandbox(held(credential(None, injection), hosts=("git.example.com",)))
    inside.registered.provide(tracker=SECRET)
    inside.run("git", "clone", "-q", "https://git.example.com/git/sample.git", "copy")
    inside.curl("https://git.example.com/headers")
    *by_git, other = origin.seen()
    code = base64.b64encode(f"x-access-token:{SECRET}".encode()).decode()
    assert len(by_git) >= 2
    assert {dict(seen.headers)["authorization"] for seen in by_git} == {f"Basic {code}"}
    assert "authorization" not in dict(other.headers)
    for path in inside.home.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


def test_the_gateway_leaves_no_core(web):
    limits = (web.running.process / "limits").read_text()
    assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core")] in (
        [["1", "1"]],
        [["0", "0"]],
    )


def test_a_policy_with_a_binding_that_cannot_be_gone_by_is_refused(web, origin):
    bad = held(credential(None, Injection("*.example.com", name="X-Api-Key")))
    assert isinstance(web.registered.ask(SetPolicy(bad)), Refused)
    web.curl(f"https://{HOST}/")
    assert SECRET in sent(origin)
