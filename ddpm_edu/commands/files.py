"""Files of samples: written whole or not at all, and read without trust."""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddpm_edu import plots, whole
from ddpm_edu.commands import facts
from ddpm_edu.data import to_model_range
from ddpm_edu.errors import ConfigError, DataError

SUFFIXES = (".npz", ".png")
MEANING = {".npz": ".npz (the images)", ".png": ".png (a sheet of them)", ".json": ".json (all numbers)"}
HEADER = 2**12  # bytes, at most, in front of an array in an npz
LEAST = 32  # pixels a side of an image in a sheet: smaller ones are enlarged


class Stored(NamedTuple):
    """What a file of samples holds."""

    images: Tensor  # uint8 (N, C, H, W)
    labels: Tensor | None  # int64 (N,), each >= 0; None: not known
    about: dict[str, facts.Fact]  # how they were made, as far as the file says


def check_target(path: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Before the work: whether a file can be written there. Raises ConfigError, DataError."""
    if path.suffix.lower() not in suffixes:
        raise ConfigError(
            f"--out {path}: its end says what to write, {' or '.join(MEANING[end] for end in suffixes)}, "
            f"not {path.suffix or 'nothing'!r}."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise DataError(f"{path.parent} cannot be made ({cause}). Fix: another --out.") from cause
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        reason = "it is a folder" if path.is_dir() else f"{path.parent} may not be written to"
        raise DataError(f"{path} cannot be written: {reason}. Fix: another --out.")


def npz(images: Tensor, labels: Tensor | None, about: Mapping[str, facts.Fact]) -> bytes:
    """uint8 (N, C, H, W) as ``images`` (N, H, W, C), int64 ``labels`` (N,), if there are any, and ``about`` as JSON."""
    arrays = {"images": images.permute(0, 2, 3, 1).contiguous().numpy()}
    if labels is not None:
        arrays["labels"] = labels.numpy()
    arrays["about"] = np.array(json.dumps(about))  # a string of numpy's, no pickle
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy takes the names for its own options
    return buffer.getvalue()


def png(images: Tensor, columns: int) -> bytes:
    """A sheet of images, uint8 (N, C, H, W), row by row, those of few pixels enlarged."""
    buffer = io.BytesIO()
    plots.tiled(to_model_range(images), columns, max(1, LEAST // min(images.shape[2:]))).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, content: bytes) -> None:
    """``content`` as the file ``path``, whole or not at all. Raises DataError."""
    try:
        whole.write(path, content)
    except OSError as cause:
        raise DataError(f"{path} could not be written ({cause}). Fix: make room, or another --out.") from cause


UNREADABLE = (OSError, EOFError, ValueError, KeyError, RuntimeError, NotImplementedError, MemoryError)
"""What numpy and zipfile raise for files that are damaged, encrypted, or announce more than there is."""


def read(path: Path) -> Stored:
    """The samples in an npz. Nothing in the file can run. Raises DataError where there are no ``images``.

    Labels and facts that are missing, or are not what they should be, are not known: a stranger's file may use these
    names for something else.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}.")
    try:
        if not zipfile.is_zipfile(path):  # else numpy takes it for a pickle, and says how to run it
            raise zipfile.BadZipFile("it is no npz")
        with np.load(path, allow_pickle=False) as found:
            images = found["images"]
            if not isinstance(images, np.ndarray):
                raise ValueError('its "images" are no array')
            labels, about = _small(found, "labels", 16 * images.size), _small(found, "about", 4 * facts.MOST)
    except (*UNREADABLE, zipfile.BadZipFile, zlib.error) as cause:
        raise DataError(
            f"{path.name} cannot be read as samples ({cause}). Usual cause: a file of another program, or a copy that "
            'broke off. Fix: an npz with uint8 "images" (N, H, W, C), as `sample --out x.npz` writes it.'
        ) from cause
    _check_images(path, images)
    text = str(about) if about is not None and about.dtype.kind == "U" and about.ndim == 0 else ""
    return Stored(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), _labels(labels, images), facts.read(text))


def _check_images(path: Path, images: Any) -> None:
    """Raises DataError."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
        raise DataError(
            f'{path.name}: "images" is {images.dtype} {images.shape}; uint8 (N, H, W, 1 or 3), N >= 1, is expected. '
            "Usual cause: floats, or channels in front. Fix: data.to_uint8(x).permute(0, 2, 3, 1).numpy()."
        )


def _small(found: Any, name: str, most: int) -> Any:
    """The array ``name`` of an npz, or None where there is none that can be read or it has more than ``most`` bytes."""
    try:
        if found.zip.getinfo(f"{name}.npy").file_size > most + HEADER:
            return None
        array = found[name]
    except (*UNREADABLE, zipfile.BadZipFile, zlib.error):
        return None
    return array if isinstance(array, np.ndarray) else None


def _labels(array: Any, images: Any) -> Tensor | None:
    """int64 (N,), or None where they are something else."""
    if array is None or array.dtype.kind not in "iu" or array.shape != images.shape[:1] or array.min() < 0:
        return None
    return torch.from_numpy(array.astype(np.int64))
