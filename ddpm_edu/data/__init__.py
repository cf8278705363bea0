"""Data: small image sets, toy densities, photographs, and the doors between grey levels and [-1, 1].

Nothing here starts a download unasked, unpickles a file or unpacks an archive to disk. ``digits``,
``shapes``, the toys and ``photograph`` work offline; ``fashion_mnist`` and ``cifar10`` need their files (see
``fetch``).
"""

from ddpm_edu.data.base import ImageSet, batches
from ddpm_edu.data.cifar10 import cifar10
from ddpm_edu.data.digits import digits
from ddpm_edu.data.download import DATASETS, cache_folder, fetch
from ddpm_edu.data.fashion_mnist import CLASSES as FASHION_CLASSES
from ddpm_edu.data.fashion_mnist import fashion_mnist, fashion_mnist_available
from ddpm_edu.data.folder import folder
from ddpm_edu.data.idx import read_idx
from ddpm_edu.data.photos import photograph, photographs
from ddpm_edu.data.ranges import check_images, to_model_range, to_uint8
from ddpm_edu.data.shapes import CaptionedSet, shapes
from ddpm_edu.data.toy import TOYS, checkerboard, eight_gaussians, moons, pinwheel, rings, swiss_roll

__all__ = [
    "DATASETS",
    "FASHION_CLASSES",
    "TOYS",
    "CaptionedSet",
    "ImageSet",
    "batches",
    "cache_folder",
    "check_images",
    "checkerboard",
    "cifar10",
    "digits",
    "eight_gaussians",
    "fashion_mnist",
    "fashion_mnist_available",
    "fetch",
    "folder",
    "moons",
    "photograph",
    "photographs",
    "pinwheel",
    "read_idx",
    "rings",
    "shapes",
    "swiss_roll",
    "to_model_range",
    "to_uint8",
]
