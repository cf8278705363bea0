"""Checks of notebook 06 in which two sets are compared, by a kernel and by neighbours. The oracles loop over pairs."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.evaluation_judge import Matrix, Row, judge, matrix, number
from ddpm_edu.exercises.frame import CheckFailed, call, check

# ---------------------------------------------------------------- 6.3


def _kernels(n: int, m: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """As a kernel makes them: symmetric, with the largest entries on the diagonal."""
    x, y = matrix(n, 2, seed), matrix(m, 2, seed + 1)
    k = [torch.exp(-((a[:, None] - b[None]) ** 2).sum(2)) for a, b in ((x, x), (y, y), (x, y))]
    return k[0], k[1], k[2]


def _mean(k: Matrix, keep: Callable[[int, int], bool] = lambda i, j: True, over: float | None = None) -> float:
    """The mean of the entries that ``keep`` keeps; ``over``: divide by this instead of by their number."""
    kept = [value for i, row in enumerate(k) for j, value in enumerate(row) if keep(i, j)]
    return sum(kept) / (len(kept) if over is None else over)


def _others(k: Matrix, over: float | None = None) -> float:
    return _mean(k, lambda i, j: i != j, over)


_KERNELS = [_kernels(4, 4, 0), _kernels(6, 3, 10), _kernels(3, 8, 20), _kernels(30, 30, 30)]
_WRONG_MMD: list[tuple[Callable[[Matrix, Matrix, Matrix], float], str]] = [
    (
        lambda a, b, c: _mean(a) + _mean(b) - 2 * _mean(c),
        "The diagonals are in: k(x_i, x_i) compares a sample with itself. That is the biased estimate, never below 0.",
    ),
    (
        lambda a, b, c: _others(a, len(a) ** 2) + _others(b, len(b) ** 2) - 2 * _mean(c),
        "The diagonals are out, but the sums are divided by n^2 and m^2. Without them n (n - 1) pairs are left.",
    ),
    (
        lambda a, b, c: (_others(a) + _others(b)) / 2 - 2 * _mean(c),
        "k_xx and k_yy count half: pairs i < j are half as many as i != j, so divide by n (n - 1) / 2.",
    ),
    (
        lambda a, b, c: _others(a) + _others(b) - _mean(c),
        "The mean of k_xy counts twice: |u - v|^2 = u.u + v.v - 2 u.v.",
    ),
    (lambda a, b, c: _others(a) + _others(b) + 2 * _mean(c), "The sign: what x and y have in common is taken off."),
    (
        lambda a, b, c: _others(a) + _others(b) - 2 * _mean(c, lambda i, j: i != j),
        "Something is missing from k_xy. x_i and y_i are two samples, with nothing to do with each other: keep all.",
    ),
    (
        lambda a, b, c: max(0.0, _others(a) + _others(b) - 2 * _mean(c)),
        "Negative values are cut off at 0. Without a bias an estimate of 0 must fall on both sides of it: leave them.",
    ),
    (
        lambda a, b, c: abs(_others(a) + _others(b) - 2 * _mean(c)),
        "It is never negative: no absolute value. An estimate of 0 without a bias falls on both sides of it.",
    ),
    (
        lambda a, b, c: math.sqrt(max(0.0, _others(a) + _others(b) - 2 * _mean(c))),
        "That is a root. Asked for is MMD^2, which may be negative.",
    ),
    (
        lambda a, b, c: _others(a, len(b) * (len(b) - 1)) + _others(b, len(a) * (len(a) - 1)) - 2 * _mean(c),
        "n and m are exchanged: k_xx is (n, n), k_yy is (m, m), and the two may differ.",
    ),
    (
        lambda a, b, c: _others(a) + _others(b, len(a) * (len(a) - 1)) - 2 * _mean(c),
        "k_yy has m rows, which may be another number than k_xx has.",
    ),
]


@check("6.3 MMD without a bias")
def unbiased_mmd(f: Callable[..., Any]) -> None:
    """f(k_xx, k_yy, k_xy) must be the mean over i != j of k_xx and of k_yy, minus twice the mean of k_xy."""
    got = [number(call(f, *kernels), "MMD^2") for kernels in _KERNELS]
    lists: list[list[Matrix]] = [[k.tolist() for k in kernels] for kernels in _KERNELS]
    want = [_others(a) + _others(b) - 2 * _mean(c) for a, b, c in lists]
    judge(got, want, [([rule(*k) for k in lists], message) for rule, message in _WRONG_MMD], "MMD^2")


# ---------------------------------------------------------------- 6.4

Rule = Callable[[Matrix, Matrix, Matrix, int], float]


def _radius(row: Row, own: int, k: int) -> float:
    """The k-th smallest of the distances to the others."""
    return sorted(row[:own] + row[own + 1 :])[k - 1]


def _covered(
    apart: Matrix,
    within: Matrix,
    k: int,
    radius: Callable[[Row, int, int], float] = _radius,
    inside: Callable[[float, float], bool] = lambda d, r: d <= r,
) -> float:
    """The share of rows of ``apart`` that lie in the ball of any column, whose set has the distances ``within``."""
    balls = [radius(row, i, k) for i, row in enumerate(within)]
    return sum(any(inside(d, r) for d, r in zip(row, balls, strict=True)) for row in apart) / len(apart)


def _turned(m: Matrix) -> Matrix:
    return [list(column) for column in zip(*m, strict=True)]


def _both(rr: Matrix, gg: Matrix, rg: Matrix, k: int, **how: Any) -> tuple[float, float]:
    return _covered(_turned(rg), rr, k, **how), _covered(rg, gg, k, **how)


def _own_ball(apart: Matrix, own: Matrix, k: int) -> float:
    """Balls about the samples that are judged, instead of about the others."""
    return sum(min(row) <= _radius(own[i], i, k) for i, row in enumerate(apart)) / len(apart)


def _nearest_ball(apart: Matrix, within: Matrix, k: int) -> float:
    """Only the ball of the nearest centre is looked at."""
    balls = [_radius(row, i, k) for i, row in enumerate(within)]
    nearest = [min(range(len(row)), key=row.__getitem__) for row in apart]
    return sum(row[j] <= balls[j] for row, j in zip(apart, nearest, strict=True)) / len(apart)


def _largest_ball(apart: Matrix, within: Matrix, k: int) -> float:
    largest = max(_radius(row, i, k) for i, row in enumerate(within))
    return sum(min(row) <= largest for row in apart) / len(apart)


def _filled(apart: Matrix, within: Matrix, k: int) -> float:
    """The share of balls that hold anything (which is called coverage), in place of the share of samples."""
    balls = [_radius(row, i, k) for i, row in enumerate(within)]
    return sum(any(row[j] <= r for row in apart) for j, r in enumerate(balls)) / len(balls)


_WRONG_SHARES: list[tuple[Callable[..., tuple[float, float]], str]] = [
    (
        lambda rr, gg, rg, k: _both(rr, gg, rg, k)[::-1],
        "Precision and recall are exchanged. Precision: generated samples inside the balls of the real ones.",
    ),
    (
        lambda rr, gg, rg, k: _both(rr, gg, rg, k, radius=lambda row, i, k: sorted(row)[k - 1]),
        "The radii are one neighbour too small: in a row of d_rr the first is the sample itself, at 0.",
    ),
    (
        lambda rr, gg, rg, k: _both(rr, gg, rg, k, radius=lambda row, i, k: sorted(row)[k + 1]),
        "The radii are one neighbour too large: sorted, the sample itself is entry 0, the k-th other one entry k.",
    ),
    (
        lambda rr, gg, rg, k: _both(rr, gg, rg, k, inside=lambda d, r: d < r),
        "The surface belongs to the ball: <=, not <. (A generated copy of a real image lies in a ball of radius 0.)",
    ),
    (
        lambda rr, gg, rg, k: (_own_ball(_turned(rg), gg, k), _own_ball(rg, rr, k)),
        "The balls stand about the wrong set. Precision: does a generated sample lie in a ball about a real one?",
    ),
    (
        lambda rr, gg, rg, k: (_nearest_ball(_turned(rg), rr, k), _nearest_ball(rg, gg, k)),
        "Only the nearest centre is asked. A farther one may have a larger ball: any of them counts.",
    ),
    (
        lambda rr, gg, rg, k: (_largest_ball(_turned(rg), rr, k), _largest_ball(rg, gg, k)),
        "All balls have the largest radius. Each centre has a radius of its own.",
    ),
    (
        lambda rr, gg, rg, k: (_filled(_turned(rg), rr, k), _filled(rg, gg, k)),
        "You count balls that hold a sample (any over the wrong axis). Count samples that lie in a ball.",
    ),
]


def _distances(reals: int, made: int, seed: int, levels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of points on a coarse grid, so that distances tie and samples coincide."""
    r, g = ((matrix(n, 2, seed + n) * levels).floor() for n in (reals, made))
    g[: made // 2] = g[: made // 2] * 0.5 + 1
    return tuple(torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") for a, b in ((r, r), (g, g), (r, g)))  # type: ignore[return-value]


@check("6.4 precision and recall")
def precision_recall(f: Callable[..., Any]) -> None:
    """f(d_rr, d_gg, d_rg, k) must be the two shares, from the distances among and between real and generated."""
    got: list[float] = []
    cases = [(_distances(9, 12, seed, 2 + 2 * seed), k) for seed in range(6) for k in (1, 3)]
    for distances, k in cases:
        result = call(f, *distances, k)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise CheckFailed(f"Two numbers are expected, `return precision, recall`; got {type(result).__name__}.")
        got += [number(share, name) for share, name in zip(result, ("precision", "recall"), strict=True)]
    lists = [([d.tolist() for d in distances], k) for distances, k in cases]

    def row(rule: Callable[..., tuple[float, float]]) -> list[float]:
        return [share for distances, k in lists for share in rule(*distances, k)]

    judge(got, row(_both), [(row(rule), message) for rule, message in _WRONG_SHARES], "precision, recall in turn")
