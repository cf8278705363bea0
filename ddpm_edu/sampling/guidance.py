"""Guidance: a denoiser that leans towards a condition, made from denoisers (or one and a classifier).

Every function returns a denoiser, for any sampler. The convention of the weight is that of Ho & Salimans 2022:
eps = (1 + w) eps_c - w eps_u, so that **w = 0 is exactly the conditional model**, w = -1 the unconditional one.
Others count s = 1 + w, "guidance scale" (Imagen, diffusers): their 7.5 is w = 6.5, and their "off" is 1.

What it samples is *not* p_c^(1 + w) / p_u^w, although the scores look like it: the noisy densities of that product are
another family (lesson 05 measures it on two Gaussians).
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ddpm_edu import parameterization
from ddpm_edu.errors import ConfigError, GuidanceWarning, ShapeError
from ddpm_edu.forward import at
from ddpm_edu.parameterization import Denoise, Denoised, check_schedule, clipped, x0_from_eps
from ddpm_edu.sampling.loop import checked
from ddpm_edu.schedules import Schedule

LogProbability = Callable[[Tensor, Tensor], Tensor]
"""``f(x_t, t) -> (N,)``: the logarithm of p(condition | x_t), differentiable in x_t."""


def classifier_free(
    conditional: Denoise, unconditional: Denoise, s: Schedule, w: float, interval: tuple[int, int] | None = None
) -> "Guided":
    """(1 + w) conditional - w unconditional, in eps and in x0: Ho & Salimans 2022, Eq. 6.

    Both follow the same line, so whichever of x0, eps and v a network predicts, the result is the same. ``interval``:
    the times low..high, both included, at which to guide (Kynkaanniemi et al. 2024); elsewhere the result is the
    conditional model's. Nothing is clipped: see :func:`thresholding.limited`.
    Raises ConfigError for a w that is no number and an interval outside 1..T; warns (GuidanceWarning) below w = 0.
    """
    for denoise in (conditional, unconditional):
        check_schedule(denoise, s)
    _check_weight(w)
    return Guided(conditional, unconditional, s, w, _checked_interval(interval, s.T))


@dataclass(frozen=True)
class Guided:
    """Two denoisers as one; made by :func:`classifier_free`, called as ``denoise(x_t, t)``."""

    conditional: Denoise
    unconditional: Denoise
    schedule: Schedule
    w: float
    interval: tuple[int, int]

    def __call__(self, x_t: Tensor, t: Tensor, /) -> Denoised:
        """The guided x0 and eps in x_t (N, ...) at t (N,). Where w or the interval leaves nothing to guide, the second
        denoiser is not asked (t on a GPU is not looked at)."""
        return self.beside_conditional(x_t, t)[0]

    def beside_conditional(self, x_t: Tensor, t: Tensor) -> tuple[Denoised, Denoised]:
        """The guided and the conditional, each asked once."""
        given = checked(self.conditional(x_t, t), x_t)
        low, high = self.interval
        inside = (low <= t) & (t <= high)
        if self.w == 0 or (t.device.type == "cpu" and not inside.any()):
            return given, given
        plain = checked(self.unconditional(x_t, t), x_t)
        weight = (self.w * inside.to(given.x0.dtype)).reshape(-1, *[1] * (x_t.ndim - 1))
        x0, eps = (own + weight * (own - other) for own, other in ((given.x0, plain.x0), (given.eps, plain.eps)))
        return given._replace(x0=x0, eps=eps), given


def rescaled(guided: Guided, phi: float = 0.7) -> "Rescaled":
    """``guided`` with x0's spread brought back to the conditional model's: Lin et al. 2024, Eqs. 14 to 16, on x0.

    x0 <- phi (std_c / std) x0 + (1 - phi) x0, with the standard deviations over each sample's own dimensions, and eps
    to match. Guidance raises contrast and colours; this takes ``phi`` of that back. Raises ConfigError.
    """
    if not 0 <= phi <= 1:
        raise ConfigError(f"phi must lie in 0..1 (0: nothing is rescaled, 1: all of it), got {phi!r}.")
    return Rescaled(guided, guided.schedule, phi)


@dataclass(frozen=True)
class Rescaled:
    """A guided denoiser with the conditional one's contrast; made by :func:`rescaled`."""

    guided: Guided
    schedule: Schedule
    phi: float

    def __call__(self, x_t: Tensor, t: Tensor, /) -> Denoised:
        """The rescaled x0 and its eps in x_t (N, ...) at t (N,)."""
        found, given = self.guided.beside_conditional(x_t, t)
        wanted, spread = (x0.flatten(1).std(1, correction=0) for x0 in (given.x0, found.x0))
        ratio = torch.where(spread > 0, wanted / spread, 1.0)  # a constant image stays as it is
        factor = (self.phi * ratio + 1 - self.phi).reshape(-1, *[1] * (x_t.ndim - 1))
        return clipped(self.schedule, x_t, t, found, lambda x0: x0 * factor)


def by_classifier(denoise: Denoise, s: Schedule, log_probability: LogProbability, scale: float = 1.0) -> "Classified":
    """eps - scale sqrt(1 - ab_t) grad log p(condition | x_t), and its x0: Dhariwal & Nichol 2021, Algorithm 2.

    At ``scale`` 1, with an exact ``denoise`` and an exact classifier *of noisy data*, this is exactly the conditional
    model: Bayes' rule for scores. The gradient is taken at x_t, whose score it completes. (Their Algorithm 1 shifts
    the mean of the next step by it instead, where its derivation expands around that mean.)
    ``log_probability(x_t, t)`` -> (N,): of the wanted condition. Warns (GuidanceWarning) below 0. Raises ConfigError;
    when called with times on the CPU, TimestepError where ab_t = 0: there no shift of eps says what x0 is.
    """
    check_schedule(denoise, s)
    if not math.isfinite(scale):
        raise ConfigError(f"the strength of guidance must be a number, got {scale!r}. Fix: 1, which is Bayes' rule.")
    if scale < 0:
        warnings.warn(
            f"scale {scale} leans away from the condition. Fix: 1 is Bayes' rule.", GuidanceWarning, stacklevel=2
        )
    return Classified(denoise, s, log_probability, scale)


@dataclass(frozen=True)
class Classified:
    """A denoiser pushed by a classifier's gradient; made by :func:`by_classifier`."""

    denoise: Denoise
    schedule: Schedule
    log_probability: LogProbability
    scale: float

    def __call__(self, x_t: Tensor, t: Tensor, /) -> Denoised:
        """The pushed x0 and eps in x_t (N, ...) at t (N,)."""
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            log = self.log_probability(x, t)
            if log.shape != t.shape:
                raise ShapeError(
                    f"log_probability gave {tuple(log.shape)} for {len(x)} samples; it must be ({len(x)},). "
                    "Usual cause: all classes' logits. Fix: logits.log_softmax(1)[range(n), labels]."
                )
            (gradient,) = torch.autograd.grad(log.sum(), x)
        found, s = checked(self.denoise(x_t, t), x_t), self.schedule
        push = at((1 - s.alpha_bar).sqrt(), t, x_t) * gradient
        eps = (found.eps - self.scale * push).to(x_t.dtype)
        return found._replace(x0=x0_from_eps(s, x_t, t, eps), eps=eps)


# ---------------------------------------------------------------- from a class-conditional network


def of_network(
    net: nn.Module,
    s: Schedule,
    predicts: str,
    labels: Tensor,
    w: float,
    interval: tuple[int, int] | None = None,
    first_t: int = 1,
) -> Guided:
    """Classifier-free guidance of one network that was trained with labels, some of them dropped.

    ``labels``: int64 (N,), one a sample. The network must say which label means "none", as ``net.no_label``. Raises
    ConfigError where it does not (a network that never saw a dropped label has no unconditional model inside), and
    without labels.
    """
    if not isinstance(labels, Tensor):
        raise ConfigError(
            f"guidance needs labels to lean towards, int64 (N,), got {labels!r}. "
            "Fix: torch.full((n,), 3) for n samples of class 3."
        )
    none = getattr(net, "no_label", None)
    if none is None:
        raise ConfigError(
            f"{type(net).__name__} has no label for 'none' (no_label), so it knows no unconditional model. "
            "Usual cause: an unconditional network, or one that was trained without dropping labels. "
            "Fix: guidance needs a network that was trained with label_dropout > 0."
        )
    conditional, unconditional = (
        parameterization.denoiser(net, s, predicts, first_t=first_t, labels=which)
        for which in (labels, torch.full_like(labels, int(none)))
    )
    return classifier_free(conditional, unconditional, s, w, interval)


def _check_weight(w: float) -> None:
    if not math.isfinite(w):
        raise ConfigError(f"the strength of guidance must be a number, got {w!r}. Fix: 0 for none.")
    if w < 0:
        warnings.warn(
            f"guidance of strength {w} leans away from the condition. Usual cause: the other convention, s = 1 + w. "
            "Fix: w = 0 is the conditional model itself.",
            GuidanceWarning,
            stacklevel=3,
        )


def _checked_interval(interval: tuple[int, int] | None, T: int) -> tuple[int, int]:
    low, high = (1, T) if interval is None else interval
    if not 1 <= low <= high <= T:
        raise ConfigError(
            f"interval is (low, high) with 1 <= low <= high <= {T}, times at which to guide; got {interval}."
        )
    return low, high
