"""What is the same on paper is the same here: methods that coincide, on three modes in the plane, step by step."""

import itertools

import torch

from ddpm_edu import oracles, sampling, schedules
from ddpm_edu.sampling import grids
from tests.sampling.closed_form import trajectory

COSINE, LINEAR = schedules.cosine(1000), schedules.linear(1000)
NO_SIGNAL = schedules.zero_terminal_snr(LINEAR)
MODES = oracles.Mixture(
    torch.tensor([0.5, 0.3, 0.2]), torch.tensor([[-1.0, 0.0], [0.8, 0.8], [0.5, -1.0]]), torch.tensor([0.15, 0.3, 0.1])
)
X_T = torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

WALKS = [
    (s, grid)
    for s in (COSINE, LINEAR, NO_SIGNAL)
    for grid in (
        grids.uniform(1000, 1),
        grids.uniform(1000, 13),
        grids.karras(s, 20),
        grids.log_snr(s, 8),
        grids.linspace(1000, 50),
    )
]


def states(s, grid, method, seed=1, **options):
    generator = torch.Generator().manual_seed(seed)
    found, pairs = trajectory(
        sampling, MODES.denoiser(s), s, X_T.shape, method, grid=grid, x_T=X_T, dtype=torch.float64,
        generator=generator, **options,
    )  # fmt: skip
    assert pairs == list(grid)
    return torch.stack(found)


def seen(s, x, t):
    return MODES.denoiser(s)(x, torch.full((len(x),), t))


def test_ddim_with_full_noise_is_ddpm_with_the_posterior_variance_for_jumps_too():
    for s, grid in WALKS:
        a, b = states(s, grid, "ddim", eta=1.0), states(s, grid, "ddpm", variance="posterior")
        assert (a - b).abs().max() < 1e-11, (s, len(grid))
    assert (a - states(s, grid, "ddim", eta=0.9)).abs().max() > 1e-3


def test_ddim_is_eulers_step_in_sigma():
    """z = x / sqrt(ab) moves by (sigma_s - sigma_t) eps."""
    for s, grid in WALKS:
        if s is NO_SIGNAL:
            continue  # its sigma_T is infinite
        sigma, root = (1 / s.alpha_bar - 1).sqrt(), s.alpha_bar.sqrt()
        walk = states(s, grid, "ddim")
        for x, x_s, (t, s_) in zip(walk, walk[1:], grid, strict=False):
            euler = x / root[t] + (sigma[s_] - sigma[t]) * seen(s, x, t).eps
            lost = 1e-15 * sigma[t].item()  # of 20,000, at the start of the cosine schedule
            torch.testing.assert_close(x_s, root[s_] * euler, atol=1e-12 + lost, rtol=1e-12)


def test_ddim_is_the_first_order_of_dpm_solver():
    """(sigma_s / sigma_t) x - alpha_s (e^-h - 1) x0-hat, with lambda = log(alpha / sigma)."""
    for s, grid in WALKS:
        alpha, sigma = s.alpha_bar.sqrt(), (1 - s.alpha_bar).sqrt()
        lambdas = (alpha / sigma).log()
        walk = states(s, grid, "ddim")
        for x, x_s, (t, s_) in zip(walk, walk[1:], grid, strict=False):
            shrink = torch.expm1(lambdas[t] - lambdas[s_])
            step = sigma[s_] / sigma[t] * x - alpha[s_] * shrink * seen(s, x, t).x0
            torch.testing.assert_close(x_s, step, atol=1e-12, rtol=1e-12)


def test_ddim_turns_x_by_an_angle():
    """x_s = cos(d) x - sin(d) v, d the difference of phi = atan2(sqrt(1 - ab), sqrt(ab)), v = sqrt(ab) eps - .. x0."""
    for s, grid in WALKS:
        alpha, sigma = s.alpha_bar.sqrt(), (1 - s.alpha_bar).sqrt()
        phi = torch.atan2(sigma, alpha)
        walk = states(s, grid, "ddim")
        for x, x_s, (t, s_) in zip(walk, walk[1:], grid, strict=False):
            x0, eps, _ = seen(s, x, t)
            v, turn = alpha[t] * eps - sigma[t] * x0, phi[t] - phi[s_]
            torch.testing.assert_close(x_s, turn.cos() * x - turn.sin() * v, atol=1e-12, rtol=1e-12)


def test_the_first_step_of_dpmpp_2m_is_ddims_and_the_later_ones_are_not():
    for s, grid in WALKS:
        a, b = states(s, grid, "dpmpp_2m"), states(s, grid, "ddim")
        assert torch.equal(a[:2], b[:2])
        assert len(grid) == 1 or (a - b).abs().max() > 1e-3


def test_the_first_step_of_the_sde_solver_is_ddpms_and_the_later_ones_are_not():
    for s, grid in WALKS:
        a, b = states(s, grid, "dpmpp_2m_sde"), states(s, grid, "ddpm", variance="posterior")
        assert torch.equal(a[:2], b[:2])
        assert len(grid) == 1 or (a - b).abs().max() > 1e-3


def test_where_lambda_is_infinite_dpmpp_2m_takes_ddims_step():
    """From T with zero terminal SNR the first h is infinite: 1 / 2r of the second step is 0. As in the last step."""
    grid = grids.uniform(1000, 13)
    walk = states(NO_SIGNAL, grid, "dpmpp_2m")
    for i in (1, 12):
        t, s_ = grid[i]
        ab, (x0, eps, _) = NO_SIGNAL.alpha_bar[s_], seen(NO_SIGNAL, walk[i], t)
        torch.testing.assert_close(walk[i + 1], ab.sqrt() * x0 + (1 - ab).sqrt() * eps, atol=1e-12, rtol=0)


def test_the_last_step_of_every_method_lands_on_x0():
    for (s, grid), method in itertools.product(WALKS, sampling.METHODS):
        walk = states(s, grid, method)
        want = seen(s, walk[-2], grid[-1][0]).x0
        torch.testing.assert_close(walk[-1], want, atol=1e-12, rtol=0, msg=lambda m, name=method: f"{name}: {m}")


def test_one_step_of_any_method_is_the_mean():
    """S = 1: nothing but x0-hat at T, which knows the mean of the data and nothing else (COSINE: ab_T = 2e-9)."""
    mean = (MODES.weights[:, None] * MODES.means).sum(0)
    for method in sampling.METHODS:
        out = states(COSINE, [(1000, 0)], method)[-1]
        assert (out - mean).abs().max() < 1e-3, method
