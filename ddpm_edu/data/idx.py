"""A strict reader of IDX files, the format of MNIST and its kin.

An IDX file is: two zero bytes, one byte for the element type, one for the number of dimensions, each
dimension as a big-endian 32-bit count, then the elements. Every number of the header is checked before memory
is asked for, because a header is the cheapest place to lie: four bytes can ask for terabytes.
"""

import gzip
import hashlib
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ddpm_edu.errors import DataError

_UNSIGNED_BYTE = 0x08
_MAX_DIMS = 4
_GZIP_MAGIC = b"\x1f\x8b"
MAX_BYTES = 256 * 2**20  # five times Fashion-MNIST's training images


def read_idx(path: Path, sha256: str | None = None, max_bytes: int = MAX_BYTES) -> Tensor:
    """The array in an IDX file of unsigned bytes, plain or gzipped: uint8, shape as the header says.

    ``sha256``: the hash that the *decompressed* file must have (archives are repacked, their content is not).
    ``max_bytes``: the largest array accepted. Raises DataError, naming the file and expected and found bytes,
    for anything else: missing, another type, truncated, damaged, with bytes left over, too large, or another
    hash.
    """
    path = Path(path)
    try:
        with _open(path) as stream:
            return _read(stream, path, sha256, max_bytes)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}: the gzip stream is damaged or cut short ({error}). Usually a download was interrupted. "
            "Fix: delete the file and fetch it again."
        ) from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}). Usually the path is mistyped or is a "
            "folder. Fix: check the path."
        ) from error


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as probe:
        packed = probe.read(2) == _GZIP_MAGIC
    opener: Callable[..., BinaryIO] = gzip.open if packed else open  # type: ignore[assignment]
    return opener(path, "rb")


def _read(stream: BinaryIO, path: Path, sha256: str | None, max_bytes: int) -> Tensor:
    header, shape = _read_header(stream, path)
    expected = math.prod(shape)  # Python's integers do not overflow
    if expected == 0 or expected > max_bytes:
        raise DataError(
            f"{path}: the header announces {'x'.join(map(str, shape))} = {expected} bytes; 1..{max_bytes} "
            "are accepted. Usually the file is damaged or hostile. Fix: fetch it again from its publisher."
        )
    body = bytearray(expected)
    found = _fill(stream, body)
    if found < expected:
        raise DataError(
            f"{path}: truncated, expected {expected} bytes after the header, found {found}. Usually a "
            "download or copy was interrupted. Fix: delete the file and fetch it again."
        )
    if stream.read(1):  # also makes gzip compare its checksum
        raise DataError(
            f"{path}: expected {expected} bytes after the header, found more. Usually two files were joined, "
            "or the header is damaged. Fix: delete the file and fetch it again."
        )
    if sha256 is not None:
        _check_hash(path, header, body, sha256)
    return torch.frombuffer(body, dtype=torch.uint8).reshape(shape)


def _read_header(stream: BinaryIO, path: Path) -> tuple[bytes, tuple[int, ...]]:
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise DataError(
            f"{path}: not an IDX file, it begins with {start!r} and two zero bytes are expected. Usually it "
            "is an error page saved as data, or another format. Fix: fetch it again."
        )
    kind, dims = start[2], start[3]
    if kind != _UNSIGNED_BYTE or not 1 <= dims <= _MAX_DIMS:
        raise DataError(
            f"{path}: IDX type 0x{kind:02x} with {dims} dimensions; type 0x08 (unsigned bytes) with "
            f"1..{_MAX_DIMS} is supported. Usually the file is damaged. Fix: fetch it again."
        )
    sizes = stream.read(4 * dims)
    if len(sizes) < 4 * dims:
        raise DataError(
            f"{path}: truncated in the header, expected {4 + 4 * dims} bytes, found {4 + len(sizes)}. "
            "Usually a download was interrupted. Fix: delete the file and fetch it again."
        )
    shape = tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, 4 * dims, 4))
    return start + sizes, shape


def _fill(stream: BinaryIO, body: bytearray) -> int:
    """Read into ``body`` until it is full or the stream ends; the number of bytes read."""
    view, found = memoryview(body), 0
    while found < len(body):
        step = stream.readinto(view[found:])  # type: ignore[attr-defined]
        if not step:
            break
        found += step
    return found


def _check_hash(path: Path, header: bytes, body: bytearray, sha256: str) -> None:
    digest = hashlib.sha256(header)
    digest.update(body)
    if digest.hexdigest() != sha256:
        raise DataError(
            f"{path}: sha256 of the decompressed content is {digest.hexdigest()}, expected {sha256}. The "
            "file is intact but is not the published one: another data set under this name, or it was "
            "tampered with. Fix: delete it and fetch it again."
        )
