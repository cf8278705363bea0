"""The small network of the lessons: points in the plane, or images flattened to a row of numbers.

Shape suffixes: n samples, d numbers a sample, w hidden width.
"""

import math

from torch import Tensor, nn

from ddpm_edu.errors import ConfigError, ShapeError
from ddpm_edu.models.embeddings import sinusoidal
from ddpm_edu.models.initial import silent


class MLP(nn.Module):
    """``net(x_t, t)`` for samples of ``dim`` numbers in any shape: (N, dim), or (N, 1, 8, 8) with dim = 64.

    ``width`` numbers are carried through ``depth`` residual blocks; each block sees the time, embedded in ``time_dim``
    sines and cosines. ``out``: numbers a sample in the result, a multiple of dim; 2 dim gives (N, 2C, ...), for a
    learned variance. The last layer starts at zero, so an untrained network says 0 everywhere. Raises ConfigError.
    """

    def __init__(self, dim: int, width: int = 128, depth: int = 3, time_dim: int = 64, out: int | None = None) -> None:
        super().__init__()
        out = dim if out is None else out
        if min(dim, width, depth, out) < 1 or out % dim:
            raise ConfigError(
                f"MLP: dim, width and depth must be >= 1 and out a multiple of dim; got dim={dim}, width={width}, "
                f"depth={depth}, out={out}."
            )
        self.dim, self.time_dim, self.multiple = dim, time_dim, out // dim
        self.time = nn.Sequential(nn.Linear(time_dim, width), nn.SiLU(), nn.Linear(width, width))
        self.first = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.last = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), silent(nn.Linear(width, out)))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """x_t (N, C, ...), t (N,) -> (N, C, ...), with ``out // dim`` times as many channels. Raises ShapeError."""
        if math.prod(x_t.shape[1:]) != self.dim or t.shape != x_t.shape[:1]:
            raise ShapeError(
                f"this MLP takes samples of {self.dim} numbers and one time for each, got x_t {tuple(x_t.shape)} and "
                f"t {tuple(t.shape)}. Usual cause: a network made for other data. Fix: MLP(x0[0].numel())."
            )
        time_nw = self.time(sinusoidal(t, self.time_dim).to(x_t))
        h_nw = self.first(x_t.flatten(1))
        for block in self.blocks:
            h_nw = block(h_nw, time_nw)
        out_nd: Tensor = self.last(h_nw)
        return out_nd.reshape(len(x_t), self.multiple * x_t.shape[1], *x_t.shape[2:])


class _Block(nn.Module):
    """h + f(h, time): the time is added before the first layer, so that every block can act on it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, h_nw: Tensor, time_nw: Tensor) -> Tensor:
        return h_nw + self.inner(self.norm(h_nw) + time_nw)
