"""One training step of a U-Net on a CPU: ours beside diffusers and denoising-diffusion-pytorch.

Usage: ``python benchmarks/train_step.py [ROUNDS]`` (default 7, about a quarter of an hour on two cores; nothing else
should be running). Prints tables and writes benchmarks/results/train_step.json. denoising-diffusion-pytorch is left
out where requirements/peers.txt is not installed.

Two sizes: DDPM's CIFAR-10 network, and a 28x28 one for a laptop. diffusers has the same architecture, with the same
weights' shapes. denoising-diffusion-pytorch has another (linear attention, another norm, a 7x7 stem), so it is given
the same widths and compared by arithmetic: FLOP/s, not images.

- *as used*: float32 and the optimiser of the project's own training script; ours as tools/make_weights.py trains
  (bfloat16 autocast, cpu.keep_memory).
- *tuned*: bfloat16 autocast, kept memory and a fused Adam for all; and once more in channels_last.

A step draws nothing: forward, mean square, backward, optimiser. Each contestant lives in a process of its own (how
memory is kept belongs to a process). A few at a time, as memory allows, take turns of one step each; ours as used is
always among them, and medians of the same turns are compared. The peak is the best convolution of these turns. FLOPs
are those of the architecture as diffusers computes it: our network gets along with fewer (models/resample.py), which
is part of what is measured.
"""

import importlib.util
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
if not __package__:
    sys.path[0] = str(ROOT)

from benchmarks import peers  # noqa: E402
from ddpm_edu import cpu, models  # noqa: E402
from ddpm_edu.models.diffusers import to_diffusers  # noqa: E402

RESULT = Path(__file__).parent / "results" / "train_step.json"
SIZES: dict[str, dict[str, Any]] = {
    "CIFAR-10": {"config": models.UNetConfig(dropout=0.0), "shape": (16, 3, 32, 32)},
    "laptop": {
        "config": models.UNetConfig(channels=1, width=64, multipliers=(1, 2, 2), dropout=0.0),
        "shape": (128, 1, 28, 28),
    },
}
PEAK_SHAPES = ((32, 128, 32), (32, 256, 16))  # batch, channels, pixels a side


# ---------------------------------------------------------------- the contestants


def ours(config: models.UNetConfig) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]:
    """Our network, and how it is called."""
    net = models.UNet(config)
    return net, net


def hugging_face(config: models.UNetConfig) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]:
    """The same network in diffusers."""
    from diffusers import UNet2DModel

    net = UNet2DModel(**to_diffusers(models.UNet(config))[0])
    return net, lambda x, t: net(x, t).sample


def lucidrains(config: models.UNetConfig) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]:
    """denoising-diffusion-pytorch with the same widths, its defaults otherwise."""
    net = peers.lucidrains().Unet(dim=config.width, dim_mults=config.multipliers, channels=config.channels)
    return net, net


PROJECTS = {"ddpm_edu": ours, "diffusers": hugging_face, "denoising-diffusion-pytorch": lucidrains}
AS_USED: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "ddpm_edu": torch.optim.Adam,
    "diffusers": torch.optim.AdamW,
    "denoising-diffusion-pytorch": torch.optim.Adam,
}
WAYS = ("as used", "tuned", "tuned, channels_last")


def groups(size: str) -> list[list[tuple[str, str, str]]]:
    """(size, project, way) of all that can run here, in groups that fit into memory; ours as used is in each."""
    reference = (size, "ddpm_edu", "as used")
    found = [[(size, "ddpm_edu", "float32, memory as it is"), *((size, "ddpm_edu", way) for way in WAYS)]]
    for project in ("diffusers", "denoising-diffusion-pytorch"):
        if importlib.util.find_spec(project.replace("-", "_")):
            found.append([reference, *((size, project, way) for way in WAYS)])
    return found


def prepare(size: str, project: str, way: str) -> tuple[Callable[[], None], int]:
    """A function that takes one step, and the FLOPs of one step."""
    torch.manual_seed(0)
    quick = way.startswith("tuned") or (project == "ddpm_edu" and way == "as used")
    if quick:
        cpu.keep_memory()
    net, call = PROJECTS[project](SIZES[size]["config"])
    x, t = torch.randn(SIZES[size]["shape"]), torch.randint(1, 1000, SIZES[size]["shape"][:1])
    if "channels_last" in way:
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    make = fused_adam if way.startswith("tuned") else AS_USED[project]
    optimiser = make(net.parameters(), lr=1e-4)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=quick):
            out = call(x, t)
        loss = (out.float() - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # the fused kernel is not counted
        call(x[:1], t[:1]).square().mean().backward()
    return step, counter.get_total_flops() * len(x)


def fused_adam(parameters: Iterator[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Adam in one pass over memory."""
    return torch.optim.Adam(parameters, lr, fused=True)


def prepare_peak(dtype: torch.dtype) -> tuple[Callable[[], float], int]:
    """A function that gives the best rate of a convolution, FLOP/s."""
    cpu.keep_memory()
    cases = []
    for n, c, side in PEAK_SHAPES:
        conv = nn.Conv2d(c, c, 3, padding=1).to(dtype).to(memory_format=torch.channels_last)
        x = torch.randn(n, c, side, side, dtype=dtype).to(memory_format=torch.channels_last)
        cases.append((conv, x, 2 * 9 * n * c * c * side * side))

    def rate() -> float:
        best = 0.0
        for conv, x, flops in cases:
            for _ in range(3):
                start = time.perf_counter()
                with torch.no_grad():
                    conv(x)
                best = max(best, flops / (time.perf_counter() - start))
        return best

    return rate, 0


# ---------------------------------------------------------------- taking turns


def work(arguments: list[str]) -> None:
    """The life of a contestant's process: prepare, then a step for each line on its standard input."""
    if arguments[0] == "peak":
        rate, flops = prepare_peak(getattr(torch, arguments[1]))
        turn: Callable[[], float | None] = rate
    else:
        turn, flops = prepare(*arguments)
        turn()  # the first one sets things up
    print(json.dumps(flops), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        found = turn()
        print(json.dumps(time.perf_counter() - start if found is None else found), flush=True)


@contextmanager
def process(arguments: tuple[str, ...]) -> Iterator[tuple[Callable[[], float], int]]:
    """A contestant: a function that has it take its turn, and the FLOPs of a step."""
    command = [sys.executable, __file__, "--work", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdin is not None and worker.stdout is not None  # noqa: S101 (for the type checker)
        reads, writes = worker.stdout, worker.stdin

        def turn() -> float:
            writes.write("\n")
            writes.flush()
            return float(json.loads(reads.readline()))

        yield turn, int(json.loads(reads.readline()))
        writes.close()


def race(size: str, rounds: int) -> dict[str, Any]:
    """Medians of all contestants of one size, each with the peak, and with ours as used, of the same minutes."""
    rows: list[dict[str, Any]] = []
    for group in groups(size):
        times, flops = take_turns([("peak", "float32"), ("peak", "bfloat16"), *group], rounds)
        median = {name: statistics.median(found) for name, found in times.items()}
        for name in group:
            if name[1:] == ("ddpm_edu", "as used"):
                continue  # in each group, as the measure of the others
            rows.append(
                {
                    "project": name[1],
                    "way": name[2],
                    "seconds": median[name],
                    "all": times[name],
                    "flops": flops[name],
                    "ours as used, seconds": median[size, "ddpm_edu", "as used"],
                    "peak": median["peak", "bfloat16"],
                    "peak, float32": median["peak", "float32"],
                }
            )
    _add_rates(rows)
    return {"shape": SIZES[size]["shape"], "rows": rows}


def take_turns(names: list[tuple[str, ...]], rounds: int) -> tuple[dict[Any, list[float]], dict[Any, int]]:
    """All times (rates, for the peaks) of a group, one step each in turn, and the FLOPs of a step."""
    with ExitStack() as stack:
        turns = {name: stack.enter_context(process(name)) for name in names}
        times: dict[Any, list[float]] = {name: [] for name in names}
        for number in range(rounds):
            for name, (turn, _) in turns.items():
                times[name].append(turn())
            print(f"{names[-1]}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        return times, {name: count for name, (_, count) in turns.items()}


def _add_rates(rows: list[dict[str, Any]]) -> None:
    """FLOP/s by what the architecture takes in diffusers, the share of the peak, and how many times ours is as fast."""
    taken = {row["project"]: row["flops"] for row in rows}
    taken["ddpm_edu"] = taken.get("diffusers", taken["ddpm_edu"])
    for row in rows:
        row["flops of the architecture"] = taken[row["project"]]
        row["rate"] = taken[row["project"]] / row["seconds"]
        row["share of peak"] = row["rate"] / row["peak"]
        row["ours is faster"] = taken["ddpm_edu"] / row["ours as used, seconds"] / row["rate"]


def table(size: str, result: dict[str, Any]) -> str:
    """A table for people; *ours is faster*: how many times the row's FLOP/s ours reaches as used, in the same turns."""
    n, rows = result["shape"][0], result["rows"]
    peaks = [statistics.median(row[kind] for row in rows) / 1e9 for kind in ("peak", "peak, float32")]
    lines = [f"{size}, batch {n}; the best convolution: {peaks[0]:.0f} (bfloat16), {peaks[1]:.0f} (float32) GFLOP/s"]
    ours_now = statistics.median(row["ours as used, seconds"] for row in rows)
    rate = rows[0]["flops of the architecture"] / ours_now
    lines.append(
        f"ddpm_edu as used: {ours_now:.3f} s/step, {n / ours_now:.1f} img/s, {rate / 1e9:.0f} GFLOP/s, "
        f"{rate / peaks[0] / 1e9:.0%} of the bfloat16 peak"
    )
    lines.append(f"{'':54}{'s/step':>8}{'img/s':>8}{'GFLOP/s':>9}{'of bf16 peak':>14}{'ours is faster':>16}")
    for row in rows:
        lines.append(
            f"{row['project']:29}{row['way']:25}{row['seconds']:8.3f}{n / row['seconds']:8.1f}{row['rate'] / 1e9:9.0f}"
            f"{row['share of peak']:14.0%}{row['ours is faster']:15.2f}x"
        )
    return "\n".join(lines)


def main(rounds: int) -> None:
    """Race at both sizes, print, write."""
    start = time.perf_counter()
    results = {}
    for size in SIZES:
        results[size] = race(size, rounds)
        print(table(size, results[size]), end="\n\n", flush=True)
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{torch.get_num_threads()}-core {platform.machine()} CPU with bfloat16 instructions",
        "torch": torch.__version__,
        "command": "python benchmarks/train_step.py",
        "rounds": rounds,
        "seconds": round(time.perf_counter() - start),
    }
    RESULT.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2:])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
