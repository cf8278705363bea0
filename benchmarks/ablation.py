"""What makes the preset fashion-cpu good in so few minutes? One change at a time, for the same CPU time.

Usage: ``python benchmarks/ablation.py`` (half an hour on one core). Writes benchmarks/results/ablation.json.

Each variant is the preset with one thing put back to what is usual, trained for 150 seconds of one core's time, its
steps fitted to that; everything else, seed included, is the same. The Frechet distances are those of 500 samples
(DPM-Solver++(2M), 15 steps, all classes alike) to the 10,000 test images: smaller samples and shorter runs than in
quality.py, so compare within this table only. One run each: differences of a tenth are no findings.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
if not __package__:
    sys.path[0] = str(ROOT)

from benchmarks import peers, quality  # noqa: E402
from ddpm_edu import training  # noqa: E402
from ddpm_edu.training import presets  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "ablation.json"
BUDGET, N, STEPS = 150, 500, 15
VARIANTS: dict[str, dict[str, Any]] = {
    "the preset": {},
    "eps on a linear schedule": {"predicts": "eps", "schedule": "linear"},
    "min-SNR weights": {"weight": "min_snr"},
    "pixels one by one, no 2 x 2 patches": {"net.patch": 1},
    "half as wide again": {"net.width": 48},
    "twice the batch": {"batch": 64},
    "a third of the rate": {"lr": 1e-3},
    "twice the rate": {"lr": 6e-3},
    "dropout": {"net.dropout": 0.1},
}


def run(changes: dict[str, Any]) -> dict[str, Any]:
    """Train one variant, sample, measure."""
    # A short run wants a short memory: 0.999 would average over two thirds of it
    config = quality.fitted(presets.FASHION_CPU.changed({"ema": [0.99], **changes}), BUDGET)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        training.train(config, folder, progress=False)
        used = round(time.process_time() - start)
        images, parameters = quality.draw(Path(folder) / "weights.safetensors", N, STEPS)
    return {
        "changes": changes,
        "used": used,
        "steps": config.steps,
        "images": config.steps * config.batch,
        "parameters": parameters,
        "frechet": quality.distances(images),
    }


def main() -> None:
    """Measure all, write the result."""
    torch.set_num_threads(1)
    start, entries = time.perf_counter(), {}
    for name, changes in VARIANTS.items():
        entries[name] = run(changes)
        print(name, entries[name], flush=True)
    about = peers.about("ablation.py", start)
    RESULT.write_text(json.dumps({"about": about, "samples": N, "entries": entries}, indent=1) + "\n")


if __name__ == "__main__":
    main()
