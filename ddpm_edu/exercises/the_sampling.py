"""Checks of notebook 05. Here: one step of DDPM and one of DDIM; the others are imported.

Times are ints t > s_, as in ``s.alpha_bar[t]``. The oracles condition one Gaussian on another and share a
variance out, in plain floats, on a chain of five uneven steps.
"""

import math
from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any

from torch import Tensor

from ddpm_edu.exercises.factors import PAIRS, Case, Input, Mistakes, examine
from ddpm_edu.exercises.frame import call, check
from ddpm_edu.exercises.sampling_bugs import mended_sampler
from ddpm_edu.exercises.sampling_inputs import clip_x0, extrapolated_x0, guided_eps
from ddpm_edu.exercises.sampling_inversion import invert_step
from ddpm_edu.exercises.sampling_pairs import pairs
from ddpm_edu.exercises.small_chain import AB, BETAS, chain

__all__ = [
    "ancestral_step",
    "clip_x0",
    "ddim_step",
    "extrapolated_x0",
    "guided_eps",
    "invert_step",
    "mended_sampler",
    "pairs",
]

ROOT, REST, NOISE = [sqrt(ab) for ab in AB], [sqrt(1 - ab) for ab in AB], [1 - ab for ab in AB]
BETA = [0.0, *BETAS]
AT = "t = {}, s_ = {}"
OWN_NOISE = "Did you draw noise of your own? Use the argument `noise`."

# ---------------------------------------------------------------- one step of DDPM


def _backward(t: int, s: int) -> tuple[float, float, float]:
    """q(x_s | x_t, x_0): the factors of x_0 and x_t in its mean, and its variance, by conditioning x_s on x_t."""
    covariance = sqrt(math.prod(1 - beta for beta in BETAS[s:t])) * _spread(s)
    slope = covariance / _spread(t)
    return ROOT[s] - slope * ROOT[t], slope, _spread(s) - slope * covariance


def _spread(t: int) -> float:
    """The variance of x_t given x_0, gathered step by step."""
    variance = 0.0
    for beta in BETAS[:t]:
        variance = (1 - beta) * variance + beta
    return variance


def _beta(t: int, s: int) -> float:
    return 1 - AB[t] / AB[s]


def _sigma(t: int, s: int) -> float:
    return sqrt(_backward(t, s)[2])


ONE_STEP = "it is that of the single step from t to t - 1. s_ has no effect: index with s_."
ALPHA = "alpha_t is that of a single step. From s_ to t it is alpha_bar_t / alpha_bar_s."
SINGLE_BETA = "beta_t is that of a single step. From s_ to t it is 1 - alpha_bar_t / alpha_bar_s."
NEXT_STEP = "it is that of the next single step, s.posterior_variance[s_], which knows nothing of t."

_FACTORS_OF_X0: Mistakes = [
    (lambda t, s: ROOT[s] * BETA[t] / NOISE[t], SINGLE_BETA),
    (lambda t, s: _backward(t, t - 1)[0], ONE_STEP),
    (lambda t, s: ROOT[t] * _beta(t, s) / NOISE[t], "it has sqrt(alpha_bar_t). The step lands at s_."),
    (lambda t, s: ROOT[t - 1] * _beta(t, s) / NOISE[t], "it has alpha_bar_{t-1}. The step lands at s_."),
    (lambda t, s: AB[s] * _beta(t, s) / NOISE[t], "alpha_bar_s is to be under a root."),
    (lambda t, s: ROOT[s] * _beta(t, s) / REST[t], "divide by 1 - alpha_bar_t itself, not by its root."),
    (lambda t, s: ROOT[s] * sqrt(_beta(t, s)) / NOISE[t], "beta stands there itself, without a root."),
    (lambda t, s: ROOT[s], "that is the jump from x_0 to x_s. x_t knows something of x_s too."),
    (lambda t, s: ROOT[s] * _beta(t, s), "it is not divided by 1 - alpha_bar_t."),
    (lambda t, s: ROOT[s] * _beta(t, s) / NOISE[s], "it is divided by 1 - alpha_bar_s, and that is 0 at s_ = 0."),
    (
        lambda t, s: sqrt(AB[t] / AB[s]) * _beta(t, s) / NOISE[t],
        "it has the root of alpha, the ratio. The step lands at s_: sqrt(alpha_bar_s).",
    ),
    (
        lambda t, s: -_beta(t, s) / REST[t] / sqrt(AB[t] / AB[s]),
        "x0 stands where Algorithm 2 has eps. x0 is the guess of the image: use the mean of q(x_s | x_t, x_0).",
    ),
    (
        lambda t, s: ROOT[s] - REST[s] / REST[t] * ROOT[t],
        "the mean keeps all of the noise found in x_t, and a draw adds more: x_s gets too much. (DDIM goes there.)",
    ),
    (lambda t, s: math.nan if s else -1 / AB[t], "alpha_bar_t / alpha_bar_s is upside down. alpha_bar falls with t."),
    (lambda t, s: 0, "it is 0. The mean lies between x_0 and x_t."),
]
_FACTORS_OF_XT: Mistakes = [
    (lambda t, s: sqrt(1 - BETA[t]) * NOISE[s] / NOISE[t], ALPHA),
    (lambda t, s: _backward(t, t - 1)[1], ONE_STEP),
    (lambda t, s: AB[t] / AB[s] * NOISE[s] / NOISE[t], "alpha_bar_t / alpha_bar_s is to be under a root."),
    (
        lambda t, s: ROOT[t] * NOISE[s] / NOISE[t],
        "it has sqrt(alpha_bar_t) where sqrt(alpha_bar_t / alpha_bar_s) belongs.",
    ),
    (lambda t, s: sqrt(AB[t] / AB[s]) * REST[s] / REST[t], "the ratio of 1 - alpha_bar has no root."),
    (lambda t, s: sqrt(AB[t] / AB[s]) * NOISE[s] / REST[t], "divide by 1 - alpha_bar_t itself, not by its root."),
    (
        lambda t, s: sqrt(AB[t] / AB[s]) * NOISE[t - 1] / NOISE[t],
        "it has 1 - alpha_bar_{t-1} where 1 - alpha_bar_s belongs.",
    ),
    (lambda t, s: sqrt(AB[t] / AB[s]), "(1 - alpha_bar_s) / (1 - alpha_bar_t) is missing."),
    (lambda t, s: sqrt(AB[t] / AB[s]) * NOISE[s], "it is not divided by 1 - alpha_bar_t."),
    (lambda t, s: NOISE[s] / NOISE[t], "sqrt(alpha) is missing, alpha = alpha_bar_t / alpha_bar_s."),
    (
        lambda t, s: sqrt(math.prod(1 - beta for beta in BETA[s:t])) * NOISE[s] / NOISE[t],
        "alpha is a product one step off: from s_ + 1 to t, both included. Or take alpha_bar_t / alpha_bar_s.",
    ),
    (lambda t, s: 0, "it is 0. The mean lies between x_0 and x_t."),
]
_BETA_TOO = (
    "it has beta = 1 - alpha_bar_t / alpha_bar_s as variance. It is DDPM's other choice, but asked for is the "
    "posterior's: beta (1 - alpha_bar_s) / (1 - alpha_bar_t)"
)
LAST = "in the step to s_ = 0 it is 0. x_0 is the result, and noise would only spoil it."
_FACTORS_OF_NOISE: Mistakes = [
    (lambda t, s: 0, "it is 0. The step is a draw: mean + sigma * noise."),
    (lambda t, s: _sigma(t, s) if s else math.nan, LAST),
    (lambda t, s: _sigma(t, s) if s > 1 else 0, "it is 0 at s_ = 1 as well. Only the step to s_ = 0 adds none."),
    (lambda t, s: -_sigma(t, s), "the sign. (A draw all the same, as noise has no sign; write + for the check.)"),
    (lambda t, s: _backward(t, s)[2], "that is the variance. Multiply noise by its square root."),
    (lambda t, s: sqrt(_beta(t, s)), f"{_BETA_TOO}, which also ends without noise."),
    (lambda t, s: sqrt(_beta(t, s)) if s else math.nan, f"{_BETA_TOO}."),
    (
        lambda t, s: _beta(t, s) if s else math.nan,
        "that is beta, without a root. Asked for is the root of the posterior's variance.",
    ),
    (lambda t, s: sqrt(BETA[t] * NOISE[s] / NOISE[t]), SINGLE_BETA),
    (lambda t, s: BETA[t] if s else math.nan, SINGLE_BETA),
    (lambda t, s: sqrt(BETA[t]) if s else math.nan, SINGLE_BETA),
    (lambda t, s: _sigma(t, t - 1) if s else math.nan, ONE_STEP),
    (lambda t, s: _sigma(t, t - 1) ** 2, f"{ONE_STEP} And take its root."),
    (lambda t, s: _sigma(s, s - 1) if s else math.nan, NEXT_STEP),
    (lambda t, s: REST[s] / REST[t], "sqrt(beta) is missing: the variance is beta times that ratio."),
    (
        lambda t, s: _beta(t, s) * REST[s] / REST[t],
        "beta stands outside of the root: put it under it.",
    ),
    (lambda t, s: sqrt(_beta(t, s)) * REST[t] / REST[s], "(1 - alpha_bar_s) / (1 - alpha_bar_t) is upside down."),
    (lambda t, s: sqrt(_beta(t, s)) * REST[s], "the variance is not divided by 1 - alpha_bar_t."),
    (lambda t, s: REST[s], "that is all the noise of x_s. x_t knows a part of it: the variance is smaller."),
    (lambda t, s: REST[t] if s else math.nan, "that is all the noise of x_t. The step lands at s_, and knows x_t."),
    (lambda t, s: 1 if s else math.nan, "it is 1. Multiply noise by sigma, the root of the posterior's variance."),
]


@check("5.2 one step of DDPM")
def ancestral_step(f: Callable[..., Any]) -> None:
    """f(s, x_t, t, s_, x0, noise) must be a draw from q(x_s | x_t, x_0): its mean + its standard deviation * noise."""
    table = chain()

    def run(inputs: Sequence[Tensor], case: Case) -> Any:
        x0, x_t, noise = inputs
        return call(f, table, x_t, *case, x0, noise)

    parts = [
        Input("x_0", lambda t, s: _backward(t, s)[0], _FACTORS_OF_X0),
        Input("x_t", lambda t, s: _backward(t, s)[1], _FACTORS_OF_XT),
        Input("noise", _sigma, _FACTORS_OF_NOISE),
    ]
    examine(run, parts, PAIRS, AT, OWN_NOISE)


# ---------------------------------------------------------------- one step of DDIM

_ETAS = (0.0, 0.5, 1.0)
_WITH_ETA: list[Case] = [(*pair, eta) for eta in _ETAS for pair in PAIRS]


def _kept(t: int, s: int, eta: float) -> float:
    """What is left for eps: its share and that of the noise have the variance of x_s given x_0, together."""
    return sqrt(_spread(s) - eta**2 * _backward(t, s)[2])


BETA_ALONE = "sigma is made from beta alone: sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t)) is missing."
_SIGMAS: Mistakes = [
    (lambda t, s, eta: 0, "it is 0. With eta above 0 new noise comes in: + sigma * noise."),
    (lambda t, s, eta: _sigma(t, s), "eta has no effect: sigma is eta times the posterior's deviation."),
    (lambda t, s, eta: eta**2 * _sigma(t, s), "eta is squared. That is for sigma^2; sigma has eta once."),
    (lambda t, s, eta: sqrt(eta) * _sigma(t, s), "it has the root of eta: put eta outside of the square root."),
    (lambda t, s, eta: eta**2 * _backward(t, s)[2], "that is sigma^2. Multiply noise by its root."),
    (lambda t, s, eta: eta * _backward(t, s)[2], "that is eta times a variance. Take the root of the variance."),
    (lambda t, s, eta: eta * sqrt(_beta(t, s)) if s else math.nan, BETA_ALONE),
    (lambda t, s, eta: eta * REST[s] / REST[t], "in sigma sqrt(1 - alpha_bar_t / alpha_bar_s) is missing."),
    (lambda t, s, eta: eta * sqrt(BETA[t]) * REST[s] / REST[t], SINGLE_BETA),
    (lambda t, s, eta: eta * sqrt(BETA[t]) if s else math.nan, SINGLE_BETA),
    (lambda t, s, eta: eta * _sigma(t, t - 1), ONE_STEP),
    (lambda t, s, eta: eta * _sigma(s, s - 1) if s else math.nan, NEXT_STEP),
    (lambda t, s, eta: eta * sqrt(_beta(t, s)) * REST[t] / REST[s], "the ratio of 1 - alpha_bar is upside down."),
    (lambda t, s, eta: eta if s else math.nan, "it is eta alone. eta says which share of the posterior's deviation."),
    (lambda t, s, eta: _sigma(t, s) * eta if s else math.nan, LAST),
]
_SHARES_OF_X0: Mistakes = [
    (lambda t, s, eta: AB[s], "alpha_bar_s is to be under a root."),
    (lambda t, s, eta: ROOT[t], "it is sqrt(alpha_bar_t). The step lands at s_: sqrt(alpha_bar_s)."),
    (lambda t, s, eta: ROOT[t - 1], "it is sqrt(alpha_bar_{t-1}). The step lands at s_: sqrt(alpha_bar_s)."),
    (lambda t, s, eta: 1, "it is 1. x_s is x_0 shrunk by sqrt(alpha_bar_s), and noise."),
    (
        lambda t, s, eta: sqrt(AB[t] / AB[s]),
        "it is sqrt(alpha_bar_t / alpha_bar_s). From x_0 on it is sqrt(alpha_bar_s).",
    ),
]
_SHARES_OF_EPS: Mistakes = [
    (lambda t, s, eta: REST[s], "sigma^2 is not taken off, so x_s has too much noise: sqrt(1 - ab_s - sigma^2)."),
    (lambda t, s, eta: eta * _sigma(t, s), "sigma in its place: the step lands on x_0 at eta = 0, with no noise left."),
    (lambda t, s, eta: _kept(t, s, eta) ** 2, "1 - alpha_bar_s - sigma^2 is to be under a root."),
    (lambda t, s, eta: sqrt(NOISE[t] - (eta * _sigma(t, s)) ** 2), "it has 1 - alpha_bar_t. The step lands at s_."),
    (lambda t, s, eta: REST[t], "it has 1 - alpha_bar_t. The step lands at s_: sqrt(1 - alpha_bar_s - sigma^2)."),
    (lambda t, s, eta: sqrt(NOISE[t - 1] - (eta * _sigma(t, s)) ** 2), "it has alpha_bar_{t-1}. The step lands at s_."),
    (lambda t, s, eta: sqrt(NOISE[s] - eta * _sigma(t, s)), "sigma is taken off. Variances add: take off sigma^2."),
    (lambda t, s, eta: REST[s] - eta * _sigma(t, s), "sigma is taken off after the root. Take sigma^2 off before it."),
    (lambda t, s, eta: REST[s] - (eta * _sigma(t, s)) ** 2, "sigma^2 is taken off after the root, not before it."),
    (lambda t, s, eta: REST[s] * (1 - eta), "it falls with 1 - eta. Variances add up, not factors: take off sigma^2."),
    (
        lambda t, s, eta: REST[s] * sqrt(1 - eta**2),
        "nothing of eps is left at eta = 1. sigma^2 is what comes in anew, and it is less than 1 - alpha_bar_s.",
    ),
    (
        lambda t, s, eta: sqrt(1 - (eta * _sigma(t, s)) ** 2),
        "the noises add up to 1. x_s has only 1 - alpha_bar_s.",
    ),
    (
        lambda t, s, eta: sqrt(max(0, AB[s] - (eta * _sigma(t, s)) ** 2)),
        "it has alpha_bar_s, the image's part. The noise of x_s has the variance 1 - alpha_bar_s.",
    ),
    (lambda t, s, eta: 1, "it is 1. eps is scaled to the noise that x_s has."),
    (lambda t, s, eta: sqrt(NOISE[s] + (eta * _sigma(t, s)) ** 2), "sigma^2 is added. It is taken off."),
    (lambda t, s, eta: 0, "it is 0. Without it x_s is far too clean."),
]


@check("5.4 one step of DDIM")
def ddim_step(f: Callable[..., Any]) -> None:
    """f(s, x_t, t, s_, x0, eps, noise, eta) must be sqrt(ab_s) x0 + sqrt(1 - ab_s - sigma^2) eps + sigma noise.

    x_t is what x0 and eps add up to at t, so that a step may use any two of the three.
    """
    table = chain()

    def run(inputs: Sequence[Tensor], case: Case) -> Any:
        (noise, x0, eps), (t, s, eta) = inputs, case
        x_t = (ROOT[int(t)] * x0.double() + REST[int(t)] * eps.double()).to(x0.dtype)
        return call(f, table, x_t, t, s, x0, eps, noise, eta)

    parts = [
        Input("noise", lambda t, s, eta: eta * _sigma(t, s), _SIGMAS),
        Input("x_0", lambda t, s, eta: ROOT[s], _SHARES_OF_X0),
        Input("eps", _kept, _SHARES_OF_EPS),
    ]
    examine(run, parts, _WITH_ETA, f"{AT}, eta = {{}}", OWN_NOISE)
