"""Which average of a network's weights makes the best samples, and would its loss have told? On the 8x8 digits.

Usage: ``OMP_NUM_THREADS=1 python benchmarks/averages.py`` (seven minutes of one core). Writes
benchmarks/results/averages.json, which lesson 06 shows, and prints it as a table.

One training: the preset digits-cpu, 2,000 steps at a constant rate of learning, on four fifths of the digits (the
others, ``metrics.features.held_out``, are kept from it). Its steps are followed by averages with decays from 0, the
last weights themselves, to 0.9999, each with warm-up and without, so all differ by nothing else. Of each, after a
quarter of the steps and at the end: the loss on the held-out digits by quarter of t, with the same times and noise for
all, and the Frechet distances of 1,000 samples to the digits trained on and to those held out. The samples: 100 of each
class, DPM-Solver++(2M) with 15 steps, rounded to 8 bits; at the end for three seeds.
"""

import json
import platform
import statistics
import tempfile
import time
import warnings
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_edu import cpu, data, forward, losses, metrics, parameterization, sampling, schedules, training
from ddpm_edu.training import ema, presets
from ddpm_edu.training.state import Run

RESULT = Path(__file__).parent / "results" / "averages.json"
DECAYS = (0.0, 0.9, 0.99, 0.995, 0.999, 0.9999)
CONFIG = replace(
    presets.DIGITS_CPU, steps=2000, decay="constant", ema=DECAYS, ema_warmup=False, save_every=10**6, log_every=100
)
MARKS = {500: (0,), 2000: (0, 1, 2)}  # after so many steps, samples of these seeds
N, STEPS = 1000, 15
DRAWS = 8  # of time and noise for each held-out digit


@dataclass
class Judge:
    """What every average is asked: a loss on digits that were not trained on, and distances of its samples."""

    trained: Tensor  # (1440, 1, 8, 8)
    held_out: Tensor  # (357, 1, 8, 8)
    labels: Tensor  # of held_out
    s: schedules.Schedule = field(default_factory=lambda: schedules.by_name(CONFIG.schedule, CONFIG.net.T))
    extractor: metrics.features.Extractor = field(default_factory=lambda: metrics.features.load("digits"))

    def __post_init__(self) -> None:
        self.reference = {
            "trained on": self.extractor.features(self.trained),
            "held out": self.extractor.features(self.held_out),
        }

    def loss(self, net: nn.Module) -> list[float]:
        """The mean loss in each quarter of t, the times evenly spread over 1..T."""
        x0, labels = self.held_out.repeat(DRAWS, 1, 1, 1), self.labels.repeat(DRAWS)
        order = torch.randperm(len(x0), generator=training.generator(0))
        t = 1 + (order * self.s.T).div(len(x0), rounding_mode="floor")
        noise = torch.randn(x0.shape, generator=training.generator(1))
        with torch.no_grad():
            found = net(forward.q_sample(self.s, x0, t, noise), t, labels=labels)
        return [round(q, 5) for q in losses.by_quartile(self.s, t, losses.mse(found, noise)).tolist()]

    def samples(self, net: nn.Module, seed: int) -> Tensor:
        """N of them, a hundred of each class, as a file would hold them."""
        labels, noise = torch.arange(N) % 10, torch.Generator().manual_seed(seed)
        denoise = parameterization.denoiser(
            cpu.InBfloat16(net), self.s, CONFIG.predicts, parameterization.static_clip, labels=labels
        )
        x = sampling.sample(denoise, self.s, (N, 1, 8, 8), "dpmpp_2m", STEPS, generator=noise)
        return data.to_model_range(data.to_uint8(x))

    def distances(self, images: Tensor) -> dict[str, float]:
        """Frechet distances to both parts of the digits."""
        found = self.extractor.features(images)
        return {name: metrics.frechet_distance(found, real) for name, real in self.reference.items()}

    def copies(self, images: Tensor) -> dict[str, float]:
        """How many samples lie nearer to a digit trained on than 1% of the held-out digits do."""
        found = metrics.memorised(images, self.trained, self.held_out).distance
        return {"share": found.share, "expected": found.expected, "p-value": found.p_value}


@dataclass
class Follower:
    """Keeps the averages with warm-up beside the run's own, and has all of them judged at the marks."""

    judge: Judge
    warmed: ema.Averages | None = None
    entries: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, run: Run) -> None:
        """After each step. The first finds weights one step old, of which nothing is left in these averages."""
        if self.warmed is None:
            self.warmed = ema.Averages(run.net, ema.rates(DECAYS[1:], warmup=True))
        else:
            self.warmed.update(run.net)
        if run.step in MARKS:
            for warmup, averages in ((False, run.averages), (True, self.warmed)):
                for name, rate in averages.rates.items():
                    share = ema.share_of_the_first(rate, run.step)
                    about = {"step": run.step, "decay": float(name), "warm-up": warmup, "of the first": share}
                    self.entries.append(about | self.judged(averages.net(run.net, name), MARKS[run.step]))
                    print(line(self.entries[-1]), flush=True)

    def judged(self, net: nn.Module, seeds: tuple[int, ...]) -> dict[str, Any]:
        """The numbers of one average."""
        drawn = [self.judge.samples(net, seed) for seed in seeds]
        return {
            "loss": self.judge.loss(net),
            "frechet": [self.judge.distances(images) for images in drawn],
            "copies": self.judge.copies(drawn[0]),
        }


def line(entry: dict[str, Any]) -> str:
    """An entry for people."""
    frechet = {key: statistics.mean(run[key] for run in entry["frechet"]) for key in entry["frechet"][0]}
    kind = "warm-up" if entry["warm-up"] else "constant"
    return (
        f"step {entry['step']:4d}, decay {entry['decay']:<6g} {kind:8s}: {entry['of the first']:6.1%} of the first "
        f"weights, loss {statistics.mean(entry['loss']):.4f}, Frechet distance to digits trained on "
        f"{frechet['trained on']:.3f}, held out {frechet['held out']:.3f}, near copies {entry['copies']['share']:.1%}"
    )


def main() -> None:
    """Train once, judge all averages, write the result."""
    torch.set_num_threads(1)
    start = time.process_time()
    digits = data.digits()
    kept = metrics.features.held_out(len(digits))
    held_out = digits.subset(kept)
    judge = Judge(digits.subset(~kept).model_range(), held_out.model_range(), held_out.labels)  # type: ignore[arg-type]
    follower = Follower(judge)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        training.train(CONFIG, folder, images=digits.subset(~kept), progress=False, watch=follower)
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"one core of a {platform.machine()} CPU",
        "torch": torch.__version__,
        "command": "OMP_NUM_THREADS=1 python benchmarks/averages.py",
        "seconds": round(time.process_time() - start),
    }
    real = judge.distances(judge.held_out)["trained on"]
    settings = {
        "samples": N,
        "steps of the sampler": STEPS,
        "trained on": len(judge.trained),
        "held out": int(kept.sum()),
    }
    warned = [str(one.message) for one in said]
    result = {
        "about": about,
        **settings,
        "held out beside trained on": real,
        "warned": warned,
        "entries": follower.entries,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
