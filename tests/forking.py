"""`sbx` as a process of its own without its start: forked from one that has its modules, of which each worker has one.

Of the 0.5 s that most commands take, 0.45 are the interpreter's start and its imports. A fork has everything else of a
command: arguments, directory, environment, three descriptors, an exit code, and the code from `main` to the
interpreter's end. What the start itself is about (what is imported, signals at a terminal) tests by real processes.

    run(words, cwd=..., env=..., input=..., text=..., timeout=...)   as subprocess.run with captured output
"""

import atexit
import gc
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
OTHER_PROCESSES = ("gateway", "supervisor", "pytest_plugin")
READ_AT_START = ("PYTHON", "LC_", "LANG", "TZ")  # what the interpreter looks at but once, or a library as it is loaded
LARGEST = 1 << 17  # bytes of a request: arguments and environment
_STARTING = threading.Lock()


def run(
    words: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    input: str | bytes | None = None,
    text: bool = True,
    timeout: float,
) -> "subprocess.CompletedProcess[Any]":
    """Run `sbx WORDS` to its end, with nothing to read unless there is `input`."""
    with _STARTING:
        control = _server(tuple((name, value) for name, value in sorted(env.items()) if name.startswith(READ_AT_START)))
    pipes = [os.pipe() for _ in range(3)]
    (theirs, feed), (out, to_out), (err, to_err) = pipes
    reply, to_reply = socket.socketpair()
    request = json.dumps({"words": words, "cwd": str(cwd), "env": dict(env)}).encode()
    assert len(request) < LARGEST
    try:
        socket.send_fds(control, [request], [theirs, to_out, to_err, to_reply.fileno()])
    finally:
        to_reply.close()
        for descriptor in (theirs, to_out, to_err):
            os.close(descriptor)
    pool = ThreadPoolExecutor(3)
    with reply:
        pid = int.from_bytes(_exactly(reply, 4), signed=True)
        pool.submit(_feed, feed, input.encode() if isinstance(input, str) else input or b"")
        said = [pool.submit(_read, descriptor, text) for descriptor in (out, err)]
        pool.shutdown(wait=False)
        reply.settimeout(timeout)
        try:
            code = int.from_bytes(_exactly(reply, 4), signed=True)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(["sbx", *words], timeout) from None
        stdout, stderr = (stream.result() for stream in said)
    return subprocess.CompletedProcess(["sbx", *words], code, stdout, stderr)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = connection.recv(size, socket.MSG_WAITALL)
    assert len(data) == size, "the process that forks is gone"
    return data


def _feed(descriptor: int, data: bytes) -> None:
    with suppress(BrokenPipeError), open(descriptor, "wb") as stream:  # what it does not read is its own affair
        stream.write(data)


def _read(descriptor: int, text: bool) -> str | bytes:
    with open(descriptor, "r" if text else "rb") as stream:
        return stream.read()


@cache
def _server(environment: tuple[tuple[str, str], ...]) -> socket.socket:
    """One that forks, started with that part of the environment. It ends when we do."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            cwd=REPOSITORY,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **dict(environment)},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        ).returncode = 0  # nobody waits for it
    atexit.register(ours.close)
    return ours


def load() -> None:
    """Have what a command could use."""
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"  # as `main` does before it loads the rest
    import sandboxfile

    for module in pkgutil.walk_packages(sandboxfile.__path__, "sandboxfile."):
        if module.name.split(".")[1] not in OTHER_PROCESSES and not module.name.endswith("__main__"):
            import_module(module.name)


def serve(control: socket.socket) -> None:
    """Fork at each request; returns in the child, as the process that was asked for. Exits when nobody can ask."""
    running: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as events:
        events.register(control, selectors.EVENT_READ)
        while True:
            for ready, _ in events.select():
                if ready.fd in running:
                    events.unregister(ready.fd)
                    _end(ready.fd, *running.pop(ready.fd))
                    continue
                request, descriptors, _, _ = socket.recv_fds(control, LARGEST, 4)
                if not request:
                    sys.exit()
                reply = socket.socket(fileno=descriptors.pop())
                if not (pid := os.fork()):
                    for handle, (_, other) in running.items():
                        os.close(handle)
                        other.close()
                    reply.close()
                    control.close()
                    return _become(json.loads(request), descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)
                _tell(reply, pid)
                handle = os.pidfd_open(pid)
                running[handle] = pid, reply
                events.register(handle, selectors.EVENT_READ)


def _end(handle: int, pid: int, reply: socket.socket) -> None:
    os.close(handle)
    with reply:
        _tell(reply, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _tell(reply: socket.socket, number: int) -> None:
    with suppress(BrokenPipeError):  # whoever asked has given up
        reply.sendall(number.to_bytes(4, signed=True))


def _become(wanted: dict[str, Any], descriptors: list[int]) -> None:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(wanted["env"])
    os.chdir(wanted["cwd"])
    sys.argv[1:] = wanted["words"]


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).resolve().parent))
    load()
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
    from sandboxfile import __main__ as program

    sys.argv[0] = program.__file__
    program.main()
