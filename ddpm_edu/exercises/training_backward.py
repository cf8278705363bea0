"""Checks of notebook 07, the backward pass and the step: a batch in parts, and the order of things in fp16.

The oracles are plain floats worked out by hand, on two weights; what each mistake gives is worked out as well.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ddpm_edu.exercises.frame import CheckFailed, call, check
from ddpm_edu.exercises.training_parts import LR, ROWS, STALE, Counting, Watched, clipped, gradients, near, times

# ---------------------------------------------------------------- parts of a batch

_CUTS, _START = ((7,), (4, 2, 1), (3, 4)), (0.2, -0.1)


@check("7.5 a batch in parts")
def accumulated_step(f: Callable[..., Any]) -> None:
    """f(loss_of, parts, optimiser) must make one step along the gradient of the mean loss over all samples.

    ``loss_of(part)`` gives one loss a sample. A part's backward pass must come before the next part's forward pass.
    """
    for cuts in _CUTS:
        parts = torch.tensor(ROWS, dtype=torch.float64).split(list(cuts))
        w = nn.Parameter(torch.tensor(_START, dtype=torch.float64))
        w.grad = torch.full((2,), STALE, dtype=torch.float64)
        optimiser, loss_of = Counting([w], lr=LR), Watched(lambda part, w=w: part @ w)  # type: ignore[misc]
        call(f, loss_of, list(parts), optimiser)
        loss_of.judge(cuts)
        _judge_steps(optimiser.steps)
        got = [(a - b) / LR for a, b in zip(_START, w.tolist(), strict=True)]
        (want, _), *wrong = gradients([part.tolist() for part in parts], _START)
        if near(got, want):
            continue
        for values, words in wrong:
            if words and near(got, values):
                raise CheckFailed(words)
        raise CheckFailed(
            f"{len(ROWS)} samples in parts of {list(cuts)}: the step went along {got}, and the gradient of the mean "
            f"over all samples is {want}."
        )


def _judge_steps(steps: int) -> None:
    if steps == 0:
        raise CheckFailed("The optimiser made no step: optimiser.step() after the last part.")
    if steps > 1:
        raise CheckFailed(
            f"The optimiser made {steps} steps: one, after the last part. In the loop it is small batches."
        )


# ---------------------------------------------------------------- the order in fp16

_SCALE, _LIMIT = 1024.0, 1.0
_GRADIENTS = ((0.03, 0.04, 0.12), (6.0, 8.0, 24.0))  # norms 0.13 and 26; of two tensors, of two numbers and of one
_AFTER: list[tuple[Callable[[Sequence[float]], list[float]], str]] = [
    (
        lambda g: times(1 / _SCALE, clipped(times(_SCALE, g), _LIMIT)),
        "Clipped while it was scaled, 1024 times too large (or to the limit / scale). unscale_ first, then clip.",
    ),
    (lambda g: list(g), "The gradient was not clipped, or only after the step."),
    (
        lambda g: clipped(g[:2], _LIMIT) + clipped(g[2:], _LIMIT),
        "Each tensor was clipped by itself, which turns the gradient. Give clip_grad_norm_ all parameters at once.",
    ),
    (
        lambda g: [min(x, _LIMIT) for x in g],
        "Each number was clipped by itself (clip_grad_value_), which turns the gradient: clip_grad_norm_ shortens it.",
    ),
    (
        lambda g: times(1 / _SCALE, g),
        "The step is 1024 times too small: scaler.scale(loss) is what goes backwards.",
    ),
    (lambda g: times(_SCALE, g), "The scaled gradient went into the step: unscale_, and step by the scaler."),
    (lambda g: clipped(times(_SCALE, g), _LIMIT), "Every gradient has norm 1: it was clipped while scaled."),
    (lambda g: times(0, g), "The weights did not move: scaler.step(optimiser) is missing."),
    (lambda g: clipped([x + STALE / _SCALE for x in g], _LIMIT), "The old gradients are still in it: zero_grad first."),
]


@check("7.6 scale, unscale, clip, step")
def scaled_step(f: Callable[..., Any]) -> None:
    """f(loss, parameters, optimiser, scaler, limit) must be a step along the clipped gradient, or none on overflow."""
    for g in _GRADIENTS:
        (moved, scale), want = _after(f, g), clipped(g, _LIMIT)
        if not near(moved, want):
            for mistake, words in _AFTER:
                if near(moved, mistake(g)) and not near(mistake(g), want):
                    raise CheckFailed(words)
            raise CheckFailed(f"gradient {g}, limit {_LIMIT}: the step should be {want}, got {moved}.")
        if scale != _SCALE:
            raise CheckFailed(f"The scale went from {_SCALE} to {scale}, and nothing had overflowed.")
    moved, scale = _after(f, (math.inf, 1.0, 1.0))
    if any(moved):
        raise CheckFailed("A gradient that had overflowed went into the weights. The scaler must make the step.")
    if scale == _SCALE:
        raise CheckFailed("After an overflow the scale is as it was: scaler.update() halves it.")


def _after(f: Callable[..., Any], g: Sequence[float]) -> tuple[list[float], float]:
    """How far the weights moved, and the scale, after a step with this gradient."""
    weights = [nn.Parameter(torch.ones(n, dtype=torch.float64)) for n in (2, 1)]
    for w in weights:
        w.grad = torch.full_like(w, STALE)
    optimiser, scaler = torch.optim.SGD(weights, lr=1.0), torch.amp.GradScaler("cpu", init_scale=_SCALE)
    loss = (torch.cat(list(weights)) * torch.tensor(g, dtype=torch.float64)).sum()
    call(f, loss, weights, optimiser, scaler, _LIMIT)
    return [1 - x for w in weights for x in w.tolist()], scaler.get_scale()
