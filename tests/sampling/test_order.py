"""Orders of convergence: half the step makes half the error, or a quarter, against flows that are known exactly.

On a Gaussian the flow is a straight line in x_T. In one dimension any data will do: the flow keeps the order of the
points, so x_s stands at the quantile of q(x_s) at which x_t stood of q(x_t).
"""

import functools
import math
import warnings
from unittest import mock

import pytest
import torch

from ddpm_edu import oracles, schedules
from ddpm_edu.errors import ScheduleWarning
from ddpm_edu.sampling import loop, methods
from ddpm_edu.sampling.methods import Options
from tests.sampling.closed_form import gaussian

MEAN, STD, START = 0.3, 0.5, 1.3


def alpha_bar(half_log_snr):
    return 1 / (1 + math.exp(-2 * half_log_snr))


def quiet(grid):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)
        return schedules.from_alpha_bar(grid)


@functools.cache
def by_lambda(n):
    """n steps, uniform in half log-SNR, from -4 to 4; the last step to 0 is not to be taken."""
    return quiet([1.0, *(alpha_bar(4 - 8 * i / n) for i in range(n + 1))])


@functools.cache
def uneven(n):
    """The same ends, a short step of lambda, a long one, a short one ..: r is 3 and 1/3, however many there are."""
    lengths = [1 if i % 2 else 3 for i in range(n)]
    total = sum(lengths)
    return quiet([1.0, *(alpha_bar(4 - 8 * sum(lengths[:i]) / total) for i in range(n + 1))])


@functools.cache
def by_sigma(n, rho=7):
    """EDM's spacing between sigma = e^4 and e^-4."""
    high, low = math.exp(4 / rho), math.exp(-4 / rho)
    sigmas = [(low + i / n * (high - low)) ** rho for i in range(n + 1)]
    return quiet([1.0, *(1 / (1 + sigma**2) for sigma in sigmas)])


def walked(method, s, denoise, x):
    """x at t = 1, from T, by every time of s."""
    step = methods.choose(method, s, denoise, Options())
    return loop.walk(denoise, s, x, [(t, t - 1) for t in range(s.T, 1, -1)], step)


def error(n, method="ddim", spacing=by_lambda):
    """|solver - exact| after n steps on N(0.3, 0.5^2)."""
    s = spacing(n)
    x = walked(method, s, gaussian(s, MEAN, STD), torch.tensor([[START]], dtype=torch.float64))
    first, last = s.alpha_bar[-1].item(), s.alpha_bar[1].item()
    scale = math.sqrt((last * STD**2 + 1 - last) / (first * STD**2 + 1 - first))
    exact = math.sqrt(last) * MEAN + scale * (START - math.sqrt(first) * MEAN)
    return abs(x.item() - exact)


def order(error, n):
    return math.log2(error(n) / error(2 * n))


def test_golden_error():
    assert f"{error(80):.2e}" == "1.60e-02"


def test_golden_error_of_the_second_order():
    assert f"{error(80, 'dpmpp_2m'):.2e}" == "4.00e-04"


def test_first_order():
    assert math.log2(error(320) / error(640)) == pytest.approx(1, abs=0.02)


def test_dpmpp_2m_is_of_second_order():
    for spacing in (by_lambda, uneven, by_sigma):
        assert order(lambda n, k=spacing: error(n, "dpmpp_2m", k), 160) == pytest.approx(2, abs=0.05), spacing.__name__


def test_heun_is_of_second_order():
    for spacing in (by_lambda, uneven, by_sigma):
        assert order(lambda n, k=spacing: error(n, "heun", k), 160) == pytest.approx(2, abs=0.05), spacing.__name__


# ---------------------------------------------------------------- two modes: a flow that is no line

MIXTURE = oracles.Mixture(torch.tensor([0.35, 0.65]), torch.tensor([[-1.2], [0.8]]), torch.tensor([0.3, 0.5]))


def below(ab, x):
    """q(x_t <= x) of the mixture, from the normal distribution's erf."""
    found = 0.0
    for weight, mean, std in zip(MIXTURE.weights, MIXTURE.means, MIXTURE.stds, strict=True):
        deviation = (x - math.sqrt(ab) * mean.item()) / math.sqrt(ab * std.item() ** 2 + 1 - ab)
        found += weight.item() * 0.5 * (1 + math.erf(deviation / math.sqrt(2)))
    return found


def quantile(ab, level):
    low, high = -20.0, 20.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if below(ab, middle) < level else (low, middle)
    return low


STARTS = (-1.5, -0.2, 0.1, 0.6, 1.4)


@functools.cache
def exact(first, last):
    return [quantile(last, below(first, x)) for x in STARTS]


def error_of_mixture(n, method, spacing):
    """Root of the mean square over five starts."""
    s = spacing(n)
    x = walked(method, s, MIXTURE.denoiser(s), torch.tensor(STARTS, dtype=torch.float64)[:, None])
    want = exact(s.alpha_bar[-1].item(), s.alpha_bar[1].item())
    return (x[:, 0] - torch.tensor(want, dtype=torch.float64)).square().mean().sqrt().item()


def test_all_solvers_keep_the_quantiles():
    for method, spacing, want in (
        ("ddim", by_lambda, 1),
        ("dpmpp_2m", by_lambda, 2),
        ("dpmpp_2m", uneven, 2),
        ("heun", by_sigma, 2),
    ):
        errors = [error_of_mixture(n, method, spacing) for n in (80, 160)]
        assert math.log2(errors[0] / errors[1]) == pytest.approx(want, abs=0.15), (method, spacing.__name__)
        assert errors[1] < (0.04 if want == 1 else 2e-3), (method, spacing.__name__)


# ---------------------------------------------------------------- the stochastic solver: its Gaussian, not its paths


def spread(n, method, spacing=by_lambda):
    """Errors of slope and standard deviation at t = 1, of x_T ~ q(x_T); x_T = 1 and every z = 1 walk alone."""
    s, options = spacing(n), Options(variance="posterior" if method == "ddpm" else "beta")
    denoise = gaussian(s, 0.0, STD)
    drawn = iter(torch.cat([torch.zeros(1, n), torch.eye(n)]).double().T[:, :, None])
    x = torch.zeros(1 + n, 1, dtype=torch.float64)
    x[0] = 1
    with mock.patch("ddpm_edu.sampling.loop.draw", side_effect=drawn):
        step = methods.choose(method, s, denoise, options)
        slope, *noise = loop.walk(denoise, s, x, [(t, t - 1) for t in range(n + 1, 1, -1)], step)[:, 0].tolist()
    first, last = s.alpha_bar[-1].item(), s.alpha_bar[1].item()
    v_first, v_last = first * STD**2 + 1 - first, last * STD**2 + 1 - last
    std = math.sqrt(slope**2 * v_first + sum(c * c for c in noise))
    return abs(slope - math.sqrt(first / last) * v_last / v_first), abs(std - math.sqrt(v_last))


def test_the_mean_of_the_sde_is_exact():
    """E[x_0 | x_s], averaged over x_s given x_t, is E[x_0 | x_t]: no step can lose the mean, nor the look ahead."""
    for method in ("ddpm", "dpmpp_2m_sde"):
        for spacing in (by_lambda, uneven):
            assert spread(40, method, spacing)[0] < 1e-12, method


def test_the_spread_of_the_sde_is_of_second_order():
    for spacing in (by_lambda, uneven):
        first, second = (functools.partial(spread, method=m, spacing=spacing) for m in ("ddpm", "dpmpp_2m_sde"))
        assert order(lambda n, f=first: f(n)[1], 80) == pytest.approx(1, abs=0.1), spacing.__name__
        assert order(lambda n, f=second: f(n)[1], 160) == pytest.approx(2, abs=0.1), spacing.__name__
        assert second(80)[1] < first(80)[1] / 5
