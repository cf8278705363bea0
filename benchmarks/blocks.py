"""What each part of a U-Net is worth: seven networks trained alike on the digits, three seeds each.

Usage: ``python benchmarks/blocks.py`` (about a quarter of an hour on one core). Writes benchmarks/results/blocks.json,
which lesson 04 shows, and prints it as a table.

All are trained on the same 1,500 digits, for as many steps, with the same batches, times and noise for a seed.
Measured: the loss on the 297 others, by quarter of t, with one draw of times and noise for all (each digit at 16
times); and samples, to look at. The networks have about as many parameters each, except where a part is missing.
"""

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ddpm_edu import cpu, data, forward, losses, models, parameterization, sampling, schedules, training
from ddpm_edu.models.embeddings import Condition
from ddpm_edu.models.initial import silent, spread
from ddpm_edu.models.resblock import ResBlock
from ddpm_edu.models.unet import UNet, at_once, left_behind

RESULT = Path(__file__).parent / "results" / "blocks.json"
SEEDS = (0, 1, 2)
STEPS, BATCH, RATE = 800, 64, 1e-3
TRAINING, REPEATS, SAMPLES = 1500, 16, 10
CONFIG = replace(models.DIGITS, classes=None)


class Plain(nn.Module):
    """Residual blocks at the full size, one after the other: a U-Net without the U."""

    def __init__(self, width: int = 60, depth: int = 8) -> None:
        super().__init__()
        self.told = Condition(width, "ddpm", None)
        self.stem = spread(nn.Conv2d(1, width, 3, padding=1))
        norm = (CONFIG.groups - 2, CONFIG.eps)  # 6 groups divide 60 channels
        self.blocks = nn.ModuleList(
            ResBlock(width, width, 4 * width, "add", *norm, CONFIG.dropout) for _ in range(depth)
        )
        self.norm = nn.GroupNorm(norm[0], width, norm[1])
        self.head = silent(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """(N, 1, H, W) -> the same shape."""
        told, h = self.told(t, None), self.stem(x_t)
        for block in self.blocks:
            h = block(h, told)
        out: Tensor = self.head(F.silu(self.norm(h)))
        return out


class NotTold(nn.Module):
    """A network that hears the same time whatever it is."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """(N, 1, H, W) -> the same shape."""
        out: Tensor = self.net(x_t, torch.full_like(t, 500))
        return out


def without_skips(net: UNet) -> UNet:
    """``net`` with zeros in the place of what the way down leaves for the way up; the stem's too."""
    left = left_behind(net.config)
    width = {id(block): left.pop() for level in net.up for block in level.blocks}

    def run(block: nn.Module, h: Tensor, *rest: Any) -> Tensor:
        if id(block) in width:
            kept = h[:, : -width[id(block)]]
            h = torch.cat([kept, torch.zeros_like(h[:, -width[id(block)] :])], 1)
        return at_once(block, h, *rest)

    net.run = run
    return net


def without_attention() -> UNet:
    """A U-Net without any attention: the middle's does nothing either."""
    net = UNet(replace(CONFIG, attention=()))
    net.middle[0].attend = None
    return net


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "MLP on pixels": partial(models.MLP, 64, width=300, depth=3),
    "convolutions, one size": Plain,
    "U-Net without skips": lambda: without_skips(UNet(CONFIG)),
    "U-Net not told t": lambda: NotTold(UNet(CONFIG)),
    "U-Net without attention": without_attention,
    "U-Net": lambda: UNet(CONFIG),
    "U-Net with AdaGN": lambda: UNet(replace(CONFIG, told="scale_shift")),
}


def run(make: Callable[[], nn.Module], seed: int, images: Tensor) -> dict[str, Any]:
    """One training; the loss on held-out digits by quarter of t, and samples (uint8)."""
    torch.manual_seed(seed)
    net, s = cpu.InBfloat16(make()), schedules.linear(1000)
    start = time.perf_counter()
    training.fit(net, s, images[:TRAINING], steps=STEPS, batch_size=BATCH, lr=RATE, seed=seed)
    seconds = time.perf_counter() - start
    held_out, draw = images[TRAINING:].repeat(REPEATS, 1, 1, 1), training.generator(100)
    t = forward.random_t(s, len(held_out), draw)
    noise = torch.randn(held_out.shape, generator=draw)
    with torch.no_grad():
        loss = losses.simple(net, s, held_out, t, noise)
    denoise = parameterization.denoiser(net, s, "eps", parameterization.static_clip)
    drawn = sampling.sample(denoise, s, (SAMPLES, 1, 8, 8), "ddim", 50, generator=training.generator(seed))
    return {
        "loss": loss.mean().item(),
        "by_quarter": losses.by_quartile(s, t, loss).tolist(),
        "seconds": round(seconds, 1),
        "samples": data.to_uint8(drawn).flatten(1).tolist() if seed == SEEDS[0] else [],
    }


def size(make: Callable[[], nn.Module]) -> dict[str, int]:
    """Parameters, and FLOPs of a forward pass of one image."""
    net = make()
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 1, 8, 8), torch.ones(1, dtype=torch.int64))
    return {"parameters": sum(p.numel() for p in net.parameters()), "flops": counter.get_total_flops()}


def main() -> None:
    """Train, print, write."""
    torch.set_num_threads(1)  # the networks are small, and sums come out the same wherever it runs
    cpu.keep_memory()
    images, start, results = data.digits().model_range(), time.perf_counter(), {}
    for name, make in NETWORKS.items():
        runs = [run(make, seed, images) for seed in SEEDS]
        results[name] = {**size(make), "runs": runs}
        mean, spread_of = statistics.mean(r["loss"] for r in runs), statistics.stdev(r["loss"] for r in runs)
        quarters = [statistics.mean(r["by_quarter"][q] for r in runs) for q in range(4)]
        shown = " ".join(f"{quarter:.4f}" for quarter in quarters)
        print(
            f"{name:26}{results[name]['parameters']:>9,} loss {mean:.4f} ± {spread_of:.4f}, by quarter {shown}",
            flush=True,
        )
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"one core of a {platform.machine()} CPU",
        "torch": torch.__version__,
        "command": "python benchmarks/blocks.py",
        "seconds": round(time.perf_counter() - start),
    }
    settings = {"steps": STEPS, "batch": BATCH, "rate": RATE, "seeds": SEEDS, "trained on": TRAINING}
    RESULT.write_text(json.dumps({"about": about, "settings": settings, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
