"""Data whose best denoiser is known in closed form: a Gaussian, a mixture, a finite data set.

Each oracle gives, through ``.denoiser(s)``, the exact E[x_0 | x_t] and E[eps | x_t]: what a network of any size could
at best learn. With one of these in the place of the network, samplers and the bound can be tested without training, and
a bug in them can be told from a bad network.

Shapes: x_t (N, ...), t int64 (N,). Everything is computed in float64 and returned in x_t's dtype. None of this clips.
Sources: normal conjugacy; Tweedie's formula (Robbins 1956), its second order (Meng et al. 2021).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpm_edu.errors import DataError, ShapeError
from ddpm_edu.forward import at, check_batch
from ddpm_edu.parameterization import Denoised, eps_from_x0
from ddpm_edu.schedules import Schedule


@dataclass(frozen=True, eq=False)
class OracleDenoiser:
    """An oracle's E[x_0 | x_t] as a denoiser for one schedule: ``denoise(x_t, t) -> Denoised(x0, eps)``."""

    schedule: Schedule
    posterior_mean: Callable[[Schedule, Tensor, Tensor], Tensor]
    eps_mse: Tensor | None = None  # the least mean squared error of eps per dimension, (T + 1,), where it is known

    def __call__(self, x_t: Tensor, t: Tensor, /) -> Denoised:
        """The exact expectations of x_0 and eps given x_t (N, ...) at t (N,)."""
        check_batch(self.schedule, x_t, t, x_t=x_t)
        x = x_t.double()
        x0 = self.posterior_mean(self.schedule, x, t)
        return Denoised(x0.to(x_t.dtype), eps_from_x0(self.schedule, x, t, x0).to(x_t.dtype))


def _check(s: Schedule, x: Tensor, t: Tensor, fits: bool, own: object) -> None:
    """Refuses a t, or samples x (N, ...), that would broadcast against what the oracle knows."""
    check_batch(s, x, t, x_t=x)
    if not fits:
        raise ShapeError(
            f"x_t has samples of shape {tuple(x.shape[1:])}, and this oracle knows samples of {own}; they must be "
            "equal. Usual cause: data of another size, or a missing batch dimension. Fix: x_t[None] for one sample."
        )


class Gaussian:
    """x_0 ~ N(mean, std^2), independently in every dimension.

    ``mean`` and ``std`` are numbers, or tensors of the shape of one sample. Raises DataError for a std that is not > 0.
    """

    def __init__(self, mean: float | Tensor = 0.0, std: float | Tensor = 1.0) -> None:
        self.mean, self.std = (torch.as_tensor(v, dtype=torch.float64) for v in (mean, std))
        if not (self.std > 0).all():
            raise DataError(f"std must be > 0, got {self.std.min().item():g}. Fix: a single point is FiniteDataset(x).")

    def variance(self, s: Schedule, x: Tensor, t: Tensor) -> Tensor:
        """v_t = alpha_bar_t std^2 + 1 - alpha_bar_t, the variance of x_t, beside x (N, ...)."""
        for own in (self.mean, self.std):
            _check(s, x, t, own.ndim == 0 or own.shape == x.shape[1:], f"shape {tuple(own.shape)}")
        ab = at(s.alpha_bar, t, x)
        return ab * self.std**2 + 1 - ab

    def posterior_mean(self, s: Schedule, x: Tensor, t: Tensor) -> Tensor:
        """E[x_0 | x_t] = mean + sqrt(alpha_bar_t) std^2 (x_t - sqrt(alpha_bar_t) mean) / v_t."""
        v, root = self.variance(s, x, t), at(s.alpha_bar.sqrt(), t, x)
        return self.mean + root * self.std**2 * (x - root * self.mean) / v

    def score(self, s: Schedule, x_t: Tensor, t: Tensor) -> Tensor:
        """grad log q(x_t) = -(x_t - sqrt(alpha_bar_t) mean) / v_t, (N, ...)."""
        x = x_t.double()
        v = self.variance(s, x, t)
        return (-(x - at(s.alpha_bar.sqrt(), t, x) * self.mean) / v).to(x_t.dtype)

    def eps_floor(self, s: Schedule) -> Tensor:
        """Least mean squared error of eps per dimension at t = 0..T: alpha_bar_t std^2 / v_t, float64 (T + 1,)."""
        signal = s.alpha_bar[:, None] * self.std.flatten() ** 2
        return (signal / (signal + (1 - s.alpha_bar)[:, None])).mean(1)

    def denoiser(self, s: Schedule) -> OracleDenoiser:
        """The best denoiser of this data on schedule s."""
        return OracleDenoiser(s, self.posterior_mean, self.eps_floor(s))

    def sample(self, n: int, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        """n draws of shape ``shape``, float64 (n, *shape)."""
        return self.mean + self.std * torch.randn(n, *shape, generator=generator, dtype=torch.float64)


class FullGaussian:
    """x_0 ~ N(mean, covariance) over D dimensions; samples of any shape are flattened to (N, D).

    Its denoiser is the Wiener filter. :meth:`fit` takes mean and covariance from data: the best that anything linear
    could do there, which a network worth its name must beat. Raises DataError for a covariance that is none.
    """

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        self.mean, self.covariance = mean.double(), covariance.double()
        if self.covariance.shape != (self.mean.numel(), self.mean.numel()) or self.mean.ndim != 1:
            raise ShapeError(
                f"mean must be (D,) and covariance (D, D), got {tuple(mean.shape)} and {tuple(covariance.shape)}."
            )
        self.eigenvalues, self.directions = torch.linalg.eigh(self.covariance)
        if self.eigenvalues.min() < -1e-9 * self.eigenvalues.max().clamp(min=1e-300):
            raise DataError(
                f"the covariance has the negative eigenvalue {self.eigenvalues.min().item():.3g}: it is none. "
                "Usual cause: a matrix that is not symmetric. Fix: torch.cov(x.T)."
            )
        self.eigenvalues = self.eigenvalues.clamp(min=0)

    @classmethod
    def fit(cls, x0: Tensor) -> "FullGaussian":
        """The Gaussian with the mean and (maximum-likelihood) covariance of x0 (N, ...)."""
        flat = x0.flatten(1).double()
        return cls(flat.mean(0), torch.cov(flat.T, correction=0).reshape(flat.shape[1], flat.shape[1]))

    def posterior_mean(self, s: Schedule, x: Tensor, t: Tensor) -> Tensor:
        """mean + sqrt(ab) Sigma (ab Sigma + (1 - ab) I)^{-1} (x_t - sqrt(ab) mean), along the eigenvectors."""
        _check(s, x, t, x.shape[1:].numel() == self.mean.numel(), f"{self.mean.numel()} numbers")
        flat = x.flatten(1)
        ab = s.alpha_bar.to(flat.device)[t][:, None]
        deviation = (flat - ab.sqrt() * self.mean) @ self.directions
        gain = ab.sqrt() * self.eigenvalues / (ab * self.eigenvalues + 1 - ab)
        return (self.mean + (gain * deviation) @ self.directions.T).reshape(x.shape)

    def denoiser(self, s: Schedule) -> OracleDenoiser:
        """The Wiener filter on schedule s."""
        return OracleDenoiser(s, self.posterior_mean, self.eps_floor(s))

    def eps_floor(self, s: Schedule) -> Tensor:
        """Least mean squared error of eps per dimension at t = 0..T, (T + 1,): mean_i ab l_i / (ab l_i + 1 - ab)."""
        signal = s.alpha_bar[:, None] * self.eigenvalues
        return (signal / (signal + (1 - s.alpha_bar)[:, None])).mean(1)


class Mixture:
    """x_0 from component k with probability weights[k], then N(means[k], stds[k]^2 I).

    weights (K,), means (K, ...), stds (K,); stds may be 0 (point masses). Raises ShapeError, DataError.
    """

    def __init__(self, weights: Tensor, means: Tensor, stds: Tensor) -> None:
        self.weights, self.means, self.stds = (torch.as_tensor(v, dtype=torch.float64) for v in (weights, means, stds))
        k = len(self.means)
        if self.weights.shape != (k,) or self.stds.shape != (k,):
            raise ShapeError(
                f"{k} means need as many weights and stds; got shapes {tuple(self.weights.shape)} and "
                f"{tuple(self.stds.shape)}. Fix: one of each per component."
            )
        if not (self.weights > 0).all() or abs(self.weights.sum() - 1) > 1e-6 or not (self.stds >= 0).all():
            raise DataError(
                f"weights must be > 0 and add up to 1 (they add up to {self.weights.sum().item():.6g}), stds must be "
                ">= 0. Fix: weights / weights.sum()."
            )
        self.weights = self.weights / self.weights.sum()  # weights in single precision add up to 1.00000001

    def _parts(self, s: Schedule, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """ab (N, 1), v_k (N, K), deviations d_k (N, K, D), log of weight times density of x_t (N, K)."""
        _check(s, x, t, x.shape[1:].numel() == self.means[0].numel(), f"{self.means[0].numel()} numbers")
        flat, centres = x.double().flatten(1), self.means.flatten(1)
        ab = s.alpha_bar.to(flat.device)[t][:, None]
        v = ab * self.stds**2 + 1 - ab
        d = flat[:, None] - ab.sqrt()[:, :, None] * centres
        log = self.weights.log() - 0.5 * flat.shape[1] * (2 * torch.pi * v).log() - d.square().sum(2) / (2 * v)
        return ab, v, d, log

    def log_density(self, s: Schedule, x_t: Tensor, t: Tensor) -> Tensor:
        """log q(x_t) in nats, float64 (N,)."""
        return torch.logsumexp(self._parts(s, x_t, t)[3], 1)

    def log_likelihood(self, x0: Tensor) -> Tensor:
        """log of the data's own density at x0 (N, ...), nats, float64 (N,). Its mean is what no model can beat.

        Raises DataError for point masses, which have no density.
        """
        if not (self.stds > 0).all():
            raise DataError("point masses (std = 0) have no density. Fix: stds > 0, or ask about x_t at some t >= 1.")
        flat, centres = x0.double().flatten(1), self.means.flatten(1)
        squares = (flat[:, None] - centres).square().sum(2) / self.stds**2
        normal = -0.5 * squares - flat.shape[1] * (self.stds.log() + 0.5 * math.log(2 * math.pi))
        return torch.logsumexp(self.weights.log() + normal, 1)

    def class_posterior(self, s: Schedule, x_t: Tensor, t: Tensor) -> Tensor:
        """p(component | x_t), float64 (N, K): exact, so it makes exact classifier guidance."""
        return torch.softmax(self._parts(s, x_t, t)[3], 1)

    def score(self, s: Schedule, x_t: Tensor, t: Tensor) -> Tensor:
        """grad log q(x_t) = -sum_k r_k d_k / v_k, (N, ...)."""
        _, v, d, log = self._parts(s, x_t, t)
        score = -(torch.softmax(log, 1) / v)[:, :, None] * d
        return score.sum(1).reshape(x_t.shape).to(x_t.dtype)

    def posterior_mean(self, s: Schedule, x: Tensor, t: Tensor) -> Tensor:
        """E[x_0 | x_t] = sum_k r_k m_k, m_k = mean_k + sqrt(ab) std_k^2 d_k / v_k."""
        ab, v, d, log = self._parts(s, x, t)
        inner = self.means.flatten(1) + (ab.sqrt() * self.stds**2 / v)[:, :, None] * d
        return (torch.softmax(log, 1)[:, :, None] * inner).sum(1).reshape(x.shape)

    def posterior_covariance(self, s: Schedule, x_t: Tensor, t: Tensor) -> Tensor:
        """Cov(x_0 | x_t), float64 (N, D, D): within the components, and between their means."""
        ab, v, d, log = self._parts(s, x_t, t)
        r = torch.softmax(log, 1)
        inner = self.means.flatten(1) + (ab.sqrt() * self.stds**2 / v)[:, :, None] * d
        spread = inner - (r[:, :, None] * inner).sum(1, keepdim=True)
        within = (r * (1 - ab) * self.stds**2 / v).sum(1)
        eye = torch.eye(d.shape[2], dtype=torch.float64)
        return within[:, None, None] * eye + torch.einsum("nk,nki,nkj->nij", r, spread, spread)

    def denoiser(self, s: Schedule) -> OracleDenoiser:
        """The best denoiser of this data on schedule s."""
        return OracleDenoiser(s, self.posterior_mean)

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """n draws and their components: float64 (n, ...), int64 (n,)."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, *self.means.shape[1:], generator=generator, dtype=torch.float64)
        return self.means[k] + self.stds[k].reshape(-1, *[1] * (self.means.ndim - 1)) * noise, k


class FiniteDataset:
    """x_0 is one of the given samples, each as likely: x (n, ...). The best denoiser of a training set itself.

    Sampling with it returns training samples: it is what a network would become that learned its training set by heart.
    """

    def __init__(self, x: Tensor) -> None:
        if x.ndim < 2 or len(x) == 0:
            raise ShapeError(
                f"a data set is (n, ...) with n >= 1 samples, got {tuple(x.shape)}. Fix: x[None] for one sample."
            )
        self.x = x.double()

    def weights(self, s: Schedule, x_t: Tensor, t: Tensor) -> Tensor:
        """p(sample i | x_t), float64 (N, n): softmax of -|x_t - sqrt(ab) x_i|^2 / (2 (1 - ab))."""
        _check(s, x_t, t, x_t.shape[1:].numel() == self.x[0].numel(), f"{self.x[0].numel()} numbers")
        ab = s.alpha_bar.to(x_t.device)[t][:, None]
        flat, data = x_t.double().flatten(1), self.x.flatten(1)
        # |a - b|^2 written out: N x n numbers, never N x n x D
        square = flat.square().sum(1, keepdim=True) - 2 * ab.sqrt() * flat @ data.T + ab * data.square().sum(1)
        return torch.softmax(-square / (2 * (1 - ab)), 1)

    def posterior_mean(self, s: Schedule, x: Tensor, t: Tensor) -> Tensor:
        """E[x_0 | x_t]: the average of the samples, weighted by how likely each is."""
        return (self.weights(s, x, t) @ self.x.flatten(1)).reshape(x.shape)

    def score(self, s: Schedule, x_t: Tensor, t: Tensor) -> Tensor:
        """grad log q(x_t) = (sqrt(ab) E[x_0 | x_t] - x_t) / (1 - ab), Tweedie's formula."""
        x = x_t.double()
        mean = self.posterior_mean(s, x, t)
        return ((at(s.alpha_bar.sqrt(), t, x) * mean - x) / at(1 - s.alpha_bar, t, x)).to(x_t.dtype)

    def denoiser(self, s: Schedule) -> OracleDenoiser:
        """The best denoiser of these samples on schedule s."""
        return OracleDenoiser(s, self.posterior_mean)
