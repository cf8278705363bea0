"""Checks of notebook 03: from noise to image and back, the bound's weight, the training loss, the best answer there is.

The oracles are plain floats: the forward jump turned around by hand, Bayes on a grid, two points enumerated.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_edu import schedules
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
    near,
)

BARS = AB[1:]
RESTS = [1 - ab for ab in BARS]
SNRS = [ab / rest for ab, rest in zip(BARS, RESTS, strict=True)]
SHUFFLED = torch.tensor([4, 1, 5, 4])  # neither sorted nor all different


# ---------------------------------------------------------------- noise and image, one from the other


@check("3.1 the noise behind x_t")
def noise_from_image(f: Callable[..., Any]) -> None:
    """f(s, x_t, t, x0) must be the eps that leads from x_0 to x_t."""
    want_a = [1 / b for b in ROOT_REST]
    want_b = [-a / b for a, b in zip(ROOT_AB, ROOT_REST, strict=True)]
    mistakes = [
        Mistake([1.0] * T, [-a for a in ROOT_AB], "The noise is still scaled: divide by sqrt(1 - alpha_bar_t)."),
        Mistake(
            [1 / r for r in RESTS],
            [-a / r for a, r in zip(ROOT_AB, RESTS, strict=True)],
            "You divide by 1 - alpha_bar_t. That is the noise's variance: divide by its square root.",
        ),
        Mistake(want_a, [-1 / b for b in ROOT_REST], "x_0 has no factor. In x_t it stands times sqrt(alpha_bar_t)."),
        Mistake(
            want_a,
            [-ab / b for ab, b in zip(BARS, ROOT_REST, strict=True)],
            "x_0 is multiplied by alpha_bar_t: its square root is missing.",
        ),
        Mistake(want_a, [-b for b in want_b], "The sign: the image is to be taken away from x_t, not added."),
        Mistake(
            [1 / b for b in ROOT_BETA],
            [-a / b for a, b in zip(ROOT_ALPHA, ROOT_BETA, strict=True)],
            "Those are the coefficients of a single step. x_0 is t steps away: use s.alpha_bar.",
        ),
        Mistake(
            [1 / a for a in ROOT_AB],
            [-b / a for a, b in zip(ROOT_AB, ROOT_REST, strict=True)],
            "That is the way from noise to image. Here x_0 is known, and eps is asked for.",
        ),
    ]
    _examine(f, want_a, want_b, mistakes, "x0")


@check("3.2 the image behind x_t")
def image_from_noise(f: Callable[..., Any]) -> None:
    """f(s, x_t, t, eps) must be the x_0 that x_t came from if its noise was eps."""
    want_a = [1 / a for a in ROOT_AB]
    want_b = [-b / a for a, b in zip(ROOT_AB, ROOT_REST, strict=True)]
    mistakes = [
        Mistake([1.0] * T, [-b for b in ROOT_REST], "The image is still scaled: divide by sqrt(alpha_bar_t)."),
        Mistake(
            [1 / ab for ab in BARS],
            [-b / ab for b, ab in zip(ROOT_REST, BARS, strict=True)],
            "You divide by alpha_bar_t. The image stands in x_t times the square root of it.",
        ),
        Mistake(want_a, [-1 / a for a in ROOT_AB], "eps has no factor. In x_t it stands times sqrt(1 - alpha_bar_t)."),
        Mistake(
            want_a,
            [-r / a for r, a in zip(RESTS, ROOT_AB, strict=True)],
            "eps is multiplied by 1 - alpha_bar_t: its square root is missing.",
        ),
        Mistake(want_a, [-b for b in want_b], "The sign: the noise is to be taken away from x_t, not added."),
        Mistake(
            [1 / a for a in ROOT_ALPHA],
            [-b / a for a, b in zip(ROOT_ALPHA, ROOT_BETA, strict=True)],
            "That takes back a single step. eps is all the noise since x_0: use s.alpha_bar.",
        ),
        Mistake(
            [1 / b for b in ROOT_REST],
            [-a / b for a, b in zip(ROOT_AB, ROOT_REST, strict=True)],
            "That is the way from image to noise. Here eps is known, and x_0 is asked for.",
        ),
    ]
    _examine(f, want_a, want_b, mistakes, "eps")


def _examine(
    f: Callable[..., Any], want_a: list[float], want_b: list[float], mistakes: list[Mistake], known: str
) -> None:
    """Reads a_t and b_t off f(s, x_t, t, known) = a_t x_t + b_t known, then tries a batch of images."""
    s, t, ones = chain(), torch.arange(1, T + 1), torch.ones(T, 2, 3, dtype=torch.float64)

    def run(x_t: float, other: float) -> list[float]:
        got = tensor_like(call(f, s, x_t * ones, t, other * ones), (T, 2, 3), "the result")
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
    x_t, other = torch.randn(2, 4, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    got = tensor_like(call(f, s, x_t, SHUFFLED, other), (4, 1, 5, 5), "the result")
    for i, time in enumerate(SHUFFLED.tolist()):
        if (got[i] - (want_a[time - 1] * x_t[i] + want_b[time - 1] * other[i])).abs().max() > 1e-4:
            raise CheckFailed(
                f"On a batch with times {SHUFFLED.tolist()} sample {i} did not get the factors of its own t."
            )


# ---------------------------------------------------------------- the weight of the bound


@check("3.3 the weight of the bound")
def bound_weight(f: Callable[..., Any]) -> None:
    """f(s, t, variance) must be w_t in L_{t-1} = constant + w_t |eps - eps_hat|^2, (N,)."""
    s, t = chain(), torch.arange(1, T + 1)
    variance = [0.4, 0.1, 0.3, 0.25, 0.6]
    got = tensor_like(call(f, s, t, torch.tensor(variance, dtype=torch.float64)), (T,), "the weights").tolist()
    # An error of 1 in eps, at x_t = 0, moves x_0 by this much; Bayes on a grid tells how far that moves the mean.
    moved = [-b / a for a, b in zip(ROOT_AB, ROOT_REST, strict=True)]
    gaps = [bayes_on_a_grid(i, moved[i - 1], 0.0)[0] for i in range(1, T + 1)]
    want = [gap**2 / (2 * v) for gap, v in zip(gaps, variance, strict=True)]
    alphas = [1 - b for b in BETAS]
    wrong = {
        "The 2 in the denominator is missing: the KL of two Gaussians has a half in front.": [2 * w for w in want],
        "beta_t is not squared. It comes from a difference of means, and the KL squares that.": [
            w / b for w, b in zip(want, BETAS, strict=True)
        ],
        "alpha_bar_t where alpha_t belongs: the factor in front of the mean is about one step.": [
            w * a / ab for w, a, ab in zip(want, alphas, BARS, strict=True)
        ],
        "The factor 1 - alpha_bar_t is missing in the denominator.": [w * r for w, r in zip(want, RESTS, strict=True)],
        "The factor alpha_t is missing in the denominator.": [w * a for w, a in zip(want, alphas, strict=True)],
        "`variance` is sigma_t^2 already: it is not to be squared.": [
            w / v for w, v in zip(want, variance, strict=True)
        ],
        "You divide by sigma_t, the root of `variance`. The KL has the variance.": [
            w * math.sqrt(v) for w, v in zip(want, variance, strict=True)
        ],
        "You return one over the weight.": [1 / w for w in want],
    }
    compare(got, want, _listed(wrong), "weight at t = 1..T")
    shuffled = torch.tensor([variance[i - 1] for i in SHUFFLED.tolist()], dtype=torch.float64)
    got = tensor_like(call(f, s, SHUFFLED, shuffled), (len(SHUFFLED),), "the weights").tolist()
    own = [want[i - 1] for i in SHUFFLED.tolist()]
    if not near(got, own):
        raise CheckFailed(
            f"With times {SHUFFLED.tolist()} the weights are not those of these times: use t as the index."
        )


# ---------------------------------------------------------------- the loss


@check("3.4 the training loss")
def training_loss(f: Callable[..., Any]) -> None:
    """f(net, s, x0, t, noise) must be the mean squared error of eps of each sample, (N,)."""
    s, g = chain(), torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 4, 1, 3, 3, generator=g, dtype=torch.float64)
    x_t = torch.stack(
        [ROOT_AB[i - 1] * x + ROOT_REST[i - 1] * e for i, x, e in zip(SHUFFLED.tolist(), x0, noise, strict=True)]
    )
    seen: list[tuple[Tensor, Tensor]] = []

    def net(x: Tensor, t: Tensor) -> Tensor:
        seen.append((x, t))
        return 0.3 * x + 0.1

    result = call(f, net, s, x0, SHUFFLED, noise)
    if not seen:
        raise CheckFailed("The network was never called: its prediction is net(x_t, t).")
    _judge_input(seen[-1][0], seen[-1][1], x0, x_t, noise)
    if isinstance(result, Tensor) and result.ndim == 0:
        raise CheckFailed("One number for the whole batch. Return one loss a sample, (N,): it is needed by t later on.")
    got = tensor_like(result, (4,), "the losses, one a sample").tolist()
    said = 0.3 * x_t + 0.1
    want = _per_sample(said - noise)
    mistakes = [
        ([9 * w for w in want], "You add up the squares over the 9 pixels. L_simple here is their mean."),
        ([math.sqrt(w) for w in want], "That is the root of the mean square; the loss is the mean square itself."),
        ((said - noise).abs().flatten(1).mean(1).tolist(), "Absolute values in place of squares."),
        (_per_sample(said - x0), "The target is x_0. This network predicts the noise: compare with `noise`."),
        (_per_sample(said - x_t), "The target is x_t, which the network was shown. Compare with `noise`."),
        ([sum(want) / 4] * 4, "Every sample has the batch's mean. Average over pixels only: flatten(1).mean(1)."),
        ((said - noise).flatten(1).mean(1).tolist(), "The error is not squared: positive and negative ones cancel."),
    ]
    compare(got, want, mistakes, "losses")
    _on_points(f, x0[:, 0, 0], noise[:, 0, 0])


def _on_points(f: Callable[..., Any], x0: Tensor, noise: Tensor) -> None:
    """The same loss for data that are no images, with a network that can learn from it."""
    scale = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    result = call(f, lambda x, t: scale * x, chain(), x0, SHUFFLED, noise)
    tensor_like(result, (4,), "the losses for points of shape (4, 3), no images")
    if not result.requires_grad:
        raise CheckFailed(
            "No gradient reaches the network: it could not learn from this loss. Leave out no_grad and detach."
        )


def _judge_input(x: Any, t: Any, x0: Tensor, x_t: Tensor, noise: Tensor) -> None:
    """Whether the network was asked about x_t and t."""
    if not isinstance(t, Tensor) or t.shape != SHUFFLED.shape or not torch.equal(t.double(), SHUFFLED.double()):
        raise CheckFailed(
            f"The network was not given t as it is: it got {t} for {SHUFFLED.tolist()}. Call net(x_t, t)."
        )
    if isinstance(x, Tensor) and x.shape == x_t.shape:
        if (x - x_t).abs().max() < 1e-5:
            return
        if torch.equal(x, x0):
            raise CheckFailed("The network was shown x_0. It must find the noise in x_t: q_sample(s, x0, t, noise).")
        if torch.equal(x, noise):
            raise CheckFailed("The network was shown the noise itself, its own answer. Show it x_t.")
    raise CheckFailed(
        "What the network was shown is not x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise. Did you draw "
        "noise of your own? Use q_sample(s, x0, t, noise)."
    )


def _per_sample(error: Tensor) -> list[float]:
    return [e.square().mean().item() for e in error]


# ---------------------------------------------------------------- the best answer, and another weight


@check("3.5 the best answer for two points")
def two_points(f: Callable[..., Any]) -> None:
    """f(s, x_t, t) must be E[x_0 | x_t] where x_0 is -1 or +1, each with probability one half; (N, 1)."""
    s, x = chain(), [-2.0, -0.7, 0.0, 0.4, 1.5]
    times = [t for t in range(1, T + 1) for _ in x]
    points = x * T
    x_t = torch.tensor(points, dtype=torch.float64)[:, None]
    got = tensor_like(
        call(
            f,
            s,
            x_t,
            torch.tensor(times),
        ),
        (len(points), 1),
        "E[x_0 | x_t]",
    )[:, 0].tolist()
    want = [_two_points_by_enumeration(t, value) for t, value in zip(times, points, strict=True)]
    at_each = [(ROOT_AB[t - 1], RESTS[t - 1], value) for t, value in zip(times, points, strict=True)]  # root, rest, x_t
    wrong = {
        "That is the nearer of the two points. Asked for is their average, weighted by probability given x_t.": [
            math.copysign(1, v) if v else 0.0 for _, _, v in at_each
        ],
        "The exponent is not divided by the noise's variance, 1 - alpha_bar_t.": [
            math.tanh(a * v) for a, _, v in at_each
        ],
        "You divide by the noise's standard deviation. A Gaussian's exponent has the variance, 1 - alpha_bar_t.": [
            math.tanh(a * v / math.sqrt(r)) for a, r, v in at_each
        ],
        "The points stand at -1 and +1 in x_0. In x_t their centres are -sqrt(alpha_bar_t) and +sqrt(alpha_bar_t).": [
            math.tanh(v / r) for _, r, v in at_each
        ],
        "The centres in x_t are +-sqrt(alpha_bar_t): a square root is missing.": [
            math.tanh(a * a * v / r) for a, r, v in at_each
        ],
        "A factor 2 too many in the exponent: a Gaussian has the squared distance over *twice* the variance.": [
            math.tanh(2 * a * v / r) for a, r, v in at_each
        ],
        "That is the probability of +1. Average the points -1 and +1 with their probabilities.": [
            (1 + w) / 2 for w in want
        ],
        "That only scales x_t up. The best guess lies between -1 and +1.": [v / a for a, _, v in at_each],
    }
    compare(got, want, _listed(wrong), f"E[x_0 | x_t] at t = 1..{T} for x_t = {x}")
    early = call(f, schedules.linear(), torch.tensor([[-1.0], [1.0]]), torch.tensor([1, 1]))
    if not isinstance(early, Tensor) or not torch.allclose(early.double(), torch.tensor([[-1.0], [1.0]]).double()):
        raise CheckFailed(
            "Right on a short chain, but not at t = 1 of DDPM's, where 1 - alpha_bar is 0.0001: exp(10000) is "
            "infinite. Use torch.tanh or torch.softmax, which cope."
        )


def _two_points_by_enumeration(t: int, x_t: float) -> float:
    """Bayes' rule with both points written out."""
    plus, minus = (math.exp(-((x_t - sign * ROOT_AB[t - 1]) ** 2) / (2 * RESTS[t - 1])) for sign in (1, -1))
    return (plus - minus) / (plus + minus)


@check("3.6 min-SNR for v")
def min_snr_for_v(f: Callable[..., Any]) -> None:
    """f(s, gamma) must be the weight on |dv|^2, (T + 1,), that equals min(SNR, gamma) on |dx0|^2; entry 0 is free."""
    s = chain()
    for gamma in (0.3, 1.0):
        got = _table(call(f, s, gamma))
        want = [min(snr, gamma) * _dx0_per_dv(t) ** 2 for t, snr in enumerate(SNRS, 1)]
        wrong = {
            "That is the weight on the error of x_0. |dv|^2 is 1 + SNR times |dx0|^2: divide by SNR + 1.": [
                min(snr, gamma) for snr in SNRS
            ],
            "That is the weight on the error of eps, divided by SNR. For v divide by SNR + 1.": [
                min(snr, gamma) / snr for snr in SNRS
            ],
            "gamma at every t: the minimum of SNR and gamma is missing.": [gamma / (snr + 1) for snr in SNRS],
            "The SNR is not limited: gamma has no effect.": [snr / (snr + 1) for snr in SNRS],
            "The larger of the two. clamp(max=gamma) keeps the smaller.": [max(snr, gamma) / (snr + 1) for snr in SNRS],
            "You multiply by SNR + 1. An error of v is the larger one, so its weight must be smaller.": [
                min(snr, gamma) * (snr + 1) for snr in SNRS
            ],
            "gamma limits the SNR, not the weight: take the minimum first.": [
                min(snr / (snr + 1), gamma) for snr in SNRS
            ],
        }
        compare(got, want, _listed(wrong), f"weight on |dv|^2 at t = 1..T for gamma = {gamma:g}")


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


def _listed(wrong: dict[str, list[float]]) -> list[tuple[list[float], str]]:
    return [(values, message) for message, values in wrong.items()]
