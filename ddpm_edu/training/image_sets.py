"""The images that a training learns from: found by name, held to the network, and known again by a hash."""

import hashlib
from typing import Any

from ddpm_edu import data
from ddpm_edu.data import ImageSet
from ddpm_edu.errors import ConfigError
from ddpm_edu.training.config import TrainConfig


def load_images(config: TrainConfig) -> ImageSet:
    """The images of a configuration. Raises DataError, ConfigError where the network is made for others."""
    match config.data:
        case "digits":
            images = data.digits()
        case "fashion_mnist":
            images = data.fashion_mnist("train")
        case "cifar10":
            images = data.cifar10("train")
        case _:
            assert config.folder is not None and config.size is not None  # noqa: S101 (the configuration saw to it)
            images = data.folder(config.folder, config.size, 1 if config.net.channels == 1 else 3)
    return fitting(config, images)


def fitting(config: TrainConfig, images: ImageSet) -> ImageSet:
    """``images``, where the network is made for such. Raises ConfigError."""
    if not isinstance(images, ImageSet):
        raise ConfigError(
            f"images must be an ImageSet, got {type(images).__name__}. Fix: data.ImageSet(name, images, labels), with "
            "uint8 images (N, C, H, W)."
        )
    channels, classes = images.images.shape[1], config.net.classes
    if channels != config.net.channels:
        raise ConfigError(
            f"{images.name} has {channels} channels, the network {config.net.channels}. Fix: net.channels."
        )
    if classes is not None and images.labels is None:
        raise ConfigError(f"{images.name} has no labels, and the network wants {classes} classes.")
    if classes is not None and images.labels is not None and int(images.labels.max()) >= classes:
        raise ConfigError(
            f"labels must lie in 0..{classes - 1} for this network, got {int(images.labels.max())} in {images.name}. "
            "Fix: net.classes."
        )
    return images


def seen(images: ImageSet) -> dict[str, Any]:
    """What a checkpoint says of the images: a name for people, the size of one (C, H, W), and its grey levels."""
    return {"name": images.name, "size": list(images.images.shape[1:]), "levels": images.levels}


def fingerprint(images: ImageSet) -> str:
    """A hash of images and labels: what a resumed run is held to."""
    content = hashlib.sha256(images.images.cpu().numpy().tobytes())
    if images.labels is not None:
        content.update(images.labels.cpu().numpy().tobytes())
    return content.hexdigest()
