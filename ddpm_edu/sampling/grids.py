"""The way back as an explicit list of (t, s): from t to the earlier s, from T down to 0. A sampler walks it, no more.

The t // n and t - 1 arithmetic that lives inside other samplers is where chains start below T (with pure noise that
the network does not expect there), visit a time twice, or have another number of steps than was asked for. Here every
function gives, for every 1 <= steps <= T, exactly ``steps`` pairs, each beginning where the one before has ended.
Where rounding to whole times makes two of them fall together, they are pushed apart by one.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from numbers import Integral

import torch

from ddpm_edu.errors import ConfigError, TimestepError
from ddpm_edu.schedule_checks import is_real
from ddpm_edu.schedules import Schedule

Pairs = Sequence[tuple[int, int]]
Spread = Callable[[int, int], Pairs]  # of T and steps


def uniform(T: int, steps: int) -> list[tuple[int, int]]:
    """Steps as equal as whole numbers allow: the times i T / steps, rounded half up. Others call it "trailing".

    The times lie at least 1 apart before rounding, so no two of them fall together. Raises ConfigError.
    """
    check_steps(T, steps)
    return list(pairwise((2 * i * T + int(steps)) // (2 * int(steps)) for i in range(int(steps), -1, -1)))


trailing = uniform
"""Under the name that Lin et al. 2024 (Table 2) gave it.

Written as arange(T, 0, -T / steps) in floats, it often has one pair too many.
"""


def linspace(T: int, steps: int) -> list[tuple[int, int]]:
    """Times spread from T to 1, both visited, then 0: the last step is short. Lin et al. 2024, Table 2."""
    check_steps(T, steps)
    return _apart((T - (T - 1) * i / max(steps - 1, 1) for i in range(steps)), T)


def leading(T: int, steps: int) -> list[tuple[int, int]]:
    """The times 1 + i (T // steps) of DDIM's and improved DDPM's code: **it does not start at T** unless steps = T.

    The chain then begins with pure noise at a t where the network expects some signal (T = 1000, 10 steps: at 901,
    and at 600 steps: at 600). It is here to reproduce those papers. :func:`ddpm_edu.sampling.sample` takes it only
    with an ``x_T``, so that whoever starts from noise says so.
    """
    check_steps(T, steps)
    stride = T // int(steps)
    return list(pairwise([*(1 + i * stride for i in range(int(steps) - 1, -1, -1)), 0]))


def quadratic(T: int, steps: int) -> list[tuple[int, int]]:
    """The times T (i / steps)^2: shorter steps towards the data. DDIM (Song et al. 2021), D.2 (from 0.8 T there)."""
    check_steps(T, steps)
    return _apart((T * (i / steps) ** 2 for i in range(steps, 0, -1)), T)


def log_snr(s: Schedule, steps: int) -> list[tuple[int, int]]:
    """Times at equal distances of log SNR from T to 1, then 0. DPM-Solver (Lu et al. 2022), section 3.4."""
    check_steps(s.T, steps)
    rising = _finite(s.log_snr[1:].flip(0))
    return _apart(_nearest(rising, _shares(steps) * (rising[-1] - rising[0]) + rising[0]), s.T)


def karras(s: Schedule, steps: int, rho: float = 7.0) -> list[tuple[int, int]]:
    """Times whose noise-to-signal ratios sigma are those of EDM, then 0. EDM (Karras et al. 2022), Eq. 5.

    sigma_i = (sigma_T^(1/rho) + i / (steps - 1) (sigma_1^(1/rho) - sigma_T^(1/rho)))^rho, with
    sigma_t = sqrt((1 - alpha_bar_t) / alpha_bar_t): the more steps at small sigma, the larger ``rho``.
    Raises ConfigError for a rho that is not > 0, or not finite.
    """
    check_steps(s.T, steps)
    if not (is_real(rho) and 0 < rho < math.inf):
        raise ConfigError(f"rho must be finite and > 0, got {rho!r}; EDM's is 7, 1 lets sigma fall in equal steps.")
    rising = _finite(s.log_snr[1:].flip(0))
    root = ((rising[0] - rising) / (2 * rho)).exp()  # (sigma / sigma_T)^(1/rho), falling from 1
    return _apart(_nearest(rising, rising[0] - 2 * rho * (1 + _shares(steps) * (root[-1] - 1)).log()), s.T)


# ---------------------------------------------------------------- from real times to whole ones


def _shares(steps: int) -> torch.Tensor:
    """0 to 1 in ``steps`` equal distances, float64."""
    return torch.linspace(0, 1, steps, dtype=torch.float64)


def _finite(rising: torch.Tensor) -> torch.Tensor:
    """Log SNR at T, T - 1, .., 1, with numbers in the place of infinite ones (zero terminal SNR): the line goes on."""
    known = rising[rising.isfinite()]
    if len(known) < 2:
        return torch.arange(len(rising), dtype=torch.float64)  # nothing to go by: equal steps in t
    return rising.clamp((2 * known[0] - known[1]).item(), (2 * known[-1] - known[-2]).item())


def _nearest(rising: torch.Tensor, wanted: torch.Tensor) -> list[float]:
    """The times, as real numbers, at which log SNR (``rising``, at T, .., 1) has the ``wanted`` values."""
    if len(rising) == 1:
        return [1.0] * len(wanted)
    right = torch.searchsorted(rising, wanted).clamp(1, len(rising) - 1)
    left = right - 1
    gap = rising[right] - rising[left]
    share = torch.where(gap > 0, (wanted - rising[left]) / gap, 0.0).clamp(0, 1)
    times: list[float] = (len(rising) - (left + share)).tolist()
    return times


def _apart(times: Iterable[float], T: int) -> list[tuple[int, int]]:
    """Pairs of whole times near ``times`` (real, falling), the first of them T, then 0: no two of them equal."""
    whole = [int(time + 0.5) for time in times]
    whole[0] = T
    for i in range(1, len(whole)):
        whole[i] = min(whole[i], whole[i - 1] - 1)
    for i in range(1, len(whole)):  # from the end: at least 1, 2, 3, ..
        whole[-i] = max(whole[-i], i)
    return list(pairwise([*whole, 0]))


# ---------------------------------------------------------------- what is taken, what is refused


def chosen(T: int, steps: int | None, grid: Pairs | None, usual: int, spread: Spread) -> Pairs:
    """``grid`` where one is given, else ``steps`` pairs by ``spread``, ``usual`` (or T if that is less) unless told.

    Raises ConfigError where both are given.
    """
    if grid is not None and steps is not None:
        raise ConfigError(f"give steps or grid, not both; got steps={steps} and a grid of {len(grid)} pairs.")
    return spread(T, min(usual, T) if steps is None else steps) if grid is None else grid


def check_steps(T: int, steps: int) -> None:
    """Refuses a number of steps that no chain of T has. Raises ConfigError."""
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


def check(pairs: Pairs, T: int, from_noise: bool) -> None:
    """Refuses a list with a gap, a step that does not go back, another end than 0, or (from noise) a start below T.

    Raises TimestepError.
    """
    listed = isinstance(pairs, Sequence) and len(pairs) > 0
    if not listed or not all(isinstance(pair, Sequence) and len(pair) == 2 for pair in pairs):
        raise TimestepError("a grid is a list of pairs (t, s), at least one. Fix: sampling.grids.uniform(T, steps).")
    for t, s in pairs:
        if not (isinstance(t, Integral) and isinstance(s, Integral) and 0 <= s < t <= T):
            raise TimestepError(f"each pair (t, s) of a grid needs integers 0 <= s < t <= {T}, got ({t}, {s}).")
    for (t, s), (after, _) in pairwise(pairs):
        if s != after:
            raise TimestepError(f"the grid has a gap: the step from {t} ends at {s}, the next starts at {after}.")
    if pairs[-1][1] != 0:
        raise TimestepError(f"the grid ends at {pairs[-1][1]}, where noise is left; it must end at 0.")
    if from_noise and pairs[0][0] != T:
        raise TimestepError(
            f"the grid starts at {pairs[0][0]}, not at T = {T}, where pure noise belongs. Usual cause: a grid with its "
            "steps aligned at the clean end (leading). Fix: start at T, or give x_T, the noisy x to start from."
        )
