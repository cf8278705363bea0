"""What the checks of a step share: seven samples in uneven parts, gradients by hand, and a record of what was computed.

The oracles are plain floats. A loss is (row . w - 1)^2, so the gradient of a sum of them is worked out in two lines.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.frame import CheckFailed

ROWS = [[1.0, 2.0], [-1.0, 0.5], [0.5, -1.5], [2.0, 1.0], [-0.5, -0.5], [1.5, 0.0], [3.0, -2.0]]
STALE, LR = 5.0, 0.1  # what an earlier step has left in every gradient; the rate of learning
Numbers = list[float]


class Counting(torch.optim.SGD):
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


class Watched:
    """``loss_of`` for a check, with a record of what it was asked."""

    def __init__(self, predict: Callable[[Tensor], Tensor]) -> None:
        self.predict, self.seen, self.sizes = predict, list[str](), list[int]()

    def __call__(self, part: Tensor) -> Tensor:
        """(predicted - 1)^2 of each sample of a part (n,)."""
        self.sizes.append(len(part))
        return (_Passing.apply(self.predict(part), self.seen) - 1).square()

    def judge(self, cuts: Sequence[int]) -> None:
        """Raises CheckFailed unless part after part went forwards and backwards. ``cuts``: how large the parts are."""
        if "backward" not in self.seen:
            raise CheckFailed("No backward pass was made: (...).backward() for each part.")
        if max(self.sizes) > max(cuts):
            raise CheckFailed(
                f"loss_of was given {max(self.sizes)} samples at once, and the largest part has {max(cuts)}: the parts "
                "were put together again, and that is the memory which one does not have. One part at a time."
            )
        if len(cuts) > 1 and self.seen.index("backward") > 1:
            raise CheckFailed(
                "All parts went forwards before the first went backwards, so the memory of all of them was held at "
                "once. Call backward in the loop, part by part: gradients add up by themselves."
            )


def gradient(rows: Sequence[Sequence[float]], w: Sequence[float]) -> Numbers:
    """Of the sum of (row . w - 1)^2 over rows, at w."""
    errors = [sum(x * y for x, y in zip(row, w, strict=True)) - 1 for row in rows]
    return [sum(2 * e * row[k] for e, row in zip(errors, rows, strict=True)) for k in range(len(w))]


def gradients(parts: Sequence[Sequence[Sequence[float]]], w: Sequence[float]) -> Iterator[tuple[Numbers, str]]:
    """That of the mean over the samples of all parts; then what mistakes make of it, and what to say of them."""
    n, k, each = sum(map(len, parts)), len(parts), [gradient(part, w) for part in parts]
    whole, means = added(each), added([times(1 / len(part), g) for g, part in zip(each, parts, strict=True)])
    last = each[-1]
    cases = [
        (whole, n, ""),
        (means, k, "It is the mean of the parts' means: a small part counts as much as a large one. Divide by n, all."),
        (means, 1, "The parts' means are added up: the gradient is as many times too large. Divide sums by n, all."),
        (whole, 1, "That is the gradient of the sum over all samples. Divide by how many there are."),
        (whole, k, "The sums are divided by the number of parts. Divide by the number of samples."),
        (whole, len(parts[0]), "The sums are divided by the size of the first part. Divide by that of all parts."),
        (
            whole,
            len(ROWS[0]) * n,
            "Every number of a sample was counted (numel?). Divide by how many samples there are.",
        ),
        (last, n, "Only the last part counts: zero_grad in the loop throws away what was gathered before."),
        (last, len(parts[-1]), "Only the last part counts: the backward pass belongs into the loop."),
        (each[0], n, "Only the first part counts."),
    ]
    for (sums, divisor, words), stale in product(cases, (0.0, STALE)):
        late = "The old gradients are still in it: zero_grad before the first part." if stale else ""
        yield [s / divisor + stale for s in sums], " ".join(filter(None, (words, late)))


def added(vectors: Sequence[Sequence[float]]) -> Numbers:
    """Their sum."""
    return [sum(values) for values in zip(*vectors, strict=True)]


def times(factor: float, vector: Sequence[float]) -> Numbers:
    """factor * vector."""
    return [factor * x for x in vector]


def clipped(vector: Sequence[float], limit: float) -> Numbers:
    """Shortened to the norm ``limit`` where it is longer."""
    return times(min(1.0, limit / math.hypot(*vector)), vector)


def near(a: Sequence[float], b: Sequence[float]) -> bool:
    """Equal to about float32's precision, number by number."""
    return all(math.isclose(x, y, rel_tol=1e-5, abs_tol=1e-6) for x, y in zip(a, b, strict=True))
