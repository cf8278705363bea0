"""One training step of DDPM's CIFAR-10 network on a GPU: what each technique changes, and how good the plan was.

Usage: ``python benchmarks/gpu_step.py [SECONDS]`` (default 5 for each way), on a machine with a CUDA GPU and nothing
else running; five minutes, most of them torch.compile's. Prints a table and writes benchmarks/results/gpu_step.json.
diffusers, where it is installed, takes part with the same architecture and the step of its own training script.

A step is that of training.loop, with everything that it does: draws, gradient clipping, the look at whether all is
finite, one average of the weights; without the log and checkpoints. *bare* is forward, backward and Adam alone, so
the difference is what the rest costs. Images are random bytes: what is in them changes nothing of the time.
Memory is what torch's allocator had given out at the fullest moment of a step. Utilisation: FLOP/s over the
published dense peak of the precision (planner.GPUS), the FLOPs as our network computes it.
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
if not __package__:
    sys.path[0] = str(ROOT)

from benchmarks import peers  # noqa: E402
from ddpm_edu import models  # noqa: E402
from ddpm_edu.data import ImageSet  # noqa: E402
from ddpm_edu.models.diffusers import to_diffusers  # noqa: E402
from ddpm_edu.training import TrainConfig, loop, planner, presets  # noqa: E402
from ddpm_edu.training.distributed import together  # noqa: E402
from ddpm_edu.training.state import start  # noqa: E402

RESULT = Path(__file__).parent / "results" / "gpu_step.json"
WARM_UP = 12  # steps
WAYS: dict[str, dict[str, Any]] = {
    "float32": {"precision": "fp32"},
    "TF32 in convolutions": {"precision": "fp32"},
    "bfloat16": {},
    "bfloat16, channels_last": {},
    "bfloat16, compiled": {"compile": True},
    "bfloat16, compiled, CUDA graphs": {},
    "bfloat16, deterministic": {"deterministic": True},
    "bfloat16, checkpointing": {"checkpointing": True},
    "bfloat16, four parts": {"accumulate": 4},
    "bfloat16, batch 512": {"batch": 512},
    "bfloat16, batch 512, channels_last": {"batch": 512},
    "bfloat16, batch 512, compiled": {"batch": 512, "compile": True},
}
"""In the order of the table: settings that differ from the preset cifar10 (batch 128)."""


def measured(name: str, config: TrainConfig, seconds: float) -> dict[str, Any]:
    """One way: images a second, memory, and what the planner says of it for this GPU, if it knows it."""
    with _surroundings(name), tempfile.TemporaryDirectory() as out, together("cuda") as team:
        run = start(config, Path(out), team, images=stand_in())
        if "channels_last" in name:
            run.net.to(memory_format=torch.channels_last)
        if "CUDA graphs" in name:
            run.net.compile(mode="reduce-overhead")
        pixels = run.images.images.to(team.device)

        def step() -> None:
            run.step += loop.one_step(run, pixels)

        found = timed(step, config.batch, seconds)
    plan = {} if name == "float32" else planned(config, found["images_per_second"])  # which means TF32, if there is
    return {"way": name, **found, **plan}


def bare(project: str, seconds: float) -> dict[str, Any]:
    """Forward, backward and Adam in bfloat16, of ours or of diffusers' network, and nothing else."""
    config = presets.CIFAR10
    net: nn.Module = models.UNet(config.net)
    if project == "diffusers":
        from diffusers import UNet2DModel

        net = UNet2DModel(**to_diffusers(net)[0])
    net.train().cuda()
    optimiser = torch.optim.Adam(net.parameters(), config.lr, fused=True)
    x, t = torch.randn(config.batch, 3, 32, 32, device="cuda"), torch.randint(1, 1000, (config.batch,), device="cuda")

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            out = net(x, t)
        predicted: Tensor = getattr(out, "sample", out)
        (predicted.float() - x).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return {"way": f"bare step, {project}", **timed(step, config.batch, seconds)}


def timed(step: Callable[[], None], batch: int, seconds: float) -> dict[str, Any]:
    """Images a second over ``seconds``, and the allocator's peak in MB; the first steps (and a compiler) apart."""
    begun = time.perf_counter()
    for _ in range(WARM_UP):
        step()
    torch.cuda.synchronize()
    warm, steps = time.perf_counter() - begun, 0
    torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for _ in range(10):
            step()
        torch.cuda.synchronize()
        steps += 10
    took = time.perf_counter() - begun
    return {
        "images_per_second": round(steps * batch / took),
        "ms_per_step": round(1e3 * took / steps, 2),
        "MB": round(torch.cuda.max_memory_allocated() / 1e6),
        "first_steps_s": round(warm, 1),
    }


def planned(config: TrainConfig, rate: float) -> dict[str, Any]:
    """The planner's estimate for this GPU, and the utilisation that ``rate`` is; empty for a GPU it does not know."""
    own = torch.cuda.get_device_name().replace("H200", "H100")  # the same chip, with more and faster memory
    known = [gpu for gpu in planner.GPUS if gpu.name.split()[0].lower() in own.lower()]
    if not known:
        return {}
    plan = planner.plan(config, known[0])
    return {
        "planned_images_per_second": round(plan.images_per_second),
        "planned_MB": round(plan.cost.memory.total / 1e6),
        "limit": plan.limit,
        "utilisation": round(rate * plan.cost.flops_per_image / (plan.peak or torch.inf), 3),
    }


@lru_cache
def stand_in() -> ImageSet:
    """As many images as CIFAR-10 has for training, of random bytes."""
    g = torch.Generator().manual_seed(0)
    return ImageSet("random bytes", torch.randint(256, (50_000, 3, 32, 32), generator=g, dtype=torch.uint8))


@contextlib.contextmanager
def _surroundings(name: str) -> Iterator[None]:
    """What the way asks of torch as a whole."""
    tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = name != "float32"
    torch.use_deterministic_algorithms("deterministic" in name)
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
        torch.use_deterministic_algorithms(False)


def everything(seconds: float) -> Iterator[dict[str, Any]]:
    """All rows, one after the other."""
    for name, settings in WAYS.items():
        yield measured(name, presets.CIFAR10.changed(settings), seconds)
        torch.compiler.reset()  # or the second batch size would be compiled for any size
        torch.cuda.empty_cache()
    for project in ("ddpm_edu", *(("diffusers",) if peers.installed("diffusers") else ())):
        yield bare(project, seconds)
        torch.cuda.empty_cache()


def main(seconds: float) -> None:
    """Writes what was found after each row: a machine that is rented by the minute may go away."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # the deterministic way needs it, from the start
    begun, rows = time.perf_counter(), []
    for row in everything(seconds):
        rows.append(row)
        print(*(f"{key} {value}" for key, value in row.items()), sep=", ", flush=True)
        machine = f"{torch.cuda.get_device_name()} and {os.cpu_count()} CPU cores"
        found = {"about": peers.about("gpu_step.py", begun, machine=machine, seconds_a_way=seconds), "rows": rows}
        RESULT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    if not torch.cuda.is_available():
        print("there is no CUDA GPU: left out")
        sys.exit()
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0)
