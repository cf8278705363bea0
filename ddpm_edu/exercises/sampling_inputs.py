"""Checks of notebook 05: what is done to x0 and eps before a step takes them. Limits, a look ahead, guidance.

The oracles are plain floats: the jump turned around and back for each pixel, and a straight line through two points.
"""

import math
from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.factors import Case, Input, Mistakes, examine, read, same
from ddpm_edu.exercises.frame import CheckFailed, call, check, tensor_like
from ddpm_edu.exercises.small_chain import AB, BETAS, T, chain

ROOT, REST = [sqrt(ab) for ab in AB], [sqrt(1 - ab) for ab in AB]
NOT_RANDOM = "Nothing is to be added: no noise, no constant."

# ---------------------------------------------------------------- x0 within its limits

Seen = tuple[float, float]  # x0 and eps of a pixel


def _x0(x_t: float, t: int, eps: float) -> float:
    return (x_t - REST[t] * eps) / ROOT[t]


def _eps(x_t: float, t: int, x0: float) -> float:
    return (x_t - ROOT[t] * x0) / REST[t]


def _cut(value: float) -> float:
    return sorted((-1.0, value, 1.0))[1]


def _positive(value: float) -> float:
    return sorted((0.0, value, 1.0))[1]


def _limited(x_t: float, t: int, eps: float, limit: Callable[[float], float] = _cut) -> Seen:
    """A pixel's x0, limited, and the eps that goes with it."""
    x0 = limit(_x0(x_t, t, eps))
    return x0, _eps(x_t, t, x0)


def _then(x0: float, x_t: float, t: int) -> Seen:
    """Another x0, limited and followed by its eps as it should be."""
    return _cut(x0), _eps(x_t, t, _cut(x0))


def _by(signal: Sequence[float], noise: Sequence[float], x_t: float, t: int, eps: float) -> Seen:
    """The right lines with other factors than the roots of alpha_bar_t and of 1 - alpha_bar_t."""
    x0 = _cut((x_t - noise[t] * eps) / signal[t])
    return x0, (x_t - signal[t] * x0) / noise[t]


SINGLE_ROOT, SINGLE_REST = [1.0, *(sqrt(1 - beta) for beta in BETAS)], [0.0, *(sqrt(beta) for beta in BETAS)]
NO_ROOT, NO_REST = AB, [1 - ab for ab in AB]
_SINGLE = "alpha_t stands where alpha_bar_t belongs: x_t is x_0 after t steps, not after one."
_NO_ROOTS = "roots are missing: sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t)."

# of x_t, t, eps, and of the right x0 and new eps
_WRONG_LIMITS: list[tuple[Callable[..., Seen], str]] = [
    (lambda x, t, e, x0, new: (x0, e), "eps is as it was, and x_t no longer the sum: find it anew from x_t and x0."),
    (lambda x, t, e, x0, new: (_x0(x, t, e), e), "x0 leaves [-1, 1]. x0.clamp(-1, 1) is a new tensor: keep it."),
    (lambda x, t, e, x0, new: (_x0(x, t, e), new), "eps goes with the clipped x0, but x0 comes back unclipped."),
    (lambda x, t, e, x0, new: (_x0(_cut(x), t, e), e), "x_t is clipped, not x0. x_t has noise, without limits."),
    (lambda x, t, e, x0, new: _limited(_cut(x), t, e), "x_t is clipped too. It has noise, without limits."),
    (lambda x, t, e, x0, new: (_x0(x, t, _cut(e)), _cut(e)), "eps is clipped, not x0. It is noise, without limits."),
    (lambda x, t, e, x0, new: _limited(x, t, _cut(e)), "eps is clipped on the way in. It is noise, without limits."),
    (lambda x, t, e, x0, new: (x0, _cut(new)), "The new eps is clipped as well. It is noise, without limits."),
    (lambda x, t, e, x0, new: (x0, _cut(e)), "eps is clipped. Find it anew from x_t and the clipped x0."),
    (lambda x, t, e, x0, new: _limited(x, t, e, math.tanh), "tanh bends what is within the limits too: use clamp."),
    (lambda x, t, e, x0, new: _limited(x, t, e, _positive), "Images lie in [-1, 1] here, not in [0, 1]."),
    (lambda x, t, e, x0, new: (new, x0), "Return x0 first, then eps."),
    (lambda x, t, e, x0, new: (x0, (x - x0) / REST[t]), "In eps: x0 stands in x_t times sqrt(alpha_bar_t)."),
    (lambda x, t, e, x0, new: (x0, new / REST[t]), "eps is divided by 1 - alpha_bar_t. Take its square root."),
    (lambda x, t, e, x0, new: (x0, new * REST[t]), "eps is still scaled: divide by sqrt(1 - alpha_bar_t)."),
    (lambda x, t, e, x0, new: (x0, _eps(x, t, -x0)), "In eps: the image is to be taken away from x_t, not added."),
    (lambda x, t, e, x0, new: _then(_x0(x, t, e) * ROOT[t], x, t), "x0 is still scaled: divide by sqrt(alpha_bar_t)."),
    (lambda x, t, e, x0, new: _then(_x0(x, t, e) / ROOT[t], x, t), "x0 is divided by alpha_bar_t. Take its root."),
    (lambda x, t, e, x0, new: _then(_x0(x, t, -e), x, t), "In x0: the noise is to be taken away from x_t, not added."),
    (lambda x, t, e, x0, new: _then(_x0(x, t, REST[t] * e), x, t), "In x0: eps stands times a root, sqrt(1 - ab_t)."),
    (lambda x, t, e, x0, new: _by(SINGLE_ROOT, SINGLE_REST, x, t, e), f"In both lines {_SINGLE}"),
    (lambda x, t, e, x0, new: _then(_by(SINGLE_ROOT, SINGLE_REST, x, t, e)[0], x, t), f"In x0 {_SINGLE}"),
    (lambda x, t, e, x0, new: (x0, (x - SINGLE_ROOT[t] * x0) / SINGLE_REST[t]), f"In eps {_SINGLE}"),
    (lambda x, t, e, x0, new: _by(NO_ROOT, NO_REST, x, t, e), f"In both lines {_NO_ROOTS}"),
    (lambda x, t, e, x0, new: _then(_by(NO_ROOT, NO_REST, x, t, e)[0], x, t), f"In x0 {_NO_ROOTS}"),
    (lambda x, t, e, x0, new: (x0, (x - NO_ROOT[t] * x0) / NO_REST[t]), f"In eps {_NO_ROOTS}"),
    (lambda x, t, e, x0, new: _limited(x, t, e, lambda v: min(v, 1.0)), "x0 has a lower limit too: clamp(-1, 1)."),
    (lambda x, t, e, x0, new: _limited(x, t, e, lambda v: max(v, -1.0)), "x0 has an upper limit too: clamp(-1, 1)."),
    (
        lambda x, t, e, x0, new: (x0, (x - REST[t] * x0) / ROOT[t]),
        "In eps: the roots are exchanged. x0 has sqrt(alpha_bar_t) in x_t, eps has the other one.",
    ),
    (lambda x, t, e, x0, new: (x0, x - x0), "In eps: x_t is not x0 + eps, each of them stands in it times a root."),
    (
        lambda x, t, e, x0, new: (x0, e + _x0(x, t, e) - x0),
        "eps moves by as much as x0 was cut, but the two are scaled differently in x_t. Solve x_t for eps.",
    ),
    (lambda x, t, e, x0, new: (x0, 2 * e - new), "eps moves the wrong way: what x0 has lost, eps has to carry."),
]
_PIXELS = [(x_t, eps) for x_t in (-2.5, -0.9, 0.1, 0.6, 1.7) for eps in (-2.2, -0.6, 0.0, 0.5, 1.4)]


@check("5.3 clip, and stay consistent")
def clip_x0(f: Callable[..., Any]) -> None:
    """f(s, x_t, t, eps) must be x0 limited to [-1, 1], and the eps with which x_t is still their sum."""
    s = chain()
    x_t, eps = (torch.tensor(column, dtype=torch.float64)[:, None] for column in zip(*_PIXELS, strict=True))
    got: list[Seen] = []
    for t in range(1, T + 1):
        result = call(f, s, x_t, t, eps)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise CheckFailed(f"Two tensors are expected, `return x0, eps`; got {type(result).__name__}.")
        x0, new = (tensor_like(x, (len(_PIXELS), 1), name)[:, 0] for x, name in zip(result, ("x0", "eps"), strict=True))
        got += zip(x0.tolist(), new.tolist(), strict=True)
    asked = [(x, t, e) for t in range(1, T + 1) for x, e in _PIXELS]
    if _alike(got, [_limited(*pixel) for pixel in asked]):
        return
    for rule, message in _WRONG_LIMITS:
        if _alike(got, [rule(*pixel, *_limited(*pixel)) for pixel in asked]):
            raise CheckFailed(message)
    _refuse_division(got, asked)
    for found, pixel in zip(got, asked, strict=True):
        want = _limited(*pixel)
        if not _alike([found], [want]):
            place = "x_t = {}, t = {}, eps = {}".format(*pixel)
            row = "x0 = {:.4f}, eps = {:.4f}".format
            raise CheckFailed(f"{place}: expected {row(*want)}, got {row(*found)}.")


def _refuse_division(got: Sequence[Seen], asked: Sequence[tuple[float, int, float]]) -> None:
    """Raises CheckFailed where all pixels of a time were divided by the same number, the largest of them or another."""
    first = [(found[0], _x0(*pixel)) for found, pixel in zip(got, asked, strict=True) if pixel[1] == 1]
    a, b = max(first, key=lambda pair: abs(pair[1]))
    if abs(a) <= 1 + 1e-6 and all(abs(found * b - raw * a) < 1e-5 for found, raw in first):
        raise CheckFailed(
            "x0 is divided until it fits, and so the pixels that were within the limits shrink too. Only what lies "
            "outside of [-1, 1] is to change: clamp."
        )


def _alike(got: Sequence[Seen], want: Sequence[Seen]) -> bool:
    return all(abs(g - w) < 1e-5 for a, b in zip(got, want, strict=True) for g, w in zip(a, b, strict=True))


# ---------------------------------------------------------------- a look ahead

_TRIPLES: list[Case] = [(r, t, s) for r in range(3, T + 1) for t in range(2, r) for s in range(1, t)]
_LAST: list[Case] = [(r, t, 0) for r in range(2, T + 1) for t in range(1, r)]


def _level(t: int) -> float:
    """Half of log SNR."""
    return math.log(ROOT[t] / REST[t])


def _on_the_line(r: int, t: int, s: int, *, before: float, now: float) -> float:
    """The value half a step beyond t, on the line through ``before`` at r and ``now`` at t."""
    slope = (now - before) / (_level(t) - _level(r))
    return now + slope * (_level(s) - _level(t)) / 2


def _q(r: int, t: int, s: int, *, level: Callable[[int], float] = _level) -> float:
    return (level(t) - level(r)) / (level(s) - level(t))


_LOG = "h is a difference of log SNR, s.log_snr; yours is one of {}."
_FACTORS_BEFORE: Mistakes = [
    (lambda *c: 0, "it is 0. x0_before has no effect. It tells where x0 is heading."),
    (lambda *c: -0.5 * _q(*c), "q is upside down. It is h_before / h (and 1 / 2 * q is q / 2: mind the brackets)."),
    (lambda *c: -1 / _q(*c), "the half is missing: 1 / (2 q). x0 is wanted half a step on."),
    (lambda *c: -_q(*c), "q is upside down, and the half is missing: 1 / (2 q) with q = h_before / h."),
    (lambda *c: 0.5 / _q(*c), "the sign: D lies beyond x0, on the far side of x0_before."),
    (lambda *c: 0.5 * _q(*c), "the sign: D lies beyond x0. And q is h_before / h."),
    (lambda *c: 0.5, "the average of both looks back. D lies beyond x0: (1 + 1/(2q)) x0 - 1/(2q) x0_before."),
    (lambda *c: -0.5, "q has no effect. Steps differ in length: 1 / (2 q) with q = h_before / h."),
    (lambda *c: -0.5 / _q(*c, level=float), _LOG.format("t")),
    (lambda *c: -0.5 / _q(*c, level=lambda t: AB[t]), _LOG.format("alpha_bar")),
    (lambda *c: -0.5 / _q(*c, level=lambda t: math.log(AB[t])), _LOG.format("log alpha_bar")),
    (lambda *c: -0.5 / _q(*c, level=lambda t: (ROOT[t] / REST[t]) ** 2), _LOG.format("SNR, without the logarithm")),
    (lambda *c: -0.5 / _q(*c, level=lambda t: REST[t] / ROOT[t]), _LOG.format("sigma")),
    (
        lambda *c: -0.5 / _q(*c, level=lambda t: ROOT[t] / REST[t]),
        _LOG.format("1 / sigma, the root of SNR"),
    ),
    (lambda *c: -0.5 / _q(*c, level=lambda t: math.log(REST[t])), _LOG.format("log(1 - alpha_bar)")),
    (lambda r, t, s: -0.5 * (_level(s) - _level(t)) / (_level(s) - _level(r)), "h_before goes from r to t, not to s_."),
]
_FACTORS_NOW: Mistakes = [
    (lambda *c: 0.5 / _q(*c), "the 1 is missing: 1 + 1 / (2 q)."),
    (lambda *c: 1, "it is 1. The line goes on by the difference of both: (1 + 1 / (2 q)) x0."),
    (lambda *c: 1 - 0.5 / _q(*c), "the sign: 1 + 1 / (2 q)."),
    (lambda *c: 1 / (1 + 2 * _q(*c)), "that is 1 / (1 + 2 q). The 1 stands before the fraction: 1 + 1 / (2 q)."),
]


@check("5.5 looking ahead")
def extrapolated_x0(f: Callable[..., Any]) -> None:
    """f(s, r, t, s_, x0_before, x0) must be (1 + 1 / 2q) x0 - (1 / 2q) x0_before, and x0 where s_ = 0."""
    table = chain()

    def run(inputs: Sequence[Tensor], case: Case) -> Any:
        return call(f, table, *case, *inputs)

    parts = [
        Input("x0_before", lambda *c: _on_the_line(*c, before=1, now=0), _FACTORS_BEFORE),
        Input("x0", lambda *c: _on_the_line(*c, before=0, now=1), _FACTORS_NOW),
    ]
    examine(run, parts, _TRIPLES, "r = {}, t = {}, s_ = {}", NOT_RANDOM)
    before, now = read(run, 2, _LAST, NOT_RANDOM)
    if not (same(before, lambda *c: 0, _LAST) and same(now, lambda *c: 1, _LAST)):
        raise CheckFailed(
            "Right, except in the last step: at s_ = 0 the log SNR is infinite, and there is no line to follow (q = 0, "
            "1 / q is infinite). Return x0 itself where s_ == 0."
        )


# ---------------------------------------------------------------- guidance

_WEIGHTS: list[Case] = [(w,) for w in (0.0, 0.5, 1.0, 3.0, 6.5)]
_OTHER = "the other convention, s = 1 + w: off at 1. Here w = 0 is off, so eps_c has 1 + w."
_NO_WEIGHT = "the mean of both has no weight at all. eps_c has 1 + w, eps_u has - w."
_FACTORS_OF_U: Mistakes = [
    (lambda w: 0, "it is 0. What both agree on must not grow: take w eps_u off."),
    (lambda w: w, "the sign: w eps_u is taken off. Guidance leads away from eps_u."),
    (lambda w: -1, "it is -1 at every w. It is - w: at w = 0 only eps_c counts."),
    (lambda w: 1, "it is 1 at every w. It is - w: at w = 0 only eps_c counts."),
    (lambda w: 1 - w, _OTHER),
    (lambda w: 0.5, _NO_WEIGHT),
    (lambda w: -w / (1 + 2 * w), "divided by 1 + 2 w. The weights 1 + w and - w add up to 1 as they are."),
]
_FACTORS_OF_C: Mistakes = [
    (lambda w: w, "that is the way from eps_u to eps_c alone, w times. Go on from eps_c: add it."),
    (lambda w: 1, "it is 1 at every w. eps_c has 1 + w."),
    (lambda w: 1 - w, "guidance leads away from the condition: 1 + w, and - w for eps_u."),
]


@check("5.7 guided noise")
def guided_eps(f: Callable[..., Any]) -> None:
    """f(eps_c, eps_u, w) must be (1 + w) eps_c - w eps_u."""

    def run(inputs: Sequence[Tensor], case: Case) -> Any:
        return call(f, inputs[1], inputs[0], *case)

    # eps_u first: where its factor is right, w as the factor of eps_c is no other convention
    parts = [Input("eps_u", lambda w: -w, _FACTORS_OF_U), Input("eps_c", lambda w: 1 + w, _FACTORS_OF_C)]
    examine(run, parts, _WEIGHTS, "w = {}", f"{NOT_RANDOM} (1 + w * eps_c adds 1: mind the brackets.)")
