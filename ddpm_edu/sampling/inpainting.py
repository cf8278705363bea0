"""RePaint: a part of the image is given, the model fills in the rest, with no training for it."""

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ddpm_edu.errors import ConfigError, ShapeError
from ddpm_edu.forward import check_batch
from ddpm_edu.parameterization import Denoise, check_schedule
from ddpm_edu.reverse import Variance, beside, pair_beta
from ddpm_edu.sampling import grids, loop, methods
from ddpm_edu.sampling.grids import Pairs
from ddpm_edu.sampling.loop import Callback, Generators
from ddpm_edu.schedules import Schedule


def repaint(
    denoise: Denoise,
    s: Schedule,
    known: Tensor,
    mask: Tensor,
    *,
    steps: int | None = None,
    resamplings: int = 10,
    jump: int = 10,
    variance: Variance = "beta",
    generator: Generators = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> Tensor:
    """Samples that equal ``known`` (N, ...) where ``mask`` (the same shape, bool) is True: Lugmayr et al. 2022.

    After each step back, by DDPM, the given part is replaced by its own noisy version at that time (Eq. 8). The two
    halves were drawn apart and do not fit; so the walk goes ``jump`` steps forward again and back, until it has gone
    over every part ``resamplings`` times (their Algorithm 1 and section 4.2); 1 is replacement alone. ``steps``: 250,
    or T if that is less, uniform. A ``jump`` that is long beside ``steps`` forgets what it should mend: one over all
    steps begins anew from noise, and is no better than 1 resampling. ``callback`` gets a dict after each move: step,
    t (from), s (to), x. Raises ShapeError, DataError, ConfigError, ScheduleError.
    """
    check_schedule(denoise, s)
    check_batch(s, known, torch.full((len(known),), s.T), known=known)
    _check(known, mask, generator)
    take = methods.choose("ddpm", s, denoise, methods.Options(variance=variance))
    grid = grids.uniform(s.T, min(250, s.T) if steps is None else steps)
    x = loop.draw(known.shape, generator, known.dtype, known.device)
    with torch.no_grad():
        for number, (here, there) in enumerate(tqdm(itinerary(grid, resamplings, jump), disable=not progress)):
            t, s_ = torch.full((len(x),), max(here, there)), torch.full((len(x),), min(here, there))
            noise, again = (loop.draw(x.shape, generator, x.dtype, x.device) for _ in range(2))
            if here < there:  # forward again
                x = noised(s, x, s_, t, noise)
            else:
                x = take(s, x, t, s_, loop.ask(denoise, x, t), noise, None)
                x = torch.where(mask, noised(s, known, torch.zeros_like(s_), s_, again), x)
            if callback is not None:
                callback({"step": number, "t": here, "s": there, "x": x})
    return x


def itinerary(grid: Pairs, resamplings: int, jump: int) -> list[tuple[int, int]]:
    """The moves (from, to), back and forward, of a walk that goes over every ``jump`` steps ``resamplings`` times.

    Raises ConfigError.
    """
    for name, value in (("resamplings", resamplings), ("jump", jump)):
        if value < 1:
            raise ConfigError(f"{name} must be >= 1, got {value!r}. Fix: resamplings=1 to replace and no more.")
    moves: list[tuple[int, int]] = []
    for first in range(0, len(grid), jump):
        back = list(grid[first : first + jump])
        forward = [(s_, t) for t, s_ in reversed(back)]
        moves += [*back, *[*forward, *back] * (resamplings - 1)]
    return moves


def noised(s: Schedule, x: Tensor, s_: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """A draw from q(x_t | x_s), straight from s to t >= s: sqrt(1 - b) x + sqrt(b) noise, b = 1 - ab_t / ab_s."""
    beta = torch.where(t > s_, pair_beta(s, t.clamp(min=1), torch.where(t > s_, s_, 0)), 0.0)
    return (beside((1 - beta).sqrt(), x) * x + beside(beta.sqrt(), x) * noise).to(x.dtype)


def _check(known: Tensor, mask: Tensor, generator: Generators) -> None:
    if mask.shape != known.shape or mask.dtype != torch.bool:
        raise ShapeError(
            f"mask must be bool of known's shape {tuple(known.shape)}, True where the image is given; got {mask.dtype} "
            f"{tuple(mask.shape)}. Fix: mask.bool().expand_as(known)."
        )
    loop.check_generators(generator, len(known))
