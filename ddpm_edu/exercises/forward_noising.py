"""Checks of notebook 01. Each reads off, exactly, what the learner's function does to signal and to noise.

Every function of this notebook is linear: x_t = a_t x + b_t noise. Fed with (x, noise) = (1, 0) and (0, 1) it
hands over a_t and b_t. These are held to an oracle that walks the chain by hand, in plain Python floats, and a wrong
pair is looked up among the pairs that common mistakes give.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm_edu import schedules
from ddpm_edu.errors import ScheduleWarning
from ddpm_edu.exercises.frame import CheckFailed, call, check, tensor_like

# Uneven on purpose: on a chain of equal or tiny betas most mistakes look alike.
BETAS = (0.1, 0.35, 0.2, 0.5, 0.3)
T = len(BETAS)


class Mistake(NamedTuple):
    """What a mistake does to signal (a) and noise (b) at t = 1..T, and what to say about it."""

    a: list[float]
    b: list[float]
    message: str


def _chain() -> schedules.Schedule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)  # five strong steps leave signal; that is the point here
        return schedules.from_betas(BETAS, "five uneven steps")


def _alpha_bar() -> list[float]:
    """alpha_bar_0..alpha_bar_T by hand."""
    values = [1.0]
    for beta in BETAS:
        values.append(values[-1] * (1 - beta))
    return values


AB = _alpha_bar()
ROOT_AB, ROOT_REST = [math.sqrt(ab) for ab in AB[1:]], [math.sqrt(1 - ab) for ab in AB[1:]]
ROOT_ALPHA, ROOT_BETA = [math.sqrt(1 - b) for b in BETAS], [math.sqrt(b) for b in BETAS]

OFF_BY_ONE = (
    "Your coefficients are those of the step before. The tables have T + 1 entries and s.beta[0] belongs to the clean image, "
    "so s.beta[t] is already right: no t - 1."
)
SWAPPED = "Signal and noise have each other's coefficients: swap them."


# ---------------------------------------------------------------- the checks


@check("1.1 one step")
def one_step(f: Callable[..., Any]) -> None:
    """f(s, x_prev, t, noise) must be one step of the chain."""
    _examine_linear(
        f,
        ROOT_ALPHA,
        ROOT_BETA,
        [
            Mistake(ROOT_ALPHA, list(BETAS), "The noise is multiplied by beta_t. beta_t is its variance: multiply by its square root."),
            Mistake([1 - b for b in BETAS], ROOT_BETA, "The image is multiplied by 1 - beta_t: its square root is missing."),
            Mistake([1 - b for b in BETAS], list(BETAS), "Both square roots are missing: coefficients act on values, betas are variances."),
            Mistake([1.0] * T, ROOT_BETA, "The image is not shrunk, so the variance grows with every step. Multiply it by sqrt(1 - beta_t)."),
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
        raise CheckFailed(f"You return {T} values for {T} betas; {T + 1} are expected: alpha_bar_0 = 1 comes first, for the clean image.")
    got = tensor_like(result, (T + 1,), "alpha_bar").tolist()
    whole = AB[-1]
    mistakes = [
        ([1.0] + [whole] * T, "Every entry is the product over the whole chain. The product of entry t stops at t."),
        ([1.0] + [math.prod(BETAS[:t]) for t in range(1, T + 1)], "You multiply the betas. What survives a step is 1 - beta."),
        ([1.0] + [1 - sum(BETAS[:t]) for t in range(1, T + 1)], "You subtract the betas one after another. Each step takes its share of what is *left*: multiply."),
        ([1.0, *ROOT_AB], "That is sqrt(alpha_bar), the factor on the image. alpha_bar itself is the product without the root."),
        ([1.0] + [1 - b for b in BETAS], "That is alpha_t = 1 - beta_t of each step by itself. Multiply them up: torch.cumprod."),
        ([1.0, *AB[:-1]], "Everything stands one place too late: entry 1 must be 1 - beta_1."),
    ]
    _compare(got, AB, mistakes, "alpha_bar")


@check("1.3 the jump")
def jump(f: Callable[..., Any]) -> None:
    """f(s, x0, t, noise) must be x_t in closed form."""
    article = [math.prod(AB[1 : t + 1]) for t in range(1, T + 1)]
    _examine_linear(
        f,
        ROOT_AB,
        ROOT_REST,
        [
            Mistake(ROOT_AB, [1 - ab for ab in AB[1:]], "The noise is multiplied by 1 - alpha_bar_t. That is its variance: take the square root."),
            Mistake(AB[1:], ROOT_REST, "The image is multiplied by alpha_bar_t: its square root is missing."),
            Mistake(AB[1:], [1 - ab for ab in AB[1:]], "Both square roots are missing: coefficients act on values, alpha_bar is a share of variance."),
            Mistake(ROOT_AB, [(1 - ab) ** 0.25 for ab in AB[1:]], "The noise's coefficient has one root too many: its *variance* is 1 - alpha_bar_t."),
            Mistake(ROOT_ALPHA, ROOT_BETA, "That is a single step. The jump from x_0 uses alpha_bar, the product of all steps up to t."),
            Mistake([math.sqrt(p) for p in article], [math.sqrt(1 - p) for p in article], "The alpha_bars are multiplied up once more. s.alpha_bar[t] is already the product."),
            Mistake([ROOT_AB[-1]] * T, [ROOT_REST[-1]] * T, "Every t gets the end of the chain. Each sample needs its own alpha_bar[t]."),
            Mistake(ROOT_REST, ROOT_AB, SWAPPED),
            Mistake([1.0, *ROOT_AB[:-1]], [0.0, *ROOT_REST[:-1]], OFF_BY_ONE),
        ],
    )


@check("1.4 the loop, mended")
def mended_loop(f: Callable[..., Any]) -> None:
    """f(s, x0, noises) must be x_T reached step by step with the given noise, noises[t - 1] at step t."""
    s, shape = _chain(), (3, 2)

    def run(x0: float, which: int | None) -> float:
        noises = torch.zeros(T, *shape, dtype=torch.float64)
        if which is not None:
            noises[which] = 1
        result = call(f, s, torch.full(shape, x0, dtype=torch.float64), noises)
        values = tensor_like(result, shape, "x_T")
        if values.std() > 1e-9:
            raise CheckFailed("x_T is not what the given noise makes of x_0. Did you draw noise of your own? Use noises[t - 1] at step t.")
        return values.mean().item()

    if abs(run(0.0, None)) > 1e-9:
        raise CheckFailed("From x_0 = 0 and zero noise came something else than 0. Did you draw noise of your own? Use the argument.")
    signal, parts = run(1.0, None), [run(0.0, j) for j in range(T)]
    variance = sum(p * p for p in parts)
    right_signal = abs(signal - ROOT_AB[-1]) < 1e-6
    right_variance = abs(variance - (1 - AB[-1])) < 1e-6
    article = math.sqrt(math.prod(AB[1:]))
    if abs(signal - article) < 1e-6:
        told = "The total variance is right, the correlation with x_0 is not" if abs(variance + article**2 - 1) < 1e-6 else "Too little of x_0 is left"
        raise CheckFailed(f"{told}: you multiplied by alpha_bar in every step, and it is already a product. A step uses beta_t.")
    if abs(signal - 1) < 1e-6:
        raise CheckFailed("All of x_0 is still there: shrink it by sqrt(1 - beta_t) in each step, and keep the result for the next one.")
    if parts[-1] == 0:
        raise CheckFailed("The last step never happened (its noise has no effect). t runs from 1 to T, both included: range(1, s.T + 1).")
    if parts[0] == 0:
        raise CheckFailed("The first step never happened (its noise has no effect). t runs from 1 to T, both included: range(1, s.T + 1).")
    if right_signal and not right_variance:
        raise CheckFailed(
            f"The signal is right, the variance of the noise is not: {variance:.4f} where 1 - alpha_bar_T = {1 - AB[-1]:.4f}. "
            "The noise of a step has variance beta_t: multiply it by the square root."
        )
    expected = [ROOT_BETA[j] * math.prod(ROOT_ALPHA[j + 1 :]) for j in range(T)]
    _compare([signal, *parts], [ROOT_AB[-1], *expected], [], "share of x_0, then of the noise of steps 1..T, in x_T")


@check("1.5 what is left of x_0")
def signal_left(f: Callable[..., Any]) -> None:
    """f(s, variance) must be corr(x_0, x_t)^2 at t = 0..T."""
    s = _chain()
    for v in (1.0, 4.0):
        got = tensor_like(call(f, s, v), (T + 1,), "corr(x_0, x_t)^2").tolist()
        want = [_correlation_by_enumeration(t, v) ** 2 for t in range(T + 1)]
        mistakes = [
            ([math.sqrt(w) for w in want], "That is the correlation itself. Square it: only the square is a share of variance."),
            (AB, "Right for data of variance 1 only. Signal of variance v contributes alpha_bar_t * v to x_t."),
            ([ab * v for ab in AB], "That is the signal's variance in x_t. Divide by x_t's whole variance, noise included."),
            ([ab * v / (1 - ab) if ab < 1 else math.inf for ab in AB], "That is the signal-to-noise ratio. The share is signal / (signal + noise)."),
            ([ab * v * v / (ab * v * v + 1 - ab) for ab in AB], "`variance` is already a square: use v, not v * v."),
        ]
        _compare(got, want, mistakes, f"corr^2 at t = 0..T for variance {v:g}")


@check("1.6 the posterior")
def posterior(f: Callable[..., Any]) -> None:
    """f(s, x0, x_t, t) must be mean and variance of q(x_{t-1} | x_t, x_0)."""
    s, t = _chain(), torch.arange(1, T + 1)
    ones = torch.ones(T, 2, dtype=torch.float64)

    def run(x0: float, x_t: float) -> tuple[list[float], list[float]]:
        result = call(f, s, x0 * ones, x_t * ones, t)
        if not isinstance(result, tuple) or len(result) != 2:
            raise CheckFailed(f"Two tensors are expected, `return mean, variance`; got {type(result).__name__}.")
        mean, variance = result
        if isinstance(variance, Tensor) and variance.shape == (T, 1):
            variance = variance.expand(T, 2)
        return tensor_like(mean, (T, 2), "mean")[:, 0].tolist(), tensor_like(variance, (T, 2), "variance")[:, 0].tolist()

    (a, variance), (b, _) = run(1.0, 0.0), run(0.0, 1.0)
    want = [_bayes_on_a_grid(i, 1.0, 0.0) for i in range(1, T + 1)]
    want_a, want_v = [m for m, _ in want], [v for _, v in want]
    want_b = [_bayes_on_a_grid(i, 0.0, 1.0)[0] for i in range(1, T + 1)]
    if _near(a, want_b) and _near(b, want_a):
        raise CheckFailed(f"The mean: {SWAPPED.replace('Signal and noise', 'x_0 and x_t')}")
    whole = [want_b[i] * ROOT_AB[i] / ROOT_ALPHA[i] for i in range(T)]
    _compare(b, want_b, [(whole, "x_t's coefficient has sqrt(alpha_bar_t) where sqrt(alpha_t) = sqrt(1 - beta_t), of this one step, belongs.")], "coefficient of x_t in the mean at t = 1..T")
    late = [want_a[i] * ROOT_ALPHA[i] for i in range(T)]
    _compare(a, want_a, [(late, "x_0's coefficient has sqrt(alpha_bar_t) where sqrt(alpha_bar_{t-1}) belongs.")], "coefficient of x_0 in the mean at t = 1..T")
    mistakes = [
        (list(BETAS), "The variance is beta_t, that of the step forwards. Knowing x_0 as well leaves less in doubt: (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) of it."),
        ([math.sqrt(v) for v in want_v], "That is the standard deviation; the variance is asked for."),
    ]
    _compare(variance, want_v, mistakes, "variance at t = 1..T")


# ---------------------------------------------------------------- oracles, in plain floats


def _correlation_by_enumeration(t: int, v: float) -> float:
    """corr(x_0, x_t) with x_0 = +-sqrt(v) and noise = +-1: four equally likely points with exactly the right moments."""
    a, b = math.sqrt(AB[t]), math.sqrt(1 - AB[t])
    points = [(x, a * x + b * n) for x in (-math.sqrt(v), math.sqrt(v)) for n in (-1.0, 1.0)]
    covariance = sum(x * y for x, y in points) / 4
    return covariance / math.sqrt(v * sum(y * y for _, y in points) / 4)


def _bayes_on_a_grid(t: int, x0: float, x_t: float, half: float = 8.0, n: int = 8001) -> tuple[float, float]:
    """Mean and variance of q(x_{t-1} | x_t, x_0): prior times likelihood on a grid, normalised. No formula of ours."""
    if t == 1:
        return x0, 0.0  # x_{t-1} is x_0, and x_0 is known
    z = torch.linspace(-half, half, n, dtype=torch.float64)
    prior = -((z - math.sqrt(AB[t - 1]) * x0) ** 2) / (2 * (1 - AB[t - 1]))
    likelihood = -((x_t - math.sqrt(1 - BETAS[t - 1]) * z) ** 2) / (2 * BETAS[t - 1])
    weight = torch.softmax(prior + likelihood, 0)
    mean = (weight * z).sum()
    return mean.item(), (weight * (z - mean) ** 2).sum().item()


# ---------------------------------------------------------------- reading coefficients off


def _examine_linear(f: Callable[..., Any], want_a: list[float], want_b: list[float], mistakes: list[Mistake]) -> None:
    """Reads a_t and b_t off f(s, x, t, noise), names the mistake where they are wrong, then tries real images."""
    s, t = _chain(), torch.arange(1, T + 1)
    ones = torch.ones(T, 2, 3, dtype=torch.float64)

    def run(x: float, noise: float) -> list[float]:
        got = tensor_like(call(f, s, x * ones, t, noise * ones), (T, 2, 3), "x_t")
        if (got - got[:, :1, :1]).abs().max() > 1e-9:
            raise CheckFailed("Equal pixels came out different. Did you draw noise of your own? Use the argument `noise`.")
        return got[:, 0, 0].tolist()

    if any(abs(v) > 1e-9 for v in run(0, 0)):
        raise CheckFailed("A zero image with zero noise came out non-zero. Did you draw noise of your own? Use the argument `noise`.")
    a, b = run(1, 0), run(0, 1)
    if not (_near(a, want_a) and _near(b, want_b)):
        for mistake in mistakes:
            if _near(a, mistake.a) and _near(b, mistake.b):
                raise CheckFailed(mistake.message)
    _compare(a, want_a, [], "coefficient of the image at t = 1..T")
    _compare(b, want_b, [], "coefficient of the noise at t = 1..T")
    _try_images(f, s, want_a, want_b)


def _try_images(f: Callable[..., Any], s: schedules.Schedule, a: list[float], b: list[float]) -> None:
    """The same on a float32 batch whose times are neither sorted nor all different."""
    g = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 4, 1, 5, 5, generator=g)
    t = torch.tensor([4, 1, 5, 4])
    got = tensor_like(call(f, s, x, t, noise), (4, 1, 5, 5), "x_t")
    for i in range(len(t)):
        want = a[t[i] - 1] * x[i] + b[t[i] - 1] * noise[i]
        if (got[i] - want).abs().max() > 1e-5:
            raise CheckFailed(f"On a batch with times {t.tolist()} sample {i} (t = {t[i]}) is wrong: it must get its own coefficients.")


def _near(got: list[float], want: list[float]) -> bool:
    return all(math.isclose(g, w, rel_tol=1e-5, abs_tol=1e-6) for g, w in zip(got, want, strict=True))


def _compare(got: list[float], want: list[float], mistakes: list[tuple[list[float], str]], what: str) -> None:
    if _near(got, want):
        return
    for values, message in mistakes:
        if _near(got, values):
            raise CheckFailed(message)
    raise CheckFailed(f"{what}: expected {_row(want)}, got {_row(got)}.")


def _row(values: list[float]) -> str:
    return "[" + ", ".join(f"{v:.4f}" for v in values) + "]"
