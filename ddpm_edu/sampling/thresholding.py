"""Keeping x0-hat in the range of images, with the eps-hat that goes with it.

A denoiser's x0-hat at large t is (x_t - sqrt(1 - ab) eps-hat) / sqrt(ab): an error of eps-hat is multiplied by
sqrt((1 - ab) / ab), which is 157 at the end of DDPM's schedule. Limits cost nothing where data are known to lie in
[-1, 1]. What is limited is x0-hat; eps-hat must be derived anew, or the two no longer add up to x_t.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpm_edu.errors import ConfigError
from ddpm_edu.parameterization import Denoise, Denoised, check_schedule, clipped
from ddpm_edu.schedules import Schedule


def dynamic(x0: Tensor, percentile: float = 0.995) -> Tensor:
    """x0 limited to [-r, r] and divided by r, where r = max(1, the ``percentile`` of |x0|), for each sample by itself.

    Imagen (Saharia et al. 2022), section 2.3: strong guidance pushes many pixels beyond 1; the static clip makes them
    all equal to 1, this keeps their order. x0: (N, ...). Raises ConfigError for a percentile outside 0..1.
    """
    if not 0 <= percentile <= 1:
        raise ConfigError(f"percentile must lie in 0..1, got {percentile!r}. Fix: 0.995 for Imagen's 99.5 %.")
    sizes = x0.flatten(1).abs().to(torch.promote_types(x0.dtype, torch.float32))
    limit = sizes.quantile(percentile, dim=1).clamp(min=1).to(x0.dtype).reshape(-1, *[1] * (x0.ndim - 1))
    return x0.clamp(-limit, limit) / limit


def limited(denoise: Denoise, s: Schedule, clip: Callable[[Tensor], Tensor]) -> "Limited":
    """``denoise`` with ``clip(x0)`` in the place of x0, and eps to match. For a guided denoiser: limit it last.

    ``clip``: parameterization.static_clip, :func:`dynamic`, or any function of x0 (N, ...).
    """
    check_schedule(denoise, s)
    return Limited(denoise, s, clip)


@dataclass(frozen=True)
class Limited:
    """A denoiser whose x0 is limited; made by :func:`limited`."""

    denoise: Denoise
    schedule: Schedule
    clip: Callable[[Tensor], Tensor]

    def __call__(self, x_t: Tensor, t: Tensor, /) -> Denoised:
        """What ``denoise`` sees in x_t (N, ...) at t (N,), limited."""
        return clipped(self.schedule, x_t, t, self.denoise(x_t, t), self.clip)
