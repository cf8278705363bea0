"""How a network is told the time."""

import math

import torch
from torch import Tensor

from ddpm_edu.errors import ConfigError


def sinusoidal(t: Tensor, dim: int) -> Tensor:
    """t (N,) as float32 (N, dim): sin(w_k t) for k = 0..dim/2 - 1, then cos(w_k t), with w_k from 1 down to 1/10000.

    w_k = 10000^(-k / (dim/2 - 1)), as in DDPM's code (others divide by dim/2, or put the cosines first). The inner
    product of two embeddings depends on t - t' alone, so nearby times look alike. Raises ConfigError: dim even, >= 4.
    """
    if dim < 4 or dim % 2:
        raise ConfigError(f"a time embedding needs an even dim >= 4 (a sine and a cosine a frequency), got {dim}.")
    half = dim // 2
    frequencies = torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half, dtype=torch.float32, device=t.device))
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)
