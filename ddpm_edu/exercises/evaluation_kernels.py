"""The check of notebook 06 in which two sets are compared by a kernel. The oracle loops over pairs."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.evaluation_judge import Matrix, judge, matrix, number
from ddpm_edu.exercises.frame import call, check


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
    (
        lambda a, b, c: _others(a) + _mean(b) - 2 * _mean(c),
        "The diagonal of k_yy is still in. A sample meets itself there as it does in k_xx.",
    ),
    (
        lambda a, b, c: _mean(a) + _others(b) - 2 * _mean(c),
        "The diagonal of k_xx is still in. A sample meets itself there as it does in k_yy.",
    ),
    (
        lambda a, b, c: _others(a, (len(a) - 1) ** 2) + _others(b, (len(b) - 1) ** 2) - 2 * _mean(c),
        "Divided by (n - 1)^2. Each of n samples has n - 1 others: n (n - 1) pairs.",
    ),
    (
        lambda a, b, c: _others(a, len(a) ** 2 - 1) + _others(b, len(b) ** 2 - 1) - 2 * _mean(c),
        "Divided by n^2 - 1. The diagonal has n entries, not one: n^2 - n pairs are left.",
    ),
    (
        lambda a, b, c: _others(a, 1) + _others(b, 1) - 2 * _mean(c, over=1),
        "Those are sums. Each expectation is a mean: divide by how many pairs were summed.",
    ),
    (lambda a, b, c: _others(a) + _others(b), "k_xy has no effect. Two sets are compared by it: - 2 E k(x, y)."),
]


@check("6.3 MMD without a bias")
def unbiased_mmd(f: Callable[..., Any]) -> None:
    """f(k_xx, k_yy, k_xy) must be the mean over i != j of k_xx and of k_yy, minus twice the mean of k_xy."""
    got = [number(call(f, *kernels), "MMD^2") for kernels in _KERNELS]
    lists: list[list[Matrix]] = [[k.tolist() for k in kernels] for kernels in _KERNELS]
    want = [_others(a) + _others(b) - 2 * _mean(c) for a, b, c in lists]
    judge(got, want, [([rule(*k) for k in lists], message) for rule, message in _WRONG_MMD], "MMD^2")
