"""Quarters of t: one rule for the log of a training and for whoever looks at losses by hand."""

from fractions import Fraction

import pytest
import torch

from ddpm_edu import losses, schedules
from ddpm_edu.training.meter import Meter


def by_hand(t, T):
    """Which of the four intervals [q T / 4, (q + 1) T / 4) holds t - 1, in exact fractions."""
    (q,) = [q for q in range(4) if q * Fraction(T, 4) <= t - 1 < (q + 1) * Fraction(T, 4)]
    return q


def test_the_quarter_of_every_t():
    for T in (4, 8, 50, 1000, 5, 6, 7, 1, 2, 3):
        t = torch.arange(1, T + 1)
        assert losses.quarter(t, T).tolist() == [by_hand(int(each), T) for each in t], T


def test_a_meter_and_the_losses_by_quartile_agree():
    """With a T that four does not divide, through several calls, against sums by hand."""
    g = torch.Generator().manual_seed(0)
    s, meter = schedules.cosine(50), Meter(50, torch.device("cpu"))
    t, loss = torch.randint(1, 51, (200,), generator=g), torch.rand(200, generator=g)
    for rows in torch.arange(200).split(70):
        meter.add(t[rows], loss[rows])
    found = meter.read(meter.sums, meter.counts)["by_quarter"]
    pairs = [*zip(t.tolist(), loss.tolist(), strict=True)]
    apart = [[each for at, each in pairs if by_hand(at, 50) == q] for q in range(4)]
    assert found == pytest.approx([sum(each) / len(each) for each in apart], rel=1e-5)
    assert found == pytest.approx(losses.by_quartile(s, t, loss).tolist(), rel=1e-5)
