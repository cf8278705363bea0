"""CIFAR-10 in its *binary* version: 50,000 + 10,000 colour images 32x32 (Krizhevsky 2009).

The better known Python version is made of pickles, and unpickling a downloaded file runs whatever it says;
this module cannot open it. The archive is never unpacked on disk: its members are read one after the other,
from a stream whose decompressed length is bounded.
"""

import gzip
import hashlib
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Literal

import torch
from torch import Tensor

from ddpm_edu.data.base import ImageSet
from ddpm_edu.data.download import CIFAR10_ARCHIVE, cache_folder
from ddpm_edu.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_BATCHES = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
_RECORD = 1 + 3 * 32 * 32  # a label, then 1,024 red, green and blue values, row by row
_BATCH_BYTES = 10_000 * _RECORD
_MAX_MEMBERS = 32
_MAX_UNPACKED = 256 * 2**20  # the real archive holds 184 MB


def cifar10(split: Literal["train", "test"] = "train", folder: Path | str | None = None) -> ImageSet:
    """One split: images uint8 (50000 or 10000, 3, 32, 32), labels int64, ten class names.

    ``folder`` holds ``cifar-10-binary.tar.gz`` (its sha256 is checked) or the ``.bin`` files taken from it;
    by default it is the cache. Never downloads. Raises DataError where files are missing, damaged or hostile.
    """
    if split not in _BATCHES:
        raise DataError(
            f"split={split!r}; CIFAR-10 has the splits 'train' (50,000 images) and 'test' (10,000). Usually "
            "'valid' was meant. Fix: split='test', and cut a validation set from 'train'."
        )
    place = cache_folder("cifar10") if folder is None else Path(folder)
    archive = place / CIFAR10_ARCHIVE.name
    if archive.is_file():
        _check_archive(archive)
        batches = read_archive(archive, _BATCHES[split])
    else:
        batches = [_read_loose(path) for path in _loose_files(place, split)]
    parts = [_parse(*batch) for batch in batches]
    images, labels = (torch.cat(column) for column in zip(*parts, strict=True))
    return ImageSet(f"CIFAR-10 {split}", images, labels, CLASSES)


def read_archive(archive: Path, names: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """The members ``names``, in that order, of a tar.gz, each with where it came from; writes nothing.

    Raises DataError for an archive that is damaged, lacks a member or has it twice, has members of another
    size, or has any member that has no business there: links, devices, absolute paths, "..".
    """
    found: dict[str, bytes] = {}
    try:
        with gzip.open(archive) as unpacked, tarfile.open(fileobj=_Bounded(unpacked), mode="r|") as tar:  # type: ignore[call-overload]
            for count, member in enumerate(tar, start=1):
                _check_member(archive, member, count)
                name = PurePosixPath(member.name).name
                if not member.isfile() or name not in names:
                    continue
                if name in found:
                    raise _hostile(archive, f"member {name} appears twice")
                stream = tar.extractfile(member)
                found[name] = stream.read(_BATCH_BYTES + 1) if stream else b""
    except DataError:
        raise
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError) as error:
        raise DataError(
            f"{archive}: not a readable tar.gz ({type(error).__name__}: {error}). Usually a download was "
            "interrupted. Fix: delete it and run python -m ddpm_edu data fetch cifar10."
        ) from error
    missing = [name for name in names if name not in found]
    if missing:
        raise _hostile(archive, f"no member {', '.join(missing)}")
    return [(f"{archive}:{name}", found[name]) for name in names]


class _Bounded:
    """A stream that refuses to go past _MAX_UNPACKED bytes: a gzip bomb costs seconds, not the machine."""

    def __init__(self, raw: gzip.GzipFile) -> None:
        self.raw, self.left = raw, _MAX_UNPACKED

    def read(self, size: int) -> bytes:
        chunk = self.raw.read(size)
        self.left -= len(chunk)
        if self.left < 0:
            raise DataError(
                f"the archive unpacks to more than {_MAX_UNPACKED} bytes; CIFAR-10 has 184 million. It is "
                "damaged or hostile. Fix: delete it and run python -m ddpm_edu data fetch cifar10."
            )
        return chunk


def _check_member(archive: Path, member: tarfile.TarInfo, count: int) -> None:
    path = PurePosixPath(member.name)
    if count > _MAX_MEMBERS:
        raise _hostile(archive, f"more than {_MAX_MEMBERS} members")
    if not (member.isfile() or member.isdir()):
        raise _hostile(archive, f"member {member.name} is a link or a device")
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise _hostile(archive, f"member {member.name} points outside the archive")
    if member.size > _BATCH_BYTES:
        raise _hostile(archive, f"member {member.name} announces {member.size} bytes, at most {_BATCH_BYTES}")


def _hostile(archive: Path, what: str) -> DataError:
    return DataError(
        f"{archive}: {what}; the published archive is not like that. Usually it is another archive under "
        "this name, or it was tampered with. Fix: delete it and run python -m ddpm_edu data fetch cifar10."
    )


def _check_archive(archive: Path) -> None:
    with archive.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != CIFAR10_ARCHIVE.sha256:
        raise _hostile(archive, f"sha256 is {digest}, expected {CIFAR10_ARCHIVE.sha256}")


def _loose_files(place: Path, split: str) -> list[Path]:
    for folder in (place, place / "cifar-10-batches-bin"):
        paths = [folder / name for name in _BATCHES[split]]
        if all(path.is_file() for path in paths):
            return paths
    python_version = [place / "cifar-10-python.tar.gz", place / "cifar-10-batches-py", place / "data_batch_1"]
    pickles = [path for path in python_version if path.exists()]
    note = f" {pickles[0]} is the Python version: pickles run code, so it is not opened." if pickles else ""
    raise DataError(
        f"CIFAR-10's {CIFAR10_ARCHIVE.name} (or its .bin files) is not in {place}.{note} It is not part of "
        "the package and loading never downloads. Fix: python -m ddpm_edu data fetch cifar10 (170 MB), or "
        "pass folder=."
    )


def _read_loose(path: Path) -> tuple[str, bytes]:
    with path.open("rb") as stream:
        return str(path), stream.read(_BATCH_BYTES + 1)


def _parse(source: str, content: bytes) -> tuple[Tensor, Tensor]:
    """Images uint8 (10000, 3, 32, 32) and labels int64 (10000,) of one batch file."""
    if len(content) != _BATCH_BYTES:
        found = f"{len(content)}" if len(content) < _BATCH_BYTES else f"more than {_BATCH_BYTES}"
        raise DataError(
            f"{source}: expected {_BATCH_BYTES} bytes (10,000 records of {_RECORD}), found {found}. Usually "
            "it is cut short, or is the Python version's pickle. Fix: python -m ddpm_edu data fetch cifar10."
        )
    records = torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(-1, _RECORD)
    labels = records[:, 0].to(torch.int64)
    wrong = (labels >= len(CLASSES)).nonzero().flatten()
    if len(wrong):
        at = int(wrong[0])
        raise DataError(
            f"{source}: record {at} has label {int(labels[at])}; labels are 0..9. Usually the file is not "
            "CIFAR-10's binary version, or is damaged. Fix: python -m ddpm_edu data fetch cifar10."
        )
    return records[:, 1:].reshape(-1, 3, 32, 32), labels
