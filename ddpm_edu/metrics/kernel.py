"""Distances by kernels: the squared maximum mean discrepancy (MMD), without a bias and without a fitted Gaussian.

MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y), with x, x' of one distribution and y, y' of the other. The estimate
leaves out the pairs of a sample with itself (Gretton et al. 2012, Eq. 3): its mean is the true value whatever the
number of samples, so unlike a Frechet distance it can be compared across sample sizes. The price: for equal
distributions it scatters about 0 and is often negative. That is no error, and is not clipped, which would bring the
bias back.

Everything is computed in float64 on the CPU, a part of the pairs at a time.

Shapes: N or M samples, D features each.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from ddpm_edu.errors import ConfigError, DataError
from ddpm_edu.metrics.inputs import feature_set, same_width
from ddpm_edu.metrics.neighbours import distances, in_parts

Kernel = Callable[[Tensor, Tensor], Tensor]
_POINTS = 2000  # of which the median heuristic takes all pairs: two millions


class KernelEstimate(NamedTuple):
    """Of a kernel distance over random subsets: mean and standard deviation of the subsets' values."""

    mean: float
    std: float


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """The kernel distance of ``a`` (N, D) and ``b`` (M, D): MMD^2 with k(x, y) = (x.y / D + 1)^3, unbiased.

    With the features of an Inception network it is called KID (Binkowski et al. 2018, section 4). The cubic kernel
    compares means, covariances and third moments. All pairs are used: N (N - 1), M (M - 1) and N M. For an idea of its
    scatter see :func:`kernel_distance_subsets`, or take two halves of the real data. Raises ShapeError unless both are
    (N, D) with one D, DataError for fewer than 2 samples, NaN and infinity.
    """
    return unbiased(cubic, *_pair(a, b, "a", "b"))


def kernel_distance_subsets(
    a: Tensor, b: Tensor, size: int = 1000, count: int = 100, generator: Generator | None = None
) -> KernelEstimate:
    """:func:`kernel_distance` of ``count`` random subsets, ``size`` of ``a`` (N, D) and ``size`` of ``b`` (M, D) each.

    This is how KID is mostly published: mean and standard deviation (with count - 1) over the subsets. The mean
    estimates the same value as :func:`kernel_distance` and is less exact, as it sees fewer pairs. ``std`` is the
    scatter of one value from ``size`` samples. std / sqrt(count) says how far the mean is from that over all subsets,
    not how far from the truth: subsets share samples, and more of them bring no new ones. Within a subset no sample
    comes twice. Raises ConfigError unless 2 <= size <= N, M and count >= 2; ShapeError and DataError as there.
    """
    a, b = _pair(a, b, "a", "b")
    _check_subsets(size, count, min(len(a), len(b)))
    values = [unbiased(cubic, _some(a, size, generator), _some(b, size, generator)) for _ in range(count)]
    std, mean = torch.std_mean(torch.tensor(values, dtype=torch.float64))
    return KernelEstimate(mean.item(), std.item())


def mmd(x: Tensor, y: Tensor, bandwidth: float | None = None) -> float:
    """MMD^2 of points ``x`` (N, D) and ``y`` (M, D) with k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2)), unbiased.

    For points in the plane and other data of few dimensions; no features are needed. It has no units and is below 2.
    It sees differences of about the size of ``bandwidth``, which has the units of the points. Without one the median
    heuristic is taken, :func:`median_bandwidth` of x and y together. That depends on both sets, so values for two
    models then use two kernels: to compare models, give one bandwidth, such as that of the real data with itself.
    Raises ShapeError, ConfigError for a bandwidth that is not above 0, DataError for fewer than 2 points, NaN and
    infinity.
    """
    x, y = _pair(x, y, "x", "y")
    if bandwidth is None:
        bandwidth = median_bandwidth(x, y)
    if not 0 < bandwidth < float("inf"):
        raise ConfigError(
            f"bandwidth must be a number above 0, got {bandwidth!r}. Fix: a distance between points that matters, or "
            "none for the median heuristic."
        )
    return unbiased(gaussian(bandwidth), x, y)


def median_bandwidth(x: Tensor, y: Tensor) -> float:
    """The median distance between two different points of ``x`` (N, D) and ``y`` (M, D) together: Gretton et al. 2012.

    Of more than 2,000 points together every second, third, ... of each set is taken, not the first ones, which may be
    of one class. Raises ShapeError, and DataError where the median is 0: more than half of the pairs coincide.
    """
    x, y = _pair(x, y, "x", "y")
    every = -(-(len(x) + len(y)) // _POINTS)
    median = torch.pdist(torch.cat([x[::every], y[::every]])).quantile(0.5).item()
    if median == 0:
        raise DataError(
            "the median distance between points is 0, and no bandwidth. Usual cause: a sampler that returns the same "
            "point again and again. Fix: give a bandwidth, such as median_bandwidth(real, real)."
        )
    return median


def cubic(x: Tensor, y: Tensor) -> Tensor:
    """(x.y / D + 1)^3 of all pairs: (N, D), (M, D) -> (N, M)."""
    return (x @ y.T / x.shape[1] + 1).pow(3)


def gaussian(bandwidth: float) -> Kernel:
    """k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2)) of all pairs: (N, D), (M, D) -> (N, M)."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([(apart / bandwidth).square().div(-2).exp() for apart in distances(x, y)])

    return kernel


def unbiased(kernel: Kernel, x: Tensor, y: Tensor) -> float:
    """MMD^2 from samples ``x`` (N, D) and ``y`` (M, D), N and M >= 2: Gretton et al. 2012, Eq. 3."""
    within = mean_of_others(kernel, x) + mean_of_others(kernel, y)
    between = sum(kernel(part, y).sum().item() for part in in_parts(x, len(y))) / (len(x) * len(y))
    return within - 2 * between


def mean_of_others(kernel: Kernel, x: Tensor) -> float:
    """The mean of k(x_i, x_j) over i != j: pairs by position, so that two equal samples are a pair like any other."""
    total, start = 0.0, 0
    for part in in_parts(x, len(x)):
        seen = kernel(part, x)
        seen.diagonal(start).zero_()  # row i of this part is sample start + i
        total += seen.sum().item()
        start += len(part)
    return total / (len(x) * (len(x) - 1))


def _some(samples: Tensor, size: int, generator: Generator | None) -> Tensor:
    origin = "cpu" if generator is None else generator.device
    return samples[torch.randperm(len(samples), generator=generator, device=origin)[:size].cpu()]


def _pair(a: Tensor, b: Tensor, name_a: str, name_b: str) -> tuple[Tensor, Tensor]:
    a, b = feature_set(a, name_a, least=2), feature_set(b, name_b, least=2)
    same_width(a, b, f"{name_a} and {name_b}")
    return a, b


def _check_subsets(size: int, count: int, most: int) -> None:
    if not isinstance(size, int) or not 2 <= size <= most:
        raise ConfigError(
            f"size must be a whole number in 2..{most}, the smaller of the two sets; got {size!r}. Usual cause: fewer "
            f"samples than the usual 1,000. Fix: size={max(2, most // 2)}, or kernel_distance(a, b) on all of them."
        )
    if not isinstance(count, int) or count < 2:
        raise ConfigError(f"count must be a whole number >= 2: one value has no spread; got {count!r}. Fix: count=100.")
