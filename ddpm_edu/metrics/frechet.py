"""The Frechet distance between two sets of features: two Gaussians are fitted, and their distance is known exactly.

With the features of an Inception network it is called FID. Here the features are whatever is given. Everything is
computed in float64 on the CPU. Sources: Dowson and Landau 1982 (the formula), Heusel et al. 2017 (FID).

Shapes: N or M samples, D features each.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_edu.errors import DataError, ShapeError
from ddpm_edu.metrics.inputs import exact, feature_set, same_width

_ROUNDING = 1e-6  # of the largest entry: what moments in single precision may lack of being symmetric and positive


class Moments(NamedTuple):
    """All that the Frechet distance knows of a set: mean (D,) and covariance (D, D), float64."""

    mean: Tensor
    covariance: Tensor


def moments(features: Tensor) -> Moments:
    """Mean and covariance of ``features`` (N, D), float64: sum (f - mean)(f - mean)^T / (N - 1), as FID has it.

    The covariance has rank N - 1 at most: only N > D samples can give it full rank. Fewer are no error, the distance
    is defined all the same. Raises ShapeError unless features are (N, D), DataError for N < 2, NaN and infinity.
    """
    features = feature_set(features, "features", least=2)
    mean = features.mean(0)
    deviation = features - mean
    return Moments(mean, deviation.T @ deviation / (len(features) - 1))


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """The Frechet distance of the Gaussians fitted to ``a`` (N, D) and ``b`` (M, D); see :func:`frechet_distance_of`.

    Like FID it is a squared distance, in squared units of the features. It is biased upwards: two sets of n draws from
    one distribution have a distance > 0, which falls about as 1/n. So compare only values of equal N and equal M, and
    give the value of two halves of the real data beside them. Raises ShapeError unless both are (N, D) with one D,
    DataError for fewer than 2 samples, NaN and infinity.
    """
    a, b = feature_set(a, "a", least=2), feature_set(b, "b", least=2)
    same_width(a, b, "a and b")
    return frechet_distance_of(*moments(a), *moments(b))


def frechet_distance_of(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """d^2 = |mean_a - mean_b|^2 + Tr(A + B - 2 (A^(1/2) B A^(1/2))^(1/2)), Dowson and Landau 1982.

    It is also the squared Wasserstein-2 distance of N(mean_a, A) and N(mean_b, B). Means are (D,), covariances (D, D),
    which may be singular. Raises ShapeError for other shapes, DataError for a matrix that is no covariance.
    """
    mean_a, mean_b = exact(mean_a, "mean_a"), exact(mean_b, "mean_b")
    cov_a, cov_b = _covariance(cov_a, mean_a, "a"), _covariance(cov_b, mean_b, "b")
    same_width(mean_a[None], mean_b[None], "the means of a and b")
    spread = cov_a.trace() + cov_b.trace() - 2 * trace_of_root(cov_a, cov_b)
    # Never below 0 but by rounding, where A and B are equal or nearly so: their traces cancel to the last digits.
    return float((mean_a - mean_b).square().sum() + spread.clamp(min=0))


def trace_of_root(cov_a: Tensor, cov_b: Tensor) -> Tensor:
    """Tr (A^(1/2) B A^(1/2))^(1/2): the sum of the singular values of B^(1/2) A^(1/2).

    Their squares are the eigenvalues of A^(1/2) B A^(1/2). Taken in this way they need no second root, which would
    make 1e-8 of the rounding error of a zero eigenvalue, 1e-16. Nothing can become complex, as the root of A B does.
    """
    return torch.linalg.svdvals(_root(cov_b) @ _root(cov_a)).sum()


def _root(covariance: Tensor) -> Tensor:
    values, directions = torch.linalg.eigh(covariance)
    # A zero comes out as some 1e-16 of the largest, of either sign; its root, 1e-8, would look like spread.
    noise = len(values) * torch.finfo(values.dtype).eps * values.max()
    return (directions * values.where(values > noise, 0).sqrt()) @ directions.T


def _covariance(covariance: Tensor, mean: Tensor, name: str) -> Tensor:
    """``covariance`` (D, D), float64, exactly symmetric."""
    covariance = exact(covariance, f"cov_{name}")
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise ShapeError(
            f"mean_{name} must be (D,) and cov_{name} (D, D), got {tuple(mean.shape)} and {tuple(covariance.shape)}. "
            "Usual cause: a table of features, or standard deviations. Fix: metrics.moments(features), (std**2).diag()."
        )
    symmetric = (covariance + covariance.T) / 2
    scale = symmetric.abs().max() * _ROUNDING
    if (covariance - symmetric).abs().max() > scale or torch.linalg.eigvalsh(symmetric).min() < -scale * len(mean):
        raise DataError(
            f"cov_{name} is no covariance: it is not symmetric, or has a negative eigenvalue. Usual cause: another "
            "matrix, or one that was rounded. Fix: metrics.moments(features)."
        )
    return symmetric
