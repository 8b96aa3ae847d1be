"""The systemd user unit of a reconciler: its text (pure), and putting it where systemd looks.

The sandboxes that it starts live on in its control group when it ends, so the unit ends the loop alone
(`KillMode=process`). They inherit whatever the unit forbids: no-new-privileges would keep newuidmap from giving them
their user ids, and private or read-only directories would hide their workspaces; the unit does without.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandboxfile.errors import HostError
from sandboxfile.host.durable import write_atomic

_PASSED_ON = ("PATH", "SBX_HOME", "SBX_ACCEL", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "PYTHONPATH")
_PATIENCE = 60.0  # seconds


def unit_name(name: str) -> str:
    return f"sbx-reconcile-{name}.service"


def unit_path(name: str, environ: Mapping[str, str], home: Path) -> Path:
    """Where a user's own units are."""
    given = environ.get("XDG_CONFIG_HOME", "")
    config = Path(given) if given.startswith("/") else home / ".config"
    return config / "systemd" / "user" / unit_name(name)


def unit_text(name: str, argv: Sequence[str], environ: Mapping[str, str]) -> str:
    """The unit. `argv`: an absolute program and its arguments."""
    kept = [(key, environ[key]) for key in _PASSED_ON if environ.get(key)]
    return "\n".join(
        [
            "# Made by `sbx reconcile --install`, which writes it anew.",
            "[Unit]",
            f"Description=sandboxes as {name} describes them (sbx reconcile)",
            "Documentation=man:systemd.service(5)",
            "StartLimitIntervalSec=10min",
            "StartLimitBurst=10",
            "",
            "[Service]",
            "Type=exec",
            f"ExecStart={' '.join(map(_quoted, argv))}",
            *(f"Environment={_quoted(f'{key}={value}', expands=False)}" for key, value in kept),
            "WorkingDirectory=%h",
            "# A step under way is finished; sandboxes go on without the loop.",
            "KillMode=process",
            "TimeoutStopSec=5min",
            "Restart=on-failure",
            "RestartSec=10s",
            "# A machine that runs out of memory does not take the loop along.",
            "OOMPolicy=continue",
            "UMask=0077",
            "StandardInput=null",
            "",
            "[Install]",
            "WantedBy=default.target",
            "",
        ]
    )


def own_program() -> list[str]:
    """How this very sbx is started again, by absolute paths."""
    program = Path(sys.argv[0])
    if program.is_absolute() and program.name in ("sbx", "sandboxfile") and os.access(program, os.X_OK):
        return [str(program)]
    return [sys.executable, "-m", "sandboxfile"]


def install(path: Path, text: str) -> None:
    """Write the unit, and have systemd read it where it runs for this user."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode())
    path.chmod(0o644)
    if manager_runs():
        systemctl("daemon-reload")


def uninstall(path: Path) -> bool:
    """Stop it and take it away; whether there was one. Sandboxes stay as they are."""
    found = path.exists()
    if found and manager_runs():
        systemctl("disable", "--now", path.name)
    path.unlink(missing_ok=True)
    if found and manager_runs():
        systemctl("daemon-reload")
    return found


def manager_runs() -> bool:
    """Whether there is a systemd for this user that answers."""
    if shutil.which("systemctl") is None:
        return False
    argv = ["systemctl", "--user", "show-environment"]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def systemctl(*words: str) -> None:
    """Raises HostError."""
    argv = ["systemctl", "--user", *words]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise HostError(f"cannot run systemctl: {exc}", command=argv) from exc
    if done.returncode != 0:
        raise HostError(f"systemctl {words[0]} failed", command=argv, output=done.stderr)


def _quoted(word: str, *, expands: bool = True) -> str:
    """A word as systemd.syntax(7) wants it; in command lines `$` is special too."""
    escaped = "".join(_ESCAPES.get(character, character) for character in word)
    return f'"{escaped.replace("$", "$$") if expands else escaped}"'


_ESCAPES = {"\\": "\\\\", '"': '\\"', "%": "%%", "\n": "\\n", "\t": "\\t"}
