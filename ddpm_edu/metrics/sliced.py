"""The sliced Wasserstein distance: sets are projected on random lines, where optimal transport is sorting.

Nothing is fitted and no network is asked, so it serves points in the plane as well as small images. Sources: Rabin et
al. 2011, Bonneel et al. 2015. Everything is computed in float64 on the CPU.

Shapes: N or M samples of D numbers, P projections.
"""

import torch
from torch import Generator, Tensor

from ddpm_edu.errors import ConfigError, ShapeError
from ddpm_edu.metrics.inputs import enough, exact, same_width


def sliced_wasserstein(
    x: Tensor, y: Tensor, projections: int = 256, generator: Generator | None = None, order: float = 2
) -> float:
    """SW_p = (E_u W_p(<u, x>, <u, y>)^p)^(1/p) over directions u uniform on the sphere, p = ``order`` >= 1.

    ``x`` (N, ...) and ``y`` (M, ...) are flattened to D numbers a sample; the result has their units. The mean over
    ``projections`` random directions is an estimate whose error falls as their root; the same ``generator`` seed gives
    the same directions. A shift by c gives SW_2^2 = |c|^2 / D: in many dimensions it is small beside |c|. Raises
    ShapeError for samples of different shapes, DataError for no samples, NaN and infinity, ConfigError for options.
    """
    _check_options(projections, order)
    x, y = _flat(x, "x"), _flat(y, "y")
    same_width(x, y, "x and y")
    u = directions(projections, x[0].numel(), generator)
    return float(wasserstein_1d(x.flatten(1) @ u.T, y.flatten(1) @ u.T, order).mean() ** (1 / order))


def directions(count: int, dim: int, generator: Generator | None = None) -> Tensor:
    """``count`` unit vectors, uniform on the sphere, float64 (count, dim): a normal vector has no preferred direction.

    Drawn in single precision, which every device of a generator has.
    """
    origin = "cpu" if generator is None else generator.device
    normal = torch.randn(count, dim, generator=generator, dtype=torch.float32, device=origin).to("cpu", torch.float64)
    return normal / normal.norm(dim=1, keepdim=True)


def wasserstein_1d(x: Tensor, y: Tensor, order: float) -> Tensor:
    """W_p^p of two sets of numbers, column by column: integral over levels of |quantile_x - quantile_y|^p.

    ``x`` (N, P), ``y`` (M, P) -> (P,). Exact for N unlike M, too: quantiles are steps at i/N and at j/M, so the levels
    are counted in units of 1/(N M) as whole numbers. For N equal to M this pairs the sorted numbers.
    """
    n, m = len(x), len(y)
    level = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()  # sorted
    share = level.diff(prepend=torch.zeros(1, dtype=level.dtype)).double() / (n * m)
    # Just below a level L of (0, n m] lies the sample number (L - 1) // m of x, counted from 0.
    apart = x.sort(0).values[(level - 1) // m] - y.sort(0).values[(level - 1) // n]
    return share @ apart.abs().pow(order)


def _flat(samples: Tensor, name: str) -> Tensor:
    samples = exact(samples, name)
    if samples.ndim < 2 or samples[:1].flatten(1).shape[1] == 0:
        raise ShapeError(
            f"{name} must be (N, ...), N samples of at least one number, got {tuple(samples.shape)}. Usual cause: one "
            f"sample, or plain numbers. Fix: {name}[None] for one sample, {name}[:, None] for one number a sample."
        )
    return enough(samples, name, least=1)


def _check_options(projections: int, order: float) -> None:
    if not isinstance(projections, int) or projections < 1:
        raise ConfigError(
            f"projections must be a whole number >= 1, got {projections!r}. Fix: 256, or more to be exact."
        )
    if not 1 <= order < float("inf"):
        raise ConfigError(f"order must be a number >= 1, got {order!r}: below 1 it is no distance. Fix: order=2, or 1.")
