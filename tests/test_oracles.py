"""The oracles are what everything else is held to, so they are held to more: autograd and finite differences of a
density written here, Bayes by enumeration and on a grid, Monte Carlo, and each other.
"""

import functools
import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from ddpm_edu import data, oracles, schedules
from ddpm_edu.errors import DataError, ShapeError

S = schedules.linear(1000)
TIMES = (1, 30, 250, 600, 1000)

WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
MEANS = torch.tensor([[-1.0, 0.5], [0.8, 0.2], [0.0, -1.1]], dtype=torch.float64)
STDS = torch.tensor([0.3, 0.2, 0.5], dtype=torch.float64)


def mixture():
    return oracles.Mixture(WEIGHTS, MEANS, STDS)


def log_q(t, weights=WEIGHTS, means=MEANS, stds=STDS):
    """log q(x_t) of the mixture by torch.distributions: shape (N, D) -> (N,)."""
    ab = S.alpha_bar[t]
    parts = Independent(Normal(ab.sqrt() * means, (ab * stds**2 + 1 - ab).sqrt()[:, None].expand_as(means)), 1)
    return MixtureSameFamily(Categorical(weights), parts).log_prob


def points(n=7, seed=0):
    x = 1.5 * torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x, functools.partial(torch.full, (n,))


def gradient(f, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(f(x).sum(), x)[0]


# ---------------------------------------------------------------- score and density


def test_the_score_of_a_mixture_is_the_gradient_of_its_log_density():
    x, at = points()
    for t in TIMES:
        torch.testing.assert_close(mixture().score(S, x, at(t)), gradient(log_q(t), x), atol=1e-9, rtol=1e-9)


def test_the_density_of_a_mixture():
    x, at = points()
    for t in TIMES:
        torch.testing.assert_close(mixture().log_density(S, x, at(t)), log_q(t)(x), atol=1e-9, rtol=1e-10)


def test_the_score_of_a_mixture_by_finite_differences():
    x, at = points()
    h = 1e-4
    for t in (250, 1000):
        for axis in (0, 1):
            step = torch.zeros(2, dtype=torch.float64)
            step[axis] = h
            slope = (mixture().log_density(S, x + step, at(t)) - mixture().log_density(S, x - step, at(t))) / (2 * h)
            torch.testing.assert_close(mixture().score(S, x, at(t))[:, axis], slope, atol=1e-6, rtol=1e-6)


def test_at_large_t_the_score_is_that_of_pure_noise():
    """The slip of a course: an undiffused score at every t."""
    x, at = points()
    torch.testing.assert_close(mixture().score(S, x, at(1000)), -x, atol=0.02, rtol=0)


def test_the_score_of_a_gaussian_is_the_gradient_of_its_log_density():
    x, at = points()
    mean, std = torch.tensor([0.3, -0.7]).double(), torch.tensor([0.5, 1.7]).double()
    for t in TIMES:
        ab = S.alpha_bar[t]
        normal = Normal(ab.sqrt() * mean, (ab * std**2 + 1 - ab).sqrt())
        want = gradient(lambda x, normal=normal: normal.log_prob(x), x)
        torch.testing.assert_close(oracles.Gaussian(mean, std).score(S, x, at(t)), want, atol=1e-9, rtol=1e-9)


# ---------------------------------------------------------------- Tweedie


def all_oracles():
    return {
        "gaussian": oracles.Gaussian(torch.tensor([0.3, -0.7]), torch.tensor([0.5, 1.7])),
        "mixture": mixture(),
        "finite": oracles.FiniteDataset(MEANS),
    }


def test_tweedie_links_score_and_denoiser():
    """E[x_0 | x_t] = (x_t + (1 - ab) score) / sqrt(ab), and E[eps | x_t] = -sqrt(1 - ab) score."""
    x, at = points()
    for name, oracle in all_oracles().items():
        for t in TIMES:
            ab, score = S.alpha_bar[t], oracle.score(S, x, at(t))
            got = oracle.denoiser(S)(x, at(t))
            torch.testing.assert_close(got.x0, (x + (1 - ab) * score) / ab.sqrt(), atol=1e-9, rtol=1e-9, msg=name)
            torch.testing.assert_close(got.eps, -(1 - ab).sqrt() * score, atol=1e-9, rtol=1e-9, msg=name)
            torch.testing.assert_close(oracle.posterior_mean(S, x, at(t)), got.x0)


def test_tweedie_of_second_order():
    """Cov(x_0 | x_t) = (1 - ab) / ab (I + (1 - ab) Hessian of log q), the Hessian by autograd."""
    x, at = points()
    for t in (30, 250, 600, 1000):
        ab, f = S.alpha_bar[t], log_q(t)
        hessian = torch.stack([torch.autograd.functional.hessian(lambda p, f=f: f(p[None])[0], p) for p in x])
        want = (1 - ab) / ab * (torch.eye(2, dtype=torch.float64) + (1 - ab) * hessian)
        torch.testing.assert_close(mixture().posterior_covariance(S, x, at(t)), want, atol=1e-6, rtol=1e-7)


def test_the_error_of_eps_is_the_posterior_covariance():
    """eps-MSE per dimension = ab / (1 - ab) E tr Cov / D, by Monte Carlo."""
    g = torch.Generator().manual_seed(0)
    x0, _ = mixture().sample(20_000, g)
    for t in (30, 250, 600):
        noise, time = torch.randn(x0.shape, generator=g, dtype=torch.float64), torch.full((len(x0),), t)
        ab = S.alpha_bar[t]
        x = ab.sqrt() * x0 + (1 - ab).sqrt() * noise
        error = (mixture().denoiser(S)(x, time).eps - noise).square().mean().item()
        trace = mixture().posterior_covariance(S, x, time).diagonal(dim1=1, dim2=2).mean().item()
        assert abs(error / (ab / (1 - ab) * trace).item() - 1) < 0.03, t


# ---------------------------------------------------------------- Bayes


def test_the_class_posterior_by_enumeration():
    x, at = points()
    for t in TIMES:
        ab = S.alpha_bar[t]
        joint = torch.stack(
            [
                w * MultivariateNormal(ab.sqrt() * m, (ab * s**2 + 1 - ab) * torch.eye(2).double()).log_prob(x).exp()
                for w, m, s in zip(WEIGHTS, MEANS, STDS, strict=True)
            ],
            1,
        )
        want = joint / joint.sum(1, keepdim=True)
        torch.testing.assert_close(mixture().class_posterior(S, x, at(t)), want, atol=1e-10, rtol=1e-7)
    torch.testing.assert_close(mixture().class_posterior(S, x, at(1000)), WEIGHTS.expand(7, 3), atol=0.02, rtol=0)


def on_a_grid(prior, x_t, t):
    """E[x_0 | x_t] and Var by Bayes on 20,001 points of x_0, in NumPy."""
    ab = S.alpha_bar[t].item()
    x0 = np.linspace(-6, 6, 20_001)
    log = prior(x0) - (x_t - math.sqrt(ab) * x0) ** 2 / (2 * (1 - ab))
    p = np.exp(log - log.max())
    p /= p.sum()
    mean = (p * x0).sum()
    return mean, (p * (x0 - mean) ** 2).sum()


def test_the_posterior_mean_of_a_gaussian_against_bayes_on_a_grid():
    oracle = oracles.Gaussian(0.3, 0.5)
    for t, x in ((t, x) for t in (30, 250, 600, 1000) for x in (-1.3, 0.0, 2.0)):
        want, _ = on_a_grid(lambda x0: -((x0 - 0.3) ** 2) / (2 * 0.25), x, t)
        got = oracle.posterior_mean(S, torch.full((1, 1), x, dtype=torch.float64), torch.tensor([t]))
        assert abs(got.item() - want) < 1e-8, (t, x)


def test_the_posterior_of_a_mixture_against_bayes_on_a_grid():
    oracle = oracles.Mixture(
        torch.tensor([0.3, 0.7]).double(), torch.tensor([[-1.0], [0.8]]), torch.tensor([0.5, 0.25]).double()
    )

    def prior(x0):
        a, b = (np.exp(-((x0 - m) ** 2) / (2 * s**2)) / s for m, s in ((-1.0, 0.5), (0.8, 0.25)))
        return np.log(0.3 * a + 0.7 * b + 1e-300)

    for t, x in ((t, x) for t in (30, 250, 600, 1000) for x in (-1.3, 0.0, 2.0)):
        mean, variance = on_a_grid(prior, x, t)
        point, time = torch.full((1, 1), x, dtype=torch.float64), torch.tensor([t])
        # weights and means were given in single precision
        assert abs(oracle.posterior_mean(S, point, time).item() - mean) < 1e-6, (t, x)
        assert abs(oracle.posterior_covariance(S, point, time).item() - variance) < 1e-6, (t, x)


# ---------------------------------------------------------------- one oracle as another


def test_a_mixture_of_one_is_a_gaussian():
    x, at = points()
    one = oracles.Mixture(torch.ones(1), torch.tensor([[0.25, -0.75]]), torch.tensor([0.5]))
    gaussian = oracles.Gaussian(torch.tensor([0.25, -0.75]), 0.5)
    for t in TIMES:
        a, b = one.denoiser(S)(x, at(t)), gaussian.denoiser(S)(x, at(t))
        torch.testing.assert_close(a.x0, b.x0, atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(one.score(S, x, at(t)), gaussian.score(S, x, at(t)), atol=1e-10, rtol=1e-10)


def test_a_full_gaussian_with_a_diagonal_covariance_is_a_gaussian():
    x, at = points()
    mean, std = torch.tensor([0.3, -0.7]).double(), torch.tensor([0.5, 1.7]).double()
    full, plain = oracles.FullGaussian(mean, torch.diag(std**2)), oracles.Gaussian(mean, std)
    for t in TIMES:
        torch.testing.assert_close(full.denoiser(S)(x, at(t)), plain.denoiser(S)(x, at(t)), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(full.eps_floor(S), plain.eps_floor(S))


def test_a_full_gaussian_by_solving():
    """The Wiener filter without eigenvectors: sqrt(1 - ab) (ab Sigma + (1 - ab) I)^{-1} (x_t - sqrt(ab) mean)."""
    g = torch.Generator().manual_seed(0)
    a, mean = (torch.randn(shape, generator=g, dtype=torch.float64) for shape in ((4, 4), (4,)))
    sigma, x = a @ a.T, torch.randn(5, 2, 2, generator=g, dtype=torch.float64)
    oracle = oracles.FullGaussian(mean, sigma)
    for t in TIMES:
        ab = S.alpha_bar[t]
        matrix = ab * sigma + (1 - ab) * torch.eye(4).double()
        want = (1 - ab).sqrt() * torch.linalg.solve(matrix, (x.flatten(1) - ab.sqrt() * mean).T).T
        got = oracle.denoiser(S)(x, torch.full((5,), t)).eps
        torch.testing.assert_close(got.flatten(1), want, atol=1e-9, rtol=1e-9)
        floor = ab / 4 * torch.trace(torch.linalg.solve(matrix, sigma))
        torch.testing.assert_close(oracle.eps_floor(S)[t], floor, rtol=1e-9, atol=0)


def test_a_finite_data_set_is_a_mixture_of_points():
    x, at = points()
    finite = oracles.FiniteDataset(MEANS)
    point_masses = oracles.Mixture(torch.full((3,), 1 / 3, dtype=torch.float64), MEANS, torch.zeros(3))
    for t in TIMES:
        a, b = finite.denoiser(S)(x, at(t)), point_masses.denoiser(S)(x, at(t))
        torch.testing.assert_close(a.x0, b.x0, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(finite.score(S, x, at(t)), point_masses.score(S, x, at(t)), atol=1e-7, rtol=1e-8)
        weights = finite.weights(S, x, at(t))
        torch.testing.assert_close(weights, point_masses.class_posterior(S, x, at(t)), atol=1e-8, rtol=1e-8)


def test_a_finite_data_set_by_hand():
    """Two points, one dimension: p = 1 / (1 + exp(-2 sqrt(ab) x a / (1 - ab)))."""
    finite = oracles.FiniteDataset(torch.tensor([[-0.5], [0.5]]))
    ab = S.alpha_bar[300].item()
    p = 1 / (1 + math.exp(-math.sqrt(ab) * 0.4 / (1 - ab)))
    got = finite.posterior_mean(S, torch.tensor([[0.4]]).double(), torch.tensor([300]))
    assert abs(got.item() - (0.5 * p - 0.5 * (1 - p))) < 1e-7


# ---------------------------------------------------------------- floors, fits, draws


def test_floors_against_monte_carlo():
    g = torch.Generator().manual_seed(0)
    a = torch.tensor([[0.9, 0.0], [0.5, 0.2]], dtype=torch.float64)
    mean = torch.tensor([0.3, -0.2], dtype=torch.float64)
    z = torch.randn(40_000, 2, generator=g, dtype=torch.float64)
    cases = (
        (oracles.Gaussian(mean, torch.tensor([0.5, 1.7])), mean + z * torch.tensor([0.5, 1.7])),
        (oracles.FullGaussian(mean, a @ a.T), mean + z @ a.T),
    )
    for oracle, x0 in cases:
        assert oracle.eps_floor(S).shape == (1001,) and torch.equal(oracle.denoiser(S).eps_mse, oracle.eps_floor(S))
        for t in (10, 200, 700):
            noise, time = torch.randn(x0.shape, generator=g, dtype=torch.float64), torch.full((len(x0),), t)
            ab = S.alpha_bar[t]
            denoised = oracle.denoiser(S)(ab.sqrt() * x0 + (1 - ab).sqrt() * noise, time)
            assert abs((denoised.eps - noise).square().mean() / oracle.eps_floor(S)[t] - 1) < 0.03, t


def test_the_floor_of_a_gaussian_by_hand():
    """Golden: alpha_bar s^2 / v; 1 for t = 0, where nothing of eps can be seen."""
    ab = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    want = np.concatenate([[1.0], ab * 0.25 / (ab * 0.25 + 1 - ab)])
    np.testing.assert_allclose(oracles.Gaussian(0.3, 0.5).eps_floor(S).numpy(), want, rtol=1e-9)


def test_fit_takes_mean_and_covariance():
    x = torch.randn(200, 1, 2, 2, generator=torch.Generator().manual_seed(0)) @ torch.tensor([[1.0, 0.5], [0.0, 0.2]])
    oracle = oracles.FullGaussian.fit(x)
    flat = x.flatten(1).double().numpy()
    np.testing.assert_allclose(oracle.mean.numpy(), flat.mean(0), atol=1e-12)
    np.testing.assert_allclose(oracle.covariance.numpy(), np.cov(flat.T, bias=True), atol=1e-12)


def test_nothing_linear_beats_the_wiener_filter():
    """Least squares from x_t to eps, on the same draws, is no better than the floor by more than chance."""
    g = torch.Generator().manual_seed(0)
    x0, _ = mixture().sample(50_000, g)
    oracle = oracles.FullGaussian.fit(x0)
    for t in (30, 250, 600):
        noise, ab = torch.randn(x0.shape, generator=g, dtype=torch.float64), S.alpha_bar[t]
        x = ab.sqrt() * x0 + (1 - ab).sqrt() * noise
        design = torch.cat([x, torch.ones(len(x), 1)], 1)
        residual = noise - design @ torch.linalg.lstsq(design, noise).solution
        assert abs(residual.square().mean() / oracle.eps_floor(S)[t] - 1) < 0.02, t
        nonlinear = (mixture().denoiser(S)(x, torch.full((len(x),), t)).eps - noise).square().mean()
        assert nonlinear < residual.square().mean()  # what a network has to gain


def test_the_bracket_on_real_digits():
    """The data set itself as denoiser <= what any network can do <= the Wiener filter, which a good one must beat."""
    x0 = data.digits().model_range().double()
    finite, wiener = oracles.FiniteDataset(x0).denoiser(S), oracles.FullGaussian.fit(x0)
    g = torch.Generator().manual_seed(0)
    for t in (20, 100, 300, 600):
        noise, time, ab = torch.randn(x0.shape, generator=g).double(), torch.full((len(x0),), t), S.alpha_bar[t]
        x = ab.sqrt() * x0 + (1 - ab).sqrt() * noise
        low, high = ((d(x, time).eps - noise).square().mean().item() for d in (finite, wiener.denoiser(S)))
        assert low < (0.95 if t < 600 else 1.0) * high, t  # where nothing is left to see, they meet
        assert abs(high / wiener.eps_floor(S)[t].item() - 1) < 0.03, t
        assert high < 1.0  # "there is no signal" would give 1


def test_draws_have_the_mixtures_moments():
    g = torch.Generator().manual_seed(0)
    x, k = mixture().sample(50_000, g)
    assert x.shape == (50_000, 2) and x.dtype == torch.float64 and k.dtype == torch.int64
    torch.testing.assert_close(torch.bincount(k) / 50_000, WEIGHTS.float(), atol=0.01, rtol=0)
    for i in range(3):
        torch.testing.assert_close(x[k == i].mean(0), MEANS[i], atol=0.02, rtol=0)
        torch.testing.assert_close(x[k == i].std(0), STDS[i].expand(2), atol=0.01, rtol=0)
    again, _ = mixture().sample(50_000, torch.Generator().manual_seed(0))
    assert torch.equal(x, again)


def test_draws_of_a_gaussian():
    x = oracles.Gaussian(0.3, 0.5).sample(20_000, (1, 2), torch.Generator().manual_seed(0))
    assert x.shape == (20_000, 1, 2)
    assert abs(x.mean() - 0.3) < 0.01 and abs(x.std() - 0.5) < 0.01


def test_images_keep_their_shape_and_dtype():
    x0 = data.digits().model_range()[:9]
    t = torch.arange(1, 901, 100)
    pixels = oracles.Gaussian(x0.mean(0), 0.5)
    centres = oracles.Mixture(torch.full((9,), 1 / 9, dtype=torch.float64), x0, torch.full((9,), 0.1))
    for oracle in (pixels, centres, oracles.FiniteDataset(x0), oracles.FullGaussian.fit(x0)):
        for dtype in (torch.float32, torch.bfloat16):
            got = oracle.denoiser(S)(x0.to(dtype), t)
            assert got.x0.shape == got.eps.shape == x0.shape and got.x0.dtype == got.eps.dtype == dtype


def test_one_sample_alone_is_no_data_set():
    with pytest.raises(ShapeError, match=r"x\[None\]"):
        oracles.FiniteDataset(torch.zeros(3))
    with pytest.raises(DataError, match="FiniteDataset"):
        oracles.Gaussian(0.0, 0.0)


def test_a_mixtures_own_density_against_torch_and_as_the_limit_of_its_noisy_one():
    means = torch.tensor([[-1.0, 0.5], [2.0, 0.0], [0.0, -1.5]], dtype=torch.float64)
    weights, stds = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.3, 0.6, 1.1])
    mixture = oracles.Mixture(weights, means, stds)
    x0, _ = mixture.sample(50, torch.Generator().manual_seed(0))
    parts = torch.distributions.Independent(torch.distributions.Normal(means, mixture.stds[:, None].expand(3, 2)), 1)
    theirs = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(mixture.weights), parts)
    torch.testing.assert_close(mixture.log_likelihood(x0), theirs.log_prob(x0), rtol=1e-10, atol=1e-10)
    hardly_noisy = schedules.from_betas([1e-9, 0.9999])
    near = mixture.log_density(hardly_noisy, x0, torch.ones(50, dtype=torch.int64))
    torch.testing.assert_close(mixture.log_likelihood(x0), near, rtol=0, atol=1e-5)
    with pytest.raises(DataError, match="point masses"):
        oracles.Mixture(torch.ones(1), means[:1], torch.zeros(1)).log_likelihood(x0)
