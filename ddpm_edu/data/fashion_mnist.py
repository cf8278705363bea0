"""Fashion-MNIST: 60,000 + 10,000 grey images of clothes, 28x28.

By Xiao, Rasul and Vollgraf (2017, arXiv:1708.07747), MIT licence. The four files are looked for in a folder of
yours, in the cache that ``data fetch`` fills, and where Debian's package ``dataset-fashion-mnist`` puts them;
their *decompressed* content is checked against known hashes, since archives are repacked.
"""

from pathlib import Path
from typing import Literal

import torch

from ddpm_edu.data.base import ImageSet
from ddpm_edu.data.download import cache_folder
from ddpm_edu.data.idx import read_idx
from ddpm_edu.errors import DataError

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
_PREFIX = {"train": "train", "test": "t10k"}
CONTENT_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def fashion_mnist(split: Literal["train", "test"] = "train", folder: Path | str | None = None) -> ImageSet:
    """One split: images uint8 (60000 or 10000, 1, 28, 28), labels int64, ten class names.

    ``folder``: where the files are, plain or gzipped; by default the cache, then Debian's package. Never
    downloads. Raises DataError where the files are missing (it says how to get them), damaged, or not
    Fashion-MNIST.
    """
    if split not in _PREFIX:
        raise DataError(
            f"split={split!r}; Fashion-MNIST has the splits 'train' (60,000 images) and 'test' (10,000). "
            "Usually 't10k' or 'valid' was meant. Fix: split='test', and cut a validation set from 'train'."
        )
    images, labels = (
        read_idx(_find(stem, folder), sha256=CONTENT_SHA256[stem])
        for stem in (f"{_PREFIX[split]}-images-idx3-ubyte", f"{_PREFIX[split]}-labels-idx1-ubyte")
    )
    return ImageSet(f"Fashion-MNIST {split}", images[:, None], labels.to(torch.int64), CLASSES)


def fashion_mnist_available() -> bool:
    """Whether all four files lie in the cache or in Debian's folder; their content is not looked at."""
    return all(_candidates(stem, _default_folders()) for stem in CONTENT_SHA256)


def _default_folders() -> tuple[Path, ...]:
    return (cache_folder("fashion-mnist"), DEBIAN_FOLDER)


def _candidates(stem: str, folders: tuple[Path, ...]) -> list[Path]:
    names = (f"{stem}.gz", stem)
    return [folder / name for folder in folders for name in names if (folder / name).is_file()]


def _find(stem: str, folder: Path | str | None) -> Path:
    folders = _default_folders() if folder is None else (Path(folder),)
    found = _candidates(stem, folders)
    if not found:
        raise DataError(
            f"Fashion-MNIST's {stem}[.gz] is not in {' or '.join(map(str, folders))}. It is not part of the "
            "package and loading never downloads. Fix: python -m ddpm_edu data fetch fashion-mnist (30 MB), "
            "or on Debian install dataset-fashion-mnist, or pass folder=."
        )
    return found[0]
