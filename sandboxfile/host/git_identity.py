"""Who commits are by on this host, as git says: from this user's own configuration, and no repository's."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

_PATIENCE = 10.0  # seconds
_LIMIT = 1000  # characters of a name


def git_identity(home: Path, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Name and address, None when git is not there or does not know both."""
    name, email = (_asked(key, home, environ) for key in ("user.name", "user.email"))
    return (name, email) if name and email else None


def _asked(key: str, home: Path, environ: Mapping[str, str]) -> str | None:
    # With --global git reads no included files unless told to.
    argv = ["git", "config", "--global", "--includes", "--get", key]
    try:
        done = subprocess.run(
            argv,
            cwd=home,
            env={**environ, "HOME": str(home), "GIT_DIR": "/nonexistent"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
        text = done.stdout.decode().removesuffix("\n")
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return text if done.returncode == 0 and text.isprintable() and len(text) <= _LIMIT else None
