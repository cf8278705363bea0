"""The bound held to what shares no code with it: torch.distributions on four exact points, the definition of the bound
by quadrature over whole trajectories, SciPy's normal distribution, golden tables.

x0 = mean +- std with noise = +-1 is an exact quadrature for Gaussian data, since every term is a square in both.
"""

import functools
import itertools
import math
import warnings

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from ddpm_edu import elbo, oracles, reverse, schedules
from ddpm_edu.errors import ConfigError, DataError, ScheduleError, ScheduleWarning

MAKE = {
    "linear-1000": lambda: schedules.linear(1000),
    "raw linear-400": lambda: schedules.linear(400),
    "cosine-400": lambda: schedules.cosine(400),
    "sigmoid-100": lambda: schedules.sigmoid(100),
    "quadratic-300": lambda: schedules.quadratic(300),
    "scaled linear-50": lambda: schedules.linear_scaled(50),
    "stable diffusion": schedules.stable_diffusion,
    "zero SNR at the end": lambda: schedules.zero_terminal_snr(schedules.linear(200)),
    "one step": lambda: schedules.from_betas([0.3]),
    "three steps": lambda: schedules.from_betas([0.3, 0.5, 0.8]),
    "one large step": lambda: schedules.from_betas([0.9]),
}
FACTS = ("linear-1000", "raw linear-400", "cosine-400")


@functools.cache
def schedule(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)
        return MAKE[name]()


def four_points(mean, std):
    x0 = torch.tensor([[mean + std], [mean + std], [mean - std], [mean - std]], dtype=torch.float64)
    return x0, torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)


def bound_of_gaussian(s, mean, std, variance, **options):
    x0, noise = four_points(mean, std)
    denoise = oracles.Gaussian(mean, std).denoiser(s)
    return elbo.variational_bound(denoise, s, x0, variance=variance, decoder=elbo.density, noise=noise, **options)


def widths(s, mean, std, choice):
    """S_t for t = 1..T, written again from beta and alpha_bar, float64 (T,)."""
    if isinstance(choice, torch.Tensor):
        return choice[1:]
    beta, ab, before = s.beta[1:], s.alpha_bar[1:], s.alpha_bar[:-1]
    if choice == "beta":
        return beta
    if choice == "optimal":
        return beta * (before * std**2 + 1 - before) / (ab * std**2 + 1 - ab)
    small = beta * (1 - before) / (1 - ab)
    return torch.cat([small[1:2], small[1:]]) if len(small) > 1 else beta


def terms_by_torch(s, mean, std, choice):
    """Prior, denoising (columns 2..T) and reconstruction of the four points, from means written in eps."""
    x0, noise = four_points(mean, std)
    ab, before, beta, S = s.alpha_bar[1:], s.alpha_bar[:-1], s.beta[1:], widths(s, mean, std, choice)
    x_t = ab.sqrt() * x0 + (1 - ab).sqrt() * noise
    eps = (1 - ab).sqrt() * (x_t - ab.sqrt() * mean) / (ab * std**2 + 1 - ab)
    true = (x_t - beta / (1 - ab).sqrt() * noise) / (1 - beta).sqrt()
    model = (x_t - beta / (1 - ab).sqrt() * eps) / (1 - beta).sqrt()
    b = beta * (1 - before) / (1 - ab)
    prior = kl_divergence(Normal(ab[-1].sqrt() * x0[:, 0], (1 - ab[-1]).sqrt()), Normal(0.0, 1.0))
    denoising = kl_divergence(Normal(true[:, 1:], b[1:].sqrt()), Normal(model[:, 1:], S[1:].sqrt()))
    return prior, denoising, -Normal(model[:, 0], S[0].sqrt()).log_prob(x0[:, 0])


CHOICES = ("beta", "posterior", "optimal", "table")


def cases(names=FACTS):
    for name, choice, (mean, std) in itertools.product(names, CHOICES, ((0.3, 0.5), (0.0, 1.0), (-1.2, 2.0))):
        s = schedule(name)
        yield s, mean, std, 0.7 * s.beta + 0.1 * s.beta.sqrt() if choice == "table" else choice


# ---------------------------------------------------------------- the Gaussian, term by term


def test_the_prior_of_each_sample():
    for s, mean, std, choice in cases():
        want = terms_by_torch(s, mean, std, choice)[0]
        torch.testing.assert_close(bound_of_gaussian(s, mean, std, choice).prior, want, atol=1e-10, rtol=1e-9)


def test_each_denoising_term_of_each_sample():
    for s, mean, std, choice in cases():
        got, want = bound_of_gaussian(s, mean, std, choice).denoising, terms_by_torch(s, mean, std, choice)[1]
        torch.testing.assert_close(got[:, 2:], want, atol=1e-10, rtol=1e-10)


def test_the_reconstruction_of_each_sample():
    for s, mean, std, choice in cases():
        want = terms_by_torch(s, mean, std, choice)[2]
        torch.testing.assert_close(bound_of_gaussian(s, mean, std, choice).reconstruction, want, atol=1e-10, rtol=1e-10)


def test_columns_zero_and_one_of_denoising_are_empty():
    """L_0 is the reconstruction, and nothing is counted twice."""
    b = bound_of_gaussian(schedule("cosine-400"), 0.3, 0.5, "beta")
    assert b.denoising.shape == (4, 401) and b.denoising.dtype == b.total.dtype == b.prior.dtype == torch.float64
    assert (b.denoising[:, :2] == 0).all() and (b.denoising[:, 2:] != 0).all()
    torch.testing.assert_close(b.total, b.prior + b.denoising[:, 2:].sum(1) + b.reconstruction)
    torch.testing.assert_close(b.rate + b.distortion, b.total)


def test_the_error_of_eps_by_t():
    """Golden formula alpha_bar std^2 / v, and one step T = 1 works too."""
    for name in (*FACTS, "one step"):
        s = schedule(name)
        ab = s.alpha_bar[1:]
        got = bound_of_gaussian(s, 0.3, 0.5, "beta").eps_mse.mean(0)
        torch.testing.assert_close(got[1:], ab * 0.25 / (ab * 0.25 + 1 - ab), atol=1e-10, rtol=1e-10)
        assert got[0] == 0


GOLDEN = (  # mean 0.3, std 0.5; entropy 0.725791: schedule, S, L_T, sum L_{t-1}, L_0, L, NLL, c0
    ("linear-1000", "beta", "0.000007", "3.913260", "-3.186382", "0.726885", "0.725794", "0.250852"),
    ("linear-1000", "posterior", "0.000007", "4.368516", "-3.072804", "1.295719", "0.725851", "0.246180"),
    ("linear-1000", "optimal", "0.000007", "3.912168", "-3.186382", "0.725793", "0.725791", "0.250000"),
    ("raw linear-400", "beta", "0.003048", "3.911682", "-3.186382", "0.728348", "0.725802", "0.251364"),
    ("raw linear-400", "optimal", "0.003048", "3.909955", "-3.186382", "0.726621", "0.725795", "0.250015"),
    ("cosine-400", "beta", "0.000000", "3.855653", "-3.128333", "0.727320", "0.725797", "0.251151"),
)


def test_golden_table_of_the_general_code():
    for name, choice, *want in GOLDEN:
        b = bound_of_gaussian(schedule(name), 0.3, 0.5, choice)
        got = (b.prior, b.denoising.sum(1), b.reconstruction, b.total)
        assert [f"{term.mean():.6f}" for term in got] == want[:4], (name, choice)


def test_what_beta_costs_beside_the_posterior():
    """0.82 bits per dimension between two variances whose samples are hardly different."""
    s = schedule("linear-1000")
    small, large = (bound_of_gaussian(s, 0.3, 0.5, v).total.mean().item() for v in ("posterior", "beta"))
    assert f"{(small - large) / math.log(2):.2f}" == "0.82"


def test_beta_is_exact_for_standard_normal_data_on_every_schedule():
    """L = H, whatever the schedule; with another mean, what is left of it at T is added."""
    entropy = 0.5 * math.log(2 * math.pi * math.e)
    for name in MAKE:
        s = schedule(name)
        assert abs(bound_of_gaussian(s, 0.0, 1.0, "beta").total.mean() - entropy) < 1e-9, name
        left = s.alpha_bar[-1].item() * 0.7**2 / 2
        assert abs(bound_of_gaussian(s, 0.7, 1.0, "beta").total.mean() - entropy - left) < 1e-9, name
    assert abs(bound_of_gaussian(schedule("cosine-400"), 0.0, 0.9, "beta").total.mean() - entropy) > 0.05  # control


# ---------------------------------------------------------------- the definition


def test_the_three_terms_are_the_bound_as_it_is_defined():
    """E_q[log q(x_1..x_T | x_0) - log p(x_0..x_T)] over whole trajectories, by quadrature: no KL, no posterior.

    Data of two modes and T = 3, so that nothing is linear; the terms see each x_t by itself.
    """
    s = schedule("three steps")
    mixture = oracles.Mixture(torch.tensor([0.3, 0.7]), torch.tensor([[-1.0], [0.8]]), torch.tensor([0.5, 0.4]))
    denoise, x0 = mixture.denoiser(s), 0.4
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(40))
    weights = weights / weights.sum()

    z = torch.cartesian_prod(nodes, nodes, nodes)
    w = torch.cartesian_prod(weights, weights, weights).prod(1)
    x, log_ratio = torch.full((len(z),), x0, dtype=torch.float64), torch.zeros(len(z), dtype=torch.float64)
    for t in (1, 2, 3):
        forward = Normal((1 - s.beta[t]).sqrt() * x, s.beta[t].sqrt())
        later = forward.mean + forward.scale * z[:, t - 1]
        eps = denoise(later[:, None], torch.full((len(z),), t)).eps[:, 0]
        mean = (later - s.beta[t] / (1 - s.alpha_bar[t]).sqrt() * eps) / (1 - s.beta[t]).sqrt()
        log_ratio += forward.log_prob(later) - Normal(mean, s.beta[t].sqrt()).log_prob(x)
        x = later
    log_ratio -= Normal(0.0, 1.0).log_prob(x)
    want = (w * log_ratio).sum().item()

    many = torch.full((40, 1), x0, dtype=torch.float64)
    b = elbo.variational_bound(denoise, s, many, decoder=elbo.density, noise=nodes[:, None])
    assert abs((weights * b.total).sum().item() - want) < 1e-6


def test_the_bound_of_a_mixture_is_above_its_entropy_by_less_and_less():
    """Even a perfect denoiser loses something at finite T: the true step back is no Gaussian. Standard error 0.025."""
    g = torch.Generator().manual_seed(0)
    mixture = oracles.Mixture(torch.tensor([0.5, 0.5]), torch.tensor([[-0.9], [0.9]]), torch.tensor([0.2, 0.2]))
    x0, _ = mixture.sample(2000, g)
    entropy = -torch.logsumexp(
        torch.stack([Normal(m, 0.2).log_prob(x0[:, 0]) + math.log(0.5) for m in (-0.9, 0.9)]), 0
    ).mean()
    gaps = []
    for steps in (10, 25, 250):
        s = schedules.cosine(steps)
        b = elbo.variational_bound(mixture.denoiser(s), s, x0, decoder=elbo.density, generator=g)
        gaps.append((b.total.mean() - entropy).item())
    assert abs(gaps[0] - 0.316) < 0.07 and abs(gaps[1] - 0.158) < 0.07 and abs(gaps[2] - 0.035) < 0.08, gaps


# ---------------------------------------------------------------- how it is called


def images(n=3, dtype=torch.float64):
    g = torch.Generator().manual_seed(5)
    return (torch.randint(0, 17, (n, 1, 4, 4), generator=g) / 8 - 1).to(dtype)


def test_the_result_does_not_depend_on_the_batch_size():
    s, x0 = schedule("sigmoid-100"), images()
    denoise = oracles.Gaussian(0.1, 0.6).denoiser(s)
    for given_noise in (None, torch.randn(x0.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))):
        results = [
            elbo.variational_bound(
                denoise,
                s,
                x0,
                decoder=elbo.discretized(17),
                noise=given_noise,
                generator=torch.Generator().manual_seed(2),
                batch_size=size,
            )
            for size in (1, 7, 100, 4096)
        ]
        for b in results[1:]:
            torch.testing.assert_close(b.denoising, results[0].denoising, atol=1e-12, rtol=1e-12)
            torch.testing.assert_close(b.total, results[0].total, atol=1e-10, rtol=1e-12)
            torch.testing.assert_close(b.eps_mse, results[0].eps_mse, atol=1e-12, rtol=1e-12)


def test_the_generator_decides_and_each_t_has_its_own_draw():
    s, x0 = schedule("sigmoid-100"), torch.zeros(1, 1, dtype=torch.float64)
    denoise = oracles.FiniteDataset(torch.zeros(1, 1)).denoiser(s)  # its eps is the draw itself

    def run(seed):
        seen = []

        def spy(x, t):
            seen.append(denoise(x, t).eps)
            return denoise(x, t)

        elbo.variational_bound(spy, s, x0, decoder=elbo.density, generator=torch.Generator().manual_seed(seed))
        return torch.cat(seen)[:, 0]

    assert torch.equal(run(0), run(0)) and not torch.equal(run(0), run(1))
    assert len(set(run(0).tolist())) == 100 and abs(run(0).std() - 1) < 0.25


def test_single_precision_data_give_double_precision_terms():
    s, x0 = schedule("linear-1000"), images(dtype=torch.float32)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1))
    denoise = oracles.Gaussian(0.1, 0.6).denoiser(s)
    b = elbo.variational_bound(denoise, s, x0, decoder=elbo.discretized(17), noise=noise)
    c = elbo.variational_bound(denoise, s, x0.double(), decoder=elbo.discretized(17), noise=noise.double())
    assert b.total.dtype == b.denoising.dtype == b.eps_mse.dtype == torch.float64
    torch.testing.assert_close(b.total, c.total, rtol=1e-4, atol=0)
    torch.testing.assert_close(b.denoising, c.denoising, rtol=1e-3, atol=1e-4)


def test_terms_are_sums_over_dimensions():
    """The same value in 16 pixels costs 16 times what it costs in one."""
    s = schedule("sigmoid-100")
    x0, noise = four_points(0.3, 0.5)
    one = bound_of_gaussian(s, 0.3, 0.5, "beta")
    wide = [v.reshape(4, 1, 1, 1).expand(4, 1, 4, 4).contiguous() for v in (x0, noise)]
    denoise = oracles.Gaussian(0.3, 0.5).denoiser(s)
    many = elbo.variational_bound(denoise, s, wide[0], decoder=elbo.density_of(17), noise=wide[1])
    for name in ("prior", "denoising", "reconstruction", "total"):
        torch.testing.assert_close(getattr(many, name), 16 * getattr(one, name), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(many.eps_mse, one.eps_mse)
    torch.testing.assert_close(many.bits_per_dim, one.total / math.log(2) + 3)


def test_the_prior_has_no_parameters():
    """Whatever the network: L_T is the same, and is the golden number of bits of the raw schedule."""
    s = schedule("raw linear-400")
    x0, _ = four_points(0.3, 0.5)
    assert f"{elbo.prior_term(s, x0).mean():.6f}" == "0.003048"
    zero_snr = schedule("zero SNR at the end")
    assert (elbo.prior_term(zero_snr, x0) == 0).all()


def test_gradients_are_not_kept():
    s, x0 = schedule("sigmoid-100"), images()
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    inner = oracles.Gaussian(0.1, 0.6).denoiser(s)
    b = elbo.variational_bound(
        lambda x, t: inner(x, t)._replace(x0=scale * inner(x, t).x0), s, x0, decoder=elbo.density
    )
    assert not b.total.requires_grad


def test_progress_is_shown_only_when_asked_for(capsys):
    s, x0 = schedule("sigmoid-100"), images()
    for progress in (False, True):
        elbo.variational_bound(oracles.Gaussian().denoiser(s), s, x0, decoder=elbo.density, progress=progress)
        assert ("100/100" in capsys.readouterr().err) == progress


# ---------------------------------------------------------------- learned variance


def with_fraction(denoise, fraction):
    def call(x, t):
        return denoise(x, t)._replace(variance_fraction=torch.full_like(x, fraction))

    return call


def learned(s, fraction, decoder=elbo.density, mean=0.3, std=0.5):
    x0, noise = four_points(mean, std)
    denoise = with_fraction(oracles.Gaussian(mean, std).denoiser(s), fraction)
    return elbo.variational_bound(denoise, s, x0, variance="learned", decoder=decoder, noise=noise)


def test_learned_variance_ends_are_the_posterior_and_beta():
    for name in FACTS:
        s = schedule(name)
        for fraction, choice in ((0.0, "posterior"), (1.0, "beta")):
            fixed = bound_of_gaussian(s, 0.3, 0.5, choice)
            torch.testing.assert_close(learned(s, fraction).denoising, fixed.denoising, atol=1e-10, rtol=1e-10)
            torch.testing.assert_close(learned(s, fraction).total, fixed.total, atol=1e-10, rtol=1e-10)


def test_learned_variance_between_is_the_geometric_mean():
    s = schedule("cosine-400")
    table = torch.cat([torch.zeros(1), (widths(s, 0, 1, "posterior") * s.beta[1:]).sqrt()])
    torch.testing.assert_close(learned(s, 0.5).total, bound_of_gaussian(s, 0.3, 0.5, table).total)


def test_learned_variance_at_the_first_step_starts_from_entry_two():
    """Golden: log of linear-1000's entry 2 is -9.817. From log 1e-20, half the way would give a width of 1e-6."""
    s, t = schedule("linear-1000"), torch.tensor([1])
    low, middle = (reverse.bound_variance(s, t, "learned", torch.tensor([[f]])).item() for f in (0.0, 0.5))
    assert f"{math.log(low):.3f}" == "-9.817"
    assert f"{math.sqrt(middle):.1e}" == "8.6e-03"


def test_the_decoder_is_not_saturated_half_way_between_the_variances():
    """A mean one and a half grey levels off costs a few nats, not millions: the clamp at 1e-20 would make it so."""
    s, x0 = schedule("linear-1000"), torch.full((1, 1), 1 / 255, dtype=torch.float64)

    def off(x, t):
        truth = oracles.FiniteDataset(x0).denoiser(s)(x, t)
        return truth._replace(x0=truth.x0 + 3 / 255, variance_fraction=torch.full_like(x, 0.5))

    b = elbo.variational_bound(off, s, x0, variance="learned", decoder=elbo.discretized(256))
    assert 1 < b.reconstruction.item() < 3


# ---------------------------------------------------------------- the weight of eps


def test_the_weighted_error_of_eps_is_the_kl():
    """Random x_0, eps and predictions, at every t >= 2: all of the KL with the posterior's variance, else all of what
    depends on the prediction."""
    for name in FACTS:
        s = schedule(name)
        t = torch.arange(2, s.T + 1)
        g = torch.Generator().manual_seed(0)
        x0, eps, eps_hat = (torch.randn(s.T - 1, 3, generator=g, dtype=torch.float64) for _ in range(3))
        root, rest = s.alpha_bar[t].sqrt()[:, None], (1 - s.alpha_bar[t]).sqrt()[:, None]
        x0_hat = (root * x0 + rest * eps - rest * eps_hat) / root
        for choice in ("posterior", "beta", "table"):
            S = torch.cat([s.beta[:1], widths(s, 0, 1, 1.5 * s.beta if choice == "table" else choice)])
            weighted = elbo.eps_weight(s, S)[t] * (eps - eps_hat).square().sum(1)
            kl = elbo.denoising_term(s, x0, x0_hat, t, S[t])
            constant = elbo.denoising_term(s, x0, x0, t, S[t])
            torch.testing.assert_close(weighted, kl - constant, rtol=1e-8, atol=1e-8)
            assert (constant.abs().max() < 1e-12) == (choice == "posterior")


def test_the_weight_is_half_the_drop_in_snr():
    """With the posterior's variance: w_t = (SNR_{t-1} / SNR_t - 1) / 2, for t >= 2."""
    for name in FACTS:
        s = schedule(name)
        S = torch.cat([s.beta[:1], widths(s, 0, 1, "posterior")])
        snr = s.alpha_bar / (1 - s.alpha_bar)
        got = elbo.eps_weight(s, S)
        torch.testing.assert_close(got[2:], 0.5 * (snr[1:-1] / snr[2:] - 1), rtol=1e-8, atol=0)
        assert got[0] == 0


def test_the_weight_at_t_1_is_that_of_the_density_decoder():
    """No KL there: -log p(x_0 | x_1) = w_1 |eps - eps_hat|^2 + D/2 log(2 pi S_1)."""
    s = schedule("linear-1000")
    g = torch.Generator().manual_seed(0)
    x0, eps, eps_hat = (torch.randn(6, 3, generator=g, dtype=torch.float64) for _ in range(3))
    ab, S = s.alpha_bar[1], s.beta
    x0_hat = (ab.sqrt() * x0 + (1 - ab).sqrt() * (eps - eps_hat)) / ab.sqrt()
    nats = -elbo.density.log_prob(x0, x0_hat, S[1]).sum(1)
    want = elbo.eps_weight(s, S)[1] * (eps - eps_hat).square().sum(1) + 1.5 * torch.log(2 * math.pi * S[1])
    torch.testing.assert_close(nats, want, rtol=1e-9, atol=1e-9)


def test_the_weight_falls_with_t_so_dropping_it_favours_large_t():
    s = schedule("linear-1000")
    weight = elbo.eps_weight(s, s.beta)
    assert weight[2] > 20 * weight[500] and (weight[1:-1] > 0).all()


# ---------------------------------------------------------------- decoders


def levels(k):
    return torch.linspace(-1, 1, k, dtype=torch.float64)


def mass(k, mean, std):
    m, v = (torch.full((k,), float(x), dtype=torch.float64) for x in (mean, std**2))
    return elbo.discretized(k).log_prob(levels(k), m, v).exp().sum().item()


def test_masses_of_all_levels_add_up_to_one():
    for k, mean, std in itertools.product((2, 17, 256), (-50.0, -1.0, -0.37, 0.0, 1 / 255, 0.9, 3.0), (1e-6, 0.1, 9.0)):
        assert abs(mass(k, mean, std) - 1) < 1e-9, (k, mean, std)


@given(st.sampled_from([2, 3, 17, 256]), st.floats(-100, 100), st.floats(-18, 5))
def test_masses_add_up_at_any_mean_and_width(k, mean, log_std):
    assert abs(mass(k, mean, math.exp(log_std)) - 1) < 1e-9


def test_the_mass_of_a_level_against_scipy():
    for k, mean, std in itertools.product((2, 17, 256), (-0.8, 0.0, 0.33), (0.02, 0.3, 2.0)):
        m, v = (torch.full((k,), x, dtype=torch.float64) for x in (mean, std**2))
        got = elbo.discretized(k).log_prob(levels(k), m, v).numpy()
        edges = np.concatenate([[-np.inf], (levels(k)[:-1] + 1 / (k - 1)).numpy(), [np.inf]])
        normal = scipy.stats.norm(mean, std)
        # a difference of distribution functions on the lower side, of survival functions on the upper
        want = np.where(edges[:-1] > mean, -np.diff(normal.sf(edges)), np.diff(normal.cdf(edges)))
        enough = want > 1e-200
        np.testing.assert_allclose(got[enough], np.log(want[enough]), rtol=1e-9, atol=1e-9)
        assert enough.sum() >= (1 if std == 0.02 else k)


def test_far_tails_are_exact_and_symmetric():
    """40 standard deviations away the mass is 1e-350: no double holds it, its logarithm is right all the same."""
    k, std = 17, 0.02
    m, v = torch.full((17,), -0.8, dtype=torch.float64), torch.full((17,), std**2, dtype=torch.float64)
    got = elbo.discretized(k).log_prob(levels(k), m, v)
    low, high = (levels(k).numpy() - 1 / 16 + 0.8) / std, (levels(k).numpy() + 1 / 16 + 0.8) / std
    tail, beyond = scipy.stats.norm.logsf(low[8:16]), scipy.stats.norm.logsf(high[8:16])
    np.testing.assert_allclose(got[8:16].numpy(), tail + np.log1p(-np.exp(beyond - tail)), rtol=1e-10)
    torch.testing.assert_close(elbo.discretized(k).log_prob(levels(k), -m, v), got.flip(0), rtol=1e-12, atol=1e-12)
    assert got.isfinite().all() and got.min() < -3000


def bin_of_photographs(x0, mean, std):
    """Half a bin of 1/255, whatever the data: what a library does that knows photographs only."""
    low = torch.where(x0 < -0.999, -math.inf, (x0 - 1 / 255 - mean) / std)
    high = torch.where(x0 > 0.999, math.inf, (x0 + 1 / 255 - mean) / std)
    return scipy.stats.norm.cdf(high) - scipy.stats.norm.cdf(low)


def test_bins_of_photographs_lose_most_of_a_digit():
    """Negative control: on 17 levels, bins of 1/255 add up to a fifteenth."""
    assert f"{bin_of_photographs(levels(17), 0.0, 0.2).sum():.3f}" == "0.063"
    assert abs(mass(17, 0.0, 0.2) - 1) < 1e-12


def test_the_tanh_approximation_is_off_by_what_is_said_of_it():
    """Golden: DDPM's code has a curve in the place of the normal distribution function, 1.8e-4 off; ours is exact.

    With two levels, the mass of the lower one is the distribution function itself.
    """
    x = torch.linspace(-5, 5, 10_001, dtype=torch.float64)
    exact = elbo.discretized(2).log_prob(torch.full_like(x, -1), -x, torch.ones_like(x)).exp().numpy()
    tanh = 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3).numpy()))
    assert f"{np.abs(tanh - exact).max():.1e}" == "1.8e-04"
    np.testing.assert_allclose(exact, scipy.stats.norm.cdf(x), rtol=1e-12)


def test_data_off_the_levels_are_refused():
    one = torch.ones((), dtype=torch.float64)
    for k, x in ((17, levels(256)[1]), (256, levels(17)[1]), (17, 1.125 * one), (2, 0 * one)):
        with pytest.raises(DataError, match="grey levels"):
            elbo.discretized(k).log_prob(x[None], one[None], one[None])
    for k in (2, 17, 256):  # single precision is on the levels
        elbo.discretized(k).log_prob(levels(k).float().double(), one.expand(k), one.expand(k))


def test_units_of_the_decoders():
    """Golden: a density on [-1, 1] counted in 256 levels has log2(127.5) = 6.994 bits more, in 17 levels 3."""
    assert f"{elbo.density_of(256).bits_shift:.3f}" == "6.994"
    assert elbo.density_of(17).bits_shift == 3 and elbo.discretized(256).bits_shift == 0
    with pytest.raises(ConfigError, match="density_of"):
        _ = bound_of_gaussian(schedule("sigmoid-100"), 0.3, 0.5, "beta").bits_per_dim


def test_many_levels_are_a_density():
    """At 256 levels and a width of ten bins, the two decoders agree once they are in the same unit."""
    g = torch.Generator().manual_seed(0)
    x = (torch.randint(40, 216, (200,), generator=g) / 127.5 - 1).double()
    mean, v = x + 0.05 * torch.randn(200, generator=g, dtype=torch.float64), torch.full((200,), 0.08**2).double()
    in_bits = [
        d.log_prob(x, mean, v) / -math.log(2) + d.bits_shift for d in (elbo.discretized(256), elbo.density_of(256))
    ]
    torch.testing.assert_close(*in_bits, atol=2e-3, rtol=0)


def test_bits_per_dim_of_pixels():
    """A model that knows nothing (uniform over two levels) needs one bit a pixel for the last step."""
    x = torch.tensor([[-1.0, 1.0, 1.0]], dtype=torch.float64)
    zero = torch.zeros_like(x)
    s = schedule("one large step")
    b = elbo.variational_bound(
        lambda x_t, t: oracles.FiniteDataset(x).denoiser(s)(x_t, t)._replace(x0=zero),
        s,
        x,
        decoder=elbo.discretized(2),
        noise=zero,
    )
    assert abs(b.reconstruction.item() - 3 * math.log(2)) < 1e-12
    assert abs(b.bits_per_dim.item() - 1 - b.prior.item() / (3 * math.log(2))) < 1e-12


def test_a_denoiser_of_another_schedule_is_refused():
    s, other = schedule("sigmoid-100"), schedules.cosine(100)
    with pytest.raises(ScheduleError, match="belongs to"):
        elbo.variational_bound(oracles.Gaussian().denoiser(other), s, images(), decoder=elbo.density)
