import math

import pytest
import torch

from ddpm_edu import models
from ddpm_edu.errors import ConfigError
from ddpm_edu.models.embeddings import Condition


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


def test_values_by_hand_as_adm_has_them():
    """dim 8: cosines at w = 1, 10000^(-1/4), 10000^(-2/4), 10000^(-3/4), then the sines."""
    w = [1.0, 0.1, 0.01, 0.001]
    for t in (0, 1, 37, 1000):
        (row,) = models.sinusoidal_adm(torch.tensor([t]), 8).tolist()
        expected = [math.cos(k * t) for k in w] + [math.sin(k * t) for k in w]
        assert row == pytest.approx(expected, abs=2e-4), t


def test_time_0_is_zeros_and_ones():
    """sin 0 = 0, cos 0 = 1: which half is which cannot be mistaken."""
    zero = torch.tensor([0])
    assert models.sinusoidal(zero, 6).tolist() == [[0, 0, 0, 1, 1, 1]]
    assert models.sinusoidal_adm(zero, 6).tolist() == [[1, 1, 1, 0, 0, 0]]


def test_a_column_is_one_wave_along_the_times():
    """Column k is sin(w_k t), each row at its own t: also when the times come in no order, and twice."""
    t = torch.tensor([800, 3, 3, 500, 1, 2, 999, 0])
    e = models.sinusoidal(t, 32).double()
    w = torch.tensor([10_000 ** (-k / 15) for k in range(16)], dtype=torch.float64)
    for k in range(16):
        torch.testing.assert_close(e[:, k], (w[k] * t).sin(), atol=2e-4, rtol=0)
        torch.testing.assert_close(e[:, 16 + k], (w[k] * t).cos(), atol=2e-4, rtol=0)


def test_a_time_looks_the_same_in_every_batch():
    t = torch.tensor([7, 900, 41, 7])
    for waves in (models.sinusoidal, models.sinusoidal_adm):
        together = waves(t, 16)
        alone = torch.cat([waves(one[None], 16) for one in t])
        assert torch.equal(together, alone)
        assert torch.equal(together[0], together[3])


def test_neighbours_in_time_are_neighbours():
    """|e(t) - e(t + d)| is the same for every t and grows with d at first: 1 step is near, 10 are farther, 100 more."""
    e = models.sinusoidal(torch.arange(1001), 128).double()
    near, farther, far = ((e[d:] - e[:-d]).norm(dim=1) for d in (1, 10, 100))
    for distance in (near, farther, far):
        assert distance.max() - distance.min() < 2e-3
    assert 0 < near.max() < 0.5 * farther.min() < 0.5 * far.min()


def test_a_network_asks_for_the_sinusoid_that_its_configuration_names():
    t = torch.tensor([1, 500])
    for name, waves in (("ddpm", models.sinusoidal), ("adm", models.sinusoidal_adm)):
        told = Condition(8, name, None)
        expected = told.second(torch.nn.functional.silu(told.first(waves(t, 8))))
        assert torch.equal(told(t, None), expected)


def test_a_label_adds_its_vector():
    """And the last vector, one beyond the classes, stands for "no label"."""
    told = Condition(8, "ddpm", 3)
    t, labels = torch.tensor([5, 5, 5]), torch.tensor([0, 2, 3])
    assert told.label.weight.shape == (4, 32)
    torch.testing.assert_close(told(t, labels) - told(t, None), told.label.weight[labels])
