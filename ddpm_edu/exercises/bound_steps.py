"""Checks of notebook 02 on a single step back: what it costs, and its best width.

The oracles are Bayes' rule on a grid, integrals, and two Gaussian sources combined by their precisions.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.bound_divergences import BITS, HALF, REVERSED, closed, kl_by_integration, refuse_wrong_sum
from ddpm_edu.exercises.frame import CheckFailed, call, check, tensor_like
from ddpm_edu.exercises.small_chain import AB, BETAS, T, bayes_on_a_grid, chain, compare


@functools.cache
def own_width(t: int) -> float:
    """The posterior's variance, from Bayes on a grid."""
    return bayes_on_a_grid(t, 0.0, 0.0)[1]


@functools.cache
def coefficient(t: int) -> float:
    """How far the posterior's mean moves when x_0 moves by 1."""
    return bayes_on_a_grid(t, 1.0, 0.0)[0]


# ---------------------------------------------------------------- 2.3

_TIMES = (4, 2, 5, 3)  # not sorted on purpose
_CLEAN = ((0.2, -0.9), (1.0, 0.4), (-0.3, 0.8), (0.5, 0.5))
_GUESS = ((0.5, -0.6), (0.1, 0.6), (-0.3, 0.1), (0.5, 0.5))
_WIDTHS = (0.4, 0.2, 0.3, 0.25)
_Term = Callable[[float, float, float, int], float]


def _each_step(term: _Term, times: Sequence[int] = _TIMES) -> list[float]:
    """sum over dimensions of term(gap of x_0, posterior variance, model's variance, t)."""
    rows = zip(times, _CLEAN, _GUESS, _WIDTHS, strict=True)
    return [
        sum(term(x - y, own_width(t), S, t) for x, y in zip(clean, guess, strict=True)) for t, clean, guess, S in rows
    ]


def _with_factor(factor: Callable[[int], float]) -> list[float]:
    """The term with another factor between the gap of x_0 and that of the means."""
    return _each_step(lambda x, own, S, t: closed(factor(t) * x, own, 0, S))


@check("2.3 one denoising term")
def denoising_term(f: Callable[..., Any]) -> None:
    """f(s, x0, x0_hat, t, variance) must be L_{t-1} of each sample: nats, summed over dimensions."""
    tensors = [torch.tensor(rows, dtype=torch.float64) for rows in (_CLEAN, _GUESS)]
    variance = torch.tensor(_WIDTHS, dtype=torch.float64)
    result = call(f, chain(), *tensors, torch.tensor(_TIMES), variance)
    refuse_wrong_sum(result, len(_TIMES), (4, 2))
    if isinstance(result, Tensor) and result.isfinite().tolist() == [t != 2 for t in _TIMES]:
        raise CheckFailed(
            "Only the sample at t = 2 is not finite. Is s.posterior_variance read at t - 1? It is 0 at 1: read it at t."
        )
    got = tensor_like(result, (4,), "L_{t-1}").tolist()
    want = _each_step(lambda x, own, S, t: kl_by_integration(coefficient(t) * x, own, 0, S))
    mistakes = _wrong_wholes(want) + _wrong_factors() + _wrong_widths()
    compare(got, want, mistakes, f"L_{{t-1}} of four samples at t = {', '.join(map(str, _TIMES))}")


def _right_at(times: Sequence[int]) -> list[float]:
    return _each_step(lambda x, own, S, t: closed(coefficient(t) * x, own, 0, S), times)


def _wrong_wholes(want: list[float]) -> list[tuple[list[float], str]]:
    widths = _each_step(lambda x, own, S, t: closed(0, own, 0, S))
    means = _each_step(lambda x, own, S, t: 0.5 * (coefficient(t) * x) ** 2 / S)
    once = [m + w / 2 for m, w in zip(means, widths, strict=True)]
    return [
        ([w / 2 for w in want], "Half of it: an average over the two dimensions, or 1/2 counted twice. Sum them."),
        ([w / math.log(2) for w in want], BITS),
        ([2 * w for w in want], HALF),
        (means, "Only the means are compared. The widths differ too: log(S/b) + b/S - 1 is missing."),
        (once, "The widths count once for the whole sample. They differ in each dimension: add before the sum."),
        (_right_at(_TIMES[:1] * 4), "All samples have the t of the first. Each sample has its own: index with t."),
        (_right_at(sorted(_TIMES)), "The samples have each other's t: sample i belongs to t[i], in the order given."),
    ]


def _wrong_factors() -> list[tuple[list[float], str]]:
    def root(t: int) -> float:
        return math.sqrt(AB[t - 1])

    return [
        (
            _with_factor(lambda t: 1.0),
            "You compare the guesses of x_0 themselves. The two means differ by less: multiply by x_0's coefficient.",
        ),
        (
            _with_factor(lambda t: coefficient(t) * math.sqrt(1 - BETAS[t - 1])),
            "x_0's coefficient has sqrt(alpha_bar_t) where sqrt(alpha_bar_{t-1}) belongs.",
        ),
        (
            _with_factor(lambda t: coefficient(t) * root(t)),
            "The square root is missing in x_0's coefficient: sqrt(alpha_bar_{t-1}).",
        ),
        (
            _with_factor(lambda t: coefficient(t) * math.sqrt(1 - AB[t])),
            "x_0's coefficient is divided by sqrt(1 - alpha_bar_t). It has no root there.",
        ),
        (
            _with_factor(lambda t: coefficient(t) / BETAS[t - 1] * math.sqrt(BETAS[t - 1])),
            "x_0's coefficient has sqrt(beta_t) where beta_t belongs.",
        ),
        (
            _with_factor(lambda t: coefficient(t) * (1 - AB[t]) / (1 - AB[t - 1])),
            "x_0's coefficient is divided by 1 - alpha_bar_{t-1}. It is 1 - alpha_bar_t.",
        ),
        (
            _with_factor(lambda t: math.sqrt(coefficient(t))),
            "x_0's coefficient is not squared with the gap: the bracket has (c_t (x0 - x0_hat))^2.",
        ),
        (
            _with_factor(
                lambda t: coefficient(t) / root(t) * math.sqrt(1 - BETAS[t - 1]) / BETAS[t - 1] * (1 - AB[t - 1])
            ),
            "That is x_t's coefficient, and x_t drops out. x_0's is sqrt(alpha_bar_{t-1}) beta_t / (1 - alpha_bar_t).",
        ),
    ]


def _wrong_widths() -> list[tuple[list[float], str]]:
    def c(t: int) -> float:
        return coefficient(t)

    return [
        (_each_step(lambda x, own, S, t: closed(c(t) * x, S, 0, own)), REVERSED),
        (
            _each_step(lambda x, own, S, t: closed(c(t) * x, BETAS[t - 1], 0, S)),
            "The first Gaussian is the posterior; its variance is s.posterior_variance[t], not beta_t.",
        ),
        (
            _each_step(lambda x, own, S, t: closed(c(t) * x, own, 0, own)),
            "`variance` has no effect: the model's width S is not the posterior's b.",
        ),
        (
            _each_step(lambda x, own, S, t: closed(c(t) * x, own, 0, BETAS[t - 1])),
            "`variance` has no effect: S_t is what the caller chose, not always beta_t.",
        ),
        (
            _each_step(lambda x, own, S, t: closed(0, own, 0, S) + 0.5 * (c(t) * x) ** 2 / own),
            "The gap of the means is divided by the posterior's variance. It counts in units of the model's, S.",
        ),
        (
            _each_step(lambda x, own, S, t: closed(c(t) * x, own, 0, S * S)),
            "S is squared, as if it were a standard deviation. `variance` is a variance already.",
        ),
    ]


# ---------------------------------------------------------------- 2.6


@check("2.6 the best width")
def optimal_variance(f: Callable[..., Any]) -> None:
    """f(s, eps_mse) must be the best variance of each step, from the denoiser's error."""
    s = chain()
    for v in (0.25, 1.0, 4.0):
        spread = [ab * v + 1 - ab for ab in AB]
        error = [ab * v / total for ab, total in zip(AB, spread, strict=True)]  # known for a Gaussian: facts of Bayes
        result = call(f, s, torch.tensor(error, dtype=torch.float64))
        _refuse_wrong_table(result)
        got = tensor_like(result, (T + 1,), "the variances").tolist()
        # What x_{t-1} is given x_t alone: two Gaussian sources, precisions add. Known without any denoiser.
        want = [0.0] + [1 / (1 / spread[t - 1] + (1 - BETAS[t - 1]) / BETAS[t - 1]) for t in range(1, T + 1)]
        compare(got, want, _wrong_tables(error), f"best variance at t = 0..T for Gaussian data of variance {v:g}")


def _refuse_wrong_table(result: Any) -> None:
    if not isinstance(result, Tensor):
        return
    if result.shape == (T,):
        raise CheckFailed(f"You return {T} values; {T + 1} are expected, entry t for the step from t, entry 0 zero.")
    if result.shape == (T + 1,) and result.isfinite().tolist() == [False, *[True] * T]:
        raise CheckFailed(
            "Entry 0 is NaN or infinite: 1 - alpha_bar_0 is 0, and something was divided by it. Entry 0 has no step: "
            "leave the 0 that s.posterior_variance has there, and work on [1:]."
        )


def _wrong_tables(error: list[float]) -> list[tuple[list[float], str]]:
    """Tables that the usual mistakes give; entry 0 is 0."""

    def table(step: Callable[[int, float, float, float], float]) -> list[float]:
        """step(t, posterior variance, x_0's coefficient, mean squared error of x_0)"""
        unknown = [(1 - AB[t]) / AB[t] * error[t] for t in range(1, T + 1)]
        return [0.0] + [step(t, own_width(t), coefficient(t), unknown[t - 1]) for t in range(1, T + 1)]

    return [
        (table(lambda t, b, c, e: b), "The error has no effect: that is the posterior's variance."),
        (
            table(lambda t, b, c, e: c * c * e),
            "Only the guess's error is there. Even with x_0 known, the posterior's variance remains: add it.",
        ),
        (
            table(lambda t, b, c, e: b - c * c * e),
            "The error is taken off. Doubt about x_0 makes a step wider: add it.",
        ),
        (
            table(lambda t, b, c, e: BETAS[t - 1] + c * c * e),
            "It starts from beta_t. What remains when x_0 is known is the posterior's variance.",
        ),
        (
            table(lambda t, b, c, e: b + c * e),
            "The coefficient of x_0 acts on values: on a squared error it is squared.",
        ),
        (
            table(lambda t, b, c, e: b + c * c * error[t]),
            "eps_mse is the error of eps. That of x_0 is (1 - alpha_bar_t) / alpha_bar_t times as large.",
        ),
        (
            table(lambda t, b, c, e: b + c * c * e * math.sqrt(AB[t] / (1 - AB[t]))),
            "The errors are squared ones, and so is what ties them: (1 - alpha_bar_t) / alpha_bar_t, without a root.",
        ),
        (
            table(lambda t, b, c, e: b + c * c * e * error[t]),
            "eps_mse is squared already: it is an average of squares.",
        ),
        (
            table(lambda t, b, c, e: b + c * c * e * (1 - BETAS[t - 1])),
            "x_0's coefficient has alpha_bar_t where alpha_bar_{t-1} belongs.",
        ),
        (
            table(lambda t, b, c, e: b + c * c * error[t] * AB[t] / (1 - AB[t])),
            "From eps to x_0 the other way round: multiply by (1 - alpha_bar_t) / alpha_bar_t.",
        ),
        (
            table(lambda t, b, c, e: b + e),
            "The error of x_0 moves the mean only by x_0's coefficient: multiply by its square.",
        ),
        (
            table(lambda t, b, c, e: math.sqrt(b + c * c * e)),
            "That is the standard deviation; the variance is asked for.",
        ),
        (table(lambda t, b, c, e: BETAS[t - 1]), "That is beta_t, right for data of variance 1 only."),
    ]
