"""The checks of notebook 02: each takes right answers however they are written, and names mistakes."""

import math
from itertools import pairwise

import torch
from torch.distributions import Normal, kl_divergence

from ddpm_edu import elbo, reverse
from ddpm_edu.exercises import the_bound
from ddpm_edu.exercises.small_chain import AB, T
from ddpm_edu.forward import at
from tests.exercises import proof

# ---------------------------------------------------------------- right answers, as the page gives them or otherwise


def kl_by_formula(mean_a, variance_a, mean_b, variance_b):
    ratio = variance_a / variance_b
    return 0.5 * (-ratio.log() + ratio - 1 + (mean_a - mean_b) ** 2 / variance_b)


def kl_by_torch(mean_a, variance_a, mean_b, variance_b):
    return kl_divergence(Normal(mean_a, variance_a.sqrt()), Normal(mean_b, variance_b.sqrt()))


def prior_by_torch(s, x0):
    end = s.alpha_bar[-1]
    q = Normal(end.sqrt() * x0, (1 - end).sqrt())
    return kl_divergence(q, Normal(torch.zeros_like(x0), torch.ones_like(x0))).flatten(1).sum(1)


def term_by_posteriors(s, x0, x0_hat, t, variance):
    """Both means at some x_t, each as a precision-weighted average; the divergence from torch."""

    def mean(clean):
        before, alpha = 1 - at(s.alpha_bar, t - 1, x0), at(s.alpha, t, x0)
        own = at(s.posterior_variance, t, x0)
        return own * (at(s.alpha_bar, t - 1, x0).sqrt() * clean / before + alpha.sqrt() * 2.0 / at(s.beta, t, x0))

    q = Normal(mean(x0), at(s.posterior_variance, t, x0).sqrt())
    return kl_divergence(q, Normal(mean(x0_hat), variance[:, None].sqrt())).sum(1)


def levels_by_decoder(mean, std, levels):
    x = torch.linspace(-1, 1, levels, dtype=torch.float64)
    log = elbo.discretized(levels).log_prob(x, torch.full_like(x, mean), torch.full_like(x, std**2))
    return log.exp()


def levels_by_erf(mean, std, levels):
    edges = [-math.inf, *(-1 + (2 * k + 1) / (levels - 1) for k in range(levels - 1)), math.inf]
    below = [0.5 * (1 + math.erf((edge - mean) / (std * math.sqrt(2)))) for edge in edges]
    return torch.tensor([b - a for a, b in pairwise(below)], dtype=torch.float64)


def bits_by_formula(prior, denoising, reconstruction, dimensions):
    return (prior + denoising.sum(1) + reconstruction) / (dimensions * math.log(2))


def bits_by_columns(prior, denoising, reconstruction, dimensions):
    columns = torch.cat([prior[:, None], denoising, reconstruction[:, None]], 1)
    return torch.stack([math.log2(math.e) / dimensions * column for column in columns.T]).sum(0)


def width_by_snr(s, eps_mse):
    """posterior (1 + (snr_{t-1} / snr_t - 1) e): the same in terms of signal-to-noise ratios; at t = 1 by hand."""
    table = s.posterior_variance.clone()
    table[2:] *= 1 + (s.snr[1:-1] / s.snr[2:] - 1) * eps_mse[2:]
    table[1] = s.beta[1] / s.alpha[1] * eps_mse[1]
    return table


# ---------------------------------------------------------------- wrong ones


def reversed_kl(m, a, n, b):
    return kl_by_formula(n, b, m, a)


def term_with(s, x0, x0_hat, t, variance, *, bar=None, own=None, factor=None):
    """The denoising term with one piece exchanged."""
    own = at(s.posterior_variance, t, x0) if own is None else own
    bar = at(s.alpha_bar, t - 1, x0) if bar is None else bar
    factor = bar.sqrt() * at(s.beta, t, x0) / at(1 - s.alpha_bar, t, x0) if factor is None else factor
    return kl_by_formula(factor * (x0 - x0_hat), own, torch.zeros_like(x0), variance[:, None]).sum(1)


def bins(mean, std, levels, half, outer=True):
    x = torch.linspace(-1, 1, levels, dtype=torch.float64)
    low, high = Normal(mean, std).cdf(x - half), Normal(mean, std).cdf(x + half)
    if outer:
        low[0], high[-1] = 0, 1
    return high - low


# check: (the page's answer, one written differently, {wrong answer: words of the message})
EXERCISES = {
    the_bound.gaussian_kl: (
        kl_by_formula,
        kl_by_torch,
        {
            "no half": (lambda m, a, n, b: 2 * kl_by_formula(m, a, n, b), "factor 1/2"),
            "reversed": (reversed_kl, "of the second from the first"),
            "standard deviations": (lambda m, a, n, b: kl_by_formula(m, a**2, n, b**2), "variances already"),
            "no -1": (lambda m, a, n, b: kl_by_formula(m, a, n, b) + 0.5, "the -1 in the bracket"),
            "log upside down": (lambda m, a, n, b: kl_by_formula(m, a, n, b) + (a / b).log(), "upside down"),
            "wrong unit of the gap": (
                lambda m, a, n, b: kl_by_formula(m, a, n, b) + 0.5 * (m - n) ** 2 * (1 / a - 1 / b),
                "divided by the first variance",
            ),
            "gap not squared": (
                lambda m, a, n, b: kl_by_formula(m, a, n, b) + 0.5 * ((m - n).abs() - (m - n) ** 2) / b,
                "enters squared",
            ),
            "bits": (lambda m, a, n, b: kl_by_formula(m, a, n, b) / math.log(2), "in bits"),
            "summed": (lambda m, a, n, b: kl_by_formula(m, a, n, b).sum(), "no sum, no mean"),
            "something else": (lambda m, a, n, b: m + a + n + b, "expected"),
        },
    ),
    the_bound.prior_term: (
        elbo.prior_term,
        prior_by_torch,
        {
            "mean over dimensions": (lambda s, x: elbo.prior_term(s, x) / 4, "average over dimensions"),
            "mean over all": (lambda s, x: elbo.prior_term(s, x).mean(), "One number came back"),
            "not summed": (lambda s, x: 0.5 * s.alpha_bar[-1] * x**2, "One value for each dimension"),
            "constant forgotten": (
                lambda s, x: 0.5 * s.alpha_bar[-1] * x.flatten(1).square().sum(1),
                "Only the mean is counted",
            ),
            "reversed": (
                lambda s, x: reversed_kl(
                    s.alpha_bar[-1].sqrt() * x, 1 - s.alpha_bar[-1], 0 * x, torch.ones_like(x)
                ).sum((1, 2)),
                "averages over a",
            ),
            "no root": (
                lambda s, x: kl_by_formula(s.alpha_bar[-1] * x, 1 - s.alpha_bar[-1], 0, torch.ones(())).sum((1, 2)),
                "square root is missing",
            ),
            "signal for noise": (
                lambda s, x: kl_by_formula(s.alpha_bar[-1].sqrt() * x, s.alpha_bar[-1], 0, torch.ones(())).sum((1, 2)),
                "variance of the signal",
            ),
            "one step early": (
                lambda s, x: kl_by_formula(s.alpha_bar[-2].sqrt() * x, 1 - s.alpha_bar[-2], 0, torch.ones(())).sum(
                    (1, 2)
                ),
                "T + 1 entries",
            ),
            "no half": (lambda s, x: 2 * elbo.prior_term(s, x), "factor 1/2"),
            "bits": (lambda s, x: elbo.prior_term(s, x) / math.log(2), "in bits"),
        },
    ),
    the_bound.denoising_term: (
        elbo.denoising_term,
        term_by_posteriors,
        {
            "no coefficient": (
                lambda *a: term_with(*a, factor=torch.ones(1, dtype=torch.float64)),
                "multiply by x_0's coefficient",
            ),
            "alpha_bar_t": (
                lambda s, x, y, t, v: term_with(s, x, y, t, v, bar=at(s.alpha_bar, t, x)),
                "where sqrt(alpha_bar_{t-1}) belongs",
            ),
            "beta for the posterior": (
                lambda s, x, y, t, v: term_with(s, x, y, t, v, own=at(s.beta, t, x)),
                "not beta_t",
            ),
            "only the means": (
                lambda s, x, y, t, v: elbo.denoising_term(s, x, y, t, v) - elbo.denoising_term(s, x, x, t, v),
                "Only the means",
            ),
            "the width ignored": (
                lambda s, x, y, t, v: elbo.denoising_term(s, x, y, t, s.posterior_variance[t]),
                "has no effect",
            ),
            "reversed": (
                lambda s, x, y, t, v: reversed_kl(
                    at(s.alpha_bar, t - 1, x).sqrt() * at(s.beta, t, x) / at(1 - s.alpha_bar, t, x) * (x - y),
                    at(s.posterior_variance, t, x),
                    0 * x,
                    v[:, None],
                ).sum(1),
                "averages over a",
            ),
            "mean over dimensions": (lambda *a: elbo.denoising_term(*a) / 2, "Half of it"),
            "not summed": (lambda s, x, y, t, v: x - y, "One value for each dimension"),
            "batch summed": (lambda *a: elbo.denoising_term(*a).sum(), "One number came back"),
            "times sorted": (lambda s, x, y, t, v: elbo.denoising_term(s, x, y, t.sort()[0], v), "expected"),
        },
    ),
    the_bound.grey_levels: (
        levels_by_decoder,
        levels_by_erf,
        {
            "1/255": (lambda m, s, k: bins(m, s, k, 1 / 255), "that of 256 levels"),
            "1/255, closed": (lambda m, s, k: bins(m, s, k, 1 / 255, outer=False), "that of 256 levels"),
            "closed": (lambda m, s, k: bins(m, s, k, 1 / (k - 1), outer=False), "reach to infinity"),
            "whole bins": (lambda m, s, k: bins(m, s, k, 2 / (k - 1)), "bins overlap"),
            "half bins": (lambda m, s, k: bins(m, s, k, 0.5 / (k - 1)), "leave gaps"),
            "density": (
                lambda m, s, k: Normal(m, s).log_prob(torch.linspace(-1, 1, k, dtype=torch.float64)).exp(),
                "mass of a bin",
            ),
            "logarithms": (lambda m, s, k: levels_by_erf(m, s, k).clamp(min=1e-300).log(), "expected"),
            "one probability": (lambda m, s, k: levels_by_erf(m, s, k)[0], "expected shape"),
        },
    ),
    the_bound.bits_per_dim: (
        bits_by_formula,
        bits_by_columns,
        {
            "nats": (lambda p, d, r, n: (p + d.sum(1) + r) / n, "divide by log 2 as well"),
            "all dimensions": (lambda p, d, r, n: (p + d.sum(1) + r) / math.log(2), "of all dimensions together"),
            "neither": (lambda p, d, r, n: p + d.sum(1) + r, "by the dimensions and by log 2"),
            "times log 2": (lambda p, d, r, n: (p + d.sum(1) + r) * math.log(2) / n, "more bits than nats"),
            "average over t": (lambda p, d, r, n: bits_by_formula(p, d.mean(1, True), r, n), "averaged over t"),
            "no prior": (lambda p, d, r, n: bits_by_formula(0, d, r, n), "prior term is missing"),
            "no reconstruction": (lambda p, d, r, n: bits_by_formula(p, d, 0, n), "reconstruction term is missing"),
            "no denoising": (lambda p, d, r, n: bits_by_formula(p, 0 * d, r, n), "denoising terms are missing"),
            "sign": (lambda *a: -bits_by_formula(*a), "The sign"),
            "log2": (lambda p, d, r, n: (p + d.sum(1) + r).log2() / n, "logarithm already"),
        },
    ),
    the_bound.optimal_variance: (
        reverse.optimal,
        width_by_snr,
        {
            "no error": (lambda s, e: s.posterior_variance, "has no effect"),
            "no posterior": (lambda s, e: reverse.optimal(s, e) - s.posterior_variance, "remains: add it"),
            "beta": (lambda s, e: s.beta, "variance 1 only"),
            "the root": (lambda s, e: reverse.optimal(s, e).sqrt(), "standard deviation"),
            "error of eps": (
                lambda s, e: reverse.optimal(s, torch.cat([e[:1], e[1:] * s.snr[1:]])),
                "That of x_0 is",
            ),
            "the wrong way round": (
                lambda s, e: reverse.optimal(s, torch.cat([e[:1], e[1:] * s.snr[1:] ** 2])),
                "the other way round",
            ),
            "coefficient not squared": (
                lambda s, e: s.posterior_variance + _padded(_coefficient(s) * (e / s.snr)[1:]),
                "it is squared",
            ),
            "no coefficient": (lambda s, e: s.posterior_variance + _padded((e / s.snr)[1:]), "by its square"),
            "T values": (lambda s, e: reverse.optimal(s, e)[1:], f"{T + 1} are expected"),
        },
    ),
}


def _coefficient(s):
    return s.alpha_bar[:-1].sqrt() * s.beta[1:] / (1 - s.alpha_bar[1:])


def _padded(values):
    return torch.cat([values.new_zeros(1), values])


(
    test_a_blank_is_told_kindly_and_raises_nothing,
    test_the_librarys_answer_and_another_correct_one_pass,
    test_a_wrong_answer_is_refused_with_the_likely_mistake,
    test_every_check_is_listed_here,
) = proof.of(the_bound, {check: ((one, other), wrong) for check, (one, other, wrong) in EXERCISES.items()})


def test_the_oracles_integrate_well_enough():
    """The checks compare to about 1e-5; the integrals have to be better than that."""
    assert abs(the_bound.kl_by_integration(0.0, 1.0, 0.0, 1.0)) < 1e-9
    assert abs(the_bound.kl_by_integration(1.0, 2.0, 1.0, 4.0) - 0.5 * (math.log(2) - 0.5)) < 1e-9
    assert abs(sum(the_bound.masses_by_integration(0.3, 0.05, 17)) - 1) < 1e-7
    assert AB[0] == 1
