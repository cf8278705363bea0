"""The checks of notebook 02: each takes right answers however they are written, and names mistakes."""

import math
from itertools import pairwise

import torch
from torch.distributions import Normal, kl_divergence

from ddpm_edu import closed_form, elbo, reverse
from ddpm_edu.exercises import bound_answers, the_bound, the_whole_bound
from ddpm_edu.exercises.bound_divergences import kl_by_integration
from ddpm_edu.exercises.bound_levels import masses_by_integration
from ddpm_edu.exercises.small_chain import AB, T, chain
from ddpm_edu.forward import at, q_posterior, q_sample
from tests.exercises import proof

# ---------------------------------------------------------------- right answers, as the page gives them or otherwise


def kl_by_formula(mean_a, variance_a, mean_b, variance_b):
    ratio = variance_a / variance_b
    return 0.5 * (-ratio.log() + ratio - 1 + (mean_a - mean_b) ** 2 / variance_b)


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


def levels_by_erf(mean, std, levels):
    edges = [-math.inf, *(-1 + (2 * k + 1) / (levels - 1) for k in range(levels - 1)), math.inf]
    below = [0.5 * (1 + math.erf((edge - mean) / (std * math.sqrt(2)))) for edge in edges]
    return torch.tensor([b - a for a, b in pairwise(below)], dtype=torch.float64)


def bits_by_columns(prior, denoising, reconstruction, dimensions):
    columns = torch.cat([prior[:, None], denoising, reconstruction[:, None]], 1)
    return torch.stack([math.log2(math.e) / dimensions * column for column in columns.T]).sum(0)


def width_by_snr(s, eps_mse):
    """posterior (1 + (snr_{t-1} / snr_t - 1) e): the same in terms of signal-to-noise ratios; at t = 1 by hand."""
    table = s.posterior_variance.clone()
    table[2:] *= 1 + (s.snr[1:-1] / s.snr[2:] - 1) * eps_mse[2:]
    table[1] = s.beta[1] / s.alpha[1] * eps_mse[1]
    return table


def steps_back(denoise, s, x0, noise, t):
    """As the page gives it: q(x_{t-1} | x_t, x_0) and p(x_{t-1} | x_t)."""
    time = torch.full((len(x0),), t)
    x_t = q_sample(s, x0, time, noise)
    known, guessed = (q_posterior(s, clean, x_t, time)[0] for clean in (x0, denoise(x_t, time).x0))
    return Normal(known, s.posterior_variance[max(t, 2)].sqrt()), Normal(guessed, s.beta[t].sqrt())


def bound_by_steps(denoise, s, x0, noise):
    _, last = steps_back(denoise, s, x0, noise, 1)
    pairs = [steps_back(denoise, s, x0, noise, t) for t in range(2, s.T + 1)]
    return prior_by_torch(s, x0) + sum(summed(kl_divergence(*pair)) for pair in pairs) - summed(last.log_prob(x0))


def bound_at_once(denoise, s, x0, noise):
    """All times in one batch, the sample running slowest; terms from the library's posterior."""
    n, t = len(x0), torch.arange(1, s.T + 1).repeat(len(x0))
    clean, draw = x0.repeat_interleave(s.T, 0), noise.repeat_interleave(s.T, 0)
    x_t = q_sample(s, clean, t, draw)
    mean = q_posterior(s, denoise(x_t, t).x0, x_t, t)[0]
    own, width = at(s.posterior_variance, t, x_t), at(s.beta, t, x_t)
    kl = summed(kl_by_formula(q_posterior(s, clean, x_t, t)[0], own.clamp(min=1e-9), mean, width)).reshape(n, s.T)
    last = summed((clean - mean) ** 2 / width + (2 * math.pi * width).log()).reshape(n, s.T)[:, 0] / 2
    return elbo.prior_term(s, x0) + kl[:, 1:].sum(1) + last


def summed(x):
    return x.flatten(1).sum(1)


# ---------------------------------------------------------------- wrong ones: divergences


def kl_of(log=lambda a, b: (b / a).log(), ratio=lambda a, b: a / b, gap=lambda d, a, b: d**2 / b):
    """The divergence with one piece exchanged."""
    return lambda m, a, n, b: 0.5 * (log(a, b) + ratio(a, b) - 1 + gap(m - n, a, b))


def reversed_kl(m, a, n, b):
    return kl_by_formula(n, b, m, a)


KL = (
    [kl_by_formula, bound_answers.gaussian_kl],
    {
        "the factor 1/2 in front is missing": (lambda *a: 2 * kl_by_formula(*a), "factor 1/2"),
        "the divergence the other way round": (reversed_kl, "of the second from the first"),
        "variances taken for standard deviations": (
            lambda m, a, n, b: kl_by_formula(m, a**2, n, b**2),
            "variances already",
        ),
        "the -1 in the bracket is missing": (lambda *a: kl_by_formula(*a) + 0.5, "the -1 in the bracket"),
        "the logarithm upside down": (kl_of(log=lambda a, b: (a / b).log()), "logarithm is upside down"),
        "the ratio of variances upside down": (kl_of(ratio=lambda a, b: b / a), "ratio of the variances"),
        "log2 for the natural logarithm": (kl_of(log=lambda a, b: (b / a).log2()), "the natural one"),
        "the gap divided by the first variance": (
            kl_of(gap=lambda d, a, b: d**2 / a),
            "divided by the first variance",
        ),
        "the gap divided by no variance": (kl_of(gap=lambda d, a, b: d**2), "divided by nothing"),
        "the absolute gap of the means, not squared": (kl_of(gap=lambda d, a, b: d.abs() / b), "enters squared"),
        "the signed gap of the means, not squared": (kl_of(gap=lambda d, a, b: d / b), "enters squared"),
        "only the means are compared": (lambda m, a, n, b: (m - n) ** 2 / (2 * b), "Only the means"),
        "in bits, not nats": (lambda *a: kl_by_formula(*a) / math.log(2), "in bits"),
        "summed over the pairs": (lambda *a: kl_by_formula(*a).sum(), "no sum, no mean"),
        "math.log of a whole tensor": (lambda m, a, n, b: math.log(b / a), "only one element"),
        "something else altogether": (lambda m, a, n, b: m + a + n + b, "expected"),
    },
)


def prior_of(constant=lambda ab: -(1 - ab).log() - ab, square=lambda ab, x: ab * x**2, table="alpha_bar", entry=-1):
    """The prior term with one piece exchanged."""

    def prior(s, x):
        ab = getattr(s, table)[entry]
        return summed(0.5 * (constant(ab) + square(ab, x)))

    return prior


PRIOR = (
    [elbo.prior_term, prior_by_torch],
    {
        "an average over dimensions": (lambda s, x: elbo.prior_term(s, x) / 4, "average over dimensions"),
        "an average over the batch as well": (lambda s, x: elbo.prior_term(s, x).mean(), "One number came back"),
        "not summed over dimensions": (lambda s, x: 0.5 * s.alpha_bar[-1] * x**2, "One value for each dimension"),
        "summed over the last axis only": (lambda s, x: (s.alpha_bar[-1] * x**2).sum(-1), "some axes"),
        "summed over the batch": (lambda s, x: x.flatten(1).sum(0), "over the batch"),
        "the constant is forgotten": (prior_of(constant=lambda ab: 0 * ab), "Only the mean is counted"),
        "the constant counts once, not per dimension": (
            lambda s, x: elbo.prior_term(s, x) - 3 * elbo.prior_term(s, 0 * x) / 4,
            "constant counts once",
        ),
        "the logarithm with the wrong sign": (prior_of(constant=lambda ab: (1 - ab).log() - ab), "wrong sign"),
        "the -1 in the bracket is missing": (prior_of(constant=lambda ab: -(1 - ab).log() + 1 - ab), "the -1"),
        "the mean is not squared": (prior_of(square=lambda ab, x: ab.sqrt() * x**2), "enters squared"),
        "the root of alpha_bar is missing": (prior_of(square=lambda ab, x: (ab * x) ** 2), "square root is missing"),
        "the divergence the other way round": (
            prior_of(lambda ab: (1 - ab).log() + 1 / (1 - ab) - 1, lambda ab, x: ab * x**2 / (1 - ab)),
            "averages over a",
        ),
        "the signal's variance for the noise's": (
            prior_of(constant=lambda ab: -ab.log() + ab - 1),
            "variance of the signal",
        ),
        "one step too early": (prior_of(entry=-2), "T + 1 entries"),
        "beta_T for alpha_bar_T": (prior_of(table="beta"), "a single step"),
        "alpha_T without the bar": (prior_of(table="alpha"), "a single step"),
        "the factor 1/2 is missing": (lambda s, x: 2 * elbo.prior_term(s, x), "factor 1/2"),
        "in bits, not nats": (lambda s, x: elbo.prior_term(s, x) / math.log(2), "in bits"),
    },
)


# ---------------------------------------------------------------- wrong ones: a step


def coefficient(s, t, x, before=-1, root=True, rest=lambda r: r, beta=lambda b: b):
    bar = at(s.alpha_bar, t + before, x)
    return (bar.sqrt() if root else bar) * beta(at(s.beta, t, x)) / rest(at(1 - s.alpha_bar, t, x))


def term_of(factor=coefficient, own="posterior_variance", width=lambda s, t, v: v, kl=kl_by_formula):
    """The denoising term with one piece exchanged."""

    def term(s, x0, x0_hat, t, variance):
        S = width(s, t, variance)[:, None]
        return kl(factor(s, t, x0) * (x0 - x0_hat), at(getattr(s, own), t, x0), torch.zeros_like(x0), S).sum(1)

    return term


def with_coefficient(**pieces):
    return term_of(factor=lambda s, t, x: coefficient(s, t, x, **pieces))


def of_x_t(s, t, x):
    return at(s.alpha, t, x).sqrt() * at(1 - s.alpha_bar, t - 1, x) / at(1 - s.alpha_bar, t, x)


def widths_once(s, x, y, t, v):
    """The means' part summed over dimensions, the widths' part counted once."""
    widths = elbo.denoising_term(s, x, x, t, v)
    return elbo.denoising_term(s, x, y, t, v) - widths / 2


TERM = (
    [elbo.denoising_term, term_by_posteriors, term_of()],
    {
        "the guesses themselves are compared": (
            term_of(factor=lambda s, t, x: 1.0),
            "multiply by x_0's coefficient",
        ),
        "alpha_bar_t for alpha_bar_{t-1}": (with_coefficient(before=0), "where sqrt(alpha_bar_{t-1}) belongs"),
        "the coefficient's root is missing": (with_coefficient(root=False), "square root is missing"),
        "the coefficient divided by a root": (with_coefficient(rest=torch.sqrt), "no root there"),
        "the root of beta in the coefficient": (with_coefficient(beta=torch.sqrt), "sqrt(beta_t) where"),
        "divided by what is left one step before": (
            term_of(factor=lambda s, t, x: coefficient(s, t, x, rest=lambda r: at(1 - s.alpha_bar, t - 1, x))),
            "divided by 1 - alpha_bar_{t-1}",
        ),
        "the coefficient is not squared": (
            term_of(factor=lambda s, t, x: coefficient(s, t, x).sqrt()),
            "not squared with the gap",
        ),
        "the coefficient of x_t": (term_of(factor=of_x_t), "x_t drops out"),
        "beta for the posterior's variance": (term_of(own="beta"), "not beta_t"),
        "the posterior's table read at t - 1": (
            lambda s, x, y, t, v: kl_by_formula(x - y, at(s.posterior_variance, t - 1, x), 0 * x, v[:, None]).sum(1),
            "read it at t",
        ),
        "only the means are compared": (
            lambda s, x, y, t, v: elbo.denoising_term(s, x, y, t, v) - elbo.denoising_term(s, x, x, t, v),
            "Only the means",
        ),
        "the widths count once, not per dimension": (widths_once, "widths count once"),
        "the posterior's width for the model's": (
            term_of(width=lambda s, t, v: s.posterior_variance[t]),
            "has no effect",
        ),
        "always beta for the model's width": (term_of(width=lambda s, t, v: s.beta[t]), "what the caller chose"),
        "the model's width squared": (term_of(width=lambda s, t, v: v**2), "`variance` is a variance already"),
        "the gap divided by the posterior's variance": (
            term_of(kl=kl_of(gap=lambda d, a, b: d**2 / a)),
            "divided by the posterior's variance",
        ),
        "the divergence the other way round": (term_of(kl=reversed_kl), "averages over a"),
        "an average over dimensions": (lambda *a: elbo.denoising_term(*a) / 2, "Half of it"),
        "the factor 1/2 is missing": (lambda *a: elbo.denoising_term(*a) * 2, "factor 1/2"),
        "in bits, not nats": (lambda *a: elbo.denoising_term(*a) / math.log(2), "in bits"),
        "not summed over dimensions": (lambda s, x, y, t, v: x - y, "One value for each dimension"),
        "summed over the batch as well": (lambda *a: elbo.denoising_term(*a).sum(), "One number came back"),
        "one t for the whole batch": (
            lambda s, x, y, t, v: elbo.denoising_term(s, x, y, t[:1].expand(4), v),
            "the t of the first",
        ),
        "the times sorted first": (
            lambda s, x, y, t, v: elbo.denoising_term(s, x, y, t.sort()[0], v),
            "each other's t",
        ),
        "the width without the batch's shape": (
            lambda s, x, y, t, v: ((x - y) ** 2 / v).sum(1),
            "stopped with RuntimeError",
        ),
    },
)


def width_of(factor=lambda c: c**2, error=lambda s, e: e / s.snr, own="posterior_variance", sign=1):
    """The best width with one piece exchanged."""

    def width(s, e):
        c = s.alpha_bar[:-1].sqrt() * s.beta[1:] / (1 - s.alpha_bar[1:])
        return getattr(s, own) + torch.cat([e.new_zeros(1), sign * factor(c) * error(s, e)[1:]])

    return width


def all_entries(s, e):
    """Right from t = 1 on; at t = 0 it divides 0 by 0."""
    before = torch.cat([s.alpha_bar[:1], s.alpha_bar[:-1]])
    return s.posterior_variance + before * s.beta**2 / (1 - s.alpha_bar) / s.alpha_bar * e


def into_the_table(s, e):
    s.posterior_variance[1:] += e[1:]
    return s.posterior_variance


BEST = (
    [reverse.optimal, width_by_snr, width_of()],
    {
        "the error has no effect": (lambda s, e: s.posterior_variance, "has no effect"),
        "the posterior's variance is missing": (
            lambda s, e: reverse.optimal(s, e) - s.posterior_variance,
            "remains: add it",
        ),
        "beta in place of the best": (lambda s, e: s.beta, "variance 1 only"),
        "beta for the posterior's variance": (width_of(own="beta"), "starts from beta_t"),
        "the error is subtracted": (width_of(sign=-1), "is taken off"),
        "the standard deviation, not the variance": (lambda s, e: reverse.optimal(s, e).sqrt(), "standard deviation"),
        "the error of eps for that of x_0": (width_of(error=lambda s, e: e), "That of x_0 is"),
        "from eps to x_0 the wrong way round": (width_of(error=lambda s, e: e * s.snr), "the other way round"),
        "from eps to x_0 by a root": (width_of(error=lambda s, e: e / s.snr.sqrt()), "without a root"),
        "the mean squared error squared again": (width_of(error=lambda s, e: e**2 / s.snr), "squared already"),
        "the coefficient is not squared": (width_of(factor=lambda c: c), "it is squared"),
        "the coefficient is missing": (width_of(factor=lambda c: 1.0), "by its square"),
        "alpha_bar_t for alpha_bar_{t-1}": (width_of(error=lambda s, e: e / s.snr * s.alpha), "where alpha_bar_{t-1}"),
        "0 divided by 0 at t = 0": (all_entries, "Entry 0 is NaN"),
        "the schedule's table changed in place": (into_the_table, "in place"),
        "T values, without entry 0": (lambda s, e: reverse.optimal(s, e)[1:], f"{T + 1} are expected"),
    },
)


# ---------------------------------------------------------------- wrong ones: grey levels and bits


def bins(mean, std, levels, half=None, outer=True, from_=-1, move=0.0):
    half = half or 1 / (levels - 1)
    x = torch.linspace(from_, 1, levels, dtype=torch.float64) + move
    low, high = Normal(mean, std).cdf(x - half), Normal(mean, std).cdf(x + half)
    if outer:
        low[0], high[-1] = 0, 1
    return high - low


def side_by_side(mean, std, levels):
    edges = torch.linspace(-1, 1, levels + 1, dtype=torch.float64)
    return Normal(mean, std).cdf(edges).diff()


def density(mean, std, levels):
    return Normal(mean, std).log_prob(torch.linspace(-1, 1, levels, dtype=torch.float64)).exp()


def normalised(values):
    return values / values.sum()


LEVELS = (
    [bound_answers.grey_levels, levels_by_erf, bins],
    {
        "bins of 256 levels, 1/255": (lambda m, s, k: bins(m, s, k, 1 / 255), "that of 256 levels"),
        "bins of 256 levels, closed": (lambda m, s, k: bins(m, s, k, 1 / 255, outer=False), "that of 256 levels"),
        "the outer bins closed": (lambda m, s, k: bins(m, s, k, outer=False), "reach to infinity"),
        "closed bins divided by their sum": (
            lambda m, s, k: normalised(bins(m, s, k, outer=False)),
            "Divided by their sum",
        ),
        "whole bins for half bins": (lambda m, s, k: bins(m, s, k, 2 / (k - 1)), "bins overlap"),
        "half of half a bin": (lambda m, s, k: bins(m, s, k, 0.5 / (k - 1)), "leave gaps"),
        "1/K for half a bin": (lambda m, s, k: bins(m, s, k, 1 / k), "K levels have K - 1 distances"),
        "bins that start at their level": (lambda m, s, k: bins(m, s, k, move=1 / (k - 1)), "half below, half above"),
        "bins that fill -1 to 1 side by side": (side_by_side, "side by side"),
        "levels from 0 to 1": (lambda m, s, k: bins(m, s, k, 0.5 / (k - 1), from_=0), "from 0 to 1"),
        "from bright to dark": (lambda m, s, k: levels_by_erf(m, s, k).flip(0), "the darkest"),
        "the variance for the standard deviation": (lambda m, s, k: bins(m, s**2, k), "std is squared"),
        "a root of the standard deviation": (lambda m, s, k: bins(m, s**0.5, k), "no root of it"),
        "the density at the level": (density, "mass of a bin"),
        "density times the bin's width": (lambda m, s, k: density(m, s, k) * 2 / (k - 1), "Density times width"),
        "a softmax over the levels": (lambda m, s, k: normalised(density(m, s, k)), "a softmax"),
        "logarithms of the probabilities": (lambda m, s, k: levels_by_erf(m, s, k).log(), "logarithms"),
        "one probability only": (lambda m, s, k: levels_by_erf(m, s, k)[0], "expected shape"),
        "all levels as likely": (lambda m, s, k: torch.full((k,), 1 / k), "level 0"),
    },
)


LOG_2 = math.log(2)


def bits_with(total, scale=LOG_2):
    return lambda p, d, r, n: total(p, d, r) / (n * scale)


def right_nats(p, d, r):
    return p + d.sum(1) + r


BITS = (
    [bound_answers.bits_per_dim, bits_by_columns],
    {
        "nats per dimension": (bits_with(right_nats, 1), "divide by log 2 as well"),
        "bits of all dimensions together": (
            lambda p, d, r, n: right_nats(p, d, r) / math.log(2),
            "of all dimensions together",
        ),
        "nats of all dimensions": (lambda p, d, r, n: right_nats(p, d, r), "by the dimensions and by log 2"),
        "multiplied by log 2": (bits_with(right_nats, 1 / math.log(2)), "more bits than nats"),
        "log10 for the natural logarithm": (bits_with(right_nats, math.log10(2)), "log10 2"),
        "2 for log 2": (bits_with(right_nats, 2), "Divided by 2 for log 2"),
        "an average over t": (bits_with(lambda p, d, r: p + d.mean(1) + r), "averaged over t"),
        "an average over the terms' t": (bits_with(lambda p, d, r: p + d[:, 2:].mean(1) + r), "averaged over t"),
        "the last t left out": (bits_with(lambda p, d, r: p + d[:, :-1].sum(1) + r), "The last column"),
        "summed over the batch as well": (bits_with(lambda p, d, r: p + d.sum() + r), "of both"),
        "one number for the batch": (bits_with(lambda p, d, r: (p + d.sum(1) + r).mean()), "for two samples"),
        "one Python number for the batch": (
            lambda p, d, r, n: float(right_nats(p, d, r).mean()),
            "for two samples",
        ),
        "the prior term is missing": (bits_with(lambda p, d, r: d.sum(1) + r), "prior term is missing"),
        "the reconstruction is missing": (bits_with(lambda p, d, r: p + d.sum(1)), "reconstruction term is missing"),
        "the denoising terms are missing": (bits_with(lambda p, d, r: p + r), "denoising terms are missing"),
        "the reconstruction is subtracted": (bits_with(lambda p, d, r: p + d.sum(1) - r), "is subtracted"),
        "a minus in front": (bits_with(lambda *a: -right_nats(*a)), "The sign"),
        "log2 of the total": (lambda p, d, r, n: right_nats(p, d, r).log2() / n, "logarithm already"),
        "log2 of the total per dimension": (lambda p, d, r, n: (right_nats(p, d, r) / n).log2(), "logarithm already"),
    },
)


# ---------------------------------------------------------------- wrong ones: the whole


def bound_of(
    prior=elbo.prior_term,
    first=2,
    end=0,
    of_kl=summed,
    kl=lambda q, p: kl_divergence(q, p),
    last=lambda q, p, x0: -p.log_prob(x0),
    of_last=summed,
    steps=steps_back,
    whole=lambda a, b, c: a + b + c,
):
    """The whole bound with one or two pieces exchanged."""

    def bound(denoise, s, x0, noise):
        reconstruction = of_last(last(*steps(denoise, s, x0, noise, 1), x0))
        pairs = [steps(denoise, s, x0, noise, t) for t in range(first, s.T + 1 + end)]
        return whole(prior(s, x0), sum(of_kl(kl(*pair)) for pair in pairs), reconstruction)

    return bound


def mean(x):
    return x.flatten(1).mean(1)


def no_prior(s, x0):
    return 0.0


def width_for_root(q, p, x0):
    return -Normal(p.loc, p.scale**2).log_prob(x0)


def fresh_noise(denoise, s, x0, noise, t):
    return steps_back(denoise, s, x0, torch.randn_like(noise), t)


def from_t_0(denoise, s, x0, noise):
    x_t = q_sample(s, x0, torch.ones(len(x0), dtype=torch.int64), noise)
    return denoise(x_t, torch.zeros(len(x0), dtype=torch.int64)).x0


def width_zero(denoise, s, x0, noise):
    return Normal(x0, s.posterior_variance[1].sqrt(), validate_args=True).log_prob(x0)


def one_image_a_time(denoise, s, x0, noise):
    return denoise(x0[0], torch.tensor([1])).x0


WHOLE = (
    [bound_answers.whole_bound, bound_by_steps, bound_at_once, bound_of()],
    {
        "the published function as it stands": (bound_of(first=1, of_kl=mean), "both mistakes"),
        "t = 1 also counted as a divergence": (bound_of(first=1), "counted twice"),
        "divergences averaged over dimensions": (bound_of(of_kl=mean), "averaged over dimensions, while"),
        "everything averaged over dimensions": (
            lambda *a: bound_by_steps(*a) / 3,
            "Everything is averaged over dimensions",
        ),
        "all averaged, and t = 1 counted twice": (lambda *a: bound_of(first=1)(*a) / 3, "And t = 1 is counted twice"),
        "all but the prior averaged": (bound_of(of_kl=mean, of_last=mean), "L_T is summed"),
        "L_T is left out": (bound_of(prior=no_prior), "L_T is missing"),
        "L_T left out, t = 1 counted twice": (bound_of(prior=no_prior, first=1), "And t = 1 is counted twice"),
        "L_T left out, divergences averaged": (bound_of(prior=no_prior, of_kl=mean), "And the divergences"),
        "a divergence in place of the reconstruction": (
            bound_of(first=1, whole=lambda a, b, c: a + b),
            "The reconstruction is missing: at t = 1",
        ),
        "the reconstruction is left out": (bound_of(whole=lambda a, b, c: a + b), "the price of the last step"),
        "the divergences are left out": (
            bound_of(whole=lambda a, b, c: a + c),
            "The divergences are missing",
        ),
        "log p for -log p": (bound_of(whole=lambda a, b, c: a + b - c), "with a minus"),
        "the bound with its sign changed": (lambda *a: -bound_by_steps(*a), "every term is a price"),
        "in bits, not nats": (lambda *a: bound_by_steps(*a) / math.log(2), "in bits"),
        "divergences averaged over t": (bound_of(whole=lambda a, b, c: a + b / (T - 1) + c), "averaged over t"),
        "divergences divided by T": (bound_of(whole=lambda a, b, c: a + b / T + c), "averaged over t"),
        "the divergences the other way round": (bound_of(kl=lambda q, p: kl_divergence(p, q)), "wrong way round"),
        "a variance where Normal wants its root": (bound_of(last=width_for_root), "stands for a standard deviation"),
        "the reconstruction without its constant": (
            bound_of(last=lambda q, p, x0: (x0 - p.loc) ** 2 / (2 * p.scale**2)),
            "only the squared error",
        ),
        "the reconstruction by the posterior": (bound_of(last=lambda q, p, x0: -q.log_prob(x0)), "is that of q"),
        "the loop stops before T": (bound_of(end=-1), "never asked at t = 5"),
        "a Normal of width 0 at t = 1": (width_zero, "a width that is not > 0"),
        "fresh noise for every step": (bound_of(steps=fresh_noise), "something else than x_t"),
        "the noise with a minus": (bound_of(steps=lambda d, s, x, e, t: steps_back(d, s, x, -e, t)), "else than x_t"),
        "times that count from 0": (from_t_0, "Times are 1..T"),
        "one image where a batch belongs": (one_image_a_time, "It takes (N, ...)"),
        "an average over the batch": (lambda *a: bound_by_steps(*a).mean(), "One number came back"),
        "no sum over dimensions": (bound_of(of_kl=lambda x: x, prior=lambda s, x: x, of_last=lambda x: x), "One value"),
        "twice the bound": (lambda *a: 2 * bound_by_steps(*a), "expected"),
    },
)


# check: (right answers, {wrong answer: (function, words of the message)})
EXERCISES = {
    the_bound.gaussian_kl: KL,
    the_bound.prior_term: PRIOR,
    the_bound.denoising_term: TERM,
    the_bound.grey_levels: LEVELS,
    the_bound.bits_per_dim: BITS,
    the_bound.optimal_variance: BEST,
    the_bound.whole_bound: WHOLE,
}

(
    test_a_blank_is_told_kindly_and_raises_nothing,
    test_the_librarys_answer_and_another_correct_one_pass,
    test_a_wrong_answer_is_refused_with_the_likely_mistake,
    test_every_check_is_listed_here,
) = proof.of(the_bound, EXERCISES)


# ---------------------------------------------------------------- the oracles


def test_the_oracles_integrate_well_enough():
    """The checks compare to about 1e-5; the integrals have to be better than that."""
    assert abs(kl_by_integration(0.0, 1.0, 0.0, 1.0)) < 1e-9
    assert abs(kl_by_integration(1.0, 2.0, 1.0, 4.0) - 0.5 * (math.log(2) - 0.5)) < 1e-9
    assert abs(sum(masses_by_integration(0.3, 0.05, 17)) - 1) < 1e-7
    assert AB[0] == 1


def test_the_whole_bounds_terms_average_to_the_closed_form():
    """Four points have the moments of the data and of the noise; the closed form is an entropy plus losses."""
    w = the_whole_bound
    points = [(w.MEAN + sign * w.STD, e) for sign in (-1, 1) for e in (-1.0, 1.0)]
    toy = closed_form.gaussian(chain(), w.MEAN, w.STD)
    last = sum(w.last_price(x, e) for x, e in points) / 4
    steps = [sum(w.step_price(x, e, t) for x, e in points) / 4 for t in range(2, T + 1)]
    prior = sum(kl_by_integration(math.sqrt(AB[T]) * x, 1 - AB[T], 0, 1) for x, _ in points) / 4
    assert abs(last - toy.reconstruction()) < 1e-9
    assert torch.allclose(torch.tensor(steps, dtype=torch.float64), toy.denoising()[2:], atol=1e-7)
    assert abs(prior + sum(steps) + last - toy.total()) < 1e-6
    assert toy.total() > toy.entropy() > 0.5
