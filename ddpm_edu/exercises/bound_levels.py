"""Checks of notebook 02 on grey levels and bits per dimension.

The oracles integrate a density over a bin, and add in plain floats.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.bound_divergences import log_normal
from ddpm_edu.exercises.frame import CheckFailed, call, check, tensor_like
from ddpm_edu.exercises.small_chain import compare, near

# ---------------------------------------------------------------- 2.4


@functools.cache
def masses_by_integration(mean: float, std: float, levels: int) -> list[float]:
    """The normal density integrated over the bin of each grey level, the outer bins reaching far out."""
    half, far = 1 / (levels - 1), 12 * std + 2
    masses = []
    for k in range(levels):
        centre = -1 + 2 * half * k
        low = min(mean, -1) - far if k == 0 else centre - half
        high = max(mean, 1) + far if k == levels - 1 else centre + half
        z = torch.linspace(low, high, 8_001, dtype=torch.float64)
        masses.append(torch.trapezoid(log_normal(z, mean, std**2).exp(), z).item())
    return masses


@check("2.4 the probability of a grey level")
def grey_levels(f: Callable[..., Any]) -> None:
    """f(mean, std, levels) must be the probability of each of the levels, (levels,)."""
    for mean, std, levels in ((0.3, 0.05, 17), (0.97, 0.2, 17), (-0.2, 0.6, 2), (0.1, 0.02, 256)):
        result = call(f, mean, std, levels)
        if isinstance(result, Tensor) and bool((result < 0).any()):
            raise CheckFailed("Some are negative. Are these logarithms, or lower edges minus upper ones?")
        got, want = (
            tensor_like(result, (levels,), "the probabilities").tolist(),
            masses_by_integration(mean, std, levels),
        )
        for wrong, message in _wrong_bins(mean, std, levels):
            if near(got, wrong) and not near(got, want):
                raise CheckFailed(message)
        for k in range(levels):  # the first that is wrong, and not a row of 256
            where = f"mean {mean}, std {std}, {levels} levels, level {k} (that is {-1 + 2 * k / (levels - 1):.3f})"
            compare([got[k]], [want[k]], [], where)


def _wrong_bins(mean: float, std: float, levels: int) -> list[tuple[list[float], str]]:
    """What the usual mistakes give: another width of the bins, closed outer bins, a density for a mass."""
    half = 1 / (levels - 1)
    centres = [-1 + 2 * half * k for k in range(levels)]
    bins = functools.partial(_bins, mean, std)
    density = [log_normal(torch.tensor(c), mean, std**2).exp().item() for c in centres]
    fixed = "The half-width of a bin is that of 256 levels, 1/255. With another number of levels it is 1/(levels - 1)."
    tiles = "The bins fill [-1, 1] side by side. The levels are their centres, so the outermost lie around -1 and 1."
    from_0 = "Those are the levels from 0 to 1. Here they run from -1 to 1."
    apart = "The bins leave gaps: K levels have K - 1 distances, so half a bin is 1/(levels - 1), not 1/levels."
    outer = "The outer bins are closed, so something is lost: they reach to infinity."
    return [
        (bins(centres, 1 / 255), fixed),
        (bins(centres, 1 / 255, closed=True), fixed),
        (bins(centres, half, closed=True), outer),
        (
            _shares(bins(centres, half, closed=True)),
            "Divided by their sum, the closed bins add up to 1, and are wrong.",
        ),
        (bins(centres, 1 / levels), apart),
        (bins(centres, 1 / levels, closed=True), apart),
        (bins(centres, 2 * half), "The bins overlap: 2/(levels - 1) is a whole bin, and half of it is wanted."),
        (
            bins([c + half for c in centres], half),
            "Each bin starts at its level. It lies around it: half below, half above.",
        ),
        (bins(centres, half / 2), "The bins leave gaps: half a bin is 1/(levels - 1)."),
        (bins([(2 * k + 1) / levels - 1 for k in range(levels)], 1 / levels), tiles),
        (bins([(2 * k + 1) / levels - 1 for k in range(levels)], 1 / levels, closed=True), tiles),
        (bins([k * half for k in range(levels)], half / 2), from_0),
        (_bins(mean, std**2, centres, half), "std is squared: divide by the standard deviation, not by the variance."),
        (_bins(mean, math.sqrt(std), centres, half), "std is a standard deviation already: no root of it."),
        (masses_by_integration(mean, std, levels)[::-1], "From bright to dark: the first is the darkest, -1."),
        (density, "That is the density at each level. A probability is the mass of a bin."),
        ([2 * half * d for d in density], "Density times width is only near the mass where the Gaussian is wide."),
        (
            _shares(density),
            "Densities divided by their sum (a softmax) add up to 1, but are not the masses of the bins.",
        ),
    ]


def _bins(mean: float, std: float, centres: Sequence[float], half: float, closed: bool = False) -> list[float]:
    def below(z: float) -> float:
        return 0.5 * math.erfc(-(z - mean) / (std * math.sqrt(2)))

    low, high = [below(c - half) for c in centres], [below(c + half) for c in centres]
    if not closed:
        low[0], high[-1] = 0.0, 1.0
    return [b - a for a, b in zip(low, high, strict=True)]


def _shares(values: Sequence[float]) -> list[float]:
    return [v / max(sum(values), 1e-300) for v in values]


# ---------------------------------------------------------------- 2.5


@check("2.5 bits per dimension")
def bits_per_dim(f: Callable[..., Any]) -> None:
    """f(prior, denoising, reconstruction, dimensions) must be the total of each sample in bits per dimension."""
    prior, last = [0.25, 0.5], [3.0, 7.0]
    steps = [[0.0, 0.0, 5.0, 2.0, 1.5], [0.0, 0.0, 4.0, 6.0, 0.5]]
    result = call(f, *(torch.tensor(values, dtype=torch.float64) for values in (prior, steps, last)), 6)
    if isinstance(result, float) or (isinstance(result, Tensor) and result.ndim == 0):
        raise CheckFailed("One number came back for two samples. Each has its own bound: sum over t only, .sum(1).")
    got = tensor_like(result, (2,), "bits per dimension").tolist()
    rows = list(zip(prior, steps, last, strict=True))
    nats, scale = [a + sum(row) + c for a, row, c in rows], 6 * math.log(2)

    def bits(total: Callable[[float, list[float], float], float]) -> list[float]:
        return [total(*row) / scale for row in rows]

    mistakes = [
        (nats, "That is the total in nats of all dimensions: divide by the dimensions and by log 2."),
        ([n / 6 for n in nats], "That is in nats: divide by log 2 as well, the natural logarithm of 2."),
        ([n / math.log(2) for n in nats], "That is in bits, of all dimensions together: divide by their number."),
        ([n * math.log(2) / 6 for n in nats], "A bit is log 2 = 0.69 nats, so there are more bits than nats: divide."),
        (
            [n / 6 / math.log10(2) for n in nats],
            "Divided by log10 2. The nats are of the natural logarithm: math.log(2).",
        ),
        ([n / 12 for n in nats], "Divided by 2 for log 2: the factor is math.log(2) = 0.69."),
        (bits(lambda a, row, c: sum(row) + c), "The prior term is missing."),
        (bits(lambda a, row, c: a + sum(row)), "The reconstruction term is missing."),
        (bits(lambda a, row, c: a + c), "The denoising terms are missing."),
        (
            bits(lambda a, row, c: a + sum(row) / len(row) + c),
            "The denoising terms are averaged over t. The bound is their sum.",
        ),
        (
            bits(lambda a, row, c: a + sum(row) / (len(row) - 2) + c),
            "The denoising terms are averaged over t. The bound is their sum.",
        ),
        (
            bits(lambda a, row, c: a + sum(row[:-1]) + c),
            "The last column is left out. It belongs to t = T: take all of them.",
        ),
        (
            bits(lambda a, row, c: a + sum(map(sum, steps)) + c),
            "Each sample has the denoising terms of both: sum over t only, .sum(1).",
        ),
        (
            bits(lambda a, row, c: a + sum(row) - c),
            "The reconstruction term is subtracted. It is a price, -log p: add it.",
        ),
        ([-n / scale for n in nats], "The sign: the terms already add up to a cost."),
        ([math.log2(n) / 6 for n in nats], "log2 of the total? It is a logarithm already: change its base only."),
        ([math.log2(n / 6) for n in nats], "log2 of the total? It is a logarithm already: change its base only."),
    ]
    compare(got, [n / scale for n in nats], mistakes, "bits per dimension of two samples")
