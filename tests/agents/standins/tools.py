"""Which of the tools that a client offers writes the task's file, and with what arguments.

A tool for files is preferred, then one for commands: by the name, and only with arguments that its schema knows.
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from .server import Task

_FILES = ("Write", "write", "write_file", "create", "create_file")
_SHELLS = ("Bash", "bash", "shell", "shell_command", "exec_command", "run_shell_command", "local_shell")
_PATHS = ("file_path", "filePath", "path", "absolute_path")
_CONTENTS = ("content", "file_text", "contents")
_COMMANDS = ("command", "cmd", "commands")
_DIRECTORY = re.compile(r"(?:[Ww]orking directory: *|<cwd>)(/[^\n<]*)")


@dataclass(frozen=True)
class Call:
    name: str
    arguments: dict[str, Any]


def call_for(task: Task, offered: Mapping[str, Mapping[str, Any]], directory: str | None) -> Call | None:
    """`offered`: JSON schemas of arguments by tool. None when no tool is known to write files."""
    by_file = (_file_call(task, name, offered[name], directory) for name in _FILES if name in offered)
    by_shell = (_shell_call(task, name, offered[name]) for name in _SHELLS if name in offered)
    return next((call for calls in (by_file, by_shell) for call in calls if call is not None), None)


def directory_in(*said: object) -> str | None:
    """Where the client works, as it tells the model in system prompts or messages."""
    found = _DIRECTORY.search(json.dumps(said).replace("\\n", "\n"))
    return found[1].strip() if found else None


def patch(task: Task) -> str:
    """For a tool that applies patches: a file that was not there. The content has to end with a newline."""
    assert task.content.endswith("\n")
    lines = [f"+{line}\n" for line in task.content.splitlines()]
    return f"*** Begin Patch\n*** Add File: {task.file}\n{''.join(lines)}*** End Patch\n"


def _file_call(task: Task, name: str, schema: Mapping[str, Any], directory: str | None) -> Call | None:
    known = schema.get("properties", {})
    path = next((each for each in _PATHS if each in known), None)
    content = next((each for each in _CONTENTS if each in known), None)
    if path is None or content is None or directory is None:
        return None
    return Call(name, {path: str(PurePosixPath(directory, task.file)), content: task.content, **_rest(schema)})


def _shell_call(task: Task, name: str, schema: Mapping[str, Any]) -> Call | None:
    known = schema.get("properties", {})
    command = next((each for each in _COMMANDS if each in known), None)
    if command is None:
        return None
    line = shell_line(task)
    words = known[command].get("type") == "array"
    return Call(name, {command: ["sh", "-c", line] if words else line, **_rest(schema)})


def shell_line(task: Task) -> str:
    return f"printf %s {shlex.quote(task.content)} > {shlex.quote(task.file)}"


def _rest(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Texts that a schema wants besides: what the call is for."""
    known = schema.get("properties", {})
    return {name: "Write the file" for name in ("description",) if name in schema.get("required", ()) and name in known}
