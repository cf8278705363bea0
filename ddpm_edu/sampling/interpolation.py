"""Between two latents: along the sphere, where noise lives."""

import torch
from torch import Tensor

from ddpm_edu.errors import ConfigError, ShapeError


def slerp(a: Tensor, b: Tensor, fraction: float) -> Tensor:
    """(sin((1 - f) theta) a + sin(f theta) b) / sin(theta): from a (f = 0) to b (f = 1), each sample by itself.

    theta is the angle between them. Shoemake 1985; DDIM (Song et al. 2021), section 5.3. Noise of many dimensions has
    almost always the length sqrt(D), and so has every point on the way; a straight line passes at sqrt(D / 2), where
    the denoiser never was. Parallel latents are mixed linearly, the limit. a, b: (N, ...).
    Raises ShapeError, ConfigError.
    """
    if a.shape != b.shape or a.ndim < 2:
        raise ShapeError(f"two latents of one shape (N, ...) are needed, got {tuple(a.shape)} and {tuple(b.shape)}.")
    if not 0 <= fraction <= 1:
        raise ConfigError(f"fraction must lie in 0..1, from the first latent to the second; got {fraction!r}.")
    flat_a, flat_b = a.double().flatten(1), b.double().flatten(1)
    lengths = flat_a.norm(dim=1) * flat_b.norm(dim=1)
    theta = ((flat_a * flat_b).sum(1) / lengths).clamp(-1, 1).acos()
    of_a, of_b = ((share * theta).sin() / theta.sin() for share in (1 - fraction, fraction))
    apart = theta.sin() > 1e-6  # also false where a latent is 0 and there is no angle
    of_a, of_b = torch.where(apart, of_a, 1 - fraction), torch.where(apart, of_b, fraction)
    return (of_a[:, None] * flat_a + of_b[:, None] * flat_b).reshape(a.shape).to(a.dtype)
