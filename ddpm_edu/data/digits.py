"""The 8x8 handwritten digits, carried inside the package so that the first lesson needs no download.

1,797 images of 8x8 pixels with 17 grey levels (0..16), ten classes: the test part of "Optical Recognition of
Handwritten Digits" by E. Alpaydin and C. Kaynak (1998), UCI Machine Learning Repository, licence CC BY 4.0. The same
images in the same order as scikit-learn's ``load_digits``. Each grey level counts the inked pixels in a 4x4 block of
a 32x32 scan, so 17 levels are exact.
"""

from importlib.resources import as_file, files

import torch

from ddpm_edu.data.base import ImageSet
from ddpm_edu.data.idx import read_idx

_LEVELS = 17


def digits() -> ImageSet:
    """All 1,797 digits: images uint8 (1797, 1, 8, 8) with values 0..16 (``levels`` is 17), labels 0..9."""
    folder = files("ddpm_edu.data") / "files"
    with as_file(folder / "digits-images-idx3-ubyte.gz") as path:
        images = read_idx(path)
    with as_file(folder / "digits-labels-idx1-ubyte.gz") as path:
        labels = read_idx(path)
    return ImageSet("digits", images[:, None], labels.to(torch.int64), tuple("0123456789"), _LEVELS)
