"""What the egress benchmark measures beside ours: an origin (nginx) and other proxies, each a process on loopback.

Every process is started here and ended by its id; nothing listens on any other address.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_START = 30.0  # seconds for a process to listen


class Process:
    """A child that ends with `stop`, and what it costs, with all below it."""

    def __init__(self, arguments: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self._log = log
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    def wait_for(self, ready: Callable[[], bool]) -> None:
        """Until `ready`; raises SystemExit with the end of its log when it never is."""
        deadline = time.monotonic() + _START
        while not ready():
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self._child.args!r} does not start:\n{self._log.read_text()[-3000:]}")
            time.sleep(0.02)

    def processor_time(self) -> float:
        """Seconds, user and system, so far."""
        return sum(_processor_time(pid) for pid in family(self.pid))

    def memory(self) -> float:
        """Resident, MB."""
        return _status(self.pid, "VmRSS") / 1024

    def peak(self) -> float:
        """The most since the last `forget_peak`, MB."""
        return _status(self.pid, "VmHWM") / 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def stop(self) -> None:
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def family(pid: int) -> list[int]:
    """A process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(below for child in children for below in family(int(child)))]


def _processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Origin:
    """nginx, called `localhost`: /small, /bulk (a file of `bulk` bytes), /slow (never done), /sink (takes a body)."""

    tls: int
    plain: int
    certificate: Path
    bulk: int

    @property
    def base(self) -> str:
        return f"https://localhost:{self.tls}"


_NGINX = """\
{user}
daemon off; worker_processes 1; pid {place}/nginx.pid; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 100000000; keepalive_timeout 3600s;
  client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
  uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi; client_max_body_size 0;
  server {{ listen unix:{place}/sink.sock; location / {{ return 200 "taken\\n"; }} }}
  server {{
    listen 127.0.0.1:{tls} ssl; listen [::1]:{tls} ssl; listen 127.0.0.1:{plain}; listen [::1]:{plain};
    server_name localhost; root {place}/files;
    ssl_certificate {place}/origin.pem; ssl_certificate_key {place}/origin.key;
    ssl_session_cache off; ssl_session_tickets off;
    location = /small {{ return 200 "hello world\\n"; }}
    location = /slow {{ limit_rate 10k; alias {place}/files/bulk; }}
    location = /sink {{ proxy_pass http://unix:{place}/sink.sock; }}
  }}
}}
"""


def start_origin(stack: ExitStack, place: Path, bulk: int) -> Origin:
    """Needs nginx and openssl. `bulk` is the size of its large file in bytes."""
    origin = Origin(free_port(), free_port(), place / "origin.pem", bulk)
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "30",
    ]
    request += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(place / "origin.key"), "-out", str(origin.certificate)]
    subprocess.run([*request, *files], check=True, capture_output=True)
    (place / "files").mkdir()
    with (place / "files/bulk").open("wb") as file:
        for _ in range(bulk >> 20):
            file.write(os.urandom(1 << 20))
    user = "user root;" if os.getuid() == 0 else ""
    (place / "nginx.conf").write_text(_NGINX.format(place=place, tls=origin.tls, plain=origin.plain, user=user))
    process = Process(
        [_tool("nginx"), "-p", str(place), "-e", "stderr", "-c", str(place / "nginx.conf")], place / "nginx.log"
    )
    stack.callback(process.stop)
    process.wait_for(lambda: listens(origin.tls))
    return origin


@dataclass(frozen=True)
class Contender:
    """A way to the origin. `port` of a proxy, or None; `intercepts`: it looks inside TLS (and is slower)."""

    name: str
    port: int | None = None
    process: Process | None = None
    authority: Path | None = None
    intercepts: bool = False


def start_squid(stack: ExitStack, place: Path) -> Contender | None:
    port = free_port()
    configuration = place / "squid.conf"
    lines = [
        f"http_port 127.0.0.1:{port}",
        "http_access allow all",
        "cache deny all",
        "cache_mem 8 MB",
        "access_log none",
        "cache_log /dev/null",
        "cache_store_log none",
        "pid_filename none",
        "pinger_enable off",
        "shutdown_lifetime 0 seconds",
        f"coredump_dir {place}",
    ]
    configuration.write_text("\n".join([*lines, ""]))
    return _proxy(stack, "squid", port, ["squid", "-N", "-f", str(configuration)], place)


def start_tinyproxy(stack: ExitStack, place: Path) -> Contender | None:
    port = free_port()
    configuration = place / "tinyproxy.conf"
    configuration.write_text(
        f"Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nMaxClients 1000\nTimeout 600\nLogLevel Critical\n"
    )
    return _proxy(stack, "tinyproxy", port, ["tinyproxy", "-d", "-c", str(configuration)], place)


def start_mitmdump(stack: ExitStack, place: Path, origin: Origin) -> Contender | None:
    """The mitmdump of this interpreter's environment, as it comes, but quiet."""
    port, home = free_port(), place / "mitmdump"
    program = shutil.which("mitmdump", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") or "mitmdump"
    settings = [f"confdir={home}", f"ssl_verify_upstream_trusted_ca={origin.certificate}"]
    arguments = [program, "-q", "--listen-host", "127.0.0.1", "--listen-port", str(port)]
    arguments += [word for setting in settings for word in ("--set", setting)]
    return _proxy(stack, "mitmdump", port, arguments, place, home / "mitmproxy-ca-cert.pem")


def _proxy(
    stack: ExitStack, name: str, port: int, arguments: list[str], place: Path, authority: Path | None = None
) -> Contender | None:
    if shutil.which(arguments[0]) is None and not Path(f"/usr/sbin/{arguments[0]}").exists():
        print(f"{name} is not installed: left out", file=sys.stderr)
        return None
    process = Process([_tool(arguments[0]), *arguments[1:]], place / f"{name}.log")
    stack.callback(process.stop)
    process.wait_for(lambda: listens(port))
    return Contender(name, port, process, authority, intercepts=authority is not None)


def _tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise SystemExit(f"the benchmark needs {name}")
    return found
