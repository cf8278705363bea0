"""A feature space for small images: what a classifier sees before it names the class.

FID's Inception network wants 299x299 photographs and 90 MB. For digits and clothes a small classifier, trained on the
same data, knows what matters: its penultimate layer gives 64 features. Values in this space compare only with values
in the same space; they are not FID.

Shape suffixes: b images, c channels, h height, w width, f features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_edu.data.ranges import check_images
from ddpm_edu.errors import ConfigError, ShapeError
from ddpm_edu.models import pretrained

FOLDER = Path(__file__).parent / "weights"
FEATURES, GROUPS = 64, 8


class Classifier(nn.Module):
    """Images (b, *shape) -> ``embed`` -> features (b, f) -> logits (b, classes).

    ``shape``: (C, H, W) of one image. A stage of each of ``widths`` channels looks at 3x3 pixels and halves height and
    width. Groups of channels are normalised within each image, so an image's features do not depend on its batch.
    Features keep where in the image something was seen: nothing is averaged over all of it. Raises ConfigError.
    """

    def __init__(
        self,
        shape: Sequence[int],
        widths: Sequence[int],
        classes: int = 10,
        features: int = FEATURES,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        smallest = min(shape[1:], default=0) >> len(widths)
        if len(shape) != 3 or not widths or smallest < 1 or any(width % GROUPS for width in widths):
            raise ConfigError(
                f"shape must be (C, H, W), and each of widths, a multiple of {GROUPS}, halves H and W; got "
                f"shape={tuple(shape)}, widths={tuple(widths)}."
            )
        self.shape = tuple(shape)
        stages = [_stage(narrow, wide) for narrow, wide in zip((shape[0], *widths), widths, strict=False)]
        seen = widths[-1] * (shape[1] >> len(widths)) * (shape[2] >> len(widths))
        self.embed = nn.Sequential(*stages, nn.Flatten(), nn.Dropout(dropout), nn.Linear(seen, features), nn.SiLU())
        self.name = nn.Linear(features, classes)

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Logits (b, classes)."""
        logits: Tensor = self.name(self.embed(x_bchw))
        return logits


def _stage(narrow: int, wide: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(narrow, wide, 3, padding=1), nn.GroupNorm(GROUPS, wide), nn.SiLU(), nn.MaxPool2d(2))


@dataclass(frozen=True, eq=False)
class Extractor:
    """A trained classifier as a measuring device: ``features`` and ``logits`` of images, and how it was trained.

    Images are floating (N, C, H, W) in [-1, 1], any N; they go through the network ``batch_size`` at a time, on its
    device. A sampler may overshoot [-1, 1]: pass its images through ``data.to_uint8`` and back, as a file would.
    """

    net: Classifier
    config: dict[str, Any]
    batch_size: int = 500

    def features(self, images: Tensor) -> Tensor:
        """Float32 (N, 64), of the penultimate layer. Raises ShapeError for other images, DataError for their values."""
        return self._through(self.net.embed, images)

    def logits(self, images: Tensor) -> Tensor:
        """Float32 (N, 10): the largest is the class. Raises as :meth:`features`."""
        return self._through(self.net, images)

    @torch.no_grad()
    def _through(self, layers: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        check_images(images, self.net.shape[0])
        if images.shape[1:] != self.net.shape:
            raise ShapeError(
                f"these features are of images (N, {', '.join(map(str, self.net.shape))}), got {tuple(images.shape)}. "
                "Usual cause: another data set. Fix: the extractor of that data, one of metrics.features.load."
            )
        weight = next(self.net.parameters())
        return torch.cat([layers(batch.to(weight)).float() for batch in images.split(self.batch_size)])


def load(name: str | Path) -> Extractor:
    """The extractor called ``name``: "digits" (8x8), "fashion" (28x28), or the path of such a file; eval mode, CPU.

    "fashion_turned" is a second opinion on Fashion-MNIST: another network, which was never told what the images show
    and has learned to see how each has been turned. What both call better is better. The ``config`` of an extractor
    tells the network's arguments, data, training, and accuracy on images that it was not trained on.
    Raises ConfigError for an unknown name, DataError for a file that is missing, damaged or of another network.
    """
    path = name if isinstance(name, Path) else pretrained.carried(name, FOLDER)
    return Extractor(*pretrained.read(path, {"Classifier": Classifier}))


def held_out(count: int) -> Tensor:
    """Which of ``count`` images in order are kept from training: bool (count,), every fifth ten.

    By tens, since the digits mostly come as 0, 1, ..., 9: every fifth image would be some classes twice as often.
    """
    return torch.arange(count) // 10 % 5 == 4
