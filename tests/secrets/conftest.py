"""A user's directories, and an environment that leads to no keyring; a real keyring for those who ask."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandboxfile.host.layout import Layout

KEYRING_PROGRAMS = ("secret-tool", "gnome-keyring-daemon", "dbus-daemon", "dbus-send")
VALUE = "sk-test-4eC39HqLyjWDarjtT1zdp7dc"


@pytest.fixture
def layout(clean_home: Path) -> Layout:
    return Layout(clean_home / "state", clean_home / "cache", clean_home / "run", clean_home / "config")


@pytest.fixture
def environ(clean_home: Path) -> dict[str, str]:
    return {"HOME": str(clean_home), "PATH": os.environ["PATH"]}


@pytest.fixture
def value() -> str:
    return VALUE


@pytest.fixture
def bus(clean_home: Path, environ: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment of a session whose bus nobody is on yet."""
    if missing := [name for name in KEYRING_PROGRAMS if shutil.which(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)} (scripts/test installs them)")
    address = f"unix:path={clean_home}/bus"
    daemon = subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={address}", "--print-address"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environ,
        start_new_session=True,
    )
    assert daemon.stdout is not None
    with daemon:
        try:
            assert daemon.stdout.readline()
            yield environ | {"DBUS_SESSION_BUS_ADDRESS": address, "XDG_RUNTIME_DIR": str(clean_home)}
        finally:
            os.killpg(daemon.pid, signal.SIGKILL)  # with what it activated


def has_keyring(bus: dict[str, str]) -> bool:
    """Asked of the bus: who asks for the service itself starts another one, which is locked."""
    question = ("org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.secrets")
    argv = [
        "dbus-send",
        "--session",
        "--print-reply",
        "--dest=org.freedesktop.DBus",
        "/org/freedesktop/DBus",
        *question,
    ]
    done = subprocess.run(argv, env=bus, capture_output=True, text=True, timeout=30, check=True)
    return "boolean true" in done.stdout


@pytest.fixture
def keyring_environ(clean_home: Path, bus: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment of a session with an unlocked keyring."""
    daemon = subprocess.Popen(
        ["gnome-keyring-daemon", "--unlock", "--components=secrets", "--foreground"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=bus,
        cwd=clean_home,
    )
    with daemon:
        try:
            assert daemon.stdin is not None
            daemon.stdin.write(b"password\n")
            daemon.stdin.close()
            deadline = time.monotonic() + 30
            while not has_keyring(bus):
                assert time.monotonic() < deadline, "the keyring did not come up"
            yield bus
        finally:
            daemon.kill()
