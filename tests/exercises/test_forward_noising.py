"""Every check says "not yet" to a blank, accepts the library's answer and one written differently, and names mistakes.

More wrong answers, the published ones, are in tests/mutants.
"""

import math

import torch

from ddpm_edu import forward, schedules
from ddpm_edu.exercises import forward_noising, start_here
from ddpm_edu.forward import at
from tests.exercises import proof


def column(values, x):
    return values.reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype)


def step_by_addition(s, x_prev, t, noise):
    """x plus a small change; the tables indexed and reshaped by hand."""
    keep = column((1 - s.beta[t]) ** 0.5, x_prev)
    return x_prev + (keep - 1) * x_prev + column(s.beta[t] ** 0.5, x_prev) * noise


def product_by_logs(betas):
    return torch.tensor([math.exp(sum(math.log1p(-b) for b in betas[:t].tolist())) for t in range(len(betas) + 1)])


def jump_by_steps(s, x0, t, noise):
    """Signal and variance carried along the chain, sample by sample."""
    out = []
    for x, e, last in zip(x0, noise, t.tolist(), strict=True):
        signal, variance = 1.0, 0.0
        for beta in s.beta[1 : last + 1].tolist():
            signal, variance = signal * math.sqrt(1 - beta), variance * (1 - beta) + beta
        out.append(signal * x + math.sqrt(variance) * e)
    return torch.stack(out)


def loop_with_q_step(s, x0, noises):
    for t in range(1, s.T + 1):
        x0 = forward.q_step(s, x0, torch.full((len(x0),), t), noises[t - 1])
    return x0


def loop_in_one_sum(s, x0, noises):
    """No loop over states at all: each noise with the factor that the later steps leave of it."""
    x = s.alpha_bar[-1].sqrt() * x0
    for j in range(1, s.T + 1):
        x = x + (s.beta[j] * s.alpha[j + 1 :].prod()).sqrt() * noises[j - 1]
    return x


def correlation_by_snr(s, variance):
    return 1 / (1 + 1 / (variance * s.snr))


def posterior_by_precision(s, x0, x_t, t):
    """From the two precisions; in the form with eps for the mean; the variance in full shape."""
    eps = (x_t - at(s.alpha_bar, t, x0).sqrt() * x0) / at(1 - s.alpha_bar, t, x0).sqrt()
    mean = (x_t - at(s.beta, t, x0) / at(1 - s.alpha_bar, t, x0).sqrt() * eps) / at(s.alpha, t, x0).sqrt()
    precision = 1 / (1 - s.alpha_bar[t - 1]) + s.alpha[t] / s.beta[t]
    return mean, column(1 / precision, x0).expand_as(x0)


# ---------------------------------------------------------------- answers with something put wrong


def mixed(image, noise, shift=0):
    """An answer to 1.1 or 1.3: its coefficients are read from the tables image(s) and noise(s), at t + shift."""
    return lambda s, x, t, e: at(image(s), t + shift, x) * x + at(noise(s), t + shift, x) * e


def one_in_front(of):
    """An answer to 1.2: a 1, then of(betas)."""
    return lambda betas: torch.cat([betas.new_ones(1), of(betas)])


def steps_with_one_noise(s, x0, t, noise):
    """The jump as a walk of t steps, sample by sample, each step with the same noise."""
    out = []
    for start, e, last in zip(x0, noise, t.tolist(), strict=True):
        x = start
        for u in range(1, last + 1):
            x = s.alpha[u].sqrt() * x + s.beta[u].sqrt() * e
        out.append(x)
    return torch.stack(out)


def looped(image=lambda s: s.alpha.sqrt(), noise=lambda s: s.beta.sqrt(), times=None, index=lambda t: t - 1):
    """An answer to 1.4: walks ``times`` (1..T) with coefficients from these tables and noises[index(t)]."""

    def walk(s, x, noises):
        for t in times(s.T) if times else range(1, s.T + 1):
            x = image(s)[t] * x + noise(s)[t] * noises[index(t)]
        return x

    return walk


def every_state(s, x0, noises):
    states = [x0]
    for t in range(1, s.T + 1):
        states.append(s.alpha[t].sqrt() * states[-1] + s.beta[t].sqrt() * noises[t - 1])
    return states


def of_shares(share):
    """An answer to 1.5 made of signal and noise in x_t."""
    return lambda s, v: share(s.alpha_bar * v, 1 - s.alpha_bar)


def posterior(of_x0=None, of_xt=None, variance=None):
    """An answer to 1.6; each part is made of (alpha, beta, alpha_bar_t, alpha_bar_{t-1}), and right where not given."""
    of_x0 = of_x0 or (lambda a, b, ab, before: before.sqrt() * b / (1 - ab))
    of_xt = of_xt or (lambda a, b, ab, before: a.sqrt() * (1 - before) / (1 - ab))
    variance = variance or (lambda a, b, ab, before: (1 - before) / (1 - ab) * b)

    def answer(s, x0, x_t, t):
        parts = [at(s.alpha, t, x0), at(s.beta, t, x0), at(s.alpha_bar, t, x0), at(s.alpha_bar, t - 1, x0)]
        return of_x0(*parts) * x0 + of_xt(*parts) * x_t, variance(*parts)

    return answer


def posterior_of_eps(mean):
    """An answer to 1.6 in the form with eps: mean(x_t, alpha, beta, alpha_bar, eps)."""

    def answer(s, x0, x_t, t):
        alpha, beta, ab = at(s.alpha, t, x0), at(s.beta, t, x0), at(s.alpha_bar, t, x0)
        eps = (x_t - ab.sqrt() * x0) / (1 - ab).sqrt()
        return mean(x_t, alpha, beta, ab, eps), at(s.posterior_variance, t, x0)

    return answer


def weighted_by_precision(s, x0, x_t, t):
    """The formula before it is multiplied out: 0/0 at t = 1."""
    alpha, beta, before = at(s.alpha, t, x0), at(s.beta, t, x0), at(s.alpha_bar, t - 1, x0)
    variance = 1 / (1 / (1 - before) + alpha / beta)
    return variance * (before.sqrt() * x0 / (1 - before) + alpha.sqrt() * x_t / beta), variance


TWO_WEIGHTS = {
    "the shares themselves, without roots": (lambda keep: (keep, 1 - keep), "take square roots"),
    "half and half, whatever is kept": (lambda keep: (0.5, 0.5), "add up to 1, their squares do not"),
    "1 - sqrt(keep) for sqrt(1 - keep)": (
        lambda keep: (keep**0.5, 1 - keep**0.5),
        "the image's weight is right, the noise's is not",
    ),
    "squares in the place of roots": (lambda keep: (keep**2, (1 - keep) ** 2), "is keep squared"),
    "a negative weight": (lambda keep: (keep**0.5, -((1 - keep) ** 0.5)), "take the positive roots"),
    "all image, whatever is kept": (lambda keep: (1.0, 0.0), "and should keep 0.36"),
    "two times the right weights": (lambda keep: (2 * keep**0.5, 2 * (1 - keep) ** 0.5), "and should be 1"),
    "the two weights swapped": (lambda keep: ((1 - keep) ** 0.5, keep**0.5), "Are the two swapped?"),
    "only one number returned": (lambda keep: keep**0.5, "Two numbers are expected"),
    "printed, not returned": (lambda keep: None, "Two numbers are expected"),
    "weights that are no numbers": (lambda keep: (math.nan, math.nan), "two finite numbers are expected"),
}
ONE_STEP = {
    "the square root of beta is missing": (
        mixed(lambda s: s.alpha.sqrt(), lambda s: s.beta),
        "beta_t is its variance: multiply by its square root",
    ),
    "the square root of 1 - beta is missing": (
        mixed(lambda s: s.alpha, lambda s: s.beta.sqrt()),
        "multiplied by 1 - beta_t: its square root is missing",
    ),
    "both square roots are missing": (mixed(lambda s: s.alpha, lambda s: s.beta), "Both square roots are missing"),
    "1 - sqrt(beta) for sqrt(1 - beta)": (
        mixed(lambda s: 1 - s.beta.sqrt(), lambda s: s.beta.sqrt()),
        "First 1 - beta_t, then the root",
    ),
    "the image is not shrunk": (
        mixed(lambda s: s.alpha**0, lambda s: s.beta.sqrt()),
        "The image is not shrunk",
    ),
    "alpha_bar in a single step": (forward.q_sample, "That is the jump from x_0"),
    "coefficients of image and noise swapped": (
        mixed(lambda s: s.beta.sqrt(), lambda s: s.alpha.sqrt()),
        "each other's coefficients",
    ),
    "the noise is subtracted": (mixed(lambda s: s.alpha.sqrt(), lambda s: -s.beta.sqrt()), "The noise is subtracted"),
    "the noise is forgotten": (mixed(lambda s: s.alpha.sqrt(), lambda s: 0 * s.beta), "The noise has no effect"),
    "the image is forgotten": (mixed(lambda s: 0 * s.beta, lambda s: s.beta.sqrt()), "The image has no effect"),
    "noise where the image belongs": (
        lambda s, x, t, e: forward.q_step(s, e, t, e),
        "Both coefficients multiply the noise",
    ),
    "tables read one step early": (mixed(lambda s: s.alpha.sqrt(), lambda s: s.beta.sqrt(), -1), "no t - 1"),
    "the first sample's t for all": (
        lambda s, x, t, e: s.alpha[t[0]].sqrt() * x + s.beta[t[0]].sqrt() * e,
        "Each has a time of its own",
    ),
    "a table of shape (N,) times the images": (lambda s, x, t, e: s.alpha[t].sqrt() * x, "use at(table, t, x)"),
    "reshaped for images only": (
        lambda s, x, t, e: x * s.alpha[t].sqrt().reshape(-1, 1, 1, 1),
        "(N, 1, 1, 1) fits images only",
    ),
    "the result is clamped": (lambda s, x, t, e: forward.q_step(s, x, t, e).clamp(-1, 1), "Is something clamped?"),
    "the caller's image changed in place": (
        lambda s, x, t, e: x.mul_(at(s.alpha.sqrt(), t, x)).add_(at(s.beta.sqrt(), t, x) * e),
        "changed one of its inputs in place",
    ),
    "noise drawn inside the function": (
        lambda s, x, t, e: forward.q_step(s, x, t, torch.randn_like(x)),
        "Did you draw noise of your own?",
    ),
    "uniform noise drawn inside the function": (
        lambda s, x, t, e: forward.q_step(s, x, t, torch.rand_like(x)),
        "Did you draw noise of your own?",
    ),
    "the first sample of the batch lost": (lambda s, x, t, e: forward.q_step(s, x, t, e)[1:], "expected shape"),
    "the root of a negative number": (lambda s, x, t, e: (s.alpha[t] - 2).sqrt()[:, None, None] * x, "NaN or infinite"),
    "one number for the whole batch": (lambda s, x, t, e: 0.5, "expected a tensor, got float"),
    "no return": (lambda s, x, t, e: None, "Did you forget `return`?"),
}
PRODUCT = {
    "no 1 in front": (lambda b: torch.cumprod(1 - b, 0), "alpha_bar_0 = 1 comes first"),
    "the 1 at the end": (lambda b: torch.cat([torch.cumprod(1 - b, 0), b.new_ones(1)]), "The 1 stands at the end"),
    "a 0 in front": (lambda b: torch.cat([b.new_zeros(1), torch.cumprod(1 - b, 0)]), "A 0 stands in front"),
    "a factor 0 in the product": (
        lambda b: torch.cumprod(torch.cat([b.new_zeros(1), 1 - b]), 0),
        "one factor 0 is enough for that",
    ),
    "the betas multiplied": (one_in_front(lambda b: torch.cumprod(b, 0)), "You multiply the betas"),
    "one minus the product of the betas": (
        one_in_front(lambda b: 1 - torch.cumprod(b, 0)),
        "You multiply the betas and take the product from 1",
    ),
    "the betas subtracted one after another": (
        one_in_front(lambda b: 1 - torch.cumsum(b, 0)),
        "Each step takes its share of what is *left*",
    ),
    "the noise's share, not the image's": (
        one_in_front(lambda b: 1 - torch.cumprod(1 - b, 0)),
        "That is 1 - alpha_bar, the share of noise",
    ),
    "the square root of alpha_bar": (lambda b: schedules.cumulative(b).sqrt(), "That is sqrt(alpha_bar)"),
    "alpha of each step by itself": (one_in_front(lambda b: 1 - b), "of each step by itself. Multiply them up"),
    "the product over all T at every t": (
        one_in_front(lambda b: (1 - b).prod().expand(len(b))),
        "The product of entry t stops at t",
    ),
    "torch.prod for torch.cumprod": (lambda b: (1 - b).prod(), "one product of all factors"),
    "everything one place too late": (
        lambda b: torch.cat([b.new_ones(2), torch.cumprod(1 - b, 0)[:-1]]),
        "one place too late",
    ),
    "the betas changed in place": (
        one_in_front(lambda b: torch.cumprod(b.neg_().add_(1), 0)),
        "changed one of its inputs in place",
    ),
    "cumprod without its dimension": (lambda b: torch.cumprod(1 - b), "stopped with TypeError: cumprod()"),
    "a list returned": (lambda b: schedules.cumulative(b).tolist(), "expected a tensor, got list"),
}
JUMP = {
    "a single step for the jump": (forward.q_step, "That is a single step"),
    "the noise's square root is missing": (
        mixed(lambda s: s.alpha_bar.sqrt(), lambda s: 1 - s.alpha_bar),
        "That is its variance: take the square root",
    ),
    "the image's square root is missing": (
        mixed(lambda s: s.alpha_bar, lambda s: (1 - s.alpha_bar).sqrt()),
        "multiplied by alpha_bar_t: its square root is missing",
    ),
    "both square roots are missing": (
        mixed(lambda s: s.alpha_bar, lambda s: 1 - s.alpha_bar),
        "Both square roots are missing",
    ),
    "sqrt(1 - alpha_bar) taken for the variance": (
        mixed(lambda s: s.alpha_bar.sqrt(), lambda s: (1 - s.alpha_bar) ** 0.25),
        "one root too many",
    ),
    "1 - sqrt(alpha_bar) for sqrt(1 - alpha_bar)": (
        mixed(lambda s: s.alpha_bar.sqrt(), lambda s: 1 - s.alpha_bar.sqrt()),
        "First 1 - alpha_bar_t, then the root",
    ),
    "only the noise of step t": (
        mixed(lambda s: s.alpha_bar.sqrt(), lambda s: s.beta.sqrt()),
        "The noise is that of step t alone",
    ),
    "the end of the chain at every t": (
        lambda s, x, t, e: s.alpha_bar[-1].sqrt() * x + (1 - s.alpha_bar[-1]).sqrt() * e,
        "Every t gets the end of the chain",
    ),
    "alpha_bars multiplied up once more": (
        mixed(lambda s: torch.cumprod(s.alpha_bar, 0).sqrt(), lambda s: (1 - torch.cumprod(s.alpha_bar, 0)).sqrt()),
        "The alpha_bars are multiplied up once more",
    ),
    "t steps walked with one noise": (steps_with_one_noise, "You walk the steps with the same noise in each"),
    "T steps walked with one noise": (
        lambda s, x, t, e: steps_with_one_noise(s, x, torch.full_like(t, s.T), e),
        "And no loop is needed",
    ),
    "tables read one step early": (
        mixed(lambda s: s.alpha_bar.sqrt(), lambda s: (1 - s.alpha_bar).sqrt(), -1),
        "no t - 1",
    ),
    "coefficients of image and noise swapped": (
        mixed(lambda s: (1 - s.alpha_bar).sqrt(), lambda s: s.alpha_bar.sqrt()),
        "each other's coefficients",
    ),
    "the noise is subtracted": (
        mixed(lambda s: s.alpha_bar.sqrt(), lambda s: -((1 - s.alpha_bar).sqrt())),
        "The noise is subtracted",
    ),
    "the first sample's t for all": (
        lambda s, x, t, e: forward.q_sample(s, x, t[:1].expand(len(t)), e),
        "Each has a time of its own",
    ),
    "times sorted, so that samples swap theirs": (
        lambda s, x, t, e: forward.q_sample(s, x, t.sort()[0], e),
        "it must get its own coefficients",
    ),
    "uniform noise drawn inside the function": (
        lambda s, x, t, e: forward.q_sample(s, x, t, torch.rand_like(x)),
        "Did you draw noise of your own?",
    ),
}
LOOP = {
    "alpha_bar in every step, as the article has it": (
        looped(lambda s: s.alpha_bar.sqrt(), lambda s: (1 - s.alpha_bar).sqrt()),
        "the correlation with x_0 is not",
    ),
    "alpha_bar on the image, beta on the noise": (
        looped(lambda s: s.alpha_bar.sqrt()),
        "Too little of x_0 is left",
    ),
    "the loop ends at T - 1": (looped(times=lambda T: range(1, T)), "The noise of the last step has no effect"),
    "the loop runs from 0 to T - 1": (
        looped(times=range, index=lambda t: t),
        "The noise of the first step has no effect",
    ),
    "the loop starts at 2": (looped(times=lambda T: range(2, T + 1)), "The noise of the first step has no effect"),
    "the steps in reverse, from T down": (looped(times=lambda T: range(T, 0, -1)), "Your steps run from T down to 1"),
    "the noises in reverse": (looped(index=lambda t: -t), "The noises are used in reverse"),
    "noises[t] for noises[t - 1]": (looped(index=lambda t: t), "stopped with IndexError: index 5 is out of bounds"),
    "all noises added in every step": (looped(index=lambda t: slice(None)), "a step took all the noises at once"),
    "the first noise in every step": (looped(index=lambda t: 0), "Only the first noise has any effect"),
    "the last noise in every step": (looped(index=lambda t: -1), "Only the last step has any effect"),
    "return inside the loop": (looped(times=lambda T: [1]), "`return` stands inside the loop"),
    "every step starts from x_0": (looped(times=lambda T: [T]), "Only the last step has any effect"),
    "the jump with the last noise": (
        lambda s, x, n: s.alpha_bar[-1].sqrt() * x + (1 - s.alpha_bar[-1]).sqrt() * n[-1],
        "the jump from x_0 with the last noise alone",
    ),
    "the image is never shrunk": (looped(lambda s: s.alpha**0), "All of x_0 is still there"),
    "the square root of beta is missing": (looped(noise=lambda s: s.beta), "by beta_t, its variance: take the root"),
    "the square root of 1 - beta is missing": (
        looped(lambda s: s.alpha),
        "multiplied by 1 - beta_t in each step: its square root is missing",
    ),
    "both square roots are missing": (
        looped(lambda s: s.alpha, lambda s: s.beta),
        "Both square roots are missing",
    ),
    "half of the noise": (looped(noise=lambda s: s.beta.sqrt() / 2), "the variance of the noise is not"),
    "some noise in the wrong place": (
        lambda s, x, n: forward_noising.last_state(s, x, n[[0, 2, 1, 3, 4]]),
        "share of x_0, then of the noise",
    ),
    "every state returned in a list": (every_state, "You return 6 states in a list. Only the last is asked for"),
    "every state returned in one tensor": (
        lambda s, x, n: torch.stack(every_state(s, x, n)),
        "all states are returned (only the last is asked for)",
    ),
    "noise drawn inside the loop": (
        lambda s, x, n: forward_noising.last_state(s, x, torch.randn_like(n)),
        "Did you draw noise of your own?",
    ),
    "the noise drawn once and added at the end": (
        lambda s, x, n: s.alpha_bar[-1].sqrt() * x + torch.randn(x.shape, dtype=x.dtype) * n.sum(),
        "Did you draw noise of your own?",
    ),
    "the result is clamped": (
        lambda s, x, n: forward_noising.last_state(s, x, n).clamp(-1, 1),
        "Is something clamped?",
    ),
}
SHARE = {
    "the correlation, not squared": (lambda s, v: forward.squared_correlation(s, v).sqrt(), "Square it"),
    "the variance is ignored": (lambda s, v: s.alpha_bar, "Right for data of variance 1 only"),
    "no denominator": (of_shares(lambda signal, noise: signal), "Divide by x_t's whole variance"),
    "the variance squared once more": (
        lambda s, v: forward.squared_correlation(s, v * v),
        "already a square",
    ),
    "the signal-to-noise ratio": (
        of_shares(lambda signal, noise: signal / noise),
        "That is the signal-to-noise ratio",
    ),
    "inf / inf at t = 0, from the snr table": (
        lambda s, v: s.snr * v / (s.snr * v + 1),
        "inf / inf is not a number",
    ),
    "brackets missing around the sum": (
        lambda s, v: s.alpha_bar * v / s.alpha_bar * v + 1 - s.alpha_bar,
        "Are brackets missing?",
    ),
    "alpha in place of alpha_bar": (
        lambda s, v: s.alpha * v / (s.alpha * v + 1 - s.alpha),
        "That is for a single step, with alpha_t",
    ),
    "standard deviations added": (
        of_shares(lambda signal, noise: signal.sqrt() / (signal.sqrt() + noise.sqrt())),
        "You add standard deviations",
    ),
    "a square root around the noise's variance": (
        of_shares(lambda signal, noise: signal / (signal + noise.sqrt())),
        "The noise's part has a root too many",
    ),
    "the share of the noise": (
        of_shares(lambda signal, noise: noise / (signal + noise)),
        "That is the share of the noise",
    ),
    "the variance missing above the line": (
        lambda s, v: s.alpha_bar / (s.alpha_bar * v + 1 - s.alpha_bar),
        "`variance` is missing above the line",
    ),
    "only the last t": (lambda s, v: forward.squared_correlation(s, v)[-1], "the whole table, no index"),
    "t = 0 left out": (lambda s, v: forward.squared_correlation(s, v)[1:], "expected shape"),
}
POSTERIOR = {
    "sqrt(alpha_bar_t) for sqrt(alpha_t), on x_t": (
        posterior(of_xt=lambda a, b, ab, before: ab.sqrt() * (1 - before) / (1 - ab)),
        "sqrt(alpha_bar_t) where sqrt(alpha_t)",
    ),
    "sqrt(alpha_bar_t) for sqrt(alpha_bar_{t-1}), on x_0": (
        posterior(of_x0=lambda a, b, ab, before: ab.sqrt() * b / (1 - ab)),
        "where sqrt(alpha_bar_{t-1}) belongs",
    ),
    "the two roots swapped": (
        posterior(
            lambda a, b, ab, before: a.sqrt() * b / (1 - ab),
            lambda a, b, ab, before: before.sqrt() * (1 - before) / (1 - ab),
        ),
        "the root that belongs to x_0",
    ),
    "1 - alpha_bar_t above the line as well": (
        posterior(of_xt=lambda a, b, ab, before: a.sqrt() * (1 - ab) / (1 - ab)),
        "There it is one step earlier",
    ),
    "the square root on x_t is missing": (
        posterior(of_xt=lambda a, b, ab, before: a * (1 - before) / (1 - ab)),
        "has alpha_t where its square root belongs",
    ),
    "the square root on x_0 is missing": (
        posterior(of_x0=lambda a, b, ab, before: before * b / (1 - ab)),
        "has alpha_bar_{t-1} where its square root belongs",
    ),
    "sqrt(beta) for beta, on x_0": (
        posterior(of_x0=lambda a, b, ab, before: before.sqrt() * b.sqrt() / (1 - ab)),
        "has sqrt(beta_t) where beta_t itself belongs",
    ),
    "x_t's part is not divided": (
        posterior(of_xt=lambda a, b, ab, before: a.sqrt() * (1 - before)),
        "x_t's coefficient is not divided by 1 - alpha_bar_t",
    ),
    "x_0's part is not divided": (
        posterior(of_x0=lambda a, b, ab, before: before.sqrt() * b),
        "x_0's coefficient is not divided by 1 - alpha_bar_t",
    ),
    "x_0 and x_t swapped": (lambda s, x0, x, t: forward.q_posterior(s, x, x0, t), "each other's coefficients"),
    "eps form without its square root": (
        posterior_of_eps(lambda x, a, b, ab, eps: (x - b / (1 - ab) * eps) / a.sqrt()),
        "beta_t is divided by sqrt(1 - alpha_bar_t)",
    ),
    "eps form without 1 / sqrt(alpha_t)": (
        posterior_of_eps(lambda x, a, b, ab, eps: x - b / (1 - ab).sqrt() * eps),
        "1 / sqrt(alpha_t) in front is missing",
    ),
    "eps form with a plus": (
        posterior_of_eps(lambda x, a, b, ab, eps: (x + b / (1 - ab).sqrt() * eps) / a.sqrt()),
        "the noise is subtracted",
    ),
    "the variance of the step forwards": (
        posterior(variance=lambda a, b, ab, before: b),
        "that of the step forwards",
    ),
    "the standard deviation for the variance": (
        lambda s, x0, x, t: (forward.q_posterior(s, x0, x, t)[0], at(s.posterior_variance, t, x0).sqrt()),
        "That is the standard deviation",
    ),
    "the variance before x_t is known": (
        posterior(variance=lambda a, b, ab, before: 1 - before),
        "in doubt before x_t is known",
    ),
    "the variance of the step before": (
        lambda s, x0, x, t: (forward.q_posterior(s, x0, x, t)[0], at(s.posterior_variance, t - 1, x0)),
        "s.posterior_variance[t] needs no t - 1",
    ),
    "the logarithm of the variance": (
        posterior(variance=lambda a, b, ab, before: ((1 - before) / (1 - ab) * b).log()),
        "its logarithm must not be taken",
    ),
    "the variance's fraction upside down": (
        posterior(variance=lambda a, b, ab, before: (1 - ab) / (1 - before) * b),
        "At t = 1 your result is not finite",
    ),
    "0/0 at t = 1, from the precisions": (weighted_by_precision, "At t = 1 your result is not finite"),
    "a variance of shape (N,)": (
        lambda s, x0, x, t: (forward.q_posterior(s, x0, x, t)[0], s.posterior_variance[t]),
        "The variance has shape (N,)",
    ),
    "variance first, then the mean": (
        lambda s, x0, x, t: forward.q_posterior(s, x0, x, t)[::-1],
        "Is the order wrong?",
    ),
    "a draw in place of the mean": (
        lambda s, x0, x, t: (x0 + torch.ones_like(x), at(s.posterior_variance, t, x0)),
        "a mean is not a draw",
    ),
    "only the mean returned": (lambda s, x0, x, t: forward.q_posterior(s, x0, x, t)[0], "Two tensors are expected"),
    "the mean is clamped": (
        lambda s, x0, x, t: (forward.q_posterior(s, x0, x, t)[0].clamp(-1, 1), at(s.posterior_variance, t, x0)),
        "Is something clamped?",
    ),
    "the page's slices in place of at": (
        lambda s, x0, x, t: (s.alpha[2:].sqrt() * x, at(s.posterior_variance, t, x0)),
        "use at(table, t, x)",
    ),
    "a name that does not exist": (lambda s, x0, x, t: x / 0 + undefined, "stopped with NameError"),  # noqa: F821
}

# check: (right answers, the library's first, {a wrong one: (the answer, words of the message)})
EXERCISES = {
    start_here.two_weights: (
        (
            start_here.weights,
            lambda keep: (math.cos(math.acos(math.sqrt(keep))), math.sin(math.acos(math.sqrt(keep)))),
            lambda keep: torch.tensor([keep, 1 - keep]).sqrt(),
        ),
        TWO_WEIGHTS,
    ),
    forward_noising.one_step: (
        (forward.q_step, step_by_addition, mixed(lambda s: s.alpha.sqrt(), lambda s: s.beta.sqrt())),
        ONE_STEP,
    ),
    forward_noising.running_product: (
        (
            schedules.cumulative,
            product_by_logs,
            lambda b: torch.cat([torch.ones(1), torch.cumprod(1 - b, 0)]),
            lambda b: torch.cumprod(torch.cat([torch.tensor([1]), 1 - b]), 0),
        ),
        PRODUCT,
    ),
    forward_noising.jump: (
        (forward.q_sample, jump_by_steps, mixed(lambda s: s.alpha_bar.sqrt(), lambda s: (1 - s.alpha_bar).sqrt())),
        JUMP,
    ),
    forward_noising.mended_loop: (
        (forward_noising.last_state, loop_with_q_step, loop_in_one_sum, looped()),
        LOOP,
    ),
    forward_noising.signal_left: (
        (
            forward.squared_correlation,
            correlation_by_snr,
            of_shares(lambda signal, noise: 1 - noise / (signal + noise)),
        ),
        SHARE,
    ),
    forward_noising.posterior: (
        (
            forward.q_posterior,
            posterior_by_precision,
            posterior(),
            posterior_of_eps(lambda x, a, b, ab, eps: (x - b / (1 - ab).sqrt() * eps) / a.sqrt()),
        ),
        POSTERIOR,
    ),
}
(
    test_a_blank_is_told_kindly_and_raises_nothing,
    test_the_librarys_answer_and_another_correct_one_pass,
    test_a_wrong_answer_is_refused_with_the_likely_mistake,
    test_every_check_is_listed_here,
) = proof.of((forward_noising, start_here), EXERCISES)
