"""The check of notebook 06 that looks for copies. The oracle loops over pairs of images, in plain floats."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.evaluation_judge import Matrix, Row, ask, judge, matrix
from ddpm_edu.exercises.frame import CheckFailed, check

TRAINING, HELD_OUT, SAMPLES = 12, 9, 40
_SHAPES = (
    "Make rows of the images first: torch.cdist(a.flatten(1), b.flatten(1)) has a row for each of a, a column for "
    "each of b."
)


def _near(images: Matrix, training: Matrix) -> Row:
    return [min(math.dist(x, y) for y in training) for x in images]


def _mean_distances(images: Matrix, training: Matrix) -> Row:
    return [sum(math.dist(x, y) for y in training) / len(training) for x in images]


def _near_others(images: Matrix) -> Row:
    """Of each image to the nearest other one of the same set."""
    return [_near([a], images[:i] + images[i + 1 :])[0] for i, a in enumerate(images)]


def _quantile(values: Row, share: float) -> float:
    """Between two values a straight line, as torch.quantile has it."""
    place = share * (len(values) - 1)
    low, high = (sorted(values)[at] for at in (math.floor(place), math.ceil(place)))
    return low + (place - math.floor(place)) * (high - low)


def _flags(values: Row, limit: float) -> Row:
    return [float(value < limit) for value in values]


_LOW_QUANTILE = (
    "The limit is a low quantile of the held-out distances: a few held-out images are below it. Here it is *any*: the "
    "smallest. (The library takes a quantile, for another reason.)"
)
_NOTHING = (
    "Nothing is found, and exact copies are among the samples. Is the limit 0 (training images, compared with "
    "themselves)? Or is a sample's distance that to the farthest image, or a mean? It is to the nearest: min, not max."
)
_WRONG_COPIES: list[tuple[Callable[[Matrix, Matrix, Matrix], Row], str]] = [
    (
        lambda x, y, h: [0.0] * len(x),
        _NOTHING,
    ),
    (
        lambda x, y, h: [1.0] * len(x),
        "Everything is a copy: the limit is too large. The *smallest* distance of a held-out to a training image.",
    ),
    (
        lambda x, y, h: [float(near >= min(_near(h, y))) for near in _near(x, y)],
        "The other way round: True is for a sample that is nearer than the held-out images are.",
    ),
    (
        lambda x, y, h: _flags(_near(x, y), 1e-12),
        "Only exact copies are found. (Is the limit the smallest distance between training images: 0, to itself?)",
    ),
    (
        lambda x, y, h: _flags(_near(x, y), sum(_near(h, y)) / len(h)),
        "The limit is the mean of the held-out distances, which half of all new images are below. Their smallest.",
    ),
    (
        lambda x, y, h: _flags(_near(x, y), max(_near(h, y))),
        "The limit is the largest of the held-out distances; then nearly every new image is a copy. Their smallest.",
    ),
    (lambda x, y, h: _flags(_near(x, y), _quantile(_near(h, y), 0.01)), _LOW_QUANTILE),
    (lambda x, y, h: _flags(_near(x, y), _quantile(_near(h, y), 0.05)), _LOW_QUANTILE),
    (
        lambda x, y, h: [float(near < others) for near, others in zip(_near(x, y), _near(x, h), strict=True)],
        "The held-out images are compared with the samples. How near do they come to the training images?",
    ),
    (
        lambda x, y, h: _flags(_mean_distances(x, y), min(_mean_distances(h, y))),
        "Mean distances to all training images are compared. A copy is near to one of them: min over its row.",
    ),
    (
        lambda x, y, h: _flags(_near(x, y), min(_near(x, h))),
        "The limit is the distance of held-out images from the samples. It should be theirs from the training images.",
    ),
    (
        lambda x, y, h: _flags([near**2 for near in _near(x, y)], min(_near(h, y))),
        "A squared distance is compared with one that is not squared.",
    ),
    (
        lambda x, y, h: _flags(_near(x, y), min(_near_others(y))),
        "The limit is the distance between training images. They may hold near duplicates: held-out images are asked.",
    ),
    (
        lambda x, y, h: _flags(_near(x, y), min(_near_others(h))),
        "The limit is the distance between held-out images. How near do they come to the *training* images?",
    ),
]


def _sets() -> tuple[Tensor, Tensor, Tensor]:
    """Samples, training, held out; samples: copies with more and more noise, two beside the limit, and new images."""
    sizes = ((TRAINING, 1), (HELD_OUT, 2), (SAMPLES, 3))
    training, held_out, samples = (matrix(n, 4, seed).view(n, 1, 2, 2) * 4 for n, seed in sizes)
    training[3] = training[2] + 0.1  # near duplicates, as in real data
    noise = matrix(20, 4, 4).view(20, 1, 2, 2) - 0.5
    samples[:20] = training[torch.arange(20) % TRAINING] + noise * torch.linspace(0, 2, 20).view(20, 1, 1, 1)
    # From a training image away from the held-out image that comes nearest: not quite as far as that, and a little
    # farther, yet less than the second nearest. So a low quantile of these distances does not pass for the smallest.
    apart = torch.cdist(held_out.flatten(1), training.flatten(1))
    h, y = divmod(int(apart.argmin()), TRAINING)
    two = apart.amin(1).sort().values[:2]
    for place, way in ((20, 0.99), (21, 1 + 0.04 * float(two[1] / two[0] - 1))):
        samples[place] = training[y] + way * (training[y] - held_out[h])
    return samples, training, held_out


@check("6.5 looking for copies")
def copies(f: Callable[..., Any]) -> None:
    """f(samples, training, held_out) must be True where a sample is nearer to training than any held-out image is."""
    samples, training, held_out = _sets()
    result = ask(f, samples, training, held_out, shapes=_SHAPES)
    if result is None:
        raise CheckFailed("Your function returned None where a tensor was expected. Did you forget `return`?")
    if not isinstance(result, Tensor) or result.shape != (SAMPLES,):
        shape = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        hint = " Of each sample's row take the smallest: .amin(1)." if TRAINING in (shape or ()) else ""
        raise CheckFailed(
            f"One answer for each of the {SAMPLES} samples is expected, a tensor ({SAMPLES},); got {shape}.{hint}"
        )
    if result.dtype != torch.bool:
        raise CheckFailed(f"True or False is expected for each sample; got {result.dtype}. Compare with the limit.")
    x, y, h = (images.flatten(1).tolist() for images in (samples, training, held_out))
    want = _flags(_near(x, y), min(_near(h, y)))
    judge(result.double().tolist(), want, [(rule(x, y, h), m) for rule, m in _WRONG_COPIES], "Is it a copy")
