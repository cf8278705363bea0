"""Samplers on a Gaussian, where a step is a linear map, against numbers worked out elsewhere in closed form."""

import math
from itertools import pairwise

import pytest
import torch

from ddpm_edu import sampling, schedules
from ddpm_edu.sampling import ddim, ddpm, grids
from tests.sampling.closed_form import affine_step, gaussian, trajectory

COSINE, LINEAR = schedules.cosine(1000), schedules.linear(1000)
MEAN, STD = 0.3, 0.5

# std of DDIM's samples, cosine-1000, data N(mean, 0.5^2), S uniform steps
DDIM_STD = {
    2: (0.198521, 0.198518),
    5: (0.361826, 0.328047),
    10: (0.426826, 0.388656),
    20: (0.462110, 0.432302),
    50: (0.484450, 0.467744),
    100: (0.492130, 0.482437),
    1000: (0.499189, 0.497993),
}

# std of ancestral samples where the last step begins, linear-1000: steps -> (true, posterior, beta)
ANCESTRAL_STD = {10: (0.5720, 0.4609, 0.6826), 20: (0.5213, 0.4319, 0.5701)}


def carried(step, s, grid, **options):
    """Mean and variance of N(0, 1) carried through the steps: in before the last pair, and in the end."""
    denoise, mean, variance, before = gaussian(s, MEAN, STD), 0.0, 1.0, (0.0, 1.0)
    for t, s_ in grid:
        before = (mean, variance)
        k, a, c = affine_step(step, s, denoise, t, s_, **options)
        mean, variance = k * mean + a, k**2 * variance + c**2
    return before, (mean, variance)


def mapped(steps):
    """(a, b) of the deterministic map x_0 = a + b x_T of DDIM through ``sample``, from two points."""
    x_T = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    out = sampling.sample(
        gaussian(COSINE, MEAN, STD), COSINE, (2, 1), "ddim", steps, x_T=x_T, dtype=torch.float64
    ).flatten()
    return out[0].item(), (out[1] - out[0]).item()


def test_ddim_gives_the_golden_spread_and_the_mean():
    for steps, (std, _) in DDIM_STD.items():
        a, b = mapped(steps)
        assert b == pytest.approx(std, abs=6e-7), steps
        # x_T has mean 0, not sqrt(alpha_bar_T) 0.3: what is missing of the mean is b sqrt(alpha_bar_T) 0.3
        assert a == pytest.approx(MEAN, abs=1e-4), steps


def test_ddim_is_the_product_of_cosines():
    """An independent form: std = s / sqrt(v_T) prod cos(phi_t - phi_s), phi = atan2(sqrt(1 - ab), s sqrt(ab))."""
    ab = COSINE.alpha_bar.tolist()
    for steps in (1, 3, 7, 50):
        grid = [(i * 1000 / steps) for i in range(steps + 1)]
        phi = [math.atan2(math.sqrt(1 - ab[t]), STD * math.sqrt(ab[t])) for t in (math.floor(g + 0.5) for g in grid)]
        turns = math.prod(math.cos(b - a) for a, b in pairwise(phi))
        expected = STD / math.sqrt(ab[-1] * STD**2 + 1 - ab[-1]) * turns
        assert mapped(steps)[1] == pytest.approx(expected, rel=1e-9, abs=1e-12), steps


def test_ddim_with_noise_gives_the_golden_spread():
    for steps, (_, std) in DDIM_STD.items():
        _, (_, variance) = carried(ddim.step, COSINE, grids.uniform(1000, steps), eta=1.0)
        assert math.sqrt(variance) == pytest.approx(std, abs=6e-7), steps


def test_ddim_adds_eta_times_the_noise_and_keeps_the_marginal():
    """For data at 0, x_t ~ N(0, 1 - ab_t): a step with any eta must land on N(0, 1 - ab_s)."""
    denoise, ab = gaussian(LINEAR, 0.0, 0.0), LINEAR.alpha_bar.tolist()
    for t, s_ in ((1000, 999), (1000, 300), (300, 20), (2, 1)):
        full = math.sqrt((1 - ab[s_]) / (1 - ab[t]) * (1 - ab[t] / ab[s_]))
        for eta in (0.0, 0.3, 0.7, 1.0):
            k, _, c = affine_step(ddim.step, LINEAR, denoise, t, s_, eta=eta)
            assert c == pytest.approx(eta * full, rel=1e-12, abs=1e-15), (t, s_, eta)
            assert k**2 * (1 - ab[t]) + c**2 == pytest.approx(1 - ab[s_], rel=1e-10), (t, s_, eta)


def test_rounding_makes_no_nan():
    """Here 1 - ab_s - sigma^2, which is 0 or more on paper, comes out as -1.3e-26."""
    s = schedules.from_alpha_bar([1.0, 0.9999999999408828, 2.1800659503160995e-09])
    assert math.isfinite(affine_step(ddim.step, s, gaussian(s), 2, 1, eta=1.0)[0])


def test_ancestral_steps_give_the_golden_spread_before_the_last():
    for steps, (true, posterior, beta) in ANCESTRAL_STD.items():
        grid = grids.uniform(1000, steps)
        ab = LINEAR.alpha_bar[grid[-1][0]].item()
        assert math.sqrt(ab * STD**2 + 1 - ab) == pytest.approx(true, abs=6e-5)
        for choice, std in (("posterior", posterior), ("beta", beta)):
            (_, variance), _ = carried(ddpm.step, LINEAR, grid, variance=choice)
            assert math.sqrt(variance) == pytest.approx(std, abs=6e-5), (steps, choice)


def test_the_full_ancestral_chain_gives_the_golden_variance():
    """The bound's model adds noise at t = 1 too, the sampler does not: S_1 lies between them."""
    for choice, golden, last in (
        ("beta", 0.250852, LINEAR.beta[1]),
        ("posterior", 0.246180, LINEAR.posterior_variance[2]),
    ):
        (_, (_, variance)) = carried(ddpm.step, LINEAR, grids.uniform(1000, 1000), variance=choice)
        assert variance + last.item() == pytest.approx(golden, abs=6e-7), choice


def test_ddim_with_full_noise_is_ddpm_with_the_posterior_variance():
    s = schedules.linear_scaled(200)
    x_T = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    runs = [
        trajectory(
            sampling, gaussian(s, MEAN, STD), s, (5, 3), method, 200,
            x_T=x_T, dtype=torch.float64, generator=torch.Generator().manual_seed(1), **options,
        )[0]
        for method, options in (("ddim", {"eta": 1.0}), ("ddpm", {"variance": "posterior"}))
    ]  # fmt: skip
    assert len(runs[0]) == len(runs[1]) == 201
    for step, (a, b) in enumerate(zip(*runs, strict=True)):
        assert (a - b).abs().max() < 1e-10, step


def test_a_point_comes_back_exactly():
    s = schedules.linear_scaled(50)
    for method, options in (("ddpm", {"variance": "posterior"}), ("ddpm", {}), ("ddim", {"steps": 1}), ("ddim", {})):
        out = sampling.sample(gaussian(s, 0.7, 0.0), s, (4, 2), method, dtype=torch.float64, **options)
        assert (out - 0.7).abs().max() < 1e-12, (method, options)


def test_the_last_step_adds_no_noise():
    """From the same x_1, other noise: DDPM's x_0 is the same, and it is x0-hat."""
    x_1 = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    denoise, grid = gaussian(LINEAR, MEAN, STD), [(1, 0)]
    for choice in ("beta", "posterior", LINEAR.beta):
        seeds = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        options = {"x_T": x_1, "grid": grid, "variance": choice}
        out = [sampling.sample(denoise, LINEAR, (4, 2), generator=seed, **options) for seed in seeds]
        assert torch.equal(*out)
        torch.testing.assert_close(out[0], denoise(x_1, torch.ones(4, dtype=torch.int64)).x0)


def test_simulated_samples_have_the_mean_and_spread_of_the_data():
    """The whole of sample() in float32, by counting; 4 standard errors allowed."""
    s, n = schedules.cosine(100), 40_000
    x = sampling.sample(gaussian(s, MEAN, STD), s, (n, 1), generator=torch.Generator().manual_seed(0))
    _, (mean, variance) = carried(ddpm.step, s, grids.uniform(100, 100))
    assert x.dtype == torch.float32
    assert abs(mean - MEAN) < 1e-3 and abs(math.sqrt(variance) - STD) < 0.01
    assert abs(x.mean().item() - mean) < 4 * math.sqrt(variance / n)
    assert abs(x.std().item() - math.sqrt(variance)) < 4 * math.sqrt(variance / (2 * n))
