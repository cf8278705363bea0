"""The residual block, and the two ways in which it is told the time.

    h  = conv1(silu(norm1(x)))
    h  = dropout(silu(told(h, embedding)))
    out = shortcut(x) + conv2(h)

conv2 starts at zero, so every block starts as its shortcut. ``told`` is one of two small modules:

    AddTime:    norm2(h + w)                    w = a linear map of silu(embedding)   (DDPM)
    ScaleShift: norm2(h) * (1 + w) + b          (w, b) the same                       (improved DDPM, appendix A; ADM)

Shape suffixes: b batch, c channels, h w pixels, e embedding.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_edu.models.initial import silent, spread


def add_per_channel(h_bchw: Tensor, w_bc: Tensor) -> Tensor:
    """h + w, with one number for each channel of each image."""
    return h_bchw + w_bc[:, :, None, None]


def scale_and_shift(normal_bchw: Tensor, w_bc: Tensor, b_bc: Tensor) -> Tensor:
    """normal * (1 + w) + b, with one w and one b for each channel of each image. Improved DDPM, appendix A."""
    return normal_bchw * (1 + w_bc[:, :, None, None]) + b_bc[:, :, None, None]


class AddTime(nn.Module):
    """norm(h + linear(silu(embedding))): each channel is shifted by a number that depends on t."""

    def __init__(self, channels: int, embedding: int, groups: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps)
        self.linear = spread(nn.Linear(embedding, channels))

    def forward(self, h_bchw: Tensor, told_be: Tensor) -> Tensor:
        """(b, c, h, w), (b, e) -> (b, c, h, w)."""
        out: Tensor = self.norm(add_per_channel(h_bchw, self.linear(F.silu(told_be))))
        return out


class ScaleShift(nn.Module):
    """norm(h) * (1 + w) + b with (w, b) = linear(silu(embedding)): AdaGN, adaptive group normalisation.

    ADM's paper prints w norm(h) + b; all code has 1 + w. The two can say the same things, but w starts small, and the
    printed one then lets little through. With w and b at zero, and conv2 too, none of them would ever get a gradient.
    """

    def __init__(self, channels: int, embedding: int, groups: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps)
        self.linear = spread(nn.Linear(embedding, 2 * channels))

    def forward(self, h_bchw: Tensor, told_be: Tensor) -> Tensor:
        """(b, c, h, w), (b, e) -> (b, c, h, w)."""
        w_bc, b_bc = self.linear(F.silu(told_be)).chunk(2, 1)
        return scale_and_shift(self.norm(h_bchw), w_bc, b_bc)


TELLS: dict[str, Callable[[int, int, int, float], nn.Module]] = {"add": AddTime, "scale_shift": ScaleShift}


def as_it_is(h_bchw: Tensor) -> Tensor:
    """No resampling."""
    return h_bchw


class ResBlock(nn.Module):
    """x (b, c_in, h, w) and the embedding (b, e) -> (b, c_out, h, w), or another size where ``resample`` changes it.

    ``resample`` is applied to both branches before conv1, as in ADM's (BigGAN's) up and down blocks.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        embedding: int,
        told: str,
        groups: int,
        eps: float,
        dropout: float,
        resample: Callable[[Tensor], Tensor] = as_it_is,
    ) -> None:
        super().__init__()
        self.resample = resample
        self.norm1 = nn.GroupNorm(groups, c_in, eps)
        self.conv1 = spread(nn.Conv2d(c_in, c_out, 3, padding=1))
        self.told = TELLS[told](c_out, embedding, groups, eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = silent(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.shortcut = nn.Identity() if c_in == c_out else spread(nn.Conv2d(c_in, c_out, 1))

    def forward(self, x_bchw: Tensor, told_be: Tensor) -> Tensor:
        """One residual step."""
        h = self.conv1(self.resample(F.silu(self.norm1(x_bchw))))
        h = self.conv2(self.dropout(F.silu(self.told(h, told_be))))
        out: Tensor = self.shortcut(self.resample(x_bchw)) + h
        return out
