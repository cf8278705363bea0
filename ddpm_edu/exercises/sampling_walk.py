"""What a sampler does, read off from what it asks: notebook 05 has its learners mend one.

The data are a Gaussian, so the exact denoiser is linear, and so is every step: x_s = a x_t + b x0-hat + noise. The k-th
noise that is handed out is 1 in the k-th sample and 0 in the others. What the sampler asks the denoiser then tells,
step by step, with which a and b it goes on, and which noise it adds. No line of it is read.
"""

import math
import warnings
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm_edu import oracles, schedules
from ddpm_edu.errors import ScheduleWarning
from ddpm_edu.exercises.frame import CheckFailed, call, tensor_like
from ddpm_edu.parameterization import Denoised

# Ten uneven steps: a list of times that leaves some out is then unlike one that does not, and t - T // n unlike both.
BETAS = (0.1, 0.35, 0.2, 0.5, 0.3, 0.15, 0.4, 0.25, 0.3, 0.2)
T = len(BETAS)
AB = [1.0, *accumulate((1 - beta for beta in BETAS), lambda kept, alpha: kept * alpha)]

_ROOM = 3 * T + 3  # so many noises can be told apart, then one sample in which all are mixed, and one without any
_MIXED = [30.0 * (-1) ** i for i in range(_ROOM)]  # far beyond the limits of any image
_MEAN, _STD = 0.3, 0.5  # a mean of 0 would not tell a from b


def chain() -> schedules.Schedule:
    """The ten steps; without the warning that they leave signal, which does no harm here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)
        return schedules.from_betas(BETAS, "ten uneven steps")


class Step(NamedTuple):
    """x_s = a x_t + b x0-hat + noise; ``noise``: which ones, by their numbers, and how much of each."""

    t: int
    s: int
    a: float
    b: float
    noise: dict[int, float]

    @property
    def size(self) -> float:
        """Standard deviation of all that is added."""
        return math.hypot(*self.noise.values())


class _Witness:
    """Hands out the noise and the exact denoiser, and writes down what it is asked."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.seen: list[tuple[Tensor, Tensor]] = []  # x and x0-hat at each question
        self._drawn = 0
        self._denoise = oracles.Gaussian(_MEAN, _STD).denoiser(chain())

    def draw(self) -> Tensor:
        """The next noise, (N, 1, 1, 1)."""
        if self._drawn == _ROOM:
            raise CheckFailed(f"draw() was called more than {_ROOM} times for at most {T} steps. Once a step will do.")
        noise = torch.zeros(_ROOM + 2, dtype=torch.float64)
        noise[self._drawn], noise[_ROOM] = 1, _MIXED[self._drawn]
        self._drawn += 1
        return noise.view(-1, 1, 1, 1)

    def denoise(self, x: Tensor, t: Tensor) -> Denoised:
        """x0-hat and eps, exact."""
        times = set(t.flatten().tolist()) if isinstance(t, Tensor) else set()
        if len(times) > 1:
            raise CheckFailed("The samples were said to be at different times. All of them make the same steps.")
        if times == {0}:
            raise CheckFailed("The denoiser was asked at t = 0. Ask at t, where x is, not at s_, where it goes.")
        found = self._denoise(x, t)
        self.times.append(int(t[0]))
        self.seen.append((x.clone(), found.x0.clone()))
        return found


class _State(NamedTuple):
    """x or x0-hat of all samples at once: the factor of each noise in it, and what it is without noise."""

    of_noise: list[float]
    constant: float


def _read(x: Tensor) -> _State:
    """The factors; refused where x is no sum of the noises with fixed factors."""
    *parts, mixed, constant = x.double().flatten().tolist()
    factors = [part - constant for part in parts]
    if abs(mixed - constant - sum(f * m for f, m in zip(factors, _MIXED, strict=True))) > 1e-3:
        raise CheckFailed(
            "x is no sum of the noises with fixed factors. Is something clipped? The data of this check have no limits "
            "(where they are known, the denoiser limits its x0). Or is there noise that is not from draw()?"
        )
    return _State(factors, constant)


def walk_of(f: Callable[..., Any], steps: int) -> tuple[list[Step], int]:
    """The steps that f(denoise, s, steps, draw) makes, the last one as if to 0; and which noise it began with."""
    first, second = _Witness(), _Witness()
    ends = [call(f, who.denoise, chain(), steps, who.draw) for who in (first, second)]
    _refuse_times(first.times)  # before the result is looked at: a walk upwards ends in NaN, which says less
    end, again = (tensor_like(end, (_ROOM + 2, 1, 1, 1), "x") for end in ends)
    if not first.times:
        raise CheckFailed("The denoiser was never asked: denoise(x, t), with t an int64 tensor (N,), in each step.")
    if not torch.equal(end, again):
        raise CheckFailed("The same draws gave other samples the second time. All noise must come from draw().")
    start = _start(_read(first.seen[0][0]))
    return _steps(first, _read(end), start), start


def _refuse_times(times: list[int]) -> None:
    """Raises CheckFailed where there are times, and they do not fall from T."""
    if times and times[0] != T:
        raise CheckFailed(
            f"The denoiser was asked first at t = {times[0]}, of {T}, and x was pure noise, which is at T. Does the "
            "list of times begin too low, is it counted from 0, or was it asked at s_, where the step goes?"
        )
    if any(later <= earlier for later, earlier in pairwise(times)):
        raise CheckFailed(f"The denoiser was asked at t = {times}. Times fall, and each is asked once.")


def _start(x: _State) -> int:
    """Which noise x begins with; refused where it does not begin with one, as it was drawn."""
    ones = [i for i, factor in enumerate(x.of_noise) if abs(factor) > 1e-9]
    if len(ones) != 1 or abs(x.of_noise[ones[0]] - 1) > 1e-6 or abs(x.constant) > 1e-6:
        raise CheckFailed("The walk must begin with pure noise, as it was drawn: x = draw().")
    return ones[0]


def _steps(witness: _Witness, end: _State, start: int) -> list[Step]:
    """a and b solve two equations: one for the noise of the start, one for what there is without noise."""
    seen = [(_read(x), _read(x0)) for x, x0 in witness.seen]
    found = []
    for (t, s), (x, x0), after in zip(
        pairwise([*witness.times, 0]), seen, [*(x for x, _ in seen[1:]), end], strict=True
    ):
        determinant = x.of_noise[start] * x0.constant - x0.of_noise[start] * x.constant
        if abs(determinant) < 1e-9:
            raise CheckFailed(f"At t = {t} nothing is left in x of the noise that it began with.")
        a = (after.of_noise[start] * x0.constant - x0.of_noise[start] * after.constant) / determinant
        b = (x.of_noise[start] * after.constant - after.of_noise[start] * x.constant) / determinant
        rest = [z - a * y - b * y0 for z, y, y0 in zip(after.of_noise, x.of_noise, x0.of_noise, strict=True)]
        found.append(Step(t, s, a, b, {i: z for i, z in enumerate(rest) if abs(z) > 1e-4}))
    return found
