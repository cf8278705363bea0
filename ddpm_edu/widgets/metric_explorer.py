"""The metric explorer: real digits, damaged in one way at a time, and what each metric says of it.

All sets are real: the reference, the images that are damaged, and others that nobody was given, which the search for
copies needs. So at strength 0 every number is what a perfect model would get, and its scatter with the seed is chance.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from ipywidgets import Dropdown
from matplotlib.axes import Axes
from torch import Tensor
from torch.nn import functional

from ddpm_edu import metrics
from ddpm_edu.data import digits
from ddpm_edu.metrics import neighbours
from ddpm_edu.plots import COLOURS, DPI
from ddpm_edu.widgets.fast_figure import FastFigure
from ddpm_edu.widgets.picture_box import PictureBox, slider, stops

# Of the 1,797 digits, in an order of chance: the reference, images to damage; the rest is held out
REFERENCE, POOL = 700, 800
STRENGTHS, SEEDS, UNDAMAGED = 4, 20, 6  # the strongest damage, seeds to choose from, undamaged sets beside each
COUNTS: list[float] = [25, 50, 100, 200, 400]
SHOWN = 20  # images of the set
LEVEL = 0.01  # share of new images that the search for copies takes for copies
WIDTH, HEIGHT = 11.5, 2.75  # of the picture, in inches
CAPTION = (
    "Left: 20 of the set. Right: each metric on its own axis, better to the right; the orange point is this set, the\n"
    "grey ones are undamaged real sets of the same size: what chance does. A point at an axis' end may lie beyond it."
)


# ---------------------------------------------------------------- damage


def _blurred(images: Tensor, strength: int, g: torch.Generator, reference: Tensor) -> Tensor:
    """A share of a 3x3 average, the edge repeated: a quarter for each step."""
    wide = functional.avg_pool2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return images + strength / 4 * (wide - images)


def _noisy(images: Tensor, strength: int, g: torch.Generator, reference: Tensor) -> Tensor:
    """Noise of standard deviation 0.1 for each step, clipped to [-1, 1]."""
    return (images + strength / 10 * torch.randn(images.shape, generator=g)).clamp(-1, 1)


def _repeated(images: Tensor, strength: int, g: torch.Generator, reference: Tensor) -> Tensor:
    """The first half, quarter, ... of the images, again and again."""
    kept = max(1, len(images) // 2**strength)
    return images[torch.arange(len(images)) % kept]


def _copied(images: Tensor, strength: int, g: torch.Generator, reference: Tensor) -> Tensor:
    """A quarter of the images for each step becomes images of the reference."""
    count = len(images) * strength // 4
    chosen = reference[torch.randperm(len(reference), generator=g)[:count]]
    return torch.cat([chosen, images[count:]])


def _as_they_are(images: Tensor, strength: int, g: torch.Generator, reference: Tensor) -> Tensor:
    return images


DROPPED = "classes dropped"
DAMAGES: dict[str, tuple[Callable[..., Tensor], str]] = {
    "blur": (_blurred, "{0:.0%} of a 3x3 average mixed in"),
    "noise": (_noisy, "noise of standard deviation {1:.1f} added"),
    DROPPED: (_as_they_are, "{2} of ten classes left out"),  # by the choice of images
    "repeated images": (_repeated, "every image {3} times"),
    "copies of the reference": (_copied, "{0:.0%} of the images are copies of reference images"),
}


# ---------------------------------------------------------------- metrics


class Metric(NamedTuple):
    """How a metric is shown: its name, its format, whether more is better, its axis from worse to better."""

    name: str
    form: str
    worse: float
    better: float
    log: bool = False


METRICS = {
    "frechet": Metric("Frechet distance", ".2f", 60, 0.4, log=True),
    "kernel": Metric("kernel distance", ".3f", 2.0, -0.5),
    "sliced": Metric("sliced Wasserstein, pixels", ".3f", 0.5, 0.03, log=True),
    "precision": Metric("precision", ".2f", 0, 1),
    "recall": Metric("recall", ".2f", 0, 1),
    "score": Metric("inception score", ".2f", 1, 9),
    "copies": Metric("share of copies", ".0%", 1, 0),
}
Numbers = dict[str, float]


class MetricPicture:
    """The drawing: twenty images of a set, and a point for each metric on its axis. Knows no widgets."""

    def __init__(self) -> None:
        known = digits()
        order = torch.randperm(len(known), generator=torch.Generator().manual_seed(0))
        images, labels = known.model_range()[order], known.labels[order]  # type: ignore[index]
        self.reference, self.held_out = images[:REFERENCE], images[REFERENCE + POOL :]
        self.pool, self.labels = images[REFERENCE : REFERENCE + POOL], labels[REFERENCE : REFERENCE + POOL]
        self.extractor = metrics.features.load("digits")
        self.features = self.extractor.features(self.reference)
        self.moments = metrics.moments(self.features)
        self.radii = neighbours.radii(self.features, 3)
        self.made = functools.lru_cache(maxsize=64)(self._made)
        self.numbers = functools.lru_cache(maxsize=1024)(self._numbers)
        self._build()

    def _made(self, kind: str, strength: int, n: int, seed: int) -> Tensor:
        """The set: n images of the pool, damaged."""
        g = torch.Generator().manual_seed(seed)
        kept = (self.labels >= strength).nonzero()[:, 0] if kind == DROPPED else torch.arange(POOL)
        chosen = kept[torch.randperm(len(kept), generator=g)[:n]]
        return DAMAGES[kind][0](self.pool[chosen], strength, g, self.reference)

    def _numbers(self, kind: str, strength: int, n: int, seed: int) -> Numbers:
        """Every metric of a set."""
        images = self.made(kind, strength, n, seed)
        found = self.extractor.features(images).double()
        real = self.features.double()
        return {
            "frechet": metrics.frechet_distance_of(*metrics.moments(found), *self.moments),
            "kernel": metrics.kernel_distance(found, real),
            "sliced": metrics.sliced_wasserstein(images, self.reference, 64, torch.Generator().manual_seed(0)),
            "precision": neighbours.covered(found, real, self.radii),
            "recall": neighbours.covered(real, found, neighbours.radii(found, 3)),
            "score": metrics.inception_score(self.extractor.logits(images)),
            "copies": metrics.memorised(images, self.reference, self.held_out, LEVEL).distance.share,
        }

    def undamaged(self, n: int) -> list[Numbers]:
        """The numbers of sets of n real images, as many as are drawn in grey."""
        return [self.numbers("blur", 0, n, seed) for seed in range(SEEDS, SEEDS + UNDAMAGED)]

    # ------------------------------------------------------------ picture and words

    def draw(self, kind: str, strength: int, n: float, seed: int) -> bytes:
        """PNG bytes."""
        shown = self.made(kind, strength, int(n), seed)[:SHOWN]
        for i, image in enumerate(self.images):
            image.set_data(shown[i, 0].numpy())
        found, others = self.numbers(kind, strength, int(n), seed), self.undamaged(int(n))
        for key, metric in METRICS.items():
            grey, orange, number = self.marks[key]
            grey.set_data([_on_axis(metric, one[key]) for one in others], [0] * len(others))
            orange.set_data([_on_axis(metric, found[key])], [0])
            number.set_text(format(found[key], metric.form))
        return self.figure.png()

    def describe(self, kind: str, strength: int, n: float, seed: int) -> str:
        """The numbers in words, each beside the range of undamaged sets: a few lines of HTML."""
        found, others = self.numbers(kind, strength, int(n), seed), self.undamaged(int(n))
        parts, worse, better = [], [], []
        for key, metric in METRICS.items():
            values = sorted((one[key] for one in others), key=lambda v, m=metric: _on_axis(m, v))  # type: ignore[misc]
            ends = [format(v, metric.form) for v in sorted((values[0], values[-1]))]
            parts.append(f"{metric.name} <b>{format(found[key], metric.form)}</b> ({ends[0]} to {ends[1]})")
            sign = 1 if metric.better > metric.worse else -1
            if sign * found[key] < sign * values[0]:
                worse.append(metric.name)
            if sign * found[key] > sign * values[-1]:
                better.append(metric.name)
        told = DAMAGES[kind][1].format(strength / 4, strength / 10, strength, 2**strength)
        return (
            f"{int(n)} digits, {told if strength else 'undamaged'}. In brackets: {UNDAMAGED} undamaged sets of as many."
            f"<br>{'; '.join(parts)}.<br>Worse than all of these: <b>{', '.join(worse) or 'none'}</b>. "
            f"Better than all: <b>{', '.join(better) or 'none'}</b>."
        )

    # ------------------------------------------------------------ what does not move

    def _build(self) -> None:
        self.figure = FastFigure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor="white")
        self.images = []
        for i in range(SHOWN):
            ax = self._axes(0.1 + (i % 5) * 0.56, 0.5 + (3 - i // 5) * 0.56, 0.52, 0.52)
            ax.set_axis_off()
            self.images.append(ax.imshow(np.zeros((8, 8)), cmap="gray", vmin=-1, vmax=1, interpolation="nearest"))
        self.marks = {key: self._meter(row, metric) for row, (key, metric) in enumerate(METRICS.items())}
        self.figure.text(0.1 / WIDTH, 0.07 / HEIGHT, CAPTION, fontsize=8, linespacing=1.4)
        moving = [artist for key in METRICS for artist in self.marks[key]]
        self.figure.freeze([*self.images, *moving])

    def _meter(self, row: int, metric: Metric) -> tuple[Any, Any, Any]:
        """An axis with the grey points, the orange one, and the number beside it."""
        ax = self._axes(5.3, HEIGHT - 0.27 - row * 0.31, 4.6, 0.2)
        ax.set(xlim=(-0.02, 1.02), ylim=(-1, 1), xticks=[], yticks=[])
        ax.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        for side in ("top", "left", "right", "bottom"):
            ax.spines[side].set_visible(False)
        middle = (HEIGHT - 0.17 - row * 0.31) / HEIGHT
        ends = (format(metric.worse, "g"), format(metric.better, "g"))
        self.figure.text(4.85 / WIDTH, middle, metric.name, ha="right", va="center", fontsize=9)
        self.figure.text(5.25 / WIDTH, middle, ends[0], ha="right", va="center", fontsize=8, color="0.4")
        self.figure.text(9.95 / WIDTH, middle, ends[1], ha="left", va="center", fontsize=8, color="0.4")
        (grey,) = ax.plot([], [], "o", color="0.55", markersize=7, alpha=0.6)
        (orange,) = ax.plot([], [], "o", color=COLOURS[1], markersize=8)
        number = self.figure.text(10.6 / WIDTH, middle, "", ha="left", va="center", fontsize=9, weight="bold")
        return grey, orange, number

    def _axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Axes at a place given in inches."""
        return self.figure.add_axes((left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT))


def _on_axis(metric: Metric, value: float) -> float:
    """Where a value stands from worse (0) to better (1)."""
    worse, better = metric.worse, metric.better
    if metric.log:
        value, worse, better = (float(np.log(max(v, 1e-9))) for v in (value, worse, better))
    return min(max((value - worse) / (better - worse), 0.0), 1.0)


def metric_explorer(kind: str = "blur", strength: int = 1, n: float = 200, seed: int = 0) -> PictureBox:
    """The explorer as a widget; ``kind`` is a key of DAMAGES, ``n`` one of COUNTS."""
    controls = {
        "kind": Dropdown(options=list(DAMAGES), value=kind, description="damage", style={"description_width": "70px"}),
        "strength": slider(strength, 0, STRENGTHS, "strength"),
        "n": stops(n, COUNTS, "images"),
        "seed": slider(seed, 0, SEEDS - 1, "seed"),
    }
    return PictureBox(controls, MetricPicture(), "ddpm-metrics", width=920)
