"""How a network is told what it cannot see in x_t: the time, and a class.

Shape suffixes: n samples, f numbers of a sinusoidal embedding, e numbers of the embedding that the blocks read.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_edu.errors import ConfigError


def sinusoidal(t: Tensor, dim: int) -> Tensor:
    """t (N,) as float32 (N, dim): sin(w_k t) for k = 0..dim/2 - 1, then cos(w_k t), with w_k from 1 down to 1/10000.

    w_k = 10000^(-k / (dim/2 - 1)), as in DDPM's code; :func:`sinusoidal_adm` differs. The inner product of two
    embeddings depends on t - t' alone, so nearby times look alike. Raises ConfigError: dim even, >= 4.
    """
    angles = _angles(t, dim, dim // 2 - 1)
    return torch.cat([angles.sin(), angles.cos()], 1)


def sinusoidal_adm(t: Tensor, dim: int) -> Tensor:
    """t (N,) as float32 (N, dim): the cosines first, then the sines, with w_k = 10000^(-k / (dim/2)).

    As in the code of improved DDPM and ADM. The smallest frequency is a little above 1/10000. Raises ConfigError.
    """
    angles = _angles(t, dim, dim // 2)
    return torch.cat([angles.cos(), angles.sin()], 1)


def _angles(t: Tensor, dim: int, divisor: int) -> Tensor:
    if dim < 4 or dim % 2:
        raise ConfigError(f"a time embedding needs an even dim >= 4 (a sine and a cosine a frequency), got {dim}.")
    k = torch.arange(dim // 2, dtype=torch.float32, device=t.device)
    return t[:, None].float() * torch.exp(-math.log(10_000) / divisor * k)


SINUSOIDS = {"ddpm": sinusoidal, "adm": sinusoidal_adm}


class Condition(nn.Module):
    """What every block is told about a sample: its time, and its class where there is one, as (N, 4 width).

    DDPM: sinusoids of ``width`` numbers, a layer to 4 width, SiLU, a layer to 4 width (for its CIFAR-10 network
    128 -> 512 -> 512). Improved DDPM adds a learned vector for the class. There is one vector more than classes, the
    last: it stands for "no label", which classifier-free guidance needs.
    """

    def __init__(self, width: int, sinusoid: str, classes: int | None) -> None:
        super().__init__()
        self.width, self.sinusoid = width, SINUSOIDS[sinusoid]
        self.first, self.second = nn.Linear(width, 4 * width), nn.Linear(4 * width, 4 * width)
        self.label = None if classes is None else nn.Embedding(classes + 1, 4 * width)

    def forward(self, t: Tensor, labels: Tensor | None) -> Tensor:
        """t (N,), labels int64 (N,) or None -> (N, 4 width)."""
        waves_nf = self.sinusoid(t, self.width).to(self.first.weight.dtype)
        told_ne: Tensor = self.second(F.silu(self.first(waves_nf)))
        if self.label is not None and labels is not None:
            told_ne = told_ne + self.label(labels)
        return told_ne
