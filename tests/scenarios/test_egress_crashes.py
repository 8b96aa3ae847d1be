"""The gateway killed, broken or restarted: sandboxes live on, egress is closed, and comes back as it was."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import is_locked

pytestmark = pytest.mark.vm

FILE = """\
sandboxes:
  box:
    policy: {mode: allow, block: [evil.example.org, "*.evil.example.org"]}
"""
NARROW = """\
sandboxes:
  box:
    policy: {allow: [api.example.com, raise.example.com]}
"""
TRAFFIC = """
while :; do
  curl -sS -m 5 -o /dev/null -w 'api %{http_code}\\n' https://api.example.com/ 2>/dev/null || echo 'api failed'
  curl -sS -m 5 -o /dev/null -w 'evil %{http_code}\\n' https://evil.example.org/ 2>/dev/null || echo 'evil failed'
done
"""


@pytest.fixture(scope="module")
def narrow(module_sbx, module_origin):
    """One machine for all tests that leave it as it was."""
    module_sbx.write(NARROW)
    module_sbx("up", "--yes")
    yield module_sbx
    module_sbx("down", "--yes")


def get(sbx, url):
    return sbx("exec", "box", "curl", "-sS", "-m", "30", url, any_code=True)


@pytest.fixture
def traffic(sbx):
    """Requests inside without an end; gives the lines that they say, as they come."""
    lines, came = [], threading.Condition()

    def read(stream):
        for line in stream:
            with came:
                lines.append(line.strip())
                came.notify_all()

    def start():
        client = sbx.popen("exec", "box", "sh", "-c", TRAFFIC)
        threading.Thread(target=read, args=(client.stdout,), daemon=True).start()

    def more(line, timeout=90):
        """Wait until it is said once more than so far."""
        with came:
            wanted = lines.count(line) + 1
            assert came.wait_for(lambda: lines.count(line) >= wanted, timeout), lines[-20:]

    start.more, start.lines = more, lines
    return start


def test_a_killed_gateway_comes_back_with_the_same_policy(sbx, origin, traffic):
    origin.publish(sbx.home / ".config/sandboxfile", {"api.example.com:443": origin.address("https")})
    sbx.write(FILE.replace("block:", "allow: [api.example.com], block:"))
    sbx("up", "--yes")
    boot = sbx("exec", "box", "cat", "/proc/sys/kernel/random/boot_id").stdout
    traffic()
    for _ in range(3):
        traffic.more("api 200")
        (gateway,) = sbx.processes("gateway")
        os.kill(gateway, signal.SIGKILL)
        sbx.wait_for(lambda old=gateway: sbx.processes("gateway") not in ([], [old]))
        traffic.more("api 200")
    assert not [line for line in traffic.lines if line.startswith("evil 2")]
    assert not [seen for seen in origin.seen() if "evil" in seen.host]
    assert sbx("exec", "box", "cat", "/proc/sys/kernel/random/boot_id").stdout == boot
    sbx.wait_for(lambda: sbx("plan", "--detailed-exitcode", any_code=True).code == 0, 30)
    sbx("down", "--yes")


def test_without_a_gateway_nothing_gets_out(narrow, module_origin):
    """Stopped rather than killed: it is there and does nothing, so nothing is served in its place."""
    sbx, origin = narrow, module_origin
    assert get(sbx, "https://api.example.com/").stdout == "hello from the origin\n"
    before = origin.hits()
    (gateway,) = sbx.processes("gateway")
    os.kill(gateway, signal.SIGSTOP)
    try:
        assert sbx("exec", "box", "curl", "-sS", "-m", "4", "https://api.example.com/", any_code=True).code != 0
        assert origin.hits() == before
        assert sbx("exec", "box", "echo", "alive").stdout == "alive\n"
    finally:
        os.kill(gateway, signal.SIGCONT)
    assert get(sbx, "https://api.example.com/").stdout == "hello from the origin\n"


def test_a_policy_survives_restarts_of_everything(narrow, module_origin):
    sbx = narrow
    sbx("network", "proxy", "box", "--allow-host", "cdn.example.com", "--block-host", "api.example.com")
    for restart in ("sandbox", "supervisor", "gateway"):
        if restart == "sandbox":
            sbx("restart", "box")
        elif restart == "supervisor":
            os.kill(sbx.processes("supervisor")[0], signal.SIGKILL)
            sbx.wait_for(lambda: not sbx.processes("qemu"))
            sbx("start", "box")
        else:
            os.kill(sbx.processes("gateway")[0], signal.SIGKILL)
        assert get(sbx, "https://cdn.example.com/").stdout == "hello from the origin\n"
        assert "sbx policy explain box https://api.example.com/" in get(sbx, "https://api.example.com/").stdout
    sbx("up", "--yes")
    assert get(sbx, "https://api.example.com/").stdout == "hello from the origin\n"


def test_the_hosts_own_proxy_is_the_way_out(sbx, origin):
    """But for what NO_PROXY names; and what is denied never gets to it."""
    sbx.variables = {"HTTPS_PROXY": f"http://{origin.address('proxy')}", "NO_PROXY": "cdn.example.com"}
    sbx.write(NARROW.replace("raise.example.com", "cdn.example.com"))
    sbx("up", "--yes")
    for host in ("api.example.com", "cdn.example.com", "evil.example.org"):
        get(sbx, f"https://{host}/")
    assert [seen.target for seen in origin.seen() if seen.server == "proxy"] == ["api.example.com:443"]
    assert {seen.host for seen in origin.seen() if seen.server == "https"} == {"api.example.com", "cdn.example.com"}
    sbx("down", "--yes")


BROKEN = """
import sys
from sandboxfile.policy import compiled
decide = compiled.Compiled.decide
def raising(self, request, *rest, **more):
    if "raise" in request.host:
        raise RuntimeError("a bug in the policy")
    return decide(self, request, *rest, **more)
compiled.Compiled.decide = raising
from sandboxfile.gateway import runner
runner._FIRST = 120.0  # it is there before anybody is started who could come
from sandboxfile.gateway.__main__ import main
sys.exit(main([]))
"""


def test_a_policy_that_raises_denies(sbx, origin):
    """The name is allowed; the code that decides about it breaks, in the real gateway."""
    origin.publish(sbx.home / ".config/sandboxfile", {"raise.example.com": origin.address("https")})
    sbx.write(NARROW)
    sbx("up", "--yes")
    sbx("stop", "box")
    sbx.wait_for(lambda: not sbx.processes("gateway"))
    broken = subprocess.Popen([sys.executable, "-c", BROKEN], env=sbx.environment, stderr=subprocess.DEVNULL)
    try:
        sbx.wait_for(lambda: is_locked(Layout(sbx.state, sbx.cache, sbx.root / "run").gateway_lock))
        sbx("start", "box")
        assert broken.poll() is None
        assert get(sbx, "https://api.example.com/").stdout == "hello from the origin\n"
        before = origin.hits()
        for url in ("https://raise.example.com/", "http://raise.example.com/", "https://raise.example.com:8443/"):
            assert "hello" not in get(sbx, url).stdout
        assert origin.hits() == before
        sbx("down", "--yes")
        broken.wait(20)
    finally:
        broken.kill()
        broken.wait()


def test_an_invalid_policy_changes_nothing(narrow, module_origin):
    sbx = narrow
    sbx.write(NARROW.replace("api.example.com", "http://api.example.com"))
    assert "sandbox.yaml:3" in sbx("up", "--yes", code=1).stderr
    assert "http" in sbx("network", "proxy", "box", "--allow-host", "http://x", any_code=True).stderr
    assert get(sbx, "https://api.example.com/").stdout == "hello from the origin\n"
    sbx.write(NARROW)
    assert sbx("plan", "--detailed-exitcode").code == 0
