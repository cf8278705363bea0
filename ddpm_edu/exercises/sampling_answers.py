"""The library's answers to notebook 05's exercises, with their arguments: ints for times, x0 and eps apart."""

from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_edu.exercises.small_chain import chain
from ddpm_edu.parameterization import Denoised, clipped, static_clip, x0_from_eps
from ddpm_edu.sampling import ddim, ddpm, dpm_solver, grids, inversion
from ddpm_edu.sampling.guidance import Guided
from ddpm_edu.sampling.loop import Before
from ddpm_edu.schedules import Schedule

pairs = grids.uniform


def ancestral_step(s: Schedule, x_t: Tensor, t: int, s_: int, x0: Tensor, noise: Tensor) -> Tensor:
    """One step of DDPM with the posterior's variance: :func:`ddpm_edu.sampling.ddpm.step`."""
    return ddpm.step(s, x_t, _for_each(x_t, t), _for_each(x_t, s_), Denoised(x0, x0), noise, "posterior")


def ddim_step(s: Schedule, x_t: Tensor, t: int, s_: int, x0: Tensor, eps: Tensor, noise: Tensor, eta: float) -> Tensor:
    """One step of DDIM: :func:`ddpm_edu.sampling.ddim.step`."""
    return ddim.step(s, x_t, _for_each(x_t, t), _for_each(x_t, s_), Denoised(x0, eps), noise, eta)


def clip_x0(s: Schedule, x_t: Tensor, t: int, eps: Tensor) -> tuple[Tensor, Tensor]:
    """x0 limited to [-1, 1], and its eps: :func:`ddpm_edu.parameterization.clipped`."""
    time = _for_each(x_t, t)
    seen = clipped(s, x_t, time, Denoised(x0_from_eps(s, x_t, time, eps), eps), static_clip)
    return seen.x0, seen.eps


def extrapolated_x0(s: Schedule, r: int, t: int, s_: int, x0_before: Tensor, x0: Tensor) -> Tensor:
    """The x0 of DPM-Solver++(2M): :func:`ddpm_edu.sampling.dpm_solver.ahead`."""
    before = Before(_for_each(x0, r), Denoised(x0_before, x0_before))
    return dpm_solver.ahead(s, _for_each(x0, t), _for_each(x0, s_), x0, Denoised(x0, x0), before).x0


def guided_eps(eps_c: Tensor, eps_u: Tensor, w: float) -> Tensor:
    """Classifier-free guidance: :class:`ddpm_edu.sampling.guidance.Guided` of two denoisers, asked at t = 1."""
    guided = Guided(lambda x, t: Denoised(eps_c, eps_c), lambda x, t: Denoised(eps_u, eps_u), chain(), w, (1, 1))
    return guided(eps_c, _for_each(eps_c, 1)).eps


def invert_step(s: Schedule, x_s: Tensor, s_: int, t: int, eps: Tensor) -> Tensor:
    """One step of DDIM upwards: :func:`ddpm_edu.sampling.inversion.step`."""
    return inversion.step(s, x_s, _for_each(x_s, s_), _for_each(x_s, t), Denoised(eps, eps))


def mended_sampler(
    denoise: Callable[[Tensor, Tensor], Denoised], s: Schedule, steps: int, draw: Callable[[], Tensor]
) -> Tensor:
    """DDPM's samples in so many steps: :func:`ancestral_step` along :func:`pairs`, both the library's."""
    x = draw()
    for t, s_ in pairs(s.T, steps):
        x = ancestral_step(s, x, t, s_, denoise(x, _for_each(x, t)).x0, draw())
    return x


def _for_each(x: Tensor, t: int) -> Tensor:
    """The time t for each sample of x: int64 (N,)."""
    return torch.full((len(x),), t)
