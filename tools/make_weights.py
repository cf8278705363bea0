"""Train the small networks that the package carries, and write each with its configuration and a log.

Usage: ``python tools/make_weights.py NAME [FOLDER]`` (default folder: ddpm_edu/models/weights). On one core digits_mlp
takes about four minutes, digits_unet a quarter of an hour, fashion_unet three quarters of an hour.

Writes NAME.safetensors and NAME.json, a log of the training. Where a folder is named, also NAME.png, a sheet of samples
to look at. The same machine and torch give the same weights, bit by bit.
"""

import json
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ddpm_edu import cpu, data, models, parameterization, plots, sampling, schedules, training
from ddpm_edu.schedules import Schedule

FOLDER = Path(__file__).parents[1] / "ddpm_edu" / "models" / "weights"
LOGGED = 100  # steps that an entry of the log averages over


class Recipe(NamedTuple):
    """One network: how to make it, on which images and labels, and how to train it."""

    network: str
    arguments: dict[str, Any]
    images: str
    make_data: Callable[[], tuple[Tensor, Tensor | None]]
    training: dict[str, Any]
    dtype: torch.dtype = torch.float32  # of the numbers in the file


def labelled(found: data.ImageSet) -> tuple[Tensor, Tensor | None]:
    """Images in [-1, 1], and their labels."""
    return found.model_range(), found.labels


RECIPES = {
    "digits_mlp": Recipe(
        "MLP",
        {"dim": 64, "width": 240, "depth": 3},
        "digits, all 1797, in [-1, 1]",
        lambda: (data.digits().model_range(), None),
        {"steps": 16_000, "batch_size": 256, "lr": 2e-3, "seed": 0},
    ),
    "digits_unet": Recipe(
        "UNet",
        models.DIGITS.to_dict(),
        "digits, all 1797, in [-1, 1], with their labels",
        lambda: labelled(data.digits()),
        {"steps": 6000, "batch_size": 128, "lr": 1e-3, "seed": 0, "label_dropout": 0.1},
        torch.float16,
    ),
    "fashion_unet": Recipe(
        "UNet",
        models.FASHION.to_dict(),
        "Fashion-MNIST, 60,000 training images, in [-1, 1], with their labels",
        lambda: labelled(data.fashion_mnist("train")),
        {"steps": 4000, "batch_size": 128, "lr": 1e-3, "seed": 0, "label_dropout": 0.1},
        torch.float16,
    ),
}


def train(name: str, x0: Tensor, labels: Tensor | None) -> tuple[nn.Module, Schedule, dict[str, Any], dict[str, Any]]:
    """The trained network, its schedule, its configuration, and the log."""
    recipe, start = RECIPES[name], time.perf_counter()
    torch.manual_seed(recipe.training["seed"])
    net = models.pretrained.NETWORKS[recipe.network](**recipe.arguments)
    s = schedules.linear(1000)
    trained = cpu.InBfloat16(net) if isinstance(net, models.UNet) else net
    history = training.fit(trained, s, x0, "eps", labels=labels, progress=True, **recipe.training)
    config = {
        "network": recipe.network,
        "arguments": recipe.arguments,
        "predicts": "eps",
        "schedule": {"family": "linear", "T": 1000},
        "data": recipe.images,
        "training": recipe.training,
        "command": f"python tools/make_weights.py {name}",
        "torch": torch.__version__,
        "loss_by_quartile": [round(q, 4) for q in history.by_quartile.tolist()],
    }
    log = {
        **{key: config[key] for key in ("command", "data", "training", "torch", "loss_by_quartile")},
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"one core of a {platform.machine()} CPU",
        "seconds": round(time.perf_counter() - start),
        "loss": {"steps an entry": LOGGED, "mean": [round(m.mean().item(), 5) for m in history.loss.split(LOGGED)]},
    }
    return net.eval(), s, config, log


def sheet(net: nn.Module, s: Schedule, shape: torch.Size) -> bytes:
    """A picture of samples: ten columns, one a class where there are classes; DDPM's above, DDIM's below."""
    condition = {"labels": torch.arange(10).repeat(4)} if isinstance(net, models.UNet) else {}
    denoise = parameterization.denoiser(net, s, "eps", parameterization.static_clip, **condition)
    rows = [
        sampling.sample(denoise, s, (40, *shape), method, steps, generator=torch.Generator().manual_seed(0))
        for method, steps in (("ddpm", 250), ("ddim", 50))
    ]
    return plots.images(torch.cat(rows), columns=10, size=0.8).png()


def main(name: str, folder: Path, look: bool) -> None:
    """Train, write, and draw samples."""
    torch.set_num_threads(1)  # sums of floats depend on how they are shared out
    cpu.keep_memory()
    x0, labels = RECIPES[name].make_data()
    net, s, config, log = train(name, x0, labels)
    models.save(folder / f"{name}.safetensors", net, config, RECIPES[name].dtype)
    (folder / f"{name}.json").write_text(json.dumps(log, indent=1) + "\n")
    print(f"loss by quarter of t: {config['loss_by_quartile']}, {log['seconds']} s")
    if look:
        (folder / f"{name}.png").write_bytes(sheet(net, s, x0.shape[1:]))


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in RECIPES:
        sys.exit(f"usage: python tools/make_weights.py {{{','.join(RECIPES)}}} [FOLDER]")
    main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else FOLDER, look=len(sys.argv) > 2)
