"""The variational bound on -log p(x_0), as three named terms (DDPM, Eq. 5):

    prior           L_T      KL(q(x_T | x_0) || N(0, I)): what is left at the end of the chain; no parameters
    denoising       L_{t-1}  KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), t = 2..T: the steps back
    reconstruction  L_0      -log p(x_0 | x_1): the last step, from a density or on grey levels

Everything is in nats, float64, summed over dimensions, one number per sample; only bits_per_dim is per dimension.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ddpm_edu.errors import ConfigError, DataError, ShapeError
from ddpm_edu.forward import check_batch, q_sample
from ddpm_edu.parameterization import Denoise, Denoised, check_schedule
from ddpm_edu.reverse import Variance, beside, bound_variance, resolve
from ddpm_edu.schedules import Schedule


@dataclass(frozen=True)
class Decoder:
    """p(x_0 | x_1) for L_0. ``log_prob(x0, mean, variance)``: nats per dimension, (N, ...).

    ``bits_shift`` turns nats of this decoder into bits per dimension of the stored integers: 0 where it already is
    about these, None where nobody said what they are.
    """

    name: str
    log_prob: Callable[[Tensor, Tensor, Tensor], Tensor]
    bits_shift: float | None


@dataclass(frozen=True, eq=False)
class Bound:
    """The bound's terms for N samples of D dimensions: float64, nats summed over dimensions.

    ``prior``, ``reconstruction`` (N,); ``denoising`` (N, T + 1), column t holding L_{t-1}, columns 0 and 1 zero;
    ``eps_mse`` (N, T + 1): the denoiser's squared error of eps per dimension at each t (column 0 zero).
    """

    prior: Tensor
    denoising: Tensor
    reconstruction: Tensor
    eps_mse: Tensor
    dimensions: int
    bits_shift: float | None

    @property
    def total(self) -> Tensor:
        """prior + sum of denoising + reconstruction, (N,): at least -log p(x_0)."""
        return self.rate + self.distortion

    @property
    def rate(self) -> Tensor:
        """prior + sum of denoising, (N,): nats spent before the last step."""
        return self.prior + self.denoising.sum(1)

    @property
    def distortion(self) -> Tensor:
        """The reconstruction term, (N,): nats spent on what the last step cannot know."""
        return self.reconstruction

    @property
    def bits_per_dim(self) -> Tensor:
        """The total in bits per dimension of the stored integers, (N,). Raises ConfigError for a plain density."""
        if self.bits_shift is None:
            raise ConfigError(
                "bits per dimension of a density depend on the unit of the data, and decoder=elbo.density does not "
                "know it. Fix: decoder=elbo.discretized(levels), or elbo.density_of(levels) for a density on [-1, 1]."
            )
        return self.total / (self.dimensions * math.log(2)) + self.bits_shift


def variational_bound(
    denoise: Denoise,
    s: Schedule,
    x0: Tensor,
    *,
    decoder: Decoder,
    variance: Variance = "beta",
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
    batch_size: int = 4096,
    progress: bool = False,
) -> Bound:
    """The bound of each sample, with one draw of x_t for every t = 1..T.

    x0: (N, ...). ``variance``: a name of :mod:`ddpm_edu.reverse` or a table (T + 1,). ``noise``: (N, ...), then the
    same for every t, which makes closed forms hold to rounding; else drawn anew for each t from ``generator``.
    ``batch_size``: how many pairs of sample and time go through the denoiser at once; the result does not depend on it.
    Raises ScheduleError for a denoiser of another schedule, ShapeError, DataError, ConfigError.
    """
    check_schedule(denoise, s)
    _check_decoder(decoder)
    check_batch(s, x0, torch.ones(len(x0), dtype=torch.int64), x0=x0, **({} if noise is None else {"noise": noise}))
    variance, n = resolve(variance, denoise), len(x0)
    denoising, eps_mse = torch.zeros(n, s.T + 1, dtype=torch.float64), torch.zeros(n, s.T + 1, dtype=torch.float64)
    reconstruction = torch.zeros(n, dtype=torch.float64)
    with torch.no_grad(), tqdm(total=s.T, disable=not progress, desc="bound") as bar:
        for times in _chunks(s.T, max(1, batch_size // n)):
            x = x0.repeat(len(times), *[1] * (x0.ndim - 1))
            t = times.repeat_interleave(n).to(x0.device)
            draw = torch.cat([_noise(x0, noise, generator) for _ in times])
            denoised = _checked_denoised(denoise(q_sample(s, x, t, draw), t), draw)
            shape = (len(times), n)
            error = (denoised.eps.double() - draw.double()).square().flatten(1).mean(1)
            eps_mse[:, times] = error.reshape(shape).T.cpu()
            width = bound_variance(s, t.cpu(), variance, denoised.variance_fraction)
            kl = denoising_term(s, x, denoised.x0, t, width)
            denoising[:, times] = kl.reshape(shape).T.cpu()
            if times[0] == 1:
                first = decoder.log_prob(x0.double(), denoised.x0[:n].double(), beside(width[:n], x0.double()))
                reconstruction = -first.flatten(1).sum(1).cpu()
            bar.update(len(times))
    denoising[:, 1] = 0  # t = 1 is the reconstruction
    return Bound(prior_term(s, x0), denoising, reconstruction, eps_mse, x0[0].numel(), decoder.bits_shift)


# ---------------------------------------------------------------- the terms


def prior_term(s: Schedule, x0: Tensor) -> Tensor:
    """L_T = KL(q(x_T | x_0) || N(0, I)), (N,): 1/2 sum_i [ab_T x_i^2 - ab_T - log(1 - ab_T)]. x0: (N, ...)."""
    end = s.alpha_bar[-1].item()
    constant = -end - math.log1p(-end)  # log1p: for a good schedule both parts are tiny and nearly cancel
    return 0.5 * (end * x0.double().square() + constant).flatten(1).sum(1).cpu()


def denoising_term(s: Schedule, x0: Tensor, x0_hat: Tensor, t: Tensor, variance: Tensor) -> Tensor:
    """L_{t-1} = KL(N(mu~, posterior variance) || N(mu, variance)), (N,), for t >= 2.

    1/2 sum_i [log(S_i / b) + b / S_i - 1 + (mu~ - mu)_i^2 / S_i]; the means differ by their x_0 alone.
    x0, x0_hat: (N, ...); variance: (N,) or (N, ...). What comes out at t = 1, where the posterior has no width, means
    nothing: that step is the reconstruction.
    """
    check_batch(s, x0, t, x0=x0.double(), x0_hat=x0_hat.double())
    if variance.shape not in (x0.shape, (len(x0),)):
        raise ShapeError(
            f"variance must be ({len(x0)},), one a sample, or {tuple(x0.shape)}, got {tuple(variance.shape)}. "
            "Usual cause: a table over t in the place of its values. Fix: table[t]."
        )
    time = t.cpu()
    b = beside(s.posterior_variance[time], x0.double()).clamp(min=torch.finfo(torch.float64).tiny)
    wide = beside(variance, x0.double())
    share = beside(s.alpha_bar[time - 1].sqrt() * s.beta[time] / (1 - s.alpha_bar[time]), x0.double())
    gap = (share * (x0.double() - x0_hat.double())).square()
    return 0.5 * (wide.log() - b.log() + (b + gap) / wide - 1).expand(x0.shape).flatten(1).sum(1)


def eps_weight(s: Schedule, variance: Tensor) -> Tensor:
    """w_t with L_{t-1} = C_t + w_t |eps - eps_hat|^2, float64 (T + 1,): beta_t^2 / (2 S_t alpha_t (1 - alpha_bar_t)).

    DDPM, Eq. 12. ``variance``: S as a table (T + 1,). C_t = 0 where S is the posterior variance. Entry 0 is 0; at
    t = 1 it is the weight in the density decoder's -log p(x_0 | x_1).
    """
    weight = torch.zeros_like(s.beta)
    weight[1:] = s.beta[1:] ** 2 / (2 * variance[1:] * s.alpha[1:] * (1 - s.alpha_bar[1:]))
    return weight


# ---------------------------------------------------------------- decoders for the last step


def _normal_log_density(x0: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return -0.5 * ((x0 - mean).square() / variance + (2 * math.pi * variance).log())


density = Decoder("density", _normal_log_density, None)


def density_of(levels: int) -> Decoder:
    """A density on [-1, 1], counted per grey level: bits per dimension get log2((levels - 1) / 2) added."""
    return Decoder(f"density of {_checked(levels)} levels", _normal_log_density, math.log2((levels - 1) / 2))


def discretized(levels: int) -> Decoder:
    """The probability of a grey level: the Gaussian's mass in its bin, the two outer bins reaching to infinity.

    DDPM, Eq. 13, for any number of levels -1 + 2 k / (levels - 1): bins are 2 / (levels - 1) wide and their masses
    add up to 1. log_prob raises DataError where x0 is not on the levels.
    """
    half = 1 / (_checked(levels) - 1)

    def log_prob(x0: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        k = ((x0 + 1) / (2 * half)).round()
        _check_on_levels(x0, k, half, levels)
        level, std = 2 * half * k - 1, variance.sqrt()
        low = torch.where(k <= 0, -math.inf, (level - half - mean) / std)
        high = torch.where(k >= levels - 1, math.inf, (level + half - mean) / std)
        return _log_mass(low, high)

    return Decoder(f"discretized to {levels} levels", log_prob, 0.0)


def _log_mass(low: Tensor, high: Tensor) -> Tensor:
    """log(Phi(high) - Phi(low)), exact far out on either side: there the mirrored tail is used."""
    mirrored = low > 0
    low, high = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    return log_high + (-torch.expm1(log_low - log_high)).log()


# ---------------------------------------------------------------- helpers


def _chunks(T: int, size: int) -> Iterator[Tensor]:
    yield from torch.arange(1, T + 1).split(size)


def _noise(x0: Tensor, noise: Tensor | None, generator: torch.Generator | None) -> Tensor:
    if noise is not None:
        return noise
    device = generator.device if generator is not None else x0.device
    return torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=device).to(x0.device)


def _check_decoder(decoder: Decoder) -> None:
    if not isinstance(decoder, Decoder):
        raise ConfigError(
            f"decoder must be elbo.density, elbo.density_of(levels) or elbo.discretized(levels), got {decoder!r}. "
            "Usual cause: the number of levels forgotten. Fix: elbo.discretized(17) for the 8x8 digits."
        )


def _checked_denoised(denoised: Denoised, x_t: Tensor) -> Denoised:
    if not isinstance(denoised, Denoised):
        raise ConfigError(
            f"a denoiser returns Denoised(x0, eps), this one returned {type(denoised).__name__}. "
            "Usual cause: a bare network. Fix: parameterization.denoiser(net, s, predicts)."
        )
    if not denoised.x0.shape == denoised.eps.shape == x_t.shape:
        raise ShapeError(
            f"the denoiser returned x0 {tuple(denoised.x0.shape)} and eps {tuple(denoised.eps.shape)} for x_t "
            f"{tuple(x_t.shape)}; they must be equal, nothing is broadcast."
        )
    return denoised


def _checked(levels: int) -> int:
    if isinstance(levels, bool) or not isinstance(levels, int) or levels < 2:
        raise ConfigError(
            f"levels must be an integer >= 2, got {levels!r}. 256 for photographs, 17 for the 8x8 digits."
        )
    return levels


def _check_on_levels(x0: Tensor, k: Tensor, half: float, levels: int) -> None:
    off = (x0 - (2 * half * k - 1)).abs().max().item()
    if off > 1e-3 * half or k.min() < 0 or k.max() > levels - 1:
        raise DataError(
            f"x0 is not on the {levels} grey levels from -1 to 1 (off by {off:.3g}). Usual cause: another number of "
            "levels (the 8x8 digits have 17, photographs 256), or dequantised data. Fix: decoder=discretized(levels) "
            "with the data's own levels, or density."
        )
