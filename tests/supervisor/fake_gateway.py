"""A process that behaves as the gateway does towards supervisors, and decides nothing.

Started by the real `Egress` in place of the real one. What goes wrong is written in the file `behaviour` of the state
directory, and read at each message; what it was told is in `told`, a line each. Whoever connects to a socket that it
was given is told its pid.
"""

import os
import socket
import sys
import threading
from pathlib import Path

from sandboxfile.control.egress import (
    Accepted,
    Confirmed,
    Listen,
    Message,
    Provide,
    Refused,
    Register,
    SetPolicy,
    decode,
    encode,
)
from sandboxfile.control.server import listen
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import try_lock
from sandboxfile.model.fingerprint import fingerprint

LAYOUT = Layout.from_environment(os.environ, Path.home(), os.getuid())


def behaviour() -> list[str]:
    path = LAYOUT.state / "behaviour"
    return path.read_text().split() if path.exists() else []


def main() -> int:
    if "dies" in behaviour():
        print("the gateway is broken")
        return 1
    if (lock := try_lock(LAYOUT.gateway_lock)) is None:
        return 75
    listener = listen(LAYOUT.gateway_socket)
    listener.setblocking(True)
    while lock:
        connection, _ = listener.accept()
        threading.Thread(target=converse, args=[connection], daemon=True).start()
    return 0


def converse(connection: socket.socket) -> None:
    received, descriptors, data = b"", [], b"x"
    while data:
        try:
            data, fds, _, _ = socket.recv_fds(connection, 1 << 16, 3)
        except ConnectionResetError:
            return
        received += data
        descriptors += fds
        *lines, received = received.split(b"\n")
        for line in lines:
            reply = answer(decode(line), descriptors)
            descriptors = []
            if "hangs-up" in behaviour():
                connection.close()
                return
            if reply is not None:
                connection.sendall(encode(reply) * (2 if "twice" in behaviour() else 1))


def answer(message: Message, descriptors: list[int]) -> Message | None:
    with (LAYOUT.state / "told").open("a") as told:
        told.write(f"{os.getpid()} {summary(message)}\n")
    told_so = {"refuse": Refused("rule 3 is nonsense"), "wrong": Confirmed("0" * 64), "silent": None}
    for word, reply in told_so.items():
        if word in behaviour() or f"{word}-{type(message).__name__}" in behaviour():
            return reply
    match message:
        case Register(policy=policy) | SetPolicy(policy):
            return Confirmed(fingerprint(policy))
        case Listen():
            (descriptor,) = descriptors
            threading.Thread(target=serve, args=[descriptor], daemon=True).start()
            return Accepted()
        case Provide():
            return Accepted()
    return Refused("what?")


def summary(message: Message) -> str:
    match message:
        case Register(sandbox, policy, certificate, _, log, proxies):
            return f"Register {sandbox} {fingerprint(policy)} {certificate!r} {log} {dict(proxies)}"
        case Listen(role, port):
            return f"Listen {role} {port}"
        case SetPolicy(policy):
            return f"SetPolicy {fingerprint(policy)}"
        case Provide(values):
            return f"Provide {dict(values)}"
    return repr(message)


def serve(descriptor: int) -> None:
    with socket.socket(fileno=descriptor) as listener:
        listener.setblocking(True)
        while listener.type == socket.SOCK_STREAM:
            client, _ = listener.accept()
            with client:
                client.sendall(f"{os.getpid()}".encode())


if __name__ == "__main__":
    sys.exit(main())
