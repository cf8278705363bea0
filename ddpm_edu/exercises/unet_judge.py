"""What the checks of notebook 04 share: mistakes and pairs of them, results as tensors, errors and their causes."""

import itertools
import numbers
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.frame import CheckFailed, call, tensor_like

Wrong = Iterable[tuple[Tensor, str]]  # what a mistake gives (NaN: may be anything), and what to say about it
Kind = Sequence[tuple[Any, str]]  # ways to do one thing, the right one first and with no words
Causes = Sequence[tuple[str, str]]  # words of an error, and what is usually behind it in this lesson

AXES_OF_A_CHANNEL = (
    "must match",
    "(N, C) meets (N, C, H, W) from the right, where height and width are: two axes are missing, [:, :, None, None].",
)
_ANYWHERE: Causes = [
    ("name 'math'", "This page does not import math: write `import math` above, or use torch's functions."),
    ("name 'np'", "torch has the same functions: torch.sin, torch.exp, torch.arange."),
    ("must be Tensor, not", "torch's functions take tensors. For a plain number: x ** 0.5, or math.log and the like."),
    ("only one element tensors", "The functions of math take one number. torch.sin, torch.exp and so on take tensors."),
    ("same dtype", "Whole numbers met floats: t is int64, and @ converts nothing. t.float() first."),
    *[(f"name '{size}' is not", "A size is read off a shape: n, c = w.shape.") for size in "NCHWXMde"],
]


_HOW_MANY = ("", "", "Two things.", "Three things.")


def ways(*kinds: Kind, most: int = 2) -> Iterator[tuple[list[Any], str]]:
    """Every choice of one way of each kind with up to ``most`` mistakes, fewest first, and the words about them.

    The first that comes is right and has no words. People make two mistakes at once; told of both, they mend both.
    """
    chosen = [([way for way, _ in choice], [w for _, w in choice if w]) for choice in itertools.product(*kinds)]
    for choice, words in sorted(chosen, key=lambda found: len(found[1])):
        if len(words) <= most:
            yield choice, " ".join([_HOW_MANY[len(words)], *words]).strip()


def asked(f: Callable[..., Any], *args: Any, causes: Causes = ()) -> Any:
    """f(*args); where it stops with an error, what usually stops it in this lesson is added."""
    try:
        return call(f, *args)
    except CheckFailed as failed:
        if failed.__cause__ is None:
            raise
        why = [cause for words, cause in (*causes, *_ANYWHERE) if words in str(failed.__cause__)]
        raise CheckFailed(" ".join([str(failed), *why[:1]])) from failed.__cause__


def as_tensor(result: Any, shape: tuple[int, ...], what: str, if_nan: str = "") -> Tensor:
    """``result`` as float64; refused where its shape is another or it has NaN, without the hints of other pages."""
    if isinstance(result, Tensor) and tuple(result.shape) != shape:
        raise CheckFailed(f"{what}: expected shape {shape}, got {tuple(result.shape)}.")
    if isinstance(result, Tensor) and not result.isfinite().all():
        raise CheckFailed(f"{what}: {int((~result.isfinite()).sum())} values are NaN or infinite.{if_nan}")
    return tensor_like(result, shape, what)


def whole_numbers(f: Callable[..., Any], cases: Sequence[tuple[Any, ...]], causes: Causes = ()) -> Tensor:
    """f of each case as float64; refused where it is no whole number, of whatever type."""
    found = []
    for case in cases:
        result = asked(f, *case, causes=causes)
        if result is None:
            raise CheckFailed("Your function returned None where a number was expected. Did you forget `return`?")
        number = result.item() if isinstance(result, Tensor) and result.numel() == 1 else result
        if not isinstance(number, numbers.Real) or not float(number).is_integer():
            raise CheckFailed(f"f({', '.join(map(str, case))}): expected a whole number, got {number}.")
        found.append(float(number))
    return torch.tensor(found, dtype=torch.float64)


def close(got: Tensor, want: Tensor, tolerance: float = 1e-4) -> bool:
    """Whether all numbers agree, but for those of ``want`` that are NaN."""
    return bool((((got - want).abs() < tolerance) | want.isnan()).all())


def judge(got: Tensor, want: Tensor, wrong: Wrong, where: Callable[..., str], tolerance: float = 1e-4) -> None:
    """Raises CheckFailed unless got is want: with the message of the mistake that gives got, or with a place."""
    if close(got, want, tolerance):
        return
    for values, message in wrong:
        if message and close(got, values, tolerance):
            raise CheckFailed(message)
    place = tuple(((got - want).abs() >= tolerance).nonzero()[0].tolist())
    expected, came = (f"{x[place].item():,.4f}".rstrip("0").rstrip(".") for x in (want, got))
    raise CheckFailed(f"{where(*place)}: expected {expected}, got {came}.")
