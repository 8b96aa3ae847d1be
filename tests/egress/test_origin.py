"""What scenarios rely on: origin servers that speak each protocol, count what reaches them, and damage nothing."""

import hashlib
import json
import shutil
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Message, Request, TextMessage

from . import packages
from .ledger import UNTOUCHED, Hits
from .origin import GREETING
from .pattern import pattern, pattern_digest
from .repository import _CLEAN

MEGABYTES = 20 << 20


@pytest.fixture
def curl(origin, tmp_path):
    """curl that resolves like a gateway with the override, and trusts the authority."""
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(origin.authority.certificate)
    leads = [
        word
        for target, address in origin.overrides().items()
        for word in ("--connect-to", f"{target}:{address}")
        if ":" in target
    ]

    def run(*arguments, code=0):
        base = ["curl", "-sS", "--max-time", "30", "--noproxy", "*", "--cacert", str(trusted), *leads]
        done = subprocess.run([*base, *arguments], capture_output=True)
        assert done.returncode == code, done
        return done.stdout

    return run


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_https_speaks_the_version_that_was_agreed_on(origin, curl, version):
    got = json.loads(curl(f"--http{version}", "-H", "X-Mine: 1", "https://api.example.com/headers?q=1"))
    assert got["version"] == ("HTTP/2" if version == "2" else "HTTP/1.1")
    assert (got["sni"], got["target"], got["server"]) == ("api.example.com", "/headers?q=1", "https")
    assert ["x-mine", "1"] in got["headers"]
    assert origin.hits("https") == Hits(1, 1)
    assert origin.hits("http") == UNTOUCHED
    assert [seen.host for seen in origin.seen()] == ["api.example.com"]


def test_a_server_without_alpn_is_plain_http1(curl):
    assert json.loads(curl("--http2", "https://http1.example.com/headers"))["version"] == "HTTP/1.1"


def test_connections_are_kept_and_counted(origin, curl):
    curl("http://api.example.com/", "http://api.example.com/status/204", "http://api.example.com/status/404")
    assert origin.hits("http") == Hits(1, 3)
    curl("http://api.example.com/")
    assert origin.hits() == Hits(2, 4)
    origin.ledger.forget()
    assert origin.hits() == UNTOUCHED


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("path", ["bytes", "chunked"])
def test_downloads_are_whole(curl, version, path):
    got = curl(version, f"https://api.example.com/{path}/{MEGABYTES}")
    assert len(got) == MEGABYTES
    assert hashlib.sha256(got).hexdigest() == pattern_digest(MEGABYTES)


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("framing", [[], ["-H", "Transfer-Encoding: chunked"]], ids=["length", "chunked"])
def test_uploads_are_told_back_by_length_and_digest(curl, version, framing, tmp_path):
    if framing and version == "--http2":
        framing = []  # HTTP/2 has no such thing
    file = tmp_path / "data"
    file.write_bytes(b"".join(pattern(MEGABYTES)))
    got = json.loads(curl(version, *framing, "-T", str(file), "https://api.example.com/upload"))
    assert got == {"length": MEGABYTES, "sha256": pattern_digest(MEGABYTES)}


def test_a_body_that_nobody_wants_does_not_spoil_the_next_request(curl, tmp_path):
    file = tmp_path / "data"
    file.write_bytes(b"GET /bad HTTP/1.1\r\n\r\n" * 1000)
    for version in ("--http1.1", "--http2"):
        url = "https://api.example.com/status/200"
        assert curl(version, "-T", str(file), url, "-T", str(file), url).split() == [b"200", b"200"]


def test_events_come_one_by_one(curl):
    got = curl("-w", "%{time_starttransfer} %{time_total}", "https://api.example.com/events/3/0.2").decode()
    *events, times = got.split("\n\n")
    first, total = map(float, times.split())
    assert [event.split("\n")[1] for event in events] == ["data: event 0", "data: event 1", "data: event 2"]
    assert total - first >= 0.3


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_answers_that_have_no_body_have_none(curl, version):
    for options in (["https://api.example.com/status/204"], ["-I", "https://api.example.com/bytes/1000"]):
        twice = ["-w", "[%{http_code}]", version, "-o", "/dev/null", "-o", "/dev/null", *options, options[-1]]
        assert curl(*twice) in (b"[204][204]", b"[200][200]")


def test_redirects_lead_to_where_they_should(origin, curl):
    assert curl("-L", "http://api.example.com/redirect/3") == b"hello from the origin\n"
    assert [seen.target for seen in origin.seen()] == ["/redirect/3", "/redirect/2", "/redirect/1", "/"]
    told = curl("-D-", "http://api.example.com/redirect?to=http://evil.example.org/x").decode()
    assert "Location: http://evil.example.org/x\r\n" in told


def test_certificates_are_what_their_servers_are_called(origin, curl):
    curl("https://pinned.example.com/", code=60)
    assert curl("-k", "--pinnedpubkey", origin.pinned.public_key_pin, "https://pinned.example.com/")
    curl("-k", "--pinnedpubkey", origin.pinned.public_key_pin, "https://api.example.com/", code=90)
    port = origin.ports["pinned"]
    served = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))
    assert hashlib.sha256(served).hexdigest() == origin.pinned.fingerprint
    curl("https://untrusted.example.com/", code=60)
    curl("https://misnamed.example.com/", code=60)
    assert not [seen for seen in origin.seen() if seen.server in ("untrusted", "misnamed")]


def test_the_line_server_speaks_first_and_says_everything_back(origin):
    with socket.create_connection(("127.0.0.1", origin.ports["lines"]), 10) as client, client.makefile("rwb") as stream:
        assert stream.readline() == GREETING
        for line in (b"one\n", b"two\n"):
            stream.write(line)
            stream.flush()
            assert stream.readline() == line
        stream.write(b"quit\n")
        stream.flush()
        assert stream.read() == b""
    assert origin.hits("lines") == Hits(1, 2)


def test_a_companys_proxy_leads_to_the_names_it_knows(origin, tmp_path):
    way = ["--noproxy", "", "-p", "-x", f"http://user:pass@{origin.address('proxy')}"]
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(origin.authority.certificate)
    plain = ["curl", "-sS", "--cacert", str(trusted), *way]
    done = subprocess.run([*plain, "https://cdn.example.com/headers"], capture_output=True)
    assert json.loads(done.stdout)["sni"] == "cdn.example.com"
    assert subprocess.run([*plain, "https://unknown.example.net/"], capture_output=True).returncode == 56
    asked = [seen for seen in origin.seen() if seen.server == "proxy"]
    assert [seen.target for seen in asked] == ["cdn.example.com:443", "unknown.example.net:443"]
    assert ("proxy-authorization", "Basic dXNlcjpwYXNz") in asked[0].headers


@pytest.mark.parametrize("server", ["http", "https"])
def test_a_websocket_says_everything_back(origin, server):
    with _connect(origin, server) as client:
        ours = WSConnection(ConnectionType.CLIENT)
        client.sendall(ours.send(Request(host="api.example.com", target="/ws")))
        assert isinstance(_next(client, ours), AcceptConnection)
        said: list[Message] = [TextMessage("hello"), BytesMessage(bytes(range(256)))]
        for message in said:
            client.sendall(ours.send(message))
            echoed = _next(client, ours)
            assert type(echoed) is type(message)
            assert echoed.data == message.data
        client.sendall(ours.send(CloseConnection(1000)))
        assert isinstance(_next(client, ours), CloseConnection)


def _connect(origin, server):
    plain = socket.create_connection(("127.0.0.1", origin.ports[server]), 10)
    if server == "http":
        return plain
    context = ssl.create_default_context(cadata=origin.authority.certificate)
    return context.wrap_socket(plain, server_hostname="api.example.com")


def _next(client, ours):
    while True:
        for event in ours.events():
            return event
        ours.receive_data(client.recv(65536))


@pytest.mark.parametrize(
    "smuggled",
    [
        b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_a_request_whose_end_is_unclear_is_refused_and_the_connection_closed(origin, smuggled):
    with _connect(origin, "http") as client:
        client.sendall(smuggled + b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as stream:
            assert stream.readline() == b"HTTP/1.1 400 Origin\r\n"
    assert "/second" not in [seen.target for seen in origin.seen()]


def test_git_clones_and_pushes(origin, tmp_path):
    url = f"http://{origin.address('http')}/git/sample.git"
    environment = _CLEAN | {"no_proxy": "*", "HOME": str(tmp_path)}

    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        subprocess.run(["git", *who, *arguments], env=environment, cwd=tmp_path, check=True, capture_output=True)

    git("clone", url, "copy")
    assert (tmp_path / "copy/README.md").read_text() == "# A sample\n"
    before = origin.repository.head
    git("-C", "copy", "commit", "--allow-empty", "-m", "more")
    git("-C", "copy", "push", "origin", "HEAD")
    assert origin.repository.head != before
    methods = {(seen.method, seen.target.rsplit("/", 1)[-1]) for seen in origin.seen()}
    assert ("POST", "git-receive-pack") in methods


def test_pip_installs_the_sample(origin, tmp_path):
    index = f"http://{origin.address('http')}/simple/"
    command = [sys.executable, "-m", "pip", "install", "--isolated", "--no-cache-dir", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--index-url", index, "--target", str(tmp_path / "site"), packages.NAME],
        capture_output=True,
        text=True,
        env=_CLEAN | {"no_proxy": "*", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert packages.SAYS in (tmp_path / "site/origin_sample/__init__.py").read_text()


@pytest.mark.skipif(not shutil.which("npm"), reason="needs npm")
def test_npm_installs_the_sample(origin, tmp_path):
    registry = f"http://{origin.address('http')}/npm/"
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", f"--registry={registry}", packages.NAME],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=_CLEAN | {"HOME": str(tmp_path), "npm_config_globalconfig": "/dev/null"},
    )
    assert done.returncode == 0, done.stderr
    program = f"process.stdout.write(require('{packages.NAME}'))"
    assert subprocess.run(["node", "-e", program], cwd=tmp_path, capture_output=True).stdout.decode() == packages.SAYS


@pytest.mark.skipif(not shutil.which("apt-get"), reason="needs apt")
def test_apt_downloads_the_sample(origin, tmp_path):
    for directory in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "state/status").touch()
    source = f"deb [trusted=yes] http://{origin.address('http')}/debian stable main\n"
    (tmp_path / "etc/sources.list").write_text(source)
    options = {
        "Dir::Etc": f"{tmp_path}/etc/",
        "Dir::State": f"{tmp_path}/state/",
        "Dir::State::status": f"{tmp_path}/state/status",
        "Dir::Cache": f"{tmp_path}/cache/",
        "Dir::Log": str(tmp_path),
        "Acquire::http::Proxy": "DIRECT",
        "APT::Sandbox::User": "",
    }
    chosen = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    for command in (["update"], ["download", packages.NAME]):
        done = subprocess.run(["apt-get", *chosen, *command], cwd=tmp_path, capture_output=True, text=True, env=_CLEAN)
        assert done.returncode == 0, done.stderr
        assert "W:" not in done.stderr
    (made,) = tmp_path.glob("*.deb")
    assert made.read_bytes() == packages.deb() or packages.SAYS in _program(made)


def _program(deb):
    return subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], capture_output=True, check=True).stdout.decode()


def test_the_operators_override_names_every_server_and_is_for_its_owner_alone(origin, tmp_path):
    file = origin.publish(
        tmp_path / "config/sandboxfile", {"intra.example.com": "10.9.8.7", "api.example.com:80": "10.0.0.1:1"}
    )
    said = json.loads(file.read_text())
    assert said["resolve"]["api.example.com:443"] == origin.address("https")
    assert said["resolve"]["api.example.com:80"] == "10.0.0.1:1"
    assert said["resolve"]["intra.example.com"] == "10.9.8.7"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Path(said["authorities"]).read_text() == origin.authority.certificate
    origin.publish(file.parent)
    assert "intra.example.com" not in json.loads(file.read_text())["resolve"]
    assert sorted(path.name for path in file.parent.iterdir()) == ["origin-authority.pem", "resolver.json"]
