"""Files made for the tests: IDX, tar, PNG and CIFAR-10 batches, whole or deliberately wrong."""

import gzip
import io
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np

RECORD = 3073


def idx_bytes(array: np.ndarray, dims: tuple[int, ...] | None = None) -> bytes:
    """The IDX file of a uint8 array; ``dims`` lies about its shape."""
    dims = array.shape if dims is None else dims
    return struct.pack(f">BBBB{len(dims)}I", 0, 0, 8, len(dims), *dims) + array.tobytes()


def write(path: Path, content: bytes) -> Path:
    """Write the file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def some_images(n: int = 20) -> np.ndarray:
    """Images uint8 (n, 5, 4) that do not compress to nothing."""
    return np.random.default_rng(0).integers(0, 256, (n, 5, 4), dtype=np.uint8)


def cifar_batch(records: int, first_label: int = 0) -> bytes:
    """A batch file: record i has label (first_label + i) mod 10 and pixels red = i, green = i + 1, blue = i + 2."""
    rows = np.zeros((records, RECORD), dtype=np.uint8)
    number = np.arange(records)
    rows[:, 0] = (first_label + number) % 10
    for channel in range(3):
        rows[:, 1 + 1024 * channel : 1 + 1024 * (channel + 1)] = ((number + channel) % 256)[:, None]
    return rows.tobytes()


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """A tar member with any header fields."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def tar_gz(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """A tar.gz with these members in order."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


def gz(content: bytes) -> bytes:
    """Gzipped, always to the same bytes."""
    return gzip.compress(content, mtime=0)


def png(width: int, height: int, bits: int, colour: int, rows: bytes | None = None) -> bytes:
    """A PNG by hand: ``colour`` 0 is grey and 2 is RGB; ``rows=None`` draws black; sizes may be lies."""
    if rows is None:
        rows = (b"\0" + bytes(width * (3 if colour == 2 else 1) * bits // 8)) * height

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
