"""`sbx forward`: what its words mean, and that it holds what a supervisor gave it for as long as it runs."""

import argparse
import fcntl
import signal
import subprocess
import sys
import threading

import pytest

from sandboxfile.cli import exits
from sandboxfile.cli.commands.forward import parse_port
from sandboxfile.control.messages import Failed, Forward, Started, decode, encode
from sandboxfile.control.server import listen
from sandboxfile.model.desired import Port


@pytest.mark.parametrize(
    ("word", "port"),
    [
        ("80", Port(80, 80)),
        ("8080:80", Port(8080, 80)),
        ("0.0.0.0:8080:80", Port(8080, 80, "0.0.0.0")),
        ("[::1]:8080:80", Port(8080, 80, "::1")),
        ("[0:0::1]:1:65535", Port(1, 65535, "::1")),
    ],
)
def test_a_word_names_a_port(word, port):
    assert parse_port(word) == port


@pytest.mark.parametrize(
    "word",
    [
        "",
        "0",
        "65536",
        "a",
        ":",
        "80:",
        "1:2:3",
        "::1:80:80",
        "[127.0.0.1]:1:2",
        "localhost:1:2",
        "[::1]:80",
        "²",
        "-1",
    ],
)
def test_anything_else_is_refused_with_the_form(word):
    with pytest.raises(argparse.ArgumentTypeError, match="write PORT, HOST:PORT or ADDRESS:HOST:PORT"):
        parse_port(word)


@pytest.fixture
def supervisor(stopped, layout):
    """A sandbox that runs, and somebody who answers its control socket with what it is given for each connection."""
    paths = stopped("web")
    layout.runtime.mkdir(parents=True, exist_ok=True)
    lock = paths.lock.open("r+")
    fcntl.flock(lock, fcntl.LOCK_EX)
    listener = listen(paths.control)
    listener.setblocking(True)
    asked, held = [], []

    def answer(*replies, stays=False):
        def serve():
            for reply in replies:
                connection, _ = listener.accept()
                held.append(connection)
                with connection.makefile("rb") as stream:
                    asked.append(decode(stream.readline()))
                connection.sendall(encode(reply))
                if not stays:
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        return asked

    yield answer
    listener.close()
    lock.close()
    for connection in held:
        connection.close()


def test_it_says_where_it_listens_until_somebody_interrupts_it(project, environment, supervisor):
    asked = supervisor(Started(), Started(), stays=True)
    words = [sys.executable, "-m", "sandboxfile", "forward", "shop/web", "127.0.0.1:8080:80", "9000"]
    with subprocess.Popen(words, cwd=project, env=environment, stdout=subprocess.PIPE, text=True) as client:
        lines = sorted(client.stdout.readline() for _ in range(2))
        assert lines == ["127.0.0.1:8080 -> web:80\n", "127.0.0.1:9000 -> web:9000\n"]
        assert set(asked) == {Forward(Port(8080, 80)), Forward(Port(9000, 9000))}
        client.send_signal(signal.SIGINT)
        assert client.wait(20) == exits.INTERRUPTED


def test_it_ends_with_the_sandbox(cli, supervisor):
    supervisor(Started())
    done = cli("forward", "shop/web", "9000", code=1)
    assert done.stdout == "127.0.0.1:9000 -> web:9000\n"
    assert "hung up" in done.stderr


def test_a_port_that_cannot_be_had_is_said(cli, supervisor):
    supervisor(Failed("HostError", "port 127.0.0.1:8080 of this host is in use", hint="ss"))
    done = cli("forward", "shop/web", "8080:80", code=1)
    assert done.stdout == ""
    assert "port 127.0.0.1:8080 of this host is in use" in done.stderr


def test_a_sandbox_that_does_not_run_has_no_ports(cli, stopped):
    stopped("web")
    assert "is not running" in cli("forward", "shop/web", "80", code=1).stderr
