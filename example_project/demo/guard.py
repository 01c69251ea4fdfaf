"""Outlives the demo's supervisor by a moment, to end what a killed supervisor could not.

Reads from stdin, a line each: `+123` for a process group that was started, `-123` for one that has ended. When the
pipe closes, which it does however the supervisor ends, kill -9 included, it kills the groups that are left,
grandchildren and all. It needs nothing but POSIX and imports neither Django nor the project: run it as a file.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterable


def survivors(lines: Iterable[str]) -> list[int]:
    """Return the groups that were started and have not ended, in order of their start."""
    groups: dict[int, None] = {}
    for line in lines:
        group = int(line[1:])
        if line.startswith("+"):
            groups[group] = None
        else:
            groups.pop(group, None)
    return list(groups)


def main() -> None:
    # The supervisor's end is what counts; Ctrl-C and the closing terminal are not meant for this process.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for group in survivors(sys.stdin):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
