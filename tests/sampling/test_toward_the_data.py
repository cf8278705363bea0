"""Samples against data: three modes in the plane, whose best denoiser is exact, and finite sets, which come back."""

import functools

import torch

from ddpm_edu import data, oracles, sampling, schedules
from ddpm_edu.metrics import sliced_wasserstein
from ddpm_edu.sampling import grids

LINEAR, COSINE = schedules.linear(1000), schedules.cosine(1000)
MODES = oracles.Mixture(
    torch.tensor([0.5, 0.3, 0.2]), torch.tensor([[-1.0, 0.0], [0.8, 0.8], [0.5, -1.0]]), torch.tensor([0.15, 0.3, 0.1])
)
N = 2000
WAYS = [
    ("ddpm", {}),
    ("ddpm", {"variance": "posterior"}),
    ("ddim", {}),
    ("ddim", {"eta": 1.0}),
    ("dpmpp_2m", {}),
    ("dpmpp_2m_sde", {}),
    ("heun", {}),
]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@functools.cache
def drawn(seed):
    return MODES.sample(N, seeded(seed))[0]


def distance(x, y):
    return sliced_wasserstein(x, y, 48, seeded(5))


def test_samples_come_as_near_to_the_data_as_other_data():
    """Far with 4 steps, nearer with 16; with 64 no farther than two true samples of the size are from each other."""
    floor = max(distance(drawn(seed), drawn(seed + 100)) for seed in range(6))
    x_T = torch.randn(N, 2, generator=seeded(2), dtype=torch.float64)
    for method, options in WAYS:
        off = [
            distance(
                sampling.sample(
                    MODES.denoiser(LINEAR), LINEAR, (N, 2), method, steps,
                    x_T=x_T, generator=seeded(3), dtype=torch.float64, **options,
                ),
                drawn(0),
            )
            for steps in (4, 16, 64)
        ]  # fmt: skip
        assert off[0] > 1.5 * off[1] and off[1] < 2 * floor, (method, options, off)
        assert off[2] < off[1] + floor / 4 and off[2] < 1.5 * floor, (method, options, off)


def nearest(x, points):
    return torch.cdist(x.flatten(1), points.flatten(1)).min(1)


def test_a_finite_set_of_points_comes_back():
    """What a network becomes that learned its training set by heart; every point is found from some x_T."""
    points = torch.tensor([[-1.0, -1.0], [1.0, -0.8], [0.2, 0.9], [-0.4, 0.3], [2.5, 0.0]], dtype=torch.float64)
    denoise = oracles.FiniteDataset(points).denoiser(COSINE)
    for method, options in WAYS:
        x = sampling.sample(denoise, COSINE, (200, 2), method, 60, generator=seeded(0), dtype=torch.float64, **options)
        off, which = nearest(x, points)
        assert off.max() < 1e-3, (method, options, off.max())
        assert len(which.unique()) == 5, (method, options)


def test_a_finite_set_of_images_comes_back():
    images = data.to_model_range(data.digits().images[:60], levels=17)
    denoise = oracles.FiniteDataset(images).denoiser(LINEAR)
    for method, options in WAYS:
        x = sampling.sample(denoise, LINEAR, (20, *images.shape[1:]), method, 30, generator=seeded(1), **options)
        off, which = nearest(x, images)
        assert off.max() < 1e-3, (method, options, off.max())
        assert len(which.unique()) > 5, (method, options)


def test_any_grid_leads_to_the_data():
    images = data.to_model_range(data.digits().images[:60], levels=17)
    for s in (LINEAR, schedules.zero_terminal_snr(LINEAR)):
        denoise = oracles.FiniteDataset(images).denoiser(s)
        for method in sampling.METHODS:
            for grid in (
                grids.linspace(1000, 9),
                grids.quadratic(1000, 9),
                grids.karras(s, 25),
                grids.log_snr(s, 25),
            ):
                x = sampling.sample(denoise, s, (6, *images.shape[1:]), method, grid=grid, generator=seeded(1))
                assert nearest(x, images)[0].max() < 1e-3, (method, grid[:3])
