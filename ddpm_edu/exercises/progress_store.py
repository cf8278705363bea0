"""What a learner has done, in one JSON file: read, merged and written whole. Nothing leaves the machine.

The file is the one that the environment variable DDPM_EDU_PROGRESS names, or else progress.json in the user's own data
folder. DDPM_EDU_PROGRESS=off stores nothing. Whatever is wrong with the file or its folder, a check goes on: it is said
in one line on stderr, once.
"""

import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ddpm_edu import whole

if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


VARIABLE = "DDPM_EDU_PROGRESS"
FORMAT, VERSION = "ddpm_edu progress", 1
MOST_BYTES = 2**20  # a larger file is not ours
LONGEST = 1000  # characters that are kept of what a check said
PATIENCE = 2.0  # seconds that a check waits for another kernel to finish writing

State = Literal["tried", "right"]
_said: set[str] = set()


class NewerFileError(OSError):
    """A file of a later version of this course: left alone, neither read nor written."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """How far one exercise is. ``when`` (ISO 8601, UTC) is the first right answer, or the last wrong one."""

    state: State
    when: str
    said: str = ""  # by the check, of the last wrong answer


def file() -> Path | None:
    """Where progress is stored; None for nowhere. Raises RuntimeError where the user has no home folder."""
    named = os.environ.get(VARIABLE, "").strip()
    if named.lower() == "off":
        return None
    return Path(named).expanduser() if named else _data_folder() / "ddpm_edu" / "progress.json"


def _data_folder() -> Path:
    """Where programs keep a user's own data, by the custom of the system."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    name, otherwise = (
        ("LOCALAPPDATA", "AppData/Local") if sys.platform == "win32" else ("XDG_DATA_HOME", ".local/share")
    )
    told = Path(os.environ.get(name, ""))
    return told if told.is_absolute() else Path.home() / otherwise


def record(number: str, state: State, said: str = "") -> None:
    """Note that exercise ``number`` was tried, or was right. Never raises: a learner's check matters more."""
    try:
        path = file()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(path):
                _merge(path, number, state, said)
    except Exception as error:  # whatever it is, it is no reason to fail a check
        _say_once(f"your progress is not kept: {error} ({VARIABLE}=off asks for that, and for silence).")


def read() -> dict[str, Entry]:
    """What is stored, by the number of the exercise; nothing where it cannot be read, which is said. Never raises."""
    try:
        path = file()
        if path is None or not path.exists():
            return {}
        with _locked(path):
            return _load(path)
    except Exception as error:
        _say_once(f"your progress cannot be read: {error}.")
        return {}


def forget() -> Path | None:
    """Begin anew. The old file is moved aside; its new name, or None where there was none. Raises OSError."""
    path = file()
    if path is None or not path.exists():
        return None
    with _locked(path):
        return _aside(path, "reset")


# ---------------------------------------------------------------- the file


def _merge(path: Path, number: str, state: State, said: str) -> None:
    """Read again what another kernel may have written, and add to it. Once right, an exercise stays right."""
    stored = _load(path)
    before = stored.get(number)
    if before is not None and before.state == "right":
        return
    now = datetime.now(UTC).isoformat(timespec="seconds")
    stored[number] = Entry(state, now, said[:LONGEST] if state == "tried" else "")
    whole.write(path, _text(stored).encode())


def _text(stored: Mapping[str, Entry]) -> str:
    exercises = {number: dataclasses.asdict(entry) for number, entry in stored.items()}
    return json.dumps({"format": FORMAT, "version": VERSION, "exercises": exercises}, indent=1) + "\n"


def _load(path: Path) -> dict[str, Entry]:
    """What is stored. A file that cannot be ours is moved aside, never overwritten. Raises OSError."""
    if not path.exists():
        return {}
    try:
        return parse(content(path))
    except (ValueError, RecursionError) as error:
        moved = _aside(path, "corrupt")
        _say_once(f"{path} held no progress that can be read ({error}). It is now {moved.name}; a new file begins.")
        return {}


def content(path: Path) -> bytes:
    """The file's bytes, or one more than a file of ours has. Raises OSError, for a pipe or a device too."""
    if not path.is_file():
        raise OSError(f"{path} is not a file")
    with path.open("rb") as opened:
        return opened.read(MOST_BYTES + 1)


def parse(found_there: bytes) -> dict[str, Entry]:
    """What such a file says. Raises ValueError or RecursionError for what is damaged or not ours."""
    if len(found_there) > MOST_BYTES:
        raise ValueError("too long")
    found = json.loads(found_there)
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("exercises"), dict):
        raise ValueError("not a file of this course")
    version = found.get("version")
    if not isinstance(version, int):
        raise ValueError("no version")
    if version > VERSION:
        raise NewerFileError("the file was written by a later version of this course, and is left as it is")
    return {number: _entry(about) for number, about in found["exercises"].items()}


def _entry(about: Any) -> Entry:
    if not isinstance(about, dict) or about.get("state") not in ("tried", "right"):
        raise ValueError("an exercise without a state")
    when, said = about.get("when"), about.get("said", "")
    if not isinstance(when, str) or not isinstance(said, str):
        raise ValueError("an exercise without a date")
    datetime.fromisoformat(when)
    return Entry(about["state"], when, said)


def _aside(path: Path, why: str) -> Path:
    """``path`` under the first free name of name.why-1, name.why-2 and so on."""
    n = 1
    while (free := path.with_name(f"{path.name}.{why}-{n}")).exists():
        n += 1
    return path.rename(free)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone with the file, where the system can promise that. It is no file's content, so it has a file of its own."""
    try:
        handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:  # a folder that is only to be read: nobody writes there
        yield
        return
    try:
        _wait_for(handle)
        yield
    finally:
        os.close(handle)  # unlocks, as the death of the process does


def _wait_for(handle: int) -> None:
    """Take the lock. Where it cannot be had, go on without: a check must not wait for ever."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return _try_lock(handle)
        except (BlockingIOError, PermissionError):  # another has it
            if time.monotonic() > end:
                return None
            time.sleep(0.01)
        except OSError:  # a file system without locks
            return None


def _say_once(line: str) -> None:
    """On stderr: what a check prints is compared with what is stored."""
    if line not in _said:
        _said.add(line)
        print(f"ddpm_edu: {line}", file=sys.stderr)
