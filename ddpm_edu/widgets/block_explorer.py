"""The block explorer: size, width, levels, blocks and attention, and what network that makes and what it costs.

Nothing is computed but shapes (torch's meta device), so the largest network is drawn on a laptop.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ddpm_edu import diagram
from ddpm_edu.models import UNet, UNetConfig, checkpointing
from ddpm_edu.models.resblock import TELLS
from ddpm_edu.models.summary import GIGA, MEGA, Stage, Summary, summary
from ddpm_edu.plots import COLOURS, DPI, Picture
from ddpm_edu.widgets.picture_box import PictureBox, choice, slider, stops

SIZES: list[float] = [8, 16, 28, 32, 64, 128, 256]
WIDTHS: list[float] = [16, 32, 48, 64, 96, 128, 192, 256]
PATCHES: list[float] = [1, 2, 4]
BATCHES: list[float] = [1, 2, 4, 8, 16, 32, 64, 128]
MULTIPLIERS = (1, 2, 2, 2, 2)  # of the width, at each level: twice the channels from level 1 on, as in DDPM's
BLOCKS = 4  # at most
ATTENTION = NOWHERE, AT_16, LOWEST, LOWEST_TWO, EVERYWHERE = (
    "none",
    "at 16 pixels",
    "lowest level",
    "lowest two levels",
    "all levels",
)
CHECKPOINTING: dict[str, Callable[[UNet], None]] = {
    "off": checkpointing.disable,
    "every block": checkpointing.enable,
    "selective": checkpointing.enable_selective,
}
STEP = {  # forward passes that a training step costs (a test counts them), by how blocks are run
    "off": (3.0, "three forward passes"),
    "every block": (3.8, "three forward passes and most of a fourth, to compute blocks again"),
    "selective": (3.0, "three forward passes; what is computed again is cheap"),
}
WIDTH, BARS = 11.5, 2.1  # of the picture, and height of the bars, in inches
REST, MIDDLE = "time, stem, head", "middle"
PARTS = {"down": COLOURS[0], "up": COLOURS[4], "": "0.6"}  # of a level; the other rows have one part


# ---------------------------------------------------------------- from the controls to the network


def groups_for(width: int) -> int:
    """Of group normalisation: the largest power of two up to 32 that leaves at least 4 channels in each group.

    So it is in DDPM's networks (128 channels, 32 groups); it divides all levels, whose widths are multiples.
    """
    return max(g for g in (1, 2, 4, 8, 16, 32) if width % g == 0 and (g == 1 or width // g >= 4))


def attended(where: str, size: int, levels: int, patch: int) -> tuple[int, ...]:
    """The levels with attention after each block."""
    at_16 = tuple(level for level in range(levels) if size == 16 * patch * 2**level)
    last = levels - 1
    choice = {
        NOWHERE: (),
        AT_16: at_16,
        LOWEST: (last,),
        LOWEST_TWO: (last - 1, last)[-levels:],
        EVERYWHERE: range(levels),
    }
    return tuple(choice[where])


def make_config(size: int, width: int, levels: int, blocks: int, attention: str, told: str, patch: int) -> UNetConfig:
    """The network that the controls ask for: as wide as ``width`` at level 0 and twice that below, as DDPM's is."""
    return UNetConfig(
        width=width,
        multipliers=MULTIPLIERS[:levels],
        blocks=blocks,
        attention=attended(attention, size, levels, patch),
        told=told,
        groups=groups_for(width),
        patch=patch,
    )


@functools.lru_cache(maxsize=256)  # picture and numbers ask for the same, and a hand goes back and forth
def costs(config: UNetConfig, size: int, batch: int, checkpointing: str) -> Summary:
    """What the network is made of and costs. Raises what the network raises for this size."""
    with torch.device("meta"):
        net = UNet(config)
    CHECKPOINTING[checkpointing](net)
    return summary(net, size, batch)


# ---------------------------------------------------------------- by level


Rows = dict[str, dict[str, list[Stage]]]


def by_level(found: Summary) -> Rows:
    """Stages by row (the rest, each level, the middle) and by part ("down", "up", or "" where there is one only).

    A stage counts for the level of its result, as in the diagram.
    """
    drawn = {box.stage.name: box for box in diagram.boxes(found)}
    levels = 1 + max(box.level for box in drawn.values())
    rows: Rows = {REST: {"": []}}
    rows |= {f"level {level}": {"down": [], "up": []} for level in range(levels)}
    rows |= {MIDDLE: {"": []}}
    for stage in found.stages:
        box = drawn.get(stage.name)
        if box is None or box.kind == "convolution":
            rows[REST][""].append(stage)
        elif box.side == MIDDLE:
            rows[MIDDLE][""].append(stage)
        else:
            rows[f"level {box.level}"][box.side].append(stage)
    return rows


@dataclass(frozen=True)
class Panel:
    """One of the three sets of bars: what is added up over the stages of a row, and how it is written."""

    title: str
    amount: Callable[[Stage, int], float]  # of a stage, for a batch of so many images

    def bars(self, rows: Rows, batch: int) -> dict[str, dict[str, float]]:
        """The length of each part of each row."""
        return {
            row: {part: sum(self.amount(stage, batch) for stage in stages) for part, stages in parts.items()}
            for row, parts in rows.items()
        }


PANELS = (
    Panel("parameters, millions", lambda stage, batch: stage.parameters / 1e6),
    Panel("GFLOP of a forward pass, an image", lambda stage, batch: stage.flops / batch / GIGA),
    Panel("MiB kept for the backward pass, the batch", lambda stage, batch: stage.saved / MEGA),
)


class BlockPicture:
    """The drawing: three sets of bars, one row a level, above the diagram. Knows nothing of widgets."""

    def draw(self, size: int, batch: int, checkpointing: str, **network: Any) -> bytes:
        """PNG bytes of bars and diagram."""
        return self.figure(size, batch, checkpointing, **network).png()

    def figure(self, size: int, batch: int, checkpointing: str, **network: Any) -> Picture:
        """Bars and diagram. The diagram is as high as its levels need: text of one size at all settings."""
        found = costs(make_config(size, **network), size, batch, checkpointing)
        high = diagram.height(found)
        figure = Picture(figsize=(WIDTH, BARS + high), dpi=DPI, facecolor="white")
        low = figure.add_axes((0, 0, 1, high / (BARS + high)))
        diagram.draw(low, found)
        rows = by_level(found)
        for i, panel in enumerate(PANELS):
            left = (1.25 + 3.4 * i) / WIDTH
            ax = figure.add_axes((left, (high + 0.3) / (BARS + high), 3.1 / WIDTH, (BARS - 0.6) / (BARS + high)))
            _draw_bars(ax, panel.title, panel.bars(rows, batch))
            ax.tick_params(labelleft=i == 0)
        names = [Patch(color=colour, label=part) for part, colour in PARTS.items() if part]
        figure.legend(handles=names, ncols=2, fontsize=8, loc="upper left", frameon=False, handlelength=1)
        return figure

    def describe(self, size: int, batch: int, checkpointing: str, **network: Any) -> str:
        """The totals, as one line of HTML."""
        config = make_config(size, **network)
        found = costs(config, size, batch, checkpointing)
        passes, why = STEP[checkpointing]
        forward = found.flops / batch / GIGA
        return (
            f"<b>{found.parameters:,} parameters</b>. A forward pass takes <b>{forward:.3g} GFLOP an image</b>, "
            f"a training step about {_short(passes * forward)} ({why}).<br>"
            f"For the backward pass of {_images(batch)} <b>{_short(found.saved / MEGA)} MiB</b> are kept (float32).<br>"
            f"Self-attention: {_where(config)}. "
            f"Group normalisation: {config.groups} groups, the most (up to 32) that leave each at least 4 channels."
        )


def _draw_bars(ax: Axes, title: str, bars: dict[str, dict[str, float]]) -> None:
    """One bar a row, of its parts end to end, with its length in figures."""
    for y, parts in enumerate(bars.values()):
        left = 0.0
        for part, length in parts.items():
            ax.barh(y, length, left=left, height=0.75, color=PARTS[part])
            left += length
        ax.annotate(_short(left), (left, y), (3, 0), textcoords="offset points", va="center", fontsize=7)
    longest = max(sum(parts.values()) for parts in bars.values())
    ax.set(xlim=(0, 1.16 * longest), ylim=(len(bars) - 0.4, -0.6))
    ax.set_title(title, fontsize=9)
    ax.set_yticks(range(len(bars)), list(bars), fontsize=8)
    ax.tick_params(axis="x", labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)


def _short(value: float) -> str:
    """Three figures or more, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else np.format_float_positional(value, 3, fractional=False, trim="-")


def _images(batch: int) -> str:
    return "one image" if batch == 1 else f"{batch} images"


def _where(config: UNetConfig) -> str:
    """Where there is attention, in words."""
    levels = [f"level {level}" for level in config.attention]
    return " and ".join([", ".join(levels), "the middle"]) if levels else "in the middle only"


def block_explorer(
    size: int = 32,
    width: int = 128,
    levels: int = 4,
    blocks: int = 2,
    attention: str = AT_16,
    told: str = "add",
    patch: int = 1,
    batch: int = 128,
    checkpointing: str = "off",
) -> PictureBox:
    """The explorer as a widget; it begins with DDPM's network for CIFAR-10 and its batch.

    ``size``, ``width``, ``patch`` and ``batch`` must be among the sliders' stops.
    """
    controls = {
        "size": stops(size, SIZES, "size"),
        "width": stops(width, WIDTHS, "width"),
        "levels": slider(levels, 1, len(MULTIPLIERS), "levels"),
        "blocks": slider(blocks, 1, BLOCKS, "blocks"),
        "attention": choice(attention, ATTENTION, "attention"),
        "told": choice(told, TELLS, "told"),
        "patch": stops(patch, PATCHES, "patch"),
        "batch": stops(batch, BATCHES, "batch"),
        "checkpointing": choice(checkpointing, CHECKPOINTING, "checkpoints"),
    }
    return PictureBox(controls, BlockPicture(), "ddpm-blocks", width=920)
