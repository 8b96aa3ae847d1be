"""Answers each control message out of a sandbox. What fails is raised; the server turns it into `Failed`."""

import anyio

from sandboxfile.control.messages import (
    Attach,
    AttachAgent,
    AttachVolume,
    CheckAgent,
    CopyDisk,
    Detach,
    DetachVolume,
    Done,
    Exec,
    Forward,
    GetStatus,
    GrowDisk,
    GrowVolume,
    Output,
    Progress,
    Provide,
    Resume,
    RunSetup,
    SetPolicy,
    SetPorts,
    SetupDone,
    Started,
    StartMain,
    StatusReply,
    Stop,
    Update,
    WaitHealthy,
    WaitReady,
)
from sandboxfile.control.server import Conversation
from sandboxfile.errors import ControlError, GuestError
from sandboxfile.supervisor.agent import prepare_agent
from sandboxfile.supervisor.copying import copy_disk
from sandboxfile.supervisor.executing import execute
from sandboxfile.supervisor.lifecycle import MainWanted, StopAsked
from sandboxfile.supervisor.sandbox import Sandbox
from sandboxfile.supervisor.setup import record_setup_done, run_setup_command


async def answer(sandbox: Sandbox, conversation: Conversation) -> None:
    """Do what was asked, and reply. Whatever does not merely look keeps the sandbox awake until it is done."""
    if isinstance(conversation.request, GetStatus | WaitReady | Forward):  # of a forward its connections do
        await _answer(sandbox, conversation)
    else:
        with sandbox.idle.during():
            await _answer(sandbox, conversation)


async def _answer(sandbox: Sandbox, conversation: Conversation) -> None:
    match conversation.request:
        case GetStatus():
            await conversation.send(StatusReply(await sandbox.status()))
        case WaitReady():
            await _wait_ready(sandbox, conversation)
        case Exec() as command:
            await execute(conversation, command, await sandbox.guest(), sandbox.spec, sandbox.image_env)
        case AttachAgent() as message:
            guest = await sandbox.guest()
            await sandbox.session.attach(conversation, message, guest, sandbox.spec, sandbox.image_env)
        case RunSetup(first):
            async with conversation.while_connected():
                await _run_setup(sandbox, conversation, first)
        case Forward(port):
            with sandbox.idle.during():
                await sandbox.guest()
            async with conversation.while_connected(), sandbox.ports.forward(port):
                await conversation.send(Started())
                await anyio.sleep_forever()
        case WaitHealthy():
            async with conversation.while_connected():
                await sandbox.health.wait(sandbox.guest)
                await conversation.send(Done())
        case Provide(values):  # also while it boots
            await sandbox.provide(values)
            await conversation.send(Done())
        case Stop(timeout):
            sandbox.stop_timeout = timeout
            sandbox.conductor.tell(StopAsked())
            await sandbox.gone.wait()
            await conversation.send(Done())
        case _:
            await _change(sandbox, conversation)
            await conversation.send(Done())


async def _change(sandbox: Sandbox, conversation: Conversation) -> None:
    """One effect on a sandbox that is ready."""
    await sandbox.guest()
    match conversation.request:
        case Attach() | Detach() | AttachVolume() | DetachVolume() | GrowVolume() as message:
            await _change_mounts(sandbox, message)
        case GrowDisk(size):
            async with sandbox.copying.turn:
                await _grow_disk(sandbox, size)
        case CopyDisk(label):
            with sandbox.idle.during():
                await copy_disk(sandbox, label)
        case SetPolicy(policy):
            await sandbox.set_policy(policy)
        case SetPorts(ports):
            await sandbox.set_ports(ports)
        case Update(spec):
            await sandbox.update(spec)
        case CheckAgent():
            await prepare_agent(await sandbox.guest(), sandbox.spec, sandbox.image_env)
            sandbox.agent_found = True
        case StartMain():
            sandbox.conductor.tell(MainWanted())
        case Resume():
            async with sandbox.copying.turn:
                await (await sandbox.machine()).qmp.resume()
        case other:
            raise ControlError(f"{type(other).__name__} is not a request")


async def _change_mounts(sandbox: Sandbox, message: Attach | Detach | AttachVolume | DetachVolume | GrowVolume) -> None:
    match message:
        case Attach(workspace):
            try:
                await sandbox.workspaces.attach(workspace)
            finally:  # those inside it may have gone with it, also when it does not come back
                await sandbox.volumes.mount_below(workspace.target)
        case Detach(target):
            try:
                await sandbox.workspaces.detach(target)
            finally:
                await sandbox.volumes.mount_below(target)
        case AttachVolume(mount):
            await sandbox.volumes.attach(mount)
        case DetachVolume(target):
            await sandbox.volumes.detach(target)
        case GrowVolume(volume, size):
            await sandbox.volumes.grow(volume, size)


async def _grow_disk(sandbox: Sandbox, size: int) -> None:
    machine = await sandbox.machine()
    if size > await machine.qmp.disk_size():
        await machine.qmp.grow_disk(size)
    ended = await (await sandbox.guest()).run(("/run/sbx/bin/grow-root",), timeout=300)
    if ended.code != 0:
        raise GuestError("the file system inside could not be made larger", output=ended.output)


async def _wait_ready(sandbox: Sandbox, conversation: Conversation) -> None:
    told = 0
    while True:
        news = sandbox.news.next
        for message in sandbox.progress[told:]:
            await conversation.send(Progress(message))
        told = len(sandbox.progress)
        if sandbox.ready.is_set():
            break
        async with anyio.create_task_group() as group:  # whichever comes first
            group.start_soon(_first, news, group)
            group.start_soon(_first, sandbox.ready, group)
    sandbox.told.set()
    await sandbox.guest()
    await conversation.send(Done())


async def _first(event: anyio.Event, group: anyio.abc.TaskGroup) -> None:
    await event.wait()
    group.cancel_scope.cancel()


async def _run_setup(sandbox: Sandbox, conversation: Conversation, first: int) -> None:
    try:
        async with sandbox.setup_turn:
            sandbox.notice()
            await _set_up(sandbox, conversation, first)
    finally:
        sandbox.notice()
    await conversation.send(Done())


async def _set_up(sandbox: Sandbox, conversation: Conversation, first: int) -> None:
    for index in range(first, len(sandbox.spec.setup)):
        await run_setup_command(
            index,
            await sandbox.guest(),
            sandbox.spec,
            sandbox.image_env,
            sandbox.main_log,
            lambda line: conversation.send(Output(line)),
        )
        await record_setup_done(sandbox.paths, index + 1)
        await conversation.send(SetupDone(index))
