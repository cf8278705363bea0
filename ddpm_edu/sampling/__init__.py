"""From noise to samples: a denoiser, a schedule, and a list of pairs of times to walk.

A method is a pure function ``step(s, x_t, t, s_, denoised, noise)``, a module each; :func:`sample` walks with one.

- grids of (t, s) pairs: :mod:`grids`; the loop that all methods share: :mod:`loop`; their names: :mod:`methods`
- methods: :mod:`ddpm`, :mod:`ddim`, :mod:`dpm_solver` (2M and its SDE form), :mod:`heun` (EDM); with steps of their own
  choosing: :mod:`adaptive`
- denoisers made from denoisers: :mod:`guidance` (classifier-free, rescaled, by a classifier), :mod:`thresholding`
- the other way: :mod:`inversion` (data to noise), :mod:`likelihood` (log p of data), :mod:`interpolation` (slerp)
- with part of the image given: :mod:`inpainting` (RePaint)
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ddpm_edu.parameterization import Denoise, check_schedule
from ddpm_edu.reverse import Variance
from ddpm_edu.sampling import (
    adaptive,
    ddim,
    ddpm,
    dpm_solver,
    grids,
    guidance,
    heun,
    inpainting,
    interpolation,
    inversion,
    likelihood,
    loop,
    methods,
    thresholding,
)
from ddpm_edu.sampling.grids import Pairs
from ddpm_edu.sampling.loop import Callback, Generators
from ddpm_edu.sampling.methods import FAST_STEPS, METHODS, Options
from ddpm_edu.schedules import Schedule

__all__ = [
    "FAST_STEPS",
    "METHODS",
    "adaptive",
    "ddim",
    "ddpm",
    "dpm_solver",
    "grids",
    "guidance",
    "heun",
    "inpainting",
    "interpolation",
    "inversion",
    "likelihood",
    "loop",
    "methods",
    "sample",
    "thresholding",
]


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

    ``method``: "ddpm" (all T steps unless ``steps`` says otherwise), or with 50 steps "ddim" (deterministic at ``eta``
    = 0), "dpmpp_2m", "dpmpp_2m_sde", "heun" (which asks the denoiser twice a step, once in the last). Steps are uniform
    in t; where alpha_bar_T is tiny (cosine) Heun needs others, see :mod:`heun`.
    ``variance``: of DDPM's step, see :mod:`ddpm_edu.reverse`. ``generator``: one for the batch, or a list of N, one a
    sample (x_T first, then a draw a step). ``grid``: the pairs (t, s) to walk, in place of ``steps``, from
    :mod:`grids`; ``x_T``: where to start, in place of noise, noisy as at the grid's first t. ``callback`` gets a dict
    after each step: step (0, 1, ..), t, s, x (at s), denoised (what was seen at t).
    Raises ConfigError, ShapeError, TimestepError, and ScheduleError for a denoiser that belongs to another schedule.
    """
    check_schedule(denoise, s)
    take = methods.choose(method, s, denoise, Options(eta, variance))
    grid = grids.chosen(s.T, steps, grid, METHODS[method].steps(s.T), grids.uniform)
    grids.check(grid, s.T, from_noise=x_T is None)
    x = loop.start(shape, generator, x_T, dtype, device)
    with torch.no_grad():
        return loop.walk(denoise, s, x, grid, take, generator, callback, progress)
