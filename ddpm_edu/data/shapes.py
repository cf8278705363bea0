"""Coloured shapes with captions, drawn on demand: pictures and language without a download.

Each picture is one shape on a dark ground, described by four words from a small closed vocabulary: "a large
red circle, top left". Shapes are drawn from signed distances (negative inside, in pixels), whose value near
the border is also the share of the pixel that is covered: that makes the edges smooth.
"""

from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Generator, Tensor

from ddpm_edu.data.base import ImageSet
from ddpm_edu.errors import DataError

SIZES = {"small": 0.1, "large": 0.17}  # radius, as a share of the picture's side
COLOURS = {
    "red": (225, 50, 45),
    "green": (55, 180, 75),
    "blue": (60, 105, 230),
    "yellow": (240, 210, 50),
    "white": (240, 240, 240),
}
SHAPES = ("circle", "square", "triangle", "cross")
PLACES = {  # centre, as shares of width and height
    "top left": (0.28, 0.28),
    "top right": (0.72, 0.28),
    "centre": (0.5, 0.5),
    "bottom left": (0.28, 0.72),
    "bottom right": (0.72, 0.72),
}
VOCABULARY = (tuple(SIZES), tuple(COLOURS), SHAPES, tuple(PLACES))
_GROUND = (28, 30, 40)
_JITTER = 0.03  # of place and radius, so that two pictures with one caption differ
_MIN_SIZE = 16  # below, the four shapes look alike
_CHUNK = 256  # pictures drawn at a time: bounds the memory


@dataclass(frozen=True, eq=False)
class CaptionedSet(ImageSet):
    """An ImageSet whose image i is described by ``captions[i]``.

    ``factors``: int64 (N, 4), the positions of the caption's size, colour, shape and place in ``VOCABULARY``.
    """

    captions: tuple[str, ...] = ()
    factors: Tensor = field(default_factory=lambda: torch.empty(0, 4, dtype=torch.int64))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.captions) == len(self.factors) == len(self.images):
            raise DataError(
                f"{self.name}: {len(self.captions)} captions and {len(self.factors)} factors for "
                f"{len(self.images)} images; there must be as many of each. Usually only one was filtered. "
                "Fix: use .subset(indices)."
            )

    def subset(self, indices: Tensor | slice) -> Self:
        """The images at ``indices`` with their captions: int64 (M,), bool (N,), or a slice."""
        kept = torch.arange(len(self))[indices]
        labels = None if self.labels is None else self.labels[kept]
        captions = tuple(self.captions[i] for i in kept.tolist())
        return replace(self, images=self.images[kept], labels=labels, captions=captions, factors=self.factors[kept])


def shapes(n: int, seed: int, size: int = 32) -> CaptionedSet:
    """``n`` pictures uint8 (n, 3, size, size) with captions; labels say which of ``SHAPES`` it is.

    Picture i depends on (seed, i) alone: a longer set begins with the shorter one. Raises DataError for n < 1
    and size < 16.
    """
    _check(n, size)
    # One row of uniform numbers a picture: four choose the words, three move the shape a little.
    draw = torch.rand(n, 7, dtype=torch.float64, generator=Generator().manual_seed(seed))
    counts = torch.tensor([len(words) for words in VOCABULARY])
    factors = (draw[:, :4] * counts).to(torch.int64)
    jitter = (2 * draw[:, 4:] - 1) * _JITTER
    rows = zip(factors.split(_CHUNK), jitter.split(_CHUNK), strict=True)
    images = torch.cat([_draw(f, j, size) for f, j in rows])
    captions = tuple(caption(row) for row in factors.tolist())
    return CaptionedSet(f"shapes, seed {seed}", images, factors[:, 2], SHAPES, 256, captions, factors)


def caption(factors: list[int]) -> str:
    """The sentence for one row of factors, e.g. [1, 0, 0, 0] -> "a large red circle, top left"."""
    size, colour, shape, place = (words[i] for words, i in zip(VOCABULARY, factors, strict=True))
    return f"a {size} {colour} {shape}, {place}"


def _check(n: int, size: int) -> None:
    if not isinstance(n, int) or n < 1:
        raise DataError(f"n={n!r}; the number of pictures must be an integer >= 1. Fix: n=1000.")
    if not isinstance(size, int) or size < _MIN_SIZE:
        raise DataError(
            f"size={size!r}; it must be an integer >= {_MIN_SIZE} pixels, below that the shapes look alike. "
            "Fix: size=32."
        )


def _draw(factors: Tensor, jitter: Tensor, size: int) -> Tensor:
    """Pictures uint8 (n, 3, size, size) for factors (n, 4) and jitter (n, 3) of x, y and radius."""
    centre = torch.tensor(list(PLACES.values()), dtype=torch.float64)[factors[:, 3]] + jitter[:, :2]
    radius = torch.tensor(list(SIZES.values()), dtype=torch.float64)[factors[:, 0]] + jitter[:, 2] / 2
    pixel = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    x = pixel[None, None, :] - centre[:, 0, None, None]
    y = pixel[None, :, None] - centre[:, 1, None, None]
    distance = _signed_distances(x, y, radius[:, None, None])
    chosen = distance[factors[:, 2], torch.arange(len(factors))] * size
    covered = (0.5 - chosen).clamp(0, 1)[:, None]
    ink = torch.tensor(list(COLOURS.values()), dtype=torch.float64)[factors[:, 1]][:, :, None, None]
    ground = torch.tensor(_GROUND, dtype=torch.float64)[:, None, None]
    return (ground + covered * (ink - ground)).round().to(torch.uint8)


def _signed_distances(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """Distance to the border of each of ``SHAPES``, (4, n, H, W); y points down. Not exact around corners."""
    circle = (x.square() + y.square()).sqrt() - radius
    square = torch.maximum(x.abs(), y.abs()) - 0.88 * radius
    # Three half planes at 120 degrees; the centre of mass sits at (0, 0).
    slanted = 0.75**0.5 * x.abs() - 0.5 * y
    triangle = torch.maximum(slanted, y) - 0.58 * radius
    upright = torch.maximum(x.abs() - 0.34 * radius, y.abs() - radius)
    level = torch.maximum(y.abs() - 0.34 * radius, x.abs() - radius)
    return torch.stack(torch.broadcast_tensors(circle, square, triangle, torch.minimum(upright, level)))
