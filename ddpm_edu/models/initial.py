"""How weights start: DDPM's spread for all layers, and zero for the last layer of each residual branch."""

from typing import TypeVar

import torch
from torch import Tensor, nn

L = TypeVar("L", nn.Linear, nn.Conv2d)


def spread(layer: L) -> L:
    """``layer`` with uniform weights of variance 2 / (fan_in + fan_out) and no bias, as in DDPM's code; returned."""
    nn.init.xavier_uniform_(layer.weight)
    return _no_bias(layer)


def silent(layer: L) -> L:
    """``layer`` with weights and bias zero: its branch says nothing until it has learned something; returned.

    DDPM does this to the last layer of each residual block, of attention, and of the network. A network that starts
    at zero has L_simple = 1, the mean square of the noise.
    """
    nn.init.zeros_(layer.weight)
    return _no_bias(layer)


def bias_of(layer: L) -> Tensor:
    """The bias of a layer that was made with one."""
    assert layer.bias is not None  # noqa: S101 (for the type checker)
    return layer.bias


def _no_bias(layer: L) -> L:
    with torch.no_grad():
        if layer.bias is not None:
            layer.bias.zero_()
    return layer
