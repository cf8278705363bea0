"""``evaluate``: how far a file of samples is from real images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from ddpm_edu.commands.texts import EXIT_CODES
from ddpm_edu.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

    from ddpm_edu.data import ImageSet

SHAPES = {"digits": (1, 8, 8), "fashion_mnist": (1, 28, 28)}
FEATURES = {"digits": "digits", "fashion_mnist": "fashion"}  # data sets, and the feature space of each
PROJECTIONS = 256


class Distances(NamedTuple):
    """Of one set of images from the reference."""

    frechet: float  # squared units of the features
    sliced: float  # of pixels in [-1, 1]


@click.command(epilog=EXIT_CODES)
@click.option(
    "--samples", required=True, type=click.Path(path_type=Path), metavar="x.npz", help="As `sample --out x.npz` writes."
)
@click.option("--data", metavar="NAME", help="digits or fashion_mnist.  [default: the one with images of that size]")
def evaluate(samples: Path, data: str | None) -> None:
    """Measure how far samples are from real images: smaller is nearer.

    The Frechet distance is taken in the 64 features of a small classifier that the package carries (squared units of
    the features; it is not FID and compares with none). The sliced Wasserstein distance is taken between images as
    they are (units of pixels in [-1, 1]). Both depend on how many images there are: compare equal numbers only. The
    line "real" is what as many real images get that were kept out of the reference.
    """
    from ddpm_edu.commands import files
    from ddpm_edu.data import to_model_range

    stored = files.read(samples)
    name = _which(stored, data)
    real = _real(name)
    if stored.shape[1:] != real.images.shape[1:]:
        raise ShapeError(
            f"{samples.name} has images of {_size(stored)}, {real.name} of {_size(real.images)} (height, width, "
            "channels). Usual cause: samples of another data set. Fix: --data, or leave it out."
        )
    kept, rest = _split(len(real), len(stored))
    reference, held = real.subset(rest).model_range(), real.subset(kept).model_range()
    click.echo(f"samples    {len(stored):,} images of {_size(stored)}, {samples}")
    click.echo(f"reference  {len(reference):,} images of {real.name}; real: {len(held):,} others of them")
    click.echo(f"{'':10}{'Frechet':>12}{'sliced Wasserstein':>22}")
    for title, images in (("samples", to_model_range(stored)), ("real", held)):
        found = distances(images, reference, FEATURES[name])
        click.echo(f"{title:10}{found.frechet:>12.4f}{found.sliced:>22.5f}")
    click.echo(f'Frechet: in the feature space "{FEATURES[name]}", not FID.')
    click.echo(f"Sliced Wasserstein: {PROJECTIONS} directions, pixels in [-1, 1].")


def distances(images: Tensor, reference: Tensor, features: str) -> Distances:
    """Both distances of ``images`` (N, C, H, W) in [-1, 1] from ``reference`` (M, C, H, W), N and M >= 2."""
    import torch

    from ddpm_edu import metrics

    extractor = metrics.features.load(features)
    frechet = metrics.frechet_distance(extractor.features(images), extractor.features(reference))
    directions = torch.Generator().manual_seed(0)
    return Distances(frechet, metrics.sliced_wasserstein(images, reference, PROJECTIONS, directions))


def _which(stored: Tensor, data: str | None) -> str:
    if data is None:
        shape = tuple(stored.shape[1:])
        data = next((name for name, own in SHAPES.items() if own == shape), None)
    if data not in FEATURES:
        raise ConfigError(
            f"--data must be {' or '.join(FEATURES)}, got {data or 'none'!r} for images of {_size(stored)}. These are "
            "the data for which the package carries a feature space."
        )
    return data


def _real(name: str) -> ImageSet:
    """The digits, all of them; of Fashion-MNIST the 10,000 that no network of the package was trained on."""
    from ddpm_edu import data as room

    return room.digits() if name == "digits" else room.fashion_mnist("test")


def _split(real: int, n: int) -> tuple[Tensor, Tensor]:
    """Which real images are kept out, as many as there are samples but at most half, and the rest."""
    import torch

    order = torch.randperm(real, generator=torch.Generator().manual_seed(0))  # the same each time
    count = min(n, real // 2)
    return order[:count], order[count:]


def _size(images: Tensor) -> str:
    c, height, width = images.shape[1:]
    return f"{height} x {width} x {c}"
