"""The training planner: a preset, GPUs, batch and steps, and what that takes: memory, hours, money. All estimates.

Counted once for a network, on torch's meta device; moving a slider then is arithmetic, with the assumptions of
:mod:`ddpm_edu.training.planner`. Several GPUs share out the batch; what they say to each other is not counted.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Text

from ddpm_edu.plots import COLOURS, DPI
from ddpm_edu.training import planner, presets
from ddpm_edu.training.config import TrainConfig
from ddpm_edu.training.plan_text import duration
from ddpm_edu.training.planner import GPU, GPUS, LAUNCH_COMPILED, LAUNCH_EAGER
from ddpm_edu.widgets.fast_figure import FastFigure
from ddpm_edu.widgets.picture_box import PictureBox, choice, stops

NAMES = ("cifar10", "cifar10-fast", "folder", "fashion-cpu", "digits-cpu")
NUMBERS: list[float] = [1, 2, 4, 8, 16, 32]  # of GPUs
BATCHES: list[float] = [32, 64, 128, 256, 512, 1024]
STEPS: list[float] = [1_000, 10_000, 50_000, 100_000, 200_000, 400_000, 800_000]
PRICES: list[float] = [0.2, 0.5, 1, 2, 3, 5, 10]  # of a GPU for an hour: what the reader pays
CHECKPOINTING = ("off", "every block")
COUNTED = 8, 16  # images a step, for which memory is counted: from the two follows what it is for any batch
PARTS = {
    "weights": COLOURS[0],
    "gradients": COLOURS[5],
    "optimiser": COLOURS[2],
    "averages": COLOURS[4],
    "saved": "0.6",
}
LEAST, YEAR = 1e-3, 24 * 365  # hours: the axis goes a little beyond
MOST = 100  # GB, of the other: more than any of these GPUs has


@dataclass(frozen=True)
class Estimate:
    """For one kind of GPU. Memory in bytes, of one of them; ``parts``: what it is for."""

    gpu: GPU
    precision: str
    parts: dict[str, float]
    seconds_per_step: float
    limit: str
    hours: float

    @property
    def memory(self) -> float:
        """All of it."""
        return sum(self.parts.values())


def estimate(preset: str, gpu: GPU, number: int, batch: int, steps: int, checkpointing: str) -> Estimate:
    """What the preset takes on ``number`` GPUs of a kind, ``batch`` images a step of all of them together."""
    config = replace(presets.by_name(preset), checkpointing=checkpointing != "off")
    precision = gpu.precision(config.precision)
    own, half = math.ceil(batch / number), "bf16" if precision != "fp32" else "fp32"
    found = planner.cost(_of(config, COUNTED[0]), half)
    computing = own * found.flops_per_image / (gpu.peak(precision) * planner.assumed(config))
    starting = found.operations * (LAUNCH_COMPILED if config.compile else LAUNCH_EAGER)
    seconds, limit = max((computing, "arithmetic"), (starting, "launches"))
    parts: dict[str, float] = {name: getattr(found.memory, name) for name in PARTS}
    few, many = COUNTED
    more = planner.saved(_of(config, many), half)
    parts["saved"] += (more - found.memory.saved) * (own - few) / (many - few)
    return Estimate(gpu, precision, parts, seconds, limit, steps * seconds / 3600)


def _of(config: TrainConfig, images: int) -> TrainConfig:
    """So many images a step. The planner counts a network once, in a second or two."""
    return replace(config, batch=images, accumulate=1)


@dataclass(frozen=True)
class Row:
    """What moves for one kind of GPU."""

    names: tuple[Text, Text]  # in the two panels
    parts: dict[str, Rectangle]
    stroke: Line2D  # where its memory ends; does not move, but lies over the bar
    memory: Text
    hours: Rectangle
    time: Text

    def artists(self) -> list[Artist]:
        """All of them, the lowest first."""
        return [*self.parts.values(), self.stroke, self.hours, *self.names, self.memory, self.time]

    def show(self, plan: Estimate, chosen: bool) -> None:
        """The estimate; ``chosen``: it is the one that the numbers are about."""
        fits, left, hours = plan.memory < plan.gpu.memory, 0.0, max(plan.hours, LEAST)
        for name, bar in self.parts.items():
            bar.set(x=left / 1e9, width=plan.parts[name] / 1e9)
            left += plan.parts[name]
        for label in self.names:
            label.set_fontweight("bold" if chosen else "normal")
        self.memory.set(text=_size(plan.memory), color="black" if fits else COLOURS[1])
        self.hours.set(width=hours, color=COLOURS[0] if fits else "0.85")
        self.time.set(x=1.15 * hours, text=_time(plan.hours) if fits else "too small")


class PlannerPicture:
    """The drawing: memory of one GPU beside what there is, and hours, for each kind. Knows nothing of widgets."""

    def __init__(self) -> None:
        self.figure = FastFigure(figsize=(11, 2.6), dpi=DPI, facecolor="white")
        left = self.figure.add_axes((0.075, 0.2, 0.385, 0.68))
        right = self.figure.add_axes((0.6, 0.2, 0.39, 0.68))
        left.set(xlim=(0, MOST), xlabel="GB on each GPU; the stroke is what it has")
        right.set(xscale="log", xlim=(LEAST / 2, 10 * YEAR), xlabel="hours (estimate)")
        for ax in (left, right):
            ax.set(ylim=(len(GPUS) - 0.4, -0.6), yticks=[])
            ax.spines[["top", "right"]].set_visible(False)
        self.rows = [_row(left, right, y, kind) for y, kind in enumerate(GPUS)]
        parts = [Patch(color=colour, label=name) for name, colour in PARTS.items()]
        style: dict[str, Any] = {"fontsize": 8, "frameon": False, "handlelength": 1, "columnspacing": 1}
        left.legend(handles=parts, ncols=5, loc="lower left", bbox_to_anchor=(0, 0.97), borderaxespad=0, **style)
        self.figure.freeze([artist for row in self.rows for artist in row.artists()])

    def draw(self, preset: str, gpu: str, gpus: int, batch: int, steps: int, checkpointing: str, price: float) -> bytes:
        """PNG bytes of both panels; the chosen GPU's name is bold."""
        for row, kind in zip(self.rows, GPUS, strict=True):
            row.show(estimate(preset, kind, gpus, batch, steps, checkpointing), kind.name == gpu)
        return self.figure.png()

    def describe(
        self, preset: str, gpu: str, gpus: int, batch: int, steps: int, checkpointing: str, price: float
    ) -> str:
        """The chosen plan, as one line of HTML."""
        plan = estimate(preset, planner.gpu_by_name(gpu), gpus, batch, steps, checkpointing)
        fits = "fits" if plan.memory < plan.gpu.memory else "does NOT fit"
        all_hours = gpus * plan.hours
        why = "arithmetic" if plan.limit == "arithmetic" else "the host, which starts operations one by one"
        return (
            f"<b>ESTIMATE, nothing was trained.</b> {preset} on {gpus} x {plan.gpu.name}, {plan.precision}: "
            f"<b>{plan.memory / 1e9:.1f} GB of {plan.gpu.memory / 1e9:.0f} GB each ({fits})</b>, "
            f"{batch / plan.seconds_per_step:,.0f} images/s, {duration(plan.seconds_per_step)} a step "
            f"(limited by {why}).<br>{steps:,} steps of {batch} images: <b>{_time(plan.hours)}</b>, "
            f"{all_hours:,.1f} GPU hours, <b>{all_hours * price:,.2f}</b> at {price:g} an hour (your price). "
            "Half or three times as much is possible."
        )


def _row(left: Axes, right: Axes, y: int, kind: GPU) -> Row:
    """The artists of one kind of GPU, in both panels."""
    (stroke,) = left.plot([kind.memory / 1e9] * 2, [y - 0.4, y + 0.4], color=COLOURS[1], linewidth=3)
    names = [
        ax.annotate(kind.name, (0, y), (-4, 0), ("axes fraction", "data"), "offset points", ha="right", va="center")
        for ax in (left, right)
    ]
    parts = {name: left.barh(y, 0, height=0.6, color=colour)[0] for name, colour in PARTS.items()}
    memory = left.text(1.02, y, "", transform=left.get_yaxis_transform(), va="center", fontsize=9)
    hours = right.barh(y, LEAST, height=0.6)[0]
    time = right.text(LEAST, y, "", va="center", fontsize=9)
    for name in names:
        name.set_fontsize(9)
    return Row((names[0], names[1]), parts, stroke, memory, hours, time)


def _size(memory: float) -> str:
    """Three figures."""
    return f"{memory / 1e9:.3g} GB" if memory >= 1e9 else f"{memory / 1e6:.3g} MB"


def _time(hours: float) -> str:
    """In the unit that suits."""
    return duration(3600 * hours) if hours < 48 else f"{hours / 24:,.1f} days"


def training_planner(
    preset: str = "cifar10",
    gpu: str = "H100 SXM",
    gpus: int = 1,
    batch: int = 128,
    steps: int = 800_000,
    checkpointing: str = "off",
    price: float = 2,
) -> PictureBox:
    """The planner as a widget; it begins with DDPM's training on CIFAR-10 and one H100.

    ``gpus``, ``batch``, ``steps`` and ``price`` must be among the sliders' stops.
    """
    controls = {
        "preset": choice(preset, NAMES, "preset"),
        "gpu": choice(gpu, [kind.name for kind in GPUS], "GPU"),
        "gpus": stops(gpus, NUMBERS, "GPUs"),
        "batch": stops(batch, BATCHES, "batch"),
        "steps": stops(steps, STEPS, "steps"),
        "checkpointing": choice(checkpointing, CHECKPOINTING, "checkpoints"),
        "price": stops(price, PRICES, "price"),
    }
    return PictureBox(controls, PlannerPicture(), "ddpm-planner", width=880)
