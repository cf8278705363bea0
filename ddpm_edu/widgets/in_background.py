"""A training in a thread of its own, which can be paused between two steps, and asked to stop. Knows no widgets."""

import atexit
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from ddpm_edu import training
from ddpm_edu.training.config import TrainConfig
from ddpm_edu.training.interruptions import StopRequest
from ddpm_edu.training.state import Run
from ddpm_edu.widgets.turns import TURNS, Share, Turns


class Told(Protocol):
    """Who is told how it goes, by the thread that trains, while no cell runs."""

    def stepped(self, run: Run) -> None:
        """After each step."""

    def paused(self, run: Run) -> None:
        """It stands still now."""

    def ended(self, report: training.Report | None, error: Exception | None) -> None:
        """It is over: one of the two says how."""


class Background:
    """One training, which may be started again when it has ended: then it goes on from its newest checkpoint."""

    def __init__(
        self, config: TrainConfig, folder: Path | str, options: dict[str, Any], told: Told, turns: Turns = TURNS
    ) -> None:
        self.config, self.folder, self.told, self.turns = config, folder, told, turns
        self.options = {"progress": False, **options}
        self.watch = self.options.pop("watch", None)
        self.running = False
        self._thread: threading.Thread | None = None
        self._go, self._stop = threading.Event(), StopRequest()

    @property
    def is_paused(self) -> bool:
        """Whether it stands still, or will after this step."""
        return self.running and not self._go.is_set()

    def start(self) -> None:
        """Begins, or goes on from the newest checkpoint; the caller need not wait. It must not be running."""
        self.running, self._stop = True, StopRequest()
        self._go.set()
        self._thread = threading.Thread(target=self._train, args=(self._stop,), name="training", daemon=True)
        atexit.register(self.end)  # a daemon may be cut off in the middle of a step; this lets it save
        self._thread.start()

    def pause(self) -> None:
        """After this step it waits. Nothing is written, nothing is lost."""
        self._go.clear()

    def go_on(self) -> None:
        """After a pause."""
        self._go.set()

    def stop(self) -> None:
        """After this step it writes a checkpoint and ends, also out of a pause."""
        self._stop.ask()
        self._go.set()

    def wait(self) -> None:
        """Until it has ended: a pause must be ended by somebody else. A cell may call this."""
        if self._thread is not None and self._thread is not threading.current_thread():
            with self.turns.lent():
                self._thread.join()

    def end(self) -> None:
        """Asks it to stop and waits until it has; afterwards there is no thread."""
        self.stop()
        self.wait()

    def _train(self, stop: StopRequest) -> None:
        with Share(self.turns) as share:
            report, error = None, None
            try:
                report = training.train(
                    self.config,
                    self.folder,
                    watch=lambda run: self._after_a_step(run, share, stop),
                    stop=stop,
                    **self.options,
                )
            except Exception as raised:  # whatever it is, somebody must be told: nobody sees a thread's traceback
                error = raised
            atexit.unregister(self.end)
            self.running = False
            self.told.ended(report, error)

    def _after_a_step(self, run: Run, share: Share, stop: StopRequest) -> None:
        if self.watch is not None:
            self.watch(run)
        self.told.stepped(run)
        if run.step < run.config.steps and not stop and (self.is_paused or self.turns.wanted):
            self._stand_still(run, share)

    def _stand_still(self, run: Run, share: Share) -> None:
        begun = time.perf_counter()
        if self.is_paused:
            self.told.paused(run)
        with share.aside():
            self._go.wait()
        run.meter.since += time.perf_counter() - begun  # the log's images a second are those of training alone
