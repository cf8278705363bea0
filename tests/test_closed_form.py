"""The Gaussian chain worked out: against its golden table, its own two formulas, and a walk with the general code."""

import math

import torch

from ddpm_edu import closed_form, elbo, oracles, reverse, schedules
from tests.test_elbo import FACTS, GOLDEN, MAKE, bound_of_gaussian, cases, schedule, terms_by_torch


def chain_of(s, mean, std, choice):
    if isinstance(choice, torch.Tensor):
        return closed_form.GaussianChain(s, mean, std, choice)
    return closed_form.gaussian(s, mean, std, choice)


def test_golden_table():
    for name, choice, *want in GOLDEN:
        c = closed_form.gaussian(schedule(name), 0.3, 0.5, choice)
        got = (c.prior(), c.denoising().sum().item(), c.reconstruction(), c.total(), c.nll(), c.marginal()[1])
        assert [f"{value:.6f}" for value in got] == want, (name, choice)
    assert f"{c.entropy():.6f}" == "0.725791"


def test_each_term_against_torch_distributions():
    for s, mean, std, choice in cases():
        c = chain_of(s, mean, std, choice)
        prior, denoising, first = terms_by_torch(s, mean, std, choice)
        assert abs(c.prior() - prior.mean()) < 1e-10
        torch.testing.assert_close(c.denoising()[2:], denoising.mean(0), atol=1e-10, rtol=1e-10)
        assert abs(c.reconstruction() - first.mean()) < 1e-10
        assert (c.denoising()[:2] == 0).all()


def test_each_term_against_the_general_code():
    for s, mean, std, choice in cases():
        c, b = chain_of(s, mean, std, choice), bound_of_gaussian(s, mean, std, choice)
        assert abs(c.prior() - b.prior.mean()) < 1e-10
        torch.testing.assert_close(c.denoising(), b.denoising.mean(0), atol=1e-10, rtol=1e-10)
        assert abs(c.reconstruction() - b.reconstruction.mean()) < 1e-10


def test_the_total_is_the_sum_of_its_terms():
    """Two formulas that share nothing: terms, and entropy plus losses (DDPM, Eq. 26)."""
    for s, mean, std, choice in cases((*FACTS, "one step", "zero SNR at the end")):
        c = chain_of(s, mean, std, choice)
        assert abs(c.total() - (c.prior() + c.denoising().sum().item() + c.reconstruction())) < 1e-9


def test_entropy_below_nll_below_bound():
    for s, mean, std, choice in cases():
        c = chain_of(s, mean, std, choice)
        assert c.entropy() - 1e-12 <= c.nll() <= c.total() + 1e-12
    loose = closed_form.gaussian(schedule("linear-1000"), 0.3, 0.5, "posterior")
    assert loose.entropy() + 1e-5 < loose.nll() < loose.total() - 0.5


def test_the_entropy_is_reached_by_standard_normal_data_with_beta():
    for name in MAKE:
        c = closed_form.gaussian(schedule(name), 0.0, 1.0, "beta")
        assert abs(c.total() - 0.5 * math.log(2 * math.pi * math.e)) < 1e-9, name


def test_the_marginal_is_what_a_walk_with_the_general_code_makes():
    """Every step back is a straight line in x: its slope and offset are read off at two points, then composed."""
    for name, choice in ((n, c) for n in FACTS for c in ("beta", "posterior", "optimal")):
        s = schedule(name)
        denoise, c = oracles.Gaussian(0.3, 0.5).denoiser(s), closed_form.gaussian(s, 0.3, 0.5, choice)
        t = torch.arange(1, s.T + 1)

        def step(x, s=s, t=t, denoise=denoise):
            x = torch.full((s.T, 1), x, dtype=torch.float64)
            return reverse.pair_mean(s, denoise(x, t).x0, x, t, t - 1)[:, 0]

        offset, slope = step(0.0), step(1.0) - step(0.0)
        mean, variance = 0.0, 1.0
        for i in reversed(range(s.T)):
            mean, variance = offset[i].item() + slope[i].item() * mean, slope[i].item() ** 2 * variance
            variance += c.variance[i + 1].item()
        assert abs(c.marginal()[0] - mean) < 1e-10 and abs(c.marginal()[1] - variance) < 1e-10


def test_with_the_true_variance_only_the_end_of_the_chain_is_lost():
    """Golden: m0 = mu (1 - ab_T s^2 / v_T), c0 = s^2 + ab_T^2 s^4 (1 - s^2) / v_T^2."""
    for name in FACTS:
        s = schedule(name)
        end = s.alpha_bar[-1].item()
        v = end * 0.25 + 1 - end
        mean, variance = closed_form.gaussian(s, 0.3, 0.5, "optimal").marginal()
        assert abs(mean - 0.3 * (1 - end * 0.25 / v)) < 1e-10
        assert abs(variance - (0.25 + end**2 * 0.0625 * 0.75 / v**2)) < 1e-10


def test_the_best_variance_is_best():
    """Any other width, wider or narrower at any t, makes the three terms larger."""
    s = schedule("cosine-400")
    best = closed_form.gaussian(s, 0.3, 0.5, "optimal")

    def terms(table):
        c = closed_form.GaussianChain(s, 0.3, 0.5, table)
        return c.prior() + c.denoising().sum().item() + c.reconstruction()

    for t, factor in ((1, 1.1), (1, 0.9), (2, 0.9), (2, 1.1), (200, 1.1), (400, 0.9)):
        table = best.variance.clone()
        table[t] *= factor
        assert terms(table) > terms(best.variance) + 1e-3


def full_covariance_case():
    mean = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    root = torch.tensor([[0.8, 0.0, 0.0], [0.5, 0.4, 0.0], [-0.2, 0.3, 0.6]], dtype=torch.float64)
    return mean, root @ root.T


def test_full_covariance_is_the_sum_over_eigenvectors():
    """The general code with the Wiener filter, averaged exactly: x0, noise at +-sqrt(D) times an orthonormal basis."""
    mean, covariance = full_covariance_case()
    s, oracle = schedules.linear_scaled(100), oracles.FullGaussian(mean, covariance)
    axes = 3**0.5 * torch.cat([torch.eye(3, dtype=torch.float64), -torch.eye(3, dtype=torch.float64)])
    x0 = (mean + axes @ torch.linalg.cholesky(covariance).T).repeat_interleave(6, 0)
    for variance in ("beta", "posterior", "optimal"):
        bound = elbo.variational_bound(
            oracle.denoiser(s), s, x0, decoder=elbo.density, variance=variance, noise=axes.repeat(6, 1)
        )
        chains = closed_form.full_gaussian(s, mean, covariance, variance)
        torch.testing.assert_close(bound.denoising.mean(0), sum(c.denoising() for c in chains), rtol=1e-8, atol=1e-10)
        assert math.isclose(bound.prior.mean(), sum(c.prior() for c in chains), rel_tol=1e-9)
        assert math.isclose(bound.reconstruction.mean(), sum(c.reconstruction() for c in chains), rel_tol=1e-9)


def test_full_covariance_entropy_against_torch():
    mean, covariance = full_covariance_case()
    chains = closed_form.full_gaussian(schedules.linear_scaled(100), mean, covariance)
    theirs = torch.distributions.MultivariateNormal(mean, covariance).entropy().item()
    assert math.isclose(sum(c.entropy() for c in chains), theirs, rel_tol=1e-12)
    assert sum(c.entropy() for c in chains) < sum(c.nll() for c in chains) < sum(c.total() for c in chains)
