"""DDIM's order of convergence on a Gaussian, whose exact flow is known: half the step, half the error."""

import math
import warnings

import pytest
import torch

from ddpm_edu import schedules
from ddpm_edu.errors import ScheduleWarning
from ddpm_edu.parameterization import Denoised
from ddpm_edu.sampling import ddim

MEAN, STD, START = 0.3, 0.5, 1.3


def alpha_bar(half_log_snr):
    return 1 / (1 + math.exp(-2 * half_log_snr))


def error(n):
    """|DDIM - exact| after n steps, uniform in half log-SNR, from -4 to 4; the last step to 0 is not taken."""
    grid = [1.0, *(alpha_bar(4 - 8 * i / n) for i in range(n + 1))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)
        s = schedules.from_alpha_bar(grid)
    x = torch.tensor([[START]], dtype=torch.float64)
    for t in range(n + 1, 1, -1):
        ab = grid[t]
        d = x - math.sqrt(ab) * MEAN
        v = ab * STD**2 + 1 - ab
        x0, eps = MEAN + math.sqrt(ab) * STD**2 * d / v, math.sqrt(1 - ab) * d / v
        x = ddim.step(s, x, torch.tensor([t]), torch.tensor([t - 1]), Denoised(x0, eps), torch.zeros_like(x))
    first, last = grid[-1], grid[1]
    scale = math.sqrt((last * STD**2 + 1 - last) / (first * STD**2 + 1 - first))
    exact = math.sqrt(last) * MEAN + scale * (START - math.sqrt(first) * MEAN)
    return abs(x.item() - exact)


def test_golden_error():
    assert f"{error(80):.2e}" == "1.60e-02"


def test_first_order():
    assert math.log2(error(320) / error(640)) == pytest.approx(1, abs=0.02)
