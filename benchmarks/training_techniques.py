"""What each technique of training costs and saves, in the loop itself: one step of the Fashion-MNIST network on a CPU.

Usage: ``OMP_NUM_THREADS=1 python benchmarks/training_techniques.py [ROUNDS]`` (default 9; some three minutes of one
core, most of them compiling). Writes benchmarks/results/training_techniques.json, which lesson 07 shows.

A step is :func:`ddpm_edu.training.loop.one_step`: draws, forward, backward, clipping, Adam, one average. The
contestants take turns of one step each, on images of noise. What counts is CPU time of this process (one thread), not
the clock on the wall, so that what else the machine does matters little; of all rounds the median. Memory is the most
that tensors hold at once within a step, over what they held before it: what is kept for the backward pass, gradients,
work space.

torch.compile needs a C++ compiler; where there is none, its rows are left out. bfloat16 is left out where the processor
has none: it would be emulated.
"""

import json
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
if not __package__:
    sys.path[0] = str(ROOT)

from ddpm_edu import cpu, data  # noqa: E402
from ddpm_edu.models import checkpointing  # noqa: E402
from ddpm_edu.models.memory import peak_bytes  # noqa: E402
from ddpm_edu.training import presets  # noqa: E402
from ddpm_edu.training.checkpoint import encoded  # noqa: E402
from ddpm_edu.training.config import TrainConfig  # noqa: E402
from ddpm_edu.training.distributed import Team  # noqa: E402
from ddpm_edu.training.ema import Averages, constant  # noqa: E402
from ddpm_edu.training.loop import one_step  # noqa: E402
from ddpm_edu.training.precision import has_bf16  # noqa: E402
from ddpm_edu.training.state import Run, start  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "training_techniques.json"
CPU = torch.device("cpu")
BASE = replace(presets.FASHION_CPU, batch=32, precision="fp32")
Settings = dict[str, Any]
WAYS: dict[str, Settings] = {
    "float32": {},
    "bfloat16": {"precision": "bf16"},
    "checkpointing, every block": {"checkpointing": True},
    "checkpointing, selective": {},
    "4 parts": {"accumulate": 4},
    "no clipping": {"clip": None},
    "no average": {},
    "torch.compile": {"compile": True},
    "torch.compile, bfloat16": {"compile": True, "precision": "bf16"},
}


@dataclass
class Contestant:
    """One way to take a step, and how long its steps took."""

    name: str
    run: Run
    first: float = 0.0  # seconds of the first step: it compiles, and allocates
    seconds: list[float] = field(default_factory=list)

    def step(self, images: torch.Tensor) -> float:
        """CPU seconds of a step."""
        begun = time.process_time()
        one_step(self.run, images)
        self.run.step += 1
        return time.process_time() - begun

    def row(self, images: torch.Tensor) -> dict[str, Any]:
        """What was found. Memory of compiled code is not counted: it allocates without telling."""
        found: dict[str, Any] = {
            "name": self.name,
            "seconds": statistics.median(self.seconds),
            "least": min(self.seconds),
        }
        if self.run.config.compile:
            return found | {"seconds of the first step": round(self.first, 1)}
        return found | {"peak bytes": peak_bytes(lambda: one_step(self.run, images))}


def noise(n: int = 2048) -> data.ImageSet:
    """As many images of the right size: what is in them takes no time."""
    g = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, 1, 28, 28), dtype=torch.uint8, generator=g)
    return data.ImageSet("noise", pixels, torch.arange(n) % 10)


def available(settings: Settings) -> bool:
    """Whether this machine can do it."""
    compiles = any(shutil.which(name) for name in ("c++", "g++", "clang++"))
    return (has_bf16(CPU) or settings.get("precision") != "bf16") and (compiles or not settings.get("compile"))


def contestant(name: str, config: TrainConfig, images: data.ImageSet, folder: Path) -> Contestant:
    """A run at its first step."""
    run = start(config, folder, Team(0, 1, CPU), images=images)
    if name == "checkpointing, selective":
        checkpointing.enable_selective(run.net)  # type: ignore[arg-type]
    if name == "no average":
        run.averages = Averages(run.net, {})
    made = Contestant(name, run)
    made.first = made.step(images.images)
    return made


def median_of(work: Callable[[], object], rounds: int) -> float:
    """CPU seconds of ``work``."""
    times = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return statistics.median(times)


def averaging(run: Run, rounds: int) -> dict[str, float]:
    """One update of an average: tensor by tensor, as it is often written, and all in one call."""
    averages, weights = Averages(run.net, {"one": constant(0.999)}), list(run.net.parameters())
    kept = list(averages.weights["one"].values())

    @torch.no_grad()
    def one_by_one() -> None:
        for average, weight in zip(kept, weights, strict=True):
            average.mul_(0.999).add_(weight.detach(), alpha=0.001)

    loop, at_once = median_of(one_by_one, rounds), median_of(lambda: averages.update(run.net), rounds)
    return {"tensors": len(weights), "one by one": loop, "in one call": at_once}


def write(run: Run) -> None:
    """A checkpoint, also where there is one of this step."""
    run.saved = None
    run.save()


def main(rounds: int = 9) -> None:
    """Take turns, then write the result."""
    torch.set_num_threads(1)
    cpu.keep_memory()
    begun, images = time.process_time(), noise()
    with tempfile.TemporaryDirectory() as folder:
        made = [
            contestant(name, replace(BASE, **settings), images, Path(folder) / str(i))
            for i, (name, settings) in enumerate(WAYS.items())
            if available(settings)
        ]
        for turn in range(rounds):
            for each in made:
                each.seconds.append(each.step(images.images))
            print(f"round {turn + 1} of {rounds}", flush=True)
        rows = [each.row(images.images) for each in made]
        plain = made[0].run
        state = encoded(plain.state_dict(), plain.step)
        extra = {
            "average": averaging(plain, 10 * rounds),
            "checkpoint": {
                "bytes": len(state),
                "seconds to write": median_of(lambda: write(plain), 5),
            },
        }
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"one core of a {platform.machine()} CPU, {torch.backends.cpu.get_cpu_capability()}",
        "torch": torch.__version__,
        "command": f"OMP_NUM_THREADS=1 python benchmarks/training_techniques.py {rounds}",
        "seconds": round(time.process_time() - begun),
    }
    network = {"parameters": sum(p.numel() for p in plain.net.parameters()), "batch": BASE.batch, "images": "28 x 28"}
    RESULT.write_text(json.dumps({"about": about, **network, "rows": rows, **extra}, indent=1) + "\n")
    for row in rows:
        print(f"{row['name']:28s} {row['seconds']:.3f} s  {row.get('peak bytes', 0) / 2**20:8.1f} MiB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
