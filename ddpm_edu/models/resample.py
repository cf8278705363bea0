"""Half as many pixels a side, or twice as many.

Three ways that papers use: a strided convolution padded below and right only (DDPM), the same padded on all sides
(improved DDPM), and no convolution at all, an average or a repetition inside a residual block (ADM).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_edu.models.initial import bias_of, spread


class DownRightPadded(nn.Module):
    """DDPM: a 3x3 convolution with stride 2; the padding is one row below and one column to the right.

    This is TensorFlow's "SAME" for even sizes. Padding on all sides would look at other pixels: the centre of the
    first window is pixel (1, 1) here, and (0, 0) there.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = spread(nn.Conv2d(channels, channels, 3, stride=2))

    def forward(self, h_bchw: Tensor) -> Tensor:
        """(b, c, height, width) -> (b, c, height / 2, width / 2)."""
        out: Tensor = self.conv(F.pad(h_bchw, (0, 1, 0, 1)))
        return out


class DownPadded(nn.Module):
    """Improved DDPM: a 3x3 convolution with stride 2, padded on all sides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = spread(nn.Conv2d(channels, channels, 3, stride=2, padding=1))

    def forward(self, h_bchw: Tensor) -> Tensor:
        """(b, c, height, width) -> (b, c, height / 2, width / 2)."""
        out: Tensor = self.conv(h_bchw)
        return out


class Up(nn.Module):
    """Each pixel four times, then a 3x3 convolution: no checkerboard, as a transposed convolution can leave.

    Computed without the enlarged image. Where two of the three rows that a window sees are the same row of the small
    image, their weights can be added first: each of the four pixels that come of one is a 2x2 convolution of the small
    image. That is the same sum with 16 products in place of 36.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = spread(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, h_bchw: Tensor) -> Tensor:
        """(b, c, height, width) -> (b, c, 2 height, 2 width)."""
        b, c, height, width = h_bchw.shape
        bias = bias_of(self.conv).repeat(4)
        four = F.conv2d(h_bchw, four_kernels(self.conv.weight), bias, padding=1)
        four = four.view(b, 4, c, height + 1, width + 1)
        # kernels of upper (left) pixels begin a row above (a column to the left), those of lower (right) ones do not
        upper = torch.stack([four[:, 0, :, :-1, :-1], four[:, 1, :, :-1, 1:]], -1)
        lower = torch.stack([four[:, 2, :, 1:, :-1], four[:, 3, :, 1:, 1:]], -1)
        return torch.stack([upper, lower], 3).view(b, c, 2 * height, 2 * width)


def four_kernels(w_oi33: Tensor) -> Tensor:
    """3x3 kernels for an image enlarged twofold, as 2x2 kernels for the small one: (4 o, i, 2, 2).

    In the order upper left, upper right, lower left, lower right pixel.
    """
    first, middle, last = w_oi33.unbind(2)
    rows = (torch.stack([first, middle + last], 2), torch.stack([first + middle, last], 2))
    kernels = []
    for half in rows:
        first, middle, last = half.unbind(3)
        kernels += [torch.stack([first, middle + last], 3), torch.stack([first + middle, last], 3)]
    return torch.cat(kernels)


def average(h_bchw: Tensor) -> Tensor:
    """The mean of each 2x2 square of pixels."""
    return F.avg_pool2d(h_bchw, 2)


def repeat(h_bchw: Tensor) -> Tensor:
    """Each pixel as a 2x2 square."""
    return F.interpolate(h_bchw, scale_factor=2.0, mode="nearest")
