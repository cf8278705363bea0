"""Trainings by name, for the command line: ``python -m ddpm_edu train NAME``."""

from dataclasses import replace

from ddpm_edu import models
from ddpm_edu.errors import ConfigError, did_you_mean, nearest
from ddpm_edu.training.config import TrainConfig

DIGITS_CPU = TrainConfig(
    data="digits",
    net=models.DIGITS,
    label_dropout=0.1,
    steps=1500,
    batch=64,
    lr=1e-3,
    warmup=100,
    decay="cosine",
    ema=(0.995,),
    save_every=250,
    log_every=25,
)

# Found by trials of 150 CPU seconds each, such as benchmarks/ablation.py makes: good samples after a few minutes
FASHION_CPU = replace(
    DIGITS_CPU,
    data="fashion_mnist",
    net=models.FASHION,
    schedule="cosine",
    predicts="v",
    steps=12_000,
    batch=32,
    lr=3e-3,
    ema=(0.999,),
    save_every=1000,
    log_every=100,
)

CIFAR10 = TrainConfig(flip=True)  # Ho et al. 2020, appendix B

# Put together from published parts (Hang et al. 2023; Salimans & Ho 2022), not measured here
CIFAR10_FAST = replace(
    CIFAR10,
    steps=200_000,
    batch=512,
    lr=4e-4,
    decay="cosine",
    weight="min_snr",
    predicts="v",
    ema=(0.9995, 0.9999),
    compile=True,
)

FOLDER = TrainConfig(
    data="folder",
    folder=".",
    size=64,
    net=replace(models.CIFAR10, multipliers=(1, 2, 2, 2), attention=(2,)),
    flip=False,
    steps=100_000,
    batch=64,
    decay="cosine",
    compile=False,
)

PRESETS = {
    "digits-cpu": DIGITS_CPU,
    "fashion-cpu": FASHION_CPU,
    "cifar10": CIFAR10,
    "cifar10-fast": CIFAR10_FAST,
    "folder": FOLDER,
}
ABOUT = {
    "digits-cpu": "Handwritten digits, 8 x 8, with their labels: a minute or two on two CPU cores.",
    "fashion-cpu": "Fashion-MNIST, 28 x 28, with labels: about ten minutes on two CPU cores.",
    "cifar10": "CIFAR-10 as in the paper of DDPM: 35.7 M parameters, 800,000 steps.",
    "cifar10-fast": "The same network in about a day on one GPU: larger batches, v-prediction, min-SNR weights.",
    "folder": "Your own images: set folder (a path) and size (pixels a side).",
}
"""A line on each for people: what ``presets`` prints."""


def by_name(name: str) -> TrainConfig:
    """The preset called ``name``. Raises ConfigError for another name."""
    if name not in PRESETS:
        hint = did_you_mean(nearest(name, PRESETS))
        raise ConfigError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}.{hint}")
    return PRESETS[name]
