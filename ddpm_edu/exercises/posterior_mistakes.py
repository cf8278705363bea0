"""What common mistakes make of the posterior of the five-step chain, for exercise 1.6: numbers, and what to say.

Three tables: x_t's coefficient in the mean, x_0's, and the variance, each at t = 1..T, in plain floats.
"""

import math

from ddpm_edu.exercises.forward_mistakes import ALPHA, REST, Row
from ddpm_edu.exercises.small_chain import AB, BETAS, ROOT_AB, ROOT_ALPHA, ROOT_BETA, T

_STEPS = range(T)  # entry i is t = i + 1, and AB[i] is alpha_bar_{t-1}
_FACTOR = [(1 - AB[i]) / REST[i] for i in _STEPS]  # of the variance, and of x_t's coefficient

OF_X_T: list[Row] = [
    (
        [ROOT_AB[i] * _FACTOR[i] for i in _STEPS],
        "x_t's coefficient has sqrt(alpha_bar_t) where sqrt(alpha_t) = sqrt(1 - beta_t), of this one step, belongs.",
    ),
    (
        [math.sqrt(AB[i]) * _FACTOR[i] for i in _STEPS],
        "x_t's coefficient has sqrt(alpha_bar_{t-1}), the root that belongs to x_0. Its own is sqrt(alpha_t).",
    ),
    (
        [ALPHA[i] * _FACTOR[i] for i in _STEPS],
        "x_t's coefficient has alpha_t where its square root belongs (with eps: 1 / sqrt(alpha_t) in front is missing)",
    ),
    (
        ROOT_ALPHA,
        "x_t's coefficient has 1 - alpha_bar_t above the line as well. There it is one step earlier, t - 1.",
    ),
    (
        [ROOT_ALPHA[i] * (1 - AB[i]) for i in _STEPS],
        "x_t's coefficient is not divided by 1 - alpha_bar_t.",
    ),
    (
        [(1 - BETAS[i] / REST[i] ** 1.5) / ROOT_ALPHA[i] for i in _STEPS],
        "In the form with eps a root is missing: beta_t is divided by sqrt(1 - alpha_bar_t).",
    ),
    (
        [(1 + BETAS[i] / REST[i]) / ROOT_ALPHA[i] for i in _STEPS],
        "In the form with eps the noise is subtracted.",
    ),
]
OF_X_0: list[Row] = [
    (
        [ROOT_AB[i] * BETAS[i] / REST[i] for i in _STEPS],
        "x_0's coefficient has sqrt(alpha_bar_t) where sqrt(alpha_bar_{t-1}) belongs.",
    ),
    (
        [AB[i] * BETAS[i] / REST[i] for i in _STEPS],
        "x_0's coefficient has alpha_bar_{t-1} where its square root belongs.",
    ),
    (
        [math.sqrt(AB[i]) * ROOT_BETA[i] / REST[i] for i in _STEPS],
        "x_0's coefficient has sqrt(beta_t) where beta_t itself belongs.",
    ),
    ([math.sqrt(AB[i]) * BETAS[i] for i in _STEPS], "x_0's coefficient is not divided by 1 - alpha_bar_t."),
]
_VARIANCE = [_FACTOR[i] * BETAS[i] for i in _STEPS]
OF_THE_VARIANCE: list[Row] = [
    (
        list(BETAS),
        "The variance is beta_t, that of the step forwards. Knowing x_0 as well leaves less: it is beta-tilde_t.",
    ),
    ([math.sqrt(v) for v in _VARIANCE], "That is the standard deviation; the variance is asked for."),
    ([0.0, *_VARIANCE[:-1]], "The variance is that of the step before: s.posterior_variance[t] needs no t - 1."),
    (
        [1 - AB[i] for i in _STEPS],
        "The variance is 1 - alpha_bar_{t-1}, in doubt before x_t is known. x_t tells more: less remains.",
    ),
]
