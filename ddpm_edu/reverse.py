"""One step back: mean and variance of p(x_s | x_t) for any pair of times s < t, not only neighbours.

The mean is that of q(x_s | x_t, x_0) with the denoiser's x_0 in the place of the true one. For the variance there are
several good answers, each right for some data, and they have the same names everywhere in this package:

- ``"beta"``: beta_{t|s} = 1 - alpha_bar_t / alpha_bar_s, right for data of variance 1 (DDPM's "large");
- ``"posterior"``: that of q(x_s | x_t, x_0), right for a single point (DDPM's "small");
- ``"optimal"``: the best that is the same in all dimensions, found from the error that the denoiser carries as
  ``.eps_mse``; for one that carries none, :class:`Optimal` with an error that you measured;
- ``"learned"``: between the first two, where a network says how far (improved DDPM, Eq. 15);
- a float64 tensor (T + 1,): your own, for single steps.

Shapes: x (N, ...); t and s_ ("the earlier time") int64 (N,), 0 <= s_ < t <= T. Coefficients are float64, cast last.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_edu.errors import ConfigError, ShapeError, TimestepError
from ddpm_edu.forward import check_batch, sent
from ddpm_edu.schedules import Schedule

VARIANCES = ("beta", "posterior", "optimal", "learned")


class Optimal(NamedTuple):
    """The choice "optimal" with its ``eps_mse`` (T + 1,): the denoiser's mean squared error of eps per dimension at t.

    It is the training loss by t; entry 0 is unused.
    """

    eps_mse: Tensor


Variance = str | Tensor | Optimal


def pair_beta(s: Schedule, t: Tensor, s_: Tensor) -> Tensor:
    """beta_{t|s} = 1 - alpha_bar_t / alpha_bar_s, float64 (N,): the noise that the steps from s to t add, together."""
    _check_pairs(s, t, s_)
    return 1 - s.alpha_bar[t] / s.alpha_bar[s_]


def pair_posterior_variance(s: Schedule, t: Tensor, s_: Tensor) -> Tensor:
    """Variance of q(x_s | x_t, x_0), float64 (N,): beta_{t|s} (1 - alpha_bar_s) / (1 - alpha_bar_t); 0 at s = 0."""
    return pair_beta(s, t, s_) * (1 - s.alpha_bar[s_]) / (1 - s.alpha_bar[t])


def pair_mean(s: Schedule, x0: Tensor, x_t: Tensor, t: Tensor, s_: Tensor) -> Tensor:
    """Mean of q(x_s | x_t, x_0): DDPM, Eq. 7, with alpha_bar_t / alpha_bar_s for alpha_t. x0, x_t: (N, ...)."""
    check_batch(s, x_t, t, x_t=x_t, x0=x0)
    beta, rest = pair_beta(s, t, s_), 1 - s.alpha_bar[t]
    from_x0 = s.alpha_bar[s_].sqrt() * beta / rest
    from_x_t = (1 - beta).sqrt() * (1 - s.alpha_bar[s_]) / rest
    return (beside(from_x0, x0) * x0 + beside(from_x_t, x_t) * x_t).to(x_t.dtype)


def pair_variance(s: Schedule, t: Tensor, s_: Tensor, choice: Variance, fraction: Tensor | None = None) -> Tensor:
    """The variance that a sampler uses from t to s: float64 (N,), or of ``fraction``'s shape where it is learned.

    0 at s = 0 whatever the choice: nothing is left to draw. ``fraction``: Denoised.variance_fraction (N, ...).
    Raises ConfigError for an unknown choice, a missing fraction, a table asked about a jump, a variance below 0.
    """
    _check_pairs(s, t, s_)
    if isinstance(choice, Tensor):
        if not ((t - s_) == 1).all():
            raise ConfigError(
                "a table of variances is for single steps, t to t - 1; here some steps are longer. "
                'Usual cause: fewer sampling steps than T. Fix: "beta" or "posterior", which are known for any pair.'
            )
        chosen = _table(choice, s)[t]
    elif isinstance(choice, Optimal):
        chosen = pair_optimal(s, t, s_, choice.eps_mse)
    else:
        low, high = pair_posterior_variance(s, t, s_), pair_beta(s, t, s_)
        chosen = _choose(choice, low, high, fraction)
    chosen = torch.where(_as(s_ == 0, chosen), 0.0, chosen)
    if isinstance(choice, Tensor | Optimal):
        _check_variances(chosen, t)
    return chosen


def bound_variance(s: Schedule, t: Tensor, choice: Variance, fraction: Tensor | None = None) -> Tensor:
    """The variance of p(x_{t-1} | x_t) in the bound: float64 (N,), or of ``fraction``'s shape where it is learned.

    The posterior's is 0 at t = 1, and a density of width 0 has no likelihood: entry 2 stands in for it, as in DDPM's
    code. (A small number in its place, such as 1e-20, makes the log-likelihood of data -infinity in all but name.)
    """
    _check_pairs(s, t, t - 1)
    if isinstance(choice, Optimal):
        choice = optimal(s, choice.eps_mse)
    if isinstance(choice, Tensor):
        table = _table(choice, s)
        if not (table[1:] > 0).all():
            raise ConfigError(
                f"a variance in the bound must be > 0, got {table[1:].min().item():g} at t = "
                f"{int(table[1:].argmin()) + 1}. Usual cause: s.posterior_variance as a table, which is 0 at t = 1. "
                'Fix: variance="posterior", which takes entry 2 there.'
            )
        return table[t]
    low = s.posterior_variance.clone()
    low[1] = low[2] if s.T > 1 else s.beta[1]
    return _choose(choice, low[t], s.beta[t], fraction)


def interpolate(low: Tensor, high: Tensor, fraction: Tensor) -> Tensor:
    """exp(f log high + (1 - f) log low), f in 0..1. Improved DDPM (Nichol & Dhariwal 2021), Eq. 15."""
    return torch.exp(fraction * high.log() + (1 - fraction) * low.log())


def pair_optimal(s: Schedule, t: Tensor, s_: Tensor, eps_mse: Tensor) -> Tensor:
    """The best variance that is the same in all dimensions, for any pair: float64 (N,).

    sigma^2 = posterior + (sqrt(ab_s) beta_{t|s} / (1 - ab_t))^2 (1 - ab_t) / ab_t e_t, where e_t = ``eps_mse[t]`` is
    the denoiser's mean squared error of eps per dimension: what is not known about x_0 adds to the variance.
    Bao et al. 2022 (Analytic-DPM), Theorem 1. Needs alpha_bar_T > 0. Raises ShapeError.
    """
    if eps_mse.shape != s.beta.shape:
        raise ShapeError(f"eps_mse must have shape ({s.T + 1},), one entry a time, got {tuple(eps_mse.shape)}.")
    unknown = s.alpha_bar[s_] * pair_beta(s, t, s_) ** 2 / (1 - s.alpha_bar[t]) / s.alpha_bar[t]
    return pair_posterior_variance(s, t, s_) + unknown * eps_mse.double()[t]


def optimal(s: Schedule, eps_mse: Tensor) -> Tensor:
    """:func:`pair_optimal` of single steps as a table, float64 (T + 1,), with 0 at t = 0."""
    t = torch.arange(1, s.T + 1)
    return torch.cat([s.beta.new_zeros(1), pair_optimal(s, t, t - 1, eps_mse)])


def beside(values: Tensor, x: Tensor) -> Tensor:
    """Values (N,), one a sample, as (N, 1, ..., 1) beside x, in x's dtype but never below float32."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    if values.ndim == 1:
        values = values.reshape(-1, *[1] * (x.ndim - 1))
    return sent(values.to(dtype), x.device)


def _choose(choice: object, low: Tensor, high: Tensor, fraction: Tensor | None) -> Tensor:
    if choice == "beta":
        return high
    if choice == "posterior":
        return low
    if choice == "learned":
        if fraction is None:
            raise ConfigError(
                'variance="learned" needs a denoiser that gives variance_fraction; this one gives none. '
                'Usual cause: a network without the extra output channels. Fix: "beta" or "posterior".'
            )
        if fraction.shape[:1] != low.shape:
            raise ShapeError(
                f"variance_fraction has shape {tuple(fraction.shape)} for {len(low)} times; its first axis must be as "
                "long. Usual cause: the fraction of one sample for a whole batch. Fix: one for each sample."
            )
        return interpolate(beside(low, fraction.double()), beside(high, fraction.double()), fraction.double())
    if choice == "optimal":
        raise ConfigError(
            'variance="optimal" needs the denoiser\'s error, and this one does not carry it as eps_mse. '
            "Fix: variance=reverse.Optimal(eps_mse), with the error that you measured at each t."
        )
    raise ConfigError(f"variance must be one of {', '.join(VARIANCES)} or a table, got {choice!r}.")


def resolve(choice: Variance, denoise: object) -> Variance:
    """``choice``, with "optimal" turned into :class:`Optimal` where the denoiser knows its error (``.eps_mse``)."""
    error = getattr(denoise, "eps_mse", None)
    if isinstance(choice, str) and choice == "optimal" and error is not None:
        return Optimal(error)
    return choice


def _as(mask: Tensor, values: Tensor) -> Tensor:
    return sent(mask.reshape(-1, *[1] * (values.ndim - 1)), values.device)


def _table(table: Tensor, s: Schedule) -> Tensor:
    if table.shape != s.beta.shape:
        raise ShapeError(
            f"a table of variances must have shape ({s.T + 1},), entry t for the step from t, got {tuple(table.shape)}."
        )
    return table.double()


def _check_variances(chosen: Tensor, t: Tensor) -> None:
    wrong = ~((chosen >= 0) & chosen.isfinite())
    if wrong.any():
        raise ConfigError(
            f"a variance must be finite and >= 0, got {chosen[wrong][0].item():g} at t = {t[wrong][0].item()}. "
            'Usual cause: a table of log variances, or "optimal" where alpha_bar_T is 0: what eps does not say about '
            'x_0 there, no error of eps can tell. Fix: variance="beta", or variances in place of their logarithms.'
        )


def _check_pairs(s: Schedule, t: Tensor, s_: Tensor) -> None:
    if t.ndim != 1 or t.shape != s_.shape or t.dtype != torch.int64 or s_.dtype != torch.int64:
        raise TimestepError(
            f"a pair of times needs two int64 tensors of one shape (N,), got {t.dtype} {tuple(t.shape)} and "
            f"{s_.dtype} {tuple(s_.shape)}. Fix: one earlier time for each t."
        )
    if t.device.type == "cpu" and not ((s_ >= 0) & (s_ < t) & (t <= s.T)).all():
        raise TimestepError(
            f"a pair needs 0 <= s < t <= {s.T}; got t = {t.tolist()[:4]}, s = {s_.tolist()[:4]}. "
            "Usual cause: a grid that is not falling, or does not end at 0."
        )
