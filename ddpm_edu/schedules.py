"""Noise schedules: how much noise each step of the forward chain adds.

Time is the papers': t = 1..T. Every table is a float64 tensor of length T + 1, so ``table[t]`` needs no
shift and t = 0 means "clean": beta[0] = 0, alpha_bar[0] = 1, snr[0] = inf.

A family (``linear``, ``cosine``, ...) never rescales itself behind your back, and each of them warns,
with the number, when signal is left at t = T: samplers start from pure noise, and a model that was
trained to expect a rest of the image there will not find it.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral

import torch
from torch import Tensor

from ddpm_edu.errors import ScheduleError, ScheduleWarning, did_you_mean, nearest
from ddpm_edu.schedule_checks import as_table, check_betas, check_ends, check_T, is_real, short

# sqrt(alpha_bar_T) is the factor that still multiplies the image at the end of the chain. DDPM's own
# schedule leaves 0.0064; Stable Diffusion's leaves 0.068, which was shown to spoil its brightness
# (Lin et al. 2024). Between the two, one part in twenty, the warning starts.
SIGNAL_LEFT_LIMIT = 0.05

# The reference implementations of the cosine schedule clip beta here, or beta_T would be 1.
MAX_BETA = 0.999


@dataclass(frozen=True, eq=False)
class Schedule:
    """A forward chain q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I), as tables over t = 0..T.

    Make one with :func:`linear`, :func:`cosine`, ... or, from your own numbers, :func:`from_betas`.
    ``beta`` and ``alpha_bar`` are float64, on the CPU, of shape (T + 1,); the other tables follow.
    """

    name: str
    beta: Tensor
    alpha_bar: Tensor

    @property
    def T(self) -> int:
        """The number of steps of the chain."""
        return len(self.beta) - 1

    @cached_property
    def alpha(self) -> Tensor:
        """alpha_t = 1 - beta_t, (T + 1,); the share of the previous state's variance that a step keeps."""
        return 1 - self.beta

    @cached_property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio alpha_bar_t / (1 - alpha_bar_t), (T + 1,); snr[0] = inf."""
        return self.alpha_bar / (1 - self.alpha_bar)

    @cached_property
    def log_snr(self) -> Tensor:
        """Natural logarithm of :attr:`snr`, (T + 1,); inf at t = 0, -inf where alpha_bar is 0."""
        return self.snr.log()

    @cached_property
    def posterior_variance(self) -> Tensor:
        """Variance of q(x_{t-1} | x_t, x_0), (T + 1,): beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t).

        DDPM (Ho et al. 2020), Eq. 7. Entry 1 is exactly 0: given x_0, nothing about x_0 is unknown.
        """
        variance = torch.zeros_like(self.beta)
        variance[1:] = self.beta[1:] * (1 - self.alpha_bar[:-1]) / (1 - self.alpha_bar[1:])
        return variance

    def __repr__(self) -> str:
        return f"Schedule({self.name}, T={self.T}, alpha_bar_T={self.alpha_bar[-1].item():.3g})"


# ---------------------------------------------------------------- from your own numbers


def from_betas(betas: Tensor | Sequence[float], name: str = "from_betas") -> Schedule:
    """A schedule from the T values beta_1..beta_T.

    Every beta lies in (0, 1); only the last may be 1 (then alpha_bar_T = 0: zero terminal SNR).
    Raises ScheduleError with the index of the first value that does not; warns (ScheduleWarning)
    when signal is left at T.
    """
    return _warned(_chain(as_table(betas, name), name))


def cumulative(betas: Tensor) -> Tensor:
    """alpha_bar_t = (1 - beta_1) ... (1 - beta_t) for t = 0..T, from the T values beta_1..beta_T: (T,) -> (T + 1,).

    DDPM (Ho et al. 2020), below Eq. 3. The empty product makes alpha_bar_0 = 1.
    """
    return torch.cat([betas.new_ones(1), torch.cumprod(1 - betas, 0)])


def from_alpha_bar(alpha_bar: Tensor | Sequence[float], name: str = "from_alpha_bar") -> Schedule:
    """A schedule from its T + 1 values alpha_bar_0 = 1, ..., alpha_bar_T, strictly decreasing, all >= 0.

    A finer or coarser time axis is a schedule of its own: give the alpha_bar you want at each step.
    Raises ScheduleError when the first value is not 1 or the values do not fall.
    """
    grid = as_table(alpha_bar, name)
    if len(grid) < 2 or grid[0] != 1:
        raise ScheduleError(
            f"{name}: alpha_bar must start with alpha_bar_0 = 1 and have at least two entries, got "
            f"{len(grid)} entries starting with {grid[:1].tolist()}. Usual cause: a table that starts at t = 1. "
            "Fix: put a 1 in front."
        )
    rising = torch.nonzero(~(grid[1:] < grid[:-1]))
    if len(rising) or grid[-1] < 0:
        t = int(rising[0]) + 1 if len(rising) else len(grid) - 1
        raise ScheduleError(
            f"{name}: alpha_bar must fall strictly and stay >= 0, but alpha_bar[{t}] = {grid[t].item():.6g} after "
            f"{grid[t - 1].item():.6g}. Usual cause: the values are betas or sigmas. Fix: pass cumulative products of "
            "1 - beta."
        )
    return _warned(Schedule(name, torch.cat([grid.new_zeros(1), 1 - grid[1:] / grid[:-1]]), grid))


# ---------------------------------------------------------------- the families


def linear(T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Schedule:
    """beta_t rises linearly from ``beta_start`` to ``beta_end``: DDPM (Ho et al. 2020), section 4.

    The end points are made for T = 1000 and are *not* rescaled for another T: see :func:`linear_scaled`.
    """
    T = check_T(T)
    start, end = check_ends(beta_start, beta_end)
    return _warned(_chain(torch.linspace(start, end, T, dtype=torch.float64), "linear"))


def linear_scaled(T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Schedule:
    """:func:`linear` with both ends times 1000 / T, so that the sum of the betas, and with it alpha_bar_T, stays.

    Improved DDPM (Nichol & Dhariwal 2021), reference code. At DDPM's ends it needs T >= 20: below, beta_T
    would pass 1.
    """
    T = check_T(T)
    start, end = check_ends(beta_start, beta_end)
    scale = 1000 / T
    if scale * end > 1:
        raise ScheduleError(
            f"linear_scaled: T = {T} makes beta_T = {scale * end:.4g}, and a beta above 1 is no variance. "
            f"With beta_end = {end:g} this schedule needs T >= {math.ceil(1000 * end)}. "
            "Usual cause: fewer steps than the scaling can carry. Fix: more steps, or cosine(T), which needs no "
            "scaling."
        )
    return _warned(_chain(torch.linspace(scale * start, scale * end, T, dtype=torch.float64), "linear_scaled"))


def quadratic(T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Schedule:
    """sqrt(beta_t) rises linearly: gentler at the start than :func:`linear`. Option "quad" of DDPM's code."""
    T = check_T(T)
    start, end = check_ends(beta_start, beta_end)
    return _warned(_chain(_squares(start, end, T), "quadratic"))


def stable_diffusion() -> Schedule:
    """The schedule of Stable Diffusion 1 and 2: quadratic from 0.00085 to 0.012, T = 1000. Leaves signal, and warns."""
    return _warned(_chain(_squares(0.00085, 0.012, 1000), "stable_diffusion"))


def cosine(T: int = 1000, s: float = 0.008) -> Schedule:
    """alpha_bar_t = f(t) / f(0), f(t) = cos^2((t/T + s) / (1 + s) * pi / 2); beta_t clipped to 0.999.

    Improved DDPM (Nichol & Dhariwal 2021), Eq. 17. Looks the same at every T, so it needs no rescaling.
    """
    T = check_T(T)
    if not is_real(s) or not s >= 0:
        raise ScheduleError(
            f"cosine: s must be a number >= 0, got {s!r}. It keeps the first betas from vanishing. "
            "Usual cause: an offset in steps. Fix: a share of the chain such as 0.008."
        )
    return _warned(_from_curve(lambda u: torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2, T, "cosine"))


def sigmoid(T: int = 1000, start: float = -3.0, end: float = 3.0, tau: float = 1.0) -> Schedule:
    """alpha_bar follows a falling logistic curve between ``start / tau`` and ``end / tau``, scaled to run from 1 to 0.

    Jabri et al. 2022 (arXiv 2212.11972); beta_t clipped to 0.999. A smaller ``tau`` spends more steps at both ends.
    """
    T = check_T(T)
    if not all(map(is_real, (start, end, tau))) or not (start < end and tau > 0):
        raise ScheduleError(
            f"sigmoid: needs start < end and tau > 0, got start={start!r}, end={end!r}, tau={tau!r}. "
            "Usual cause: the ends swapped. Fix: sigmoid(T, -3, 3, 1)."
        )

    def curve(u: Tensor) -> Tensor:
        def logistic(v: Tensor) -> Tensor:
            return torch.sigmoid(-(v * (end - start) + start) / tau)

        first, last = logistic(u.new_zeros(())), logistic(u.new_ones(()))
        return (logistic(u) - last) / (first - last)

    return _warned(_from_curve(curve, T, "sigmoid"))


# What a menu offers: families that need nothing but T.
FAMILIES: dict[str, Callable[[int], Schedule]] = {
    "linear": linear,
    "linear_scaled": linear_scaled,
    "quadratic": quadratic,
    "cosine": cosine,
    "sigmoid": sigmoid,
}


def by_name(name: str, T: int = 1000) -> Schedule:
    """The family called ``name`` (a key of :data:`FAMILIES`) with T steps. Raises ScheduleError for an unknown name."""
    if name not in FAMILIES:
        hint = did_you_mean(map(repr, nearest(name, FAMILIES)))
        raise ScheduleError(f"no schedule is called {name!r}; there are {', '.join(FAMILIES)}.{hint}")
    return FAMILIES[name](T)


# ---------------------------------------------------------------- from one schedule to another


def respace(schedule: Schedule, timesteps: Sequence[int]) -> Schedule:
    """The chain that visits only ``timesteps`` of ``schedule``: its alpha_bar there are the same numbers.

    ``timesteps``: strictly increasing, each in 1..T. Step i of the result stands at timesteps[i - 1] of the old chain.
    """
    steps = list(timesteps)
    whole = all(isinstance(t, Integral) and not isinstance(t, bool) for t in steps)
    if not whole or not steps or not all(a < b for a, b in zip([0, *steps], [*steps, schedule.T + 1], strict=True)):
        raise ScheduleError(
            f"respace: timesteps must be integers, strictly increasing, within 1..{schedule.T}, got {short(steps)}. "
            "Usual cause: 0-based steps, or steps listed from T downwards. Fix: e.g. range(10, T + 1, 10)."
        )
    return from_alpha_bar(schedule.alpha_bar[[0, *map(int, steps)]], f"{schedule.name} respaced to {len(steps)}")


def zero_terminal_snr(schedule: Schedule) -> Schedule:
    """The same schedule, shifted and scaled in sqrt(alpha_bar) so that alpha_bar_T = 0 and alpha_bar_1 stays.

    Lin et al. 2024 (arXiv 2305.08891), Algorithm 1. At t = T no noise prediction can recover x_0: use v or x0.
    Needs T >= 2.
    """
    if schedule.T < 2:
        raise ScheduleError(
            f"zero_terminal_snr: needs T >= 2 (alpha_bar_1 stays, alpha_bar_T goes to 0), got T = {schedule.T}."
        )
    root = schedule.alpha_bar.sqrt()
    root = (root - root[-1]) * root[1] / (root[1] - root[-1])
    root[0], root[-1] = 1, 0  # the clean end stays clean; the noisy end is exactly noise
    return from_alpha_bar(root**2, f"{schedule.name}, zero terminal SNR")


# ---------------------------------------------------------------- helpers


def _from_curve(curve: Callable[[Tensor], Tensor], T: int, name: str) -> Schedule:
    """Betas from a curve alpha_bar(u), u = t / T in [0, 1]; clipped so that the last step stays a step."""
    values = curve(torch.arange(T + 1, dtype=torch.float64) / T)
    return _chain((1 - values[1:] / values[:-1]).clamp(max=MAX_BETA), name)


def _squares(start: float, end: float, T: int) -> Tensor:
    return torch.linspace(start**0.5, end**0.5, T, dtype=torch.float64) ** 2


def _chain(betas: Tensor, name: str) -> Schedule:
    """The tables of a chain with the steps ``betas`` (T,), checked."""
    check_betas(betas, name)
    return Schedule(name, torch.cat([betas.new_zeros(1), betas]), cumulative(betas))


def _warned(schedule: Schedule) -> Schedule:
    """Passes the schedule on; warns at the line that called the public constructor (hence stacklevel 3)."""
    left = schedule.alpha_bar[-1].sqrt().item()
    if left > SIGNAL_LEFT_LIMIT:
        warnings.warn(
            f"{schedule.name}, T = {schedule.T}: signal is left at T, sqrt(alpha_bar_T) = {left:.4f} "
            f"(DDPM's is 0.0064). Samplers start from pure noise and will miss it. "
            "Usual cause: DDPM's betas with fewer than 1000 steps. Fix: linear_scaled(T), cosine(T) or "
            "zero_terminal_snr(...).",
            ScheduleWarning,
            stacklevel=3,
        )
    if schedule.T == 1:
        message = f"{schedule.name}: T = 1 is a one-step chain. It is legal, and rarely what is meant."
        warnings.warn(message, ScheduleWarning, stacklevel=3)
    return schedule
