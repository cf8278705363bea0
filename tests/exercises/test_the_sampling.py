"""Checks of notebook 05: kind to a blank, content with any right answer, plain about a wrong one."""

from itertools import pairwise

import torch

from ddpm_edu.exercises import sampling_answers, the_sampling
from tests.exercises import proof


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
        "T // steps": (stride_down, "the chain starts at 8, not at 10, where"),
        "leading": (leading, '"leading"'),
        "T // steps from T": (
            chained(lambda T, n: [T - i * (T // n) for i in range(n + 1)]),
            "ends at 2: T // steps drops",
        ),
        "counted from 0": (lambda T, n: [(t - 1, max(s - 1, 0)) for t, s in by_round(T, n)], "counted from 0?"),
        "one too few": (chained(lambda T, n: [i * T // n for i in range(n, 0, -1)]), "one too few"),
        "one too many": (lambda T, n: by_round(T, n + 1), "one too many"),
        "floats": (float_range, "a loop over floats"),
        "many too many": (lambda T, n: by_round(T, T), "10 pairs, and 4 were asked for"),
        "ends at 1": (lambda T, n: [(t, s or 1) for t, s in by_round(T, n)], "ends at 1, where"),
        "ends too early": (lambda T, n: [(t, max(s, 0.4 * T // 2)) for t, s in by_round(T, n)], "is no int"),
        "t - T // steps": (previous_by_stride, "is not the next time of the list"),
        "not chained": (lambda T, n: [(t, 0) for t, _ in by_round(T, n)], "Each begins where"),
        "repeated": (chained(lambda T, n: [T, *(i * T // n for i in range(n, -1, -1))]), "a time occurs twice"),
        "ascending": (lambda T, n: [(s, t) for t, s in by_round(T, n)][::-1], "climbs from 0 to T"),
        "pairs turned": (lambda T, n: [(s, t) for t, s in by_round(T, n)], "the later time t first"),
        "a pair from 0": (lambda T, n: [*by_round(T, n), (0, 0)], "a pair begins at 0"),
        "below 0": (lambda T, n: [*by_round(T, n), (0, -1)], "a pair begins at 0"),
        "to -1": (lambda T, n: [(t, s or -1) for t, s in by_round(T, n)], "below 0"),
        "in order from 0": (lambda T, n: by_round(T, n)[::-1], "the chain starts at 2, not"),
        "the rest last": (rest_last, "went into one step"),
        "to 1, then 0": (from_T_to_1, "Spread them from T to 0"),
        "quadratic": (
            lambda T, n: [*pairwise(-(-i * i * T // n**2) for i in range(n, -1, -1))],
            "could be almost equal",
        ),
        "floats as times": (chained(lambda T, n: [i * T / n for i in range(n, -1, -1)]), "is no int"),
        "times": (lambda T, n: [t for t, _ in by_round(T, n)], "Make pairs of them"),
        "a tensor": (lambda T, n: torch.tensor(by_round(T, n)), "got Tensor. list(..)"),
        "an iterator": (lambda T, n: iter(by_round(T, n)), "expected a list of pairs"),
        "triples": (lambda T, n: [(t, s, t - s) for t, s in by_round(T, n)], "expected a list of pairs"),
        "tensors in pairs": (lambda T, n: [(torch.tensor(t), s) for t, s in by_round(T, n)], "tensor(10) is no int"),
        "nothing": (lambda T, n: [], "expected a list of pairs"),
        "printed": (lambda T, n: print(end=""), "Did you forget `return`?"),
        "int of floats": (lambda T, n: [(T - 1 if t == T else t, s) for t, s in by_round(T, n)], "999.9999"),
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
    [sampling_answers.ancestral_step, ancestral(), ancestral_by_precisions],
    {
        "variance": (ancestral(sigma=lambda *c: posterior(*c)[2]), "that is the variance"),
        "beta": (ancestral(sigma=lambda *c: root(beta_unless_last(*c))), "DDPM's other choice"),
        "beta to the end": (ancestral(sigma=lambda *c: root(beta(*c))), "which also ends without noise"),
        "beta, no root": (ancestral(sigma=beta_unless_last), "that is beta, without a root"),
        "beta_t, no root": (ancestral(sigma=lambda s, t, _: s.beta[t]), "beta_t is that of a single step"),
        "beta_t": (ancestral(sigma=lambda s, t, s_: root(s.beta[t]) * (s_ > 0)), "beta_t is that of a single step"),
        "beta_t in the posterior": (
            ancestral(sigma=lambda s, t, s_: root(s.beta[t] * (1 - s.alpha_bar[s_]) / (1 - s.alpha_bar[t]))),
            "The factor of noise: beta_t is that of a single step",
        ),
        "table's variance": (ancestral(sigma=lambda s, t, _: root(s.posterior_variance[t])), "s_ has no effect"),
        "table's variance, not last": (
            ancestral(sigma=lambda s, t, s_: root(s.posterior_variance[t]) * (s_ > 0)),
            "The factor of noise: it is that of the single step",
        ),
        "noise last": (
            ancestral(sigma=lambda *c: root(posterior(*c)[2]) + 0.1 * (c[2] == 0)),
            "noise would only spoil",
        ),
        "no noise": (ancestral(sigma=lambda *_: 0), "The step is a draw"),
        "bare noise": (ancestral(sigma=lambda *c: float(c[2] > 0)), "the root of the posterior's variance"),
        "all noise": (ancestral(sigma=lambda s, t, s_: root(1 - s.alpha_bar[s_])), "all the noise of x_s"),
        "not divided": (
            ancestral(sigma=lambda s, t, s_: root(beta(s, t, s_) * (1 - s.alpha_bar[s_]))),
            "not divided by 1 - alpha_bar_t",
        ),
        "ratio": (
            ancestral(
                sigma=lambda s, t, s_: root(beta(s, t, s_) * (1 - s.alpha_bar[t]) / (1 - s.alpha_bar[s_])) if s_ else 0
            ),
            "is upside down",
        ),
        "alpha upside down": (upside_down, "alpha_bar_s is upside down"),
        "single step": (single_step, "s_ has no effect"),
        "alpha_t": (
            ancestral(x_t=lambda s, t, s_: root(s.alpha[t]) * (1 - s.alpha_bar[s_]) / (1 - s.alpha_bar[t])),
            "alpha_t is that of a single step",
        ),
        "beta_t in the mean": (
            ancestral(x0=lambda s, t, s_: root(s.alpha_bar[s_]) * s.beta[t] / (1 - s.alpha_bar[t])),
            "The factor of x_0: beta_t",
        ),
        "swapped": (swapped, "each other's factors"),
        "no root on x_t": (
            ancestral(x_t=lambda *c: posterior(*c)[1] * root(1 - beta(*c))),
            "The factor of x_t: alpha_bar",
        ),
        "no root on x0": (
            ancestral(x0=lambda *c: posterior(*c)[0] * root(c[0].alpha_bar[c[2]])),
            "alpha_bar_s is to be under",
        ),
        "alpha_bar_t on x_t": (
            ancestral(x_t=lambda *c: posterior(*c)[1] * root(c[0].alpha_bar[c[2]])),
            "where sqrt(alpha_bar_t / alpha_bar_s) belongs",
        ),
        "alpha_bar_t on x0": (
            ancestral(x0=lambda *c: posterior(*c)[0] * root(1 - beta(*c))),
            "it has sqrt(alpha_bar_t)",
        ),
        "alpha_bar_{t-1} on x0": (
            ancestral(x0=lambda s, t, s_: root(s.alpha_bar[t - 1]) * beta(s, t, s_) / (1 - s.alpha_bar[t])),
            "it has alpha_bar_{t-1}",
        ),
        "alpha_bar_{t-1} on x_t": (
            ancestral(x_t=lambda s, t, s_: root(1 - beta(s, t, s_)) * (1 - s.alpha_bar[t - 1]) / (1 - s.alpha_bar[t])),
            "1 - alpha_bar_{t-1} where",
        ),
        "x0 over a root": (
            ancestral(x0=lambda *c: posterior(*c)[0] * root(1 - c[0].alpha_bar[c[1]])),
            "not by its root",
        ),
        "x_t over a root": (
            ancestral(x_t=lambda *c: posterior(*c)[1] * root(1 - c[0].alpha_bar[c[1]])),
            "not by its root",
        ),
        "root of beta": (ancestral(x0=lambda *c: posterior(*c)[0] / root(beta(*c))), "beta stands there itself"),
        "root of the ratio": (
            ancestral(
                x_t=lambda s, t, s_: root((1 - beta(s, t, s_)) * (1 - s.alpha_bar[s_]) / (1 - s.alpha_bar[t])),
            ),
            "the ratio of 1 - alpha_bar has no root",
        ),
        "forward": (ancestral(x0=lambda s, t, s_: root(s.alpha_bar[s_])), "the jump from x_0 to x_s"),
        "no ratio": (ancestral(x_t=lambda *c: root(1 - beta(*c))), "(1 - alpha_bar_s) / (1 - alpha_bar_t) is missing"),
        "no x0": (ancestral(x0=lambda *_: 0), "The factor of x_0: it is 0"),
        "no x_t": (ancestral(x_t=lambda *_: 0), "The factor of x_t: it is 0"),
        "odd": (ancestral(x_t=lambda *_: 0.3), "The factor of x_t at t = 1, s_ = 0: expected 0.0000, got 0.3000"),
        "own noise": (
            lambda s, x_t, t, s_, x0, noise: ancestral()(s, x_t, t, s_, x0, torch.randn_like(noise)),
            "noise of your own",
        ),
        "clamped": (lambda *a: sampling_answers.ancestral_step(*a).clamp(-1, 1), "clamped"),
        "in place": (lambda s, x_t, t, s_, x0, noise: x_t.mul_(2), "in place"),
        "one value": (lambda s, x_t, t, s_, x0, noise: ancestral()(s, x_t, t, s_, x0, noise).mean(), "expected shape"),
        "mean of the batch": (
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


def ddim_swapped(s, x_t, t, s_, x0, eps, noise, eta):
    return sampling_answers.ddim_step(s, x_t, t, s_, eps, x0, noise, eta)


DDIM = (
    [sampling_answers.ddim_step, ddim(), ddim_by_direction],
    {
        "sigma stays in eps": (
            ddim(eps_share=lambda s, t, s_, g: root(1 - s.alpha_bar[s_])),
            "sigma^2 is not taken off",
        ),
        "a course's sigma for eps": (ddim(eps_share=lambda s, t, s_, g: g), "sigma in its place"),
        "sigma from beta": (
            ddim(sigma=lambda s, t, s_, eta: eta * root(beta_unless_last(s, t, s_))),
            "from beta alone",
        ),
        "sigma from beta_t": (
            ddim(sigma=lambda s, t, s_, eta: eta * root(s.beta[t]) * (s_ > 0)),
            "beta_t is that of a single step",
        ),
        "sigma of the table": (
            ddim(sigma=lambda s, t, s_, eta: eta * root(s.posterior_variance[t])),
            "s_ has no effect",
        ),
        "beta_t in sigma": (
            ddim(sigma=lambda s, t, s_, eta: eta * root(s.beta[t] * (1 - s.alpha_bar[s_]) / (1 - s.alpha_bar[t]))),
            "beta_t is that of a single step",
        ),
        "eta squared": (ddim(sigma=lambda s, t, s_, eta: eta**2 * root(post(s, t, s_))), "eta is squared"),
        "eta under the root": (ddim(sigma=lambda s, t, s_, eta: root(eta * post(s, t, s_))), "the root of eta"),
        "no eta": (ddim(sigma=lambda s, t, s_, eta: root(post(s, t, s_))), "eta has no effect"),
        "eta alone": (ddim(sigma=lambda s, t, s_, eta: eta * (s_ > 0)), "eta alone"),
        "sigma^2 noise": (ddim(noise_share=lambda g: g**2), "that is sigma^2"),
        "no root in sigma": (ddim(sigma=lambda s, t, s_, eta: eta * post(s, t, s_)), "eta times a variance"),
        "no beta in sigma": (
            ddim(sigma=lambda s, t, s_, eta: eta * root((1 - s.alpha_bar[s_]) / (1 - s.alpha_bar[t]))),
            "in sigma sqrt(1 - alpha_bar_t / alpha_bar_s)",
        ),
        "sigma upside down": (
            ddim(
                sigma=lambda s, t, s_, eta: (
                    eta * root(beta(s, t, s_) * (1 - s.alpha_bar[t]) / (1 - s.alpha_bar[s_])) if s_ else 0
                )
            ),
            "the ratio of 1 - alpha_bar is upside down",
        ),
        "ratio upside down": (
            ddim(sigma=lambda s, t, s_, eta: eta * root(1 - s.alpha_bar[s_] / s.alpha_bar[t])),
            "a ratio upside down",
        ),
        "noise last": (
            ddim(sigma=lambda s, t, s_, eta: eta * root(post(s, t, s_)) + 0.1 * eta * (s_ == 0)),
            "in the step to s_ = 0 it is 0",
        ),
        "no noise": (ddim(noise_share=lambda g: 0), "new noise comes in"),
        "no root on x0": (ddim(x0_share=lambda s, t, s_: s.alpha_bar[s_]), "The factor of x_0: alpha_bar_s"),
        "x0 at t": (ddim(x0_share=lambda s, t, s_: root(s.alpha_bar[t])), "sqrt(alpha_bar_t). The step lands at s_"),
        "x0 at t - 1": (
            ddim(x0_share=lambda s, t, s_: root(s.alpha_bar[t - 1])),
            "The factor of x_0: it is sqrt(alpha_bar_{t-1})",
        ),
        "x0 bare": (ddim(x0_share=lambda *_: 1), "x_s is x_0 shrunk"),
        "x0 by the ratio": (ddim(x0_share=lambda s, t, s_: root(s.alpha_bar[t] / s.alpha_bar[s_])), "From x_0 on"),
        "eps at t": (
            ddim(eps_share=lambda s, t, s_, g: root(1 - s.alpha_bar[t] - g**2)),
            "The factor of eps: it has 1 - alpha_bar_t",
        ),
        "eps at t, all": (ddim(eps_share=lambda s, t, s_, g: root(1 - s.alpha_bar[t])), "it has 1 - alpha_bar_t"),
        "eps at t - 1": (
            ddim(eps_share=lambda s, t, s_, g: torch.sqrt(1 - s.alpha_bar[t - 1] - g**2)),
            "The factor of eps: it has alpha_bar_{t-1}",
        ),
        "no root on eps": (ddim(eps_share=lambda s, t, s_, g: 1 - s.alpha_bar[s_] - g**2), "to be under a root"),
        "sigma for sigma^2": (
            ddim(eps_share=lambda s, t, s_, g: torch.sqrt(1 - s.alpha_bar[s_] - g)),
            "Variances add: take off sigma^2",
        ),
        "after the root": (ddim(eps_share=lambda s, t, s_, g: root(1 - s.alpha_bar[s_]) - g), "after the root"),
        "sigma^2 added": (ddim(eps_share=lambda s, t, s_, g: root(1 - s.alpha_bar[s_] + g**2)), "is added"),
        "no eps": (ddim(eps_share=lambda *_: 0), "far too clean"),
        "swapped": (ddim_swapped, "each other's factors"),
        "own noise": (
            lambda s, x, t, s_, x0, eps, noise, eta: ddim()(s, x, t, s_, x0, eps, torch.randn_like(x), 1.0),
            "noise of your own",
        ),
        "clamped": (lambda *a: sampling_answers.ddim_step(*a).clamp(-1, 1), "clamped"),
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


CLIP = (
    [sampling_answers.clip_x0, limited(), clip_by_shift],
    {
        "eps left": (right_with(lambda x0, new, s, x, t, e: (x0, e)), "no longer the sum"),
        "not clipped": (limited(lambda x0: x0), "x0 leaves [-1, 1]"),
        "clip lost": (right_with(lambda x0, new, s, x, t, e: (x0_of(s, x, t, e), new)), "comes back unclipped"),
        "x_t clipped": (limited(lambda x0: x0, before=lambda x, e: (x.clamp(-1, 1), e)), "x_t is clipped, not x0"),
        "x_t clipped too": (limited(before=lambda x, e: (x.clamp(-1, 1), e)), "x_t is clipped too"),
        "eps clipped": (limited(lambda x0: x0, before=lambda x, e: (x, e.clamp(-1, 1))), "eps is clipped, not x0"),
        "eps clipped first": (limited(before=lambda x, e: (x, e.clamp(-1, 1))), "on the way in"),
        "eps clipped last": (right_with(lambda x0, new, *_: (x0, new.clamp(-1, 1))), "The new eps is clipped"),
        "old eps clipped": (
            right_with(lambda x0, new, s, x, t, e: (x0, e.clamp(-1, 1))),
            "eps is clipped. Find it anew",
        ),
        "tanh": (limited(torch.tanh), "use clamp"),
        "0 to 1": (limited(lambda x0: x0.clamp(0, 1)), "not in [0, 1]"),
        "order": (right_with(lambda x0, new, *_: (new, x0)), "Return x0 first"),
        "x0 bare in eps": (limited(eps=lambda s, x, t, x0: (x - x0) / root(1 - s.alpha_bar[t])), "x0 stands in x_t"),
        "eps over a variance": (
            limited(eps=lambda s, x, t, x0: eps_of(s, x, t, x0) / root(1 - s.alpha_bar[t])),
            "divided by 1 - alpha_bar_t",
        ),
        "eps not divided": (limited(eps=lambda s, x, t, x0: x - root(s.alpha_bar[t]) * x0), "eps is still scaled"),
        "eps sign": (limited(eps=lambda s, x, t, x0: eps_of(s, x, t, -x0)), "the image is to be taken away"),
        "x0 not divided": (
            limited(x0=lambda s, x, t, e: x - root(1 - s.alpha_bar[t]) * e),
            "x0 is still scaled",
        ),
        "x0 over a variance": (
            limited(x0=lambda s, x, t, e: x0_of(s, x, t, e) / root(s.alpha_bar[t])),
            "x0 is divided by alpha_bar_t",
        ),
        "x0 sign": (limited(x0=lambda s, x, t, e: x0_of(s, x, t, -e)), "the noise is to be taken away"),
        "x0 variance": (
            limited(x0=lambda s, x, t, e: (x - (1 - s.alpha_bar[t]) * e) / root(s.alpha_bar[t])),
            "times a root",
        ),
        "scaled to fit": (limited(lambda x0: x0 / x0.abs().max()), "expected x0 = -1.0000"),
        "x0 only": (lambda s, x_t, t, eps: x0_of(s, x_t, t, eps).clamp(-1, 1), "return x0, eps"),
        "in place": (lambda s, x_t, t, eps: limited()(s, x_t.clamp_(-1, 1), t, eps), "in place"),
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
        "infinite": (ahead_without_the_last, "at s_ = 0 the log SNR is infinite"),
        "mean at 0": (
            looked_ahead(lambda *c: 0.5 / ratio(*c), lambda b, x0: (b + x0) / 2),
            "Right, except in the last step",
        ),
        "upside down": (looked_ahead(lambda *c: 0.5 * ratio(*c)), "mind the brackets"),
        "no half": (looked_ahead(lambda *c: 1 / ratio(*c)), "the half is missing: 1 / (2 q)"),
        "no half, upside down": (looked_ahead(ratio), "q is upside down, and the half"),
        "sign": (looked_ahead(lambda *c: -0.5 / ratio(*c)), "the sign: D lies beyond x0, on"),
        "sign, upside down": (looked_ahead(lambda *c: -0.5 * ratio(*c)), "And q is h_before / h"),
        "average": (looked_ahead(lambda *c: -0.5), "the average of both"),
        "a half": (looked_ahead(lambda *c: 0.5), "q has no effect"),
        "first order": (looked_ahead(lambda *c: 0), "x0_before has no effect"),
        "in t": (on_another_axis(lambda s, t: t), "yours is one of t."),
        "in alpha_bar": (on_another_axis(lambda s, t: s.alpha_bar[t]), "one of alpha_bar"),
        "in log alpha_bar": (on_another_axis(lambda s, t: s.alpha_bar[t].log()), "one of log alpha_bar"),
        "in SNR": (on_another_axis(lambda s, t: s.snr[t]), "without the logarithm"),
        "in sigma": (on_another_axis(lambda s, t: s.snr[t] ** -0.5), "one of sigma"),
        "r to s_": (
            looked_ahead(lambda s, r, t, s_: 0.5 / (ratio(s, r, t, s_) + 1)),
            "h_before goes from r to t",
        ),
        "swapped": (lambda s, r, t, s_, b, x0: sampling_answers.extrapolated_x0(s, r, t, s_, x0, b), "other's factors"),
        "no 1": (weights(lambda *c: -0.5 / ratio(*c), lambda *c: 0.5 / ratio(*c)), "the 1 is missing"),
        "x0 as it is": (weights(lambda *c: -0.5 / ratio(*c), lambda *c: 1), "The line goes on"),
        "minus": (weights(lambda *c: -0.5 / ratio(*c), lambda *c: 1 - 0.5 / ratio(*c)), "the sign: 1 + 1 / (2 q)"),
        "clamped": (lambda *a: sampling_answers.extrapolated_x0(*a).clamp(-1, 1), "clamped"),
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
        "the other convention": (lambda c, u, w: u + w * (c - u), "the other convention"),
        "swapped": (lambda c, u, w: (1 + w) * u - w * c, "swap them"),
        "w times eps_c": (lambda c, u, w: w * c, "the other convention"),
        "eps_c only": (lambda c, u, w: (1 + w) * c, "take w eps_u off"),
        "eps_c": (lambda c, u, w: c, "1 at every w"),
        "mean": (lambda c, u, w: (c + u) / 2, "the mean of both"),
        "away": (lambda c, u, w: c + w * (u - c), "leads away"),
        "sum": (lambda c, u, w: (1 + w) * c + w * u, "the sign"),
        "no w on eps_u": (lambda c, u, w: (1 + w) * c - u, "-1 at every w"),
        "both": (lambda c, u, w: (1 + w) * c + (1 - w) * u, "The factor of eps_u: the other convention"),
        "brackets": (lambda c, u, w: 1 + w * c - w * u, "brackets"),
        "clamped": (lambda c, u, w: (c + w * (c - u)).clamp(-1, 1), "clamped"),
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


UP = (
    [sampling_answers.invert_step, up_by_x0, up_in_sigma],
    {
        "down": (lambda s, x_s, s_, t, eps: up_by_x0(s, x_s, t, s_, eps), "the times are exchanged"),
        "no root": (up(kept=lambda s, t, s_: s.alpha_bar[t] / s.alpha_bar[s_]), "to be under a root"),
        "x_s for x0": (lambda s, x_s, s_, t, eps: root(s.alpha_bar[t]) * x_s + R(s, t) * eps, "as if x_s were x_0"),
        "no root below": (up(kept=lambda s, t, s_: root(s.alpha_bar[t]) / s.alpha_bar[s_]), "x_0 is (x_s - ..)"),
        "no root above": (
            up(kept=lambda s, t, s_: s.alpha_bar[t] / root(s.alpha_bar[s_])),
            "x_t has sqrt(alpha_bar_t)",
        ),
        "alpha_t": (up(kept=lambda s, t, s_: root(s.alpha[t])), "alpha_t is that of a single step"),
        "x_s as it is": (up(kept=lambda *_: 1), "is shrunk on the way up"),
        "forward": (up(added=lambda s, t, s_, k: root(1 - k**2)), "noise is added to x_s"),
        "on top": (up(added=lambda s, t, s_, k: R(s, t)), "on top of the noise that x_s has"),
        "noise of s_": (up(added=lambda s, t, s_, k: R(s, s_) - k * R(s, s_)), "x_t gets the noise of s_"),
        "noise of t": (up(added=lambda s, t, s_, k: R(s, t) - k * R(s, t)), "x_0 is found with the noise of t"),
        "variances": (up(added=lambda s, t, s_, k: R(s, t) ** 2 - k * R(s, s_) ** 2), "the roots are missing"),
        "variance at t": (up(added=lambda s, t, s_, k: R(s, t) ** 2 - k * R(s, s_)), "x_t ends in"),
        "variance at s_": (up(added=lambda s, t, s_, k: R(s, t) - k * R(s, s_) ** 2), "x_s has sqrt"),
        "not shrunk": (up(added=lambda s, t, s_, k: R(s, t) - R(s, s_)), "shrunk with it"),
        "sign": (up(added=lambda s, t, s_, k: R(s, t) + k * R(s, s_)), "the sign"),
        "no eps": (up(added=lambda *_: 0), "more noise than x_s"),
        "random": (lambda s, x_s, s_, t, eps: up_by_x0(s, x_s, s_, t, torch.randn_like(x_s)), "no noise, no constant"),
        "clamped": (lambda *a: up_by_x0(*a).clamp(-1, 1), "clamped"),
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
}
(
    test_a_blank_is_told_kindly_and_raises_nothing,
    test_the_librarys_answer_and_others_pass,
    test_a_wrong_answer_is_refused_with_the_likely_mistake,
    test_every_check_is_listed_here,
) = proof.of(the_sampling, EXERCISES)
