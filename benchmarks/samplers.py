"""What a sampler, its steps, its limits and guidance do to samples of the shipped digits U-Net, measured.

Usage: ``python benchmarks/samplers.py`` (fifty minutes on one core). Writes
benchmarks/results/samplers.json, which lesson 05 shows, and prints it as a table.

Every entry is measured on 1,000 samples, a hundred of each class, for each of three seeds: the Frechet distance to all
1,797 digits in the feature space of ``metrics.features.load("digits")``, the sliced Wasserstein distance of the pixels,
the share of samples that the classifier behind those features takes for the class asked for, and the share of pixels at
the limits. Samples go through 8 bits first, as a file would. A seed stands for the same x_T in every entry.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_edu import cpu, data, metrics, models, parameterization, sampling, schedules
from ddpm_edu.parameterization import Denoise
from ddpm_edu.sampling import grids, guidance, thresholding
from ddpm_edu.schedules import Schedule

RESULT = Path(__file__).parent / "results" / "samplers.json"
SEEDS = (0, 1, 2)
N = 1000
LIMITS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x0: x0,
    "static": parameterization.static_clip,
    "dynamic": partial(thresholding.dynamic, percentile=0.995),
}
GRIDS: dict[str, Callable[[Schedule, int], grids.Pairs]] = {
    "uniform": lambda s, steps: grids.uniform(s.T, steps),
    "leading": lambda s, steps: grids.leading(s.T, steps),
    "karras": grids.karras,
}
Settings = dict[str, Any]


def entries() -> Iterator[Settings]:
    """Everything that is measured: method with its options, steps, grid, clip, w."""
    methods = {
        "DDPM, beta": {"method": "ddpm", "variance": "beta"},
        "DDPM, posterior": {"method": "ddpm", "variance": "posterior"},
        "DDIM": {"method": "ddim"},
        "DDIM, eta = 1": {"method": "ddim", "eta": 1.0},
        "DPM-Solver++(2M)": {"method": "dpmpp_2m"},
        "DPM-Solver++(2M) SDE": {"method": "dpmpp_2m_sde"},
        "Heun": {"method": "heun"},
    }
    for name, options in methods.items():
        for calls in (5, 10, 20, 50, 100):
            yield {"sweep": "steps", "name": name, "steps": _steps(name, calls), "options": options}
    for steps in (250, 1000):
        yield {"sweep": "steps", "name": "DDPM, beta", "steps": steps, "options": methods["DDPM, beta"]}
    for grid, names in {
        "leading": ("DDIM", "DDPM, beta", "DDPM, posterior"),
        "karras": ("Heun", "DPM-Solver++(2M)"),
    }.items():
        for name in names:
            for calls in (5, 10, 20, 50):
                steps = _steps(name, calls)
                yield {"sweep": "grid", "name": name, "steps": steps, "grid": grid, "options": methods[name]}
    for name in ("DDPM, beta", "DDIM", "DPM-Solver++(2M)"):
        for limit in LIMITS:
            for steps in (10, 50):
                yield {"sweep": "clip", "name": name, "steps": steps, "options": methods[name], "clip": limit}
    for w in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0):
        for limit in LIMITS:
            options = methods["DPM-Solver++(2M)"]
            yield {"sweep": "guidance", "name": f"w = {w:g}", "steps": 20, "options": options, "clip": limit, "w": w}


def _steps(name: str, calls: int) -> int:
    """Steps of a method that make about so many calls: Heun makes two a step, and one in the last."""
    return (calls + 1) // 2 if name == "Heun" else calls


class Counted:
    """A network that counts how often it is asked."""

    def __init__(self, net: cpu.InBfloat16) -> None:
        self.net, self.no_label, self.calls = net, net.no_label, 0

    def __call__(self, x: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        """The network's own answer."""
        self.calls += 1
        return self.net(x, t, **condition)


def draw(net: Counted, s: Schedule, settings: Settings, seed: int) -> tuple[Tensor, Tensor]:
    """N samples and the labels that were asked for."""
    labels, noise = torch.arange(N) % 10, torch.Generator().manual_seed(seed)
    guided = guidance.of_network(net, s, "eps", labels, settings.get("w", 0.0))  # type: ignore[arg-type]
    denoise: Denoise = thresholding.limited(guided, s, LIMITS[settings.get("clip", "static")])
    x_T = torch.randn(N, 1, 8, 8, generator=noise)
    grid = GRIDS[settings.get("grid", "uniform")](s, settings["steps"])
    images = sampling.sample(denoise, s, x_T.shape, generator=noise, x_T=x_T, grid=grid, **settings["options"])
    return images, labels


def measure(images: Tensor, labels: Tensor, real: Tensor, extractor: metrics.features.Extractor) -> dict[str, float]:
    """The four numbers of one set of samples."""
    seen = data.to_model_range(data.to_uint8(images))
    projections = torch.Generator().manual_seed(0)
    return {
        "frechet": metrics.frechet_distance(extractor.features(seen), extractor.features(real)),
        "sliced": metrics.sliced_wasserstein(seen, real, generator=projections),
        "as asked": (extractor.logits(seen).argmax(1) == labels).double().mean().item(),
        "at the limits": (seen.abs() == 1).double().mean().item(),
    }


def floor(real: Tensor, extractor: metrics.features.Extractor) -> dict[str, float]:
    """The same for real digits: a random thousand of them beside the others."""
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))
    some, others = real[order[:N]], real[order[N:]]
    return {
        "frechet": metrics.frechet_distance(extractor.features(some), extractor.features(others)),
        "sliced": metrics.sliced_wasserstein(some, others, generator=torch.Generator().manual_seed(0)),
        "at the limits": (real.abs() == 1).double().mean().item(),
    }


def main() -> None:
    """Measure all, write the result, print it."""
    torch.set_num_threads(1)
    cpu.keep_memory()
    start = time.perf_counter()
    unet, config = models.load("digits_unet")
    net, s = Counted(cpu.InBfloat16(unet)), schedules.by_name(*config["schedule"].values())
    real, extractor = data.digits().model_range(), metrics.features.load("digits")
    found = []
    for settings in entries():
        net.calls, runs = 0, []
        for seed in SEEDS:
            runs.append(measure(*draw(net, s, settings, seed), real, extractor))
        entry = {**settings, "evaluations": net.calls // len(SEEDS), "runs": runs}
        found.append(entry)
        mean = {key: statistics.mean(run[key] for run in runs) for key in runs[0]}
        shown = ", ".join(f"{key} {value:.4f}" for key, value in mean.items())
        kind = f"{entry.get('grid', 'uniform'):7s} {entry.get('clip', 'static'):7s}"
        what = f"{entry['sweep']:8s} {entry['name']:22s} {kind}"
        print(f"{what} {entry['evaluations']:4d}: {shown}")
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"one core of a {platform.machine()} CPU",
        "torch": torch.__version__,
        "command": "python benchmarks/samplers.py",
        "seconds": round(time.perf_counter() - start),
    }
    result = {"about": about, "samples": N, "seeds": SEEDS, "real": floor(real, extractor), "entries": found}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
