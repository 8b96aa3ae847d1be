"""Descriptors on their way to a child, and what a child prints."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from sandboxfile.vm.descriptors import DescriptorSet, OutputLog, receive, receive_sockets


def test_a_child_reads_data_that_is_on_no_disk():
    descriptors = DescriptorSet()
    number = descriptors.data(b"x" * 100_000)
    done = subprocess.run(["sh", "-c", f"wc -c </dev/fd/{number}"], pass_fds=descriptors.numbers, capture_output=True)
    assert done.stdout.strip() == b"100000"
    descriptors.close()


def test_a_pair_connects_the_child_with_us():
    descriptors = DescriptorSet()
    number, ours = descriptors.pair()
    hello = f"import os; os.write({number}, b'hello')"
    subprocess.run([sys.executable, "-c", hello], pass_fds=descriptors.numbers, check=True)
    descriptors.close()
    assert ours.recv(100) == b"hello"
    assert ours.recv(100) == b"", "our copy of the child's end is closed"
    ours.close()


def test_closing_closes_each_once():
    descriptors = DescriptorSet()
    number = descriptors.open("/dev/null", os.O_RDONLY)
    descriptors.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    descriptors.close()
    assert descriptors.numbers == [number]


def test_output_is_kept_to_a_bound_and_a_flood_neither_blocks_nor_grows_it():
    log = OutputLog()
    flood = "import sys\nprint('first', flush=True)\ntry:\n  while True: print('x' * 1000)\nexcept OSError: pass\n"
    subprocess.run([sys.executable, "-c", flood + "import os; os._exit(0)"], stdout=log.fileno(), timeout=30)
    assert log.text().startswith("first\n")
    assert len(log.text()) <= 1 << 16
    log.close()
    assert log.text().startswith("first\n"), "also after it is closed"
    log.close()


@pytest.mark.anyio
async def test_a_message_is_waited_for_and_the_end_is_empty():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, theirs.send, b"message")
            assert await receive(ours) == b"message"
        theirs.close()
        assert await receive(ours) == b""


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.anyio
async def test_sockets_come_with_their_message_and_are_not_inherited_nor_blocking():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as listener:
        socket.send_fds(theirs, [b"here"], [listener.fileno(), theirs.fileno()])
        text, received = await receive_sockets(ours)
        assert text == b"here"
        assert [each.family for each in received] == [socket.AF_INET, socket.AF_UNIX]
        assert received[0].getsockname() == listener.getsockname()
        assert not any(each.get_inheritable() or each.getblocking() for each in received)
        for each in received:
            each.close()
        theirs.close()
        assert await receive_sockets(ours) == (b"", [])


@pytest.mark.anyio
async def test_of_a_message_that_does_not_fit_nothing_is_kept():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        before = open_descriptors()
        socket.send_fds(theirs, [b"x" * 100], [theirs.fileno()])
        with pytest.raises(OSError, match="too long"):
            await receive_sockets(ours, limit=10)
        socket.send_fds(theirs, [b"x"], [theirs.fileno()] * 250)
        with pytest.raises(OSError, match="too long"):
            await receive_sockets(ours)
        assert open_descriptors() == before
