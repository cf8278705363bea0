"""The library's answers to notebook 06's exercises, with the arguments that these have."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ddpm_edu import data, metrics
from ddpm_edu.metrics.neighbours import closest

to_bytes = data.to_uint8


def frechet_diagonal(mean_a: Tensor, std_a: Tensor, mean_b: Tensor, std_b: Tensor) -> float:
    """Of two Gaussians with independent coordinates: :func:`ddpm_edu.metrics.frechet_distance_of`."""
    return metrics.frechet_distance_of(mean_a, std_a.square().diag(), mean_b, std_b.square().diag())


def unbiased_mmd(k_xx: Tensor, k_yy: Tensor, k_xy: Tensor) -> float:
    """What :mod:`ddpm_edu.metrics.kernel` computes, from matrices that are there already."""

    def others(k: Tensor) -> Tensor:
        return (k.sum() - k.trace()) / (len(k) * (len(k) - 1))

    return float(others(k_xx) + others(k_yy) - 2 * k_xy.mean())


def precision_recall(d_rr: Tensor, d_gg: Tensor, d_rg: Tensor, k: int) -> tuple[float, float]:
    """What :func:`ddpm_edu.metrics.precision_recall` computes, from distances that are there already."""

    def covered(apart: Tensor, within: Tensor) -> float:
        radius = within.sort(1).values[:, k]  # entry 0 is the sample itself
        return float((apart <= radius).any(1).double().mean())

    return covered(d_rg.T, d_rr), covered(d_rg, d_gg)


def moments_in_batches(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and covariance of all rows of all batches together: :func:`ddpm_edu.metrics.moments`."""
    mean, covariance = metrics.moments(torch.cat(list(batches)))
    return mean, covariance


def honest_distance(net: Any, samples: Tensor, real: Tensor) -> float:
    """The Frechet distance of samples, through 8 bits and a network in eval mode, from the real images as they are."""
    net.eval()
    with torch.no_grad():
        return metrics.frechet_distance(net.embed(data.to_model_range(data.to_uint8(samples))), net.embed(real))


def copies(samples: Tensor, training: Tensor, held_out: Tensor) -> Tensor:
    """Which samples are nearer to a training image than any held-out image is: bool (N,)."""
    near, _ = closest(samples.flatten(1), training.flatten(1), 1)
    others, _ = closest(held_out.flatten(1), training.flatten(1), 1)
    return near[:, 0] < others.min()
