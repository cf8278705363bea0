"""Diffusion in the plane, all of it in the browser: a small network learns a density while one looks on, and samples
flow to it from noise; beside it the exact denoiser of the points themselves. Points may be drawn by hand.

The formulas stand in ``browser/diffusion2d.js`` and ``network2d.js``; tests/browser/test_playground.py holds them to
this package. The picture for where no script runs is the package's own.
"""

import torch
from torch import Tensor

from ddpm_edu import data, oracles, plots, schedules
from ddpm_edu.errors import ConfigError, did_you_mean, nearest
from ddpm_edu.parameterization import v_from
from ddpm_edu.widgets.in_browser import InBrowser, script

DENSITIES = {"moons": "two moons", "eight_gaussians": "eight Gaussians", "swiss_roll": "spiral", "rings": "rings"}
HAND_DRAWN = "draw your own"
POINTS, SAMPLES = 150, 300
SCALE = 1.6  # the toys reach to about 1; so they have about the variance of the noise
T = 100
EDGE = 2.5  # half a side of the picture
SHOWN = (60, 15)  # the times of the still picture


class Playground(InBrowser):
    """The widget; :func:`playground` makes one. ``points`` are those that it shows, drawn or given.

    When something stops, ``chosen`` also says what was reached: ``trained`` steps, ``loss``, ``distance`` (mean, of the
    samples to the nearest point), ``near`` (how many lie within 0.05 of one).
    """

    file = "playground"
    _esm = script("playground")

    @property
    def points(self) -> Tensor:
        """The points in the picture, float32 (n, 2): what the network learns, or a reader has drawn."""
        listed = self.given["densities"].get(self.chosen["density"], self.chosen["drawn"])
        return torch.tensor(listed, dtype=torch.float32).reshape(-1, 2)


def playground(density: str = "moons", seed: int = 0) -> Playground:
    """Points in the plane to learn and to sample: T = 100, cosine schedule, a network that predicts eps.

    ``density``: "moons", "eight_gaussians", "swiss_roll" or "rings" of :mod:`ddpm_edu.data`, 150 points, 1.6 times as
    large; a reader may choose another, or draw. ``seed``: of the points and of all chance in the browser.
    Raises ConfigError for another density, or a seed that is not an integer.
    """
    if density not in DENSITIES:
        hint = did_you_mean(map(repr, nearest(density, DENSITIES)))
        raise ConfigError(
            f"no density of the playground is called {density!r}; there are {', '.join(DENSITIES)}.{hint}"
        )
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError(f"seed must be an integer, got {seed!r}. Fix: for example seed=1.")
    points = {name: _points(name, seed) for name in DENSITIES}
    given = {
        "title": "Diffusion in the plane",
        "T": T,
        "seed": seed,
        "samples": SAMPLES,
        "densities": {DENSITIES[name]: _rounded(listed) for name, listed in points.items()},
        "handDrawn": HAND_DRAWN,
    }
    chosen = {
        "density": DENSITIES[density],
        "drawn": [],
        "denoiser": "learned",
        "sampler": "ddim",
        "steps": 20,
        "eta": 0,
        "noise": 0,
        "arrows": "flow (−v)",
    }
    text = f"{POINTS} points of {DENSITIES[density]}, a network to train, {SAMPLES} samples. Run this cell to play."
    return Playground(given, chosen, text, picture=_still(points[density]))


def _points(name: str, seed: int) -> Tensor:
    return SCALE * data.TOYS[name](POINTS, torch.Generator().manual_seed(seed))


def _rounded(points: Tensor) -> list[list[float]]:
    """Three decimals are finer than a pixel, and keep the stored output small."""
    return [[round(value, 3) for value in point] for point in points.tolist()]


def _flow(points: Tensor, places: Tensor, t: int) -> Tensor:
    """Where the exact denoiser of the points sends x_t at ``places`` (n, 2), float64: -v, DDIM's direction."""
    s = schedules.cosine(T)
    times = torch.full((len(places),), t)
    seen = oracles.FiniteDataset(points).denoiser(s)(places, times)
    return -v_from(s, seen.x0, times, seen.eps)


def _still(points: Tensor) -> bytes:
    """The points, and the exact denoiser's arrows at two times."""
    places = torch.cartesian_prod(*[torch.linspace(-EDGE, EDGE, 16, dtype=torch.float64)] * 2)
    figure, axes = plots.picture(8, 4.1, 1, len(SHOWN))
    for ax, t in zip(axes, SHOWN, strict=True):
        ax.quiver(*places.T, *_flow(points, places, t).T, angles="xy", width=0.004, color="0.5")
        ax.plot(*points.T, "+", color=plots.COLOURS[1])
        ax.set(title=f"exact denoiser, -v at t = {t}", aspect="equal", xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE))
    return figure.png()
