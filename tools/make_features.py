"""Train the classifiers whose penultimate layer is the feature space of the metrics.

Usage: ``python tools/make_features.py NAME [FOLDER]`` (default folder: ddpm_edu/metrics/weights). On one core
digits takes seconds, the others about four minutes each.

Writes NAME.safetensors, with its configuration and its accuracy on images held out, and NAME.json, a log of the
training. The same machine and torch give the same weights, bit by bit.
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
import torch.nn.functional as F
from torch import Generator, Tensor

from ddpm_edu import cpu, data
from ddpm_edu.data import ImageSet
from ddpm_edu.metrics import features
from ddpm_edu.models import pretrained


class Recipe(NamedTuple):
    """One classifier: its network, what it learns from and is tried on, and how."""

    arguments: dict[str, Any]
    about: str
    make_data: Callable[[], tuple[ImageSet, ImageSet]]
    training: dict[str, Any]


def digits() -> tuple[ImageSet, ImageSet]:
    """Four fifths to learn from, one fifth to be tried on."""
    every = data.digits()
    out = features.held_out(len(every))
    return every.subset(~out), every.subset(out)


def turned(found: ImageSet) -> ImageSet:
    """Each image turned by as many quarters as its number tells, 0, 1, 2, 3, 0, ..; that is the label to find."""
    quarters = torch.arange(len(found)) % 4
    images = torch.empty_like(found.images)
    for k in range(4):
        images[quarters == k] = found.images[quarters == k].rot90(k, (2, 3))
    return ImageSet(f"{found.name}, turned", images, quarters)


RECIPES = {
    "digits": Recipe(
        {"shape": [1, 8, 8], "widths": [32, 64]},
        "digits, in [-1, 1], without every fifth ten (metrics.features.held_out), on which accuracy is measured",
        digits,
        {"epochs": 40, "batch_size": 64, "lr": 2e-3, "weight_decay": 0.01, "smoothing": 0.05, "shift": 1, "seed": 0},
    ),
    "fashion": Recipe(
        {"shape": [1, 28, 28], "widths": [32, 64, 64]},
        "Fashion-MNIST, 60,000 training images, in [-1, 1]; accuracy is measured on the 10,000 test images",
        lambda: (data.fashion_mnist("train"), data.fashion_mnist("test")),
        {"epochs": 6, "batch_size": 128, "lr": 2e-3, "weight_decay": 0.01, "smoothing": 0.05, "shift": 1, "seed": 0},
    ),
    "fashion_turned": Recipe(
        {"shape": [1, 28, 28], "widths": [24, 48, 96], "classes": 4},
        "Fashion-MNIST, 60,000 training images, each turned by 0 to 3 quarters, which is the class, in [-1, 1]; "
        "accuracy is measured on the 10,000 test images, turned in the same way",
        lambda: (turned(data.fashion_mnist("train")), turned(data.fashion_mnist("test"))),
        {"epochs": 6, "batch_size": 128, "lr": 2e-3, "weight_decay": 0.01, "smoothing": 0.05, "shift": 1, "seed": 1},
    ),
}


def shifted(x: Tensor, by: int, g: Generator) -> Tensor:
    """Each image (N, C, H, W) moved by up to ``by`` pixels down and right, or up and left; black (-1) comes in."""
    n, c, h, w = x.shape
    padded = F.pad(x, [by] * 4, value=-1.0)
    down, right = torch.randint(2 * by + 1, (2, n, 1), generator=g)
    rows, columns = down + torch.arange(h), right + torch.arange(w)
    at = torch.arange(n)[:, None, None, None], torch.arange(c)[:, None, None], rows[:, None, :, None]
    return padded[*at, columns[:, None, None, :]]


def train(net: features.Classifier, train_set: ImageSet, how: dict[str, Any]) -> list[float]:
    """Trains ``net`` and returns the mean loss of each epoch."""
    g = Generator().manual_seed(how["seed"])
    optimiser = torch.optim.AdamW(net.parameters(), how["lr"], weight_decay=how["weight_decay"])
    steps = how["epochs"] * (len(train_set) // how["batch_size"])
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, how["lr"], total_steps=steps)
    history = []
    for epoch in range(how["epochs"]):
        losses = []
        for x, labels in data.batches(train_set, how["batch_size"], g):
            loss = F.cross_entropy(net(shifted(x, how["shift"], g)), labels, label_smoothing=how["smoothing"])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
            losses.append(loss.detach())
        history.append(round(torch.stack(losses).mean().item(), 5))
        print(f"epoch {epoch + 1} of {how['epochs']}: loss {history[-1]}", flush=True)
    return history


def rounded(net: features.Classifier) -> features.Classifier:
    """``net`` with the numbers that its file will hold, ready to be tried."""
    return net.half().float().eval()


def main(name: str, folder: Path) -> None:
    """Train, try on the images held out, write."""
    torch.set_num_threads(1)  # sums of floats depend on how they are shared out
    cpu.keep_memory()
    recipe, start = RECIPES[name], time.perf_counter()
    train_set, test_set = recipe.make_data()
    torch.manual_seed(recipe.training["seed"])
    net = features.Classifier(**recipe.arguments)
    history = train(net, train_set, recipe.training)
    tried = features.Extractor(rounded(net), {}).logits(test_set.model_range())
    config = {
        "network": "Classifier",
        "arguments": recipe.arguments,
        "data": recipe.about,
        "training": recipe.training,
        "images": {"trained on": len(train_set), "held out": len(test_set)},
        "accuracy": round((tried.argmax(1) == test_set.labels).double().mean().item(), 4),
        "command": f"python tools/make_features.py {name}",
        "torch": torch.__version__,
    }
    log = {
        **{key: config[key] for key in ("command", "data", "training", "images", "accuracy", "torch")},
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"one core of a {platform.machine()} CPU",
        "seconds": round(time.perf_counter() - start),
        "loss": {"of": "cross-entropy with smoothed labels, in training, mean of an epoch", "mean": history},
    }
    pretrained.write(folder / f"{name}.safetensors", net, config, torch.float16)
    (folder / f"{name}.json").write_text(json.dumps(log, indent=1) + "\n")
    print(f"accuracy {config['accuracy']}, {log['seconds']} s")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in RECIPES:
        sys.exit(f"usage: python tools/make_features.py {{{','.join(RECIPES)}}} [FOLDER]")
    main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else features.FOLDER)
