"""Guidance by mixing two denoisers, on two Gaussians: the result is a Gaussian, and not the one people expect.

eps = (1 + w) eps_c - w eps_u with data N(1, 0.5^2) given the condition and N(0, 1) without. DDIM maps x_T to an affine
function of it, so mean and standard deviation of the samples can be read off two points.
"""

import math

import pytest
import torch

from ddpm_edu import sampling, schedules
from ddpm_edu.parameterization import Denoised, x0_from_eps

S = schedules.cosine(1000)
# w: (mean, std) that DDIM gives, (mean, std) of the tilted density p_c^(1 + w) / p_u^w
GOLDEN = {
    0: ("1.0000", "0.4992", "1.0000", "0.5000"),
    0.5: ("1.2384", "0.3528", "1.0909", "0.4264"),
    1: ("1.3800", "0.2493", "1.1429", "0.3780"),
    2: ("1.4996", "0.1245", "1.2000", "0.3162"),
    4: ("1.4991", "0.0310", "1.2500", "0.2500"),
}


def guided(w):
    """The mixed denoiser, from the two Gaussians' closed forms, written here anew."""

    def denoise(x_t, t):
        ab = S.alpha_bar[t][:, None]
        conditional = (1 - ab).sqrt() * (x_t - ab.sqrt()) / (0.25 * ab + 1 - ab)
        unconditional = (1 - ab).sqrt() * x_t
        eps = (1 + w) * conditional - w * unconditional
        return Denoised(x0_from_eps(S, x_t, t, eps), eps)

    return denoise


def affine(w):
    """Offset and factor of the map from x_T to the sample."""
    ends = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    at_0, at_1 = (
        sampling.sample(guided(w), S, (2, 1), "ddim", steps=1000, x_T=ends, dtype=torch.float64).flatten().tolist()
    )
    return at_0, at_1 - at_0


@pytest.mark.parametrize("w", GOLDEN)
def test_guided_ddim_gives_the_golden_gaussian(w):
    mean, std = affine(w)
    assert (f"{mean:.4f}", f"{std:.4f}") == GOLDEN[w][:2]


@pytest.mark.parametrize("w", GOLDEN)
def test_and_not_the_tilted_density(w):
    """p_c^(1 + w) / p_u^w is N(mean, 1 / precision) with precision 4 (1 + w) - w: near at w = 0 alone."""
    precision = 4 * (1 + w) - w
    mean, std = 4 * (1 + w) / precision, math.sqrt(1 / precision)
    assert (f"{mean:.4f}", f"{std:.4f}") == GOLDEN[w][2:]
    assert (abs(affine(w)[0] - mean) > 0.1) == (w > 0)
