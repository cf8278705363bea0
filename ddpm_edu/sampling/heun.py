"""Heun's method, EDM's sampler, on a DDPM model: the mean of the slopes at both ends of a step.

It needs steps over which sigma does not fall too fast. On DDPM's linear schedule, whose sigma_T is 157, uniform steps
do. On the cosine schedule the first of 100 uniform steps goes from sigma 20,000 to 64, and the two slopes say little of
the way between: there take :func:`ddpm_edu.sampling.grids.log_snr`, or another solver.
"""

import torch
from torch import Tensor

from ddpm_edu.parameterization import Denoise, Denoised
from ddpm_edu.reverse import beside
from ddpm_edu.sampling import ddim
from ddpm_edu.sampling.loop import ask
from ddpm_edu.schedules import Schedule


def step(
    s: Schedule, x_t: Tensor, t: Tensor, s_: Tensor, denoised: Denoised, noise: Tensor, denoise: Denoise
) -> Tensor:
    """z_s = z_t + (sigma_s - sigma_t) (eps_t + eps_s) / 2: EDM (Karras et al. 2022), Algorithm 1. Draws no noise.

    z = x / sqrt(ab) and sigma = sqrt((1 - ab) / ab) turn a DDPM model into EDM's, with slope dz / dsigma = eps-hat.
    eps_s is what ``denoise`` sees where Euler's step (which is DDIM's) would land: a second call, except in the step
    to s = 0, where sigma = 0 and no network can be asked, and from a T with ab_T = 0, where sigma is infinite.
    x_t, noise: (N, ...); t, s_: int64 (N,) on the CPU.
    """
    euler = ddim.step(s, x_t, t, s_, denoised, noise)
    if (s_ == 0).all():
        return euler
    there = ask(denoise, euler, s_.clamp(min=1))
    sigma = (1 / s.alpha_bar - 1).sqrt()
    half_way = s.alpha_bar[s_].sqrt() * (sigma[s_] - sigma[t]) / 2
    known = (s_ > 0) & sigma[t].isfinite()
    return (euler + beside(torch.where(known, half_way, 0.0), x_t) * (there.eps - denoised.eps)).to(x_t.dtype)
