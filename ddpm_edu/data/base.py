"""One in-memory set of images: stored bytes, labels, and the names that go with them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ddpm_edu.data.ranges import check_levels, to_model_range
from ddpm_edu.errors import DataError


@dataclass(frozen=True, eq=False)  # eq=False: comparing tensors with == gives a tensor, not a truth value
class ImageSet:
    """Images as they are stored, uint8, never scaled; :meth:`model_range` is the way to a model.

    ``images``: uint8 (N, C, H, W), values 0..levels-1. ``labels``: int64 (N,) or None. ``classes``: the name
    of each label, or () where the labels have no names. Raises DataError where these do not fit each other.
    """

    name: str
    images: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    levels: int = 256

    def __post_init__(self) -> None:
        _check_stored_images(self.name, self.images, self.levels)
        if self.labels is not None:
            _check_labels(self.name, self.labels, len(self.images), self.classes)

    def __len__(self) -> int:
        return len(self.images)

    def model_range(self) -> Tensor:
        """All images as float32 (N, C, H, W) in [-1, 1]: four times the bytes, so mind large sets."""
        return to_model_range(self.images, self.levels)

    def subset(self, indices: Tensor | slice) -> Self:
        """The images and labels at ``indices``: int64 (M,), bool (N,), or a slice. DataError if none."""
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, images=self.images[indices], labels=labels)


def batches(imageset: ImageSet, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor | None]]:
    """One epoch in random order: float32 (batch_size, C, H, W) in [-1, 1] with labels (batch_size,) or None.

    All batches have the same size, so the N mod batch_size images that are left over are not seen in this
    epoch. ``generator`` (CPU) decides the order. Raises DataError, at once, where the set is smaller than one
    batch: the epoch would be empty, and a loop that waits for a batch would wait for ever.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise DataError(
            f"batch_size={batch_size!r}; it must be an integer >= 1. Usually a division rounded it to 0. "
            "Fix: batch_size=min(128, len(imageset))."
        )
    if len(imageset) < batch_size:
        raise DataError(
            f"{imageset.name} has {len(imageset)} images, fewer than batch_size={batch_size}; one full batch "
            f"is the least. Usually a small subset meets a large default. Fix: batch_size={len(imageset)} or "
            "less."
        )
    return _batches(imageset, batch_size, generator)


def _batches(imageset: ImageSet, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor | None]]:
    order = torch.randperm(len(imageset), generator=generator)
    for start in range(0, len(order) - batch_size + 1, batch_size):
        batch = imageset.subset(order[start : start + batch_size])
        yield batch.model_range(), batch.labels


def _describe(given: object) -> str:
    return f"{given.dtype} {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__


def _check_stored_images(name: str, images: Tensor, levels: int) -> None:
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.ndim != 4:
        raise DataError(
            f"{name}: images are {_describe(images)}; uint8 (N, C, H, W) is expected. Usually they were scaled to "
            "floats, or the channel dimension is missing. Fix: data.to_uint8(images), or images[:, None] for "
            "grey images."
        )
    if images.numel() == 0:
        raise DataError(
            f"{name}: 0 images (shape {tuple(images.shape)}); at least one is expected. Usually a filter or "
            "a slice selected nothing. Fix: look at the indices before taking the subset."
        )
    check_levels(levels)
    high = int(images.max())
    if high > levels - 1:
        raise DataError(
            f"{name}: the largest grey level is {high}; levels={levels} allows 0..{levels - 1}. Usually the "
            f"number of levels belongs to another data set. Fix: levels={high + 1} or more; 256 for ordinary "
            "images."
        )


def _check_labels(name: str, labels: Tensor, count: int, classes: tuple[str, ...]) -> None:
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.ndim != 1:
        raise DataError(
            f"{name}: labels are {_describe(labels)}; int64 (N,) is expected. Usually they are one-hot or floats. "
            "Fix: labels.argmax(1) for one-hot, labels.long() for whole numbers."
        )
    if len(labels) != count:
        raise DataError(
            f"{name}: {len(labels)} labels for {count} images; there must be as many labels as images. "
            "Usually the label file belongs to the other split. Fix: load images and labels of the same "
            "split."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (classes and high >= len(classes)):
        allowed = f"0..{len(classes) - 1}" if classes else "0 and above"
        raise DataError(
            f"{name}: labels span [{low}, {high}]; {allowed} is allowed. Usually labels count from 1, or -1 "
            "marks unlabelled images. Fix: labels - labels.min(), or drop the unlabelled images."
        )
