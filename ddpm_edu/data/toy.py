"""Densities in the plane: two numbers instead of thousands of pixels, so that every step can be seen.

Each is a pure function ``(n, generator) -> float32 (n, 2)`` on the generator's device, roughly within [-1, 1]
as images are, with means within 0.2 of 0. All raise DataError where n is not a positive integer.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from ddpm_edu.errors import DataError


def moons(n: int, generator: Generator) -> Tensor:
    """Two interleaved half circles."""
    angle = math.pi * _uniform(n, generator)
    upper = _uniform(n, generator) < 0.5
    x = torch.where(upper, angle.cos() - 0.5, 0.5 - angle.cos())
    y = torch.where(upper, angle.sin() - 0.25, 0.25 - angle.sin())
    return 0.65 * torch.stack((x, y), 1) + 0.04 * _normal(n, generator)


def rings(n: int, generator: Generator) -> Tensor:
    """Two circles around one centre, each with half of the points: mass with a hole in its middle."""
    radius = torch.where(_uniform(n, generator) < 0.5, 0.4, 0.9)
    return radius[:, None] * _on_circle(_uniform(n, generator)) + 0.03 * _normal(n, generator)


def swiss_roll(n: int, generator: Generator) -> Tensor:
    """One spiral, almost two turns: a curve that no straight line can follow."""
    # The square root spreads the points evenly along the curve, whose length grows with the radius squared.
    turn = (0.06 + 0.94 * _uniform(n, generator)).sqrt()
    return (0.95 * turn)[:, None] * _on_circle(2.25 * turn) + 0.025 * _normal(n, generator)


def checkerboard(n: int, generator: Generator) -> Tensor:
    """The eight dark squares of a 4x4 board: sharp edges, which smooth networks find hard."""
    row = (4 * _uniform(n, generator)).floor()
    column = 2 * (2 * _uniform(n, generator)).floor() + row.remainder(2)
    corner = torch.stack((column, row), 1)
    within = torch.rand(n, 2, generator=generator, device=generator.device)
    return (corner + within) / 2 - 1


def eight_gaussians(n: int, generator: Generator) -> Tensor:
    """Eight round blobs on a circle: modes that a sampler must all find."""
    which = (8 * _uniform(n, generator)).floor() / 8
    return 0.85 * _on_circle(which) + 0.06 * _normal(n, generator)


def pinwheel(n: int, generator: Generator) -> Tensor:
    """Five bent arms: blobs stretched outwards and sheared by a rotation that grows with the radius."""
    stretched = _normal(n, generator) * torch.tensor((0.14, 0.045), device=generator.device)
    radius, offset = 0.55 + stretched[:, 0], stretched[:, 1]
    arm = (5 * _uniform(n, generator)).floor() / 5
    bent = arm + 0.25 * torch.exp(1.5 * radius - 1)
    along = _on_circle(bent)
    across = torch.stack((-along[:, 1], along[:, 0]), 1)
    return radius[:, None] * along + offset[:, None] * across


TOYS: dict[str, Callable[[int, Generator], Tensor]] = {
    function.__name__: function for function in (moons, rings, swiss_roll, checkerboard, eight_gaussians, pinwheel)
}


def _uniform(n: int, generator: Generator) -> Tensor:
    _check_count(n)
    return torch.rand(n, generator=generator, device=generator.device)


def _normal(n: int, generator: Generator) -> Tensor:
    _check_count(n)
    return torch.randn(n, 2, generator=generator, device=generator.device)


def _check_count(n: int) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise DataError(
            f"n={n!r}; the number of points must be an integer >= 1. Usually a division made it a float or 0. "
            "Fix: n=1000."
        )


def _on_circle(turns: Tensor) -> Tensor:
    """The points at angle 2 pi ``turns`` on the unit circle, (n, 2)."""
    angle = 2 * math.pi * turns
    return torch.stack((angle.cos(), angle.sin()), 1)
