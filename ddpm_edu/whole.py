"""Files that are there whole or not at all, whatever happens on the way: a kill, a full disk, a power cut.

Such a file is written under another name in the same folder (its part), flushed to the disk, and only then renamed, so
that under its own name it is always the old one or the new one. What a killed process leaves is a part.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """``content`` as the file ``path``. Raises OSError: then the old file is untouched and no part is left."""
    with replacing(path) as part, part.open("wb") as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The part, for a block that fills it in its own way; where the block ends well, it becomes ``path``.

    Raises OSError, or what the block raises: then the old file is untouched and no part is left.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        _flush(part, os.O_RDWR)  # Windows flushes only what may be written to
        part.replace(path)
        with contextlib.suppress(OSError):  # the new name survives a power cut, where a folder can be flushed at all
            _flush(path.parent, os.O_RDONLY)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def remove_parts(folder: Path, beginning: str) -> None:
    """Deletes the parts that killed processes have left of files whose names begin so. No other may write them now."""
    for part in folder.glob(f".{beginning}*.part"):
        with contextlib.suppress(OSError):
            part.unlink()


def _flush(path: Path, how: int) -> None:
    """All that was written to ``path``, onto the disk itself."""
    handle = os.open(path, how)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
