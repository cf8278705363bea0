"""DPM-Solver++(2M): DDIM, or ancestral sampling, that looks ahead along the line through the last two x0-hats.

Lu et al. 2022 ("DPM-Solver++"), Algorithm 2. With lambda = log(sqrt(ab) / sqrt(1 - ab)), half the log SNR (their
notation), the exact solution is an integral of x0-hat over lambda. DDIM takes x0-hat as constant over a step and is of
first order. Here it is a straight line through two points: second order, for no further call of the network.

Both steps below are a one-step method that is handed the extrapolated x0-hat: written out, the first is the paper's
x_s = (sigma_s / sigma_t) x_t - alpha_s (e^-h - 1) D, with D from :func:`ahead` and h = lambda_s - lambda_t.
"""

import torch
from torch import Tensor

from ddpm_edu.parameterization import Denoised
from ddpm_edu.reverse import beside
from ddpm_edu.sampling import ddim, ddpm
from ddpm_edu.sampling.loop import Before
from ddpm_edu.schedules import Schedule


def step(
    s: Schedule, x_t: Tensor, t: Tensor, s_: Tensor, denoised: Denoised, noise: Tensor, before: Before | None
) -> Tensor:
    """x_s = sqrt(ab_s) D + sqrt(1 - ab_s) eps_D: DPM-Solver++(2M), a step of DDIM with D for x0-hat. Draws no noise.

    eps_D is the noise that goes with D, so that x_t is still their sum. x_t, noise: (N, ...); t, s_: int64 (N,) on the
    CPU; ``before``: what was seen at the step before, None at the first, which is then DDIM's.
    """
    return ddim.step(s, x_t, t, s_, ahead(s, t, s_, x_t, denoised, before), noise)


def sde_step(
    s: Schedule, x_t: Tensor, t: Tensor, s_: Tensor, denoised: Denoised, noise: Tensor, before: Before | None
) -> Tensor:
    """The same for the reverse SDE: SDE-DPM-Solver++(2M), a step of DDPM with D for x0-hat and the posterior variance.

    Written out: x_s = (sigma_s / sigma_t) e^-h x_t + alpha_s (1 - e^-2h) D + sigma_s sqrt(1 - e^-2h) z.
    """
    return ddpm.step(s, x_t, t, s_, ahead(s, t, s_, x_t, denoised, before), noise, variance="posterior")


def ahead(s: Schedule, t: Tensor, s_: Tensor, x_t: Tensor, denoised: Denoised, before: Before | None) -> Denoised:
    """D = (1 + 1 / 2r) x0-hat_t - (1 / 2r) x0-hat_before, the line's value half a step on; r = h_before / h.

    Where lambda is infinite (s = 0, and T with zero terminal SNR) there is no line, and D = x0-hat_t: first order.
    """
    if before is None:
        return denoised
    half_log_snr = s.log_snr / 2
    h, h_before = half_log_snr[s_] - half_log_snr[t], half_log_snr[t] - half_log_snr[before.t]
    weight = torch.where(h.isinf(), 0.0, h / (2 * h_before))  # 1 / 2r
    x0 = denoised.x0 + (beside(weight, x_t) * (denoised.x0 - before.denoised.x0)).to(x_t.dtype)
    rest = 1 - s.alpha_bar[t]
    eps = beside(rest.rsqrt(), x_t) * x_t - beside((s.alpha_bar[t] / rest).sqrt(), x_t) * x0
    return denoised._replace(x0=x0, eps=eps.to(x_t.dtype))
