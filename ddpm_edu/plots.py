"""The figures of the course. Each function returns a :class:`Picture`; as the last line of a cell it shows itself.

No pyplot: no global state, nothing shown twice, and the same bytes whichever backend a learner has chosen.
Colours are Okabe and Ito's, which colour-blind readers can tell apart; lines differ in style as well.
"""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ddpm_edu.data.ranges import to_uint8
from ddpm_edu.errors import ShapeError
from ddpm_edu.schedules import Schedule

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
DPI = 80
GAP = 160  # the grey level between images


class Picture(Figure):
    """A matplotlib figure that shows itself in a notebook, as one PNG without dates or versions in it."""

    def png(self) -> bytes:
        """The picture as PNG bytes."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()


def picture(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Picture, list[Axes]]:
    """An empty picture of ``width`` x ``height`` inches and its axes, row by row."""
    figure = Picture(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    return figure, list(np.ravel(figure.subplots(rows, columns, squeeze=False)))


def images(batch: Tensor, titles: Sequence[str] = (), columns: int | None = None, size: float = 1.6) -> Picture:
    """A grid of images (N, C, H, W), C 1 or 3, in [-1, 1] (values outside are clipped), each with its title.

    ``size``: inches a side. Raises ShapeError for another shape or a number of titles that does not fit.
    """
    if batch.ndim != 4 or batch.shape[1] not in (1, 3):
        raise ShapeError(f"images must be (N, 1 or 3, H, W), got {tuple(batch.shape)}. Fix: batch[None] for one image.")
    if titles and len(titles) != len(batch):
        raise ShapeError(f"{len(titles)} titles for {len(batch)} images. Fix: one title an image, or none.")
    columns = columns or len(batch)
    rows = -(-len(batch) // columns)
    figure, axes = picture(size * columns, (size + 0.25 * bool(titles)) * rows, rows, columns)
    pixels = to_uint8(batch.float()).permute(0, 2, 3, 1).numpy()
    for i, ax in enumerate(axes):
        ax.set_axis_off()
        if i < len(batch):
            ax.imshow(pixels[i].squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            ax.set_title(titles[i] if titles else "", fontsize=10)
    return figure


def draw_curves(ax: Axes, x: Tensor, curves: Mapping[str, Tensor], xlabel: str, ylabel: str) -> None:
    """Draws each named curve over x into ``ax``, labelled, in a colour and a line style of its own."""
    for i, (name, y) in enumerate(curves.items()):
        ax.plot(x, y, label=name, color=COLOURS[i % len(COLOURS)], linestyle=LINE_STYLES[i % len(LINE_STYLES)])
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid(alpha=0.3)
    if len(curves) > 1:
        ax.legend(fontsize=8)


def curves(x: Tensor, named: Mapping[str, Tensor], xlabel: str, ylabel: str, log: bool = False) -> Picture:
    """Named curves over x, all of shape (n,), in one panel; ``log`` makes the y axis logarithmic."""
    figure, (ax,) = picture(6, 3)
    draw_curves(ax, x, named, xlabel, ylabel)
    if log:
        ax.set_yscale("log")
    return figure


def compare_schedules(named: Mapping[str, Schedule]) -> Picture:
    """alpha_bar and log10 SNR over t / T for each named schedule."""
    figure, (left, right) = picture(10, 3.2, 1, 2)
    for i, (name, s) in enumerate(named.items()):
        style: dict[str, Any] = {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": LINE_STYLES[i % len(LINE_STYLES)],
            "label": name,
        }
        share = torch.arange(1, s.T + 1) / s.T
        left.plot(share, s.alpha_bar[1:], **style)
        right.plot(share, s.snr[1:].log10(), **style)
    left.set(xlabel="t / T", ylabel="alpha_bar")
    right.set(xlabel="t / T", ylabel="log10 of SNR")
    for ax in (left, right):
        ax.grid(alpha=0.3)
    left.legend(fontsize=8)
    return figure


def clouds(named: Mapping[str, Tensor], size: float = 2.0, limit: float = 3.5) -> Picture:
    """Clouds of points (N, 2) side by side, all on the same axes from -limit to limit."""
    figure, axes = picture(size * len(named), size + 0.35, 1, len(named))
    for ax, (name, points) in zip(axes, named.items(), strict=True):
        ax.plot(points[:, 0], points[:, 1], linestyle="", marker=".", markersize=2, alpha=0.5, color=COLOURS[0])
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[], yticks=[])
        ax.set_title(name, fontsize=10)
    return figure


def between(
    s: Schedule, t: int, x0: float, x_t: float, posterior: tuple[float, float], simulated: Tensor | None = None
) -> Picture:
    """q(x_{t-1} | x_t, x_0) in one dimension, between what x_0 and what x_t say about x_{t-1}; t >= 2.

    ``posterior``: its mean and variance; ``simulated``: draws of x_{t-1} to set beside it as a histogram, (n,).
    """
    figure, (ax,) = picture(7, 3.2)
    z = torch.linspace(-3, 3, 601, dtype=torch.float64)
    if simulated is not None:
        ax.hist(simulated.flatten().numpy(), bins=60, range=(-3, 3), density=True, color="0.8", label="simulation")
    alpha, before = s.alpha[t].item(), s.alpha_bar[t - 1].item()
    known = {
        f"q(x_{t - 1} | x_0 = {x0:g})": (before**0.5 * x0, 1 - before),
        f"what x_{t} = {x_t:g} says": (x_t / alpha**0.5, s.beta[t].item() / alpha),
        f"q(x_{t - 1} | x_{t}, x_0)": posterior,
    }
    for i, (name, (mean, variance)) in enumerate(known.items()):
        density = torch.exp(-((z - mean) ** 2) / (2 * variance)) / (2 * math.pi * variance) ** 0.5
        ax.plot(z, density, label=name, color=COLOURS[i], linestyle=("--", "-.", "-")[i])
    ax.set(xlabel=f"x_{t - 1}", ylabel="density")
    ax.legend(fontsize=8)
    return figure


def tiled(batch: Tensor, columns: int, zoom: int) -> Image.Image:
    """A grid of images with a grey gap of one magnified pixel between them: white would run into white images."""
    pixels = torch.nn.functional.pad(to_uint8(batch.float()), (0, 1, 0, 1), value=GAP)
    missing = -len(pixels) % columns
    pixels = torch.cat([pixels, pixels.new_full((missing, *pixels.shape[1:]), GAP)])
    n, channels, height, width = pixels.shape
    grid = pixels.reshape(n // columns, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    array = grid.reshape(n // columns * height, columns * width, channels)[:-1, :-1].numpy()
    array = array.repeat(zoom, 0).repeat(zoom, 1)
    return Image.fromarray(array.squeeze(2) if channels == 1 else array)
