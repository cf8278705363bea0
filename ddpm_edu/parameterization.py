"""What a network's output means, and the way from one meaning to another: noise, clean data, velocity, score.

All four say the same about x_t, given t:

    x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps
    v   = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0           (Salimans & Ho 2022, appendix D)
    score = -eps / sqrt(1 - alpha_bar_t)                               (DDPM, section 3.2)

A *network* is any ``net(x_t, t, **condition) -> tensor``; a :class:`Parameterization` says what the tensor means. A
*denoiser* is what samplers and the bound consume: ``denoise(x_t, t) -> Denoised(x0, eps)``. A closed-form oracle is
one, a network becomes one by :func:`denoiser`.

Shapes: x_t and predictions (N, ...), t int64 (N,) in 1..T. Results have x_t's dtype; coefficients are float64, cast
last.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ddpm_edu.errors import ConfigError, ScheduleError, ShapeError, TimestepError
from ddpm_edu.forward import at, check_batch, mix
from ddpm_edu.schedules import Schedule


class Denoised(NamedTuple):
    """What is thought to be under the noise: the clean data and the noise, which add up to x_t.

    ``variance_fraction``: where a network also learns the reverse variance, how far it stands between the posterior's
    (0) and the step's (1), per dimension; else None.
    """

    x0: Tensor
    eps: Tensor
    variance_fraction: Tensor | None = None


class Denoise(Protocol):
    """Anything that can be called as ``denoise(x_t, t)``; with a ``.schedule`` it belongs to that schedule alone."""

    def __call__(self, x_t: Tensor, t: Tensor, /) -> Denoised:
        """x_t (N, ...), t int64 (N,) -> Denoised of x_t's shape."""
        ...


# ---------------------------------------------------------------- conversions


def x0_from_eps(s: Schedule, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """x_0 = (x_t - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t). DDPM, Eq. 15.

    Raises TimestepError where alpha_bar_t = 0: x_t is then pure noise, and its noise says nothing about x_0.
    """
    check_batch(s, x_t, t, x_t=x_t, eps=eps)
    if t.device.type == "cpu" and (s.alpha_bar[t] == 0).any():
        raise TimestepError(
            f"x_0 cannot be found from eps at t = {int(t[s.alpha_bar[t] == 0][0])}, where alpha_bar is 0 and x_t is "
            "the noise itself. Usual cause: a network that predicts eps on a schedule with zero terminal SNR. "
            "Fix: predict v or x0."
        )
    return mix(x_t, s.alpha_bar.rsqrt(), eps, -(1 / s.alpha_bar - 1).sqrt(), t)


def eps_from_x0(s: Schedule, x_t: Tensor, t: Tensor, x0: Tensor) -> Tensor:
    """eps = (x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t): the noise that leads from x_0 to x_t."""
    check_batch(s, x_t, t, x_t=x_t, x0=x0)
    rest = 1 - s.alpha_bar
    return mix(x_t, rest.rsqrt(), x0, -(s.alpha_bar / rest).sqrt(), t)


def x0_from_v(s: Schedule, x_t: Tensor, t: Tensor, v: Tensor) -> Tensor:
    """x_0 = sqrt(alpha_bar_t) x_t - sqrt(1 - alpha_bar_t) v; defined at every t, also where alpha_bar_t = 0."""
    check_batch(s, x_t, t, x_t=x_t, v=v)
    return mix(x_t, s.alpha_bar.sqrt(), v, -(1 - s.alpha_bar).sqrt(), t)


def eps_from_v(s: Schedule, x_t: Tensor, t: Tensor, v: Tensor) -> Tensor:
    """eps = sqrt(1 - alpha_bar_t) x_t + sqrt(alpha_bar_t) v."""
    check_batch(s, x_t, t, x_t=x_t, v=v)
    return mix(x_t, (1 - s.alpha_bar).sqrt(), v, s.alpha_bar.sqrt(), t)


def v_from(s: Schedule, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0. Salimans & Ho 2022, appendix D."""
    check_batch(s, x0, t, x0=x0, eps=eps)
    return mix(eps, s.alpha_bar.sqrt(), x0, -(1 - s.alpha_bar).sqrt(), t)


def score_from_eps(s: Schedule, t: Tensor, eps: Tensor) -> Tensor:
    """grad log q(x_t) = -eps / sqrt(1 - alpha_bar_t), for eps the expected noise given x_t."""
    check_batch(s, eps, t, eps=eps)
    return (-at((1 - s.alpha_bar).rsqrt(), t, eps) * eps).to(eps.dtype)


def eps_from_score(s: Schedule, t: Tensor, score: Tensor) -> Tensor:
    """eps = -sqrt(1 - alpha_bar_t) grad log q(x_t)."""
    check_batch(s, score, t, score=score)
    return (-at((1 - s.alpha_bar).sqrt(), t, score) * score).to(score.dtype)


# ---------------------------------------------------------------- the four meanings of an output


@dataclass(frozen=True)
class Parameterization:
    """One meaning of a network's output, with the way to x_0 and eps and the way back.

    ``denoised(s, x_t, t, output)``: x_0 and eps from the output. ``target(s, x0, t, eps)``: what the network is trained
    to give for a known x_0 and eps. Both are pure functions of (N, ...) tensors.
    """

    name: str
    denoised: Callable[[Schedule, Tensor, Tensor, Tensor], Denoised]
    target: Callable[[Schedule, Tensor, Tensor, Tensor], Tensor]


def _denoised_from_eps(s: Schedule, x_t: Tensor, t: Tensor, eps: Tensor) -> Denoised:
    return Denoised(x0_from_eps(s, x_t, t, eps), eps)


def _denoised_from_x0(s: Schedule, x_t: Tensor, t: Tensor, x0: Tensor) -> Denoised:
    return Denoised(x0, eps_from_x0(s, x_t, t, x0))


def _denoised_from_v(s: Schedule, x_t: Tensor, t: Tensor, v: Tensor) -> Denoised:
    return Denoised(x0_from_v(s, x_t, t, v), eps_from_v(s, x_t, t, v))


def _denoised_from_score(s: Schedule, x_t: Tensor, t: Tensor, score: Tensor) -> Denoised:
    return _denoised_from_eps(s, x_t, t, eps_from_score(s, t, score))


EPS = Parameterization("eps", _denoised_from_eps, lambda s, x0, t, eps: eps)
X0 = Parameterization("x0", _denoised_from_x0, lambda s, x0, t, eps: x0)
V = Parameterization("v", _denoised_from_v, v_from)
SCORE = Parameterization("score", _denoised_from_score, lambda s, x0, t, eps: score_from_eps(s, t, eps))

PARAMETERIZATIONS = {p.name: p for p in (EPS, X0, V, SCORE)}


def by_name(name: str) -> Parameterization:
    """The parameterization called "eps", "x0", "v" or "score". Raises ConfigError for another name."""
    if name not in PARAMETERIZATIONS:
        raise ConfigError(
            f"a network predicts one of {', '.join(PARAMETERIZATIONS)}; got {name!r}. "
            "Usual cause: another library's word (epsilon, sample, v_prediction). Fix: eps, x0 or v."
        )
    return PARAMETERIZATIONS[name]


# ---------------------------------------------------------------- from a network to a denoiser


def denoiser(
    net: Callable[..., Tensor],
    s: Schedule,
    predicts: str,
    clip: Callable[[Tensor], Tensor] | None = None,
    first_t: int = 1,
    **condition: Any,
) -> "NetworkDenoiser":
    """A denoiser from a network that ``predicts`` "eps", "x0", "v" or "score".

    ``clip``: a function of x_0 such as :func:`static_clip`; eps is then derived anew, so that both still add up to x_t.
    ``first_t``: the number by which the network knows t = 1 (0 for weights trained with times counted from 0).
    ``condition``: passed on to every call of the network (labels (N,), tokens). Raises ConfigError.
    """
    if first_t not in (0, 1):
        raise ConfigError(f"first_t must be 0 or 1, the number by which the network knows t = 1; got {first_t!r}.")
    return NetworkDenoiser(net, s, by_name(predicts), clip, first_t, condition)


@dataclass(frozen=True)
class NetworkDenoiser:
    """A network with everything needed to read its output; made by :func:`denoiser`, called as ``denoise(x_t, t)``."""

    net: Callable[..., Tensor]
    schedule: Schedule
    parameterization: Parameterization
    clip: Callable[[Tensor], Tensor] | None
    first_t: int
    condition: dict[str, Any]

    def __call__(self, x_t: Tensor, t: Tensor, /) -> Denoised:
        """x_0 and eps as the network sees them in x_t (N, ...) at t (N,)."""
        output = self.net(x_t, t - (1 - self.first_t), **self.condition)
        if output.shape != x_t.shape:
            raise ShapeError(
                f"the network gave {tuple(output.shape)} for x_t of {tuple(x_t.shape)}; they must be equal. "
                "Usual cause: a network with learned variance (twice the channels), or a missing output layer."
            )
        denoised = self.parameterization.denoised(self.schedule, x_t, t, output)
        return denoised if self.clip is None else clipped(self.schedule, x_t, t, denoised, self.clip)


def clipped(s: Schedule, x_t: Tensor, t: Tensor, denoised: Denoised, clip: Callable[[Tensor], Tensor]) -> Denoised:
    """``denoised`` with ``clip(x0)`` for x0 and the eps that goes with it: x_t is still their sum."""
    x0 = clip(denoised.x0)
    return denoised._replace(x0=x0, eps=eps_from_x0(s, x_t, t, x0))


def static_clip(x0: Tensor) -> Tensor:
    """x_0 limited to the range of images, [-1, 1]. Not for toys and oracles outside it."""
    return x0.clamp(-1, 1)


def check_schedule(denoise: Denoise, s: Schedule) -> None:
    """Refuses a denoiser that belongs to another schedule: its x_0 would be wrong at every t, unnoticed."""
    own = getattr(denoise, "schedule", None)
    if own is not None and own is not s and not torch.equal(own.alpha_bar, s.alpha_bar):
        raise ScheduleError(
            f"the denoiser belongs to {own}, and is asked about {s}. Usual cause: a schedule made anew with another T. "
            "Fix: use the denoiser's own, denoise.schedule."
        )
