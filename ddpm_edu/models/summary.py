"""Where parameters, arithmetic and memory of a U-Net go, stage by stage, without computing anything.

All is done on torch's meta device, whose tensors have shapes and no numbers: the 256-pixel network is planned on a
laptop in seconds.
"""

import gc
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ddpm_edu.errors import ShapeError
from ddpm_edu.models.config import UNetConfig
from ddpm_edu.models.memory import Alive
from ddpm_edu.models.unet import UNet, at_once

GIGA, MEGA = 1e9, 2**20


@dataclass(frozen=True)
class Stage:
    """One row. ``flops``: of the forward pass, 2 for a multiply-add. ``saved``: bytes kept for the backward pass."""

    name: str
    shape: tuple[int, ...]  # of its result: channels, height, width
    parameters: int
    flops: int
    saved: int


@dataclass(frozen=True)
class Summary:
    """All stages, in the order in which they run, for a batch of ``batch`` images. Prints as a table."""

    stages: tuple[Stage, ...]
    batch: int

    @property
    def parameters(self) -> int:
        """Of the whole network."""
        return sum(stage.parameters for stage in self.stages)

    @property
    def flops(self) -> int:
        """Of one forward pass of the batch; training takes three times as many (one for each of two gradients)."""
        return sum(stage.flops for stage in self.stages)

    @property
    def saved(self) -> int:
        """Bytes kept for the backward pass, weights not counted."""
        return sum(stage.saved for stage in self.stages)

    def __str__(self) -> str:
        head = f"{'stage':34}{'result':>16}{'parameters':>14}{'GFLOP':>9}{'MiB saved':>11}"
        rows = [_row(stage) for stage in self.stages]
        total = Stage(f"together, batch of {self.batch}", (), self.parameters, self.flops, self.saved)
        return "\n".join([head, *rows, _row(total)])


def _row(stage: Stage) -> str:
    shape = " x ".join(map(str, stage.shape))
    gigaflops, mebibytes = stage.flops / GIGA, stage.saved / MEGA
    return f"{stage.name:34}{shape:>16}{stage.parameters:>14,}{gigaflops:>9.3f}{mebibytes:>11.1f}"


def summary(net: UNet | UNetConfig, size: int | tuple[int, int], batch: int = 1, tokens: int = 16) -> Summary:
    """What ``net`` is made of and what a forward pass of ``batch`` images of this size costs.

    ``size``: height and width in pixels; ``tokens``: how many a text has, where the network reads some. The network
    itself stays as it is; how it runs its blocks (gradient checkpointing) counts. ``saved`` is for float32 and for
    attention in three steps, as on a CPU (a GPU's fused kernel keeps no table of all pairs of pixels); it holds the
    result, and combined weights that do not grow with the batch. Raises what the network raises for this size.
    """
    config = net if isinstance(net, UNetConfig) else net.config
    with torch.device("meta"):
        twin = UNet(config)
        inputs = example(config, size, batch, tokens)
    if isinstance(net, UNet):
        twin.run = net.run
        twin.train(net.training)
    meter = _Meter(twin)
    meter.run(twin, inputs)
    return Summary(tuple(meter.stages()), batch)


def training_flops(net: UNet, size: int | tuple[int, int], batch: int = 1, tokens: int = 16) -> int:
    """FLOPs of a forward and a backward pass, with what gradient checkpointing computes twice; nothing is computed."""
    with torch.device("meta"):
        twin = UNet(net.config)
        inputs = example(net.config, size, batch, tokens)
    twin.run = net.run
    with FlopCounterMode(display=False) as counter:
        twin(**inputs).sum().backward()
    return int(counter.get_total_flops())


def example(config: UNetConfig, size: int | tuple[int, int], batch: int = 1, tokens: int = 16) -> dict[str, Tensor]:
    """Arguments of the right shapes for a network of this configuration (zeros; on torch's default device)."""
    height, width = (size, size) if isinstance(size, int) else size
    if batch < 1:
        raise ShapeError(f"batch must be >= 1, got {batch}.")
    found = {"x_bchw": torch.zeros(batch, config.channels, height, width), "t": torch.ones(batch, dtype=torch.int64)}
    if config.classes is not None:
        found["labels"] = torch.zeros(batch, dtype=torch.int64)
    if config.tokens is not None:
        found["tokens"] = torch.zeros(batch, tokens, config.tokens)
    if config.extra_channels:
        found["extra"] = torch.zeros(batch, config.extra_channels, height, width)
    return found


def stages(net: UNet) -> Iterator[tuple[str, nn.Module]]:
    """The parts of a U-Net that count as a stage, by name, in the order in which they run."""
    config = net.config
    yield "time and class", net.told
    yield "stem", net.stem
    for level, down in enumerate(net.down):
        for i, block in enumerate(down.blocks):
            yield f"down, level {level}, block {i + 1}{_attends(block)}", block
        if down.shrink is not None:
            yield f"down, level {level}, shrink", down.shrink
    for i, block in enumerate(net.middle):
        yield f"middle, block {i + 1}{_attends(block)}", block
    for level, up in zip(reversed(range(config.levels)), net.up, strict=True):
        for i, block in enumerate(up.blocks):
            yield f"up, level {level}, block {i + 1}{_attends(block)}", block
        if up.grow is not None:
            yield f"up, level {level}, grow", up.grow
    yield "last norm", net.norm
    yield "head", net.head


def _attends(block: Any) -> str:
    return ", attention" if block.attend is not None else ""


class _Meter:
    """A forward pass, watched: FLOPs, shapes, and what is still alive at its end, kept for the backward pass."""

    def __init__(self, net: UNet) -> None:
        self.parts = dict(stages(net))
        self.shape: dict[str, tuple[int, ...]] = {}
        self.flops, self.saved = dict.fromkeys(self.parts, 0), dict.fromkeys(self.parts, 0)
        self.counter, self.alive = FlopCounterMode(display=False), Alive()
        self.alive.tag = next(iter(self.parts))

    def run(self, net: UNet, inputs: dict[str, Tensor]) -> None:
        """One forward pass, measured."""
        with ExitStack() as stack:
            for name, part in self.parts.items():
                stack.callback(part.register_forward_pre_hook(partial(self._begin, name)).remove)
                stack.callback(part.register_forward_hook(partial(self._end, name)).remove)
            stack.enter_context(self.counter)
            stack.enter_context(self.alive)
            out = net(**inputs)
        if net.run is not at_once:  # checkpointing may leave cycles of Python objects, which keep nothing for long
            gc.collect()
        self.saved |= self.alive.by_tag()
        del out  # the result was alive until here, as it is until the loss has been taken

    def stages(self) -> Iterator[Stage]:
        """What was found, stage by stage."""
        for name, part in self.parts.items():
            parameters = sum(p.numel() for p in part.parameters())
            yield Stage(name, self.shape[name], parameters, self.flops[name], self.saved[name])

    def _begin(self, name: str, module: nn.Module, inputs: Any) -> None:
        self.alive.tag, self.before = name, self.counter.get_total_flops()

    def _end(self, name: str, module: nn.Module, inputs: Any, out: Tensor) -> None:
        self.shape[name] = tuple(out.shape[1:])
        self.flops[name] += self.counter.get_total_flops() - self.before
