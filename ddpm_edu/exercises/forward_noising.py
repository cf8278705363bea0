"""Checks of notebook 01, from one step of the chain to the posterior. Each names the likely mistake by its symptom."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.frame import CheckFailed, call, check, tensor_like
from ddpm_edu.exercises.small_chain import (
    AB,
    BETAS,
    ROOT_AB,
    ROOT_ALPHA,
    ROOT_BETA,
    ROOT_REST,
    Mistake,
    T,
    bayes_on_a_grid,
    chain,
    compare,
    correlation_by_enumeration,
    examine_linear,
    near,
)

OFF_BY_ONE = (
    "Your coefficients are those of the step before. The tables have T + 1 entries and s.beta[0] belongs to the clean "
    "image, "
    "so s.beta[t] is already right: no t - 1."
)
SWAPPED = "Signal and noise have each other's coefficients: swap them."


# ---------------------------------------------------------------- the checks


@check("1.1 one step")
def one_step(f: Callable[..., Any]) -> None:
    """f(s, x_prev, t, noise) must be one step of the chain."""
    examine_linear(
        f,
        ROOT_ALPHA,
        ROOT_BETA,
        [
            Mistake(
                ROOT_ALPHA,
                list(BETAS),
                "The noise is multiplied by beta_t. beta_t is its variance: multiply by its square root.",
            ),
            Mistake(
                [1 - b for b in BETAS], ROOT_BETA, "The image is multiplied by 1 - beta_t: its square root is missing."
            ),
            Mistake(
                [1 - b for b in BETAS],
                list(BETAS),
                "Both square roots are missing: coefficients act on values, betas are variances.",
            ),
            Mistake(
                [1.0] * T,
                ROOT_BETA,
                "The image is not shrunk, so the variance grows with every step. Multiply it by sqrt(1 - beta_t).",
            ),
            Mistake(ROOT_AB, ROOT_REST, "That is the jump from x_0, with alpha_bar. A single step uses beta_t alone."),
            Mistake(ROOT_BETA, ROOT_ALPHA, SWAPPED),
            Mistake([1.0, *ROOT_ALPHA[:-1]], [0.0, *ROOT_BETA[:-1]], OFF_BY_ONE),
        ],
    )


@check("1.2 the running product")
def running_product(f: Callable[..., Any]) -> None:
    """f(betas) must be alpha_bar_0..alpha_bar_T."""
    betas = torch.tensor(BETAS, dtype=torch.float64)
    result = call(f, betas)
    if isinstance(result, Tensor) and result.shape == (T,):
        raise CheckFailed(
            f"You return {T} values for {T} betas; {T + 1} are expected: alpha_bar_0 = 1 comes first, for the clean "
            "image."
        )
    got = tensor_like(result, (T + 1,), "alpha_bar").tolist()
    whole = AB[-1]
    mistakes = [
        ([1.0] + [whole] * T, "Every entry is the product over the whole chain. The product of entry t stops at t."),
        (
            [1.0] + [math.prod(BETAS[:t]) for t in range(1, T + 1)],
            "You multiply the betas. What survives a step is 1 - beta.",
        ),
        (
            [1.0] + [1 - sum(BETAS[:t]) for t in range(1, T + 1)],
            "You subtract the betas one after another. Each step takes its share of what is *left*: multiply.",
        ),
        (
            [1.0, *ROOT_AB],
            "That is sqrt(alpha_bar), the factor on the image. alpha_bar itself is the product without the root.",
        ),
        (
            [1.0] + [1 - b for b in BETAS],
            "That is alpha_t = 1 - beta_t of each step by itself. Multiply them up: torch.cumprod.",
        ),
        ([1.0, *AB[:-1]], "Everything stands one place too late: entry 1 must be 1 - beta_1."),
    ]
    compare(got, AB, mistakes, "alpha_bar")


@check("1.3 the jump")
def jump(f: Callable[..., Any]) -> None:
    """f(s, x0, t, noise) must be x_t in closed form."""
    article = [math.prod(AB[1 : t + 1]) for t in range(1, T + 1)]
    examine_linear(
        f,
        ROOT_AB,
        ROOT_REST,
        [
            Mistake(
                ROOT_AB,
                [1 - ab for ab in AB[1:]],
                "The noise is multiplied by 1 - alpha_bar_t. That is its variance: take the square root.",
            ),
            Mistake(AB[1:], ROOT_REST, "The image is multiplied by alpha_bar_t: its square root is missing."),
            Mistake(
                AB[1:],
                [1 - ab for ab in AB[1:]],
                "Both square roots are missing: coefficients act on values, alpha_bar is a share of variance.",
            ),
            Mistake(
                ROOT_AB,
                [(1 - ab) ** 0.25 for ab in AB[1:]],
                "The noise's coefficient has one root too many: its *variance* is 1 - alpha_bar_t.",
            ),
            Mistake(
                ROOT_ALPHA,
                ROOT_BETA,
                "That is a single step. The jump from x_0 uses alpha_bar, the product of all steps up to t.",
            ),
            Mistake(
                [math.sqrt(p) for p in article],
                [math.sqrt(1 - p) for p in article],
                "The alpha_bars are multiplied up once more. s.alpha_bar[t] is already the product.",
            ),
            Mistake(
                [ROOT_AB[-1]] * T,
                [ROOT_REST[-1]] * T,
                "Every t gets the end of the chain. Each sample needs its own alpha_bar[t].",
            ),
            Mistake(ROOT_REST, ROOT_AB, SWAPPED),
            Mistake([1.0, *ROOT_AB[:-1]], [0.0, *ROOT_REST[:-1]], OFF_BY_ONE),
        ],
    )


@check("1.4 the loop, mended")
def mended_loop(f: Callable[..., Any]) -> None:
    """f(s, x0, noises) must be x_T reached step by step with the given noise, noises[t - 1] at step t."""
    s, shape = chain(), (3, 2)

    def run(x0: float, which: int | None) -> float:
        noises = torch.zeros(T, *shape, dtype=torch.float64)
        if which is not None:
            noises[which] = 1
        result = call(f, s, torch.full(shape, x0, dtype=torch.float64), noises)
        values = tensor_like(result, shape, "x_T")
        if values.std() > 1e-9:
            raise CheckFailed(
                "x_T is not what the given noise makes of x_0. Did you draw noise of your own? Use noises[t - 1] at "
                "step t."
            )
        return values.mean().item()

    if abs(run(0.0, None)) > 1e-9:
        raise CheckFailed(
            "From x_0 = 0 and zero noise came something else than 0. Did you draw noise of your own? Use the argument."
        )
    signal = run(1.0, None)
    if abs(run(3.0, None) - 3 * signal) > 1e-6:
        raise CheckFailed("Three times x_0 does not give three times the signal. Is something clamped? x_t is not.")
    _judge_loop(signal, [run(0.0, j) for j in range(T)])


def _judge_loop(signal: float, parts: list[float]) -> None:
    """``signal``: the share of x_0 in x_T; ``parts``: the shares of the noise of steps 1..T."""
    variance = sum(p * p for p in parts)
    right_signal = abs(signal - ROOT_AB[-1]) < 1e-6
    right_variance = abs(variance - (1 - AB[-1])) < 1e-6
    article = math.sqrt(math.prod(AB[1:]))
    if abs(signal - article) < 1e-6:
        told = (
            "The total variance is right, the correlation with x_0 is not"
            if abs(variance + article**2 - 1) < 1e-6
            else "Too little of x_0 is left"
        )
        raise CheckFailed(
            f"{told}: you multiplied by alpha_bar in every step, and it is already a product. A step uses beta_t."
        )
    if abs(signal - 1) < 1e-6:
        raise CheckFailed(
            "All of x_0 is still there: shrink it by sqrt(1 - beta_t) in each step, and keep the result for the next "
            "one."
        )
    if not any(parts[1:]):
        raise CheckFailed("Only the first noise has any effect. Step t takes its own, noises[t - 1].")
    if not any(parts[:-1]):
        raise CheckFailed("Only the last step has any effect. Each step must start from the result of the one before.")
    if parts[-1] == 0:
        raise CheckFailed(
            "The noise of the last step has no effect. t runs from 1 to T, both included: range(1, s.T + 1)."
        )
    if parts[0] == 0:
        raise CheckFailed(
            "The noise of the first step has no effect. t runs from 1 to T, both included: range(1, s.T + 1)."
        )
    if right_signal and not right_variance:
        raise CheckFailed(
            f"The signal is right, the variance of the noise is not: {variance:.4f} where 1 - alpha_bar_T = "
            f"{1 - AB[-1]:.4f}. "
            "The noise of a step has variance beta_t: multiply it by the square root."
        )
    expected = [ROOT_BETA[j] * math.prod(ROOT_ALPHA[j + 1 :]) for j in range(T)]
    compare([signal, *parts], [ROOT_AB[-1], *expected], [], "share of x_0, then of the noise of steps 1..T, in x_T")


@check("1.5 what is left of x_0")
def signal_left(f: Callable[..., Any]) -> None:
    """f(s, variance) must be corr(x_0, x_t)^2 at t = 0..T."""
    s = chain()
    for v in (1.0, 4.0):
        got = tensor_like(call(f, s, v), (T + 1,), "corr(x_0, x_t)^2").tolist()
        want = [correlation_by_enumeration(t, v) ** 2 for t in range(T + 1)]
        mistakes = [
            (
                [math.sqrt(w) for w in want],
                "That is the correlation itself. Square it: only the square is a share of variance.",
            ),
            (AB, "Right for data of variance 1 only. Signal of variance v contributes alpha_bar_t * v to x_t."),
            (
                [ab * v for ab in AB],
                "That is the signal's variance in x_t. Divide by x_t's whole variance, noise included.",
            ),
            (
                [ab * v / (1 - ab) if ab < 1 else math.inf for ab in AB],
                "That is the signal-to-noise ratio. The share is signal / (signal + noise).",
            ),
            ([ab * v * v / (ab * v * v + 1 - ab) for ab in AB], "`variance` is already a square: use v, not v * v."),
        ]
        compare(got, want, mistakes, f"corr^2 at t = 0..T for variance {v:g}")


@check("1.6 the posterior")
def posterior(f: Callable[..., Any]) -> None:
    """f(s, x0, x_t, t) must be mean and variance of q(x_{t-1} | x_t, x_0)."""
    s, t = chain(), torch.arange(1, T + 1)
    ones = torch.ones(T, 2, dtype=torch.float64)

    def run(x0: float, x_t: float) -> tuple[list[float], list[float]]:
        result = call(f, s, x0 * ones, x_t * ones, t)
        if not isinstance(result, tuple) or len(result) != 2:
            raise CheckFailed(f"Two tensors are expected, `return mean, variance`; got {type(result).__name__}.")
        mean, variance = result
        if isinstance(variance, Tensor) and variance.shape == (T, 1):
            variance = variance.expand(T, 2)
        return tensor_like(mean, (T, 2), "mean")[:, 0].tolist(), tensor_like(variance, (T, 2), "variance")[
            :, 0
        ].tolist()

    (a, variance), (b, _) = run(1.0, 0.0), run(0.0, 1.0)
    if not near(run(3.0, 0.0)[0], [3 * value for value in a]):
        raise CheckFailed("Three times x_0 does not give three times its part of the mean. Is something clamped?")
    want = [bayes_on_a_grid(i, 1.0, 0.0) for i in range(1, T + 1)]
    want_a, want_v = [m for m, _ in want], [v for _, v in want]
    want_b = [bayes_on_a_grid(i, 0.0, 1.0)[0] for i in range(1, T + 1)]
    if near(a, want_b) and near(b, want_a):
        raise CheckFailed(f"The mean: {SWAPPED.replace('Signal and noise', 'x_0 and x_t')}")
    whole = [want_b[i] * ROOT_AB[i] / ROOT_ALPHA[i] for i in range(T)]
    compare(
        b,
        want_b,
        [
            (
                whole,
                (
                    "x_t's coefficient has sqrt(alpha_bar_t) where sqrt(alpha_t) = sqrt(1 - beta_t), of this one step, "
                    "belongs."
                ),
            )
        ],
        "coefficient of x_t in the mean at t = 1..T",
    )
    late = [want_a[i] * ROOT_ALPHA[i] for i in range(T)]
    compare(
        a,
        want_a,
        [(late, "x_0's coefficient has sqrt(alpha_bar_t) where sqrt(alpha_bar_{t-1}) belongs.")],
        "coefficient of x_0 in the mean at t = 1..T",
    )
    mistakes = [
        (
            list(BETAS),
            (
                "The variance is beta_t, that of the step forwards. Knowing x_0 as well leaves less in doubt: (1 - "
                "alpha_bar_{t-1}) / (1 - alpha_bar_t) of it."
            ),
        ),
        ([math.sqrt(v) for v in want_v], "That is the standard deviation; the variance is asked for."),
    ]
    compare(variance, want_v, mistakes, "variance at t = 1..T")
