"""The check of notebook 02 in which bugs are to be found: the whole bound, all its terms put together.

The oracle adds up terms that share nothing with :mod:`ddpm_edu.elbo`: posteriors by Bayes on a grid, divergences by
integration, the denoiser's guess by weighing two sources. The tests hold it to the closed form of the Gaussian chain,
which gets the same total as an entropy plus losses.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm_edu.exercises.bound_divergences import BITS, kl_by_integration, refuse_wrong_sum
from ddpm_edu.exercises.frame import CheckFailed, call, check, tensor_like
from ddpm_edu.exercises.small_chain import AB, BETAS, T, bayes_on_a_grid, chain, compare
from ddpm_edu.parameterization import Denoised

MEAN, STD = 0.3, 0.5  # of the data, which the denoiser knows
X0 = ((0.8, -0.2, 0.5), (0.1, 1.0, -0.4), (0.3, 0.3, 0.3), (-0.6, 0.9, 0.2))
NOISE = ((1.0, -1.0, 0.2), (-0.5, 0.7, 1.4), (0.0, 0.0, 0.0), (1.1, 0.3, -1.6))
SHAPE = (4, 1, 3)


class Parts(NamedTuple):
    """The terms of one sample in nats, each as a list over its dimensions; ``steps[t - 2]`` is that of t = 2..T."""

    prior: list[float]
    steps: list[list[float]]
    last: list[float]


def guess_of(x_t: float, t: int) -> float:
    """E[x_0 | x_t]: what the data say and what x_t says, each weighed by its precision."""
    own, other = 1 / STD**2, AB[t] / (1 - AB[t])
    return (own * MEAN + other * x_t / math.sqrt(AB[t])) / (own + other)


def noised(x: float, e: float, t: int) -> float:
    """x_t of this x_0 and this noise."""
    return math.sqrt(AB[t]) * x + math.sqrt(1 - AB[t]) * e


@functools.cache
def step_price(x: float, e: float, t: int, own: float | None = None) -> float:
    """The divergence of the two steps back from t, per dimension; ``own``: another width for the first."""
    x_t = noised(x, e, t)
    mean, variance = bayes_on_a_grid(t, x, x_t)
    return kl_by_integration(mean, own or variance, bayes_on_a_grid(t, guess_of(x_t, t), x_t)[0], BETAS[t - 1])


def last_price(x: float, e: float) -> float:
    """-log p(x_0 | x_1) per dimension: at t = 1 the mean of the step is the guess itself."""
    gap = x - guess_of(noised(x, e, 1), 1)
    return 0.5 * (math.log(2 * math.pi * BETAS[0]) + gap**2 / BETAS[0])


@functools.cache
def parts_of(sample: int) -> Parts:
    """The terms of a sample of X0 with its NOISE."""
    pairs = _pairs(sample)
    prior = [kl_by_integration(math.sqrt(AB[T]) * x, 1 - AB[T], 0, 1) for x, _ in pairs]
    steps = [[step_price(x, e, t) for x, e in pairs] for t in range(2, T + 1)]
    return Parts(prior, steps, [last_price(x, e) for x, e in pairs])


def right_total(parts: Parts) -> float:
    """L of a sample: every term, summed over dimensions."""
    return sum(parts.prior) + sum(map(sum, parts.steps)) + sum(parts.last)


@check("2.7 find the bugs: the whole bound")
def whole_bound(f: Callable[..., Any]) -> None:
    """f(denoise, s, x0, noise) must be the bound of each sample in nats, the same noise serving every t."""
    x0, noise = (torch.tensor(rows, dtype=torch.float64).reshape(SHAPE) for rows in (X0, NOISE))
    asked: set[int] = set()
    try:
        result = call(f, _watching(asked, x0, noise), chain(), x0, noise)
    except CheckFailed as error:
        if "GreaterThan" in str(error):  # torch's words for a distribution of width 0
            raise CheckFailed(
                "A Normal was asked for with a width that is not > 0. At t = 1 the posterior has none, and the bound "
                "has no divergence there: either leave that step's q alone, or keep entry 2 in its place."
            ) from error
        raise
    refuse_wrong_sum(result, len(X0), SHAPE)
    got = tensor_like(result, (len(X0),), "the bound").tolist()
    if missing := sorted({*range(1, T + 1)} - asked):
        raise CheckFailed(
            f"The denoiser was never asked at t = {', '.join(map(str, missing))}. The bound has a term for each of "
            f"t = 1..{T}, the last step (t = 1) and the first (t = T) included."
        )
    parts = [parts_of(i) for i in range(len(X0))]
    compare(got, [right_total(p) for p in parts], _mistakes(parts), f"the bound of {len(X0)} samples")


def _watching(asked: set[int], x0: Tensor, noise: Tensor) -> Callable[[Tensor, Tensor], Denoised]:
    """The exact denoiser of N(MEAN, STD^2) per dimension, which keeps the times and looks at what it is given."""

    def denoise(x_t: Tensor, t: Tensor) -> Denoised:
        times = t.reshape(-1).tolist()
        if not all(1 <= time <= T for time in times):
            raise CheckFailed(f"The denoiser was asked at t = {min(times)}..{max(times)}. Times are 1..T, here 1..{T}.")
        if tuple(x_t.shape) != (len(times), *SHAPE[1:]):
            raise CheckFailed(
                f"The denoiser got x_t of shape {tuple(x_t.shape)} and {len(times)} times. It takes (N, ...) and (N,)."
            )
        asked.update(times)
        ab = torch.tensor([AB[time] for time in times], dtype=torch.float64).reshape(-1, 1, 1)
        made = (
            ab[:, None].sqrt() * x0 + (1 - ab[:, None]).sqrt() * noise
        )  # of every sample, in whatever order they come
        if not torch.isclose(x_t[:, None].double(), made, atol=1e-5).flatten(2).all(2).any(1).all():
            raise CheckFailed(
                f"At t = {times[0]} the denoiser got something else than x_t = sqrt(alpha_bar_t) x0 + "
                "sqrt(1 - alpha_bar_t) noise, with the noise that is given."
            )
        guess = torch.tensor(
            [[guess_of(v, time) for v in row] for row, time in zip(x_t.flatten(1).tolist(), times, strict=True)]
        )
        x_0 = guess.reshape(x_t.shape).to(x_t)
        return Denoised(x_0, (x_t - ab.sqrt().to(x_t) * x_0) / (1 - ab).sqrt().to(x_t))

    return denoise


# ---------------------------------------------------------------- what mistakes give

_TWICE = (
    "t = 1 is counted twice: as the reconstruction and as a divergence. The bound has no divergence there; the sum of "
    "these starts at t = 2."
)
_AVERAGED = (
    "The divergences are averaged over dimensions, while the other two terms are summed. With one dimension nobody "
    "sees it. Sum them all."
)
_NO_PRIOR = "L_T is missing. Training cannot change it, but a bound without it is none."
_OVER_T = "The divergences are averaged over t. The bound is their sum: of T drawn terms the average would be times T."
_ALL_AVERAGED = "Everything is averaged over dimensions. The bound of a sample is asked for: the sum over all of them."


class _Sums(NamedTuple):
    """A sample's terms, summed over dimensions: L_T, all L_{t-1}, a divergence at t = 1, L_0; and its place in X0."""

    prior: float
    steps: float
    first: float
    last: float
    place: int


def _mistakes(parts: list[Parts]) -> list[tuple[list[float], str]]:
    entry_2 = bayes_on_a_grid(2, 0.0, 0.0)[1]
    firsts = [sum(step_price(x, e, 1, entry_2) for x, e in _pairs(i)) for i in range(len(parts))]
    sums = [
        _Sums(sum(p.prior), sum(map(sum, p.steps)), first, sum(p.last), i)
        for i, (p, first) in enumerate(zip(parts, firsts, strict=True))
    ]
    return [([total(s) for s in sums], message) for total, message in _WRONG]


def _pairs(sample: int) -> list[tuple[float, float]]:
    return list(zip(X0[sample], NOISE[sample], strict=True))


def _reversed(s: _Sums) -> float:
    """The divergences of the posterior from the model's step."""
    total = 0.0
    for x, e in _pairs(s.place):
        for t in range(2, T + 1):
            x_t = noised(x, e, t)
            mean, variance = bayes_on_a_grid(t, x, x_t)
            total += kl_by_integration(bayes_on_a_grid(t, guess_of(x_t, t), x_t)[0], BETAS[t - 1], mean, variance)
    return total


def _last_with(s: _Sums, variance: float, constant: float = 2 * math.pi) -> float:
    """L_0 with another width, or another constant."""
    gaps = [x - guess_of(noised(x, e, 1), 1) for x, e in _pairs(s.place)]
    return sum(0.5 * (math.log(constant * variance) + gap**2 / variance) for gap in gaps)


D = len(X0[0])
_WRONG: list[tuple[Callable[[_Sums], float], str]] = [
    (
        lambda s: s.prior + (s.steps + s.first) / D + s.last,
        "That is what the published function gives: both mistakes are still in it.",
    ),
    (lambda s: s.prior + s.steps + s.first + s.last, _TWICE),
    (lambda s: s.prior + s.steps / D + s.last, _AVERAGED),
    (lambda s: s.prior + s.steps / D + s.first + s.last, f"{_TWICE} And the others are averaged over dimensions."),
    (lambda s: (s.prior + s.steps + s.last) / D, _ALL_AVERAGED),
    (lambda s: (s.prior + s.steps + s.first + s.last) / D, f"{_ALL_AVERAGED} And t = 1 is counted twice."),
    (
        lambda s: s.prior + (s.steps + s.last) / D,
        "L_T is summed over dimensions, the others are averaged. Sum them all.",
    ),
    (lambda s: s.steps + s.last, _NO_PRIOR),
    (lambda s: s.steps + s.first + s.last, f"{_NO_PRIOR} And t = 1 is counted twice."),
    (lambda s: s.steps / D + s.last, f"{_NO_PRIOR} And the divergences are averaged over dimensions."),
    (
        lambda s: s.prior + s.steps + s.first,
        "The reconstruction is missing: at t = 1 stands -log p(x_0 | x_1), and no divergence.",
    ),
    (lambda s: s.prior + s.steps, "The reconstruction is missing: -log p(x_0 | x_1), the price of the last step."),
    (lambda s: s.prior + s.last, "The divergences are missing: t = 2..T."),
    (lambda s: s.prior + s.steps - s.last, "The reconstruction is -log p, with a minus: here it has the other sign."),
    (lambda s: -(s.prior + s.steps + s.last), "The sign: the bound is on -log p(x_0), so every term is a price."),
    (lambda s: (s.prior + s.steps + s.last) / math.log(2), BITS),
    (lambda s: s.prior + s.steps / (T - 1) + s.last, _OVER_T),
    (lambda s: s.prior + s.steps / T + s.last, _OVER_T),
    (
        lambda s: s.prior + _reversed(s) + s.last,
        "The divergences are the wrong way round. Its direction matters: KL(q || p) averages over q, the posterior.",
    ),
    (
        lambda s: s.prior + s.steps + _last_with(s, BETAS[0] ** 2),
        "In the reconstruction beta_1 stands for a standard deviation. Normal takes one: the root of the variance.",
    ),
    (
        lambda s: s.prior + s.steps + _last_with(s, BETAS[0], 1 / BETAS[0]),
        "The reconstruction is only the squared error over 2 beta_1. A density has log(2 pi beta_1) / 2 as well.",
    ),
    (
        lambda s: s.prior + s.steps + D * 0.5 * math.log(2 * math.pi * bayes_on_a_grid(2, 0.0, 0.0)[1]),
        "The reconstruction is that of q, which knows x_0. The model's step p does not: take -log p(x_0 | x_1).",
    ),
]
