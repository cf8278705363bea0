"""The way back as an explicit list of (t, s): from t to the earlier s, from T down to 0. A sampler walks it, no more.

The t // n and t - 1 arithmetic that lives inside other samplers is where chains start below T (with pure noise that
the network does not expect there) or miss the end.
"""

from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral

from ddpm_edu.errors import ConfigError, TimestepError

Pairs = Sequence[tuple[int, int]]


def uniform(T: int, steps: int) -> list[tuple[int, int]]:
    """``steps`` pairs, as equal as whole numbers allow: the first starts at T, the last ends at 0. 1 <= steps <= T.

    The times are i T / steps, rounded half up in whole numbers. They lie at least 1 apart before rounding, so no two
    of them fall together. Raises ConfigError.
    """
    if isinstance(steps, bool) or not isinstance(steps, Integral) or steps < 1:
        raise ConfigError(
            f"steps must be an integer >= 1, got {steps!r}. Usual cause: T // n with n > T, or T / n, a float. "
            "Fix: for example steps=50."
        )
    if steps > T:
        raise ConfigError(
            f"steps={steps} > T={T}: there are only {T} different times to visit. "
            f"Usual cause: a schedule with a smaller T than meant. Fix: steps={T} at most."
        )
    times = [(2 * i * T + int(steps)) // (2 * int(steps)) for i in range(int(steps), -1, -1)]
    return list(pairwise(times))


def check(pairs: Pairs, T: int, from_noise: bool) -> None:
    """Refuses a list with a gap, a step that does not go back, another end than 0, or (from noise) a start below T.

    Raises TimestepError.
    """
    if not len(pairs) or not all(isinstance(pair, Sequence) and len(pair) == 2 for pair in pairs):
        raise TimestepError("a grid is a list of pairs (t, s), at least one. Fix: sampling.pairs.uniform(T, steps).")
    for t, s in pairs:
        if not 0 <= s < t <= T:
            raise TimestepError(f"each pair (t, s) of a grid needs 0 <= s < t <= {T}, got ({t}, {s}).")
    for (t, s), (after, _) in pairwise(pairs):
        if s != after:
            raise TimestepError(f"the grid has a gap: the step from {t} ends at {s}, the next starts at {after}.")
    if pairs[-1][1] != 0:
        raise TimestepError(f"the grid ends at {pairs[-1][1]}, where noise is left; it must end at 0.")
    if from_noise and pairs[0][0] != T:
        raise TimestepError(
            f"the grid starts at {pairs[0][0]}, not at T = {T}, where pure noise belongs. Usual cause: a grid with its "
            "steps aligned at the clean end. Fix: start at T, or give x_T, the noisy x to start from."
        )
