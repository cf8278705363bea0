"""Small U-Nets, inputs that fit them, and their layers written out in plain arithmetic."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_edu.models import UNet, UNetConfig

SMALL: dict[str, Any] = {"channels": 1, "width": 8, "multipliers": (1, 2), "blocks": 1, "groups": 4, "dropout": 0.0}


def config(**options: Any) -> UNetConfig:
    """Two levels, a few thousand parameters."""
    return UNetConfig(**{**SMALL, **options})


def awake(net: nn.Module, std: float = 0.05, seed: int = 0) -> Any:
    """``net`` with no layer at zero, as after some training. A large ``std`` makes every part matter."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, std, generator=g)
    return net


def small(seed: int = 0, std: float = 0.2, **options: Any) -> UNet:
    """A small U-Net, awake."""
    return awake(UNet(config(**options)), std, seed)


def inputs(c: UNetConfig, size: int | tuple[int, int] = 8, n: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """Random arguments for a network of this configuration; times and labels differ from image to image."""
    height, width = (size, size) if isinstance(size, int) else size
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g)

    found = {"x_bchw": normal(n, c.channels, height, width), "t": torch.arange(n) * (c.T // n) + 1}
    if c.classes is not None:
        found["labels"] = torch.arange(n) % (c.classes + 1)
    if c.tokens is not None:
        found["tokens"] = normal(n, 3, c.tokens)
    if c.extra_channels:
        found["extra"] = normal(n, c.extra_channels, height, width)
    return found


def off_by(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|, over all numbers together."""
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


# ---------------------------------------------------------------- all layers, one by one

Layer = tuple[str, tuple[int, ...]]


def layers(c: UNetConfig, size: int = 0, tokens: int = 0) -> Iterator[Layer]:
    """Every layer of the network as (kind, numbers), read from the papers and not from the package's classes.

    conv: in, out, window, pixels of the result. linear: in, out, rows. norm: channels. table: rows, width.
    pairs: pixels, keys, channels. up: a convolution of the image enlarged twofold: in, out, pixels of the small image.
    """
    emb, side = 4 * c.width, size // c.patch
    widths = [c.width * m for m in c.multipliers]
    last = len(widths) - 1

    def res(i: int, o: int, px: int) -> Iterator[Layer]:
        yield from (("norm", (i,)), ("conv", (i, o, 3, px)))
        yield "linear", (emb, 2 * o if c.told == "scale_shift" else o, 1)
        yield from (("norm", (o,)), ("conv", (o, o, 3, px)))
        if i != o:
            yield "conv", (i, o, 1, px)

    def attend(o: int, px: int) -> Iterator[Layer]:
        yield "norm", (o,)
        yield from [("conv", (o, o, 1, px))] * 4  # q, k, v and the projection
        yield "pairs", (px, px, o)
        if c.tokens:
            yield "norm", (o,)
            yield from [("conv", (o, o, 1, px))] * 2  # q and the projection
            yield from [("linear", (c.tokens, o, tokens))] * 2
            yield "pairs", (px, tokens, o)

    yield from (("linear", (c.width, emb, 1)), ("linear", (emb, emb, 1)))
    if c.classes:
        yield "table", (c.classes + 1, emb)
    now, left = c.width, [c.width]
    yield "conv", ((c.channels + c.extra_channels) * c.patch**2, now, 3, side**2)
    for level, o in enumerate(widths):
        for _ in range(c.blocks):
            yield from res(now, o, side**2)
            yield from attend(o, side**2) if level in c.attention else ()
            now = o
            left.append(now)
        if level < last:
            side //= 2
            yield from res(o, o, side**2) if c.resample == "in_block" else [("conv", (o, o, 3, side**2))]
            left.append(o)
    yield from (*res(now, now, side**2), *attend(now, side**2), *res(now, now, side**2))
    for level, o in reversed(list(enumerate(widths))):
        for _ in range(c.blocks + 1):
            yield from res(now + left.pop(), o, side**2)
            yield from attend(o, side**2) if level in c.attention else ()
            now = o
        if level:
            yield from res(o, o, 4 * side**2) if c.resample == "in_block" else [("up", (o, o, side**2))]
            side *= 2
    yield from (("norm", (now,)), ("conv", (now, (c.out_channels or c.channels) * c.patch**2, 3, side**2)))


def parameters_of(layer: Layer) -> int:
    """How many numbers a layer learns."""
    match layer:
        case "conv", (i, o, window, _):
            return i * o * window**2 + o
        case "up", (i, o, _):
            return i * o * 9 + o
        case "linear", (i, o, _):
            return i * o + o
        case "norm", (c,):
            return 2 * c
        case "table", (rows, width):
            return rows * width
    return 0


def flops_of(layer: Layer, enlarged: bool = False) -> int:
    """Two for each multiply-add of a forward pass; normalisation and SiLU are not counted.

    ``enlarged``: as if the twofold image were made and convolved. This package makes four images of the small size and
    one row and column more, with windows of 2x2.
    """
    match layer:
        case "conv", (i, o, window, pixels):
            return 2 * i * o * window**2 * pixels
        case "up", (i, o, pixels):
            side = math.isqrt(pixels)
            return 2 * i * o * 9 * 4 * pixels if enlarged else 2 * i * 4 * o * 4 * (side + 1) ** 2
        case "linear", (i, o, rows):
            return 2 * i * o * rows
        case "pairs", (pixels, keys, c):
            return 2 * (2 * pixels * keys * c)  # q k^T, and the sum over v
    return 0
