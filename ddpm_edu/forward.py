"""The forward process q: data dissolving into noise, in closed form.

Shapes: data x is (N, ...) with any trailing shape ((N, C, H, W) images in [-1, 1], (N, 2) points);
t is int64 (N,), one time per sample, in 1..T; noise has x's shape and dtype. Nothing broadcasts.

Coefficients are worked out in float64 and cast last, and half-precision data is combined in float32:
in a naive bfloat16 version 1 - alpha_bar_t rounds to 0 and the first steps add no noise at all.
Results have x's dtype and device.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ddpm_edu.errors import DataError, ShapeError, TimestepError
from ddpm_edu.schedules import Schedule


def q_step(s: Schedule, x_prev: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """One step of the chain: x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) noise.

    DDPM (Ho et al. 2020), Eq. 2. x_prev, noise: (N, ...); t: int64 (N,) in 1..T; returns (N, ...).
    Raises ShapeError, TimestepError, DataError (integer images).
    """
    check_batch(s, x_prev, t, x_prev=x_prev, noise=noise)
    return mix(x_prev, s.alpha.sqrt(), noise, s.beta.sqrt(), t)


def q_sample(s: Schedule, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Straight to time t: x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise.

    DDPM, Eq. 4. x0, noise: (N, ...); t: int64 (N,) in 1..T; returns (N, ...).
    Raises ShapeError, TimestepError, DataError (integer images).
    """
    check_batch(s, x0, t, x0=x0, noise=noise)
    return mix(x0, s.alpha_bar.sqrt(), noise, (1 - s.alpha_bar).sqrt(), t)


def q_posterior(s: Schedule, x0: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of q(x_{t-1} | x_t, x_0), the Gaussian between a clean and a noisy point.

    DDPM, Eqs. 6 and 7. x0, x_t: (N, ...); t: int64 (N,) in 1..T. Returns the mean (N, ...) and the variance
    (N, 1, ...), the same in every dimension. At t = 1 the mean is x0 and the variance 0.
    Raises ShapeError, TimestepError, DataError (integer images).
    """
    check_batch(s, x0, t, x0=x0, x_t=x_t)
    variance = s.posterior_variance
    # beta_t / (1 - alpha_bar_t) and (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t): how far to trust x_0, and x_t
    from_x0, from_x_t = torch.zeros_like(variance), torch.zeros_like(variance)
    from_x0[1:] = s.alpha_bar[:-1].sqrt() * s.beta[1:] / (1 - s.alpha_bar[1:])
    from_x_t[1:] = s.alpha[1:].sqrt() * (1 - s.alpha_bar[:-1]) / (1 - s.alpha_bar[1:])
    return mix(x0, from_x0, x_t, from_x_t, t), at(variance, t, x0).to(x0.dtype)


def walk(s: Schedule, x0: Tensor, generator: torch.Generator | None = None) -> Iterator[tuple[int, Tensor]]:
    """The chain itself, step by step: yields (t, x_t) for t = 0, 1, ..., T, beginning with (0, x0).

    Fresh standard normal noise for each step comes from ``generator``, drawn on the generator's own device.
    x0: (N, ...); each x_t is a new tensor (N, ...), so what was yielded before stays as it was.
    """
    device = generator.device if generator is not None else x0.device
    yield 0, x0
    x = x0
    for step in range(1, s.T + 1):
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=device).to(x.device)
        x = q_step(s, x, torch.full((len(x),), step, device=x.device), noise)
        yield step, x


def random_t(s: Schedule, n: int, generator: torch.Generator | None = None) -> Tensor:
    """n times drawn uniformly from 1..T, both ends included: int64 (n,) on the generator's device."""
    device = generator.device if generator is not None else None
    return torch.randint(1, s.T + 1, (n,), generator=generator, device=device)


def squared_correlation(s: Schedule, variance: float = 1.0) -> Tensor:
    """corr(x_0, x_t)^2 = alpha_bar_t v / (alpha_bar_t v + 1 - alpha_bar_t) for t = 0..T, float64 (T + 1,).

    v is the data's ``variance`` along the direction looked at: a pixel's, or a principal component's. The result is the
    share of x_t's variance there that still comes from x_0, and the best R^2 with which a straight line predicts one
    from the other. Follows from DDPM, Eq. 4. Raises DataError when the variance is not positive.
    """
    if not variance > 0:
        raise DataError(
            f"variance must be > 0, got {variance!r}: a constant has no correlation. Fix: measure it on the data."
        )
    signal = s.alpha_bar * variance
    return signal / (signal + 1 - s.alpha_bar)


def bits_left(s: Schedule, mean_square: float) -> float:
    """What t = T still says about the data: KL(q(x_T | x_0) || N(0, I)) in bits per dimension.

    1/2 (alpha_bar_T m - alpha_bar_T - log(1 - alpha_bar_T)) / log 2, with m = ``mean_square`` the data's average x_0^2.
    It is the bound's term L_T (DDPM, Eq. 5): no training lowers it.
    """
    end = s.alpha_bar[-1].item()
    return 0.5 * (end * mean_square - end - math.log1p(-end)) / math.log(2)


# ---------------------------------------------------------------- what every function of t shares


def check_batch(s: Schedule, x: Tensor, t: Tensor, **tensors: Tensor) -> None:
    """Refuses what would otherwise broadcast, wrap around or truncate in silence.

    ``tensors`` are the arguments by name; all must be floating-point tensors of one shape, dtype and device, and
    t an int64 tensor of shape (len(x),) with values in 1..T (its values are looked at on the CPU only, so that
    nothing waits for a GPU).
    """
    _check_tensors(tensors)
    _check_time(s, x, t)


def _check_tensors(tensors: dict[str, Tensor]) -> None:
    (first, reference), *others = tensors.items()
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ShapeError(
                f"{name} must be a torch tensor, got {type(tensor).__name__}. Fix: torch.as_tensor({name})."
            )
        if not tensor.is_floating_point():
            raise DataError(
                f"{name} is {str(tensor.dtype).removeprefix('torch.')}, and the forward process mixes real numbers in "
                "[-1, 1]. "
                f"Usual cause: raw pixels 0..255. Fix: data.to_model_range({name})."
            )
    if reference.ndim == 0 or len(reference) == 0:
        raise ShapeError(
            f"{first} is an empty batch, shape {tuple(reference.shape)}; at least one sample is needed. "
            f"Usual cause: a filter that kept nothing, or a missing batch dimension. Fix: {first}[None] for a single "
            "sample."
        )
    if reference.ndim == 4 and reference.shape[3] in (1, 3, 4) and reference.shape[1] == reference.shape[2] > 4:
        raise ShapeError(
            f"{first} has shape {tuple(reference.shape)}, which looks channels-last; images here are (N, C, H, W). "
            f"Usual cause: arrays straight from an image library. Fix: {first}.permute(0, 3, 1, 2)."
        )
    for name, tensor in others:
        if tensor.shape != reference.shape:
            raise ShapeError(
                f"{name} has shape {tuple(tensor.shape)} but {first} has {tuple(reference.shape)}; they must be equal, "
                "nothing "
                f"is broadcast. Usual cause: one sample's noise for a whole batch. Fix: torch.randn_like({first})."
            )
        if tensor.dtype != reference.dtype or tensor.device != reference.device:
            raise ShapeError(
                f"{name} is {tensor.dtype} on {tensor.device} but {first} is {reference.dtype} on {reference.device}. "
                f"Usual cause: a float64 array from NumPy beside float32 images. Fix: {name}.to({first}), or "
                f"{first}.float()."
            )


def _check_time(s: Schedule, x: Tensor, t: Tensor) -> None:
    n = len(x)
    if not isinstance(t, Tensor):
        raise TimestepError(
            f"t must be an int64 tensor of shape ({n},), one time per sample, got {type(t).__name__} {t!r}. "
            f"Fix: torch.full(({n},), t)."
        )
    if t.dtype != torch.int64:
        raise TimestepError(
            f"t must be int64, got {t.dtype}: this is a chain of whole steps 1..{s.T}. "
            "Usual cause: t / T passed in place of t. Fix: t.long()."
        )
    if t.shape != (n,):
        raise TimestepError(
            f"t must have shape ({n},), one time per sample, got {tuple(t.shape)}. "
            f"Usual cause: one t for the whole batch, or a column (N, 1). Fix: t.expand({n}), or t.flatten()."
        )
    if t.device.type == "cpu" and not ((t >= 1) & (t <= s.T)).all():
        wrong = t[(t < 1) | (t > s.T)][0].item()
        raise TimestepError(
            f"t must be in 1..{s.T}, got {wrong}. Usual cause: times counted from 0. "
            "Fix: add 1, or draw them with forward.random_t."
        )


def mix(a: Tensor, weight_a: Tensor, b: Tensor, weight_b: Tensor, t: Tensor) -> Tensor:
    """weight_a[t] a + weight_b[t] b, in float32 at least, returned in a's dtype."""
    return (at(weight_a, t, a) * a + at(weight_b, t, b) * b).to(a.dtype)


def at(table: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """``table[t]`` shaped to multiply x: (N, 1, ..., 1) with as many axes as x (N, ...), on x's device.

    Without the extra axes torch would line the N values up with x's *last* axis. The dtype is x's, but never
    below float32; do all arithmetic on the table first, since the cast comes here.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    return sent(table.to(dtype), x.device)[t].reshape(-1, *[1] * (x.ndim - 1))


def sent(values: Tensor, device: torch.device) -> Tensor:
    """``values`` on ``device``, without the wait for its queue that a copy from ordinary memory to a GPU is."""
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
