"""What every metric asks of its two sets of samples, and how it refuses them."""

import torch
from torch import Tensor

from ddpm_edu.errors import DataError, ShapeError


def exact(values: Tensor, name: str) -> Tensor:
    """``values`` as float64 on the CPU (some accelerators have no float64), without history. Raises DataError."""
    if not isinstance(values, Tensor) or values.is_complex():
        given = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise DataError(f"{name} must be a tensor of real numbers, got {given}. Fix: torch.as_tensor({name}).")
    values = values.detach().to("cpu", torch.float64)
    bad = values.numel() - int(values.isfinite().sum())
    if bad:
        raise DataError(
            f"{name} holds NaN or infinity in {bad} of {values.numel()} numbers. Usual cause: a sampler that diverged. "
            "Fix: look for the first step whose result is not finite."
        )
    return values


def feature_set(features: Tensor, name: str, least: int) -> Tensor:
    """``features`` (N, D), float64, N >= ``least`` and D >= 1. Raises ShapeError, DataError."""
    features = exact(features, name)
    if features.ndim != 2 or features.shape[1] == 0:
        raise ShapeError(
            f"{name} must be (N, D), a row of D features for each sample, got {tuple(features.shape)}. Usual cause: "
            "images, or a row or a column that was taken out. Fix: metrics.features.load(...).features(images), "
            f"{name}.flatten(1) for pixels, {name}[:, None] for one number a sample."
        )
    return enough(features, name, least)


def enough(samples: Tensor, name: str, least: int) -> Tensor:
    """``samples`` (N, ...), with N >= ``least``. Raises DataError."""
    if len(samples) < least:
        raise DataError(
            f"{name} has {len(samples)} samples; at least {least} are needed. Usual cause: a selection that found "
            f"nothing, or one image for a set of images. Fix: more samples."
        )
    return samples


def same_width(a: Tensor, b: Tensor, names: str) -> None:
    """Refuses sets whose samples have different shapes: nothing broadcasts. Raises ShapeError."""
    if a.shape[1:] != b.shape[1:]:
        raise ShapeError(
            f"{names} must have samples of one shape, got {tuple(a.shape[1:])} and {tuple(b.shape[1:])}. Usual cause: "
            "two data sets, or two feature spaces. Fix: compare like with like."
        )
