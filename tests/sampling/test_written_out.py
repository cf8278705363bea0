"""Every method through ``sample`` on a Gaussian: the map of x_T and of each z, against the papers in Python numbers.

On a Gaussian a walk is linear in x_T and in every z. Its coefficients are read off one by one, so that nothing is
sampled: means and variances are exact too.
"""

import math
from itertools import product

import pytest
import torch

from ddpm_edu import oracles, reverse, sampling, schedules
from ddpm_edu.sampling import grids
from tests.sampling import written_out
from tests.sampling.closed_form import gaussian
from tests.sampling.written_out import gaussian_x0, levels, moments, read_off

MEAN, STD = 0.3, 0.5
COSINE, LINEAR = schedules.cosine(1000), schedules.linear(1000)
NO_SIGNAL = schedules.zero_terminal_snr(LINEAR)

GRIDS = {
    "uniform": lambda s, steps: grids.uniform(s.T, steps),
    "quadratic": lambda s, steps: grids.quadratic(s.T, steps),
    "log_snr": grids.log_snr,
    "karras": grids.karras,
}


def expected(walk, s, grid, mean=MEAN, std=STD):
    """The states (S + 1, 2 + S) of the walk written out: from x_T = 0, from 1, and with each z = 1 alone."""
    path, steps, rows = levels(s, grid), len(grid), []
    for x, own in [(0.0, None), (1.0, None), *((0.0, i) for i in range(steps))]:
        rows.append(walk(gaussian_x0(mean, std), path, x, [float(i == own) for i in range(steps)]))
    return torch.tensor(rows, dtype=torch.float64).T


def agree(method, walk, schedules_=(COSINE, LINEAR, NO_SIGNAL), kinds=GRIDS, counts=(1, 2, 3, 10, 30), **options):
    for s, kind, steps in product(schedules_, kinds, counts):
        grid = GRIDS[kind](s, steps)
        ours, papers = read_off(method, s, grid, MEAN, STD, **options), expected(walk, s, grid)
        torch.testing.assert_close(ours, papers, atol=1e-8, rtol=0, msg=lambda m, k=kind, n=steps: f"{k}, {n}: {m}")


def test_ddim_is_its_equations_12_and_16():
    for eta in (0.0, 0.4, 1.0):
        agree("ddim", written_out.ddim(eta), counts=(1, 3, 20), eta=eta)


def test_dpmpp_2m_is_its_algorithm():
    agree("dpmpp_2m", written_out.dpmpp_2m)


def test_dpmpp_2m_sde_is_its_algorithm():
    agree("dpmpp_2m_sde", written_out.dpmpp_2m_sde)


def test_heun_is_edms_algorithm():
    agree("heun", written_out.heun, (LINEAR,))
    agree("heun", written_out.heun, (COSINE,), ("karras", "log_snr"))  # uniform: sigma falls from 20,000 to 64 at once


def test_heun_from_pure_noise_begins_with_a_step_of_ddim():
    """sigma_T is infinite where alpha_bar_T = 0, and has no slope; from there on it is EDM's again."""
    for steps in (1, 2, 5, 20):
        grid = grids.karras(NO_SIGNAL, steps)
        ours = read_off("heun", NO_SIGNAL, grid, MEAN, STD)[:, :2]
        first = expected(written_out.ddim(0.0), NO_SIGNAL, grid[:1])[-1, :2]
        torch.testing.assert_close(ours[1], first, atol=1e-12, rtol=0)
        if steps > 1:
            walks = [written_out.heun(gaussian_x0(MEAN, STD), levels(NO_SIGNAL, grid[1:]), x.item(), []) for x in first]
            torch.testing.assert_close(ours[1:], torch.tensor(walks, dtype=torch.float64).T, atol=1e-10, rtol=0)


def test_deterministic_methods_use_no_noise():
    for method in ("ddim", "dpmpp_2m", "heun"):
        walks = read_off(method, COSINE, grids.karras(COSINE, 6), MEAN, STD)
        assert (walks[:, 2:] == walks[:, :1]).all(), method


# ---------------------------------------------------------------- mean and variance of ancestral sampling


def marginal(s, t, std=STD):
    ab = s.alpha_bar[t].item()
    return math.sqrt(ab) * MEAN, ab * std**2 + 1 - ab


def ancestral(s, grid, variance, start=(0.0, 1.0), std=STD):
    """Mean and variance of every state, by the true kernel: k = sqrt(ab_t / ab_s) v_s / v_t on x_t - sqrt(ab_t) mean.

    ``variance(ab_t, ab_s, v_t, v_s)`` is what a step adds.
    """
    ab, (m, c) = s.alpha_bar.tolist(), start
    found = [(m, c)]
    for t, s_ in grid:
        (mean_t, v_t), (mean_s, v_s) = marginal(s, t, std), marginal(s, s_, std)
        k = math.sqrt(ab[t] / ab[s_]) * v_s / v_t
        m, c = mean_s + k * (m - mean_t), k**2 * c + (variance(ab[t], ab[s_], v_t, v_s) if s_ else 0)
        found.append((m, c))
    return torch.tensor(found, dtype=torch.float64).T


def beta(ab_t, ab_s, v_t, v_s):
    return 1 - ab_t / ab_s


def posterior(ab_t, ab_s, v_t, v_s):
    return (1 - ab_t / ab_s) * (1 - ab_s) / (1 - ab_t)


def true(ab_t, ab_s, v_t, v_s):
    """Variance of q(x_s | x_t) itself: facts of a Gaussian, no error of eps in sight."""
    return (1 - ab_t / ab_s) * v_s / v_t


def learned(fraction):
    def variance(*levels_):
        return beta(*levels_) ** fraction * posterior(*levels_) ** (1 - fraction)

    return variance


def with_fraction(s, fraction):
    known = gaussian(s, MEAN, STD)
    return lambda x, t: known(x, t)._replace(variance_fraction=torch.full_like(x, fraction))


def test_ancestral_mean_and_variance_at_every_step():
    for s, kind, steps in product((COSINE, LINEAR), GRIDS, (1, 2, 5, 30)):
        grid, floor = GRIDS[kind](s, steps), oracles.Gaussian(MEAN, STD).eps_floor(s)
        for variance, want, denoise in (
            ("beta", beta, None),
            ("posterior", posterior, None),
            (reverse.Optimal(floor), true, None),
            ("optimal", true, oracles.Gaussian(MEAN, STD).denoiser(s)),
            *(("learned", learned(f), with_fraction(s, f)) for f in (0.0, 0.3, 1.0)),
        ):
            got = moments(read_off("ddpm", s, grid, MEAN, STD, denoise, variance=variance))
            torch.testing.assert_close(torch.stack(got), ancestral(s, grid, want), atol=1e-8, rtol=1e-8)


def test_ancestral_from_pure_noise():
    for steps in (1, 3, 20):
        grid = grids.uniform(1000, steps)
        for variance, want in (("beta", beta), ("posterior", posterior)):
            got = moments(read_off("ddpm", NO_SIGNAL, grid, MEAN, STD, variance=variance))
            torch.testing.assert_close(torch.stack(got), ancestral(NO_SIGNAL, grid, want), atol=1e-8, rtol=1e-8)


def test_the_optimal_variance_makes_every_jump_exact():
    """From the true x_T each x_s has the mean and the variance of the data at s: with any steps, however few.

    Golden, before the last step: 0.5720 and 0.5213, where beta gives 0.6826 and 0.5701, posterior 0.4609 and 0.4319.
    """
    for s, std in product((LINEAR, COSINE), (0.2, 0.5, 1.6)):
        for steps in (2, 10, 20):
            grid = grids.uniform(1000, steps)
            optimal = reverse.Optimal(oracles.Gaussian(MEAN, std).eps_floor(s))
            start = marginal(s, 1000, std)
            mean, variance = moments(read_off("ddpm", s, grid, MEAN, std, variance=optimal), *start)
            for i, (_, s_) in enumerate(grid[:-1]):
                want_mean, want = marginal(s, s_, std)
                assert mean[i + 1].item() == pytest.approx(want_mean, abs=1e-9), (steps, s_)
                assert variance[i + 1].item() == pytest.approx(want, rel=1e-9), (steps, s_)
            assert mean[-1].item() == pytest.approx(MEAN, abs=1e-9)
    for steps, golden in ((10, 0.5720), (20, 0.5213)):
        optimal = reverse.Optimal(oracles.Gaussian(MEAN, 0.5).eps_floor(LINEAR))
        _, variance = moments(read_off("ddpm", LINEAR, grids.uniform(1000, steps), MEAN, 0.5, variance=optimal))
        assert math.sqrt(variance[-2]) == pytest.approx(golden, abs=6e-5)


def test_ddim_mean_and_variance_with_any_noise():
    """k = (sqrt(ab_s ab_t) std^2 + sqrt(1 - ab_s - sigma^2) sqrt(1 - ab_t)) / v_t on x_t - sqrt(ab_t) mean."""
    for s, steps, eta in product((COSINE, LINEAR), (1, 5, 40), (0.0, 0.3, 0.8, 1.0)):
        grid, ab, (m, c) = grids.uniform(1000, steps), s.alpha_bar.tolist(), (0.0, 1.0)
        mean, variance = moments(read_off("ddim", s, grid, MEAN, STD, eta=eta))
        for i, (t, s_) in enumerate(grid):
            sigma_2 = eta**2 * (1 - ab[s_]) / (1 - ab[t]) * (1 - ab[t] / ab[s_])
            k = math.sqrt(ab[s_] * ab[t]) * STD**2 + math.sqrt((1 - ab[s_] - sigma_2) * (1 - ab[t]))
            k /= marginal(s, t)[1]
            m, c = math.sqrt(ab[s_]) * MEAN + k * (m - math.sqrt(ab[t]) * MEAN), k**2 * c + sigma_2
            assert mean[i + 1].item() == pytest.approx(m, abs=1e-8), (steps, eta)
            assert variance[i + 1].item() == pytest.approx(c, abs=1e-8), (steps, eta)


def test_a_point_comes_back_exactly_by_every_method():
    for method, steps, s in product(sampling.METHODS, (1, 2, 7), (COSINE, LINEAR, NO_SIGNAL)):
        out = sampling.sample(gaussian(s, 0.7, 0.0), s, (4, 2), method, steps, dtype=torch.float64)
        assert (out - 0.7).abs().max() < 1e-12, (method, steps)
