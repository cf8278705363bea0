import math

import pytest
import torch

from ddpm_edu import models
from ddpm_edu.errors import ConfigError


def test_values_by_hand():
    """dim 8: sines at w = 1, 10000^(-1/3), 10000^(-2/3), 1/10000, then the cosines."""
    w = [1.0, 10_000 ** (-1 / 3), 10_000 ** (-2 / 3), 1e-4]
    for t in (0, 1, 37, 1000):
        (row,) = models.sinusoidal(torch.tensor([t]), 8).tolist()
        expected = [math.sin(k * t) for k in w] + [math.cos(k * t) for k in w]
        assert row == pytest.approx(expected, abs=2e-4), t  # float32 of an angle of 1000


def test_inner_products_depend_on_the_difference_alone():
    e = models.sinusoidal(torch.arange(1, 201), 64).double()
    inner = e @ e.T
    for k in range(200):
        diagonal = inner.diagonal(k)
        assert (diagonal - diagonal[0]).abs().max() < 1e-3, k
    assert torch.allclose(inner[0, 0], torch.tensor(32.0, dtype=torch.float64), atol=1e-4)
    assert (inner[0, 1:] < inner[0, 0]).all(), "no other time looks the same"


def test_times_are_told_apart_over_the_whole_chain():
    e = models.sinusoidal(torch.arange(1, 1001), 64)
    distance = torch.cdist(e, e) + 10 * torch.eye(1000)
    assert distance.min() > 0.5


@pytest.mark.parametrize("dim", [0, 2, 7])
def test_a_dim_that_cannot_be(dim):
    with pytest.raises(ConfigError, match=f"even dim >= 4.*got {dim}"):
        models.sinusoidal(torch.tensor([1]), dim)
