"""What the checks of notebook 06 share: a result as a number, and mistakes known by the numbers that they give."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.frame import CheckFailed, call

Row = list[float]
Matrix = list[Row]


def ask(f: Callable[..., Any], *args: Any, shapes: str) -> Any:
    """The learner's f(*args); where shapes do not fit, ``shapes`` says how those of this exercise do."""
    try:
        return call(f, *args)
    except CheckFailed as refusal:
        if "must match" not in str(refusal.__cause__):  # torch's words for shapes that do not broadcast
            raise
        raise CheckFailed(f"Your function stopped: {refusal.__cause__}. {shapes}") from refusal


def number(result: Any, what: str) -> float:
    """``result`` as a float; a tensor of one number is one, too."""
    if result is None:
        raise CheckFailed(f"Your function returned None where {what} was expected. Did you forget `return`?")
    if isinstance(result, Tensor) and result.numel() == 1:
        result = result.item()
    if isinstance(result, Tensor):
        raise CheckFailed(f"{what}: expected one number, got a tensor of shape {tuple(result.shape)}. Sum, or average?")
    if isinstance(result, bool) or not isinstance(result, int | float):
        raise CheckFailed(f"{what}: expected a number, got {type(result).__name__}.")
    if not math.isfinite(result):
        raise CheckFailed(f"{what} is {result}. A division by 0, or the root of a negative number?")
    return float(result)


def alike(got: Sequence[float], want: Sequence[float]) -> bool:
    """Whether all numbers agree to five digits."""
    return all(math.isclose(g, w, rel_tol=1e-5, abs_tol=1e-7) for g, w in zip(got, want, strict=True))


def judge(
    got: Sequence[float], want: Sequence[float], mistakes: Sequence[tuple[Sequence[float], str]], what: str
) -> None:
    """Raises CheckFailed where ``got`` is not ``want``, in the words of the mistake that gives it, if one does."""
    if alike(got, want):
        return
    for wrong, message in mistakes:
        if alike(got, wrong):
            raise CheckFailed(message)
    for number, (g, w) in enumerate(zip(got, want, strict=True), 1):
        if not alike([g], [w]):
            raise CheckFailed(f"{what}, case {number}: expected {w:.4f}, got {g:.4f}.")


def matrix(rows: int, columns: int, seed: int) -> Tensor:
    """Random numbers in 0..1, float64."""
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean_and_products(rows: Sequence[Row], divisor: float) -> tuple[Row, list[Row]]:
    """Mean, and the sum of products of deviations over ``divisor``."""
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    away = [[value - m for value, m in zip(row, mean, strict=True)] for row in rows]
    d = range(len(mean))
    return mean, [[sum(row[i] * row[j] for row in away) / divisor for j in d] for i in d]


# ---------------------------------------------------------------- 8 bits

LEVELS = [2 * k / 255 - 1 for k in range(256)]


def nearest_level(v: float) -> float:
    """Which of the 256 levels in -1..1 is nearest, as a float."""
    return float(min(range(256), key=lambda k: abs(LEVELS[k] - v)))


def in_a_byte(v: float) -> float:
    """``v`` limited to 0..255."""
    return min(max(v, 0.0), 255.0)
