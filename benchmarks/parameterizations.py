"""Does it matter whether a network predicts eps, x0 or v? Six trainings on each of two data sets, three seeds each.

Usage: ``python benchmarks/parameterizations.py`` (about six minutes on one core). Writes
benchmarks/results/parameterizations.json, which lesson 03 shows, and prints it as tables.

- *matched*: min-SNR weights, which make the three losses one loss in three units; only the network's task differs.
- *uniform*: weight 1 on each prediction's own error, which makes them three different losses.

Measured: the sliced Wasserstein distance of samples (DDPM, every step) to data, nothing clipped and with x0-hat clipped
to [-1, 1]; and how far x0-hat lies from the best possible E[x_0 | x_t], by t. For eps that error is predicted to be
c / sqrt(SNR): its own error, in units of eps, hardly changes at large t, and c is what it is at t = 3/4 T.
"""

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_edu import data, forward, losses, oracles, parameterization, sampling, schedules, training
from ddpm_edu.models import MLP

RESULT = Path(__file__).parent / "results" / "parameterizations.json"
PREDICTIONS = ("eps", "x0", "v")
WEIGHTS: dict[str, losses.Weight] = {"matched": losses.min_snr(5.0), "uniform": losses.uniform}
SEEDS = (0, 1, 2)
T = 200
SAMPLES, DIRECTIONS, LOOKED_AT = 1797, 256, 256
TIMES = (20, 50, 100, 150, 180, 190, 199, 200)  # where x0-hat is looked at


def sliced_wasserstein(a: Tensor, b: Tensor, generator: torch.Generator) -> float:
    """Root mean square, over random directions, of the 2-Wasserstein distance of the projections. a, b: (N, D)."""
    directions = torch.randn(a.shape[1], DIRECTIONS, generator=generator)
    directions /= directions.norm(dim=0)
    return ((a @ directions).sort(0).values - (b @ directions).sort(0).values).square().mean().sqrt().item()


def moons() -> tuple[Tensor, Tensor, dict[str, int]]:
    """Training points, as many others to compare with (all within [-1, 1]), and how large and long to train."""
    draw = training.generator(100)
    size = {"width": 64, "depth": 3, "steps": 2000, "batch_size": 256}
    return 0.9 * data.moons(SAMPLES, draw), 0.9 * data.moons(SAMPLES, draw), size


def digits() -> tuple[Tensor, Tensor, dict[str, int]]:
    """The 8x8 digits, which are trained on and compared with."""
    x = data.digits().model_range().flatten(1)
    return x, x, {"width": 128, "depth": 3, "steps": 2000, "batch_size": 128}


def floor(x: Tensor) -> float:
    """The distance of two halves of the data: what a perfect sampler of half as many would get."""
    x = x[torch.randperm(len(x), generator=training.generator(101))]
    half = len(x) // 2
    return sliced_wasserstein(x[:half], x[half : 2 * half], training.generator(102))


def errors_of_x0(denoise: parameterization.Denoise, s: schedules.Schedule, x0: Tensor) -> list[float]:
    """Root mean square of x0-hat - E[x_0 | x_t] per dimension, at each of TIMES."""
    best, found = oracles.FiniteDataset(x0).denoiser(s), []
    for t in TIMES:
        time_n = torch.full((LOOKED_AT,), t)
        noise = torch.randn(x0[:LOOKED_AT].shape, generator=training.generator(103, t))
        x_t = forward.q_sample(s, x0[:LOOKED_AT], time_n, noise)
        with torch.no_grad():
            found.append((denoise(x_t, time_n).x0 - best(x_t, time_n).x0).square().mean().sqrt().item())
    return found


def run(x0: Tensor, others: Tensor, size: dict[str, int], predicts: str, weight: losses.Weight, seed: int) -> dict:
    """One training: the distances of its samples, the errors of x0-hat by t, seconds."""
    start, s = time.perf_counter(), schedules.cosine(T)
    torch.manual_seed(seed)
    net = MLP(x0.shape[1], size["width"], size["depth"])
    training.fit(net, s, x0, predicts, weight, size["steps"], size["batch_size"], lr=2e-3, seed=seed)
    denoise = parameterization.denoiser(net, s, predicts)
    clipping = parameterization.denoiser(net, s, predicts, clip=parameterization.static_clip)
    found: dict[str, Any] = {"x0_error": errors_of_x0(denoise, s, x0)}
    for key, chosen in (("distance", denoise), ("distance_clipped", clipping)):
        x = sampling.sample(chosen, s, others.shape, generator=training.generator(104, seed))
        found[key] = sliced_wasserstein(x, others, training.generator(102))
    return {**found, "seconds": round(time.perf_counter() - start, 1)}


def spread(runs: list[dict], key: str) -> str:
    """Mean and standard deviation over the seeds, for a table."""
    values = [one[key] for one in runs]
    return f"{statistics.mean(values):11.4f} +- {statistics.stdev(values):<8.4f}"


def study(name: str, make: Callable[[], tuple[Tensor, Tensor, dict[str, int]]]) -> dict:
    """All trainings on one data set."""
    x0, others, size = make()
    runs: dict[str, dict[str, list[dict]]] = {}
    for weighting, weight in WEIGHTS.items():
        for predicts in PREDICTIONS:
            done = [run(x0, others, size, predicts, weight, seed) for seed in SEEDS]
            runs.setdefault(weighting, {})[predicts] = done
            print(
                f"{name:8}{weighting:10}{predicts:5}{spread(done, 'distance')}{spread(done, 'distance_clipped')}",
                flush=True,
            )
    return {**size, "floor": floor(x0), "runs": runs}


def print_errors(name: str, result: dict, snr: list[float]) -> None:
    """x0-hat's error by t for the matched weights; for eps, also the prediction from its error at t = 3/4 T."""
    print(f"\n{name}: error of x0-hat, matched weights, mean of {len(SEEDS)} seeds")
    print(f"{'t':>5}{'1/sqrt(SNR)':>13}" + "".join(f"{p:>10}" for p in PREDICTIONS) + f"{'eps predicted':>15}")
    error = {
        p: [statistics.mean(r["x0_error"][i] for r in result["runs"]["matched"][p]) for i in range(len(TIMES))]
        for p in PREDICTIONS
    }
    known = TIMES.index(3 * T // 4)
    own = error["eps"][known] * snr[known] ** 0.5  # in units of eps
    for i, t in enumerate(TIMES):
        predicted = f"{own * snr[i] ** -0.5:15.3g}" if i >= known else ""
        print(f"{t:5}{snr[i] ** -0.5:13.3g}" + "".join(f"{error[p][i]:10.3g}" for p in PREDICTIONS) + predicted)


def main() -> None:
    """Run, print, write."""
    torch.set_num_threads(1)
    start, s = time.perf_counter(), schedules.cosine(T)
    snr = s.snr[list(TIMES)].tolist()
    print(f"{'data':8}{'weights':10}{'net':5}{'distance':>11}{'distance, x0-hat clipped':>36}")
    results = {name: study(name, make) for name, make in (("moons", moons), ("digits", digits))}
    for name, result in results.items():
        print_errors(name, result, snr)
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": "2-core CPU, one thread",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "command": "python benchmarks/parameterizations.py",
        "seconds": round(time.perf_counter() - start),
    }
    settings = {"schedule": "cosine", "T": T, "seeds": SEEDS, "samples": SAMPLES, "times": TIMES, "snr": snr}
    RESULT.write_text(json.dumps({"about": about, "settings": settings, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
