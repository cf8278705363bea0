"""How an exercise works: a check calls the learner's function, and the page goes on whatever the outcome.

- An untouched blank (``raise NotImplementedError``) makes the check *print* "not yet": Run All does not stop.
- A wrong answer raises :class:`CheckFailed`, shown as one line that names the likely mistake.
- A right answer prints a tick, and :func:`or_library` then keeps the learner's function for the rest of the page.

Right and wrong answers are noted in the learner's own file (:mod:`ddpm_edu.exercises.progress_store`).

A check judges by oracles (exact moments, Bayes on a grid), never by comparing with the library alone.
"""

import functools
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from ddpm_edu.exercises import progress_store
from ddpm_edu.schedules import Schedule

F = TypeVar("F", bound=Callable[..., Any])
Check = Callable[[Callable[..., Any]], None]

# Functions that passed, and library functions handed out in place of a learner's. Kept alive on purpose: an id() could
# be given to another function later.
_passed: list[Callable[..., Any]] = []
_handed_out: list[Callable[..., Any]] = []


class CheckFailed(AssertionError):
    """A wrong answer. The message says what was expected, what came, and the likely mistake."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: the learner needs the message, not our stack."""
        return [f"\x1b[31mNot right yet.\x1b[0m {self}"]


@dataclass(frozen=True)
class Exercise:
    """One exercise of the course: its number ("1.1"), its title without the number, and the check that judges it."""

    number: str
    title: str
    check: Check

    @property
    def lesson(self) -> str:
        """What stands before the point of the number."""
        return self.number.partition(".")[0]


EXERCISES: dict[str, Exercise] = {}
"""Every exercise whose check was imported, by its number. The decorator :func:`check` fills it."""


def check(title: str) -> Callable[[Check], Check]:
    """Turns ``examine(f)``, which raises CheckFailed when f is wrong, into the check that notebooks call.

    ``title`` begins with the number of the exercise: "1.1 one step".
    """
    number, name = _numbered(title)

    def decorate(examine: Check) -> Check:
        @functools.wraps(examine)
        def run(f: Callable[..., Any]) -> None:
            if _among(f, _handed_out):  # a tick for it would be a lie
                print(
                    f"[ ] {title}: this is the library's function. Run the cell with yours first, then this one again."
                )
                return
            try:
                examine(f)
            except NotImplementedError:
                print(f"[ ] {title}: not yet. Fill in the blank above, run it, then run this cell again.")
                return
            except CheckFailed as wrong:
                progress_store.record(number, "tried", str(wrong))
                raise
            _passed.append(f)
            print(f"[x] {title}: right.")
            progress_store.record(number, "right")

        EXERCISES[number] = Exercise(number, name, run)
        return run

    return decorate


def _numbered(title: str) -> tuple[str, str]:
    """ "1.1 one step" as "1.1" and "one step"; a title without a number is its own number."""
    number, _, name = title.partition(" ")
    return (number, name) if re.fullmatch(r"\w+\.\w+", number) else (title, title)


def or_library(mine: F, library: F) -> F:
    """The learner's function if its check passed, else the library's, so that the rest of the page works."""
    if _among(mine, _passed):
        print(f"going on with your {mine.__name__}")
        return mine
    _handed_out.append(library)
    print(f"going on with the library's {library.__name__}")
    return library


def _among(f: Callable[..., Any], functions: list[Callable[..., Any]]) -> bool:
    return any(f is g for g in functions)


def call(f: Callable[..., Any], *args: Any) -> Any:
    """f(*args), with f's own failures told as a wrong answer, and with a guard on what it must leave alone."""
    before = [[table.clone() for table in _tensors(a)] for a in args]
    try:
        result = f(*args)
    except (NotImplementedError, CheckFailed):
        raise
    except Exception as error:
        raise CheckFailed(_told(error, f, args)) from error
    for a, copies in zip(args, before, strict=True):
        for now, then in zip(_tensors(a), copies, strict=True):
            if not torch.equal(now, then):
                now.copy_(then)  # a spoiled schedule would make the next try wrong as well
                raise CheckFailed(
                    "Your function changed one of its inputs in place (x *= ..., x += ..., or a method ending in _), "
                    "and others need it as it was. Make a new tensor: x = a * x + ..., or start from table.clone()."
                )
    return result


def _tensors(argument: Any) -> list[Tensor]:
    """The numbers of an argument that a function must leave alone: a tensor, or a schedule's tables."""
    if isinstance(argument, Schedule):
        return [argument.beta, argument.alpha, argument.alpha_bar, argument.snr, argument.posterior_variance]
    return [argument] if isinstance(argument, Tensor) else []


def _told(error: Exception, f: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """The error in one line, with the learner's own line (not one of a library it called) and the usual cause."""
    file = getattr(getattr(f, "__code__", None), "co_filename", None)
    mine = [line for line in traceback.extract_tb(error.__traceback__) if line.filename == file]
    where = f" (line {mine[-1].lineno}: {mine[-1].line})" if mine and mine[-1].line else ""
    cause = ""
    # torch's words for shapes that do not broadcast; where a schedule came in, its tables are why
    if "must match" in str(error) and any(isinstance(a, Schedule) for a in args):
        cause = " A table indexed with t has shape (N,) and meets x's *last* axis: use at(table, t, x)."
    return f"Your function stopped with {type(error).__name__}: {error}{where}.{cause}"


def tensor_like(result: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """``result`` as float64, after refusing None, other types, another shape and non-finite values."""
    if result is None:
        raise CheckFailed(f"Your function returned None where {what} was expected. Did you forget `return`?")
    if not isinstance(result, Tensor):
        raise CheckFailed(f"{what}: expected a tensor, got {type(result).__name__}.")
    if tuple(result.shape) != shape:
        reshaped = result.ndim > len(shape)
        hint = f" The data here has {len(shape)} dimensions; (N, 1, 1, 1) fits images only." if reshaped else ""
        raise CheckFailed(f"{what}: expected shape {shape}, got {tuple(result.shape)}.{hint}")
    if not result.isfinite().all():
        raise CheckFailed(
            f"{what}: {int((~result.isfinite()).sum())} values are NaN or infinite (a root of a "
            "negative number? 0/0, as 1 / (1 - alpha_bar) gives at t = 0?)."
        )
    return result.double()
