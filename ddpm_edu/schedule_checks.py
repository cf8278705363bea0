"""What a schedule refuses, in words: one place for the messages, so that the schedules themselves stay short."""

import math
from collections.abc import Sequence
from numbers import Integral, Real

import torch
from torch import Tensor

from ddpm_edu.errors import ScheduleError


def check_T(T: int) -> int:
    """T as an int. Raises ScheduleError unless it is an integer >= 1."""
    if isinstance(T, bool) or not isinstance(T, Integral):
        raise ScheduleError(
            f"T must be an integer >= 1, got {T!r} of type {type(T).__name__}. Usual cause: T read from a file or "
            "computed "
            "by division. Fix: int(T)."
        )
    if T < 1:
        raise ScheduleError(
            f"T must be an integer >= 1, got {T}. It counts the steps of the chain. Fix: for example T = 1000."
        )
    return int(T)


def check_ends(start: float, end: float) -> tuple[float, float]:
    """Both ends of a beta range as floats. Raises ScheduleError unless 0 < start <= end <= 1."""
    for name, value in (("beta_start", start), ("beta_end", end)):
        if not is_real(value) or not math.isfinite(value):
            raise ScheduleError(f"{name} must be a finite number, got {value!r}. Fix: for example 1e-4 and 0.02.")
        if not 0 < value <= 1:
            raise ScheduleError(
                f"{name} must lie in (0, 1], got {value:g}: beta is the variance of one step's noise, out of 1. "
                "Usual cause: a percentage, or sigma in place of beta. Fix: for example 1e-4 and 0.02."
            )
    if start > end:
        raise ScheduleError(
            f"beta_start = {start:g} is larger than beta_end = {end:g}: noise would come first and fade out. "
            "Usual cause: the two swapped. Fix: swap them, or pass falling values to from_betas if they are meant."
        )
    return float(start), float(end)


def check_betas(betas: Tensor, name: str) -> None:
    """Raises ScheduleError, with the index, unless every beta (T,) is in (0, 1); the last may be 1."""
    allowed = (betas > 0) & (betas < 1)
    allowed[-1] = (betas[-1] > 0) & (betas[-1] <= 1)  # beta_T = 1: all signal is gone, on purpose
    if allowed.all():
        return
    t = int(torch.nonzero(~allowed)[0]) + 1
    raise ScheduleError(
        f"{name}: every beta must lie in (0, 1) (the last may be 1), but beta[{t}] = {betas[t - 1].item():.6g}. "
        "Usual cause: betas scaled for another T, or alphas passed as betas. Fix: more steps, or smaller betas."
    )


def as_table(values: Tensor | Sequence[float], name: str) -> Tensor:
    """A copy of ``values`` as float64 (n,), n >= 1, all finite. Raises ScheduleError."""
    try:
        table = torch.as_tensor(values, dtype=torch.float64).detach().cpu().clone()
    except (TypeError, ValueError, RuntimeError) as cause:
        raise ScheduleError(
            f"{name}: expected a sequence of numbers, got {type(values).__name__} ({cause})."
        ) from cause
    if table.ndim != 1 or len(table) == 0:
        raise ScheduleError(
            f"{name}: expected a sequence of at least one number, got shape {tuple(table.shape)}. Fix: pass T values, "
            "one a step."
        )
    if not table.isfinite().all():
        bad = int(torch.nonzero(~table.isfinite())[0])
        raise ScheduleError(
            f"{name}: value number {bad + 1} is {table[bad].item()}; all must be finite. Usual cause: 0/0 or log(0) "
            "upstream."
        )
    return table


def is_real(value: object) -> bool:
    """Whether ``value`` is a number, and not a truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def short(values: list[int]) -> str:
    """The beginning of a list, for a message."""
    text = ", ".join(map(repr, values[:4]))
    return f"[{text}, ... {len(values)} values]" if len(values) > 4 else f"[{text}]"
