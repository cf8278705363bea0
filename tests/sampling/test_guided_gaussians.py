"""Guidance on two Gaussians: the result is a Gaussian, and not the one people expect.

eps = (1 + w) eps_c - w eps_u with data N(1, 0.5^2) given the condition and N(0, 1) without. DDIM maps x_T to an affine
function of it, so mean and standard deviation of the samples can be read off two points.
"""

import math

import torch

from ddpm_edu import oracles, sampling, schedules
from ddpm_edu.sampling import guidance

S = schedules.cosine(1000)
# w: (mean, std) that DDIM gives, (mean, std) of the tilted density p_c^(1 + w) / p_u^w
GOLDEN = {
    0: ("1.0000", "0.4992", "1.0000", "0.5000"),
    0.5: ("1.2384", "0.3528", "1.0909", "0.4264"),
    1: ("1.3800", "0.2493", "1.1429", "0.3780"),
    2: ("1.4996", "0.1245", "1.2000", "0.3162"),
    4: ("1.4991", "0.0310", "1.2500", "0.2500"),
}


def affine(w, steps):
    """Offset and factor of the map from x_T to the sample."""
    ends = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    conditional, unconditional = (oracles.Gaussian(*which).denoiser(S) for which in ((1.0, 0.5), (0.0, 1.0)))
    guided = guidance.classifier_free(conditional, unconditional, S, w)
    at_0, at_1 = sampling.sample(guided, S, (2, 1), "ddim", steps, x_T=ends, dtype=torch.float64).flatten().tolist()
    return at_0, at_1 - at_0


def test_guided_ddim_gives_the_golden_gaussian():
    for w, golden in GOLDEN.items():
        mean, std = affine(w, 1000)
        assert (f"{mean:.4f}", f"{std:.4f}") == golden[:2], w


def test_and_not_the_tilted_density():
    """p_c^(1 + w) / p_u^w is N(mean, 1 / precision) with precision 4 (1 + w) - w: near at w = 0 alone."""
    for w, golden in GOLDEN.items():
        precision = 4 * (1 + w) - w
        mean, std = 4 * (1 + w) / precision, math.sqrt(1 / precision)
        assert (f"{mean:.4f}", f"{std:.4f}") == golden[2:], w
        assert (abs(affine(w, 100)[0] - mean) > 0.1) == (w > 0), w
