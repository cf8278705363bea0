"""Checks of notebook 03: kind to a blank, content with any right answer, plain about a wrong one."""

import torch

from ddpm_edu import elbo, forward, losses, oracles, parameterization
from ddpm_edu.exercises import the_epsilon_loss
from ddpm_edu.forward import at
from tests.exercises import proof


def col(values, x):
    return values.reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype)


def noise_by_snr(s, x_t, t, x0):
    """x_t in units of its noise, less x_0 times the root of the SNR."""
    return x_t * col(1 + s.snr[t], x_t).sqrt() - x0 * col(s.snr[t], x_t).sqrt()


def image_by_snr(s, x_t, t, eps):
    return (x_t - eps * col(1 / (1 + s.snr[t]), x_t).sqrt()) * col(1 + 1 / s.snr[t], x_t).sqrt()


def weight_by_table(s, t, variance):
    return elbo.eps_weight(s, torch.ones_like(s.beta))[t] / variance


def weight_by_means(s, t, variance):
    """From the two means themselves, with an error of 1 in eps."""
    zero, one = torch.zeros(2, len(t), 1, dtype=torch.float64) + torch.tensor([0.0, 1.0])[:, None, None]
    x_t = forward.q_sample(s, zero, t, zero)
    gap = [forward.q_posterior(s, parameterization.x0_from_eps(s, x_t, t, e), x_t, t)[0] for e in (zero, one)]
    return (gap[0] - gap[1])[:, 0] ** 2 / 2 / variance


def loss_by_loops(net, s, x0, t, noise):
    x_t = torch.stack(
        [s.alpha_bar[i] ** 0.5 * x + (1 - s.alpha_bar[i]) ** 0.5 * e for i, x, e in zip(t, x0, noise, strict=True)]
    )
    return torch.stack([((a - b) ** 2).mean() for a, b in zip(net(x_t, t), noise, strict=True)])


def two_by_softmax(s, x_t, t):
    """Both points written out; the larger exponent taken out by softmax."""
    points, root, rest = (
        torch.tensor([-1.0, 1.0], dtype=x_t.dtype),
        at(s.alpha_bar.sqrt(), t, x_t),
        at(1 - s.alpha_bar, t, x_t),
    )
    weights = torch.softmax(-((x_t - root * points) ** 2) / (2 * rest), 1)
    return (weights * points).sum(1, keepdim=True)


def two_by_exp(s, x_t, t):
    u = at(s.alpha_bar.sqrt() / (1 - s.alpha_bar), t, x_t) * x_t
    return (u.exp() - (-u).exp()) / (u.exp() + (-u).exp())


def two_by_tanh(power, factor=1.0):
    """tanh of x_t's distance with a wrong exponent: alpha_bar to ``power[0]`` over the variance to ``power[1]``."""
    return lambda s, x, t: torch.tanh(factor * at(s.alpha_bar ** power[0] / (1 - s.alpha_bar) ** power[1], t, x) * x)


def min_snr_library(s, gamma):
    return losses.min_snr(gamma)(s, "v")


def min_snr_by_hand(s, gamma):
    """With the share of the signal, alpha_bar = SNR / (1 + SNR); entry 0 left infinite on purpose."""
    table = torch.minimum(s.alpha_bar, gamma * (1 - s.alpha_bar))
    table[0] = float("inf")
    return table


def mean_loss(net, s, x0, t, noise, target=None, shown=None, t_shown=None):
    x_t = forward.q_sample(s, x0, t, noise)
    return losses.mse(
        net(x_t if shown is None else shown, t if t_shown is None else t_shown), noise if target is None else target
    )


pair = oracles.FiniteDataset(torch.tensor([[-1.0], [1.0]]))
e = the_epsilon_loss
# check: (right answers, {wrong answer: (function, words of the message)})
EXERCISES = {
    e.noise_from_image: (
        [parameterization.eps_from_x0, noise_by_snr],
        {
            "not divided": (lambda s, x, t, x0: x - at(s.alpha_bar, t, x).sqrt() * x0, "still scaled"),
            "variance": (
                lambda s, x, t, x0: parameterization.eps_from_x0(s, x, t, x0) / at(1 - s.alpha_bar, t, x).sqrt(),
                "square root",
            ),
            "x0 bare": (lambda s, x, t, x0: (x - x0) / at(1 - s.alpha_bar, t, x).sqrt(), "no factor"),
            "sign": (lambda s, x, t, x0: parameterization.eps_from_x0(s, x, t, -x0), "The sign"),
            "no root on x0": (
                lambda s, x, t, x0: (x - at(s.alpha_bar, t, x) * x0) / at(1 - s.alpha_bar, t, x).sqrt(),
                "its square root is missing",
            ),
            "one step": (
                lambda s, x, t, x0: (x - at(s.alpha, t, x).sqrt() * x0) / at(s.beta, t, x).sqrt(),
                "single step",
            ),
            "the other way": (parameterization.x0_from_eps, "from noise to image"),
            "off by one": (lambda s, x, t, x0: (x - x0) / at(1 - s.alpha_bar, t - 1, x), "NaN or infinite"),
            "clamped": (lambda s, x, t, x0: parameterization.eps_from_x0(s, x, t, x0).clamp(-1, 1), "clamped"),
            "random": (lambda s, x, t, x0: torch.randn_like(x), "random"),
            "one t for all": (lambda s, x, t, x0: parameterization.eps_from_x0(s, x, t.sort()[0], x0), "own t"),
        },
    ),
    e.image_from_noise: (
        [parameterization.x0_from_eps, image_by_snr],
        {
            "not divided": (lambda s, x, t, n: x - at(1 - s.alpha_bar, t, x).sqrt() * n, "still scaled"),
            "variance": (
                lambda s, x, t, n: parameterization.x0_from_eps(s, x, t, n) / at(s.alpha_bar, t, x).sqrt(),
                "square root of it",
            ),
            "eps bare": (lambda s, x, t, n: (x - n) / at(s.alpha_bar, t, x).sqrt(), "no factor"),
            "no root on eps": (
                lambda s, x, t, n: (x - at(1 - s.alpha_bar, t, x) * n) / at(s.alpha_bar, t, x).sqrt(),
                "its square root is missing",
            ),
            "sign": (lambda s, x, t, n: parameterization.x0_from_eps(s, x, t, -n), "The sign"),
            "one step": (
                lambda s, x, t, n: (x - at(s.beta, t, x).sqrt() * n) / at(s.alpha, t, x).sqrt(),
                "all the noise",
            ),
            "the other way": (parameterization.eps_from_x0, "from image to noise"),
            "clamped": (lambda s, x, t, n: parameterization.x0_from_eps(s, x, t, n).clamp(-1, 1), "clamped"),
        },
    ),
    e.bound_weight: (
        [weight_by_table, weight_by_means],
        {
            "no 2": (lambda s, t, v: 2 * weight_by_table(s, t, v), "The 2"),
            "beta": (lambda s, t, v: weight_by_table(s, t, v) / s.beta[t], "not squared"),
            "bar": (lambda s, t, v: weight_by_table(s, t, v) * s.alpha[t] / s.alpha_bar[t], "about one step"),
            "no rest": (lambda s, t, v: weight_by_table(s, t, v) * (1 - s.alpha_bar[t]), "1 - alpha_bar_t is missing"),
            "no alpha": (lambda s, t, v: weight_by_table(s, t, v) * s.alpha[t], "alpha_t is missing"),
            "variance squared": (lambda s, t, v: weight_by_table(s, t, v**2), "already"),
            "root": (lambda s, t, v: weight_by_table(s, t, v.sqrt()), "the root of"),
            "inverse": (lambda s, t, v: 1 / weight_by_table(s, t, v), "one over"),
            "t ignored": (lambda s, t, v: weight_by_table(s, torch.arange(1, len(t) + 1), v), "use t as the index"),
            "a table": (lambda s, t, v: elbo.eps_weight(s, torch.ones_like(s.beta)), "expected shape"),
        },
    ),
    e.training_loss: (
        [losses.simple, loss_by_loops],
        {
            "a mean of all": (lambda *a: losses.simple(*a).mean(), "One number for the whole batch"),
            "sum": (lambda *a: 9 * losses.simple(*a), "add up the squares"),
            "images only": (
                lambda net, s, x0, t, n: (net(forward.q_sample(s, x0, t, n), t) - n).square().mean((1, 2, 3)),
                "IndexError",
            ),
            "no gradient": (lambda *a: losses.simple(*a).detach(), "No gradient reaches the network"),
            "root": (lambda *a: losses.simple(*a).sqrt(), "the root of"),
            "target x0": (lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, target=x0), "The target is x_0"),
            "target x_t": (
                lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, target=forward.q_sample(s, x0, t, n)),
                "The target is x_t",
            ),
            "shown x0": (lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, shown=x0), "shown x_0"),
            "shown the noise": (lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, shown=n), "its own answer"),
            "one step": (
                lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, shown=forward.q_step(s, x0, t, n)),
                "is not x_t",
            ),
            "own noise": (
                lambda net, s, x0, t, n: losses.simple(net, s, x0, t, torch.randn_like(n)),
                "noise of your own",
            ),
            "t - 1": (lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, t_shown=t - 1), "not given t"),
            "t / T": (lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, t_shown=t / s.T), "not given t"),
            "absolute": (
                lambda net, s, x0, t, n: (net(forward.q_sample(s, x0, t, n), t) - n).abs().mean((1, 2, 3)),
                "Absolute",
            ),
            "not squared": (
                lambda net, s, x0, t, n: (net(forward.q_sample(s, x0, t, n), t) - n).mean((1, 2, 3)),
                "not squared",
            ),
            "batch mean": (lambda *a: losses.simple(*a).mean().expand(4), "the batch's mean"),
            "no network": (lambda net, s, x0, t, n: n.square().mean((1, 2, 3)), "never called"),
        },
    ),
    e.two_points: (
        [pair.posterior_mean, two_by_softmax],
        {
            "nearest": (lambda s, x, t: x.sign(), "nearer of the two"),
            "no variance": (two_by_tanh((0.5, 0)), "not divided"),
            "deviation": (two_by_tanh((0.5, 0.5)), "standard deviation"),
            "centres": (two_by_tanh((0, 1)), "In x_t their centres"),
            "no root": (two_by_tanh((1, 1)), "a square root is missing"),
            "twice": (two_by_tanh((0.5, 1), 2.0), "A factor 2"),
            "probability": (lambda s, x, t: (1 + pair.posterior_mean(s, x, t)) / 2, "probability of +1"),
            "scaled": (lambda s, x, t: x / at(s.alpha_bar, t, x).sqrt(), "only scales"),
            "overflow": (two_by_exp, "infinite"),
        },
    ),
    e.min_snr_for_v: (
        [min_snr_library, min_snr_by_hand],
        {
            "x0's": (lambda s, g: s.snr.clamp(max=g), "error of x_0"),
            "eps's": (lambda s, g: s.snr.clamp(max=g) / s.snr, "error of eps"),
            "gamma only": (lambda s, g: g / (s.snr + 1), "minimum of SNR"),
            "no gamma": (lambda s, g: s.snr / (s.snr + 1), "no effect"),
            "max": (lambda s, g: s.snr.clamp(min=g) / (s.snr + 1), "keeps the smaller"),
            "multiplied": (lambda s, g: s.snr.clamp(max=g) * (s.snr + 1), "You multiply"),
            "late": (lambda s, g: (s.snr / (s.snr + 1)).clamp(max=g), "take the minimum first"),
            "a number": (lambda s, g: g, "expected a tensor"),
            "without entry 0": (lambda s, g: min_snr_library(s, g)[1:], "T + 1"),
        },
    ),
}
(
    test_a_blank_is_told_kindly_and_raises_nothing,
    test_the_librarys_answer_and_another_correct_one_pass,
    test_a_wrong_answer_is_refused_with_the_likely_mistake,
    test_every_check_is_listed_here,
) = proof.of(the_epsilon_loss, EXERCISES)
