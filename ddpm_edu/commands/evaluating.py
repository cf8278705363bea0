"""``evaluate``: how far a file of samples is from real images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ddpm_edu.commands.texts import EXIT_CODES
from ddpm_edu.errors import ConfigError, DataError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

SHAPES = {"digits": (1, 8, 8), "fashion_mnist": (1, 28, 28)}


@click.command(epilog=EXIT_CODES)
@click.option(
    "--samples", required=True, type=click.Path(path_type=Path), metavar="x.npz", help="As `sample --out x.npz` writes."
)
@click.option("--data", metavar="NAME", help="digits or fashion_mnist.  [default: the one with images of that size]")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.json", help="Also write all of it as JSON.")
def evaluate(samples: Path, data: str | None, out: Path | None) -> None:
    """Measure how far samples are from real images, and print the numbers with all that they depend on.

    The Frechet and kernel distances, precision and recall are taken in the 64 features of a small classifier that the
    package carries (squared units of the features; they are not FID and compare with none). The sliced Wasserstein
    distance and the nearest training images are taken between images as they are (units of pixels in [-1, 1]).

    Each number stands beside that of real images which were kept out of the reference, as many as there are samples
    but at most half of all. The floor is the Frechet distance of that many real images, chosen again and again; the
    interval is where that of other samples would lie, 95 times of 100. What the file does not say is "not known".
    """
    from ddpm_edu.commands import evaluation, evaluation_card, files

    if out is not None:
        files.check_target(out, (".json",))
    stored = files.read(samples)
    source = evaluation.SOURCES[_which(stored.images, data)]
    real = evaluation.real_images(source)
    if stored.images.shape[1:] != real.images.shape[1:]:
        raise ShapeError(
            f"{samples.name} has images of {_size(stored.images)}, {real.name} of {_size(real.images)} (height, width, "
            "channels). Usual cause: samples of another data set. Fix: --data, or leave it out."
        )
    if len(stored.images) < evaluation.LEAST:
        raise DataError(
            f"{samples.name} holds {len(stored.images)} images; at least {evaluation.LEAST} are needed, and some "
            "hundreds for numbers that say something. Fix: sample --n 500."
        )
    found = evaluation.evaluate(stored, real, source, str(samples))
    click.echo(evaluation_card.card(found))
    if out is not None:
        files.write(out, (json.dumps(found, indent=1) + "\n").encode())


def _which(stored: Tensor, data: str | None) -> str:
    if data is None:
        shape = tuple(stored.shape[1:])
        data = next((name for name, own in SHAPES.items() if own == shape), None)
    if data not in SHAPES:
        raise ConfigError(
            f"--data must be {' or '.join(SHAPES)}, got {data or 'none'!r} for images of {_size(stored)}. These are "
            "the data for which the package carries a feature space."
        )
    return data


def _size(images: Tensor) -> str:
    c, height, width = images.shape[1:]
    return f"{height} x {width} x {c}"
