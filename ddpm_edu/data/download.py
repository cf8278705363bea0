"""Fetching the published data sets: pinned by sha256, from the first mirror that serves the right bytes.

A file arrives under a temporary name in the cache folder and gets its own name only after its hash is right,
so an interrupted or tampered download never looks like data. Nothing is unpacked: readers open archives in
place.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Never

import pooch
from tqdm.auto import tqdm

from ddpm_edu.errors import DataError, nearest

_CHUNK = 2**16
_TIMEOUT = 30  # seconds without a byte


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its name, its sha256, the most bytes it may have, and where it is served."""

    name: str
    sha256: str
    max_bytes: int
    mirrors: tuple[str, ...]


def _fashion(name: str, sha256: str, max_bytes: int) -> RemoteFile:
    folders = (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    )
    return RemoteFile(name, sha256, max_bytes, tuple(folder + name for folder in folders))


CIFAR10_ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    180 * 2**20,
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
_FILES: dict[str, tuple[RemoteFile, ...]] = {
    "fashion-mnist": (
        _fashion(
            "train-images-idx3-ubyte.gz",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            32 * 2**20,
        ),
        _fashion(
            "train-labels-idx1-ubyte.gz",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            2**20,
        ),
        _fashion(
            "t10k-images-idx3-ubyte.gz",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            8 * 2**20,
        ),
        _fashion(
            "t10k-labels-idx1-ubyte.gz",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            2**20,
        ),
    ),
    "cifar10": (CIFAR10_ARCHIVE,),
}
DATASETS: dict[str, str] = {
    "fashion-mnist": "Fashion-MNIST: 70,000 grey images 28x28 of clothes, 10 classes, 30 MB, MIT licence",
    "cifar10": "CIFAR-10 (binary version): 60,000 colour images 32x32, 10 classes, 170 MB",
}


def cache_folder(name: str) -> Path:
    """Where the files of data set ``name`` are kept: $DDPM_EDU_DATA/name, or the user's cache folder."""
    root = os.environ.get("DDPM_EDU_DATA")
    return (Path(root).expanduser() if root else Path(pooch.os_cache("ddpm_edu"))) / name


def fetch(name: str) -> Path:
    """Download the data set ``name``, a key of ``DATASETS``, unless it is there; the folder of its files.

    Raises DataError for an unknown name, and where no mirror gave the right bytes (it says how to place them
    by hand).
    """
    if name not in _FILES:
        hint = (nearest(name, DATASETS) or [*DATASETS])[0]
        raise DataError(
            f"unknown data set {name!r}; those to fetch are {', '.join(DATASETS)}. The digits, shapes and "
            f"toys need no download. Fix: fetch({hint!r})."
        )
    folder = cache_folder(name)
    for file in _FILES[name]:
        fetch_file(file, folder)
    return folder


def fetch_file(file: RemoteFile, folder: Path) -> Path:
    """Make sure that ``folder`` holds ``file`` with the right sha256, trying its mirrors in order; its path.

    A file that is there with the right hash is kept; one with another hash is replaced. Raises DataError
    where no mirror gave the right bytes.
    """
    pooch.get_logger().setLevel("WARNING")  # the progress bar says it better than two lines on stderr
    failures = []
    for url in file.mirrors:
        try:
            return Path(
                pooch.retrieve(
                    url,
                    known_hash=f"sha256:{file.sha256}",
                    fname=file.name,
                    path=folder,
                    downloader=_Download(file),
                )
            )
        except (OSError, ValueError) as error:  # no network, a web error, a full disk; wrong bytes
            failures.append(f"  {url}: {type(error).__name__}: {error}")
    raise DataError(
        f"{file.name} could not be fetched:\n" + "\n".join(failures) + "\n"
        "Usually this computer is offline, or a proxy answers in the server's place. Fix: try again later, "
        f"or get {file.mirrors[0]} on another computer and put it at {folder / file.name} (its sha256 must "
        f"be {file.sha256})."
    )


class _Download:
    """What pooch calls to fill its temporary file: pooch's own HTTP, counted."""

    def __init__(self, file: RemoteFile) -> None:
        self.file = file

    def __call__(self, url: str, output_file: str, pooch_: object) -> None:
        http = pooch.HTTPDownloader(chunk_size=_CHUNK, timeout=_TIMEOUT)
        with Path(output_file).open("wb") as raw, _progress(self.file.name) as bar:
            http(url, _Counted(raw, bar, self.file.max_bytes), pooch_)


class _Counted:
    """A file opened for writing that shows how many bytes went in and refuses more than ``max_bytes``.

    Without the limit a server could fill the disk before the hash has its say.
    """

    def __init__(self, raw: BinaryIO, bar: "tqdm[Never]", max_bytes: int) -> None:
        self.raw, self.bar, self.left = raw, bar, max_bytes

    def write(self, chunk: bytes) -> int:
        self.left -= len(chunk)
        if self.left < 0:
            raise DataError("the server sends more bytes than the file can have; stopped")
        self.bar.update(len(chunk))
        return self.raw.write(chunk)

    def flush(self) -> None:
        """Called by pooch after each chunk; the file is flushed once, when it is closed."""


def _progress(name: str) -> "tqdm[Never]":
    return tqdm(unit="B", unit_scale=True, desc=name, disable=not _someone_watches())


def _someone_watches() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules
