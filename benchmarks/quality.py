"""How good are samples after a few CPU minutes on Fashion-MNIST? Ours beside diffusers and denoising-diffusion-pytorch.

Usage: ``python benchmarks/quality.py [NAME ..]`` runs the contestants one after the other (two hours on one core;
with names, in two shells at once, half of that), and writes benchmarks/results/quality.json and the picture
docs/images/quality.png when all are there. The peers need requirements/peers.txt.

The budgets are 10 and 30 CPU minutes, what two cores do in 5 and 15 minutes. Each contestant is one process with one
thread, and its own CPU time is counted: what else the machine does then matters little, and how well a library spreads
small sums over two cores does not matter at all. Reading the data and drawing the samples are not counted.

- ours: the preset fashion-cpu, its number of steps fitted to the budget (a rate that falls to zero has to know the end;
  finding it out is part of the budget); 1,000 samples, DPM-Solver++(2M), 20 steps, a hundred of each class.
- diffusers: a UNet2DModel of like size with its DDPMScheduler, AdamW, EMA; sampled with its DDIMScheduler, 25 steps.
- denoising-diffusion-pytorch: as its README shows (dim 32, mults 1, 2, 2, 28 x 28) with the Trainer's optimiser and
  EMA; its DDIM, 25 steps.

The peers learn at a constant rate of 1e-3, so that one run gives both budgets (the ones that they document, 1e-4 and
8e-5, are meant for a thousand times as many steps). They have no labels; the classes are a part of what is compared.
Frechet distances of 1,000 samples, rounded to 8 bits, to the 10,000 test images, in the two feature spaces that the
package carries for these images; beside them what 1,000 training images get, and noise.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
if not __package__:
    sys.path[0] = str(ROOT)

from benchmarks import peers  # noqa: E402
from ddpm_edu import cpu, data, metrics, models, parameterization, plots, sampling, schedules, training  # noqa: E402
from ddpm_edu.training import presets  # noqa: E402
from ddpm_edu.training.config import TrainConfig  # noqa: E402

RESULT, PICTURE = ROOT / "benchmarks" / "results" / "quality.json", ROOT / "docs" / "images" / "quality.png"
PARTS = ROOT / "build" / "quality"  # a JSON and a file of samples for each contestant
BUDGETS = (600, 1800)  # CPU seconds
N, BATCH = 1000, 64
PEER_LR, PEER_STEPS = 1e-3, 25
SPACES = ("fashion", "fashion_turned")
Found = dict[str, Any]
Contestant = tuple[Any, Callable[[Tensor], Tensor], torch.optim.Optimizer, Any]  # network, loss, optimiser, its average


# ---------------------------------------------------------------- ours


def ours(name: str) -> None:
    """One run for each budget."""
    result: Found = {"entries": []}
    for budget in BUDGETS:
        start = time.process_time()
        config = fitted(presets.FASHION_CPU, budget)
        folder = PARTS / f"{name}-{budget}"
        training.train(config, folder, progress=False)
        used = round(time.process_time() - start)
        images, count = draw(folder / "weights.safetensors")
        entry = {"budget": budget, "used": used, "steps": config.steps, "parameters": count}
        keep(name, result, entry | {"images": config.steps * config.batch}, images)


def fitted(config: TrainConfig, budget: float, tried: int = 40) -> TrainConfig:
    """``config`` with as many steps as fit into ``budget`` CPU seconds, after a few that are timed."""
    times: list[float] = []
    short = replace(config, steps=tried, ema=config.ema[:1], save_every=10**9)
    with tempfile.TemporaryDirectory() as folder:
        training.train(short, folder, progress=False, watch=lambda _: times.append(time.process_time()))
    a_step = statistics.median(after - before for before, after in itertools.pairwise(times))
    return replace(config, steps=int(0.97 * budget / a_step), save_every=10**9)


def draw(weights: Path, n: int = N, steps: int = 20) -> tuple[Tensor, int]:
    """``n`` samples of a training of ours, uint8, and how many parameters its network has."""
    net, about = models.load(weights)
    s, labels = schedules.by_name(*about["schedule"].values()), torch.arange(n) % 10
    denoise = parameterization.denoiser(
        cpu.InBfloat16(net), s, about["predicts"], parameterization.static_clip, labels=labels
    )
    x = sampling.sample(denoise, s, (n, 1, 28, 28), "dpmpp_2m", steps, generator=torch.Generator().manual_seed(0))
    return data.to_uint8(x), sum(p.numel() for p in net.parameters())


# ---------------------------------------------------------------- the peers


def hugging_face(lr: float) -> Contestant:
    """Network, loss of images in [-1, 1], optimiser, and what makes an average of the network."""
    from diffusers import DDPMScheduler, UNet2DModel
    from diffusers.training_utils import EMAModel

    attended = ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D")
    net: Any = UNet2DModel(
        sample_size=28,
        in_channels=1,
        out_channels=1,
        block_out_channels=(32, 64, 64),
        down_block_types=attended,
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )
    noise_scheduler: Any = DDPMScheduler(num_train_timesteps=1000)
    ema = EMAModel(net.parameters(), decay=0.995)

    def loss(x0: Tensor) -> Tensor:
        noise, t = torch.randn_like(x0), torch.randint(0, 1000, (len(x0),))
        return nn.functional.mse_loss(net(noise_scheduler.add_noise(x0, noise, t), t).sample, noise)

    return net, loss, torch.optim.AdamW(net.parameters(), lr), ema


def draw_hugging_face(net: nn.Module, ema: Any) -> Iterator[Tensor]:
    """Images in [-1, 1] from the averaged network, a batch at a time."""
    from diffusers import DDIMScheduler

    ema.store(net.parameters())
    ema.copy_to(net.parameters())
    net.eval()
    scheduler: Any = DDIMScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(PEER_STEPS)
    for _ in range(0, N, 100):
        x = torch.randn(100, 1, 28, 28)
        for t in scheduler.timesteps:
            x = scheduler.step(net(x, t).sample, t, x).prev_sample
        yield x
    net.train()
    ema.restore(net.parameters())


def lucidrains(lr: float) -> Contestant:
    """The same, with the library's own diffusion object in place of the network."""
    library = peers.lucidrains()
    from ema_pytorch import EMA

    net = library.GaussianDiffusion(
        library.Unet(dim=32, dim_mults=(1, 2, 2), channels=1),
        image_size=28,
        timesteps=1000,
        sampling_timesteps=PEER_STEPS,
    )
    ema = EMA(net, beta=0.995, update_every=10)
    optimiser = torch.optim.Adam(net.parameters(), lr, betas=(0.9, 0.99))
    return net, lambda x0: net((x0 + 1) / 2), optimiser, ema


def draw_lucidrains(net: nn.Module, ema: Any) -> Iterator[Tensor]:
    """Images in [-1, 1] from the averaged network, a batch at a time."""
    for _ in range(0, N, 100):
        yield ema.ema_model.sample(batch_size=100) * 2 - 1


def peer(name: str) -> None:
    """One run at a constant rate, looked at when each budget is spent."""
    make, sample, average = {
        "diffusers": (hugging_face, draw_hugging_face, lambda net, ema: ema.step(net.parameters())),
        "denoising-diffusion-pytorch": (lucidrains, draw_lucidrains, lambda net, ema: ema.update()),
    }[name]
    torch.manual_seed(0)
    net, loss, optimiser, ema = make(PEER_LR)
    images = data.fashion_mnist("train").images
    count = sum(p.numel() for p in net.parameters())
    result: Found = {"entries": [], "version": version(name)}
    used, steps = 0.0, 0
    for budget in BUDGETS:
        while used < budget:
            start = time.process_time()
            x0 = data.to_model_range(images[torch.randint(len(images), (BATCH,))])
            optimiser.zero_grad()
            loss(x0).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            average(net, ema)
            steps += 1
            used += time.process_time() - start
        with torch.no_grad():
            drawn = data.to_uint8(torch.cat(list(sample(net, ema))))
        entry = {"budget": budget, "used": round(used), "steps": steps, "parameters": count}
        keep(name, result, entry | {"images": steps * BATCH}, drawn)


CONTESTANTS: dict[str, Callable[[str], None]] = {
    "ddpm_edu": ours,
    "diffusers": peer,
    "denoising-diffusion-pytorch": peer,
}


# ---------------------------------------------------------------- measuring


def distances(images: Tensor) -> dict[str, float]:
    """Frechet distance of images uint8 (N, 1, 28, 28) to the test set, in each feature space."""
    test, found = data.fashion_mnist("test").model_range(), {}
    for space in SPACES:
        extractor = metrics.features.load(space)
        seen = extractor.features(data.to_model_range(images))
        found[space] = round(metrics.frechet_distance(seen, extractor.features(test)), 3)
    return found


def keep(name: str, result: Found, entry: Found, images: Tensor) -> None:
    """After a budget: measure what was drawn, and keep all that there is by now."""
    entry["frechet"] = distances(images)
    entry["images per CPU second"] = round(entry["images"] / entry["used"], 1)
    print(name, entry, flush=True)
    result["entries"].append(entry)
    torch.save(images[:10], PARTS / f"{name}-{entry['budget']}.pt")
    (PARTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def merge() -> None:
    """Put the parts together, with what real images and noise get, and the picture."""
    begun = time.perf_counter()
    parts = {name: json.loads((PARTS / f"{name}.json").read_text()) for name in CONTESTANTS}
    train = data.fashion_mnist("train")
    real = train.subset(torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:N]).images
    noise = torch.randint(0, 256, real.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    bounds = {"real": distances(real), "noise": distances(noise)}
    about = peers.about("quality.py", begun)
    about["seconds"] = sum(entry["used"] for part in parts.values() for entry in part["entries"])  # but for sampling
    about |= {name: part["version"] for name, part in parts.items() if "version" in part}
    result = {"about": about, "samples": N, **bounds, "contestants": parts}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    rows, titles = [data.to_model_range(real[:10])], ["real"]
    for name in CONTESTANTS:
        for budget in (entry["budget"] for entry in parts[name]["entries"]):
            rows.append(data.to_model_range(torch.load(PARTS / f"{name}-{budget}.pt", weights_only=True)))
            titles.append(f"{name}, {budget // 60} CPU minutes")
    print("rows of the picture, from above:", *titles, sep="\n  ")
    PICTURE.write_bytes(plots.images(torch.cat(rows), columns=10, size=0.7).png())


def main(names: list[str]) -> None:
    """Run those named, each in a process of its own; merge when all are there."""
    PARTS.mkdir(parents=True, exist_ok=True)
    for name in names:
        command = [sys.executable, __file__, "--one", name]
        subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    if all((PARTS / f"{name}.json").exists() for name in CONTESTANTS):
        merge()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        torch.set_num_threads(1)
        CONTESTANTS[sys.argv[2]](sys.argv[2])
    else:
        main(sys.argv[1:] or list(CONTESTANTS))
