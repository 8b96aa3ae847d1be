"""A client's command inside: its streams joined to the client's descriptors, its end told, nothing left behind."""

import os
import re
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from sandboxfile.control.messages import Exec, Exited, Resize, Signal, Started
from sandboxfile.control.server import Conversation
from sandboxfile.errors import CommandError, ControlError, GuestError, HostError
from sandboxfile.guest.commands import NO_DIRECTORY
from sandboxfile.guest.config import PATH
from sandboxfile.guest.network import environment_beneath
from sandboxfile.guest.process import Process, Terminal
from sandboxfile.host.tasks import beside, together
from sandboxfile.images.config import ImageConfig
from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.supervisor.streams import opened

if TYPE_CHECKING:  # it loads asyncssh, which can wait until the kernel boots
    from sandboxfile.guest.channel import Guest

_SIGNAL = re.compile(r"[A-Z][A-Z0-9]{1,9}\Z")
_PIPE_BROKEN = 128 + signal.SIGPIPE
_OF_A_LOGIN = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "HOSTNAME", "TERM")
_PATH = re.compile(r"""[^"\\\x00-\x1f]{1,8192}\Z""")  # what sshd's configuration can quote
Variables = tuple[tuple[str, str], ...]


def environment(spec: DesiredSandbox, *more: tuple[str, str], image: Variables = ()) -> Variables:
    """The sandbox's variables, overridden by `more`, above those of its network, above those of its image."""
    own = {**dict(spec.env), **dict(more)}
    above = environment_beneath(own.items(), spec.policy.settings)
    taken = {name.lower() for name, _ in above}
    return (*((name, value) for name, value in image if name.lower() not in taken), *above)


def image_environment(config: ImageConfig) -> Variables:
    """The variables of an image that its sandboxes get: not those that say who and where somebody is, nor PATH."""
    return tuple((name, value) for name, value in config.env if name not in _OF_A_LOGIN)


def image_path(config: ImageConfig) -> str:
    """The PATH of an image's processes; the usual one when it does not say, or says what no login can have."""
    path = dict(config.env).get("PATH", "")
    return path if _PATH.match(path) else PATH


async def execute(
    conversation: Conversation, command: Exec, guest: "Guest", spec: DesiredSandbox, image: Variables = ()
) -> None:
    """Answer an `Exec`. The command ends with its client, except a detached one. Raises GuestError, CommandError."""
    user, cwd = command.user or spec.user, command.cwd or spec.workdir
    env = environment(spec, *command.env, image=image)
    if not command.argv:
        raise ControlError("a command needs a program")
    if command.detach:
        ended = await guest.start_detached(command.argv, user=user, cwd=cwd, env=env)
        await _check_directory(ended.code, guest, cwd, user)
        if ended.code != 0:
            raise CommandError(f"cannot start {command.argv[0]} inside", ended.code, output=ended.output)
        await conversation.send(Started())
        return
    terminal = Terminal(command.term or "dumb", command.rows, command.columns) if command.tty else None
    process = await guest.start(command.argv, user=user, cwd=cwd, env=env, terminal=terminal)
    try:
        code = await _accompany(process, command, conversation, guest)
    finally:
        process.close()
    if code is not None:
        await _check_directory(code, guest, cwd, user)
        await conversation.send(Exited(code))


async def _check_directory(code: int, guest: "Guest", cwd: str, user: str) -> None:
    if code == NO_DIRECTORY and not await guest.has_directory(cwd, user):
        raise GuestError(
            f"{user} cannot enter the directory {cwd} inside the sandbox",
            hint="name another with -w; workspaces are at the paths that `sbx status NAME` shows",
        )


async def _accompany(process: Process, command: Exec, conversation: Conversation, guest: "Guest") -> int | None:
    """Join the streams until the command's end; its exit code, or None when the client is gone."""
    gone = False

    async def listen() -> None:
        nonlocal gone
        await _obey(conversation, process, guest)
        gone = True
        group.cancel_scope.cancel()

    try:
        await conversation.send(Started())
        async with beside(listen) as group:
            if command.stdin:
                group.start_soon(_feed, conversation.descriptors[0], process)
            elif not command.tty:
                process.write_eof()
            await _drain(process, conversation.descriptors)
            return await process.wait()
    except ControlError:
        gone = True
    except BrokenPipeError:
        await guest.end(process)
        return process.code if process.code is not None and process.code < 128 else _PIPE_BROKEN
    except OSError as exc:
        await guest.end(process)
        raise HostError(f"cannot pass the command's output on: {exc.strerror}") from exc
    except GuestError:
        await guest.end(process)
        raise
    if gone:
        await guest.end(process)
    return None


async def _obey(conversation: Conversation, process: Process, guest: "Guest") -> None:
    """Do what the client says while its command runs; return when it is gone."""
    with suppress(ControlError):
        while (said := await conversation.receive()) is not None:
            match said:
                case Resize(rows, columns):
                    process.resize(rows, columns)
                case Signal(name) if _SIGNAL.match(name):
                    with suppress(GuestError):
                        await guest.signal(process, name)
                case _:
                    return


async def _feed(descriptor: int, process: Process) -> None:
    """stdin, until its end or the command's: not one byte of what the user types next is taken."""

    async def until_exit() -> None:
        with suppress(GuestError):
            await process.wait()
        group.cancel_scope.cancel()

    async with beside(until_exit) as group, opened(descriptor, os.O_RDONLY) as source:
        with suppress(OSError):  # the command has ended, or the terminal hung up
            while data := await source.read():
                await process.write(data)
        process.write_eof()


async def _drain(process: Process, descriptors: tuple[int, ...]) -> None:
    """stdout and stderr, until both have ended. Raises OSError when one cannot be written."""

    async def pump(read: Callable[[], Awaitable[bytes]], descriptor: int) -> None:
        async with opened(descriptor, os.O_WRONLY) as sink:
            while data := await read():
                await sink.write(data)

    await together(
        lambda: pump(process.read_stdout, descriptors[1]),
        lambda: pump(process.read_stderr, descriptors[2]),
    )
