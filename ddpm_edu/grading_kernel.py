"""A notebook's cells run one by one in a kernel of their own, with an end for everything that may have none.

This talks to the kernel through jupyter_client itself, as nbclient does, because a stranger's notebook needs what
nbclient does not give: output is counted and thrown away, never collected; a dead kernel is noticed at once; a cell
that is out of time is interrupted, and where that does not help the kernel and all its children are killed.

It is no sandbox: the code runs as the user who runs this.
"""

import contextlib
import math
import os
import queue
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from ddpm_edu.errors import DataError
from ddpm_edu.exercises import progress_store

START = 120.0  # seconds for a kernel to start
GRACE = 5.0  # seconds for an interrupted cell to end
SETTLE = 2.0  # seconds for the last output of a cell that has ended
MOST_OUTPUT = 2 * 10**7  # characters that a cell may print or show
LONGEST = 300  # characters of an error that are kept
HOME = "IPYTHONDIR"  # a folder of ours, which no other process is told of: so it names the children of a kernel


@dataclass(frozen=True)
class Limits:
    """Seconds for each cell, and for all cells of a notebook together."""

    cell: float = 300.0
    total: float = 900.0


@dataclass(frozen=True)
class Ran:
    """One cell that was reached: what the checks in it recorded, and in a line what went wrong.

    ``stopped``: it did not end by itself. ``lost``: and the kernel is gone with it.
    """

    records: dict[str, progress_store.Entry] = field(default_factory=dict)
    fault: str = ""
    stopped: bool = False
    lost: bool = False


@dataclass(frozen=True)
class Run:
    """The cells that were reached, in order, and in a few words why no others; nothing where all were."""

    cells: list[Ran]
    ended: str = ""


def run(sources: list[str], folder: Path, limits: Limits) -> Run:
    """Run the cells in the folder ``folder``, each as far as it comes. Raises DataError where no kernel starts.

    An error in one cell, or a cell that is out of time, is noted, and the next cell has its turn.
    """
    end, over = time.monotonic() + limits.total, f"the time for the whole notebook, {limits.total:g} s, was over"
    reached: list[Ran] = []
    with _kernel(folder) as kernel:
        for source in sources:
            left = end - time.monotonic()
            if left <= 0:
                return Run(reached, over)
            ran = kernel.run(source, min(limits.cell, left))
            if ran.stopped and time.monotonic() >= end:  # cut off by the end of all time: not to blame
                return Run([*reached, Ran(ran.records, over)], over)
            reached.append(ran)
            if ran.lost:
                return Run(reached, ran.fault)
    return Run(reached)


# ---------------------------------------------------------------- one cell


class DiedError(Exception):
    """The kernel's process has ended."""


class _Kernel:
    """A running kernel and its channels. ``progress`` is the file that its checks write into."""

    def __init__(self, manager: Any, client: Any, progress: Path) -> None:
        self.manager, self.client, self.progress = manager, client, progress

    def run(self, source: str, seconds: float) -> Ran:
        """One cell, for so many seconds at most, and a few more where it does not stop when it is told to."""
        with contextlib.suppress(OSError):
            self.progress.unlink(missing_ok=True)  # what is in it afterwards is of this cell
        cell = _Listener(self, self.client.execute(source, allow_stdin=False, stop_on_error=False))
        try:
            reason = cell.follow(seconds, MOST_OUTPUT)
            if not reason:
                return Ran(self.recorded(), cell.error)
            self.manager.interrupt_kernel()
            stayed = cell.follow(GRACE, math.inf)
        except DiedError:
            return Ran(self.recorded(), "its kernel died", stopped=True, lost=True)
        fault = f"it {reason} and was interrupted" + (", did not stop, and was killed" if stayed else "")
        return Ran(self.recorded(), fault, stopped=True, lost=bool(stayed))

    def recorded(self) -> dict[str, progress_store.Entry]:
        """What checks have written since the cell began; nothing where that is no file of progress."""
        try:
            return progress_store.parse(progress_store.content(self.progress))
        except (OSError, ValueError, RecursionError):
            return {}

    def message(self) -> dict[str, Any] | None:
        """The next one that the kernel publishes, if one comes soon. Raises DiedError."""
        try:
            return self.client.get_iopub_msg(timeout=0.2)
        except queue.Empty:
            if not self.manager.is_alive():
                raise DiedError from None
            return None

    def has_replied(self, request: str) -> bool:
        """Whether an answer to ``request`` has come; it comes once."""
        try:
            return self.client.get_shell_msg(timeout=0)["parent_header"].get("msg_id") == request
        except queue.Empty:
            return False


class _Listener:
    """Hears what one cell does: its first error is kept, its output only counted."""

    def __init__(self, kernel: _Kernel, request: str) -> None:
        self.kernel, self.request = kernel, request
        self.error, self.shown, self.replied = "", 0, False

    def follow(self, seconds: float, most: float) -> str:
        """Nothing when the cell has ended; or why it should be stopped, after ``seconds`` or ``most`` characters."""
        end = time.monotonic() + seconds
        while True:
            message = self.kernel.message()
            if message is not None and message["parent_header"].get("msg_id") == self.request:
                if _is_the_end(message):
                    return ""
                self.error = self.error or _error(message)
                self.shown += _length(message)
            if not self.replied and self.kernel.has_replied(self.request):
                self.replied, end = True, time.monotonic() + SETTLE
            if time.monotonic() > end:
                # Whatever has replied has ended, though a flood of output may have swallowed the word that says so.
                return "" if self.replied else f"ran longer than {seconds:.4g} s"
            if self.shown > most:
                return f"showed more than {most:,} characters"


def _is_the_end(message: dict[str, Any]) -> bool:
    return message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"


def _error(message: dict[str, Any]) -> str:
    if message["msg_type"] != "error":
        return ""
    content = message["content"]
    return one_line(f"{content.get('ename', '')}: {content.get('evalue', '')}")


def _length(message: dict[str, Any]) -> int:
    content = message["content"]
    shown = content.get("data") or {}
    return len(content.get("text", "")) + sum(len(value) for value in shown.values() if isinstance(value, str))


def one_line(text: str) -> str:
    """What a notebook says, fit for a terminal: one line, not long, without control characters."""
    words = " ".join(text[: 10 * LONGEST].split())
    line = "".join(c if c.isprintable() else "?" for c in words)
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."


# ---------------------------------------------------------------- a kernel's life


@contextlib.contextmanager
def _kernel(folder: Path) -> Iterator[_Kernel]:
    """A kernel of this Python in ``folder``. When the block ends, it and every process that it started are killed."""
    home = folder / ".kernel"
    (home / "ipython").mkdir(parents=True)
    # No kernel of the user's own: answers are judged by the ddpm_edu that is running.
    manager = KernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    manager.connection_file = str(home / "connection.json")
    told = {
        HOME: str(home / "ipython"),
        progress_store.VARIABLE: str(home / "progress.json"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    try:
        client = _started(manager, folder, told)
        try:
            yield _Kernel(manager, client, home / "progress.json")
        finally:
            client.stop_channels()
    finally:
        _end(manager, told[HOME])


def _started(manager: Any, folder: Path, told: dict[str, str]) -> Any:
    """The client of a kernel that is ready. Raises DataError."""
    environment, nowhere = {**os.environ, **told}, subprocess.DEVNULL
    try:
        manager.start_kernel(cwd=str(folder), env=environment, stdout=nowhere, stderr=nowhere)
        client = manager.blocking_client()
        client.start_channels()
        client.wait_for_ready(timeout=START)
    except (RuntimeError, OSError) as error:
        raise DataError(f"no kernel starts: {error}. `python -m ddpm_edu doctor` says what to do.") from error
    return client


def _end(manager: Any, home: str) -> None:
    """Kill the kernel with its process group, then those of its children that have left the group."""
    with contextlib.suppress(RuntimeError, OSError):
        manager.shutdown_kernel(now=True)
    for _ in range(10):  # who is killed may have started another
        strays = list(_told_of(home))
        for stray in strays:
            with contextlib.suppress(psutil.Error):
                stray.kill()
        if not strays:
            break
        psutil.wait_procs(strays, timeout=1)


def _told_of(home: str) -> Iterator[psutil.Process]:
    """The running processes whose environment has our folder: children of the kernel, however far they went."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(HOME) == home:
                yield process
