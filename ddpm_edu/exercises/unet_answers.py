"""The library's answer to notebook 04's exercise 4.8, and the layers that it is about."""

import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_edu.exercises.frame import CheckFailed
from ddpm_edu.models.resblock import ResBlock, add_per_channel


class Layers(nn.Module):
    """The layers of a DDPM block (``told="add"``) by name, in alphabetical order: to put them in order is the exercise.

    They are the block's own, so both always have the same weights, and are in training or not together.
    """

    def __init__(self, block: ResBlock) -> None:
        super().__init__()
        self.conv1, self.conv2 = block.conv1, block.conv2
        self.dropout = block.dropout
        self.norm1, self.norm2 = block.norm1, block.get_submodule("told.norm")
        self.shortcut = block.shortcut
        self.time = block.get_submodule("told.linear")

    def forward(self, *_: Tensor) -> Tensor:
        """Refused: the layers are to be called one by one."""
        raise CheckFailed("`layers` is no block: call its layers one by one, layers.norm1(x) first.")


def mended_block(layers: Layers, x: Tensor, told: Tensor) -> Tensor:
    """x (b, c_in, h, w), told (b, e) -> (b, c_out, h, w), as :class:`ddpm_edu.models.resblock.ResBlock` does it."""
    h = layers.conv1(F.silu(layers.norm1(x)))
    h = layers.norm2(add_per_channel(h, layers.time(F.silu(told))))
    out: Tensor = layers.shortcut(x) + layers.conv2(layers.dropout(F.silu(h)))
    return out
