"""The library's answers to those of notebook 02's exercises that are no function of the library, by their arguments."""

import math

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from ddpm_edu import elbo
from ddpm_edu.parameterization import Denoise
from ddpm_edu.schedules import Schedule


def gaussian_kl(mean_a: Tensor, variance_a: Tensor, mean_b: Tensor, variance_b: Tensor) -> Tensor:
    """KL(N(mean_a, variance_a) || N(mean_b, variance_b)) in nats, element by element, by torch."""
    return kl_divergence(Normal(mean_a, variance_a.sqrt()), Normal(mean_b, variance_b.sqrt()))


def grey_levels(mean: float, std: float, levels: int) -> Tensor:
    """The mass in the bin of each level, float64 (levels,): :func:`ddpm_edu.elbo.discretized`."""
    x = torch.linspace(-1, 1, levels, dtype=torch.float64)
    log_mass = elbo.discretized(levels).log_prob(x, torch.full_like(x, mean), torch.full_like(x, std**2))
    return log_mass.exp()


def bits_per_dim(prior: Tensor, denoising: Tensor, reconstruction: Tensor, dimensions: int) -> Tensor:
    """The total in bits per dimension, (N,): :attr:`ddpm_edu.elbo.Bound.bits_per_dim`."""
    return (prior + denoising.sum(1) + reconstruction) / (dimensions * math.log(2))


def whole_bound(denoise: Denoise, s: Schedule, x0: Tensor, noise: Tensor) -> Tensor:
    """The bound in nats, (N,), at S_t = beta_t: :func:`ddpm_edu.elbo.variational_bound`."""
    return elbo.variational_bound(denoise, s, x0, decoder=elbo.density, noise=noise).total
