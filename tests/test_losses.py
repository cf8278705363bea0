"""Losses and weights: by hand, by what they must have in common, and by gradients."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from ddpm_edu import elbo, forward, losses, oracles, schedules
from ddpm_edu import parameterization as P
from ddpm_edu.errors import ConfigError, ShapeError

S = schedules.linear(1000)
ZERO_SNR = schedules.zero_terminal_snr(schedules.linear_scaled(200))
T1000 = torch.arange(1, 1001)


def batch(s=S, shape=(3,), seed=0):
    """x_0, noise, and a wrong x_0, one sample for each t."""
    g = torch.Generator().manual_seed(seed)
    x0, noise, error = (torch.randn(s.T, *shape, generator=g, dtype=torch.float64) for _ in range(3))
    return x0, noise, x0 + 0.3 * error, torch.arange(1, s.T + 1)


def saying(x0_hat, s=S):
    """Networks of the three kinds that all mean x0_hat, made in NumPy."""

    def eps(x_t, t):
        ab = s.alpha_bar[t][:, None]
        return (x_t - ab.sqrt() * x0_hat) / (1 - ab).sqrt()

    def v(x_t, t):
        ab = s.alpha_bar[t][:, None]
        return ab.sqrt() * eps(x_t, t) - (1 - ab).sqrt() * x0_hat

    return {"eps": eps, "x0": lambda x_t, t: x0_hat, "v": v}


# ---------------------------------------------------------------- the plain loss


def test_mse_is_the_mean_over_dimensions_of_each_sample():
    a = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    b = torch.tensor([[0.0, 0.0, 3.0], [1.0, 1.0, 1.0]])
    torch.testing.assert_close(losses.mse(a, b), torch.tensor([5 / 3, 1.0]))
    torch.testing.assert_close(losses.mse(a.reshape(2, 1, 3, 1), b.reshape(2, 1, 3, 1)), torch.tensor([5 / 3, 1.0]))


def test_the_simple_loss_by_hand():
    """A network that says 0 has the mean square of the noise; one that says the noise has 0."""
    x0, noise, _, t = batch()
    got = losses.simple(lambda x, t: torch.zeros_like(x), S, x0, t, noise)
    np.testing.assert_allclose(got.numpy(), (noise.numpy() ** 2).mean(1), rtol=1e-12)
    assert (losses.simple(lambda x, t: noise, S, x0, t, noise) == 0).all()


def test_the_network_is_shown_x_t():
    x0, noise, _, t = batch()
    ab = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[:, None]
    want = np.sqrt(ab) * x0.numpy() + np.sqrt(1 - ab) * noise.numpy()
    got = losses.simple(lambda x, t: x, S, x0, t, torch.zeros_like(noise), predicts="x0")
    np.testing.assert_allclose(got, ((np.sqrt(ab) - 1) ** 2 * x0.numpy() ** 2).mean(1), rtol=1e-9, atol=1e-15)
    losses.simple(lambda x, t: np.testing.assert_allclose(x, want, rtol=1e-9, atol=1e-12) or x, S, x0, t, noise)


def test_a_uniform_weight_changes_nothing():
    x0, noise, x0_hat, t = batch()
    for predicts, net in saying(x0_hat).items():
        plain = losses.simple(net, S, x0, t, noise, predicts)
        weighted = losses.simple(net, S, x0, t, noise, predicts, losses.uniform(S, predicts))
        torch.testing.assert_close(plain, weighted, rtol=0, atol=0)


def test_a_weight_is_looked_up_by_t():
    x0, noise, _, t = batch()
    t = t.flip(0)
    table = torch.arange(1001.0)
    zero = lambda x, t: torch.zeros_like(x)  # noqa: E731
    got = losses.simple(zero, S, x0, t, noise, weight=table) / losses.simple(zero, S, x0, t, noise)
    torch.testing.assert_close(got, t.double())


def test_the_loss_of_the_best_denoiser_is_its_floor():
    """What no training gets below: alpha_bar s^2 / v. Exact for four points."""
    oracle = oracles.Gaussian(0.3, 0.5)
    t = T1000.repeat_interleave(4)
    x0 = torch.tensor([0.8, 0.8, -0.2, -0.2], dtype=torch.float64).repeat(1000)[:, None]
    noise = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(2000)[:, None]
    loss = losses.simple(lambda x, t: oracle.denoiser(S)(x, t).eps, S, x0, t, noise).reshape(1000, 4).mean(1)
    ab = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    np.testing.assert_allclose(loss.numpy(), ab * 0.25 / (ab * 0.25 + 1 - ab), rtol=1e-8)


def test_the_noise_of_one_step_cannot_be_learned():
    """The trap, as a negative control: with the last step's noise as the target, the best of all predictions keeps an
    error of 1 - beta_t for data of variance 1, where all the noise in x_t can be seen almost whole."""
    g = torch.Generator().manual_seed(0)
    x0 = torch.randn(100_000, 1, generator=g, dtype=torch.float64)
    for t in (300, 800):
        time = torch.full((len(x0),), t)
        noises = [torch.randn(x0.shape, generator=g, dtype=torch.float64) for _ in range(2)]
        x_t = forward.q_step(S, forward.q_sample(S, x0, time - 1, noises[0]), time, noises[1])
        all_noise = (x_t - S.alpha_bar[t].sqrt() * x0) / (1 - S.alpha_bar[t]).sqrt()
        left = [
            1 - torch.corrcoef(torch.cat([x_t, target], 1).T)[0, 1].item() ** 2 for target in (noises[1], all_noise)
        ]
        assert abs(left[0] - (1 - S.beta[t].item())) < 0.003 and left[0] > 0.97
        assert abs(left[1] - S.alpha_bar[t].item()) < 0.01 and left[1] < 0.45


# ---------------------------------------------------------------- quartiles


def test_quartiles_by_hand_and_at_their_borders():
    """T = 40: quarters are 1..10, 11..20, 21..30, 31..40."""
    s = schedules.linear_scaled(40)
    t = torch.tensor([1, 10, 11, 20, 21, 30, 31, 40])
    loss = torch.tensor([1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0])
    torch.testing.assert_close(losses.by_quartile(s, t, loss), torch.tensor([2.0, 20.0, 200.0, 2000.0]))
    some = losses.by_quartile(s, t[:4], loss[:4])
    assert some[:2].tolist() == [2.0, 20.0] and some[2:].isnan().all()


# ---------------------------------------------------------------- weights

SNR = (S.alpha_bar[1:] / (1 - S.alpha_bar[1:])).numpy()
UNIT = {"eps": np.ones(1000), "x0": SNR, "v": SNR / (1 + SNR)}  # of an error of eps, in each prediction's own
WEIGHTS = {
    "min_snr": lambda s, predicts: losses.min_snr(5.0)(s, predicts),
    "min_snr 1": lambda s, predicts: losses.min_snr(1)(s, predicts),
    "vlb": lambda s, predicts: losses.vlb(s, predicts),
    "p2": lambda s, predicts: losses.p2(1.0, 0.5)(s, predicts),
    "edm": lambda s, predicts: losses.edm(0.5)(s, predicts),
}


def test_every_weight_is_one_loss_in_three_units():
    """Random wrong predictions: eps, x0 and v that mean the same have the same weighted loss at every t."""
    x0, noise, x0_hat, t = batch()
    for name, weight in WEIGHTS.items():
        by = {k: losses.simple(net, S, x0, t, noise, k, weight(S, k)) for k, net in saying(x0_hat).items()}
        torch.testing.assert_close(by["eps"], by["x0"], rtol=1e-7, atol=1e-12, msg=name)
        torch.testing.assert_close(by["v"], by["x0"], rtol=1e-7, atol=1e-12, msg=name)
    plain = [losses.simple(net, S, x0, t, noise, k) for k, net in saying(x0_hat).items()]
    assert (plain[0] - plain[1]).abs().max() > 0.1  # control: without weights they are three losses


def test_min_snr_by_its_papers_table():
    """x0: min(SNR, g); eps: min(SNR, g) / SNR; v: min(SNR, g) / (SNR + 1)."""
    for gamma in (1, 5.0):
        capped = np.minimum(SNR, gamma)
        for predicts, want in (("x0", capped), ("eps", capped / SNR), ("v", capped / (SNR + 1))):
            got = losses.min_snr(gamma)(S, predicts)
            np.testing.assert_allclose(got[1:].numpy(), want, rtol=1e-10)
            assert got[0] == 0 and got.dtype == torch.float64


def test_the_bounds_weight_is_the_bounds_denoising_sum():
    """Mean over t of weight x error of eps = sum over t of L_{t-1}, per dimension, with the posterior's variance."""
    s = schedules.linear_scaled(300)
    x0, noise = (torch.randn(5, 3, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in (0, 1))
    denoise = oracles.Gaussian(0.3, 0.5).denoiser(s)
    for variance, whole in (("posterior", True), ("beta", False)):
        b = elbo.variational_bound(denoise, s, x0, decoder=elbo.density, variance=variance, noise=noise)
        per_t = losses.vlb(s, "eps", variance) * b.eps_mse / s.T * 3
        constant = (
            0
            if whole
            else elbo.variational_bound(
                oracles.FiniteDataset(x0[:1]).denoiser(s),
                s,
                x0[:1],
                decoder=elbo.density,
                variance=variance,
                noise=noise[:1],
            ).denoising[:, 2:]
        )  # a denoiser without error has the rest of the KL
        torch.testing.assert_close(per_t[:, 2:], b.denoising[:, 2:] - constant, rtol=1e-8, atol=1e-9)


def test_the_bounds_weight_by_hand():
    betas = np.linspace(1e-4, 0.02, 1000)
    ab = np.cumprod(1 - betas)
    want = 1000 * betas**2 / (2 * betas * (1 - betas) * (1 - ab))
    np.testing.assert_allclose(losses.vlb(S, "eps", "beta")[1:].numpy(), want, rtol=1e-9)
    before = np.concatenate([[1.0], ab[:-1]])
    half_drop = 500 * (before[1:] / (1 - before[1:]) - ab[1:] / (1 - ab[1:]))  # on x0: T/2 (SNR_{t-1} - SNR_t)
    np.testing.assert_allclose(losses.vlb(S, "x0")[2:].numpy(), half_drop, rtol=1e-7)


def test_edm_by_hand():
    """(sigma^2 + sd^2) / (sigma sd)^2 on x_0, with sigma^2 = (1 - ab) / ab, in NumPy."""
    sigma2 = 1 / SNR
    for sd in (0.5, 1.3):
        on_x0 = (sigma2 + sd**2) / (sigma2 * sd**2)
        for predicts in UNIT:
            got = losses.edm(sd)(S, predicts)[1:].numpy()
            np.testing.assert_allclose(got, on_x0 / SNR * UNIT[predicts], rtol=1e-9)


def test_p2_by_hand():
    for k, gamma in ((1.0, 1.0), (0.5, 0.25)):
        for predicts in UNIT:
            got = losses.p2(k, gamma)(S, predicts)[1:].numpy()
            np.testing.assert_allclose(got, UNIT[predicts] / (k + SNR) ** gamma, rtol=1e-9)
    # gamma = 0 is L_simple
    np.testing.assert_allclose(losses.p2(1.0, 0.0)(S, "eps")[1:].numpy(), 1.0, rtol=1e-12)


def test_weights_at_zero_terminal_snr():
    """At t = T, where the SNR is 0: x_0 and v have finite weights of every kind; an eps that cannot be used has none,
    unless its weight is bounded."""
    x0, noise, x0_hat, t = batch(ZERO_SNR)
    for name, weight in WEIGHTS.items():
        for predicts in ("x0", "v"):
            table = weight(ZERO_SNR, predicts)
            assert table.isfinite().all(), (name, predicts)
        by = {
            k: losses.simple(saying(x0_hat, ZERO_SNR)[k], ZERO_SNR, x0, t, noise, k, weight(ZERO_SNR, k))
            for k in ("x0", "v")
        }
        torch.testing.assert_close(by["x0"], by["v"], rtol=1e-7, atol=1e-12, msg=name)
    for name in ("vlb", "edm"):
        with pytest.raises(ConfigError, match="t = 200, where the SNR is 0"):
            WEIGHTS[name](ZERO_SNR, "eps")
    assert losses.min_snr(5.0)(ZERO_SNR, "eps")[200] == 1
    assert losses.min_snr(5.0)(ZERO_SNR, "x0")[200] == 0
    assert losses.edm(0.5)(ZERO_SNR, "x0")[200] == 4


# ---------------------------------------------------------------- learned variance


def hybrid_batch(n=6):
    g = torch.Generator().manual_seed(0)
    x0 = (torch.randint(0, 17, (n, 1, 4, 4), generator=g) / 8 - 1).double()
    noise, guess = (torch.randn(x0.shape, generator=g, dtype=torch.float64) for _ in range(2))
    t = torch.tensor([1, 2, 10, 300, 999, 1000])
    return x0, noise, guess.requires_grad_(), torch.rand(x0.shape, generator=g).double().requires_grad_(), t


def hybrid(prediction, fraction, x0, noise, t, **options):
    x_t = forward.q_sample(S, x0, t, noise)
    return losses.hybrid(prediction, fraction, S, x0, x_t, t, noise, elbo.discretized(17), **options)


def test_the_mean_learns_from_the_simple_loss_alone():
    """Stop-gradient: what eps receives is the gradient of L_simple, whatever the share of the bound."""
    x0, noise, guess, fraction, t = hybrid_batch()
    (want,) = torch.autograd.grad(losses.mse(guess, noise).sum(), guess)
    for share in (0.0, 0.001, 10.0):
        got = torch.autograd.grad(hybrid(guess, fraction, x0, noise, t, share=share).sum(), (guess, fraction))
        torch.testing.assert_close(got[0], want, rtol=1e-12, atol=1e-15)
        assert (got[1].abs().flatten(1).max(1).values > 0).all() == (share > 0)
        assert got[1].isfinite().all()


def test_the_hybrid_loss_is_its_two_parts():
    """L_simple + share T L_t / D, with L_t from the bound's own columns."""
    x0, noise, guess, fraction, t = hybrid_batch()
    simple = losses.mse(guess, noise)
    torch.testing.assert_close(hybrid(guess, fraction, x0, noise, t, share=0.0), simple)
    columns = bound_columns(guess, fraction, x0, noise, t)
    torch.testing.assert_close(hybrid(guess, fraction, x0, noise, t), simple + columns / 16, rtol=1e-9, atol=1e-9)


def bound_columns(guess, fraction, x0, noise, t):
    """L_{t-1} of each sample at its t, L_0 at t = 1: read off variational_bound."""
    found = []
    for i in range(len(t)):

        def denoise(x, time, i=i):
            x0_hat = P.x0_from_eps(S, x, time, guess[i].detach().expand(x.shape))
            return P.Denoised(x0_hat, x, fraction[i].detach().expand(x.shape))

        b = elbo.variational_bound(
            denoise, S, x0[i : i + 1], variance="learned", decoder=elbo.discretized(17), noise=noise[i : i + 1]
        )
        found.append(b.reconstruction[0] if t[i] == 1 else b.denoising[0, t[i]])
    return torch.stack(found)


def test_each_vlb_term_is_the_bounds_column():
    x0, noise, guess, fraction, t = hybrid_batch()
    x0_hat = P.x0_from_eps(S, forward.q_sample(S, x0, t, noise), t, guess.detach())
    got = losses.vlb_term(x0_hat, fraction, S, x0, t, elbo.discretized(17))
    torch.testing.assert_close(got, bound_columns(guess, fraction, x0, noise, t), rtol=1e-9, atol=1e-9)


def test_the_fraction_learns_the_best_variance():
    """Gradient descent on the fraction alone, for Gaussian data with the exact eps, ends where sigma*_t is."""
    t = torch.tensor([2, 20, 400]).repeat_interleave(4)
    x0 = torch.tensor([0.8, 0.8, -0.2, -0.2], dtype=torch.float64).repeat(3)[:, None]
    noise = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(6)[:, None]
    x_t = forward.q_sample(S, x0, t, noise)
    x0_hat = oracles.Gaussian(0.3, 0.5).denoiser(S)(x_t, t).x0
    v = S.alpha_bar * 0.25 + 1 - S.alpha_bar
    small, best, beta = S.posterior_variance[t], S.beta[t] * v[t - 1] / v[t], S.beta[t]
    fraction = ((best / small).log() / (beta / small).log()).reshape(12, 1).requires_grad_()
    (slope,) = torch.autograd.grad(losses.vlb_term(x0_hat, fraction, S, x0, t, elbo.density).sum(), fraction)
    assert slope.reshape(3, 4).sum(1).abs().max() < 1e-8
    (off,) = torch.autograd.grad(
        losses.vlb_term(x0_hat, fraction + 0.1 * (beta > small)[:, None], S, x0, t, elbo.density).sum(), fraction
    )
    assert (off.reshape(3, 4).sum(1) > 1e-10).all()  # control: further on, downhill is back


# ---------------------------------------------------------------- importance sampling of t


def filled(history=10):
    s = schedules.linear_scaled(50)
    sampler = losses.ImportanceSampler(s, history=history)
    level = torch.arange(1, 51).double() ** -1.5
    spread = torch.linspace(0, 1, 50).double()  # so that the root mean square is not a multiple of the mean
    for sign in [-1, 1] * (history // 2):
        sampler.update(torch.arange(1, 51), level * (1 + sign * spread))
    return sampler, level


def test_importance_sampling_is_uniform_until_every_t_was_seen():
    s = schedules.linear_scaled(50)
    sampler = losses.ImportanceSampler(s, history=2)
    uniform = torch.full((50,), 0.02, dtype=torch.float64)
    for t in (torch.arange(1, 51), torch.arange(1, 50)):
        torch.testing.assert_close(sampler.probabilities()[1:], uniform)
        t, loss = t, t.double()
        sampler.update(t, loss)
    torch.testing.assert_close(sampler.probabilities()[1:], uniform)  # t = 50 was seen once only
    sampler.update(torch.tensor([50]), torch.tensor([50.0]))
    assert sampler.probabilities()[50] > 1.5 * 0.02
    t, weight = losses.ImportanceSampler(s).draw(100, torch.Generator().manual_seed(0))
    torch.testing.assert_close(weight, torch.ones(100).double())
    assert t.min() >= 1 and t.max() <= 50 and t.dtype == torch.int64


def test_importance_sampling_goes_by_the_root_mean_square():
    sampler, level = filled()
    rms = level * (1 + torch.linspace(0, 1, 50).double() ** 2).sqrt()
    want = 0.999 * rms / rms.sum() + 0.001 / 50
    torch.testing.assert_close(sampler.probabilities()[1:], want)
    assert sampler.probabilities()[0] == 0 and abs(sampler.probabilities().sum() - 1) < 1e-12


def test_importance_sampling_keeps_the_mean():
    """The weighted mean over draws is the plain mean over t, and its spread is less than with t uniform."""
    sampler, level = filled()
    t, weight = sampler.draw(40_000, torch.Generator().manual_seed(0))
    terms = weight * level[t - 1]
    error = terms.std() / math.sqrt(len(t))
    assert abs(terms.mean() - level.mean()) < 4 * error and error < 0.2 * level.std() / math.sqrt(len(t))
    assert abs(level[t - 1].mean() - level.mean()) > 0.1  # control: without the weights it is another number
    p = torch.bincount(t, minlength=51) / len(t)
    torch.testing.assert_close(p.double(), sampler.probabilities(), atol=0.01, rtol=0)


def test_importance_sampling_remembers_the_latest():
    sampler, _ = filled(history=2)
    for _ in range(2):
        sampler.update(torch.arange(1, 51), torch.ones(50))
    torch.testing.assert_close(sampler.probabilities()[1:], torch.full((50,), 0.02, dtype=torch.float64))


# ---------------------------------------------------------------- refusals


def test_mse_does_not_broadcast():
    with pytest.raises(ShapeError, match="must be equal"):
        losses.mse(torch.zeros(4, 3, 2, 2), torch.zeros(4, 1, 2, 2))


def test_names_of_predictions():
    for weight in (losses.uniform, losses.min_snr(), losses.p2(), losses.edm(), partial(losses.vlb, variance="beta")):
        with pytest.raises(ConfigError, match="'epsilon'"):
            weight(S, "epsilon")


def test_importance_sampler_is_uniform_where_every_remembered_loss_is_zero():
    s = schedules.linear_scaled(50)
    sampler = losses.ImportanceSampler(s, history=1)
    sampler.update(torch.arange(1, 51), torch.zeros(50))
    torch.testing.assert_close(sampler.probabilities()[1:], torch.full((50,), 0.02, dtype=torch.float64))
