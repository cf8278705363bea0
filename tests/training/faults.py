"""Work in a forked child, so that it can be killed, starved of disk and interrupted for real.

Forked, not started: the child has torch loaded and begins at once. Every child is waited for, and none outlives its
limit, here or where this process dies first.
"""

import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

LIMIT = 60  # seconds


class Ended(NamedTuple):
    """How a child has ended: by exit (0: well, 1: an exception) or by a signal, and what it wrote."""

    code: int | None
    signal: int | None
    text: str

    @property
    def well(self) -> bool:
        return self.code == 0

    @property
    def killed(self) -> bool:
        return self.signal == signal.SIGKILL


def forked(
    work: Callable[[], object],
    when: Callable[[], bool] | None = None,
    send: int = signal.SIGKILL,
    limit: float = LIMIT,
) -> Ended:
    """Runs ``work()`` in a child; once ``when()`` is true, here in the parent, the child is sent the signal ``send``.

    Raises TimeoutError, with what the child wrote, where it is not done within ``limit`` seconds.
    """
    with tempfile.TemporaryFile() as out:
        pid = os.fork()
        if pid == 0:
            _child(work, out.fileno(), limit)
        status, deadline = None, time.monotonic() + limit
        try:
            while (status := _status(pid)) is None and time.monotonic() < deadline:
                if when is not None and when():
                    os.kill(pid, send)
                    when = None
                time.sleep(0.001)
        finally:
            if status is None:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        out.seek(0)
        text = out.read().decode(errors="replace")
    if status is None:
        raise TimeoutError(f"not done within {limit} s:\n{text}")
    by_signal = os.WIFSIGNALED(status)
    return Ended(None if by_signal else os.WEXITSTATUS(status), os.WTERMSIG(status) if by_signal else None, text)


def die() -> None:
    """What a power cut does to this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def dying(function: Callable[..., Any], call: int, after: bool = False) -> Callable[..., Any]:
    """``function``, but its call number ``call`` (1, 2, ..) is the end of the process: before it, or ``after``."""
    calls = iter(range(1, 1_000_000))

    def wrapped(*args: Any, **options: Any) -> Any:
        last = next(calls) == call
        if last and not after:
            die()
        result = function(*args, **options)
        if last:
            die()
        return result

    return wrapped


def events(work: Callable[[], object]) -> int:
    """How many times ``work()`` calls or returns, in Python and into C: the places where :func:`dies_at` can end it."""
    seen = 0

    def count(*_: object) -> None:
        nonlocal seen
        seen += 1

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return seen


def dies_at(event: int, work: Callable[[], object]) -> Callable[[], object]:
    """``work``, killed at this one of its events."""
    left = event

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            die()

    def dying_work() -> None:
        sys.setprofile(count)
        work()

    return dying_work


def places(seed: int, number: int, low: float, high: float) -> list[float]:
    """``number`` random shares between ``low`` and ``high``."""
    choose = random.Random(seed)  # noqa: S311 (no secret)
    return [choose.uniform(low, high) for _ in range(number)]


def _status(pid: int) -> int | None:
    done, status = os.waitpid(pid, os.WNOHANG)
    return status if done else None


def _child(work: Callable[[], object], out: int, limit: float) -> None:
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, limit + 5)  # where the parent is no more
        sys.stdout, sys.stderr = (os.fdopen(os.dup(out), "w", 1) for _ in range(2))
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
