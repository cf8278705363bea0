"""The bound and the model for Gaussian data with its exact denoiser, in closed form: nothing is sampled.

x_0 ~ N(mu, std^2) per dimension, v_t = alpha_bar_t std^2 + 1 - alpha_bar_t. What the model p does is then Gaussian at
every t, so each term of the bound, the model's density of the data, and the gap between the two are known numbers.
All tables are float64 (T + 1,), all values nats per dimension. ``variance``: S_t of p(x_{t-1} | x_t), a table.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ddpm_edu.errors import DataError
from ddpm_edu.reverse import bound_variance
from ddpm_edu.schedules import Schedule


@dataclass(frozen=True)
class GaussianChain:
    """Data N(mean, std^2) on the schedule s, walked back with the exact denoiser and S_t = ``variance[t]``."""

    s: Schedule
    mean: float
    std: float
    variance: Tensor

    @property
    def v(self) -> Tensor:
        """Variance of x_t, (T + 1,)."""
        return self.s.alpha_bar * self.std**2 + 1 - self.s.alpha_bar

    def prior(self) -> float:
        """L_T, averaged over the data."""
        end = self.s.alpha_bar[-1].item()
        return 0.5 * (end * (self.std**2 + self.mean**2) - end - math.log1p(-end))

    def denoising(self) -> Tensor:
        """L_{t-1} at column t = 2..T, averaged over the data; columns 0 and 1 zero."""
        s, v, S = self.s, self.v, self.variance
        terms = torch.zeros_like(s.beta)
        b, rest = s.posterior_variance[2:], 1 - s.alpha_bar[2:]
        error = s.alpha_bar[1:-1] * s.beta[2:] ** 2 * self.std**2 / (rest * v[2:])
        terms[2:] = 0.5 * ((S[2:] / b).log() + b / S[2:] - 1 + error / S[2:])
        return terms

    def reconstruction(self) -> float:
        """L_0 with the density decoder, averaged over the data."""
        first = self.variance[1]
        error = self.s.beta[1] * self.std**2 / self.v[1]
        return 0.5 * ((2 * math.pi * first).log() + error / first).item()

    def entropy(self) -> float:
        """H of the data: what no code can beat on average."""
        return 0.5 * math.log(2 * math.pi * math.e * self.std**2)

    def total(self) -> float:
        """The bound, as entropy plus what is lost: at the end of the chain, and by a wrong width in each step."""
        v, ratio = self.v, self.best_variance()[1:] / self.variance[1:]
        end = self.s.alpha_bar[-1].item() * self.mean**2 + v[-1].item() - 1 - math.log(v[-1])
        return self.entropy() + 0.5 * end + 0.5 * (ratio - 1 - ratio.log()).sum().item()

    def best_variance(self) -> Tensor:
        """sigma*_t^2 = beta_t v_{t-1} / v_t: the variance of the true reverse step; column 0 zero."""
        best = torch.zeros_like(self.s.beta)
        best[1:] = self.s.beta[1:] * self.v[:-1] / self.v[1:]
        return best

    def marginal(self) -> tuple[float, float]:
        """Mean and variance of what the model makes, starting from N(0, 1) and taking every step."""
        s, v = self.s, self.v
        factors = (
            s.alpha[1:].sqrt() * v[:-1] / v[1:]
        ).tolist()  # plain floats: a loop over tensors takes ten times as long
        centres, added = (s.alpha_bar.sqrt() * self.mean).tolist(), self.variance.tolist()
        mean, variance = 0.0, 1.0
        for t in range(s.T, 0, -1):
            factor = factors[t - 1]
            mean = centres[t - 1] + factor * (mean - centres[t])
            variance = factor**2 * variance + added[t]
        return mean, variance

    def nll(self) -> float:
        """-log p(x_0) of the model, averaged over the data: at most the bound, at least the entropy."""
        mean, variance = self.marginal()
        return 0.5 * (math.log(2 * math.pi * variance) + (self.std**2 + (self.mean - mean) ** 2) / variance)


def gaussian(s: Schedule, mean: float, std: float, variance: str = "beta") -> GaussianChain:
    """The chain with S_t by name: "beta", "posterior" (entry 2 at t = 1) or "optimal" (here: the true one).

    Raises DataError for a std that is not > 0, ConfigError for another name.
    """
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise DataError(f"mean must be a finite number and std one > 0, got {mean!r} and {std!r}.")
    chain = GaussianChain(s, mean, std, torch.zeros_like(s.beta))
    if variance == "optimal":
        table = chain.best_variance()
    else:
        table = torch.cat([s.beta.new_zeros(1), bound_variance(s, torch.arange(1, s.T + 1), variance)])
    return GaussianChain(s, mean, std, table)


def full_gaussian(s: Schedule, mean: Tensor, covariance: Tensor, variance: str = "beta") -> list[GaussianChain]:
    """The chain of each eigenvector of ``covariance`` (D, D): the walk never mixes them, so nats add up over the list.

    ``mean`` (D,). ``variance``: "beta", "posterior", or "optimal", the best that is the same in all D directions.
    """
    eigenvalues, directions = torch.linalg.eigh(covariance.double())
    along = (mean.double() @ directions).tolist()
    chains = [gaussian(s, m, v**0.5, variance) for m, v in zip(along, eigenvalues.tolist(), strict=True)]
    if variance != "optimal":
        return chains
    shared = torch.stack([chain.variance for chain in chains]).mean(0)  # the trace of the true one, spread evenly
    return [replace(chain, variance=shared) for chain in chains]
