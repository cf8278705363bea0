"""Checks of notebook 02's divergences: of two Gaussians, and of the end of the road from pure noise.

The oracle integrates densities on a grid; it is no formula of the page.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.frame import CheckFailed, call, check, tensor_like
from ddpm_edu.exercises.small_chain import AB, BETAS, chain, compare

REVERSED = "That is the divergence of the second from the first. Its direction matters: KL(a || b) averages over a."
BITS = "That is in bits: divided by log 2. The terms of the bound are in nats; only bits per dimension are not."
HALF = "Twice too large: the factor 1/2 in front is missing."

# ---------------------------------------------------------------- oracles, by integration


def log_normal(z: Tensor, mean: float, variance: float) -> Tensor:
    """log N(z; mean, variance), for the integrals."""
    return -((z - mean) ** 2) / (2 * variance) - 0.5 * math.log(2 * math.pi * variance)


@functools.cache
def kl_by_integration(mean_a: float, variance_a: float, mean_b: float, variance_b: float) -> float:
    """KL(a || b) of two Gaussians as the sum over a grid of a's density times the difference of the logarithms."""
    reach = 12 * math.sqrt(variance_a)
    z = torch.linspace(mean_a - reach, mean_a + reach, 20_001, dtype=torch.float64)
    log_a, log_b = log_normal(z, mean_a, variance_a), log_normal(z, mean_b, variance_b)
    return torch.trapezoid(log_a.exp() * (log_a - log_b), z).item()


def closed(mean_a: float, a: float, mean_b: float, b: float) -> float:
    """Two Gaussians' divergence by formula: what mistakes are made of, never what is right."""
    return 0.5 * (math.log(b / a) + a / b - 1 + (mean_a - mean_b) ** 2 / b)


def refuse_wrong_sum(result: Any, n: int, shape: tuple[int, ...]) -> None:
    """The shapes that say what went wrong: nothing was summed, not all axes were, or the batch was as well."""
    if not isinstance(result, Tensor):
        return
    if result.ndim == 0:
        raise CheckFailed(f"One number came back for {n} samples. Sum over dimensions only: .flatten(1).sum(1).")
    if tuple(result.shape) == shape:
        raise CheckFailed("One value for each dimension came back. A sample's term is their sum: .flatten(1).sum(1).")
    if result.ndim > 1:
        raise CheckFailed(
            f"The result has shape {tuple(result.shape)}: some axes of x_0 were not summed. However many there are, "
            ".flatten(1).sum(1) takes them all."
        )
    if len(result) != n:
        raise CheckFailed(f"{len(result)} numbers came back for {n} samples: the sum went over the batch.")


# ---------------------------------------------------------------- 2.1

_CASES = ((0.3, 0.5, -0.4, 1.2), (0.0, 1.0, 0.0, 0.4), (1.0, 0.3, 2.0, 0.3), (-0.7, 2.0, 0.1, 0.9))


def _pairs(kl: Callable[[float, float, float, float], float]) -> list[float]:
    """kl(mean_a, variance_a, mean_b, variance_b) of each case."""
    return [kl(*case) for case in _CASES]


def _put_together(log_ratio: float, ratio: float, gap: float) -> float:
    return 0.5 * (log_ratio + ratio - 1 + gap)


@check("2.1 how far apart two Gaussians are")
def gaussian_kl(f: Callable[..., Any]) -> None:
    """f(mean_a, variance_a, mean_b, variance_b) must be KL(a || b) in nats, element by element."""
    result = call(f, *(torch.tensor(column, dtype=torch.float64) for column in zip(*_CASES, strict=True)))
    if isinstance(result, Tensor) and result.ndim == 0:
        raise CheckFailed("One number came back for four pairs. The result is element by element: no sum, no mean.")
    got = tensor_like(result, (4,), "KL(a || b)").tolist()
    want = _pairs(kl_by_integration)
    log, unsquared = math.log, "The distance of the means enters squared."
    mistakes = [
        ([2 * w for w in want], HALF),
        ([w / log(2) for w in want], BITS),
        (_pairs(lambda m, a, n, b: closed(n, b, m, a)), REVERSED),
        ([w + 0.5 for w in want], "Too large by 1/2: the -1 in the bracket is missing. KL(a || a) must be 0."),
        (
            _pairs(lambda m, a, n, b: _put_together(log(a / b), a / b, (m - n) ** 2 / b)),
            "The logarithm is upside down.",
        ),
        (
            _pairs(lambda m, a, n, b: _put_together(log(b / a), b / a, (m - n) ** 2 / b)),
            "The ratio of the variances is upside down: the logarithm has b/a, and the summand after it a/b.",
        ),
        (
            _pairs(lambda m, a, n, b: _put_together(math.log2(b / a), a / b, (m - n) ** 2 / b)),
            "log2 for the logarithm: the formula has the natural one, .log().",
        ),
        (
            _pairs(lambda m, a, n, b: _put_together(log(b / a), a / b, (m - n) ** 2 / a)),
            "The distance of the means is divided by the first variance. It counts in units of the second, b's.",
        ),
        (
            _pairs(lambda m, a, n, b: _put_together(log(b / a), a / b, (m - n) ** 2)),
            "The distance of the means is divided by nothing. It counts in units of the second variance, b's.",
        ),
        (_pairs(lambda m, a, n, b: _put_together(log(b / a), a / b, abs(m - n) / b)), unsquared),
        (_pairs(lambda m, a, n, b: _put_together(log(b / a), a / b, (m - n) / b)), unsquared),
        (
            _pairs(lambda m, a, n, b: closed(m, a * a, n, b * b)),
            "The variances are squared, as if they were standard deviations. They are variances already.",
        ),
        (
            _pairs(lambda m, a, n, b: (m - n) ** 2 / (2 * b)),
            "Only the means are compared. The widths differ too: log(b/a) + a/b - 1 is missing.",
        ),
    ]
    compare(got, want, mistakes, "KL(a || b) of four pairs")


# ---------------------------------------------------------------- 2.2

_ROWS = ((0.2, -0.9, 1.0, 0.4), (0.0, 0.0, 0.0, 0.0), (1.5, -1.5, 0.1, 0.7))


def _summed(term: Callable[[float], float]) -> list[float]:
    return [sum(map(term, row)) for row in _ROWS]


@check("2.2 the prior term")
def prior_term(f: Callable[..., Any]) -> None:
    """f(s, x0) must be L_T of each sample: nats, summed over dimensions."""
    x0, end = torch.tensor(_ROWS, dtype=torch.float64).reshape(3, 2, 2), AB[-1]
    result = call(f, chain(), x0)
    refuse_wrong_sum(result, len(_ROWS), tuple(x0.shape))
    got = tensor_like(result, (3,), "L_T").tolist()
    want = _summed(lambda x: kl_by_integration(math.sqrt(end) * x, 1 - end, 0, 1))
    compare(got, want, _wrong_priors(want), "L_T of three samples")


def _wrong_priors(want: list[float]) -> list[tuple[list[float], str]]:
    end, log, root = AB[-1], math.log(1 - AB[-1]), math.sqrt(AB[-1])
    one_step = "That is the table of a single step. How much is left after all of them is in s.alpha_bar."
    return [
        ([w / 4 for w in want], "That is the average over dimensions. The term is their sum."),
        ([w / math.log(2) for w in want], BITS),
        ([2 * w for w in want], HALF),
        (_summed(lambda x: closed(0, 1, root * x, 1 - end)), REVERSED),
        (
            _summed(lambda x: 0.5 * end * x * x),
            "Only the mean is counted. x_T is also a little too narrow: its variance is 1 - alpha_bar_T, not 1.",
        ),
        (
            [sum(0.5 * end * x * x for x in row) - 0.5 * (log + end) for row in _ROWS],
            "The constant counts once for the whole sample. Each dimension has it: add it before the sum.",
        ),
        (
            _summed(lambda x: 0.5 * (log - end + end * x * x)),
            "The logarithm has the wrong sign: -log(1 - alpha_bar_T).",
        ),
        ([w + 2 for w in want], "Too large by 1/2 in each dimension: the -1 in the bracket is missing."),
        (
            _summed(lambda x: 0.5 * (-log - end + root * x * x)),
            "The mean enters squared, so its root goes: alpha_bar_T x_0^2.",
        ),
        (
            _summed(lambda x: closed(root * x, end, 0, 1)),
            "alpha_bar_T is the variance of the signal. That of q(x_T | x_0) is 1 - alpha_bar_T.",
        ),
        (
            _summed(lambda x: closed(end * x, 1 - end, 0, 1)),
            "The mean of q(x_T | x_0) is sqrt(alpha_bar_T) x_0: the square root is missing.",
        ),
        (
            _summed(lambda x: closed(math.sqrt(AB[-2]) * x, 1 - AB[-2], 0, 1)),
            "That is the state before the last: s.alpha_bar has T + 1 entries, and the last one, [-1], belongs to T.",
        ),
        (_summed(lambda x: closed(math.sqrt(1 - BETAS[-1]) * x, BETAS[-1], 0, 1)), one_step),
        (_summed(lambda x: closed(math.sqrt(BETAS[-1]) * x, 1 - BETAS[-1], 0, 1)), one_step),
    ]
