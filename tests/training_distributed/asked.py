"""Two processes train; in the second one a thread asks to stop, at the step that is named: ``asked.py OUT STEP``."""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch

from ddpm_edu import training
from ddpm_edu.training.interruptions import StopRequest
from tests.training_distributed import setting

RANK = int(os.environ.get("RANK", 0))


def main(out: Path, step: int) -> None:
    torch.set_num_threads(1)
    stop = StopRequest()

    def watch(run: Any) -> None:
        if RANK == 1 and run.step == step:
            asking = threading.Thread(target=stop.ask)
            asking.start()
            asking.join()
        time.sleep(0.05 * RANK)

    report = training.train(setting.CONFIG, out, progress=False, watch=watch, stop=stop)
    (out / f"left-{RANK}.json").write_text(json.dumps([report.step, report.weights is None, report.signal]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
