"""Gradient checkpointing: forget what a block computed, and compute it again when the backward pass needs it.

Chen et al. 2016: n layers in sqrt(n) segments need memory for about 2 sqrt(n) layers, at the price of one more forward
pass. In a U-Net each block is a segment; what the way down leaves for the way up must be kept all the same.

torch does the work: the non-reentrant kind restores the state of the random generators, so that dropout draws the same
mask again, and gives the first block its gradient also where the input needs none. Both are often got wrong.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from ddpm_edu.errors import ConfigError
from ddpm_edu.models.unet import Block, UNet, at_once

Which = Callable[[nn.Module], bool]
Contexts = Callable[[], tuple[AbstractContextManager[Any], AbstractContextManager[Any]]]


def every_block(block: nn.Module) -> bool:
    """The least memory: every block and every resampling is computed twice."""
    return True


def with_attention(block: nn.Module) -> bool:
    """Only blocks with attention, whose table of all pairs of pixels is often the largest thing to keep."""
    return isinstance(block, Block) and block.attend is not None


def enable(net: UNet, which: Which = every_block) -> None:
    """From now on the blocks for which ``which(block)`` holds are computed again in the backward pass."""
    net.run = partial(_run, which, None)


def enable_selective(net: UNet, which: Which = every_block) -> None:
    """As :func:`enable`, but the results of convolutions and products of matrices are kept.

    What is computed again is then cheap: normalisation, SiLU, additions, softmax. Saves less, costs nearly no time.
    """
    net.run = partial(_run, which, partial(create_selective_checkpoint_contexts, _keep_products))


def disable(net: UNet) -> None:
    """Back to keeping everything."""
    net.run = at_once


def best_segments(n: int) -> int:
    """Into how many segments a chain of n equal layers is best cut: the k for which k + ceil(n / k) is smallest.

    k layers are kept at the cuts, and the n / k of one segment while it is computed again: about 2 sqrt(n) in all, by
    Chen et al. 2016, section 4.1. Raises ConfigError for n < 1.
    """
    if n < 1:
        raise ConfigError(f"a chain has at least one layer, got n={n}.")
    return min(range(1, n + 1), key=lambda k: k + -(-n // k))


def _run(which: Which, contexts: Contexts | None, block: nn.Module, *inputs: Any) -> Tensor:
    """How ``net`` runs a block: as it is where nothing is learned or ``which`` says no."""
    if not torch.is_grad_enabled() or not which(block):
        return at_once(block, *inputs)
    options: dict[str, Any] = {} if contexts is None else {"context_fn": contexts}
    out: Tensor = checkpoint(block, *inputs, use_reentrant=False, **options)
    return out


_PRODUCTS = (
    torch.ops.aten.convolution.default,
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
)


def _keep_products(context: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if op in _PRODUCTS else CheckpointPolicy.PREFER_RECOMPUTE
