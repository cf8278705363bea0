"""Checks of notebook 03: kind to a blank, content with any right answer, plain about a wrong one."""

import torch

from ddpm_edu import elbo, forward, losses, oracles, parameterization
from ddpm_edu.exercises import epsilon_answers, the_epsilon_loss
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


def weight(of):
    """A weight of its own: beta_t, alpha_t, 1 - alpha_bar_t and the variance are handed over by name."""
    return lambda s, t, v: of(b=s.beta[t], a=s.alpha[t], r=1 - s.alpha_bar[t], v=v)


def log_densities(s, x, t):
    """Of x_t around -1 and around +1, (N, 2)."""
    root, rest = at(s.alpha_bar.sqrt(), t, x), at(1 - s.alpha_bar, t, x)
    return torch.cat([-((x + root) ** 2), -((x - root) ** 2)], 1) / (2 * rest)


def averaged(weights):
    """-1 and +1 with these weights, (N, 2)."""
    return weights[:, 1:] - weights[:, :1]


def squares(net, s, x0, t, noise):
    return (net(forward.q_sample(s, x0, t, noise), t) - noise).square()


# ---------------------------------------------------------------- a step of training, with one thing done otherwise


def mixed(s, x0, t, noise, image=lambda s: s.alpha_bar.sqrt(), rest=lambda s: (1 - s.alpha_bar).sqrt()):
    """x_t by hand, so that nothing is refused."""
    return at(image(s), t, x0).float() * x0 + at(rest(s), t, x0).float() * noise


def step(
    times=lambda s, n, g: torch.randint(1, s.T + 1, (n,), generator=g),
    noises=lambda shape, g: torch.randn(shape, generator=g),
    mix=mixed,
    told=lambda s, t: t,
    loss=lambda said, noise, x0, x_t: (said - noise).square().mean(),
    order=("zero_grad", "backward", "step"),
    back=float,
):
    def training_step(net, optimiser, s, x0, g):
        t, noise = times(s, len(x0), g), noises(x0.shape, g)
        x_t = mix(s, x0, t, noise)
        found = loss(net(x_t, told(s, t)), noise, x0, x_t)
        does = {"zero_grad": optimiser.zero_grad, "backward": found.backward, "step": optimiser.step}
        for what in order:
            does[what]()
        return back(found.detach())

    return training_step


def step_by_hand(net, optimiser, s, x0, g):
    """Noise first, t by rounding up, x_t in a loop, gradients emptied at the end, a tensor handed back."""
    noise = torch.stack([torch.randn(x.shape, generator=g) for x in x0])
    t = (torch.rand(len(x0), generator=g) * s.T).ceil().long().clamp(min=1)
    x_t = [s.alpha_bar[i].sqrt() * x + (1 - s.alpha_bar[i]).sqrt() * e for i, x, e in zip(t, x0, noise, strict=True)]
    loss = torch.nn.functional.mse_loss(net(torch.stack(x_t).float(), t), noise)
    loss.backward()
    optimiser.step()
    for weight in net.parameters():
        weight.grad = None
    return loss


def range_of_t(low, beyond):
    """t from low to s.T + beyond - 1, as torch.randint draws them."""
    return lambda s, n, g: torch.randint(low, s.T + beyond, (n,), generator=g)


pair = oracles.FiniteDataset(torch.tensor([[-1.0], [1.0]]))
e = the_epsilon_loss
eps, image = parameterization.eps_from_x0, parameterization.x0_from_eps
# check: (right answers, {wrong answer: (function, words of the message)})
EXERCISES = {
    e.noise_from_image: (
        [eps, noise_by_snr],
        {
            "the noise is not divided by its factor": (
                lambda s, x, t, x0: x - at(s.alpha_bar, t, x).sqrt() * x0,
                "still scaled",
            ),
            "divided by the noise's variance": (
                lambda s, x, t, x0: eps(s, x, t, x0) / at(1 - s.alpha_bar, t, x).sqrt(),
                "divide by its square root",
            ),
            "divided by the image's factor": (
                lambda s, x, t, x0: x / at(s.alpha_bar, t, x).sqrt() - x0,
                "the image's factor",
            ),
            "multiplied by the noise's factor": (
                lambda s, x, t, x0: eps(s, x, t, x0) * at(1 - s.alpha_bar, t, x),
                "You multiply",
            ),
            "1 - sqrt(alpha_bar) for sqrt(1 - alpha_bar)": (
                lambda s, x, t, x0: (x - at(s.alpha_bar, t, x).sqrt() * x0) / (1 - at(s.alpha_bar, t, x).sqrt()),
                "take the root last",
            ),
            "parentheses around the difference are missing": (
                lambda s, x, t, x0: x - (at(s.alpha_bar, t, x).sqrt() * x0) / at(1 - s.alpha_bar, t, x).sqrt(),
                "parentheses",
            ),
            "x_0 without its factor": (
                lambda s, x, t, x0: (x - x0) / at(1 - s.alpha_bar, t, x).sqrt(),
                "x_0 has no factor",
            ),
            "the difference of x_t and x_0 alone": (lambda s, x, t, x0: x - x0, "The difference alone"),
            "alpha_bar without its square root": (
                lambda s, x, t, x0: (x - at(s.alpha_bar, t, x) * x0) / at(1 - s.alpha_bar, t, x).sqrt(),
                "its square root is missing",
            ),
            "the image is added": (lambda s, x, t, x0: eps(s, x, t, -x0), "not added"),
            "the difference is the wrong way round": (lambda s, x, t, x0: -eps(s, x, t, x0), "other way round"),
            "the coefficients of a single step": (
                lambda s, x, t, x0: (x - at(s.alpha, t, x).sqrt() * x0) / at(s.beta, t, x).sqrt(),
                "single step",
            ),
            "the image from the noise": (image, "from noise to image"),
            "the tables at t - 1": (
                lambda s, x, t, x0: (x - at(s.alpha_bar, t - 1, x).sqrt() * x0) / at(1 - s.alpha_bar, t - 1, x).sqrt(),
                "The tables need no shift",
            ),
            "a table indexed without at": (
                lambda s, x, t, x0: (x - s.alpha_bar[t].sqrt() * x0) / (1 - s.alpha_bar[t]).sqrt(),
                "use at(table, t, x)",
            ),
            "the noise is clamped": (lambda s, x, t, x0: eps(s, x, t, x0).clamp(-1, 1), "clamped"),
            "fresh noise": (lambda s, x, t, x0: torch.randn_like(x), "Nothing random"),
            "the times are sorted first": (lambda s, x, t, x0: eps(s, x, t.sort()[0], x0), "its own t"),
        },
    ),
    e.image_from_noise: (
        [image, image_by_snr],
        {
            "the image is not divided by its factor": (
                lambda s, x, t, n: x - at(1 - s.alpha_bar, t, x).sqrt() * n,
                "still scaled",
            ),
            "divided by alpha_bar without the root": (
                lambda s, x, t, n: image(s, x, t, n) / at(s.alpha_bar, t, x).sqrt(),
                "square root of it",
            ),
            "divided by the noise's factor": (
                lambda s, x, t, n: x / at(1 - s.alpha_bar, t, x).sqrt() - n,
                "the noise's factor",
            ),
            "multiplied by the image's factor": (
                lambda s, x, t, n: image(s, x, t, n) * at(s.alpha_bar, t, x),
                "You multiply",
            ),
            "parentheses around the difference are missing": (
                lambda s, x, t, n: x - at(1 - s.alpha_bar, t, x).sqrt() * n / at(s.alpha_bar, t, x).sqrt(),
                "parentheses",
            ),
            "eps without its factor": (
                lambda s, x, t, n: (x - n) / at(s.alpha_bar, t, x).sqrt(),
                "eps has no factor",
            ),
            "the difference of x_t and eps alone": (lambda s, x, t, n: x - n, "The difference alone"),
            "1 - alpha_bar without its square root": (
                lambda s, x, t, n: (x - at(1 - s.alpha_bar, t, x) * n) / at(s.alpha_bar, t, x).sqrt(),
                "its square root is missing",
            ),
            "the noise is added": (lambda s, x, t, n: image(s, x, t, -n), "not added"),
            "the difference is the wrong way round": (lambda s, x, t, n: -image(s, x, t, n), "other way round"),
            "a single step is taken back": (
                lambda s, x, t, n: (x - at(s.beta, t, x).sqrt() * n) / at(s.alpha, t, x).sqrt(),
                "all the noise",
            ),
            "the mean of a sampler's next step": (
                lambda s, x, t, n: (x - at(s.beta / (1 - s.alpha_bar).sqrt(), t, x) * n) / at(s.alpha, t, x).sqrt(),
                "a sampler's next step",
            ),
            "the tables at t - 1": (
                lambda s, x, t, n: (x - at(1 - s.alpha_bar, t - 1, x).sqrt() * n) / at(s.alpha_bar, t - 1, x).sqrt(),
                "The tables need no shift",
            ),
            "the noise from the image": (eps, "from image to noise"),
            "the image is clamped to [-1, 1]": (lambda s, x, t, n: image(s, x, t, n).clamp(-1, 1), "clamped"),
        },
    ),
    e.bound_weight: (
        [weight_by_table, weight_by_means],
        {
            "the half of the KL is missing": (weight(lambda b, a, r, v: b**2 / (v * a * r)), "The 2"),
            "beta is not squared": (weight(lambda b, a, r, v: b / (2 * v * a * r)), "not squared"),
            "alpha_bar for alpha": (weight(lambda b, a, r, v: b**2 / (2 * v * (1 - r) * r)), "about one step"),
            "alpha for alpha_bar": (weight(lambda b, a, r, v: b**2 / (2 * v * a * (1 - a))), "the noise of one step"),
            "the factor 1 - alpha_bar is missing": (
                weight(lambda b, a, r, v: b**2 / (2 * v * a)),
                "1 - alpha_bar_t is missing",
            ),
            "the factor alpha is missing": (weight(lambda b, a, r, v: b**2 / (2 * v * r)), "alpha_t is missing"),
            "the variance is squared again": (weight(lambda b, a, r, v: b**2 / (2 * v**2 * a * r)), "already"),
            "the root of the variance": (weight(lambda b, a, r, v: b**2 / (2 * v**0.5 * a * r)), "the root of"),
            "roots left in the denominator": (weight(lambda b, a, r, v: b**2 / (2 * v * (a * r) ** 0.5)), "roots left"),
            "the factor of step 4, not squared": (
                weight(lambda b, a, r, v: b / (2 * v * (a * r) ** 0.5)),
                "step 1 squares it",
            ),
            "parentheses around the denominator are missing": (
                weight(lambda b, a, r, v: b**2 / 2 * v * a * r),
                "Parentheses",
            ),
            "the weight for an error of x_0": (
                lambda s, t, v: weight_by_table(s, t, v) * s.snr[t],
                "the error of x_0",
            ),
            "the variance has no effect": (
                lambda s, t, v: 0.5 * (s.snr[t - 1] / s.snr[t] - 1),
                "`variance` has no effect",
            ),
            "alpha_bar of t - 1": (
                lambda s, t, v: s.beta[t] ** 2 / (2 * v * s.alpha[t] * (1 - s.alpha_bar[t - 1])),
                "1 - alpha_bar_{t-1}",
            ),
            "the inverse of the weight": (lambda s, t, v: 1 / weight_by_table(s, t, v), "one over"),
            "the argument t is ignored": (
                lambda s, t, v: weight_by_table(s, torch.arange(1, len(t) + 1), v),
                "use t as the index",
            ),
            "the whole table": (lambda s, t, v: elbo.eps_weight(s, torch.ones_like(s.beta)), "expected shape"),
        },
    ),
    e.training_loss: (
        [losses.simple, loss_by_loops],
        {
            "one mean over the whole batch": (lambda *a: losses.simple(*a).mean(), "One number for the whole batch"),
            "the batch's mean for every sample": (lambda *a: losses.simple(*a).mean().expand(4), "the batch's mean"),
            "the squares are not averaged": (squares, "average each sample"),
            "a mean over the channels only": (lambda *a: squares(*a).mean(1), "average each sample"),
            "a mean over the samples": (lambda *a: squares(*a).flatten(1).mean(0), "one loss a pixel"),
            "the sum over the pixels": (lambda *a: 9 * losses.simple(*a), "add up the squares"),
            "axes counted for images only": (lambda *a: squares(*a).mean((1, 2, 3)), "but not on points"),
            "no gradient reaches the network": (lambda *a: losses.simple(*a).detach(), "No gradient"),
            "the root of the mean square": (lambda *a: losses.simple(*a).sqrt(), "the root of"),
            "absolute values for squares": (
                lambda net, s, x0, t, n: (net(forward.q_sample(s, x0, t, n), t) - n).abs().mean((1, 2, 3)),
                "Absolute",
            ),
            "the error is not squared": (
                lambda net, s, x0, t, n: (net(forward.q_sample(s, x0, t, n), t) - n).mean((1, 2, 3)),
                "not squared",
            ),
            "the noise is added to the prediction": (
                lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, target=-n),
                "You add the noise",
            ),
            "the target is x_0": (lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, target=x0), "The target is x_0"),
            "the target is x_t": (
                lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, target=forward.q_sample(s, x0, t, n)),
                "The target is x_t",
            ),
            "the target is fresh noise": (
                lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, target=torch.randn_like(n)),
                "drew anew",
            ),
            "the target is the noise's part of x_t": (
                lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, target=at(1 - s.alpha_bar, t, n).sqrt() * n),
                "the noise's part",
            ),
            "the loss is weighted with the SNR": (
                lambda net, s, x0, t, n: s.snr[t] * losses.simple(net, s, x0, t, n),
                "weighted with the SNR",
            ),
            "the network is shown x_0": (lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, shown=x0), "shown x_0"),
            "the network is shown the noise": (
                lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, shown=n),
                "its own answer",
            ),
            "image and noise without their factors": (
                lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, shown=x0 + n),
                "without their factors",
            ),
            "image and noise have changed places": (
                lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, shown=forward.q_sample(s, n, t, x0)),
                "changed places",
            ),
            "noise of one step only": (
                lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, shown=forward.q_step(s, x0, t, n)),
                "is not x_t",
            ),
            "noise of one's own": (
                lambda net, s, x0, t, n: losses.simple(net, s, x0, t, torch.randn_like(n)),
                "noise of your own",
            ),
            "the network is told t - 1": (
                lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, t_shown=t - 1),
                "not given t",
            ),
            "the network is told t / T": (
                lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, t_shown=t / s.T),
                "not given t",
            ),
            "x_t and t have changed places": (
                lambda net, s, x0, t, n: mean_loss(net, s, x0, t, n, shown=t, t_shown=x0),
                "in this order",
            ),
            "the network is never asked": (lambda net, s, x0, t, n: n.square().mean((1, 2, 3)), "never called"),
        },
    ),
    e.two_points: (
        [pair.posterior_mean, two_by_softmax],
        {
            "the nearer of the two points": (lambda s, x, t: x.sign(), "nearer of the two"),
            "not divided by the variance": (two_by_tanh((0.5, 0)), "not divided"),
            "divided by the standard deviation": (two_by_tanh((0.5, 0.5)), "standard deviation"),
            "the centres are at -1 and +1": (two_by_tanh((0, 1)), "In x_t their centres"),
            "the centres lack the square root": (two_by_tanh((1, 1)), "a square root is missing"),
            "the exponent is twice too large": (two_by_tanh((0.5, 1), 2.0), "A factor 2"),
            "half the exponent": (two_by_tanh((0.5, 1), 0.5), "Half the exponent"),
            "the sign is the other one": (two_by_tanh((0.5, 1), -1.0), "changed places"),
            "the probability of +1": (lambda s, x, t: (1 + pair.posterior_mean(s, x, t)) / 2, "probability of +1"),
            "the centres are averaged": (
                lambda s, x, t: at(s.alpha_bar, t, x).sqrt() * pair.posterior_mean(s, x, t),
                "You average the centres",
            ),
            "densities that do not sum to 1": (
                lambda s, x, t: averaged(log_densities(s, x, t).exp()),
                "divide by their sum",
            ),
            "softmax of densities, not of logarithms": (
                lambda s, x, t: averaged(log_densities(s, x, t).exp().softmax(1)),
                "leave out exp",
            ),
            "softmax along the samples": (
                lambda s, x, t: averaged(log_densities(s, x, t).softmax(0)),
                "the axis of the two points",
            ),
            "x_t is only scaled up": (lambda s, x, t: x / at(s.alpha_bar, t, x).sqrt(), "only scales"),
            "the best linear guess": (lambda s, x, t: x * at(s.alpha_bar, t, x).sqrt(), "*linear*"),
            "a table indexed without at": (
                lambda s, x, t: torch.tanh(s.alpha_bar[t].sqrt() / (1 - s.alpha_bar[t]) * x),
                "met the t of every other",
            ),
            "exp overflows at t = 1": (two_by_exp, "infinite"),
            "another answer at large t": (
                lambda s, x, t: pair.posterior_mean(s, x, t) * col(t < 4, x),
                "At t = 4 and x_t = -2.0",
            ),
        },
    ),
    e.min_snr_for_v: (
        [epsilon_answers.min_snr_for_v, min_snr_by_hand],
        {
            "the weight for x_0": (lambda s, g: s.snr.clamp(max=g), "error of x_0"),
            "the weight for eps": (lambda s, g: s.snr.clamp(max=g) / s.snr, "error of eps"),
            "1 is added before the minimum": (lambda s, g: (s.snr + 1).clamp(max=g) / (s.snr + 1), "too early"),
            "1 is added to the weight for eps": (lambda s, g: s.snr.clamp(max=g) / s.snr + 1, "1 was added"),
            "parentheses around SNR + 1 are missing": (lambda s, g: s.snr.clamp(max=g) / 1 + s.snr, "Parentheses"),
            "the denominator is limited too": (
                lambda s, g: s.snr.clamp(max=g) / (s.snr.clamp(max=g) + 1),
                "limited as well",
            ),
            "the root of SNR + 1": (lambda s, g: s.snr.clamp(max=g) / (s.snr + 1).sqrt(), "multiplies squares"),
            "the root of the SNR": (lambda s, g: s.snr.sqrt().clamp(max=g) / (s.snr + 1), "has a root"),
            "gamma at every t": (lambda s, g: g / (s.snr + 1), "minimum of SNR"),
            "gamma has no effect": (lambda s, g: s.snr / (s.snr + 1), "no effect"),
            "5 for every gamma": (lambda s, g: s.snr.clamp(max=5) / (s.snr + 1), "use the argument"),
            "the maximum for the minimum": (lambda s, g: s.snr.clamp(min=g) / (s.snr + 1), "keeps the smaller"),
            "multiplied by SNR + 1": (lambda s, g: s.snr.clamp(max=g) * (s.snr + 1), "You multiply"),
            "the inverse of the weight": (lambda s, g: (s.snr + 1) / s.snr.clamp(max=g), "one over"),
            "the minimum is taken last": (lambda s, g: (s.snr / (s.snr + 1)).clamp(max=g), "take the minimum first"),
            "a number for a table": (lambda s, g: g, "expected a tensor"),
            "a table without entry 0": (lambda s, g: epsilon_answers.min_snr_for_v(s, g)[1:], "T + 1"),
        },
    ),
    e.training_step: (
        [epsilon_answers.training_step, step(), step_by_hand],
        {
            "both published bugs": (
                step(times=range_of_t(1, 0), noises=lambda shape, g: torch.rand(shape, generator=g)),
                "t = T is never drawn",
            ),
            "uniform noise between 0 and 1": (
                step(noises=lambda shape, g: torch.rand(shape, generator=g)),
                "that is torch.rand",
            ),
            "uniform noise of mean 0 and variance 1": (
                step(noises=lambda shape, g: 12**0.5 * (torch.rand(shape, generator=g) - 0.5)),
                "it is uniform",
            ),
            "noise that is twice too large": (
                step(noises=lambda shape, g: 2 * torch.randn(shape, generator=g)),
                "Standard normal noise has 0 and 1",
            ),
            "one noise for the whole batch": (
                step(noises=lambda shape, g: torch.randn(1, *shape[1:], generator=g).expand(shape)),
                "One noise",
            ),
            "one noise for all pixels": (
                step(noises=lambda shape, g: torch.randn(shape[0], *[1] * (len(shape) - 1), generator=g).expand(shape)),
                "same noise",
            ),
            "t never reaches T": (step(times=range_of_t(1, 0)), "leaves its upper end out"),
            "t from 0 to T - 1": (step(times=range_of_t(0, 0)), "And t = T"),
            "t from 0 to T": (step(times=range_of_t(0, 1)), "t = 0 is drawn"),
            "t from 0, refused by q_sample": (
                step(times=range_of_t(0, 0), mix=forward.q_sample),
                "Usual cause: times counted from 0",
            ),
            "t never reaches 1": (step(times=range_of_t(2, 1)), "t = 1 is never drawn"),
            "late times more often than early ones": (
                step(times=lambda s, n, g: torch.randint(1, s.T + 1, (2, n), generator=g).max(0)[0]),
                "not drawn equally often",
            ),
            "one t for the whole batch": (
                step(times=lambda s, n, g: torch.randint(1, s.T + 1, (1,), generator=g).expand(n)),
                "One t for the whole batch",
            ),
            "one t of shape (1,)": (
                step(times=lambda s, n, g: torch.randint(1, s.T + 1, (1,), generator=g)),
                "one t a sample",
            ),
            "the network is told t / T": (step(told=lambda s, t: t / s.T), "fractions for t"),
            "the network is told t - 1": (step(told=lambda s, t: t - 1), "was told t - 1"),
            "x_t is made with t - 1": (
                step(mix=lambda s, x, t, n: mixed(s, x, t - 1, n)),
                "x_t was made with t - 1",
            ),
            "the noise does not come from g": (step(noises=lambda shape, g: torch.randn(shape)), "different noise"),
            "t does not come from g": (
                step(times=lambda s, n, g: torch.randint(1, s.T + 1, (n,))),
                "different t",
            ),
            "g is seeded again in every step": (
                step(times=lambda s, n, g: forward.random_t(s, n, g.manual_seed(0))),
                "Every step draws the same",
            ),
            "the network is shown x_0": (step(mix=lambda s, x, t, n: x), "no noise at all"),
            "the network is shown the noise": (step(mix=lambda s, x, t, n: n), "noise alone"),
            "image and noise without their factors": (step(mix=lambda s, x, t, n: x + n), "no factor"),
            "noise of one step only": (
                step(mix=lambda *a: mixed(*a, image=lambda s: s.alpha.sqrt(), rest=lambda s: s.beta.sqrt())),
                "one step from x_0",
            ),
            "the image's factor lacks the root": (
                step(mix=lambda *a: mixed(*a, image=lambda s: s.alpha_bar)),
                "its square root is missing",
            ),
            "the noise's factor lacks the root": (
                step(mix=lambda *a: mixed(*a, rest=lambda s: 1 - s.alpha_bar)),
                "The noise's factor",
            ),
            "image and noise have changed places": (step(mix=lambda s, x, t, n: mixed(s, n, t, x)), "is not x_t"),
            "the target is fresh noise": (
                step(loss=lambda said, n, x0, x_t: (said - torch.randn(n.shape)).square().mean()),
                "drawn anew",
            ),
            "the target is x_0": (
                step(loss=lambda said, n, x0, x_t: (said - x0).square().mean()),
                "The target is x_0.",
            ),
            "the target is x_t": (
                step(loss=lambda said, n, x0, x_t: (said - x_t).square().mean()),
                "The target is x_t,",
            ),
            "the target is x_t - x_0": (
                step(loss=lambda said, n, x0, x_t: (said - x_t + x0).square().mean()),
                "The target is x_t - x_0",
            ),
            "the loss is weighted by time": (
                step(
                    loss=lambda said, n, x0, x_t: ((said - n).square().flatten(1).mean(1) * torch.arange(len(n))).mean()
                ),
                "the same weight",
            ),
            "the noise is added to the prediction": (
                step(loss=lambda said, n, x0, x_t: (said + n).square().mean()),
                "goes uphill",
            ),
            "absolute values for squares": (
                step(loss=lambda said, n, x0, x_t: (said - n).abs().mean()),
                "Absolute values",
            ),
            "the root of the mean square": (
                step(loss=lambda said, n, x0, x_t: (said - n).square().mean().sqrt()),
                "or a root",
            ),
            "the sum over everything": (
                step(loss=lambda said, n, x0, x_t: (said - n).square().sum()),
                "added up over everything",
            ),
            "the sum over a sample's numbers": (
                step(loss=lambda said, n, x0, x_t: (said - n).square().flatten(1).sum(1).mean()),
                "over each sample's numbers",
            ),
            "the sum over the batch": (
                step(loss=lambda said, n, x0, x_t: (said - n).square().flatten(1).mean(1).sum()),
                "over the batch",
            ),
            "a loss three times too large": (
                step(loss=lambda said, n, x0, x_t: 3 * (said - n).square().mean()),
                "3 times that",
            ),
            "zero_grad is forgotten": (step(order=("backward", "step")), "The gradient of the step before"),
            "zero_grad after the backward pass": (step(order=("backward", "zero_grad", "step")), "moved nothing"),
            "the step before the backward pass": (
                step(order=("zero_grad", "step", "backward")),
                "before the backward pass",
            ),
            "the optimiser's step is forgotten": (step(order=("zero_grad", "backward")), "no step"),
            "two steps for one batch": (step(order=("zero_grad", "backward", "step", "step")), "2 steps"),
            "the backward pass is forgotten": (step(order=("zero_grad", "step")), "No backward pass"),
            "the prediction is detached": (
                step(loss=lambda said, n, x0, x_t: (said.detach() - n).square().mean()),
                "does not require grad",
            ),
            "the network is called under no_grad": (torch.no_grad()(step()), "under no_grad"),
            "the network is never asked": (lambda net, optimiser, s, x0, g: 1.0, "never called"),
            "x_t and t have changed places": (
                lambda net, optimiser, s, x0, g: net(forward.random_t(s, len(x0), g), x0),
                "in this order",
            ),
            "the loss is not returned": (step(back=lambda loss: None), "returned None"),
            "a list is returned": (step(back=lambda loss: [loss]), "one number is to come back"),
            "half the loss is returned": (step(back=lambda loss: loss / 2), "the loss that came back"),
        },
    ),
}
(
    test_a_blank_is_told_kindly_and_raises_nothing,
    test_the_librarys_answer_and_another_correct_one_pass,
    test_a_wrong_answer_is_refused_with_the_likely_mistake,
    test_every_check_is_listed_here,
) = proof.of(the_epsilon_loss, EXERCISES)
