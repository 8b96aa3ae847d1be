"""The QMP wrapper against a QEMU that behaves: a small server on the other end of a socket pair."""

import array
import json
import os
import socket
from contextlib import asynccontextmanager

import anyio
import pytest

from sandboxfile.errors import MachineError
from sandboxfile.vm import qmp as qmp_module
from sandboxfile.vm.qmp import Qmp

pytestmark = pytest.mark.anyio

GREETING = {"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}
ANSWERS = {
    "qmp_capabilities": {},
    "query-status": {"status": "running", "running": True},
    "query-memory-size-summary": {"base-memory": 1 << 29},
    "query-cpus-fast": [{"cpu-index": 0}, {"cpu-index": 1}],
    "query-named-block-nodes": [{"node-name": "base", "image": {"virtual-size": 1}},
                                {"node-name": "disk", "image": {"virtual-size": 4096}}],
    "qom-list": [{"name": "share-0-ws", "type": "child<vhost-user-fs-pci>"}, {"name": "type", "type": "string"}],
}  # fmt: skip


class FakeQemu:
    """Answers from ANSWERS, refuses what it does not know; `getfd` keeps the descriptor that came along."""

    def __init__(self, connected):
        self.socket = connected
        self.commands = []
        self.descriptors = []

    def send(self, message):
        self.socket.sendall(json.dumps(message).encode() + b"\r\n")

    async def serve(self):
        self.send(GREETING)
        text, pending = "", []
        while True:
            await anyio.wait_readable(self.socket)
            data, ancillary, _, _ = self.socket.recvmsg(65536, socket.CMSG_LEN(4))
            if not data:
                return
            for _level, _kind, content in ancillary:
                pending.append(array.array("i", content)[0])
            text = (text + data.decode()).lstrip()
            while text:  # as in QEMU, a command ends where its object ends
                message, end = json.JSONDecoder().raw_decode(text)
                text = text[end:].lstrip()
                self.answer(message, pending)

    def answer(self, message, pending):
        command = message["execute"]
        self.commands.append((command, message.get("arguments")))
        if command == "hang":
            return
        if command == "getfd":
            self.descriptors.append(pending.pop())
        if command in ANSWERS or command == "getfd":
            answer = {"return": ANSWERS.get(command, {})}
        else:
            answer = {"error": {"class": "GenericError", "desc": f"no {command} here"}}
        self.send(answer | {key: message[key] for key in message if key == "id"})


@asynccontextmanager
async def connected():
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    fake = FakeQemu(theirs)
    async with anyio.create_task_group() as tasks:
        with theirs:
            tasks.start_soon(fake.serve)
            qmp = await Qmp.connect(ours, 5)
            yield qmp, fake
            await qmp.close()
            tasks.cancel_scope.cancel()


async def test_questions_are_answered_in_plain_values():
    async with connected() as (qmp, _):
        assert await qmp.status() == "running"
        assert await qmp.memory() == 1 << 29
        assert await qmp.cpus() == 2
        assert await qmp.disk_size() == 4096
        assert await qmp.devices() == {"share-0-ws"}


async def test_a_refusal_says_what_and_why_and_logs_nothing(caplog):
    async with connected() as (qmp, _):
        with pytest.raises(MachineError, match="QEMU refuses device_add: no device_add here"):
            await qmp.execute("device_add", {"driver": "x"})
        with pytest.raises(MachineError, match="no block node nowhere"):
            await qmp.disk_size("nowhere")
    assert caplog.records == []


async def test_a_descriptor_goes_along_with_its_command():
    async with connected() as (qmp, fake):
        reader, writer = os.pipe()
        await qmp.execute("getfd", {"fdname": "x"}, fd=writer)
        os.close(writer)
        os.write(fake.descriptors[0], b"through")
        assert os.read(reader, 100) == b"through"
        for descriptor in (reader, *fake.descriptors):
            os.close(descriptor)


async def test_events_reach_those_who_listen_and_are_kept_nowhere():
    async with connected() as (qmp, fake):
        heard, done = [], anyio.Event()

        def listen(event):
            heard.append(event["event"])
            if event["event"] == "LAST":
                done.set()

        fake.send({"event": "EARLY", "data": {}, "timestamp": {"seconds": 0, "microseconds": 0}})
        await qmp.status()
        with qmp.listening(listen):
            for name in ("ONE", "LAST"):
                fake.send({"event": name, "data": {}, "timestamp": {"seconds": 0, "microseconds": 0}})
            with anyio.fail_after(5):
                await done.wait()
        fake.send({"event": "LATE", "data": {}, "timestamp": {"seconds": 0, "microseconds": 0}})
        await qmp.status()
        assert heard == ["ONE", "LAST"]
        assert qmp._client.events.empty()
        assert qmp._client.events.history == ()


async def test_a_qemu_that_went_away_or_does_not_answer_is_a_machine_error(caplog, monkeypatch):
    async with connected() as (qmp, fake):
        monkeypatch.setattr(qmp_module, "_PATIENCE", 0.1)
        with pytest.raises(MachineError, match="does not answer"):
            await qmp.execute("hang")
        assert await qmp.status() == "running", "one lost answer is not the end"
        fake.socket.shutdown(socket.SHUT_RDWR)
        with pytest.raises(MachineError, match="QEMU is gone"):
            await qmp.status()
        with pytest.raises(MachineError):
            await qmp.status()
    assert caplog.records == []


async def test_a_silent_socket_is_no_qemu():
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(MachineError, match="did not start"):
        await Qmp.connect(ours, 0.1)
    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises(MachineError, match="did not start"):
        await Qmp.connect(ours, 5)
