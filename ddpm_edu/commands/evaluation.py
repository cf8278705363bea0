"""What ``evaluate`` measures: all numbers and all that they depend on, as one dictionary that JSON can hold.

Three sets are prepared alike (bytes, taken to [-1, 1]): the samples; real images that are kept out, as many, but half
of the data set at most; and the reference, all other real images. Every number of the samples has its like for the
images kept out, against the same reference.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

import ddpm_edu
from ddpm_edu import data, metrics
from ddpm_edu.commands.files import Stored
from ddpm_edu.data import ImageSet
from ddpm_edu.metrics.features import Extractor

SEED = 0  # of all that is chosen: what is kept out, directions, the floor's choices, the interval's draws
PROJECTIONS, NEIGHBOURS, FLOORS, RESAMPLES, LEVEL = 256, 3, 20, 200, 0.95
LEAST = NEIGHBOURS + 1  # images of a set
MOST = 10_000  # images of a set, where all pairs are looked at
LOOKS, LEAST_LOOKS = 5 * 10**9, 100  # numbers that are compared with training images; some ten seconds


class Source(NamedTuple):
    """A data set that samples can be measured against."""

    name: str
    extractor: str
    split: str
    seen: bool  # in training, by the networks that the package carries


SOURCES = {
    "digits": Source("digits", "digits", "all", True),
    "fashion_mnist": Source("fashion_mnist", "fashion", "test", False),
}


class Images(NamedTuple):
    """One of the sets: images (N, C, H, W) in [-1, 1], their features (N, D) and labels (N,), if they have any."""

    x: Tensor
    features: Tensor
    labels: Tensor | None


def real_images(source: Source) -> ImageSet:
    """The digits, all of them; of Fashion-MNIST the 10,000 that no network of the package was trained on."""
    return data.digits() if source.name == "digits" else data.fashion_mnist("test")


def evaluate(stored: Stored, real: ImageSet, source: Source, file: str) -> dict[str, Any]:
    """Everything about the samples in ``stored``, read from ``file``, beside ``real`` images of the same size."""
    extractor = metrics.features.load(source.extractor)
    whole = as_in_a_file(real.model_range())
    seen = Images(whole, metrics.reference.features(whole, extractor), real.labels)
    x = data.to_model_range(stored.images)
    samples = Images(x, extractor.features(x), _classes(stored.labels, extractor))
    kept, rest = split(len(real), len(x))
    held, reference = chosen(seen, kept), chosen(seen, rest)
    floor = metrics.floor(seen.features, len(kept), FLOORS, seeded())
    return {
        "samples": {
            "file": file,
            "images": len(x),
            "size": [*stored.images.shape[2:], stored.images.shape[1]],
            "sha256": metrics.reference.content_hash({"images": stored.images}),
            "about": stored.about,
        },
        "reference": {
            "name": source.name,
            "split": source.split,
            "images": len(rest),
            "kept_out": len(kept),
            "seen_in_training": source.seen,
            "sha256": metrics.reference.content_hash({"images": real.images[rest]}),
        },
        "protocol": _protocol(source, extractor),
        "numbers": {name: numbers(s, reference, extractor) for name, s in (("samples", samples), ("real", held))},
        "interval": _interval(samples.features, reference.features),
        "floor": floor._asdict(),
        "nearest": nearest(samples.x, held.x, reference.x, source, whole),
    }


def numbers(images: Images, reference: Images, extractor: Extractor) -> dict[str, float | int | None]:
    """Each distance and share of one set of images from the reference."""
    near = metrics.precision_recall(reference.features[:MOST], images.features[:MOST], NEIGHBOURS)
    labels = images.labels
    return {
        "n": len(images.x),
        "frechet": metrics.frechet_distance(images.features, reference.features),
        "kernel": metrics.kernel_distance(images.features[:MOST], reference.features[:MOST]),
        "precision": near.precision,
        "recall": near.recall,
        "sliced_wasserstein": metrics.sliced_wasserstein(images.x, reference.x, PROJECTIONS, seeded()),
        "agreement": None if labels is None else metrics.agreement(extractor.logits(images.x), labels),
    }


def nearest(samples: Tensor, held: Tensor, reference: Tensor, source: Source, whole: Tensor) -> dict[str, Any]:
    """How near the samples are to training images, in pixels, and real images that were kept out.

    Of digits there are no others than those that were trained on: the median distances are all that can be told, that
    of the images kept out being to the reference, and of the samples to all.
    """
    training = whole if source.seen else data.fashion_mnist("train").model_range()
    looks = min(MOST, max(LEAST_LOOKS, LOOKS // training.numel()))
    samples, held = samples[:looks], held[:looks]
    common = {"images": len(samples), "training_images": len(training)}
    if source.seen:
        near, others = metrics.nearest(samples, training), metrics.nearest(held, reference)
        return {**common, "median": _median(near.distance), "median_real": _median(others.distance), "shares": None}
    test = torch.randperm(len(whole), generator=seeded())[: max(looks, LEAST_LOOKS)]
    found = metrics.memorised(samples, training, whole[test])
    shares = {
        name: {"share": share.share, "expected": share.expected, "p_value": share.p_value}
        for name, share in (("distance", found.distance), ("ratio", found.ratio))
    }
    return {**common, "median": _median(found.nearest.distance), "median_real": None, "shares": shares}


def as_in_a_file(x: Tensor) -> Tensor:
    """Images in [-1, 1] rounded to bytes, as those are that come out of a file of samples."""
    return data.to_model_range(data.to_uint8(x))


def split(real: int, n: int) -> tuple[Tensor, Tensor]:
    """Which real images are kept out, as many as there are samples but at most half, and the rest."""
    order = torch.randperm(real, generator=seeded())  # the same each time
    count = min(n, real // 2)
    return order[:count], order[count:]


def chosen(images: Images, which: Tensor) -> Images:
    """Those of ``images`` at the indices ``which``."""
    return Images(*(None if part is None else part[which] for part in images))  # type: ignore[arg-type]


def seeded() -> Generator:
    """A stream that is the same each time."""
    return torch.Generator().manual_seed(SEED)


def _interval(samples: Tensor, reference: Tensor) -> dict[str, float]:
    """Of the Frechet distance; the moments of the reference are computed once."""

    def distance(a: Tensor, b: metrics.Moments) -> float:
        return metrics.frechet_distance_of(*metrics.moments(a), *b)

    found = metrics.bootstrap(samples, metrics.moments(reference), distance, RESAMPLES, seeded(), LEVEL)
    return {"low": found.low, "high": found.high, "bias": found.bias, "level": LEVEL, "repeats": RESAMPLES}


def _classes(labels: Tensor | None, extractor: Extractor) -> Tensor | None:
    """``labels``, unless one of them is no class of the extractor: then they mean something else."""
    known = labels is not None and int(labels.max()) < extractor.net.name.out_features
    return labels if known else None


def _protocol(source: Source, extractor: Extractor) -> dict[str, Any]:
    return {
        "extractor": source.extractor,
        "extractor_sha256": metrics.reference.content_hash(extractor.net.state_dict()),
        "resize": "none",
        "rounding": "8 bits",
        "flips": "none",
        "seed": SEED,
        "projections": PROJECTIONS,
        "neighbours": NEIGHBOURS,
        "most_images_for_pairs": MOST,
        "torch": torch.__version__,
        "ddpm_edu": ddpm_edu.__version__,
    }


def _median(distances: Tensor) -> float:
    return float(distances.quantile(0.5))
