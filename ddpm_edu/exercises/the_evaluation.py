"""Checks of notebook 06. Here: 8 bits and two Gaussians; the others are imported.

The oracles are the nearest of 256 numbers and the coupling that sorts, in plain floats.
"""

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.evaluation_bugs import honest_distance
from ddpm_edu.exercises.evaluation_copies import copies
from ddpm_edu.exercises.evaluation_judge import LEVELS, Row, alike, in_a_byte, judge, nearest_level, number
from ddpm_edu.exercises.evaluation_kernels import unbiased_mmd
from ddpm_edu.exercises.evaluation_moments import moments_in_batches
from ddpm_edu.exercises.evaluation_sets import precision_recall
from ddpm_edu.exercises.frame import CheckFailed, call, check, tensor_like

__all__ = [
    "copies",
    "frechet_diagonal",
    "honest_distance",
    "moments_in_batches",
    "precision_recall",
    "to_bytes",
    "unbiased_mmd",
]

# ---------------------------------------------------------------- 6.1

_BETWEEN = [level + shift / 255 for level in LEVELS[1:-1] for shift in (-0.8, -0.3, 0.3, 0.8)]
_WIDEST = 3.0
_BEYOND = [-_WIDEST, -1.3, -1.01, -1.001, 1.001, 1.01, 1.3, _WIDEST]

_WRONG_BYTES: list[tuple[Callable[[float], float], str]] = [
    (
        lambda v: float(int(in_a_byte((v + 1) * 127.5))),
        "Your function truncates: .to(torch.uint8) cuts off, and all gets darker by half a level. Round first.",
    ),
    (
        lambda v: float(int((v + 1) * 127.5) % 256),
        "Your function truncates, and what lies outside [-1, 1] wraps around: bright becomes black. Clamp, then round.",
    ),
    (
        lambda v: float(round((v + 1) * 127.5) % 256),
        "What lies outside [-1, 1] wraps around: 256 becomes 0, bright becomes black. Clamp before .to(torch.uint8).",
    ),
    (
        lambda v: in_a_byte(float(int((v + 1) * 128))),
        "256 bins of equal width cut at other places than half-way between levels. Round (x + 1) * 127.5.",
    ),
    (
        lambda v: in_a_byte(float(math.ceil((v + 1) * 127.5))),
        "Your function rounds up: all gets brighter. Round to the nearest, or add half and cut, not both.",
    ),
    (
        lambda v: in_a_byte(float(round(v * 255))),
        "Images lie in [-1, 1] here, not in [0, 1]: everything below 0 is black.",
    ),
    (
        lambda v: in_a_byte(float(round(v * 127.5))),
        "Mid grey (0) becomes black: add 1 before multiplying, so that -1 goes to 0.",
    ),
    (lambda v: in_a_byte(float(round(127.5 - v * 127.5))), "It is a negative: -1 is black (0), 1 is white (255)."),
    (
        lambda v: in_a_byte(float(round((v + 1) * 128))),
        "1 becomes 256, one more than there is: there are 255 steps between 256 levels, so multiply by 127.5.",
    ),
    (
        lambda v: float(round((min(v, 1) + 1) * 128) % 256),
        "1 becomes 256, which as a byte is 0: there are 255 steps between 256 levels, so multiply by 127.5.",
    ),
    (
        lambda v: float(round(min(v, 1) * 255) % 256),
        "Images lie in [-1, 1] here, not in [0, 1]: below 0, times 255 is no byte. Add 1 and multiply by 127.5.",
    ),
    (
        lambda v: float(round((v + _WIDEST) * 127.5 / _WIDEST)),
        "0 and 255 went to the smallest and largest number of this set. They belong to -1 and 1, whatever is in it.",
    ),
    (lambda v: in_a_byte(float(round((v + 1) * 127))), "White becomes 254: multiply by 127.5, the half of 255."),
]


@check("6.1 eight bits")
def to_bytes(f: Callable[..., Any]) -> None:
    """f(x) must be the nearest of 256 levels, uint8, for any float x; -1 is 0 and 1 is 255."""
    values = [*LEVELS, *_BETWEEN, *_BEYOND]
    x = torch.tensor(values).view(len(values), 1, 1, 1)
    result = call(f, x)
    got = tensor_like(result, tuple(x.shape), "a tensor of bytes").flatten().tolist()
    if result.dtype != torch.uint8:
        raise CheckFailed(f"The result is {result.dtype}. A byte is torch.uint8: .to(torch.uint8), as the last thing.")
    want = [nearest_level(v) for v in values]
    # Mistakes are known between levels and above 1: at a level float32 decides what truncation does, and below -1 the
    # processor decides what a negative number is as a byte.
    telling = [i for i, v in enumerate(values) if i >= len(LEVELS) and v > -1]
    mistakes = [([rule(values[i]) for i in telling], message) for rule, message in _WRONG_BYTES]
    if not alike(got, want):
        judge([got[i] for i in telling], [want[i] for i in telling], mistakes, "Bytes")
    judge(got, want, [], "Bytes")


# ---------------------------------------------------------------- 6.2

_Gaussians = tuple[Row, Row, Row, Row]
_PAIRS: list[_Gaussians] = [
    ([0.3], [0.5], [1.0], [2.0]),
    ([1.0], [0.7], [1.0], [0.7]),
    ([-2.0], [3.0], [0.5], [0.1]),
    ([0.0, 1.0, -1.0], [1.0, 0.5, 0.2], [0.4, -0.6, -1.5], [2.0, 0.5, 0.9]),
]
_Z = [NormalDist().inv_cdf((i + 0.5) / 1001) for i in range(1001)]
_SCALE = math.sqrt(sum(z * z for z in _Z) / len(_Z))


def _sorted_coupling(ma: Row, sa: Row, mb: Row, sb: Row) -> float:
    """The mean squared gap of the i-th smallest of both, by coordinate: numbers with variance 1, scaled and shifted."""
    z = [value / _SCALE for value in _Z]
    return sum(sum((a + s * v - b - r * v) ** 2 for v in z) / len(z) for a, s, b, r in zip(ma, sa, mb, sb, strict=True))


def _summed(rule: Callable[[float, float, float], float]) -> Callable[..., float]:
    """Over coordinates, of (difference of means, std of a, std of b)."""
    return lambda ma, sa, mb, sb: sum(rule(a - b, s, r) for a, s, b, r in zip(ma, sa, mb, sb, strict=True))


def _length_of_products(a: Row, b: Row) -> float:
    return math.sqrt(sum((s * r) ** 2 for s, r in zip(a, b, strict=True)))


_WRONG_DISTANCES: list[tuple[Callable[..., float], str]] = [
    (
        lambda *pair: math.sqrt(_sorted_coupling(*pair)),
        "That is the distance itself. Like FID this one stays squared: no root.",
    ),
    (_summed(lambda m, s, r: m**2), "The spreads have no effect. Add (std_a - std_b)^2."),
    (_summed(lambda m, s, r: (s - r) ** 2), "The means have no effect. Add (mean_a - mean_b)^2."),
    (_summed(lambda m, s, r: m**2 + (s**2 - r**2) ** 2), "Variances are subtracted. Standard deviations are."),
    (
        _summed(lambda m, s, r: m**2 + s + r - 2 * math.sqrt(s * r)),
        "The standard deviations are taken for variances: no roots of them.",
    ),
    (
        _summed(lambda m, s, r: m**2 + s**2 + r**2 - 2 * s**2 * r**2),
        "Tr(A + B - 2 A B) lacks the root: (A B)^(1/2), which here is std_a std_b.",
    ),
    (_summed(lambda m, s, r: m**2 + s**2 + r**2 - s * r), "The product counts twice: (s - r)^2 = s^2 + r^2 - 2 s r."),
    (
        _summed(lambda m, s, r: m**2 + (s + r) ** 2),
        "Spreads are added: two equal Gaussians would be apart. Subtract them.",
    ),
    (_summed(lambda m, s, r: m**2 + s**2 + r**2), "The product is missing: (s - r)^2 = s^2 + r^2 - 2 s r."),
    (
        lambda ma, sa, mb, sb: math.dist(ma, mb) + math.dist(sa, sb),
        "Two lengths are added. Square each of them: |mean_a - mean_b|^2 + |std_a - std_b|^2.",
    ),
    (
        lambda ma, sa, mb, sb: math.dist(ma, mb) + math.dist(sa, sb) ** 2,
        "The length of mean_a - mean_b is to be squared, too.",
    ),
    (
        lambda ma, sa, mb, sb: (sum(ma) - sum(mb)) ** 2 + (sum(sa) - sum(sb)) ** 2,
        "Differences are summed and then squared, so they cancel. Square coordinate by coordinate, then sum.",
    ),
    (
        lambda ma, sa, mb, sb: math.dist(ma, mb) ** 2 + sum(v * v for v in sa + sb) - 2 * _length_of_products(sa, sb),
        "One root of a sum of products. Tr (A B)^(1/2) is the sum of the roots: of std_a std_b.",
    ),
    (_summed(lambda m, s, r: m**2 + abs(s**2 - r**2)), "The square belongs around the difference: (std_a - std_b)^2."),
    (_summed(lambda m, s, r: abs(m) + abs(s - r)), "The differences are to be squared."),
    (
        _summed(lambda m, s, r: math.log(r / s) + (s**2 + m**2) / (2 * r**2) - 0.5),
        "That is the Kullback-Leibler divergence, which depends on who comes first.",
    ),
    (lambda *pair: _sorted_coupling(*pair) / len(pair[0]), "It is an average over coordinates. Take the sum."),
]


@check("6.2 two Gaussians")
def frechet_diagonal(f: Callable[..., Any]) -> None:
    """f(mean_a, std_a, mean_b, std_b) must be the squared Frechet distance, coordinates being independent."""
    got = []
    for pair in _PAIRS:
        result = call(f, *(torch.tensor(row, dtype=torch.float64) for row in pair))
        if isinstance(result, Tensor) and result.numel() > 1:
            raise CheckFailed(f"{result.numel()} numbers came back, one a coordinate. The distance is their sum.")
        got.append(number(result, "the distance"))
    want = [_sorted_coupling(*pair) for pair in _PAIRS]
    mistakes = [([rule(*pair) for pair in _PAIRS], message) for rule, message in _WRONG_DISTANCES]
    judge(got, want, mistakes, "The distance")
