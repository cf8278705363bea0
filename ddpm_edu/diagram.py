"""A U-Net drawn as the U it is named for, from a :func:`ddpm_edu.models.summary.summary` of the network itself.

Time runs from left to right, the size of the image from top to bottom. Each stage stands where its result belongs:
what a shrink gives is already on the next level. So each skip connection joins two boxes of one row.
No shape is computed here; all are read off the summary. Lengths are in inches.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from ddpm_edu.models.summary import Stage, Summary
from ddpm_edu.plots import COLOURS, Picture, picture

WIDTH = 11.0
TOP, STRIP, SIDE = 0.05, 0.58, 1.1  # above the U, below it (the legend), left and right of it (sizes)
LANE, FONT = 0.15, 8.5  # from one skip connection to the next above it; points of the text on it
BETWEEN = 0.14  # from the boxes of one level to the skip connections of the next
WIDEST, NARROWEST = 0.4, 0.035  # of boxes
FAR, NEAR = 0.3, 0.05  # of the gaps between them
ARROW = 0.3  # into the first box, out of the last
STRETCH = 1.4  # how much higher than natural a picture is drawn where there is room
FOOT = 0.4  # the part of a box that its attention takes
FILLS = {"block": COLOURS[5], "resample": "0.6", "convolution": "white"}
ATTENTION, SKIP, INK = COLOURS[1], COLOURS[2], "0.15"

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """One stage in the picture. ``level``: that of its result. ``x``, ``y``: left and bottom, in inches."""

    stage: Stage
    side: str  # "down", "middle" or "up"
    kind: str  # "block", "resample" or "convolution"
    level: int
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0

    @property
    def attends(self) -> bool:
        """Whether the block ends with self-attention."""
        return self.stage.name.endswith(", attention")

    @property
    def label(self) -> str:
        """The shape of its result: channels, height, width."""
        return "×".join(map(str, self.stage.shape))

    @property
    def middle(self) -> Point:
        """Its centre."""
        return self.x + self.width / 2, self.y + self.height / 2

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width

    @property
    def top(self) -> float:
        """Its upper edge."""
        return self.y + self.height


# ---------------------------------------------------------------- what there is to draw


def boxes(summary: Summary) -> list[Box]:
    """The stages that have a place in the picture, in the order in which they run (not yet placed)."""
    found: list[Box] = []
    for stage in summary.stages:
        part, *rest = stage.name.split(", ")
        if part == "middle":
            found.append(Box(stage, "middle", "block", found[-1].level))
        elif part in ("stem", "head"):
            found.append(Box(stage, "down" if part == "stem" else "up", "convolution", 0))
        elif part in ("down", "up"):
            step = {"shrink": 1, "grow": -1}.get(rest[1], 0)
            found.append(Box(stage, part, "resample" if step else "block", int(rest[0].split()[1]) + step))
    return found


def skips(drawn: Sequence[Box]) -> list[tuple[Box, Box]]:
    """(what left it, the block that gets it) for each skip connection, in the order of the way up.

    All that the way down gives is left on a stack, and each block of the way up takes the topmost.
    """
    left = [box for box in drawn if box.side == "down"]
    takers = [box for box in drawn if box.side == "up" and box.kind == "block"]
    return list(zip(reversed(left), takers, strict=True))


# ---------------------------------------------------------------- where it stands


def height(summary: Summary) -> float:
    """Inches that the picture takes where nothing is squeezed."""
    drawn = boxes(summary)
    levels = 1 + max(box.level for box in drawn)
    return TOP + STRIP + LANE * len(skips(drawn)) + sum(_box_height(level) + BETWEEN for level in range(levels))


def place(drawn: Sequence[Box], size: Point, scale: float) -> list[Box]:
    """The boxes in a picture of ``size``, with all that is upright ``scale`` times its natural length."""
    joined, y = skips(drawn), size[1] - TOP
    bottoms = []
    for level in range(1 + max(box.level for box in drawn)):
        y -= scale * (LANE * sum(taker.level == level for _, taker in joined) + _box_height(level))
        bottoms.append(y)
        y -= scale * BETWEEN
    spare = max(0.0, (y - STRIP) / 2)  # a small network stands in the middle
    return [
        replace(box, x=x, y=bottoms[box.level] - spare, width=width, height=scale * _box_height(box.level))
        for box, (x, width) in zip(drawn, _from_left_to_right(drawn, size[0]), strict=True)
    ]


def _box_height(level: int) -> float:
    return 0.42 * 0.88**level


def _from_left_to_right(drawn: Sequence[Box], total: float) -> list[Point]:
    """x and width of each box: widths go with channels, and the gaps fill the line."""
    channels, space = [box.stage.shape[0] for box in drawn], total - 2 * SIDE
    gaps = len(drawn) - 1
    longest = max(len(box.label) for box in drawn if box.side == "middle")
    air = 0.25 * longest * FONT / 72  # on each side of the middle, so that the lowest label fits between the two sides
    unit = min(WIDEST / max(channels), (space - 2 * air - NEAR * gaps) / sum(channels))
    widths = [max(NARROWEST, unit * c) for c in channels]
    gap = min(FAR, (space - 2 * air - sum(widths)) / gaps)
    x = (total - sum(widths) - gap * gaps - 2 * air) / 2
    places = []
    for box, following, width in zip(drawn, [*drawn[1:], drawn[-1]], widths, strict=True):
        places.append((x, width))
        x += width + gap + air * ("middle" in (box.side, following.side) and box.side != following.side)
    return places


# ---------------------------------------------------------------- drawing


def unet_diagram(summary: Summary) -> Picture:
    """The picture of the network that ``summary`` is of, 11 inches wide and as high as its levels need.

    A box is as wide as its result has channels. A skip connection bears the shape of what it carries.
    """
    figure, (ax,) = picture(WIDTH, height(summary))
    figure.set_layout_engine("none")
    ax.set_position((0, 0, 1, 1))
    draw(ax, summary)
    return figure


def draw(ax: Axes, summary: Summary) -> None:
    """Draws the U-Net of ``summary`` into ``ax``, fitted to the size that ``ax`` has now."""
    extent = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    ax.set(xlim=(0, extent.width), ylim=(0, extent.height))
    ax.set_axis_off()
    scale = min(STRETCH, (extent.height - TOP - STRIP) / (height(summary) - TOP - STRIP))
    font = FONT * min(1.0, scale)
    placed = place(boxes(summary), (extent.width, extent.height), scale)
    _draw_boxes(ax, placed)
    _draw_flow(ax, placed)
    _draw_skips(ax, placed, LANE * scale, font)
    _draw_sizes(ax, placed, font)
    _draw_legend(ax, summary)


def _draw_boxes(ax: Axes, placed: Sequence[Box]) -> None:
    for box in placed:
        line: dict[str, Any] = {"edgecolor": INK, "linewidth": 0.7}
        ax.add_patch(Rectangle((box.x, box.y), box.width, box.height, facecolor=FILLS[box.kind], **line))
        if box.attends:
            ax.add_patch(Rectangle((box.x, box.y), box.width, FOOT * box.height, facecolor=ATTENTION, **line))


def _draw_flow(ax: Axes, placed: Sequence[Box]) -> None:
    """From each box to the next: along a level, down at its end, and up again."""
    lines = []
    for a, b in itertools.pairwise(placed):
        if b.level > a.level:
            lines.append([(a.middle[0], a.y), (a.middle[0], b.middle[1]), (b.x, b.middle[1])])
            _arrowhead(ax, lines[-1][-1], ">")
        elif b.level < a.level:
            lines.append([(a.right, a.middle[1]), (b.middle[0], a.middle[1]), (b.middle[0], b.y)])
            _arrowhead(ax, lines[-1][-1], "^")
        else:
            lines.append([(a.right, a.middle[1]), (b.x, b.middle[1])])
    first, last = placed[0], placed[-1]
    lines.append([(first.x - ARROW, first.middle[1]), (first.x, first.middle[1])])
    lines.append([(last.right, last.middle[1]), (last.right + ARROW, last.middle[1])])
    for line in lines[-2:]:
        _arrowhead(ax, line[-1], ">")
    ax.add_collection(LineCollection(lines, colors=INK, linewidths=1.0, zorder=0.5))


def _arrowhead(ax: Axes, tip: Point, marker: str, colour: str = INK) -> None:
    dx, dy = {">": (-0.03, 0), "^": (0, -0.03), "v": (0, 0.03)}[marker]
    ax.plot(tip[0] + dx, tip[1] + dy, marker, color=colour, markersize=3.5, markeredgewidth=0, zorder=3)


def _draw_skips(ax: Axes, placed: Sequence[Box], lane: float, font: float) -> None:
    """Up from the box that leaves something, along, and down into the block that gets it: the outer, the higher."""
    lines, seen = [], dict.fromkeys((box.level for box in placed), 0)
    for giver, taker in skips(placed):
        y = giver.top + lane * (seen[giver.level] + 0.6)
        seen[giver.level] += 1
        left, right = giver.middle[0], taker.middle[0]
        lines.append([(left, giver.top), (left, y), (right, y), (right, taker.top)])
        _arrowhead(ax, lines[-1][-1], "v", SKIP)
        text = ax.text((left + right) / 2, y, giver.label, fontsize=font, ha="center", va="center_baseline", color=INK)
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.6})
    ax.add_collection(LineCollection(lines, colors=SKIP, linewidths=1.0, zorder=0.4))


def _draw_sizes(ax: Axes, placed: Sequence[Box], font: float) -> None:
    """Each level's name and the size of its images, at its left; and what goes in and comes out."""
    first, last = placed[0], placed[-1]
    firsts = [(first.x - ARROW, first)]
    firsts += [(a.middle[0], b) for a, b in itertools.pairwise(placed) if b.level > a.level]
    for x, box in firsts:
        pixels = "×".join(map(str, box.stage.shape[1:]))
        ax.text(x - 0.06, box.middle[1], f"level {box.level}\n{pixels}", fontsize=font, ha="right", va="center")
    ax.text(first.x - ARROW / 2, first.middle[1] + 0.03, "x_t", fontsize=font, ha="center", va="bottom")
    left, right = (box for box in placed if box.side == "middle")
    ax.text((left.x + right.right) / 2, left.y - 0.04, "middle", fontsize=font, ha="center", va="top")
    ax.text(last.right + ARROW + 0.06, last.middle[1], f"prediction\n{last.label}", fontsize=font, va="center")


def _draw_legend(ax: Axes, summary: Summary) -> None:
    """What colours and widths say."""
    told = next(stage for stage in summary.stages if stage.name == "time and class")
    handles = [
        Patch(facecolor=FILLS["block"], edgecolor=INK, label="residual block"),
        Patch(facecolor=ATTENTION, edgecolor=INK, label="with self-attention"),
        Patch(facecolor=FILLS["resample"], edgecolor=INK, label="half or twice the size"),
        Patch(facecolor=FILLS["convolution"], edgecolor=INK, label="stem, head"),
        Line2D([], [], color=SKIP, label="skip connection, with the shape it carries"),
    ]
    centre = sum(ax.get_xlim()) / 2
    where: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (centre, 0.24), "bbox_transform": ax.transData}
    ax.legend(handles=handles, ncols=len(handles), fontsize=8, frameon=False, borderpad=0, borderaxespad=0, **where)
    words = f"A box is as wide as its result has channels. Every block is told the time as {told.shape[0]} numbers."
    ax.text(centre, 0.06, words, fontsize=8, ha="center", color=INK)
