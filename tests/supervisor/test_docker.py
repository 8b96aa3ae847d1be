"""When a sandbox's Docker daemon counts as ready, and what is said when it never will be. Virtual time."""

import anyio
import pytest
import trio.testing

from sandboxfile.errors import GuestError
from sandboxfile.supervisor.docker import wait_for_docker

PONG = b"HTTP/1.0 200 OK\r\n\r\nOK"


class Ended:
    code = 0

    def __init__(self, output):
        self.output = output


class Inside:
    """A guest in which `sbx-docker` says `said`, the socket gives `answers` in turn, and the log is `log`."""

    def __init__(self, *answers, said="", log="the log's end\n"):
        self.answers, self.said, self.log, self.asked = list(answers), said, log, 0

    async def run(self, argv, *, timeout=60.0):
        if argv == ("/run/sbx/bin/sbx-docker",):
            if self.said is None:
                with anyio.fail_after(timeout):
                    await anyio.sleep_forever()
            return Ended(self.said)
        if self.log is None:
            raise GuestError("the guest is gone")
        return Ended(self.log)

    async def ask(self, path, question):
        assert path == "/var/run/docker.sock"
        assert question.startswith(b"GET /_ping HTTP/1.0\r\n")
        assert question.endswith(b"\r\n\r\n")
        self.asked += 1
        return self.answers.pop(0)


def wait(inside):
    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(wait_for_docker, inside, backend="trio", backend_options={"clock": clock})


@pytest.mark.parametrize("before", [(), (b"",), (b"", b"HTTP/1.1 500 no\r\n", b"nonsense")])
def test_it_is_ready_once_it_answers_well_however_often_it_did_not(before):
    inside = Inside(*before, PONG)
    wait(inside)
    assert inside.asked == len(before) + 1


def test_an_image_without_a_daemon_is_said_at_once_and_what_to_do():
    inside = Inside(said="absent\n")
    with pytest.raises(GuestError, match="no Docker daemon in the image") as raised:
        wait(inside)
    assert "docker.io" in raised.value.hint
    assert inside.asked == 0


@pytest.mark.parametrize("said", ["failing\n", None], ids=["it ends again and again", "it never comes"])
def test_a_daemon_that_does_not_work_is_told_with_the_end_of_its_log(said):
    with pytest.raises(GuestError, match=r"ends again and again|does not answer after") as raised:
        wait(Inside(said=said))
    assert raised.value.output == "the log's end\n"
    assert "/var/log/dockerd.log" in raised.value.hint


def test_a_guest_that_is_gone_cannot_hide_the_failure():
    with pytest.raises(GuestError, match="ends again and again") as raised:
        wait(Inside(said="failing\n", log=None))
    assert raised.value.output == "the guest is gone"
