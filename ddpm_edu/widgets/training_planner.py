"""The training planner: a preset, GPUs, batch and steps, and what that takes: memory, hours, money. All estimates.

Counted once for a network, on torch's meta device; moving a slider then is arithmetic, with the assumptions of
:mod:`ddpm_edu.training.planner`. Several GPUs share out the batch; what they say to each other is not counted.
"""

import functools
import math
from dataclasses import dataclass, replace

from matplotlib.axes import Axes

from ddpm_edu import plots
from ddpm_edu.plots import COLOURS, Picture
from ddpm_edu.training import planner, presets
from ddpm_edu.training.plan_text import duration
from ddpm_edu.training.planner import GPU, GPUS, LAUNCH_COMPILED, LAUNCH_EAGER, Cost
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
LEAST, YEAR = 1e-3, 24 * 365  # hours: the ends of the axis


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
    own, how = math.ceil(batch / number), (preset, precision != "fp32", config.checkpointing)
    found, more = (counted(*how, images) for images in COUNTED)
    computing = own * found.flops_per_image / (gpu.peak(precision) * planner.assumed(config))
    starting = found.operations * (LAUNCH_COMPILED if config.compile else LAUNCH_EAGER)
    seconds, limit = max((computing, "arithmetic"), (starting, "launches"))
    parts: dict[str, float] = {name: getattr(found.memory, name) for name in PARTS}
    few, many = COUNTED
    parts["saved"] += (more.memory.saved - found.memory.saved) * (own - few) / (many - few)
    return Estimate(gpu, precision, parts, seconds, limit, steps * seconds / 3600)


@functools.lru_cache(maxsize=32)
def counted(preset: str, half: bool, checkpointing: bool, images: int) -> Cost:
    """Parameters, arithmetic, memory of a step of so many images; a second or two, once for each network."""
    config = replace(presets.by_name(preset), batch=images, accumulate=1, checkpointing=checkpointing)
    return planner.cost(config, "bf16" if half else "fp32")


class PlannerPicture:
    """The drawing: memory of one GPU beside what there is, and hours, for each kind. Knows nothing of widgets."""

    def draw(self, preset: str, gpu: str, gpus: int, batch: int, steps: int, checkpointing: str, price: float) -> bytes:
        """PNG bytes of both panels."""
        return self.figure(preset, gpu, gpus, batch, steps, checkpointing, price).png()

    def figure(
        self, preset: str, gpu: str, gpus: int, batch: int, steps: int, checkpointing: str, price: float
    ) -> Picture:
        """Both panels; the chosen GPU's name is bold."""
        plans = [estimate(preset, kind, gpus, batch, steps, checkpointing) for kind in GPUS]
        figure, (left, right) = plots.picture(11, 2.9, 1, 2)
        _draw_memory(left, plans)
        _draw_hours(right, plans, gpus)
        for ax in (left, right):
            ax.set_yticks(range(len(GPUS)), [kind.name for kind in GPUS], fontsize=8)
            ax.invert_yaxis()
            ax.spines[["top", "right"]].set_visible(False)
            for label in ax.get_yticklabels():
                label.set_fontweight("bold" if label.get_text() == gpu else "normal")
        return figure

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
            "Half or twice as much is possible."
        )


def _draw_memory(ax: Axes, plans: list[Estimate]) -> None:
    """What one GPU must hold, part by part, and a stroke where its memory ends."""
    for y, plan in enumerate(plans):
        left = 0.0
        for name, size in plan.parts.items():
            colour, label = PARTS[name], name if y == 0 else None
            ax.barh(y, size / 1e9, left=left, height=0.6, color=colour, label=label)
            left += size / 1e9
        ax.plot([plan.gpu.memory / 1e9] * 2, [y - 0.4, y + 0.4], color=COLOURS[1], linewidth=3)
    longest = max(max(plan.memory, plan.gpu.memory) for plan in plans)
    ax.set(xlim=(0, 1.05 * longest / 1e9), xlabel="GB on each GPU; the stroke is what it has")
    ax.legend(fontsize=7, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, handlelength=1)


def _draw_hours(ax: Axes, plans: list[Estimate], gpus: int) -> None:
    """How long it takes, on a logarithmic axis that stays the same from seconds to a year."""
    for y, plan in enumerate(plans):
        fits = plan.memory < plan.gpu.memory
        ax.barh(y, max(plan.hours, LEAST), height=0.6, color=COLOURS[0] if fits else "0.85")
        text = _time(plan.hours) if fits else "too small"
        ax.annotate(text, (max(plan.hours, LEAST), y), (3, 0), textcoords="offset points", va="center", fontsize=8)
    ax.set(xscale="log", xlim=(LEAST / 2, YEAR), xlabel=f"hours on {gpus} GPU{'s' * (gpus > 1)} (estimate)")


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
