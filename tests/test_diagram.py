"""The diagram of a U-Net: held to what the network does when it runs, and looked at for things that overlap."""

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ddpm_edu import diagram
from ddpm_edu.models import ADM_IMAGENET256, CIFAR10, DIGITS, FASHION, UNet, UNetConfig
from ddpm_edu.models.attention import SelfAttention
from ddpm_edu.models.summary import Summary, example
from ddpm_edu.models.summary import summary as summarise

SMALL = UNetConfig(width=32, groups=8, multipliers=(1, 2), blocks=1, attention=())
NETWORKS = {
    "cifar10": (CIFAR10, 32),
    "fashion": (FASHION, 28),
    "digits": (DIGITS, 8),
    "adm256": (ADM_IMAGENET256, 256),
    "small": (SMALL, 16),
    "one level": (replace(SMALL, multipliers=(1,), attention=(0,)), 16),
}
summary = functools.cache(summarise)
every_network = pytest.mark.parametrize(("config", "size"), NETWORKS.values(), ids=NETWORKS)


def shapes(*batches: torch.Tensor) -> list[tuple[int, ...]]:
    return [tuple(batch.shape[1:]) for batch in batches]


def meta(config: UNetConfig, size: int) -> tuple[UNet, dict[str, torch.Tensor]]:
    with torch.device("meta"):
        return UNet(config), example(config, size)


def parts(figure: Figure) -> tuple[list[Rectangle], list[Rectangle], list[np.ndarray], list[np.ndarray]]:
    """Boxes, feet of attention, lines of the flow and lines of skips, in inches."""
    (ax,) = figure.axes
    patches = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    feet = [patch for patch in patches if patch.get_facecolor() == to_rgba(diagram.ATTENTION)]
    flow, joins = (lines.get_segments() for lines in ax.collections if isinstance(lines, LineCollection))
    return [patch for patch in patches if patch not in feet], feet, flow, joins


# ---------------------------------------------------------------- what is drawn is what runs


@every_network
def test_a_skip_carries_what_the_running_network_puts_beside(config, size, monkeypatch):
    """The oracle is the forward pass itself, with an eye on torch.cat."""
    seen, cat = [], torch.cat

    def watched(tensors, dim=0):
        if dim == 1 and tensors[0].ndim == 4:
            seen.append(shapes(*tensors)[1])
        return cat(tensors, dim)

    net, inputs = meta(config, size)
    monkeypatch.setattr(torch, "cat", watched)
    net(**inputs)
    monkeypatch.undo()
    joined = diagram.skips(diagram.boxes(summary(config, size)))
    assert [giver.stage.shape for giver, _ in joined] == seen
    figure = diagram.unet_diagram(summary(config, size))
    labels = [text.get_text() for text in figure.axes[0].texts[: len(seen)]]
    assert labels == ["×".join(map(str, shape)) for shape in seen]


@every_network
def test_a_box_is_as_wide_as_its_stage_has_channels(config, size):
    found = {}
    net, inputs = meta(config, size)
    blocks = [*net.down.modules(), *net.middle, *net.up.modules()]
    for module in (net.stem, *(m for m in blocks if type(m).__name__ in ("Block", "Untold")), net.head):
        module.register_forward_hook(lambda module, _, out: found.update({module: shapes(out)[0]}))
    for level in (*net.down, *net.up):  # ADM's resampling is a residual block
        for module in (getattr(level, "shrink", None), getattr(level, "grow", None)):
            if module is not None and type(module).__name__ != "Untold":
                module.register_forward_hook(lambda module, _, out: found.update({module: shapes(out)[0]}))
    net(**inputs)
    boxes, *_ = parts(diagram.unet_diagram(summary(config, size)))
    assert len(boxes) == len(found)
    widths, channels = [box.get_width() for box in boxes], [shape[0] for shape in found.values()]
    unit = max(widths) / max(channels)
    assert max(widths) > 3 * diagram.NARROWEST
    assert widths == pytest.approx([max(diagram.NARROWEST, unit * c) for c in channels])


@every_network
def test_each_level_is_a_row_and_smaller_images_lie_lower(config, size):
    placed = diagram.place(diagram.boxes(summary(config, size)), (11, 5), 1.0)
    rows = {(box.level, box.stage.shape[1:], box.y) for box in placed}
    assert len(rows) == config.levels
    assert sorted(rows) == sorted(rows, key=lambda row: -row[2]) == sorted(rows, key=lambda row: -row[1][0])
    assert all(giver.level == taker.level for giver, taker in diagram.skips(placed))
    assert [box.x for box in placed] == sorted(box.x for box in placed)


@every_network
def test_every_attention_has_its_mark(config, size):
    _, feet, _, _ = parts(diagram.unet_diagram(summary(config, size)))
    assert len(feet) == sum(isinstance(module, SelfAttention) for module in meta(config, size)[0].modules())


@every_network
def test_lines_go_from_box_to_box(config, size):
    boxes, _, flow, joins = parts(diagram.unet_diagram(summary(config, size)))
    assert len(flow) == len(boxes) + 1 and len(joins) == (config.blocks + 1) * config.levels

    def touches(point, box):
        (x, y), (left, low) = point, box.get_xy()
        return left - 1e-6 <= x <= left + box.get_width() + 1e-6 and low - 1e-6 <= y <= low + box.get_height() + 1e-6

    for line, (a, b) in zip(flow, itertools.pairwise(boxes), strict=False):
        assert touches(line[0], a) and touches(line[-1], b)
    for line in joins:
        assert all(any(touches(end, box) for box in boxes) for end in (line[0], line[-1]))


def test_shapes_are_read_off_the_summary():
    """Not computed again: a summary that says something else gives a picture that says it too."""
    found = summary(SMALL, 16)
    stages = [replace(s, shape=(48, 9, 7)) if s.name == "down, level 1, block 1" else s for s in found.stages]
    texts = [text.get_text() for text in diagram.unet_diagram(Summary(tuple(stages), 1)).axes[0].texts]
    assert texts.count("48×9×7") == 1
    assert "48×9×7" not in [text.get_text() for text in diagram.unet_diagram(found).axes[0].texts]


# ---------------------------------------------------------------- legible

MANY = (1, 1, 2, 2, 4, 4)
SHAPES = [*itertools.product((1, 2, 6), (1, 4)), (4, 2), (3, 3), (5, 4)]


def drawn(config: UNetConfig, size: int) -> Figure:
    figure = diagram.unet_diagram(summary(config, size))
    FigureCanvasAgg(figure).draw()
    return figure


def texts_in_inches(figure: Figure) -> list[tuple[str, float, float, float, float]]:
    """(text, left, bottom, right, top) of all texts in the picture, the legend's too."""
    (ax,) = figure.axes
    texts = [*ax.texts, *ax.get_legend().get_texts()]
    renderer = figure.canvas.get_renderer()
    plain = []
    for text in texts:
        text.set_bbox(None)
        box = text.get_window_extent(renderer)
        plain.append((text.get_text(), *(np.array(box.extents) / figure.dpi)))
    return plain


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def crossings(area: tuple[float, ...], lines: list[np.ndarray]) -> int:
    """Straight pieces of lines that run through an area."""
    pieces = [(*np.minimum(a, b), *np.maximum(a, b)) for line in lines for a, b in itertools.pairwise(line)]
    return sum(overlap(area, piece) for piece in pieces)


def check_legible(figure: Figure) -> None:
    boxes, _, flow, joins = parts(figure)
    texts = texts_in_inches(figure)
    width, height = figure.get_size_inches()
    for a, b in itertools.combinations(texts, 2):
        assert not overlap(a[1:], b[1:]), f"{a[0]!r} on {b[0]!r}"
    areas = [(*box.get_xy(), box.get_x() + box.get_width(), box.get_y() + box.get_height()) for box in boxes]
    for a, b in itertools.combinations(areas, 2):
        assert not overlap(a, b), "two boxes overlap"
    for i, (name, *area) in enumerate(texts):
        assert min(area) >= 0 and area[2] <= width and area[3] <= height, f"{name!r} is cut off"
        assert not any(overlap(area, box) for box in areas), f"{name!r} on a box"
        assert crossings(area, flow) == 0, f"an arrow through {name!r}"
        assert crossings(area, joins) == (i < len(joins)), f"a line through {name!r}"


@pytest.mark.parametrize(("levels", "blocks"), SHAPES)
def test_nothing_overlaps(levels, blocks):
    config = UNetConfig(multipliers=MANY[:levels], blocks=blocks, attention=(levels - 1,))
    check_legible(drawn(config, 256))


@every_network
def test_nothing_overlaps_in_a_known_network(config, size):
    check_legible(drawn(config, size))


def test_an_overlap_would_be_seen():
    """The negative control."""
    figure = drawn(SMALL, 16)
    figure.axes[0].texts[0].set_position(figure.axes[0].texts[1].get_position())
    with pytest.raises(AssertionError, match=r"8×8. on "):
        check_legible(figure)


def test_it_fits_into_axes_of_another_size():
    figure = Figure(figsize=(9, 3.5), dpi=80)
    FigureCanvasAgg(figure)
    diagram.draw(figure.add_axes((0, 0, 1, 1)), summary(CIFAR10, 32))
    figure.canvas.draw()
    check_legible(figure)
    assert figure.axes[0].texts[0].get_fontsize() < diagram.FONT


def test_a_picture_that_is_the_same_twice():
    found = summary(FASHION, 28)
    picture = diagram.unet_diagram(found)
    assert picture.png() == diagram.unet_diagram(found).png()
    assert tuple(picture.get_size_inches()) == (diagram.WIDTH, diagram.height(found))
