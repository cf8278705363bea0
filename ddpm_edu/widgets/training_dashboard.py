"""The training dashboard: a training that is started, paused and stopped by buttons, and watched while it runs.

It runs in the background: the cell returns at once, and other cells may run; meanwhile it waits, between two steps
(:mod:`ddpm_edu.widgets.turns`). It is ``training.train``, so what is stopped here goes on anywhere, bit for bit.
"""

import html
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as W

from ddpm_edu import plots, training
from ddpm_edu.errors import ConfigError, DDPMError, did_you_mean, nearest
from ddpm_edu.training import checkpoint, live
from ddpm_edu.training.config import TrainConfig
from ddpm_edu.training.plan_text import duration
from ddpm_edu.training.state import Run
from ddpm_edu.widgets.in_background import Background
from ddpm_edu.widgets.picture_box import with_still
from ddpm_edu.widgets.turns import TURNS, follow_cells

NO_KERNEL = "A training with buttons: run this cell in JupyterLab, then press Start."
OPTIONS = ("device", "images", "resume", "allow", "watch", "progress")
SECONDS = 0.5  # at least, between two updates of the numbers


def training_dashboard(
    config: TrainConfig, folder: Path | str, *, seconds: float = live.SECONDS, **train_options: Any
) -> "Dashboard":
    """A training of ``config`` in ``folder``, with buttons: Start, Pause, Stop. Nothing is trained before Start.

    Stop ends it after the step with a checkpoint: Continue, the same cell on another day, or the command line with the
    same settings goes on from there. ``seconds``: at least, between two pictures of the log. ``train_options``: those
    of :func:`ddpm_edu.training.train` (device, images, resume, allow, watch). Raises ConfigError where ``config`` is
    none, and for an unknown option; what goes wrong later is said in the widget.
    """
    if not isinstance(config, TrainConfig):
        raise ConfigError(f"config must be a TrainConfig, got {config!r}. Fix: training.presets.by_name({config!r}).")
    for name in train_options:
        if name not in OPTIONS:
            near = did_you_mean(nearest(name, OPTIONS))
            raise ConfigError(f"a dashboard has no option {name!r}; it has {', '.join(OPTIONS)}.{near}")
    return Dashboard(config, folder, seconds, train_options)


class Dashboard(W.VBox):
    """The widget; :func:`training_dashboard` makes one. ``error``: what the last run has failed with, if it has.

    Buttons are never greyed out: a greyed button loses the focus, and with it the reader who uses the keyboard.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path | str,
        seconds: float,
        options: dict[str, Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config, self.folder = config, Path(folder)
        self.error: Exception | None = None
        self._lock = threading.RLock()  # a press and the end of the training may come at the same time
        self._clock, self._said = clock, -SECONDS
        self.buttons = {
            "start": _button("Start", "play", "train, or go on", self.start),
            "pause": _button("Pause", "pause", "stand still after this step; nothing is written", self.pause),
            "stop": _button("Stop", "stop", "write a checkpoint after this step, and end", self.stop),
        }
        self.bar = W.IntProgress(0, 0, config.steps, description="steps", layout=W.Layout(width="400px"))
        self.numbers, self.readout = W.HTML(), W.HTML()
        self.image, self.sheet = _picture(880), _picture(640)  # of the log; the newest sheet of samples
        controls = W.HBox([*self.buttons.values(), self.bar], layout=W.Layout(flex_flow="row wrap"))
        super().__init__([controls, self.numbers, self.readout, self.image, self.sheet])
        self.add_class("ddpm-dashboard")
        self._plot = live.LivePlot(self.folder, seconds, self._show, clock)
        self._run = Background(config, folder, options, self)
        self._show_where_it_stands()
        self._show_sheet()
        follow_cells(TURNS)

    # ------------------------------------------------------------ what the reader does

    def start(self) -> None:
        """Begins, goes on from the newest checkpoint, or ends a pause. Returns at once."""
        with self._lock:
            if self._run.is_paused:
                self._run.go_on()
            elif self._run.running:
                return
            else:
                self.error = None
                self._run.start()
            self._say("It trains. While another cell runs, it waits between two steps.")

    def pause(self) -> None:
        """After this step the training stands still. Returns at once."""
        with self._lock:
            if not self._run.running:
                self._say("Nothing runs that could be paused.")
            elif not self._run.is_paused:
                self._say("It pauses after this step.")
                self._run.pause()

    def stop(self) -> None:
        """After this step the training writes a checkpoint and ends. Returns at once."""
        with self._lock:
            if self._run.running:
                self._say("It writes a checkpoint after this step, and stops.")
                self._run.stop()
            else:
                self._say("Nothing runs that could be stopped.")

    def wait(self) -> None:
        """Until the training has ended: for a cell that needs its result."""
        self._run.wait()

    def close(self) -> None:
        """Stops the training, if it runs, waits for its checkpoint, and takes the widget away."""
        if "_run" in vars(self):  # what was never finished is closed too
            self._run.end()
        super().close()

    # ------------------------------------------------------------ what the training tells, in its own thread

    def stepped(self, run: Run) -> None:
        """After each step: numbers and pictures, where it is time."""
        every = run.config.sample_every
        if every and run.step % every == 0:
            self._show_sheet()
        if run.step >= run.config.steps or self._clock() - self._said >= SECONDS:
            self._show_step(run.step)
        self._plot(run)

    def paused(self, run: Run) -> None:
        """It stands still."""
        self._show_step(run.step)
        with self._lock:
            self._say(f"Paused at step {run.step:,}. Nothing is written: Continue goes on, Stop saves it.", "Continue")
        self._plot.update()  # last: it takes half a second

    def ended(self, report: training.Report | None, error: Exception | None) -> None:
        """It is over."""
        self.error = error
        self._show_step(self._saved() if report is None else report.step)
        with self._lock:
            self._say(_ending(report, error), self._next())
        if report is None or report.weights is None:  # else it was drawn after the last step
            self._plot.update()

    # ------------------------------------------------------------ details

    def _show_where_it_stands(self) -> None:
        """Before Start, by the files of the folder."""
        step = self._saved()
        self._show_step(step)
        if step == 0:
            self._say("Nothing is trained yet.", "Start")
        elif step < self.config.steps:
            self._say(f"Step {step:,} is saved; Continue goes on from there.", "Continue")
        else:
            self._say(f"Done: {step:,} steps are saved.", "Start")

    def _saved(self) -> int:
        """The step of the newest checkpoint; 0 where there is none."""
        found = checkpoint.listed(self.folder / "checkpoints")
        return checkpoint.step_of(found[0]) if found else 0

    def _next(self) -> str:
        """What Start does next."""
        return "Continue" if 0 < self._saved() < self.config.steps else "Start"

    def _say(self, text: str, start: str | None = None) -> None:
        """``text``, of how it stands, and what is on the first button. A live region: screen readers say it."""
        escaped = html.escape(text).replace("\n", "<br>")
        self.readout.value = f'<div class="ddpm-readout" role="status" aria-live="polite">{escaped}</div>'
        if start is not None:
            self.buttons["start"].description = start

    def _show_step(self, step: int) -> None:
        """Bar and numbers; no live region, since they change all the time."""
        self._said = self._clock()
        self.bar.value = step
        self.numbers.value = f'<div class="ddpm-numbers">{_numbers(step, self.config, self.folder)}</div>'

    def _show(self, picture: plots.Picture) -> "Dashboard":
        self.image.value = picture.png()
        return self

    def update(self, picture: object) -> None:
        """The next picture of the log, in place of the last (as :class:`ddpm_edu.training.live.Handle` has it)."""
        assert isinstance(picture, plots.Picture)  # noqa: S101 (for the type checker)
        self._show(picture)

    def _show_sheet(self) -> None:
        """The newest sheet of samples, where there is one."""
        sheets = sorted((self.folder / "samples").glob("step-*.png"))
        if sheets:
            self.sheet.value = sheets[-1].read_bytes()
        self.sheet.layout.display = "" if sheets else "none"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        return with_still(bundle, self.image.value, NO_KERNEL, self.numbers.value, self.readout.value)


def _button(name: str, icon: str, tooltip: str, press: Callable[[], None]) -> W.Button:
    button = W.Button(description=name, icon=icon, tooltip=tooltip)
    button.on_click(lambda _button: press())
    return button


def _picture(width: int) -> W.Image:
    return W.Image(format="png", layout=W.Layout(width=f"{width}px", max_width="100%"))


def _numbers(step: int, config: TrainConfig, folder: Path) -> str:
    """Step, and what the newest line of the log says: loss, images a second, and with that the time left."""
    text, line = f"<b>step {step:,} of {config.steps:,}</b>", live.newest_line(folder, step)
    if line is None:
        return f"{text}; loss and speed follow at step {config.log_every:,}"
    left = (config.steps - step) * config.batch / line["images_per_second"]
    return f"{text}, loss {line['loss']:.4f}, {line['images_per_second']:,.0f} images/s, {duration(left)} left"


def _ending(report: training.Report | None, error: Exception | None) -> str:
    """How it has ended, for people."""
    if error is not None or report is None:
        return _words(error)
    if report.weights is None:
        return f"Stopped at step {report.step:,}; its checkpoint is written."
    return f"Done: {report.step:,} steps; the weights are in {report.weights.name}."


def _words(error: Exception | None) -> str:
    """A message of ours says what to do; of others it is said where the rest can be read."""
    text = "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
    return text if isinstance(error, DDPMError) else f"{text}\n(Its traceback is kept: raise dashboard.error.)"
