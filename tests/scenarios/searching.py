"""Where a value must not be: the machine's memory and disk, everything sbx keeps, and what processes were told.

`found(sbx, value)` looks through all of it and names each place. The supervisor's and the gateway's own memory is where
values are meant to be.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CHUNK = 8 << 20


def found(sbx: Any, value: str) -> list[str]:
    """Every place that has these bytes, of a test whose sandbox runs."""
    return [*_in_machines(sbx, value.encode()), *_kept(sbx, value)]


def _kept(sbx: Any, value: str) -> Iterator[str]:
    """Files of the state and the cache (disks among them), and environments and arguments of all our processes."""
    needle = value.encode()
    for path in (*sbx.state.rglob("*"), *(sbx.root / "run").rglob("*")):
        if path.is_file() and _contains(path, needle):
            yield str(path)
    for pid in sbx.processes():
        for name in ("environ", "cmdline"):
            if needle in Path(f"/proc/{pid}/{name}").read_bytes():
                yield f"{name} of {pid}"


def _in_machines(sbx: Any, needle: bytes) -> Iterator[str]:
    """The whole memory of QEMU: the guest's, and its own."""
    machines = sbx.processes("qemu")
    assert machines, "nothing runs"
    for pid in machines:
        size = 0
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for start, end in _regions(pid):
                for offset in range(start, end, _CHUNK):
                    try:
                        memory.seek(offset)
                        data = memory.read(min(_CHUNK, end - offset) + len(needle))
                    except (OSError, ValueError, OverflowError):  # not mapped to anything
                        continue
                    size += len(data)
                    if needle in data:
                        yield f"memory of machine {pid}"
                        return
        assert size > 100 << 20, f"only {size} bytes of the machine's memory could be read"


def _regions(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, rights, *_ = line.split()
        if rights.startswith("r") and not line.endswith(("[vvar]", "[vsyscall]")):
            start, end = (int(part, 16) for part in span.split("-"))
            yield start, end


def _contains(path: Path, needle: bytes) -> bool:
    overlap = b""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return False
        while data := file.read(_CHUNK):
            if needle in overlap + data:
                return True
            overlap = data[-len(needle) :]
    return False
