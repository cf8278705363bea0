"""What training minimises: the squared error of a prediction, weighted by t.

L_simple (DDPM, Eq. 14) is the mean squared error of eps with t uniform. Every other loss here is the same error with
another weight, and a weight is a table over t, so that it can be looked at, plotted, and compared. The table depends on
what the network predicts, since the errors of the three predictions are one error in three units:

    |d eps|^2 = SNR |d x0|^2,    |d v|^2 = (1 + SNR) |d x0|^2.

Shapes: data (N, ...), t int64 (N,), losses (N,), tables float64 (T + 1,) with entry 0 unused (0).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_edu import elbo, parameterization
from ddpm_edu.errors import ConfigError, ShapeError
from ddpm_edu.forward import check_batch, q_sample
from ddpm_edu.reverse import beside, bound_variance
from ddpm_edu.schedules import Schedule

Weight = Callable[[Schedule, str], Tensor]


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean over all dimensions of (a - b)^2, (N,). Raises ShapeError unless the shapes are equal: no broadcasting."""
    if a.shape != b.shape:
        raise ShapeError(
            f"the prediction has shape {tuple(a.shape)} and the target {tuple(b.shape)}; they must be equal. "
            "Usual cause: a network with another number of channels. Fix: compare like with like."
        )
    return (a - b).square().flatten(1).mean(1)


def simple(
    net: Callable[..., Tensor],
    s: Schedule,
    x0: Tensor,
    t: Tensor,
    noise: Tensor,
    predicts: str = "eps",
    weight: Tensor | None = None,
) -> Tensor:
    """Per-sample loss w_t |target - net(x_t, t)|^2 / D, (N,); without ``weight`` this is L_simple.

    DDPM, Eq. 14. ``predicts``: "eps", "x0", "v" or "score"; ``weight``: a table (T + 1,), made once by one of the
    weights below. The target's noise is all the noise in x_t, not that of step t.
    """
    x_t = q_sample(s, x0, t, noise)
    target = parameterization.by_name(predicts).target(s, x0, t, noise)
    error = mse(net(x_t, t), target)
    if weight is not None and weight.shape != s.beta.shape:
        raise ShapeError(
            f"a weight must be a table of shape ({s.T + 1},), entry t for time t, got {tuple(weight.shape)}. "
            "Usual cause: a table counted from t = 1. Fix: put a 0 in front, or take losses.min_snr(5.0)(s, predicts)."
        )
    return error if weight is None else error * weight.to(error.dtype).to(error.device)[t]


def by_quartile(s: Schedule, t: Tensor, loss: Tensor) -> Tensor:
    """Mean loss of the samples with t in each quarter of 1..T, (4,); NaN for a quarter without samples.

    The first thing to look at when samples are bad and the loss is low: at large t every network looks good.
    """
    check_batch(s, loss, t, loss=loss)
    if loss.ndim != 1:
        raise ShapeError(f"one loss a sample is needed, shape (N,), got {tuple(loss.shape)}. Fix: losses.mse(a, b).")
    own = quarter(t, s.T).to(loss.device)
    return torch.stack([loss[own == q].mean() for q in range(4)])


def quarter(t: Tensor, T: int) -> Tensor:
    """In which quarter of 1..T each t lies: 0, 1, 2 or 3, int64 (N,): q T/4 <= t - 1 < (q + 1) T/4."""
    return (t - 1) * 4 // T


# ---------------------------------------------------------------- weights: tables over t


def uniform(s: Schedule, predicts: str) -> Tensor:
    """1 at every t: L_simple in the units of what is predicted."""
    ones = torch.ones_like(s.beta)
    return _finish("uniform", predicts, eps=ones, x0=ones, v=ones)


def vlb(s: Schedule, predicts: str, variance: str = "posterior") -> Tensor:
    """The bound's own weight, per dimension and times T, so that its mean over t is the sum over t.

    DDPM, Eq. 12: T beta_t^2 / (2 S_t alpha_t (1 - alpha_bar_t)) on the error of eps; entry 1 stands for the density
    decoder. ``variance``: "beta" or "posterior".
    """
    time = torch.arange(1, s.T + 1)
    width = torch.cat([s.beta.new_ones(1), bound_variance(s, time, variance)])
    on_x0 = torch.zeros_like(s.beta)
    on_x0[1:] = s.T * s.alpha_bar[:-1] * (s.beta[1:] / (1 - s.alpha_bar[1:])).square() / (2 * width[1:])
    return _finish("vlb", predicts, eps=s.T * elbo.eps_weight(s, width), x0=on_x0, v=on_x0 / (1 + s.snr))


def min_snr(gamma: float = 5.0) -> Weight:
    """min(SNR, gamma) on the error of x0. Hang et al. 2023: no t may count more than its share.

    On eps it is min(SNR, gamma) / SNR, on v min(SNR, gamma) / (SNR + 1): the same loss in three units.
    """
    _positive("gamma", gamma)

    def table(s: Schedule, predicts: str) -> Tensor:
        on_x0 = s.snr.clamp(max=gamma)
        on_eps = (gamma / s.snr).clamp(max=1)  # = min(SNR, gamma) / SNR, also where the SNR is 0
        return _finish("min_snr", predicts, eps=on_eps, x0=on_x0, v=on_x0 / (1 + s.snr))

    return table


def p2(k: float = 1.0, gamma: float = 1.0) -> Weight:
    """1 / (k + SNR)^gamma on the error of eps. Choi et al. 2022: less for what is easy to see."""
    _positive("k", k)

    def table(s: Schedule, predicts: str) -> Tensor:
        on_eps = (k + s.snr).pow(-gamma)
        return _finish("p2", predicts, eps=on_eps, x0=on_eps * s.snr, v=on_eps * s.snr / (1 + s.snr))

    return table


def edm(sigma_data: float = 0.5) -> Weight:
    """(sigma^2 + sigma_data^2) / (sigma sigma_data)^2 on the error of x0, where sigma^2 = 1 / SNR.

    Karras et al. 2022, Table 1. ``sigma_data``: the standard deviation of the data.
    """
    _positive("sigma_data", sigma_data)

    def table(s: Schedule, predicts: str) -> Tensor:
        on_x0 = s.snr + 1 / sigma_data**2
        return _finish("edm", predicts, eps=on_x0 / s.snr, x0=on_x0, v=on_x0 / (1 + s.snr))

    return table


# ---------------------------------------------------------------- learned variance


def hybrid(
    prediction: Tensor,
    fraction: Tensor,
    s: Schedule,
    x0: Tensor,
    x_t: Tensor,
    t: Tensor,
    noise: Tensor,
    decoder: elbo.Decoder,
    share: float = 0.001,
) -> Tensor:
    """L_simple + share * T * L_vlb per dimension, (N,): eps learns from the first, the variance from the second.

    Improved DDPM (Nichol & Dhariwal 2021), Eq. 16, with the gradient of the mean stopped in the second term.
    ``prediction``: eps (N, ...); ``fraction``: (N, ...), how far the log variance stands from the posterior's (0)
    to beta (1).
    """
    eps = prediction.detach()
    x0_hat = parameterization.x0_from_eps(s, x_t, t, eps)
    return mse(prediction, noise) + share * s.T * vlb_term(x0_hat, fraction, s, x0, t, decoder) / x0[0].numel()


def vlb_term(x0_hat: Tensor, fraction: Tensor, s: Schedule, x0: Tensor, t: Tensor, decoder: elbo.Decoder) -> Tensor:
    """L_{t-1} of each sample at its own t, nats (N,), L_0 where t = 1; differentiable in ``fraction``."""
    width = bound_variance(s, t.cpu(), "learned", fraction)
    kl = elbo.denoising_term(s, x0, x0_hat, t, width)
    first = -decoder.log_prob(x0.double(), x0_hat.double(), beside(width, x0.double())).flatten(1).sum(1)
    return torch.where(t == 1, first, kl)


class ImportanceSampler:
    """Draws t in proportion to sqrt(E L_t^2), from the last losses seen at each t; uniform until all were seen.

    Improved DDPM, Eq. 18: the gradient of L_vlb is noisy because few t carry most of it. ``draw`` gives t and the
    weight 1 / (T p_t) that keeps the mean unbiased.
    """

    def __init__(self, s: Schedule, history: int = 10, uniform_share: float = 0.001) -> None:
        self.T, self.uniform_share = s.T, uniform_share
        self.losses = torch.zeros(s.T + 1, history, dtype=torch.float64)
        self.seen = torch.zeros(s.T + 1, dtype=torch.int64)

    def probabilities(self) -> Tensor:
        """p_t for t = 0..T, float64 (T + 1,), entry 0 zero."""
        if (self.seen[1:] < self.losses.shape[1]).any() or not self.losses.any():
            p = torch.ones(self.T + 1, dtype=torch.float64)
        else:
            p = self.losses.square().mean(1).sqrt()
        p[0] = 0
        p = p / p.sum() * (1 - self.uniform_share)
        p[1:] += self.uniform_share / self.T
        return p

    def draw(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """t int64 (n,) and weights float64 (n,)."""
        p = self.probabilities()
        t = torch.multinomial(p, n, replacement=True, generator=generator)
        return t, 1 / (self.T * p[t])

    def update(self, t: Tensor, loss: Tensor) -> None:
        """Remembers the losses (n,) seen at t (n,), the latest ``history`` of each t."""
        for time, value in zip(t.tolist(), loss.detach().double().tolist(), strict=True):
            self.losses[time, self.seen[time] % self.losses.shape[1]] = value
            self.seen[time] += 1


# ---------------------------------------------------------------- helpers


def _finish(name: str, predicts: str, **tables: Tensor) -> Tensor:
    """The table for what is predicted. Each unit has its own formula, since at SNR = 0 none is another times a factor.

    Entry 0, where the SNR is infinite, becomes 0: no training happens there. The rest must be finite.
    """
    if predicts not in tables:
        raise ConfigError(
            f"weights are known for predictions of {', '.join(tables)}; got {predicts!r}. "
            "Usual cause: another library's word (epsilon, sample, v_prediction). Fix: eps, x0 or v."
        )
    table = tables[predicts].clone()
    table[0] = 0
    if not table.isfinite().all():
        raise ConfigError(
            f"the weight {name} is infinite at t = {int((~table.isfinite()).nonzero()[0])}, where the SNR is 0 or too "
            "small. Usual cause: eps predicted on a schedule with zero terminal SNR. Fix: predict v or x0."
        )
    return table


def _positive(name: str, value: float) -> None:
    if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
        raise ConfigError(f"{name} must be a number > 0, got {value!r}. Fix: leave it out for the paper's value.")
