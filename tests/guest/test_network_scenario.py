"""A booted guest of the default template, with a tiny stand-in for the gateway: whom its programs trust and ask.

Nothing is told to the programs: what they do by themselves, as any user, is what counts.
"""

import asyncio
import os
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from sandboxfile.agents.builtin import BUILTIN_TEMPLATES, DEFAULT_TEMPLATE
from sandboxfile.applying.building import build_image
from sandboxfile.guest.channel import Guest
from sandboxfile.guest.config import PORTS, GuestConfig, encode
from sandboxfile.guest.keys import make_keys
from sandboxfile.guest.network import network_variables
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories
from sandboxfile.images.boot.platform import build_platform
from sandboxfile.model.template import DesiredTemplate, Origin, Recipe
from sandboxfile.resolve.templates import named
from sandboxfile.vm.accel import tsc_khz
from sandboxfile.vm.disks import create_overlay
from sandboxfile.vm.ids import id_map
from sandboxfile.vm.launch import BootFiles, RunningMachine, start_machine
from sandboxfile.vm.machine import MachineSpec

pytestmark = [pytest.mark.vm, pytest.mark.anyio]
SETTINGS = (("PIP_INDEX_URL", "https://pypi.example.com/simple"),)
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n"
DIRECT = "curl -sS --max-time 20 --noproxy '*' https://api.example.com/"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Authority:
    """A certificate authority, and a server's TLS context under it."""

    def __init__(self, name: str, directory: Path) -> None:
        key, self.subject = ec.generate_private_key(ec.SECP256R1()), _subject(name)
        certificate = _signed(self.subject, key, self.subject, key, x509.BasicConstraints(True, None))
        self.text = certificate.public_bytes(Encoding.PEM).decode()
        self.hash = subprocess.run(
            ["openssl", "x509", "-noout", "-subject_hash"], input=self.text, text=True, capture_output=True, check=True
        ).stdout.strip()
        leaf_key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName("api.example.com")])
        leaf = _signed(_subject("api.example.com"), leaf_key, self.subject, key, names)
        files = directory / f"{name}.pem", directory / f"{name}.key"
        files[0].write_bytes(leaf.public_bytes(Encoding.PEM))
        files[1].write_bytes(leaf_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*files)


def _subject(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _signed(subject, key, issuer, issuer_key, extension):
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=30))
    return builder.add_extension(extension, critical=True).sign(issuer_key, SHA256())


@dataclass
class Box:
    """A running guest, and what its programs asked the stand-in for."""

    machine: RunningMachine
    guest: Guest
    asked: list[str] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)

    async def run(self, script: str, user: str = "agent", timeout: float = 60.0) -> str:
        """A script with the variables that every process gets."""
        ended = await self.guest.run(
            ("/bin/sh", "-c", script), user=user, env=network_variables(SETTINGS), timeout=timeout
        )
        assert ended.code == 0, ended.output
        return ended.output.strip()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).splitlines()[0])
            writer.write(HELLO)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            self.requests.append(b"broken")
        finally:
            writer.close()

    def answer(self, names: socket.socket) -> None:
        """Any name is 198.18.0.1; there is nothing of IPv6."""
        query, ancillary, _, sender = names.recvmsg(2048, socket.CMSG_SPACE(12))
        end = 12 + query[12:].index(0) + 1
        (kind,) = struct.unpack_from(">H", query, end)
        self.asked.append(".".join(_labels(query[12:end])))
        count = int(kind == 1)
        reply = query[:2] + struct.pack(">HHHHH", 0x8180, 1, count, 0, 0) + query[12 : end + 4]
        if count:
            reply += struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + bytes([198, 18, 0, 1])
        meant = ancillary[0][2][8:12]
        info = struct.pack("=I4s4s", 0, meant, meant)
        names.sendmsg([reply], [(socket.IPPROTO_IP, socket.IP_PKTINFO, info)], 0, sender)


def _labels(name):
    while name[0]:
        yield name[1 : 1 + name[0]].decode()
        name = name[1 + name[0] :]


class Boots:
    """Boots one disk again and again."""

    def __init__(self, root: Path, layout: Layout) -> None:
        self.root, self.layout, self.ids = root, layout, id_map(layout, os.getuid(), os.getgid())
        self.authorities = [Authority(name, root) for name in ("first", "second")]

    async def prepare(self) -> None:
        template = BUILTIN_TEMPLATES[DEFAULT_TEMPLATE]
        recipe = named(Recipe(Origin("debian", "trixie", packages=tuple(sorted(template.packages.apt)))))
        self.platform = await build_platform(self.layout, lambda _: None)
        image = await build_image(self.layout, DesiredTemplate(DEFAULT_TEMPLATE, recipe), lambda _: None)
        self.base = image.disk
        self.disk = self.root / "disk.qcow2"
        await create_overlay(self.base, self.disk, 4 << 30)

    @asynccontextmanager
    async def __call__(self, authority: Authority) -> AsyncIterator[Box]:
        keys = make_keys()
        config = GuestConfig("web", keys.host_private, keys.client_public, authority.text, authority.hash, SETTINGS)
        platform, spec = self.platform, MachineSpec(2, 1 << 30, "tcg", await tsc_khz(), PORTS)
        files = BootFiles(platform.vmlinux, platform.initrd, platform.tools, self.base, self.disk)
        machine = await start_machine(spec, files, encode(config), run_as=self.ids.run_as, ports=())
        box, loop = Box(machine, Guest(machine.ports, keys)), asyncio.get_running_loop()
        sockets = machine.network.sockets
        async with AsyncExitStack() as stack:
            stack.push_async_callback(machine.close)
            console = bytearray()
            loop.add_reader(machine.console, lambda: console.extend(machine.console.recv(65536)))
            stack.callback(loop.remove_reader, machine.console)
            loop.add_reader(sockets["names", 53], box.answer, sockets["names", 53])
            stack.callback(loop.remove_reader, sockets["names", 53])
            for place, context in ((("proxy", 3128), None), (("transparent", 443), authority.context)):
                await stack.enter_async_context(
                    await asyncio.start_server(box.serve, sock=sockets[place].dup(), ssl=context)
                )
            with anyio.fail_after(120):
                await box.guest.connect("agent")
            stack.push_async_callback(box.guest.close)
            yield box


@pytest.fixture(scope="module")
async def boots(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path, anyio_backend: str) -> Boots:
    root = tmp_path_factory.mktemp("guest")
    layout = Layout(root / "state", shared_cache / "sandboxfile", root / "run")
    ensure_directories(layout)
    made = Boots(root, layout)
    await made.prepare()
    return made


@pytest.fixture(scope="module")
async def box(boots: Boots) -> AsyncIterator[Box]:
    async with boots(boots.authorities[0]) as running:
        yield running


async def test_names_are_asked_of_us_and_our_certificate_is_trusted_by_whoever_asks(box):
    everybody = {
        "agent": DIRECT,
        "a clean environment": f"env -i PATH=$PATH {DIRECT}",
        "root": f"sudo {DIRECT}",
        "a login shell": f"env -i HOME=$HOME bash -lc {DIRECT!r}",
        "openssl's directory": r"printf 'GET / HTTP/1.0\r\n\r\n' | openssl s_client -no-CAfile -CApath /etc/ssl/certs"
        " -verify_return_error -quiet -servername api.example.com -connect api.example.com:443 2>/dev/null",
    }
    for who, command in everybody.items():
        assert (await box.run(command)).endswith("hello"), who
    assert "api.example.com" in box.asked
    assert set(box.requests) == {b"GET / HTTP/1.1", b"GET / HTTP/1.0"}


async def test_programs_go_to_the_proxy_by_themselves_and_name_what_they_mean(box):
    box.requests.clear()
    for command in ("curl -sS http://db.example.com/x", "sudo curl -sS http://db.example.com/x"):
        assert await box.run(command) == "hello"
    assert box.requests == [b"GET http://db.example.com/x HTTP/1.1"] * 2
    printed = await box.run("apt-config dump | grep -i -E 'proxy|cainfo'")
    assert 'Acquire::https::Proxy "http://host.docker.internal:3128";' in printed
    assert 'Acquire::http::Proxy::localhost "DIRECT";' in printed


async def test_every_variable_is_there_for_sessions_sudo_and_login_shells(box):
    wanted = {f"{name}={value}" for name, value in network_variables(SETTINGS)}
    for command in ("env", "sudo env", "sudo -i env", "env -i HOME=$HOME bash -lc env"):
        assert wanted - set((await box.run(command)).splitlines()) == set(), command
    lines = (await box.run("cat /etc/environment")).splitlines()
    assert wanted - set(lines) == set()
    assert await box.run("env -i HOME=$HOME NO_PROXY=mine bash -lc 'echo $NO_PROXY'") == "mine"


async def test_what_is_mounted_named_and_routed(box):
    assert await box.run("cat /etc/resolv.conf") == "nameserver 10.0.2.2"
    assert "10.0.2.2 host.docker.internal" in (await box.run("cat /etc/hosts")).splitlines()
    assert await box.run("getent hosts host.docker.internal") == "10.0.2.2        host.docker.internal"
    assert (await box.run("grep -v ' lo$' /proc/net/if_inet6 || true")) == "", "no IPv6 but on loopback"
    routes = [line.split() for line in (await box.run("cat /proc/net/route")).splitlines()[1:]]
    assert ("00000000", "0202000A") in [(fields[1], fields[2]) for fields in routes]


CERTIFICATES = (
    "grep -c BEGIN /etc/ssl/certs/ca-certificates.crt; grep -c '^# sandboxfile' /etc/ssl/certs/ca-certificates.crt"
)


async def test_the_templates_own_tool_finds_our_work_done_and_the_next_boot_as_well(boots, box):
    before = (await box.run(CERTIFICATES)).split()
    assert int(before[0]) > 100
    assert before[1] == "1"
    assert "0 added, 0 removed" in await box.run("sudo update-ca-certificates 2>&1", timeout=300)
    assert (await box.run(CERTIFICATES)).split() == before
    assert await box.run(f"env -i PATH=$PATH {DIRECT}") == "hello"


async def test_another_authority_replaces_the_first_in_every_place(boots, box):
    await box.run("echo OWN=1 >>/etc/environment; /run/sbx/bin/sync", user="root")
    await box.machine.kill()
    first, second = boots.authorities
    async with boots(second) as again:
        count, marks = (await again.run(CERTIFICATES)).split()
        assert (int(count) > 100, marks) == (True, "1")
        for command in (DIRECT, f"env -i PATH=$PATH {DIRECT}"):
            assert await again.run(command) == "hello"
        links = await again.run("ls -l /etc/ssl/certs | grep -e '-> sandboxfile.pem$' | wc -l; ls /etc/ssl/certs")
        assert links.splitlines()[0] == "1"
        assert f"{second.hash}.0" in links
        assert f"{first.hash}.0" not in links
        assert (
            await again.run("grep -c 'begin of sandboxfile' /etc/environment; tail -n 1 /etc/environment")
        ).split() == [*("1", "OWN=1")]
        assert (await again.run("grep -c host.docker.internal /etc/hosts")) == "1"
