"""What a detached process says about itself: lines on its stderr, which is a log file that cannot grow for ever."""

import fcntl
import os
import sys
from datetime import UTC, datetime

_LIMIT = 1 << 20  # bytes


def say(line: str) -> None:
    """A line with the time in front; the file is begun anew when it has become long."""
    try:
        number = sys.stderr.fileno()
        if os.fstat(number).st_size > _LIMIT:
            fcntl.fcntl(number, fcntl.F_SETFL, fcntl.fcntl(number, fcntl.F_GETFL) | os.O_APPEND)
            os.ftruncate(number, 0)
    except OSError:
        pass  # not a file
    print(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {line}", file=sys.stderr, flush=True)
