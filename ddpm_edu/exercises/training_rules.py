"""Checks of notebook 07, two rules: how an average warms up, and the rate of learning as a function of the step.

The oracles are plain floats; what each mistake gives is worked out as well, and looked for in the answers.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.frame import CheckFailed, call, check, tensor_like

# ---------------------------------------------------------------- the average

_UPDATES = [(decay, n) for decay in (0.9999, 0.9, 0.5) for n in (1, 2, 50, 3000)]
_OLD, _NEW = (1.0, -2.0, 0.25), (0.375, 1.0, -3.0)
Shares = Callable[[float, int], tuple[float, float]]


def _warm(n: int) -> float:
    return 1 - 9 / (10 + n)


_SHARES: list[tuple[Shares, str]] = [
    (lambda d, n: (d, 1 - d), "There is no warm-up: the decay is `decay` from the first update on."),
    (lambda d, n: (1 - min(d, _warm(n)), min(d, _warm(n))), "The shares are swapped: the average keeps d."),
    (lambda d, n: (max(d, _warm(n)), 1 - max(d, _warm(n))), "You take the larger of the two: take the smaller."),
    (lambda d, n: (_warm(n), 1 - _warm(n)), "`decay` has no effect: it is the most that the warm-up may reach."),
    (lambda d, n: (d * _warm(n), 1 - d * _warm(n)), "You multiply the two decays: take the smaller of them."),
    (lambda d, n: (min(d, _warm(n - 1)), 1 - min(d, _warm(n - 1))), "One off: the first update has n = 1."),
    (lambda d, n: (min(d, _warm(n + 1)), 1 - min(d, _warm(n + 1))), "One off: n counts this update already."),
    (lambda d, n: (min(d, _warm(n)), 1 - d), "The shares do not add up to 1: warm up d once, then use d and 1 - d."),
    (lambda d, n: (d, 1 - min(d, _warm(n))), "The shares do not add up to 1: warm up d once, then use d and 1 - d."),
    (lambda d, n: (min(d, _warm(n)), 1.0), "The new weight comes in whole: its share is 1 - d."),
    (lambda d, n: (1.0, 1 - min(d, _warm(n))), "The old average stays whole: its share is d."),
    (
        lambda d, n: (1.0, min(d, _warm(n)) - 1),
        "average - (1 - d) * (average - weight): subtract the difference.",
    ),
    (lambda d, n: (1.0, 0.0), "The average came back as it was. lerp and add give a new tensor: return that."),
    (lambda d, n: (0.0, 1.0), "The new weight came back: that is no average."),
]


@check("7.4 an average that warms up")
def followed(f: Callable[..., Any]) -> None:
    """f(average, weight, decay, n) must be d average + (1 - d) weight with d = min(decay, (1 + n) / (10 + n))."""
    results = [_follow(f, decay, n) for decay, n in _UPDATES]
    if results == [_rounded(decay, n) for decay, n in _UPDATES]:
        raise CheckFailed(
            "The average is float32, but (1 - d) * weight was computed in bfloat16, and rounded to 8 bits, before it "
            "was added. Fix: weight.float() first."
        )
    _explain(results, lambda d, n: (min(d, _warm(n)), 1 - min(d, _warm(n))), _SHARES)


def _follow(f: Callable[..., Any], decay: float, n: int) -> list[float]:
    """The answer for a float32 average and a weight as mixed precision may have it."""
    average, weight = torch.tensor(_OLD), torch.tensor(_NEW).bfloat16()
    result = call(f, average, weight, decay, n)
    if isinstance(result, Tensor) and result.dtype != torch.float32:
        raise CheckFailed(
            f"The average is {str(result.dtype).removeprefix('torch.')}, and it was float32. With 8 bits, 0.9999 is 1, "
            "and an average that is asked to move by a ten-thousandth stays where it is. Fix: weight.float()."
        )
    values: list[float] = tensor_like(result, (3,), "the average").tolist()
    return values


def _rounded(decay: float, n: int) -> list[float]:
    """The answer of those who multiply the weight as it comes."""
    d = min(decay, (1 + n) / (10 + n))
    values: list[float] = (d * torch.tensor(_OLD) + (1 - d) * torch.tensor(_NEW).bfloat16()).tolist()
    return values


def _explain(results: list[list[float]], right: Shares, wrong: Sequence[tuple[Shares, str]]) -> None:
    """Raises CheckFailed unless all ``results`` are those of ``right``, with the mistake whose results they are."""

    def fits(shares: Shares) -> bool:
        wanted = [_mixed(*shares(decay, n)) for decay, n in _UPDATES]
        return all(
            math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6)
            for got, want in zip(results, wanted, strict=True)
            for a, b in zip(got, want, strict=True)
        )

    if fits(right):
        return
    for shares, words in wrong:
        if fits(shares):
            raise CheckFailed(words)
    for (decay, n), got in zip(_UPDATES, results, strict=True):
        want = _mixed(*right(decay, n))
        if not math.isclose(got[0], want[0], rel_tol=1e-5):
            raise CheckFailed(
                f"decay {decay}, n = {n}: from {_OLD[0]} and {_NEW[0]} came {got[0]:.6f}, expected {want[0]:.6f}."
            )
    raise CheckFailed("The first number is right, others are not: every number of the tensors is averaged alike.")


def _mixed(kept: float, taken: float) -> list[float]:
    return [kept * old + taken * new for old, new in zip(_OLD, _NEW, strict=True)]


# ---------------------------------------------------------------- the rate of learning

Rate = Callable[[int, int, int, float], float]
_STEPS = [(step, 1000, 100, 2e-4) for step in (0, 1, 40, 99, 100, 400, 999)]
_STEPS += [(step, 10, 0, 1.0) for step in (0, 5, 9)]


def _rising(step: int, warmup: int) -> float:
    return 1.0 if step + 1 >= warmup else (step + 1) / warmup


def _falling(share: float) -> float:
    """Half a cosine, from 1 to 0."""
    return math.cos(math.pi / 2 * share) ** 2


_RATES: list[tuple[Rate, str]] = [
    (
        lambda s, n, w, p: p * min(1, s / w if w else 1) * _falling(s / n),
        "At step 0 the rate is 0, so the first step does nothing: it rises with step + 1.",
    ),
    (lambda s, n, w, p: p * _falling(s / n), "There is no warm-up: the factor min(1, (step + 1) / warmup) is missing."),
    (lambda s, n, w, p: p * _rising(s, w), "It does not fall: the factor (1 + cos(pi step / steps)) / 2 is missing."),
    (
        lambda s, n, w, p: p * _rising(s, w) * _falling(max(0, s - w) / (n - w)),
        "The cosine begins at the end of the warm-up. Others do that too; here it begins with the first step.",
    ),
    (
        lambda s, n, w, p: p * _rising(s, w) * _falling((s + 1) / n),
        "The cosine has step + 1, so that the last step has the rate 0 and does nothing: it has step.",
    ),
    (lambda s, n, w, p: 2 * p * _rising(s, w) * _falling(s / n), "Twice too much: 1 + cos goes from 2 to 0. Halve it."),
    (lambda s, n, w, p: p * _rising(s, w) * math.cos(math.pi * s / n), "The cosine falls to -1: (1 + cos) / 2."),
    (lambda s, n, w, p: p * _rising(s, w) * _falling(2 * s / n), "The rate is up again at the end: a half wave, pi."),
    (lambda s, n, w, p: p * _rising(s, w) * math.cos(math.pi / 2 * s / n), "It is a quarter of a wave: (1 + cos) / 2."),
    (lambda s, n, w, p: p * _rising(s, w) * (1 - s / n), "It falls along a line. Asked for is half a cosine."),
    (
        lambda s, n, w, p: p * _rising(s, w) * 0.5 * (1 + math.cos(math.radians(math.pi * s / n))),
        "math.cos takes radians: convert nothing.",
    ),
    (
        lambda s, n, w, p: p * ((s + 1) / w if w else 1) * _falling(s / n),
        "It goes on rising after the warm-up: min(1, ...).",
    ),
    (
        lambda s, n, w, p: p * min(1, s + 1 / w if w else 1) * _falling(s / n),
        "Brackets: step + 1 / warmup is step + (1 / warmup). Write (step + 1) / warmup.",
    ),
    (
        lambda s, n, w, p: p * max(1, (s + 1) / w if w else 1) * _falling(s / n),
        "max in place of min: there is no warm-up, and after it the rate rises above the peak.",
    ),
    (
        lambda s, n, w, p: p * min(1, (s + 1) / (w + 1)) * _falling(s / n),
        "It rises over warmup + 1 steps: (step + 1) / warmup reaches 1 in the last step of the warm-up.",
    ),
    (
        lambda s, n, w, p: p * ((s + 1) / w if s < w else _falling(s / n)),
        "In the warm-up the cosine is missing: both factors are there at every step, and are multiplied.",
    ),
    (
        lambda s, n, w, p: p * _rising(s, w) * _falling(s / (n - 1)),
        "The cosine is divided by steps - 1, so that the last step has the rate 0 and does nothing: divide by steps.",
    ),
    (
        lambda s, n, w, p: p * _rising(s, w) * 0.5 * (1 + math.cos(180 * s / n)),
        "math.cos takes radians: half a turn is pi, not 180.",
    ),
    (lambda s, n, w, p: _rising(s, w) * _falling(s / n), "`peak` has no effect: multiply by it."),
]


@check("7.3 the rate of learning as a function of the step")
def lr_at(f: Callable[..., Any]) -> None:
    """f(step, steps, warmup, peak) must be peak min(1, (step + 1) / warmup) (1 + cos(pi step / steps)) / 2."""
    got = []
    for step, steps, warmup, peak in _STEPS:
        value = call(f, step, steps, warmup, peak)
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise CheckFailed(f"One finite number is expected for step {step}, got {value!r}. Did you forget `return`?")
        got.append(value)
    wanted = [p * _rising(s, w) * _falling(s / n) for s, n, w, p in _STEPS]
    if _same(got, wanted):
        return
    for rate, words in _RATES:
        if _same(got, [rate(*case) for case in _STEPS]):
            raise CheckFailed(words)
    for (step, steps, warmup, peak), a, b in zip(_STEPS, got, wanted, strict=True):
        if not math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-12):
            raise CheckFailed(
                f"step {step} of {steps}, warmup {warmup}, peak {peak}: expected {b:.6g}, got {a:.6g}. "
                "Two factors: min(1, (step + 1) / warmup), if there is a warm-up, and (1 + cos(pi step / steps)) / 2."
            )


def _same(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(math.isclose(x, y, rel_tol=1e-5, abs_tol=1e-12) for x, y in zip(a, b, strict=True))
