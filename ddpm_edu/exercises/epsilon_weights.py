"""Checks of notebook 03, two weights: that of the bound on the error of eps, and min-SNR on the error of v.

The oracles are plain floats: Bayes on a grid tells how far an error moves the mean, and the definition of v, solved
for x_0, tells how far it moves the image.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.epsilon_units import SHUFFLED
from ddpm_edu.exercises.frame import CheckFailed, call, check, tensor_like
from ddpm_edu.exercises.small_chain import AB, BETAS, ROOT_AB, ROOT_REST, T, bayes_on_a_grid, chain, compare, near

_SNRS = [ab / (1 - ab) for ab in AB[1:]]

# ---------------------------------------------------------------- the weight of the bound

_VARIANCES = [0.4, 0.1, 0.3, 0.25, 0.6]
_Weight = Callable[[float, float, float, float], float]  # of beta_t, 1 - alpha_bar_t, alpha_bar_t and sigma_t^2

_WRONG_WEIGHTS: list[tuple[_Weight, str]] = [
    (
        lambda b, r, ab, v: b**2 / (v * (1 - b) * r),
        "The 2 in the denominator is missing: the KL of two Gaussians has a half in front.",
    ),
    (
        lambda b, r, ab, v: b / (2 * v * (1 - b) * r),
        "beta_t is not squared. It comes from a difference of means, and the KL squares that.",
    ),
    (
        lambda b, r, ab, v: b**2 / (2 * v * ab * r),
        "alpha_bar_t where alpha_t belongs: the factor in front of the mean is about one step.",
    ),
    (
        lambda b, r, ab, v: b**2 / (2 * v * (1 - b) * b),
        "1 - alpha_t is the noise of one step. 1 - alpha_bar_t belongs there, all the noise in x_t.",
    ),
    (lambda b, r, ab, v: b**2 / (2 * v * (1 - b)), "The factor 1 - alpha_bar_t is missing in the denominator."),
    (lambda b, r, ab, v: b**2 / (2 * v * r), "The factor alpha_t is missing in the denominator."),
    (lambda b, r, ab, v: b**2 / (2 * v**2 * (1 - b) * r), "`variance` is sigma_t^2 already: it is not to be squared."),
    (
        lambda b, r, ab, v: b**2 / (2 * math.sqrt(v) * (1 - b) * r),
        "You divide by sigma_t, the root of `variance`. The KL has the variance.",
    ),
    (
        lambda b, r, ab, v: b**2 / (2 * v * math.sqrt((1 - b) * r)),
        "The denominator has roots left: step 1 squares the factor of step 4, all of it.",
    ),
    (
        lambda b, r, ab, v: b / (2 * v * math.sqrt((1 - b) * r)),
        "That is the factor of step 4 as it is: step 1 squares it.",
    ),
    (
        lambda b, r, ab, v: b**2 / 2 * v * (1 - b) * r,
        "Only the 2 divides. Parentheses around the denominator: a / (b * c), not a / b * c.",
    ),
    (
        lambda b, r, ab, v: b**2 * ab / (2 * v * (1 - b) * r**2),
        "That is the weight on the error of x_0, from step 2. Here the error is that of eps.",
    ),
    (lambda b, r, ab, v: 2 * v * (1 - b) * r / b**2, "You return one over the weight."),
]


@check("3.3 the weight of the bound")
def bound_weight(f: Callable[..., Any]) -> None:
    """f(s, t, variance) must be w_t in L_{t-1} = constant + w_t |eps - eps_hat|^2, (N,)."""
    s, t = chain(), torch.arange(1, T + 1)
    result = call(f, s, t, torch.tensor(_VARIANCES, dtype=torch.float64))
    want = _weights_by_bayes()
    _name_endless_first(result, want)
    got = tensor_like(result, (T,), "the weights").tolist()
    at_each = list(zip(BETAS, [1 - ab for ab in AB[1:]], AB[1:], _VARIANCES, strict=True))
    wrong = [([of(*numbers) for numbers in at_each], message) for of, message in _WRONG_WEIGHTS]
    compare(got, want, wrong, "weight at t = 1..T")
    shuffled = torch.tensor([_VARIANCES[i - 1] for i in SHUFFLED.tolist()], dtype=torch.float64)
    got = tensor_like(call(f, s, SHUFFLED, shuffled), (len(SHUFFLED),), "the weights").tolist()
    if not near(got, [want[i - 1] for i in SHUFFLED.tolist()]):
        raise CheckFailed(
            f"With times {SHUFFLED.tolist()} the weights are not those of these times: use t as the index."
        )


def _weights_by_bayes() -> list[float]:
    """An error of 1 in eps, at x_t = 0, moves x_0 by b / a; Bayes on a grid tells how far that moves the mean."""
    moved = [-b / a for a, b in zip(ROOT_AB, ROOT_REST, strict=True)]
    gaps = [bayes_on_a_grid(i, moved[i - 1], 0.0)[0] for i in range(1, T + 1)]
    return [gap**2 / (2 * v) for gap, v in zip(gaps, _VARIANCES, strict=True)]


def _name_endless_first(result: Any, want: Sequence[float]) -> None:
    """What goes wrong at t = 1 alone, where alpha_bar_{t-1} is 1: told apart by the weights of the later t."""
    if not isinstance(result, Tensor) or result.shape != (T,) or result[0].isfinite():
        return
    later = [(AB[t - 1], AB[t], BETAS[t - 1], _VARIANCES[t - 1], want[t - 1]) for t in range(2, T + 1)]
    got = result[1:].tolist()
    if near(got, [w * v / (b * (1 - before) / (1 - ab)) for before, ab, b, v, w in later]):
        raise CheckFailed(
            "`variance` has no effect: your weight is the one for the posterior's variance, as the form with the SNR "
            "is. Divide by the argument `variance`."
        )
    if near(got, [w * (1 - ab) / (1 - before) for before, ab, _, _, w in later]):
        raise CheckFailed("1 - alpha_bar_{t-1} where 1 - alpha_bar_t belongs. At t = 1 it is 0.")


# ---------------------------------------------------------------- min-SNR

_GAMMAS = (1.2, 0.8, 0.3)  # several, as at some gamma two mistakes look alike
_Limited = Callable[[float, float], float]  # of the SNR at t and gamma

_WRONG_LIMITS: list[tuple[_Limited, str]] = [
    (
        lambda snr, gamma: min(snr, gamma),
        "That is the weight on the error of x_0. |dv|^2 is 1 + SNR times |dx0|^2: divide by SNR + 1.",
    ),
    (
        lambda snr, gamma: min(snr, gamma) / snr,
        "That is the weight on the error of eps, where one divides by SNR. For v divide by SNR + 1.",
    ),
    (
        lambda snr, gamma: min(snr + 1, gamma) / (snr + 1),
        "The 1 was added too early: gamma limits the SNR itself. Add 1 in the denominator only.",
    ),
    (
        lambda snr, gamma: min(snr, gamma) / snr + 1,
        "1 was added to the weight for eps. It belongs to the SNR in the denominator: (SNR + 1).",
    ),
    (lambda snr, gamma: min(snr, gamma) + snr, "Parentheses are missing: min / (SNR + 1), not min / 1 + SNR."),
    (
        lambda snr, gamma: min(snr, gamma) / (min(snr, gamma) + 1),
        "The denominator is limited as well: it has the SNR as it is.",
    ),
    (
        lambda snr, gamma: min(snr, gamma) / math.sqrt(snr + 1),
        "The root of SNR + 1 is for the error itself. The weight multiplies squares.",
    ),
    (lambda snr, gamma: min(math.sqrt(snr), gamma) / (snr + 1), "The SNR has a root: s.snr is what gamma limits."),
    (lambda snr, gamma: gamma / (snr + 1), "gamma at every t: the minimum of SNR and gamma is missing."),
    (lambda snr, gamma: snr / (snr + 1), "The SNR is not limited: gamma has no effect."),
    (lambda snr, gamma: min(snr, 5.0) / (snr + 1), "5 at any gamma: use the argument `gamma`."),
    (lambda snr, gamma: max(snr, gamma) / (snr + 1), "The larger of the two. clamp(max=gamma) keeps the smaller."),
    (
        lambda snr, gamma: min(snr, gamma) * (snr + 1),
        "You multiply by SNR + 1. An error of v is the larger one, so its weight must be smaller.",
    ),
    (lambda snr, gamma: (snr + 1) / min(snr, gamma), "You return one over the weight."),
    (
        lambda snr, gamma: min(snr / (snr + 1), gamma),
        "gamma limits the SNR, not the weight: take the minimum first.",
    ),
]


@check("3.6 min-SNR for v")
def min_snr_for_v(f: Callable[..., Any]) -> None:
    """f(s, gamma) must be the weight on |dv|^2, (T + 1,), that equals min(SNR, gamma) on |dx0|^2; entry 0 is free."""
    cases = [(t, snr, gamma) for gamma in _GAMMAS for t, snr in enumerate(_SNRS, 1)]
    got = [weight for gamma in _GAMMAS for weight in _table(call(f, chain(), gamma))]
    want = [min(snr, gamma) * _dx0_per_dv(t) ** 2 for t, snr, gamma in cases]
    for of, message in _WRONG_LIMITS:
        if near(got, [of(snr, gamma) for _, snr, gamma in cases]):
            raise CheckFailed(message)
    for k, gamma in enumerate(_GAMMAS):
        its = slice(k * T, (k + 1) * T)
        compare(got[its], want[its], [], f"weight on |dv|^2 at t = 1..T for gamma = {gamma:g}")


def _table(result: Any) -> list[float]:
    """Entries 1..T of a table (T + 1,); entry 0, where the SNR is infinite, may be anything."""
    if isinstance(result, Tensor) and result.shape == (T + 1,):
        return tensor_like(result[1:], (T,), "the weights").tolist()
    if isinstance(result, Tensor):
        raise CheckFailed(
            f"Expected a table with T + 1 = {T + 1} entries, as s.snr has, got shape {tuple(result.shape)}."
        )
    return tensor_like(result, (T + 1,), "the weights").tolist()


def _dx0_per_dv(t: int) -> float:
    """How far x_0 moves when v moves by 1 and x_t stays: x_t = a x0 + b eps, v = a eps - b x0, solved for x0."""
    a, b = ROOT_AB[t - 1], ROOT_REST[t - 1]
    return -b / (a * a + b * b)
