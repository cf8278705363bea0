"""Attention: every pixel looks at every pixel, or at the tokens of a text.

    out = softmax(q k^T / sqrt(d)) v                                    (Vaswani et al. 2017, Eq. 1)

In both kinds the *image* asks: q comes from its pixels. k and v come from the same pixels (self-attention), or from
tokens (cross-attention, as in latent diffusion, Rombach et al. 2022). Time is no token: it enters the residual blocks.

Shape suffixes: b batch, c channels, x pixels (height times width), m tokens, h heads, d width of a head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_edu.errors import ShapeError
from ddpm_edu.models.initial import bias_of, silent, spread

LONGEST_ON_CPU = 1024  # pixels; beyond, the table of all pairs costs more than it saves


def attend(q_bhxd: Tensor, k_bhmd: Tensor, v_bhmd: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, (b, h, x, d), over the keys of each head.

    On a CPU the three steps one by one are up to twice as fast as torch's fused kernel, mostly in the backward pass
    (docs/decisions/speed-on-a-cpu.md); the fused one needs no table of all pairs, and is used everywhere else.
    """
    if q_bhxd.device.type == "cpu" and q_bhxd.shape[2] <= LONGEST_ON_CPU:
        return weights(q_bhxd, k_bhmd) @ v_bhmd
    return F.scaled_dot_product_attention(q_bhxd, k_bhmd, v_bhmd)


def weights(q_bhxd: Tensor, k_bhmd: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)), (b, h, x, m): how much each pixel takes of each key. Rows sum to 1."""
    return torch.softmax((q_bhxd * q_bhxd.shape[-1] ** -0.5) @ k_bhmd.transpose(2, 3), -1)


class SelfAttention(nn.Module):
    """h + project(attend(q, k, v)) with q, k, v from the normalised pixels of h (b, c, height, width)."""

    def __init__(self, channels: int, heads: int, groups: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels, eps)
        self.q, self.k, self.v = (spread(nn.Conv2d(channels, channels, 1)) for _ in range(3))
        self.project = silent(nn.Conv2d(channels, channels, 1))

    def forward(self, h_bchw: Tensor) -> Tensor:
        """(b, c, height, width) -> the same shape."""
        q, k, v = self.queries_keys_values(h_bchw)
        out: Tensor = self.project(_to_image(attend(q, k, v), h_bchw))
        return h_bchw + out

    def queries_keys_values(self, h_bchw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each (b, heads, pixels, d). Apart from ``forward`` so that lessons can draw the weights."""
        normal = self.norm(h_bchw)
        # one convolution with three times the channels: the three layers are apart for their initial spread
        weight = torch.cat([self.q.weight, self.k.weight, self.v.weight])
        bias = torch.cat([bias_of(self.q), bias_of(self.k), bias_of(self.v)])
        q, k, v = F.conv2d(normal, weight, bias).chunk(3, 1)
        return _to_pixels(q, self.heads), _to_pixels(k, self.heads), _to_pixels(v, self.heads)


class CrossAttention(nn.Module):
    """h + project(attend(q, k, v)): q from the normalised pixels of h, k and v from tokens (b, m, token_width)."""

    def __init__(self, channels: int, token_width: int, heads: int, groups: int, eps: float) -> None:
        super().__init__()
        self.heads, self.token_width = heads, token_width
        self.norm = nn.GroupNorm(groups, channels, eps)
        self.q = spread(nn.Conv2d(channels, channels, 1))
        self.k, self.v = (spread(nn.Linear(token_width, channels)) for _ in range(2))
        self.project = silent(nn.Conv2d(channels, channels, 1))

    def forward(self, h_bchw: Tensor, tokens_bmf: Tensor) -> Tensor:
        """(b, c, height, width) and tokens (b, m, token_width) -> (b, c, height, width). Raises ShapeError."""
        if tokens_bmf.ndim != 3 or tokens_bmf.shape[0] != h_bchw.shape[0] or tokens_bmf.shape[2] != self.token_width:
            raise ShapeError(
                f"tokens must have shape ({len(h_bchw)}, tokens, {self.token_width}), got {tuple(tokens_bmf.shape)}. "
                "Usual cause: one row of tokens for the whole batch. Fix: tokens.expand(len(x), -1, -1)."
            )
        q = _to_pixels(self.q(self.norm(h_bchw)), self.heads)
        k, v = (_to_heads(layer(tokens_bmf), self.heads) for layer in (self.k, self.v))
        out: Tensor = self.project(_to_image(attend(q, k, v), h_bchw))
        return h_bchw + out


def _to_pixels(x_bchw: Tensor, heads: int) -> Tensor:
    """(b, c, height, width) -> (b, h, x, d)."""
    b, c = x_bchw.shape[:2]
    return x_bchw.reshape(b, heads, c // heads, -1).transpose(2, 3)


def _to_heads(x_bmc: Tensor, heads: int) -> Tensor:
    """(b, m, c) -> (b, h, m, d)."""
    b, m, c = x_bmc.shape
    return x_bmc.reshape(b, m, heads, c // heads).transpose(1, 2)


def _to_image(x_bhxd: Tensor, like_bchw: Tensor) -> Tensor:
    """(b, h, x, d) -> (b, c, height, width)."""
    return x_bhxd.transpose(2, 3).reshape(like_bchw.shape)
