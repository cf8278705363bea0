"""What one sampling step costs beside the network, and with it: ours, diffusers' and denoising-diffusion-pytorch's.

Usage: ``python benchmarks/sampling_step.py [ROUNDS]`` (default 15, about three minutes on two cores). Prints a table
and writes benchmarks/results/sampling_step.json. denoising-diffusion-pytorch is left out where requirements/peers.txt
is not installed.

- *overhead*: the network is a function that returns zeros made beforehand, so what is left is the sampler: arithmetic
  on x, and Python. One digit of 8x8 pixels (Python, mostly), and a batch of 16 colour images of 32x32 pixels.
- *with a network*: the laptop U-Net of train_step.py, in float32 and in bfloat16 autocast, with the same weights here
  and in diffusers' UNet2DModel, each called by its own project's sampler. denoising-diffusion-pytorch has no network
  like it.

Each walk takes its first steps of a list of 50 and is timed as a whole; the time of a step is a share of it. All take
turns in one process, walk by walk, and a ratio is one of medians over the same turns, so that a busy machine slows
both sides of it. Nothing is clipped, except by denoising-diffusion-pytorch, which always clips; it knows no DDPM with
fewer than T steps, so its p_sample takes the first ones of 1000.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
if not __package__:
    sys.path[0] = str(ROOT)

from benchmarks import peers  # noqa: E402
from benchmarks.train_step import SIZES  # noqa: E402
from ddpm_edu import models, parameterization, schedules  # noqa: E402
from ddpm_edu.models.diffusers import to_diffusers  # noqa: E402
from ddpm_edu.sampling import grids, loop, methods  # noqa: E402

RESULT = Path(__file__).parent / "results" / "sampling_step.json"
T, LIST = 1000, 50
SHAPES = {"one digit, 8x8": (1, 1, 8, 8), "16 colour images, 32x32": (16, 3, 32, 32)}
BATCH = 4  # for the network: small, so that a sampler's own share is not lost in it
SAMPLERS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {  # ours; diffusers' class and its options
    "DDPM, posterior": ({"name": "ddpm", "variance": "posterior"}, "DDPMScheduler", {"clip_sample": False}),
    "DDIM": ({"name": "ddim"}, "DDIMScheduler", {"clip_sample": False}),
    "DPM-Solver++(2M)": ({"name": "dpmpp_2m"}, "DPMSolverMultistepScheduler", {}),
}
Call = Callable[[Tensor, Tensor], Tensor]
Walk = Callable[[], None]


# ---------------------------------------------------------------- the contestants


def ours(call: Call, shape: tuple[int, ...], steps: int, name: str, **options: Any) -> Walk:
    """The first ``steps`` steps of :func:`ddpm_edu.sampling.sample`: its loop, over the start of its list."""
    s = schedules.linear(T)
    denoise = parameterization.denoiser(call, s, "eps")
    take = methods.choose(name, s, denoise, methods.Options(**options))
    pairs, x_T, generator = grids.uniform(T, LIST)[:steps], start(shape), torch.Generator()

    def walk() -> None:
        with torch.no_grad():
            loop.walk(denoise, s, x_T, pairs, take, generator)

    return walk


def hugging_face(call: Call, shape: tuple[int, ...], steps: int, kind: str, **options: Any) -> Walk:
    """The loop of diffusers' pipelines around ``scheduler.step``."""
    import diffusers

    scheduler = getattr(diffusers, kind)(num_train_timesteps=T, timestep_spacing="trailing", **options)
    x_T, generator = start(shape), torch.Generator()
    given = {"generator": generator} if kind == "DDPMScheduler" else {}

    def walk() -> None:
        scheduler.set_timesteps(LIST)
        x = x_T
        with torch.no_grad():
            for t in scheduler.timesteps[:steps]:
                x = scheduler.step(call(scheduler.scale_model_input(x, t), t), t, x, **given).prev_sample

    return walk


def lucidrains(call: Call, shape: tuple[int, ...], steps: int) -> Walk:
    """denoising-diffusion-pytorch's ``p_sample``."""

    class Network(nn.Module):
        channels = out_dim = shape[1]
        self_condition = False

        def forward(self, x: Tensor, t: Tensor, _: None = None) -> Tensor:
            return call(x, t)

    diffusion = peers.lucidrains().GaussianDiffusion(
        Network(), image_size=shape[-1], timesteps=T, objective="pred_noise", beta_schedule="linear"
    )
    x_T = start(shape)

    def walk() -> None:
        x = x_T
        for t in reversed(range(T - steps, T)):
            x, _ = diffusion.p_sample(x, t)

    return walk


def start(shape: tuple[int, ...]) -> Tensor:
    """x_T, the same for all."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


# ---------------------------------------------------------------- what is raced


def without_network(shape: tuple[int, ...], sampler: str, steps: int = LIST) -> dict[str, Walk]:
    """One sampler's walks where the network costs nothing."""
    zeros, (own, kind, options) = torch.zeros(shape), SAMPLERS[sampler]

    def nothing(x: Tensor, t: Tensor) -> Tensor:
        return zeros

    walks = {
        "ddpm_edu": ours(nothing, shape, steps, **own),
        "diffusers": hugging_face(nothing, shape, steps, kind, **options),
    }
    if sampler.startswith("DDPM") and peers.installed("denoising-diffusion-pytorch"):
        walks["denoising-diffusion-pytorch"] = lucidrains(nothing, shape, steps)
    return walks


def with_network(precision: torch.dtype, sampler: str, steps: int) -> dict[str, Walk]:
    """The same with the laptop U-Net here, and the same weights in diffusers."""
    own_net, their_net = networks()
    shape, (own, kind, options) = (BATCH, *SIZES["laptop"]["shape"][1:]), SAMPLERS[sampler]
    autocast = partial(torch.autocast, "cpu", torch.bfloat16, enabled=precision == torch.bfloat16)

    def call_ours(x: Tensor, t: Tensor) -> Tensor:
        with autocast():
            out: Tensor = own_net(x, t)
        return out.float()

    def call_theirs(x: Tensor, t: Tensor) -> Tensor:
        with autocast():
            out: Tensor = their_net(x, t).sample
        return out.float()

    return {
        "ddpm_edu": ours(call_ours, shape, steps, **own),
        "diffusers": hugging_face(call_theirs, shape, steps, kind, **options),
    }


def networks() -> tuple[nn.Module, nn.Module]:
    """The laptop U-Net, and diffusers' with its weights; both in eval mode."""
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    own = models.UNet(SIZES["laptop"]["config"]).eval()
    with torch.no_grad():
        own.head.weight.normal_(std=0.02)  # a new network's last layer is zero
    config, state = to_diffusers(own)
    theirs = UNet2DModel(**config).eval()
    theirs.load_state_dict(state)
    return own, theirs


# ---------------------------------------------------------------- taking turns


def race(walks: dict[str, Walk], steps: int, rounds: int) -> dict[str, list[float]]:
    """Seconds a step of each walk, one walk each in turn; the first round sets things up and is not counted."""
    times: dict[str, list[float]] = {name: [] for name in walks}
    for number in range(rounds + 1):
        for name, walk in walks.items():
            begun = time.perf_counter()
            walk()
            if number:
                times[name].append((time.perf_counter() - begun) / steps)
    return times


def entry(what: str, sampler: str, times: dict[str, list[float]]) -> dict[str, Any]:
    """Medians in milliseconds, and how many times ours each takes, by medians of the same turns."""
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {
        "what": what,
        "sampler": sampler,
        "milliseconds": {name: 1000 * median for name, median in medians.items()},
        "times ours": {name: median / medians["ddpm_edu"] for name, median in medians.items()},
        "all": times,
    }


def line(found: dict[str, Any]) -> str:
    """One line for people."""
    each = (
        f"{name} {ms:.3f} ms ({found['times ours'][name]:.2f} times ours)" for name, ms in found["milliseconds"].items()
    )
    return f"{found['what']:42}{found['sampler']:18}" + ", ".join(each)


def main(rounds: int) -> None:
    """Race, print, write."""
    begun, entries = time.perf_counter(), []
    for what, shape in SHAPES.items():
        for sampler in SAMPLERS:
            entries.append(entry(f"overhead, {what}", sampler, race(without_network(shape, sampler), LIST, rounds)))
            print(line(entries[-1]), flush=True)
    for precision in (torch.float32, torch.bfloat16):
        for sampler in SAMPLERS:
            what = f"laptop U-Net, batch {BATCH}, {str(precision).removeprefix('torch.')}"
            entries.append(entry(what, sampler, race(with_network(precision, sampler, 4), 4, rounds)))
            print(line(entries[-1]), flush=True)
    about = peers.about("sampling_step.py", begun, threads=torch.get_num_threads(), rounds=rounds)
    RESULT.write_text(json.dumps({"about": about, "entries": entries}, indent=1) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
