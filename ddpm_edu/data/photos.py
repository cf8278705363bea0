"""Photographs that installed packages ship: something to dissolve into noise without a download.

``grace_hopper`` comes with matplotlib (U.S. Navy, public domain); ``china`` and ``flower`` come with
scikit-learn (CC BY 2.0, by danielbuechele and vultilion on Flickr) where that is installed.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import matplotlib.cbook
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddpm_edu.errors import DataError


@dataclass(frozen=True)
class _Photo:
    package: str
    file: str
    square: tuple[int, int, int, int]  # left, top, right, bottom of what still reads well at 64 pixels


_PHOTOS = {
    "grace_hopper": _Photo("matplotlib", "grace_hopper.jpg", (84, 5, 444, 365)),
    "china": _Photo("sklearn", "china.jpg", (100, 20, 500, 420)),
    "flower": _Photo("sklearn", "flower.jpg", (110, 0, 537, 427)),
}


def photographs() -> tuple[str, ...]:
    """The names that :func:`photograph` can load on this computer."""
    return tuple(name for name, photo in _PHOTOS.items() if _find(photo))


def photograph(name: str = "grace_hopper", size: int = 64) -> Tensor:
    """A square part of a photograph as uint8 (3, size, size), resized with Lanczos.

    Raises DataError where ``name`` is not one of :func:`photographs`.
    """
    photo = _PHOTOS.get(name)
    path = None if photo is None else _find(photo)
    if photo is None or path is None:
        raise DataError(
            f"photograph {name!r} is not there; on this computer there are {', '.join(photographs())}. "
            "Usually the name is mistyped, or scikit-learn, which ships china and flower, is not installed. "
            "Fix: photograph()."
        )
    if not isinstance(size, int) or size < 1:
        raise DataError(f"size={size!r}; it must be an integer >= 1, in pixels. Fix: size=64.")
    with Image.open(path) as image:
        square = image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS, box=photo.square)
    return torch.from_numpy(np.array(square, dtype=np.uint8)).permute(2, 0, 1).contiguous()


def _find(photo: _Photo) -> Path | None:
    if photo.package == "matplotlib":
        return Path(matplotlib.cbook.get_sample_data(photo.file, asfileobj=False))
    spec = find_spec(photo.package)  # finds scikit-learn without importing it, which takes a second
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "datasets" / "images" / photo.file
    return path if path.is_file() else None
