"""Files of samples: written whole or not at all, and read without trust."""

import contextlib
import io
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ddpm_edu import plots
from ddpm_edu.data import to_model_range
from ddpm_edu.errors import ConfigError, DataError

SUFFIXES = (".npz", ".png")
LEAST = 32  # pixels a side of an image in a sheet: smaller ones are enlarged


def check_target(path: Path) -> None:
    """Before the work: whether a file can be written there. Raises ConfigError, DataError."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"--out {path}: its end says what to write, {' (the images) or '.join(SUFFIXES)} (a sheet of them), "
            f"not {path.suffix or 'nothing'!r}."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise DataError(f"{path.parent} cannot be made ({cause}). Fix: another --out.") from cause
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        reason = "it is a folder" if path.is_dir() else f"{path.parent} may not be written to"
        raise DataError(f"{path} cannot be written: {reason}. Fix: another --out.")


def npz(images: Tensor, labels: Tensor | None) -> bytes:
    """uint8 (N, C, H, W) as ``images`` (N, H, W, C); and int64 ``labels`` (N,), if there are any."""
    arrays = {"images": images.permute(0, 2, 3, 1).contiguous().numpy()}
    if labels is not None:
        arrays["labels"] = labels.numpy()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy takes the names for its own options
    return buffer.getvalue()


def png(images: Tensor, columns: int) -> bytes:
    """A sheet of images, uint8 (N, C, H, W), row by row, those of few pixels enlarged."""
    buffer = io.BytesIO()
    plots.tiled(to_model_range(images), columns, max(1, LEAST // min(images.shape[2:]))).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, content: bytes) -> None:
    """``content`` as the file ``path``, whole or not at all: under another name first. Raises DataError."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as cause:
        raise DataError(f"{path} could not be written ({cause}). Fix: make room, or another --out.") from cause
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


UNREADABLE = (OSError, EOFError, ValueError, KeyError, RuntimeError, NotImplementedError, MemoryError)
"""What numpy and zipfile raise for files that are damaged, encrypted, or announce more than there is."""


def read(path: Path) -> Tensor:
    """uint8 (N, C, H, W) from the ``images`` of an npz. Nothing in the file can run. Raises DataError."""
    if not path.is_file():
        raise DataError(f"there is no file {path}.")
    try:
        if not zipfile.is_zipfile(path):  # else numpy takes it for a pickle, and says how to run it
            raise zipfile.BadZipFile("it is no npz")
        with np.load(path, allow_pickle=False) as found:
            images = found["images"]
        if not isinstance(images, np.ndarray):
            raise ValueError('its "images" are no array')
    except (*UNREADABLE, zipfile.BadZipFile, zlib.error) as cause:
        raise DataError(
            f"{path.name} cannot be read as samples ({cause}). Usual cause: a file of another program, or a copy that "
            'broke off. Fix: an npz with uint8 "images" (N, H, W, C), as `sample --out x.npz` writes it.'
        ) from cause
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
        raise DataError(
            f'{path.name}: "images" is {images.dtype} {images.shape}; uint8 (N, H, W, 1 or 3), N >= 1, is expected. '
            "Usual cause: floats, or channels in front. Fix: data.to_uint8(x).permute(0, 2, 3, 1).numpy()."
        )
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
