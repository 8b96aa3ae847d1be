"""The seccomp programs, loaded into a real process and tried."""

import json
import subprocess
import sys

import pytest

from sandboxfile.errors import HostError
from sandboxfile.vm import filters

LOADER = """
import ctypes, errno, json, os, socket, stat, sys
program = bytes.fromhex(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(program, len(program))
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))
def load():
    assert libc.prctl(38, *(ctypes.c_ulong(n) for n in (1, 0, 0, 0))) == 0
    packed = Program(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    assert libc.prctl(22, ctypes.c_ulong(2), ctypes.byref(packed)) == 0
def attempt(action):
    try:
        action()
    except OSError as exc:
        return errno.errorcode[exc.errno]
    return "ok"
def call(number, *arguments):
    if libc.syscall(ctypes.c_long(number), *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
"""


def outcome(program, script, *arguments):
    """What a script finds when it runs under a filter."""
    done = subprocess.run(
        [sys.executable, "-c", LOADER + script, program.hex(), *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_qemu_may_make_unix_and_ip_sockets_and_no_others():
    found = outcome(
        filters.machine_filter(),
        """
load()
families = {"unix": 1, "inet": 2, "inet6": 10, "unspecified": 0, "ax25": 3, "rose": 9 + 2, "netlink": 16, "packet": 17,
    "vsock": 40, "alg": 38, "huge": 1000}
found = {name: attempt(lambda: socket.socket(n, socket.SOCK_STREAM).close()) for name, n in families.items()}
found["pair"] = attempt(socket.socketpair)
found["udp"] = attempt(lambda: socket.socket(2, socket.SOCK_DGRAM, 17).close())
for name, number in (("dccp", 33), ("sctp", 132), ("mptcp", 262)):
    found[name] = attempt(lambda: socket.socket(2, socket.SOCK_STREAM, number))
# The kernel takes the lower half of the number; the filter sees all of it.
found["vsock in disguise"] = attempt(lambda: call(41, ctypes.c_ulong(1 << 32 | 40), 1, 0))
found["pair of netlink"] = attempt(lambda: socket.socketpair(16, 1))
print(json.dumps(found))
""",
    )
    assert {found.pop(name) for name in ("unix", "inet", "inet6", "pair", "udp")} == {"ok"}
    assert set(found.values()) == {"EAFNOSUPPORT"}


def test_the_opener_of_ports_may_listen_and_little_else(tmp_path):
    found = outcome(
        filters.opener_filter(),
        """
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
load()
def listening():
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", 0))
    made.listen(1)
    socket.send_fds(ours, [b"x"], [made.fileno()])
    assert theirs.recv(1) == b"x"
    made.close()
print(json.dumps({
    "listen": attempt(listening),
    "connect": attempt(lambda: call(42, 0, None, 0)),
    "accept": attempt(lambda: call(43, 0, None, None)),
    "udp": attempt(lambda: socket.socket(2, socket.SOCK_DGRAM)),
    "unix": attempt(lambda: socket.socket(1, socket.SOCK_STREAM)),
    "open": attempt(lambda: os.open("/etc/passwd", os.O_RDONLY)),
    "fork": attempt(os.fork),
    "execute": attempt(lambda: os.execv("/bin/true", ["true"])),
    "kill": attempt(lambda: os.kill(os.getppid(), 0)),
    "ptrace": attempt(lambda: call(101, 16, 1, None, None)),
    "code": attempt(lambda: call(9, None, 4096, 7, 0x22, -1, 0)),
    "namespace": attempt(lambda: call(272, 0x10000000)),
}))
sys.stdout.flush()
os._exit(0)
""",
    )
    assert found.pop("listen") == "ok"
    assert set(found.values()) == {"EPERM"}


def test_qemu_may_use_none_of_the_kernels_rare_doors():
    found = outcome(
        filters.machine_filter(),
        """
load()
print(json.dumps({
    "unshare": attempt(lambda: call(272, 0)),
    "io_uring": attempt(lambda: call(425, 1, None)),
    "keyctl": attempt(lambda: call(250, 0, 0, 0)),
    "mount": attempt(lambda: call(165, None, None, None, 0, None)),
    "personality": attempt(lambda: call(135, 0xFFFFFFFF)),
}))
""",
    )
    assert set(found.values()) == {"EPERM"}


def test_no_way_leads_to_a_setuid_or_setgid_file(tmp_path):
    found = outcome(
        filters.share_filter(),
        """
os.chdir(sys.argv[2])
os.umask(0)
file = os.open("file", os.O_CREAT | os.O_RDWR, 0o600)
load()
tried = {}
for name, bits in (("setuid", 0o4755), ("setgid", 0o2755), ("both", 0o6755)):
    tried |= {
        f"chmod {name}": attempt(lambda: os.chmod("file", bits)),
        f"fchmod {name}": attempt(lambda: os.fchmod(file, bits)),
        f"open {name}": attempt(lambda: os.open("new", os.O_CREAT | os.O_RDWR, bits)),
        f"mknod {name}": attempt(lambda: os.mknod("node", stat.S_IFREG | bits)),
        f"creat {name}": attempt(lambda: call(85, b"made", bits)),
        f"fchmodat2 {name}": attempt(lambda: call(452, -100, b"file", bits, 0)),
        f"mkdir {name}": attempt(lambda: os.mkdir("dir-" + name, bits)),
    }
print(json.dumps([tried, attempt(lambda: os.chmod("file", 0o1777)), attempt(lambda: os.open("good", os.O_CREAT, 0o755)),
    attempt(lambda: call(437, -100, b"file", b"\\0" * 24, 24)),
    sorted(e.name for e in os.scandir(".") if e.stat().st_mode & 0o6000)]))
""",
        str(tmp_path),
    )
    tried, sticky, plain, openat2, special = found
    assert {name: result for name, result in tried.items() if not name.startswith(("mkdir", "fchmodat2"))} == {
        name: "EPERM" for name in tried if not name.startswith(("mkdir", "fchmodat2"))
    }
    assert {result for name, result in tried.items() if name.startswith("fchmodat2")} == {"ENOSYS"}
    assert (sticky, plain, openat2) == ("ok", "ok", "ENOSYS")
    assert special == []


def test_programs_are_whole_instructions_and_made_once():
    for make in (filters.machine_filter, filters.opener_filter, filters.share_filter):
        assert len(make()) % 8 == 0
        assert make() is make()


def test_without_libseccomp_nothing_is_started(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    filters.machine_filter.cache_clear()
    with pytest.raises(HostError, match="libseccomp"):
        filters.machine_filter()
