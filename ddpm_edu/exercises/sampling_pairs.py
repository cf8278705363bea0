"""The check of the first exercise of notebook 05, pairs of times from T to 0: by their properties, not by a list."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any

from ddpm_edu.exercises.frame import CheckFailed, call, check

Pairs = list[tuple[int, int]]

# Simple ones first: there, most mistakes stand alone. Then all of small chains, and numbers where floats slip.
_CASES = [
    (10, 4),
    (10, 5),
    (1000, 600),
    *((T, steps) for T in range(1, 31) for steps in range(1, T + 1)),
    *((1000, steps) for steps in (1, 2, 3, 7, 13, 30, 35, 50, 61, 64, 75, 103, 121, 150, 201, 206, 333, 750, 1000)),
]


@check("5.1 the pairs")
def pairs(f: Callable[..., Any]) -> None:
    """f(T, steps) must be ``steps`` pairs (t, s), a chain from T to 0 whose steps differ by 1 at most."""
    for T, steps in _CASES:
        case = f"T = {T}, steps = {steps}: "
        got = _whole(call(f, T, steps), case)
        for diagnose in (_direction, _repeats, _start, _chain, _ends, _number, _lengths):
            message = diagnose(got, T, steps)
            if message:
                raise CheckFailed(case + message)


def _whole(result: Any, case: str) -> Pairs:
    """The result as pairs of ints; refused where it is no list of pairs, as the page walks it more than once."""
    if result is None:
        raise CheckFailed("Your function returned None where a list was expected. Did you forget `return`?")
    if not isinstance(result, Sequence):
        raise CheckFailed(f"{case}expected a list of pairs (t, s_), got {type(result).__name__}. list(..) makes one.")
    if any(isinstance(item, Integral) for item in result):
        raise CheckFailed(f"{case}those are times. Make pairs of them: list(zip(times, times[1:])).")
    if not result or not all(isinstance(item, Sequence) and len(item) == 2 for item in result):
        raise CheckFailed(f"{case}expected a list of pairs (t, s_), got {list(result[:3])}.")
    for time in (time for item in result for time in item):
        if not isinstance(time, Integral):
            raise CheckFailed(f"{case}the time {time!r} is no int, and times are indices of tables: int(..).")
    return [(int(t), int(s)) for t, s in result]


def _direction(got: Pairs, T: int, steps: int) -> str:
    if all(t < s for t, s in got):
        if got[0][0] == 0:
            return "the chain climbs from 0 to T. Sampling begins with noise: T first, 0 last."
        return "each pair is (t, s_) with the later time t first."
    if got[-1][0] == 0:
        return "a pair begins at 0, where nothing is left to do (a loop over floats may go round once more)."
    if any(time < 0 for pair in got for time in pair):
        return "a time is below 0. The chain stops at 0, the clean image."
    return ""


def _repeats(got: Pairs, T: int, steps: int) -> str:
    times = [t for t, _ in got]
    if len({*times}) < len(times) or any(t == s for t, s in got):
        return "a time occurs twice: two of them were rounded to the same number, or added in two places."
    return ""


def _start(got: Pairs, T: int, steps: int) -> str:
    first, stride = got[0][0], T // steps
    below = f"the chain starts at {first}, not at {T}, where the network expects pure noise. "
    if first == T:
        return ""
    if [t for t, _ in got] == [1 + i * stride for i in reversed(range(steps))]:
        return below + 'These are the times 1 + i * (T // steps), the "leading" grid of much published code.'
    if first == stride * steps:
        return below + "T // steps drops the rest (600 of 1000 steps would start at 600). Round i * T / steps instead."
    if first == T - 1:
        return below + "Times counted from 0? Here they run from 1 to T. Or did int() cut 999.9999 off?"
    return below


def _ends(got: Pairs, T: int, steps: int) -> str:
    end, by_stride = got[-1][1], T - (T // steps) * steps
    if len(got) == steps + 1:
        return f"{len(got)} pairs, one too many: {steps + 1} times make {steps}."
    if len(got) == steps - 1:
        return f"{len(got)} pairs, one too few. {steps} pairs need {steps + 1} times, 0 among them: range(steps + 1)."
    if end == 1 and by_stride != 1:
        return "the chain ends at 1, where a little noise is left. The last pair is (t, 0)."
    if end != 0 and end == by_stride:
        return f"the chain ends at {end}: T // steps drops the rest. Round i * T / steps instead."
    return f"the chain ends at {end}, where noise is left. The last pair is (t, 0)." if end else ""


def _chain(got: Pairs, T: int, steps: int) -> str:
    for (t, s), (after, _) in pairwise(got):
        if s == after:
            continue
        gap = f"the pair ({t}, {s}) ends at {s}, the next one begins at {after}. "
        if s == max(t - T // steps, 0):
            return gap + "t - T // steps is not the next time of the list: take that (a bug of a well-known library)."
        return gap + "Each begins where the one before has ended."
    return ""


def _number(got: Pairs, T: int, steps: int) -> str:
    return "" if len(got) == steps else f"{len(got)} pairs, and {steps} were asked for."


def _lengths(got: Pairs, T: int, steps: int) -> str:
    lengths = [t - s for t, s in got]
    if max(lengths) - min(lengths) <= 1:
        return ""
    told = f"the steps are {min(lengths)} to {max(lengths)} long, and could be almost equal. "
    if got[-1] == (1, 0):
        return told + "Were the times spread from T to 1? Spread them from T to 0."
    if len({*lengths[1:]}) == 1 or len({*lengths[:-1]}) == 1:
        return told + "The rest of T // steps went into one step. Round each time, i * T / steps."
    return told + "Round i * T / steps."
