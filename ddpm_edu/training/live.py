"""A run to look at, while it trains or afterwards, drawn from its log.jsonl: a picture, once, or one that moves.

In a notebook:

    training.live.plot("runs/digits")
    training.train(config, "runs/digits", watch=training.live.watch_run("runs/digits"))
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from matplotlib.axes import Axes

from ddpm_edu import plots
from ddpm_edu.training.meter import QUARTERS, events_in, read_log

SMOOTHING = 0.9  # share of the old mean at each log line
TAIL = 4096  # bytes: enough for a few lines of a log
SECONDS = 5.0  # at least, between two pictures: one takes about half a second


class Handle(Protocol):
    """What IPython's display(..., display_id=True) returns: a picture's place in the notebook."""

    def update(self, obj: object) -> None:
        """Shows ``obj`` there instead."""


class Watched(Protocol):
    """What is looked at in a run, once a step."""

    @property
    def step(self) -> int:
        """How many steps are done."""

    @property
    def config(self) -> Any:
        """With the number of all steps."""

    @property
    def team(self) -> Any:
        """Tells which process this is."""


def plot(folder: Path | str) -> plots.Picture:
    """Loss (each log line, and smoothed), loss by quarter of t, rate of learning, and images a second, by step.

    ``folder``: that of the run, which may still train. Where there is no log line yet, the picture says so.
    """
    path = Path(folder) / "log.jsonl"
    lines = [event for event in read_log(path) if event.get("kind") == "loss"]
    figure, (loss, quarters, lr, speed) = plots.picture(9, 5, 2, 2)
    if not lines:
        for ax in (loss, quarters, lr, speed):
            ax.set_axis_off()
        figure.text(0.5, 0.5, f"{path.parent.name}: no line in {path.name} yet", ha="center")
        return figure
    steps = torch.tensor([line["step"] for line in lines])
    raw = _numbers(line["loss"] for line in lines)
    loss.plot(steps, raw, color="0.75", linewidth=0.8, label="each log line")
    plots.draw_curves(loss, steps, {"smoothed": smoothed(raw)}, "step", "loss")
    by_quarter = [smoothed(_numbers(line["by_quarter"][i] for line in lines)) for i in range(len(QUARTERS))]
    names = [name.removeprefix("the ").removesuffix(" of t") for name in QUARTERS]
    plots.draw_curves(quarters, steps, dict(zip(names, by_quarter, strict=True)), "step", "loss by quarter of t")
    plots.draw_curves(lr, steps, {"lr": _numbers(line["lr"] for line in lines)}, "step", "rate of learning")
    plots.draw_curves(speed, steps, {"": _numbers(line["images_per_second"] for line in lines)}, "step", "images / s")
    for ax in (loss, quarters):
        ax.legend(fontsize=8, loc="upper right")  # both fall
    for ax, values in ((loss, [raw]), (quarters, by_quarter)):
        _logarithmic(ax, values)
    for ax in (lr, speed):
        ax.set_ylim(0, 1.1 * max(ax.dataLim.y1, 1e-9))  # all of the axis from 0, and the line within the frame
    last = raw.isfinite().nonzero()
    now = f", smoothed loss {smoothed(raw)[last[-1]].item():.4f}" if len(last) else ""
    figure.suptitle(f"{path.parent.name}, step {int(steps[-1]):,}{now}", fontsize=10)
    return figure


def smoothed(values: torch.Tensor, share: float = SMOOTHING) -> torch.Tensor:
    """The running mean of ``values`` (n,): weights share^k, divided by their sum. NaN stays, and counts for nothing."""
    found, total, weight = [], 0.0, 0.0
    for value in values.tolist():
        if math.isfinite(value):
            total, weight = share * total + (1 - share) * value, share * weight + (1 - share)
        found.append(total / weight if weight and math.isfinite(value) else math.nan)
    return torch.tensor(found, dtype=torch.float64)


def newest_line(folder: Path | str, step: int) -> dict[str, Any] | None:
    """The line of the log that was written last, of those up to ``step``; None where there is none among its last ones.

    Only the end of the file is read: a long run writes many thousands of lines.
    """
    path = Path(folder) / "log.jsonl"
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        lines = file.read().splitlines()  # the first may be cut short, and then is no event
    found = [event for event in events_in(lines) if event.get("kind") == "loss" and event["step"] <= step]
    return found[-1] if found else None


def watch_run(folder: Path | str, seconds: float = SECONDS) -> "LivePlot":
    """Shows the run in ``folder`` here, in a notebook, and returns what keeps the picture up to date.

    Give it to training.train as ``watch``; for a run in another process call its :meth:`LivePlot.update`.
    """
    return LivePlot(folder, seconds, show=_display())


class LivePlot:
    """One picture that follows a run, redrawn at most every ``seconds`` and after the last step.

    ``show(picture)`` puts a picture up and returns the handle to change it; without it (no notebook, no IPython)
    nothing is ever drawn. Only the first of many processes draws.
    """

    def __init__(
        self,
        folder: Path | str,
        seconds: float = SECONDS,
        show: Callable[[plots.Picture], Handle] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.seconds, self.clock = Path(folder), seconds, clock
        self.handle = None if show is None else show(plot(self.folder))
        self._drawn = clock()

    def __call__(self, run: Watched) -> None:
        """After a step: draws, if it is time."""
        last = run.step >= run.config.steps
        if self.handle is not None and run.team.is_main and (last or self.clock() - self._drawn >= self.seconds):
            self.update()

    def update(self) -> None:
        """Draws now."""
        if self.handle is not None:
            self.handle.update(plot(self.folder))
            self._drawn = self.clock()


# ---------------------------------------------------------------- details


def _display() -> Callable[[plots.Picture], Handle] | None:
    """How a picture is put up in a notebook; None where this is none."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        return None
    shell = get_ipython()
    if getattr(shell, "kernel", None) is None:  # IPython in a terminal would print a line for each picture
        return None
    return lambda picture: display(picture, display_id=True)


def _numbers(values: Any) -> torch.Tensor:
    """As float64 (n,), with NaN for None."""
    return torch.tensor([math.nan if value is None else value for value in values], dtype=torch.float64)


def _logarithmic(ax: Axes, curves: Sequence[torch.Tensor]) -> None:
    """A logarithmic axis, where there is something positive to put on it."""
    if any(bool((curve > 0).any()) for curve in curves):
        ax.set_yscale("log")
