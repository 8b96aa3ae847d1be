"""What the way out of a sandbox costs, beside other proxies, in one run: medians and ratios. Never asserts.

    python benchmarks/egress.py [--quick]

Boots no machine: the real gateway serves listeners on loopback, and nginx is the origin of all. Needs nginx, openssl
and curl; squid and tinyproxy are left out if they are not installed. Contenders take turns within each round, so that
what else this machine does meets all of them; still, only the ratios mean anything.
"""

import argparse
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from statistics import median

from egress_gateway import Gateway, Registration, policy
from egress_servers import Contender, Origin, start_mitmdump, start_origin, start_squid, start_tinyproxy

from sandboxfile.control.egress import Confirmed, SetPolicy
from sandboxfile.model.policy import Layer, Policy, Request, Rule
from sandboxfile.policy.compiled import Compiled, compile_policy
from sandboxfile.policy.patterns import Address

PARALLEL = 8
MEGABYTE = 1_000_000
RAW, INTERCEPTED, SIGNED, DIRECT = "ours, raw", "ours, intercepting", "ours, with a credential", "direct"


@dataclass(frozen=True)
class Size:
    """How much is measured. Counts are (for what only passes bytes on, for what intercepts)."""

    rounds: int
    bulk: int  # bytes
    kept: tuple[int, int]  # requests on kept connections
    fresh: tuple[int, int]  # connections
    changes: int
    transfer: int  # bytes each way for the memory test


FULL = Size(15, 64 << 20, (3000, 300), (200, 50), 50, 300 << 20)
QUICK = Size(3, 48 << 20, (1000, 200), (100, 30), 10, 60 << 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a fraction of the rounds, for a look")
    parser.add_argument("--only", choices=sorted(PARTS), action="append", help="one part, may be repeated")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    size = QUICK if arguments.quick else FULL
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sbx-bench-"))).resolve()
        place.chmod(0o755)
        origin = start_origin(stack, place, max(size.bulk, size.transfer))
        for name in arguments.only or PARTS:
            PARTS[name](stack, place, origin, size)
            print(flush=True)


# --- throughput --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Workload:
    """`run` gives units done and seconds taken; `unit` is what the processor time of a proxy is told per."""

    name: str
    unit: str
    per: int
    run: Callable[[Contender], tuple[float, float]]


def throughput(stack: ExitStack, place: Path, origin: Origin, size: Size) -> None:
    gateway = Gateway(stack, place / "speed", origin)
    raw = gateway.register("raw", policy(origin, bypass=True))
    intercepted = gateway.register("intercepted", policy(origin))
    key = place / "key"
    key.write_text("the value of a secret")
    signed = gateway.register("signed", policy(origin, key=key))
    found = (
        Contender(DIRECT),
        start_squid(stack, place),
        Contender(RAW, raw.port, gateway.process),
        start_tinyproxy(stack, place),
        Contender(INTERCEPTED, intercepted.port, gateway.process, intercepted.authority, intercepts=True),
        Contender(SIGNED, signed.port, gateway.process, signed.authority, intercepts=True),
        start_mitmdump(stack, place, origin),
    )
    contenders = [contender for contender in found if contender is not None]
    bundle = place / "bundle.pem"
    certificates = [origin.certificate, *(one.authority for one in contenders if one.authority)]
    bundle.write_text("".join(_certificates(path.read_text()) for path in certificates))
    workloads = _workloads(origin, bundle, size)
    rates: dict[tuple[str, str], list[float]] = {}
    costs: dict[tuple[str, str], list[float]] = {}
    for number in range(size.rounds):
        for workload in workloads:
            for contender in contenders[number % len(contenders) :] + contenders[: number % len(contenders)]:
                before = contender.process.processor_time() if contender.process else 0.0
                units, seconds = workload.run(contender)
                after = contender.process.processor_time() if contender.process else 0.0
                rates.setdefault((contender.name, workload.name), []).append(units / seconds)
                costs.setdefault((contender.name, workload.name), []).append((after - before) / units * workload.per)
    _show_throughput(contenders, workloads, rates, costs, size.rounds)


def _workloads(origin: Origin, bundle: Path, size: Size) -> list[Workload]:
    def bulk(contender: Contender) -> tuple[float, float]:
        return size.bulk / MEGABYTE, _curl(contender, bundle, f"{origin.base}/bulk", "-r", f"0-{size.bulk - 1}")

    def kept(contender: Contender) -> tuple[float, float]:
        count = size.kept[contender.intercepts]
        return count, _curl(contender, bundle, f"{origin.base}/small?[1-{count}]")

    def fresh(contender: Contender) -> tuple[float, float]:
        count = size.fresh[contender.intercepts]
        return count, _curl(contender, bundle, f"{origin.base}/small?[1-{count}]", "-H", "Connection: close")

    return [
        Workload("bulk MB/s", "s per GB", 1000, bulk),
        Workload("kept requests/s", "s per 1000", 1000, kept),
        Workload("new connections/s", "s per 1000", 1000, fresh),
    ]


def _curl(contender: Contender, bundle: Path, url: str, *options: str) -> float:
    """Seconds for all of it, `PARALLEL` at a time; each new connection makes a full TLS handshake."""
    proxy = (
        ["--noproxy", "*"] if contender.port is None else ["--noproxy", "", "-x", f"http://127.0.0.1:{contender.port}"]
    )
    base = ["curl", "-q", "-sS", "--fail", "--http1.1", "--no-sessionid", "-m", "600", "--cacert", str(bundle), *proxy]
    parallel = ["-Z", "--parallel-max", str(PARALLEL)]
    started = time.perf_counter()
    done = subprocess.run([*base, *parallel, *options, "-o", "/dev/null", url], capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{contender.name}: {url}: {done.stderr[-2000:]}")
    return seconds


def _certificates(text: str) -> str:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return "".join(f"{begin}{part.partition(end)[0]}{end}\n" for part in text.split(begin)[1:])


Table = dict[tuple[str, str], list[float]]  # by contender and workload, a value for each round


def _show_throughput(
    contenders: Sequence[Contender], workloads: Sequence[Workload], rates: Table, costs: Table, rounds: int
) -> None:
    print(f"{'to nginx, TLS, 8 at a time':28}" + "".join(f"{work.name:>20} {'to direct':>10}" for work in workloads))
    for contender in contenders:
        cells = [
            f"{median(rates[contender.name, work.name]):20.0f} {_ratio(rates, work, contender.name, DIRECT):9.2f}x"
            for work in workloads
        ]
        print(f"{contender.name:28}" + "".join(cells))
    names = {contender.name for contender in contenders}
    for ours, other, aim in (
        (RAW, "squid", "0.8"),
        (RAW, "tinyproxy", "-"),
        (INTERCEPTED, "mitmdump", "1.0"),
        (SIGNED, INTERCEPTED, "1.0"),
    ):
        if other in names:
            cells = [f"{_ratio(rates, work, ours, other):30.2f}x" for work in workloads]
            print(f"{ours + ' / ' + other:28}{''.join(cells)}   aim {aim}")
    print(f"(medians of {rounds} rounds; ratios are medians of those within a round)\n")
    print(f"{'processor time of the proxy':28}" + "".join(f"{work.unit:>31}" for work in workloads))
    for contender in contenders[1:]:
        cells = [f"{median(costs[contender.name, work.name]):31.2f}" for work in workloads]
        print(f"{contender.name:28}" + "".join(cells))


def _ratio(rates: Table, work: Workload, ours: str, other: str) -> float:
    pairs = zip(rates[ours, work.name], rates[other, work.name], strict=True)
    return median(one / another for one, another in pairs)


# --- decisions ---------------------------------------------------------------------------------------------------


def decisions(_stack: ExitStack, _place: Path, _origin: Origin, size: Size) -> None:
    address = (ip_address("203.0.113.9"),)
    print(f"{'rules':>8} {'compile':>12} {'by name /s':>14} {'with addresses /s':>18} {'to 10 rules':>12}")
    first = 0.0
    for count in (10, 1000, 10_000):
        made = many_rules(count)
        started = time.process_time()
        compiled = compile_policy(made)
        compiling = time.process_time() - started
        asked = _requests(count)
        by_name = _rate(partial(_decide, compiled, asked, None), size) * len(asked)
        whole = _rate(partial(_decide, compiled, asked, address), size) * len(asked)
        first = first or whole
        print(f"{count:8} {compiling * 1000:9.1f} ms {by_name:14.0f} {whole:18.0f} {whole / first:11.2f}x")


def _decide(compiled: Compiled, asked: Sequence[Request], addresses: Sequence[Address] | None) -> None:
    for request in asked:
        compiled.decide(request, addresses, "2026-01-01")


def many_rules(count: int) -> Policy:
    """Exact hosts, wildcards and ranges in equal parts, in one layer."""
    rules = []
    for number in range(count // 3 + 1):
        rules += [Rule(f"host{number}.example.com:443"), Rule(f"*.team{number}.example.com")]
        rules.append(Rule(f"10.{number >> 8 & 255}.{number & 255}.0/24"))
    return Policy((Layer("policy bench", allow=tuple(rules[:count])),))


def _requests(count: int) -> list[Request]:
    last = count // 3 - 1
    return [
        Request(f"host{last}.example.com", 443),
        Request(f"a.b.team{last}.example.com", 443, "https", "GET", "/x"),
        Request("unknown.example.org", 443),
        Request("host0.example.com", 80, "http", "POST", "/"),
    ]


def _rate(action: Callable[[], object], size: Size) -> float:
    """Times per second of processor time; the best of several, as everything else only makes it slower."""
    best = 0.0
    for _ in range(size.rounds):
        done, started = 0, time.process_time()
        while (seconds := time.process_time() - started) < 0.1:
            action()
            done += 1
        best = max(best, done / seconds)
    return best


# --- a change of policy ------------------------------------------------------------------------------------------


def changes(stack: ExitStack, place: Path, origin: Origin, size: Size) -> None:
    gateway = Gateway(stack, place / "changes", origin)
    print(f"{'policy tightened while open':28} {'cut':>12} {'confirmed':>12} {'next denied':>12} {'slowest':>12}")
    small, large = Policy((Layer("policy bench"),)), many_rules(1000)
    cases = ((RAW, True, small), (INTERCEPTED, False, small), ("ours, raw, to 1000 rules", True, large))
    for name, bypass, closed in cases:
        opened = policy(origin, bypass=bypass)
        registration = gateway.register(name.replace(", ", "-").replace(" ", "-"), opened)
        taken = [_tighten(registration, origin, opened, closed) for _ in range(size.changes)]
        cut, confirmed, denied = (median(column) * 1000 for column in zip(*taken, strict=True))
        slowest = max(row[2] for row in taken) * 1000
        print(f"{name:28} {cut:9.1f} ms {confirmed:9.1f} ms {denied:9.1f} ms {slowest:9.1f} ms")
    print(f"(medians of {size.changes}, from the message on; aim 50 ms)")


def _tighten(registration: Registration, origin: Origin, opened: Policy, closed: Policy) -> tuple[float, float, float]:
    """Seconds until a running download ends, the gateway confirms, and a new request has been denied."""
    registration.set_policy(opened)
    if (status := _status(registration, origin)) != 200:
        raise SystemExit(f"the origin is not reached: {status}")
    with closing(_download(registration, origin)) as stream:
        started = time.perf_counter()
        registration.say(SetPolicy(closed))
        _until_cut(stream)
        cut = time.perf_counter() - started
        registration.hear(Confirmed)
        confirmed = time.perf_counter() - started
        if (status := _status(registration, origin)) != 403:
            raise SystemExit(f"not denied: {status}")
        return cut, confirmed, time.perf_counter() - started


def _download(registration: Registration, origin: Origin) -> ssl.SSLSocket:
    """A download inside TLS that goes on for hours, once its first bytes have arrived."""
    sock = socket.create_connection(("127.0.0.1", registration.port), 30)
    target = f"localhost:{origin.tls}"
    sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    context = ssl.create_default_context(cafile=str(origin.certificate))
    context.load_verify_locations(str(registration.authority))
    stream = context.wrap_socket(sock, server_hostname="localhost")
    stream.sendall(f"GET /slow HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    if not stream.recv(4096).startswith(b"HTTP/1.1 200"):
        raise SystemExit("the download does not begin")
    return stream


def _until_cut(stream: ssl.SSLSocket) -> None:
    try:
        while stream.recv(65536):
            pass
    except TimeoutError:
        raise SystemExit("the download was not cut") from None
    except OSError:  # reset, or an end of TLS without a goodbye
        pass


def _status(registration: Registration, origin: Origin) -> int:
    with socket.create_connection(("127.0.0.1", registration.port), 30) as sock:
        host = f"localhost:{origin.plain}"
        sock.sendall(f"GET http://{host}/small HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        with sock.makefile("rb") as stream:
            return int(stream.readline().split()[1])


# --- memory ------------------------------------------------------------------------------------------------------


def memory(stack: ExitStack, place: Path, origin: Origin, _size: Size) -> None:
    gateway = Gateway(stack, place / "memory", origin)
    print(f"{'registered sandboxes':28} {'idle':>12} {'each used':>12}")
    registrations: list[Registration] = []
    for count in (1, 10, 50):
        fresh = range(len(registrations), count)
        registrations += [gateway.register(f"box-{number}", policy(origin)) for number in fresh]
        idle = gateway.process.memory()
        for number in fresh:
            _intercepted_request(registrations[number], origin)
        print(f"{count:28} {idle:9.1f} MB {gateway.process.memory():9.1f} MB")


def _intercepted_request(registration: Registration, origin: Origin) -> None:
    _curl(Contender("memory", registration.port), registration.authority, f"{origin.base}/small")


def transfers(stack: ExitStack, place: Path, origin: Origin, size: Size) -> None:
    gateway = Gateway(stack, place / "transfers", origin)
    amount = f"{size.transfer >> 20} MB"
    print(
        f"{'memory of the gateway':28} {'before':>12} {'peak, ' + amount + ' down':>20} {'peak, up':>12} {'after':>12}"
    )
    for name, bypass in ((RAW, True), (INTERCEPTED, False)):
        registration = gateway.register(name.replace(", ", "-"), policy(origin, bypass=bypass))
        way = Contender(name, registration.port)
        trusted = origin.certificate if bypass else registration.authority
        _curl(way, trusted, f"{origin.base}/small")
        before, peaks = gateway.process.memory(), []
        down = (f"{origin.base}/bulk", "-r", f"0-{size.transfer - 1}")
        up = (f"{origin.base}/sink", "-T", str(place / "files/bulk"))
        for url, *options in (down, up):
            gateway.process.forget_peak()
            _curl(way, trusted, url, *options)
            peaks.append(gateway.process.peak())
        after = gateway.process.memory()
        print(f"{name:28} {before:9.1f} MB {peaks[0]:17.1f} MB {peaks[1]:9.1f} MB {after:9.1f} MB")


PARTS = {
    "throughput": throughput,
    "decisions": decisions,
    "changes": changes,
    "memory": memory,
    "transfers": transfers,
}

if __name__ == "__main__":
    main()
