"""A run in TensorBoard, for those who have it; the package does not ask for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ddpm_edu.errors import ConfigError
from ddpm_edu.training.live import Watched
from ddpm_edu.training.meter import QUARTERS, events_in

TAIL = 4096  # bytes: enough for a few lines of a log


def writer(folder: Path | str) -> Callable[[Watched], None]:
    """For ``training.train(..., watch=writer(folder))``: what log.jsonl in ``folder`` says, as TensorBoard's scalars.

    ``folder``: that of the run; the events go to its subfolder tensorboard. A run that goes on drops the events after
    the step at which it goes on. Raises ConfigError where tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as cause:
        raise ConfigError(
            f"TensorBoard cannot be imported ({cause}). Fix: python -m pip install tensorboard; or look at the run "
            "with training.live.plot(folder), which needs nothing."
        ) from cause
    return _Writer(Path(folder), SummaryWriter)


class _Writer:
    """Opens the file at the first step that it sees: then it is known where the run goes on."""

    def __init__(self, folder: Path, make: Callable[..., Any]) -> None:
        self.folder, self.make, self.file = folder, make, None

    def __call__(self, run: Watched) -> None:
        if not run.team.is_main:
            return
        if self.file is None:
            self.file = self.make(str(self.folder / "tensorboard"), purge_step=run.step)
        if run.step % run.config.log_every == 0 or run.step >= run.config.steps:
            for event in _latest(self.folder / "log.jsonl"):
                if event.get("kind") == "loss" and event["step"] == run.step:
                    self._write(event)

    def _write(self, event: dict[str, Any]) -> None:
        named = {"loss/all": event["loss"], "lr": event["lr"], "images per second": event["images_per_second"]}
        named |= {f"loss/{name}": value for name, value in zip(QUARTERS, event["by_quarter"], strict=True)}
        assert self.file is not None  # noqa: S101 (for the type checker)
        for name, value in named.items():
            if value is not None:
                self.file.add_scalar(name, value, event["step"])
        self.file.flush()


def _latest(path: Path) -> list[dict[str, Any]]:
    """The last events of a log. Not all of them, at every line: a long run writes many thousands."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        lines = file.read().splitlines()
    return list(events_in(lines))  # the first line may be cut short here, any other by a kill
