"""What a command takes: wall time, and the largest resident set of it and of the processes that it waits for.

Usage: ``python benchmarks/cost.py COMMAND ..`` prints that as JSON; :func:`measured` gives it to another module. Linux
and macOS: Windows has no wait4.

The command is started by this small script, and not by whoever asks. On Linux a process begins its life with the peak
of the one that started it, so that beside a parent that has imported torch everything seems to take 400 MiB.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple


class Cost(NamedTuple):
    """Wall time, the largest resident set as /usr/bin/time has it, the exit status, and all that was printed."""

    seconds: float
    mebibytes: float
    status: int
    output: str


def measured(command: list[str], folder: str | None = None) -> Cost:
    """Run ``command`` in ``folder`` and measure it."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        started = [sys.executable, "-S", __file__, *command]
        watcher = subprocess.run(started, cwd=folder, check=True, stdout=subprocess.PIPE, stderr=output)
        output.seek(0)
        return Cost(*json.loads(watcher.stdout), output.read())


def watch(command: list[str]) -> tuple[float, float, int]:
    """Seconds, MiB and status of ``command``, whose output all goes to standard error."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=sys.stderr)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)  # Popen need not wait for it again
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return seconds, used.ru_maxrss / unit, process.returncode


if __name__ == "__main__":
    print(json.dumps(watch(sys.argv[1:])))
