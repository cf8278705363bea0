"""Trainings by name, for the command line: ``python -m ddpm_edu train NAME``."""

from dataclasses import replace

from ddpm_edu import models
from ddpm_edu.errors import ConfigError
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
"""Handwritten digits, 8 x 8, with their labels: a minute or two on two CPU cores."""

FASHION_CPU = replace(DIGITS_CPU, data="fashion_mnist", net=models.FASHION)
"""Fashion-MNIST, 28 x 28, with labels: about ten minutes on two CPU cores."""

CIFAR10 = TrainConfig(flip=True)
"""DDPM's own (Ho et al. 2020, appendix B): 35.7 M parameters, 800,000 steps of 128 images."""

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
"""The same network in a day on one GPU: larger batches, a falling rate, v-prediction with min-SNR weights.

Put together from published parts (Hang et al. 2023; Salimans & Ho 2022), not measured here.
"""

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
"""The user's own images: set folder and size."""

PRESETS = {
    "digits-cpu": DIGITS_CPU,
    "fashion-cpu": FASHION_CPU,
    "cifar10": CIFAR10,
    "cifar10-fast": CIFAR10_FAST,
    "folder": FOLDER,
}


def by_name(name: str) -> TrainConfig:
    """The preset called ``name``. Raises ConfigError for another name."""
    if name not in PRESETS:
        import difflib

        near = difflib.get_close_matches(str(name), PRESETS, n=2, cutoff=0.4)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ConfigError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}.{hint}")
    return PRESETS[name]
