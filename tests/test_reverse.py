"""One step back over any pair of times: against Bayes on a grid that knows single steps only, and Monte Carlo."""

import itertools
import warnings

import numpy as np
import pytest
import torch

from ddpm_edu import forward, oracles, reverse, schedules
from ddpm_edu.errors import ConfigError, ScheduleWarning, ShapeError, TimestepError

S = schedules.linear(1000)
BETAS = np.array([0.05, 0.1, 0.2, 0.15, 0.3, 0.4])


def short():
    """Six large steps: every coefficient is far from 0 and 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)
        return schedules.from_betas(BETAS)


def pairs(s):
    t, s_ = (torch.tensor(v) for v in zip(*((t, k) for t in range(1, s.T + 1) for k in range(t)), strict=True))
    return t, s_


# ---------------------------------------------------------------- mean and variance of q(x_s | x_t, x_0)


def test_neighbours_are_the_posterior_of_the_forward_room():
    g = torch.Generator().manual_seed(0)
    for s in (S, schedules.cosine(400), schedules.zero_terminal_snr(schedules.linear_scaled(100))):
        x0, x_t = (torch.randn(s.T, 3, generator=g, dtype=torch.float64) for _ in range(2))
        t = torch.arange(1, s.T + 1)
        mean, variance = forward.q_posterior(s, x0, x_t, t)
        torch.testing.assert_close(reverse.pair_mean(s, x0, x_t, t, t - 1), mean, atol=1e-10, rtol=1e-9)
        torch.testing.assert_close(reverse.pair_posterior_variance(s, t, t - 1), variance[:, 0], atol=1e-13, rtol=1e-9)
        torch.testing.assert_close(reverse.pair_beta(s, t, t - 1), s.beta[1:], atol=1e-13, rtol=1e-9)


def kernel(beta, x):
    """N(to; sqrt(1 - beta) from, beta) on the grid: rows from, columns to."""
    return np.exp(-((x[None] - np.sqrt(1 - beta) * x[:, None]) ** 2) / (2 * beta)) / np.sqrt(2 * np.pi * beta)


def test_any_pair_against_bayes_on_a_grid():
    """q(x_s | x_t, x_0) ~ q(x_s | x_0) q(x_t | x_s), both by multiplying single steps: no alpha_bar in sight."""
    s, x0, x_t = short(), 0.7, -0.4
    x = np.linspace(-8, 8, 1601)
    dx = x[1] - x[0]
    end = int(np.abs(x - x_t).argmin())
    for t, k in [(a, b) for a in range(2, 7) for b in range(1, a)]:
        density = np.exp(-((x - np.sqrt(1 - BETAS[0]) * x0) ** 2) / (2 * BETAS[0]))
        for beta in BETAS[1:k]:
            density = density @ kernel(beta, x) * dx
        back = np.zeros_like(x)
        back[end] = 1
        for beta in BETAS[k:t][::-1]:
            back = kernel(beta, x) @ back
        p = density * back / (density * back).sum()
        mean = (p * x).sum()
        variance = (p * (x - mean) ** 2).sum()
        time, earlier = torch.tensor([t]), torch.tensor([k])
        points = [torch.full((1, 1), v, dtype=torch.float64) for v in (x0, x[end])]
        assert abs(reverse.pair_mean(s, *points, time, earlier).item() - mean) < 1e-9, (t, k)
        assert abs(reverse.pair_posterior_variance(s, time, earlier).item() - variance) < 1e-9, (t, k)


def test_the_noise_of_a_jump_is_what_its_steps_add():
    s = short()
    for t, k in itertools.combinations(range(6, -1, -1), 2):
        variance = 0.0
        for beta in BETAS[k:t]:
            variance = (1 - beta) * variance + beta
        assert abs(reverse.pair_beta(s, torch.tensor([t]), torch.tensor([k])).item() - variance) < 1e-14


def test_at_the_end_only_x0_is_left():
    x0, x_t = torch.tensor([[0.3], [-0.9]], dtype=torch.float64), torch.tensor([[5.0], [5.0]], dtype=torch.float64)
    t, zero = torch.tensor([1, 700]), torch.tensor([0, 0])
    torch.testing.assert_close(reverse.pair_mean(S, x0, x_t, t, zero), x0, atol=1e-12, rtol=1e-12)
    assert (reverse.pair_posterior_variance(S, t, zero) == 0).all()


def test_mean_keeps_the_dtype():
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = torch.ones(2, 3, dtype=dtype)
        assert reverse.pair_mean(S, x, x, torch.tensor([5, 9]), torch.tensor([1, 2])).dtype == dtype


def test_each_sample_has_its_own_pair():
    s = short()
    t, k = pairs(s)
    g = torch.Generator().manual_seed(0)
    x0, x_t = (torch.randn(len(t), 2, 1, 3, generator=g, dtype=torch.float64) for _ in range(2))
    together = reverse.pair_mean(s, x0, x_t, t, k)
    for i in range(len(t)):
        alone = reverse.pair_mean(s, x0[i : i + 1], x_t[i : i + 1], t[i : i + 1], k[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)


# ---------------------------------------------------------------- the choices of variance


def test_nothing_is_drawn_into_the_clean_image():
    t, zero = torch.tensor([1, 3, 6]), torch.tensor([0, 0, 0])
    for choice in ("beta", "posterior"):
        assert (reverse.pair_variance(short(), t, zero, choice) == 0).all()
    assert (reverse.pair_variance(short(), t, zero, "learned", torch.full((3, 2), 0.5)) == 0).all()
    assert (reverse.pair_variance(short(), t[:1], zero[:1], short().beta) == 0).all()


def test_names_of_the_variances():
    s = short()
    t, k = (v[pairs(s)[1] > 0] for v in pairs(s))
    beta, small = reverse.pair_beta(s, t, k), reverse.pair_posterior_variance(s, t, k)
    assert torch.equal(reverse.pair_variance(s, t, k, "beta"), beta)
    assert torch.equal(reverse.pair_variance(s, t, k, "posterior"), small)
    assert (small < beta).all()
    fraction = torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64).expand(len(t), 3)
    learned = reverse.pair_variance(s, t, k, "learned", fraction)
    want = torch.stack([small, beta, (small * beta).sqrt()], 1)
    torch.testing.assert_close(learned, want, rtol=1e-12, atol=0)


def test_a_table_is_for_single_steps():
    s = short()
    t = torch.arange(2, 7)
    table = torch.arange(7.0)
    assert torch.equal(reverse.pair_variance(s, t, t - 1, table), table[2:].double())
    with pytest.raises(ConfigError, match="single steps"):
        reverse.pair_variance(s, t, t - 2, table)
    with pytest.raises(ShapeError, match=r"\(7,\)"):
        reverse.pair_variance(s, t, t - 1, table[1:])


def test_the_bound_never_has_width_zero():
    """Golden: entry 2 stands in at t = 1, log -9.817 for DDPM's schedule; with T = 1 there is only beta."""
    t = torch.arange(1, 1001)
    small = reverse.bound_variance(S, t, "posterior")
    assert f"{small[0].log():.3f}" == "-9.817" and small[0] == small[1]
    torch.testing.assert_close(small[1:], S.posterior_variance[2:], rtol=1e-14, atol=0)
    assert torch.equal(reverse.bound_variance(S, t, "beta"), S.beta[1:])
    assert S.posterior_variance[1] == 0  # the schedule's own table is left alone
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)
        one = schedules.from_betas([0.3])
    assert abs(reverse.bound_variance(one, torch.tensor([1]), "posterior").item() - 0.3) < 1e-15


def test_interpolation_ends_and_middle():
    low, high = torch.tensor([1e-6, 0.1]).double(), torch.tensor([1e-4, 0.4]).double()
    for fraction, want in ((0.0, low), (1.0, high), (0.5, (low * high).sqrt())):
        f = torch.full((2,), fraction, dtype=torch.float64)
        torch.testing.assert_close(reverse.interpolate(low, high, f), want, rtol=1e-12, atol=0)


def test_optimal_is_the_variance_of_the_true_step_back():
    """For a Gaussian: beta_t v_{t-1} / v_t, from its error of eps alone."""
    for s, std in itertools.product((S, schedules.cosine(400), short()), (0.5, 1.0, 2.0)):
        v = s.alpha_bar * std**2 + 1 - s.alpha_bar
        error = s.alpha_bar * std**2 / v
        want = s.beta[1:] * v[:-1] / v[1:]
        torch.testing.assert_close(reverse.optimal(s, error)[1:], want, rtol=1e-8, atol=0)
        assert reverse.optimal(s, error)[0] == 0
    assert (want > s.beta[1:]).all()  # with std 2 it lies above beta: outside the bracket of "learned"


def test_optimal_against_simulation():
    """Two modes: the variance of x_{t-1} about the model's mean, by walking data forwards."""
    s, g = short(), torch.Generator().manual_seed(0)
    mixture = oracles.Mixture(torch.tensor([0.4, 0.6]), torch.tensor([[-1.5], [0.5]]), torch.tensor([0.2, 0.3]))
    x0, _ = mixture.sample(200_000, g)
    for t in (2, 4, 6):
        time = torch.full((len(x0),), t)
        before = forward.q_sample(s, x0, time - 1, torch.randn(x0.shape, generator=g, dtype=torch.float64))
        x_t = forward.q_step(s, before, time, torch.randn(x0.shape, generator=g, dtype=torch.float64))
        denoised = mixture.denoiser(s)(x_t, time)
        eps = (x_t - s.alpha_bar[t].sqrt() * x0) / (1 - s.alpha_bar[t]).sqrt()
        error = torch.zeros(7, dtype=torch.float64)
        error[t] = (denoised.eps - eps).square().mean()
        spread = (before - reverse.pair_mean(s, denoised.x0, x_t, time, time - 1)).square().mean().item()
        assert abs(reverse.optimal(s, error)[t].item() / spread - 1) < 0.02, t


def test_resolve_asks_the_denoiser_for_its_error():
    gaussian = oracles.Gaussian(0.3, 0.5)
    torch.testing.assert_close(reverse.resolve("optimal", gaussian.denoiser(S)), reverse.Optimal(gaussian.eps_floor(S)))
    assert reverse.resolve("beta", gaussian.denoiser(S)) == "beta"
    with pytest.raises(ConfigError, match="eps_mse"):
        reverse.bound_variance(S, torch.tensor([2]), reverse.resolve("optimal", lambda x, t: None))


def test_pairs_that_cannot_be():
    for t, k in ((1, 1), (2, 3), (1001, 5), (3, -1), (0, -1)):
        for call in (reverse.pair_beta, reverse.pair_posterior_variance):
            with pytest.raises(TimestepError, match=r"0 <= s < t <= 1000"):
                call(S, torch.tensor([t]), torch.tensor([k]))
