"""What a training run says of itself: loss by quarter of t, speed, and whether all is finite. Kept on the device."""

import contextlib
import json
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_edu import losses
from ddpm_edu.errors import NonFiniteLossError

QUARTERS = ("the first quarter of t", "the second quarter of t", "the third quarter of t", "the last quarter of t")


class Meter:
    """Sums of losses since the last look, by quarter of 1..T. Reading them is the only time the host waits."""

    def __init__(self, T: int, device: torch.device) -> None:
        self.T, self.device = T, device
        self.clear()

    def clear(self) -> None:
        """Start anew."""
        self.sums = torch.zeros(4, device=self.device)
        self.counts = torch.zeros(4, device=self.device)
        self.since = time.perf_counter()

    def add(self, t: Tensor, loss: Tensor) -> None:
        """The losses (n,) of samples at the times t (n,)."""
        own = losses.quarter(t, self.T)
        self.sums.index_add_(0, own, loss.detach().float())
        self.counts.index_add_(0, own, torch.ones_like(loss, dtype=torch.float32))

    def read(self, sums: Tensor, counts: Tensor) -> dict[str, Any]:
        """Loss, loss by quarter (None for one without samples) and images a second, of ``sums`` and ``counts`` (4,)."""
        by_quarter = [s / n if n else None for s, n in zip(sums.tolist(), counts.tolist(), strict=True)]
        seen = counts.sum().item()
        return {
            "loss": sums.sum().item() / seen if seen else math.nan,
            "by_quarter": by_quarter,
            "images_per_second": seen / max(time.perf_counter() - self.since, 1e-9),
        }


class Finite:
    """Whether all gradients (and losses, which show in them) were finite. Else ``flag`` stays 1, and no step changes
    the weights.

    The optimiser reads the flag on the device (as it reads GradScaler's), so that nobody has to wait for it: the host
    may look steps later and still find the weights as they were before the first bad step.
    """

    def __init__(self, device: torch.device) -> None:
        self.flag = torch.zeros((), device=device)
        self.first = torch.full((), -1, dtype=torch.int64, device=device)

    def note(self, norm: Tensor, step: int) -> None:
        """After the backward pass: the norm of the gradient of ``step``, the same in all processes."""
        bad = ~norm.isfinite()
        self.first = torch.where(bad & (self.first < 0), step, self.first)
        self.flag = torch.maximum(self.flag, bad.to(self.flag.dtype))

    def check(self, meter: Meter, folder: Path) -> None:
        """Raises NonFiniteLossError if one was not: which step, which quarter of t, where the last good weights are."""
        if not self.flag.item():
            return
        quarters = [name for name, total in zip(QUARTERS, meter.sums.tolist(), strict=True) if not math.isfinite(total)]
        where = f"the loss in {' and '.join(quarters)}" if quarters else "the gradient"
        raise NonFiniteLossError(
            f"step {int(self.first.item())}: {where} is NaN or infinite. The weights are those before this step; "
            f"checkpoints are in {folder}. Usual cause: a rate of learning that is too high, or NaN in the data (then "
            'at once). Fix: lr / 2, or precision="fp32", and the same command again with --allow-change.'
        )


class Log:
    """Lines of JSON in a file, one an event; a run that goes on appends, on a line of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        cut_short = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")  # by a kill
        self._first = "\n" if cut_short else ""

    def write(self, **event: Any) -> None:
        """One line, flushed."""
        with self.path.open("a") as file:
            file.write(self._first + json.dumps(event) + "\n")
        self._first = ""


def events_in(lines: Iterable[str | bytes]) -> Iterator[dict[str, Any]]:
    """The events in lines of a log, without those that a kill has cut short."""
    for line in lines:
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                yield event


def read_log(path: Path) -> list[dict[str, Any]]:
    """The events of a log; lines that a kill cut short are left out, of a repeated step the last counts."""
    events: dict[tuple[Any, Any], dict[str, Any]] = {}
    for event in events_in(path.read_text().splitlines() if path.exists() else []):
        events[(event.get("kind"), event.get("step"))] = event
    return sorted(events.values(), key=lambda event: event.get("step", 0))
