"""A person's script that trains, as torchrun starts it: ``job.py OUT [ACCIDENT ...]``, an accident such as kill=1@5."""

import errno
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from ddpm_edu import training
from ddpm_edu.data import to_model_range
from tests.training_distributed import setting

RANK = int(os.environ.get("RANK", 0))


def main(out: Path, accidents: dict[str, str]) -> None:
    torch.set_num_threads(1)
    step = 0

    def no_room(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def watch(run: Any) -> None:
        nonlocal step
        step = run.step
        if accidents.get("kill") == f"{RANK}@{run.step}":
            os.kill(os.getpid(), signal.SIGKILL)
        if accidents.get("full") == str(run.step):
            mock.patch("os.fsync", no_room).start()
        time.sleep(float(accidents.get("slow", 0)))

    def data(x: torch.Tensor, levels: int) -> torch.Tensor:
        return to_model_range(x, levels) * (float("nan") if accidents.get("nan") == f"{RANK}@{step}" else 1)

    with mock.patch("ddpm_edu.training.loop.scaled", data):
        report = training.train(setting.CONFIG, out, progress=True, watch=watch)
    (out / f"left-{RANK}.json").write_text(json.dumps([report.step, report.signal]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), dict(accident.split("=") for accident in sys.argv[2:]))
