"""Steps as long as they can be: the solver looks at its own error and chooses, for each sample by itself."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_edu.errors import ConfigError
from ddpm_edu.parameterization import Denoise, check_schedule
from ddpm_edu.reverse import beside
from ddpm_edu.sampling import ddim, heun, loop
from ddpm_edu.sampling.loop import Callback, Generators
from ddpm_edu.schedules import Schedule

SAFETY, SHRINK, GROW = 0.9, 0.2, 5.0  # the usual constants of embedded pairs (Hairer, Norsett & Wanner, II.4)
FIRST = 0.5  # of half log SNR, the first step that is tried


class Adapted(NamedTuple):
    """The samples (N, ...), and how often each needed the denoiser, int64 (N,)."""

    x: Tensor
    evaluations: Tensor


def sample(
    denoise: Denoise,
    s: Schedule,
    shape: Sequence[int],
    tolerance: float = 0.02,
    generator: Generators = None,
    *,
    x_T: Tensor | None = None,
    callback: Callback | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Adapted:
    """Samples by the probability-flow ODE with steps of error ``tolerance`` (root mean square, in units of x).

    A step is tried twice, by Euler (DDIM) and by Heun; their difference is the error of the first. Where it is within
    the tolerance, or the step is a single t, Heun's result counts and the next step is longer, else a shorter one is
    tried. Each sample has its own steps, so it does not depend on its batch. An embedded pair of orders 1 and 2, as in
    Jolicoeur-Martineau et al. 2021. The error is read by the host: this method waits for the device.
    ``callback`` gets a dict after each try: t (where the samples stand now), s (what was tried), error, moved, all
    (N,), and x. Raises as :func:`ddpm_edu.sampling.sample`.
    """
    check_schedule(denoise, s)
    if not tolerance > 0:
        raise ConfigError(f"tolerance must be > 0, the error of one step in units of x; got {tolerance!r}.")
    x = loop.start(shape, generator, x_T, dtype, device)
    t, length = torch.full((len(x),), s.T), torch.full((len(x),), FIRST, dtype=torch.float64)
    evaluations = torch.zeros(len(x), dtype=torch.int64)
    with torch.no_grad():
        while (t > 0).any():
            s_ = landing(s, t, length)
            tried, error = _try(denoise, s, x, t, s_)
            moved = (t > 0) & (~(error > tolerance) | (s_ >= t - 1))  # NaN moves on: no shorter step could mend it
            evaluations += (t > 0) * (1 + (s_ > 0).long())
            length = _half_log_snr(s, s_) - _half_log_snr(s, t)
            length *= (SAFETY * (tolerance / error.clamp(min=1e-12)).sqrt()).clamp(SHRINK, GROW)
            x = torch.where(beside(moved, x).bool(), tried, x)
            t = torch.where(moved, s_, t)
            if callback is not None:
                callback({"t": t, "s": s_, "x": x, "error": error, "moved": moved})
    return Adapted(x, evaluations)


def landing(s: Schedule, t: Tensor, length: Tensor) -> Tensor:
    """The earliest times within ``length`` (N,) of half log SNR from t (N,), int64 (N,): at least one t away.

    The last step is always 1 to 0: sigma = 0 has no second slope, and so no error that could be estimated.
    """
    rising = s.log_snr[1:].flip(0) / 2  # at T, T - 1, .., 1
    reached = torch.searchsorted(rising, _half_log_snr(s, t) + length, right=True) - 1
    return torch.minimum((s.T - reached).clamp(min=1), t - 1).clamp(min=0)


def _half_log_snr(s: Schedule, t: Tensor) -> Tensor:
    return s.log_snr[t.clamp(min=1)] / 2


def _try(denoise: Denoise, s: Schedule, x: Tensor, t: Tensor, s_: Tensor) -> tuple[Tensor, Tensor]:
    """Heun's x_s, and how far Euler's is from it: root mean square over each sample, float64 (N,) on the CPU."""
    time = t.clamp(min=1)  # samples that have arrived are asked about too, and their answer is not used
    denoised = loop.ask(denoise, x, time)
    euler = ddim.step(s, x, time, s_, denoised, x)
    better = heun.step(s, x, time, s_, denoised, x, denoise)
    return better, (better - euler).flatten(1).double().square().mean(1).sqrt().cpu()
