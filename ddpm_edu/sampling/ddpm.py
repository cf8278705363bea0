"""One step of DDPM: a draw from p(x_s | x_t)."""

from torch import Tensor

from ddpm_edu import reverse
from ddpm_edu.parameterization import Denoised
from ddpm_edu.reverse import Variance
from ddpm_edu.schedules import Schedule


def step(
    s: Schedule, x_t: Tensor, t: Tensor, s_: Tensor, denoised: Denoised, noise: Tensor, variance: Variance = "beta"
) -> Tensor:
    """x_s = mu(x_t, x0-hat) + sigma z: DDPM (Ho et al. 2020), Algorithm 2, for any pair s < t.

    mu is the mean of q(x_s | x_t, x_0) at x0-hat, sigma^2 the ``variance`` of :mod:`ddpm_edu.reverse`, 0 where s = 0.
    x_t, noise: (N, ...); t, s_: int64 (N,) on the CPU.
    """
    mean = reverse.pair_mean(s, denoised.x0, x_t, t, s_)
    sigma = reverse.pair_variance(s, t, s_, variance, denoised.variance_fraction).sqrt()
    return (mean + reverse.beside(sigma, x_t) * noise).to(x_t.dtype)
