"""From noise to samples: a denoiser, a schedule, and a list of pairs of times to walk.

A method is a pure function ``step(s, x_t, t, s_, denoised, noise)``; :func:`sample` chooses one and walks.
"""

import difflib
from collections.abc import Sequence
from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from ddpm_edu import reverse
from ddpm_edu.errors import ConfigError, ShapeError
from ddpm_edu.parameterization import Denoise, check_schedule
from ddpm_edu.reverse import Variance
from ddpm_edu.sampling import ddim, ddpm, loop, pairs
from ddpm_edu.sampling.loop import Callback, Generators, Step
from ddpm_edu.sampling.pairs import Pairs
from ddpm_edu.schedules import Schedule

METHODS: dict[str, ModuleType] = {"ddpm": ddpm, "ddim": ddim}  # each has its ``step``
FAST_STEPS = 50  # of every method that may jump, unless told otherwise

__all__ = ["FAST_STEPS", "METHODS", "ddim", "ddpm", "loop", "pairs", "sample"]


def sample(
    denoise: Denoise,
    s: Schedule,
    shape: Sequence[int],
    method: str = "ddpm",
    steps: int | None = None,
    eta: float = 0.0,
    generator: Generators = None,
    progress: bool = False,
    *,
    variance: Variance = "beta",
    grid: Pairs | None = None,
    x_T: Tensor | None = None,
    callback: Callback | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Samples of ``shape`` (N, ...) from pure noise, by a walk from T down to 0. Nothing is clipped here.

    ``method``: "ddpm" (all T steps unless ``steps`` says otherwise) or "ddim" (50, deterministic at ``eta`` = 0).
    ``variance``: of DDPM's step, see :mod:`ddpm_edu.reverse`. ``generator``: one for the batch, or a list of N, one a
    sample (x_T first, then a draw a step). ``grid``: the pairs (t, s) to walk, in place of ``steps``; ``x_T``: where to
    start, in place of noise, noisy as at the grid's first t. ``callback`` gets a dict after each step: step (0, 1, ..),
    t, s, x (at s), denoised (what was seen at t).
    Raises ConfigError, ShapeError, TimestepError, and ScheduleError for a denoiser that belongs to another schedule.
    """
    check_schedule(denoise, s)
    take = _step(method, s, denoise, eta, variance)
    if grid is not None and steps is not None:
        raise ConfigError(f"give steps or grid, not both; got steps={steps} and a grid of {len(grid)} pairs.")
    if grid is None:
        grid = pairs.uniform(s.T, _default_steps(method, s.T) if steps is None else steps)
    pairs.check(grid, s.T, from_noise=x_T is None)
    x = _start(tuple(shape), generator, x_T, dtype, device)
    with torch.no_grad():
        return loop.walk(denoise, s, x, grid, take, generator, callback, progress)


def _step(method: str, s: Schedule, denoise: Denoise, eta: float, variance: Variance) -> Step:
    """The method's step with its own option bound; refuses the option of another method."""
    if method not in METHODS:
        near = difflib.get_close_matches(str(method).lower(), METHODS, n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ConfigError(f"no sampling method is called {method!r}; there are {', '.join(METHODS)}.{hint}")
    if method == "ddpm":
        if eta != 0:
            raise ConfigError(f'eta={eta} is an option of "ddim"; DDPM\'s noise is set by variance.')
        if isinstance(variance, str) and variance not in reverse.VARIANCES:
            raise ConfigError(f"variance must be one of {', '.join(reverse.VARIANCES)} or a table, got {variance!r}.")
        return partial(METHODS[method].step, variance=reverse.resolve(variance, s, denoise))
    if not (isinstance(variance, str) and variance == "beta"):
        raise ConfigError(f'variance is an option of "ddpm"; the noise of {method!r} is set by eta. Got {variance!r}.')
    if not 0 <= eta <= 1:
        raise ConfigError(f"eta must lie in 0..1 (0: no noise, 1: as much as DDPM's posterior), got {eta}.")
    return partial(METHODS[method].step, eta=eta)


def _default_steps(method: str, T: int) -> int:
    return T if method == "ddpm" else min(FAST_STEPS, T)


def _start(
    shape: tuple[int, ...],
    generator: Generators,
    x_T: Tensor | None,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> Tensor:
    """x_T as given, checked, or drawn."""
    if len(shape) < 2 or min(shape) < 1:
        raise ShapeError(
            f"shape is that of a batch, (N, ...) with all sizes >= 1, got {shape}. Usual cause: the number of samples "
            "forgotten. Fix: for example (16, 1, 8, 8)."
        )
    loop.check_generators(generator, shape[0])
    if x_T is None:
        return loop.draw(shape, generator, dtype, torch.device("cpu" if device is None else device))
    if x_T.shape != shape or x_T.dtype != dtype or x_T.device.type != torch.device(device or x_T.device).type:
        raise ShapeError(
            f"x_T is {x_T.dtype} {tuple(x_T.shape)} on {x_T.device}, but {dtype} {shape} "
            f"on {device or x_T.device} is asked for. Fix: shape=x_T.shape, dtype=x_T.dtype."
        )
    return x_T
