"""A chain of five uneven steps, worked out by hand, and how to read off what a learner's function does to it.

Every function of notebook 01 is linear: x_t = a_t x + b_t noise. Fed with (x, noise) = (1, 0) and (0, 1) it hands over
a_t and b_t. These are held to an oracle in plain Python floats, and a wrong pair is looked up among the pairs that
common mistakes give.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ddpm_edu import schedules
from ddpm_edu.errors import ScheduleWarning
from ddpm_edu.exercises.frame import CheckFailed, call, tensor_like

# Uneven on purpose: on a chain of equal or tiny betas most mistakes look alike.
BETAS = (0.1, 0.35, 0.2, 0.5, 0.3)
T = len(BETAS)


class Mistake(NamedTuple):
    """What a mistake does to signal (a) and noise (b) at t = 1..T, and what to say about it."""

    a: list[float]
    b: list[float]
    message: str


def chain() -> schedules.Schedule:
    """The five steps as a schedule; without the warning that they leave signal, which is the point of them here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)
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

# ---------------------------------------------------------------- oracles, in plain floats


def correlation_by_enumeration(t: int, v: float) -> float:
    """corr(x_0, x_t) with x_0 = +-sqrt(v) and noise = +-1: four equally likely points, the right moments."""
    a, b = math.sqrt(AB[t]), math.sqrt(1 - AB[t])
    points = [(x, a * x + b * n) for x in (-math.sqrt(v), math.sqrt(v)) for n in (-1.0, 1.0)]
    covariance = sum(x * y for x, y in points) / 4
    return covariance / math.sqrt(v * sum(y * y for _, y in points) / 4)


def bayes_on_a_grid(t: int, x0: float, x_t: float, half: float = 8.0, n: int = 8001) -> tuple[float, float]:
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


def examine_linear(f: Callable[..., Any], want_a: list[float], want_b: list[float], mistakes: list[Mistake]) -> None:
    """Reads a_t and b_t off f(s, x, t, noise), names the mistake where they are wrong, then tries real images."""
    s, t = chain(), torch.arange(1, T + 1)
    ones = torch.ones(T, 2, 3, dtype=torch.float64)

    def run(x: float, noise: float) -> list[float]:
        got = tensor_like(call(f, s, x * ones, t, noise * ones), (T, 2, 3), "x_t")
        if (got - got[:, :1, :1]).abs().max() > 1e-9:
            raise CheckFailed(
                "Equal pixels came out different. Did you draw noise of your own? Use the argument `noise`."
            )
        return got[:, 0, 0].tolist()

    if any(abs(v) > 1e-9 for v in run(0, 0)):
        raise CheckFailed(
            "A zero image with zero noise came out non-zero. Did you draw noise of your own? Use the argument `noise`."
        )
    a, b = run(1, 0), run(0, 1)
    if not near(run(3, -3), [3 * (u - v) for u, v in zip(a, b, strict=True)]):
        raise CheckFailed(
            "The result is not a sum of image and noise with fixed factors. Is something clamped? x_t is not."
        )
    if not (near(a, want_a) and near(b, want_b)):
        for mistake in mistakes:
            if near(a, mistake.a) and near(b, mistake.b):
                raise CheckFailed(mistake.message)
    compare(a, want_a, [], "coefficient of the image at t = 1..T")
    compare(b, want_b, [], "coefficient of the noise at t = 1..T")
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
            raise CheckFailed(
                f"On a batch with times {t.tolist()} sample {i} (t = {t[i]}) is wrong: it must get its own "
                "coefficients."
            )


def near(got: list[float], want: list[float]) -> bool:
    """Equal to about float32 precision, number by number."""
    return all(math.isclose(g, w, rel_tol=1e-5, abs_tol=1e-6) for g, w in zip(got, want, strict=True))


def compare(got: list[float], want: list[float], mistakes: list[tuple[list[float], str]], what: str) -> None:
    """Raises CheckFailed unless got is near want: with the message of the mistake that gives got, or with both rows."""
    if near(got, want):
        return
    for values, message in mistakes:
        if near(got, values):
            raise CheckFailed(message)
    raise CheckFailed(f"{what}: expected {_row(want)}, got {_row(got)}.")


def _row(values: list[float]) -> str:
    return "[" + ", ".join(f"{v:.4f}" for v in values) + "]"
