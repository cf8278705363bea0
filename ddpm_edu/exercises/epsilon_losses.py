"""Checks of notebook 03, the training loss and the best answer there is.

The loss is asked with a network that writes down what it was shown; the best answer is held to two points enumerated.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ddpm_edu import schedules
from ddpm_edu.exercises.epsilon_units import SHUFFLED
from ddpm_edu.exercises.frame import CheckFailed, call, check, tensor_like
from ddpm_edu.exercises.small_chain import AB, ROOT_AB, ROOT_REST, T, chain, compare, near

# ---------------------------------------------------------------- the loss


def _column(values: Sequence[float]) -> Tensor:
    """Of each of the SHUFFLED times, in a shape that multiplies images."""
    return torch.tensor([values[i - 1] for i in SHUFFLED.tolist()], dtype=torch.float64)[:, None, None, None]


@check("3.4 the training loss")
def training_loss(f: Callable[..., Any]) -> None:
    """f(net, s, x0, t, noise) must be the mean squared error of eps of each sample, (N,)."""
    x0, noise = torch.randn(2, 4, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x_t = _column(ROOT_AB) * x0 + _column(ROOT_REST) * noise
    seen: list[tuple[Tensor, Any]] = []

    def net(x: Tensor, t: Any) -> Tensor:
        if not isinstance(x, Tensor) or x.shape != x0.shape:
            raise CheckFailed("The network's first argument has not the shape of x_t. Call net(x_t, t), in this order.")
        seen.append((x, t))
        return 0.3 * x + 0.1

    result = call(f, net, chain(), x0, SHUFFLED, noise)
    if not seen:
        raise CheckFailed("The network was never called: its prediction is net(x_t, t).")
    _judge_input(*seen[-1], x0, x_t, noise)
    _judge_shape(result)
    got, said = result.tolist(), 0.3 * x_t + 0.1
    if call(f, net, chain(), x0, SHUFFLED, noise).tolist() != got:
        raise CheckFailed("The target is noise that you drew anew. Compare with `noise`: it is the one in x_t.")
    compare(got, _per_sample(said - noise), _wrong_losses(said, x0, x_t, noise), "losses")
    _on_points(f, x0[:, 0, 0], noise[:, 0, 0])


def _judge_shape(result: Any) -> None:
    """Whether it is one number a sample, and over which axes the mean was taken where it is not."""
    if isinstance(result, Tensor) and result.ndim == 0:
        raise CheckFailed("One number for the whole batch. Return one loss a sample, (N,): it is needed by t later on.")
    if isinstance(result, Tensor) and result.ndim > 1:
        raise CheckFailed(
            f"Squares of shape {tuple(result.shape)}: average each sample over all its dimensions, flatten(1).mean(1)."
        )
    if isinstance(result, Tensor) and result.shape == (9,):
        raise CheckFailed(
            "You average over the batch, and one loss a pixel is left. Axis 0 is the samples: flatten(1).mean(1)."
        )
    tensor_like(result, (4,), "the losses, one a sample")


def _wrong_losses(said: Tensor, x0: Tensor, x_t: Tensor, noise: Tensor) -> list[tuple[list[float], str]]:
    right, snr = _per_sample(said - noise), _column([ab / (1 - ab) for ab in AB[1:]])
    return [
        ([9 * w for w in right], "You add up the squares over the 9 pixels. L_simple here is their mean."),
        ([math.sqrt(w) for w in right], "That is the root of the mean square; the loss is the mean square itself."),
        ((said - noise).abs().flatten(1).mean(1).tolist(), "Absolute values in place of squares."),
        (_per_sample(said - x0), "The target is x_0. This network predicts the noise: compare with `noise`."),
        (_per_sample(said - x_t), "The target is x_t, which the network was shown. Compare with `noise`."),
        (_per_sample(said + noise), "You add the noise. The error is the prediction *less* the noise."),
        (
            _per_sample(said - _column(ROOT_REST) * noise),
            "The target is the noise's part of x_t. The network predicts eps, of variance 1: compare with `noise`.",
        ),
        (_per_sample((said - noise) * snr.sqrt()), "The loss is weighted with the SNR. L_simple has no weight."),
        ([sum(right) / 4] * 4, "Every sample has the batch's mean. Average over pixels only: flatten(1).mean(1)."),
        ((said - noise).flatten(1).mean(1).tolist(), "The error is not squared: positive and negative ones cancel."),
    ]


def _on_points(f: Callable[..., Any], x0: Tensor, noise: Tensor) -> None:
    """The same loss for data that are no images, with a network that can learn from it."""
    scale = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    try:
        result = call(f, lambda x, t: scale * x, chain(), x0, SHUFFLED, noise)
    except CheckFailed as failure:
        raise CheckFailed(
            "Right on images, but not on points of shape (4, 3). Are axes counted, as in mean((1, 2, 3))? "
            f"flatten(1).mean(1) fits both. {failure}"
        ) from failure
    tensor_like(result, (4,), "the losses for points of shape (4, 3), no images")
    if not result.requires_grad:
        raise CheckFailed(
            "No gradient reaches the network: it could not learn from this loss. Leave out no_grad and detach."
        )


def _judge_input(x: Tensor, t: Any, x0: Tensor, x_t: Tensor, noise: Tensor) -> None:
    """Whether the network was asked about x_t and t."""
    if not isinstance(t, Tensor) or t.shape != SHUFFLED.shape or not torch.equal(t.double(), SHUFFLED.double()):
        told = [round(time, 3) for time in t.flatten().tolist()] if isinstance(t, Tensor) else t
        raise CheckFailed(
            f"The network was not given t as it is: it got {told} for {SHUFFLED.tolist()}. Call net(x_t, t)."
        )
    mistakes = [
        (x0, "The network was shown x_0. It must find the noise in x_t: q_sample(s, x0, t, noise)."),
        (noise, "The network was shown the noise itself, its own answer. Show it x_t."),
        (x0 + noise, "The network was shown x_0 + noise, without their factors: q_sample(s, x0, t, noise)."),
        (
            _column(ROOT_AB) * noise + _column(ROOT_REST) * x0,
            "Image and noise have changed places in x_t: q_sample(s, x0, t, noise), in this order.",
        ),
    ]
    if (x - x_t).abs().max() < 1e-5:
        return
    for shown, message in mistakes:
        if torch.allclose(x, shown):
            raise CheckFailed(message)
    raise CheckFailed(
        "What the network was shown is not x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise. Did you draw "
        "noise of your own? Use q_sample(s, x0, t, noise)."
    )


def _per_sample(error: Tensor) -> list[float]:
    return [e.square().mean().item() for e in error]


# ---------------------------------------------------------------- the best answer for two points

_X = [-2.0, -0.7, 0.0, 0.4, 1.5]
_PLACES = [(t, x) for t in range(1, T + 1) for x in _X]
_Guess = Callable[[float, float, float], float]  # of sqrt(alpha_bar_t), 1 - alpha_bar_t and x_t


def _densities(a: float, r: float, x: float) -> tuple[float, float]:
    """Of x_t around the point +1, and around -1, up to their common factor."""
    return math.exp(-((x - a) ** 2) / (2 * r)), math.exp(-((x + a) ** 2) / (2 * r))


def _by_enumeration(a: float, r: float, x: float) -> float:
    """Bayes' rule with both points written out."""
    plus, minus = _densities(a, r, x)
    return (plus - minus) / (plus + minus)


_WRONG_GUESSES: list[tuple[_Guess, str]] = [
    (
        lambda a, r, x: math.copysign(1, x) if x else 0.0,
        "That is the nearer of the two points. Asked for is their average, weighted by probability given x_t.",
    ),
    (lambda a, r, x: math.tanh(a * x), "The exponent is not divided by the noise's variance, 1 - alpha_bar_t."),
    (
        lambda a, r, x: math.tanh(a * x / math.sqrt(r)),
        "You divide by the noise's standard deviation. A Gaussian's exponent has the variance, 1 - alpha_bar_t.",
    ),
    (
        lambda a, r, x: math.tanh(x / r),
        "The points stand at -1 and +1 in x_0. In x_t their centres are -sqrt(alpha_bar_t) and +sqrt(alpha_bar_t).",
    ),
    (
        lambda a, r, x: math.tanh(a * a * x / r),
        "The centres in x_t are +-sqrt(alpha_bar_t): a square root is missing.",
    ),
    (
        lambda a, r, x: math.tanh(2 * a * x / r),
        "A factor 2 too many in the exponent: a Gaussian has the squared distance over *twice* the variance.",
    ),
    (
        lambda a, r, x: math.tanh(a * x / (2 * r)),
        "Half the exponent: the two logarithms differ by 2u, and (e^u - e^-u) / (e^u + e^-u) is tanh(u).",
    ),
    (lambda a, r, x: -_by_enumeration(a, r, x), "The two points have changed places: the sign is the other one."),
    (
        lambda a, r, x: (1 + _by_enumeration(a, r, x)) / 2,
        "That is the probability of +1. Average the points -1 and +1 with their probabilities.",
    ),
    (
        lambda a, r, x: a * _by_enumeration(a, r, x),
        "You average the centres +-sqrt(alpha_bar_t). Average the points themselves, -1 and +1.",
    ),
    (
        lambda a, r, x: _densities(a, r, x)[0] - _densities(a, r, x)[1],
        "The densities are no probabilities yet: divide by their sum.",
    ),
    (
        lambda a, r, x: math.tanh((_densities(a, r, x)[0] - _densities(a, r, x)[1]) / 2),
        "softmax takes the logarithms of densities, and you gave it the densities: leave out exp.",
    ),
    (lambda a, r, x: x / a, "That only scales x_t up. The best guess lies between -1 and +1."),
    (
        lambda a, r, x: a * x,
        "That is the best *linear* guess, right for a Gaussian. With two points it bends: weigh them by Bayes' rule.",
    ),
]


def _softmax_over_the_batch(at_each: Sequence[tuple[float, float, float]]) -> list[float]:
    """What the wrong axis gives: each point's probabilities add up to 1 over the samples."""
    plus, minus = zip(*(_densities(*place) for place in at_each), strict=True)
    return [p / sum(plus) - m / sum(minus) for p, m in zip(plus, minus, strict=True)]


@check("3.5 the best answer for two points")
def two_points(f: Callable[..., Any]) -> None:
    """f(s, x_t, t) must be E[x_0 | x_t] where x_0 is -1 or +1, each with probability one half; (N, 1)."""
    times, x_t = torch.tensor([t for t, _ in _PLACES]), torch.tensor([[x] for _, x in _PLACES], dtype=torch.float64)
    result = call(f, chain(), x_t, times)
    if isinstance(result, Tensor) and result.shape == (len(x_t), len(x_t)):
        raise CheckFailed(
            "Every sample has met the t of every other: a table indexed with t has shape (N,) and x_t has (N, 1). "
            "Use at(table, t, x_t)."
        )
    got = tensor_like(result, (len(x_t), 1), "E[x_0 | x_t]")[:, 0].tolist()
    _judge_guesses(got)
    early = call(f, schedules.linear(), torch.tensor([[-1.0], [1.0]]), torch.tensor([1, 1]))
    if not isinstance(early, Tensor) or not torch.allclose(early.double(), torch.tensor([[-1.0], [1.0]]).double()):
        raise CheckFailed(
            "Right on a short chain, but not at t = 1 of DDPM's, where 1 - alpha_bar is 0.0001: exp(10000) is "
            "infinite. Use torch.tanh or torch.softmax, which cope."
        )


def _judge_guesses(got: list[float]) -> None:
    at_each = [(ROOT_AB[t - 1], 1 - AB[t], x) for t, x in _PLACES]
    want = [_by_enumeration(*place) for place in at_each]
    if near(got, want):
        return
    for guess, message in _WRONG_GUESSES:
        if near(got, [guess(*place) for place in at_each]):
            raise CheckFailed(message)
    if near(got, _softmax_over_the_batch(at_each)):
        raise CheckFailed("softmax went along the samples: it must go along the axis of the two points.")
    for (t, x), a, b in zip(_PLACES, got, want, strict=True):
        if not near([a], [b]):
            raise CheckFailed(f"At t = {t} and x_t = {x}: expected {b:.4f}, got {a:.4f}.")
