"""What makes a CPU faster at this, and is not done unless asked for: kept memory, and convolutions in bfloat16.

Training allocates and frees the same large buffers in every step. glibc may hand them back to the kernel and ask for
them again, and the kernel clears every page anew. What that costs depends on the machine: from nothing to half of the
time of a small network (docs/decisions/speed-on-a-cpu.md).
"""

import ctypes
import platform
from typing import Any

import torch
from torch import Tensor, nn

# mallopt's own numbers, from glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_LARGEST = 2**31 - 1


def keep_memory() -> bool:
    """Have the allocator keep freed memory for the life of this process; True where that could be arranged.

    Only glibc (most Linux) has this switch; elsewhere nothing happens and the result is False. The process holds on to
    its largest size until it ends, which is why importing this package does not do it: entry points that train or
    sample for long call it. Calling it again changes nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))


class InBfloat16(nn.Module):
    """``net`` with its products and convolutions in bfloat16; weights and result stay float32.

    Faster where the processor has bfloat16 instructions, slower where it has not. Sums inside a convolution are float32
    all the same. The U-Nets that the package carries were trained in this way.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    @property
    def no_label(self) -> int:
        """The network's own."""
        return int(self.net.no_label)  # type: ignore[arg-type]

    def forward(self, x_t: Tensor, t: Tensor, **condition: Any) -> Tensor:
        """As the network's, in float32."""
        with torch.autocast("cpu", torch.bfloat16):
            out: Tensor = self.net(x_t, t, **condition)
        return out.float()
