"""From data to the noise that DDIM turns into them: the same walk, the other way."""

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ddpm_edu.errors import ConfigError
from ddpm_edu.forward import check_batch
from ddpm_edu.parameterization import Denoise, Denoised, check_schedule
from ddpm_edu.reverse import beside
from ddpm_edu.sampling import grids
from ddpm_edu.sampling.grids import Pairs
from ddpm_edu.sampling.loop import Callback, ask
from ddpm_edu.schedules import Schedule


def step(s: Schedule, x_s: Tensor, s_: Tensor, t: Tensor, seen: Denoised) -> Tensor:
    """x_t = sqrt(ab_t) x0-hat + sqrt(1 - ab_t) eps-hat, as seen in x_s: the formula of DDIM, with the times exchanged.

    DDIM (Song et al. 2021), section 4.3. x_s: (N, ...); s_ < t: int64 (N,) on the CPU. At s = 0 eps-hat alone is used,
    since x_s is x_0 itself.
    """
    kept = (s.alpha_bar[t] / s.alpha_bar[s_]).sqrt()
    added = (1 - s.alpha_bar[t]).sqrt() - kept * (1 - s.alpha_bar[s_]).sqrt()
    return (beside(kept, x_s) * x_s + beside(added, x_s) * seen.eps).to(x_s.dtype)


def refine(s: Schedule, x_s: Tensor, s_: Tensor, t: Tensor, seen: Denoised) -> Tensor:
    """x_t = (x_s + sin(d) v) / cos(d): DDIM's x_s = cos(d) x_t - sin(d) v, solved for x_t with v as it was last seen.

    v = sqrt(ab_t) eps-hat - sqrt(1 - ab_t) x0-hat is what is ``seen`` in the last x_t, d the angle between the two
    times, tan(phi_t) = sqrt((1 - ab_t) / ab_t). Where x_t no longer changes it is the exact inverse.
    """
    signal_t, signal_s = s.alpha_bar[t].sqrt(), s.alpha_bar[s_].sqrt()
    noise_t, noise_s = (1 - s.alpha_bar[t]).sqrt(), (1 - s.alpha_bar[s_]).sqrt()
    cos, sin = signal_t * signal_s + noise_t * noise_s, noise_t * signal_s - signal_t * noise_s
    v = beside(signal_t, x_s) * seen.eps - beside(noise_t, x_s) * seen.x0
    return (beside(1 / cos, x_s) * x_s + beside(sin / cos, x_s) * v).to(x_s.dtype)


def invert(
    denoise: Denoise,
    s: Schedule,
    x0: Tensor,
    steps: int | None = None,
    *,
    grid: Pairs | None = None,
    refinements: int = 0,
    callback: Callback | None = None,
    progress: bool = False,
) -> Tensor:
    """x_T from which DDIM (eta = 0, the same grid) comes back to ``x0`` (N, ...): nearly, or exactly.

    With no ``refinements``, eps is taken at x_s, where the walk stands (at s = 0, which no network knows, at the time
    1): the error of a round trip falls like 1 / steps. Each refinement asks again at the x_t just found, a fixed-point
    iteration towards the exact inverse (Pan et al. 2023), and raises the order by one. It needs steps that are short
    beside what v-hat turns in: with a few, or for data on sharp points, it does not converge. ``steps``: 50, or T if
    that is less. ``callback`` as in :func:`ddpm_edu.sampling.sample`, with x at t.
    Raises ConfigError, DataError, ShapeError, TimestepError, ScheduleError.
    """
    check_schedule(denoise, s)
    check_batch(s, x0, torch.full((len(x0),), s.T), x0=x0)
    if refinements < 0:
        raise ConfigError(f"refinements must be >= 0, got {refinements!r}.")
    grid = grids.chosen(s.T, steps, grid, 50, grids.uniform)
    grids.check(grid, s.T, from_noise=False)
    if refinements and len(grid) == 1 and s.alpha_bar[grid[0][0]] == 0:
        raise ConfigError("one step from alpha_bar_T = 0 maps every x_T to one x_0 and has no inverse. Fix: steps=50.")
    x = x0
    with torch.no_grad():
        for number, (t, s_) in enumerate(tqdm(grid[::-1], disable=not progress, desc="inverting")):
            x, seen = _back(denoise, s, x, s_, t, refinements)
            if callback is not None:
                callback({"step": number, "t": t, "s": s_, "x": x, "denoised": seen})
    return x


def _back(denoise: Denoise, s: Schedule, x_s: Tensor, s_: int, t: int, refinements: int) -> tuple[Tensor, Denoised]:
    """x_t, and what was seen on the way to it."""
    earlier, time = torch.full((len(x_s),), s_), torch.full((len(x_s),), t)
    seen = ask(denoise, x_s, earlier.clamp(min=1))
    x_t = step(s, x_s, earlier, time, seen)
    for _ in range(refinements):
        seen = ask(denoise, x_t, time)
        x_t = refine(s, x_s, earlier, time, seen)
    return x_t, seen
