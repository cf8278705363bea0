"""The library's answers to notebook 03's exercises, where the library has no function with these arguments."""

import torch
from torch import Tensor, nn

from ddpm_edu import losses
from ddpm_edu.forward import random_t
from ddpm_edu.schedules import Schedule


def min_snr_for_v(s: Schedule, gamma: float) -> Tensor:
    """min(SNR, gamma) on the error of x_0, as a weight on that of v, (T + 1,): :func:`ddpm_edu.losses.min_snr`."""
    return losses.min_snr(gamma)(s, "v")


def training_step(
    net: nn.Module, optimiser: torch.optim.Optimizer, s: Schedule, x0: Tensor, g: torch.Generator
) -> float:
    """One step of DDPM (Ho et al. 2020), Algorithm 1, on x0 (N, ...), as :func:`ddpm_edu.training.fit` does it."""
    t, noise = random_t(s, len(x0), g), torch.randn(x0.shape, generator=g)
    loss = losses.simple(net, s, x0, t, noise).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()
