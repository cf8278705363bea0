"""Samplers for the check of Exercise 5.8: right ones, and ones with the mistakes that published code has."""

from itertools import pairwise

import torch

from ddpm_edu.exercises import sampling_answers
from ddpm_edu.sampling import ddpm, grids


def alpha(s, t, s_):
    return s.alpha_bar[t] / s.alpha_bar[s_]


def variance(s, t, s_):
    """The posterior's, of a pair."""
    return (1 - alpha(s, t, s_)) * (1 - s.alpha_bar[s_]) / (1 - s.alpha_bar[t])


def sigma(s, t, s_):
    return variance(s, t, s_).sqrt()


def mean_by_eps(s, x, t, s_, seen):
    """Algorithm 2 of DDPM for a pair."""
    by_eps = (1 - alpha(s, t, s_)) / (1 - s.alpha_bar[t]).sqrt() * seen.eps
    return (x - by_eps) / alpha(s, t, s_).sqrt()


def spread_to(last):
    """Times spread from T to ``last``, as many as steps."""
    return lambda T, steps: list(pairwise(torch.linspace(T, last, steps).round().long().tolist()))


def to_1_then_0(T, steps):
    return list(pairwise([*torch.linspace(T, 1, steps).round().long().tolist(), 0]))


def guessed(T, steps):
    """The next time guessed as t - T // steps."""
    return [(t, max(t - T // steps, 0)) for t, _ in grids.uniform(T, steps)]


def sampler(pairs=grids.uniform, mean=mean_by_eps, size=sigma, noise="fresh", asked=lambda t, s_: t):
    """A sampler with its parts replaced. ``noise``: "fresh" in each step, "one" for all of them, or "x_T" itself."""

    def samples(denoise, s, steps, draw):
        x = draw()
        once = x if noise == "x_T" else draw()
        for t, s_ in pairs(s.T, steps):
            seen = denoise(x, torch.full((len(x),), asked(t, s_)))
            new = draw() if noise == "fresh" else once
            x = mean(s, x, t, s_, seen) + size(s, t, s_) * new
        return x

    return samples


def single(s, t, s_):
    return s.posterior_variance[t].sqrt()


def from_the_library(denoise, s, steps, draw):
    """Times by hand, the library's step, float32, and nothing drawn at the end."""
    x = draw().float()
    for i in reversed(range(steps)):
        t, s_ = ((s.T * k + steps - 1) // steps for k in (i + 1, i))
        times = [torch.full((len(x),), time) for time in (t, s_)]
        noise = draw().float() if s_ else torch.zeros_like(x)
        x = ddpm.step(s, x, *times, denoise(x, times[0]), noise, "posterior")
    return x


def of_one_mean(formula):
    """A sampler with this factor of eps and this divisor in its mean, each of (s, t, s_)."""

    def mean(s, x, t, s_, seen):
        factor, divisor = formula(s, t, s_)
        return (x - factor * seen.eps) / divisor

    return sampler(mean=mean)


def clipped(s, x, t, s_, seen):
    return sampling_answers.ancestral_step(s, x, t, s_, seen.x0.clamp(-1, 1), 0 * x)


def ddims_mean(s, x, t, s_, seen):
    return s.alpha_bar[s_].sqrt() * seen.x0 + (1 - s.alpha_bar[s_]).sqrt() * seen.eps


def noised_again(s, x, t, s_, seen):
    return s.alpha_bar[s_].sqrt() * seen.x0


def own_noise(denoise, s, steps, draw):
    shape = draw().shape
    return sampler()(denoise, s, steps, lambda: torch.randn(shape, dtype=torch.float64))


def own_noise_later(denoise, s, steps, draw):
    first = draw()
    later = iter([first])
    return sampler()(denoise, s, steps, lambda: next(later, torch.randn_like(first)))


def with_own_seed(denoise, s, steps, draw):
    stream, first = torch.Generator().manual_seed(0), draw()
    later = iter([first])

    def noise():
        return next(later, torch.randn(first.shape, generator=stream, dtype=first.dtype))

    return sampler()(denoise, s, steps, noise)


def never_back(denoise, s, steps, draw):
    sampler()(denoise, s, steps, draw)


def times_of_the_samples(denoise, s, steps, draw):
    x = draw()
    return denoise(x, 1 + torch.arange(len(x)) % s.T).x0


def endless(denoise, s, steps, draw):
    return sum(draw() for _ in range(1000))


def twice_the_noise(denoise, s, steps, draw):
    return sampler()(denoise, s, steps, lambda: 2 * draw())


_BETA = "made from beta = 1 - alpha_bar_t / alpha_bar_s alone"
_SINGLE = "the size of the noise is that of the single step"
_ENDS = "the walk ends at t = 1"
_SAME = "the same noise comes in more than once"
_REPEATED = f"{_SAME}: each step needs noise of its own"

SAMPLERS = (
    [
        sampling_answers.mended_sampler,
        sampler(),
        sampler(to_1_then_0),
        sampler(mean=lambda s, x, t, s_, seen: sampling_answers.ancestral_step(s, x, t, s_, seen.x0, 0 * x)),
        from_the_library,
    ],
    {
        "as published, with all three mistakes": (
            sampler(spread_to(1), size=single, noise="one"),
            f"Still wrong: {_ENDS}, and what it returns still has the noise of that time; {_REPEATED}; {_SINGLE}",
        ),
        "a walk that ends at t = 1": (sampler(spread_to(1)), f"Still wrong: {_ENDS}"),
        "the right number of steps, ending at t = 1": (
            sampler(lambda T, n: spread_to(1)(T, n + 1)),
            f"Still wrong: {_ENDS}",
        ),
        "a stride of T // steps from T, short of 0": (
            sampler(lambda T, n: list(pairwise(T - i * (T // n) for i in range(n + 1)))),
            "the walk ends at t = 2",
        ),
        "one noise for all steps": (sampler(noise="one"), f"Still wrong: {_SAME}"),
        "x_T used as the noise of each step": (sampler(noise="x_T"), "The noise that x began with is added to it"),
        "posterior_variance[t] in a long step": (sampler(size=single), f"Still wrong: {_SINGLE}"),
        "posterior_variance[t], none in the last step": (
            sampler(size=lambda s, t, s_: single(s, t, s_) * (s_ > 0)),
            f"Still wrong: {_SINGLE}",
        ),
        "posterior_variance[t] without its root": (
            sampler(size=lambda s, t, s_: s.posterior_variance[t]),
            "and a root is missing",
        ),
        "posterior_variance[s], made for s - 1": (
            sampler(size=lambda s, t, s_: s.posterior_variance[s_].sqrt()),
            "that of the next single step",
        ),
        "one noise, and a walk that ends at 1": (sampler(spread_to(1), noise="one"), f"that time; {_SAME}"),
        "one noise, and the table's variance": (
            sampler(size=single, noise="one"),
            f"Still wrong: {_REPEATED}; {_SINGLE}",
        ),
        "walk to 1, and the table's variance": (sampler(spread_to(1), size=single), f"that time; {_SINGLE}"),
        "noise times the variance, its root forgotten": (sampler(size=variance), "take its root"),
        "beta as variance": (
            sampler(size=lambda s, t, s_: (1 - alpha(s, t, s_)).sqrt() * (s_ > 0)),
            _BETA,
        ),
        "beta as variance in the last step too": (
            sampler(size=lambda s, t, s_: (1 - alpha(s, t, s_)).sqrt()),
            "variance; and noise is added in the step to s_ = 0",
        ),
        "noise times beta, without a root": (
            sampler(size=lambda s, t, s_: (1 - alpha(s, t, s_)) * (s_ > 0)),
            "posterior's variance; and a root is missing",
        ),
        "noise times the root of beta_t": (
            sampler(size=lambda s, t, s_: s.beta[t].sqrt() * (s_ > 0)),
            "made from beta_t, which is that of a single step",
        ),
        "noise times beta_t": (
            sampler(size=lambda s, t, s_: s.beta[t] * (s_ > 0)),
            "made from beta_t, which is that of a single step; and a root",
        ),
        "noise added in the last step too": (
            sampler(size=lambda s, t, s_: sigma(s, t, s_) + 0.2 * (s_ == 0)),
            "Still wrong: noise is added in the step to s_ = 0",
        ),
        "no noise on the way": (sampler(size=lambda *_: 0), "Still wrong: no noise is added"),
        "noise not multiplied by anything": (sampler(size=lambda s, t, s_: float(s_ > 0)), "as it was drawn"),
        "all the noise of x_s drawn anew": (
            sampler(size=lambda s, t, s_: (1 - s.alpha_bar[s_]).sqrt()),
            "x_t knows a part of it",
        ),
        "noise of an odd size": (sampler(size=lambda *c: 0.7 * sigma(*c)), "has standard deviation"),
        "mean of the single step to t - 1": (
            of_one_mean(lambda s, t, s_: (s.beta[t] / (1 - s.alpha_bar[t]).sqrt(), s.alpha[t].sqrt())),
            "the mean is that of the single step",
        ),
        "alpha for alpha_bar under the root": (
            of_one_mean(lambda s, t, s_: ((1 - alpha(s, t, s_)).sqrt(), alpha(s, t, s_).sqrt())),
            "alpha stands under the root",
        ),
        "alpha_t of the table for alpha_bar": (
            of_one_mean(lambda s, t, s_: ((1 - alpha(s, t, s_)) / s.beta[t].sqrt(), alpha(s, t, s_).sqrt())),
            "alpha stands under the root",
        ),
        "eps divided by 1 - alpha_bar_t itself": (
            of_one_mean(lambda s, t, s_: ((1 - alpha(s, t, s_)) / (1 - s.alpha_bar[t]), alpha(s, t, s_).sqrt())),
            "a root is missing: sqrt(1 - alpha_bar_t)",
        ),
        "mean divided by alpha itself": (
            of_one_mean(lambda s, t, s_: ((1 - alpha(s, t, s_)) / (1 - s.alpha_bar[t]).sqrt(), alpha(s, t, s_))),
            "a root is missing: it is divided by sqrt(alpha)",
        ),
        "beta_t of the single step before eps": (
            of_one_mean(lambda s, t, s_: (s.beta[t] / (1 - s.alpha_bar[t]).sqrt(), alpha(s, t, s_).sqrt())),
            "in the mean beta_t is that of a single step",
        ),
        "each step straight to the guess": (sampler(mean=lambda s, x, t, s_, seen: seen.x0), "straight to x0-hat"),
        "the guess noised again, x_t forgotten": (sampler(mean=noised_again), "does not forget x_t"),
        "DDIM's mean, and noise on top of it": (sampler(mean=ddims_mean), "DDIM with eta = 0"),
        "an odd mean": (sampler(mean=lambda s, x, t, s_, seen: 0.5 * x + 0.1 * seen.x0), "0.500 x_t + 0.100 x0-hat"),
        "x forgotten on the way": (sampler(mean=lambda s, x, t, s_, seen: 0 * x), "nothing is left in x"),
        "the guess clipped to [-1, 1]": (sampler(mean=clipped), "Is something clipped?"),
        "the next time guessed as t - T // steps": (sampler(guessed), "lands at 6, and the next one begins at 5"),
        "denoiser asked at s_ in place of t": (sampler(asked=lambda t, s_: s_), "asked at t = 0"),
        "denoiser asked at s_, at 1 in the end": (sampler(asked=lambda t, s_: max(s_, 1)), "asked first at t = 8"),
        "denoiser asked at t - 1": (sampler(asked=lambda t, s_: max(t - 1, 1)), "asked first at t = 9, of 10"),
        "the leading list, which does not start at T": (sampler(grids.leading), "asked first at t = 7, of 10"),
        "times that climb on the way": (
            sampler(lambda T, n: [(T, 3), (3, 5), (5, 0)]),
            "asked at t = [10, 3, 5]. Times fall",
        ),
        "each sample at a time of its own": (times_of_the_samples, "to be at different times"),
        "all T steps whatever was asked for": (
            sampler(lambda T, n: grids.uniform(T, T)),
            "4 steps were asked for, and 10 made",
        ),
        "a single guess, no walk": (
            lambda denoise, s, steps, draw: denoise(x := draw(), torch.full((len(x),), s.T)).x0,
            "4 steps were asked for, and 1 made",
        ),
        "a start that is not pure noise": (twice_the_noise, "must begin with pure noise"),
        "noise of the sampler's own": (own_noise, "All noise must come from draw()"),
        "noise of the sampler's own, on the way": (own_noise_later, "All noise must come from draw()"),
        "noise of the sampler's own, from a seed": (with_own_seed, "Or is there noise that is not from draw()?"),
        "noise drawn without end": (endless, "draw() was called more than"),
        "the denoiser never asked": (lambda denoise, s, steps, draw: draw(), "was never asked"),
        "one time for the whole batch": (
            lambda denoise, s, steps, draw: denoise(draw(), torch.tensor([s.T])).x0,
            "one time per sample",
        ),
        "samples made and not returned": (never_back, "Did you forget `return`?"),
    },
)
