"""What a step consists of, seen from outside: which operations there are, and in which precision each computes."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class InHalf(TorchFunctionMode):
    """Within it, operations take their arguments in the precision that torch.autocast gives them on a GPU.

    Autocast itself knows no meta device. Products and convolutions run in 16 bits; normalisation and softmax in
    float32, for which they get a copy, kept for the backward pass: that is why memory is not halved.
    """

    HALF = frozenset({torch.conv2d, F.linear, torch.matmul, Tensor.matmul, F.scaled_dot_product_attention})
    SINGLE = frozenset({torch.group_norm, F.group_norm, torch.softmax, F.softmax})  # F's see to their own insides

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        wanted = torch.bfloat16 if func in self.HALF else torch.float32 if func in self.SINGLE else None
        if wanted is not None:
            args = [a.to(wanted) if isinstance(a, Tensor) and a.is_floating_point() else a for a in args]
        return func(*args, **(kwargs or {}))


class Operations(TorchDispatchMode):
    """Counts the operations within it that compute something: on a GPU about a kernel each."""

    NOTHING = frozenset({"aten::_unsafe_view", "aten::empty", "aten::empty_like"})  # beside views

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aliases = [result.alias_info for result in func._schema.returns]
        view = any(alias is not None and not alias.is_write for alias in aliases)
        self.count += not view and func._schema.name not in self.NOTHING
        return func(*args, **(kwargs or {}))
