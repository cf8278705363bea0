"""Checks of notebook 03, from noise to image and back: the jump x_t = a x_0 + b eps, solved for one and the other.

Both answers are linear in what they are given, so their factors are read off and held to the jump turned around by
hand, in plain floats. A wrong pair of factors is looked up among those that common mistakes give.
"""

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
    chain,
    compare,
    near,
)

SHUFFLED = torch.tensor([4, 1, 5, 4])  # neither sorted nor all different
_Pair = Callable[[float, float], float]  # of the image's and the noise's factor at t


def _at_each(of: _Pair) -> list[float]:
    return [of(a, b) for a, b in zip(ROOT_AB, ROOT_REST, strict=True)]


def _mistake(message: str, of_x_t: _Pair, of_known: _Pair) -> Mistake:
    return Mistake(_at_each(of_x_t), _at_each(of_known), message)


_TO_NOISE = [
    _mistake("The noise is still scaled: divide by sqrt(1 - alpha_bar_t).", lambda a, b: 1, lambda a, b: -a),
    _mistake(
        "You divide by 1 - alpha_bar_t. That is the noise's variance: divide by its square root.",
        lambda a, b: 1 / b**2,
        lambda a, b: -a / b**2,
    ),
    _mistake("x_0 has no factor. In x_t it stands times sqrt(alpha_bar_t).", lambda a, b: 1 / b, lambda a, b: -1 / b),
    _mistake(
        "x_0 is multiplied by alpha_bar_t: its square root is missing.", lambda a, b: 1 / b, lambda a, b: -(a**2) / b
    ),
    _mistake("The sign: the image is to be taken away from x_t, not added.", lambda a, b: 1 / b, lambda a, b: a / b),
    _mistake("The sign: x_t less the image's part, not the other way round.", lambda a, b: -1 / b, lambda a, b: a / b),
    _mistake("Only x_0 is divided: parentheses around the difference.", lambda a, b: 1, lambda a, b: -a / b),
    _mistake(
        "You multiply by sqrt(1 - alpha_bar_t). The noise stands times it in x_t: divide.",
        lambda a, b: b,
        lambda a, b: -a * b,
    ),
    _mistake(
        "You divide by sqrt(alpha_bar_t), the image's factor. The noise has sqrt(1 - alpha_bar_t).",
        lambda a, b: 1 / a,
        lambda a, b: -1,
    ),
    _mistake(
        "1 - sqrt(alpha_bar_t) is not sqrt(1 - alpha_bar_t): take the root last.",
        lambda a, b: 1 / (1 - a),
        lambda a, b: -a / (1 - a),
    ),
    _mistake("The difference alone: both factors of the jump are missing.", lambda a, b: 1, lambda a, b: -1),
    _mistake(
        "That is the way from noise to image. Here x_0 is known, and eps is asked for.",
        lambda a, b: 1 / a,
        lambda a, b: -b / a,
    ),
    Mistake(
        [1 / b for b in ROOT_BETA],
        [-a / b for a, b in zip(ROOT_ALPHA, ROOT_BETA, strict=True)],
        "Those are the coefficients of a single step. x_0 is t steps away: use s.alpha_bar.",
    ),
]
_BEFORE = list(zip(AB[:-1], [1 - ab for ab in AB[:-1]], strict=True))  # the shares of image and noise in x_{t-1}
_TO_IMAGE = [
    _mistake("The image is still scaled: divide by sqrt(alpha_bar_t).", lambda a, b: 1, lambda a, b: -b),
    _mistake(
        "You divide by alpha_bar_t. The image stands in x_t times the square root of it.",
        lambda a, b: 1 / a**2,
        lambda a, b: -b / a**2,
    ),
    _mistake(
        "eps has no factor. In x_t it stands times sqrt(1 - alpha_bar_t).", lambda a, b: 1 / a, lambda a, b: -1 / a
    ),
    _mistake(
        "eps is multiplied by 1 - alpha_bar_t: its square root is missing.",
        lambda a, b: 1 / a,
        lambda a, b: -(b**2) / a,
    ),
    _mistake("The sign: the noise is to be taken away from x_t, not added.", lambda a, b: 1 / a, lambda a, b: b / a),
    _mistake("The sign: x_t less the noise's part, not the other way round.", lambda a, b: -1 / a, lambda a, b: b / a),
    _mistake("Only the noise is divided: parentheses around the difference.", lambda a, b: 1, lambda a, b: -b / a),
    _mistake(
        "You multiply by sqrt(alpha_bar_t). The image stands times it in x_t: divide.",
        lambda a, b: a,
        lambda a, b: -a * b,
    ),
    _mistake(
        "You divide by sqrt(1 - alpha_bar_t), the noise's factor. The image has sqrt(alpha_bar_t).",
        lambda a, b: 1 / b,
        lambda a, b: -1,
    ),
    _mistake("The difference alone: both factors of the jump are missing.", lambda a, b: 1, lambda a, b: -1),
    _mistake(
        "That is the way from image to noise. Here eps is known, and x_0 is asked for.",
        lambda a, b: 1 / b,
        lambda a, b: -a / b,
    ),
    Mistake(
        [1 / a for a in ROOT_ALPHA],
        [-b / a for a, b in zip(ROOT_ALPHA, ROOT_BETA, strict=True)],
        "That takes back a single step. eps is all the noise since x_0: use s.alpha_bar.",
    ),
    Mistake(
        [1 / a for a in ROOT_ALPHA],
        [-beta / (a * b) for beta, a, b in zip(BETAS, ROOT_ALPHA, ROOT_REST, strict=True)],
        "That is the mean of x_{t-1}, a sampler's next step (DDPM, Algorithm 2). Asked for is x_0 itself.",
    ),
    Mistake(
        [ab**-0.5 for ab, _ in _BEFORE],
        [-((rest / ab) ** 0.5) for ab, rest in _BEFORE],
        "Those are the factors of t - 1. The tables need no shift: entry t belongs to x_t.",
    ),
]


@check("3.1 the noise behind x_t")
def noise_from_image(f: Callable[..., Any]) -> None:
    """f(s, x_t, t, x0) must be the eps that leads from x_0 to x_t."""
    _examine(f, _at_each(lambda a, b: 1 / b), _at_each(lambda a, b: -a / b), _TO_NOISE, "x0")


@check("3.2 the image behind x_t")
def image_from_noise(f: Callable[..., Any]) -> None:
    """f(s, x_t, t, eps) must be the x_0 that x_t came from if its noise was eps."""
    _examine(f, _at_each(lambda a, b: 1 / a), _at_each(lambda a, b: -b / a), _TO_IMAGE, "eps")


def _examine(
    f: Callable[..., Any], want_a: list[float], want_b: list[float], mistakes: list[Mistake], known: str
) -> None:
    """Reads a_t and b_t off f(s, x_t, t, known) = a_t x_t + b_t known, then tries a batch of images."""
    s, t, ones = chain(), torch.arange(1, T + 1), torch.ones(T, 2, 3, dtype=torch.float64)

    def run(x_t: float, other: float) -> list[float]:
        result = call(f, s, x_t * ones, t, other * ones)
        _refuse_endless_first(result)
        got = tensor_like(result, (T, 2, 3), "the result")
        if (got - got[:, :1, :1]).abs().max() > 1e-9:
            raise CheckFailed(
                "Equal pixels came out different. Nothing random belongs here: x_t and the rest are given."
            )
        return got[:, 0, 0].tolist()

    a, b = run(1, 0), run(0, 1)
    if not near(run(3, -3), [3 * (u - v) for u, v in zip(a, b, strict=True)]):
        raise CheckFailed(f"The result is not a sum of x_t and {known} with fixed factors. Is something clamped?")
    for mistake in mistakes:
        if near(a, mistake.a) and near(b, mistake.b):
            raise CheckFailed(mistake.message)
    compare(a, want_a, [], "coefficient of x_t at t = 1..T")
    compare(b, want_b, [], f"coefficient of {known} at t = 1..T")
    _try_images(f, want_a, want_b)


def _refuse_endless_first(result: Any) -> None:
    """Names the shift of a table by one, which divides by 1 - alpha_bar_0 = 0 at t = 1 and nowhere else."""
    if not isinstance(result, Tensor) or result.ndim == 0 or len(result) != T:
        return
    if result[1:].isfinite().all() and not result[0].isfinite().all():
        raise CheckFailed(
            "NaN or infinite at t = 1 alone. Is it alpha_bar_{t-1}, which is 1 there? The tables need no shift: "
            "entry t belongs to x_t."
        )


def _try_images(f: Callable[..., Any], want_a: list[float], want_b: list[float]) -> None:
    x_t, other = torch.randn(2, 4, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    got = tensor_like(call(f, chain(), x_t, SHUFFLED, other), (4, 1, 5, 5), "the result")
    for i, time in enumerate(SHUFFLED.tolist()):
        if (got[i] - (want_a[time - 1] * x_t[i] + want_b[time - 1] * other[i])).abs().max() > 1e-4:
            raise CheckFailed(
                f"On a batch with times {SHUFFLED.tolist()} sample {i} did not get the factors of its own t."
            )
