"""A program that took QEMU over, in the very jail: what of the host it reaches, beside what it would reach without one.

perl plays it: the jail shows its modules, because they lie among the libraries.
"""

import errno
import json
import os
import shutil
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest

from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories
from sandboxfile.vm import jail
from sandboxfile.vm.descriptors import DescriptorSet
from sandboxfile.vm.ids import id_map
from sandboxfile.vm.network import places

PERL = shutil.which("perl")
pytestmark = [pytest.mark.vm, pytest.mark.anyio, pytest.mark.skipif(PERL is None, reason="perl plays the intruder")]

# Arguments: HOST ADDRESS, PORT, PATH of a UNIX socket, abstract NAME. Prints a JSON object of error numbers.
PROBE = r"""
use strict; use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6);
my ($lan, $port, $path, $name) = @ARGV;
my @found;
sub attempt {
  my ($title, $action) = @_;
  alarm 5;
  push @found, sprintf '"%s": %d', $title, $action->() ? 0 : $!;
  alarm 0;
}
sub reach {
  my ($family, $type, $address) = @_;
  socket(my $s, $family, $type, 0) or return 0;
  return connect($s, $address);
}
sub send_to {
  my ($address) = @_;
  socket(my $s, AF_INET, SOCK_DGRAM, 0) or return;
  send($s, "hello", 0, $address);
}
attempt("tcp loopback", sub { reach(AF_INET, SOCK_STREAM, pack_sockaddr_in($port, inet_aton("127.0.0.1"))) });
attempt("tcp lan", sub { reach(AF_INET, SOCK_STREAM, pack_sockaddr_in($port, inet_aton($lan))) });
attempt("tcp ipv6", sub { reach(AF_INET6, SOCK_STREAM, pack_sockaddr_in6($port, inet_pton(AF_INET6, "::1"))) });
attempt("unix path", sub { reach(AF_UNIX, SOCK_STREAM, pack_sockaddr_un($path)) });
attempt("unix abstract", sub { reach(AF_UNIX, SOCK_STREAM, pack("S", AF_UNIX) . "\0" . $name) });
send_to(pack_sockaddr_in($port, inet_aton($_))) for ("127.0.0.1", $lan);
my %families = (netlink => 16, packet => 17, vsock => 40, alg => 38, unix => 1, inet => 2, inet6 => 10);
for my $each (sort keys %families) {
  attempt("family $each", sub { socket(my $s, $families{$each}, $each eq "netlink" ? SOCK_RAW : SOCK_STREAM, 0) });
}
attempt("raw", sub { socket(my $s, AF_INET, SOCK_RAW, 1) });
attempt("sctp", sub { socket(my $s, AF_INET, SOCK_STREAM, 132) });
attempt("own proxy", sub { reach(AF_INET, SOCK_STREAM, pack_sockaddr_in(3128, inet_aton("127.0.0.1"))) });
print "{", join(", ", @found), "}\n";
"""


@pytest.fixture
def host():
    """Listeners of this host, one on each way that a program could take; `untouched` says that nobody came."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="sbx-", dir="/tmp"))
        stack.callback(shutil.rmtree, directory)
        directory.chmod(0o755)
        yield Host(directory, stack)


class Host:
    def __init__(self, directory, stack):
        self.path, self.name = directory / "socket", f"sandboxfile-test-{directory.name}"
        tcp = stack.enter_context(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True))
        self.port = tcp.getsockname()[1]
        self.udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.udp.bind(("0.0.0.0", self.port))
        self.streams = [tcp]
        for address in (str(self.path), f"\0{self.name}"):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen()
            self.streams.append(listener)
        self.path.chmod(0o777)
        for each in (*self.streams, self.udp):
            each.setblocking(False)

    @property
    def arguments(self):
        return [own_address(), str(self.port), str(self.path), self.name]

    def visits(self):
        """How many came, over all ways."""
        count = 0
        for each in self.streams:
            while True:
                try:
                    each.accept()[0].close()
                except BlockingIOError:
                    break
                count += 1
        while True:
            try:
                self.udp.recv(100)
            except BlockingIOError:
                return count
            count += 1


def own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.7", 9))
        except OSError:
            return "127.0.0.1"
        return probe.getsockname()[0]


async def jailed(tmp_path, monkeypatch, program, arguments):
    """What a program prints that is started in QEMU's place."""
    monkeypatch.setattr(jail, "qemu_program", lambda: str(Path(program).resolve()))
    layout = Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")
    ensure_directories(layout)
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    started = await jail.start_jailed(
        arguments,
        vmlinux=empty,
        initrd=empty,
        config=b"",
        descriptors=DescriptorSet(),
        memory=1 << 30,
        kvm=False,
        run_as=id_map(layout, os.getuid(), os.getgid()).run_as,
        listen=places([8443]),
    )
    with anyio.fail_after(60):
        assert await started.process.wait() == 0, started.output.text()
    await started.close()
    return started.output.text()


def outcomes(printed):
    return {way: errno.errorcode.get(number, "ok") for way, number in json.loads(printed).items()}


async def test_a_program_in_the_jail_reaches_its_own_proxy_and_nothing_of_the_host(host, tmp_path, monkeypatch):
    ways = ("tcp loopback", "tcp lan", "tcp ipv6", "unix path", "unix abstract")
    without = outcomes((await anyio.run_process([PERL, "-e", PROBE, *host.arguments])).stdout)
    assert {without[way] for way in ways} == {"ok"}, "else the rest proves nothing"
    assert host.visits() == len(ways) + 2

    found = outcomes(await jailed(tmp_path, monkeypatch, PERL, ["-e", PROBE, *host.arguments]))
    assert host.visits() == 0
    assert {way: found.pop(way) for way in ways} == {
        **{"tcp loopback": "ECONNREFUSED", "tcp lan": "ECONNREFUSED", "tcp ipv6": "ECONNREFUSED"},
        **{"unix path": "ENOENT", "unix abstract": "ECONNREFUSED"},
    }
    for family in ("netlink", "packet", "vsock", "alg"):
        assert found.pop(f"family {family}") == "EAFNOSUPPORT", family
    assert found.pop("sctp") == "EAFNOSUPPORT"
    assert found.pop("raw") == "EPERM"
    assert found == {"family unix": "ok", "family inet": "ok", "family inet6": "ok", "own proxy": "ok"}
