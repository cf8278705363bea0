"""One step of DDIM: towards x0-hat along the line of the same noise."""

from torch import Tensor

from ddpm_edu.parameterization import Denoised
from ddpm_edu.reverse import beside, pair_posterior_variance
from ddpm_edu.schedules import Schedule


def step(
    s: Schedule, x_t: Tensor, t: Tensor, s_: Tensor, denoised: Denoised, noise: Tensor, eta: float = 0.0
) -> Tensor:
    """x_s = sqrt(ab_s) x0-hat + sqrt(1 - ab_s - sigma^2) eps-hat + sigma z: DDIM (Song et al. 2021), Eq. 12.

    sigma = eta sqrt((1 - ab_s) / (1 - ab_t)) sqrt(1 - ab_t / ab_s), Eq. 16: eta = 0 has no noise, eta = 1 is DDPM with
    the posterior's variance. x_t, noise: (N, ...); t, s_: int64 (N,) on the CPU.
    """
    signal = s.alpha_bar[s_]
    sigma_2 = eta**2 * pair_posterior_variance(s, t, s_)
    rest = (1 - signal - sigma_2).clamp(min=0)  # at eta = 1 and ab_s near 1 rounding can go below 0
    x0, eps = beside(signal.sqrt(), x_t) * denoised.x0, beside(rest.sqrt(), x_t) * denoised.eps
    return (x0 + eps + beside(sigma_2.sqrt(), x_t) * noise).to(x_t.dtype)
