"""Write the 8x8 digits of scikit-learn as the two small IDX files that the package carries.

Usage: ``python tools/make_digits.py [FOLDER]`` (default: ddpm_edu/data/files). Needs scikit-learn. The result
depends on nothing but the data: no time stamp and no file name go into the gzip header.
"""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

FOLDER = Path(__file__).parents[1] / "ddpm_edu" / "data" / "files"


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write a uint8 array as a gzipped IDX file."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 0x08, array.ndim, *array.shape)
    with path.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=9, fileobj=raw, mtime=0) as packed:
        packed.write(header + array.tobytes())


def main(folder: Path) -> None:
    """Write both files into ``folder``."""
    bunch = load_digits()
    write_idx(folder / "digits-images-idx3-ubyte.gz", bunch.images.astype(np.uint8))
    write_idx(folder / "digits-labels-idx1-ubyte.gz", bunch.target.astype(np.uint8))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
