"""log p of data under a deterministic sampler: the probability-flow ODE, run from data to noise.

With the angle phi, tan(phi) = sqrt((1 - ab) / ab), as its time, the flow is dx / dphi = v-hat = sqrt(ab) eps-hat -
sqrt(1 - ab) x0-hat, and the density that it carries along changes by d log p(x) / dphi = -div v-hat (Song et al. 2021,
"Score-based generative modeling through SDEs", section 4.3 and D.2; the angle: Salimans & Ho 2022). So log p(x_0) is
the density of the prior where the flow arrives, plus what the volume has changed on the way. In sigma in place of phi
the last step of a cosine schedule, from 642 to 20,000, would spoil the sum; v is of the size of x everywhere.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_edu.errors import ConfigError
from ddpm_edu.forward import check_batch
from ddpm_edu.parameterization import Denoise, check_schedule
from ddpm_edu.sampling import grids, loop
from ddpm_edu.sampling.grids import Pairs
from ddpm_edu.schedules import Schedule

Field = Callable[[Tensor], Tensor]
Divergence = Callable[[Field, Tensor], tuple[Tensor, Tensor]]
"""``f(field, x) -> (field(x), div field at x (N,))``: :func:`exact` or :func:`hutchinson`."""


class Likelihood(NamedTuple):
    """log p(x_0) in nats, float64 (N,), and ``latent`` x_T (N, ...), where the flow has arrived."""

    log_p: Tensor
    latent: Tensor


def log_likelihood(
    denoise: Denoise,
    s: Schedule,
    x0: Tensor,
    steps: int | None = None,
    *,
    grid: Pairs | None = None,
    divergence: Divergence | None = None,
) -> Likelihood:
    """log p(x_0) in nats under the flow with the prior x_T ~ N(0, I), by Heun's method.

    The flow starts at t = 1, the earliest time that a network knows, with x_1 = sqrt(ab_1) x_0: what is measured is the
    density of data blurred by sigma_1 (0.01 on DDPM's schedule). The error of the integral falls with the square of the
    step. ``steps``: 100, or T if that is less, with the times of :func:`grids.linspace`; the step from 1 to 0 is not
    walked. On a ``grid`` whose last step starts at a later t the flow does too, and that much more is blurred.
    ``divergence``: :func:`exact` unless another is given. For images in [-1, 1] with 256 levels, bits per dimension are
    log2(127.5) - log_p / (D log 2). Raises ConfigError, ShapeError, DataError, TimestepError, ScheduleError.
    """
    check_schedule(denoise, s)
    grid = grids.chosen(s.T, steps, grid, 100, grids.linspace)
    if steps == 1 and s.T > 1:
        raise ConfigError("steps must be >= 2: the flow goes from t = 1 to T, and one step would only see T. Fix: 100.")
    check_batch(s, x0, torch.full((len(x0),), s.T), x0=x0)
    grids.check(grid, s.T, from_noise=True)
    divergence = exact if divergence is None else divergence
    times = [t for t, _ in reversed(grid)]  # from early to late
    signal, noise = s.alpha_bar.sqrt(), (1 - s.alpha_bar).sqrt()
    phi = torch.atan2(noise, signal).tolist()

    def slope(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """v-hat and its divergence at x and t."""

        def v(x: Tensor) -> Tensor:
            seen = loop.ask(denoise, x, torch.full((len(x),), t))
            return signal[t].item() * seen.eps - noise[t].item() * seen.x0

        return divergence(v, x)

    x = signal[times[0]].item() * x0
    volume = 0.5 * x0[0].numel() * s.alpha_bar[times[0]].log() + torch.zeros(len(x0), dtype=torch.float64)
    volume, (here, spread) = volume.to(x0.device), slope(x, times[0])
    for earlier, t in pairwise(times):
        step = phi[t] - phi[earlier]
        guess, spread_guess = slope(x + step * here, t)
        x, volume = x + step / 2 * (here + guess), volume + step / 2 * (spread + spread_guess)
        here, spread = slope(x, t)
    prior = -0.5 * (x.double().square() + math.log(2 * math.pi)).flatten(1).sum(1)
    return Likelihood(prior + volume, x)


def exact(field: Field, x: Tensor) -> tuple[Tensor, Tensor]:
    """The field and its divergence, by one backward pass for each of the D dimensions: for points, not for images."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = field(x)
        flat, trace = value.flatten(1), torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for i in range(flat.shape[1]):
            (gradient,) = torch.autograd.grad(flat[:, i].sum(), x, retain_graph=True)
            trace += gradient.flatten(1)[:, i].double()
    return value.detach(), trace


def hutchinson(probes: int = 1, generator: torch.Generator | None = None) -> Divergence:
    """The divergence as the mean of v . (J v) over ``probes`` random vectors of signs: unbiased, for any D.

    The signs are drawn for the first x and kept along the flow, which makes the integral smooth; x of another shape
    (the last batch of a data set) gets its own. Hutchinson 1990; FFJORD (Grathwohl et al. 2019). Raises ConfigError.
    """
    if probes < 1:
        raise ConfigError(f"probes must be >= 1, got {probes!r}.")
    kept: list[Tensor] = []

    def divergence(field: Field, x: Tensor) -> tuple[Tensor, Tensor]:
        if not kept or kept[0].shape[1:] != x.shape:
            origin = "cpu" if generator is None else generator.device
            coins = torch.randint(0, 2, (probes, *x.shape), generator=generator, device=origin)
            kept[:] = [(2 * coins - 1).to(x)]
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = field(x)
            products = [(torch.autograd.grad(value, x, v, retain_graph=True)[0] * v).flatten(1).sum(1) for v in kept[0]]
        return value.detach(), torch.stack(products).double().mean(0)

    return divergence
