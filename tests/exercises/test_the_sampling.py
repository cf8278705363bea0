"""Checks of notebook 05: kind to a blank, content with any right answer, plain about a wrong one."""

from itertools import pairwise

import torch

from ddpm_edu.exercises import sampling_answers, the_sampling
from tests.exercises import proof
from tests.exercises.samplers import SAMPLERS


def root(x):
    return x**0.5


# ---------------------------------------------------------------- 5.1


def by_floor(T, steps):
    return [*pairwise(i * T // steps for i in range(steps, -1, -1))]


def by_round(T, steps):
    """Python's rounding: half to even."""
    return list(pairwise(round(i * T / steps) for i in range(steps, -1, -1)))


def by_ceiling(T, steps):
    return list(pairwise(T - i * T // steps for i in range(steps + 1)))


def by_linspace(T, steps):
    """A tuple of lists."""
    times = torch.linspace(T, 0, steps + 1, dtype=torch.float64).round().long()
    return tuple(torch.stack([times[:-1], times[1:]], 1).tolist())


def by_long_steps_first(T, steps):
    """The rest of the division is dealt out, one each."""
    stride, rest = divmod(T, steps)
    times = [T]
    for i in range(steps):
        times.append(times[-1] - stride - (i < rest))
    return list(pairwise(times))


def chained(times):
    return lambda T, steps: list(pairwise(times(T, steps)))


def stride_down(T, steps):
    stride = T // steps
    return [(t, t - stride) for t in range(stride * steps, 0, -stride)]


def leading(T, steps):
    return [*pairwise(1 + i * (T // steps) for i in range(steps - 1, -1, -1)), (1, 0)]


def previous_by_stride(T, steps):
    times = [round(i * T / steps) for i in range(steps, 0, -1)]
    return [(t, max(t - T // steps, 0)) for t in times]


def float_range(T, steps):
    """A while loop through floats: it may stop just above 0."""
    times, time = [], float(T)
    while time > 0:
        times.append(round(time))
        time -= T / steps
    return list(pairwise([*times, 0]))


def rest_last(T, steps):
    return list(pairwise([*(T - i * (T // steps) for i in range(steps)), 0]))


def from_T_to_1(T, steps):
    return list(pairwise([*(round(T - (T - 1) * i / max(steps - 1, 1)) for i in range(steps)), 0]))


PAIRS = (
    [sampling_answers.pairs, by_floor, by_round, by_ceiling, by_linspace, by_long_steps_first],
    {
        "a stride of T // steps, counted up from 0": (stride_down, "the chain starts at 8, not at 10, where"),
        "the leading list of much published code": (leading, '"leading"'),
        "a stride of T // steps, counted down from T": (
            chained(lambda T, n: [T - i * (T // n) for i in range(n + 1)]),
            "ends at 2: T // steps drops",
        ),
        "times counted from 0": (lambda T, n: [(t - 1, max(s - 1, 0)) for t, s in by_round(T, n)], "counted from 0?"),
        "0 left out of the times": (chained(lambda T, n: [i * T // n for i in range(n, 0, -1)]), "one too few"),
        "as many pairs as there are times": (lambda T, n: by_round(T, n + 1), "one too many"),
        "a while loop through floats": (float_range, "a loop over floats"),
        "all T steps whatever was asked for": (lambda T, n: by_round(T, T), "10 pairs, and 4 were asked for"),
        "the chain ends at 1": (lambda T, n: [(t, s or 1) for t, s in by_round(T, n)], "ends at 1, where"),
        "a fraction as the last time": (
            lambda T, n: [(t, max(s, 0.4 * T // 2)) for t, s in by_round(T, n)],
            "is no int",
        ),
        "the previous time guessed as t - T // steps": (previous_by_stride, "is not the next time of the list"),
        "each pair ends at 0": (lambda T, n: [(t, 0) for t, _ in by_round(T, n)], "Each begins where"),
        "T twice in the list": (
            chained(lambda T, n: [T, *(i * T // n for i in range(n, -1, -1))]),
            "a time occurs twice",
        ),
        "the chain climbs from 0 to T": (lambda T, n: [(s, t) for t, s in by_round(T, n)][::-1], "climbs from 0 to T"),
        "each pair turned round": (lambda T, n: [(s, t) for t, s in by_round(T, n)], "the later time t first"),
        "one more pair, from 0 to 0": (lambda T, n: [*by_round(T, n), (0, 0)], "a pair begins at 0"),
        "one more pair, from 0 to -1": (lambda T, n: [*by_round(T, n), (0, -1)], "a pair begins at 0"),
        "-1 where 0 belongs": (lambda T, n: [(t, s or -1) for t, s in by_round(T, n)], "below 0"),
        "the pairs in order from 0": (lambda T, n: by_round(T, n)[::-1], "the chain starts at 2, not"),
        "the rest of T // steps in the last step": (rest_last, "went into one step"),
        "times spread from T to 1, then 0": (from_T_to_1, "Spread them from T to 0"),
        "steps that grow with t": (
            lambda T, n: [*pairwise(-(-i * i * T // n**2) for i in range(n, -1, -1))],
            "could be almost equal",
        ),
        "fractions as times": (chained(lambda T, n: [i * T / n for i in range(n, -1, -1)]), "is no int"),
        "a list of times, not of pairs": (lambda T, n: [t for t, _ in by_round(T, n)], "Make pairs of them"),
        "a tensor of pairs": (lambda T, n: torch.tensor(by_round(T, n)), "got Tensor. list(..)"),
        "an iterator, which is used up after one walk": (lambda T, n: iter(by_round(T, n)), "expected a list of pairs"),
        "triples with the length of the step": (
            lambda T, n: [(t, s, t - s) for t, s in by_round(T, n)],
            "expected a list of pairs",
        ),
        "a tensor as a time": (lambda T, n: [(torch.tensor(t), s) for t, s in by_round(T, n)], "tensor(10) is no int"),
        "an empty list": (lambda T, n: [], "expected a list of pairs"),
        "the pairs printed and not returned": (lambda T, n: print(end=""), "Did you forget `return`?"),
        "a range with stride T // steps, one pair more": (
            lambda T, n: [(t, t - T // n) for t in range(T, 0, -(T // n))],
            "one too many",
        ),
        "T cut to T - 1 by int()": (lambda T, n: [(T - 1 if t == T else t, s) for t, s in by_round(T, n)], "999.9999"),
    },
)

# ---------------------------------------------------------------- 5.2


def posterior(s, t, s_):
    """(factor of x0, factor of x_t, variance) as DDPM's Eq. 7 has them."""
    a, b = s.alpha_bar[t], s.alpha_bar[s_]
    beta = 1 - a / b
    return root(b) * beta / (1 - a), root(a / b) * (1 - b) / (1 - a), beta * (1 - b) / (1 - a)


def ancestral_by_precisions(s, x_t, t, s_, x0, noise):
    """Two Gaussians multiplied: what x_0 says of x_s, and what x_t says."""
    if s_ == 0:
        return x0
    kept, spread = (s.alpha[s_ + 1 : t + 1]).prod(), 1 - s.alpha_bar[s_]
    precision = 1 / spread + kept / (1 - kept)
    mean = (root(s.alpha_bar[s_]) * x0 / spread + root(kept) * x_t / (1 - kept)) / precision
    return mean + noise / root(precision)


def ancestral(x0=None, x_t=None, sigma=None):
    """The right step with factors replaced, each a function of (s, t, s_)."""

    def step(s, now, t, s_, clean, noise):
        of_x0, of_x_t, variance = posterior(s, t, s_)
        of_x0 = of_x0 if x0 is None else x0(s, t, s_)
        of_x_t = of_x_t if x_t is None else x_t(s, t, s_)
        return of_x0 * clean + of_x_t * now + (root(variance) if sigma is None else sigma(s, t, s_)) * noise

    return step


def beta(s, t, s_):
    return 1 - s.alpha_bar[t] / s.alpha_bar[s_]


def beta_unless_last(s, t, s_):
    return beta(s, t, s_) if s_ else 0 * s.beta[t]


def ancestral_as_ddim(s, x_t, t, s_, x0, noise):
    """DDIM's step with eta = 1, from the eps that goes with x0."""
    return sampling_answers.ddim_step(s, x_t, t, s_, x0, eps_of(s, x_t, t, x0), noise, 1.0)


def ddims_mean(s, x_t, t, s_, x0, noise):
    mean = sampling_answers.ddim_step(s, x_t, t, s_, x0, eps_of(s, x_t, t, x0), noise, 0.0)
    return mean + root(posterior(s, t, s_)[2]) * noise


def algorithm_2(s, x_t, t, s_, x0, noise):
    """As if x0 were eps."""
    mean = (x_t - beta(s, t, s_) / root(1 - s.alpha_bar[t]) * x0) / root(1 - beta(s, t, s_))
    return mean + root(posterior(s, t, s_)[2]) * noise


def share(s, t, s_):
    return (1 - s.alpha_bar[s_]) / (1 - s.alpha_bar[t])


def single_step(s, x_t, t, s_, x0, noise):
    return sampling_answers.ancestral_step(s, x_t, t, t - 1, x0, noise)


def swapped(s, x_t, t, s_, x0, noise):
    mean = ancestral(sigma=lambda *_: 0)
    return mean(s, x0, t, s_, x_t, noise) + ancestral(sigma=None)(s, 0 * x_t, t, s_, 0 * x0, noise)


def upside_down(s, x_t, t, s_, x0, noise):
    alpha = s.alpha_bar[s_] / s.alpha_bar[t]
    rest, left = 1 - s.alpha_bar[t], 1 - s.alpha_bar[s_]
    mean = root(s.alpha_bar[s_]) * (1 - alpha) / rest * x0 + root(alpha) * left / rest * x_t
    return mean + torch.sqrt((1 - alpha) * left / rest) * noise


ANCESTRAL = (
    [sampling_answers.ancestral_step, ancestral(), ancestral_by_precisions, ancestral_as_ddim],
    {
        "noise times the variance, its root forgotten": (
            ancestral(sigma=lambda *c: posterior(*c)[2]),
            "that is the variance",
        ),
        "beta as variance, DDPM's other choice": (
            ancestral(sigma=lambda *c: root(beta_unless_last(*c))),
            "DDPM's other choice",
        ),
        "beta as variance in the last step too": (
            ancestral(sigma=lambda *c: root(beta(*c))),
            "which also ends without noise",
        ),
        "noise times beta, without a root": (ancestral(sigma=beta_unless_last), "that is beta, without a root"),
        "noise times beta_t of the single step": (
            ancestral(sigma=lambda s, t, _: s.beta[t]),
            "beta_t is that of a single step",
        ),
        "the root of the single step's beta_t": (
            ancestral(sigma=lambda s, t, s_: root(s.beta[t]) * (s_ > 0)),
            "beta_t is that of a single step",
        ),
        "beta_t of the single step in the posterior's variance": (
            ancestral(sigma=lambda s, t, s_: root(s.beta[t] * (1 - s.alpha_bar[s_]) / (1 - s.alpha_bar[t]))),
            "The factor of noise: beta_t is that of a single step",
        ),
        "posterior_variance[t], made for t - 1": (
            ancestral(sigma=lambda s, t, _: root(s.posterior_variance[t])),
            "s_ has no effect",
        ),
        "posterior_variance[t], left out in the last step": (
            ancestral(sigma=lambda s, t, s_: root(s.posterior_variance[t]) * (s_ > 0)),
            "The factor of noise: it is that of the single step",
        ),
        "noise added in the last step too": (
            ancestral(sigma=lambda *c: root(posterior(*c)[2]) + 0.1 * (c[2] == 0)),
            "noise would only spoil",
        ),
        "the mean alone, with no noise": (ancestral(sigma=lambda *_: 0), "The step is a draw"),
        "noise not multiplied by anything": (
            ancestral(sigma=lambda *c: float(c[2] > 0)),
            "the root of the posterior's variance",
        ),
        "all the noise of x_s drawn anew": (
            ancestral(sigma=lambda s, t, s_: root(1 - s.alpha_bar[s_])),
            "all the noise of x_s",
        ),
        "variance not divided by 1 - alpha_bar_t": (
            ancestral(sigma=lambda s, t, s_: root(beta(s, t, s_) * (1 - s.alpha_bar[s_]))),
            "not divided by 1 - alpha_bar_t",
        ),
        "ratio of 1 - alpha_bar upside down": (
            ancestral(
                sigma=lambda s, t, s_: root(beta(s, t, s_) * (1 - s.alpha_bar[t]) / (1 - s.alpha_bar[s_])) if s_ else 0
            ),
            "is upside down",
        ),
        "alpha_bar_t / alpha_bar_s upside down": (upside_down, "alpha_bar_s is upside down"),
        "the step to t - 1, whatever s is": (single_step, "s_ has no effect"),
        "alpha_t of the single step in the mean": (
            ancestral(x_t=lambda s, t, s_: root(s.alpha[t]) * (1 - s.alpha_bar[s_]) / (1 - s.alpha_bar[t])),
            "alpha_t is that of a single step",
        ),
        "beta_t of the single step in the mean": (
            ancestral(x0=lambda s, t, s_: root(s.alpha_bar[s_]) * s.beta[t] / (1 - s.alpha_bar[t])),
            "The factor of x_0: beta_t",
        ),
        "x0 and x_t exchanged in the mean": (swapped, "each other's factors"),
        "alpha without its root, before x_t": (
            ancestral(x_t=lambda *c: posterior(*c)[1] * root(1 - beta(*c))),
            "The factor of x_t: alpha_bar",
        ),
        "alpha_bar_s without its root, before x0": (
            ancestral(x0=lambda *c: posterior(*c)[0] * root(c[0].alpha_bar[c[2]])),
            "alpha_bar_s is to be under",
        ),
        "sqrt(alpha_bar_t) before x_t": (
            ancestral(x_t=lambda *c: posterior(*c)[1] * root(c[0].alpha_bar[c[2]])),
            "where sqrt(alpha_bar_t / alpha_bar_s) belongs",
        ),
        "sqrt(alpha_bar_t) before x0": (
            ancestral(x0=lambda *c: posterior(*c)[0] * root(1 - beta(*c))),
            "it has sqrt(alpha_bar_t)",
        ),
        "sqrt(alpha_bar_{t-1}) before x0": (
            ancestral(x0=lambda s, t, s_: root(s.alpha_bar[t - 1]) * beta(s, t, s_) / (1 - s.alpha_bar[t])),
            "it has alpha_bar_{t-1}",
        ),
        "1 - alpha_bar_{t-1} before x_t": (
            ancestral(x_t=lambda s, t, s_: root(1 - beta(s, t, s_)) * (1 - s.alpha_bar[t - 1]) / (1 - s.alpha_bar[t])),
            "1 - alpha_bar_{t-1} where",
        ),
        "x0 divided by the root of 1 - alpha_bar_t": (
            ancestral(x0=lambda *c: posterior(*c)[0] * root(1 - c[0].alpha_bar[c[1]])),
            "not by its root",
        ),
        "x_t divided by the root of 1 - alpha_bar_t": (
            ancestral(x_t=lambda *c: posterior(*c)[1] * root(1 - c[0].alpha_bar[c[1]])),
            "not by its root",
        ),
        "beta under a root, before x0": (
            ancestral(x0=lambda *c: posterior(*c)[0] / root(beta(*c))),
            "beta stands there itself",
        ),
        "ratio of 1 - alpha_bar under a root": (
            ancestral(
                x_t=lambda s, t, s_: root((1 - beta(s, t, s_)) * (1 - s.alpha_bar[s_]) / (1 - s.alpha_bar[t])),
            ),
            "the ratio of 1 - alpha_bar has no root",
        ),
        "x0 jumps to s as in the forward process": (
            ancestral(x0=lambda s, t, s_: root(s.alpha_bar[s_])),
            "the jump from x_0 to x_s",
        ),
        "ratio of 1 - alpha_bar missing before x_t": (
            ancestral(x_t=lambda *c: root(1 - beta(*c))),
            "(1 - alpha_bar_s) / (1 - alpha_bar_t) is missing",
        ),
        "x0 missing from the mean": (ancestral(x0=lambda *_: 0), "The factor of x_0: it is 0"),
        "x_t missing from the mean": (ancestral(x_t=lambda *_: 0), "The factor of x_t: it is 0"),
        "x0 put where Algorithm 2 has eps": (algorithm_2, "where Algorithm 2 has eps"),
        "DDIM's mean, and noise on top of it": (ddims_mean, "keeps all of the noise found in x_t"),
        "root of alpha in place of sqrt(alpha_bar_s)": (
            ancestral(x0=lambda *c: root(1 - beta(*c)) * beta(*c) / (1 - c[0].alpha_bar[c[1]])),
            "the root of alpha, the ratio",
        ),
        "x0 not divided by 1 - alpha_bar_t": (
            ancestral(x0=lambda *c: root(c[0].alpha_bar[c[2]]) * beta(*c)),
            "The factor of x_0: it is not divided by 1 - alpha_bar_t",
        ),
        "x0 divided by 1 - alpha_bar_s": (
            ancestral(x0=lambda *c: root(c[0].alpha_bar[c[2]]) * beta(*c) / (1 - c[0].alpha_bar[c[2]])),
            "it is divided by 1 - alpha_bar_s",
        ),
        "x_t not divided by 1 - alpha_bar_t": (
            ancestral(x_t=lambda *c: root(1 - beta(*c)) * (1 - c[0].alpha_bar[c[2]])),
            "The factor of x_t: it is not divided by 1 - alpha_bar_t",
        ),
        "sqrt(alpha) missing before x_t": (ancestral(x_t=share), "sqrt(alpha) is missing"),
        "x_t weighed as in the step to t - 1": (
            ancestral(x_t=lambda s, t, s_: posterior(s, t, t - 1)[1]),
            "The factor of x_t: it is that of the single step",
        ),
        "product of alpha one step off": (
            ancestral(x_t=lambda s, t, s_: root(s.alpha[s_:t].prod()) * share(s, t, s_)),
            "a product one step off",
        ),
        "no noise in the step to 1 either": (
            ancestral(sigma=lambda *c: root(posterior(*c)[2]) * (c[2] > 1)),
            "it is 0 at s_ = 1 as well",
        ),
        "noise taken off in place of added": (
            ancestral(sigma=lambda *c: -root(posterior(*c)[2])),
            "The factor of noise: the sign",
        ),
        "posterior_variance[s], made for s - 1": (
            ancestral(sigma=lambda s, t, s_: root(s.posterior_variance[s_])),
            "that of the next single step",
        ),
        "posterior_variance[t] without its root": (
            ancestral(sigma=lambda s, t, s_: s.posterior_variance[t]),
            "index with s_. And take its root",
        ),
        "beta missing from the variance": (ancestral(sigma=lambda *c: root(share(*c))), "sqrt(beta) is missing"),
        "beta outside of the root": (
            ancestral(sigma=lambda *c: root(share(*c)) * beta(*c)),
            "beta stands outside of the root",
        ),
        "all the noise of x_t drawn anew": (
            ancestral(sigma=lambda s, t, s_: root(1 - s.alpha_bar[t]) * (s_ > 0)),
            "all the noise of x_t",
        ),
        "x_t times a number by chance": (
            ancestral(x_t=lambda *_: 0.3),
            "The factor of x_t at t = 1, s_ = 0: expected 0.0000, got 0.3000",
        ),
        "noise drawn by the function itself": (
            lambda s, x_t, t, s_, x0, noise: ancestral()(s, x_t, t, s_, x0, torch.randn_like(noise)),
            "noise of your own",
        ),
        "the result clamped to [-1, 1]": (lambda *a: sampling_answers.ancestral_step(*a).clamp(-1, 1), "clamped"),
        "x_t changed in place": (lambda s, x_t, t, s_, x0, noise: x_t.mul_(2), "in place"),
        "one number for the whole batch": (
            lambda s, x_t, t, s_, x0, noise: ancestral()(s, x_t, t, s_, x0, noise).mean(),
            "expected shape",
        ),
        "one image for the whole batch": (
            lambda s, x_t, *a: ancestral()(s, x_t, *a).mean(0).expand_as(x_t),
            "not for images",
        ),
    },
)

# ---------------------------------------------------------------- 5.4


def ddim_by_direction(s, x_t, t, s_, x0, eps, noise, eta):
    """eps from x_t and x0; sigma as a share of all the noise."""
    a, b = s.alpha_bar[t], s.alpha_bar[s_]
    share = eta**2 * (1 - a / b) / (1 - a)
    direction = (x_t - root(a) * x0) / root(1 - a)
    return root(b) * x0 + root(1 - b) * (root(1 - share) * direction + root(share) * noise)


def ddim(sigma=None, eps_share=None, x0_share=None, noise_share=None):
    """DDIM with its parts replaced: functions of (s, t, s_, eta), ``eps_share`` also of sigma."""

    def step(s, x_t, t, s_, x0, eps, noise, eta):
        own = eta * root(posterior(s, t, s_)[2]) if sigma is None else sigma(s, t, s_, eta)
        left = root((1 - s.alpha_bar[s_] - own**2).clamp(min=0)) if eps_share is None else eps_share(s, t, s_, own)
        first = root(s.alpha_bar[s_]) if x0_share is None else x0_share(s, t, s_)
        return first * x0 + left * eps + (own if noise_share is None else noise_share(own)) * noise

    return step


def post(*c):
    return posterior(*c)[2]


def ddim_with(share_of_eta):
    """eps times a share that depends on eta alone."""

    def step(s, x_t, t, s_, x0, eps, noise, eta):
        new = eta * root(post(s, t, s_)) * noise
        return root(s.alpha_bar[s_]) * x0 + root(1 - s.alpha_bar[s_]) * share_of_eta(eta) * eps + new

    return step


def ddim_swapped(s, x_t, t, s_, x0, eps, noise, eta):
    return sampling_answers.ddim_step(s, x_t, t, s_, eps, x0, noise, eta)


DDIM = (
    [sampling_answers.ddim_step, ddim(), ddim_by_direction],
    {
        "all of eps kept, and noise on top": (
            ddim(eps_share=lambda s, t, s_, g: root(1 - s.alpha_bar[s_])),
            "sigma^2 is not taken off",
        ),
        "sigma as the factor of eps": (ddim(eps_share=lambda s, t, s_, g: g), "sigma in its place"),
        "sigma from beta alone": (
            ddim(sigma=lambda s, t, s_, eta: eta * root(beta_unless_last(s, t, s_))),
            "from beta alone",
        ),
        "sigma from beta_t of the single step": (
            ddim(sigma=lambda s, t, s_, eta: eta * root(s.beta[t]) * (s_ > 0)),
            "beta_t is that of a single step",
        ),
        "sigma from the table's posterior variance": (
            ddim(sigma=lambda s, t, s_, eta: eta * root(s.posterior_variance[t])),
            "s_ has no effect",
        ),
        "beta_t of the single step in sigma": (
            ddim(sigma=lambda s, t, s_, eta: eta * root(s.beta[t] * (1 - s.alpha_bar[s_]) / (1 - s.alpha_bar[t]))),
            "beta_t is that of a single step",
        ),
        "eta squared in sigma": (ddim(sigma=lambda s, t, s_, eta: eta**2 * root(post(s, t, s_))), "eta is squared"),
        "eta under the root of sigma": (
            ddim(sigma=lambda s, t, s_, eta: root(eta * post(s, t, s_))),
            "the root of eta",
        ),
        "eta without effect": (ddim(sigma=lambda s, t, s_, eta: root(post(s, t, s_))), "eta has no effect"),
        "eta itself as sigma": (ddim(sigma=lambda s, t, s_, eta: eta * (s_ > 0)), "eta alone"),
        "noise times sigma squared": (ddim(noise_share=lambda g: g**2), "that is sigma^2"),
        "sigma without its root": (ddim(sigma=lambda s, t, s_, eta: eta * post(s, t, s_)), "eta times a variance"),
        "beta missing from sigma": (
            ddim(sigma=lambda s, t, s_, eta: eta * root((1 - s.alpha_bar[s_]) / (1 - s.alpha_bar[t]))),
            "in sigma sqrt(1 - alpha_bar_t / alpha_bar_s)",
        ),
        "ratio of 1 - alpha_bar upside down in sigma": (
            ddim(
                sigma=lambda s, t, s_, eta: (
                    eta * root(beta(s, t, s_) * (1 - s.alpha_bar[t]) / (1 - s.alpha_bar[s_])) if s_ else 0
                )
            ),
            "the ratio of 1 - alpha_bar is upside down",
        ),
        "alpha_bar_t / alpha_bar_s upside down in sigma": (
            ddim(sigma=lambda s, t, s_, eta: eta * root(1 - s.alpha_bar[s_] / s.alpha_bar[t])),
            "a ratio upside down",
        ),
        "noise added in the last step too": (
            ddim(sigma=lambda s, t, s_, eta: eta * root(post(s, t, s_)) + 0.1 * eta * (s_ == 0)),
            "in the step to s_ = 0 it is 0",
        ),
        "no noise at any eta": (ddim(noise_share=lambda g: 0), "new noise comes in"),
        "alpha_bar_s without its root before x0": (
            ddim(x0_share=lambda s, t, s_: s.alpha_bar[s_]),
            "The factor of x_0: alpha_bar_s",
        ),
        "x0 scaled as at t": (
            ddim(x0_share=lambda s, t, s_: root(s.alpha_bar[t])),
            "sqrt(alpha_bar_t). The step lands at s_",
        ),
        "x0 scaled as at t - 1": (
            ddim(x0_share=lambda s, t, s_: root(s.alpha_bar[t - 1])),
            "The factor of x_0: it is sqrt(alpha_bar_{t-1})",
        ),
        "x0 not scaled": (ddim(x0_share=lambda *_: 1), "x_s is x_0 shrunk"),
        "x0 scaled by alpha_bar_t / alpha_bar_s": (
            ddim(x0_share=lambda s, t, s_: root(s.alpha_bar[t] / s.alpha_bar[s_])),
            "From x_0 on",
        ),
        "eps scaled as at t": (
            ddim(eps_share=lambda s, t, s_, g: root(1 - s.alpha_bar[t] - g**2)),
            "The factor of eps: it has 1 - alpha_bar_t",
        ),
        "eps as at t, sigma not taken off": (
            ddim(eps_share=lambda s, t, s_, g: root(1 - s.alpha_bar[t])),
            "it has 1 - alpha_bar_t",
        ),
        "eps scaled as at t - 1": (
            ddim(eps_share=lambda s, t, s_, g: torch.sqrt(1 - s.alpha_bar[t - 1] - g**2)),
            "The factor of eps: it has alpha_bar_{t-1}",
        ),
        "the factor of eps without its root": (
            ddim(eps_share=lambda s, t, s_, g: 1 - s.alpha_bar[s_] - g**2),
            "to be under a root",
        ),
        "sigma taken off in place of its square": (
            ddim(eps_share=lambda s, t, s_, g: torch.sqrt(1 - s.alpha_bar[s_] - g)),
            "Variances add: take off sigma^2",
        ),
        "sigma taken off after the root": (
            ddim(eps_share=lambda s, t, s_, g: root(1 - s.alpha_bar[s_]) - g),
            "after the root",
        ),
        "sigma squared taken off after the root": (
            ddim(eps_share=lambda s, t, s_, g: root(1 - s.alpha_bar[s_]) - g**2),
            "sigma^2 is taken off after the root",
        ),
        "1 - eta as the share of eps": (ddim_with(lambda eta: 1 - eta), "Variances add up, not factors"),
        "nothing of eps left at eta = 1": (
            ddim_with(lambda eta: root(1 - eta**2)),
            "nothing of eps is left at eta = 1",
        ),
        "noises that add up to 1": (ddim(eps_share=lambda s, t, s_, g: root(1 - g**2)), "the noises add up to 1"),
        "alpha_bar_s where 1 - alpha_bar_s belongs": (
            ddim(eps_share=lambda s, t, s_, g: root((s.alpha_bar[s_] - g**2).clamp(min=0))),
            "the image's part",
        ),
        "eps not scaled": (ddim(eps_share=lambda *_: 1), "The factor of eps: it is 1"),
        "posterior_variance[s], made for s - 1": (
            ddim(sigma=lambda s, t, s_, eta: eta * root(s.posterior_variance[s_])),
            "that of the next single step",
        ),
        "sigma squared added to what eps has": (
            ddim(eps_share=lambda s, t, s_, g: root(1 - s.alpha_bar[s_] + g**2)),
            "is added",
        ),
        "eps missing": (ddim(eps_share=lambda *_: 0), "far too clean"),
        "x0 and eps exchanged": (ddim_swapped, "each other's factors"),
        "noise drawn by the function itself": (
            lambda s, x, t, s_, x0, eps, noise, eta: ddim()(s, x, t, s_, x0, eps, torch.randn_like(x), 1.0),
            "noise of your own",
        ),
        "the result clamped to [-1, 1]": (lambda *a: sampling_answers.ddim_step(*a).clamp(-1, 1), "clamped"),
    },
)

# ---------------------------------------------------------------- 5.3


def x0_of(s, x_t, t, eps):
    return (x_t - root(1 - s.alpha_bar[t]) * eps) / root(s.alpha_bar[t])


def eps_of(s, x_t, t, x0):
    return (x_t - root(s.alpha_bar[t]) * x0) / root(1 - s.alpha_bar[t])


def clip_by_shift(s, x_t, t, eps):
    """eps moves by what x0 lost, times the root of the SNR."""
    x0 = x0_of(s, x_t, t, eps)
    cut = torch.minimum(torch.maximum(x0, -torch.ones_like(x0)), torch.ones_like(x0))
    return cut, eps + root(s.snr[t]) * (x0 - cut)


def limited(limit=lambda x0: x0.clamp(-1, 1), x0=x0_of, eps=eps_of, before=lambda x_t, eps: (x_t, eps)):
    def clip(s, x_t, t, noise):
        x_t, noise = before(x_t, noise)
        found = limit(x0(s, x_t, t, noise))
        return found, eps(s, x_t, t, found)

    return clip


def right_with(change):
    return lambda s, x_t, t, eps: change(*limited()(s, x_t, t, eps), s, x_t, t, eps)


def mixed(signal, noise):
    """x0 and eps found with these two factors, functions of (s, t)."""

    def x0(s, x_t, t, eps):
        return (x_t - noise(s, t) * eps) / signal(s, t)

    def eps(s, x_t, t, found):
        return (x_t - signal(s, t) * found) / noise(s, t)

    return x0, eps


def clip_as_a_list(*arguments):
    return list(limited()(*arguments))


SINGLE = mixed(lambda s, t: root(s.alpha[t]), lambda s, t: root(s.beta[t]))
NO_ROOTS = mixed(lambda s, t: s.alpha_bar[t], lambda s, t: 1 - s.alpha_bar[t])

CLIP = (
    [sampling_answers.clip_x0, limited(), clip_by_shift, clip_as_a_list],
    {
        "x0 clipped, eps left as it was": (right_with(lambda x0, new, s, x, t, e: (x0, e)), "no longer the sum"),
        "nothing clipped": (limited(lambda x0: x0), "x0 leaves [-1, 1]"),
        "x0 returned as before the clip": (
            right_with(lambda x0, new, s, x, t, e: (x0_of(s, x, t, e), new)),
            "comes back unclipped",
        ),
        "x_t clipped and x0 not": (
            limited(lambda x0: x0, before=lambda x, e: (x.clamp(-1, 1), e)),
            "x_t is clipped, not x0",
        ),
        "x_t clipped first": (limited(before=lambda x, e: (x.clamp(-1, 1), e)), "x_t is clipped too"),
        "eps clipped and x0 not": (
            limited(lambda x0: x0, before=lambda x, e: (x, e.clamp(-1, 1))),
            "eps is clipped, not x0",
        ),
        "eps clipped first": (limited(before=lambda x, e: (x, e.clamp(-1, 1))), "on the way in"),
        "new eps clipped as well": (right_with(lambda x0, new, *_: (x0, new.clamp(-1, 1))), "The new eps is clipped"),
        "old eps clipped, not found anew": (
            right_with(lambda x0, new, s, x, t, e: (x0, e.clamp(-1, 1))),
            "eps is clipped. Find it anew",
        ),
        "tanh in place of a clip": (limited(torch.tanh), "use clamp"),
        "clipped to [0, 1]": (limited(lambda x0: x0.clamp(0, 1)), "not in [0, 1]"),
        "eps returned before x0": (right_with(lambda x0, new, *_: (new, x0)), "Return x0 first"),
        "x0 not scaled when eps is found": (
            limited(eps=lambda s, x, t, x0: (x - x0) / root(1 - s.alpha_bar[t])),
            "x0 stands in x_t",
        ),
        "eps divided by the variance": (
            limited(eps=lambda s, x, t, x0: eps_of(s, x, t, x0) / root(1 - s.alpha_bar[t])),
            "divided by 1 - alpha_bar_t",
        ),
        "eps not divided by anything": (
            limited(eps=lambda s, x, t, x0: x - root(s.alpha_bar[t]) * x0),
            "eps is still scaled",
        ),
        "image added where eps is found": (
            limited(eps=lambda s, x, t, x0: eps_of(s, x, t, -x0)),
            "the image is to be taken away",
        ),
        "x0 not divided by sqrt(alpha_bar_t)": (
            limited(x0=lambda s, x, t, e: x - root(1 - s.alpha_bar[t]) * e),
            "x0 is still scaled",
        ),
        "x0 divided by alpha_bar_t": (
            limited(x0=lambda s, x, t, e: x0_of(s, x, t, e) / root(s.alpha_bar[t])),
            "x0 is divided by alpha_bar_t",
        ),
        "noise added where x0 is found": (
            limited(x0=lambda s, x, t, e: x0_of(s, x, t, -e)),
            "the noise is to be taken away",
        ),
        "1 - alpha_bar_t without its root before eps": (
            limited(x0=lambda s, x, t, e: (x - (1 - s.alpha_bar[t]) * e) / root(s.alpha_bar[t])),
            "times a root",
        ),
        "x0 divided by its largest value": (limited(lambda x0: x0 / x0.abs().max()), "divided until it fits"),
        "alpha_t in place of alpha_bar_t": (limited(x0=SINGLE[0], eps=SINGLE[1]), "In both lines alpha_t stands"),
        "alpha_t in place of alpha_bar_t, for x0": (limited(x0=SINGLE[0]), "In x0 alpha_t stands"),
        "alpha_t in place of alpha_bar_t, for eps": (limited(eps=SINGLE[1]), "In eps alpha_t stands"),
        "both roots missing": (limited(x0=NO_ROOTS[0], eps=NO_ROOTS[1]), "In both lines roots are missing"),
        "both roots missing where x0 is found": (limited(x0=NO_ROOTS[0]), "In x0 roots are missing"),
        "both roots missing where eps is found": (limited(eps=NO_ROOTS[1]), "In eps roots are missing"),
        "clipped from above only": (limited(lambda x0: x0.clamp(max=1)), "a lower limit too"),
        "clipped from below only": (limited(lambda x0: x0.clamp(min=-1)), "an upper limit too"),
        "both roots exchanged where eps is found": (
            limited(eps=lambda s, x, t, x0: (x - root(1 - s.alpha_bar[t]) * x0) / root(s.alpha_bar[t])),
            "the roots are exchanged",
        ),
        "x_t - x0 taken for eps": (limited(eps=lambda s, x, t, x0: x - x0), "x_t is not x0 + eps"),
        "eps moved by as much as x0": (
            right_with(lambda x0, new, s, x, t, e: (x0, e + x0_of(s, x, t, e) - x0)),
            "scaled differently",
        ),
        "eps moved the wrong way": (right_with(lambda x0, new, s, x, t, e: (x0, 2 * e - new)), "the wrong way"),
        "x0 divided by 4 in place of clipped": (limited(lambda x0: x0 / 4), "divided until it fits"),
        "a constant in place of x0": (
            limited(lambda x0: x0 * 0 + 0.3),
            "expected x0 = -1.0000",
        ),
        "x0 returned alone": (lambda s, x_t, t, eps: x0_of(s, x_t, t, eps).clamp(-1, 1), "return x0, eps"),
        "x_t clipped in place": (lambda s, x_t, t, eps: limited()(s, x_t.clamp_(-1, 1), t, eps), "in place"),
    },
)

# ---------------------------------------------------------------- 5.5


def ratio(s, r, t, s_, level=lambda s, t: s.log_snr[t]):
    return (level(s, t) - level(s, r)) / (level(s, s_) - level(s, t))


def looked_ahead(share, at_0=lambda x0_before, x0: x0):
    """x0 + share * (x0 - x0_before), with ``share`` of (s, r, t, s_), and what to do at s_ = 0."""

    def extrapolated(s, r, t, s_, x0_before, x0):
        return x0 + share(s, r, t, s_) * (x0 - x0_before) if s_ else at_0(x0_before, x0)

    return extrapolated


def ahead_by_decibel(s, r, t, s_, x0_before, x0):
    """Ten times the logarithm to base 10, and the weights of Lagrange."""
    if s_ == 0:
        return x0.clone()
    a, b, c = (10 * torch.log10(s.snr[time]) for time in (r, t, s_))
    there = (b + c) / 2
    return x0_before * (there - b) / (a - b) + x0 * (there - a) / (b - a)


def ahead_without_the_last(s, r, t, s_, x0_before, x0):
    q = ratio(s, r, t, s_)
    return (1 + 1 / (2 * q)) * x0 - 1 / (2 * q) * x0_before


def weights(before, now):
    """Factors of (s, r, t, s_) for both."""
    return lambda s, r, t, s_, b, x0: now(s, r, t, s_) * x0 + before(s, r, t, s_) * b if s_ else x0


def on_another_axis(level):
    return looked_ahead(lambda *c: 0.5 / ratio(*c, level=level))


AHEAD = (
    [sampling_answers.extrapolated_x0, looked_ahead(lambda *c: 0.5 / ratio(*c)), ahead_by_decibel],
    {
        "1 / q in the last step, where it is infinite": (ahead_without_the_last, "at s_ = 0 the log SNR is infinite"),
        "mean of both guesses in the last step": (
            looked_ahead(lambda *c: 0.5 / ratio(*c), lambda b, x0: (b + x0) / 2),
            "Right, except in the last step",
        ),
        "q upside down": (looked_ahead(lambda *c: 0.5 * ratio(*c)), "mind the brackets"),
        "half missing: the end of the step": (looked_ahead(lambda *c: 1 / ratio(*c)), "the half is missing: 1 / (2 q)"),
        "half missing, and q upside down": (looked_ahead(ratio), "q is upside down, and the half"),
        "looking back in place of ahead": (looked_ahead(lambda *c: -0.5 / ratio(*c)), "the sign: D lies beyond x0, on"),
        "looking back, and q upside down": (looked_ahead(lambda *c: -0.5 * ratio(*c)), "And q is h_before / h"),
        "mean of both guesses": (looked_ahead(lambda *c: -0.5), "the average of both"),
        "a half, as for equal steps": (looked_ahead(lambda *c: 0.5), "q has no effect"),
        "DDIM: the guess before without effect": (looked_ahead(lambda *c: 0), "x0_before has no effect"),
        "steps measured in t": (on_another_axis(lambda s, t: t), "yours is one of t."),
        "steps measured in alpha_bar": (on_another_axis(lambda s, t: s.alpha_bar[t]), "one of alpha_bar"),
        "steps measured in log alpha_bar": (on_another_axis(lambda s, t: s.alpha_bar[t].log()), "one of log alpha_bar"),
        "steps measured in SNR, without its logarithm": (
            on_another_axis(lambda s, t: s.snr[t]),
            "without the logarithm",
        ),
        "steps measured in sigma": (on_another_axis(lambda s, t: s.snr[t] ** -0.5), "one of sigma"),
        "steps measured in 1 / sigma": (on_another_axis(lambda s, t: root(s.snr[t])), "one of 1 / sigma"),
        "steps measured in log(1 - alpha_bar)": (
            on_another_axis(lambda s, t: (1 - s.alpha_bar[t]).log()),
            "one of log(1 - alpha_bar)",
        ),
        "1 put below the fraction's line": (
            weights(lambda *c: -0.5 / ratio(*c), lambda *c: 1 / (1 + 2 * ratio(*c))),
            "The 1 stands before the fraction",
        ),
        "step before measured from r to s_": (
            looked_ahead(lambda s, r, t, s_: 0.5 / (ratio(s, r, t, s_) + 1)),
            "h_before goes from r to t",
        ),
        "both guesses exchanged": (
            lambda s, r, t, s_, b, x0: sampling_answers.extrapolated_x0(s, r, t, s_, x0, b),
            "other's factors",
        ),
        "1 missing before x0": (weights(lambda *c: -0.5 / ratio(*c), lambda *c: 0.5 / ratio(*c)), "the 1 is missing"),
        "x0 as it is, the one before taken off": (
            weights(lambda *c: -0.5 / ratio(*c), lambda *c: 1),
            "The line goes on",
        ),
        "1 - 1 / (2 q) before x0": (
            weights(lambda *c: -0.5 / ratio(*c), lambda *c: 1 - 0.5 / ratio(*c)),
            "the sign: 1 + 1 / (2 q)",
        ),
        "the result clamped to [-1, 1]": (lambda *a: sampling_answers.extrapolated_x0(*a).clamp(-1, 1), "clamped"),
    },
)

# ---------------------------------------------------------------- 5.7


GUIDED = (
    [
        sampling_answers.guided_eps,
        lambda c, u, w: c + w * (c - u),
        lambda c, u, w: torch.lerp(u, c, 1 + w),
    ],
    {
        "guidance scale counted from 1": (lambda c, u, w: u + w * (c - u), "the other convention"),
        "condition and no condition exchanged": (lambda c, u, w: (1 + w) * u - w * c, "swap them"),
        "the way between them alone": (lambda c, u, w: w * (c - u), "from eps_u to eps_c alone"),
        "w times eps_c alone": (lambda c, u, w: w * c, "it is 0. What both agree on"),
        "(1 + w) eps_c alone": (lambda c, u, w: (1 + w) * c, "take w eps_u off"),
        "eps_c with w eps_u taken off": (lambda c, u, w: c - w * u, "The factor of eps_c: it is 1 at every w"),
        "no guidance at all": (lambda c, u, w: c, "it is 0. What both agree on"),
        "mean of both": (lambda c, u, w: (c + u) / 2, "the mean of both"),
        "away from the condition": (lambda c, u, w: c + w * (u - c), "the sign"),
        "eps_u added in place of taken off": (lambda c, u, w: (1 + w) * c + w * u, "the sign"),
        "eps_u added whatever w is": (lambda c, u, w: (1 + w) * c + u, "eps_u: it is 1 at every w"),
        "eps_u taken off whatever w is": (lambda c, u, w: (1 + w) * c - u, "-1 at every w"),
        "1 - w before eps_u": (lambda c, u, w: (1 + w) * c + (1 - w) * u, "The factor of eps_u: the other convention"),
        "1 - w before eps_c": (lambda c, u, w: (1 - w) * c - w * u, "The factor of eps_c: guidance leads away"),
        "divided by the sum of both sizes": (lambda c, u, w: ((1 + w) * c - w * u) / (1 + 2 * w), "add up to 1"),
        "brackets forgotten around 1 + w": (lambda c, u, w: 1 + w * c - w * u, "brackets"),
        "the result clamped to [-1, 1]": (lambda c, u, w: (c + w * (c - u)).clamp(-1, 1), "clamped"),
    },
)

# ---------------------------------------------------------------- 5.6


def up_by_x0(s, x_s, s_, t, eps):
    x0 = (x_s - root(1 - s.alpha_bar[s_]) * eps) / root(s.alpha_bar[s_])
    return root(s.alpha_bar[t]) * x0 + root(1 - s.alpha_bar[t]) * eps


def up_in_sigma(s, x_s, s_, t, eps):
    """Euler's step of x / sqrt(ab) over sqrt(1 / ab - 1)."""
    sigma = (1 / s.alpha_bar - 1).sqrt()
    return root(s.alpha_bar[t]) * (x_s / root(s.alpha_bar[s_]) + (sigma[t] - sigma[s_]) * eps)


def up(kept=None, added=None):
    def step(s, x_s, s_, t, eps):
        share = root(s.alpha_bar[t] / s.alpha_bar[s_])
        own = root(1 - s.alpha_bar[t]) - share * root(1 - s.alpha_bar[s_])
        share, own = share if kept is None else kept(s, t, s_), own if added is None else added(s, t, s_, share)
        return share * x_s + own * eps

    return step


def R(s, t):
    return root(1 - s.alpha_bar[t])


def x0_of_s(s, x_s, s_, t, eps):
    return (x_s - R(s, s_) * eps) / root(s.alpha_bar[s_])


UP = (
    [sampling_answers.invert_step, up_by_x0, up_in_sigma],
    {
        "DDIM's step down, times exchanged": (
            lambda s, x_s, s_, t, eps: up_by_x0(s, x_s, t, s_, eps),
            "the times are exchanged",
        ),
        "alpha_bar_t / alpha_bar_s without its root": (
            up(kept=lambda s, t, s_: s.alpha_bar[t] / s.alpha_bar[s_]),
            "to be under a root",
        ),
        "x_s taken for x0": (
            lambda s, x_s, s_, t, eps: root(s.alpha_bar[t]) * x_s + R(s, t) * eps,
            "as if x_s were x_0",
        ),
        "x0 found with alpha_bar_s, without its root": (
            up(kept=lambda s, t, s_: root(s.alpha_bar[t]) / s.alpha_bar[s_]),
            "x_0 is (x_s - ..)",
        ),
        "alpha_bar_t without its root before x0": (
            up(kept=lambda s, t, s_: s.alpha_bar[t] / root(s.alpha_bar[s_])),
            "x_t has sqrt(alpha_bar_t)",
        ),
        "alpha_t of the single step": (up(kept=lambda s, t, s_: root(s.alpha[t])), "alpha_t is that of a single step"),
        "x_s not shrunk": (up(kept=lambda *_: 1), "is shrunk on the way up"),
        "a forward step, fresh noise in place of eps": (
            up(added=lambda s, t, s_, k: root(1 - k**2)),
            "noise is added to x_s",
        ),
        "noise of t on top of that of s": (up(added=lambda s, t, s_, k: R(s, t)), "on top of the noise that x_s has"),
        "eps scaled as at s": (up(added=lambda s, t, s_, k: R(s, s_) - k * R(s, s_)), "x_t gets the noise of s_"),
        "x0 found with the noise of t": (
            up(added=lambda s, t, s_, k: R(s, t) - k * R(s, t)),
            "x_0 is found with the noise of t",
        ),
        "both roots missing before eps": (
            up(added=lambda s, t, s_, k: R(s, t) ** 2 - k * R(s, s_) ** 2),
            "the roots are missing",
        ),
        "root missing before eps at t": (up(added=lambda s, t, s_, k: R(s, t) ** 2 - k * R(s, s_)), "x_t ends in"),
        "root missing before eps at s": (up(added=lambda s, t, s_, k: R(s, t) - k * R(s, s_) ** 2), "x_s has sqrt"),
        "noise taken out of x_s not shrunk with it": (
            up(added=lambda s, t, s_, k: R(s, t) - R(s, s_)),
            "shrunk with it",
        ),
        "x0 returned, not mixed again": (x0_of_s, "that is x_0. It has still to be mixed"),
        "x0 not divided by sqrt(alpha_bar_s)": (
            lambda s, x_s, s_, t, eps: root(s.alpha_bar[t]) * (x_s - R(s, s_) * eps) + R(s, t) * eps,
            "as if x_s were x_0",
        ),
        "noise of t taken off in place of added": (
            up(added=lambda s, t, s_, k: -R(s, t) - k * R(s, s_)),
            "the sign: x_t ends in +",
        ),
        "the step from t - 1, whatever s is": (
            up(kept=lambda s, t, s_: root(s.alpha_bar[t] / s.alpha_bar[t - 1])),
            "alpha_t is that of a single step",
        ),
        "noise of x_s added in place of taken off": (up(added=lambda s, t, s_, k: R(s, t) + k * R(s, s_)), "the sign"),
        "eps missing": (up(added=lambda *_: 0), "more noise than x_s"),
        "noise drawn by the function itself": (
            lambda s, x_s, s_, t, eps: up_by_x0(s, x_s, s_, t, torch.randn_like(x_s)),
            "no noise, no constant",
        ),
        "the result clamped to [-1, 1]": (lambda *a: up_by_x0(*a).clamp(-1, 1), "clamped"),
    },
)

# ---------------------------------------------------------------- all of them

# check: (right answers, {wrong answer: (function, words of the message)})
e = the_sampling
EXERCISES = {
    e.pairs: PAIRS,
    e.ancestral_step: ANCESTRAL,
    e.ddim_step: DDIM,
    e.clip_x0: CLIP,
    e.extrapolated_x0: AHEAD,
    e.guided_eps: GUIDED,
    e.invert_step: UP,
    e.mended_sampler: SAMPLERS,
}
(
    test_a_blank_is_told_kindly_and_raises_nothing,
    test_the_librarys_answer_and_others_pass,
    test_a_wrong_answer_is_refused_with_the_likely_mistake,
    test_every_check_is_listed_here,
) = proof.of(the_sampling, EXERCISES)
