"""The U-Net: down through the levels, up again, and at each level a look at what was there on the way down.

Ronneberger et al. 2015 for the shape, Ho et al. 2020 for the blocks. ``forward`` reads from top to bottom.

Shape suffixes: b batch, c channels, h w pixels, e embedding, m tokens, f numbers of a token.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_edu.errors import ConfigError
from ddpm_edu.models import resample
from ddpm_edu.models.attention import CrossAttention, SelfAttention
from ddpm_edu.models.config import UNetConfig
from ddpm_edu.models.embeddings import Condition
from ddpm_edu.models.initial import silent, spread
from ddpm_edu.models.inputs import check_inputs
from ddpm_edu.models.resblock import ResBlock

Run = Callable[..., Tensor]


def at_once(block: nn.Module, *inputs: Any) -> Tensor:
    """How a block is run unless :mod:`ddpm_edu.models.checkpointing` says otherwise: called."""
    out: Tensor = block(*inputs)
    return out


class Block(nn.Module):
    """A residual block, then self-attention and cross-attention where the level has them."""

    def __init__(self, config: UNetConfig, c_in: int, level: int, attends: bool) -> None:
        super().__init__()
        c, heads, norm = config.width_at(level), config.heads_at(level), (config.groups, config.eps)
        self.res = ResBlock(c_in, c, 4 * config.width, config.told, *norm, config.dropout)
        self.attend = SelfAttention(c, heads, *norm) if attends else None
        self.read = CrossAttention(c, config.tokens, heads, *norm) if attends and config.tokens else None

    def forward(self, h_bchw: Tensor, told_be: Tensor, tokens_bmf: Tensor | None) -> Tensor:
        """(b, c_in, h, w) -> (b, c, h, w)."""
        h: Tensor = self.res(h_bchw, told_be)
        if self.attend is not None:
            h = self.attend(h)
        if self.read is not None:
            h = self.read(h, tokens_bmf)
        return h


class Down(nn.Module):
    """One level on the way down: blocks, then half the size (not after the last level)."""

    def __init__(self, config: UNetConfig, c_in: int, level: int) -> None:
        super().__init__()
        c, attends = config.width_at(level), level in config.attention
        self.blocks = nn.ModuleList(Block(config, c if i else c_in, level, attends) for i in range(config.blocks))
        last = level == config.levels - 1
        self.shrink = None if last else _resampler(config, c, DOWN)


class Up(nn.Module):
    """One level on the way up: blocks that also get what the way down left, then twice the size (not at level 0)."""

    def __init__(self, config: UNetConfig, c_in: int, left: list[int], level: int) -> None:
        super().__init__()
        c, attends = config.width_at(level), level in config.attention
        self.blocks = nn.ModuleList(
            Block(config, (c if i else c_in) + left.pop(), level, attends) for i in range(config.blocks + 1)
        )
        self.grow = None if level == 0 else _resampler(config, c, UP)


class UNet(nn.Module):
    """``net(x_t, t)`` for images; see :class:`UNetConfig` for what it is made of.

    x_t (b, channels, h, w), h and w multiples of ``config.divisor``; t int64 (b,) in 0..T, embedded as the number it is
    (so weights of DDPM's code, which counts from 0, work with ``first_t=0`` of the denoiser). An untrained network
    says 0 everywhere. ``labels`` int64 (b,): a class, or ``net.no_label`` for none.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.run: Run = at_once
        inputs, widths = config.channels + config.extra_channels, [config.width_at(i) for i in range(config.levels)]
        self.told = Condition(config.width, config.sinusoid, config.classes)
        self.stem = spread(nn.Conv2d(inputs * config.patch**2, config.width, 3, padding=1))
        self.down: Any = nn.ModuleList(
            Down(config, widths[level - 1] if level else config.width, level) for level in range(config.levels)
        )
        self.middle: Any = nn.ModuleList(
            Block(config, widths[-1], config.levels - 1, attends=attends) for attends in (True, False)
        )
        left, below = left_behind(config), [*widths[1:], widths[-1]]  # channels from the way down, and from below
        self.up: Any = nn.ModuleList(Up(config, below[level], left, level) for level in reversed(range(config.levels)))
        self.norm = nn.GroupNorm(config.groups, widths[0], config.eps)
        self.head = silent(nn.Conv2d(widths[0], config.outputs * config.patch**2, 3, padding=1))

    @property
    def no_label(self) -> int:
        """The label that says nothing, for classifier-free guidance. Raises ConfigError where there are no classes."""
        if self.config.classes is None:
            raise ConfigError("this network knows no classes, so no label for none. Fix: UNetConfig(classes=...).")
        return self.config.classes

    def forward(
        self,
        x_bchw: Tensor,
        t: Tensor,
        labels: Tensor | None = None,
        tokens: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> Tensor:
        """The prediction, (b, out_channels, h, w). ``tokens`` (b, m, f) where the network reads some; ``extra``
        (b, extra_channels, h, w). Raises ShapeError, TimestepError and ConfigError.
        """
        check_inputs(self.config, x_bchw, t, labels, tokens, extra)
        told_be = self.told(t, labels)
        x = x_bchw if extra is None else torch.cat([x_bchw, extra], 1)
        h = self.stem(F.pixel_unshuffle(x, self.config.patch))

        left = [h]
        for level in self.down:
            for block in level.blocks:
                h = self.run(block, h, told_be, tokens)
                left.append(h)
            if level.shrink is not None:
                h = self.run(level.shrink, h, told_be)
                left.append(h)

        for block in self.middle:
            h = self.run(block, h, told_be, tokens)

        for level in self.up:
            for block in level.blocks:
                h = self.run(block, torch.cat([h, left.pop()], 1), told_be, tokens)
            if level.grow is not None:
                h = self.run(level.grow, h, told_be)

        return F.pixel_shuffle(self.head(F.silu(self.norm(h))), self.config.patch)


def left_behind(config: UNetConfig) -> list[int]:
    """Channels of what the way down leaves for the way up, in the order in which it is left."""
    left = [config.width]
    for level in range(config.levels):
        left += [config.width_at(level)] * (config.blocks + (level < config.levels - 1))
    return left


# ---------------------------------------------------------------- from one level to the next


class Untold(nn.Module):
    """A resampling that has no use for the embedding, called like one that has."""

    def __init__(self, resampler: nn.Module) -> None:
        super().__init__()
        self.resampler = resampler

    def forward(self, h_bchw: Tensor, told_be: Tensor) -> Tensor:
        """(b, c, h, w) -> half or twice the size."""
        out: Tensor = self.resampler(h_bchw)
        return out


DOWN = {"down_right": resample.DownRightPadded, "padded": resample.DownPadded, "in_block": resample.average}
UP = {"down_right": resample.Up, "padded": resample.Up, "in_block": resample.repeat}


def _resampler(config: UNetConfig, c: int, ways: dict[str, Any]) -> nn.Module:
    """The way to the next size, as a module called with (h, embedding)."""
    way = ways[config.resample]
    if config.resample != "in_block":
        return Untold(way(c))
    build = partial(ResBlock, c, c, 4 * config.width, config.told, config.groups, config.eps, config.dropout)
    return build(resample=way)
