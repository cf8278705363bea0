"""One training in a folder at a time: a second one would write into the checkpoints and the log of the first."""

import contextlib
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ddpm_edu.errors import CheckpointError, TrainingWarning
from ddpm_edu.training.distributed import Team

NAME = ".lock"


@contextlib.contextmanager
def alone_in(folder: Path, team: Team) -> Iterator[None]:
    """Within it no other training can begin in ``folder``, which is made where it is not there. All must enter.

    The main process holds a lock for all of them, on the file .lock in the folder. It is the operating system's
    (flock), which takes it back however the process ends: the file that a killed one leaves locks nothing. On a file
    system without locks it goes on with a TrainingWarning. On Windows there is no such lock, and nobody is refused.
    Raises CheckpointError, in all processes, where another training has it or the folder cannot be made.
    """
    with contextlib.ExitStack() as stack:
        refusal = None
        if team.is_main and sys.platform != "win32":
            try:
                stack.enter_context(_held(folder))
            except CheckpointError as error:
                refusal = error
        if team.any(refusal is not None):
            raise refusal or CheckpointError(f"the main process may not train in {folder}, and says why.")
        yield


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The lock; afterwards its file is gone, and so is a folder that was made for it and stayed empty."""
    try:
        is_new = not folder.exists()
        file = _taken(folder)
    except OSError as cause:
        raise CheckpointError(
            f"{folder} cannot be the folder of a run ({cause}). Usual cause: a file of that name, or a folder that may "
            "not be written to. Fix: another folder."
        ) from cause
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / NAME).unlink()  # while it is locked: nobody else can have it yet
        file.close()
        if is_new:
            with contextlib.suppress(OSError):  # anything in it keeps it
                folder.rmdir()


def _taken(folder: Path) -> IO[str]:
    """The file, open and locked. Raises CheckpointError where another holds it, OSError where it cannot be made."""
    path = folder / NAME
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
        if not _locked(file, folder):
            file.seek(0)
            with file:
                raise CheckpointError(
                    f"another training runs in {folder} ({file.read() or 'it has just begun'}). Usual cause: the same "
                    "command given twice, or by a cluster while the first still runs. Fix: wait until it ends or end "
                    "it, or another folder."
                )
        if _is_there(path, file):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
            return file
        file.close()  # whoever had it has ended and deleted it after we had opened it


def _locked(file: IO[str], folder: Path) -> bool:
    """Whether the lock on ``file`` is ours now. Warns where there are no locks."""
    import fcntl  # which Windows has not

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the second is how network file systems may say it
        return False
    except OSError as cause:
        warnings.warn(
            f"the file system of {folder} has no locks ({cause}): a second training in this folder would not be "
            "noticed. Fix: begin one at a time, or a folder on another disk.",
            TrainingWarning,
            stacklevel=2,
        )
    return True


def _is_there(path: Path, file: IO[str]) -> bool:
    """Whether ``file`` still has this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
