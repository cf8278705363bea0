"""Checkpoints that survive what happens to them: killed processes, full disks, flipped bits.

A checkpoint is one file, ``step-00001000-<first 16 of sha256>.pt``, which is there whole or not at all
(:mod:`ddpm_edu.whole`). The hash is in the name and is checked before anything in the file is looked at (torch and
safetensors load a file with a flipped bit without a word). Reading is ``weights_only=True`` and nothing else. Old ones
are deleted when the new one is there and has been read back.

The file holds tensors, numbers, strings, lists and dicts; the configuration is JSON in it.
"""

import contextlib
import errno
import functools
import hashlib
import io
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ddpm_edu import whole
from ddpm_edu.errors import CheckpointError, ConfigError, TrainingWarning

FORMAT = 1
LEAST_KEPT = 2  # with one, the only good file is deleted before anybody has seen whether the new one can be read
_NAME = re.compile(r"step-(\d{8,})-([0-9a-f]{16})\.pt")


class DamagedCheckpointError(CheckpointError):
    """A file that is not as it was written: there may be an older one that is."""


class Loaded(NamedTuple):
    """A checkpoint's content, and the file that it came from."""

    state: dict[str, Any]
    path: Path


def save(folder: Path, step: int, state: dict[str, Any], keep: int = 3) -> Path:
    """Writes ``state`` as the checkpoint of ``step`` and deletes all but the newest ``keep`` good ones.

    Raises CheckpointError where it cannot be written (disk full, no permission): the older ones are untouched and no
    part of the new one is left. ConfigError for keep < 2.
    """
    if keep < LEAST_KEPT:
        raise ConfigError(f"keep must be >= {LEAST_KEPT}, got {keep}: with one file a damaged one is the end of a run.")
    path = write(folder, f"step-{step:08d}", ".pt", encoded(state, step))
    _remove_old(folder, path, keep)
    return path


def write(folder: Path, stem: str, suffix: str, content: bytes) -> Path:
    """``content`` in ``folder`` as stem-hash.suffix, whole or not at all. Raises CheckpointError."""
    expected = digest(content)
    path = folder / f"{stem}-{expected}{suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        whole.write(path, content)
        whole.remove_parts(folder, "step-")
        if digest(path.read_bytes()) != expected:
            raise CheckpointError(f"{path} does not hold what was written to it. Usual cause: a failing disk.")
    except OSError as cause:
        raise CheckpointError(_advice(path, len(content), cause)) from cause
    return path


def newest(folder: Path, device: torch.device | str = "cpu") -> Loaded | None:
    """The newest checkpoint in ``folder`` that is as it was written, or None where there is no checkpoint at all.

    A damaged one is passed over with a warning (TrainingWarning). Raises CheckpointError where all are damaged, and for
    a whole one that this version cannot read: to go back behind it would throw work away.
    """
    found = listed(folder)
    for path in found:
        try:
            return Loaded(load(path, device), path)
        except DamagedCheckpointError as problem:
            warnings.warn(f"{problem} Falling back to the one before.", TrainingWarning, stacklevel=2)
    if found:
        raise CheckpointError(
            f"all {len(found)} checkpoints in {folder} are damaged. Fix: a copy from elsewhere, or another folder for "
            "a new run."
        )
    return None


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The content of one checkpoint, after its hash was checked. Raises CheckpointError, whatever is wrong."""
    named = _NAME.fullmatch(path.name)
    if named is None:
        raise CheckpointError(
            f"{path.name} is not the name of a checkpoint, such as step-00001000-0123456789abcdef.pt."
        )
    try:
        content = path.read_bytes()
    except OSError as cause:
        raise DamagedCheckpointError(f"{path} cannot be read ({cause}).") from cause
    if digest(content) != named.group(2):
        raise DamagedCheckpointError(
            f"{path.name} is damaged: {len(content):,} bytes, and their hash is not the one in its name."
        )
    _check_unpacked_size(path, content)
    try:
        state = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as cause:  # torch raises a dozen kinds, by where in a foreign file it gives up
        raise CheckpointError(
            f"{path.name} is no checkpoint of this program, and nothing in it was run: {str(cause)[:200]}"
        ) from cause
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(
            f"{path.name} has format {found!r}, and this version of ddpm_edu reads {FORMAT}. Usual cause: a newer one "
            "has written it. Fix: pip install --upgrade ddpm-edu."
        )
    if state.get("step") != step_of(path):
        raise CheckpointError(
            f"{path.name} is by its content of step {state.get('step')!r}. Usual cause: a renamed file."
        )
    return state


def listed(folder: Path) -> list[Path]:
    """All files in ``folder`` with a checkpoint's name, the newest first; none where there is no such folder."""
    if not folder.is_dir():
        return []
    named = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(named, key=lambda path: (step_of(path), _version(path)), reverse=True)


def step_of(path: Path) -> int:
    """The step in a checkpoint's name."""
    return int(path.name.split("-")[1])


def encoded(state: dict[str, Any], step: int) -> bytes:
    """``state`` as the bytes of a checkpoint of ``step``."""
    buffer = io.BytesIO()  # not the path: torch's own writer turns a full disk into another error
    torch.save({**state, "format": FORMAT, "step": step}, buffer)
    return buffer.getvalue()


def digest(content: bytes) -> str:
    """The first 16 hexadecimal digits of sha256."""
    return hashlib.sha256(content).hexdigest()[:16]


# ---------------------------------------------------------------- details


def _check_unpacked_size(path: Path, content: bytes) -> None:
    """torch packs without compressing: what unpacks to more than it is wants our memory. Raises CheckpointError."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except Exception:  # no zip, or a strange one: torch says what it is
        return
    if unpacked > len(content):
        raise CheckpointError(
            f"{path.name} is no checkpoint of this program: {len(content):,} bytes that unpack to {unpacked:,}. "
            "Usual cause: a file that means harm."
        )


def _remove_old(folder: Path, new: Path, keep: int) -> None:
    """Deletes what is older than the newest ``keep`` good ones."""
    good = 0
    for path in listed(folder):
        if good >= keep and path != new:
            with contextlib.suppress(OSError):  # an old file that cannot be deleted is no reason to stop training
                path.unlink()
        good += path == new or _is_good(path, _version(path))


@functools.lru_cache(maxsize=64)
def _is_good(path: Path, version: int) -> bool:
    """Whether the content is that of the name. Each version of a file is read once."""
    try:
        return path.name.endswith(f"-{digest(path.read_bytes())}.pt")
    except OSError:
        return False


def _version(path: Path) -> int:
    """When the file was written; 0 where another process has just deleted it."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _advice(path: Path, size: int, cause: OSError) -> str:
    reason = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "your quota is used up",
        errno.EFBIG: "the file would be larger than this process may write",
        errno.EACCES: "this folder may not be written to",
        errno.EROFS: "this disk may not be written to",
    }.get(cause.errno or 0, str(cause))
    return (
        f"{path.name} ({size / 2**20:.1f} MiB) could not be written to {path.parent}: {reason}. Earlier ones are as "
        "they were. Fix: make room or name another folder, then run the same command again; it goes on where it was."
    )
