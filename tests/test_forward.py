"""The forward process held to oracles that share no code with it: exact moments by enumeration, Bayes on a
grid, autograd, Monte Carlo. Tests are plain functions that reach the code as ``forward.f``, so that the
mutants (tests/mutants) can put a wrong f in its place and see them fail.
"""

import math

import numpy as np
import pytest
import torch

from ddpm_edu import forward, schedules
from ddpm_edu.errors import ScheduleWarning

S = schedules.linear(1000)
LAST = 200  # of a shorter chain, where every coefficient is far from 0 and 1
SHORT = schedules.linear_scaled(LAST)
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def raw_400():
    """The article's schedule: DDPM's betas with T = 400. It warns, as it should."""
    with pytest.warns(ScheduleWarning):
        return schedules.linear(400)


def all_t(s):
    return torch.arange(1, s.T + 1)


def coefficients(f, s):
    """(a_t, b_t) of f(x, t, noise) = a_t x + b_t noise for t = 1..T, in float64."""
    one, zero, t = torch.ones(s.T, 1, dtype=torch.float64), torch.zeros(s.T, 1, dtype=torch.float64), all_t(s)
    return f(s, one, t, zero).flatten(), f(s, zero, t, one).flatten()


# ---------------------------------------------------------------- one step and the jump


def test_one_step_has_variance_beta():
    a, b = coefficients(forward.q_step, S)
    betas = np.linspace(1e-4, 0.02, 1000)  # DDPM's, written again
    np.testing.assert_allclose((b**2).numpy(), betas, rtol=1e-10)
    np.testing.assert_allclose((a**2 + b**2).numpy(), 1, rtol=1e-12)


def test_steps_compose_to_the_closed_form():
    """Signal and noise variance carried through the steps one by one, against the jump."""
    step_a, step_b = coefficients(forward.q_step, SHORT)
    jump_a, jump_b = coefficients(forward.q_sample, SHORT)
    signal, variance = 1.0, 0.0
    for t in range(LAST):
        signal, variance = signal * step_a[t].item(), step_a[t].item() ** 2 * variance + step_b[t].item() ** 2
        assert math.isclose(jump_a[t], signal, rel_tol=1e-10), t + 1
        assert math.isclose(jump_b[t] ** 2, variance, rel_tol=1e-10), t + 1


def test_the_jump_has_the_golden_signal_of_ddpm():
    """T = 1000, linear: alpha_bar_100 = 0.897, alpha_bar_1000 = 4.0358e-5; alpha_bar_1 = 1 - beta_1."""
    a, _ = coefficients(forward.q_sample, S)
    assert f"{a[99] ** 2:.3f}" == "0.897" and f"{a[999] ** 2:.4e}" == "4.0358e-05" and math.isclose(a[0] ** 2, 0.9999)


def moments(x0, x):
    return x.mean().item(), x.var().item(), float(np.corrcoef(x0.flatten(), x.flatten())[0, 1] ** 2)


def walked(walk):
    """(x_0, x_t) at three times of a walk over 40,000 points of mean 0.3 and variance 0.25."""
    g = torch.Generator().manual_seed(0)
    x0 = 0.3 + 0.5 * torch.randn(40_000, 1, generator=g, dtype=torch.float64)
    return {t: (x0, x) for t, x in walk(SHORT, x0, g) if t in (20, 60, 140)}


def expected_moments(t, v=0.25):
    ab = math.prod(1 - b for b in np.linspace(5e-4, 0.1, LAST)[:t])  # scaled by 1000/T, written again
    total = ab * v + 1 - ab
    return math.sqrt(ab) * 0.3, total, ab * v / total


def test_the_walk_has_mean_variance_and_correlation_of_the_closed_form():
    """The correlation is what tells: a loop that multiplies by alpha_bar in each step keeps the variance."""
    for t, (x0, x) in walked(forward.walk).items():
        mean, variance, correlation = moments(x0, x)
        want_mean, want_variance, want_correlation = expected_moments(t)
        assert abs(mean - want_mean) < 0.02
        assert abs(variance - want_variance) < 0.03
        assert abs(correlation - want_correlation) < 0.015, t


def article_walk(s, x0, generator=None):
    """The loop as an article printed it, its names mended: alpha_bar applied in every step."""
    x = x0
    yield 0, x
    for t in range(1, s.T + 1):
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = s.alpha_bar[t].sqrt() * x + (1 - s.alpha_bar[t]).sqrt() * noise
        yield t, x


def test_a_variance_only_test_would_pass_the_articles_loop():
    """Negative control of the test above, and its lesson: unit-variance data keep variance 1 either way."""
    g = torch.Generator().manual_seed(0)
    x0 = torch.randn(40_000, 1, generator=g, dtype=torch.float64)
    x = dict(article_walk(SHORT, x0, g))[60]
    _, variance, correlation = moments(x0, x)
    assert abs(variance - 1) < 0.02
    assert correlation < 0.001 < 0.1 < expected_moments(60, 1.0)[2]


def test_the_articles_loop_on_ddpms_schedule():
    """Golden, T = 400 linear: what share of alpha_bar is left at t = 10, 30, 60, right and article."""
    article = np.cumprod(np.cumprod(1 - np.linspace(1e-4, 0.02, 400)))
    assert [f"{article[t - 1]:.4f}" for t in (10, 30, 60)] == ["0.9864", "0.7628", "0.1381"]
    a, _ = coefficients(forward.q_sample, raw_400())
    assert [f"{a[t - 1] ** 2:.4f}" for t in (10, 30, 60)] == ["0.9968", "0.9756", "0.9099"]


def test_walk_noise_is_normal():
    """Fourth moment 3: uniform noise, a published slip (rand for randn), has 1.8 and a mean."""
    x0 = torch.zeros(100_000, 1, dtype=torch.float64)
    one_step = schedules.from_betas([0.5, 0.999])
    noise = next(x for t, x in forward.walk(one_step, x0, torch.Generator().manual_seed(1)) if t == 1) / math.sqrt(0.5)
    assert abs(noise.mean()) < 0.02 and abs(noise.var() - 1) < 0.02 and abs((noise**4).mean() - 3) < 0.1


def test_walk_visits_every_t_once():
    assert [t for t, _ in forward.walk(SHORT, torch.zeros(1, 1))] == list(range(LAST + 1))


def test_random_t_draws_exactly_what_the_walk_visits():
    s = schedules.from_betas([0.5, 0.5, 0.999])
    drawn = forward.random_t(s, 3000, torch.Generator().manual_seed(0))
    assert drawn.dtype == torch.int64 and drawn.shape == (3000,)
    assert set(drawn.tolist()) == {t for t, _ in forward.walk(s, torch.zeros(1, 1)) if t > 0} == {1, 2, 3}
    assert (torch.bincount(drawn)[1:] - 1000).abs().max() < 120  # uniform: 4.6 standard deviations


def test_walk_is_reproducible_and_keeps_what_it_gave():
    x0 = torch.ones(2, 1, 3, 3)
    a = [x.clone() for _, x in forward.walk(SHORT, x0, torch.Generator().manual_seed(3))]
    b = [x for _, x in forward.walk(SHORT, x0, torch.Generator().manual_seed(3))]
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True)) and torch.equal(x0, torch.ones(2, 1, 3, 3))


# ---------------------------------------------------------------- inputs, shapes, dtypes


def test_each_sample_gets_its_own_t():
    g = torch.Generator().manual_seed(0)
    t = torch.tensor([3, 150, 3, 77])
    for shape in ((4, 2), (4, 4), (4, 3, 5, 5), (4, 1, 1, 2, 2)):
        x, noise = torch.randn(2, *shape, generator=g, dtype=torch.float64)
        for f in (forward.q_step, forward.q_sample, lambda s, x, t, n: forward.q_posterior(s, x, n, t)[0]):
            together = f(SHORT, x, t, noise)
            for i in range(4):
                torch.testing.assert_close(together[i : i + 1], f(SHORT, x[i : i + 1], t[i : i + 1], noise[i : i + 1]))


def test_inputs_are_left_alone():
    x, noise, t = torch.randn(3, 2), torch.randn(3, 2), torch.tensor([1, 5, 9])
    copies = x.clone(), noise.clone(), t.clone()
    (
        forward.q_step(SHORT, x, t, noise),
        forward.q_sample(SHORT, x, t, noise),
        forward.q_posterior(SHORT, x, noise, t),
    )
    assert all(torch.equal(a, b) for a, b in zip((x, noise, t), copies, strict=True))


def test_half_precision_gets_the_right_noise_at_every_t():
    """A naive version rounds 1 - alpha_bar_t to 0: no noise at t < 10 in bfloat16, at t < 2 in float16."""
    want = np.sqrt(1 - np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))
    for dtype in DTYPES:
        zero, one = torch.zeros(1000, 1, dtype=dtype), torch.ones(1000, 1, dtype=dtype)
        got = forward.q_sample(S, zero, all_t(S), one)
        assert got.dtype == dtype
        np.testing.assert_allclose(got.flatten().double().numpy(), want, rtol=float(torch.finfo(dtype).eps))
        step = forward.q_step(S, zero, all_t(S), one)
        np.testing.assert_allclose(
            step.flatten().double().numpy() ** 2,
            np.linspace(1e-4, 0.02, 1000),
            rtol=4 * torch.finfo(dtype).eps,
        )


def test_results_keep_the_dtype():
    t = torch.tensor([7, 70])
    for dtype in DTYPES:
        x, y = torch.ones(2, 3, dtype=dtype), torch.zeros(2, 3, dtype=dtype)
        mean, variance = forward.q_posterior(SHORT, x, y, t)
        assert mean.dtype == variance.dtype == dtype and variance.shape == (2, 1)
        assert forward.q_step(SHORT, x, t, y).dtype == dtype
        assert [v.dtype for _, v in forward.walk(schedules.from_betas([0.999, 0.999]), x)] == [dtype] * 3


# ---------------------------------------------------------------- the posterior


def bayes_on_a_grid(betas, t, x0, x_t):
    """Mean and variance of q(x_{t-1} | x_t, x_0) by numerical normalisation; the betas are all it knows."""
    ab = np.prod(1 - np.array(betas[: t - 1]))
    z = np.linspace(-8, 8, 40_001)
    log = -((z - np.sqrt(ab) * x0) ** 2) / (2 * (1 - ab)) - (x_t - np.sqrt(1 - betas[t - 1]) * z) ** 2 / (
        2 * betas[t - 1]
    )
    w = np.exp(log - log.max())
    w /= w.sum()
    mean = (w * z).sum()
    return mean, (w * (z - mean) ** 2).sum()


BETAS = [0.1, 0.3, 0.15, 0.4, 0.6, 0.999]


def test_posterior_against_bayes_on_a_grid():
    s = schedules.from_betas(BETAS)
    for t in range(2, 7):
        for x0, x_t in ((0.7, -0.4), (-1.0, 1.5), (0.0, 0.3)):
            mean, variance = forward.q_posterior(
                s, *(torch.tensor([[v]], dtype=torch.float64) for v in (x0, x_t)), torch.tensor([t])
            )
            want_mean, want_variance = bayes_on_a_grid(BETAS, t, x0, x_t)
            assert math.isclose(mean, want_mean, abs_tol=1e-8), (t, x0, x_t)
            assert math.isclose(variance, want_variance, rel_tol=1e-6)


def test_posterior_at_the_first_step_is_the_clean_point_itself():
    x0, x_1 = torch.tensor([[0.7]], dtype=torch.float64), torch.tensor([[9.0]], dtype=torch.float64)
    mean, variance = forward.q_posterior(S, x0, x_1, torch.tensor([1]))
    assert math.isclose(mean, x0, rel_tol=1e-10) and variance == 0


def test_posterior_by_simulation():
    """Regression of x_{t-1} on x_t over simulated chains from one x_0: no density written down at all."""
    s, t, n = schedules.from_betas(BETAS), 4, 400_000
    x0 = torch.full((n, 1), 0.7, dtype=torch.float64)
    states = dict(forward.walk(s, x0, torch.Generator().manual_seed(0)))
    before, after = states[t - 1].flatten(), states[t].flatten()
    slope = torch.cov(torch.stack([before, after]))[0, 1] / after.var()
    residual = before - before.mean() - slope * (after - after.mean())
    probe = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    mean, variance = forward.q_posterior(s, x0[:2], probe, torch.full((2,), t))
    assert abs((mean[1] - mean[0]).item() - slope.item()) < 0.01
    assert abs(mean[0].item() - (before.mean() - slope * after.mean()).item()) < 0.01
    assert abs(variance[0].item() - residual.var().item()) < 0.005


def test_posterior_variance_is_the_schedules():
    t = all_t(SHORT)
    x = torch.zeros(LAST, 1, dtype=torch.float64)
    _, variance = forward.q_posterior(SHORT, x, x, t)
    torch.testing.assert_close(variance.flatten(), SHORT.posterior_variance[1:], rtol=0, atol=0)


# ---------------------------------------------------------------- what is left of x_0


def test_squared_correlation_against_simulation():
    for v in (0.25, 9.0):
        table = forward.squared_correlation(SHORT, v)
        g = torch.Generator().manual_seed(0)
        x0 = math.sqrt(v) * torch.randn(100_000, 1, generator=g, dtype=torch.float64)
        for t in (10, 60, 120):
            x = forward.q_sample(
                SHORT, x0, torch.full((len(x0),), t), torch.randn(x0.shape, generator=g, dtype=torch.float64)
            )
            assert abs(table[t].item() - moments(x0, x)[2]) < 0.01


def test_squared_correlation_golden():
    """Raw linear betas at T = 400: what share of a principal component of variance 1, 5, 20, 70 is left at
    the end."""
    raw = raw_400()
    left = [forward.squared_correlation(raw, v)[-1].item() for v in (1, 5, 20, 70)]
    assert [round(v, 4) for v in left[:2]] == [0.0175, 0.0817] and [round(v, 3) for v in left[2:]] == [
        0.262,
        0.555,
    ]


def test_bits_left_golden():
    """L_T in bits per dimension for data of mean square 0.25."""
    golden = {
        schedules.linear(1000): "7.28e-06",
        raw_400(): "3.26e-03",
        schedules.linear_scaled(400): "6.56e-06",
        schedules.cosine(1000): "4.4e-10",
    }
    for s, bits in golden.items():
        digits = len(bits.split("e")[0]) - 2
        assert f"{forward.bits_left(s, 0.25):.{digits}e}" == bits


def test_bits_left_is_the_kl_divergence_by_integration():
    s, x0 = raw_400(), 0.7
    z = np.linspace(-12, 12, 200_001)
    ab = np.prod(1 - np.linspace(1e-4, 0.02, 400))
    q = np.exp(-((z - np.sqrt(ab) * x0) ** 2) / (2 * (1 - ab))) / np.sqrt(2 * np.pi * (1 - ab))
    p = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    kl = np.trapezoid(np.where(q > 0, q * np.log(np.maximum(q, 1e-300) / p), 0), z)
    assert math.isclose(forward.bits_left(s, x0**2), kl / math.log(2), rel_tol=1e-6)
