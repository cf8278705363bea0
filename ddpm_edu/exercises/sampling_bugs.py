"""The check of notebook 05 in which bugs are to be found: a whole sampler, judged by what it does step by step.

The oracle multiplies two Gaussians, what x_0 says of x_s and what x_t says, in plain floats. Where a walk is wrong, its
means and its noise are looked up, each for itself, among those that common mistakes give.
"""

import math
from collections.abc import Callable
from math import sqrt
from typing import Any

from ddpm_edu.exercises.frame import CheckFailed, check
from ddpm_edu.exercises.sampling_walk import AB, BETAS, Step, walk_of

_STEPS = (4, 3, 7, 10, 2, 1)  # four first: its steps have different lengths, and none is the stride T // 4

# ---------------------------------------------------------------- the right step, and wrong ones


def _posterior(t: int, s: int) -> tuple[float, float, float]:
    """a, b and standard deviation of q(x_s | x_t, x_0): what x_0 says of x_s times what x_t says, both Gaussians."""
    if s == 0:
        return 0.0, 1.0, 0.0
    kept = math.prod(1 - beta for beta in BETAS[s:t])
    of_x0, of_xt = 1 / (1 - AB[s]), kept / (1 - kept)
    return of_xt / sqrt(kept) / (of_x0 + of_xt), sqrt(AB[s]) * of_x0 / (of_x0 + of_xt), (of_x0 + of_xt) ** -0.5


def _by_eps(t: int, of_eps: float, divisor: float) -> tuple[float, float]:
    """a and b of (x_t - of_eps eps) / divisor, where eps = (x_t - sqrt(ab_t) x0) / sqrt(1 - ab_t)."""
    share = of_eps / sqrt(1 - AB[t])
    return (1 - share) / divisor, share * sqrt(AB[t]) / divisor


def _alpha(t: int, s: int) -> float:
    return AB[t] / AB[s]


def _algorithm(t: int, s: int, under_the_root: float, power: float = 0.5) -> tuple[float, float]:
    """DDPM's Algorithm 2 for a pair, (x_t - beta / sqrt(1 - ab_t) eps) / sqrt(alpha), with other roots."""
    return _by_eps(t, (1 - _alpha(t, s)) / sqrt(under_the_root), _alpha(t, s) ** power)


_WRONG_ROOT = "in the mean alpha stands under the root where alpha_bar_t belongs"
_MEANS: list[tuple[Callable[[int, int], tuple[float, float]], str]] = [
    (lambda t, s: _posterior(t, s)[:2], ""),
    (
        lambda t, s: _posterior(t, t - 1)[:2],
        "the mean is that of the single step from t to t - 1 (s.alpha[t], s.beta[t]), whatever s_ is",
    ),
    (lambda t, s: _algorithm(t, s, 1 - _alpha(t, s)), _WRONG_ROOT),
    (lambda t, s: _algorithm(t, s, BETAS[t - 1]), _WRONG_ROOT),
    (lambda t, s: _algorithm(t, s, (1 - AB[t]) ** 2), "in the mean a root is missing: sqrt(1 - alpha_bar_t)"),
    (lambda t, s: _algorithm(t, s, 1 - AB[t], 1), "in the mean a root is missing: it is divided by sqrt(alpha)"),
    (
        lambda t, s: _by_eps(t, BETAS[t - 1] / sqrt(1 - AB[t]), sqrt(_alpha(t, s))),
        "in the mean beta_t is that of a single step; from s_ to t it is 1 - alpha_bar_t / alpha_bar_s",
    ),
    (lambda t, s: (0.0, 1.0), "each step goes straight to x0-hat, and forgets x_t"),
    (lambda t, s: (0.0, sqrt(AB[s])), "x_s is made of x0-hat and fresh noise: DDPM's step does not forget x_t"),
    (
        lambda t, s: _by_eps(t, sqrt(1 - AB[t]) - sqrt((1 - AB[s]) * _alpha(t, s)), sqrt(_alpha(t, s))),
        "the mean is that of DDIM with eta = 0: DDPM's step keeps less of eps, and adds noise",
    ),
]

_Rule = Callable[[int, int], float]
_SINGLE = "the size of the noise is that of the single step from t to t - 1: s.posterior_variance[t] knows no s_"
_SINGLE_BETA = "the size of the noise is made from beta_t, which is that of a single step"
_LAST = "noise is added in the step to s_ = 0, and nothing comes after it that could take it out"
_BETA = (
    "the size of the noise is made from beta = 1 - alpha_bar_t / alpha_bar_s alone, DDPM's other choice: asked for is "
    "the posterior's variance"
)


def _unless_last(rule: _Rule) -> _Rule:
    return lambda t, s: rule(t, s) if s else math.nan


_SIZES: list[tuple[_Rule, str]] = [
    (lambda t, s: _posterior(t, s)[2], ""),
    (_unless_last(lambda t, s: _posterior(t, s)[2]), _LAST),
    (lambda t, s: 0.0, "no noise is added"),
    (_unless_last(lambda t, s: _posterior(t, t - 1)[2]), _SINGLE),
    (lambda t, s: _posterior(t, t - 1)[2] ** 2, f"{_SINGLE}; and a root is missing"),
    (
        _unless_last(lambda t, s: _posterior(s, s - 1)[2]),
        "the size of the noise is that of the next single step: s.posterior_variance[s_] knows no t",
    ),
    (lambda t, s: _posterior(t, s)[2] ** 2, "noise is multiplied by the variance: take its root"),
    (lambda t, s: sqrt(1 - _alpha(t, s)), f"{_BETA}; and {_LAST}"),
    (_unless_last(lambda t, s: sqrt(1 - _alpha(t, s))), _BETA),
    (_unless_last(lambda t, s: 1 - _alpha(t, s)), f"{_BETA}; and a root is missing"),
    (_unless_last(lambda t, s: sqrt(BETAS[t - 1])), _SINGLE_BETA),
    (_unless_last(lambda t, s: BETAS[t - 1]), f"{_SINGLE_BETA}; and a root is missing"),
    (_unless_last(lambda t, s: sqrt(1 - AB[s])), "all the noise of x_s is drawn anew, and x_t knows a part of it"),
    (_unless_last(lambda t, s: 1.0), "noise is added as it was drawn, not multiplied by anything"),
]

# ---------------------------------------------------------------- the check


@check("5.8 find the bugs: a sampler")
def mended_sampler(f: Callable[..., Any]) -> None:
    """f(denoise, s, steps, draw) must be samples of DDPM, with the posterior's variance, after ``steps`` steps to 0.

    Any falling list of times from T will do. ``draw()`` gives fresh noise of the samples' shape, x_T among it.
    """
    for steps in _STEPS:
        walk, start = walk_of(f, steps)
        walk, wrong_mean = _means(walk)
        faults = [_times(walk, steps), _same_noise(walk, start), wrong_mean, _sizes(walk)]
        if any(faults):
            raise CheckFailed(f"Still wrong: {'; '.join(filter(None, faults))}.")


def _means(walk: list[Step]) -> tuple[list[Step], str]:
    """The walk with the place where its last step lands (the mean tells), and what is wrong with the means."""
    for s in range(walk[-1].t):
        landed = [*walk[:-1], walk[-1]._replace(s=s)]
        for rule, words in _MEANS:
            if all(_near(step.a, rule(*step[:2])[0]) and _near(step.b, rule(*step[:2])[1]) for step in landed):
                return landed, words
    for step in walk:
        for s in range(step.t):
            a, b, _ = _posterior(step.t, s)
            if s != step.s and _near(step.a, a) and _near(step.b, b):
                raise CheckFailed(f"The step from t = {step.t} lands at {s}, and the next one begins at {step.s}.")
    t, s, a, b, noise = walk[0]
    right = _posterior(t, s)
    if _near(b, right[1]) and not noise:
        raise CheckFailed("The noise that x began with is added to it again. Each step needs noise of its own.")
    told = f"{a:.3f} x_t + {b:.3f} x0-hat, and should be {right[0]:.3f} x_t + {right[1]:.3f} x0-hat"
    return walk, f"the mean of the step from {t} to {s} is {told}"


def _times(walk: list[Step], steps: int) -> str:
    s = walk[-1].s
    if s:
        return f"the walk ends at t = {s}, and what it returns still has the noise of that time"
    return "" if len(walk) == steps else f"{steps} steps were asked for, and {len(walk)} made"


def _same_noise(walk: list[Step], start: int) -> str:
    used = {start}
    for step in walk:
        if used & step.noise.keys():
            return "the same noise comes in more than once: each step needs noise of its own"
        used |= step.noise.keys()
    return ""


def _sizes(walk: list[Step]) -> str:
    """What is wrong with the standard deviation of the noise."""
    for rule, words in _SIZES:
        pairs = [(step.size, rule(*step[:2])) for step in walk]
        told = [(got, want) for got, want in pairs if not math.isnan(want)]
        if told and all(_near(got, want) for got, want in told):
            return words
    step = next(step for step in walk if not _near(step.size, _posterior(*step[:2])[2]))
    want = _posterior(*step[:2])[2]
    return f"the noise of the step from {step.t} to {step.s} has standard deviation {step.size:.3f}, and not {want:.3f}"


def _near(got: float, want: float) -> bool:
    return math.isclose(got, want, rel_tol=1e-3, abs_tol=1e-4)
