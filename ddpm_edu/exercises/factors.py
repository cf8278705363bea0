"""Reading off what a function does to its inputs, where all it may do is add them up with fixed factors.

A 1 in the place of one input and 0 in the others: the result is that input's factor. It is read off for every case (the
times, and whatever else decides) and held to a rule in plain floats. A row of factors that breaks the rule is looked up
among the rows that common mistakes give.
"""

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm_edu.exercises.frame import CheckFailed, tensor_like
from ddpm_edu.exercises.small_chain import T

Case = tuple[float, ...]
Run = Callable[[Sequence[Tensor], Any], Any]  # run(inputs, case): the learner's function on these inputs
Rule = Callable[..., float]  # rule(*case): a factor; an error in it, or NaN, means that it may be anything
Mistakes = Sequence[tuple[Rule, str]]

PAIRS: list[Case] = [(t, s) for t in range(1, T + 1) for s in range(t)]  # all s < t: steps and jumps
POINTS, IMAGES = (2, 3), (4, 1, 5, 5)


class Input(NamedTuple):
    """An input's name, its factor, and the factors that mistakes give, each with what to say about it."""

    name: str
    right: Rule
    mistakes: Mistakes


def examine(run: Run, inputs: Sequence[Input], cases: Sequence[Case], at: str, constant: str) -> None:
    """Raises CheckFailed unless each input has its right factor at each case; they are judged in the order given.

    ``at``: a case in words, with a {} for each of its numbers. ``constant``: what to say of noise of one's own.
    """
    rows = read(run, len(inputs), cases, constant)
    finite = not any(math.isnan(value) for value in rows[0])
    for (a, of_a), (b, of_b) in combinations(zip(inputs, rows, strict=True), 2):
        if finite and same(of_a, b.right, cases) and same(of_b, a.right, cases):
            raise CheckFailed(f"{a.name} and {b.name} have each other's factors: swap them.")
    for one, got in zip(inputs, rows, strict=True):
        _judge(one, got, cases, at)
    for value, case in zip(rows[0], cases, strict=True):
        if math.isnan(value):
            raise CheckFailed(
                f"At {at.format(*case)} the result is NaN or infinite. alpha_bar falls with t: is a ratio upside down, "
                "and a root taken of a negative number? Or is it a division by 1 - alpha_bar_0 = 0?"
            )
    _try_images(run, inputs, cases)


def read(run: Run, inputs: int, cases: Sequence[Case], constant: str) -> list[list[float]]:
    """The factor of each input at each case; NaN for all of them where the result is not finite.

    Raises CheckFailed for a result that has another shape, differs between equal pixels, is not 0 where all inputs are,
    or does not grow with them.
    """
    return [list(row) for row in zip(*(_factors(run, inputs, case, constant) for case in cases), strict=True)]


def _factors(run: Run, inputs: int, case: Case, constant: str) -> list[float]:
    def value(*sizes: float) -> float:
        result = run([torch.full(POINTS, size, dtype=torch.float64) for size in sizes], case)
        finite = not isinstance(result, Tensor) or bool(result.isfinite().all())
        got = tensor_like(result if finite else result.nan_to_num(), POINTS, "the result")
        if not finite:
            return math.nan
        if (got - got[0, 0]).abs().max() > 1e-9:
            raise CheckFailed(f"Equal pixels came out different. {constant}")
        return got[0, 0].item()

    nothing = value(*[0.0] * inputs)
    if abs(nothing) > 1e-9:
        raise CheckFailed(f"From zeros alone came something else than 0. {constant}")
    factors = [value(*[float(i == j) for j in range(inputs)]) for i in range(inputs)]
    if any(math.isnan(factor) for factor in (nothing, *factors)):
        return [math.nan] * inputs
    sizes = [3.0 * (-1) ** i for i in range(inputs)]
    if abs(value(*sizes) - sum(f * size for f, size in zip(factors, sizes, strict=True))) > 1e-6:
        raise CheckFailed("The result is not a sum of the inputs with fixed factors. Is something clamped?")
    return factors


def same(got: Sequence[float], rule: Rule, cases: Sequence[Case]) -> bool:
    """Whether ``got`` is the rule's row, wherever both say anything."""
    pairs = [(g, w) for g, w in zip(got, _row(rule, cases), strict=True) if not math.isnan(g + w)]
    return bool(pairs) and all(_near(g, w) for g, w in pairs)


def _near(got: float, want: float) -> bool:
    return math.isclose(got, want, rel_tol=1e-5, abs_tol=1e-6)


def _row(rule: Rule, cases: Sequence[Case]) -> list[float]:
    """The rule at each case, NaN where it stops with an error (0 as a divisor, the root of a negative number)."""
    values = []
    for case in cases:
        try:
            values.append(rule(*case))
        except (ValueError, ZeroDivisionError):
            values.append(math.nan)
    return values


def _judge(one: Input, got: Sequence[float], cases: Sequence[Case], at: str) -> None:
    """Raises CheckFailed where ``got`` is wrong: with the words for the mistake that gives it, or with a case."""
    if same(got, one.right, cases):
        return
    for rule, message in one.mistakes:
        if same(got, rule, cases):
            raise CheckFailed(f"The factor of {one.name}: {message}")
    for value, want, case in zip(got, _row(one.right, cases), cases, strict=True):
        if not (math.isnan(value) or _near(value, want)):
            raise CheckFailed(f"The factor of {one.name} at {at.format(*case)}: expected {want:.4f}, got {value:.4f}.")


def _try_images(run: Run, inputs: Sequence[Input], cases: Sequence[Case]) -> None:
    """The same on float32 images, of which no pixel is like another."""
    images = torch.randn(len(inputs), *IMAGES, generator=torch.Generator().manual_seed(0))
    for case in cases:
        got = tensor_like(run(list(images), case), IMAGES, f"the result for images of shape {IMAGES}")
        want = sum(one.right(*case) * image.double() for one, image in zip(inputs, images, strict=True))
        if (got - want).abs().max() > 1e-4:
            raise CheckFailed("Right for single numbers, not for images: each pixel of each sample has these factors.")
