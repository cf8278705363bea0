"""Checks of notebook 07, the backward pass and the step: a batch in parts, and the order of things in fp16.

The oracles are plain floats worked out by hand, on two weights; what each mistake gives is worked out as well.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_edu.exercises.frame import CheckFailed, call, check

# ---------------------------------------------------------------- parts of a batch

_ROWS = [[1.0, 2.0], [-1.0, 0.5], [0.5, -1.5], [2.0, 1.0], [-0.5, -0.5], [1.5, 0.0], [3.0, -2.0]]
_CUTS, _START, _STALE, _LR = ((7,), (3, 3, 1), (4, 3)), (0.2, -0.1), 5.0, 0.1


class _Counting(torch.optim.SGD):
    """SGD that counts its steps."""

    steps = 0

    def step(self, closure: Any = None) -> Any:
        """One more."""
        self.steps += 1
        return super().step(closure)


class _Passing(torch.autograd.Function):
    """Does nothing, and writes down when it is passed forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, seen: list[str]) -> Tensor:
        ctx.seen = seen
        seen.append("forward")
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ctx.seen.append("backward")
        return gradients[0], None


def _gradient(rows: Sequence[Sequence[float]]) -> list[float]:
    """Of the sum of (row . w - 1)^2 over rows, at w = _START."""
    errors = [sum(x * w for x, w in zip(row, _START, strict=True)) - 1 for row in rows]
    return [sum(2 * e * row[k] for e, row in zip(errors, rows, strict=True)) for k in range(2)]


def _wrong_gradients(parts: Sequence[Sequence[Sequence[float]]]) -> Iterator[tuple[list[float], str]]:
    """What mistakes make of the gradient, after the right one."""
    n, k, each = len(_ROWS), len(parts), [_gradient(part) for part in parts]
    whole = [sum(g) for g in zip(*each, strict=True)]
    means = [sum(g[i] / len(part) for g, part in zip(each, parts, strict=True)) for i in range(2)]
    last = each[-1]
    cases = [
        (whole, n, ""),
        (means, k, "It is the mean of the parts' means: a small part counts as much as a large one. Divide by n, all."),
        (means, 1, "The parts' means are added up: the gradient is as many times too large. Divide sums by n, all."),
        (whole, 1, "That is the gradient of the sum over all samples. Divide by how many there are."),
        (whole, k, "The sums are divided by the number of parts. Divide by the number of samples."),
        (last, n, "Only the last part counts: zero_grad in the loop throws away what was gathered before."),
        (last, len(parts[-1]), "Only the last part counts: the backward pass belongs into the loop."),
        (each[0], n, "Only the first part counts."),
    ]
    for (sums, divisor, words), stale in product(cases, (0.0, _STALE)):
        late = "The old gradients are still in it: zero_grad before the first part." if stale else ""
        yield [s / divisor + stale for s in sums], " ".join(filter(None, (words, late)))


@check("7.5 a batch in parts")
def accumulated_step(f: Callable[..., Any]) -> None:
    """f(loss_of, parts, optimiser) must make one step along the gradient of the mean loss over all samples.

    ``loss_of(part)`` gives one loss a sample. A part's backward pass must come before the next part's forward pass.
    """
    for cuts in _CUTS:
        parts = torch.tensor(_ROWS, dtype=torch.float64).split(list(cuts))
        w = nn.Parameter(torch.tensor(_START, dtype=torch.float64))
        w.grad = torch.full((2,), _STALE, dtype=torch.float64)
        optimiser, seen = _Counting([w], lr=_LR), list[str]()

        def loss_of(part: Tensor, w: Tensor = w, seen: list[str] = seen) -> Tensor:
            return (_Passing.apply(part @ w, seen) - 1).square()

        call(f, loss_of, list(parts), optimiser)
        _judge_steps(optimiser.steps, seen, len(cuts))
        got = [(a - b) / _LR for a, b in zip(_START, w.tolist(), strict=True)]
        (want, _), *wrong = _wrong_gradients([part.tolist() for part in parts])
        if _near(got, want):
            continue
        for values, words in wrong:
            if words and _near(got, values):
                raise CheckFailed(words)
        raise CheckFailed(
            f"{len(_ROWS)} samples in parts of {list(cuts)}: the step went along {got}, and the gradient of the mean "
            f"over all samples is {want}."
        )


def _judge_steps(steps: int, seen: list[str], parts: int) -> None:
    if "backward" not in seen:
        raise CheckFailed("No backward pass was made: (...).backward() for each part.")
    if steps == 0:
        raise CheckFailed("The optimiser made no step: optimiser.step() after the last part.")
    if steps > 1:
        raise CheckFailed(
            f"The optimiser made {steps} steps: one, after the last part. In the loop it is small batches."
        )
    if parts > 1 and "backward" in seen and seen.index("backward") > 1:
        raise CheckFailed(
            "All parts went forwards before the first went backwards, so the memory of all of them was held at once. "
            "Call backward in the loop, part by part: gradients add up by themselves."
        )


def _near(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(math.isclose(x, y, rel_tol=1e-5, abs_tol=1e-7) for x, y in zip(a, b, strict=True))


# ---------------------------------------------------------------- the order in fp16

_SCALE, _LIMIT = 1024.0, 1.0
_GRADIENTS = ((0.3, 0.4), (6.0, 8.0))  # norms 0.5 and 10


def _clipped(g: Sequence[float]) -> list[float]:
    norm = math.hypot(*g)
    return [x * min(1, _LIMIT / norm) for x in g]


_AFTER: list[tuple[Callable[[Sequence[float]], list[float]], str]] = [
    (
        lambda g: [x / _SCALE for x in _clipped([_SCALE * x for x in g])],
        "Clipped while it was scaled, 1024 times too large: each step is clipped, to a thousandth. unscale_ first.",
    ),
    (lambda g: list(g), "The gradient was not clipped, or only after the step."),
    (
        lambda g: [x / _SCALE for x in g],
        "The step is 1024 times too small: scaler.scale(loss) is what goes backwards.",
    ),
    (lambda g: [_SCALE * x for x in g], "The scaled gradient went into the step: unscale_, and step by the scaler."),
    (lambda g: _clipped([_SCALE * x for x in g]), "Every gradient has norm 1: it was clipped while scaled."),
    (lambda g: [0.0 for _ in g], "The weights did not move: scaler.step(optimiser) is missing."),
    (lambda g: _clipped([x + _STALE / _SCALE for x in g]), "The old gradients are still in it: zero_grad first."),
]


@check("7.6 scale, unscale, clip, step")
def scaled_step(f: Callable[..., Any]) -> None:
    """f(loss, parameters, optimiser, scaler, limit) must be a step along the clipped gradient, or none on overflow."""
    for g in _GRADIENTS:
        moved, scale = _after(f, g)
        if not _near(moved, _clipped(g)):
            for mistake, words in _AFTER:
                if _near(moved, mistake(g)) and not _near(mistake(g), _clipped(g)):
                    raise CheckFailed(words)
            raise CheckFailed(f"gradient {g}, limit {_LIMIT}: the step should be {_clipped(g)}, got {moved}.")
        if scale != _SCALE:
            raise CheckFailed(f"The scale went from {_SCALE} to {scale}, and nothing had overflowed.")
    moved, scale = _after(f, (math.inf, 1.0))
    if any(moved):
        raise CheckFailed("A gradient that had overflowed went into the weights. The scaler must make the step.")
    if scale == _SCALE:
        raise CheckFailed("After an overflow the scale is as it was: scaler.update() halves it.")


def _after(f: Callable[..., Any], g: Sequence[float]) -> tuple[list[float], float]:
    """How far the weights moved, and the scale, after a step with this gradient."""
    w = nn.Parameter(torch.ones(2, dtype=torch.float64))
    w.grad = torch.full((2,), _STALE, dtype=torch.float64)
    optimiser, scaler = torch.optim.SGD([w], lr=1.0), torch.amp.GradScaler("cpu", init_scale=_SCALE)
    call(f, (w * torch.tensor(g, dtype=torch.float64)).sum(), [w], optimiser, scaler, _LIMIT)
    return [1 - x for x in w.tolist()], scaler.get_scale()
