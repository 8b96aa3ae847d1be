"""Descriptors on their way to a child, and what a child prints."""

import os
import subprocess
import sys

import anyio
import pytest

from sandboxfile.vm.descriptors import DescriptorSet, OutputLog, receive


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
    import socket

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, theirs.send, b"message")
            assert await receive(ours) == b"message"
        theirs.close()
        assert await receive(ours) == b""
