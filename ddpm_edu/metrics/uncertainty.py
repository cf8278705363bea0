"""How sure a distance is: what real images would get (its floor), and what other samples might (its interval).

The Frechet distance is biased: n draws from the reference's own distribution are at a distance > 0, which falls as 1/n
once n is well above the number of features D. To second order in the errors of mean and covariance, for Gaussian
features whose covariance has the eigenvalues s_i, and a reference of m others,

    E d^2 = tr S (1/n + 1/m) + sum_ij s_i s_j (1 + [i = j]) / (2 (s_i + s_j)) (1/(n - 1) + 1/(m - 1)).

So a value says something only beside what real images get with the same n and m. Sources: Heusel et al. 2017 (the
distance), Chong and Forsyth 2020 (its bias), Efron and Tibshirani 1993 (the bootstrap, and its bias).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from ddpm_edu.errors import ConfigError, DataError
from ddpm_edu.metrics.frechet import Moments, frechet_distance, frechet_distance_of, moments
from ddpm_edu.metrics.inputs import enough, feature_set, same_width


class Floor(NamedTuple):
    """What ``n`` real images get, over ``repeats`` choices of them; in squared units of the features."""

    mean: float
    spread: float  # standard deviation of one value, not of the mean
    n: int
    repeats: int


class Interval(NamedTuple):
    """A distance, the ends of its interval, and how much it grows when its samples are drawn anew from themselves.

    ``low`` and ``high`` are for what samplings of this n give on average, bias and all, so they stand beside a floor of
    the same n. ``bias`` estimates the part that is due to n: less it, the three are of the distance without end of
    samples.
    """

    value: float
    low: float
    high: float
    bias: float


def floor(
    features: Tensor,
    n: int,
    repeats: int = 20,
    generator: Generator | None = None,
    reference: Tensor | Moments | None = None,
) -> Floor:
    """The Frechet distance that ``n`` real images have from a reference without them: no sampler should get less.

    ``features`` (M, D) are of real images. Each of ``repeats`` times n are chosen anew; the reference is the other
    M - n, or ``reference``, features (K, D) or their moments, of images that must not be among the M. The mean is that
    of fresh images. The spread is too small where n is not small beside M: choices of one set overlap. A sampler that
    repeats its training images can come out below, if these are the reference. Raises ShapeError and DataError for
    features, DataError for n < 2 or more than there are, ConfigError for repeats < 2.
    """
    features = feature_set(features, "features", least=2)
    _check_repeats(repeats, 2)
    most = len(features) - (2 if reference is None else 0)
    if not isinstance(n, int) or not 2 <= n <= most:
        raise DataError(
            f"n must be a whole number in 2..{most} for {len(features)} real images"
            f"{', of which two at least stay as the reference' if reference is None else ''}; got {n!r}. Usual cause: "
            "more samples than real images. Fix: fewer samples, or the features of more real images."
        )
    if isinstance(reference, Tensor):
        same_width(features, reference, "features and reference")
        reference = moments(reference)
    values = []
    for _ in range(repeats):
        order = _permutation(len(features), generator)
        other = moments(features[order[n:]]) if reference is None else reference
        values.append(frechet_distance_of(*moments(features[order[:n]]), *other))
    found = torch.tensor(values, dtype=torch.float64)
    return Floor(float(found.mean()), float(found.std()), n, repeats)


def bootstrap(
    a: Tensor,
    b: Any,
    distance: Callable[[Tensor, Any], float] = frechet_distance,
    repeats: int = 200,
    generator: Generator | None = None,
    level: float = 0.95,
) -> Interval:
    """``distance(a, b)`` with an interval: the samples ``a`` (N, ...) are drawn ``repeats`` times from themselves.

    N of N with replacement, so about a third are missing and others stand twice. For a biased distance this looks like
    fewer samples: the values lie above ``distance(a, b)`` by about its own bias, and their quantiles often do not even
    contain it. So this shift, mean d* - d, is taken off the quantiles again: low = lower quantile - shift, and the same
    for high. (Mirrored at d, as the basic interval has them, they cover a distance less often than they say: it varies
    the more, the larger it is, and the mirror turns that around.)

    ``b`` is held fixed and given to ``distance`` as it is (moments that are computed once will do): the interval is for
    this reference. Where the two distributions are equal it is too wide, as the values then vary more than they should;
    ``low`` may be below 0. It is too wide as well for samples whose classes come in turn: it takes them as drawn by
    chance. Raises DataError for N < 2, ConfigError for options.
    """
    enough(a, "a", least=2)
    if not isinstance(level, int | float) or not 0 < level < 1:
        raise ConfigError(f"level must be a number in (0, 1), got {level!r}. Usual cause: per cent. Fix: level=0.95.")
    _check_repeats(repeats, math.ceil(2 / (1 - level) - 1e-9))  # one beyond each end; 0.95 is no binary number
    value = distance(a, b)
    again = [distance(a[_with_replacement(len(a), generator)], b) for _ in range(repeats)]
    found = torch.tensor(again, dtype=torch.float64)
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    bias = float(found.mean()) - value
    low, high = (found.quantile(tails) - bias).tolist()
    return Interval(value, low, high, bias)


def _permutation(count: int, generator: Generator | None) -> Tensor:
    device = "cpu" if generator is None else generator.device
    return torch.randperm(count, generator=generator, device=device).cpu()


def _with_replacement(count: int, generator: Generator | None) -> Tensor:
    device = "cpu" if generator is None else generator.device
    return torch.randint(count, (count,), generator=generator, device=device).cpu()


def _check_repeats(repeats: int, least: int) -> None:
    if not isinstance(repeats, int) or repeats < least:
        raise ConfigError(
            f"repeats must be a whole number >= {least}, got {repeats!r}: fewer tell no spread, or do not reach as far "
            "as the ends of the interval. Fix: leave it out."
        )
