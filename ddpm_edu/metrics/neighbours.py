"""Distances between images one by one: is a sample among the real ones, and is it a copy of one of them?

Everything is brute force in float64 on the CPU, a part of the pairs at a time. Distances are taken from differences,
not from |a|^2 + |b|^2 - 2 a.b, which is faster but leaves about 1e-7 where two images are equal: here copies are at 0
exactly, and a distance is the same whichever of the two comes first. N M D numbers are compared, at about 1e9 a second.

Sources: Kynkaanniemi et al. 2019 (precision and recall), Meehan et al. 2020 (three sets, to detect copying), Carlini et
al. 2023, section 5 (nearest training images of diffusion models).

Shapes: N samples, M training images, H held-out images, D numbers each.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_edu.errors import ConfigError, DataError
from ddpm_edu.metrics.inputs import exact, feature_set, same_width

PAIRS = 2**20  # of distances in memory at once: 8 MiB, more is no faster
NEAR = 50  # training images about a sample: the set S of Carlini et al.


class PrecisionRecall(NamedTuple):
    """Shares in 0..1: of generated samples that look real, and of real samples that could be generated."""

    precision: float
    recall: float


class Nearest(NamedTuple):
    """Of each sample: its distance to the nearest training image, float64 (N,), and which one that is, int64 (N,)."""

    distance: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which a pair of tensors has no use for


class Share(NamedTuple):
    """How many samples are nearer to training images than real images are that nobody trained on.

    ``share`` of the samples lie below ``threshold``, where ``expected`` is the share if samples were as new as the
    held-out images are. ``p_value``: the chance of so large a share in that case. ``which``: bool (N,).
    """

    share: float
    expected: float
    p_value: float
    threshold: float
    which: Tensor


class Memorised(NamedTuple):
    """The check made twice, see :func:`memorised`: by ``distance`` and by ``ratio``; and the nearest training images.

    ``ratios``: float64 (N,) in 0..1, of the distance to the nearest training image to the mean of the nearest 50.
    """

    distance: Share
    ratio: Share
    nearest: Nearest
    ratios: Tensor


def precision_recall(real: Tensor, generated: Tensor, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall, Kynkaanniemi et al. 2019, Eq. 1 and 2.

    The manifold of a set is the union of balls about its samples, each out to the k-th nearest other one. Precision is
    the share of ``generated`` (M, D) inside the manifold of ``real`` (N, D), recall the share of ``real`` inside that
    of ``generated``. The surface belongs to the ball. "Other" goes by position: a copy of a sample is a neighbour at
    distance 0, so a sample that stands k + 1 times in its set has a ball that is a point.

    Both depend on N, M and k, so compare only values with all three alike. A single outlier has a large ball and lets
    much in. Raises ShapeError, DataError for fewer than k + 1 samples, NaN and infinity, ConfigError for k < 1.
    """
    if not isinstance(k, int) or k < 1:
        raise ConfigError(f"k must be a whole number >= 1, which neighbour a ball reaches to; got {k!r}. Fix: k=3.")
    real, generated = feature_set(real, "real", k + 1), feature_set(generated, "generated", k + 1)
    same_width(real, generated, "real and generated")
    return PrecisionRecall(
        precision=covered(generated, real, radii(real, k)), recall=covered(real, generated, radii(generated, k))
    )


def radii(samples: Tensor, k: int) -> Tensor:
    """From each of ``samples`` (N, D) the distance to the k-th nearest of the others, (N,)."""
    # One entry of a row is the sample itself at 0, and none is smaller: the k-th of the others is number k + 1.
    return torch.cat([apart.kthvalue(k + 1, dim=1).values for apart in distances(samples, samples)])


def covered(samples: Tensor, centres: Tensor, radius: Tensor) -> float:
    """The share of ``samples`` (N, D) that lie in any ball, with ``centres`` (M, D) and ``radius`` (M,)."""
    inside = torch.cat([(apart <= radius).any(1) for apart in distances(samples, centres)])
    return inside.double().mean().item()


def nearest(samples: Tensor, training: Tensor) -> Nearest:
    """To each of ``samples`` (N, ...) the nearest of ``training`` (M, ...) by Euclidean distance, flattened.

    Images as they are, or their features. Of several equally near the first is told. Look at the pairs, not only at the
    numbers. Raises ShapeError for samples of different shapes, DataError for no samples, NaN and infinity.
    """
    a, b = _rows(samples, "samples", 1), _rows(training, "training", 1)
    same_width(samples, training, "samples and training")
    near, index = closest(a, b, 1)
    return Nearest(near[:, 0], index)


def memorised(samples: Tensor, training: Tensor, held_out: Tensor, level: float = 0.01) -> Memorised:
    """Are ``samples`` (N, ...) nearer to ``training`` (M, ...) than real images are that nobody trained on?

    How near is too near? ``held_out`` (H, ...) tells: real images from where the training images come from, none of
    them among these. The threshold is the k-th smallest of their distances to the nearest training image, with
    k = floor(level (H + 1)): in short, their 1% quantile. Whatever the distribution, new real images fall strictly
    below it with probability k / (H + 1) <= ``level`` (less where distances tie), and the count among N of them is
    beta-binomial, which gives the p-value.

    Being near is not yet a copy: in many dimensions a plain image, near the mean of all, is nearer to each image than
    they are to one another. So the same is asked of the ratio of the nearest distance to the mean of those to the 50
    nearest (or to all M < 50), which is small only where one training image stands out (Carlini et al. 2023). A copy is
    caught by both, a plain image by the distance alone. A high p-value does not say that nothing was copied: among
    10,000 samples five copies are no excess over 1%, so look at the smallest ratios. Prepare all three sets alike
    (rounded to bytes or not); a shifted or mirrored copy is no copy in pixels. Raises ShapeError, ConfigError, and
    DataError for NaN, fewer held-out images than k = 1 needs (99 for 1%), fewer than 2 training images, and held-out
    images that are in the training set, since nothing is nearer than 0.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, the share to expect; got {level!r}. Fix: level=0.01.")
    a, b = _rows(samples, "samples", 1), _rows(training, "training", 2)
    held = _rows(held_out, "held_out", math.ceil(1 / level - 1e-9) - 1)
    same_width(samples, training, "samples and training")
    same_width(held_out, training, "held_out and training")
    near, index = closest(a, b, NEAR)
    near_held, _ = closest(held, b, NEAR)
    ratios = ratio(near)
    return Memorised(
        below(near[:, 0], near_held[:, 0], level),
        below(ratios, ratio(near_held), level),
        Nearest(near[:, 0], index),
        ratios,
    )


def ratio(near: Tensor) -> Tensor:
    """Nearest over mean, from sorted distances (N, S): (N,) in 0..1; 0 where all S are 0, copies of one image."""
    mean = near.mean(1)
    return torch.where(mean > 0, near[:, 0] / mean, 0)


def below(samples: Tensor, held_out: Tensor, level: float) -> Share:
    """How many of ``samples`` (N,) are smaller than the k-th smallest of ``held_out`` (H,), and how odd that is."""
    k = math.floor(level * (len(held_out) + 1) + 1e-9)  # 0.29 * 100 is 28.999999999999996
    threshold = held_out.kthvalue(k).values
    if threshold == 0:
        raise DataError(
            f"{int((held_out == 0).sum())} of {len(held_out)} held-out images stand in the training set, too, so no "
            "sample can be nearer than they are. Usual cause: held_out was trained on, or the data set has duplicates. "
            "Fix: hold images out before training; held_out[metrics.nearest(held_out, training).distance > 0]."
        )
    which = samples < threshold
    expected = k / (len(held_out) + 1)
    return Share(which.double().mean().item(), expected, _tail(which, k, len(held_out)), threshold.item(), which)


def closest(a: Tensor, b: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Of each row of ``a`` the distances to the ``count`` nearest of ``b``, sorted (N, count); where the first is."""
    near, index = [], []
    for apart in distances(a, b):
        near.append(apart.topk(min(count, len(b)), dim=1, largest=False).values)
        index.append(apart.argmin(1))  # of equal ones the first, which topk does not promise
    return torch.cat(near), torch.cat(index)


def distances(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """Euclidean distances of ``a`` (N, D) to ``b`` (M, D), some rows (n, M) at a time; exactly 0 between equals."""
    for part in in_parts(a, len(b)):
        yield torch.cdist(part, b, compute_mode="donot_use_mm_for_euclid_dist")


def in_parts(a: Tensor, other: int) -> tuple[Tensor, ...]:
    """``a`` cut so that each part makes at most about PAIRS pairs with ``other`` samples."""
    return a.split(max(1, PAIRS // other))


def _tail(which: Tensor, k: int, held_out: int) -> float:
    """P(X >= number in ``which``) for X beta-binomial with N = len(which), alpha = k, beta = H + 1 - k."""
    n, seen = len(which), int(which.sum())
    x = torch.arange(seen, n + 1, dtype=torch.float64)
    alpha, beta = torch.tensor(float(k)).double(), torch.tensor(float(held_out + 1 - k)).double()
    ways = math.lgamma(n + 1) - torch.lgamma(x + 1) - torch.lgamma(n - x + 1)
    log = ways + _log_beta(x + alpha, n - x + beta) - _log_beta(alpha, beta)
    return min(1.0, log.exp().sum().item())


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def _rows(samples: Tensor, name: str, least: int) -> Tensor:
    """``samples`` (N, ...) as float64 (N, D). Raises ShapeError, DataError."""
    samples = exact(samples, name)
    return feature_set(samples.flatten(1) if samples.ndim > 2 else samples, name, least)
